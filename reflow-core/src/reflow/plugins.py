"""Finds plugins by name, and executors in them.

Discovery is lazy: what reflow brings itself needs none, a name loads the entry
point of that name and no other, and only a miss loads the rest. A plugin that
cannot be loaded is remembered and named in the error of whoever looked for it;
it disturbs nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING

import pluggy
from attrs import field, frozen

from . import builtin, hookspecs
from .errors import ExecutorError, PluginError, SerializationError, UnknownPluginError, nearest
from .executors.base import Executor
from .hookspecs import PROJECT, ExecutorEntry

if TYPE_CHECKING:
    from importlib_metadata import EntryPoint

    from .config import Config

DISTRIBUTIONS = {
    "slurm": "reflow-slurm",
    "pbs": "reflow-pbs",
    "lsf": "reflow-lsf",
    "sge": "reflow-sge",
    "flux": "reflow-flux",
}
"""Executors this project knows of and what to install for them."""


@frozen(kw_only=True)
class Registered:
    """An executor entry and who brought it: a distribution and version, as text."""

    entry: ExecutorEntry
    provider: str


def _discover() -> Iterable[EntryPoint]:
    from importlib_metadata import entry_points

    return entry_points(group=PROJECT)


def _provider(point: EntryPoint) -> str:
    distribution = point.dist
    if distribution is None:
        return f"plugin {point.name}"
    return f"{distribution.name} {distribution.version}"


def _because(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


@frozen(kw_only=True)
class Registry:
    """The plugins of one process, loaded as names are asked for.

    `discover` lists the entry points of installed plugins; it is called at most
    once, and not at all for what is registered already.
    """

    discover: Callable[[], Iterable[EntryPoint]] = _discover
    manager: pluggy.PluginManager = field(factory=lambda: pluggy.PluginManager(PROJECT))
    executors: dict[str, Registered] = field(factory=dict)
    """By name and by alias."""
    clashes: dict[str, str] = field(factory=dict)
    """The error for a name that two plugins claim."""
    broken: dict[str, str] = field(factory=dict)
    """The error for a plugin that cannot be loaded, by its short name."""
    _pending: list[EntryPoint] = field(factory=list, init=False)
    _discovered: list[bool] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        """Register reflow's own plugin."""
        self.manager.add_hookspecs(hookspecs)
        self.register(builtin, name="builtin", provider="reflow-core")

    def register(self, plugin: object, *, name: str, provider: str) -> None:
        """Register a plugin: a module or object whose functions carry `hookimpl`.

        Raises `PluginError` when it is not one. The executors it describes can be
        resolved from here on.
        """
        try:
            self.manager.register(plugin, name=name)
            others = [other for other in self.manager.get_plugins() if other is not plugin]
            call = self.manager.subset_hook_caller("reflow_register_executors", others)
            entries = [entry for answer in call() for entry in answer]
            for entry in entries:
                if not isinstance(entry, ExecutorEntry):
                    raise PluginError(
                        "reflow_register_executors returns ExecutorEntry objects, "
                        f"not {type(entry).__name__}"
                    )
        except Exception as error:
            if self.manager.has_plugin(name):
                self.manager.unregister(name=name)
            raise PluginError(
                f"plugin {name!r} of {provider} is broken: {_because(error)}"
            ) from error
        for entry in entries:
            for key in (entry.name, *entry.aliases):
                known = self.executors.setdefault(key, Registered(entry=entry, provider=provider))
                if known.entry != entry:
                    self.clashes[key] = (
                        f"two plugins register an executor named {key!r}: {known.provider} and "
                        f"{provider}; uninstall one of them"
                    )

    def executor(self, name: str) -> Registered:
        """Return the executor entry of that name or alias.

        Raises `UnknownPluginError` where no plugin brings it and `PluginError`
        where one does and is broken or not the only one.
        """
        if name not in self.executors:
            self._load(lambda point: point.name == name)
            if name in self.broken:
                raise PluginError(self.broken[name])
        if name not in self.executors:
            self._load(lambda point: True)
        if name in self.clashes:
            raise PluginError(self.clashes[name])
        if name not in self.executors:
            raise UnknownPluginError(self._missing(name))
        return self.executors[name]

    def load_all(self) -> None:
        """Load every installed plugin; those that fail end up in `broken`."""
        self._load(lambda point: True)

    def _load(self, wanted: Callable[[EntryPoint], bool]) -> None:
        if not self._discovered:
            self._discovered.append(True)
            self._pending.extend(self.discover())
        points = [point for point in self._pending if wanted(point)]
        self._pending[:] = [point for point in self._pending if not wanted(point)]
        for point in points:
            provider = _provider(point)
            name = point.name
            if self.manager.has_plugin(name):
                # Two distributions may use one short name for different things.
                name = f"{name} ({provider})"
            try:
                plugin = point.load()
            except Exception as error:  # whatever a foreign module raises at import
                self.broken[point.name] = (
                    f"plugin {point.name!r} of {provider} is broken: {_because(error)}"
                )
                continue
            try:
                self.register(plugin, name=name, provider=provider)
            except PluginError as error:
                self.broken[point.name] = str(error)

    def _missing(self, name: str) -> str:
        installed = sorted({known.entry.name for known in self.executors.values()})
        close = nearest(name, {*self.executors, *DISTRIBUTIONS})
        message = f"no executor named {name!r} is installed"
        if close is not None and close != name:
            message += f": did you mean {close!r}?"
        message += f" (installed: {', '.join(installed)})"
        if close in DISTRIBUTIONS and close not in self.executors:
            message += f"; try: pip install {DISTRIBUTIONS[close]}"
        for error in self.broken.values():
            message += f"; {error}"
        return message


