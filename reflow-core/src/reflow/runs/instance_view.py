"""The states of a run's elements: what the store has, what a retry made void, what is under way."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from ..engine.planner import TaskState
from ..engine.run_view import RunView
from ..model.spec import TaskSpec
from ..states import CANCELLED, DONE, FAILED, PENDING, RETRYABLE, RUNNING, SUBMITTED
from ..storage.claims import begun, ended, read_outcome
from ..storage.events import Intent
from ..storage.outcome import Outcome
from ..storage.run_directory import RunRecord
from ..storage.stores.base import InstanceRow, Store, instance_of

MOST_READ = 1000
"""At most this many outcomes are read that no dispatch pass has taken up yet; other elements of
which an outcome was published are shown as RUNNING."""


def element_name(task: str, index: int | None) -> str:
    """Return an element as people write it, such as ``align[3]``; no index: a single task."""
    return task if index is None else f"{task}[{index}]"


class _Attempt(NamedTuple):
    """An attempt in a job's hands; its state is "" where an outcome is published."""

    number: int
    tag: str
    state: str


class Instances:
    """The elements of one run and their states.

    The store keeps an outcome until there is another, and has none before a dispatch pass has
    taken it up. To be made before the store is brought up to date: then it may lag behind, but
    never takes a new outcome for an older one.
    """

    def __init__(self, record: RunRecord, view: RunView) -> None:
        self._record = record
        self._reopened: dict[str, TaskState] = {}
        self._specs: dict[str, TaskSpec] = {}
        self._in_hand: dict[str, dict[int, _Attempt]] = {}
        self._unread = 0
        self._rows: dict[str, dict[int | None, InstanceRow]] | None = None
        intents = [job.intent for job in view.replay.queued()]
        if view.replay.reopened or intents:
            request = record.request()
            self._specs = {task.name: task for task in request.spec.tasks}
            if view.replay.reopened:
                self._reopened = RunView(record, request.spec).progress.tasks
        if view.replay.finished is None:
            self._look(intents)

    def _look(self, intents: Collection[Intent]) -> None:
        """Find out what became of the attempts that jobs have in hand, by names of files alone."""
        files, folder = self._record.files, self._record.folder
        of_task: dict[str, list[Intent]] = {}
        for intent in intents:
            if intent.indices:
                of_task.setdefault(intent.task, []).append(intent)
        for task, group in of_task.items():
            claimed, published = {*begun(files, folder, task)}, {*ended(files, folder, task)}
            attempts = self._in_hand[task] = {}
            for intent in group:
                for key in zip(intent.indices, intent.attempts):  # noqa: B905 (equal by make)
                    state = "" if key in published else RUNNING if key in claimed else SUBMITTED
                    attempts[key[0]] = _Attempt(key[1], intent.tag, state)

    # What is not in the store

    def _stands(self, row: InstanceRow) -> bool:
        """Whether an outcome has not been made void by a retry."""
        state = self._reopened.get(row.task)
        if state is None or row.state not in RETRYABLE or state.whole is not None:
            return True
        index = row.index or 0
        if (row.index is None and state.spec.array) or index >= len(state.outcomes):
            return False
        return state.outcomes[index] is not None

    def _under_way(self, store: Store, run_id: str) -> dict[str, dict[int | None, InstanceRow]]:
        """Return by task and index the rows that take the place of the store's."""
        if self._rows is None:
            # For all tasks together: a look at a large run must not take minutes.
            self._unread = MOST_READ
            self._rows = {
                task: dict(self._rows_of(task, store.instances(run_id, task)))
                for task in self._in_hand
            }
        return self._rows

    def _rows_of(
        self, task: str, stored: Iterable[InstanceRow]
    ) -> Iterator[tuple[int | None, InstanceRow]]:
        """Yield, by index, what the attempts in hand of one task have come to."""
        array = self._specs[task].array
        stored_by_index = {row.index: row for row in stored}
        for index, (attempt, tag, state) in self._in_hand[task].items():
            key = index if array else None
            row = stored_by_index.get(key)
            if row is not None and row.attempt >= attempt and self._stands(row):
                continue  # a pass has taken it up by now
            outcome = None if state else self._outcome(task, index, attempt)
            if outcome is None:
                yield key, InstanceRow(
                    task, key, state or RUNNING, attempt, "", "", None, False, "", "", "",
                    tag, 0.0, 0.0, (),
                )  # fmt: skip
            elif self._is_final(outcome):
                yield key, instance_of(outcome, array)

    def _outcome(self, task: str, index: int, attempt: int) -> Outcome | None:
        """Read a published outcome; None for one too many, or one that is gone by now."""
        self._unread -= 1
        if self._unread < 0:
            return None
        return read_outcome(self._record.files, self._record.folder, task, index, attempt)

    def _is_final(self, outcome: Outcome) -> bool:
        """Whether the pass that takes it up will leave it at that.

        A failure may be tried again, and what a skipped element has missed may still come.
        """
        if outcome.state == FAILED:
            return self._specs[outcome.task].retry is None
        return outcome.state in DONE or outcome.state == CANCELLED

    # What is shown

    def rows(
        self,
        store: Store,
        run_id: str,
        task: str | None = None,
        states: tuple[str, ...] | None = None,
    ) -> list[InstanceRow]:
        """Return the elements of a run, or of one of its tasks, that are in any of these states.

        In order of task and index, without those that wait for their inputs.
        """
        under_way = self._under_way(store, run_id)
        shown = [
            row
            for row in store.instances(run_id, task, states)
            if self._stands(row) and row.index not in under_way.get(row.task, ())
        ]
        more = [
            row
            for name in (under_way if task is None else {task} & under_way.keys())
            for row in under_way[name].values()
            if states is None or row.state in states
        ]
        if not more:
            return shown  # in order already
        order = {name: number for number, name in enumerate(self._specs)}
        return sorted([*shown, *more], key=lambda row: (order[row.task], row.index or 0))

    def summary(self, store: Store, run_id: str) -> dict[str, dict[str, int]]:
        """Return by task, in order, how many elements are in which state."""
        summary = store.summary(run_id)
        if self._reopened:
            for row in store.instances(run_id, states=RETRYABLE):
                if not self._stands(row):
                    is_element = row.index is not None or not self._specs[row.task].array
                    _move(summary[row.task], row.state, PENDING if is_element else "")
        for task, rows in self._under_way(store, run_id).items():
            for row in rows.values():
                _move(summary[task], PENDING, row.state)
        return summary


def _move(states: dict[str, int], before: str, after: str) -> None:
    """Count an element in another state than before; "" for none."""
    count = states.pop(before, 0) - 1
    if count > 0:
        states[before] = count
    if after:
        states[after] = states.get(after, 0) + 1
