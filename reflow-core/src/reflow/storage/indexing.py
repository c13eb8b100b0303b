"""Keeps the store, an index, up to the records of runs: behind them, in batches."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import RecordError
from ..states import CANCELLED, RUNNING
from .collector_pause import collector_paused
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
    """What the store keeps of records: outcomes, the sizes of arrays, and the run's status."""

    outcomes: list[Outcome]
    sizes: dict[str, int]
    status: str | None


def changes_of(records: Iterable[Record]) -> Changes:
    """Return what the store keeps of records."""
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
            epoch: Epoch = record  # type: ignore[assignment]
            if epoch.kind != "cancel":
                status = RUNNING
            elif not epoch.tasks:  # where some tasks alone are cancelled, the run goes on
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
    """Enter a run into the store anew, from its record; return its id.

    Raises `RecordError` for a record that is damaged.
    """
    request = record.request()
    tasks = task_list(request)
    # Only a store that is behind the record is replaced, so nothing that came meanwhile is lost.
    for _ in range(3):
        reader = JournalReader(record.files, record.segments)
        with collector_paused():
            outcomes, sizes, status = changes_of(reader.read())
        row = run_row(request, record.folder, status or RUNNING)
        position = Position(segment=reader.segment, offset=reader.offset)
        if store.replace_run(row, tasks, outcomes, sizes, position):
            return request.run_id
        # The run goes on: somebody has indexed more of it than was read here.
    # Or the record is another one than was indexed, such as a backup of it.
    store.drop_run(request.run_id)
    store.replace_run(row, tasks, outcomes, sizes, position)
    return request.run_id


def records_below(folders: Iterable[str | Path], files: Files | None = None) -> list[RunRecord]:
    """Return the records of runs in and anywhere below some folders, the oldest run first.

    Hidden folders and links are not followed. Raises `RecordError` for a folder that does not
    exist.
    """
    files = files or Files()
    records: dict[str, RunRecord] = {}
    for folder in folders:
        top = str(Path(folder).absolute())
        if not os.path.isdir(top):
            raise RecordError(f"{top} is no folder: name one that has run directories below it")
        records.update((record.folder, record) for record in _walk(top, files))
    return sorted(records.values(), key=_created)


def _walk(top: str, files: Files) -> Iterator[RunRecord]:
    for folder, names, _ in os.walk(top):
        if FOLDER in names or os.path.basename(folder) == FOLDER:
            base = f"{folder}/{FOLDER}" if FOLDER in names else folder
            for name in files.list(base):
                record = RunRecord(f"{base}/{name}", files)
                if "run.json" in files.list(record.folder):
                    yield record
        names[:] = sorted(name for name in names if not name.startswith("."))


def _created(record: RunRecord) -> str:
    try:
        native: Any = record.check()
    except RecordError:
        return ""  # whoever reads the whole record reports it
    return str(native.get("created_at", ""))
