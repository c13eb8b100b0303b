"""Commands that need a run and not its script, and the command `reflow` made of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from .. import __version__
from ..plugins.discovery import clash_of_import_name
from .access import Access
from .actions import accept_command, cancel_command, retry_command
from .completion import completion_command, completion_variable
from .dag import dag_command, describe_command
from .logs import logs_command
from .runs import runs_command
from .status import status_command
from .terminal import BAD_USE, accept_all_text, colours, exit_code
from .why import why_command


class Group(click.Group):
    """A whole program: expected errors are lines on stderr and never a traceback."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Carry out a command line and end the process by `sys.exit`."""
        program = prog_name or os.path.basename(sys.argv[0])
        variable = complete_var or completion_variable(program)
        if os.environ.get(variable):
            from click.shell_completion import shell_complete

            sys.exit(shell_complete(self, extra, program, variable, os.environ[variable]))
        clash = clash_of_import_name()
        if clash:
            click.echo(f"warning: {clash}", err=True)
        accept_all_text()
        extra.setdefault("color", colours())
        arguments = list(sys.argv[1:] if args is None else args)
        if not standalone_mode:
            return super().main(arguments, program, variable, standalone_mode=False, **extra)

        def carry_out() -> None:
            with self.make_context(program, arguments, **extra) as context:
                self.invoke(context)

        sys.exit(exit_code(carry_out))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments; without any, print the help."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(BAD_USE)
        return super().parse_args(ctx, args)


def reflow_command() -> click.Group:
    """Make the command `reflow`."""
    from .cache import cache_command
    from .config import config_command
    from .plugins import ExtensibleGroup, plugins_command
    from .store import store_command

    access = Access()
    group = ExtensibleGroup(
        "reflow",
        help="Look at runs of any workflow, cancel them, and retry what failed.",
        commands=[
            *run_commands(access),
            store_command(access),
            cache_command(access),
            config_command,
            plugins_command,
        ],
    )
    version = click.version_option(__version__, prog_name="reflow", message="%(prog)s %(version)s")
    return version(group)


def run_commands(access: Access) -> list[click.Command]:
    """Make the commands on runs that `reflow` and every script's command line share."""
    return [
        status_command(access),
        runs_command(access),
        cancel_command(access),
        retry_command(access),
        logs_command(access),
        why_command(access),
        accept_command(access),
        dag_command(access),
        describe_command(access),
        completion_command,
    ]
