"""The command `why`."""

from __future__ import annotations

import json

import click

from .access import Access, instance_named, run_argument
from .completion import task_names


def why_command(access: Access) -> click.Command:
    """Make the command `why`."""

    @click.command("why", short_help="Say why an instance ran, or did not.")
    @run_argument(access)
    @click.argument("place", metavar="TASK[INDEX]", required=False,
                    shell_complete=task_names(access))  # fmt: skip
    @click.option("--json", "as_json", is_flag=True, help="Print an object as JSON.")
    def why(run_id: str | None, last: bool, place: str | None, as_json: bool) -> None:
        """Say why an instance of RUN ran, or did not: what differs from the nearest earlier one.

        Its parameters, the values it received from other tasks, its code, its version.
        """
        if last and run_id is not None and place is None:
            run_id, place = None, run_id
        task, index = instance_named(place)
        if task is None:
            raise click.UsageError("name a TASK, or TASK[INDEX], such as align[3]")
        found = access.choose(run_id, last).why(task, index)
        click.echo(json.dumps(found.to_dict(), indent=2) if as_json else str(found))

    return why
