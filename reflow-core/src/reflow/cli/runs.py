"""The command `runs`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from ..errors import ReflowError
from ..states import ENDED, RUN_STATES
from .access import Access, profile_option
from .terminal import on_terminal, paint, shortened, table

if TYPE_CHECKING:
    from ..storage.stores.base import RunRow

_LIMIT = 20


def runs_command(access: Access) -> click.Command:
    """Make the command `runs`."""
    own = access.own_name

    @click.command("runs", short_help="List runs, newest first.")
    @click.option("--last", is_flag=True, help="The newest only.")
    @click.option("--all", "every", is_flag=True, help="All of them, of every workflow.")
    @click.option("--limit", type=click.IntRange(min=0),
                  help=f"So many at most.  [default: {_LIMIT}; none with --all]")  # fmt: skip
    @click.option("--since", metavar="DATE", help="Created at or after this ISO-8601 date (UTC).")
    @click.option("--until", metavar="DATE", help="Created before this ISO-8601 date (UTC).")
    @click.option("--status", type=click.Choice(RUN_STATES, case_sensitive=False),
                  help="In this state only.")  # fmt: skip
    @click.option("--json", "as_json", is_flag=True, help="Print a list of objects as JSON.")
    @profile_option(access)
    def runs(
        last: bool,
        every: bool,
        limit: int | None,
        since: str | None,
        until: str | None,
        status: str | None,
        as_json: bool,
        workflow: str | None = None,
    ) -> None:
        """List runs, newest first."""
        if last and (every or limit is not None):
            raise click.UsageError("--last is one run: it goes with neither --all nor --limit")
        most = 1 if last else limit if limit is not None else None if every else _LIMIT
        name = workflow or (None if every else own)
        shown = _listed(access, name, most, since, until, status)
        if as_json:
            click.echo(json.dumps([_native(row) for row in shown], indent=2))
        elif shown:
            click.echo(_text(shown, several=name is None))
        else:
            click.echo("No runs.", err=True)

    if own is None:
        click.option("--workflow", metavar="NAME", help="Of this workflow only.")(runs)
    return runs


def _listed(
    access: Access,
    name: str | None,
    most: int | None,
    since: str | None,
    until: str | None,
    status: str | None,
) -> list[RunRow]:
    # The store may lag behind: a state is only filtered by when the record has been asked.
    rows = access.store().list_runs(
        graph_name=name, limit=most if status is None else None, since=since, until=until
    )
    found: list[RunRow] = []
    for row in rows:
        if most is not None and len(found) >= most:
            break
        if row.status in ENDED and status not in (None, row.status):
            continue
        now = row if row.status in ENDED else _current(row)
        if status in (None, now.status):
            found.append(now)
    return found


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
    heads = ["RUN", "STATUS", "CREATED", *(["WORKFLOW"] if several else []), "DIRECTORY"]
    cells = [
        [
            row.run_id,
            row.status,
            row.created_at[:19],
            *([row.graph_name] if several else []),
            row.run_dir,
        ]
        for row in rows
    ]
    if on_terminal():
        import shutil

        taken = sum(
            max(len(line[column]) for line in (heads, *cells)) + 2
            for column in range(len(heads) - 1)
        )
        room = shutil.get_terminal_size().columns - taken
        for line in cells:
            line[-1] = shortened(line[-1], room)
    return table(heads, cells, paint)


def _native(row: RunRow) -> dict[str, Any]:
    return {
        "run_id": row.run_id,
        "graph_name": row.graph_name,
        "status": row.status,
        "created_at": row.created_at,
        "user_id": row.user_id,
        "executor": row.executor,
        "run_dir": row.run_dir,
        "record": row.record,
        "parameters": dict(row.parameters),
    }
