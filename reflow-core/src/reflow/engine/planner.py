"""The planner: what can run now, what never will, and when a run is over. Pure.

A workflow is a graph of *tasks*. A task has *elements*: one, or as many as its array
turns out to have, its *size*. The planner is told what happened to elements and says what
follows; `tests/engine/test_planner.py` shows each rule at work, from simple to hard.

* An element waits for its upstream tasks in one of two ways. A *barrier* must succeed as a
  whole before any element may start (a direct value, a list to fan out, gather or broadcast,
  or ``after=``). Of a *chain* element i needs element i alone, so that it may start while
  others still run.
* A single task has size 1. An array that is only chained gets the size of the arrays above
  it as soon as they have one. Every other array is `unsized` until its barriers have
  succeeded; then the caller reads its size off their values and says `resize`.
* An element gets one final *outcome*, by `record`; later ones are refused. A task *closes*
  when all its elements have one, or by an outcome of the whole task (`WHOLE_TASK`) where its
  elements never became known. Closing takes down one barrier of each task below.
* What can never run is only *proposed* for skipping. The caller records the proposal as an
  outcome, and that leads on to the tasks below: so every end is on record.
* A ready element is handed out once. It is *flying* from `launch` until its outcome, or until
  it is free again: by `land` (nothing came of the attempt) or `retry` (it failed, and its task
  asks for another attempt). Attempts count on and are never reused.

The state is a fold of records: whoever feeds the same records has the same state, and records
that come twice or late change nothing. Each outcome moves a few counters and names the elements
that it makes ready; nothing scans, so that a run of a hundred thousand elements costs a hundred
thousand small steps.
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

    `size` is None until the number of elements is known. `outcomes[i]` is the final outcome of
    element i, and `whole` that of a task whose elements never became known; `ended` and `done`
    count the elements with an outcome and with a value. `flying[i]` is the tag of the job (or ""
    inside a pass) that has element i in hand.

    `tries[i]` is the number of attempts begun, and `spent[i]` how many of them there were when
    the element last came to an end. `causes[i]` is what it failed of, and was tried again for,
    since a person last asked for it.

    `barriers` and `chains` are the upstream tasks of both kinds, `followers` the tasks that are
    chained to this one, `downstream` all that need it. `barrier` counts the barriers that are
    not closed yet.
    """

    __slots__ = (
        "barrier", "barriers", "causes", "chains", "closed", "done", "downstream", "ended",
        "flying", "followers", "outcomes", "size", "sized_by_values", "spec", "spent", "tries",
        "whole",
    )  # fmt: skip

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec
        self.chains: list[TaskState] = []
        self.barriers: list[TaskState] = []
        self.followers: list[TaskState] = []
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
        self.barrier = len(self.barriers)

    # Attempts

    def count_attempt(self, index: int, attempt: int) -> None:
        """Take note of an attempt, of which records may speak in any order."""
        if attempt > self.tries.get(index, 0):
            self.tries[index] = attempt

    def starts(self, index: int) -> int:
        """Return how many attempts of an element have come to nothing, or are under way."""
        return self.tries.get(index, 0) - self.spent.get(index, 0)

    def forgive(self, index: int) -> None:
        """Do not count the attempt of an element that is under way among its `starts`."""
        self.spent[index] = self.spent.get(index, 0) + 1

    def tried_again(self, outcome: Outcome) -> str:
        """Return the cause for which an element is tried again; "" if the failure is final.

        A cause that is suspected goes before the one that is reported, where it has a rule.
        """
        retry, index = self.spec.retry, outcome.index
        if retry is None or index not in self.flying or outcome.attempt != self.tries.get(index):
            return ""
        causes = filter(None, (outcome.suspected, outcome.cause))
        before = self.causes.get(index, ())
        resources = self.spec.resources
        return next((cause for cause in causes if retry.again(resources, before, cause)), "")

    def forgive_causes(self) -> None:
        """Begin anew to count what elements failed of, as a person asked for them again.

        Not of one in hand: its attempt was given resources by the causes so far.
        """
        self.causes = {i: causes for i, causes in self.causes.items() if i in self.flying}

    # Outcomes

    def outcomes_but(self, states: Collection[str]) -> list[Outcome]:
        """Return the outcomes, also that of the whole task, that are in none of these states."""
        return [
            outcome
            for outcome in (*self.outcomes, self.whole)
            if outcome is not None and outcome.state not in states
        ]

    def succeeded(self) -> bool:
        """Whether every element has a value."""
        return self.closed and self.whole is None and self.done == self.size

    def has_value(self, index: int) -> bool:
        """Whether an element has a value."""
        if self.whole is not None:
            return False
        outcome = self.outcomes[index]
        return outcome is not None and outcome.state in DONE

    def has_failed(self, index: int) -> bool:
        """Whether an element will never have a value, unless a person retries it."""
        if self.whole is not None:
            return True
        outcome = self.outcomes[index]
        return outcome is not None and outcome.state not in DONE

    def is_idle(self) -> bool:
        """Whether an element, or their number, is missing and in nobody's hands."""
        if self.succeeded():
            return False
        return self.size is None or self.done + len(self.flying) < self.size

    def made_files(self) -> bool:
        """Whether an element names files that this run made and that have no fingerprint."""
        return any(outcome is not None and outcome.made_files for outcome in self.outcomes)

    def lacking(self) -> list[str]:
        """Return the names of the upstream tasks of which not every element has a value."""
        above = dict.fromkeys((*self.barriers, *self.chains))
        return [task.spec.name for task in above if not task.succeeded()]

    def failed_above(self) -> TaskState | None:
        """Return an upstream task that keeps every element from running; its barriers are down."""
        for above in self.barriers:
            if not above.succeeded():
                return above
        return next((above for above in self.chains if above.whole is not None), None)

    def free(self) -> list[int]:
        """Return the elements without an outcome that nobody has in hand."""
        return [
            index
            for index, outcome in enumerate(self.outcomes)
            if outcome is None and index not in self.flying
        ]

    def name_of(self, index: int) -> str:
        """Return the name of an element as people write it."""
        return f"{self.spec.name}[{index}]" if self.spec.array else self.spec.name

    def culprit(self) -> str:
        """Return the name of the first element without a value, to blame for what lies below."""
        for index, outcome in enumerate(self.outcomes):
            if outcome is not None and outcome.state not in DONE:
                return self.name_of(index)
        return self.spec.name


