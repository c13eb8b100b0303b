"""From elements that can run to the jobs that run them: in parts, ahead of time, within limits."""

from __future__ import annotations

from collections.abc import Sequence

from ...caching.identity import identity_parts
from ...caching.prior_results import write_prior_results
from ...caching.reuse import checks_of
from ...errors import (
    CommandMissingError,
    ExecutorError,
    SubmissionForbiddenError,
    SubmissionLimitError,
    SubmissionRefusedError,
)
from ...executors.job_script import Scripts
from ...model.entrypoint import is_editable
from ...model.spec import Resources, TaskSpec
from ...states import ERROR, FAILED
from ...storage.claims import JobHeader, Position, make_folders, write_job
from ...storage.events import Intent
from ...values.codec import unstructure
from ..dispatcher import Dispatch
from ..lookahead import Ahead, ahead, awaited, is_static, position_items
from ..replay import NOT_TAKEN
from ..task_call import ALL_FILES, Work
from .attempts import Attempts
from .jobs import DISPATCH, WORKER, Jobs
from .submitter import Submitter

BESIDE_MEMORY = 1 << 30
"""A job that asks for so many bytes or more has room for a second interpreter."""

MOST_ELEMENTS = 1_000_000
"""The most elements of one job where the scheduler itself has no limit."""


