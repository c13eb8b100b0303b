"""The planner: what can run now, what never will, and when a run is over. Pure.

`Progress` is folded from the records of a run. It never scans: each outcome moves
a few counters and names the elements that it makes ready, so that a run of a
hundred thousand elements costs a hundred thousand small steps.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from ..model.spec import TaskSpec, WorkflowSpec
from ..states import CANCELLED, DONE, FAILED, RETRYABLE, SKIPPED, SUCCESS
from ..storage.events import Retried
from ..storage.outcome import WHOLE_TASK, Outcome


class Skip(NamedTuple):
    """An element (or, at `WHOLE_TASK`, a task) that can never run, and because of whom."""

    task: str
    index: int  # type: ignore[assignment]  # a field, not tuple.index
    culprit: str


class TaskState:
    """Where one task of a run stands.

    `size` is None until the number of elements is known; `outcomes[i]` is the final
    outcome of element i; `flying[i]` the tag of the job (or "" inside a pass) that
    has it in hand; `tries[i]` the number of attempts begun, and `spent[i]` how many of
    them there were when it last came to an end; `causes[i]` what it failed of since a
    person last asked for it and was tried again for. `barrier` counts the upstream tasks that
    must end as a whole before any element may start.
    """

    __slots__ = (
        "barrier", "barriers", "causes", "chains", "closed", "done", "downstream", "ended",
        "flying", "outcomes", "size", "sized_by_values", "spec", "spent", "tries", "whole",
    )  # fmt: skip

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec
        self.chains: list[TaskState] = []
        self.barriers: list[TaskState] = []
        self.downstream: list[TaskState] = []
        self.sized_by_values = any(wire.each and not wire.chained for wire in spec.wires)
        self.tries: dict[int, int] = {}
        self.spent: dict[int, int] = {}
        self.causes: dict[int, tuple[str, ...]] = {}
        self.clear()

    def clear(self) -> None:
        """Forget everything but what was tried."""
        self.size: int | None = None
        self.outcomes: list[Outcome | None] = []
        self.flying: dict[int, str] = {}
        self.whole: Outcome | None = None
        self.ended = 0
        self.done = 0
        self.closed = False
        self.barrier = 0

    def starts(self, index: int) -> int:
        """Return how many attempts of an element have come to nothing, or are under way."""
        return self.tries.get(index, 0) - self.spent.get(index, 0)

    def forgive(self, index: int) -> None:
        """An attempt of an element that is under way is not to count as one."""
        self.spent[index] = self.spent.get(index, 0) + 1

    def tried_again(self, outcome: Outcome) -> str:
        """Return the cause for which an element is tried again; "" for a failure that is its end.

        A cause that is suspected goes before the one that is reported, where it has a rule.
        """
        retry, index = self.spec.retry, outcome.index
        if retry is None or index not in self.flying or outcome.attempt != self.tries.get(index):
            return ""
        causes = filter(None, (outcome.suspected, outcome.cause))
        before = self.causes.get(index, ())
        return next((one for one in causes if retry.again(self.spec.resources, before, one)), "")

    def made_files(self) -> bool:
        """Whether an element names files that this run made and that have no fingerprint."""
        return any(one is not None and one.made_files for one in self.outcomes)

    def lacking(self) -> list[str]:
        """Return the names of the upstream tasks of which not every element has a value."""
        above = dict.fromkeys((*self.barriers, *self.chains))
        return [one.spec.name for one in above if not one.succeeded()]

    def succeeded(self) -> bool:
        """Whether every element has a value."""
        return self.closed and self.whole is None and self.done == self.size


class Progress:
    """The state of a run, moved on by outcomes.

    Feed it with `record`, `resize` and `launch`; take from it `take_unsized`,
    `take_ready`, `take_skips`; ask `finished`.
    """

    def __init__(self, spec: WorkflowSpec) -> None:
        self.spec = spec
        self.tasks: dict[str, TaskState] = {task.name: TaskState(task) for task in spec.tasks}
        for state in self.tasks.values():
            chained = {
                wire.sources[0].task for wire in state.spec.wires if wire.chained
            }
            barred = {
                source.task
                for wire in state.spec.wires
                if not wire.chained
                for source in wire.sources
            } | set(state.spec.after)
            state.chains = [self.tasks[name] for name in dict.fromkeys(
                wire.sources[0].task for wire in state.spec.wires if wire.chained
            )]
            state.barriers = [self.tasks[name] for name in state.spec.upstreams if name in barred]
            for name in state.spec.upstreams:
                self.tasks[name].downstream.append(state)
            assert chained <= set(state.spec.upstreams)
        self._start()

    def _start(self) -> None:
        self.open_tasks = len(self.tasks)
        self.failed = 0
        self.cancelled = 0
        self._unsized: list[TaskState] = []
        self._ready: dict[str, list[int]] = {}
        self._skips: list[Skip] = []
        for state in self.tasks.values():
            state.clear()
            state.barrier = len(state.barriers)
            if not state.spec.array:
                state.size, state.outcomes = 1, [None]
        for state in self.tasks.values():
            if state.barrier == 0:
                self._lift(state)

    # What happened

    def resize(self, name: str, size: int) -> None:
        """Take note of how many elements a task has."""
        state = self.tasks[name]
        if state.size is not None or state.closed:
            return
        state.size = size
        state.outcomes = [None] * size
        if size == 0:
            self._close(state)
        elif state.barrier == 0:
            for index in range(size):
                self._consider(state, index)
        for below in state.downstream:
            if state in below.chains:
                self._size_by_chains(below)

    def record(self, outcome: Outcome) -> bool:
        """Take note of a final outcome; False if the element already has one."""
        state = self.tasks[outcome.task]
        index = outcome.index
        if outcome.attempt > state.tries.get(index, 0):
            state.tries[index] = outcome.attempt
        if state.closed:
            return False
        if index == WHOLE_TASK:
            state.whole = outcome
            self._count(outcome)
            self._close(state)
            return True
        if state.size is None:
            # Sizes stand on record before outcomes; a single task's is known.
            self.resize(outcome.task, 1 if not state.spec.array else index + 1)
        if state.outcomes[index] is not None:
            return False
        state.outcomes[index] = outcome
        state.spent[index] = state.tries.get(index, 0)
        state.flying.pop(index, None)
        state.ended += 1
        if outcome.state in DONE:
            state.done += 1
        else:
            self._count(outcome)
        for below in state.downstream:
            if below.barrier == 0 and below.size is not None and state in below.chains:
                self._consider(below, index)
        if state.ended == state.size:
            self._close(state)
        return True

    def retry(self, one: Retried) -> bool:
        """Take note that an element is to be tried again; False if it has come to its end."""
        state, index = self.tasks[one.task], one.index
        if state.closed or state.size is None or state.outcomes[index] is not None:
            return False
        state.tries[index] = max(one.attempt, state.tries.get(index, 0))
        state.spent[index] = state.tries[index]
        state.causes[index] = (*state.causes.get(index, ()), one.cause)
        state.flying.pop(index, None)
        if state.barrier == 0:
            self._consider(state, index)
        return True

    def launch(self, name: str, index: int, attempt: int, tag: str = "") -> None:
        """Take note that an element is in somebody's hands."""
        state = self.tasks[name]
        if attempt > state.tries.get(index, 0):
            state.tries[index] = attempt
        state.flying[index] = tag

    def land(self, name: str, index: int) -> None:
        """Take note that nobody has an element in hand any more, without an outcome."""
        state = self.tasks[name]
        if state.flying.pop(index, None) is None or state.closed or state.barrier:
            return
        failed = [one for one in state.barriers if not one.succeeded()]
        failed += [one for one in state.chains if one.whole is not None]
        if failed:
            # It was queued ahead, behind what has failed meanwhile.
            self._skips.append(Skip(name, index, self._culprit(failed[0])))
        else:
            self._consider(state, index)

    def reopen(self, names: Collection[str]) -> None:
        """Take a retry up: failed, skipped and cancelled elements of these tasks, and
        what was skipped because of them, are to run again."""
        wanted = set(names)
        kept: list[tuple[str, int | None, list[Outcome]]] = []
        for state in self.tasks.values():
            if any(above.spec.name in wanted for above in (*state.chains, *state.barriers)):
                wanted.add(state.spec.name)
            mine = state.spec.name in names
            if mine:
                state.causes = {
                    index: causes
                    for index, causes in state.causes.items()
                    if index in state.flying
                }
            outcomes = [one for one in (*state.outcomes, state.whole) if one is not None]
            kept.append((state.spec.name, state.size, [
                one
                for one in outcomes
                if not (
                    (mine and one.state in RETRYABLE)
                    or (one.state == SKIPPED and state.spec.name in wanted)
                )
            ]))  # fmt: skip
        flying = {state.spec.name: dict(state.flying) for state in self.tasks.values()}
        self._start()
        for name, size, _ in kept:
            self.tasks[name].flying.update(flying[name])
            if size is not None:
                # Counted once everything it is counted by had succeeded: it stays so.
                self.resize(name, size)
        for _, _, outcomes in kept:
            for outcome in outcomes:
                self.record(outcome)

    def blocked(self, name: str, index: int) -> bool:
        """Whether an element can never run, as something that it needs has failed for good."""
        state = self.tasks[name]
        return any(above.closed and not above.succeeded() for above in state.barriers) or any(
            above.whole is not None
            or ((outcome := above.outcomes[index]) is not None and outcome.state not in DONE)
            for above in state.chains
        )

    def supplied(self, name: str, index: int) -> bool:
        """Whether all that an element needs has a value."""
        state = self.tasks[name]
        return all(above.succeeded() for above in state.barriers) and all(
            above.whole is None
            and (outcome := above.outcomes[index]) is not None
            and outcome.state in DONE
            for above in state.chains
        )

    def stranded(self, name: str, index: int) -> bool:
        """Whether something that an element needs has no value and is in nobody's hands."""
        state = self.tasks[name]
        return any(
            not above.succeeded()
            and (above.size is None or above.done + len(above.flying) < above.size)
            for above in state.barriers
        ) or any(
            above.whole is not None
            or (
                index not in above.flying
                and ((outcome := above.outcomes[index]) is None or outcome.state not in DONE)
            )
            for above in state.chains
        )

    # What to do

    def take_unsized(self) -> list[TaskState]:
        """Return the arrays whose inputs are there and whose size must be read off them."""
        taken = [one for one in self._unsized if one.size is None and not one.closed]
        self._unsized = []
        return taken

    def take_ready(self) -> list[tuple[TaskState, list[int]]]:
        """Return what can run now, by task; each element is handed out once."""
        ready, self._ready = self._ready, {}
        result = []
        for name, indices in ready.items():
            state = self.tasks[name]
            if state.closed:  # skipped as a whole since
                continue
            fresh = [
                index
                for index in dict.fromkeys(indices)
                if state.outcomes[index] is None and index not in state.flying
            ]
            if fresh:
                result.append((state, fresh))
        return result

    def put_back(self, name: str, index: int) -> None:
        """Have an element that `take_ready` returned, and that nobody took up, returned again."""
        state = self.tasks[name]
        if state.barrier == 0 and state.size is not None and index < state.size:
            self._consider(state, index)

    def take_skips(self) -> list[Skip]:
        """Return what can never run."""
        skips, self._skips = self._skips, []
        return skips

    def unfinished(self) -> list[Skip]:
        """Return every element (or task) without an outcome that nobody has in hand."""
        left = []
        for state in self.tasks.values():
            if state.closed:
                continue
            if state.size is None:
                left.append(Skip(state.spec.name, WHOLE_TASK if state.spec.array else 0, ""))
                continue
            left.extend(
                Skip(state.spec.name, index, "")
                for index, outcome in enumerate(state.outcomes)
                if outcome is None and index not in state.flying
            )
        return left

    def flying(self) -> dict[str, list[tuple[str, int]]]:
        """Return the elements in hand, by the tag of their job."""
        found: dict[str, list[tuple[str, int]]] = {}
        for name, state in self.tasks.items():
            for index, tag in state.flying.items():
                found.setdefault(tag, []).append((name, index))
        return found

    @property
    def finished(self) -> bool:
        """Whether every task has come to its end."""
        return self.open_tasks == 0

    @property
    def verdict(self) -> str:
        """The state in which a finished run ends."""
        if self.cancelled:
            return CANCELLED
        return FAILED if self.failed else SUCCESS

    # How one thing leads to another

    def _count(self, outcome: Outcome) -> None:
        if outcome.state == CANCELLED:
            self.cancelled += 1
        else:
            self.failed += 1

    def _close(self, state: TaskState) -> None:
        if state.closed:
            return
        state.closed = True
        self.open_tasks -= 1
        for below in state.downstream:
            if state in below.barriers:
                below.barrier -= 1
                if below.barrier == 0:
                    self._lift(below)
            if state.whole is not None and state in below.chains and below.barrier == 0:
                self._skip_whole(below, state.spec.name)

    def _lift(self, state: TaskState) -> None:
        """All barriers of a task are down: size it, and see to its elements."""
        if state.closed:
            return
        for above in state.barriers:
            if not above.succeeded():
                self._skip_whole(state, self._culprit(above))
                return
        for above in state.chains:
            if above.whole is not None:
                self._skip_whole(state, self._culprit(above))
                return
        if state.size is not None:
            for index in range(state.size):
                self._consider(state, index)
        else:
            self._size_by_chains(state)

    def _size_by_chains(self, state: TaskState) -> None:
        if state.size is not None or state.closed:
            return
        sizes = [above.size for above in state.chains]
        if None in sizes:
            return
        if state.sized_by_values or len(set(sizes)) > 1:
            # Read off the values, once all are there; a mismatch is reported there too.
            if state.barrier == 0 and all(above.succeeded() for above in state.barriers):
                self._unsized.append(state)
            return
        if sizes and sizes[0] is not None:
            self.resize(state.spec.name, sizes[0])

    def _consider(self, state: TaskState, index: int) -> None:
        if state.closed or state.outcomes[index] is not None or index in state.flying:
            return
        for above in state.chains:
            outcome = above.outcomes[index]
            if outcome is None:
                return
            if outcome.state not in DONE:
                self._skips.append(
                    Skip(state.spec.name, index, f"{above.spec.name}[{index}]")
                )
                return
        self._ready.setdefault(state.spec.name, []).append(index)

    def _skip_whole(self, state: TaskState, culprit: str) -> None:
        if state.size is None:
            self._skips.append(
                Skip(state.spec.name, WHOLE_TASK if state.spec.array else 0, culprit)
            )
            return
        for index, outcome in enumerate(state.outcomes):
            if outcome is None and index not in state.flying:
                self._skips.append(Skip(state.spec.name, index, culprit))

    @staticmethod
    def _culprit(above: TaskState) -> str:
        for index, outcome in enumerate(above.outcomes):
            if outcome is not None and outcome.state not in DONE:
                return f"{above.spec.name}[{index}]" if above.spec.array else above.spec.name
        return above.spec.name
