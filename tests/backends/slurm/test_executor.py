"""The executor on tiny fake commands: its calls, and how it handles bad answers."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from reflow.errors import (
    DefinitionError,
    ExecutorError,
    SchedulerUnreachableError,
    SubmissionLimitError,
    SubmissionRefusedError,
)
from reflow.executors import command
from reflow.executors.base import ENDED, LIVE, JobRequest
from reflow_slurm.executor import CHUNK, SHOWN, SlurmExecutor

ME = os.getuid()
REQUEST = JobRequest(
    tag="f-1.1.1.w", name="f-1.step", script="/r/1.sh", directory="/", log="/r/1.{position}.log"
)
DOWN = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
DBD_DOWN = "sacct: error: Problem talking to the database: Connection refused"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_PAUSES", (0.0, 0.0))
    for name in [variable for variable in os.environ if variable.startswith(("SLURM_", "SBATCH_"))]:
        monkeypatch.delenv(name)


class Slurm:
    """A folder of commands that log their calls and print scripted answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("sbatch", "squeue", "sacct", "scancel", "scontrol"):
            self.says(name)

    def says(
        self, name: str, out: str = "", *, err: str = "", code: int = 0, body: str = ""
    ) -> None:
        (self.folder / f"{name}.out").write_text(out)
        (self.folder / f"{name}.err").write_text(err)
        script = self.folder / name
        script.write_text(
            f'#!/bin/sh\necho "$*" >> "$0.calls"\nenv > "$0.env"\n{body}\n'
            f'cat "$0.out"; cat "$0.err" >&2; exit {code}\n'
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)

    def calls(self, name: str) -> list[str]:
        path = self.folder / f"{name}.calls"
        return path.read_text().splitlines() if path.exists() else []

    def environment(self, name: str) -> dict[str, str]:
        lines = (self.folder / f"{name}.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Slurm(tmp_path)


def in_queue(job: str, state: str, reason: str = "None", user: int = ME) -> str:
    return f"{job}|{state}|{reason}||N/A|2026-11-23T04:37:12|{user}\n"


def accounted(job: str, state: str, code: str = "0:0", user: int = ME) -> str:
    day = "2026-11-23T04:37:1"
    return f"{job}|{state}|{code}|None|n1|{day}2|{day}4|{day}1|{user}\n"


# submit


@pytest.mark.parametrize("out", ["32\n", "32;tiny\n", "Welcome!\n32\n"])
def test_submit(slurm: Slurm, out: str) -> None:
    slurm.says("sbatch", out, err="sbatch: warning: be nice\n")
    assert SlurmExecutor().submit(REQUEST) == "32"
    assert slurm.calls("sbatch")[0].endswith("/r/1.sh")


@pytest.mark.parametrize(
    ("err", "code", "error"),
    [
        ("sbatch: error: invalid partition specified: nosuch", 1, SubmissionRefusedError),
        ("sbatch: unrecognized option '--nosuch'", 255, SubmissionRefusedError),
        ("sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job "
         "violates accounting/QOS policy", 1, SubmissionLimitError),
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller "
         "(connect failure)", 1, SchedulerUnreachableError),
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", 1,
         SchedulerUnreachableError),
        ("", 0, SchedulerUnreachableError),  # no id: it is unknown whether the job was accepted
    ],
)  # fmt: skip
def test_a_submission_that_fails(slurm: Slurm, err: str, code: int, error: type[Exception]) -> None:
    slurm.says("sbatch", err=err, code=code)
    with pytest.raises(ExecutorError) as caught:
        SlurmExecutor().submit(REQUEST)
    assert type(caught.value) is error
    assert err.splitlines()[0] in str(caught.value) if err else "no job id" in str(caught.value)
    assert len(slurm.calls("sbatch")) == 1, "what may have been taken is not submitted again"


