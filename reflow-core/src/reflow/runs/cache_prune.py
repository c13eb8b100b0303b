"""Takes older results out of the cache, and leaves the runs that they are from.

A result is one identity, in however many runs: the last of them to have it says when it was
last used, and a run that stays as it is keeps it in all. What goes is found by no later run;
the files of its value go too, where the run ended with success and so reads it no more. That
stands in the record as one more outcome of the instance, without an identity: the index
follows, also one that is made anew. A value that stands in the record itself stays readable.

First the record, then the index, then the files: of a clean-up that was killed in between
the files are orphans, which `reflow.runs.gc` takes away.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Set

from attrs import define, evolve, field, frozen

from ..engine.run_view import Standing
from ..errors import RecordError, ReflowError, UnknownTaskError, unknown_name
from ..model.spec import TaskSpec
from ..states import DONE, ENDED, SUCCESS
from ..storage.blobs import Values
from ..storage.clock import Clock
from ..storage.events import Note, encode
from ..storage.indexing import catch_up
from ..storage.outcome import Outcome
from ..storage.run_directory import RunRecord
from ..storage.stores.base import InstanceRow, RunRow, Store
from ..values.references import files_in
from .gc import held, last_outcomes, needed_names
from .retention import Batch, FileSize, ResultPolicy, freed, outdated

Key = tuple[int, int]
"""Device and inode of a file."""


@frozen(kw_only=True)
class Pruning:
    """What is to go, or went.

    `batches` go for the reason at their place in `reasons`; `going` has by run, the oldest
    first, the identities that go there; `runs` are those runs.
    `size` is what the files of all results looked at take, `freed` what comes free, in bytes;
    `kept` counts the results that stay, `others` the runs of other users, which are left alone,
    and `problems` say what could not be looked at or taken away.
    """

    batches: tuple[Batch, ...] = ()
    reasons: tuple[str, ...] = ()
    going: Mapping[str, Collection[str]] = field(factory=dict)
    rows: Mapping[str, RunRow] = field(factory=dict)
    runs: tuple[str, ...] = ()
    results: int = 0
    kept: int = 0
    others: int = 0
    size: int = 0
    freed: int = 0
    problems: tuple[str, ...] = ()


@define
class _Run:
    """A run that is looked at.

    `numbers` are those of the batches that it has results of. `sizes` are the files of its
    values by name, where they may go, and `needed_by` says for each which batches need it;
    None: something without an identity.
    """

    row: RunRow
    record: RunRecord
    specs: Mapping[str, TaskSpec] = field(factory=dict)
    kept: bool = True
    used_at: float = 0.0
    attached: bool = False
    sizes: Mapping[str, tuple[Key, FileSize]] = field(factory=dict)
    numbers: set[int] = field(factory=set)
    needed_by: dict[str, set[int | None]] = field(factory=lambda: defaultdict(set))


class _Survey:
    """Which results there are, by the last run that has each."""

    def __init__(self, store: Store, graph_name: str | None, task: str | None, keep: int) -> None:
        self._store, self._graph_name, self._task, self._keep = store, graph_name, task, keep
        self._numbers: dict[str, int] = {}
        self._present: dict[str, Mapping[str, TaskSpec]] = {}
        self._seen: Counter[str] = Counter()
        self.batches: list[Batch] = []
        self.identities: list[set[str]] = []
        self.files: list[dict[Key, FileSize]] = []
        self.runs: list[_Run] = []
        self.tasks: set[str] = set()
        self.others = 0
        self.problems: list[str] = []

    def look_at(self, row: RunRow, now: float) -> None:
        """Find out what a run may lose; the newest comes first."""
        run = _Run(row, RunRecord(row.record), used_at=now)
        try:
            if "run.json" not in run.record.files.list(row.record):
                return  # gone: what the index still has of it is `store gc`'s to forget
            self._describe(run)
        except PermissionError:
            self.others += 1
        except (OSError, ReflowError) as error:
            self.problems.append(f"{row.run_id}: {error}")
            run.kept, run.sizes = True, {}
        self.runs.append(run)

    def count(self) -> None:
        """Put each result into the batch of the last run that has it, or of one that is kept."""
        for run in sorted(self.runs, key=lambda one: not one.kept):
            fresh: dict[str, int] = {}
            for one in self._results(run):
                number = self._number(run, one, fresh) if one.identity else None
                for name in _names(run, one) if run.sizes else ():
                    run.needed_by[name].add(number)
                    if number is not None and name in run.sizes:
                        key, size = run.sizes[name]
                        self.files[number][key] = size

    def _results(self, run: _Run) -> list[InstanceRow]:
        # Of one task: its values may stand in files that another's stand in, too.
        task = None if run.sizes else self._task
        rows = [] if task not in (None, *run.specs) else (
            self._store.instances(run.row.run_id, task, DONE)
        )
        if self._task is None:
            return rows
        return [one if one.task == self._task else one._replace(identity="") for one in rows]

    def _describe(self, run: _Run) -> None:
        """Find out what a run may lose."""
        row, record = run.row, run.record
        wanted = self._graph_name in (None, row.graph_name)
        self._seen[row.graph_name] += 1
        request = record.request()
        run.specs = {one.name: one for one in request.spec.tasks}
        self._present.setdefault(row.graph_name, run.specs)
        # As the user itself, not as the administrator: who writes to a record owns the part
        # that it adds, and the user would be locked out.
        mine = os.geteuid() == os.stat(row.record).st_uid
        standing = Standing(record)
        if standing.state not in ENDED:
            catch_up(self._store, record, row.run_id)
            return
        run.used_at = standing.finished_at
        if wanted:
            self.tasks.update(run.specs)
            self.others += not mine
        run.kept = not (wanted and mine) or self._seen[row.graph_name] <= self._keep
        if mine and standing.state == SUCCESS:  # any other may be retried, and need them
            run.sizes = _sizes(record)
            run.attached = bool(request.spec.serializers)

    def _number(self, run: _Run, one: InstanceRow, fresh: dict[str, int]) -> int:
        """Return the number of the batch that a result is of, a new one where that is needed."""
        number = self._numbers.get(one.identity)
        if number is None:
            number = fresh.get(one.task)
            if number is None:
                number = fresh[one.task] = len(self.batches)
                self.batches.append(
                    Batch(
                        run_id=run.row.run_id, graph_name=run.row.graph_name, task=one.task,
                        used_at=run.used_at, results=0, kept=run.kept,
                        superseded=self._is_superseded(run, one.task),
                    )
                )  # fmt: skip
                self.identities.append(set())
                self.files.append({})
            self._numbers[one.identity] = number
            self.identities[number].add(one.identity)
        run.numbers.add(number)
        return number

    def _is_superseded(self, run: _Run, task: str) -> bool:
        """Whether the newest run of the workflow can take over no result of a task of this one."""
        old, new = run.specs.get(task), self._present.get(run.row.graph_name, {}).get(task)
        if old is None:
            return False
        return new is None or _kind(old) != _kind(new)


def plan_pruning(
    store: Store,
    policy: ResultPolicy,
    *,
    graph_name: str | None = None,
    task: str | None = None,
    keep: int = 1,
    clock: Clock | None = None,
) -> Pruning:
    """Say which results of a workflow, or of a task, may go; nothing is taken away.

    The newest `keep` runs of each workflow keep theirs, and every run that has not ended.
    All runs are looked at: runs of any name may share a result. Raises `UnknownTaskError` for a
    task that none of the runs has.
    """
    now = (clock or Clock()).now()
    survey = _Survey(store, graph_name, task, keep)
    for row in store.list_runs():
        survey.look_at(row, now)
    survey.count()
    if task is not None and task not in survey.tasks:
        raise UnknownTaskError(unknown_name("task", task, sorted(survey.tasks)))
    numbers = [
        number
        for number, one in enumerate(survey.batches)
        if graph_name in (None, one.graph_name)
    ]
    batches = [
        evolve(
            survey.batches[number],
            results=len(survey.identities[number]),
            files=survey.files[number],
        )
        for number in numbers
    ]
    chosen = outdated(batches, policy, now)
    gone = {numbers[place] for place in chosen}
    going = {
        run.row.run_id: {
            one for number in run.numbers & gone for one in survey.identities[number]
        }
        for run in reversed(survey.runs)
        if run.numbers & gone
    }
    results = sum(batches[place].results for place in chosen)
    return Pruning(
        batches=tuple(batches[place] for place in chosen),
        reasons=tuple(chosen.values()),
        going=going,
        rows={run.row.run_id: run.row for run in survey.runs},
        runs=tuple(going),
        results=results,
        kept=sum(one.results for one in batches) - results,
        others=survey.others,
        size=sum({key: one.size for batch in batches for key, one in batch.files.items()}.values()),
        freed=freed(_leaving(run, gone) for run in survey.runs),
        problems=tuple(survey.problems),
    )


def _kind(spec: TaskSpec) -> tuple[str, ...]:
    """Return what of a task must be the same for any of its results to be taken over."""
    return (spec.version, spec.code, spec.serializer)


def _sizes(record: RunRecord) -> dict[str, tuple[Key, FileSize]]:
    """Return the files of a run's values by name."""
    found = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(record.values) as entries:
        for one in entries:
            if one.is_file(follow_symlinks=False):
                stat = one.stat(follow_symlinks=False)
                size = FileSize(stat.st_size, stat.st_nlink)
                found[one.name] = ((stat.st_dev, stat.st_ino), size)
    return found


