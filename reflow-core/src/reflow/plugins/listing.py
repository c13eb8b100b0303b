"""The list of everything that plugins bring, and how each stands."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from attrs import evolve, frozen

from .. import __version__
from ..errors import PluginError
from .commands import choose_command, extra_commands, load_command
from .discovery import CLASHING, EntryPoint, clash_of_import_name, unmet_requirement
from .entries import LIFECYCLE, Registered, clash_text
from .lookup import load_target
from .registry import Registry

OK, BROKEN, INCOMPATIBLE = "ok", "broken", "incompatible"
SHADOWED, CLASHES, DISABLED = "shadowed", "clashing", "disabled"
STATES = (OK, BROKEN, SHADOWED, INCOMPATIBLE, CLASHES, DISABLED)


@frozen(kw_only=True)
class PluginRow:
    """One thing that a plugin brings.

    `kind` is "executor", "store", "serializer", "verifier", "observer", "command" or, for one
    that is broken, left out or registers nothing, "plugin"; `state` is one of `STATES` and
    `detail` says why it is that, or what else it is known by.
    """

    name: str
    kind: str
    distribution: str
    version: str
    target: str
    state: str = OK
    detail: str = ""


def inventory(registry: Registry, check: bool, commands: Collection[str]) -> list[PluginRow]:
    """Return a row for everything that is installed; every plugin is loaded for that.

    With `check`, targets and commands are imported as well. `commands` are the names that
    extra commands cannot have.
    """
    loader = registry.loader
    loader.load(loader.points)
    rows = [_registered(registry, one, check) for one in loader.entries]
    for failure in loader.failures:
        provider = failure.provider
        rows.append(
            PluginRow(
                name=provider.plugin,
                kind="plugin",
                distribution=provider.distribution.name,
                version=provider.distribution.version,
                target=failure.target,
                state=failure.state,
                detail=failure.reason,
            )
        )
    for point in loader.points:
        plugin = loader.loaded.get(point)
        if loader.observes(plugin):
            rows.append(_row(point, "observer"))
        elif not loader.allowed(point):
            text = f"{loader.settings.enabled_by} leaves it out"
            rows.append(_row(point, "plugin", DISABLED, text))
        elif plugin is not None and not any(
            one.provider.plugin == point.name and one.provider.distribution == point.distribution
            for one in loader.entries
        ):
            text = f"it registers nothing and has none of {', '.join(LIFECYCLE)}"
            rows.append(_row(point, "plugin", OK, text))
    for problem in loader.installed.problems:
        rows.append(
            PluginRow(
                name=problem.name,
                kind="plugin",
                distribution="",
                version="",
                target="",
                state=BROKEN,
                detail=problem.reason,
            )
        )
    rows.extend(_commands(registry, check, commands))
    clash = clash_of_import_name()
    if clash:
        rows.append(
            PluginRow(
                name="reflow",
                kind="package",
                distribution=CLASHING,
                version=clash.split()[1],
                target="reflow",
                state=CLASHES,
                detail=clash,
            )
        )
    return rows


def _row(point: EntryPoint, kind: str, state: str = OK, detail: str = "") -> PluginRow:
    return PluginRow(
        name=point.name,
        kind=kind,
        distribution=point.distribution.name,
        version=point.distribution.version,
        target=point.value,
        state=state,
        detail=detail,
    )


def _registered(registry: Registry, one: Registered, check: bool) -> PluginRow:
    aliases = f"aliases: {', '.join(one.names[1:])}" if one.names[1:] else ""
    types = f"types: {', '.join(one.types)}" if one.types else ""
    row = PluginRow(
        name=one.names[0],
        kind=one.kind,
        distribution=one.provider.distribution.name,
        version=one.provider.distribution.version,
        target=one.entry.target,
        detail=aliases or types,
    )
    for name in one.names:
        try:
            found = registry.contenders(one.kind, name)
        except PluginError as error:
            return evolve(row, state=CLASHES, detail=str(error))
        if one not in found:
            winners = " and ".join(str(other.provider) for other in found)
            return evolve(row, state=SHADOWED, detail=f"{name!r} is taken from {winners}")
        try:
            registry.find(one.kind, name)
        except PluginError as error:
            return evolve(row, state=CLASHES, detail=str(error))
    rivals = _rivals(registry, one)
    if rivals:
        return evolve(row, state=CLASHES, detail=rivals)
    if check:
        try:
            load_target(one.kind, row.name, row.target, str(one.provider))
        except PluginError as error:
            return evolve(row, state=BROKEN, detail=str(error))
    return row


def _rivals(registry: Registry, one: Registered) -> str:
    """Say that another serializer claims the same type and none is pinned; else return ""."""
    settings = registry.loader.settings
    for key in one.types if one.kind == "serializer" else ():
        who = [
            other.provider.distribution
            for other in registry.loader.entries
            if other.kind == one.kind and key in other.types and other.entry != one.entry
        ]
        if who and key not in settings.pin:
            who = [one.provider.distribution, *who]
            return clash_text(f"register a serializer for {key}", who, [key], settings)
    return ""


def _commands(
    registry: Registry, check: bool, taken: Collection[str]
) -> Iterator[PluginRow]:
    points = extra_commands().points
    for point in points:
        name, row = point.name, _row(point, "command")
        if name in taken:
            yield evolve(row, state=SHADOWED, detail=f"reflow has a command {name!r} itself")
            continue
        rivals = [one for one in points if one.name == name]
        try:
            chosen = choose_command(rivals, lambda: registry.loader.settings)
        except PluginError as error:
            yield evolve(row, state=CLASHES, detail=str(error))
            continue
        if chosen is not point:
            detail = f"{name!r} is taken from {chosen.distribution}"
            yield evolve(row, state=SHADOWED, detail=detail)
            continue
        why = unmet_requirement(point.distribution, __version__)
        if why:
            row = evolve(row, state=INCOMPATIBLE, detail=why)
        elif check:
            try:
                load_command(point)
            except PluginError as error:
                row = evolve(row, state=BROKEN, detail=str(error))
        yield row
