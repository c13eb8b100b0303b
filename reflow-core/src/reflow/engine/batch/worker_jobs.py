"""From what can run to jobs whose positions run it: in parts, ahead of time, within limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...caching.identity import identity_parts
from ...caching.prior_results import write_known
from ...caching.reuse import checks_of
from ...errors import (
    CommandMissingError,
    ExecutorError,
    SubmissionForbiddenError,
    SubmissionLimitError,
    SubmissionRefusedError,
)
from ...model.entrypoint import is_editable
from ...model.spec import Resources, TaskSpec
from ...states import ERROR, FAILED
from ...storage.claims import make_folders, write_job
from ...storage.events import Intent
from ...values.codec import unstructure
from ..dispatcher import Dispatch
from ..lookahead import Ahead, ahead, awaited, is_static, position_items
from ..replay import NOT_TAKEN
from ..task_call import Work
from .attempts import Attempts
from .job_script import Scripts
from .jobs import DISPATCH, WORKER, Jobs
from .submitter import Submitter

BESIDE_MEMORY = 1 << 30
"""Bytes a job asks for, at least, in which a second interpreter beside its worker is no matter."""

MOST_ELEMENTS = 1_000_000
"""The elements of one job, at most, where the scheduler has no limit of its own."""


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
        self._looked_up: dict[str, str] = {}
        self.refused: dict[str, None] = {}  # a set in order

    # What can run

    def submit(self, works: Sequence[Work]) -> bool:
        """Submit what can run; False where the rest is left to a later pass."""
        jobs = self._jobs
        # Elements that are tried again with more memory or time are jobs of their own.
        alike: dict[tuple[str, tuple[str, ...]], list[Work]] = {}
        for work in works:
            causes = self._dispatch.progress.tasks[work.task].causes.get(work.index, ())
            alike.setdefault((work.task, causes), []).append(work)
        for (name, causes), group in alike.items():
            make_folders(self._dispatch.files, self._dispatch.record.folder, name)
            start, waits_for = 0, jobs.waits_for
            while start < len(group):
                part = group[start : start + self._size(name)]
                if self._submit_part(name, part, causes):
                    start += len(part)
                elif len(part) == 1 or self._submitter.barred or (
                    not next(jobs.of_task(name)).not_taken
                ):
                    return False
                else:
                    jobs.waits_for = waits_for  # half of it may find room
        return True

    @property
    def _most(self) -> int:
        return self._jobs.executor.capabilities.max_array_size or MOST_ELEMENTS

    def _size(self, name: str) -> int:
        """Return the most elements that the next job of a task is to have.

        After one that a limit has kept out, half of that, and from then on twice as many each
        time: whole, it might never be taken.
        """
        for taken, job in enumerate(self._jobs.of_task(name)):
            if job.not_taken:
                half = max(1, len(job.intent.indices) // 2)
                return min(self._most, half << min(taken, 20))
        return self._most

    def _submit_part(self, name: str, works: Sequence[Work], causes: Sequence[str]) -> bool:
        state = self._dispatch.progress.tasks[name]
        inputs, spec = self._dispatch.inputs(state), state.spec
        header = {"common": inputs.common, "stamps": inputs.common_stamps}
        rows: list[tuple[Any, ...]] = [
            (work.index, work.attempt, work.identity, work.texts, {}, work.stamps)
            for work in works
        ]
        asked = spec.resources
        if spec.retry is not None:
            asked = spec.retry.resources(asked, causes)
        return self._submit_job(name, header, rows, asked)

    # What can be queued behind what is under way

    def look_ahead(self) -> None:
        """Queue what can be queued behind the jobs that are under way."""
        dispatch, capabilities = self._dispatch, self._jobs.executor.capabilities
        progress, jobs = dispatch.progress, dispatch.ledger.jobs
        elementwise, limit = capabilities.elementwise, capabilities.max_dependencies
        size, here = self._most, self._jobs.here
        moved = True
        while moved:
            moved = False
            maps = {tag: job.intent.indices for tag, job in jobs.items()}
            for one in list(ahead(progress, maps, elementwise=elementwise)):
                tags = (*one.after, one.each) if one.each else one.after
                if limit is not None and len(tags) > limit:
                    continue
                if not all(jobs[tag].job and jobs[tag].place == here for tag in tags):
                    continue
                make_folders(dispatch.files, dispatch.record.folder, one.state.spec.name)
                for start in range(0, len(one.indices), size):
                    if not self._submit_ahead(one, one.indices[start : start + size]):
                        return
                moved = True

    def _submit_ahead(self, one: Ahead, indices: Sequence[int]) -> bool:
        dispatch = self._dispatch
        state, progress, values = one.state, dispatch.progress, dispatch.values
        rows: list[tuple[Any, ...]] = []
        for index in indices:
            items = position_items(progress, values, state, index)
            rows.append((index, state.tries.get(index, 0) + 1, "", {}, items))
        jobs = dispatch.ledger.jobs
        header = {
            "common": {},
            "awaited": awaited(progress, values, state),
            # Paths without fingerprints, made in this run, may read as those of older ones.
            "known": "" if any(one.made_files() for one in (*state.chains, *state.barriers))
            else self._known(state.spec),
        }  # fmt: skip
        dispatch.reservations.ahead(state.spec.name, indices)
        return self._submit_job(
            state.spec.name,
            header,
            rows,
            state.spec.resources,
            after=[jobs[tag].job for tag in one.after],
            after_each=jobs[one.each].job if one.each else "",
        )

    def _known(self, spec: TaskSpec) -> str:
        """Leave the results of older runs for workers to look theirs up in; "" for none.

        What is queued ahead has an identity only once its inputs are there.
        """
        place, folder = f"known/{spec.name}", self._dispatch.record.folder
        if spec.name not in self._looked_up:
            found = self._dispatch.older_results(spec)
            if found:
                self._dispatch.files.make_folder(f"{folder}/known")
                write_known(self._dispatch.files, f"{folder}/{place}", found)
            self._looked_up[spec.name] = place if found else ""
        return self._looked_up[spec.name]

    # One job

    def _submit_job(
        self,
        name: str,
        header: Mapping[str, Any],
        rows: Sequence[tuple[Any, ...]],
        resources: Resources,
        *,
        after: Sequence[str] = (),
        after_each: str = "",
    ) -> bool:
        """Submit a job whose position p runs the (index, attempt, …) of row p."""
        dispatch, jobs = self._dispatch, self._jobs
        spec = dispatch.progress.tasks[name].spec
        tag, size = self._submitter.tag(WORKER), len(rows)
        shared = {
            "task": name,
            "epoch": dispatch.ledger.epoch,
            "identity": identity_parts(spec),
            "order": [[wire.parameter, wire.each] for wire in spec.wires],
            "sources": spec.sources,
            "editable": is_editable(dispatch.request.entrypoint),
            "on_code_change": dispatch.request.options.on_code_change,
            "files": spec.files,
            "stood": spec.stood,
            "check": self._check(spec),
            "serializers": unstructure(dispatch.request.spec.serializers),
            "entrypoint": unstructure(dispatch.request.entrypoint),
            **header,
        }
        write_job(dispatch.files, dispatch.record.jobs, tag, shared, rows)
        intent = Intent(
            tag,
            WORKER,
            name,
            tuple(row[0] for row in rows),
            tuple(row[1] for row in rows),
            dispatch.clock.now(),
        )
        has_tail = self._has_tail(size, resources)
        # What this result unblocks is submitted at once, and by a process that has got ready
        # meanwhile, where there is memory for two.
        tail = has_tail and self._unblocks(name)
        beside = tail and (resources.mem is None or resources.mem >= BESIDE_MEMORY)
        text = self._scripts.worker(jobs.executor, intent, size, tail=tail, beside=beside)
        try:
            taken = self._submitter.submit(
                intent, name, text, size=size, resources=resources,
                throttle=spec.array_parallelism, after_each=after_each,
                after=[*after, *self._ahead_of(spec, size)],
            )  # fmt: skip
            waits = jobs.executor.capabilities.max_dependencies != 0
            if taken and waits and not has_tail and self._unblocks(name):
                # Of an array the scheduler counts the elements, not the elements each other.
                self._submitter.submit_auxiliary(DISPATCH, [dispatch.ledger.jobs[tag].job], 0.0)
            self._hold_back(name, "" if taken else jobs.waits_for)
            return taken
        except SubmissionLimitError as error:
            jobs.end(dispatch.ledger.jobs[tag], NOT_TAKEN)
            self._hold_back(name, str(error))
            jobs.waits_for = "the scheduler takes no more jobs of this user for now"
            return False
        except (SubmissionForbiddenError, CommandMissingError) as error:
            if jobs.own_role or isinstance(error, CommandMissingError):
                jobs.end(dispatch.ledger.jobs[tag], NOT_TAKEN)
                if not jobs.own_role:
                    raise
                self._submitter.bar(str(error))
                return False
            self._refuse(name, rows, tag, error)
        except SubmissionRefusedError as error:
            self._refuse(name, rows, tag, error)
        return True

    def _check(self, spec: TaskSpec) -> dict[str, Any] | None:
        """Return by what a worker judges an older result; None: by nothing."""
        if not self._dispatch.request.options.verify:
            return None
        return checks_of(self._dispatch.request.spec, spec)._asdict()

    def _has_tail(self, size: int, resources: Resources) -> bool:
        """Whether a job's script may run the next pass itself, after its worker.

        Not what keeps many nodes or GPUs idle meanwhile, nor where jobs may not submit others.
        """
        lean = size == 1 and resources.nodes == 1 and not resources.gpus
        return lean and WORKER not in self._dispatch.ledger.barred

    def _unblocks(self, name: str) -> bool:
        """Whether a task's end leads on to something that only a dispatch pass can do.

        That is so of the last tasks of a run, and where anything below cannot be queued ahead.
        """
        state = self._dispatch.progress.tasks[name]
        specs = {one.spec.name: one.spec for one in self._dispatch.progress.tasks.values()}
        return not all(is_static(below.spec, specs) for below in state.downstream) or (
            not state.downstream
        )

    def _ahead_of(self, spec: TaskSpec, size: int) -> list[str]:
        """Return the jobs that one of `size` elements of the same task must let end first.

        The scheduler keeps to `array_parallelism` in each job; this keeps to it over all of them.
        """
        most, capabilities = spec.array_parallelism, self._jobs.executor.capabilities
        if most is None or not capabilities.throttle or capabilities.max_dependencies == 0:
            return []
        others = {
            job.job: len(elements)
            for job in self._jobs.live(WORKER)
            if job.intent.task == spec.name and job.job and job.place == self._jobs.here
            and (elements := self._attempts.in_hand(job, most))
        }  # fmt: skip
        if sum(others.values()) + min(most, size) <= most:
            return []
        return list(others)[-(capabilities.max_dependencies or len(others)) :]

    # What keeps one out

    def _hold_back(self, task: str, reason: str) -> None:
        """Take note of why elements of a task cannot be submitted; "" where they can."""
        if reason != self._dispatch.ledger.held_back.get(task, ""):
            self._jobs.say_waiting(task, reason)

    def _refuse(
        self, name: str, rows: Sequence[tuple[Any, ...]], tag: str, error: ExecutorError
    ) -> None:
        """What the scheduler will never take has failed, with its words."""
        self.refused[f"task {name!r}: {error}"] = None
        for row in rows:
            self._attempts.conclude(name, row[0], row[1], FAILED, ERROR, str(error), tag)
        self._jobs.end(self._dispatch.ledger.jobs[tag], FAILED)
