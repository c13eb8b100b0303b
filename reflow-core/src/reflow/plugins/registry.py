"""The registry: what plugins register, found by name and by type.

It is lazy: what reflow brings itself needs no search, a name loads the entry points of that name
and no others, and only a miss loads the rest. A plugin that cannot be used is remembered, and
is an error only for those who need it. What a name or a type stands for never depends on what was
looked up before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cached_property
from time import perf_counter

import pluggy
from attrs import define, field

from ..errors import PluginError, UnknownPluginError, did_you_mean, nearest
from ..values.references import is_called
from . import builtin
from .discovery import EntryPoint, Installed, and_import_name, because, normal
from .hookspecs import PROJECT
from .kinds import KINDS
from .loader import (
    BROKEN,
    BUILTIN,
    INCOMPATIBLE,
    LIFECYCLE,
    Failure,
    IncompatibleError,
    Registered,
    import_plugin,
    plugin_manager,
    register,
    trace,
)
from .selection import Selection


@define(kw_only=True, slots=False)
class Registry:
    """The plugins of one process: what is installed, what is loaded, what they register.

    `read_selection` reads the configuration. It is called at most once, when it is first needed.
    """

    installed: Installed = field(factory=lambda: Installed(PROJECT))
    read_selection: Callable[[], Selection] = Selection
    manager: pluggy.PluginManager = field(factory=plugin_manager)
    entries: list[Registered] = field(factory=list, init=False)
    failures: list[Failure] = field(factory=list, init=False)
    plugins: dict[EntryPoint, object] = field(factory=dict, init=False)
    """The plugins that were loaded, in this order; None for those that failed."""

    def __attrs_post_init__(self) -> None:
        """Register reflow's own plugin."""
        self.register(builtin, BUILTIN)

    @cached_property
    def selection(self) -> Selection:
        """What the configuration says."""
        return self.read_selection()

    def register(self, plugin: object, point: EntryPoint) -> None:
        """Take in what a plugin registers. Raises as `reflow.plugins.loader.register`."""
        self.entries += register(self.manager, plugin, point)
        self.plugins[point] = plugin

    def load(self, points: Iterable[EntryPoint]) -> None:
        """Load these plugins, each once; those that fail end up in `failures`."""
        for point in list(points):
            if point not in self.plugins and self.selection.allows(point):
                # Noted first: a plugin may look for plugins while it is imported.
                self.plugins[point] = None
                self._load(point)

    def _load(self, point: EntryPoint) -> None:
        started, state = perf_counter(), "ok"
        try:
            self.register(import_plugin(point), point)
        except IncompatibleError as error:
            state = INCOMPATIBLE
            self.failures.append(Failure(point, state, str(error), error))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a foreign module may even exit when it is imported
            state = BROKEN
            self.failures.append(Failure(point, state, because(error), error))
        took = (perf_counter() - started) * 1000
        trace(f"plugin {point.name} of {point.distribution}: {state}, {took:.1f} ms")

    # By name

    def find(self, kind: str, name: str) -> Registered:
        """Return what is registered as the `kind` of that name or alias.

        Raises `UnknownPluginError` where no plugin brings it and `PluginError` where one
        does and is broken, incompatible, left out or not the only one.
        """
        contenders = self.contenders(kind, name)
        if not contenders:
            raise self._missing(kind, name)
        if len(contenders) > 1:
            raise self.clash(f"{_a(kind)} named {name!r}", contenders, name)
        return contenders[0]

    def contenders(self, kind: str, name: str) -> list[Registered]:
        """Return what a name may stand for: one, none, or those that clash.

        What reflow brings itself comes first, then what is pinned, then the plugins whose
        entry point has that name, then all others. Raises `PluginError` for the failure of
        one that would come first.
        """
        for points in self._in_order(name):
            self.load(points)
            matches = self._matches(kind, name, points)
            if matches:
                return matches
            # No other plugin may stand in for one that comes first by this name.
            failures = [failure for failure in self.failures if failure.point in points]
            if failures and points is not self.plugins:
                raise failures[0].error()
        return []

    def _matches(
        self, kind: str, name: str, points: Collection[EntryPoint]
    ) -> list[Registered]:
        """Return what some plugins registered by a name."""
        matches: list[Registered] = []
        for candidate in self.of_kind(kind):
            # Two distributions that name one and the same class do not contradict.
            is_new = all(candidate.entry != match.entry for match in matches)
            if name in candidate.names and candidate.point in points and is_new:
                matches.append(candidate)
        return matches

    def _in_order(self, name: str) -> Iterator[Collection[EntryPoint]]:
        """Yield plugins that may bring a name, for as long as none of them does."""
        yield [BUILTIN]  # before the configuration is read, which may need no plugin at all
        pinned = self.pinned(name)
        yield pinned
        for point in pinned:
            if not self.selection.allows(point):
                raise self.selection.left_out(point)
        yield self.installed.named(name)
        self.load(self.installed.quick_points)
        yield self.plugins
        self.load(self.installed.points)
        yield self.plugins

    def of_kind(self, kind: str) -> list[Registered]:
        """Return what plugins that are loaded registered of a kind."""
        return [registered for registered in self.entries if registered.kind == kind]

    def pinned(self, key: str) -> list[EntryPoint]:
        """Return the plugins of the distribution that is pinned under a key; [] without a pin.

        Raises `PluginError` for a distribution that is not installed or has no plugins.
        """
        distribution = self.selection.pin.get(key)
        if distribution is None:
            return []
        points = [
            point
            for point in (BUILTIN, *self.installed.quick_points)
            if normal(point.distribution.name) == normal(distribution)
        ]
        if points:
            return points
        names = sorted({point.distribution.name for point in self.installed.points})
        raise PluginError(
            f"{self.selection.pin_text(key, distribution=distribution)} names a distribution that "
            f"is not installed or has no plugins{did_you_mean(distribution, names)} "
            f"(with plugins: {', '.join(names) or 'none'})"
        )

    def _missing(self, kind: str, name: str) -> PluginError:
        """Return the error for a name that nothing is registered by: all that may be the reason."""
        left_out = [point for point in self.installed.points if not self.selection.allows(point)]
        for point in left_out:
            if point.name == name:
                return self.selection.left_out(point)
        reasons = [self._not_installed(kind, name), *self._without_hooks(kind, name)]
        reasons += map(str, (*self.failures, *self.installed.problems))
        if left_out:
            names = ", ".join(point.name for point in left_out)
            reasons.append(f"{self.selection.enabled_by} leaves out: {names}")
        return UnknownPluginError(and_import_name("; ".join(reasons)))

    def _not_installed(self, kind: str, name: str) -> str:
        candidates = self.of_kind(kind)
        names = {key for candidate in candidates for key in candidate.names}
        packages = KINDS[kind].packages if kind in KINDS else {}
        failed = {failure.point.name for failure in self.failures}
        close = nearest(name, {*names, *packages, *failed})
        hint = f": did you mean {close!r}?" if close and close != name else ""
        listed = ", ".join(sorted({candidate.names[0] for candidate in candidates})) or "none"
        advice = f"; try: pip install {packages[close]}" if close in {*packages} - names else ""
        return f"no {kind} named {name!r} is installed{hint} (installed: {listed}){advice}"

    def _without_hooks(self, kind: str, name: str) -> Iterator[str]:
        """Say which plugins of that name were loaded and register nothing of a kind."""
        hooks = " or ".join(LIFECYCLE) if kind == "observer" else f"reflow_register_{kind}s"
        registering = {candidate.point for candidate in self.of_kind(kind)}
        for point in self.installed.named(name):
            if self.plugins[point] is not None and point not in registering:
                yield f"plugin {name!r} of {point.distribution} does not implement {hooks}"

    def clash(self, what: str, rivals: Iterable[Registered], *keys: str) -> PluginError:
        """Return the error for entries of several distributions that do the same."""
        distributions = (rival.distribution for rival in rivals)
        return self.selection.clash(f"register {what}", distributions, *keys)

    # By type

    def for_type(self, kind: str, cls: type) -> list[Registered]:
        """Return the entries of a kind that claim a class, or else its nearest base class.

        Those that share a class but not the one distribution that a pin names are left out.
        Classes of a package that reflow serves itself, such as pathlib, need no search.
        """
        own = [candidate for candidate in self.of_kind(kind) if candidate.point == BUILTIN]
        matches = _nearest(own, cls)
        if _package(cls.__module__) in map(_package, _types(matches)):
            return matches
        self.load(self.installed.quick_points)
        matches = _nearest(filter(self._is_reached_by_name, self.of_kind(kind)), cls)
        for key in _keys(matches, cls):
            if len(matches) > 1:
                pinned = self.pinned(key)
                matches = [match for match in matches if match.point in pinned] or matches
        return matches

    def one_for_type(self, kind: str, cls: type) -> Registered | None:
        """Return the one entry that `for_type` finds. Raises `PluginError` for two."""
        matches = self.for_type(kind, cls)
        if len(matches) > 1:
            what = f"{_a(kind)} for {cls.__module__}.{cls.__qualname__}"
            raise self.clash(what, matches, *_keys(matches, cls))
        # Later processes of a run look it up by name, so its name must be unique too.
        return self.find(kind, matches[0].names[0]) if matches else None

    def _is_reached_by_name(self, candidate: Registered) -> bool:
        try:
            return candidate in self.contenders(candidate.kind, candidate.names[0])
        except PluginError:  # of another plugin, which comes first by this name
            return False


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _package(dotted: str) -> str:
    return dotted.partition(".")[0]


def _nearest(candidates: Iterable[Registered], cls: type) -> list[Registered]:
    """Return those that claim a class, or else its nearest base class."""
    typed = [candidate for candidate in candidates if candidate.types]
    claims = ([item for item in typed if item.claims(base)] for base in cls.__mro__)
    return next(filter(None, claims), [])


def _types(matches: Iterable[Registered]) -> list[str]:
    return [name for match in matches for name in match.types]


def _keys(matches: Iterable[Registered], cls: type) -> list[str]:
    """Return the names by which a class or a base of it is claimed: pins go by them."""
    names = _types(matches)
    return [name for name in names if any(is_called(base, name) for base in cls.__mro__)]
