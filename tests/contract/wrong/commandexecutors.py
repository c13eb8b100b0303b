"""Executors that call commands, wrong in one way each; `case` is what must catch it."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from attrs import evolve

sys.path.insert(0, str(Path(__file__).parents[2]))

from schedulers.contract import SchedulerContract

from reflow.errors import ExecutorError, SchedulerUnreachableError
from reflow.executors.base import ENDED, JobRequest, JobStatus
from reflow.executors.command import Completed
from reflow_slurm.executor import SlurmExecutor


class Contract(SchedulerContract):
    entry = "slurm"
    native = {"nice": "100"}  # noqa: RUF012
    own = {"job-name": "x"}  # noqa: RUF012

    def unknown_job(self, number: int) -> str:
        return str(67_000_000 + number)


class TestRight(Contract):
    pass


class TestAsksForEach(Contract):
    case = "test_many_are_asked_for_in_a_few_calls[simulated-500]"

    class executor(SlurmExecutor):
        def poll(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
            statuses: dict[str, JobStatus] = {}
            for job in sorted(jobs)[-20:]:
                statuses.update(super().poll([job]))
            return {**super().poll(jobs), **statuses}


class TestLooksForEach(Contract):
    case = "test_many_tags_are_looked_for_in_a_few_calls"

    class executor(SlurmExecutor):
        def find(self, tags: Collection[str]) -> Mapping[str, str]:
            jobs: dict[str, str] = {}
            for tag in sorted(tags)[-20:]:
                jobs.update(super().find([tag]))
            return jobs


class TestCancelsEach(Contract):
    case = "test_many_are_cancelled_in_a_few_calls"

    class executor(SlurmExecutor):
        def cancel(self, jobs: Collection[str]) -> None:
            for job in sorted(jobs)[:20]:
                super().cancel([job])


class TestAsksForNothing(Contract):
    case = "test_asking_for_nothing_asks_nobody"

    class executor(SlurmExecutor):
        def poll(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
            self._ask()
            return super().poll(jobs)


class TestRendersTheTime(Contract):
    case = "test_rendering_is_deterministic"

    class executor(SlurmExecutor):
        def arguments(self, request: JobRequest) -> list[str]:
            return super().arguments(evolve(request, name=f"{request.name} {time.time()}"))


class TestRendersByChance(Contract):
    case = "test_rendering_is_deterministic"

    class executor(SlurmExecutor):
        def arguments(self, request: JobRequest) -> list[str]:
            program, *options, script = super().arguments(request)
            return [program, *set(options), script]


class TestLeavesCommandsToPath(Contract):
    case = "test_located_it_needs_no_path"

    class executor(SlurmExecutor):
        def located(self) -> SlurmExecutor:
            return self


class TestChecksNothing(Contract):
    case = "test_a_command_that_is_missing_is_named"

    class executor(SlurmExecutor):
        def check(self) -> None:
            pass


class TestDropsOptions(Contract):
    case = "test_options_of_the_scheduler_are_taken"

    class executor(SlurmExecutor):
        def arguments(self, request: JobRequest) -> list[str]:
            return super().arguments(
                evolve(request, resources=evolve(request.resources, native={}))
            )


class TestTakesOptionsOfItsOwn(Contract):
    case = "test_options_that_it_sets_itself_are_refused"

    class executor(SlurmExecutor):
        def arguments(self, request: JobRequest) -> list[str]:
            native = {k: v for k, v in request.resources.native.items() if k != "job-name"}
            return super().arguments(
                evolve(request, resources=evolve(request.resources, native=native))
            )


class TestTakesAnyWordForAnId(Contract):
    case = "test_what_is_no_answer_is_no_end[simulated-other words]"

    class executor(SlurmExecutor):
        def read_job_id(self, done: Completed) -> str:
            return done.out.strip() or "0"


class TestSilenceIsRefusal(Contract):
    case = "test_no_answer_to_a_submission_leaves_it_in_doubt"

    class executor(SlurmExecutor):
        def read_job_id(self, done: Completed) -> str:
            try:
                return super().read_job_id(done)
            except ValueError as error:
                raise ExecutorError(str(error)) from error


class TestWhatIsNotListedIsDone(Contract):
    case = "test_what_is_no_answer_is_no_end[simulated-nothing]"

    class executor(SlurmExecutor):
        def poll(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
            return {**dict.fromkeys(jobs, JobStatus(state=ENDED)), **super().poll(jobs)}


class TestSubmitsAgain(Contract):
    case = "test_a_submission_in_doubt_is_found_and_not_doubled[simulated-1]"

    class executor(SlurmExecutor):
        def submit(self, request: JobRequest) -> str:
            try:
                return super().submit(request)
            except SchedulerUnreachableError:
                return super().submit(request)


class TestFindsNothing(Contract):
    case = "test_a_submission_that_takes_too_long_is_found_and_not_doubled"
    patience = 3.0

    class executor(SlurmExecutor):
        def find(self, tags: Collection[str]) -> Mapping[str, str]:
            return {}


class TestHasNoLimit(Contract):
    case = "test_max_submit_jobs"

    class executor(SlurmExecutor):
        def keep_within_limit(self, request: JobRequest) -> None:
            pass


class TestHoldsEverythingBack(Contract):
    case = "test_max_submit_jobs"

    class executor(SlurmExecutor):
        def keep_within_limit(self, request: JobRequest) -> None:
            super().keep_within_limit(evolve(request, auxiliary=False))
