"""Which runs, and which results, may go by age and size: values in, values out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from attrs import field, frozen

AGE, SIZE = "age", "size"
"""Why a run goes, or a result."""

SUPERSEDED, ASKED = "superseded", "asked"
"""Why else a result goes: its task has changed since, or it was named and nothing more said."""


@frozen
class FileSize:
    """How large a file is, and how many names it has anywhere."""

    size: int
    links: int


Files: TypeAlias = Mapping[tuple[int, int], FileSize]
"""Files by (device, inode)."""


@frozen(kw_only=True)
class StoredRun:
    """A run and what it keeps on disk.

    `ended_at` is in seconds since the epoch. `files` are the files of its record by
    (device, inode): runs that take a value over share its file.
    """

    run_id: str
    graph_name: str
    created_at: str
    ended: bool
    ended_at: float
    files: Files = field(factory=dict)


@frozen(kw_only=True)
class Policy:
    """What may stay; None: no limit.

    Runs that ended more than `older_than` seconds ago go, and then the oldest until all
    that is kept takes no more than `max_size` bytes. The newest `keep` runs of each
    workflow stay, and every run that has not ended.
    """

    older_than: float | None = None
    max_size: int | None = None
    keep: int = 1


def leaving(runs: Sequence[StoredRun], policy: Policy, now: float) -> dict[str, str]:
    """Return the ids of the runs that go, the oldest first, each with the reason."""
    removable = _removable(runs, policy.keep)
    gone: dict[str, str] = {}
    if policy.older_than is not None:
        gone = {run.run_id: AGE for run in removable if now - run.ended_at > policy.older_than}
    if policy.max_size is not None:
        rest = [run.files for run in runs if run.run_id not in gone]
        others = [run for run in removable if run.run_id not in gone]
        count = _how_many([run.files for run in others], rest, policy.max_size)
        gone.update((run.run_id, SIZE) for run in others[:count])
    return gone


def _how_many(order: Sequence[Files], rest: Iterable[Files], most: int) -> int:
    """Return how many, the first in this order, go until the rest takes no more than `most`.

    `rest` is what there is, those in `order` among it. A file goes with the last that has it.
    """
    rest = list(rest)
    holders = Counter(key for files in rest for key in files)
    sizes = {key: one.size for files in rest for key, one in files.items()}
    total = sum(sizes.values())
    for count, files in enumerate(order):
        if total <= most:
            return count
        for key in files:
            holders[key] -= 1
            total -= 0 if holders[key] else sizes[key]
    return len(order)


def _removable(runs: Iterable[StoredRun], keep: int) -> list[StoredRun]:
    """Return the runs that may go at all, the oldest first."""
    seen: Counter[str] = Counter()
    found = []
    for run in sorted(runs, key=lambda one: (one.created_at, one.run_id), reverse=True):
        seen[run.graph_name] += 1
        if run.ended and seen[run.graph_name] > keep:
            found.append(run)
    return sorted(found, key=lambda one: (one.ended_at, one.run_id))


def size_of(runs: Iterable[StoredRun]) -> int:
    """Return how many bytes runs take; what they share counts once."""
    return sum({key: one.size for run in runs for key, one in run.files.items()}.values())


def freed_by(runs: Iterable[StoredRun]) -> int:
    """Return how many bytes come free when runs go; a file that others have too stays."""
    return freed(run.files for run in runs)


def freed(gone: Iterable[Files]) -> int:
    """Return how many bytes come free when a name of each of these files goes, in some places."""
    names: Counter[tuple[int, int]] = Counter()
    found: dict[tuple[int, int], FileSize] = {}
    for files in gone:
        names.update(files.keys())
        found.update(files)
    return sum(one.size for key, one in found.items() if names[key] >= one.links)


@frozen(kw_only=True)
class Batch:
    """The results of one task that were last used, computed or taken over, in one run.

    `used_at` is when that run ended, in seconds since the epoch. `kept`: the run stays as it
    is, and so do they. `superseded`: by its newest run the task is another now, so that none
    of these can be taken over. `files` are those of their values by (device, inode).
    """

    run_id: str
    graph_name: str
    task: str
    used_at: float
    results: int
    kept: bool
    superseded: bool
    files: Files = field(factory=dict)


@frozen(kw_only=True)
class ResultPolicy:
    """Which results may stay; None: no limit.

    Those go that were last used more than `older_than` seconds ago, and then those that
    were not used for longest until the files of the rest take no more than `max_size` bytes;
    with neither, all. With `superseded` only what is superseded goes.
    """

    older_than: float | None = None
    max_size: int | None = None
    superseded: bool = False


def outdated(batches: Sequence[Batch], policy: ResultPolicy, now: float) -> dict[int, str]:
    """Return the positions of the batches that go, the longest unused first, with the reason."""
    may_go = sorted(
        (
            number
            for number, one in enumerate(batches)
            if not one.kept and (one.superseded or not policy.superseded)
        ),
        key=lambda number: (batches[number].used_at, batches[number].run_id),
    )
    gone: dict[int, str] = {}
    if policy.older_than is not None or policy.max_size is None:
        least = policy.older_than
        plain = ASKED if least is None else AGE
        for number in may_go:
            if least is None or now - batches[number].used_at > least:
                gone[number] = SUPERSEDED if policy.superseded else plain
    if policy.max_size is not None:
        rest = [one.files for number, one in enumerate(batches) if number not in gone]
        others = [number for number in may_go if number not in gone]
        count = _how_many([batches[number].files for number in others], rest, policy.max_size)
        # What takes no room makes none.
        gone.update((number, SIZE) for number in others[:count] if batches[number].files)
    return gone
