"""Carries a run on: ingest the record, take up requests, plan, and apply.

A `Dispatch` exists while its process holds the run's lease. Whoever executes the
elements it hands out (this process, a pool, the jobs of a scheduler), planning,
cache, skips and the end of the run are the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..caching.prior_results import PriorResult
from ..errors import RecordError, UnknownTaskError, unknown_name
from ..model.spec import TaskSpec
from ..states import CANCELLED, ERROR, FAILED, SKIPPED, SUCCESS
from ..storage.attachments import AttachmentFolder
from ..storage.blobs import Values
from ..storage.claims import latest_request
from ..storage.clock import Clock
from ..storage.events import HOME, Epoch, Finished, Place, Record, Retried, Sized
from ..storage.journal import JournalReader, take_lease
from ..storage.outcome import WHOLE_TASK, Outcome
from ..storage.process_id import is_alive, this_process
from ..storage.requests import leave_request, read_requests
from ..storage.run_directory import RunRecord, RunRequest
from ..storage.stores.base import Store
from .inputs import TaskInputs
from .older_results import OlderResults, TaskLoader
from .planner import TaskState
from .record_writer import RecordWriter
from .replay import Replay
from .task_call import Answer, Work

BATCH = 5000
"""Elements whose identities are looked up at once."""


class Dispatch:
    """The holder of a run's lease, and what it may do.

    `load_tasks` gives the user's functions where a task's own verifier is called.
    `store` may fail: it is an index, the record is the truth.
    """

    def __init__(
        self,
        record: RunRecord,
        request: RunRequest,
        store: Store | None,
        load_tasks: TaskLoader,
        *,
        clock: Clock | None = None,
        owner: str | None = None,
        alive: Callable[[str], bool | None] = is_alive,
    ) -> None:
        self.record = record
        self.request = request
        self.clock = clock or Clock()
        self.files = record.files
        self.values = Values(self.files, record.values)
        self.attachments = AttachmentFolder(self.files, record.values, request.spec.serializers)
        self.replay = Replay(request.spec)
        self.progress = self.replay.progress
        reader = JournalReader(self.files, record.segments)
        try:
            self.lease, records = take_lease(
                self.files, self.clock, reader, owner or this_process(), alive=alive
            )
        except OSError as error:
            raise RecordError(
                f"cannot carry the run on, in {record.folder}: {error.strerror}"
            ) from error
        self.replay.fold(records)
        self._writer = RecordWriter(
            record, request, store, self.replay, reader, self.lease, self.clock,
            indexed=lambda: self.reservations.enter(),
        )  # fmt: skip
        self._older = OlderResults(
            record, request, store, load_tasks, self._writer, self.server_time
        )
        self.reservations = self._older.reservations
        self._inputs: dict[str, TaskInputs] = {}
        self.stopped = False
        self.edited_code: set[str] = set()
        """Tasks whose code was changed since the submission."""
        for tasks in self.replay.cancels:
            # Whoever took the cancel up may not have come to record what it meant.
            self.mark_cancelled(tasks)

    # Writing the record

    def write(self, record: Record) -> None:
        """Put a record into the journal; durable after `sync`."""
        self._writer.write(record)

    def note(self, text: str) -> None:
        """Record what a person should read; once, however often it is said."""
        self._writer.note(text)

    def sync(self) -> None:
        """Make all that was written durable."""
        self._writer.sync()

    def save(self) -> None:
        """Make what was written durable and enter it into the store, if it is time to."""
        self._writer.save()

    def release(self) -> None:
        """Let the lease go, with everything on record and in the store."""
        self._writer.release()

    def __enter__(self) -> Dispatch:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def server_time(self) -> float:
        """Return the file server's time, in seconds since the epoch."""
        return self.files.touch(f"{self.record.folder}/probe")

    # Outcomes

    def settle(self, outcome: Outcome) -> bool:
        """Record an outcome; False if it is not the element's end.

        That is so where there is one already, and of a failure after which the task asks for
        another attempt.
        """
        if outcome.state == FAILED and not self.stopped and self._tried_again(outcome):
            return False
        if not self.progress.record(outcome):
            return False
        self.write(outcome)
        if outcome.state == FAILED:
            self._writer.announce(outcome)
        return True

    def _tried_again(self, outcome: Outcome) -> bool:
        cause = self.progress.tasks[outcome.task].tried_again(outcome)
        if not cause:
            return False
        again = Retried(
            outcome.task, outcome.index, outcome.attempt, cause, outcome.detail,
            outcome.job, self.clock.now(),
        )  # fmt: skip
        self.progress.retry(again)
        self.write(again)
        return True

    def settle_answer(self, work: Work, answer: Answer, job: str = "") -> Outcome | None:
        """Record how an element that ran came out; None where that is not its end."""
        (
            state, text, digest, paths, cause, detail, started, ended, prints, suspected, edited,
        ) = answer  # fmt: skip
        value: str | None = None
        if state == SUCCESS:
            try:
                value = self.values.keep(text, digest)
            except OSError as error:
                state, cause = FAILED, ERROR
                detail = f"cannot store the value of {work.task!r}: {error.strerror}"
                digest = ""
        outcome = Outcome(
            work.task, work.index, work.attempt, state, work.identity, digest, value, paths,
            cause, detail, "", job, started, ended, prints, suspected=suspected, edited=edited,
        )  # fmt: skip
        return outcome if self.settle(outcome) else None

    # Planning

    def inputs(self, state: TaskState) -> TaskInputs:
        """Return what a task's elements receive; its upstream tasks must have ended."""
        name = state.spec.name
        if name not in self._inputs:
            self._inputs[name] = TaskInputs(self.progress, self.values, state)
        return self._inputs[name]

    def common(self, name: str) -> dict[str, str]:
        """Return the texts that every element of a task receives."""
        return self.inputs(self.progress.tasks[name]).common

    def plan(self, *, claim: bool = True) -> list[Work]:
        """Size, skip and look up what can be; return the elements that must run.

        The elements are marked as in hand ("launched") unless `claim` is False.
        """
        works: list[Work] = []
        for name, index in self.reservations.take_due():
            self.progress.put_back(name, index)
        moved = True
        while moved:
            # Each step may lead on to the others: an empty array, a skip or a result of an older
            # run closes a task.
            sized, skipped = self._size_arrays(), self._skip_blocked()
            looked_up = not self.stopped and self._look_up_ready(works, claim)
            moved = sized or skipped or looked_up
        if self.progress.finished and self.replay.finished is None:
            finished = Finished(self.progress.verdict, self.clock.now())
            self.replay.finish(finished)
            self.write(finished)
            self._writer.announce(finished)
        return works

    def _size_arrays(self) -> bool:
        """Size the arrays whose inputs are there; False if there are none."""
        unsized = self.progress.take_unsized()
        for state in unsized:
            name = state.spec.name
            try:
                size = self.inputs(state).size()
            except RecordError as error:
                self._fail(name, WHOLE_TASK, error)
            else:
                self.write(Sized(name, size))
                self.progress.resize(name, size)
        return bool(unsized)

    def _skip_blocked(self) -> bool:
        """Record as skipped what can never run; False if there is nothing."""
        skips = self.progress.take_skips()
        for name, index, culprit in skips:
            self.settle(Outcome(name, index, 0, SKIPPED, detail=f"{culprit} did not succeed"))
        return bool(skips)

    def _look_up_ready(self, works: list[Work], claim: bool) -> bool:
        """Look up what can run, and add to `works` what must; False if there is nothing."""
        ready = self.progress.take_ready()
        for state, indices in ready:
            for start in range(0, len(indices), BATCH):
                self._look_up(state, indices[start : start + BATCH], works, claim)
                self.save()
        return bool(ready)

    def _look_up(
        self, state: TaskState, indices: Sequence[int], works: list[Work], claim: bool
    ) -> None:
        name = state.spec.name
        try:
            inputs = self.inputs(state)
            identities = [inputs.identity(index) for index in indices]
        except RecordError as error:
            for index in indices:
                self._fail(name, index, error)
            return
        # Whose inputs cannot be told from older ones stands for itself alone.
        matches = self._older.look_up(state.spec, {
            identity: index
            for index, identity in zip(indices, identities)  # noqa: B905 (equal by make)
            if not inputs.new_files(index)
        })  # fmt: skip
        tries = state.tries
        for index, identity in zip(indices, identities):  # noqa: B905 (equal by make)
            outcome = matches.outcomes.get(identity)
            if outcome is not None:
                # Elements that receive the same share an identity.
                self.settle(outcome if outcome.index == index else outcome._replace(index=index))
            elif identity in matches.awaited:
                self.reservations.wait(name, index, identity, matches.awaited[identity])
            else:
                attempt = tries.get(index, 0) + 1
                texts, stamps = inputs.texts(index), inputs.stamps(index)
                works.append(Work(name, index, attempt, identity, texts, stamps))
                if claim:
                    self.progress.launch(name, index, attempt)

    def _fail(self, name: str, index: int, error: RecordError) -> None:
        self.settle(Outcome(name, index, 0, FAILED, cause=ERROR, detail=str(error)))

    def older_results(self, spec: TaskSpec) -> list[PriorResult]:
        """Return what the latest runs of this workflow have for a task, newest first."""
        return self._older.latest(spec)

    def stop(self, culprit: str) -> None:
        """Plan nothing more: what has not begun is skipped because of `culprit`."""
        self.stopped = True
        self.skip_unfinished(f"stopped: {culprit} did not succeed")

    def skip_unfinished(self, reason: str) -> None:
        """Record as skipped all that has no outcome and that nobody has in hand."""
        for name, index in self.progress.unfinished():
            self.settle(Outcome(name, index, 0, SKIPPED, detail=reason))

    # Requests from outside

    def is_asked(self) -> bool:
        """Whether there is a request to cancel or retry that nobody has taken up."""
        return latest_request(self.files, self.record.folder) > self.replay.epoch

    @property
    def ended(self) -> str | None:
        """The state in which the run has ended; None if it goes on, or is asked to."""
        return None if self.is_asked() else self.replay.finished

    def take_requests(self) -> list[Epoch]:
        """Take up requests to cancel or retry that came since; the caller carries them out.

        Nothing is taken up behind a cancel: a retry that follows it must find the
        cancelled elements on record.
        """
        taken = []
        for request in read_requests(self.files, self.record.folder, self.replay.epoch):
            epoch = Epoch(
                request.number, request.kind, request.tasks, self.clock.now(),
                request.executor, request.settings,
            )  # fmt: skip
            self.write(epoch)
            self.replay.take_up(epoch)
            self._inputs.clear()
            taken.append(epoch)
            if epoch.kind == "cancel":
                break
            # What is reserved from now on is not for the outcomes of before to give up.
            self._writer.index()
        return taken

    def mark_cancelled(self, tasks: Sequence[str], dropped: Iterable[Work] = ()) -> None:
        """Record as cancelled what has no outcome, of some tasks or (none named) of all."""
        for work in dropped:
            self.settle(
                Outcome(work.task, work.index, work.attempt, CANCELLED, cause=CANCELLED)
            )
        for name, index in self.progress.unfinished():
            if not tasks or name in tasks:
                self.settle(Outcome(name, index, 0, CANCELLED, cause=CANCELLED))


def check_task(request: RunRequest, task: str | None) -> None:
    """Raise `UnknownTaskError` unless a run has this task (or none is named)."""
    names = [spec.name for spec in request.spec.tasks]
    if task is not None and task not in names:
        raise UnknownTaskError(unknown_name("task", task, names))


def ask(
    record: RunRecord, request: RunRequest, kind: str, task: str | None, place: Place = HOME
) -> int:
    """Leave the request to cancel or retry a run, or one task of it; return its number.

    What is submitted from then on goes to `place`, if that is given.
    """
    check_task(request, task)
    return leave_request(record.files, record.folder, kind, [task] if task else [], *place)