class WorkerJobs:
    """Submits the elements of a run as jobs."""

    def __init__(
        self,
        dispatch: Dispatch,
        jobs: Jobs,
        attempts: Attempts,
        scripts: Scripts,
        submitter: Submitter,
    ) -> None:
        self._dispatch = dispatch
        self._jobs = jobs
        self._attempts = attempts
        self._scripts = scripts
        self._submitter = submitter
        self._results_files: dict[str, str] = {}
        self.refused: dict[str, None] = {}
        """What the scheduler said of jobs that it will never take; a set that keeps its order."""

    # What can run

    def submit(self, works: Sequence[Work]) -> bool:
        """Submit elements that can run; False where some of them are left to a later pass."""
        tasks = self._dispatch.progress.tasks
        # Elements that are tried again ask for more memory or time, so they get their own jobs.
        groups: dict[tuple[str, tuple[str, ...]], list[Work]] = {}
        for work in works:
            causes = tasks[work.task].causes.get(work.index, ())
            groups.setdefault((work.task, causes), []).append(work)
        return all(
            self._submit_group(task, group, causes) for (task, causes), group in groups.items()
        )

    def _submit_group(self, task: str, group: Sequence[Work], causes: Sequence[str]) -> bool:
        """Submit elements of one task that ask for the same, in as many jobs as it takes."""
        jobs = self._jobs
        make_folders(self._dispatch.files, self._dispatch.record.folder, task)
        start, waits_for = 0, jobs.waits_for
        while start < len(group):
            part = group[start : start + self._next_size(task)]
            if self._submit_part(task, part, causes):
                start += len(part)
                continue
            met_limit = next(jobs.of_task(task)).not_taken
            if len(part) == 1 or self._submitter.barred or not met_limit:
                return False
            jobs.waits_for = waits_for  # half of the part may find room
        return True

    @property
    def _largest_size(self) -> int:
        return self._jobs.executor.capabilities.max_array_size or MOST_ELEMENTS

    def _next_size(self, task: str) -> int:
        """Return the most elements that the next job of a task may have.

        After a job that met a limit it is half of that one's, and then twice as many for each
        job that was taken since: an array as large as the first might never be taken.
        """
        for taken, job in enumerate(self._jobs.of_task(task)):
            if job.not_taken:
                half = max(1, len(job.intent.indices) // 2)
                return min(self._largest_size, half << min(taken, 20))
        return self._largest_size

    def _submit_part(self, task: str, works: Sequence[Work], causes: Sequence[str]) -> bool:
        state = self._dispatch.progress.tasks[task]
        inputs, spec = self._dispatch.inputs(state), state.spec
        header = self._header(spec).changed(common=inputs.common, stamps=inputs.common_stamps)
        positions = [
            Position(work.index, work.attempt, work.identity, work.texts, {}, work.stamps)
            for work in works
        ]
        resources = spec.resources
        if spec.retry is not None:
            resources = spec.retry.resources(resources, causes)
        return self._submit_job(header, positions, resources)

    # What can be queued behind the jobs under way

    def look_ahead(self) -> None:
        """Queue elements behind the jobs that they wait for, and others behind these."""
        more = True
        while more:
            candidates = self._candidates()
            more = bool(candidates)
            if not all(map(self._queue, candidates)):
                return

    def _candidates(self) -> list[Ahead]:
        """Return the elements that can be queued behind jobs that the scheduler has."""
        jobs, capabilities = self._dispatch.replay.jobs, self._jobs.executor.capabilities
        limit = capabilities.max_dependencies
        maps = {tag: job.intent.indices for tag, job in jobs.items()}
        candidates = []
        for candidate in ahead(
            self._dispatch.progress, maps, elementwise=capabilities.elementwise
        ):
            tags = (*candidate.after, candidate.each) if candidate.each else candidate.after
            in_queue = all(jobs[tag].job and jobs[tag].place == self._jobs.here for tag in tags)
            if in_queue and (limit is None or len(tags) <= limit):
                candidates.append(candidate)
        return candidates

    def _queue(self, candidate: Ahead) -> bool:
        """Submit the jobs of elements that are queued ahead; False where not all were taken."""
        make_folders(
            self._dispatch.files, self._dispatch.record.folder, candidate.state.spec.name
        )
        indices, size = candidate.indices, self._largest_size
        return all(
            self._submit_ahead(candidate, indices[start : start + size])
            for start in range(0, len(indices), size)
        )

    def _submit_ahead(self, candidate: Ahead, indices: Sequence[int]) -> bool:
        dispatch, state = self._dispatch, candidate.state
        spec, progress, values = state.spec, dispatch.progress, dispatch.values
        positions = []
        for index in indices:
            items = position_items(progress, values, state, index)
            positions.append(Position(index, state.tries.get(index, 0) + 1, "", {}, items))
        header = self._header(spec).changed(awaited=awaited(progress, values, state))
        # A path without a fingerprint that this run made reads like that of an older file, so
        # results of older runs do not stand behind it.
        if not any(above.made_files() for above in (*state.chains, *state.barriers)):
            header = header.changed(known=self._results_file(spec))
        dispatch.reservations.ahead(spec.name, indices)
        jobs = dispatch.replay.jobs
        return self._submit_job(
            header, positions, spec.resources,
            after=[jobs[tag].job for tag in candidate.after],
            after_each=jobs[candidate.each].job if candidate.each else "",
        )  # fmt: skip

    def _results_file(self, spec: TaskSpec) -> str:
        """Write the results of older runs into a file for workers; return its name, "" for none.

        An element that is queued ahead has an identity only once its inputs are there, so its
        worker looks it up.
        """
        if spec.name not in self._results_files:
            name, folder = f"known/{spec.name}", self._dispatch.record.folder
            results = self._dispatch.older_results(spec)
            if results:
                self._dispatch.files.make_folder(f"{folder}/known")
                write_prior_results(self._dispatch.files, f"{folder}/{name}", results)
            self._results_files[spec.name] = name if results else ""
        return self._results_files[spec.name]

    # One job

    def _header(self, spec: TaskSpec) -> JobHeader:
        """Return what all workers of a task read, but for their inputs."""
        dispatch = self._dispatch
        request = dispatch.request
        return JobHeader(
            task=spec.name,
            epoch=dispatch.replay.epoch,
            identity=identity_parts(spec),
            order=[(wire.parameter, wire.each) for wire in spec.wires],
            entrypoint=unstructure(request.entrypoint),
            serializers=unstructure(request.spec.serializers),
            on_code_change=request.options.on_code_change,
            editable=is_editable(request.entrypoint),
            files=spec.files,
            check=checks_of(request.spec, spec)._asdict() if request.options.verify else None,
            common={},
            sources=spec.sources,
            stood=spec.stood,
            result_files=ALL_FILES if request.spec.needs_fingerprints(spec) else spec.files,
        )

    def _submit_job(
        self,
        header: JobHeader,
        positions: Sequence[Position],
        resources: Resources,
        *,
        after: Sequence[str] = (),
        after_each: str = "",
    ) -> bool:
        """Submit a job with these positions; False where nothing else can be submitted now."""
        dispatch, jobs = self._dispatch, self._jobs
        spec = dispatch.progress.tasks[header.task].spec
        tag, size = self._submitter.tag(WORKER), len(positions)
        write_job(dispatch.files, dispatch.record.jobs, tag, header, positions)
        intent = Intent(
            tag,
            WORKER,
            spec.name,
            tuple([position.index for position in positions]),
            tuple([position.attempt for position in positions]),
            dispatch.clock.now(),
        )
        may_pass, unblocks = self._may_run_pass(size, resources), self._unblocks(spec.name)
        text = self._script(intent, resources, tail=may_pass and unblocks)
        try:
            taken = self._submitter.submit(
                intent, spec.name, text, size=size, resources=resources,
                throttle=spec.array_parallelism, after_each=after_each,
                after=[*after, *self._jobs_before(spec, size)],
            )  # fmt: skip
        except (SubmissionLimitError, SubmissionRefusedError, CommandMissingError) as error:
            return self._take_refusal(intent, error)
        if taken and unblocks and not may_pass and jobs.executor.capabilities.max_dependencies != 0:
            # The scheduler counts the elements of an array: they do not count one another.
            self._submitter.submit_auxiliary(DISPATCH, [dispatch.replay.jobs[tag].job], 0.0)
        self._hold_back(spec.name, "" if taken else jobs.waits_for)
        return taken

    def _script(self, intent: Intent, resources: Resources, *, tail: bool) -> str:
        """Return the script of a worker job; `tail`: it submits what its result unblocks.

        Where there is memory for two, that is done by a process that gets ready while the worker
        is at work.
        """
        beside = tail and (resources.mem is None or resources.mem >= BESIDE_MEMORY)
        size = len(intent.indices)
        return self._scripts.worker(self._jobs.executor, intent, size, tail=tail, beside=beside)

    def _may_run_pass(self, size: int, resources: Resources) -> bool:
        """Whether a job's script may run the next pass after its worker.

        Not where many nodes or GPUs would be idle meanwhile, nor where jobs may not submit others.
        """
        lean = size == 1 and resources.nodes == 1 and not resources.gpus
        return lean and WORKER not in self._dispatch.replay.barred

    def _unblocks(self, task: str) -> bool:
        """Whether a task's end leads to something that only a dispatch pass can do.

        That is so of the last tasks of a run, and where anything below cannot be queued ahead.
        """
        tasks = self._dispatch.progress.tasks
        below = tasks[task].downstream
        specs = {name: state.spec for name, state in tasks.items()}
        return not below or not all(is_static(state.spec, specs) for state in below)

    def _jobs_before(self, spec: TaskSpec, size: int) -> list[str]:
        """Return the jobs of the same task that must end before one of `size` elements starts.

        The scheduler keeps to `array_parallelism` within a job, and this over all jobs.
        """
        most, capabilities = spec.array_parallelism, self._jobs.executor.capabilities
        if most is None or not capabilities.throttle or capabilities.max_dependencies == 0:
            return []
        in_hand = {
            job.job: len(self._attempts.in_hand(job, most))
            for job in self._jobs.queued_workers(spec.name)
        }
        others = [job for job, elements in in_hand.items() if elements]
        if sum(in_hand.values()) + min(most, size) <= most:
            return []
        return others[-(capabilities.max_dependencies or len(others)) :]

    # What keeps a job out

    def _take_refusal(self, intent: Intent, error: ExecutorError) -> bool:
        """Take note that a job was not taken; False where no other will be, for now."""
        jobs = self._jobs
        job = self._dispatch.replay.jobs[intent.tag]
        if isinstance(error, SubmissionLimitError):
            jobs.end(job, NOT_TAKEN)
            self._hold_back(intent.task, str(error))
            jobs.waits_for = "the scheduler takes no more jobs of this user for now"
            return False
        missing = isinstance(error, CommandMissingError)
        if missing or (jobs.own_role and isinstance(error, SubmissionForbiddenError)):
            jobs.end(job, NOT_TAKEN)
            if not jobs.own_role:
                raise error
            self._submitter.bar(str(error))
            return False
        # The scheduler will never take it: its elements have failed, with the scheduler's words.
        self.refused[f"task {intent.task!r}: {error}"] = None
        for index, attempt in zip(intent.indices, intent.attempts):  # noqa: B905 (equal by make)
            self._attempts.conclude(
                intent.task, index, attempt, FAILED, ERROR, str(error), intent.tag
            )
        jobs.end(job, FAILED)
        return True

    def _hold_back(self, task: str, reason: str) -> None:
        """Take note of why elements of a task cannot be submitted; "" where they can."""
        if reason != self._dispatch.replay.held_back.get(task, ""):
            self._jobs.say_waiting(task, reason)
