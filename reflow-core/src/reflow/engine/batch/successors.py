"""Sees to it that a run goes on after this pass: leaves its sentinel, guard and lookout."""

from __future__ import annotations

from collections.abc import Sequence

from ..dispatcher import Dispatch
from ..run_view import LONGEST_WATCH
from .jobs import GUARD, LOOKOUT, SENTINEL, WORKER, Jobs, number_of
from .submitter import Submitter

LONGEST_PAUSE = 300.0
"""The most seconds between two tries to submit jobs that a limit has kept out."""

LOOK_LEAST, LOOK_MOST = 15.0, 600.0
"""The least and most seconds until a pass looks again at other runs that compute what this one
needs; between them, a quarter of the time for which it has waited."""


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
        workers, look_delay = self._last_workers(), self._look_delay()
        self._leave_sentinel(workers, look_delay)
        self.leave_guard()
        # Without workers the sentinel itself begins in time to look.
        if look_delay and workers and not self._jobs.waiting(LOOKOUT):
            self._submitter.submit_auxiliary(LOOKOUT, (), look_delay)

    def _last_workers(self) -> list[str]:
        """Return the worker jobs that a sentinel waits for, as many as it can."""
        workers = [job.job for job in self._jobs.queued_workers()]
        limit = self._jobs.executor.capabilities.max_dependencies
        return workers if limit is None else workers[max(0, len(workers) - limit) :]

    def _leave_sentinel(self, workers: Sequence[str], look_delay: float) -> None:
        jobs = self._jobs
        begin = 0.0
        if jobs.waits_for:
            begin = self._pause()
        elif not workers:
            begin = look_delay or self._grace
        # A sentinel that is older than a worker does not wait for it.
        newest = max(map(number_of, jobs.live(WORKER)), default=0)
        if not any(number_of(job) > newest for job in jobs.waiting(SENTINEL)):
            self._submitter.submit_auxiliary(SENTINEL, () if begin else workers, begin)

    def leave_guard(self) -> None:
        """See to it that a job with a begin time and no dependency will run a pass."""
        jobs, dispatch = self._jobs, self._dispatch
        if jobs.executor.capabilities.begin and not jobs.waiting(GUARD):
            passes = sum(job.intent.role == GUARD for job in dispatch.replay.jobs.values())
            # Twice the grace of a job that no poll finds, and twice as long each time.
            delay = min(self._grace * 2 ** min(passes + 1, 20), LONGEST_WATCH)
            self._submitter.submit_auxiliary(GUARD, (), delay)

    def _pause(self) -> float:
        """Return in how many seconds to try again: longer while a limit keeps all jobs out."""
        # Counted are the sentinels between the worker jobs that a limit kept out since one was
        # taken: each ran one pass that tried again.
        tries = sentinels = 0
        kept_out = False
        for job in reversed(self._dispatch.replay.jobs.values()):
            if job.intent.role == SENTINEL:
                sentinels += kept_out
            elif job.intent.role == WORKER:
                if not job.not_taken:
                    break
                tries, sentinels, kept_out = tries + sentinels, 0, True
        return min(self._grace * 2.0 ** min(tries, 20), max(self._grace, LONGEST_PAUSE))

    def _look_delay(self) -> float:
        """Return in how many seconds to look at what other runs compute; 0: never."""
        reservations = self._dispatch.reservations
        if not reservations.awaits:
            return 0.0
        waited = self._dispatch.clock.now() - reservations.newest()
        return min(max(waited / 4, LOOK_LEAST), LOOK_MOST)
