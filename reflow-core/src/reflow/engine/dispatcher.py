"""Carries a run on: ingest the record, take up requests, plan, and apply.

A `Dispatch` exists while its process holds the run's lease. Whoever executes the
elements it hands out (this process, a pool, the jobs of a scheduler), planning,
cache, skips and the end of the run are the same code.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..caching.output_files import NO_ACCESS, trouble
from ..caching.prior_results import Known
from ..caching.reuse import adopt, hashes_of_user, judges_of, not_used, still_stands
from ..caching.store_lookup import Refusal, find_results
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
from ..storage.clock import Clock
from ..storage.events import HOME, Epoch, Finished, Note, Place, Record, Retried, Sized, encode
from ..storage.indexing import index_records
from ..storage.journal import JournalReader, take_lease
from ..storage.outcome import UNSETTLED_DETAIL, WHOLE_TASK, Outcome, lacks_prints
from ..storage.process_id import is_alive, this_process
from ..storage.run_directory import RunRecord, RunRequest
from ..storage.stores.base import CachedResult, Position, Store, Underway
from .inputs import SizeError, TaskInputs
from .notify import observe
from .other_runs import Elsewhere
from .planner import TaskState
from .replay import Ledger
from .reservations import Reservations
from .task_call import WITHIN_TASK, Answer, Work

if TYPE_CHECKING:
    from ..caching.hash_cache import FileHashes
    from ..caching.reuse import Judge

BATCH = 5000
"""Elements whose identities are looked up, and records indexed, at once."""

OLDER_RUNS, MOST_OLDER = 10, 20_000
"""So many runs, and elements of a task, are looked through for what is queued ahead."""

_LOST = Refusal("the file of its value is gone, or cannot be read")
_REFUSED = Refusal("what it names is gone, or a verifier refused it", final=True)

TaskLoader = Callable[[], Mapping[str, TaskDefinition]]


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
        self.ledger = Ledger(request)
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
        self._hashes: FileHashes | None = None
        self._lines: list[bytes] = []
        self._unindexed: list[Record] = []
        self._untold: list[Outcome | Finished] = []
        self._broken = False
        self._synced = time.monotonic()
        self._indexed = time.monotonic()
        self.stopped = False
        # Of a run's first holder nothing is on record that it does not index itself.
        self._behind = self.lease.number > 1
        self._succeeded: dict[str, bool] = {}
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
        position = Position(
            segment=self.lease.number, offset=self.reader.offset + self.lease.size
        )
        try:
            if self._behind:
                # Whatever earlier holders wrote and nobody indexed comes first.
                seen = self.store.position(run_id)
                reader = JournalReader(
                    self.files, self.record.segments, seen.segment, seen.offset
                )
                records = reader.read()
                position = Position(segment=reader.segment, offset=reader.offset)
                self._behind = False
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
        state, text, digest, paths, cause, detail, started, ended, prints, suspected = answer
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
            cause, detail, "", job, started, ended, prints, suspected=suspected,
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
            self.ledger.finished = self.progress.verdict
            finished = Finished(self.ledger.finished, self.clock.now())
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
        hits, awaited = self._hits(state, counted)
        tries = state.tries
        for index, identity in zip(indices, identities):  # noqa: B905 (equal by make)
            hit = hits.get(identity)
            if hit is not None:
                unsettled = self._is_unsettled(hit)
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
            if identity in awaited:
                self.reservations.wait(name, index, identity, awaited[identity])
                continue
            attempt = tries.get(index, 0) + 1
            texts, stamps = inputs.texts(index), inputs.stamps(index)
            works.append(Work(name, index, attempt, identity, texts, stamps))
            if claim:
                self.progress.launch(name, index, attempt)

    def _is_unsettled(self, hit: CachedResult) -> bool:
        """Whether the run that a result is taken over from may still change its files."""
        if not lacks_prints(hit.paths, hit.prints):
            return False
        # Who works on below files that nobody has looked into may not have come to the end.
        if hit.run_id not in self._succeeded:
            assert self.store is not None
            try:
                self._succeeded[hit.run_id] = self.store.run(hit.run_id).status == SUCCESS
            except (StoreError, UnknownRunError):
                self._succeeded[hit.run_id] = False
        return not self._succeeded[hit.run_id]

    def may_reuse(self, spec: TaskSpec) -> bool:
        """Whether results of older runs may stand for those of a task."""
        return spec.cache and not self.request.options.forces(spec.name)

    def older_results(self, spec: TaskSpec) -> list[Known]:
        """Return what the latest runs of this workflow have for a task, newest first.

        For workers whose identities nobody knows yet: of a few runs, and of no more than
        `MOST_OLDER` elements.
        """
        found: list[Known] = []
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
                        Known(
                            row.identity, row.digest, row.value, row.paths, run.run_id, run.record,
                            row.prints,
                        )
                        for row in self.store.instances(run.run_id, spec.name, (SUCCESS, CACHED))
                        if row.identity
                    )  # fmt: skip
        except StoreError:
            return found
        return found

    def _hits(
        self, state: TaskState, wanted: Mapping[str, int]
    ) -> tuple[dict[str, CachedResult], dict[str, Underway]]:
        """Return what may stand for these identities (with the index of an element each): the
        results of other runs, and what these have in hand.

        What is in neither is reserved for this run.
        """
        spec, options = state.spec, self.request.options
        if self.store is None or not self.may_reuse(spec):
            return {}, {}
        used = {one.name for one in self.request.spec.serializers}
        judges: list[Judge] | None = None  # asked for by the first result: it loads the user's code
        told: dict[str, str] = {}

        def judge(hit: CachedResult) -> Refusal | None:
            nonlocal judges
            if judges is None:
                judges = self._judges(spec) if options.verify else []
            lost = self._lost(spec, hit) if options.verify else ""
            if lost:
                if lost.endswith(NO_ACCESS):
                    told[hit.identity] = not_used(
                        hit.record, "not all files that they name can be read"
                    )
                return _REFUSED
            if not adopt(
                self.files, self.record.values, used, hit,
                lambda text: told.setdefault(hit.identity, text),
            ):  # fmt: skip
                return _LOST
            return None if self._stands(spec.name, judges, hit) else _REFUSED

        good: dict[str, CachedResult] = {}
        awaited: dict[str, Underway] = {}
        try:
            found = find_results(self.store, wanted, judge)
            good = found.good
            told = {one: text for one, text in told.items() if one in found.refused}
            missing = {one: index for one, index in wanted.items() if one not in good}
            more, awaited = self.reservations.ask(spec.name, missing, found.refused, judge)
            good.update(more)
        except (StoreError, UnknownRunError):
            pass  # it is an index, and may be gone
        finally:
            if self._hashes is not None:
                self._hashes.save()
        for text in told.values():
            self.note(text)
        for run_id in sorted({one.run_id for one in awaited.values()}):
            self._tell_awaited(spec.name, run_id)
        return good, awaited

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

    def _lost(self, spec: TaskSpec, hit: CachedResult) -> str:
        """Say which path of a result does not stand as its task left it, "" if all do."""
        return trouble(hit.paths, hit.prints if spec.as_left else (), self._hashed)

    def _hashed(self, path: str, found: os.stat_result) -> str:
        # Few passes meet a file whose time has changed: most never come here.
        if self._hashes is None:
            self._hashes = hashes_of_user()
        return self._hashes.digest(path, found)

    def _judges(self, spec: TaskSpec) -> list[Judge]:
        """Return what judges the older results of a task: its verifiers and its own functions."""
        functions = self._load_tasks()[spec.name].verify if spec.verify else ()
        return judges_of(self.request.spec.verifiers_of(spec), functions)

    def _stands(self, name: str, judges: Sequence[Judge], hit: CachedResult) -> bool:
        """Whether all judge an older result to be whole; one that raises does not."""
        if not judges:
            return True

        try:
            return still_stands(
                judges, hit, self.values, self.attachments, lambda: self._load_tasks()[name]
            )
        except (Exception, SystemExit) as error:  # nor may a verifier end this process
            self.note(f"the verifier of {name!r} raised {error!r}: run anew")
            return False

    def note(self, text: str) -> None:
        """Record what a person should read; once, however often it is said."""
        if text not in self.ledger.notes:
            self.ledger.notes.add(text)
            self.write(Note(text, self.clock.now()))

    def stop(self, culprit: str) -> None:
        """Plan nothing more: what has not begun is skipped because of `culprit`."""
        self.stopped = True
        for name, index, _ in self.progress.unfinished():
            self.settle(
                Outcome(name, index, 0, SKIPPED, detail=f"stopped: {culprit} did not succeed")
            )

    # Requests from outside

    def is_asked(self) -> bool:
        """Whether there is a request to cancel or retry that nobody has taken up."""
        return any(
            int(name.partition(".")[0]) > self.ledger.epoch
            for name in self.files.list(self.record.epochs)
        )

    def take_requests(self) -> list[Epoch]:
        """Take up requests to cancel or retry that came since; the caller carries them out.

        Nothing is taken up behind a cancel: a retry that follows it must find the
        cancelled elements on record.
        """
        taken = []
        for name in sorted(self.files.list(self.record.epochs)):
            number = int(name.partition(".")[0])
            if number <= self.ledger.epoch:
                continue
            asked = json.loads(self.files.read(f"{self.record.epochs}/{name}"))
            epoch = Epoch(
                number, asked["kind"], tuple(asked["tasks"]), self.clock.now(),
                asked.get("executor", ""), asked.get("settings", ""),
            )  # fmt: skip
            self.write(epoch)
            self.ledger.take_up(epoch)
            self._inputs.clear()
            taken.append(epoch)
            if epoch.kind == "retry":
                # What is reserved from now on is not for the outcomes of before to give up.
                self.index()
            if epoch.kind == "cancel":
                break
        return taken

    def mark_cancelled(self, tasks: Sequence[str], dropped: Iterable[Work] = ()) -> None:
        """Record as cancelled what has no outcome, of some tasks or (none named) of all."""
        for work in dropped:
            self.settle(
                Outcome(work.task, work.index, work.attempt, CANCELLED, cause=CANCELLED)
            )
        for name, index, _ in self.progress.unfinished():
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
    asked: dict[str, object] = {"kind": kind, "tasks": [task] if task else []}
    if place != HOME:
        asked["executor"], asked["settings"] = place
    text = json.dumps(asked).encode()
    taken = [int(name.partition(".")[0]) for name in record.files.list(record.epochs)]
    number = max(taken, default=0)
    while True:
        # On from a name that is taken, not listed again: the listing may be of a while ago.
        number += 1
        # The name says nothing of the kind: a cancel and a retry must not share a number.
        if record.files.create(f"{record.epochs}/{number:06d}.json", text):
            return number
