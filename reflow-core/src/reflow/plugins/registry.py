"""The registry: what plugins register, found by name and by type.

It is lazy: what reflow brings itself needs no discovery, a name loads the entry points of
that name and no other, and only a miss loads the rest. What a name or a type stands for
never depends on what was looked up before.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import field, frozen

from ..errors import PluginError, UnknownPluginError, nearest
from ..values.references import is_called
from .discovery import and_import_name, normal
from .entries import Registered, clash_text
from .loader import Loader

BACKENDS = {
    "slurm": "reflow-slurm",
    "pbs": "reflow-pbs",
    "lsf": "reflow-lsf",
    "sge": "reflow-sge",
    "flux": "reflow-flux",
}
"""Executors this project knows of and what to install for them."""

STORES = {"postgresql": "reflow-postgres", "postgres": "reflow-postgres"}
"""The same of stores, by their URLs' schemes."""


@frozen
class Registry:
    """What the plugins of one process register, found in `loader`, which loads them."""

    loader: Loader = field(factory=Loader)

    def find(self, kind: str, name: str) -> Registered:
        """Return what is registered as the `kind` of that name or alias.

        Raises `UnknownPluginError` where no plugin brings it and `PluginError` where one
        does and is broken, incompatible, left out or not the only one.
        """
        found = self.contenders(kind, name)
        if len(found) == 1:
            return found[0]
        if not found:
            raise self._absent(kind, name)
        raise self._clash(f"{_a(kind)} named {name!r}", found, [name])

    def contenders(self, kind: str, name: str) -> list[Registered]:
        """Return what a name may stand for: one, none, or those that clash.

        What reflow brings itself comes first, then what is pinned, then the plugins whose
        entry point has that name, then all others. Raises `PluginError` for the failure of
        one that would come first.
        """
        own = [one for one in self._claims(kind, name) if not one.provider.plugin]
        if own:
            return own
        pinned = self.loader.settings.pin.get(name)
        if pinned is not None:
            found = self._pinned(kind, name, pinned)
            if found:
                return found
        self.loader.load(self.loader.installed.named(name))
        found = [one for one in self._claims(kind, name) if one.provider.plugin == name]
        if not found:
            error = self.loader.failed(lambda provider: provider.plugin == name)
            if error:
                raise error
            self.loader.load(self.loader.installed.quick_points)
            found = self._claims(kind, name)
        if not found:
            self.loader.load(self.loader.points)
            found = self._claims(kind, name)
        return found

    def _claims(self, kind: str, name: str) -> list[Registered]:
        found: list[Registered] = []
        for one in self.loader.entries:
            # Two distributions that name one and the same class do not contradict.
            known = any(one.entry == other.entry for other in found)
            if one.kind == kind and name in one.names and not known:
                found.append(one)
        return found

    def _pinned(self, kind: str, name: str, pinned: str) -> list[Registered]:
        """Return what the pinned distribution registers; [] where it has none of that kind."""
        loader, wanted = self.loader, normal(pinned)
        self.loader.check_pin(name, pinned)
        points = [one for one in loader.points if normal(one.distribution.name) == wanted]
        loader.load(points)
        found = [
            one
            for one in loader.entries
            if one.kind == kind
            and name in one.names
            and normal(one.provider.distribution.name) == wanted
        ]
        if not found:
            error = loader.failed(lambda one: normal(one.distribution.name) == wanted)
            if error:
                raise error
            for point in points:
                if not loader.allowed(point):
                    raise loader.left_out(point)
        return found

    def for_type(self, kind: str, cls: type) -> list[Registered]:
        """Return the entries of a kind that claim a class, or else its nearest base class.

        Those that share a class but not the one distribution that a pin names are left out.
        Classes of a package that reflow serves itself, such as pathlib, need no discovery.
        """
        own = _nearest([one for one in self._active(kind) if not one.provider.plugin], cls)
        if any(_package(name) == _package(cls.__module__) for one in own for name in one.types):
            return own
        self.loader.load(self.loader.installed.quick_points)
        found = _nearest(self._active(kind), cls)
        for key in _keys(found, cls):
            pinned = self.loader.settings.pin.get(key)
            if pinned is not None and len(found) > 1:
                self.loader.check_pin(key, pinned)
                wanted = normal(pinned)
                mine = [o for o in found if normal(o.provider.distribution.name) == wanted]
                found = mine or found
        return found

    def one_for_type(self, kind: str, cls: type) -> Registered | None:
        """Return the one entry that `for_type` finds. Raises `PluginError` for two."""
        found = self.for_type(kind, cls)
        if len(found) > 1:
            what = f"{_a(kind)} for {cls.__module__}.{cls.__qualname__}"
            raise self._clash(what, found, _keys(found, cls))
        return self.find(kind, found[0].names[0]) if found else None

    def _active(self, kind: str) -> list[Registered]:
        """Return the registered entries of a kind that are not shadowed by name."""
        found = []
        for one in self.loader.entries:
            try:
                if one.kind == kind and one in self.contenders(kind, one.names[0]):
                    found.append(one)
            except PluginError:  # of another plugin, that would come first by this name
                continue
        return found

    def _clash(self, what: str, found: Iterable[Registered], keys: Iterable[str]) -> PluginError:
        who = [one.provider.distribution for one in found]
        return PluginError(clash_text(f"register {what}", who, keys, self.loader.settings))

    def _absent(self, kind: str, name: str) -> PluginError:
        loader = self.loader
        out = [point for point in loader.points if not loader.allowed(point)]
        for point in out:
            if point.name == name:
                return loader.left_out(point)
        known = [one for one in loader.entries if one.kind == kind]
        names = {key for one in known for key in one.names}
        backends = {"executor": BACKENDS, "store": STORES}.get(kind, {})
        close = nearest(name, {*names, *backends})
        message = f"no {kind} named {name!r} is installed"
        if close is not None and close != name:
            message += f": did you mean {close!r}?"
        installed = sorted({one.names[0] for one in known})
        message += f" (installed: {', '.join(installed) or 'none'})"
        if close in backends and close not in names:
            message += f"; try: pip install {backends[close]}"
        for failure in (*loader.failures, *loader.installed.problems):
            message += f"; {failure}"
        if out:
            left = ", ".join(point.name for point in out)
            message += f"; {loader.settings.enabled_by} leaves out: {left}"
        return UnknownPluginError(and_import_name(message))


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _package(dotted: str) -> str:
    return dotted.partition(".")[0]


def _nearest(entries: list[Registered], cls: type) -> list[Registered]:
    for base in cls.__mro__:
        found = [one for one in entries if any(is_called(base, name) for name in one.types)]
        if found:
            return found
    return []


def _keys(found: list[Registered], cls: type) -> list[str]:
    return [
        key for one in found for key in one.types if any(is_called(c, key) for c in cls.__mro__)
    ]
