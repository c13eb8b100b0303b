"""The dispatch pass for schedulers: poll, ingest, judge, plan, apply, leave a successor.

Idempotent: any process may run it at any time, and may be killed at any point of
it. What it is about to do stands on record before it is done; what it did, after.
"""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from attrs import frozen

from .awaiting import Culprit, Deferred, Inputs
from .claims import (
    claim,
    make_folders,
    publish,
    published,
    read_header,
    read_outcome,
    read_position,
    write_job,
)
from .codec import unstructure
from .dispatch import Dispatch
from .entrypoint import is_editable
from .errors import (
    CommandMissingError,
    ExecutorError,
    RecordError,
    SchedulerUnreachableError,
    SubmissionForbiddenError,
    SubmissionLimitError,
    SubmissionRefusedError,
)
from .executors.base import ENDED, Executor, JobRequest, JobStatus
from .executors.command import calls
from .identity import identity_parts
from .ids import job_tag
from .known import write_known
from .ledger import NOT_TAKEN, UNSEEN, JobState
from .lookahead import Ahead, ahead, awaited, is_static, position_items
from .places import place_of
from .records import (
    HOME,
    Barred,
    Called,
    Ended,
    Intent,
    Missing,
    Outcome,
    Place,
    Submitted,
    Waiting,
)
from .runrecord import job_command
from .spec import Resources, TaskSpec
from .standing import LONGEST_WATCH
from .states import CANCELLED, DONE, ERROR, FAILED, HELD, LOST, SKIPPED
from .worker import Work

GRACE_SECONDS = 30.0
"""How long a job may be absent, or its outcome, before it is lost: longer than the lag of
accounting and than what a network file system remembers."""

MAX_STARTS = 5
"""Attempts of an element in a row that may vanish unbegun before it has failed."""

PAUSES = (15, 30, 60, 120, 240, 480, 960, 1920)
"""Seconds after which the job of a pass that left no successor runs it again: the scheduler may
be down, or the lease in the hands of a process whose node is."""

BESIDE_MEMORY = 1 << 30
"""Bytes a job asks for, at least, in which a second interpreter beside its worker is no matter."""

LONGEST_PAUSE = 300.0
"""Seconds, at most, between two tries to submit what a limit has kept out."""

LOOK_LEAST, LOOK_MOST = 15.0, 600.0
"""Seconds until another run is looked at that has in hand what is needed here: a quarter of the
time for which it has had it, within these bounds."""

SENTINEL, GUARD, WORKER, DISPATCH = "sentinel", "guard", "worker", "dispatch"
LOOKOUT = "lookout"
"""The role of a job that looks after what other runs have in hand."""

_CLAIMED = "given up by a dispatch pass"


@frozen(kw_only=True)
class PassReport:
    """What a pass left: the run's final state (or None), jobs that live, and what it waits for.

    `again`: of the jobs that are to run the next pass one is missing. `carried_out`: nothing that
    was asked of the run is left to do. `refused`: what the scheduler said of jobs that it will
    never take.
    """

    finished: str | None
    live: int
    waits_for: str = ""
    again: bool = False
    carried_out: bool = True
    refused: tuple[str, ...] = ()


