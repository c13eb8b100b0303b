"""Carries a run on: ingest the record, take up requests, plan, and apply.

A `Dispatch` exists while its process holds the run's lease. Whoever executes the
elements it hands out (this process, a pool, the jobs of a scheduler), planning,
cache, skips and the end of the run are the same code.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from ..caching.hash_cache import FileHashes
from ..caching.prior_results import PriorResult
from ..caching.reuse import Decision, Reuse, checks_of, find_results, success_by_store
from ..errors import (
    RecordError,
    RunDirectoryError,
    StoreError,
    UnknownRunError,
    UnknownTaskError,
    unknown_name,
)
from ..model.flow import TaskDefinition
from ..model.spec import TaskSpec
from ..states import CACHED, CANCELLED, FAILED, SKIPPED, SUCCESS
from ..storage.attachments import AttachmentFolder
from ..storage.blobs import Values
from ..storage.claims import latest_request, leave_request, read_requests
from ..storage.clock import Clock
from ..storage.events import HOME, Epoch, Finished, Note, Place, Record, Retried, Sized, encode
from ..storage.indexing import catch_up, index_records
from ..storage.journal import JournalReader, take_lease
from ..storage.outcome import UNSETTLED_DETAIL, WHOLE_TASK, Outcome, lacks_prints
from ..storage.process_id import is_alive, this_process
from ..storage.run_directory import RunRecord, RunRequest
from ..storage.stores.base import CachedResult, Position, Store, Underway
from .inputs import SizeError, TaskInputs
from .notify import observe
from .other_runs import Elsewhere
from .planner import TaskState
from .replay import Replay
from .reservations import Reservations
from .task_call import WITHIN_TASK, Answer, Work

BATCH = 5000
"""Elements whose identities are looked up, and records indexed, at once."""

OLDER_RUNS, MOST_OLDER = 10, 20_000
"""So many runs, and elements of a task, are looked through for what is queued ahead."""

TaskLoader = Callable[[], Mapping[str, TaskDefinition]]


class _Hits(NamedTuple):
    """What stands for identities: results of other runs, with the decision on each; and what
    other runs have in hand."""

    good: dict[str, CachedResult]
    decisions: dict[str, Decision]
    awaited: dict[str, Underway]


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
        self.store = store
        self.clock = clock or Clock()
        self._load_tasks = load_tasks
        self.files = record.files
        self.values = Values(self.files, record.values)
        self.attachments = AttachmentFolder(self.files, record.values, request.spec.serializers)
        self.ledger = Replay(request.spec)
        self.progress = self.ledger.progress
        self.reader = JournalReader(self.files, record.segments)
        try:
            self.lease, records = take_lease(
                self.files, self.clock, self.reader, owner or this_process(), alive=alive
            )
        except OSError as error:
            raise RecordError(
                f"cannot carry the run on, in {record.folder}: {error.strerror}"
            ) from error
        self.ledger.fold(records)
        self._inputs: dict[str, TaskInputs] = {}
        self._hashes = FileHashes()
        self._lines: list[bytes] = []
        self._unindexed: list[Record] = []
        self._untold: list[Outcome | Finished] = []
        self._broken = False
        self._synced = time.monotonic()
        self._indexed = time.monotonic()
        self.stopped = False
        self.edited_code: set[str] = set()
        """Tasks whose code was changed since the submission."""
        # Of a run's first holder nothing is on record that it does not index itself.
        self._behind = self.lease.number > 1
        self._reuse: dict[str, Reuse] = {}
        self.reservations = Reservations(
            None if os.environ.get(WITHIN_TASK) else store, request.run_id, request.spec,
            self.may_reuse, Elsewhere(self.files, request.user, self.server_time),
        )  # fmt: skip
        for tasks in self.ledger.cancels:
            # Whoever took the cancel up may not have come to record what it meant.
            self.mark_cancelled(tasks)

    # Writing the record

    def write(self, record: Record) -> None:
        """Put a record into the journal; on disk after `flush`, durable after `sync`."""
        self._lines.append(encode(record))
        self._unindexed.append(record)

    def flush(self) -> None:
        """Hand what was written to the operating system."""
        if self._lines and not self._broken:
            lines, self._lines = self._lines, []
            try:
                self.lease.append_encoded(b"".join(lines))
            except OSError as error:
                raise self._fail(error) from error

    def sync(self) -> None:
        """Make all that was written durable."""
        self.flush()
        if not self._broken:
            try:
                self.lease.sync()
            except OSError as error:
                raise self._fail(error) from error
        self._synced = time.monotonic()
        if self.request.options.observers and self._untold and not self._broken:
            self.lease.check()  # what a stale holder saw may not have happened
            events, self._untold = self._untold, []
            for problem in observe(self.request, events):
                self.write(Note(problem, self.clock.now()))

    def _fail(self, error: OSError) -> RunDirectoryError:
        """Write nothing more: what comes later must not stand there without what is lost."""
        self._broken = True
        return RunDirectoryError(
            error.errno,
            f"cannot write the record of run {self.request.run_id} in {self.record.folder}: "
            f"{error.strerror}; make room or make it writable, then retry the run: what is on "
            "record is kept",
        )

    def save(self, *, every: float = 0.05, index_every: float = 2.0) -> None:
        """Sync and index, if it is time to; a long array pays for neither per element."""
        now = time.monotonic()
        if now - self._synced > every:
            self.sync()
        elif len(self._lines) > 200:
            self.flush()
        if len(self._unindexed) >= BATCH or now - self._indexed > index_every:
            self.index()

    def index(self) -> None:
        """Enter what is on record into the store; a store that fails catches up later."""
        self.flush()
        if self._broken:
            return
        records, self._unindexed = self._unindexed, []
        self._indexed = time.monotonic()
        if self.store is None:
            return
        run_id = self.request.run_id
        try:
            if self._behind:
                # Whatever earlier holders wrote and nobody indexed comes first.
                goes_on = self.ledger.finished is None
                catch_up(self.store, self.record, run_id, carried_on=goes_on)
                self._behind = False
            else:
                offset = self.reader.offset + self.lease.size
                position = Position(segment=self.lease.number, offset=offset)
                index_records(self.store, run_id, records, position)
            self.reservations.enter()
        except (StoreError, UnknownRunError):  # it may have been dropped, or its file deleted
            self._behind = True

    def release(self) -> None:
        """Let the lease go, with everything on record and indexed."""
        if self._broken:
            # The error is on its way up; a few bytes may still find room.
            with contextlib.suppress(OSError):
                self.lease.release()
            return
        self.sync()
        self.index()
        self.lease.release()

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
        if outcome.state == FAILED and self.request.options.observers:
            self._untold.append(outcome)
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
                state, cause = FAILED, "ERROR"
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
        found = self._inputs.get(name)
        if found is None:
            found = self._inputs[name] = TaskInputs(self.progress, self.values, state)
        return found

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
            moved = False
            for state in self.progress.take_unsized():
                moved = True
                self._size(state)
            for name, index, culprit in self.progress.take_skips():
                moved = True
                self.settle(
                    Outcome(name, index, 0, SKIPPED, detail=f"{culprit} did not succeed")
                )
            if self.stopped:
                break
            for state, indices in self.progress.take_ready():
                moved = True
                for start in range(0, len(indices), BATCH):
                    self._look_up(state, indices[start : start + BATCH], works, claim)
                    self.save()
        if self.progress.finished and self.ledger.finished is None:
            finished = Finished(self.progress.verdict, self.clock.now())
            self.ledger.finish(finished)
            self.write(finished)
            if self.request.options.observers:
                self._untold.append(finished)
        return works

    def _size(self, state: TaskState) -> None:
        name = state.spec.name
        try:
            size = self.inputs(state).size()
        except (SizeError, RecordError) as error:
            self.settle(
                Outcome(name, WHOLE_TASK, 0, FAILED, cause="ERROR", detail=str(error))
            )
            return
        self.write(Sized(name, size))
        self.progress.resize(name, size)

    def _look_up(
        self, state: TaskState, indices: Sequence[int], works: list[Work], claim: bool
    ) -> None:
        spec = state.spec
        name = spec.name
        try:
            inputs = self.inputs(state)
            identities = [inputs.identity(index) for index in indices]
        except RecordError as error:
            for index in indices:
                self.settle(
                    Outcome(name, index, 0, FAILED, cause="ERROR", detail=str(error))
                )
            return
        # Whose inputs cannot be told from older ones stands for itself alone.
        counted = {
            identity: index
            for index, identity in zip(indices, identities)  # noqa: B905 (equal by make)
            if not inputs.new_files(index)
        }
        hits = self._hits(state.spec, counted)
        tries = state.tries
        for index, identity in zip(indices, identities):  # noqa: B905 (equal by make)
            hit = hits.good.get(identity)
            if hit is not None:
                unsettled = hits.decisions[identity].unsettled
                self.settle(
                    Outcome(
                        name,
                        index,
                        0,
                        CACHED,
                        identity,
                        hit.digest,
                        hit.value,
                        hit.paths,
                        detail=UNSETTLED_DETAIL if unsettled else "",
                        origin=hit.run_id,
                        prints=hit.prints,
                        unsettled=unsettled,
                    )
                )
                continue
            if identity in hits.awaited:
                self.reservations.wait(name, index, identity, hits.awaited[identity])
                continue
            attempt = tries.get(index, 0) + 1
            texts, stamps = inputs.texts(index), inputs.stamps(index)
            works.append(Work(name, index, attempt, identity, texts, stamps))
            if claim:
                self.progress.launch(name, index, attempt)

    def may_reuse(self, spec: TaskSpec) -> bool:
        """Whether results of older runs may stand for those of a task."""
        return spec.cache and not self.request.options.forces(spec.name)

    def older_results(self, spec: TaskSpec) -> list[PriorResult]:
        """Return what the latest runs of this workflow have for a task, newest first.

        For workers whose identities nobody knows yet: of a few runs, and of no more than
        `MOST_OLDER` elements.
        """
        found: list[PriorResult] = []
        if self.store is None or not self.may_reuse(spec):
            return found
        try:
            runs = self.store.list_runs(graph_name=self.request.spec.name, limit=OLDER_RUNS + 1)
            # Of equal results the first stands: not one whose files somebody has deleted.
            runs.sort(key=lambda run: not os.path.isdir(run.record))
            for run in runs:
                if run.run_id == self.request.run_id or len(found) >= MOST_OLDER:
                    continue
                with contextlib.suppress(UnknownTaskError):
                    found.extend(
                        PriorResult(
                            row.identity, row.digest, row.value, row.paths, run.run_id, run.record,
                            row.prints,
                            lacks_prints(row.paths, row.prints) and run.status != SUCCESS,
                        )
                        for row in self.store.instances(run.run_id, spec.name, (SUCCESS, CACHED))
                        if row.identity
                    )  # fmt: skip
        except StoreError:
            return found
        return found

    def _hits(self, spec: TaskSpec, wanted: Mapping[str, int]) -> _Hits:
        """Return what may stand for these identities (with the index of an element each).

        What has neither a result nor a run that has it in hand is reserved for this run.
        """
        hits = _Hits({}, {}, {})
        if self.store is None or not self.may_reuse(spec):
            return hits
        reuse = self._reuse_of(spec, self.store)
        notices: dict[str, str] = {}

        def decide(result: CachedResult) -> Decision:
            decision = hits.decisions[result.identity] = reuse.decide(result)
            if decision.notice:
                notices.setdefault(result.identity, decision.notice)
            return decision

        try:
            matches = find_results(self.store, wanted, decide)
            hits.good.update(matches.good)
            for identity in matches.good:
                notices.pop(identity, None)  # of another run's copy
            missing = {one: index for one, index in wanted.items() if one not in hits.good}
            reserved = self.reservations.ask(spec.name, missing, matches.refused, decide)
            hits.good.update(reserved.good)
            hits.awaited.update(reserved.awaited)
        except (StoreError, UnknownRunError):
            pass  # it is an index, and may be gone
        finally:
            self._hashes.save()
        for text in notices.values():
            self.note(text)
        for run_id in sorted({one.run_id for one in hits.awaited.values()}):
            self._tell_awaited(spec.name, run_id)
        return hits

    def _reuse_of(self, spec: TaskSpec, store: Store) -> Reuse:
        name = spec.name
        if name not in self._reuse:
            workflow = self.request.spec
            self._reuse[name] = Reuse(
                name,
                self.files,
                workflow.serializers,
                lambda: self._load_tasks()[name],
                success_by_store(store),
                checks=checks_of(workflow, spec) if self.request.options.verify else None,
                values=self.record.values,
                hash_file=self._hashes.digest,
            )
        return self._reuse[name]

    def server_time(self) -> float:
        """Return the file server's time, in seconds since the epoch."""
        return self.files.touch(f"{self.record.folder}/probe")

    def _tell_awaited(self, task: str, run_id: str) -> None:
        text = (
            f"{task}: the same is under way in run {run_id}, whose results are waited for; to "
            f"have it computed here, cancel that run, or submit with --force-task {task}"
        )
        if text not in self.ledger.notes:
            # Who submits, or runs it in this process, should not have to ask.
            print(f"reflow: {text}", file=sys.stderr)
        self.note(text)

    def note(self, text: str) -> None:
        """Record what a person should read; once, however often it is said."""
        if text not in self.ledger.notes:
            self.ledger.notes[text] = None
            self.write(Note(text, self.clock.now()))

    def stop(self, culprit: str) -> None:
        """Plan nothing more: what has not begun is skipped because of `culprit`."""
        self.stopped = True
        for name, index in self.progress.unfinished():
            self.settle(
                Outcome(name, index, 0, SKIPPED, detail=f"stopped: {culprit} did not succeed")
            )

    # Requests from outside

    def is_asked(self) -> bool:
        """Whether there is a request to cancel or retry that nobody has taken up."""
        return latest_request(self.files, self.record.folder) > self.ledger.epoch

    def take_requests(self) -> list[Epoch]:
        """Take up requests to cancel or retry that came since; the caller carries them out.

        Nothing is taken up behind a cancel: a retry that follows it must find the
        cancelled elements on record.
        """
        taken = []
        for request in read_requests(self.files, self.record.folder, self.ledger.epoch):
            epoch = Epoch(
                request.number, request.kind, request.tasks, self.clock.now(),
                request.executor, request.settings,
            )  # fmt: skip
            self.write(epoch)
            self.ledger.take_up(epoch)
            self._inputs.clear()
            taken.append(epoch)
            if epoch.kind == "cancel":
                break
            # What is reserved from now on is not for the outcomes of before to give up.
            self.index()
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
    names = [one.name for one in request.spec.tasks]
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
