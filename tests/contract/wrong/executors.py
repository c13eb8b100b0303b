"""Executors that are wrong in one way each; `case` is what must catch it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
from attrs import evolve, frozen

sys.path.insert(0, str(Path(__file__).parents[2]))

from contract.spool import SpoolExecutor, stop

from reflow.errors import SchedulerUnreachableError, SubmissionLimitError, SubmissionRefusedError
from reflow.executors.base import ENDED, Capabilities, JobRequest, JobStatus
from reflow.testing import ExecutorContract


class Contract(ExecutorContract):
    executor = SpoolExecutor
    time_limit = 1
    patience = 2.0  # short: with the wrong executors some waits never end
    spool: Path

    @pytest.fixture
    def scheduler(self, tmp_path: Path) -> Iterator[None]:
        self.spool = tmp_path / "spool"
        (self.spool / "jobs").mkdir(parents=True)
        self.settings = {"spool": str(self.spool)}
        yield
        stop(self.spool)

    def unknown_job(self, number: int) -> str:
        return str(67_000_000 + number)

    def break_down(self) -> None:
        (self.spool / "down").touch()

    def repair(self) -> None:
        (self.spool / "down").unlink()

    def forget(self, job: str) -> None:
        SpoolExecutor(spool=str(self.spool)).forget(job)

    def beyond_limit(self) -> Mapping[str, Any]:
        (self.spool / "full").touch()
        return {}


class TestRight(Contract):
    patience = 60.0


class AlteredRequest(SpoolExecutor):
    """Tells its scheduler something else than the request says."""

    def described(self, request: JobRequest) -> dict[str, Any]:
        return {**super().described(request), **self.other(request)}

    def other(self, request: JobRequest) -> dict[str, Any]:
        return {}


class TestCanBeChanged(Contract):
    case = "test_it_is_a_frozen_attrs_class_with_a_name"

    @attrs.define(kw_only=True)
    class executor(SpoolExecutor.__base__):  # type: ignore[misc, name-defined]
        name = "mutable"
        spool: str = ""
        capabilities = submit = poll = find = cancel = None  # type: ignore[assignment]


class TestForgetsASetting(Contract):
    case = "test_settings_survive_on_record[0]"

    @frozen(kw_only=True)
    class executor(SpoolExecutor):
        parts: object = attrs.field(
            factory=tuple, converter=tuple
        )  # comes back as the text of a list
        samples: tuple[str, ...] = ()

        def __attrs_post_init__(self) -> None:
            object.__setattr__(self, "samples", (self.spool, *self.samples))


class TestCountsFromNought(Contract):
    case = "test_each_position_of_an_array_is_told_which"

    class executor(SpoolExecutor):
        @property
        def capabilities(self) -> Capabilities:
            return evolve(super().capabilities, first_index=0)


class TestLogsOfAllPositionsAreOne(Contract):
    case = "test_each_position_of_an_array_is_told_which"

    class executor(AlteredRequest):
        def other(self, request: JobRequest) -> dict[str, Any]:
            return {"log": request.log.replace("{position}", "0")}


class TestThrottlesNot(Contract):
    case = "test_a_throttle_holds_positions_back"

    class executor(AlteredRequest):
        def other(self, request: JobRequest) -> dict[str, Any]:
            return {"throttle": None}


class TestCutsLongArrays(Contract):
    case = "test_an_array_above_the_limit_is_refused_or_whole"

    class executor(SpoolExecutor):
        def submit(self, request: JobRequest) -> str:
            return super().submit(evolve(request, size=min(request.size, 200)))


class TestTellsOnlyOfTheWhole(Contract):
    case = "test_positions_are_told_apart"

    class executor(SpoolExecutor):
        def status(self, job: str) -> JobStatus | None:
            job_status = super().status(job)
            return job_status and evolve(job_status, positions={})


class TestStartsAtOnce(Contract):
    case = "test_it_waits_for_one_that_runs"

    class executor(AlteredRequest):
        def other(self, request: JobRequest) -> dict[str, Any]:
            return {"after": []}


class TestGivesNumbersToJobs(Contract):
    case = "test_what_it_adds_to_jobs_fits"

    class executor(SpoolExecutor):
        environment: ClassVar = {"THREADS": 4}


class TestIsAnotherEachTimeItIsLocated(Contract):
    case = "test_located_it_stays_what_it_is"

    class executor(SpoolExecutor):
        def located(self) -> Any:
            return evolve(self, spool=f"{self.spool}/.")


class TestWaitsForTheFirstOnly(Contract):
    case = "test_it_waits_for_all_of_several"

    class executor(AlteredRequest):
        def other(self, request: JobRequest) -> dict[str, Any]:
            return {"after": request.after[:1]}


class TestWaitsForASuccess(Contract):
    case = "test_behind_one_that_has_ended_it_runs[exit 3]"

    class executor(SpoolExecutor):
        def start(self, job: Path) -> None:
            statuses = [self.status(job_id) for job_id in self.after]
            if not any(status is not None and status.cause for status in statuses):
                super().start(job)

        after: tuple[str, ...] = ()

        def described(self, request: JobRequest) -> dict[str, Any]:
            type(self).after = request.after
            return super().described(request)


class TestWaitsForEverForTheUnknown(Contract):
    case = "test_behind_one_that_nobody_knows_it_runs"

    class executor(SpoolExecutor):
        def described(self, request: JobRequest) -> dict[str, Any]:
            unknown = [job for job in request.after if self.status(job) is None]
            return {**super().described(request), **({"begin": 1000} if unknown else {})}


class TestRefusesTheUnknown(Contract):
    case = "test_behind_one_that_the_scheduler_has_lost_it_runs"

    class executor(SpoolExecutor):
        def submit(self, request: JobRequest) -> str:
            if any(self.status(job) is None for job in request.after):
                raise SubmissionRefusedError("no such job")
            return super().submit(request)


class TestDropsWhatIsBehindACancelledJob(Contract):
    case = "test_behind_one_that_is_cancelled_it_runs"

    class executor(SpoolExecutor):
        def cancel(self, jobs: Collection[str]) -> None:
            after = [str(int(job) + 1) for job in jobs]
            super().cancel([*jobs, *after])


class TestWaitsForTheWholeArray(Contract):
    case = "test_position_by_position"

    class executor(AlteredRequest):
        def other(self, request: JobRequest) -> dict[str, Any]:
            each = [request.after_each] if request.after_each else []
            return {"after_each": "", "after": [*request.after, *each]}


class TestDoesNotWaitForPositions(Contract):
    case = "test_position_by_position"

    class executor(AlteredRequest):
        def other(self, request: JobRequest) -> dict[str, Any]:
            return {"after_each": ""}


class TestBeginsAtOnce(Contract):
    case = "test_it_does_not_start_before_its_time"
    delay = 8  # a machine that is slow to start it must not make it look right

    class executor(AlteredRequest):
        def other(self, request: JobRequest) -> dict[str, Any]:
            return {"begin": 0}


class TestTakesOneForAnArray(Contract):
    case = "test_a_job_runs_to_its_end"

    class executor(SpoolExecutor):
        def status(self, job: str) -> JobStatus | None:
            job_status = super().status(job)
            return job_status and evolve(
                job_status, positions=job_status.positions or {0: job_status}
            )


class TestSaysThatWhatWaitsRuns(Contract):
    case = "test_waiting_running_and_ended_are_told_apart"

    class executor(SpoolExecutor):
        def status(self, job: str) -> JobStatus | None:
            job_status = super().status(job)
            return job_status and evolve(job_status, running=job_status.state != ENDED)


class TestStartsWhereItIs(Contract):
    case = "test_a_job_starts_in_its_directory"

    class executor(AlteredRequest):
        def other(self, request: JobRequest) -> dict[str, Any]:
            return {"directory": "/"}


class TestReadsPathsAsPatterns(Contract):
    case = "test_odd_paths_are_taken_as_they_are[percent]"

    class executor(AlteredRequest):
        def other(self, request: JobRequest) -> dict[str, Any]:
            return {"log": request.log.replace("%j", "1").replace("$HOME", "/root")}


class TestKeepsVariablesOfAnOuterJob(Contract):
    case = "test_variables_of_an_outer_job_do_not_reach_another"

    class executor(SpoolExecutor):
        def variables(self) -> dict[str, str]:
            import os

            return dict(os.environ)


class TestTripsOverVariables(Contract):
    case = "test_odd_variables_of_the_shell_do_no_harm"

    class executor(SpoolExecutor):
        def variables(self) -> dict[str, str]:
            done = subprocess.run(["env"], capture_output=True, check=True)
            return dict(line.split("=", 1) for line in done.stdout.decode().splitlines())  # type: ignore[misc]


class TestBeginsLogsAnew(Contract):
    case = "test_a_log_that_is_there_is_kept"

    class executor(AlteredRequest):
        def other(self, request: JobRequest) -> dict[str, Any]:
            return {"mode": "wb"}


class TestEveryEndIsASuccess(Contract):
    case = "test_an_exit_code_is_told"

    class executor(SpoolExecutor):
        def status(self, job: str) -> JobStatus | None:
            job_status = super().status(job)
            return job_status and evolve(job_status, cause="")


class TestForgetsTheSignal(Contract):
    case = "test_a_signal_is_told[9]"

    class executor(SpoolExecutor):
        def status(self, job: str) -> JobStatus | None:
            job_status = super().status(job)
            return job_status and evolve(job_status, signal=None)


class TestNeverTimesOut(Contract):
    case = "test_a_time_limit_is_told"

    class executor(AlteredRequest):
        def other(self, request: JobRequest) -> dict[str, Any]:
            return {"resources": {"time": None}}


class TestTheUnknownHasEnded(Contract):
    case = "test_what_nobody_knows_is_absent"

    class executor(SpoolExecutor):
        def poll(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
            return {**dict.fromkeys(jobs, JobStatus(state=ENDED)), **super().poll(jobs)}


class TestWhatIsDownHasNoJobs(Contract):
    case = "test_a_scheduler_that_is_down_is_told_from_jobs_that_are_gone"

    class executor(SpoolExecutor):
        def poll(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
            try:
                return super().poll(jobs)
            except SchedulerUnreachableError:
                return {}


class TestNeedsAList(Contract):
    case = "test_any_collection_of_ids_will_do"

    class executor(SpoolExecutor):
        def poll(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
            return super().poll([jobs[at] for at in range(len(jobs))])  # type: ignore[index]


class TestFindsByTheBeginning(Contract):
    case = "test_jobs_are_found_by_their_tags"

    class executor(SpoolExecutor):
        def find(self, tags: Collection[str]) -> Mapping[str, str]:
            import json

            jobs = {}
            for path in (Path(self.spool) / "jobs").glob("*/request"):
                for tag in tags:
                    if json.loads(path.read_text())["tag"].startswith(tag):
                        jobs[tag] = max(path.parent.name, jobs.get(tag, ""))
            return jobs


class TestCutsTags(Contract):
    case = "test_a_long_tag_is_found"

    class executor(AlteredRequest):
        def other(self, request: JobRequest) -> dict[str, Any]:
            return {"tag": request.tag[:64]}


class TestOnlySaysThatItCancels(Contract):
    case = "test_one_that_runs_is_cancelled"

    class executor(SpoolExecutor):
        given_up: set[str] = set()  # noqa: RUF012

        def cancel(self, jobs: Collection[str]) -> None:
            self.given_up.update(jobs)

        def status(self, job: str) -> JobStatus | None:
            if job in self.given_up:
                return JobStatus(state=ENDED, cause="CANCELLED")
            return super().status(job)


class TestCancelsWhatRunsOnly(Contract):
    case = "test_one_that_waits_is_cancelled_and_never_runs"

    class executor(SpoolExecutor):
        def cancel(self, jobs: Collection[str]) -> None:
            super().cancel([job for job in jobs if (self.status(job) or _NOTHING).running])


class TestCancelsOnce(Contract):
    case = "test_to_cancel_again_is_no_error"

    class executor(SpoolExecutor):
        def cancel(self, jobs: Collection[str]) -> None:
            for job in jobs:
                if (self._folder(job) / "cancelled").exists():
                    raise SubmissionRefusedError(f"job {job} is being cancelled")
            super().cancel(jobs)


class TestStopsAtTheUnknown(Contract):
    case = "test_to_cancel_what_is_over_or_unknown_is_no_error"

    class executor(SpoolExecutor):
        def cancel(self, jobs: Collection[str]) -> None:
            for job in jobs:
                if self.status(job) is None:
                    return
                super().cancel([job])


class TestALimitIsForGood(Contract):
    case = "test_a_limit_of_the_site_is_not_for_good"

    class executor(SpoolExecutor):
        def submit(self, request: JobRequest) -> str:
            try:
                return super().submit(request)
            except SubmissionLimitError as error:
                raise SubmissionRefusedError(str(error)) from error


class TestTakesAnyQueue(Contract):
    case = "test_what_is_refused_says_why"

    class executor(SpoolExecutor):
        def submit(self, request: JobRequest) -> str:
            return super().submit(evolve(request, resources=evolve(request.resources, queue=None)))


class TestAScriptThatIsNotThereIsDone(Contract):
    case = "test_a_script_that_cannot_start_is_no_success"

    class executor(SpoolExecutor):
        def status(self, job: str) -> JobStatus | None:
            job_status = super().status(job)
            return job_status and evolve(
                job_status, cause="" if job_status.exit_code == 127 else job_status.cause
            )


_NOTHING = JobStatus(state=ENDED)
