"""The command `reflow plugins`, and the extra commands that plugins bring."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import click
from attrs import asdict

from ..errors import PluginError
from ..plugins.commands import choose_command, extra_commands, load_command
from ..plugins.discovery import EntryPoint, Installed
from .access import json_option
from .commands import Group
from .terminal import NOT_OK, print_json, table


class ExtensibleGroup(Group):
    """A group that also has the commands of installed distributions.

    Its own commands come first: an extra one cannot take their names.
    """

    @cached_property
    def extra(self) -> Installed:
        """The installed extra commands."""
        return extra_commands()

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands; nothing is imported for that."""
        extra = {point.name for point in self.extra.quick_points}
        return sorted({*super().list_commands(ctx), *extra})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name; an extra one is imported when it is called."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        points = self.extra.named(cmd_name)
        return ExtraCommand(points) if points else None


class ExtraCommand(click.Command):
    """Stands for the command of an entry point until it is called."""

    def __init__(self, points: list[EntryPoint]) -> None:
        sources = " and ".join(dict.fromkeys(point.distribution.name for point in points))
        super().__init__(points[0].name, short_help=f"from {sources}", add_help_option=False)
        self.points = points

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Import the command and hand over to it."""
        try:
            command = load_command(choose_command(self.points))
        except PluginError:
            if extra.get("resilient_parsing"):  # completion in a shell cannot show an error
                return super().make_context(info_name, args, parent, **extra)
            raise
        return command.make_context(info_name, args, parent, **extra)


@click.command("plugins", short_help="List what plugins provide, and the state of each.")
@json_option
@click.option("--check", is_flag=True,
              help="Import everything, and exit with 1 if anything is not ok.")  # fmt: skip
@click.pass_context
def plugins_command(context: click.Context, as_json: bool, check: bool) -> None:
    """List what reflow and the installed plugins provide, and the state of each.

    The state is ok, broken, incompatible (it needs another version of reflow-core), clashing
    (two distributions provide it and none is pinned), shadowed (another one of that name
    takes precedence) or disabled (by the configuration).
    """
    from ..plugins.lookup import installed

    parent = context.parent
    group = parent.command if parent is not None else None
    own = list(group.commands) if isinstance(group, click.Group) else []
    rows = installed(check, commands=own)
    if as_json:
        print_json([asdict(row) for row in rows])
    else:
        heads = ("NAME", "KIND", "STATE", "DISTRIBUTION", "VERSION", "TARGET", "DETAIL")
        cells = [
            (row.name, row.kind, row.state, row.distribution, row.version, row.target, row.detail)
            for row in rows
        ]
        click.echo(table(heads, cells))
    if check and any(row.state != "ok" for row in rows):
        context.exit(NOT_OK)