def _names(run: _Run, one: InstanceRow) -> Iterator[str]:
    """Yield the names of the files that a value stands in."""
    text = one.value
    if one.spilled:
        yield f"{one.digest}.json"
        if run.attached:
            outcome = Outcome(one.task, one.index or 0, 0, one.state, digest=one.digest)
            with contextlib.suppress(RecordError):  # it is gone
                text = Values(run.record.files, run.record.values).text(outcome)
    if run.attached and text:
        yield from (name for _, name in files_in(text))


def _leaving(run: _Run, gone: Collection[int]) -> dict[Key, FileSize]:
    """Return the files that go from a run: those that nothing which stays needs."""
    return {
        run.sizes[name][0]: run.sizes[name][1]
        for name, numbers in run.needed_by.items()
        if name in run.sizes and all(number in gone for number in numbers)
    }


def carry_out(store: Store, pruning: Pruning, *, clock: Clock | None = None) -> Pruning:
    """Take away what was planned; return what has gone.

    A run that somebody has taken up again meanwhile keeps what it has.
    """
    clock = clock or Clock()
    problems = list(pruning.problems)
    gone: list[dict[Key, FileSize]] = []
    runs: list[str] = []
    for run_id, identities in pruning.going.items():
        try:
            gone.append(_prune(store, pruning.rows[run_id], identities, clock))
        except (OSError, ReflowError) as error:
            problems.append(f"{run_id}: {error}")
        else:
            runs.append(run_id)
    return evolve(pruning, runs=tuple(runs), freed=freed(gone), problems=tuple(problems))


