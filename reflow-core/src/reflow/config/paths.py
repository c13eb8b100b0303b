"""Where configuration files are: of the project, the user and the site."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
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
    named = os.environ.get("REFLOW_CONFIG", "")
    if named:
        return Path(os.path.abspath(os.path.expanduser(named)))
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


def look(path: Path, kind: str) -> FileSeen:
    """Read a file. Raises `ConfigError` where it is there and cannot be read."""
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
    except OSError:  # The current folder is gone.
        return
    home = os.path.realpath(os.path.expanduser("~"))
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
            detail = "it belongs to somebody else, in a place that everybody may write to"
            if not shared or _OURS.search(path.read_bytes()):
                yield FileSeen(path=path, kind=PROJECT, state=IGNORED, detail=detail)
            return
        seen = look(path, PROJECT)
    except (ConfigError, OSError):
        if shared:  # It is not ours, and need not be readable.
            return
        raise
    if seen.state == READ and (not shared or _OURS.search(seen.content)):
        yield seen