@pytest.mark.usefixtures("limit_from_first_word")
def test_a_submission_that_takes_too_long_is_in_doubt(slurm: Slurm) -> None:
    slurm.says("sbatch", body="echo sleeping and retrying >&2; exec sleep 60")
    with pytest.raises(SchedulerUnreachableError, match=r"within 0\.5 s .*sleeping and retrying"):
        SlurmExecutor(command_timeout=0.5).submit(REQUEST)
    assert len(slurm.calls("sbatch")) == 1


def test_environment_that_reaches_sbatch(
    slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = (
        "SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_EXPORT_ENV", "SLURM_CPUS_PER_TASK",
        "SLURMD_NODENAME", "SBATCH_ARRAY_INX", "SBATCH_WAIT", "SBATCH_EXPORT", "SBATCH_ERROR",
        "SBATCH_OUTPUT", "SBATCH_REQUEUE", "SBATCH_NO_REQUEUE", "SQUEUE_FORMAT", "SQUEUE_STATES",
        "SQUEUE_USERS", "SACCT_FEDERATION", "SCANCEL_INTERACTIVE", "SCANCEL_STATE",
        "REFLOW_JOB_TAG", "SLURM_TIME_FORMAT", "SLURM_CLUSTERS",
    )  # fmt: skip
    stays = ("SLURM_CONF", "SBATCH_ACCOUNT", "SBATCH_PARTITION", "MY_OWN")
    for name in (*gone, *stays):
        monkeypatch.setenv(name, "x")
    slurm.says("sbatch", "32;x\n")
    SlurmExecutor().submit(REQUEST)
    environment = slurm.environment("sbatch")
    assert {name: environment.get(name) for name in stays} == dict.fromkeys(stays, "x")
    assert [name for name in gone if environment.get(name) == "x"] == []
    assert (environment["SLURM_BITSTR_LEN"], environment["LC_ALL"]) == ("0", "C")


def test_max_submit_jobs_holds_back_all_but_what_carries_the_run_on(slurm: Slurm) -> None:
    slurm.says("sbatch", "32\n")
    slurm.says("squeue", "5_0\n5_1\n6\n")
    executor = SlurmExecutor(max_submit_jobs=4)
    assert executor.submit(REQUEST) == "32"
    with pytest.raises(SubmissionLimitError, match="3 jobs are in the queue, and 2 more"):
        executor.submit(JobRequest(**{**_fields(REQUEST), "size": 2}))
    slurm.says("squeue", "1\n2\n3\n4\n5\n")
    assert executor.submit(JobRequest(**{**_fields(REQUEST), "auxiliary": True})) == "32"
    assert executor.capabilities.max_array_size == 2
    assert "--array" in slurm.calls("squeue")[0].split()


def test_auxiliary_jobs_request_the_resources_set_for_them(slurm: Slurm) -> None:
    slurm.says("sbatch", "32\n")
    executor = SlurmExecutor(
        queue="big", account="a", dispatch_queue="small", dispatch_time="5m", dispatch_mem="200M"
    )
    executor.submit(JobRequest(**{**_fields(REQUEST), "auxiliary": True}))
    executor.submit(REQUEST)
    auxiliary, worker = (call.split() for call in slurm.calls("sbatch"))
    assert {"--partition=small", "--account=a", "--time=0-00:05:00", "--mem=204800K"} <= {
        *auxiliary
    }
    assert "--partition=big" in worker
    assert not any(word.startswith(("--time", "--mem")) for word in worker)
    with pytest.raises(DefinitionError, match="soon"):
        SlurmExecutor(dispatch_time="soon")


def _fields(request: JobRequest) -> dict[str, object]:
    return {name: getattr(request, name) for name in ("tag", "name", "script", "directory", "log")}


# poll


def test_poll_asks_squeue_once_for_all_and_accounting_for_the_rest(slurm: Slurm) -> None:
    slurm.says("squeue", in_queue("1", "RUNNING") + in_queue("2", "FAILED", "NonZeroExitCode"))
    slurm.says("sacct", accounted("2", "FAILED", "3:0") + accounted("3", "COMPLETED"))
    statuses = SlurmExecutor().poll(["1", "2", "3", "4"])
    assert {job: (status.state, status.exit_code) for job, status in statuses.items()} == {
        "1": (LIVE, None), "2": (ENDED, 3), "3": (ENDED, 0)
    }  # fmt: skip
    assert [len(slurm.calls(name)) for name in ("squeue", "sacct", "scontrol")] == [1, 1, 0]
    assert "--jobs=2,3,4" in slurm.calls("sacct")[0].split()


def test_job_unknown_to_queue_and_accounting_is_absent(slurm: Slurm) -> None:
    assert SlurmExecutor().poll(["1"]) == {}


def test_an_id_alone_that_squeue_has_forgotten_is_absent(slurm: Slurm) -> None:
    slurm.says("squeue", err="slurm_load_jobs error: Invalid job id specified\n", code=1)
    assert SlurmExecutor().poll(["1"]) == {}


def test_a_number_that_is_another_users_by_now_is_not_our_job(slurm: Slurm) -> None:
    slurm.says("squeue", in_queue("1", "RUNNING", user=ME + 1))
    slurm.says("sacct", accounted("1", "FAILED", user=ME + 1) + accounted("1", "COMPLETED"))
    statuses = SlurmExecutor().poll(["1"])
    assert (statuses["1"].state, statuses["1"].cause) == (ENDED, "")


@pytest.mark.parametrize(
    ("err", "code"), [(DOWN, 1), (DOWN, 0), ("squeue: error: something new", 1)]
)
def test_a_scheduler_that_is_down_is_never_a_job_that_is_gone(
    slurm: Slurm, err: str, code: int
) -> None:
    slurm.says("squeue", err=f"{err}\n", code=code)
    slurm.says("sacct", accounted("1", "COMPLETED"))
    with pytest.raises(SchedulerUnreachableError):
        SlurmExecutor().poll(["1"])


def test_a_scheduler_that_comes_back_is_asked_again(slurm: Slurm) -> None:
    once = f'[ -e "$0.up" ] || {{ : > "$0.up"; echo "{DOWN}" >&2; exit 1; }}'
    slurm.says("squeue", in_queue("1", "RUNNING"), body=once)
    assert SlurmExecutor().poll(["1"])["1"].running
    assert len(slurm.calls("squeue")) == 2


@pytest.mark.parametrize("err", [DBD_DOWN, "Slurm accounting storage is disabled"])
def test_without_accounting_slurmctld_reports_jobs_that_it_still_has(
    slurm: Slurm, err: str
) -> None:
    slurm.says("squeue", in_queue("1", "FAILED") + in_queue("2", "COMPLETED"))
    slurm.says("sacct", err=f"{err}\n", code=1)
    slurm.says("scontrol", "JobId=1 JobState=FAILED ExitCode=0:9\n")
    statuses = SlurmExecutor().poll(["1", "2", "3"])
    assert (statuses["1"].cause, statuses["1"].signal) == ("ERROR", 9)
    assert (statuses["2"].state, statuses["2"].cause) == (ENDED, "")
    assert "3" not in statuses
    assert slurm.calls("scontrol") == ["--oneliner show job 1"]


@pytest.mark.parametrize("lagging", ["", accounted("1", "RUNNING")])
def test_slurmctld_reports_what_accounting_does_not_have_yet(slurm: Slurm, lagging: str) -> None:
    slurm.says("squeue", in_queue("1", "FAILED") + in_queue("2", "FAILED"))
    slurm.says("sacct", lagging + accounted("2", "FAILED", "3:0"))
    slurm.says("scontrol", "JobId=1 JobState=FAILED ExitCode=0:53\n")
    statuses = SlurmExecutor().poll(["1", "2"])
    assert "folder of its log" in statuses["1"].reason
    assert statuses["2"].exit_code == 3
    assert slurm.calls("scontrol") == ["--oneliner show job 1"]


def test_without_accounting_calls_stay_bounded(slurm: Slurm) -> None:
    jobs = [str(job) for job in range(1, 2 * CHUNK + 1)]
    slurm.says("squeue", "".join(in_queue(job, "FAILED") for job in jobs))
    slurm.says("sacct", err=DBD_DOWN, code=1)
    statuses = SlurmExecutor().poll(jobs)
    assert len(statuses) == len(jobs)
    assert len(slurm.calls("squeue")) == 2
    assert len(slurm.calls("sacct")) == 1
    assert len(slurm.calls("scontrol")) == SHOWN


def test_without_sacct_on_path(slurm: Slurm) -> None:
    slurm.says("squeue", in_queue("1", "TIMEOUT"))
    statuses = SlurmExecutor(sacct="no-such-sacct", scontrol="no-such-scontrol").poll(["1", "2"])
    assert {job: status.cause for job, status in statuses.items()} == {"1": "TIMEOUT"}


def test_an_element_that_was_requeued_lives(slurm: Slurm) -> None:
    slurm.says("squeue", in_queue("5_0", "PENDING", "BeginTime") + in_queue("5_1", "FAILED"))
    slurm.says("sacct", accounted("5_0", "NODE_FAIL") + accounted("5_1", "FAILED", "3:0"))
    five = SlurmExecutor().poll(["5"])["5"]
    assert five.state == five.positions[0].state == LIVE
    assert (five.positions[1].state, five.positions[1].exit_code) == (ENDED, 3)


def test_an_unknown_state_warns_and_is_no_success(
    slurm: Slurm, caplog: pytest.LogCaptureFixture
) -> None:
    slurm.says("squeue", in_queue("1", "DANCING") + in_queue("2_0", "SINGING"))
    with caplog.at_level(logging.WARNING):
        statuses = SlurmExecutor().poll(["1", "2"])
    assert {status.cause for status in statuses.values()} == {"UNKNOWN"}
    assert ["DANCING" in caplog.text, "SINGING" in caplog.text] == [True, True]


def test_poll_of_nothing_asks_nothing(slurm: Slurm) -> None:
    assert SlurmExecutor().poll([]) == {}
    assert slurm.calls("squeue") == []


# find


def test_find_looks_in_the_queue_and_then_in_accounting(slurm: Slurm) -> None:
    slurm.says("squeue", "12|f-1.1.1.w\n99|other\n")
    slurm.says("sacct", "13_4|f-1.1.2.w\n13_5|f-1.1.2.w\n")
    ids = SlurmExecutor().find(["f-1.1.1.w", "f-1.1.2.w", "f-1.1.3.g"])
    assert ids == {"f-1.1.1.w": "12", "f-1.1.2.w": "13"}
    assert "--name=f-1.1.2.w,f-1.1.3.g" in slurm.calls("sacct")[0].split()


def test_find_knows_a_tag_by_the_name_that_it_was_submitted_with(slurm: Slurm) -> None:
    tag = "my flow, 1.1.w"
    slurm.says("sbatch", "12\n")
    SlurmExecutor().submit(JobRequest(**{**_fields(REQUEST), "tag": tag}))
    name = slurm.calls("sbatch")[0].partition("--job-name=")[2].partition(" ")[0]
    slurm.says("squeue", f"12|{name}\n")
    assert SlurmExecutor().find([tag]) == {tag: "12"}


def test_find_without_accounting_says_what_the_queue_knows(slurm: Slurm) -> None:
    slurm.says("squeue", "12|a.1.w\n")
    slurm.says("sacct", err=DBD_DOWN, code=1)
    assert SlurmExecutor().find(["a.1.w", "a.2.w"]) == {"a.1.w": "12"}


def test_find_never_takes_a_scheduler_that_is_down_for_no_job(slurm: Slurm) -> None:
    slurm.says("squeue", err=DOWN, code=1)
    with pytest.raises(SchedulerUnreachableError):
        SlurmExecutor().find(["a"])


# cancel


def test_cancel_in_chunks(slurm: Slurm) -> None:
    SlurmExecutor().cancel([str(job) for job in range(CHUNK + 1)])
    assert sorted(len(line.split()) for line in slurm.calls("scancel")) == [1, CHUNK]


@pytest.mark.parametrize("err", [
    "scancel: error: Kill job error on job id 1: Invalid job id specified",
    "scancel: error: Kill job error on job id 1: Job/step already completing or completed",
    "scancel: error: Kill job error on job id 1: Access/permission denied",
])  # fmt: skip
def test_cancel_of_what_is_gone_or_anothers_is_no_error(slurm: Slurm, err: str) -> None:
    slurm.says("scancel", err=f"{err}\n", code=1)
    SlurmExecutor().cancel(["1"])


@pytest.mark.parametrize(
    ("err", "code", "error"),
    [("scancel: error: Kill job error on job id 1: Unable to contact slurm controller", 8,
      SchedulerUnreachableError),
     ("scancel: error: Kill job error on job id 1: Invalid job id specified\nscancel: error: odd",
      1, ExecutorError),
     ("", 1, ExecutorError)],
)  # fmt: skip
def test_a_cancel_that_fails_says_so(
    slurm: Slurm, err: str, code: int, error: type[Exception]
) -> None:
    slurm.says("scancel", err=err, code=code)
    with pytest.raises(ExecutorError) as caught:
        SlurmExecutor().cancel(["1"])
    assert type(caught.value) is error


# settings


def test_located_asks_once_for_the_largest_array(slurm: Slurm) -> None:
    slurm.says("scontrol", "Configuration data\nMaxArraySize            = 4001\n")
    executor = SlurmExecutor().located()
    assert executor.capabilities.max_array_size == 4001
    assert executor.sbatch == str(slurm.folder / "sbatch")
    assert executor.located() == executor
    assert slurm.calls("scontrol") == ["show config"]


@pytest.mark.parametrize("code", [0, 1])
def test_default_of_slurm_counts_where_a_setting_is_missing(slurm: Slurm, code: int) -> None:
    slurm.says("scontrol", err=DOWN, code=code)
    assert SlurmExecutor().located().capabilities.max_array_size == 1001


def test_configured_largest_array_is_not_asked_for(slurm: Slurm) -> None:
    assert SlurmExecutor(max_array_size=50).located().capabilities.max_array_size == 50
    assert slurm.calls("scontrol") == []


@pytest.mark.parametrize("variable", ["SLURM_CLUSTERS", "SBATCH_CLUSTERS"])
def test_one_cluster_goes_with_every_call(
    slurm: Slurm, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "big")
    executor = SlurmExecutor().located()
    monkeypatch.delenv(variable)
    slurm.says("sbatch", "32;big\n")
    slurm.says("squeue", "CLUSTER: big\n" + in_queue("32", "COMPLETED"))
    assert executor.submit(REQUEST) == "32"
    assert executor.poll(["32"])["32"].state == ENDED
    executor.find(["a"])
    executor.cancel(["32"])
    for name in ("sbatch", "squeue", "sacct", "scancel", "scontrol"):
        assert all("--clusters=big" in line.split() for line in slurm.calls(name)), name


@pytest.mark.parametrize("clusters", ["big,small", "all"])
def test_several_clusters_are_refused(
    slurm: Slurm, monkeypatch: pytest.MonkeyPatch, clusters: str
) -> None:
    monkeypatch.setenv("SLURM_CLUSTERS", clusters)
    with pytest.raises(ExecutorError, match="one cluster"):
        SlurmExecutor().check()
    SlurmExecutor(cluster="big").check()


def test_check_names_the_command_that_is_missing(slurm: Slurm) -> None:
    SlurmExecutor(sacct="no-such", scontrol="no-such").check()
    with pytest.raises(ExecutorError, match=r"no command 'no-such'.*set squeue in"):
        SlurmExecutor(squeue="no-such").check()


@pytest.mark.parametrize(
    "make",
    [lambda: SlurmExecutor(max_array_size=0), lambda: SlurmExecutor(max_submit_jobs=1),
     lambda: SlurmExecutor(min_poll_interval=-1), lambda: SlurmExecutor(command_timeout=0),
     lambda: SlurmExecutor(sbatch="")],
)  # fmt: skip
def test_settings_that_make_no_sense(make: Callable[[], SlurmExecutor]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (the wording is attrs')
        make()
