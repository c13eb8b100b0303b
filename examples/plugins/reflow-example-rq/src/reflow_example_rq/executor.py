"""The executor "rq"."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import ClassVar

from attrs import field, frozen
from redis import Redis
from redis.exceptions import ConnectionError, TimeoutError
from rq import Queue
from rq.exceptions import InvalidJobOperation
from rq.job import Dependency, Job
from rq.job import JobStatus as Status
from rq.registry import ReadyJobRegistry

from reflow.errors import ExecutorError, SchedulerUnreachableError, SubmissionRefusedError
from reflow.executors.base import ENDED, LIVE, Capabilities, Executor, JobRequest, JobStatus
from reflow.states import CANCELLED, NODE_FAIL, UNKNOWN

from .work import CANCEL

KEPT = 7 * 24 * 3600
"""How many seconds RQ remembers jobs that have ended."""

WAITING = (
    Status.QUEUED, Status.DEFERRED, Status.SCHEDULED, Status.CREATED, Status.READY_TO_ENQUEUE,
)  # fmt: skip


@frozen(kw_only=True)
class RQExecutor(Executor):
    """Runs jobs on the workers of an RQ queue, which see the files of the run.

    `url` is where Redis is, `queue` what the workers of tasks that name no other listen to.
    Start workers with ``rq worker --with-scheduler``, where this package is installed.
    """

    name: ClassVar[str] = "rq"

    url: str = field(default="redis://localhost:6379", metadata={"help": "Where Redis is."})
    queue: str = field(default="default", metadata={"help": "The queue of tasks that name none."})

    @property
    def capabilities(self) -> Capabilities:
        """RQ has no arrays: each element is a job."""
        return Capabilities(job_variable="RQ_JOB_ID", max_array_size=1, begin=True)

    @contextmanager
    def _redis(self) -> Iterator[Redis]:
        try:
            with Redis.from_url(self.url, socket_timeout=30, socket_connect_timeout=10) as made:
                yield made
        except (ConnectionError, TimeoutError) as error:
            raise SchedulerUnreachableError(f"RQ's Redis at {self.url}: {error}") from error

    def check(self) -> None:
        """Raise `ExecutorError` where the URL is not one of a Redis."""
        try:
            Redis.from_url(self.url)
        except ValueError as error:
            raise ExecutorError(f"executor 'rq': url = {self.url!r}: {error}") from error

    def submit(self, request: JobRequest) -> str:
        """Enqueue a call of `work.run`, behind what is still under way of `request.after`."""
        wants = request.resources
        if request.size != 1 or wants.gpus or wants.nodes != 1 or wants.native:
            raise SubmissionRefusedError(
                f"rq runs job {request.name!r} on one worker: it knows no arrays, gpus, nodes "
                f"and native options ({', '.join(wants.native) or 'none given'}); leave them out"
            )
        log = request.log.replace("{position}", "0")
        work = ("reflow_example_rq.work.run", request.script, request.directory, log, wants.time)
        with self._redis() as redis:
            queue = Queue(wants.queue or self.queue, connection=redis)
            # What has ended, or is not known any more, need not be waited for.
            behind = [job.id for job in _fetch(request.after, redis) if _status(job).state == LIVE]
            options = {
                "job_id": job_id(request.tag), "job_timeout": -1, "description": request.name,
                "result_ttl": KEPT, "failure_ttl": KEPT,
                "depends_on": Dependency(jobs=behind, allow_failure=True) if behind else None,
            }  # fmt: skip
            if request.begin:
                queue.enqueue_in(timedelta(seconds=request.begin), *work, **options)
            else:
                queue.enqueue(*work, **options)
        return job_id(request.tag)

    def poll(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
        """Ask Redis once for all; what it has forgotten is absent.

        What has nothing left to wait for, and yet is in no queue, is put into its queue: RQ 3.0
        leaves a job like that for its workers' next cleaning, up to ten minutes later, where two
        jobs of a queue become ready in the same moment.
        """
        with self._redis() as redis:
            fetched = _fetch(jobs, redis)
            ready: dict[str, list[str]] = {}
            for job in fetched:
                if job.get_status(refresh=False) == Status.READY_TO_ENQUEUE:
                    ready.setdefault(job.origin, []).append(job.id)
            for queue, ids in ready.items():
                ReadyJobRegistry(queue, connection=redis).enqueue_jobs(ids)
            return {job.id: _status(job) for job in fetched}

    def find(self, tags: Collection[str]) -> Mapping[str, str]:
        """A job's id follows from its tag: see which are there."""
        ids = {job_id(tag): tag for tag in tags}
        return {ids[job]: job for job in self.poll(ids)}

    def cancel(self, jobs: Collection[str]) -> None:
        """Tell the workers to end what runs, and take out of the queue what waits."""
        with self._redis() as redis:
            for job in _fetch(jobs, redis):
                if _status(job).state == ENDED:
                    continue
                redis.set(CANCEL.format(job.id), 1, ex=KEPT)
                if job.get_status() in WAITING:
                    # What waits for it and for others waits for those alone from now on.
                    for dependent in job.dependent_ids:
                        redis.srem(Job(dependent, connection=redis).dependencies_key, job.id)
                    try:
                        job.cancel(enqueue_dependents=True)
                    except InvalidJobOperation:
                        continue  # another process was quicker


def job_id(tag: str) -> str:
    """Return the id of a tag's job: RQ takes letters and digits."""
    return hashlib.sha256(tag.encode()).hexdigest()


def _fetch(jobs: Collection[str], redis: Redis) -> list[Job]:
    return [job for job in Job.fetch_many(jobs, redis) if job is not None] if jobs else []


def _status(job: Job) -> JobStatus:
    status = job.get_status(refresh=False)
    ended = job.meta.get("ended")
    if ended is not None:
        code, cause = ended
        word, _, reason = cause.partition(" ")
        return JobStatus(
            state=ENDED, cause=word, reason=reason, exit_code=max(code, 0),
            signal=-code if code < 0 else None, raw=str(status),
        )  # fmt: skip
    if status in WAITING or status == Status.STARTED:
        return JobStatus(state=LIVE, running=status == Status.STARTED, raw=str(status))
    if status in (Status.CANCELED, Status.STOPPED):
        return JobStatus(state=ENDED, cause=CANCELLED, raw=str(status))
    # The script notes how it ended; where that is missing, its worker did not live to see it.
    cause = NODE_FAIL if status == Status.FAILED else UNKNOWN
    return JobStatus(
        state=ENDED, cause=cause, reason=f"RQ says {status}: did its worker die?", raw=str(status)
    )
