"""Loads plugins, each at most once, and takes in what they register.

A plugin that cannot be used is remembered, and disturbs nobody who does not need it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from inspect import Parameter, signature
from time import perf_counter
from typing import Any

import pluggy
from attrs import define, field

from .. import __version__
from ..errors import PluginError, nearest
from . import builtin, hookspecs
from .discovery import (
    CORE,
    Distribution,
    EntryPoint,
    Installed,
    and_import_name,
    because,
    normal,
    unmet_requirement,
)
from .entries import KINDS, LIFECYCLE, Failure, Provider, Registered, Settings, pin_text
from .hookspecs import PROJECT

HOOKS = tuple(name for name in vars(hookspecs) if name.startswith(f"{PROJECT}_"))
_NEWER = f"it needs a newer {CORE} than {__version__}"


class IncompatibleError(Exception):
    """What a plugin asks for is not in this version of reflow-core."""


def _tracing() -> bool:
    return os.environ.get("REFLOW_TRACE_PLUGINS", "") not in ("", "0")


def trace(text: str) -> None:
    """Say something on stderr where ``REFLOW_TRACE_PLUGINS=1`` asks for it."""
    if _tracing():
        print(f"reflow plugins: {text}", file=sys.stderr)


def _manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    if _tracing():

        def before(hook: str, implementations: Any, arguments: Mapping[str, Any]) -> None:
            if implementations:
                given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
                names = ", ".join(one.plugin_name for one in implementations)
                trace(f"hook {hook}({given}) of {names}")

        manager.add_hookcall_monitoring(before, lambda *_: None)
    return manager


@define(kw_only=True)
class Loader:
    """The plugins of one process: what is installed, what is loaded, what they registered.

    `read_settings` reads the configuration. It is called at most once, when it is first needed.
    """

    installed: Installed = field(factory=lambda: Installed(PROJECT))
    read_settings: Callable[[], Settings] = Settings
    manager: pluggy.PluginManager = field(factory=_manager)
    entries: list[Registered] = field(factory=list, init=False)
    failures: list[Failure] = field(factory=list, init=False)
    loaded: dict[EntryPoint, object] = field(factory=dict, init=False)
    """The plugins by their entry points, in the order of loading; None for a failed one."""
    _settings: Settings | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Register reflow's own plugin."""
        self.register(builtin, Provider(plugin="", distribution=core()))

    @property
    def settings(self) -> Settings:
        """What the configuration says."""
        if self._settings is None:
            self._settings = self.read_settings()
        return self._settings

    @property
    def points(self) -> list[EntryPoint]:
        """The entry points of all installed plugins, whether they may be loaded or not."""
        return self.installed.points

    def allowed(self, point: EntryPoint) -> bool:
        """Whether the configuration lets a plugin be loaded."""
        return self.settings.enabled is None or point.name in self.settings.enabled

    def left_out(self, point: EntryPoint) -> PluginError:
        """Return the error for a plugin that the configuration leaves out."""
        enabled = ", ".join(self.settings.enabled or ()) or "none"
        return PluginError(
            f"plugin {point.name!r} of {point.distribution} is disabled: "
            f"{self.settings.enabled_by} leaves it out (enabled: {enabled})"
        )

    def failed(self, wanted: Callable[[Provider], bool]) -> PluginError | None:
        """Return the error of the first such plugin that cannot be used, with its cause."""
        for failure in self.failures:
            if wanted(failure.provider):
                error = PluginError(and_import_name(str(failure)))
                error.__cause__ = failure.cause
                return error
        return None

    def check_pin(self, key: str, pinned: str) -> None:
        """Raise `PluginError` where a pin names a distribution without plugins."""
        known = {point.distribution.name for point in self.points}
        if normal(pinned) not in {CORE, *map(normal, known)}:
            close = nearest(pinned, known)
            hint = f": did you mean {close!r}?" if close else ""
            raise PluginError(
                f"{pin_text(key, pinned, self.settings)} names a distribution that is not "
                f"installed or has no plugins{hint} "
                f"(with plugins: {', '.join(sorted(known)) or 'none'})"
            )

    def load(self, points: Iterable[EntryPoint]) -> None:
        """Load these plugins; those that fail end up in `failures`."""
        for point in points:
            if point not in self.loaded and self.allowed(point):
                self._load(point)

    def _load(self, point: EntryPoint) -> None:
        provider = Provider(plugin=point.name, distribution=point.distribution)
        self.loaded[point] = None  # a plugin that looks for plugins while it is imported
        started = perf_counter()
        try:
            why = unmet_requirement(point.distribution, __version__)
            if why:
                raise IncompatibleError(why)
            plugin = point.load()
            self.register(plugin, provider)
            self.loaded[point] = plugin
            state = "ok"
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a foreign module may even exit when it is imported
            foreign = not isinstance(error, IncompatibleError)
            state = "broken" if foreign else "incompatible"
            self.failures.append(
                Failure(
                    provider=provider,
                    target=point.value,
                    state=state,
                    reason=because(error) if foreign else str(error),
                    cause=error if foreign else error.__cause__,
                )
            )
        took = (perf_counter() - started) * 1000
        trace(f"plugin {point.name} of {provider}: {state}, {took:.1f} ms")

    def register(self, plugin: object, provider: Provider) -> None:
        """Register a plugin and take in what its registration hooks describe.

        Raises whatever it raises, `PluginError` for an answer that is no entry, and
        `IncompatibleError`; nothing of it is kept then.
        """
        name = provider.plugin or "builtin"
        if self.manager.has_plugin(name):
            name = f"{name} ({provider})"  # two distributions may use one short name
        mine = not self.manager.is_registered(plugin)
        try:
            if mine:
                self._check(plugin, name)
            found = list(self._described(plugin, provider))
        except BaseException:
            if mine and self.manager.is_registered(plugin):
                self.manager.unregister(plugin)
            raise
        self.entries.extend(found)

    def _check(self, plugin: object, name: str) -> None:
        try:
            self.manager.register(plugin, name=name)
        except pluggy.PluginValidationError as error:
            for hook in HOOKS:
                unknown = _unknown_arguments(getattr(plugin, hook, None), hook)
                if unknown:
                    raise IncompatibleError(
                        f"its hook {hook} asks for {unknown[0]!r}, which this version does not "
                        f"pass; {_NEWER}"
                    ) from error
            raise
        for caller in self.manager.get_hookcallers(plugin) or ():
            own = [one for one in caller.get_hookimpls() if one.plugin is plugin]
            if not caller.has_spec() and not all(one.optionalhook for one in own):
                close = nearest(caller.name, HOOKS)
                hint = f" (did you mean {close!r}?)" if close else ""
                raise IncompatibleError(
                    f"it implements the hook {caller.name!r}, which this version does not have"
                    f"{hint}; {_NEWER}"
                )

    def _described(self, plugin: object, provider: Provider) -> Iterable[Registered]:
        for kind, cls in KINDS.items():
            hook = f"reflow_register_{kind}s"
            for answer in self.call(plugin, hook):
                for entry in answer:
                    if not isinstance(entry, cls):
                        raise PluginError(
                            f"{hook} returns {cls.__name__} objects, not {type(entry).__name__}"
                        )
                    yield Registered(kind=kind, entry=entry, provider=provider)

    def call(self, plugin: object, hook: str, **arguments: object) -> list[Any]:
        """Call a hook of one plugin and of no other. Raises what it raises."""
        others = [one for one in self.manager.get_plugins() if one is not plugin]
        answers: list[Any] = self.manager.subset_hook_caller(hook, others)(**arguments)
        return answers

    def observes(self, plugin: object) -> bool:
        """Whether a plugin has a lifecycle hook."""
        callers = self.manager.get_hookcallers(plugin) if plugin is not None else None
        return any(caller.name in LIFECYCLE for caller in callers or ())


def core() -> Distribution:
    """Return the distribution that reflow itself is in."""
    return Distribution(name=CORE, version=__version__)


def _unknown_arguments(function: object, hook: str) -> list[str]:
    if not callable(function):
        return []
    known = signature(getattr(hookspecs, hook)).parameters
    return [
        name
        for name, one in signature(function).parameters.items()
        if name not in known and one.default is Parameter.empty
    ]
