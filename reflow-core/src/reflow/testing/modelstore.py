"""What a store does, in dictionaries: the model that the contract compares stores with."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from attrs import define, evolve, field

from ..states import CACHED, PENDING, SUCCESS, TERMINAL
from ..storage.outcome import WHOLE_TASK, Outcome
from ..storage.stores.base import InstanceRow, Position, RunRow, TaskRow, instance_of


@define
class Indexed:
    """A run, and all that is indexed of it."""

    row: RunRow
    arrays: dict[str, bool]
    sizes: dict[str, int | None]
    position: Position = field(factory=Position)
    outcomes: dict[tuple[str, int], Outcome] = field(factory=dict)


@define
class ModelStore:
    """The methods of `Store` that say something, for one process and good arguments."""

    runs: dict[str, Indexed] = field(factory=dict)

    def add_run(self, run: RunRow, tasks: Sequence[tuple[str, bool]]) -> None:
        indexed = self.runs.get(run.run_id)
        if indexed is not None and list(indexed.arrays.items()) == list(tasks):
            indexed.row = run
            return
        self.runs.pop(run.run_id, None)  # a run that is indexed anew counts as added last
        sizes = {name: None if array else 1 for name, array in tasks}
        self.runs[run.run_id] = Indexed(run, dict(tasks), sizes)

    def drop_run(self, run_id: str) -> None:
        self.runs.pop(run_id, None)

    def set_status(self, run_id: str, status: str) -> None:
        self.runs[run_id].row = evolve(self.runs[run_id].row, status=status)

    def apply(
        self,
        run_id: str,
        changes: Sequence[Outcome],
        sizes: Mapping[str, int],
        status: str | None,
        position: Position,
        live: Sequence[Outcome] | None = None,
    ) -> bool:
        run = self.runs[run_id]
        if position < run.position:
            return False
        for name, size in sizes.items():
            run.sizes[name] = size
            run.outcomes.pop((name, WHOLE_TASK), None)
        if live is not None:
            changes = [*changes, *live]
            ended = {key: last for key, last in run.outcomes.items() if last.state in TERMINAL}
            run.outcomes = ended
        run.outcomes.update({(outcome.task, outcome.index): outcome for outcome in changes})
        run.row = evolve(run.row, status=status or run.row.status)
        run.position = position
        return True

    def lookup(
        self, identities: Sequence[str], *, newest: bool, besides: Collection[str] = ()
    ) -> dict[str, tuple[str, Outcome]]:
        """Return by identity the run that has the result, and the result."""
        runs = {name: run for name, run in self.runs.items() if name not in besides}
        results = {}
        for run in runs.values() if newest else reversed(runs.values()):
            for outcome in run.outcomes.values():
                here = outcome.state == CACHED and outcome.origin not in runs
                if (outcome.state == SUCCESS or here) and outcome.identity in identities:
                    results[outcome.identity] = (run.row.run_id, outcome)
        return results

    def list_runs(self) -> list[RunRow]:
        rows = [run.row for run in self.runs.values()]
        return sorted(rows, key=lambda row: row.created_at, reverse=True)

    def tasks(self, run_id: str) -> list[TaskRow]:
        run = self.runs[run_id]
        return [
            TaskRow(name=name, array=array, size=run.sizes[name])
            for name, array in run.arrays.items()
        ]

    def summary(self, run_id: str) -> dict[str, dict[str, int]]:
        counts: dict[str, dict[str, int]] = {name: {} for name in self.runs[run_id].arrays}
        for (task, _), outcome in self.runs[run_id].outcomes.items():
            counts[task][outcome.state] = counts[task].get(outcome.state, 0) + 1
        for task, size in self.runs[run_id].sizes.items():
            pending = (size or 0) - sum(counts[task].values())
            if pending > 0:
                counts[task][PENDING] = counts[task].get(PENDING, 0) + pending
        return counts

    def instances(self, run_id: str) -> list[InstanceRow]:
        run = self.runs[run_id]
        order = list(run.arrays)
        keys = sorted(run.outcomes, key=lambda key: (order.index(key[0]), key[1]))
        return [instance_of(run.outcomes[key], run.arrays[key[0]]) for key in keys]
