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

from ..engine.run_view import RunView
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
from .gc import held, last_outcomes, needed_names, noting
from .retention import Batch, FileKey, FileSize, ResultPolicy, freed, outdated, total_size


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


@define(eq=False)
class _Run:
    """A run that is looked at.

    `kept`: it keeps all its results. `sizes` are the files of its values by name, where they may
    go, and `needed_by` says for each which groups need it; None: something without an identity.
    """

    row: RunRow
    record: RunRecord
    used_at: float
    specs: Mapping[str, TaskSpec] = field(factory=dict)
    kept: bool = True
    attached: bool = False
    sizes: Mapping[str, tuple[FileKey, FileSize]] = field(factory=dict)
    groups: set[_Group] = field(factory=set)
    needed_by: dict[str, set[_Group | None]] = field(factory=lambda: defaultdict(set))


@define(eq=False)
class _Group:
    """The results of one task that were last used in one run, while they are counted."""

    run: _Run
    task: str
    superseded: bool
    identities: set[str] = field(factory=set)
    files: dict[FileKey, FileSize] = field(factory=dict)

    def batch(self) -> Batch:
        return Batch(
            run_id=self.run.row.run_id, graph_name=self.run.row.graph_name, task=self.task,
            used_at=self.run.used_at, results=len(self.identities), kept=self.run.kept,
            superseded=self.superseded, files=self.files,
        )  # fmt: skip


class _Survey:
    """Which results there are, by the last run that has each."""

    def __init__(self, store: Store, graph_name: str | None, task: str | None, keep: int) -> None:
        self._store, self._graph_name, self._task, self._keep = store, graph_name, task, keep
        self._by_identity: dict[str, _Group] = {}
        self._newest_specs: dict[str, Mapping[str, TaskSpec]] = {}
        self._run_counts: Counter[str] = Counter()
        self.groups: list[_Group] = []
        self.runs: list[_Run] = []
        self.tasks: set[str] = set()
        self.others = 0
        self.problems: list[str] = []

    def look_at_all(self, now: float) -> None:
        """Look at all runs. Raises `UnknownTaskError` where none has the task."""
        for row in self._store.list_runs():
            self._look_at(row, now)
        if self._task is not None and self._task not in self.tasks:
            raise UnknownTaskError(unknown_name("task", self._task, sorted(self.tasks)))
        self._count()
        # Only now: which run last had a result is seen by the runs of all workflows.
        if self._graph_name is not None:
            self.groups = [
                group for group in self.groups if group.run.row.graph_name == self._graph_name
            ]

    def _look_at(self, row: RunRow, now: float) -> None:
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

    def _describe(self, run: _Run) -> None:
        """Find out what a run may lose."""
        row, record = run.row, run.record
        self._run_counts[row.graph_name] += 1
        request = record.request()
        run.specs = {spec.name: spec for spec in request.spec.tasks}
        self._newest_specs.setdefault(row.graph_name, run.specs)
        # As the user itself, not as the administrator: who writes to a record owns the part
        # that it adds, and the user would be locked out.
        owned = os.geteuid() == os.stat(row.record).st_uid
        view = RunView(record)
        if view.state not in ENDED:
            catch_up(self._store, record, row.run_id)
            return
        run.used_at = view.replay.finished_at
        selected = self._graph_name in (None, row.graph_name)
        if selected:
            self.tasks.update(run.specs)
            self.others += not owned
        run.kept = not (selected and owned) or self._run_counts[row.graph_name] <= self._keep
        if owned and view.state == SUCCESS:  # any other may be retried, and needs its values
            run.sizes = _sizes(record)
            run.attached = bool(request.spec.serializers)

    def _count(self) -> None:
        """Put each result into the group of the last run that has it, or of one that is kept."""
        for run in sorted(self.runs, key=lambda run: not run.kept):
            fresh: dict[str, _Group] = {}
            for row in self._results(run):
                group = self._group(run, row, fresh) if row.identity else None
                for name in _value_files(run, row) if run.sizes else ():
                    run.needed_by[name].add(group)
                    if group is not None and name in run.sizes:
                        key, size = run.sizes[name]
                        group.files[key] = size

    def _results(self, run: _Run) -> list[InstanceRow]:
        """Return the results of a run; those of other tasks than the chosen have no identity."""
        # Where files may go, of all tasks: a file of the chosen one may hold another's value, too.
        task = None if run.sizes else self._task
        if task is not None and task not in run.specs:
            return []
        rows = self._store.instances(run.row.run_id, task, DONE)
        if self._task is None:
            return rows
        return [row if row.task == self._task else row._replace(identity="") for row in rows]

    def _group(self, run: _Run, row: InstanceRow, fresh: dict[str, _Group]) -> _Group:
        """Return the group that a result is in: a newer run's, or one of this run and its task."""
        group = self._by_identity.get(row.identity)
        if group is None:
            group = fresh.get(row.task)
            if group is None:
                group = fresh[row.task] = _Group(run, row.task, self._is_superseded(run, row.task))
                self.groups.append(group)
            self._by_identity[row.identity] = group
            group.identities.add(row.identity)
        run.groups.add(group)
        return group

    def _is_superseded(self, run: _Run, task: str) -> bool:
        """Whether the newest run of the workflow can take over no result of a task of this one."""
        old, new = run.specs.get(task), self._newest_specs.get(run.row.graph_name, {}).get(task)
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
    survey.look_at_all(now)
    batches = [group.batch() for group in survey.groups]
    reasons = outdated(batches, policy, now)
    leaving = [batches[number] for number in reasons]
    gone = {survey.groups[number] for number in reasons}
    going = {
        run.row.run_id: set().union(*(group.identities for group in run.groups & gone))
        for run in reversed(survey.runs)
        if run.groups & gone
    }
    return Pruning(
        batches=tuple(leaving),
        reasons=tuple(reasons.values()),
        going=going,
        rows={run.row.run_id: run.row for run in survey.runs},
        runs=tuple(going),
        results=_results(leaving),
        kept=_results(batches) - _results(leaving),
        others=survey.others,
        size=total_size(batch.files for batch in batches),
        freed=freed(_leaving(run, gone) for run in survey.runs),
        problems=tuple(survey.problems),
    )