def _prune(
    store: Store, row: RunRow, identities: Collection[str], clock: Clock
) -> dict[Key, FileSize]:
    """Take results out of one run; return the files that went."""
    record = RunRecord(row.record)
    with held(record, clock) as lease:
        if lease is None:
            raise RecordError(
                "it is kept: there is no room to note what goes; make some first, as"
                " `reflow store gc` does"
            )
        # What may be retried needs its values.
        whole = Standing(record).state == SUCCESS
        before = needed_names(record) if whole else set()
        going = [one for one in last_outcomes(record) if one.identity in identities]
        if not going:
            return {}
        lease.append_encoded(b"".join(map(encode, _without(going, whole))))
        lease.append(Note(_told(going), clock.now()))
        lease.sync()
        catch_up(store, record, row.run_id)
        return _unlinked(record, before - needed_names(record)) if whole else {}


def _without(outcomes: Iterable[Outcome], whole: bool) -> Iterator[Outcome]:
    """Yield outcomes that nobody finds any more, and without a value that is in files."""
    for one in outcomes:
        if whole and (one.value is None or files_in(one.value)):
            yield one._replace(identity="", digest="", value=None, paths=(), prints=())
        else:
            yield one._replace(identity="")


def _told(outcomes: Collection[Outcome]) -> str:
    counts = Counter(one.task for one in outcomes)
    return "`reflow cache prune` has taken results out of the cache: " + ", ".join(
        f"{count} of {task}" for task, count in counts.items()
    )


def _unlinked(record: RunRecord, names: Set[str]) -> dict[Key, FileSize]:
    """Take files of values away, and return those that were there."""
    sizes = _sizes(record)
    for name in names & sizes.keys():
        record.files.discard(f"{record.values}/{name}")
    return {sizes[name][0]: sizes[name][1] for name in names & sizes.keys()}
