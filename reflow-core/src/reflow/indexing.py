"""Keeps the store, an index, up to the records of runs: behind them, in batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from .files import Files
from .journal import JournalReader
from .records import Epoch, Finished, Opened, Outcome, Record, Sized
from .runrecord import FOLDER, RunRecord, RunRequest
from .states import CANCELLED, RUNNING
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


def index_records(
    store: Store, run_id: str, records: Sequence[Record], position: Position
) -> None:
    """Enter records into the store in one transaction."""
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
            status = CANCELLED if record.kind == "cancel" else RUNNING  # type: ignore[union-attr]
    store.apply(run_id, outcomes, sizes, status, position)


def catch_up(store: Store, record: RunRecord, run_id: str) -> None:
    """Enter into the store what has come to a run's record since it last looked."""
    position = store.position(run_id)
    reader = JournalReader(record.files, record.segments, position.segment, position.offset)
    records = reader.read()
    # A pass that only opened and let go says nothing of the run's state.
    told = [one for one in records if type(one) is not Opened] if position.segment else records
    if records:
        index_records(
            store, run_id, told, Position(segment=reader.segment, offset=reader.offset)
        )


def rebuild(store: Store, run_dirs: Iterable[str | Path], files: Files | None = None) -> list[str]:
    """Enter the runs recorded below these run directories into the store anew.

    Returns the ids of the runs. Raises `RecordError` for a record that is damaged.
    """
    found: list[str] = []
    files = files or Files()
    for run_dir in run_dirs:
        base = f"{Path(run_dir).absolute()}/{FOLDER}"
        for name in sorted(files.list(base)):
            record = RunRecord(f"{base}/{name}", files)
            if "run.json" not in files.list(record.folder):
                continue
            request = record.request()
            store.drop_run(request.run_id)
            store.add_run(run_row(request, record.folder, RUNNING), task_list(request))
            catch_up(store, record, request.run_id)
            found.append(request.run_id)
    return found
