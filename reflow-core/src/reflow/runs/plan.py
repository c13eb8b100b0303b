"""What a submission would run, and why: looked up without submitting or writing anything."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from attrs import field, frozen

from ..caching.hash_cache import FileHashes
from ..caching.input_files_at_submission import with_input_files
from ..caching.reuse import Decision, Reuse, checks_of, find_results, success_by_store
from ..engine.dispatcher import BATCH
from ..engine.inputs import SizeError, TaskInputs
from ..engine.planner import Progress, TaskState
from ..errors import RecordError
from ..model.flow import Flow
from ..model.spec import TaskSpec, WorkflowSpec
from ..states import DONE
from ..storage.blobs import Values
from ..storage.filesystem import Files
from ..storage.outcome import Outcome
from ..storage.run_directory import RunOptions
from ..storage.stores.base import CachedResult, Store
from .diff import Difference, Recorded, Side, earlier_runs, task_differences
from .submit import specify


@frozen(kw_only=True)
class Reason:
    """Why so many elements of a task run, or are not known yet."""

    text: str
    elements: int


@frozen(kw_only=True)
class TaskPlan:
    """One task of a plan: how many of its elements are hits, misses, and not known yet.

    `size` and `unknown` are None where the number of elements is not known yet.
    """

    name: str
    array: bool
    size: int | None
    hits: int
    misses: int
    unknown: int | None
    reasons: tuple[Reason, ...]

    def _rows(self) -> list[list[str]]:
        """Return its row in the table, and one more for each further reason."""
        cells = [
            self.name, _count(self.size), str(self.hits), str(self.misses), _count(self.unknown)
        ]  # fmt: skip
        texts = [reason.text for reason in self.reasons] or [""]
        if len(texts) > 1:
            texts = [f"{reason.elements}: {reason.text}" for reason in self.reasons]
        return [[*cells, texts[0]], *([*[""] * len(cells), text] for text in texts[1:])]


def _count(count: int | None) -> str:
    return "?" if count is None else str(count)


@frozen(kw_only=True)
class Plan:
    """What a submission would do. Prints as a table."""

    workflow: str
    run_dir: str
    tasks: tuple[TaskPlan, ...]

    @property
    def hits(self) -> int:
        """Elements whose results are taken over."""
        return sum(task.hits for task in self.tasks)

    @property
    def misses(self) -> int:
        """Elements that run."""
        return sum(task.misses for task in self.tasks)

    @property
    def complete(self) -> bool:
        """Whether everything is known: no element waits for the value of another."""
        return all(task.unknown == 0 for task in self.tasks)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-safe values; docs/reference/json has the schema."""
        from attrs import asdict

        return {**asdict(self), "hits": self.hits, "misses": self.misses, "complete": self.complete}

    def __str__(self) -> str:
        more = "" if self.complete else ", and more may follow"
        lines = [
            f"Workflow {self.workflow}, in {self.run_dir}: "
            f"{self.misses} would run{more}; {self.hits} cached"
        ]
        rows = [["TASK", "ELEMENTS", "CACHED", "RUN", "UNKNOWN", "BECAUSE"]]
        rows += [row for task in self.tasks for row in task._rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = [f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)]
            lines.append("  ".join(cells).rstrip())
        return "\n".join(lines)


class _HitValues(Values):
    """Reads the values of results where they are, in the records of the runs that have them."""

    def __init__(self, files: Files) -> None:
        super().__init__(files, "")
        self._reading = files
        self.folders: dict[str, str] = {}

    def text(self, outcome: Outcome) -> str:
        return Values(self._reading, self.folders.get(outcome.digest, "")).text(outcome)


def preview(
    workflow: Flow,
    store: Store,
    run_dir: str | os.PathLike[str],
    parameters: Mapping[str, object],
    options: RunOptions,
) -> Plan:
    """Return what would run. Raises what `submit` raises before it starts anything."""
    folder = os.path.abspath(os.fspath(run_dir))
    spec = specify(workflow, parameters, folder, options)
    spec, _ = with_input_files(spec, workflow.tasks, os.getcwd())
    return _Preview(workflow, store, spec, options).plan(folder)


