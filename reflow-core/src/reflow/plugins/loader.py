"""Loads a plugin: imports it, checks its hooks, and takes in what it registers."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from inspect import Parameter, signature
from itertools import chain
from typing import Any, NamedTuple

from attrs import frozen
from pluggy import PluginManager

from .. import __version__
from ..errors import PluginError, did_you_mean
from ..values.references import is_called
from . import hookspecs
from .discovery import CORE, Distribution, EntryPoint, and_import_name, unmet_requirement
from .hookspecs import PROJECT, Entry, StoreEntry
from .kinds import KINDS, import_object

HOOKS = {name: hook for name, hook in vars(hookspecs).items() if name.startswith(f"{PROJECT}_")}
LIFECYCLE = ("reflow_run_finished", "reflow_task_failed")
"""The hooks of observers."""

BUILTIN = EntryPoint("", "reflow.plugins.builtin", Distribution(CORE, __version__))
"""What reflow itself brings, through the hooks that every plugin uses."""

BROKEN, INCOMPATIBLE = "broken", "incompatible"
_BY_POSITION = Parameter.POSITIONAL_OR_KEYWORD
_NEWER = f"it needs a newer {CORE} than {__version__}"


class IncompatibleError(Exception):
    """What a plugin asks for is not in this version of reflow-core."""


class ObserverEntry(NamedTuple):
    """A plugin with lifecycle hooks, which goes by the name of its entry point."""

    name: str
    target: str


@frozen
class Registered:
    """An entry of a kind, and the plugin that registered it."""

    kind: str
    entry: Entry | ObserverEntry
    point: EntryPoint

    @property
    def names(self) -> tuple[str, ...]:
        """What it is found by: its name and aliases, or its URL scheme."""
        entry = self.entry
        if isinstance(entry, StoreEntry):
            return (entry.scheme,)
        return (entry.name, *getattr(entry, "aliases", ()))

    @property
    def types(self) -> tuple[str, ...]:
        """The classes it claims, as dotted names."""
        return tuple(getattr(self.entry, "types", ()))

    def claims(self, cls: type) -> bool:
        """Whether it is for values of this very class."""
        return any(is_called(cls, name) for name in self.types)

    @property
    def distribution(self) -> Distribution:
        """The distribution that the plugin is of."""
        return self.point.distribution


class Failure(NamedTuple):
    """A plugin that could not be loaded, and why; `state` is `INCOMPATIBLE` or `BROKEN`."""

    point: EntryPoint
    state: str
    reason: str
    cause: BaseException

    def __str__(self) -> str:
        plugin = f"plugin {self.point.name!r} of {self.point.distribution}"
        return f"{plugin} is {self.state}: {self.reason}"

    def error(self) -> PluginError:
        """Return the error for who needs this plugin."""
        error = PluginError(and_import_name(str(self)))
        error.__cause__ = self.cause
        return error


def import_plugin(point: EntryPoint) -> object:
    """Import a plugin. Raises whatever it raises, and `IncompatibleError`."""
    unmet = unmet_requirement(point.distribution, __version__)
    if unmet:
        raise IncompatibleError(unmet)
    return import_object(point.value)


def register(manager: PluginManager, plugin: object, point: EntryPoint) -> list[Registered]:
    """Register a plugin; return what its registration hooks describe.

    Raises whatever they raise, `PluginError` for an answer that is not an entry, and
    `IncompatibleError` for hooks that this version does not have.
    """
    if not manager.is_registered(plugin):  # one module may be two entry points
        _check_hooks(manager, plugin)
        name = point.name or "builtin"
        # Two distributions may use one short name.
        taken = manager.has_plugin(name)
        manager.register(plugin, f"{name} ({point.distribution})" if taken else name)
    registered = []
    for kind in KINDS:
        hook, form = f"reflow_register_{kind}s", KINDS[kind].entry
        for entry in chain.from_iterable(call(manager, plugin, hook)):
            if not isinstance(entry, getattr(hookspecs, form)):
                raise PluginError(f"{hook} returns {form} objects, not {type(entry).__name__}")
            registered.append(Registered(kind, entry, point))
    if any(caller.name in LIFECYCLE for caller in manager.get_hookcallers(plugin) or ()):
        observer = ObserverEntry(point.name, point.value)
        registered.append(Registered("observer", observer, point))
    return registered


def _check_hooks(manager: PluginManager, plugin: object) -> None:
    """Raise `IncompatibleError` for a hook, or an argument of one, that this version lacks."""
    # pluggy would register both and say nothing of the hook, and too little of the argument.
    for name in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, name)
        if options is not None and name in HOOKS:
            passed = signature(HOOKS[name]).parameters
            for argument in signature(getattr(plugin, name)).parameters.values():
                # pluggy leaves arguments with a default alone.
                required = argument.default is argument.empty and argument.kind <= _BY_POSITION
                if required and argument.name not in passed:
                    raise IncompatibleError(
                        f"its hook {name} asks for {argument.name!r}, which this version does not "
                        f"pass; {_NEWER}"
                    )
        elif options is not None and not options.get("optionalhook"):
            hint = did_you_mean(name, HOOKS, " (did you mean {!r}?)")
            raise IncompatibleError(
                f"it implements the hook {name!r}, which this version does not have{hint}; "
                f"{_NEWER}"
            )


def call(manager: PluginManager, plugin: object, hook: str, **arguments: object) -> list[Any]:
    """Call a hook of one plugin and of no other. Raises what it raises."""
    # pluggy calls a hook of all plugins. Here an error must be that of one plugin alone.
    others = [other for other in manager.get_plugins() if other is not plugin]
    answers: list[Any] = manager.subset_hook_caller(hook, others)(**arguments)
    return answers


def plugin_manager() -> PluginManager:
    """Return a manager with our hooks; their calls are traced."""
    manager = PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.add_hookcall_monitoring(_trace_call, lambda *_: None)
    return manager


def _trace_call(hook: str, implementations: Any, arguments: Mapping[str, Any]) -> None:
    if implementations:
        values = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        names = ", ".join(implementation.plugin_name for implementation in implementations)
        trace(f"hook {hook}({values}) of {names}")


def trace(text: str) -> None:
    """Print a line on stderr if ``REFLOW_TRACE_PLUGINS`` is set."""
    if os.environ.get("REFLOW_TRACE_PLUGINS", "0") not in ("", "0"):
        print(f"reflow plugins: {text}", file=sys.stderr)
