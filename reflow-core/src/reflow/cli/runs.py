"""The command `runs`."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import click

from ..errors import ReflowError
from ..states import ENDED, RUN_STATES
from .access import Access, json_option, profile_option, workflow_option
from .terminal import on_terminal, paint, print_json, shortened, table

if TYPE_CHECKING:
    from ..storage.stores.base import RunRow

_LIMIT = 20


def runs_command(access: Access) -> click.Command:
    """Make the command `runs`."""
    own = access.own_name

    @click.command("runs", short_help="List runs, newest first.")
    @click.option("--last", is_flag=True, help="Only the newest run.")
    @click.option("--all", "every", is_flag=True, help="All runs of all workflows.")
    @click.option("--limit", type=click.IntRange(min=0), metavar="N",
                  help=f"At most this many.  [default: {_LIMIT}; none with --all]")  # fmt: skip
    @click.option("--since", metavar="DATE",
                  help="Only runs created at or after this ISO-8601 date (UTC).")  # fmt: skip
    @click.option("--until", metavar="DATE",
                  help="Only runs created before this ISO-8601 date (UTC).")  # fmt: skip
    @click.option("--status", type=click.Choice(RUN_STATES, case_sensitive=False),
                  help="Only runs in this state.")  # fmt: skip
    @json_option
    @profile_option(access)
    def runs(
        last: bool, every: bool, limit: int | None, since: str | None, until: str | None,
        status: str | None, as_json: bool, workflow: str | None = None,
    ) -> None:  # fmt: skip
        """List runs, newest first, with their states and directories."""
        if last and (every or limit is not None):
            raise click.UsageError("--last shows one run: it goes with neither --all nor --limit")
        most = 1 if last else limit if limit is not None else None if every else _LIMIT
        name = workflow or (None if every else own)
        shown = _listed(access, name, most, since, until, status)
        if as_json:
            from attrs import asdict

            print_json([asdict(row) for row in shown])
        elif shown:
            click.echo(_text(shown, several=name is None))
        else:
            click.echo("No runs.", err=True)

    return workflow_option(runs) if own is None else runs


def _listed(
    access: Access,
    name: str | None,
    most: int | None,
    since: str | None,
    until: str | None,
    status: str | None,
) -> list[RunRow]:
    # The store may lag behind: the state of a run that goes on is read from its record.
    rows = access.store().list_runs(
        graph_name=name, limit=most if status is None else None, since=since, until=until
    )
    current = (row if row.status in ENDED else _current(row) for row in rows)
    return list(islice((row for row in current if status in (None, row.status)), most))


def _current(row: RunRow) -> RunRow:
    from attrs import evolve

    from ..engine.run_view import RunView
    from ..storage.run_directory import RunRecord

    record = RunRecord(row.record)
    try:
        # A record that is gone looks like one in which nothing has happened yet.
        if "run.json" not in record.files.list(record.folder):
            return row
        return evolve(row, status=RunView(record).state)
    except (ReflowError, OSError):
        return row


def _text(rows: list[RunRow], several: bool) -> str:
    heads = ["RUN", "STATUS", "CREATED", "WORKFLOW", "DIRECTORY"]
    cells = [
        [row.run_id, row.status, row.created_at[:19], row.graph_name, row.run_dir] for row in rows
    ]
    if not several:
        for line in (heads, *cells):
            del line[3]
    if on_terminal():
        import shutil

        columns = list(zip(heads, *cells, strict=True))[:-1]
        taken = sum(max(map(len, column)) + 2 for column in columns)
        room = shutil.get_terminal_size().columns - taken
        for line in cells:
            line[-1] = shortened(line[-1], room)
    return table(heads, cells, paint)
