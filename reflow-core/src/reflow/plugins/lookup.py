"""Executors, stores, serializers, verifiers and observers, by name and by type.

Plugins are looked up in the registry of this process. Importing this module costs nothing:
a worker takes `load_target` from it and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from importlib import import_module

from ..errors import ExecutorError, PluginError, SerializationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from ..config import Config
    from ..executors.base import Executor
    from ..storage.stores.base import Store
    from .entries import Settings
    from .hookspecs import SerializerEntry, VerifierEntry
    from .listing import PluginRow
    from .observers import Observers
    from .registry import Registry

    E = TypeVar("E")

PORTS = {
    "executor": "reflow.executors.base:Executor",
    "store": "reflow.stores.base:Store",
    "serializer": "reflow.serializers.base:Serializer",
    "verifier": "reflow.verifiers.base:Verifier",
}
"""By kind, the class that a target must be a subclass of."""

SQLITE = "sqlite"
SQLITE_STORE = "reflow.storage.stores.sqlite.store:SqliteStore"
"""The scheme and the class of reflow's own store."""


@lru_cache(maxsize=1)
def registry() -> Registry:
    """Return the registry of this process."""
    from .loader import Loader
    from .registry import Registry

    return Registry(Loader(read_settings=_settings))


def _settings() -> Settings:
    """Read what the configuration says about plugins.

    A configuration that cannot be read is noted, and told where it matters: its own error
    is for those who need more of it.
    """
    from ..config.paths import config_path
    from ..errors import ConfigError
    from .entries import Settings

    named = os.environ.get("REFLOW_PLUGINS")
    enabled = None
    if named is not None:
        enabled = tuple(filter(None, map(str.strip, named.split(","))))
    file = Settings().file
    try:
        file = str(config_path())
        if not _is_configured():
            return Settings(enabled=enabled, file=file)
        from ..config import load_config

        config = load_config()
    except ConfigError as error:
        return Settings(enabled=enabled, file=file, problem=str(error))
    known, by = config.plugins, "REFLOW_PLUGINS"
    if named is None and known.enabled is not None:
        origin = config.origins.get(("plugins", "enabled"), file)
        enabled, by = tuple(known.enabled), f"[plugins] enabled in {origin}"
    return Settings(enabled=enabled, enabled_by=by, pin=known.pin, file=file)


def _is_configured() -> bool:
    """Whether there is anything to read: mostly not, and then nobody waits for the reader."""
    from ..config.paths import config_path, look_for_project, site_paths

    return (
        any(
            name in os.environ
            for name in ("REFLOW_CONFIG", "REFLOW_PROFILE", "REFLOW_PLUGINS_PIN")
        )
        or any(os.path.lexists(path) for path in (config_path(), *site_paths()))
        or any(True for _ in look_for_project())
    )


def load_target(kind: str, name: str, target: str, provider: str = "") -> type:
    """Import the class "module:Class" that the `kind` `name` is registered as.

    `kind` is a key of `PORTS`; `provider`, such as "reflow-pbs 0.1.0", is for the message.
    Raises `PluginError`, with its cause, where it cannot be imported or is no subclass of
    the port.
    """
    what = f"{kind} {name!r}{provider and f' of {provider}'} is broken"
    module, _, attribute = target.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a foreign module may even exit at import
        raise PluginError(_noted(f"{what}: {type(error).__name__}: {error}")) from error
    module, _, attribute = PORTS[kind].partition(":")
    port = getattr(import_module(module), attribute)
    if not (isinstance(found, type) and issubclass(found, port)):
        raise PluginError(_noted(f"{what}: {target} is no subclass of {module}.{attribute}"))
    return found


def _noted(message: str) -> str:
    from .discovery import and_import_name

    return and_import_name(message)


def _entry(form: type[E], kind: str, name: str) -> E:
    found = registry().find(kind, name).entry
    assert isinstance(found, form)  # the registry takes no other in
    return found


def _class(kind: str, name: str) -> type:
    known = registry().find(kind, name)
    return load_target(kind, name, known.entry.target, str(known.provider))


def executor_class(name: str) -> type[Executor]:
    """Return the executor class registered as `name` (or under that alias).

    Raises `UnknownPluginError` (an ImportError too) where none is installed and
    `PluginError` where the plugin is broken, incompatible, clashing or left out.
    """
    return _class("executor", name)


def store_class(scheme: str) -> type[Store]:
    """Return the store class for URLs of a scheme. Raises as `executor_class` does."""
    return _class("store", scheme)


def serializer_entry(name: str) -> SerializerEntry:
    """Return the serializer of that name. Raises as `executor_class` does."""
    from .hookspecs import SerializerEntry

    return _entry(SerializerEntry, "serializer", name)


def serializer_entry_for(cls: type) -> SerializerEntry | None:
    """Return the serializer that takes values of a class without being named.

    The one for the class itself, else for its nearest base; None where no plugin has
    one. Raises `PluginError` where two distributions claim the same class and none of them
    is pinned. A broken plugin is passed over.
    """
    found = registry().one_for_type("serializer", cls)
    return None if found is None else serializer_entry(found.names[0])


def verifier_entry(name: str) -> VerifierEntry:
    """Return the verifier of that name. Raises as `executor_class` does."""
    from .hookspecs import VerifierEntry

    return _entry(VerifierEntry, "verifier", name)


def verifier_entries_for(cls: type) -> list[VerifierEntry]:
    """Return the verifiers that judge values of a class without being named.

    All that claim the class itself, else all that claim its nearest base: a result stands
    when each of them says so. A broken plugin is passed over.
    """
    found = registry().for_type("verifier", cls)
    return [verifier_entry(one.names[0]) for one in found]


def executor_from(given: str | Executor, config: Config | None = None) -> Executor:
    """Return the executor that `given` names, with its settings from `config`.

    An executor instance is returned as it is: code comes before configuration.
    Raises as `executor_class` does, and `ConfigError` for bad settings.
    """
    from ..executors.base import Executor

    if isinstance(given, Executor):
        return given
    if not isinstance(given, str):
        raise ExecutorError(
            f"executor must be a name such as 'local' or an Executor, not {type(given).__name__}"
        )
    cls = executor_class(given)
    if config is None:
        return cls()
    return config.executor_settings(registry().find("executor", given).names[0], cls)


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
    from .observers import load_observers

    return load_observers(registry().loader, names)


def installed(check: bool = False, commands: Collection[str] = ()) -> list[PluginRow]:
    """Return a row for everything that reflow and the installed plugins bring.

    Every plugin is loaded, and with `check` what it names is imported as well. Extra commands
    of a name in `commands` are shadowed. Raises nothing for a plugin: its row says what is wrong.
    """
    from .listing import inventory

    return inventory(registry(), check, commands)
