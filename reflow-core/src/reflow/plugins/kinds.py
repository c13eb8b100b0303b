"""What plugins can bring, and how it is imported.

Workers import this, so it knows the classes of hooks and ports by their names alone.
"""

from importlib import import_module
from typing import NamedTuple

from ..errors import PluginError

BACKENDS = {
    "slurm": "SlurmExecutor",
    "pbs": "PBSExecutor",
    "lsf": "LSFExecutor",
    "sge": "SGEExecutor",
    "flux": "FluxExecutor",
}
"""The executors of this project that have distributions of their own, with their classes.

Each is in the distribution ``reflow-<name>``. This is the only list of them in reflow-core.
"""

SQLITE = "sqlite"
SQLITE_STORE = "reflow.storage.stores.sqlite.store:SqliteStore"
"""The scheme and the class of reflow's own store."""


class Kind(NamedTuple):
    """A kind of thing that plugins bring."""

    entry: str
    """The class in `reflow.hookspecs` that the hook ``reflow_register_<kind>s`` returns."""
    port: str
    """The class that a target must be a subclass of."""
    packages: dict[str, str]
    """Names that this project has plugins for, and the distribution to install for each."""


_EXECUTORS = {name: f"reflow-{name}" for name in BACKENDS}
_STORES = dict.fromkeys(("postgresql", "postgres"), "reflow-postgres")
KINDS = {
    "executor": Kind("ExecutorEntry", "reflow.executors.base:Executor", _EXECUTORS),
    "store": Kind("StoreEntry", "reflow.stores.base:Store", _STORES),
    "serializer": Kind("SerializerEntry", "reflow.serializers.base:Serializer", {}),
    "verifier": Kind("VerifierEntry", "reflow.verifiers.base:Verifier", {}),
}


def import_object(path: str) -> object:
    """Import and return what ``"module"`` or ``"module:attribute"`` names."""
    module, _, attributes = path.partition(":")
    loaded: object = import_module(module)
    for attribute in filter(None, attributes.split(".")):
        loaded = getattr(loaded, attribute)
    return loaded


def import_foreign(path: str, what: str) -> object:
    """Import what a plugin names by a path.

    Raises `PluginError`, with its cause, which says that `what` is broken.
    """
    try:
        return import_object(path)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a foreign module may even exit when it is imported
        raise broken(what, f"{type(error).__name__}: {error}") from error


def load_target(kind: str, name: str, target: str, provider: str = "") -> type:
    """Import the class "module:Class" that the `kind` `name` is registered as.

    `kind` is a key of `KINDS`; `provider`, such as "reflow-pbs 0.1.0", is for the message.
    Raises `PluginError`, with its cause, where it cannot be imported or is not a subclass of
    the port.
    """
    what = f"{kind} {name!r}{provider and f' of {provider}'}"
    cls = import_foreign(target, what)
    port = import_object(KINDS[kind].port)
    if not (isinstance(cls, type) and isinstance(port, type) and issubclass(cls, port)):
        raise broken(what, f"{target} is not a subclass of {KINDS[kind].port.replace(':', '.')}")
    return cls


def broken(what: str, reason: str) -> PluginError:
    """Return the error for something of a plugin that cannot be used."""
    from .discovery import and_import_name

    return PluginError(and_import_name(f"{what} is broken: {reason}"))
