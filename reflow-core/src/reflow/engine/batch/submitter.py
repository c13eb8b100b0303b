"""Submits jobs: intent on record first, then the call, then the id; and notes what bars it."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import (
    CommandMissingError,
    SchedulerUnreachableError,
    SubmissionForbiddenError,
    SubmissionLimitError,
    SubmissionRefusedError,
)
from ...executors.base import JobRequest
from ...executors.job_script import Scripts
from ...model.spec import Resources
from ...states import FAILED
from ...storage.events import Barred, Intent
from ...storage.ids import job_tag
from ..dispatcher import Dispatch
from .jobs import WORKER, Jobs


class Submitter:
    """Submits the jobs of a run."""

    def __init__(self, dispatch: Dispatch, jobs: Jobs, scripts: Scripts) -> None:
        self._dispatch = dispatch
        self._jobs = jobs
        self._scripts = scripts
        self._bar_here = ""

    # What bars this process

    @property
    def barred(self) -> str:
        """Why this process may not submit jobs; "" where it may, as far as is known."""
        jobs = self._jobs
        if jobs.is_elsewhere:
            return self._bar_here
        return self._dispatch.replay.barred.get(jobs.own_role, "") if jobs.own_role else ""

    def bar(self, reason: str) -> None:
        """Take note that a job of this one's role may not submit others."""
        jobs = self._jobs
        jobs.waits_for = self._bar_here = reason
        if jobs.is_elsewhere:
            return  # this job's host says nothing of where jobs go now
        record = Barred(jobs.own_role, reason, self._dispatch.clock.now())
        self._dispatch.write(record)
        self._dispatch.replay.fold([record])

    def say_stuck(self, stuck: bool) -> None:
        """Take note of why this process may not submit the work that is there, or that it may."""
        reason = self.barred if stuck else ""
        if reason != self._dispatch.replay.stuck:
            self._jobs.say_waiting("", reason)

    # How jobs are submitted

    def tag(self, role: str) -> str:
        """Return a tag that no other holder of the lease, an overtaken one included, uses.

        What an overtaken holder still writes for a job must not be read by a job of its
        successor.
        """
        dispatch = self._dispatch
        holder = f"{dispatch.request.run_id}.{dispatch.lease.number}"
        return job_tag(holder, len(dispatch.replay.jobs) + 1, role)

    def submit(
        self,
        intent: Intent,
        name: str,
        text: str,
        *,
        size: int = 1,
        resources: Resources = Resources(),
        throttle: int | None = None,
        after: Sequence[str] = (),
        after_each: str = "",
        begin: float = 0.0,
    ) -> bool:
        """Submit one job with a script of this text; False if it is in doubt.

        Raises `SubmissionRefusedError`, `SubmissionLimitError`, `SubmissionForbiddenError` or
        `CommandMissingError`; the job is on record then, and not ended.
        """
        dispatch = self._dispatch
        script = dispatch.record.write_script(intent.tag, text)
        # Jobs that carry the run on must start even where a person has removed the logs, or the
        # folder that the run was submitted from.
        logs, directory = dispatch.record.logs, dispatch.request.entrypoint.directory
        if intent.role != WORKER:
            logs, directory = dispatch.record.jobs, dispatch.record.folder
        dispatch.write(intent)
        dispatch.replay.intend(intent)
        dispatch.sync()
        dispatch.lease.check()
        try:
            job_id = self._jobs.executor.submit(
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
            self._jobs.waits_for = str(error)  # the next pass asks for the tag
            return False
        self._jobs.note_submitted(intent.tag, job_id)
        return True

    def submit_auxiliary(self, role: str, after: Sequence[str], begin: float) -> None:
        """Submit a job that runs a dispatch pass, after other jobs or in `begin` seconds.

        Where it is not taken, the run waits for that.
        """
        dispatch, jobs = self._dispatch, self._jobs
        tag = self.tag(role)
        intent = Intent(tag, role, "", (), (), dispatch.clock.now())
        text = self._scripts.auxiliary(jobs.executor, intent, begin)
        try:
            self.submit(intent, role, text, after=after, begin=begin)
        except (SubmissionLimitError, SubmissionRefusedError, CommandMissingError) as error:
            jobs.end(dispatch.replay.jobs[tag], FAILED)
            barring = isinstance(error, (SubmissionForbiddenError, CommandMissingError))
            if barring and jobs.own_role:
                self.bar(str(error))
            elif isinstance(error, CommandMissingError):
                raise
            elif not isinstance(error, SubmissionLimitError):
                dispatch.note(
                    f"the {role} jobs that carry this run on cannot be submitted ({error}): set "
                    "dispatch_queue, dispatch_account, dispatch_time, dispatch_mem; until then it "
                    f"takes `reflow status {dispatch.request.run_id} --refresh` or `submit --wait`"
                )
            jobs.waits_for = str(error)
