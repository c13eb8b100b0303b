"""The commands `store rebuild`, `store check` and `store export`; `reflow.cli.gc` has `gc`."""

from __future__ import annotations

import json
import os
import sys
from typing import IO, TYPE_CHECKING

import click

from ..errors import ReflowError, StoreError
from .access import Access, profile_option
from .completion import run_ids
from .gc import gc_command

if TYPE_CHECKING:
    from ..storage.run_directory import RunRecord
    from ..storage.stores.base import RunRow, Store

NOT_OK = 1
"""Exit code where something is wrong with the store, or not all could be done."""


def store_command(access: Access) -> click.Group:
    """Make the group `store`."""

    @click.group("store", short_help="Rebuild, check, export and clean up the index of runs.")
    def store() -> None:
        """Look after the store: the index over runs.

        The truth of a run is in its own directory; the store can be made anew from there.
        """

    for make in (rebuild_command, check_command, export_command, gc_command):
        store.add_command(make(access))
    return store


def rebuild_command(access: Access) -> click.Command:
    """Make the command `store rebuild`."""

    @click.command("rebuild", short_help="Index runs anew from their directories.")
    @click.argument("folders", metavar="[FOLDER]...", nargs=-1)
    @click.option("--new", is_flag=True,
                  help="Move the store's file away first, and make a new one.")  # fmt: skip
    @click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
    @profile_option(access)
    def rebuild(folders: tuple[str, ...], new: bool, as_json: bool) -> None:
        """Index anew all runs in and below each FOLDER; without any, the runs that are listed."""
        from ..storage.indexing import index_anew

        store = access.store()
        records = _records(store, folders)
        aside = _set_aside(store) if new else None
        if aside:
            click.echo(f"the old file is now {aside}", err=True)
        done: list[str] = []
        wrong: list[tuple[str, str]] = []
        for record in records:
            try:
                done.append(index_anew(store, record))
            except StoreError:
                raise
            except (ReflowError, OSError) as error:
                wrong.append((record.folder, str(error)))
        if as_json:
            problems = [{"record": folder, "text": text} for folder, text in wrong]
            told = {"runs": done, "problems": problems, "moved_to": aside}
            click.echo(json.dumps(told, indent=2))
        else:
            click.echo(f"{len(done)} run{'s' * (len(done) != 1)} indexed")
            for folder, text in wrong:
                click.echo(f"error: {folder}: {text}", err=True)
        if wrong:
            click.get_current_context().exit(NOT_OK)

    return rebuild


def _records(store: Store, folders: tuple[str, ...]) -> list[RunRecord]:
    from ..storage.indexing import records_below
    from ..storage.run_directory import RunRecord

    if folders:
        return records_below(folders)
    try:
        rows = store.list_runs()
    except StoreError as error:
        raise StoreError(
            f"{error}\nname the folders that have run directories below them: which runs there"
            " were cannot be read"
        ) from error
    return [RunRecord(row.record) for row in reversed(rows)]


def _set_aside(store: Store) -> str | None:
    from ..storage.stores.sqlite.store import SqliteStore

    if not isinstance(store, SqliteStore):
        raise click.UsageError("--new is for stores in a file, which this one is not")
    aside = store.set_aside()
    return None if aside is None else str(aside)


def check_command(access: Access) -> click.Command:
    """Make the command `store check`."""

    @click.command("check", short_help="Say whether the store is whole.")
    @click.option("--json", "as_json", is_flag=True, help="Print a list of objects as JSON.")
    @profile_option(access)
    def check(as_json: bool) -> None:
        """Look whether the store is whole and agrees with the runs' records.

        Ends with exit code 1 where anything is wrong.
        """
        from attrs import asdict

        from ..runs.store_check import problems_of

        store = access.store()
        found = problems_of(store)
        if as_json:
            click.echo(json.dumps([asdict(one) for one in found], indent=2))
        else:
            for one in found:
                click.echo(f"{one.run_id or 'the store'}: {one.text}")
            if not found:
                click.echo("nothing is wrong")
        if found:
            click.get_current_context().exit(NOT_OK)

    return check


def export_command(access: Access) -> click.Command:
    """Make the command `store export`."""

    @click.command("export", short_help="Write what the store knows as lines of JSON.")
    @click.argument("runs", metavar="[RUN]...", nargs=-1, shell_complete=run_ids(access))
    @click.option("--output", metavar="FILE",
                  help="Write to this file, which must not be there.")  # fmt: skip
    @profile_option(access)
    def export(runs: tuple[str, ...], output: str | None) -> None:
        """Write each RUN, or all of them, with tasks and instances: a line of JSON each."""
        store = access.store()
        rows = [store.run(given) for given in runs] or list(reversed(store.list_runs()))
        if output is None:
            _write(sys.stdout, store, rows)
            return
        try:
            handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            raise click.UsageError(f"{output} is there already: name another file") from None
        except OSError as error:
            raise click.UsageError(f"cannot write {output}: {error.strerror}") from None
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                _write(file, store, rows)
        except BaseException:
            os.unlink(output)  # half of it would look like all of it
            raise

    return export


def _write(file: IO[str], store: Store, rows: list[RunRow]) -> None:
    from ..runs.export import exported

    for line in exported(store, rows):
        file.write(line + "\n")

