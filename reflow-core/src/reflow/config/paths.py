"""Finds configuration files: of the project, the user and the site."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import frozen

from ..errors import ConfigError

PROJECT = "project"
USER = "user"
SITE = "site"
GIVEN = "given"

READ = "read"
MISSING = "missing"
IGNORED = "ignored"

# Before the parser is paid for: may this pyproject.toml have a table [tool.reflow]?
_OURS = re.compile(
    rb"""tool["']?\s*\.\s*["']?reflow|\[\s*["']?tool["']?\s*\]|^\s*["']?tool["']?\s*=""", re.M
)


@frozen(kw_only=True)
class FileSeen:
    """A file that was looked for, and what came of it.

    `kind` is `PROJECT`, `USER`, `SITE` or `GIVEN`, `state` is `READ`, `MISSING` or
    `IGNORED`; `detail` says why. `content` is what is in it.
    """

    path: Path
    kind: str
    state: str
    detail: str = ""
    content: bytes = b""


def config_path() -> Path:
    """Return where the user's configuration file is, whether it exists or not.

    That is ``$REFLOW_CONFIG``, else ``$XDG_CONFIG_HOME/reflow/config.toml``, else
    ``~/.config/reflow/config.toml``. Raises `ConfigError` where there is no home folder.
    """
    chosen = os.environ.get("REFLOW_CONFIG", "")
    if chosen:
        return Path(os.path.abspath(os.path.expanduser(chosen)))
    # The XDG specification: a path that is not absolute is to be ignored.
    base = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):
        base = os.path.expanduser("~/.config")
    if not os.path.isabs(base):
        raise ConfigError(
            "there is no home folder to look for the configuration in: set HOME, "
            "XDG_CONFIG_HOME or REFLOW_CONFIG"
        )
    return Path(base, "reflow", "config.toml")


def is_configured() -> bool:
    """Whether there may be any configuration to read: variables that choose one, or a file."""
    variables = ("REFLOW_CONFIG", "REFLOW_PROFILE", "REFLOW_PLUGINS_PIN")
    return (
        any(variable in os.environ for variable in variables)
        or any(os.path.lexists(path) for path in (config_path(), *site_paths()))
        or any(True for _ in look_for_project())
    )


def site_paths() -> list[Path]:
    """Return where site files may be, the most important first: ``$XDG_CONFIG_DIRS``."""
    folders = os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    return [
        Path(folder, "reflow", "config.toml")
        for folder in folders.split(":")
        if os.path.isabs(folder)
    ]


def find_files(path: str | os.PathLike[str] | None) -> list[FileSeen]:
    """Look for the files, the least important first; with `path`, for that one alone.

    Raises `ConfigError` where one is missing that was named, or cannot be read.
    """
    if path is None:
        return [
            *(look(place, SITE) for place in reversed(site_paths())),
            *_user_file(),
            *_project_files(),
        ]
    file = look(Path(path).expanduser().absolute(), GIVEN)
    if file.state == MISSING:
        raise ConfigError(f"no configuration file {file.path}")
    return [file]


def _user_file() -> Iterator[FileSeen]:
    try:
        path = config_path()
    except ConfigError:
        return  # without a home there is no user's file
    file = look(path, USER)
    if file.state == MISSING and os.environ.get("REFLOW_CONFIG"):
        raise ConfigError(
            f"REFLOW_CONFIG: no configuration file {path}; write one: reflow config init"
        )
    yield file


def _project_files() -> Iterator[FileSeen]:
    """Yield the project's file, and then those in front of it that were ignored."""
    ignored = []
    for file in look_for_project():
        if file.state == IGNORED:
            ignored.append(file)
        elif file.path.name == "reflow.toml" or _has_section(file):
            yield file
            break
    yield from ignored


def _has_section(file: FileSeen) -> bool:
    """Whether a pyproject.toml has anything under tool.reflow."""
    from .toml import decode, parse  # not imported by those who ask for paths alone

    tool = parse(decode(file.content, file.path), file.path).get("tool")
    return isinstance(tool, Mapping) and tool.get("reflow") is not None


def look(path: Path, kind: str) -> FileSeen:
    """Read a file. Raises `ConfigError` where it exists and cannot be read."""
    try:
        return FileSeen(path=path, kind=kind, state=READ, content=path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return FileSeen(path=path, kind=kind, state=MISSING)
    except IsADirectoryError:
        raise ConfigError(f"cannot read {path}: it is a folder, not a file") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error


def look_for_project() -> Iterator[FileSeen]:
    """Yield the files that may be the project's, the nearest first, going up from the cwd.

    It ends after the home folder and where another file system begins. A file that
    anybody may have put there (as in /tmp) is not read: its commands would be run.
    """
    try:
        folder = os.getcwd()
        device = os.stat(folder).st_dev
    except OSError:  # the current folder is gone
        return
    home = os.path.realpath(os.path.expanduser("~"))
    # Another file system may be an automounter's, where each look at a folder mounts one.
    while True:
        for name in ("reflow.toml", "pyproject.toml"):
            path = os.path.join(folder, name)
            # Nearly always there is none; that must cost no more than a stat.
            if os.path.exists(path):
                yield from _project_file(Path(path))
        parent = os.path.dirname(folder)
        try:
            if folder in (home, parent) or os.stat(parent).st_dev != device:
                return
        except OSError:
            return
        folder = parent


def _project_file(path: Path) -> Iterator[FileSeen]:
    shared = path.name == "pyproject.toml"
    try:
        file, folder = path.stat(), path.parent.stat()
        if file.st_uid not in (os.getuid(), 0) and (file.st_mode | folder.st_mode) & 0o002:
            detail = "it belongs to another user, in a place that everybody may write to"
            if not shared or _OURS.search(path.read_bytes()):
                yield FileSeen(path=path, kind=PROJECT, state=IGNORED, detail=detail)
            return
        looked_at = look(path, PROJECT)
    except (ConfigError, OSError):
        if shared:  # it may have nothing for reflow, and need not be readable
            return
        raise
    if looked_at.state == READ and (not shared or _OURS.search(looked_at.content)):
        yield looked_at
