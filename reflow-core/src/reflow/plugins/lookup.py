"""Executors, stores, serializers, verifiers and observers, by name and by type.

Plugins are looked up in the registry of this process, which is made when it is first asked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from ..errors import ExecutorError, PluginError, SerializationError
from .kinds import BACKENDS, load_target

if TYPE_CHECKING:
    from ..config import Config
    from ..executors.base import Executor
    from ..storage.stores.base import Store
    from .hookspecs import SerializerEntry, VerifierEntry
    from .listing import PluginRow
    from .observers import Observers
    from .registry import Registry


@lru_cache(maxsize=1)
def registry() -> Registry:
    """Return the registry of this process."""
    from .registry import Registry
    from .selection import read_selection

    return Registry(read_selection=read_selection)


def _class(kind: str, name: str) -> type:
    registered = registry().find(kind, name)
    target = registered.entry.target
    return load_target(kind, name, target, str(registered.distribution))


def executor_class(name: str) -> type[Executor]:
    """Return the executor class registered as `name` (or under that alias).

    Raises `UnknownPluginError` (an ImportError too) where none is installed and
    `PluginError` where the plugin is broken, incompatible, clashing or left out.
    """
    return _class("executor", name)


def store_class(scheme: str) -> type[Store]:
    """Return the store class for URLs of a scheme. Raises as `executor_class` does."""
    return _class("store", scheme)


def backend_class(name: str) -> type[Executor] | None:
    """Return the executor class of a backend by the name of the class; None for any other name.

    Raises as `executor_class` does.
    """
    for backend, cls in BACKENDS.items():
        if cls == name:
            return executor_class(backend)
    return None


def serializer_entry(name: str) -> SerializerEntry:
    """Return the serializer of that name. Raises as `executor_class` does."""
    from .hookspecs import SerializerEntry

    entry = registry().find("serializer", name).entry
    assert isinstance(entry, SerializerEntry)  # the registry takes no other in
    return entry


def serializer_entry_for(cls: type) -> SerializerEntry | None:
    """Return the serializer that takes values of a class without being named.

    The one for the class itself, else for its nearest base; None where no plugin has
    one. Raises `PluginError` where two distributions claim the same class and none of them
    is pinned. A broken plugin is passed over.
    """
    registered = registry().one_for_type("serializer", cls)
    return None if registered is None else serializer_entry(registered.names[0])


def verifier_entry(name: str) -> VerifierEntry:
    """Return the verifier of that name. Raises as `executor_class` does."""
    from .hookspecs import VerifierEntry

    entry = registry().find("verifier", name).entry
    assert isinstance(entry, VerifierEntry)  # the registry takes no other in
    return entry


def verifier_entries_for(cls: type) -> list[VerifierEntry]:
    """Return the verifiers that judge values of a class without being named.

    All that claim the class itself, else all that claim its nearest base: a result stands
    when each of them says so. A broken plugin is passed over.
    """
    matches = registry().for_type("verifier", cls)
    return [verifier_entry(match.names[0]) for match in matches]


def executor_from(executor: str | Executor, config: Config | None = None) -> Executor:
    """Return the executor that a name stands for, with its settings from `config`.

    An executor instance is returned as it is: code comes before configuration.
    Raises as `executor_class` does, and `ConfigError` for bad settings.
    """
    from ..executors.base import Executor

    if isinstance(executor, Executor):
        return executor
    if not isinstance(executor, str):
        raise ExecutorError(
            f"executor must be a name such as 'local' or an Executor, not {type(executor).__name__}"
        )
    cls = executor_class(executor)
    if config is None:
        return cls()
    return config.executor_settings(registry().find("executor", executor).names[0], cls)


def executor_reference(executor: Executor) -> tuple[str, dict[str, object]]:
    """Return an executor's registered name and its settings, JSON-safe.

    With `executor_from_reference` every later process of a run gets an equal
    executor. Raises `PluginError` for a class that no plugin registers under its
    name: no later process could find it.
    """
    from ..values.codec import unstructure

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
    from ..values.codec import structure

    cls = executor_class(name)
    try:
        return structure(dict(settings), cls)
    except SerializationError as error:
        raise PluginError(f"settings of executor {name!r} on record do not fit: {error}") from error


def observers(names: Iterable[str]) -> Observers:
    """Return the plugins of these entry-point names, loaded, for the lifecycle hooks.

    Raises `UnknownPluginError` for a name that is not installed, and `PluginError` for a plugin
    that is broken, incompatible, clashing, left out, or has no lifecycle hook.
    """
    from .observers import Observers

    source = registry()
    points = [source.find("observer", name).point for name in dict.fromkeys(names)]
    return Observers(source.manager, {point: source.plugins[point] for point in points})


def installed(check: bool = False, commands: Collection[str] = ()) -> list[PluginRow]:
    """Return a row for everything that reflow and the installed plugins bring.

    Every plugin is loaded, and with `check` what it names is imported as well. Extra commands
    of a name in `commands` are shadowed. Raises nothing for a plugin: its row says what is wrong.
    """
    from .listing import inventory

    return inventory(registry(), check, commands)
