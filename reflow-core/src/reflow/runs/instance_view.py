"""How a run's elements stand: what the store tells, what a retry made void, what is under way."""

from __future__ import annotations

from collections.abc import Collection

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
"""Outcomes, at most, that a look reads which no dispatch pass has taken up yet; elements whose
outcomes are left unread are RUNNING still."""


def element_name(task: str, index: int | None) -> str:
    """Return an element as people write it, such as ``align[3]``; no index: a single task."""
    return task if index is None else f"{task}[{index}]"


class Instances:
    """The elements of one run, as they stand.

    The store keeps an outcome until there is another, and has none before a dispatch pass has
    taken it up. To be made before the store is brought up to date: it may lag behind then, but
    never takes a new outcome for one of before.
    """

    def __init__(self, record: RunRecord, view: RunView) -> None:
        self._record = record
        self._reopened: dict[str, TaskState] = {}
        self._specs: dict[str, TaskSpec] = {}
        self._in_hand: dict[str, dict[int, tuple[int, str, str]]] = {}
        """By task and index: attempt, tag of the job, state ("" where an outcome is published)."""
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
        """Look what has become of the attempts that jobs have in hand, by names alone."""
        files, folder = self._record.files, self._record.folder
        of_task: dict[str, list[Intent]] = {}
        for intent in intents:
            if intent.indices:
                of_task.setdefault(intent.task, []).append(intent)
        for task, group in of_task.items():
            claimed, published = {*begun(files, folder, task)}, {*ended(files, folder, task)}
            found = self._in_hand[task] = {}
            for intent in group:
                for one in zip(intent.indices, intent.attempts):  # noqa: B905 (equal by make)
                    state = "" if one in published else RUNNING if one in claimed else SUBMITTED
                    found[one[0]] = (one[1], intent.tag, state)

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
        """Return by task and index what is to be told in place of what the store tells."""
        if self._rows is None:
            self._rows = {}
            left = MOST_READ
            for task, found in self._in_hand.items():
                array = self._specs[task].array
                known = {row.index: row for row in store.instances(run_id, task)}
                rows = self._rows[task] = {}
                for index, (attempt, tag, state) in found.items():
                    place = index if array else None
                    row = known.get(place)
                    if row is not None and row.attempt >= attempt and self._stands(row):
                        continue  # a pass has taken it up by now
                    if not state:
                        outcome = self._outcome(task, index, attempt) if left > 0 else None
                        left -= 1
                        if outcome is not None:
                            if self._is_final(outcome):
                                rows[place] = instance_of(outcome, array)
                            continue
                    rows[place] = InstanceRow(
                        task, place, state or RUNNING, attempt, "", "", None, False, "", "", "",
                        tag, 0.0, 0.0, (),
                    )  # fmt: skip
        return self._rows

    def _outcome(self, task: str, index: int, attempt: int) -> Outcome | None:
        return read_outcome(self._record.files, self._record.folder, task, index, attempt)

    def _is_final(self, outcome: Outcome) -> bool:
        """Whether the pass that takes it up will leave it at that.

        Not of a failure that may be tried again, nor where what it has missed may come.
        """
        if outcome.state == FAILED:
            return self._specs[outcome.task].retry is None
        return outcome.state in DONE or outcome.state == CANCELLED

    # What is told

    def rows(
        self,
        store: Store,
        run_id: str,
        task: str | None = None,
        states: tuple[str, ...] | None = None,
    ) -> list[InstanceRow]:
        """Return the elements of a run, or of one of its tasks, that are in any of these states.

        In order of task and index; none of those that wait for their inputs.
        """
        under_way = {
            name: rows
            for name, rows in self._under_way(store, run_id).items()
            if rows and task in (None, name)
        }
        told = [
            row
            for row in store.instances(run_id, task, states)
            if self._stands(row) and row.index not in under_way.get(row.task, ())
        ]
        if not under_way:
            return told
        order = {name: place for place, name in enumerate(self._specs)}
        more = [row for rows in under_way.values() for row in rows.values()]
        told += [row for row in more if states is None or row.state in states]
        return sorted(told, key=lambda row: (order[row.task], row.index or 0))

    def summary(self, store: Store, run_id: str) -> dict[str, dict[str, int]]:
        """Return by task, in order, how many elements are in which state."""
        found = store.summary(run_id)
        if self._reopened:
            for row in store.instances(run_id, states=RETRYABLE):
                if not self._stands(row):
                    is_element = row.index is not None or not self._specs[row.task].array
                    _move(found[row.task], row.state, PENDING if is_element else "")
        for task, rows in self._under_way(store, run_id).items():
            for row in rows.values():
                _move(found[task], PENDING, row.state)
        return found


def _move(states: dict[str, int], before: str, after: str) -> None:
    """Count an element in another state than before; "" for none."""
    left = states.pop(before, 0) - 1
    if left > 0:
        states[before] = left
    if after:
        states[after] = states.get(after, 0) + 1
