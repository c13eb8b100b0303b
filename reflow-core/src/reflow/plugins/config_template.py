"""The configuration file as it is offered to users: every key, commented out."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from pathlib import Path

from ..config.paths import config_path
from ..config.provenance import Key, dotted
from ..config.settings import TABLES
from ..config.structure import TableKey, is_table, table_keys, type_name, variable_of
from ..config.toml import toml_text
from ..errors import ConfigError
from ..storage.filesystem import Files

_HEAD = """
Configuration of reflow. All keys are here, with their defaults or, where a default shows
nothing, an example: take away the "#" before one to set it. Lines with a space after the "#",
such as this one, are for the reader. "reflow config show" tells which values hold and where
they come from.
"""
_EXECUTORS = """
Executors: each has a table of its own, and its keys are the fields of its class. Here are those
that were installed when this file was written.
"""
_PROFILES = """
Profiles: any of the tables above. One that is chosen, by --profile big or REFLOW_PROFILE=big,
goes before all tables that are in no profile, those of other files too.
"""


def ensure_config_exists() -> Path:
    """Write a commented configuration file unless the user has one; return its path.

    An existing file is not changed. Raises `ConfigError` where it cannot be written.
    """
    return write_template(config_path(), keep=True)


def write_example_config(
    path: str | os.PathLike[str] | None = None, *, overwrite: bool = False
) -> Path:
    """Write a configuration file that has every key, commented out; return its path.

    `path` is by default the user's file. Keys come with description, type and default,
    those of installed backends too. The file appears whole or not at all. Raises
    `ConfigError` where it cannot be written, or exists and `overwrite` is not set.
    """
    target = config_path() if path is None else Path(path).expanduser().absolute()
    return write_template(target, overwrite=overwrite)


def write_template(path: Path, *, keep: bool = False, overwrite: bool = False) -> Path:
    """Write the template to `path`, whole or not at all, and return the path.

    With `keep` an existing file stays as it is; else it is an error unless
    `overwrite`. Raises `ConfigError`.
    """
    if keep and path.is_file():
        return path
    # Where the name is a link, as of dotfiles kept elsewhere, the file behind it is meant.
    target, files = os.path.realpath(path), Files()
    data = example_config().encode()
    try:
        files.make_folder(os.path.dirname(target))
        if overwrite and os.path.lexists(target):
            mode = os.stat(target).st_mode & 0o777
            scratch = files.scratch(os.path.dirname(target), ".toml")
            files.create(scratch, data)
            try:
                os.chmod(scratch, mode)
                os.replace(scratch, target)
            except OSError:
                files.discard(scratch)
                raise
        elif not files.create(target, data):
            if not os.path.isfile(target):
                raise ConfigError(f"cannot write {path}: it exists and is not a file")
            if not keep:
                raise ConfigError(
                    f"{path} exists already; overwrite it: reflow config init --force, "
                    "or overwrite=True"
                )
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    return path


def example_config() -> str:
    """Return the text of the template."""
    lines = [*_prose(_HEAD), ""]
    for name, cls in TABLES.items():
        lines += [*_table(cls, (name,)), ""]
    lines += [*_prose(_EXECUTORS), "", *_executors()]
    lines += [*_prose(_PROFILES), "#[profile.big.run]", '#executor = "slurm"']
    return "\n".join(lines) + "\n"


def _executors() -> Iterator[str]:
    from .installed_executors import installed_executors

    for executor in installed_executors():
        if executor.cls is None:
            yield from _prose(f"[executor.{executor.name}] is left out: {executor.problem}")
        else:
            yield from _table(executor.cls, ("executor", executor.name))
        yield ""


def _table(cls: type, at: Key) -> Iterator[str]:
    """Yield a table of the template; tables inside it come at its end, as TOML wants."""
    yield f"[{dotted(at)}]"
    keys = table_keys(cls).values()
    for key in keys:
        if not is_table(key.annotation):
            yield from _key(key, at)
    for key in keys:
        if is_table(key.annotation):
            yield ""
            yield from _prose(key.help)
            yield from _table(key.annotation, (*at, key.name))


def _key(key: TableKey, at: Key) -> Iterator[str]:
    variable = key.variable or variable_of((*at, key.name))
    yield from _prose(f"{key.help} ({type_name(key.annotation)}, {default_text(key)}; {variable})")
    value = example_text(key)
    # Without a value to show, or with one that does not go with another key's, it is prose.
    mark = "# " if value is None or key.instead_of else "#"
    yield f"{mark}{dotted((key.name,))} = {value or '...'}"


def example_text(key: TableKey) -> str | None:
    """Return what the key may be set to: its default, or an example where that shows nothing."""
    nothing = key.required or key.default is None or key.default in ((), [], {}, "")
    return toml_text(key.example if nothing and key.example is not None else key.default)


def default_text(key: TableKey) -> str:
    """Say what holds where a key is not set."""
    if key.required:
        return "required"
    if key.default is None:
        return "no default"
    return f"default {toml_text(key.default) or key.default}"


def _prose(text: str) -> list[str]:
    flat = " ".join(text.split())
    return [f"# {line}" for line in textwrap.wrap(flat, 90, break_long_words=False,
                                                  break_on_hyphens=False)]  # fmt: skip
