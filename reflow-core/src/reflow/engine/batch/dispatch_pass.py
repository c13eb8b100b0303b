"""The dispatch pass for schedulers: poll, ingest, judge, plan, apply, leave a successor.

Idempotent: any process may run it at any time, and may be killed at any point of
it. What it is about to do stands on record before it is done; what it did, after.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from attrs import frozen

from ...errors import CommandMissingError, ExecutorError, SchedulerUnreachableError
from ...executors.base import ENDED, Executor, JobStatus
from ...executors.command import calls
from ...states import CANCELLED
from ...storage.events import Called, Place
from ..dispatcher import Dispatch
from .attempts import Attempts
from .job_script import Scripts
from .jobs import SENTINEL, WORKER, Jobs, number_of
from .reconcile import GRACE_SECONDS, Judge
from .submitter import Submitter
from .successors import Successors
from .worker_jobs import WorkerJobs


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
        retried with. `own_tag` is the tag of the job that runs the pass, "" outside of jobs;
        `grace` for how many seconds a job may be absent before it is lost.
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
        dispatch, jobs, submitter = self._dispatch, self._jobs, self._submitter
        if self._knows_enough():
            statuses: Mapping[str, JobStatus] | None = None
        else:
            # An absence counts from after the poll that first saw it to before the poll that
            # still does: this process may have stood still at any point in between.
            before = dispatch.server_time()
            try:
                statuses = jobs.poll()
            except (SchedulerUnreachableError, CommandMissingError) as error:
                return self._run_blind(error)
            after = dispatch.server_time()
            self._attempts.ingest()
        if jobs.own is not None and not jobs.own.ended and not self._attempts.in_hand(jobs.own):
            jobs.end(jobs.own, ENDED)  # it lives only to run this pass
        if statuses is not None:
            self._judge.judge(statuses, before, after)
        carried_out = self._take_requests()
        if carried_out and dispatch.ledger.finished is None:
            self._submit()
        if dispatch.ledger.finished is not None:
            dispatch.sync()
            self._clear_away()
        elif not submitter.barred:
            self._successors.leave()
        live = jobs.live()
        if dispatch.ledger.finished is None and not live and not jobs.waits_for:
            jobs.waits_for = "no job of this run lives; run another dispatch pass"
        return PassReport(
            finished=dispatch.ledger.finished,
            live=len(live),
            waits_for=jobs.waits_for,
            # One that may not submit would not be allowed to at its next try.
            again=dispatch.ledger.finished is None
            and not submitter.barred
            and not jobs.has_successors(),
            carried_out=carried_out,
            refused=tuple(self._workers.refused),
        )

    def _submit(self) -> None:
        """Plan, and submit what can run and what can be queued behind it."""
        dispatch, submitter = self._dispatch, self._submitter
        # Some schedulers start no job whose log has no folder.
        dispatch.files.make_folder(dispatch.record.logs)
        works = dispatch.plan(claim=False)
        if works and not submitter.barred:
            self._successors.leave_guard()  # before any worker: this process may die after them
        # What was refused, or found published meanwhile, leads on to more or to the end.
        taken = not (works and submitter.barred)
        while works and taken:
            taken = self._workers.submit(works)
            works = dispatch.plan(claim=False) if taken else []
        if taken and dispatch.ledger.finished is None and not submitter.barred:
            self._workers.look_ahead()
        submitter.say_stuck(not taken)

    def _run_blind(self, error: ExecutorError) -> PassReport:
        """Do what can be done while nothing is known of any job: judge and submit nothing."""
        dispatch, jobs, submitter = self._dispatch, self._jobs, self._submitter
        if jobs.own_role and isinstance(error, CommandMissingError) and not submitter.barred:
            submitter.bar(str(error))
        jobs.waits_for = str(error)
        self._attempts.ingest()
        if submitter.barred:
            # Whose elements have all come out is over as far as can be told from here.
            for job in jobs.live(WORKER):
                if not self._attempts.in_hand(job):
                    jobs.end(job, ENDED)
        if dispatch.ledger.finished is None and not self._is_asked():
            submitter.say_stuck(bool(dispatch.plan(claim=False)))
        return PassReport(
            finished=dispatch.ledger.finished, live=len(jobs.live()), waits_for=str(error),
            again=dispatch.ledger.finished is None and not submitter.barred, carried_out=False,
        )  # fmt: skip

    def _knows_enough(self) -> bool:
        """Whether no answer of the scheduler could change what this pass does.

        So it is where the jobs that this one follows have all said how they came out; then the
        elements that these unblock need not wait for a poll. Others look after the rest.
        """
        jobs, own = self._jobs, self._jobs.own
        if own is None or jobs.own_role not in (WORKER, SENTINEL) or self._submitter.barred:
            return False
        others = [job for job in jobs.live() if job is not own]
        if self._is_asked() or not jobs.has_successors(own):
            return False
        if any(not job.job or job.missing is not None or job.waiting for job in others):
            return False
        self._attempts.ingest()
        # A sentinel starts when all workers have ended that were submitted before it.
        followed = [own] if jobs.own_role == WORKER else [
            job for job in others if job.intent.role == WORKER and number_of(job) < number_of(own)
        ]  # fmt: skip
        if any(self._attempts.in_hand(job) for job in followed):
            return False
        for job in followed:
            if job is not own:
                jobs.end(job, ENDED)
        return True

    # What is asked of the run

    def _is_asked(self) -> bool:
        """Whether a request to cancel or retry has not been carried out yet."""
        return bool(self._dispatch.ledger.cancels) or self._dispatch.is_asked()

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
        dispatch, attempts = self._dispatch, self._attempts
        jobs = [
            job for job in self._jobs.live(WORKER) if not tasks or job.intent.task in tasks
        ]
        dispatch.sync()
        dispatch.lease.check()
        # Before anything is killed: a job's last words must not turn this into a failure.
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
        """The run is over: its sentinel and guard are not needed any more."""
        left = self._jobs.live()
        self._dispatch.lease.check()  # after a retry, another holder may count on these jobs
        try:
            self._jobs.cancel(left)
        except ExecutorError:
            return  # they find the run finished and leave
        for job in left:
            self._jobs.end(job, ENDED)


_counted: Counter[str] = Counter()


def count_calls() -> tuple[tuple[str, int], ...]:
    """Return how often each command of a scheduler was called since this was last asked."""
    new = calls - _counted
    _counted.update(new)
    return tuple(sorted(new.items()))
