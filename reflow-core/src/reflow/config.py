"""The user's configuration: defaults that a workflow's own code overrides.

The file is ``$XDG_CONFIG_HOME/reflow/config.toml``. Each executor owns the table
``[executor.<name>]``: its keys are the settings of that executor's class, checked
when the executor is used, so that a file may hold tables for backends that are
not installed on every machine.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_origin, get_type_hints

from attrs import Attribute, field, fields, frozen, has

from .codec import codec_for
from .errors import ConfigError, SerializationError, nearest

T = TypeVar("T")

_TEMPLATE = """\
# Configuration of reflow. Every key is shown with its default; take away the "# " to set one.

[run]
# The executor of a submit that names none.
# executor = "local"

[store]
# The index of all runs. A relative path counts from the folder of this file.
# Default: reflow/reflow.sqlite in $XDG_STATE_HOME (~/.local/state).
# path = "~/.local/state/reflow/reflow.sqlite"

# Settings of an executor, by its name; the keys are the fields of its class.
# [executor.slurm]
# sbatch = "/opt/slurm/bin/sbatch"
"""


def _base(variable: str, default: str) -> Path:
    # The XDG specification: a path that is not absolute is to be ignored.
    value = os.environ.get(variable, "")
    return Path(value) if os.path.isabs(value) else Path.home() / default


def config_path() -> Path:
    """Return where the user's configuration file is, whether it exists or not."""
    return _base("XDG_CONFIG_HOME", ".config") / "reflow" / "config.toml"


@frozen(kw_only=True)
class RunSettings:
    """Table ``[run]``: what holds for runs whose code does not say otherwise.

    `executor` is the executor of a submit that names none.
    """

    executor: str = "local"


@frozen(kw_only=True)
class StoreSettings:
    """Table ``[store]``: `path` of the index of runs; None is the default place."""

    path: Path | None = None


@frozen(kw_only=True)
class Config:
    """A user's configuration.

    `executor` holds the table of each executor as it was written; `path` is the
    file all this was read from, None where there is none.
    """

    run: RunSettings = RunSettings()
    store: StoreSettings = StoreSettings()
    executor: Mapping[str, Mapping[str, object]] = field(factory=dict)
    path: Path | None = None

    @property
    def store_path(self) -> Path:
        """Where the SQLite index of runs is, absolute."""
        if self.store.path is None:
            from .stores.sqlite import default_store_path

            return default_store_path()
        folder = Path.cwd() if self.path is None else self.path.parent
        return (folder / self.store.path.expanduser()).absolute()


def load_config(path: str | os.PathLike[str] | None = None) -> Config:
    """Read a configuration file, by default the user's own.

    The user's file may be missing: then all is default. Raises `ConfigError` for
    a file that was named and is missing, that cannot be read, is not TOML, or has
    an unknown key or a value of the wrong type.
    """
    file = config_path() if path is None else Path(path).expanduser()
    try:
        text = file.read_bytes().decode("utf-8")
    except FileNotFoundError:
        if path is None:
            return Config()
        raise ConfigError(f"no configuration file {file}") from None
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 text: {error}") from error
    # Most users have no such file, and then nobody waits for a parser.
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from error

    tables = ("run", "store", "executor")
    for key in document:
        if key not in tables:
            raise _unknown(file, "", key, tables)
    executor = _table(document.get("executor", {}), file, "executor")
    return Config(
        run=read_table(RunSettings, _table(document.get("run", {}), file, "run"), file, "run"),
        store=read_table(
            StoreSettings, _table(document.get("store", {}), file, "store"), file, "store"
        ),
        executor={
            name: _table(table, file, f"executor.{name}") for name, table in executor.items()
        },
        path=file.absolute(),
    )


def ensure_config_exists() -> Path:
    """Write a commented configuration file unless there is one; return its path.

    Raises `ConfigError` where it cannot be written.
    """
    file = config_path()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as stream:
            stream.write(_TEMPLATE)
    except FileExistsError:
        if not file.is_file():
            raise ConfigError(f"cannot write {file}: something else is in its place") from None
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}") from error
    return file


def read_table(cls: type[T], table: Mapping[str, object], file: Path | None, at: str) -> T:
    """Make an instance of the attrs class `cls` from a table of a configuration.

    `at` is the table's name for messages. Raises `ConfigError` for keys that are
    no field and values that are not of the field's type.
    """
    make: Callable[..., T] = cls
    if not has(cls):
        raise ConfigError(f"{_where(file)}[{at}]: {cls.__qualname__} has no settings")
    hints = get_type_hints(cls, include_extras=True)
    allowed: dict[str, Attribute[Any]] = {
        known.alias: known
        for known in fields(cls)
        if known.init and get_origin(hints.get(known.name)) is not ClassVar
    }
    values: dict[str, object] = {}
    for key, value in table.items():
        if key not in allowed:
            raise _unknown(file, at, key, allowed)
        annotation = hints.get(allowed[key].name, Any)
        if isinstance(annotation, type) and has(annotation):
            values[key] = read_table(
                annotation, _table(value, file, f"{at}.{key}"), file, f"{at}.{key}"
            )
            continue
        try:
            values[key] = codec_for(annotation).decode_native(value)
        except SerializationError as error:
            raise ConfigError(f"{_where(file)}{at}.{key} = {value!r}: {error}") from error
    try:
        return make(**values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{_where(file)}[{at}]: {error}") from error


def _where(file: Path | None) -> str:
    return "" if file is None else f"{file}: "


def _table(value: object, file: Path | None, at: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"{_where(file)}{at} = {value!r}: must be a table, [{at}], not {type(value).__name__}"
        )
    return value


def _unknown(
    file: Path | None, at: str, key: str, allowed: Mapping[str, object] | tuple[str, ...]
) -> ConfigError:
    path = f"{at}.{key}" if at else key
    close = nearest(key, allowed)
    hint = f": did you mean {close!r}?" if close else ""
    known = ", ".join(sorted(allowed)) or "none"
    kind = "key" if at else "table"
    return ConfigError(f"{_where(file)}unknown {kind} {path!r}{hint} ({kind}s: {known})")