@frozen
class _Preview:
    """One look ahead, task by task as values become known.

    By task: why elements are misses, why its inputs cannot be told, and the first lost file.
    """

    workflow: Flow
    store: Store
    spec: WorkflowSpec
    options: RunOptions
    files: Files = field(factory=Files)
    _misses: dict[str, Counter[str]] = field(factory=dict)
    _troubles: dict[str, str] = field(factory=dict)
    _lost: dict[str, str] = field(factory=dict)
    _hashes: FileHashes = field(factory=FileHashes)

    def plan(self, folder: str) -> Plan:
        progress, values = Progress(self.spec), _HitValues(self.files)
        earlier = _Earlier(self.store, self.spec.name)
        inputs: dict[str, TaskInputs] = {}
        moved = True
        while moved:
            moved = False
            for state in progress.take_unsized():
                moved = True
                name = state.spec.name
                try:
                    inputs[name] = TaskInputs(progress, values, state)
                    progress.resize(name, inputs[name].size())
                except (SizeError, RecordError) as error:
                    self._troubles[name] = str(error)
            for state, indices in progress.take_ready():
                moved = True
                name = state.spec.name
                if name not in inputs:
                    inputs[name] = TaskInputs(progress, values, state)
                sides = Side(state, inputs[name], indices[0], progress, values)
                for start in range(0, len(indices), BATCH):
                    self._look_up(sides, indices[start : start + BATCH], values, earlier)
        tasks = [self._task_plan(state) for state in progress.tasks.values()]
        return Plan(workflow=self.spec.name, run_dir=folder, tasks=tuple(tasks))

    def _look_up(
        self, new: Side, indices: Sequence[int], values: _HitValues, earlier: _Earlier
    ) -> None:
        spec = new.spec
        misses = self._misses.setdefault(spec.name, Counter())
        if not spec.cache or self.options.forces(spec.name):
            misses["cache=False" if not spec.cache else "forced"] += len(indices)
            return
        identities = {}
        for index in indices:
            if new.inputs.new_files(index):
                misses["it receives files that may be newer than its older results"] += 1
            else:
                identities[index] = new.inputs.identity(index)
        reuse = self._reuse(spec)

        def decide(result: CachedResult) -> Decision:
            decision = reuse.decide(result)
            if decision.about_files:  # one line, however many files
                reason = self._lost.setdefault(spec.name, decision.reason)
                decision = decision._replace(reason=reason)
            return decision

        matches = find_results(self.store, identities.values(), decide)
        for index, identity in identities.items():
            hit = matches.good.get(identity)
            if hit is None:
                refusal = matches.refused.get(identity)
                reason = refusal.reason if refusal else earlier.reason(new._replace(index=index))
                misses[reason] += 1
                continue
            values.folders[hit.digest] = f"{hit.record}/values"
            new.progress.record(reuse.outcome(hit, identity, index))

    def _reuse(self, spec: TaskSpec) -> Reuse:
        """Return what decides about older results as a dispatch pass does, and takes none over."""
        return Reuse(
            spec.name,
            self.files,
            self.spec.serializers,
            lambda: self.workflow.tasks[spec.name],
            success_by_store(self.store),
            checks=checks_of(self.spec, spec) if self.options.verify else None,
            hash_file=self._hashes.digest,
        )

    def _task_plan(self, state: TaskState) -> TaskPlan:
        name = state.spec.name
        misses = self._misses.get(name, Counter())
        unknown = None if state.size is None else state.size - state.done - misses.total()
        reasons = []
        for text, count in misses.most_common():
            if text == self._lost.get(name) and count > 1:
                text += f", and files of {count - 1} more are gone or changed"
            reasons.append(Reason(text=text, elements=count))
        if unknown != 0:
            reasons.append(Reason(text=self._waits(state), elements=unknown or 0))
        return TaskPlan(
            name=name, array=state.spec.array, size=state.size, hits=state.done,
            misses=misses.total(), unknown=unknown, reasons=tuple(reasons),
        )  # fmt: skip

    def _waits(self, state: TaskState) -> str:
        if state.spec.name in self._troubles:
            return self._troubles[state.spec.name]
        return "waits for " + ", ".join(state.lacking())


class _Earlier:
    """Why results of earlier runs are not those of a task's elements."""

    def __init__(self, store: Store, workflow: str) -> None:
        self._unread: Iterator[Recorded] = earlier_runs(store, workflow)
        self._runs: list[Recorded] = []
        self._reasons: dict[str, str] = {}

    def reason(self, new: Side) -> str:
        """Return in what the nearest earlier run of the task differs: one text for the task.

        If nothing differs that all its elements share, the difference is in their own inputs.
        """
        name = new.spec.name
        if name not in self._reasons:
            self._reasons[name] = self._reason(new)
        return self._reasons[name]

    def _reason(self, new: Side) -> str:
        best: _Candidate | None = None
        for candidate in self._candidates(new):
            if best is None or len(candidate.differences) < len(best.differences):
                best = candidate
            if len(candidate.differences) < 2:
                break  # to read older runs would tell little more
        if best is None:
            return "it has never run"
        return "; ".join(map(str, best.differences)) or self._own_reason(new, best)

    @staticmethod
    def _own_reason(new: Side, nearest: _Candidate) -> str:
        """Say why an element is none of the nearest run's, whose task is the same."""
        own_inputs = ", ".join(
            f"{wire.parameter} (from {', '.join(source.task for source in wire.sources)})"
            for wire in new.spec.wires
            if wire.each
        )
        if own_inputs:
            return f"upstream value that no earlier element received: {own_inputs}"
        if nearest.succeeded:
            return "what ran then was edited after its submission, or counts for no other run"
        return "it did not succeed with these inputs"

    def _candidates(self, new: Side) -> Iterator[_Candidate]:
        """Yield how the task differs in each earlier run in which it has results."""
        for run in self._all():
            state = run.progress.tasks.get(new.spec.name)
            inputs = run.inputs(new.spec.name) if state is not None else None
            if state is None or inputs is None or not state.done:
                continue
            old = Side(state, inputs, new.index, run.progress, run.values)
            first = state.outcomes[0]
            yield _Candidate(
                task_differences(old, new), first is not None and first.state in DONE
            )

    def _all(self) -> Iterator[Recorded]:
        """Yield the earlier runs; each is read once, however many tasks ask."""
        yield from self._runs
        for run in self._unread:
            self._runs.append(run)
            yield run


class _Candidate(NamedTuple):
    """How a task differs in an earlier run, and whether its first element succeeded there."""

    differences: list[Difference]
    succeeded: bool
