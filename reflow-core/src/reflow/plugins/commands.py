"""Extra `reflow …` commands: entry points in the group ``reflow.commands``.

The key is the command's name, the value "module:click_command". They are listed by name and
imported when they are called.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import __version__
from ..errors import PluginError
from . import lookup
from .discovery import EntryPoint, Installed, normal, unmet_requirement
from .kinds import broken, import_foreign

if TYPE_CHECKING:
    import click


def extra_commands() -> Installed:
    """Return the installed extra commands; of two of one name, none is chosen yet."""
    return Installed("reflow.commands")


def choose_command(points: Sequence[EntryPoint]) -> EntryPoint:
    """Return the only one of some commands of one name, or the one that is pinned.

    Raises `PluginError` where none is.
    """
    if len(points) == 1:
        return points[0]
    name, selection = points[0].name, lookup.registry().selection
    pinned = normal(selection.pin.get(name, ""))
    for point in points:
        if normal(point.distribution.name) == pinned:
            return point
    rivals = [point.distribution for point in points]
    raise selection.clash(f"bring a command named {name!r}", rivals, name)


def load_command(point: EntryPoint) -> click.Command:
    """Import a command. Raises `PluginError` where it is broken or incompatible."""
    import click

    what = f"command {point.name!r} of {point.distribution}"
    unmet = unmet_requirement(point.distribution, __version__)
    if unmet:
        raise PluginError(f"{what} is incompatible: {unmet}")
    command = import_foreign(point.value, what)
    if not isinstance(command, click.Command):
        raise broken(what, f"{point.value} is not a click command")
    return command
