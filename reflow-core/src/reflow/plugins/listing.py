"""The list of everything that plugins bring, and how each stands."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from attrs import evolve, frozen

from .. import __version__
from ..errors import PluginError
from .commands import choose_command, extra_commands, load_command
from .discovery import CLASHING, EntryPoint, clash_of_import_name, unmet_requirement
from .kinds import KINDS, load_target
from .loader import BROKEN, INCOMPATIBLE, LIFECYCLE, Registered
from .registry import Registry

OK, SHADOWED, CLASHES, DISABLED = "ok", "shadowed", "clashing", "disabled"
STATES = (OK, BROKEN, SHADOWED, INCOMPATIBLE, CLASHES, DISABLED)


@frozen
class PluginRow:
    """One thing that a plugin brings.

    `kind` is "executor", "store", "serializer", "verifier", "observer", "command" or, for one
    that is broken, left out or registers nothing, "plugin"; `state` is one of `STATES` and
    `detail` says why it is that, or what else it is known by.
    """

    name: str
    kind: str
    distribution: str = ""
    version: str = ""
    target: str = ""
    state: str = OK
    detail: str = ""


def inventory(registry: Registry, check: bool, commands: Collection[str]) -> list[PluginRow]:
    """Return a row for everything that is installed; every plugin is loaded for that.

    With `check`, targets and commands are imported as well. `commands` are the names that
    extra commands cannot have.
    """
    registry.load(registry.installed.points)
    return [
        *(_registered(registry, registered, check) for registered in registry.entries),
        *(_row(failure.point, "plugin", failure.state, failure.reason)
          for failure in registry.failures),
        *_without_entries(registry),
        *(PluginRow(problem.name, "plugin", state=BROKEN, detail=problem.reason)
          for problem in registry.installed.problems),
        *_commands(check, commands),
        *_import_name(),
    ]  # fmt: skip


def _row(point: EntryPoint, kind: str, state: str = OK, detail: str = "") -> PluginRow:
    name, version, _ = point.distribution
    return PluginRow(point.name, kind, name, version, point.value, state, detail)


def _registered(registry: Registry, registered: Registered, check: bool) -> PluginRow:
    name, *aliases = registered.names
    also = {"aliases": aliases, "types": registered.types}
    detail = "; ".join(f"{word}: {', '.join(names)}" for word, names in also.items() if names)
    row = _row(registered.point, registered.kind, detail=detail)
    row = evolve(row, name=name, target=registered.entry.target)
    try:
        for key in registered.names:
            contenders = registry.contenders(registered.kind, key)
            if registered not in contenders:
                winners = " and ".join(str(winner.distribution) for winner in contenders)
                return evolve(row, state=SHADOWED, detail=f"{key!r} is taken from {winners}")
            registry.find(registered.kind, key)
        _check_types(registry, registered)
    except PluginError as error:
        return evolve(row, state=CLASHES, detail=str(error))
    if check and registered.kind in KINDS:
        try:
            load_target(registered.kind, name, row.target, str(registered.distribution))
        except PluginError as error:
            return evolve(row, state=BROKEN, detail=str(error))
    return row


def _check_types(registry: Registry, registered: Registered) -> None:
    """Raise `PluginError` where another serializer claims the same type and none is pinned."""
    if registered.kind != "serializer":  # of verifiers all count
        return
    for key in registered.types:
        claiming = [other for other in registry.of_kind("serializer") if key in other.types]
        rivals = [other for other in claiming if other.entry != registered.entry]
        if rivals and key not in registry.selection.pin:
            raise registry.clash(f"a serializer for {key}", [registered, *rivals], key)


def _without_entries(registry: Registry) -> Iterator[PluginRow]:
    """Yield a row for each plugin that may not be loaded or registers nothing."""
    registering = {registered.point for registered in registry.entries}
    for point in registry.installed.points:
        if not registry.selection.allows(point):
            yield _row(point, "plugin", DISABLED, f"{registry.selection.enabled_by} leaves it out")
        elif registry.plugins[point] is not None and point not in registering:
            text = f"it registers nothing and has none of {', '.join(LIFECYCLE)}"
            yield _row(point, "plugin", OK, text)


def _commands(check: bool, taken: Collection[str]) -> Iterator[PluginRow]:
    points = extra_commands().points
    for point in points:
        rivals = [rival for rival in points if rival.name == point.name]
        yield _row(point, "command", *_state_of_command(point, rivals, check, taken))


def _state_of_command(
    point: EntryPoint, rivals: list[EntryPoint], check: bool, taken: Collection[str]
) -> tuple[str, str]:
    """Return the state of a command, and why it is that."""
    if point.name in taken:
        return SHADOWED, f"reflow has a command {point.name!r} itself"
    try:
        chosen = choose_command(rivals)
    except PluginError as error:
        return CLASHES, str(error)
    if chosen != point:
        return SHADOWED, f"{point.name!r} is taken from {chosen.distribution}"
    unmet = unmet_requirement(point.distribution, __version__)
    if unmet:
        return INCOMPATIBLE, unmet
    if check:
        try:
            load_command(point)
        except PluginError as error:
            return BROKEN, str(error)
    return OK, ""


def _import_name() -> Iterator[PluginRow]:
    clash = clash_of_import_name()
    if clash:
        version = clash.split()[1]
        yield PluginRow("reflow", "package", CLASHING, version, "reflow", CLASHES, clash)
