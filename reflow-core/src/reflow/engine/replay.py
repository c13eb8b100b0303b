"""What has happened in a run, folded from its records: elements, jobs, requests, its end. Pure.

There is one such fold. The dispatcher keeps it up to date as it writes; whoever only reads a
run gets it from `reflow.engine.run_view`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..model.spec import WorkflowSpec
from ..storage import events
from ..storage.events import HOME, Epoch, Finished, Intent, Place, Record
from ..storage.outcome import Outcome
from .planner import Progress

DRIVER = "driver"
"""Role of the process that carries a run on whose elements run on one machine."""

NOT_TAKEN = "LIMIT"
"""State of a job that the scheduler did not take for now."""

UNSEEN = "UNSEEN"
"""State of a job whose submission ended in doubt, and which the scheduler never showed."""

_NO_TASKS = WorkflowSpec(name="", tasks=())


class JobState:
    """What the record says of one job.

    `job` is the scheduler's id, "" as long as it is in doubt; `place` the executor, and its
    settings as JSON, that the job was given to ("": those of the submission). `missing` is since
    when no poll finds the job, `waiting` why the scheduler says that it does not start, and
    `not_taken` whether the scheduler did not take it for now.
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


class Replay:
    """All that is folded from a run's records.

    `progress` has the elements, `jobs` the jobs by tag in the order of submission. `finished` is
    the state in which the run has ended, at `finished_at`, None while it goes on; after a retry
    it has been `reopened`, and outcomes on record may not stand any more.

    `epoch` is the number of the last request that was taken up, `cancels` the tasks (none: all)
    of each cancel since the last retry, and `place` the executor of the last retry that named one.

    `stuck` says why the run does not go on, `held_back` by task why elements of it could not be
    submitted yet, `barred` by role why its jobs may not submit others; "" where that is over.

    `retries` counts the retries by a person, `fruitless` the drivers in a row that were started
    and left nothing; `progressed` says whether anything came out at all. `sizes` are those of
    the arrays.
    """

    def __init__(self, spec: WorkflowSpec | None = None) -> None:
        """Begin with no records.

        Without `spec` nothing is kept of elements: `progress` stays empty. So a run of a hundred
        thousand elements is read as fast as one of ten.
        """
        self._elements = spec is not None
        self.progress = Progress(spec or _NO_TASKS)
        self.jobs: dict[str, JobState] = {}
        self.epoch = 0
        self.cancels: list[tuple[str, ...]] = []
        self.notes: dict[str, None] = {}  # a set in order
        self.place: Place = HOME
        self.barred: dict[str, str] = {}
        self.stuck = ""
        self.held_back: dict[str, str] = {}
        self.finished: str | None = None
        self.finished_at = 0.0
        self.reopened = False
        self.retries = 0
        self.sizes: dict[str, int] = {}
        self.fruitless = 0
        self.progressed = False
        self.retried: Counter[tuple[str, str]] = Counter()
        """How many attempts were tried again, by task and cause."""
        self.calls: Counter[str] = Counter()
        """How often dispatch passes have called each of the scheduler's commands."""

    # What can be asked

    @property
    def driver(self) -> str:
        """Id of the last driver that was started and is not known to have ended, "" for none."""
        for job in reversed(self.jobs.values()):
            if job.intent.role == DRIVER and job.job and not job.ended:
                return job.job
        return ""

    def submitted(self) -> list[JobState]:
        """Return the jobs that a scheduler was given."""
        return [job for job in self.jobs.values() if job.intent.role != DRIVER]

    def queued(self) -> list[JobState]:
        """Return the jobs that are on record as in a scheduler's hands.

        One without an id may not be there: nothing can rely on it.
        """
        return [job for job in self.submitted() if not job.ended]

    # What happened

    def fold(self, records: Iterable[Record]) -> None:
        """Move on by records that were read."""
        for record in records:
            if type(record) is Outcome:  # nearly all of them are
                self.fruitless, self.progressed = 0, True
                if self._elements:
                    self.progress.record(record)
            else:
                _FOLD[type(record)](self, record)

    def intend(self, intent: Intent) -> None:
        """A job is about to be submitted, and has these elements in hand."""
        self.jobs[intent.tag] = JobState(intent, self.place)
        if intent.role == DRIVER:
            self.fruitless += 1
        if self._elements:
            for index, attempt in _elements(intent):
                self.progress.launch(intent.task, index, attempt, intent.tag)

    def end(self, tag: str, state: str = "") -> None:
        """A job is over; what it still had in hand is in nobody's."""
        job = self.jobs.get(tag)
        if job is None or job.ended:
            return
        job.ended = True
        job.not_taken = state == NOT_TAKEN
        if not self._elements or not job.intent.indices:
            return
        task = self.progress.tasks[job.intent.task]
        for index in job.intent.indices:
            if task.flying.get(index) != tag:
                continue
            if state == NOT_TAKEN:
                # There never was a job, so this was no attempt: a full queue must not
                # use up the starts that an element has.
                task.tries[index] -= 1
            elif state == UNSEEN:
                # Nor must a scheduler that does not answer; but this attempt is taken.
                task.forgive(index)
            self.progress.land(job.intent.task, index)

    def wait(self, record: events.Waiting) -> None:
        """A job does not start, a task is held back, or the run does not go on (no tag), for a
        reason or no more."""
        if not record.tag:
            self.stuck = record.reason
        elif record.tag in self.jobs:
            self.jobs[record.tag].waiting = record.reason
        else:
            self.held_back[record.tag] = record.reason

    def take_up(self, epoch: Epoch) -> None:
        """A cancel or a retry begins."""
        self.epoch = epoch.number
        self.fruitless = 0
        if epoch.executor:
            self.place = (epoch.executor, epoch.settings)
            self.barred = {}  # of the executor before
        if epoch.kind == "cancel":
            self.cancels.append(epoch.tasks)
        if epoch.kind == "retry":
            self.cancels = []
            self.held_back = {}
            self.retries += 1
            self.finished, self.reopened = None, True
            self.progress.reopen(epoch.tasks or tuple(self.progress.tasks))

    def finish(self, record: Finished) -> None:
        """The run has ended."""
        self.finished, self.finished_at = record.state, record.at
        self.reopened = False

    def _retry(self, record: events.Retried) -> None:
        self.progressed = True
        self.retried[record.task, record.cause] += 1
        if self._elements:
            self.progress.retry(record)

    def _size(self, record: events.Sized) -> None:
        self.sizes[record.task] = record.size
        if self._elements:
            self.progress.resize(record.task, record.size)

    def _submitted(self, record: events.Submitted) -> None:
        job = self.jobs.get(record.tag)
        if job is not None:
            job.job, job.missing = record.job, None

    def _miss(self, record: events.Missing) -> None:
        job = self.jobs.get(record.tag)
        if job is not None:
            job.missing = record.at


def _elements(intent: Intent) -> Iterator[tuple[int, int]]:
    """Return the (index, attempt) that a job is given, by position."""
    return zip(intent.indices, intent.attempts)  # noqa: B905 (equal by make)


_FOLD: dict[type, Callable[[Replay, Any], None]] = {
    events.Sized: Replay._size,
    events.Retried: Replay._retry,
    events.Intent: Replay.intend,
    events.Submitted: Replay._submitted,
    events.Missing: Replay._miss,
    events.Ended: lambda replay, record: replay.end(record.tag, record.state),
    events.Waiting: Replay.wait,
    events.Barred: lambda replay, record: replay.barred.update({record.role: record.reason}),
    events.Called: lambda replay, record: replay.calls.update(dict(record.commands)),
    events.Note: lambda replay, record: replay.notes.update({record.text: None}),
    events.Epoch: Replay.take_up,
    events.Finished: Replay.finish,
    # The lease changes hands: that says nothing of what was done.
    events.Opened: lambda replay, record: None,
    events.Released: lambda replay, record: None,
}
