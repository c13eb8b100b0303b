"""Which runs, and which results, may go by age and size: values in, values out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias, TypeVar

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


FileKey: TypeAlias = tuple[int, int]
"""Device and inode of a file."""
Files: TypeAlias = Mapping[FileKey, FileSize]

Key = TypeVar("Key", str, int)


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
    candidates = _removable(runs, policy.keep)
    gone: dict[str, str] = {}
    if policy.older_than is not None:
        gone = {run.run_id: AGE for run in candidates if now - run.ended_at > policy.older_than}
    if policy.max_size is not None:
        staying = {run.run_id: run.files for run in runs if run.run_id not in gone}
        order = [run.run_id for run in candidates if run.run_id in staying]
        gone |= dict.fromkeys(_over(policy.max_size, staying, order), SIZE)
    return gone


def _removable(runs: Iterable[StoredRun], keep: int) -> list[StoredRun]:
    """Return the runs that may go at all, the oldest first."""
    newer: Counter[str] = Counter()
    removable = []
    for run in sorted(runs, key=lambda run: (run.created_at, run.run_id), reverse=True):
        # Runs that go on count, too: they are among the newest.
        newer[run.graph_name] += 1
        if run.ended and newer[run.graph_name] > keep:
            removable.append(run)
    return sorted(removable, key=lambda run: (run.ended_at, run.run_id))


def _over(most: int, staying: Mapping[Key, Files], order: Sequence[Key]) -> Sequence[Key]:
    """Return those that go, from the first in this order on, until the rest takes `most` bytes.

    `staying` has the files of all that there is. A file goes with the last that has it.
    """
    holders = Counter(key for files in staying.values() for key in files)
    total = total_size(staying.values())
    for count, key in enumerate(order):
        if total <= most:
            return order[:count]
        for name, file in staying[key].items():
            holders[name] -= 1
            total -= 0 if holders[name] else file.size
    return order


def total_size(places: Iterable[Files]) -> int:
    """Return how many bytes files take; what stands in several places counts once."""
    return sum({key: file.size for files in places for key, file in files.items()}.values())


def freed(gone: Iterable[Files]) -> int:
    """Return how many bytes come free when these files go, each from some of its places.

    A file stays as long as it has another name anywhere.
    """
    names: Counter[FileKey] = Counter()
    sizes: dict[FileKey, FileSize] = {}
    for files in gone:
        names.update(files.keys())
        sizes.update(files)
    return sum(file.size for key, file in sizes.items() if names[key] >= file.links)


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
    candidates = _unused_first(batches, policy)
    gone = _by_age(batches, candidates, policy, now)
    if policy.max_size is not None:
        staying = {
            number: batch.files for number, batch in enumerate(batches) if number not in gone
        }
        # What takes no room makes none.
        order = [number for number in candidates if staying.get(number)]
        gone |= dict.fromkeys(_over(policy.max_size, staying, order), SIZE)
    return gone


def _by_age(
    batches: Sequence[Batch], candidates: Iterable[int], policy: ResultPolicy, now: float
) -> dict[int, str]:
    """Return what was last used too long ago; with no limit on age or size, all candidates."""
    if policy.older_than is None:
        if policy.max_size is not None:
            return {}
        return dict.fromkeys(candidates, SUPERSEDED if policy.superseded else ASKED)
    reason = SUPERSEDED if policy.superseded else AGE
    return {
        number: reason
        for number in candidates
        if now - batches[number].used_at > policy.older_than
    }


def _unused_first(batches: Sequence[Batch], policy: ResultPolicy) -> list[int]:
    """Return the positions of the batches that may go at all, the longest unused first."""
    candidates = [
        number
        for number, batch in enumerate(batches)
        if not batch.kept and (batch.superseded or not policy.superseded)
    ]
    return sorted(candidates, key=lambda number: (batches[number].used_at, batches[number].run_id))
