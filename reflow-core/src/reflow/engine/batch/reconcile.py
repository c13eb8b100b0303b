"""What a poll means for the attempts that jobs have in hand."""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import RecordError
from ...executors.base import ENDED, JobStatus
from ...states import CANCELLED, FAILED, HELD, LOST
from ...storage.claims import claim, read_header, read_position
from ...storage.events import Missing
from ..deferred_inputs import Culprit, Deferred, Inputs
from ..dispatcher import Dispatch
from ..replay import UNSEEN, JobState
from .attempts import Attempts
from .jobs import WORKER, Jobs

GRACE_SECONDS = 30.0
"""How long a job may be absent, or its outcome, before it is lost: longer than the lag of
accounting and than what a network file system remembers."""

MAX_STARTS = 5
"""Attempts of an element in a row that may vanish unbegun before it has failed."""

_CLAIMED = "given up by a dispatch pass"


class Judge:
    """Tells which jobs have ended, and gives up the attempts of which nothing will come."""

    def __init__(self, dispatch: Dispatch, jobs: Jobs, attempts: Attempts, grace: float) -> None:
        self._dispatch = dispatch
        self._jobs = jobs
        self._attempts = attempts
        self._grace = grace

    def judge(self, statuses: Mapping[str, JobStatus], before: float, after: float) -> None:
        """Draw the conclusions from a poll that took from `before` to `after`, by tag."""
        jobs = self._jobs
        for job in jobs.live():
            if job.place in jobs.silent:
                continue
            status = statuses.get(job.intent.tag)
            why = status.hold if status is not None else ""
            if why != job.waiting:
                jobs.say_waiting(job.intent.tag, why)
            over = status is None or status.state == ENDED
            if not over and job.missing is not None:
                # It is back: what counts is one absence, not the first and the last.
                jobs.note_submitted(job.intent.tag, job.job)
            if job.intent.role != WORKER:
                if over and (status is not None or self._gone(job, before, after)):
                    jobs.end(job, ENDED)
                continue
            in_hand = self._attempts.in_hand(job)
            if not in_hand:
                if over:
                    jobs.end(job, ENDED)
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
                jobs.waits_for = f"job {job.job or job.intent.tag} has ended or vanished"
                continue
            self._attempts.ingest([job.intent.task])
            flying = self._dispatch.progress.tasks[job.intent.task].flying
            unseen = not job.job
            for position, index, attempt in in_hand:
                if flying.get(index) == job.intent.tag:
                    told = status.positions.get(position, status) if status else None
                    unseen &= self._give_up(job, index, attempt, told)
            if unseen:
                jobs.end(job, UNSEEN)
            elif over and not self._attempts.in_hand(job):
                jobs.end(job, ENDED)

    def _gone(self, job: JobState, before: float, after: float) -> bool:
        """Whether a job that a poll did not find has been away for longer than the lag."""
        if job.missing is None:
            record = Missing(job.intent.tag, after)
            self._dispatch.write(record)
            self._dispatch.ledger.fold([record])
            return False
        return before - job.missing >= self._grace

    def _give_up(
        self, job: JobState, index: int, attempt: int, status: JobStatus | None
    ) -> bool:
        """Nothing will come of an attempt any more: begin another, or record its failure.

        Returns whether it may never have been submitted; then it is still in hand.
        """
        task = job.intent.task
        cause = status.cause if status is not None and status.cause else LOST
        files, progress = self._dispatch.files, self._dispatch.progress
        begun = not claim(files, self._dispatch.record.folder, task, index, attempt, _CLAIMED)
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
        self._attempts.conclude(
            task, index, attempt, FAILED, cause, detail, job.intent.tag,
            suspected=status.suspected if status else "",
        )  # fmt: skip
        return False

    def _had_inputs(self, job: JobState, index: int) -> bool:
        """Whether a job could have begun: what it was queued behind did not come to nothing."""
        record, tag = self._dispatch.record, job.intent.tag
        header = read_header(record.files, record.jobs, tag)
        if "awaited" in header:
            place = read_position(
                record.files, record.jobs, tag, job.intent.indices.index(index)
            )
            try:
                Inputs(record.files, record.folder, header["awaited"], place.items, 0.0)
            except (Deferred, Culprit, RecordError):
                return False
        return True


def _unsaid(status: JobStatus | None) -> str:
    """Say what may be why a job has left no outcome, where the scheduler has no word on it."""
    if status is None or status.state != ENDED or status.cause:
        return "see its log"
    return (
        "for the scheduler it ended well: its process ended itself with exit code 0 (os._exit, or "
        "a library), or what came out could not be written (no room, no permission?); see its log"
    )
