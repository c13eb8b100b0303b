"""What has been done of a run, folded from its records: its elements and its jobs. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from ..storage.events import (
    HOME,
    Barred,
    Ended,
    Epoch,
    Finished,
    Intent,
    Missing,
    Note,
    Place,
    Record,
    Retried,
    Sized,
    Submitted,
    Waiting,
)
from ..storage.outcome import Outcome
from ..storage.run_directory import RunRequest
from .planner import Progress

NOT_TAKEN = "LIMIT"
"""State of a job that the scheduler did not take for now."""

UNSEEN = "UNSEEN"
"""State of a job whose submission ended in doubt, and which the scheduler never showed."""


class JobState:
    """What the record says of one job.

    `place` is the executor, and its settings as JSON, that it was given to ("": those of
    the submission); `waiting` why the scheduler says that it does not start; `not_taken`
    whether the scheduler did not take it for now.
    """

    __slots__ = ("ended", "intent", "job", "missing", "not_taken", "place", "waiting")

    def __init__(self, intent: Intent, place: Place = HOME) -> None:
        self.intent = intent
        self.place = place
        self.waiting = ""
        self.job = ""
        self.missing: float | None = None
        self.ended = False
        self.not_taken = False


class Ledger:
    """All that is folded from a run's records."""

    def __init__(self, request: RunRequest) -> None:
        self.progress = Progress(request.spec)
        self.jobs: dict[str, JobState] = {}
        self.epoch = 0
        self.cancels: list[tuple[str, ...]] = []
        self.notes: set[str] = set()
        self.place: Place = HOME
        self.barred: dict[str, str] = {}
        self.stuck = ""
        self.held_back: dict[str, str] = {}
        """By task, why elements of it could not be submitted yet; "" where they could."""
        self.finished: str | None = None

    def fold(self, records: Iterable[Record]) -> None:
        """Move on by records that were read."""
        progress = self.progress
        for record in records:
            kind = type(record)
            if kind is Outcome:
                progress.record(record)  # type: ignore[arg-type]
            elif kind is Retried:
                progress.retry(record)  # type: ignore[arg-type]
            elif kind is Sized:
                progress.resize(record.task, record.size)  # type: ignore[union-attr]
            elif kind is Intent:
                self.intend(record)  # type: ignore[arg-type]
            elif kind is Submitted:
                state = self.jobs.get(record.tag)  # type: ignore[union-attr]
                if state is not None:
                    state.job = record.job  # type: ignore[union-attr]
                    state.missing = None
            elif kind is Missing:
                state = self.jobs.get(record.tag)  # type: ignore[union-attr]
                if state is not None:
                    state.missing = record.at  # type: ignore[union-attr]
            elif kind is Ended:
                self.end(record.tag, record.state)  # type: ignore[union-attr]
            elif kind is Waiting:
                self.wait(record)  # type: ignore[arg-type]
            elif kind is Barred:
                self.barred[record.role] = record.reason  # type: ignore[union-attr]
            elif kind is Note:
                self.notes.add(record.text)  # type: ignore[union-attr]
            elif kind is Epoch:
                self.take_up(record)  # type: ignore[arg-type]
            elif kind is Finished:
                self.finished = record.state  # type: ignore[union-attr]

    def intend(self, intent: Intent) -> None:
        """A job is about to be submitted, and has these elements in hand."""
        self.jobs[intent.tag] = JobState(intent, self.place)
        for index, attempt in zip(intent.indices, intent.attempts):  # noqa: B905 (equal by make)
            self.progress.launch(intent.task, index, attempt, intent.tag)

    def end(self, tag: str, how: str = "") -> None:
        """A job is over; what it still had in hand is in nobody's."""
        state = self.jobs.get(tag)
        if state is None or state.ended:
            return
        state.ended = True
        state.not_taken = how == NOT_TAKEN
        flying = self.progress.tasks[state.intent.task].flying if state.intent.indices else {}
        for index in state.intent.indices:
            if flying.get(index) == tag:
                if how == NOT_TAKEN:
                    # There never was a job, so this was no attempt: a full queue must not
                    # use up the starts that an element has.
                    self.progress.tasks[state.intent.task].tries[index] -= 1
                elif how == UNSEEN:
                    # Nor must a scheduler that does not answer; but this attempt is taken.
                    self.progress.tasks[state.intent.task].forgive(index)
                self.progress.land(state.intent.task, index)

    def wait(self, record: Waiting) -> None:
        """A job does not start, a task is held back, or the run does not go on (no tag), for a
        reason or no more."""
        if not record.tag:
            self.stuck = record.reason
        elif record.tag in self.jobs:
            self.jobs[record.tag].waiting = record.reason
        elif record.tag in self.progress.tasks:
            self.held_back[record.tag] = record.reason

    def take_up(self, epoch: Epoch) -> None:
        """A cancel or a retry begins."""
        self.epoch = epoch.number
        if epoch.executor:
            self.place = (epoch.executor, epoch.settings)
            self.barred = {}  # of the one before
        if epoch.kind == "cancel":
            self.cancels.append(epoch.tasks)
        if epoch.kind == "retry":
            self.cancels = []
            self.held_back = {}
            self.finished = None
            self.progress.reopen(epoch.tasks or tuple(self.progress.tasks))
