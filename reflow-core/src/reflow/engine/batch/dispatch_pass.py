"""The dispatch pass for schedulers: poll, ingest, judge, plan, apply, leave a successor.

Idempotent: any process may run it at any time, and may be killed at any point of
it. What it is about to do stands on record before it is done; what it did, after.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from attrs import frozen

from ...errors import CommandMissingError, ExecutorError, SchedulerUnreachableError
from ...executors.base import ENDED, Executor
from ...executors.command import calls
from ...executors.job_script import Scripts
from ...states import CANCELLED
from ...storage.events import Called, Place
from ..dispatcher import Dispatch
from ..replay import JobState
from .attempts import Attempts
from .jobs import SENTINEL, WORKER, Jobs, number_of
from .reconcile import GRACE_SECONDS, Judge
from .submitter import Submitter
from .successors import Successors
from .worker_jobs import WorkerJobs


@frozen(kw_only=True)
class PassReport:
    """What a pass left: the run's final state (or None), jobs that live, and what it waits for.

    `again`: a job that is to run the next pass is missing. `carried_out`: all requests to cancel
    or retry were carried out. `refused`: what the scheduler said of jobs that it will never take.
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

        `executor` is the one that the run was submitted with; `make` returns those that it was
        retried with. `own_tag` is the tag of the job that runs the pass, "" outside of jobs.
        `grace` is for how many seconds a job may be absent before it is lost.
        """
        self._dispatch = dispatch
        self._jobs = Jobs(dispatch, executor, make, own_tag)
        self._attempts = Attempts(dispatch)
        self._judge = Judge(dispatch, self._jobs, self._attempts, grace)
        scripts = Scripts(dispatch.request, dispatch.record.folder)
        self._submitter = Submitter(dispatch, self._jobs, scripts)
        self._workers = WorkerJobs(
            dispatch, self._jobs, self._attempts, scripts, self._submitter
        )
        self._successors = Successors(dispatch, self._jobs, self._submitter, grace)

    def run(self) -> PassReport:
        """Do the pass. Raises `LeaseLostError` where another process has taken over."""
        report = self._run()
        commands = count_calls()
        if commands:
            self._dispatch.write(Called(commands, self._dispatch.clock.now()))
        self._dispatch.sync()
        return report

    def _run(self) -> PassReport:
        try:
            self._look()
        except (SchedulerUnreachableError, CommandMissingError) as error:
            return self._run_blind(error)
        carried_out = self._take_requests()
        if carried_out and not self._is_finished:
            self._submit()
        if self._is_finished:
            self._dispatch.sync()
            self._clear_away()
        elif not self._submitter.barred:
            self._successors.leave()
        live = self._jobs.live()
        if not (self._is_finished or live or self._jobs.waits_for):
            self._jobs.waits_for = "no job of this run lives; run another dispatch pass"
        return self._report(carried_out=carried_out, again=not self._jobs.has_successors())

    @property
    def _is_finished(self) -> bool:
        return self._dispatch.replay.finished is not None

    def _report(self, *, carried_out: bool, again: bool) -> PassReport:
        return PassReport(
            finished=self._dispatch.replay.finished,
            live=len(self._jobs.live()),
            waits_for=self._jobs.waits_for,
            # A job that may not submit others would not be allowed to at its next try either.
            again=again and not (self._is_finished or self._submitter.barred),
            carried_out=carried_out,
            refused=tuple(self._workers.refused),
        )

    # What has become of the jobs

    def _look(self) -> None:
        """Poll the scheduler, take up outcomes and judge; without a poll where that is enough.

        Raises `SchedulerUnreachableError` or `CommandMissingError` where a poll gets no answer.
        """
        if self._knows_enough():
            self._end_own()
            return
        # An absence counts from after the poll that first saw it to before the poll that still
        # does: this process may have stood still at any point in between.
        before = self._dispatch.server_time()
        statuses = self._jobs.poll()
        after = self._dispatch.server_time()
        self._attempts.ingest()
        self._end_own()
        self._judge.judge(statuses, before, after)

    def _end_own(self) -> None:
        """Take note that the job of this process only runs the pass, if its elements have ended."""
        own = self._jobs.own
        if own is not None and not own.ended and not self._attempts.in_hand(own):
            self._jobs.end(own, ENDED)

    def _knows_enough(self) -> bool:
        """Whether no answer of the scheduler could change what this pass does.

        That is so where the outcomes of all jobs are there that this one follows; then the
        elements that they unblock need not wait for a poll. Later passes look after the rest.
        """
        own = self._jobs.own
        if own is None or not self._is_without_doubt(own):
            return False
        self._attempts.ingest()
        followed = self._followed(own)
        if any(self._attempts.in_hand(job) for job in followed):
            return False
        for job in followed:
            if job is not own:
                self._jobs.end(job, ENDED)
        return True

    def _is_without_doubt(self, own: JobState) -> bool:
        """Whether nothing that a poll could clear up is open, and other jobs run later passes."""
        jobs = self._jobs
        if own.intent.role not in (WORKER, SENTINEL) or self._submitter.barred or self._is_asked():
            return False
        others = (job for job in jobs.live() if job is not own)
        return jobs.has_successors(own) and not any(map(_is_in_doubt, others))

    def _followed(self, own: JobState) -> list[JobState]:
        """Return the jobs whose end has brought this pass about."""
        if own.intent.role == WORKER:
            return [own]
        # A sentinel starts when all workers have ended that were submitted before it.
        return [job for job in self._jobs.live(WORKER) if number_of(job) < number_of(own)]

    # What goes on

    def _submit(self) -> None:
        """Plan, and submit what can run and what can be queued behind it."""
        dispatch, submitter = self._dispatch, self._submitter
        # Some schedulers start no job whose log has no folder.
        dispatch.files.make_folder(dispatch.record.logs)
        works = dispatch.plan(claim=False)
        if works and not submitter.barred:
            self._successors.leave_guard()  # before any worker: this process may die after them
        taken = not (works and submitter.barred)
        while works and taken:
            taken = self._workers.submit(works)
            # A job that was refused, or an outcome that was there, leads to more work or the end.
            works = dispatch.plan(claim=False) if taken else []
        if taken and not self._is_finished and not submitter.barred:
            self._workers.look_ahead()
        submitter.say_stuck(not taken)

    def _run_blind(self, error: ExecutorError) -> PassReport:
        """Do what can be done without a word of the scheduler: judge and submit nothing."""
        jobs, submitter = self._jobs, self._submitter
        if jobs.own_role and isinstance(error, CommandMissingError) and not submitter.barred:
            submitter.bar(str(error))
        jobs.waits_for = str(error)
        self._attempts.ingest()
        if submitter.barred:
            # As far as can be told from here, a job has ended when all its elements have.
            for job in jobs.live(WORKER):
                if not self._attempts.in_hand(job):
                    jobs.end(job, ENDED)
        if not self._is_finished and not self._is_asked():
            submitter.say_stuck(bool(self._dispatch.plan(claim=False)))
        return self._report(carried_out=False, again=True)

    # What people ask for

    def _is_asked(self) -> bool:
        """Whether a request to cancel or retry has not been carried out yet."""
        return bool(self._dispatch.replay.cancels) or self._dispatch.is_asked()

    def _take_requests(self) -> bool:
        """Carry out all requests; False where the scheduler kept one from being carried out."""
        dispatch = self._dispatch
        while True:
            # Also a cancel that an earlier pass took up and could not carry out.
            for tasks in dispatch.replay.cancels:
                if not self._cancel(tasks):
                    return False
            if not dispatch.take_requests():
                return True

    def _cancel(self, tasks: Sequence[str]) -> bool:
        dispatch, attempts = self._dispatch, self._attempts
        jobs = [
            job for job in self._jobs.live(WORKER) if not tasks or job.intent.task in tasks
        ]
        dispatch.sync()
        dispatch.lease.check()
        # Before any job is killed: what it publishes last must not turn this into a failure.
        for job in jobs:
            task, tag = job.intent.task, job.intent.tag
            for _, index, attempt in attempts.in_hand(job):
                attempts.conclude(task, index, attempt, CANCELLED, CANCELLED, "", tag)
        if jobs:
            dispatch.sync()
            dispatch.lease.check()
            try:
                self._jobs.cancel(jobs)
            except ExecutorError as error:
                self._jobs.waits_for = str(error)
                return False
        for job in jobs:
            if not attempts.in_hand(job):
                self._jobs.end(job, CANCELLED)
        dispatch.mark_cancelled(tasks)
        return True

    def _clear_away(self) -> None:
        """Take the jobs of a run that is over out of the queue."""
        jobs = self._jobs.live()
        self._dispatch.lease.check()  # after a retry, another holder may count on these jobs
        try:
            self._jobs.cancel(jobs)
        except ExecutorError:
            return  # they will find the run finished, and end
        for job in jobs:
            self._jobs.end(job, ENDED)


def _is_in_doubt(job: JobState) -> bool:
    """Whether a job may not have been taken, may be gone, or may never start."""
    return not job.job or job.missing is not None or bool(job.waiting)


_counted: Counter[str] = Counter()


def count_calls() -> tuple[tuple[str, int], ...]:
    """Return how often each command of a scheduler was called since the last call of this."""
    new = calls - _counted
    _counted.update(new)
    return tuple(sorted(new.items()))
