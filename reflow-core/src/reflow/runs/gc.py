"""Deletes old runs and orphaned values, and nothing that a run which stays needs.

Of a run the record is deleted: journal, values, logs, scripts. What tasks wrote elsewhere in the
run directory is the user's. A run has files of its own of everything that it took over from older
ones (linked or copied when it was planned), and the store finds its results when the older
run is gone; so each run can be deleted alone.

A record is renamed first, so that it exists whole or not at all, and is listed in the store until
it is gone: the next clean-up continues one that was killed in between.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import groupby

from attrs import evolve, field, frozen

from ..engine.run_view import RunView
from ..errors import LeaseHeldError, LeaseLostError, RecordError, ReflowError
from ..states import ENDED
from ..storage.blobs import Values
from ..storage.clock import Clock
from ..storage.filesystem import Files
from ..storage.journal import JournalReader, Lease, take_lease
from ..storage.outcome import Outcome
from ..storage.process_id import this_process
from ..storage.run_directory import FOLDER, RunRecord
from ..storage.stores.base import RunRow, Store
from ..values.references import files_in
from .retention import FileSize, Policy, StoredRun, freed, leaving, total_size

GONE = ".gone-"
"""How the name of a record begins that is being deleted."""

ORPHANED_AFTER = 24 * 3600.0
"""Seconds after which a value that nothing refers to is an orphan: until then it may be new."""


@frozen(kw_only=True)
class Orphan:
    """A file of values that no outcome on record refers to."""

    run_id: str
    path: str
    size: int


@frozen(kw_only=True)
class Cleaning:
    """What is to be deleted, or was.

    `runs` go for the reason in `reasons`; `orphans` are files; `missing` are listed and have
    no record any more; `size` is what all examined runs take, `freed` what becomes free, in
    bytes. `others` counts the runs of other users, which are left alone, and `problems` say
    what could not be examined or deleted.
    """

    runs: tuple[StoredRun, ...] = ()
    reasons: Mapping[str, str] = field(factory=dict)
    rows: Mapping[str, RunRow] = field(factory=dict)
    orphans: tuple[Orphan, ...] = ()
    missing: tuple[str, ...] = ()
    kept: int = 0
    others: int = 0
    size: int = 0
    freed: int = 0
    problems: tuple[str, ...] = ()


def plan_cleaning(
    store: Store, policy: Policy, *, graph_name: str | None = None, clock: Clock | None = None
) -> Cleaning:
    """Look at all runs that the store lists and say what may be deleted; nothing is changed."""
    files, now = Files(), (clock or Clock()).now()
    runs: dict[str, StoredRun] = {}
    rows: dict[str, RunRow] = {}
    missing: list[str] = []
    problems: list[str] = []
    others = 0
    for row in store.list_runs(graph_name=graph_name):
        with noting(problems, row.run_id):
            try:
                if "run.json" not in files.list(row.record):
                    missing.append(row.run_id)
                elif os.geteuid() not in (0, os.stat(row.record).st_uid):
                    others += 1
                else:
                    rows[row.run_id] = row
                    runs[row.run_id] = _look_at(row)
            except PermissionError:
                others += 1
    reasons = leaving(list(runs.values()), policy, now)
    orphans: list[Orphan] = []
    for run in runs.values():
        if run.ended and run.run_id not in reasons:
            with noting(problems, run.run_id):
                orphans.extend(_orphans(RunRecord(rows[run.run_id].record), run.run_id, now))
    gone = [runs[run_id] for run_id in reasons]
    return Cleaning(
        runs=tuple(gone),
        reasons=reasons,
        rows=rows,
        orphans=tuple(orphans),
        missing=tuple(missing),
        kept=len(runs) - len(gone),
        others=others,
        size=total_size(run.files for run in runs.values()),
        freed=_freed(gone, orphans),
        problems=tuple(problems),
    )


@contextlib.contextmanager
def noting(problems: list[str], run_id: str) -> Iterator[None]:
    """Make an error with one run a problem that is reported; the others go on."""
    try:
        yield
    except (OSError, ReflowError) as error:
        problems.append(f"{run_id}: {error}")


def _freed(runs: Iterable[StoredRun], orphans: Iterable[Orphan]) -> int:
    return freed(run.files for run in runs) + sum(orphan.size for orphan in orphans)


def _look_at(row: RunRow) -> StoredRun:
    files: dict[tuple[int, int], FileSize] = {}
    for folder, _, names in os.walk(row.record):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                stat = os.stat(f"{folder}/{name}", follow_symlinks=False)
                files[stat.st_dev, stat.st_ino] = FileSize(stat.st_size, stat.st_nlink)
    view = RunView(RunRecord(row.record))
    return StoredRun(
        run_id=row.run_id,
        graph_name=row.graph_name,
        created_at=row.created_at,
        ended=view.state in ENDED,
        ended_at=view.replay.finished_at,
        files=files,
    )


def _orphans(record: RunRecord, run_id: str, now: float) -> Iterator[Orphan]:
    """Find the values that nothing on record refers to, and what killed writers left."""
    with contextlib.suppress(FileNotFoundError):
        old = [
            entry
            for entry in os.scandir(record.values)
            if entry.is_file(follow_symlinks=False)
            and now - entry.stat().st_mtime > ORPHANED_AFTER
        ]
        if old:  # only then is the whole record worth reading
            needed = needed_names(record)
            for entry in sorted(old, key=lambda entry: entry.name):
                if entry.name not in needed:
                    yield Orphan(run_id=run_id, path=entry.path, size=entry.stat().st_size)


def last_outcomes(record: RunRecord) -> list[Outcome]:
    """Return the outcome of each element that stands: the last on record.

    Raises `RecordError` where the record cannot be read to its end.
    """
    reader = JournalReader(record.files, record.segments)
    outcomes = {
        (outcome.task, outcome.index): outcome
        for outcome in reader.read()
        if type(outcome) is Outcome
    }
    # What a stale view of the file system hides may need any of the values.
    if reader.behind:
        raise RecordError(
            f"the record in {record.folder} cannot be read to its end: nothing was deleted"
        )
    return list(outcomes.values())


def needed_names(record: RunRecord) -> set[str]:
    """Return the names of the files that values on record stand in."""
    values = Values(record.files, record.values)
    names: set[str] = set()
    for outcome in last_outcomes(record):
        if not outcome.digest:
            continue
        text = outcome.value
        if text is None:
            name = f"{outcome.digest}.json"
            if name in names:
                continue
            names.add(name)
            text = values.text(outcome)
        names.update(file for _, file in files_in(text))
    return names


def carry_out(
    store: Store,
    cleaning: Cleaning,
    *,
    forget_missing: bool = False,
    clock: Clock | None = None,
) -> Cleaning:
    """Take away what was planned; return what has gone.

    A run that was taken up again meanwhile stays.
    """
    clock = clock or Clock()
    gone: list[StoredRun] = []
    orphans: list[Orphan] = []
    missing: list[str] = []
    problems = list(cleaning.problems)
    for run in cleaning.runs:
        with noting(problems, run.run_id):
            _remove(store, cleaning.rows[run.run_id], clock)
            gone.append(run)
    for run_id, group in groupby(cleaning.orphans, key=lambda orphan: orphan.run_id):
        with noting(problems, run_id):
            record = RunRecord(cleaning.rows[run_id].record)
            orphans.extend(_remove_orphans(record, list(group), clock))
    for run_id in cleaning.missing:
        with noting(problems, run_id):
            if _finish(store.run(run_id)) or forget_missing:
                store.drop_run(run_id)
                missing.append(run_id)
    return evolve(
        cleaning,
        runs=tuple(gone),
        orphans=tuple(orphans),
        missing=tuple(missing),
        kept=cleaning.kept + len(cleaning.runs) - len(gone),
        freed=_freed(gone, orphans),
        problems=tuple(problems),
    )


def _remove(store: Store, row: RunRow, clock: Clock) -> None:
    record = RunRecord(row.record)
    base, name = os.path.split(record.folder)
    if os.path.basename(base) != FOLDER:
        raise RecordError(f"{record.folder} is not the record of a run: nothing was deleted")
    with held(record, clock):
        os.rename(record.folder, f"{base}/{GONE}{name}")
    _finish(row)
    store.drop_run(row.run_id)


def _finish(row: RunRow) -> bool:
    """Delete what remains of a record that was renamed to go; False if there is nothing."""
    base, name = os.path.split(row.record)
    renamed = f"{base}/{GONE}{name}"
    if not os.path.isdir(renamed):
        return False
    shutil.rmtree(renamed)
    with contextlib.suppress(OSError):
        os.rmdir(base)  # unless other runs are there
    return True


def _remove_orphans(
    record: RunRecord, orphans: Collection[Orphan], clock: Clock
) -> Iterator[Orphan]:
    with held(record, clock):
        needed = needed_names(record)
        for orphan in orphans:
            if os.path.basename(orphan.path) not in needed:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(orphan.path)
                yield orphan


@contextlib.contextmanager
def held(record: RunRecord, clock: Clock) -> Iterator[Lease | None]:
    """Hold the lease of a run that has ended, so that no process takes it up meanwhile.

    Yields None where a full disk has no room for a lease. Raises `RecordError` if another process
    holds it.
    """
    lease: Lease | None = None
    try:
        reader = JournalReader(record.files, record.segments)
        lease, _ = take_lease(record.files, clock, reader, this_process())
    except (LeaseHeldError, LeaseLostError) as error:
        raise RecordError(f"the run is kept: {error}") from error
    except OSError as error:
        # On a full disk nobody else can take it either, and this makes room.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
    try:
        if RunView(record).state not in ENDED:
            raise RecordError("the run is kept: it was taken up again")
        yield lease
    finally:
        if lease is not None:
            with contextlib.suppress(OSError):
                lease.release()

