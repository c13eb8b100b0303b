"""What sees to it that a run goes on after this pass: its sentinel, its guard, its lookout."""

from __future__ import annotations

from ..dispatcher import Dispatch
from ..run_view import LONGEST_WATCH
from .jobs import GUARD, LOOKOUT, SENTINEL, WORKER, Jobs, number_of
from .submitter import Submitter

LONGEST_PAUSE = 300.0
"""Seconds, at most, between two tries to submit what a limit has kept out."""

LOOK_LEAST, LOOK_MOST = 15.0, 600.0
"""Seconds until another run is looked at that has in hand what is needed here: a quarter of the
time for which it has had it, within these bounds."""


class Successors:
    """The jobs that run the passes after this one."""

    def __init__(
        self, dispatch: Dispatch, jobs: Jobs, submitter: Submitter, grace: float
    ) -> None:
        self._dispatch = dispatch
        self._jobs = jobs
        self._submitter = submitter
        self._grace = grace

    def leave(self) -> None:
        """See to it that something will run the next pass."""
        jobs = self._jobs
        workers = [job.job for job in jobs.live(WORKER) if job.job and job.place == jobs.here]
        limit = jobs.executor.capabilities.max_dependencies
        if limit is not None:
            workers = workers[max(0, len(workers) - limit) :]
        delay = self._look_delay()
        begin = 0.0
        if jobs.waits_for:
            begin = self._pause()
        elif not workers:
            begin = delay or self._grace
        newest = max(map(number_of, jobs.live(WORKER)), default=0)
        if not any(number_of(job) > newest for job in jobs.waiting(SENTINEL)):
            self._submitter.submit_auxiliary(SENTINEL, () if begin else workers, begin)
        self.leave_guard()
        if delay and workers and not jobs.waiting(LOOKOUT):
            self._submitter.submit_auxiliary(LOOKOUT, (), delay)

    def leave_guard(self) -> None:
        """See to it that a job with a begin time, and no dependency, will run a pass."""
        jobs, dispatch = self._jobs, self._dispatch
        if jobs.executor.capabilities.begin and not jobs.waiting(GUARD):
            passes = sum(job.intent.role == GUARD for job in dispatch.ledger.jobs.values())
            # Twice the time after which a job that no poll finds is given up, and ever longer.
            delay = min(self._grace * 2 ** min(passes + 1, 20), LONGEST_WATCH)
            self._submitter.submit_auxiliary(GUARD, (), delay)

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

    def _look_delay(self) -> float:
        """Return in how many seconds to look after what other runs have in hand; 0: never."""
        reservations = self._dispatch.reservations
        if not reservations.awaits:
            return 0.0
        since = self._dispatch.clock.now() - reservations.newest()
        return min(max(since / 4, LOOK_LEAST), LOOK_MOST)
