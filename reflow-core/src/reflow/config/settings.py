"""What can be configured: one attrs class for each table, and `Config` of all of them.

A field's metadata holds what people read about it, see `reflow.config.structure.TableKey`:
the template and the reference page are made from these classes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from attrs import field, frozen, validators

from ..errors import ConfigError
from ..model.options import FILE_POLICIES
from .paths import FileSeen
from .provenance import CODE, DEFAULT, Key, Origin, Setting, below, overlay, taken_apart
from .structure import raise_for, read_table, settings_from, table_keys, variables_of

T = TypeVar("T")


@frozen(kw_only=True)
class RunSettings:
    """Table ``[run]``: what holds for runs whose code does not say otherwise."""

    executor: str = field(
        default="local",
        metadata={"help": "Where a run is submitted to that names no executor."},
    )
    observers: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "Installed plugins that are told when a run ends or a task fails.",
            "example": ("mail",),
        },
    )
    files: str = field(
        default="auto",
        validator=validators.in_(FILE_POLICIES),
        metadata={
            "help": "How files that parameters and results name count, of tasks that do not say: "
            "auto, content, stat or path.",
            "example": "content",
        },
    )


@frozen(kw_only=True)
class StoreSettings:
    """Table ``[store]``: where runs are listed; `path` or `url`, not both.

    Raises `ConfigError` for both, for a URL as path and for a path as URL.
    """

    path: Path | None = field(
        default=None,
        metadata={
            "help": "The SQLite file in which runs are listed. "
            "Not given: reflow/reflow.sqlite in $XDG_STATE_HOME (~/.local/state).",
            "example": "~/.local/state/reflow/reflow.sqlite",
        },
    )
    url: str | None = field(
        default=None,
        metadata={
            "help": "In place of path: the store by its URL; its scheme names the plugin.",
            "example": "sqlite:////absolute/path/of/reflow.sqlite",
            "instead_of": "path",
        },
    )

    def __attrs_post_init__(self) -> None:
        if self.path is not None and self.url is not None:
            raise ConfigError("path and url are both given: the store is at one of them")
        if self.path is not None and re.search(r"(^|/)[a-z][a-z0-9+.-]+:/", str(self.path)):
            raise ConfigError("this is a URL: give it as url, not as path")
        if self.url is not None and not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", self.url):
            raise ConfigError(
                "not a URL, such as sqlite:////absolute/path: a file's path is given as path"
            )


@frozen(kw_only=True)
class PluginSettings:
    """Table ``[plugins]``: which plugins are loaded and which of two wins."""

    enabled: tuple[str, ...] | None = field(
        default=None,
        metadata={
            "help": "The only plugins that may be loaded. Not given: all that are installed.",
            "example": ("slurm",),
            "variable": "REFLOW_PLUGINS",
        },
    )
    pin: Mapping[str, str] = field(
        factory=dict,
        metadata={
            "help": "Where two distributions bring the same name: the one that wins it.",
            "example": {"npy": "reflow-npy"},
        },
    )


TABLES: Mapping[str, type] = {"run": RunSettings, "store": StoreSettings, "plugins": PluginSettings}
"""The tables with keys of their own, in the order in which they are shown."""


@frozen(kw_only=True)
class Config:
    """A configuration: of files and the environment by `load_config`, or made in code.

    `executor` holds the table of each executor as it was written; it is checked
    against the executor's class when that is used, so a file may hold tables for
    backends that are not installed on every machine. `profile` is the profile that was
    chosen. `origins` tells where values came from, `files` which files were looked at
    and `environment` what the environment says of executors: none of them counts when
    two configurations are compared.
    """

    run: RunSettings = field(factory=RunSettings)
    store: StoreSettings = field(factory=StoreSettings)
    plugins: PluginSettings = field(factory=PluginSettings)
    executor: Mapping[str, Mapping[str, object]] = field(factory=dict)
    profile: str | None = None
    origins: Mapping[Key, Origin] = field(factory=dict, eq=False, repr=False)
    files: tuple[FileSeen, ...] = field(default=(), eq=False, repr=False)
    environment: Mapping[str, str] = field(factory=dict, eq=False, repr=False)

    @property
    def store_path(self) -> Path:
        """Where the SQLite index of runs is, absolute; a path given in code counts from the cwd."""
        if self.store.path is None:
            from ..storage.user_state import default_store_path

            return default_store_path()
        return self.store.path.expanduser().absolute()

    @property
    def store_location(self) -> str:
        """What the store is opened by: its URL if one is given, else its absolute path."""
        return self.store.url or str(self.store_path)

    def origin(self, *key: str) -> Origin:
        """Return where the value of a key came from: ``config.origin("run", "executor")``."""
        if key in self.origins:
            return self.origins[key]
        if len(key) > 1 and key[0] in TABLES:
            table_key = table_keys(TABLES[key[0]]).get(key[1])
            value = getattr(getattr(self, key[0]), key[1], None)
            if table_key is not None and value == table_key.default:
                return Origin(kind=DEFAULT)
        elif dict(taken_apart(self.executor, ("executor",))).get(key) is None:
            return Origin(kind=DEFAULT)
        return Origin(kind=CODE)

    def executor_table(self, name: str, cls: type) -> dict[Key, Setting]:
        """Return what is set for an executor, by key below its table; the environment first."""
        at = ("executor", name)
        table = taken_apart(self.executor.get(name, {}), at)
        settings = {key: Setting(value, self.origin(*key)) for key, value in table}
        overlay(settings, settings_from(self.environment, variables_of(cls, at)))
        return below(settings, at)

    def executor_settings(self, name: str, cls: type[T]) -> T:
        """Make the executor `name` from its table and the environment; `cls` is its class.

        Raises `ConfigError` for keys that are not fields of the class and for values that
        it does not take.
        """
        complaints: list[str] = []
        executor = read_table(cls, self.executor_table(name, cls), ("executor", name), complaints)
        raise_for(complaints)
        assert executor is not None  # else there are complaints
        return executor
