"""Draws the conclusions from a poll: which jobs have ended, and which attempts came to nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ...errors import RecordError
from ...executors.base import ENDED, JobStatus
from ...states import CANCELLED, FAILED, HELD, LOST
from ...storage.claims import claim, read_header, read_position
from ...storage.events import Missing
from ...storage.job_reports import JobReport, write_reports
from ..deferred_inputs import Culprit, Deferred, Inputs
from ..dispatcher import Dispatch
from ..replay import UNSEEN, JobState
from .attempts import Attempts
from .jobs import WORKER, Jobs

GRACE_SECONDS = 30.0
"""How long a job may be absent, or its outcome, before it is lost: longer than accounting lags
behind and longer than a network file system remembers that a file was not there."""

MAX_STARTS = 5
"""Attempts of an element in a row that may vanish before they begin; then it has failed."""

_CLAIMED = "given up by a dispatch pass"


class Judge:
    """Tells which jobs have ended, and gives up the attempts of which nothing will come."""

    def __init__(self, dispatch: Dispatch, jobs: Jobs, attempts: Attempts, grace: float) -> None:
        self._dispatch = dispatch
        self._jobs = jobs
        self._attempts = attempts
        self._grace = grace
        self._reports: list[JobReport] = []

    def judge(self, statuses: Mapping[str, JobStatus], before: float, after: float) -> None:
        """Draw the conclusions from a poll that took from `before` to `after`, by tag."""
        for job in self._jobs.live():
            if job.place not in self._jobs.silent:
                status = statuses.get(job.intent.tag)
                self._note_signs(job, status)
                self._judge_job(job, status, before, after)
        if self._reports:
            record, lease = self._dispatch.record, self._dispatch.lease.number
            write_reports(record.files, record.folder, lease, self._reports)

    def _note_signs(self, job: JobState, status: JobStatus | None) -> None:
        """Take note of what a job waits for, and of one that is there again."""
        reason = status.hold if status is not None else ""
        if reason != job.waiting:
            self._jobs.say_waiting(job.intent.tag, reason)
        if not _is_over(status) and job.missing is not None:
            # What counts is one absence without a break: a later one begins anew.
            self._jobs.note_submitted(job.intent.tag, job.job)

    def _judge_job(
        self, job: JobState, status: JobStatus | None, before: float, after: float
    ) -> None:
        in_hand = self._attempts.in_hand(job)
        if status is None and not self._may_end(job, before, after):
            return
        if not in_hand:
            if _is_over(status):
                self._keep_reports(job, status)
                self._jobs.end(job, ENDED)
            return
        # Positions that have ended need no grace: nothing of them runs any more, and what they
        # published is found by its name, however old a listing of the folder is.
        if not _is_over(status):
            in_hand = [
                (position, index, attempt)
                for position, index, attempt in in_hand
                if _is_over(_status_of(status, position))
            ]
        if in_hand:
            self._give_up_all(job, in_hand, status)

    def _may_end(self, job: JobState, before: float, after: float) -> bool:
        """Whether a job that a poll did not find is to be taken for one that has ended."""
        is_worker = job.intent.role == WORKER
        if is_worker and not self._attempts.in_hand(job, 1):
            return True  # whatever became of it, all its elements have come out
        gone = self._gone(job, before, after)
        if is_worker and not gone:
            self._jobs.waits_for = f"{_name(job)} has ended or vanished"
        return gone

    def _gone(self, job: JobState, before: float, after: float) -> bool:
        """Whether a job that a poll did not find has been away for longer than the grace."""
        if job.missing is None:
            record = Missing(job.intent.tag, after)
            self._dispatch.write(record)
            self._dispatch.replay.fold([record])
            return False
        return before - job.missing >= self._grace

    def _give_up_all(
        self, job: JobState, in_hand: Sequence[tuple[int, int, int]], status: JobStatus | None
    ) -> None:
        """Give up these (position, index, attempt) of a job, unless an outcome is there by now."""
        task, tag = job.intent.task, job.intent.tag
        self._attempts.ingest([task])
        ended = None if _is_over(status) else [position for position, _, _ in in_hand]
        self._keep_reports(job, status, ended)
        flying = self._dispatch.progress.tasks[task].flying
        unseen = [
            self._give_up(job, index, attempt, _status_of(status, position))
            for position, index, attempt in in_hand
            if flying.get(index) == tag
        ]
        if not job.job and all(unseen):
            self._jobs.end(job, UNSEEN)
        elif _is_over(status) and not self._attempts.in_hand(job):
            self._jobs.end(job, ENDED)

    def _give_up(
        self, job: JobState, index: int, attempt: int, status: JobStatus | None
    ) -> bool:
        """Nothing will come of an attempt any more: begin another, or record its failure.

        Returns whether it may never have been submitted; then it is still in hand.
        """
        task, tag, progress = job.intent.task, job.intent.tag, self._dispatch.progress
        cause, reason = (status.cause or LOST, status.reason) if status else (LOST, "")
        # Once the pass has the claim, the attempt has not begun and never will.
        folder = self._dispatch.record.folder
        begun = not claim(self._dispatch.files, folder, task, index, attempt, _CLAIMED)
        if begun:
            why = f"{_name(job)} ended without an outcome ({cause}); {reason or _unsaid(status)}"
        elif not job.job:
            return True
        elif cause == CANCELLED and self._is_undecided(task, index):
            return False
        else:
            why = self._why_not_again(job, index, cause, reason)
        if why:
            self._attempts.conclude(
                task, index, attempt, FAILED, cause, why, tag,
                suspected=status.suspected if status else "",
            )  # fmt: skip
        else:
            progress.land(task, index)  # the next plan begins another attempt
        return False

    def _is_undecided(self, task: str, index: int) -> bool:
        """Whether it will show only later who has taken an attempt out of the queue.

        A person, or the scheduler as what the attempt was to wait for was lost: that has not come
        to its end yet.
        """
        progress = self._dispatch.progress
        return not (progress.supplied(task, index) or progress.stranded(task, index))

    def _why_not_again(self, job: JobState, index: int, cause: str, reason: str) -> str:
        """Return why no attempt follows one that never began; "" where another is to begin."""
        task, progress = job.intent.task, self._dispatch.progress
        # What a person took out of the queue stays out. What the scheduler took out, because
        # its inputs were lost, does not.
        if cause == CANCELLED and progress.supplied(task, index) and self._had_inputs(job, index):
            return f"{_name(job)} was cancelled by hand before it began"
        # The scheduler would never run another one either.
        if cause == HELD and not progress.stranded(task, index):
            return f"{_name(job)} can never start" + (f"; {reason}" if reason else "")
        if progress.tasks[task].starts(index) < MAX_STARTS:
            return ""
        return (
            f"{_name(job)} and {MAX_STARTS - 1} before it vanished before they began; "
            f"{reason or 'see its log'}"
        )

    def _keep_reports(
        self, job: JobState, status: JobStatus | None, positions: Iterable[int] | None = None
    ) -> None:
        """Keep what the scheduler said of the positions of a job, of all or of these."""
        task, indices, attempts = job.intent.task, job.intent.indices, job.intent.attempts
        for position in range(len(indices)) if positions is None else positions:
            ended = _status_of(status, position)
            if ended is None:
                continue
            report = JobReport(
                task, indices[position], attempts[position],
                ended.nodes, ended.exit_code, ended.signal, ended.started, ended.ended,
            )  # fmt: skip
            if not report.is_empty:
                self._reports.append(report)

    def _had_inputs(self, job: JobState, index: int) -> bool:
        """Whether a job could have begun: what it was queued behind did not come to nothing."""
        record, tag = self._dispatch.record, job.intent.tag
        header = read_header(record.files, record.jobs, tag)
        if header.awaited is None:
            return True
        number = job.intent.indices.index(index)
        position = read_position(record.files, record.jobs, tag, number)
        try:
            Inputs(record.files, record.folder, header.awaited, position.items, 0.0)
        except (Deferred, Culprit, RecordError):
            return False
        return True


def _is_over(status: JobStatus | None) -> bool:
    return status is None or status.state == ENDED


def _status_of(status: JobStatus | None, position: int) -> JobStatus | None:
    """Return what is said of a position; where that is nothing, what is said of its job."""
    return status.positions.get(position, status) if status is not None else None


def _name(job: JobState) -> str:
    return f"job {job.job or job.intent.tag}"


def _unsaid(status: JobStatus | None) -> str:
    """Return what may be why a job left no outcome, where the scheduler gives no reason."""
    if status is None or status.state != ENDED or status.cause:
        return "see its log"
    return (
        "for the scheduler it ended well: its process ended itself with exit code 0 (os._exit, or "
        "a library), or what came out could not be written (no room, no permission?); see its log"
    )