class Progress:
    """The state of a run, moved on by outcomes.

    Feed it with `record`, `resize`, `launch`, `land`, `retry` and `reopen`; take from it
    `take_unsized`, `take_ready` and `take_skips` until nothing moves; ask `finished`.
    """

    def __init__(self, spec: WorkflowSpec) -> None:
        self.tasks: dict[str, TaskState] = {task.name: TaskState(task) for task in spec.tasks}
        for state in self.tasks.values():
            self._connect(state)
        self._start()

    def _connect(self, state: TaskState) -> None:
        """Find a task's barriers and chains; over two wires, an upstream task can be both."""
        chained: dict[str, None] = {}  # sets in order
        barred: dict[str, None] = dict.fromkeys(state.spec.after)
        for wire in state.spec.wires:
            (chained if wire.chained else barred).update(
                dict.fromkeys(source.task for source in wire.sources)
            )
        state.chains = [self.tasks[name] for name in chained]
        state.barriers = [self.tasks[name] for name in state.spec.upstreams if name in barred]
        for name in state.spec.upstreams:
            self.tasks[name].downstream.append(state)
        for above in state.chains:
            above.followers.append(state)

    def _start(self) -> None:
        self.open_tasks = len(self.tasks)
        self.failed = 0
        self.cancelled = 0
        self._unsized: list[TaskState] = []
        self._ready: dict[str, list[int]] = {}
        self._skips: list[Skip] = []
        for state in self.tasks.values():
            state.clear()
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
            self._close(state)  # nothing to do is done: a success
        elif state.barrier == 0:
            self._consider_all(state)
        for below in state.followers:
            self._size_by_chains(below)

    def record(self, outcome: Outcome) -> bool:
        """Take note of a final outcome; False if the element already has one."""
        state, index = self.tasks[outcome.task], outcome.index
        state.count_attempt(index, outcome.attempt)
        if state.closed:
            return False
        if index == WHOLE_TASK:
            state.whole = outcome
            self._count(outcome)
            self._close(state)
            return True
        if state.size is None:
            # Sizes stand on record before outcomes; only a damaged record lacks one.
            self.resize(outcome.task, index + 1)
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
        for below in state.followers:
            if below.barrier == 0 and below.size is not None:
                self._consider(below, index)
        if state.ended == state.size:
            self._close(state)
        return True

    def retry(self, retried: Retried) -> bool:
        """Take note that an element is to be tried again; False if it has come to its end."""
        state, index = self.tasks[retried.task], retried.index
        if state.closed or state.size is None or state.outcomes[index] is not None:
            return False
        state.count_attempt(index, retried.attempt)
        state.spent[index] = state.tries[index]
        state.causes[index] = (*state.causes.get(index, ()), retried.cause)
        state.flying.pop(index, None)
        if state.barrier == 0:
            self._consider(state, index)
        return True

    def launch(self, name: str, index: int, attempt: int, tag: str = "") -> None:
        """Take note that an element is in somebody's hands."""
        state = self.tasks[name]
        state.count_attempt(index, attempt)
        state.flying[index] = tag

    def land(self, name: str, index: int) -> None:
        """Take note that nobody has an element in hand any more, without an outcome."""
        state = self.tasks[name]
        if state.flying.pop(index, None) is None or state.closed or state.barrier:
            return
        failed = state.failed_above()
        if failed is not None:
            # It was queued ahead, behind what has failed meanwhile.
            self._skips.append(Skip(name, index, failed.culprit()))
        else:
            self._consider(state, index)

    def reopen(self, names: Collection[str]) -> None:
        """Take up a retry: failed, skipped and cancelled elements of these tasks, and what was
        skipped because of them, are to run again.

        Everything is counted anew from the outcomes that stand. Sizes and what is in hand stay:
        a size was counted when everything above had succeeded, which no retry takes back.
        """
        reached = self._reached(names)
        before = []
        for name, state in self.tasks.items():
            if name in names:
                state.forgive_causes()
            void = RETRYABLE if name in names else {SKIPPED} if name in reached else ()
            before.append((state, state.size, state.flying, state.outcomes_but(void)))
        self._start()
        for state, size, flying, _ in before:
            state.flying = flying
            if size is not None:
                self.resize(state.spec.name, size)
        for *_, outcomes in before:
            for outcome in outcomes:
                self.record(outcome)

    def _reached(self, names: Collection[str]) -> set[str]:
        """Return these tasks and all that lie below them."""
        reached = set(names)
        for name, state in self.tasks.items():  # upstream before downstream
            if not reached.isdisjoint(state.spec.upstreams):
                reached.add(name)
        return reached

    # What is known of an element's inputs

    def blocked(self, name: str, index: int) -> bool:
        """Whether an element can never run, as something that it needs has failed for good."""
        state = self.tasks[name]
        return any(above.closed and not above.succeeded() for above in state.barriers) or any(
            above.has_failed(index) for above in state.chains
        )

    def supplied(self, name: str, index: int) -> bool:
        """Whether all that an element needs has a value."""
        state = self.tasks[name]
        return all(above.succeeded() for above in state.barriers) and all(
            above.has_value(index) for above in state.chains
        )

    def stranded(self, name: str, index: int) -> bool:
        """Whether something that an element needs has no value and is in nobody's hands."""
        state = self.tasks[name]
        return any(above.is_idle() for above in state.barriers) or any(
            above.whole is not None or not (index in above.flying or above.has_value(index))
            for above in state.chains
        )

    # What to do

    def take_unsized(self) -> list[TaskState]:
        """Return the arrays whose inputs are there and whose size must be read off them."""
        unsized, self._unsized = self._unsized, []
        return [state for state in unsized if state.size is None and not state.closed]

    def take_ready(self) -> list[tuple[TaskState, list[int]]]:
        """Return what can run now, by task; each element is handed out once."""
        ready, self._ready = self._ready, {}
        result = []
        for name, indices in ready.items():
            state = self.tasks[name]
            # An element may have been named twice, or have been taken up or skipped since.
            fresh = [
                index
                for index in dict.fromkeys(indices)
                if state.outcomes[index] is None and index not in state.flying
            ]
            if fresh and not state.closed:
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

    def unfinished(self) -> list[tuple[str, int]]:
        """Return (task, index) of all without an outcome that nobody has in hand.

        The index is `WHOLE_TASK` for an array whose elements are not known yet.
        """
        return [
            (name, index)
            for name, state in self.tasks.items()
            if not state.closed
            for index in ([WHOLE_TASK] if state.size is None else state.free())
        ]

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
        state.closed = True
        self.open_tasks -= 1
        for below in state.downstream:
            if state in below.barriers:
                below.barrier -= 1
                if below.barrier == 0:
                    self._lift(below)
        if state.whole is not None:
            for below in state.followers:
                if below.barrier == 0:
                    self._skip_all(below, state)

    def _lift(self, state: TaskState) -> None:
        """All barriers of a task are down: size it, and see to its elements."""
        if state.closed:
            return
        failed = state.failed_above()
        if failed is not None:
            self._skip_all(state, failed)
        elif state.size is None:
            self._size_by_chains(state)
        else:
            self._consider_all(state)

    def _size_by_chains(self, state: TaskState) -> None:
        """Size an array that is chained to arrays which all have a size by now."""
        sizes = {above.size for above in state.chains}
        if state.size is not None or state.closed or None in sizes:
            return
        if len(sizes) == 1 and not state.sized_by_values:
            self.resize(state.spec.name, len(state.chains[0].outcomes))
        elif state.barrier == 0 and state.failed_above() is None:
            # Sizes that differ are left to the caller, too: it knows how to report them.
            self._unsized.append(state)

    def _consider(self, state: TaskState, index: int) -> None:
        """See whether an element can run now, or never will; its barriers are down."""
        if state.closed or state.outcomes[index] is not None or index in state.flying:
            return
        for above in state.chains:
            outcome = above.outcomes[index]
            if outcome is None:
                return
            if outcome.state not in DONE:
                self._skips.append(Skip(state.spec.name, index, above.name_of(index)))
                return
        self._ready.setdefault(state.spec.name, []).append(index)

    def _consider_all(self, state: TaskState) -> None:
        for index in range(len(state.outcomes)):
            self._consider(state, index)

    def _skip_all(self, state: TaskState, failed: TaskState) -> None:
        """Propose to skip what is left of a task, as one above has failed."""
        culprit = failed.culprit()
        # What is flying will say itself how it came out.
        indices = [WHOLE_TASK] if state.size is None else state.free()
        self._skips.extend(Skip(state.spec.name, index, culprit) for index in indices)
