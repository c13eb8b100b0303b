"""Keeps the store, an index, up to the records of runs: behind them, in batches."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import RecordError
from ..gc_control import collector_paused
from ..states import CANCELLED, RUNNING
from .events import Epoch, Finished, Opened, Record, Sized
from .filesystem import Files
from .journal import JournalReader
from .outcome import Outcome
from .run_directory import FOLDER, RunRecord, RunRequest
from .stores.base import Position, RunRow, Store


def run_row(request: RunRequest, folder: str, status: str) -> RunRow:
    """Return a run as the store lists it."""
    return RunRow(
        run_id=request.run_id,
        graph_name=request.spec.name,
        user_id=request.user,
        created_at=request.created_at,
        run_dir=request.run_dir,
        record=folder,
        status=status,
        parameters=dict(request.parameters),
        executor=request.executor,
    )


def task_list(request: RunRequest) -> list[tuple[str, bool]]:
    """Return the (name, is an array) of a run's tasks, in order."""
    return [(task.name, task.array) for task in request.spec.tasks]


class Changes(NamedTuple):
    """What records say that the store keeps."""

    outcomes: list[Outcome]
    sizes: dict[str, int]
    status: str | None


def changes_of(records: Iterable[Record]) -> Changes:
    """Fold records into what the store is told of them."""
    outcomes: list[Outcome] = []
    sizes: dict[str, int] = {}
    status: str | None = None
    for record in records:
        kind = type(record)
        if kind is Outcome:
            outcomes.append(record)  # type: ignore[arg-type]
        elif kind is Sized:
            sizes[record.task] = record.size  # type: ignore[union-attr]
        elif kind is Finished:
            status = record.state  # type: ignore[union-attr]
        elif kind is Opened:
            status = status or RUNNING
        elif kind is Epoch:
            asked: Epoch = record  # type: ignore[assignment]
            if asked.kind != "cancel":
                status = RUNNING
            elif not asked.tasks:  # of a task alone: the run goes on
                status = CANCELLED
    return Changes(outcomes, sizes, status)


def index_records(
    store: Store, run_id: str, records: Sequence[Record], position: Position
) -> None:
    """Enter records into the store in one transaction."""
    outcomes, sizes, status = changes_of(records)
    store.apply(run_id, outcomes, sizes, status, position)


def catch_up(
    store: Store, record: RunRecord, run_id: str, *, carried_on: bool = False
) -> None:
    """Enter into the store what has come to a run's record since it last looked.

    `carried_on`: whoever took the lease carries the run on, so that it is RUNNING at least.
    """
    position = store.position(run_id)
    reader = JournalReader(record.files, record.segments, position.segment, position.offset)
    records = reader.read()
    if not records:
        return
    position_now = Position(segment=reader.segment, offset=reader.offset)
    if position.segment and not carried_on:
        # A pass that only opened and let go says nothing of the run's state.
        records = [record for record in records if type(record) is not Opened]
    index_records(store, run_id, records, position_now)


def index_anew(store: Store, record: RunRecord) -> str:
    """Enter a run into the store as its record has it, whatever is there of it; return its id.

    Raises `RecordError` for a record that is damaged.
    """
    request = record.request()
    tasks = task_list(request)
    for _ in range(3):
        reader = JournalReader(record.files, record.segments)
        with collector_paused():
            outcomes, sizes, status = changes_of(reader.read())
        row = run_row(request, record.folder, status or RUNNING)
        position = Position(segment=reader.segment, offset=reader.offset)
        if store.replace_run(row, tasks, outcomes, sizes, position):
            return request.run_id
        # The run goes on: meanwhile more of it was indexed than was read here.
    # Or its record is another than the one that was indexed, such as one of a backup.
    store.drop_run(request.run_id)
    store.replace_run(row, tasks, outcomes, sizes, position)
    return request.run_id


def records_below(folders: Iterable[str | Path], files: Files | None = None) -> list[RunRecord]:
    """Return the records of runs in and anywhere below some folders, the oldest run first.

    Hidden folders and links are not followed. Raises `RecordError` for a folder that is not
    there.
    """
    files = files or Files()
    found: dict[str, tuple[str, RunRecord]] = {}
    for given in folders:
        top = str(Path(given).absolute())
        if not os.path.isdir(top):
            raise RecordError(f"{top} is no folder: name one that has run directories below it")
        for folder, names, _ in os.walk(top):
            if FOLDER in names or os.path.basename(folder) == FOLDER:
                base = folder if FOLDER not in names else f"{folder}/{FOLDER}"
                for name in files.list(base):
                    record = RunRecord(f"{base}/{name}", files)
                    if "run.json" in files.list(record.folder):
                        found[record.folder] = (_created(record), record)
            names[:] = sorted(name for name in names if not name.startswith("."))
    return [record for _, record in sorted(found.values(), key=lambda one: one[0])]


def _created(record: RunRecord) -> str:
    try:
        native: Any = record.check()
    except RecordError:
        return ""  # whoever reads it says what is wrong
    return str(native.get("created_at", ""))


def rebuild(store: Store, run_dirs: Iterable[str | Path], files: Files | None = None) -> list[str]:
    """Enter the runs recorded in or below these folders into the store anew.

    Returns the ids of the runs, the oldest first. Raises `RecordError` for a record that is
    damaged.
    """
    return [index_anew(store, record) for record in records_below(run_dirs, files)]