class DispatchPass:
    """One pass over one run, under its lease."""

    def __init__(
        self,
        dispatch: Dispatch,
        executor: Executor,
        *,
        make: Callable[[Place], Executor] | None = None,
        own_tag: str = "",
        grace: float = GRACE_SECONDS,
    ) -> None:
        """Prepare a pass.

        `executor` is the one that the run was submitted with, `make` gives those that it was
        retried with. `own_tag` is the tag of the job that runs the pass, "" outside of jobs.
        """
        self._own_tag = own_tag
        self._dispatch = dispatch
        self._executors = {HOME: executor}
        self._make = make
        self._grace = grace
        self._folder = dispatch.record.folder
        self._waits_for = ""
        own = dispatch.ledger.jobs.get(own_tag)
        self._own_role = own.intent.role if own is not None else ""
        self._looked_up: dict[str, str] = {}
        self._bar_here = ""
        self._silent: set[Place] = set()
        self._refused: dict[str, None] = {}  # a set in order

    def run(self) -> PassReport:
        """Do the pass. Raises `LeaseLostError` where another process has taken over."""
        report = self._run()
        commands = count_calls()
        if commands:
            self._dispatch.write(Called(commands, self._dispatch.clock.now()))
        self._dispatch.sync()
        return report

    def _run(self) -> PassReport:
        dispatch = self._dispatch
        own = dispatch.ledger.jobs.get(self._own_tag)
        if self._knows_enough(own):
            statuses: Mapping[str, JobStatus] | None = None
        else:
            # An absence counts from after the poll that first saw it to before the poll that
            # still does: this process may have stood still at any point in between.
            before = dispatch.server_time()
            try:
                statuses = self._poll()
            except (SchedulerUnreachableError, CommandMissingError) as error:
                return self._run_blind(error)
            after = dispatch.server_time()
            self._ingest()
        if own is not None and not own.ended and not self._in_hand(own):
            self._end(own, ENDED)  # it lives only to run this pass
        if statuses is not None:
            self._judge(statuses, before, after)
        carried_out = self._take_requests()
        if carried_out and dispatch.ledger.finished is None:
            # Some schedulers start no job whose log has no folder.
            dispatch.files.make_folder(dispatch.record.logs)
            works = dispatch.plan(claim=False)
            if works and not self._barred:
                self._leave_guard()  # before any worker: this process may die after them
            # What was refused, or found published meanwhile, leads on to more or to the end.
            taken = not (works and self._barred)
            while works and taken:
                taken = self._submit_all(works)
                works = dispatch.plan(claim=False) if taken else []
            if taken and dispatch.ledger.finished is None and not self._barred:
                self._look_ahead()
            self._say_stuck(not taken)
        if dispatch.ledger.finished is not None:
            dispatch.sync()
            self._clear_away()
        elif not self._barred:
            self._leave_successor()
        live = self._live()
        if dispatch.ledger.finished is None and not live and not self._waits_for:
            self._waits_for = "no job of this run lives; run another dispatch pass"
        return PassReport(
            finished=dispatch.ledger.finished,
            live=len(live),
            waits_for=self._waits_for,
            # One that may not submit would not be allowed to at its next try.
            again=dispatch.ledger.finished is None
            and not self._barred
            and not self._has_successors(),
            carried_out=carried_out,
            refused=tuple(self._refused),
        )

    def _run_blind(self, error: ExecutorError) -> PassReport:
        """Do what can be done while nothing is known of any job: judge and submit nothing."""
        dispatch = self._dispatch
        if self._own_role and isinstance(error, CommandMissingError) and not self._barred:
            self._bar(str(error))
        self._waits_for = str(error)
        self._ingest()
        if self._barred:
            # Whose elements have all come out is over as far as can be told from here.
            for job in self._live(WORKER):
                if not self._in_hand(job):
                    self._end(job, ENDED)
        if dispatch.ledger.finished is None and not _asked(dispatch):
            self._say_stuck(bool(dispatch.plan(claim=False)))
        return PassReport(
            finished=dispatch.ledger.finished, live=len(self._live()), waits_for=str(error),
            again=dispatch.ledger.finished is None and not self._barred, carried_out=False,
        )  # fmt: skip

    # Where jobs go

    @property
    def _executor(self) -> Executor:
        """The one that jobs are submitted to now."""
        return self._at(self._dispatch.ledger.place)

    def _at(self, place: Place) -> Executor:
        found = self._executors.get(place)
        if found is None:
            assert self._make is not None
            found = self._executors[place] = self._make(place)
        return found

    def _by_place(
        self, jobs: Iterable[JobState]
    ) -> Iterator[tuple[Place, Executor, list[JobState]]]:
        """Yield jobs with the executor that they were given to."""
        found: dict[Place, list[JobState]] = {}
        for job in jobs:
            found.setdefault(job.place, []).append(job)
        for place, group in found.items():
            yield place, self._at(place), group

    @property
    def _barred(self) -> str:
        """Why this process may not submit jobs; "" where it may, as far as is known."""
        if self._is_elsewhere:
            return self._bar_here
        return self._dispatch.ledger.barred.get(self._own_role, "") if self._own_role else ""

    def _bar(self, reason: str) -> None:
        """Take note that a job of this one's role may not submit others."""
        self._waits_for = self._bar_here = reason
        if self._is_elsewhere:
            return  # that says nothing of jobs that are where others go now
        record = Barred(self._own_role, reason, self._dispatch.clock.now())
        self._dispatch.write(record)
        self._dispatch.ledger.fold([record])

    @property
    def _is_elsewhere(self) -> bool:
        """Whether the job of this pass was given to another executor than jobs go to now."""
        own = self._dispatch.ledger.jobs.get(self._own_tag)
        return own is not None and own.place != self._dispatch.ledger.place

    def _say_stuck(self, stuck: bool) -> None:
        reason = self._barred if stuck else ""
        if reason != self._dispatch.ledger.stuck:
            self._say_waiting("", reason)

    def _hold_back(self, task: str, reason: str) -> None:
        """Take note of why elements of a task cannot be submitted; "" where they can."""
        if reason != self._dispatch.ledger.held_back.get(task, ""):
            self._say_waiting(task, reason)

    def _say_waiting(self, tag: str, reason: str) -> None:
        record = Waiting(tag, reason, self._dispatch.clock.now())
        self._dispatch.write(record)
        self._dispatch.ledger.wait(record)

    # What there is

    def _live(self, *roles: str) -> list[JobState]:
        return [
            job
            for job in self._dispatch.ledger.jobs.values()
            if not job.ended and (not roles or job.intent.role in roles)
        ]

    def _poll(self) -> Mapping[str, JobStatus]:
        """Return what schedulers say of all jobs that are not known to have ended, by tag.

        One that jobs go to no more may be silent, or out of reach from here: then what it has is
        left as it is, and the run goes on with the other.
        """
        found: dict[str, JobStatus] = {}
        here = place_of(self._dispatch.record)
        for place, executor, jobs in self._by_place(self._live()):
            try:
                found.update(self._poll_at(executor, jobs))
            except (SchedulerUnreachableError, CommandMissingError) as error:
                if place == here:
                    raise
                self._silent.add(place)
                self._dispatch.note(f"{executor.name} does not tell of its jobs: {error}")
        return found

    def _poll_at(self, executor: Executor, jobs: Iterable[JobState]) -> Mapping[str, JobStatus]:
        lost = [job.intent.tag for job in jobs if not job.job]
        if lost:
            # Submission ended in doubt: the scheduler knows by the tag.
            for tag, job_id in executor.find(lost).items():
                self._note_submitted(tag, job_id)
        tags = {job.job: job.intent.tag for job in jobs if job.job}
        told = executor.poll(list(tags)) if tags else {}
        return {tags[job]: status for job, status in told.items()}

    def _note_submitted(self, tag: str, job_id: str) -> None:
        record = Submitted(tag, job_id, self._dispatch.clock.now())
        self._dispatch.write(record)
        self._dispatch.ledger.fold([record])

    def _end(self, job: JobState, state: str) -> None:
        record = Ended(job.intent.tag, state, self._dispatch.clock.now())
        self._dispatch.write(record)
        self._dispatch.ledger.end(record.tag, state)

    def _ingest(self, tasks: Sequence[str] | None = None) -> None:
        progress = self._dispatch.progress
        for name, state in progress.tasks.items():
            if not state.flying or (tasks is not None and name not in tasks):
                continue
            wanted = {index: state.tries[index] for index in state.flying}
            for outcome in published(self._dispatch.files, self._folder, name, wanted):
                self._settle(outcome)

    def _settle(self, outcome: Outcome) -> None:
        progress = self._dispatch.progress
        if outcome.state == SKIPPED and not progress.blocked(outcome.task, outcome.index):
            # Its worker was queued ahead of a failure that is being retried by now.
            progress.land(outcome.task, outcome.index)
        else:
            if outcome.state in DONE and outcome.detail:
                self._dispatch.note(outcome.detail)  # not how it failed, but what it is of
                outcome = outcome._replace(detail="")
            self._dispatch.settle(outcome)

    def _in_hand(
        self, job: JobState, most: int | None = None
    ) -> list[tuple[int, int, int]]:
        """Return (position, index, attempt) of what a job still has in hand, at most so many."""
        intent = job.intent
        if not intent.indices:
            return []
        flying = self._dispatch.progress.tasks[intent.task].flying
        pairs = zip(intent.indices, intent.attempts)  # noqa: B905 (equal by make)
        found = (
            (position, index, attempt)
            for position, (index, attempt) in enumerate(pairs)
            if flying.get(index) == intent.tag
        )
        return list(islice(found, most))

    # What has become of jobs

    def _knows_enough(self, own: JobState | None) -> bool:
        """Whether no answer of the scheduler could change what this pass does.

        So it is where the jobs that this one follows have all said how they came out; then the
        elements that these unblock need not wait for a poll. Others look after the rest.
        """
        if own is None or own.intent.role not in (WORKER, SENTINEL) or self._barred:
            return False
        others = [job for job in self._live() if job is not own]
        if _asked(self._dispatch) or not self._has_successors(own):
            return False
        if any(not job.job or job.missing is not None or job.waiting for job in others):
            return False
        self._ingest()
        # A sentinel starts when all workers have ended that were submitted before it.
        followed = [own] if own.intent.role == WORKER else [
            job for job in others if job.intent.role == WORKER and _number(job) < _number(own)
        ]  # fmt: skip
        if any(self._in_hand(job) for job in followed):
            return False
        for job in followed:
            if job is not own:
                self._end(job, ENDED)
        return True

    def _gone(self, job: JobState, before: float, after: float) -> bool:
        """Whether a job that a poll did not find has been away for longer than the lag."""
        if job.missing is None:
            record = Missing(job.intent.tag, after)
            self._dispatch.write(record)
            self._dispatch.ledger.fold([record])
            return False
        return before - job.missing >= self._grace

    def _judge(self, statuses: Mapping[str, JobStatus], before: float, after: float) -> None:
        for job in self._live():
            if job.place in self._silent:
                continue
            status = statuses.get(job.intent.tag)
            why = status.hold if status is not None else ""
            if why != job.waiting:
                self._say_waiting(job.intent.tag, why)
            in_hand = self._in_hand(job)
            over = status is None or status.state == ENDED
            if not over and job.missing is not None:
                # It is back: what counts is one absence, not the first and the last.
                self._note_submitted(job.intent.tag, job.job)
            if job.intent.role != WORKER:
                if over and (status is not None or self._gone(job, before, after)):
                    self._end(job, ENDED)
                continue
            if not in_hand:
                if over:
                    self._end(job, ENDED)
                continue
            if not over:
                # Positions that are said to be over need no grace: nothing of them runs,
                # and what they published is found by its name.
                assert status is not None
                in_hand = [
                    one
                    for one in in_hand
                    if one[0] in status.positions and status.positions[one[0]].state == ENDED
                ]
                if not in_hand:
                    continue
            elif status is None and not self._gone(job, before, after):
                self._waits_for = f"job {job.job or job.intent.tag} has ended or vanished"
                continue
            self._ingest([job.intent.task])
            flying = self._dispatch.progress.tasks[job.intent.task].flying
            unseen = not job.job
            for position, index, attempt in in_hand:
                if flying.get(index) == job.intent.tag:
                    told = status.positions.get(position, status) if status else None
                    unseen &= self._give_up(job, index, attempt, told)
            if unseen:
                self._end(job, UNSEEN)
            elif over and not self._in_hand(job):
                self._end(job, ENDED)

    def _give_up(
        self, job: JobState, index: int, attempt: int, status: JobStatus | None
    ) -> bool:
        """Nothing will come of an attempt any more: begin another, or record its failure.

        Returns whether it may never have been submitted; then it is still in hand.
        """
        task = job.intent.task
        cause = status.cause if status is not None and status.cause else LOST
        files, progress = self._dispatch.files, self._dispatch.progress
        begun = not claim(files, self._folder, task, index, attempt, _CLAIMED)
        if not (begun or job.job):
            return True
        # What a person took out of the queue stays out; what a scheduler took out, because
        # that which it was to wait for was lost, does not.
        supplied, stranded = progress.supplied(task, index), progress.stranded(task, index)
        if cause == CANCELLED and not (begun or supplied or stranded):
            return False  # which of the two will show when what it waits for has ended
        by_hand = cause == CANCELLED and supplied and self._had_inputs(job, index)
        # What the scheduler can never run fares no better at another start.
        never = cause == HELD and not (begun or stranded)
        again = not (begun or by_hand or never)
        if again and progress.tasks[task].starts(index) < MAX_STARTS:
            # It never began, and now never will: the next plan starts it anew.
            progress.land(task, index)
            return False
        where = f"job {job.job or job.intent.tag}"
        detail = (
            f"{where} ended without an outcome ({cause}); "
            f"{status.reason if status and status.reason else _unsaid(status)}"
            if begun
            else f"{where} was cancelled by hand before it began"
            if by_hand
            else (
                f"{where} can never start"
                if never
                else f"{where} and {MAX_STARTS - 1} before it vanished before they began"
            )
            + (f"; {status.reason}" if status and status.reason
               else "; see its log" if again else "")
        )
        self._conclude(task, index, attempt, FAILED, cause, detail, job.intent.tag)
        return False

    def _had_inputs(self, job: JobState, index: int) -> bool:
        """Whether a job could have begun: what it was queued behind did not come to nothing."""
        files, jobs, tag = self._dispatch.files, self._dispatch.record.jobs, job.intent.tag
        header = read_header(files, jobs, tag)
        if "awaited" in header:
            place = read_position(files, jobs, tag, job.intent.indices.index(index))
            try:
                Inputs(files, self._folder, header["awaited"], place.items, 0.0)
            except (Deferred, Culprit, RecordError):
                return False
        return True

    def _conclude(
        self, task: str, index: int, attempt: int, state: str, cause: str, detail: str, tag: str
    ) -> None:
        """Record the end of an attempt, unless its worker was quicker."""
        now = self._dispatch.clock.now()
        outcome = Outcome(
            task, index, attempt, state, cause=cause, detail=detail, job=tag, ended=now
        )
        if publish(self._dispatch.files, self._folder, outcome):
            self._dispatch.settle(outcome)
            return
        # The worker's stands. It may not be in the listing yet, but its name is known to be
        # taken; to pass it over here would be to run the element again.
        found = read_outcome(self._dispatch.files, self._folder, task, index, attempt)
        if found is not None:
            self._settle(found)

    def _take_requests(self) -> bool:
        """Carry out what was asked; False where the scheduler kept it from being done."""
        dispatch = self._dispatch
        while True:
            # Also a cancel that an earlier pass took up and did not come to carry out.
            for tasks in dispatch.ledger.cancels:
                if not self._cancel(tasks):
                    return False
            if not dispatch.take_requests():
                return True

    def _cancel(self, tasks: Sequence[str]) -> bool:
        dispatch = self._dispatch
        jobs = [job for job in self._live(WORKER) if not tasks or job.intent.task in tasks]
        dispatch.sync()
        dispatch.lease.check()
        # Before anything is killed: a job's last words must not turn this into a failure.
        for job in jobs:
            for _, index, attempt in self._in_hand(job):
                self._conclude(
                    job.intent.task, index, attempt, CANCELLED, CANCELLED, "", job.intent.tag
                )
        if jobs:
            dispatch.sync()
            dispatch.lease.check()
            try:
                self._cancel_jobs(jobs)
            except ExecutorError as error:
                self._waits_for = str(error)
                return False
        for job in jobs:
            if not self._in_hand(job):
                self._end(job, CANCELLED)
        dispatch.mark_cancelled(tasks)
        return True

    def _cancel_jobs(self, jobs: Iterable[JobState]) -> None:
        failed: ExecutorError | None = None
        for _, executor, group in self._by_place(jobs):
            try:
                executor.cancel([job.job for job in group if job.job])
            except ExecutorError as error:
                failed = error  # what others have is cancelled all the same
        if failed is not None:
            raise failed

    # What to do next

    def _submit_all(self, works: Sequence[Work]) -> bool:
        """Submit what can run; False where the rest is left to a later pass."""
        # Elements that are tried again with more memory or time are jobs of their own.
        alike: dict[tuple[str, tuple[str, ...]], list[Work]] = {}
        for work in works:
            causes = self._dispatch.progress.tasks[work.task].causes.get(work.index, ())
            alike.setdefault((work.task, causes), []).append(work)
        for (name, causes), group in alike.items():
            make_folders(self._dispatch.files, self._folder, name)
            start, waits_for = 0, self._waits_for
            while start < len(group):
                part = group[start : start + self._size(name)]
                if self._submit(name, part, causes):
                    start += len(part)
                elif len(part) == 1 or self._barred or not next(self._jobs_back(name)).not_taken:
                    return False
                else:
                    self._waits_for = waits_for  # half of it may find room
        return True

    def _jobs_back(self, name: str) -> Iterator[JobState]:
        """Yield the jobs that a task's workers were submitted as, the last one first."""
        for job in reversed(self._dispatch.ledger.jobs.values()):
            if job.intent.role == WORKER and job.intent.task == name:
                yield job

    def _size(self, name: str) -> int:
        """Return the most elements that the next job of a task is to have.

        After one that a limit has kept out, half of that, and from then on twice as many each
        time: whole, it might never be taken.
        """
        most = self._executor.capabilities.max_array_size or 1_000_000
        for taken, job in enumerate(self._jobs_back(name)):
            if job.not_taken:
                half = max(1, len(job.intent.indices) // 2)
                return min(most, half << min(taken, 20))
        return most

    def _look_ahead(self) -> None:
        """Queue what can be queued behind the jobs that are under way."""
        dispatch = self._dispatch
        progress, jobs = dispatch.progress, dispatch.ledger.jobs
        elementwise = self._executor.capabilities.elementwise
        size = self._executor.capabilities.max_array_size or 1_000_000
        limit = self._executor.capabilities.max_dependencies
        moved, here = True, dispatch.ledger.place
        while moved:
            moved = False
            maps = {tag: job.intent.indices for tag, job in jobs.items()}
            for one in list(ahead(progress, maps, elementwise=elementwise)):
                tags = (*one.after, one.each) if one.each else one.after
                if limit is not None and len(tags) > limit:
                    continue
                if not all(jobs[tag].job and jobs[tag].place == here for tag in tags):
                    continue
                make_folders(dispatch.files, self._folder, one.state.spec.name)
                for start in range(0, len(one.indices), size):
                    if not self._submit_ahead(one, one.indices[start : start + size]):
                        return
                moved = True

    def _submit_ahead(self, one: Ahead, indices: Sequence[int]) -> bool:
        dispatch = self._dispatch
        state, progress, values = one.state, dispatch.progress, dispatch.values
        rows: list[tuple[Any, ...]] = []
        for index in indices:
            items = position_items(progress, values, state, index)
            rows.append((index, state.tries.get(index, 0) + 1, "", {}, items))
        jobs = dispatch.ledger.jobs
        header = {
            "common": {},
            "awaited": awaited(progress, values, state),
            # Paths without fingerprints, made in this run, may read as those of older ones.
            "known": "" if any(one.made_files() for one in (*state.chains, *state.barriers))
            else self._known(state.spec),
        }  # fmt: skip
        dispatch.reservations.ahead(state.spec.name, indices)
        return self._submit_job(
            state.spec.name,
            header,
            rows,
            state.spec.resources,
            after=[jobs[tag].job for tag in one.after],
            after_each=jobs[one.each].job if one.each else "",
        )

    def _known(self, spec: TaskSpec) -> str:
        """Leave the results of older runs for workers to look theirs up in; "" for none.

        What is queued ahead has an identity only once its inputs are there.
        """
        place = f"known/{spec.name}"
        if spec.name not in self._looked_up:
            found = self._dispatch.older_results(spec)
            if found:
                self._dispatch.files.make_folder(f"{self._folder}/known")
                write_known(self._dispatch.files, f"{self._folder}/{place}", found)
            self._looked_up[spec.name] = place if found else ""
        return self._looked_up[spec.name]

    def _submit(self, name: str, works: Sequence[Work], causes: Sequence[str]) -> bool:
        state = self._dispatch.progress.tasks[name]
        inputs, spec = self._dispatch.inputs(state), state.spec
        header = {"common": inputs.common, "stamps": inputs.common_stamps}
        rows: list[tuple[Any, ...]] = [
            (work.index, work.attempt, work.identity, work.texts, {}, work.stamps)
            for work in works
        ]
        asked = spec.resources
        if spec.retry is not None:
            asked = spec.retry.resources(asked, causes)
        return self._submit_job(name, header, rows, asked)

    def _submit_job(
        self,
        name: str,
        header: Mapping[str, Any],
        rows: Sequence[tuple[Any, ...]],
        resources: Resources,
        *,
        after: Sequence[str] = (),
        after_each: str = "",
    ) -> bool:
        """Submit a job whose position p runs the (index, attempt, …) of row p."""
        dispatch = self._dispatch
        spec = dispatch.progress.tasks[name].spec
        tag = self._tag(WORKER)
        shared = {
            "task": name,
            "epoch": dispatch.ledger.epoch,
            "identity": identity_parts(spec),
            "order": [[wire.parameter, wire.each] for wire in spec.wires],
            "sources": spec.sources,
            "editable": is_editable(dispatch.request.entrypoint),
            "on_code_change": dispatch.request.options.on_code_change,
            "files": spec.files,
            "stood": spec.stood,
            "check": self._check(spec),
            "serializers": unstructure(dispatch.request.spec.serializers),
            "entrypoint": unstructure(dispatch.request.entrypoint),
            **header,
        }
        write_job(dispatch.files, dispatch.record.jobs, tag, shared, rows)
        intent = Intent(
            tag,
            WORKER,
            name,
            tuple(row[0] for row in rows),
            tuple(row[1] for row in rows),
            dispatch.clock.now(),
        )
        try:
            taken = self._hand_in(
                intent, name, size=len(rows), resources=resources,
                throttle=spec.array_parallelism, after_each=after_each,
                after=[*after, *self._ahead_of(spec, len(rows))],
            )  # fmt: skip
            waits = self._executor.capabilities.max_dependencies != 0
            leads_on = taken and waits and self._unblocks(name)
            if leads_on and not self._has_tail(len(rows), resources):
                # Of an array the scheduler counts the elements, not the elements each other.
                self._auxiliary(DISPATCH, [dispatch.ledger.jobs[tag].job], 0.0)
            self._hold_back(name, "" if taken else self._waits_for)
            return taken
        except SubmissionLimitError as error:
            self._end(dispatch.ledger.jobs[tag], NOT_TAKEN)
            self._hold_back(name, str(error))
            self._waits_for = "the scheduler takes no more jobs of this user for now"
            return False
        except (SubmissionForbiddenError, CommandMissingError) as error:
            if self._own_role or isinstance(error, CommandMissingError):
                self._end(dispatch.ledger.jobs[tag], NOT_TAKEN)
                if not self._own_role:
                    raise
                self._bar(str(error))
                return False
            self._refuse(name, rows, tag, error)
        except SubmissionRefusedError as error:
            self._refuse(name, rows, tag, error)
        return True

    def _ahead_of(self, spec: TaskSpec, size: int) -> list[str]:
        """Return the jobs that one of `size` elements of the same task must let end first.

        The scheduler keeps to `array_parallelism` in each job; this keeps to it over all of them.
        """
        most, capabilities = spec.array_parallelism, self._executor.capabilities
        if most is None or not capabilities.throttle or capabilities.max_dependencies == 0:
            return []
        others = {
            job.job: len(elements)
            for job in self._live(WORKER)
            if job.intent.task == spec.name and job.job
            and job.place == self._dispatch.ledger.place and (elements := self._in_hand(job, most))
        }  # fmt: skip
        if sum(others.values()) + min(most, size) <= most:
            return []
        return list(others)[-(capabilities.max_dependencies or len(others)) :]

    def _refuse(
        self, name: str, rows: Sequence[tuple[Any, ...]], tag: str, error: ExecutorError
    ) -> None:
        """What the scheduler will never take has failed, with its words."""
        self._refused[f"task {name!r}: {error}"] = None
        for row in rows:
            self._conclude(name, row[0], row[1], FAILED, ERROR, str(error), tag)
        self._end(self._dispatch.ledger.jobs[tag], FAILED)

    def _check(self, spec: TaskSpec) -> dict[str, Any] | None:
        """Return by what a worker judges an older result; None: by nothing."""
        if not self._dispatch.request.options.verify:
            return None
        verifiers = self._dispatch.request.spec.verifiers_of(spec)
        return {"verifiers": verifiers, "own": spec.verify, "as_left": spec.as_left}

    def _hand_in(
        self,
        intent: Intent,
        name: str,
        *,
        size: int = 1,
        resources: Resources = Resources(),
        throttle: int | None = None,
        after: Sequence[str] = (),
        after_each: str = "",
        begin: float = 0.0,
    ) -> bool:
        """Submit one job: intent first, then the call, then its id; False if in doubt."""
        dispatch = self._dispatch
        script = f"{dispatch.record.jobs}/{intent.tag}.sh"
        text = self._script(intent, size, begin, resources)
        # Names of files may be any bytes, of which Python makes lone surrogates.
        code = text.encode("utf-8", "surrogateescape")
        dispatch.files.write(script, code, executable=True)
        # What carries the run on must start even where a person has cleaned the logs away, or the
        # folder that the run was submitted from.
        logs, directory = dispatch.record.logs, dispatch.request.entrypoint.directory
        if intent.role != WORKER:
            logs, directory = dispatch.record.jobs, dispatch.record.folder
        dispatch.write(intent)
        dispatch.ledger.intend(intent)
        dispatch.sync()
        dispatch.lease.check()
        try:
            job_id = self._executor.submit(
                JobRequest(
                    tag=intent.tag,
                    name=f"{dispatch.request.run_id}.{name}",
                    script=script,
                    directory=directory,
                    log=f"{logs}/{intent.tag}.{{position}}.log",
                    size=size,
                    resources=resources,
                    after=tuple(after),
                    after_each=after_each,
                    begin=begin,
                    auxiliary=intent.role != WORKER,
                    throttle=throttle,
                )
            )
        except SchedulerUnreachableError as error:
            self._waits_for = str(error)  # in doubt: the next pass asks for the tag
            return False
        self._note_submitted(intent.tag, job_id)
        return True

    def _tag(self, role: str) -> str:
        """Return a tag that no other holder of the lease, an overtaken one included, uses.

        What an overtaken holder still writes for a job must not be what a job of its
        successor reads.
        """
        dispatch = self._dispatch
        holder = f"{dispatch.request.run_id}.{dispatch.lease.number}"
        return job_tag(holder, len(dispatch.ledger.jobs) + 1, role)

    def _has_tail(self, size: int, resources: Resources) -> bool:
        """Whether a job's script runs the next pass itself, after its worker.

        Not what keeps many nodes or GPUs idle meanwhile, nor where jobs may not submit others.
        """
        lean = size == 1 and resources.nodes == 1 and not resources.gpus
        return lean and WORKER not in self._dispatch.ledger.barred

    def _script(self, intent: Intent, size: int, begin: float, resources: Resources) -> str:
        capabilities = self._executor.capabilities
        job = f"{shlex.quote(self._folder)} {intent.tag}"
        if intent.role != WORKER:
            pauses = " ".join(map(str, PAUSES))
            work = (
                f"for pause in {pauses} 0; do\n  reflow pass {job} && break\n  sleep $pause\ndone\n"
            )
            if begin and not capabilities.begin:
                work = f"sleep {begin:.0f}\n{work}"
        else:
            position, mark = "0", '"$(uname -n)/$$"'
            if size > 1:
                position = f"$(({capabilities.array_variable} - {capabilities.first_index}))"
            if capabilities.job_variable:
                mark = f'"${{{capabilities.job_variable}:-$(uname -n)/$$}}"'
            # What this result unblocks is submitted at once, whatever became of it; and by a
            # process that has got ready meanwhile, where there is memory for two.
            tail = self._has_tail(size, resources) and self._unblocks(intent.task)
            beside = tail and (resources.mem is None or resources.mem >= BESIDE_MEMORY)
            after = f"reflow tail {job}\n" if tail else ""
            # The shell outlives the interpreter, and says so where that was killed.
            work = (
                f"position={position}\n"
                f"mark={mark}\n"
                f'reflow work {job} "$position" "$mark"{" tail" if beside else ""} || {{\n'
                f'  reflow died {job} "$position" "$mark" $?\n'
                + (f"  {after}}}\n" if beside else f"}}\n{after}")
            )
        return (
            f"#!/bin/sh\n# Job {intent.tag}; safe to run again by hand.\n"
            f"{self._setting()}{work}exit 0\n"
        )

    def _unblocks(self, name: str) -> bool:
        """Whether a task's end leads on to something that only a dispatch pass can do.

        That is so of the last tasks of a run, and where anything below cannot be queued ahead.
        """
        state = self._dispatch.progress.tasks[name]
        specs = {one.spec.name: one.spec for one in self._dispatch.progress.tasks.values()}
        return not all(is_static(below.spec, specs) for below in state.downstream) or (
            not state.downstream
        )

    def _setting(self) -> str:
        """Return the lines of shell that every job begins with."""
        entrypoint = self._dispatch.request.entrypoint
        prologue = getattr(self._executor, "prologue", "")
        variables = getattr(self._executor, "environment", {})
        # The scheduler's commands are given C, and some hand on to the job what they are given.
        locale = os.environ.get("LC_ALL", "")
        return (
            # Where it is gone, the worker puts that on record, and a pass can do without.
            f"cd {shlex.quote(entrypoint.directory)}\n"
            + (f"export LC_ALL={shlex.quote(locale)}\n" if locale else "unset LC_ALL\n")
            + "".join(f"export {name}={shlex.quote(one)}\n" for name, one in variables.items())
            + (f"{prologue.rstrip()}\n" if prologue.strip() else "")
            + f'reflow() {{ {job_command(self._dispatch.request.python)} "$@"; }}\n'
        )

    def _leave_successor(self) -> None:
        """See to it that something will run the next pass."""
        here = self._dispatch.ledger.place
        workers = [job.job for job in self._live(WORKER) if job.job and job.place == here]
        limit = self._executor.capabilities.max_dependencies
        if limit is not None:
            workers = workers[max(0, len(workers) - limit) :]
        delay = self._look_delay()
        begin = 0.0
        if self._waits_for:
            begin = self._pause()
        elif not workers:
            begin = delay or self._grace
        newest = max(map(_number, self._live(WORKER)), default=0)
        if not any(_number(job) > newest for job in self._waiting(SENTINEL)):
            self._auxiliary(SENTINEL, () if begin else workers, begin)
        self._leave_guard()
        if delay and workers and not self._waiting(LOOKOUT):
            self._auxiliary(LOOKOUT, (), delay)

    def _pause(self) -> float:
        """Return in how many seconds to try again; ever longer while a limit lets nothing in."""
        tries = between = 0
        kept_out = False
        for job in reversed(self._dispatch.ledger.jobs.values()):
            if job.intent.role == SENTINEL:
                between += kept_out
            elif job.intent.role == WORKER:
                if not job.not_taken:
                    break
                tries, between, kept_out = tries + between, 0, True
        return min(self._grace * 2.0 ** min(tries, 20), max(self._grace, LONGEST_PAUSE))

    def _waiting(self, role: str) -> list[JobState]:
        """Return the jobs that can be counted on: not one that no poll finds, or that was given to
        another executor than jobs go to now."""
        here = self._dispatch.ledger.place
        return [job for job in self._live(role) if job.missing is None and job.place == here]

    def _has_successors(self, own: JobState | None = None) -> bool:
        """Whether the scheduler is known to have a sentinel and, where it can, a guard.

        `own`, the job of this pass, counts for neither.
        """
        roles = (SENTINEL, GUARD) if self._executor.capabilities.begin else (SENTINEL,)
        return all(
            any(job.job and job is not own for job in self._waiting(role)) for role in roles
        )

    def _leave_guard(self) -> None:
        dispatch = self._dispatch
        if self._executor.capabilities.begin and not self._waiting(GUARD):
            passes = sum(job.intent.role == GUARD for job in dispatch.ledger.jobs.values())
            # Twice the time after which a job that no poll finds is given up, and ever longer.
            delay = min(self._grace * 2 ** min(passes + 1, 20), LONGEST_WATCH)
            self._auxiliary(GUARD, (), delay)

    def _look_delay(self) -> float:
        """Return in how many seconds to look after what other runs have in hand; 0: never."""
        reservations = self._dispatch.reservations
        if not reservations.awaits:
            return 0.0
        since = self._dispatch.clock.now() - reservations.newest()
        return min(max(since / 4, LOOK_LEAST), LOOK_MOST)

    def _auxiliary(self, role: str, after: Sequence[str], begin: float) -> None:
        dispatch = self._dispatch
        tag = self._tag(role)
        intent = Intent(tag, role, "", (), (), dispatch.clock.now())
        try:
            self._hand_in(intent, role, after=after, begin=begin)
        except (SubmissionLimitError, SubmissionRefusedError, CommandMissingError) as error:
            self._end(dispatch.ledger.jobs[tag], FAILED)
            barring = isinstance(error, (SubmissionForbiddenError, CommandMissingError))
            if barring and self._own_role:
                self._bar(str(error))
            elif isinstance(error, CommandMissingError):
                raise
            elif not isinstance(error, SubmissionLimitError):
                dispatch.note(
                    f"the {role} jobs that carry this run on cannot be submitted ({error}): set "
                    "dispatch_queue, dispatch_account, dispatch_time, dispatch_mem; until then it "
                    f"takes `reflow status {dispatch.request.run_id} --refresh` or `submit --wait`"
                )
            self._waits_for = str(error)

    def _clear_away(self) -> None:
        """The run is over: its sentinel and guard are not needed any more."""
        left = self._live()
        self._dispatch.lease.check()  # after a retry, another holder may count on these jobs
        try:
            self._cancel_jobs(left)
        except ExecutorError:
            return  # they find the run finished and leave
        for job in left:
            self._end(job, ENDED)


def _unsaid(status: JobStatus | None) -> str:
    """Say what may be why a job has left no outcome, where the scheduler has no word on it."""
    if status is None or status.state != ENDED or status.cause:
        return "see its log"
    return (
        "for the scheduler it ended well: its process ended itself with exit code 0 (os._exit, "
        "or a library), or what came out could not be written (no room, no permission?); see its log"
    )


def _asked(dispatch: Dispatch) -> bool:
    """Whether a request to cancel or retry has not been carried out yet."""
    return bool(dispatch.ledger.cancels) or dispatch.is_asked()


_counted: Counter[str] = Counter()


def count_calls() -> tuple[tuple[str, int], ...]:
    """Return how often each command of a scheduler was called since this was last asked."""
    new = calls - _counted
    _counted.update(new)
    return tuple(sorted(new.items()))


def _number(job: JobState) -> int:
    """Return the number of a job among the intents of its run."""
    return int(job.intent.tag.rsplit(".", 2)[1])