def _results(batches: Iterable[Batch]) -> int:
    return sum(batch.results for batch in batches)


def _kind(spec: TaskSpec) -> tuple[str, ...]:
    """Return what of a task must be the same for any of its results to be taken over."""
    return (spec.version, spec.code, spec.serializer)


def _sizes(record: RunRecord) -> dict[str, tuple[FileKey, FileSize]]:
    """Return the files of a run's values by name."""
    sizes = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(record.values) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                stat = entry.stat(follow_symlinks=False)
                size = FileSize(stat.st_size, stat.st_nlink)
                sizes[entry.name] = ((stat.st_dev, stat.st_ino), size)
    return sizes


def _value_files(run: _Run, row: InstanceRow) -> Iterator[str]:
    """Yield the names of the files that a value stands in."""
    text = row.value
    if row.spilled:
        yield f"{row.digest}.json"
        if run.attached:
            outcome = Outcome(row.task, row.index or 0, 0, row.state, digest=row.digest)
            with contextlib.suppress(RecordError):  # it is gone
                text = Values(run.record.files, run.record.values).text(outcome)
    if run.attached and text:
        yield from (name for _, name in files_in(text))


def _leaving(run: _Run, gone: Set[_Group]) -> dict[FileKey, FileSize]:
    """Return the files that go from a run: those that nothing which stays needs."""
    return {
        run.sizes[name][0]: run.sizes[name][1]
        for name, groups in run.needed_by.items()
        if name in run.sizes and groups <= gone
    }


def carry_out(store: Store, pruning: Pruning, *, clock: Clock | None = None) -> Pruning:
    """Take away what was planned; return what has gone.

    A run that was taken up again meanwhile keeps what it has.
    """
    clock = clock or Clock()
    problems = list(pruning.problems)
    gone: list[dict[FileKey, FileSize]] = []
    runs: list[str] = []
    for run_id, identities in pruning.going.items():
        with noting(problems, run_id):
            gone.append(_prune(store, pruning.rows[run_id], identities, clock))
            runs.append(run_id)
    return evolve(pruning, runs=tuple(runs), freed=freed(gone), problems=tuple(problems))


def _prune(
    store: Store, row: RunRow, identities: Collection[str], clock: Clock
) -> dict[FileKey, FileSize]:
    """Take results out of one run; return the files that went."""
    record = RunRecord(row.record)
    with held(record, clock) as lease:
        if lease is None:
            raise RecordError(
                "the run keeps its results: the disk has no room to record what goes; free some"
                " first, such as with `reflow store gc`"
            )
        # A run that may be retried needs its values.
        succeeded = RunView(record).state == SUCCESS
        needed_before = needed_names(record) if succeeded else set()
        going = [outcome for outcome in last_outcomes(record) if outcome.identity in identities]
        if not going:
            return {}
        # The record first, then the index, then the files: see the head of this module.
        lease.append_encoded(b"".join(map(encode, _without_identity(going, succeeded))))
        lease.append(Note(_note_text(going), clock.now()))
        lease.sync()
        catch_up(store, record, row.run_id)
        if not succeeded:
            return {}
        return _unlink(record, needed_before - needed_names(record))


def _without_identity(outcomes: Iterable[Outcome], without_files: bool) -> Iterator[Outcome]:
    """Yield outcomes that no later run finds, `without_files` also without values in files."""
    for outcome in outcomes:
        if without_files and (outcome.value is None or files_in(outcome.value)):
            yield outcome._replace(identity="", digest="", value=None, paths=(), prints=())
        else:
            yield outcome._replace(identity="")


def _note_text(outcomes: Collection[Outcome]) -> str:
    counts = Counter(outcome.task for outcome in outcomes)
    return "`reflow cache prune` has taken results out of the cache: " + ", ".join(
        f"{count} of {task}" for task, count in counts.items()
    )


def _unlink(record: RunRecord, names: Set[str]) -> dict[FileKey, FileSize]:
    """Delete files of values, and return those that were there."""
    sizes = _sizes(record)
    present = names & sizes.keys()
    for name in present:
        record.files.discard(f"{record.values}/{name}")
    return {sizes[name][0]: sizes[name][1] for name in present}
