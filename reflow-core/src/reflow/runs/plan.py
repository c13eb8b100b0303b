"""What a submission would run, and why: looked up without submitting or writing anything."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

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
from ..states import CACHED, DONE
from ..storage.blobs import Values
from ..storage.filesystem import Files
from ..storage.outcome import Outcome
from ..storage.run_directory import RunOptions
from ..storage.stores.base import CachedResult, Store
from .diff import Recorded, Side, earlier_runs, task_differences
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


@frozen(kw_only=True)
class Plan:
    """What a submission would do. Prints as a table."""

    workflow: str
    run_dir: str
    tasks: tuple[TaskPlan, ...]

    @property
    def hits(self) -> int:
        """Elements whose results are taken over."""
        return sum(one.hits for one in self.tasks)

    @property
    def misses(self) -> int:
        """Elements that run."""
        return sum(one.misses for one in self.tasks)

    @property
    def complete(self) -> bool:
        """Whether all is known: there is no element that waits for the value of another."""
        return all(one.unknown == 0 for one in self.tasks)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-safe values; docs/reference/json has the schema."""
        from attrs import asdict

        return {**asdict(self), "hits": self.hits, "misses": self.misses, "complete": self.complete}

    def __str__(self) -> str:
        more = "" if self.complete else ", and more may when these have run"
        lines = [
            f"Workflow {self.workflow}, in {self.run_dir}: "
            f"{self.misses} would run{more}; {self.hits} cached"
        ]
        heads = ("TASK", "ELEMENTS", "CACHED", "RUN", "UNKNOWN", "BECAUSE")
        rows = [[*heads]]
        for one in self.tasks:
            cells = [
                one.name, _number(one.size), str(one.hits), str(one.misses), _number(one.unknown)
            ]  # fmt: skip
            several = len(one.reasons) > 1
            told = [f"{why.elements}: {why.text}" if several else why.text for why in one.reasons]
            rows.append([*cells, told[0] if told else ""])
            rows.extend([*[""] * 5, text] for text in told[1:])
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        for row in rows:
            cells = [f"{cell:{width}}" for cell, width in zip(row[:5], widths, strict=True)]
            lines.append("  ".join([*cells, row[5]]).rstrip())
        return "\n".join(lines)


def _number(count: int | None) -> str:
    return "?" if count is None else str(count)


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
    """One look ahead, task by task as values become known."""

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
                try:
                    found = inputs[state.spec.name] = TaskInputs(progress, values, state)
                    progress.resize(state.spec.name, found.size())
                except (SizeError, RecordError) as error:
                    self._troubles[state.spec.name] = str(error)
            for state, indices in progress.take_ready():
                moved = True
                name = state.spec.name
                if name not in inputs:
                    inputs[name] = TaskInputs(progress, values, state)
                sides = Side(state, inputs[name], indices[0], progress, values)
                for start in range(0, len(indices), BATCH):
                    self._look_up(sides, indices[start : start + BATCH], values, earlier)
        tasks = [self._told(state, progress) for state in progress.tasks.values()]
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
        decisions: dict[str, Decision] = {}
        reuse = self._reuse(spec)

        def decide(result: CachedResult) -> Decision:
            decision = reuse.decide(result)
            if decision.about_files:  # one line, however many files
                reason = self._lost.setdefault(spec.name, decision.reason)
                decision = decision._replace(reason=reason)
            decisions[result.identity] = decision
            return decision

        matches = find_results(self.store, identities.values(), decide)
        for index, identity in identities.items():
            hit = matches.good.get(identity)
            if hit is None:
                refusal = matches.refused.get(identity)
                why = refusal.reason if refusal else earlier.reason(new._replace(index=index))
                misses[why] += 1
                continue
            values.folders[hit.digest] = f"{hit.record}/values"
            new.progress.record(
                Outcome(
                    spec.name, index, 0, CACHED, identity, hit.digest, hit.value, hit.paths,
                    prints=hit.prints, unsettled=decisions[identity].unsettled,
                )
            )  # fmt: skip

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

    def _told(self, state: TaskState, progress: Progress) -> TaskPlan:
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
        self._found: Iterator[Recorded] = earlier_runs(store, workflow)
        self._runs: list[Recorded] = []
        self._reasons: dict[str, str] = {}

    def reason(self, new: Side) -> str:
        """Return in what the nearest earlier run of the task differs: one text for the task.

        Where it differs in nothing that is the same for all elements, it is in their own.
        """
        name = new.spec.name
        if name not in self._reasons:
            self._reasons[name] = self._reason(new)
        return self._reasons[name]

    def _reason(self, new: Side) -> str:
        best: list[str] | None = None
        done = False
        for run in self._all():
            state = run.progress.tasks.get(new.spec.name)
            inputs = run.inputs(new.spec.name) if state is not None else None
            if state is None or inputs is None or not state.done:
                continue
            old = Side(state, inputs, new.index, run.progress, run.values)
            found = [str(one) for one in task_differences(old, new)]
            if best is None or len(found) < len(best):
                best = found
                outcome = state.outcomes[0]
                done = outcome is not None and outcome.state in DONE
            if len(found) < 2:
                break
        if best is None:
            return "it has never run"
        if best:
            return "; ".join(best)
        each = [wire for wire in new.spec.wires if wire.each]
        if not each and done:
            return "what ran then was edited after its submission, or counts for no other run"
        if not each:
            return "it did not succeed with these inputs"
        told = ", ".join(
            f"{wire.parameter} (from {', '.join(one.task for one in wire.sources)})"
            for wire in each
        )
        return f"upstream value that no earlier element received: {told}"

    def _all(self) -> Iterator[Recorded]:
        yield from self._runs
        for run in self._found:
            self._runs.append(run)
            yield run
