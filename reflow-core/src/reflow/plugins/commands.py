"""Extra `reflow …` commands: entry points in the group ``reflow.commands``.

The key is the command's name, the value "module:click_command". They are listed by name and
imported when they are called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import __version__
from ..errors import PluginError
from .discovery import (
    EntryPoint,
    Installed,
    and_import_name,
    because,
    normal,
    unmet_requirement,
)

if TYPE_CHECKING:
    import click

    from .entries import Settings

COMMANDS = "reflow.commands"


def extra_commands() -> Installed:
    """Return the installed extra commands; of two of one name, none is chosen yet."""
    return Installed(COMMANDS)


def choose_command(points: list[EntryPoint], settings: Callable[[], Settings]) -> EntryPoint:
    """Return the only one of some commands of one name, or the one that is pinned.

    Raises `PluginError` where none is.
    """
    if len(points) == 1:
        return points[0]
    from .entries import clash_text

    name, known = points[0].name, settings()
    pinned = normal(known.pin.get(name, ""))
    for point in points:
        if normal(point.distribution.name) == pinned:
            return point
    who = [point.distribution for point in points]
    raise PluginError(clash_text(f"bring a command named {name!r}", who, [name], known))


def load_command(point: EntryPoint) -> click.Command:
    """Import a command. Raises `PluginError` where it is broken or incompatible."""
    import click

    what = f"command {point.name!r} of {point.distribution} is"
    why = unmet_requirement(point.distribution, __version__)
    if why:
        raise PluginError(f"{what} incompatible: {why}")
    try:
        found = point.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a foreign module may even exit when it is imported
        raise PluginError(and_import_name(f"{what} broken: {because(error)}")) from error
    if not isinstance(found, click.Command):
        raise PluginError(f"{what} broken: {point.value} is no click command")
    return found