@lru_cache(maxsize=1)
def registry() -> Registry:
    """Return the registry of this process."""
    return Registry()


def executor_class(name: str) -> type[Executor]:
    """Return the executor class registered as `name` (or under that alias).

    Raises `UnknownPluginError` (an ImportError too) where none is installed and
    `PluginError` where the plugin is broken.
    """
    known = registry().executor(name)
    module, _, attribute = known.entry.target.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except Exception as error:
        raise PluginError(
            f"executor {name!r} of {known.provider} is broken: {_because(error)}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Executor)):
        raise PluginError(
            f"executor {name!r} of {known.provider} is broken: {known.entry.target} is no subclass "
            "of reflow.executors.base.Executor"
        )
    return found


def executor_from(given: str | Executor, config: Config | None = None) -> Executor:
    """Return the executor that `given` names, with its settings from `config`.

    An executor instance is returned as it is: code comes before configuration.
    Raises as `executor_class` does, and `ConfigError` for bad settings.
    """
    if isinstance(given, Executor):
        return given
    if not isinstance(given, str):
        raise ExecutorError(
            f"executor must be a name such as 'local' or an Executor, not {type(given).__name__}"
        )
    cls = executor_class(given)
    if config is None:
        return cls()
    from .config import read_table

    name = registry().executor(given).entry.name
    return read_table(cls, config.executor.get(name, {}), file=config.path, at=f"executor.{name}")


def executor_reference(executor: Executor) -> tuple[str, dict[str, object]]:
    """Return an executor's registered name and its settings, JSON-safe.

    With `executor_from_reference` every later process of a run gets an equal
    executor. Raises `PluginError` for a class that no plugin registers under its
    name: no later process could find it.
    """
    from .codec import unstructure

    name = getattr(executor, "name", None)
    cls = type(executor)
    if not isinstance(name, str) or executor_class(name) is not cls:
        raise PluginError(
            f"{cls.__module__}.{cls.__qualname__} is not what a plugin registers as executor "
            f"{name!r}, so later jobs of the run could not find it; register it by the hook "
            "reflow_register_executors"
        )
    settings = unstructure(executor)
    if not isinstance(settings, dict):
        raise PluginError(f"executor {name!r}: {cls.__qualname__} is not an attrs class")
    return name, settings


def executor_from_reference(name: str, settings: Mapping[str, object]) -> Executor:
    """Return the executor that `executor_reference` described.

    Raises as `executor_class` does, and `PluginError` where the settings are not
    those of the installed version's executor.
    """
    from .codec import structure

    cls = executor_class(name)
    try:
        return structure(dict(settings), cls)
    except SerializationError as error:
        raise PluginError(f"settings of executor {name!r} on record do not fit: {error}") from error
