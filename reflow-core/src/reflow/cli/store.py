"""The commands `store rebuild`, `store check` and `store export`; `gc` is in `reflow.cli.gc`."""

from __future__ import annotations

import os
import sys
from typing import IO, TYPE_CHECKING

import click

from ..errors import ReflowError, StoreError
from .access import Access, json_option, profile_option
from .completion import run_ids
from .gc import gc_command
from .terminal import NOT_OK, counted, print_json

if TYPE_CHECKING:
    from ..storage.run_directory import RunRecord
    from ..storage.stores.base import RunRow, Store


def store_command(access: Access) -> click.Group:
    """Make the group `store`."""

    @click.group("store", short_help="Rebuild, check, export and clean up the index of runs.")
    def store() -> None:
        """Look after the store, the index of runs.

        The record of a run is in its own directory; the store can be rebuilt from there.
        """

    for make in (rebuild_command, check_command, export_command, gc_command):
        store.add_command(make(access))
    return store


def rebuild_command(access: Access) -> click.Command:
    """Make the command `store rebuild`."""

    @click.command("rebuild", short_help="Rebuild the index from run directories.")
    @click.argument("folders", metavar="[FOLDER]...", nargs=-1)
    @click.option("--new", is_flag=True,
                  help="Move the store's file away first, and create a new one.")  # fmt: skip
    @json_option
    @profile_option(access)
    def rebuild(folders: tuple[str, ...], new: bool, as_json: bool) -> None:
        """Index all runs in and below each FOLDER again; without FOLDER, all listed runs."""
        from ..storage.indexing import index_anew

        store = access.store()
        records = _records(store, folders)
        moved_to = _set_aside(store) if new else None
        if moved_to:
            click.echo(f"the old file is now {moved_to}", err=True)
        run_ids: list[str] = []
        problems: list[dict[str, str]] = []
        for record in records:
            try:
                run_ids.append(index_anew(store, record))
            except StoreError:
                raise
            except (ReflowError, OSError) as error:
                problems.append({"record": record.folder, "text": str(error)})
        if as_json:
            print_json({"runs": run_ids, "problems": problems, "moved_to": moved_to})
        else:
            click.echo(f"{counted(len(run_ids), 'run')} indexed")
            for problem in problems:
                click.echo(f"error: {problem['record']}: {problem['text']}", err=True)
        if problems:
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
            f"{error}\ngive the folders that contain run directories: the list of runs cannot be"
            " read from the store"
        ) from error
    return [RunRecord(row.record) for row in reversed(rows)]


def _set_aside(store: Store) -> str | None:
    from ..storage.stores.sqlite.store import SqliteStore

    if not isinstance(store, SqliteStore):
        raise click.UsageError("--new works only with a store in a file, which this one is not")
    path = store.set_aside()
    return None if path is None else str(path)


def check_command(access: Access) -> click.Command:
    """Make the command `store check`."""

    @click.command("check", short_help="Check that the store is intact.")
    @json_option
    @profile_option(access)
    def check(as_json: bool) -> None:
        """Check that the store is intact and agrees with the records of its runs.

        The exit code is 1 if anything is wrong.
        """
        from attrs import asdict

        from ..runs.store_check import problems_of

        store = access.store()
        problems = problems_of(store)
        if as_json:
            print_json([asdict(problem) for problem in problems])
        else:
            for problem in problems:
                click.echo(f"{problem.run_id or 'the store'}: {problem.text}")
            if not problems:
                click.echo("nothing is wrong")
        if problems:
            click.get_current_context().exit(NOT_OK)

    return check


def export_command(access: Access) -> click.Command:
    """Make the command `store export`."""

    @click.command("export", short_help="Write the store's contents as lines of JSON.")
    @click.argument("runs", metavar="[RUN]...", nargs=-1, shell_complete=run_ids(access))
    @click.option("--output", metavar="FILE",
                  help="Write to this file, which must not exist yet.")  # fmt: skip
    @profile_option(access)
    def export(runs: tuple[str, ...], output: str | None) -> None:
        """Write each RUN (by default all runs), its tasks and its elements as lines of JSON."""
        store = access.store()
        rows = [store.run(run_id) for run_id in runs] or list(reversed(store.list_runs()))
        if output is None:
            _write(sys.stdout, store, rows)
            return
        try:
            handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            raise click.UsageError(f"{output} exists already: give another file") from None
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

