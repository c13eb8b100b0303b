"""Takes old runs and orphaned values away, and nothing that a run which stays needs.

Of a run its record goes: journal, values, logs, scripts. What tasks wrote elsewhere in the
run directory is the user's. A run has files of its own of all that it took over from older
ones (linked or copied when it was planned), and the store finds its results where the older
run has gone; so any run may go without another.

A record is renamed first, so that it is there or not, and listed in the store until it has
gone: whoever is killed in between is continued by the next.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping

from attrs import field, frozen

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
"""What the name of a record begins with that is being taken away."""

ORPHANED_AFTER = 24 * 3600.0
"""Seconds after which a value that nothing refers to is nobody's."""


@frozen(kw_only=True)
class Orphan:
    """A file of values that no outcome on record refers to."""

    run_id: str
    path: str
    size: int


@frozen(kw_only=True)
class Cleaning:
    """What is to go, or went.

    `runs` go for the reason in `reasons`; `orphans` are files; `missing` are listed and have
    no record any more; `size` is what all runs looked at take, `freed` what comes free, in
    bytes. `others` counts the runs of other users, which are left alone, and `problems` say
    what could not be looked at or taken away.
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
    """Look at all runs that the store lists and say what may go; nothing is changed."""
    files, now = Files(), (clock or Clock()).now()
    runs: list[StoredRun] = []
    rows: dict[str, RunRow] = {}
    missing: list[str] = []
    problems: list[str] = []
    others = 0
    for row in store.list_runs(graph_name=graph_name):
        try:
            if "run.json" not in files.list(row.record):
                missing.append(row.run_id)
            elif os.geteuid() not in (0, os.stat(row.record).st_uid):
                others += 1
            else:
                rows[row.run_id] = row
                runs.append(_look_at(row))
        except PermissionError:
            others += 1
        except (OSError, ReflowError) as error:
            problems.append(f"{row.run_id}: {error}")
    reasons = leaving(runs, policy, now)
    gone = [run for run in runs if run.run_id in reasons]
    orphans: list[Orphan] = []
    for run in runs:
        if run.ended and run.run_id not in reasons:
            try:
                orphans.extend(_orphans(RunRecord(rows[run.run_id].record), run.run_id, now))
            except (OSError, ReflowError) as error:
                problems.append(f"{run.run_id}: {error}")
    return Cleaning(
        runs=tuple(sorted(gone, key=lambda run: list(reasons).index(run.run_id))),
        reasons=reasons,
        rows=rows,
        orphans=tuple(orphans),
        missing=tuple(missing),
        kept=len(runs) - len(gone),
        others=others,
        size=total_size(run.files for run in runs),
        freed=freed(run.files for run in gone) + sum(one.size for one in orphans),
        problems=tuple(problems),
    )


def _look_at(row: RunRow) -> StoredRun:
    files: dict[tuple[int, int], FileSize] = {}
    for folder, _, names in os.walk(row.record):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                found = os.stat(f"{folder}/{name}", follow_symlinks=False)
                files[found.st_dev, found.st_ino] = FileSize(found.st_size, found.st_nlink)
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
        entries = [one for one in os.scandir(record.values) if one.is_file(follow_symlinks=False)]
        old = [one for one in entries if now - one.stat().st_mtime > ORPHANED_AFTER]
        if old:
            needed = needed_names(record)
            for one in sorted(old, key=lambda entry: entry.name):
                if one.name not in needed:
                    yield Orphan(run_id=run_id, path=one.path, size=one.stat().st_size)


def last_outcomes(record: RunRecord) -> list[Outcome]:
    """Return the outcome of each instance that stands: the last on record.

    Raises `RecordError` where the record cannot all be seen.
    """
    reader = JournalReader(record.files, record.segments)
    found = {
        (one.task, one.index): one for one in reader.read() if type(one) is Outcome
    }
    if reader.behind:
        raise RecordError(
            f"the record in {record.folder} cannot all be seen: nothing of it was taken away"
        )
    return list(found.values())


def needed_names(record: RunRecord) -> set[str]:
    """Return the names of the files that values on record stand in."""
    values = Values(record.files, record.values)
    names: set[str] = set()
    for one in last_outcomes(record):
        if not one.digest:
            continue
        text = one.value
        if text is None:
            name = f"{one.digest}.json"
            if name in names:
                continue
            names.add(name)
            text = values.text(one)
        names.update(file for _, file in files_in(text))
    return names


def carry_out(
    store: Store,
    cleaning: Cleaning,
    *,
    forget_missing: bool = False,
    clock: Clock | None = None,
    tell: Callable[[str], object] = lambda text: None,
) -> Cleaning:
    """Take away what was planned; return what has gone.

    A run that somebody has taken up again meanwhile stays. `tell` hears of each run.
    """
    clock = clock or Clock()
    gone: list[StoredRun] = []
    orphans: list[Orphan] = []
    missing: list[str] = []
    problems = list(cleaning.problems)
    for run in cleaning.runs:
        try:
            _remove(store, cleaning.rows[run.run_id], clock)
        except (OSError, ReflowError) as error:
            problems.append(f"{run.run_id}: {error}")
        else:
            gone.append(run)
            tell(run.run_id)
    for run_id in dict.fromkeys(one.run_id for one in cleaning.orphans):
        mine = [one for one in cleaning.orphans if one.run_id == run_id]
        try:
            orphans.extend(_remove_orphans(RunRecord(cleaning.rows[run_id].record), mine, clock))
        except (OSError, ReflowError) as error:
            problems.append(f"{run_id}: {error}")
    for run_id in cleaning.missing:
        try:
            if _finish(store.run(run_id)) or forget_missing:
                store.drop_run(run_id)
                missing.append(run_id)
        except (OSError, ReflowError) as error:
            problems.append(f"{run_id}: {error}")
    return Cleaning(
        runs=tuple(gone),
        reasons=cleaning.reasons,
        rows=cleaning.rows,
        orphans=tuple(orphans),
        missing=tuple(missing),
        kept=cleaning.kept + len(cleaning.runs) - len(gone),
        others=cleaning.others,
        size=cleaning.size,
        freed=freed(run.files for run in gone) + sum(one.size for one in orphans),
        problems=tuple(problems),
    )


def _remove(store: Store, row: RunRow, clock: Clock) -> None:
    record = RunRecord(row.record)
    base, name = os.path.split(record.folder)
    if os.path.basename(base) != FOLDER:
        raise RecordError(f"{record.folder} is no record of a run: nothing was taken away")
    with held(record, clock):
        os.rename(record.folder, f"{base}/{GONE}{name}")
    _finish(row)
    store.drop_run(row.run_id)


def _finish(row: RunRow) -> bool:
    """Take away what is left of a record that was to go; False if there is nothing."""
    base, name = os.path.split(row.record)
    left = f"{base}/{GONE}{name}"
    if not os.path.isdir(left):
        return False
    shutil.rmtree(left)
    with contextlib.suppress(OSError):
        os.rmdir(base)  # unless other runs are there
    return True


def _remove_orphans(
    record: RunRecord, orphans: Collection[Orphan], clock: Clock
) -> Iterator[Orphan]:
    with held(record, clock):
        needed = needed_names(record)
        for one in orphans:
            if os.path.basename(one.path) not in needed:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(one.path)
                yield one


@contextlib.contextmanager
def held(record: RunRecord, clock: Clock) -> Iterator[Lease | None]:
    """Hold the lease of a run that has ended, so that nobody takes it up meanwhile.

    None where a full disk has no room for a lease. Raises `RecordError` if somebody has it.
    """
    lease: Lease | None = None
    try:
        reader = JournalReader(record.files, record.segments)
        lease, _ = take_lease(record.files, clock, reader, this_process())
    except (LeaseHeldError, LeaseLostError) as error:
        raise RecordError(f"it is kept: {error}") from error
    except OSError as error:
        # On a full disk nobody else can take it either, and this makes room.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
    try:
        if RunView(record).state not in ENDED:
            raise RecordError("it is kept: somebody has taken it up again")
        yield lease
    finally:
        if lease is not None:
            with contextlib.suppress(OSError):
                lease.release()

