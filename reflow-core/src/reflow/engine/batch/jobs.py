"""The jobs of a run: which live, what schedulers say of them, which have ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from ...errors import CommandMissingError, ExecutorError, SchedulerUnreachableError
from ...executors.base import Executor, JobStatus
from ...plugins.executor_of_run import place_of
from ...storage.events import HOME, Ended, Place, Submitted, Waiting
from ..dispatcher import Dispatch
from ..replay import JobState

SENTINEL, GUARD, WORKER, DISPATCH = "sentinel", "guard", "worker", "dispatch"
LOOKOUT = "lookout"
"""The role of a job that looks after what other runs have in hand."""


class Jobs:
    """The jobs of a run, each with the executor that it was given to."""

    def __init__(
        self,
        dispatch: Dispatch,
        executor: Executor,
        make: Callable[[Place], Executor] | None = None,
        own_tag: str = "",
    ) -> None:
        """`executor` is that of the submission; `make` returns those of retries.

        `own_tag` is the tag of the job that this process runs in, "" outside of jobs.
        """
        self._dispatch = dispatch
        self._executors = {HOME: executor}
        self._make = make
        self.own = dispatch.replay.jobs.get(own_tag)
        """The job that runs this process, if any does."""
        self.silent: set[Place] = set()
        """Where the last poll got no answer: the jobs there are left as they are."""
        self.waits_for = ""
        """What the run waits for, as far as this pass has seen; "" where it goes on."""

    # Where jobs are

    @property
    def here(self) -> Place:
        """Where jobs go now."""
        return self._dispatch.replay.place

    @property
    def executor(self) -> Executor:
        """The executor that jobs are submitted to now."""
        return self._at(self.here)

    @property
    def own_role(self) -> str:
        """The role of the job that runs this process; "" outside of jobs."""
        return self.own.intent.role if self.own is not None else ""

    @property
    def is_elsewhere(self) -> bool:
        """Whether this process' own job was given to another executor than jobs go to now."""
        return self.own is not None and self.own.place != self.here

    def _at(self, place: Place) -> Executor:
        if place not in self._executors:
            assert self._make is not None
            self._executors[place] = self._make(place)
        return self._executors[place]

    def _by_place(
        self, jobs: Iterable[JobState]
    ) -> Iterator[tuple[Place, Executor, list[JobState]]]:
        """Yield jobs with the executor that they were given to."""
        groups: dict[Place, list[JobState]] = {}
        for job in jobs:
            groups.setdefault(job.place, []).append(job)
        for place, group in groups.items():
            yield place, self._at(place), group

    # Which jobs there are

    def live(self, *roles: str) -> list[JobState]:
        """Return the jobs, of these roles or of any, that are not known to have ended."""
        return [
            job
            for job in self._dispatch.replay.jobs.values()
            if not job.ended and (not roles or job.intent.role in roles)
        ]

    def waiting(self, role: str) -> list[JobState]:
        """Return the jobs of a role that can be counted on.

        Not one that no poll finds, nor one that was given to another executor than jobs go to now.
        """
        return [job for job in self.live(role) if job.missing is None and job.place == self.here]

    def queued_workers(self, task: str = "") -> list[JobState]:
        """Return the live worker jobs, of one task or all, that others can be queued behind."""
        return [
            job
            for job in self.live(WORKER)
            if job.job and job.place == self.here and task in ("", job.intent.task)
        ]

    def of_task(self, task: str) -> Iterator[JobState]:
        """Yield the worker jobs of a task, the newest first."""
        for job in reversed(self._dispatch.replay.jobs.values()):
            if job.intent.role == WORKER and job.intent.task == task:
                yield job

    def has_successors(self, own: JobState | None = None) -> bool:
        """Whether the scheduler is known to have a sentinel and, where it can, a guard.

        `own`, the job of this pass, counts for neither.
        """
        roles = (SENTINEL, GUARD) if self.executor.capabilities.begin else (SENTINEL,)
        return all(
            any(job.job and job is not own for job in self.waiting(role)) for role in roles
        )

    # What schedulers say of jobs

    def poll(self) -> Mapping[str, JobStatus]:
        """Return what schedulers say of all jobs that are not known to have ended, by tag.

        A scheduler that jobs go to no more may be silent, or out of reach from here: then its
        jobs are left as they are, and the run goes on with the other.
        """
        statuses: dict[str, JobStatus] = {}
        here = place_of(self._dispatch.record)
        for place, executor, jobs in self._by_place(self.live()):
            try:
                statuses.update(self._poll_at(executor, jobs))
            except (SchedulerUnreachableError, CommandMissingError) as error:
                if place == here:
                    raise
                self.silent.add(place)
                self._dispatch.note(f"{executor.name} does not tell of its jobs: {error}")
        return statuses

    def _poll_at(self, executor: Executor, jobs: Iterable[JobState]) -> Mapping[str, JobStatus]:
        in_doubt = [job.intent.tag for job in jobs if not job.job]
        if in_doubt:  # the scheduler may have taken them: it knows them by the tag
            for tag, job_id in executor.find(in_doubt).items():
                self.note_submitted(tag, job_id)
        tags = {job.job: job.intent.tag for job in jobs if job.job}
        statuses = executor.poll(list(tags)) if tags else {}
        return {tags[job_id]: status for job_id, status in statuses.items()}

    # What goes on record

    def note_submitted(self, tag: str, job_id: str) -> None:
        """Take note that the scheduler has a job, under which id."""
        record = Submitted(tag, job_id, self._dispatch.clock.now())
        self._dispatch.write(record)
        self._dispatch.replay.fold([record])

    def end(self, job: JobState, state: str) -> None:
        """Take note that nothing of a job is in the queue any more."""
        record = Ended(job.intent.tag, state, self._dispatch.clock.now())
        self._dispatch.write(record)
        self._dispatch.replay.end(record.tag, state)

    def say_waiting(self, tag: str, reason: str) -> None:
        """Take note of why a job, a task's elements or (tag "") the run waits; "": no longer."""
        record = Waiting(tag, reason, self._dispatch.clock.now())
        self._dispatch.write(record)
        self._dispatch.replay.wait(record)

    # What ends jobs

    def cancel(self, jobs: Iterable[JobState]) -> None:
        """Take jobs out of the queue; raises `ExecutorError` after all executors were asked."""
        failures = []
        for _, executor, group in self._by_place(jobs):
            try:
                executor.cancel([job.job for job in group if job.job])
            except ExecutorError as error:
                failures.append(error)  # the other executors cancel their jobs all the same
        if failures:
            raise failures[-1]


def number_of(job: JobState) -> int:
    """Return the number of a job among the intents of its run."""
    return int(job.intent.tag.rsplit(".", 2)[1])
