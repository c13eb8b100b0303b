"""The executor on a tiny fake flux: its calls, and how it handles bad answers."""

from __future__ import annotations

import logging
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from reflow.errors import (
    ExecutorError,
    SchedulerUnreachableError,
    SubmissionLimitError,
    SubmissionRefusedError,
)
from reflow.executors import command
from reflow.executors.base import ENDED, LIVE, JobRequest
from reflow.model.spec import Resources
from reflow_flux.executor import CANCELLED_AT_ONCE, CHUNK, TRIES, FluxExecutor
from reflow_flux.parse import array_name

DOWN = "flux-x: ERROR: Unable to connect to Flux: broker socket /run/flux/local was not found"
GONE = "[Errno 22] dependency: afterany: id {}: job not found"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_PAUSES", (0.0, 0.0))
    for name in [variable for variable in os.environ if variable.startswith("FLUX_")]:
        monkeypatch.delenv(name)


def request(**fields: Any) -> JobRequest:
    defaults = {"tag": "f-1.1.1.w", "name": "f-1.step", "script": "/r/1.sh", "directory": "/",
             "log": "/r/1.{position}.log"}  # fmt: skip
    return JobRequest(**{**defaults, **fields})


class Flux:
    """A command that logs its calls and prints a scripted answer for each subcommand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        script = folder / "flux"
        script.write_text(
            f'#!/bin/sh\nenv > "$0.env"\necho "$*" >> "$0.$1.calls"\ncd {folder}\n'
            'n=$(grep -c . "$0.$1.calls")\nfor one in "$1.$n" "$1"; do\n'
            '  [ -e "$one.sh" ] && { . "./$one.sh"; cat "$one.out"; cat "$one.err" >&2;'
            " exit $code; }\ndone\nexit 0\n"
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)

    def says(
        self, name: str, out: str = "", *, err: str = "", code: int = 0, body: str = "",
        time: int | None = None,
    ) -> None:  # fmt: skip
        """Set the answer, always or for the n-th call only."""
        base = name if time is None else f"{name}.{time}"
        (self.folder / f"{base}.out").write_text(out)
        (self.folder / f"{base}.err").write_text(err)
        (self.folder / f"{base}.sh").write_text(f"code={code}\n{body}\n")

    def calls(self, name: str) -> list[str]:
        path = self.folder / f"flux.{name}.calls"
        return path.read_text().splitlines() if path.exists() else []

    def environment(self) -> dict[str, str]:
        lines = (self.folder / "flux.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.fixture
def flux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flux:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Flux(tmp_path)


def row(
    job: str, state: str = "RUN", *, name: str = "x", result: str = "", when: float = 17.5
) -> str:
    return f"{job}|{name}|{when}|{state}|{result}|16||0.0|0.0||||\n"


def options(call: str, name: str) -> list[str]:
    return re.findall(rf"--{name}=(\S*)", call)


# submit


@pytest.mark.parametrize("out", ["f12\n", "ƒ12\n", "Welcome!\nf12\n"])
def test_submit(flux: Flux, out: str) -> None:
    flux.says("submit", out, err="be nice\n")
    assert FluxExecutor().submit(request()) == "f12"
    assert flux.calls("submit")[0].endswith("/r/1.sh")
    assert flux.calls("jobs") == []


def test_an_array_is_named_and_waited_for_until_lists_have_it(flux: Flux) -> None:
    flux.says("bulksubmit", "f12\nf13\nf14\n")
    flux.says("jobs", row("f13", when=18.9) + row("f12", when=17.9) + row("f14", when=20.0))
    assert FluxExecutor().submit(request(size=3)) == "f-1.1.1.w[]@17"
    assert flux.calls("jobs")[0].split()[-3:] == ["f12", "f13", "f14"]


def test_an_array_that_no_list_has_is_taken_all_the_same(flux: Flux) -> None:
    flux.says("bulksubmit", "f12\nf13\n")
    flux.says("jobs", err=DOWN, code=1)
    array = array_name(FluxExecutor().submit(request(size=2)))
    assert array is not None
    assert array[0] == "f-1.1.1.w"


def test_an_array_that_is_taken_in_part_is_taken(
    flux: Flux, caplog: pytest.LogCaptureFixture
) -> None:
    flux.says("bulksubmit", "f12\n", err="[Errno 1] user has max number of jobs\n", code=1)
    flux.says("jobs", row("f12"))
    with caplog.at_level(logging.WARNING):
        assert FluxExecutor().submit(request(size=3)) == "f-1.1.1.w[]@17"
    assert "1 of 3 jobs taken: [Errno 1] user has max" in caplog.text
    assert len(flux.calls("bulksubmit")) == 1


@pytest.mark.parametrize(
    ("err", "code", "error"),
    [
        ("[Errno 22] 'nosuch' is not a valid queue", 1, SubmissionRefusedError),
        ("[Errno 1] no queue specified", 1, SubmissionRefusedError),
        ("[Errno 22] requested duration (2h) exceeds policy limit of 1h", 1,
         SubmissionRefusedError),
        ("flux submit: error: unrecognized arguments: --nosuchopt", 2, SubmissionRefusedError),
        ("[Errno 22] job submission to debug is disabled: later", 1, SubmissionLimitError),
        (DOWN, 1, SchedulerUnreachableError),
        ("", 0, SchedulerUnreachableError),  # no id: it is unknown whether the job was accepted
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 3])
def test_a_submission_that_fails(
    flux: Flux, err: str, code: int, error: type[Exception], size: int
) -> None:
    name = "submit" if size == 1 else "bulksubmit"
    flux.says(name, err=err, code=code)
    with pytest.raises(ExecutorError) as caught:
        FluxExecutor().submit(request(size=size))
    assert type(caught.value) is error
    assert err in str(caught.value) if err else "no job id" in str(caught.value)
    assert len(flux.calls(name)) == 1, "what may have been taken is not submitted again"


@pytest.mark.usefixtures("limit_from_first_word")
def test_a_submission_that_takes_too_long_is_in_doubt(flux: Flux) -> None:
    flux.says("submit", body="echo begun >&2; exec sleep 60")
    with pytest.raises(SchedulerUnreachableError, match=r"within 0\.5 s"):
        FluxExecutor(command_timeout=0.5).submit(request())
    assert len(flux.calls("submit")) == 1


def test_environment_that_reaches_flux(flux: Flux, monkeypatch: pytest.MonkeyPatch) -> None:
    # flux submit passes the whole environment on to the job.
    gone = ("FLUX_JOB_CC", "FLUX_JOB_ID", "FLUX_TASK_RANK", "FLUX_KVS_NAMESPACE", "PMI_RANK",
            "FLUX_JOB_TMPDIR", "REFLOW_JOB_TAG")  # fmt: skip
    stays = ("FLUX_URI", "FLUX_MODULE_PATH", "MY_OWN")
    for name in (*gone, *stays):
        monkeypatch.setenv(name, "x")
    flux.says("submit", "f12\n")
    FluxExecutor().submit(request())
    environment = flux.environment()
    assert {name: environment.get(name) for name in stays} == dict.fromkeys(stays, "x")
    assert [name for name in gone if name in environment] == []
    assert environment["FLUX_F58_FORCE_ASCII"] == "1"


def test_dependency_on_an_array_names_its_unfinished_elements(flux: Flux) -> None:
    flux.says("submit", "f99\n")
    flux.says("jobs", row("f1", name="up[0]") + row("f3", name="up[2]") + row("f4", name="other"))
    FluxExecutor().submit(request(after=("f7", "up[]@17")))
    assert options(flux.calls("submit")[0], "dependency") == [
        "afterany:f7", "afterany:f1", "afterany:f3"
    ]  # fmt: skip
    assert "--since" not in flux.calls("jobs")[0]


def test_elements_wait_for_their_twins(flux: Flux) -> None:
    flux.says("bulksubmit", "f8\nf9\n")
    flux.says("jobs", row("f3", name="up[1]"))
    FluxExecutor().submit(request(size=2, after_each="up[]@17"))
    call = flux.calls("bulksubmit")[0]
    assert options(call, "dependency") == ["{1}"]
    assert call.endswith("::: 0 1 :::+ begin-time:1 afterany:f3")


def test_twins_that_are_all_over_are_not_waited_for(flux: Flux) -> None:
    flux.says("bulksubmit", "f8\nf9\n")
    FluxExecutor().submit(request(size=2, after_each="up[]@17"))
    assert options(flux.calls("bulksubmit")[0], "dependency") == []


def test_a_dependency_that_flux_has_forgotten_is_left_out(flux: Flux) -> None:
    flux.says("submit", err=GONE.format("ƒ2"), code=1, time=1)
    flux.says("submit", "f99\n")
    flux.says("jobs", row("f1"), err="JobID f3 unknown\n")
    assert FluxExecutor().submit(request(after=("f1", "f2", "f3"))) == "f99"
    first, second = flux.calls("submit")
    assert options(first, "dependency") == ["afterany:f1", "afterany:f2", "afterany:f3"]
    assert options(second, "dependency") == ["afterany:f1"]
    assert len(flux.calls("jobs")) == 1


def test_all_forgotten(flux: Flux) -> None:
    flux.says("submit", err=GONE.format("f2"), code=1, time=1)
    flux.says("submit", "f99\n")
    flux.says("jobs", err="JobID f2 unknown\nJobID f3 unknown\n", code=1)
    assert FluxExecutor().submit(request(after=("f2", "f3"))) == "f99"


def test_submission_gives_up_after_leaving_out_dependencies_too_often(flux: Flux) -> None:
    flux.says("submit", err=GONE.format("f2"), code=1)
    flux.says("jobs", row("f2"))
    with pytest.raises(SubmissionRefusedError, match="job not found"):
        FluxExecutor().submit(request(after=("f2",)))
    assert len(flux.calls("submit")) == TRIES


def test_many_dependencies_are_joined(flux: Flux) -> None:
    """Each element would list them all, and the length of a command line is limited."""
    body = 'echo "f$(grep -c . flux.submit.calls | tr 0 a)"'
    flux.says("submit", body=body)
    flux.says("bulksubmit", "f8\nf9\n")
    ids = tuple(f"f{n:x}".replace("0", "z") for n in range(16**3, 16**3 + 2 * CHUNK + 1))
    wants = Resources(cpus=8, queue="q", account="a", gpus=2, time=86400)
    FluxExecutor().submit(request(size=2, after=ids, resources=wants))
    joins = flux.calls("submit")
    assert [len(options(join, "dependency")) for join in joins] == [CHUNK, CHUNK, 1]
    for join in joins:
        assert options(join, "job-name") == ["f-1.1.1.w.join"]
        assert (options(join, "queue"), options(join, "bank")) == (["q"], ["a"])
        assert (options(join, "cores-per-task"), options(join, "time-limit")) == (["1"], ["60s"])
        assert "gpus" not in join
    [array] = flux.calls("bulksubmit")
    assert options(array, "dependency") == ["afterany:f1", "afterany:f2", "afterany:f3"]


def test_max_submit_jobs_holds_back_all_but_what_carries_the_run_on(flux: Flux) -> None:
    flux.says("submit", "f32\n")
    flux.says("jobs", row("f1") + row("f2") + row("f3"))
    executor = FluxExecutor(max_submit_jobs=4)
    assert executor.submit(request()) == "f32"
    with pytest.raises(SubmissionLimitError, match="3 jobs are in the queue, and 2 more"):
        executor.submit(request(size=2))
    flux.says("jobs", "".join(row(f"f{n}") for n in range(1, 6)))
    assert executor.submit(request(auxiliary=True)) == "f32"
    assert executor.capabilities.max_array_size == 2


def test_auxiliary_jobs_request_the_resources_set_for_them(flux: Flux) -> None:
    flux.says("submit", "f32\n")
    executor = FluxExecutor(queue="big", account="a", dispatch_queue="small", dispatch_time="5m")
    executor.submit(request(auxiliary=True))
    executor.submit(request())
    auxiliary, worker = flux.calls("submit")
    assert (options(auxiliary, "queue"), options(auxiliary, "time-limit")) == (["small"], ["300s"])
    assert (options(worker, "queue"), options(worker, "time-limit")) == (["big"], [])


# poll


def test_poll_asks_once_for_single_jobs_and_once_for_all_arrays(flux: Flux) -> None:
    flux.says("jobs", row("f1"), err="JobID f2 unknown\n", time=1)
    rows = [row("f3", name="a[0]"), row("f4", "INACTIVE", name="a[1]", result="COMPLETED"),
            row("f5", "INACTIVE", name="b[0]", result="TIMEOUT"),
            row("f6", name="c[0]")]  # fmt: skip
    flux.says("jobs", "".join(rows), time=2)
    statuses = FluxExecutor().poll(["f1", "f2", "a[]@30", "b[]@20", "d[]@40"])
    assert {job: (status.state, status.cause) for job, status in statuses.items()} == {
        "f1": (LIVE, ""), "a[]@30": (LIVE, ""), "b[]@20": (ENDED, "TIMEOUT")
    }  # fmt: skip
    assert statuses["a[]@30"].positions[1].state == ENDED
    single, arrays = flux.calls("jobs")
    assert single.split()[-2:] == ["f1", "f2"]
    assert {"--since=20", "--count=0"} < {*arrays.split()}


def test_calls_of_a_poll_are_bounded(flux: Flux) -> None:
    ids = [f"f{n:x}".replace("0", "z") for n in range(16**3, 16**3 + 2 * CHUNK)]
    FluxExecutor().poll([*ids, *(f"{name}[]@17" for name in ids)])
    assert len(flux.calls("jobs")) == 3


@pytest.mark.parametrize("jobs", [["f1", "f2"], ["a[]@17"], []])
def test_jobs_unknown_to_flux_are_absent(flux: Flux, jobs: list[str]) -> None:
    flux.says("jobs", err="JobID f1 unknown\nJobID f2 unknown\n", code=1)
    assert FluxExecutor().poll(jobs) == {}


@pytest.mark.parametrize("err", [DOWN, "flux-jobs: ERROR: something new", ""])
@pytest.mark.parametrize("job", ["f1", "a[]@17"])
def test_a_scheduler_that_is_down_is_never_a_job_that_is_gone(
    flux: Flux, err: str, job: str
) -> None:
    flux.says("jobs", err=f"{err}\n", code=1)
    with pytest.raises(SchedulerUnreachableError):
        FluxExecutor().poll([job])


def test_a_broker_that_comes_back_is_asked_again(flux: Flux) -> None:
    flux.says("jobs", err=DOWN, code=1, time=1)
    flux.says("jobs", row("f1"))
    assert FluxExecutor().poll(["f1"])["f1"].running
    assert len(flux.calls("jobs")) == 2


def test_an_unknown_state_warns_and_is_no_success(
    flux: Flux, caplog: pytest.LogCaptureFixture
) -> None:
    flux.says("jobs", row("f1", "DANCING") + row("f2", "SINGING", name="a[0]"))
    with caplog.at_level(logging.WARNING):
        statuses = FluxExecutor().poll(["f1", "a[]@17"])
    assert {status.cause for status in statuses.values()} == {"UNKNOWN"}
    assert ["DANCING" in caplog.text, "SINGING" in caplog.text] == [True, True]


# find


def test_find_looks_for_names_in_one_call(flux: Flux) -> None:
    rows = [row("f3", name="b.2.w[1]", when=30), row("f2", name="b.2.w[0]", when=20.9),
            row("f1", name="a.1.w"), row("f4", name="c")]  # fmt: skip
    flux.says("jobs", "".join(rows))
    jobs = FluxExecutor().find(["a.1.w", "b.2.w", "d.3.g"])
    assert jobs == {"a.1.w": "f1", "b.2.w": "b.2.w[]@20"}
    assert len(flux.calls("jobs")) == 1


def test_find_knows_a_tag_by_the_name_that_it_was_submitted_with(flux: Flux) -> None:
    tag = "my flow, 1[1].w"
    flux.says("submit", "f12\n")
    FluxExecutor().submit(request(tag=tag))
    [name] = options(flux.calls("submit")[0], "job-name")
    flux.says("jobs", row("f12", name=name))
    assert FluxExecutor().find([tag]) == {tag: "f12"}


def test_find_never_takes_a_broker_that_is_down_for_no_job(flux: Flux) -> None:
    flux.says("jobs", err=DOWN, code=1)
    with pytest.raises(SchedulerUnreachableError):
        FluxExecutor().find(["a"])


# cancel


def test_cancel_in_chunks(flux: Flux) -> None:
    flux.says("jobs", "".join(row(f"f{n}", name=f"a[{n}]") for n in range(1, 10)))
    FluxExecutor().cancel([*(f"f{n:x}".replace("0", "z") for n in range(300)), "a[]@17"])
    assert len(flux.calls("jobs")) == 1
    sizes = sorted(len(line.split()) - 1 for line in flux.calls("cancel"))
    assert sizes == [309 - CANCELLED_AT_ONCE, CANCELLED_AT_ONCE]


def test_cancel_of_an_array_that_is_over(flux: Flux) -> None:
    FluxExecutor().cancel(["a[]@17"])
    assert flux.calls("cancel") == []


@pytest.mark.parametrize("err", [
    "flux-cancel: ERROR: f1: job is inactive", "flux-cancel: ERROR: ƒ1: unknown job id",
    "flux-cancel: ERROR: f1: guests can only raise exceptions on their own jobs",
])  # fmt: skip
def test_cancel_of_what_is_gone_or_anothers_is_no_error(flux: Flux, err: str) -> None:
    flux.says("cancel", err=f"{err}\n{err}\n", code=1)
    FluxExecutor().cancel(["f1", "f2"])


@pytest.mark.parametrize(
    ("err", "code", "error"),
    [(DOWN, 1, SchedulerUnreachableError),
     ("flux-cancel: ERROR: f1: job is inactive\nflux-cancel: ERROR: odd", 1, ExecutorError),
     ("", 1, ExecutorError)],
)  # fmt: skip
def test_a_cancel_that_fails_says_so(
    flux: Flux, err: str, code: int, error: type[Exception]
) -> None:
    flux.says("cancel", err=err, code=code)
    with pytest.raises(ExecutorError) as caught:
        FluxExecutor().cancel(["f1"])
    assert type(caught.value) is error


def test_located(flux: Flux, monkeypatch: pytest.MonkeyPatch) -> None:
    executor = FluxExecutor().located()
    assert executor.flux == str(flux.folder / "flux")
    assert executor.located() == executor
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ExecutorError, match="no command 'flux' on PATH"):
        FluxExecutor().check()
    executor.check()
