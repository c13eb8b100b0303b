"""The executor on tiny fake commands: its calls, and how it handles bad answers."""

from __future__ import annotations

import json
import logging
import os
import pwd
import shlex
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve

from reflow.errors import (
    ExecutorError,
    SchedulerUnreachableError,
    SubmissionForbiddenError,
    SubmissionLimitError,
    SubmissionRefusedError,
)
from reflow.executors import command
from reflow.executors.base import ENDED, LIVE, JobRequest
from reflow.model.spec import Resources
from reflow_lsf.executor import CHUNK, LSFExecutor

ME = pwd.getpwuid(os.getuid()).pw_name
REQUEST = JobRequest(
    tag="f-1.1.1.w", name="f-1.step", script="/r/1.sh", directory="/", log="/r/1.{position}.log"
)
SUBMITTED = "Job <32> is submitted to default queue <normal>.\n"
DOWN = "Failed in an LSF library call: LIM is down; try later\n"
USAGE = "bjobs: invalid option -- 'o'\nUsage: bjobs [-h] [-V] [-w |-l]\n"
COMMANDS = ("bsub", "bjobs", "bkill", "bhist", "bparams")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_PAUSES", (0.0, 0.0))
    for name in [
        variable for variable in os.environ if variable.startswith(("LSB_", "LSF_", "BSUB_"))
    ]:
        monkeypatch.delenv(name)


class Lsf:
    """A folder of commands that log their calls and print scripted answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COMMANDS:
            self.says(name)

    def says(
        self, name: str, out: str = "", *, err: str = "", code: int = 0, body: str = ""
    ) -> None:
        (self.folder / f"{name}.out").write_text(out)
        (self.folder / f"{name}.err").write_text(err)
        script = self.folder / name
        script.write_text(
            "#!/bin/sh\n"
            f'for one; do printf "%s\\n" "$one"; done >> "$0.calls"; echo "--" >> "$0.calls"\n'
            f'env > "$0.env"\n{body}\n'
            f'cat "$0.out"; cat "$0.err" >&2; exit {code}\n'
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)

    def calls(self, name: str) -> list[list[str]]:
        path = self.folder / f"{name}.calls"
        calls: list[list[str]] = [[]]
        for line in path.read_text().splitlines() if path.exists() else []:
            if line == "--":
                calls.append([])
            else:
                calls[-1].append(line)
        return calls[:-1]

    def environment(self, name: str) -> dict[str, str]:
        lines = (self.folder / f"{name}.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.fixture
def lsf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lsf:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("LSF_ENVDIR", str(tmp_path))
    return Lsf(tmp_path)


def row(job: str, state: str, name: str = "n", user: str = ME, host: str = "") -> str:
    host = host or ("-" if state.startswith("P") else "h1")
    return f"{job:<7} {user:<7} {state:<5} normal     host  {host}      {name}  Nov 23 04:46\n"


def block(job: str, *events: str, user: str = ME) -> str:
    head = f"\nJob Id <{job}>, Job Name <n>, User <{user}>, Project <p>, Command <x>\n"
    return head + "".join(f"Mon Nov 23 04:46:44: {event}\n" for event in events)


def details(text: str) -> str:
    """Return a bjobs that prints this text when it is asked for details."""
    return f'[ "$1" != -l ] || {{ printf "%s" {shlex.quote(text)}; exit 0; }}'


def not_found(*jobs: str) -> str:
    return "".join(f"Job <{job}> is not found\n" for job in jobs)


# submit


@pytest.mark.parametrize("more", ["", "Job will be scheduled after Wed Nov 25 05:12:00 2026\n"])
def test_submit(lsf: Lsf, more: str) -> None:
    lsf.says("bsub", SUBMITTED + more, err="a warning\n")
    assert LSFExecutor().submit(REQUEST) == "32"
    assert lsf.calls("bsub")[0][-1] == (
        "{ cd / && REFLOW_JOB_ID=$LSB_JOBID.$LSB_JOBINDEX /r/1.sh; } >>/r/1.0.log 2>&1"
    )


@pytest.mark.parametrize(
    ("err", "code", "error"),
    [
        ("nosuch: No such queue. Job not submitted.", 255, SubmissionRefusedError),
        ("Bad job name. Job not submitted.", 255, SubmissionRefusedError),
        ("Root job submission is disabled. Job not submitted.", 255, SubmissionRefusedError),
        ("User <u>: Pending job threshold reached. Retrying in 60 seconds...\nJob not submitted.",
         255, SubmissionLimitError),
        ("The destination queue has reached its job limit. Job not submitted.", 255,
         SubmissionLimitError),
        ("Request from non-LSF host rejected. Job not submitted.", 255, SubmissionForbiddenError),
        (DOWN, 255, SchedulerUnreachableError),
        ("lsb_init: Failed in an LSF library call: Unable to open file lsf.conf", 255,
         SchedulerUnreachableError),
        ("", 0, SchedulerUnreachableError),  # no id: it is unknown whether the job was accepted
    ],
)  # fmt: skip
def test_a_submission_that_fails(lsf: Lsf, err: str, code: int, error: type[Exception]) -> None:
    lsf.says("bsub", err=err, code=code)
    with pytest.raises(ExecutorError) as caught:
        LSFExecutor().submit(REQUEST)
    assert type(caught.value) is error
    assert err.splitlines()[0] in str(caught.value) if err else "no job id" in str(caught.value)
    assert len(lsf.calls("bsub")) == 1, "what may have been taken is not submitted again"


@pytest.mark.parametrize(
    ("message", "error"),
    [("batch system daemon not responding ... still trying", SchedulerUnreachableError),
     ("User <u>: Pending job threshold reached. Retrying in 60 seconds...", SubmissionLimitError)],
)  # fmt: skip
@pytest.mark.usefixtures("limit_from_first_word")
def test_a_submission_that_waits_for_ever_is_ended(
    lsf: Lsf, message: str, error: type[Exception]
) -> None:
    lsf.says("bsub", body=f"echo {shlex.quote(message)} >&2; exec sleep 60")
    with pytest.raises(ExecutorError, match=r"within 0\.5 s") as caught:
        LSFExecutor(command_timeout=0.5).submit(REQUEST)
    assert type(caught.value) is error
    assert len(lsf.calls("bsub")) == 1


def test_environment_that_reaches_bsub(lsf: Lsf, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = (
        "BSUB_QUIET", "BSUB_BLOCK", "BSUB_STDERR", "LSB_JOBID", "LSB_JOBINDEX", "LSB_BJOBS_FORMAT",
        "LSB_BJOBS_DISPLAY_ENH", "LSB_QUEUE", "LSB_JOBNAME", "LSB_NTRIES", "LS_JOBPID",
        "LS_SUBCWD", "LSF_EAUTH_CLIENT", "REFLOW_JOB_TAG",
    )  # fmt: skip
    stays = ("LSF_BINDIR", "LSF_SERVERDIR", "LSB_DEFAULTQUEUE", "LSB_DEFAULTPROJECT", "MY_OWN")
    for name in (*gone, *stays):
        monkeypatch.setenv(name, "x")
    lsf.says("bsub", SUBMITTED)
    LSFExecutor().submit(REQUEST)
    environment = lsf.environment("bsub")
    assert {name: environment.get(name) for name in stays} == dict.fromkeys(stays, "x")
    assert [name for name in gone if environment.get(name) == "x"] == []
    assert (environment["LSB_NTRIES"], environment["LC_ALL"]) == ("1", "C")


def forgetful(job_ids: str) -> str:
    """Return a bsub that refuses the first job of the condition that is not in `job_ids`."""
    return f"""
while [ $# -gt 1 ]; do
  if [ "$1" = -w ]; then
    for one in $(echo "$2" | tr -c '0-9' ' '); do
      case " {job_ids} " in *" $one "*) ;; *)
        echo "$one: No matching job found. Job not submitted." >&2; exit 255;;
      esac
    done
  fi
  shift
done"""


def test_dependencies_on_what_lsf_has_forgotten_are_left_out_in_few_calls(lsf: Lsf) -> None:
    after = tuple(str(job) for job in range(100, 190))
    lsf.says("bsub", SUBMITTED, body=forgetful("150 160"))
    lsf.says("bjobs", row("150", "DONE") + row("160", "RUN"), code=255,
             err=not_found(*(job for job in after if job not in ("150", "160"))))  # fmt: skip
    assert LSFExecutor().submit(evolve(REQUEST, after=after, after_each="99")) == "32"
    last = lsf.calls("bsub")[-1]
    assert last[last.index("-w") + 1] == "ended(150) && ended(160)"
    assert [len(lsf.calls(name)) for name in ("bsub", "bjobs")] == [2, 1]


def test_job_waits_for_nothing_when_all_its_dependencies_are_forgotten(lsf: Lsf) -> None:
    lsf.says("bsub", SUBMITTED, body=forgetful(""))
    lsf.says("bjobs", err=not_found("101"), code=255)
    assert LSFExecutor().submit(evolve(REQUEST, after=("100", "101"))) == "32"
    assert "-w" not in lsf.calls("bsub")[-1]


def test_a_bsub_that_never_knows_is_asked_a_bounded_number_of_times(lsf: Lsf) -> None:
    after = tuple(str(job) for job in range(100, 190))
    lsf.says("bsub", SUBMITTED, body=forgetful(""))
    lsf.says("bjobs", "".join(row(job, "DONE") for job in after))
    with pytest.raises(SchedulerUnreachableError, match="No matching job found"):
        LSFExecutor().submit(evolve(REQUEST, after=after))
    assert len(lsf.calls("bsub")) == command.SUBMISSIONS


def test_an_unknown_job_that_no_dependency_named_is_a_refusal(lsf: Lsf) -> None:
    lsf.says("bsub", err="7: No matching job found. Job not submitted.\n", code=255)
    with pytest.raises(SubmissionRefusedError):
        LSFExecutor().submit(evolve(REQUEST, after=("8",)))
    assert len(lsf.calls("bsub")) == 1


def test_max_submit_jobs_holds_back_all_but_what_carries_the_run_on(lsf: Lsf) -> None:
    lsf.says("bsub", SUBMITTED)
    lsf.says("bjobs", row("5", "RUN", "a[1]") + row("5", "PEND", "a[2]") + row("6", "RUN"))
    executor = LSFExecutor(max_submit_jobs=4)
    assert executor.submit(REQUEST) == "32"
    with pytest.raises(SubmissionLimitError, match="3 jobs are in the queue, and 2 more"):
        executor.submit(evolve(REQUEST, size=2))
    assert executor.submit(evolve(REQUEST, size=2, auxiliary=True)) == "32"
    assert executor.capabilities.max_array_size == 2
    lsf.says("bjobs", err="No unfinished job found\n", code=255)
    assert executor.submit(evolve(REQUEST, size=2)) == "32"


def test_auxiliary_jobs_request_the_resources_set_for_them(lsf: Lsf) -> None:
    lsf.says("bsub", SUBMITTED)
    executor = LSFExecutor(queue="big", account="a", dispatch_queue="small", dispatch_time="5m")
    executor.submit(evolve(REQUEST, auxiliary=True))
    executor.submit(REQUEST)
    auxiliary, worker = lsf.calls("bsub")
    assert auxiliary[auxiliary.index("-q") + 1 :][:1] == ["small"]
    assert auxiliary[auxiliary.index("-W") + 1] == "5"
    assert worker[worker.index("-q") + 1] == "big"
    assert "-W" not in worker


# poll


def test_poll_asks_once_for_all_and_once_for_how_the_failed_ended(lsf: Lsf) -> None:
    lsf.says("bjobs", row("1", "RUN") + row("2", "EXIT", "a[1]") + row("2", "EXIT", "a[2]")
             + row("2", "DONE", "a[3]") + row("3", "DONE"),
             body=details(BLOCKS))  # fmt: skip
    statuses = LSFExecutor().poll(["1", "2", "3"])
    assert {job: status.state for job, status in statuses.items()} == {
        "1": LIVE,
        "2": ENDED,
        "3": ENDED,
    }
    assert {at: element.exit_code for at, element in statuses["2"].positions.items()} == {
        0: 3,
        1: 4,
        2: 0,
    }
    assert [call[0] for call in lsf.calls("bjobs")] == ["-a", "-l"]
    assert lsf.calls("bjobs")[1] == ["-l", "2[1-2]"]
    assert lsf.calls("bhist") == []


BLOCKS = block("2[1]", "Exited with exit code 3.") + block("2[2]", "Exited with exit code 4.")


def test_bhist_is_asked_who_killed_a_job_and_for_forgotten_jobs(lsf: Lsf) -> None:
    lsf.says("bjobs", row("1", "EXIT"), err=not_found("2", "3"), code=255,
             body=details(block("1", "Exited with exit code 143.")))  # fmt: skip
    lsf.says("bhist", block("1", "Signal <KILL> requested by user or administrator <me>;",
                            "Exited with exit code 143. The CPU time used is 0.0 seconds;")
             + block("2", "Done successfully. The CPU time used is 0.0 seconds;")
             + block("3", "Running with execution home </h>"))  # fmt: skip
    statuses = LSFExecutor().poll(["1", "2", "3"])
    assert {job: (status.state, status.cause) for job, status in statuses.items()} == {
        "1": (ENDED, "CANCELLED"), "2": (ENDED, "")
    }  # fmt: skip
    assert lsf.calls("bhist") == [["-l", "1", "2", "3"]]


def test_forgotten_jobs_are_absent_without_bhist(lsf: Lsf) -> None:
    lsf.says("bjobs", err=not_found("1"), code=255)
    assert LSFExecutor(bhist="no-such-bhist").poll(["1"]) == {}


def test_one_unknown_id_does_not_spoil_the_others(lsf: Lsf) -> None:
    lsf.says("bjobs", row("1", "RUN") + row("3", "DONE"), err=not_found("2"), code=255)
    assert sorted(LSFExecutor().poll(["1", "2", "3"])) == ["1", "3"]


def test_a_number_that_is_another_users_by_now_is_not_our_job(lsf: Lsf) -> None:
    lsf.says("bjobs", row("1", "RUN", user="other"))
    assert LSFExecutor().poll(["1"]) == {}


@pytest.mark.parametrize("err", [DOWN, "bjobs: something new", ""])
@pytest.mark.parametrize("ask", ["poll", "find", "cancel"])
def test_a_scheduler_that_is_down_is_never_a_job_that_is_gone(
    lsf: Lsf, err: str, ask: str
) -> None:
    lsf.says("bjobs", err=err, code=255)
    lsf.says("bhist", block("1", "Done successfully."))
    with pytest.raises(SchedulerUnreachableError):
        getattr(LSFExecutor(), ask)(["1"])


def test_a_scheduler_that_comes_back_is_asked_again(lsf: Lsf) -> None:
    once = f'[ -e "$0.up" ] || {{ : > "$0.up"; echo "{DOWN}" >&2; exit 255; }}'
    lsf.says("bjobs", row("1", "RUN"), body=once)
    assert LSFExecutor().poll(["1"])["1"].running
    assert len(lsf.calls("bjobs")) == 2


def test_calls_grow_with_neither_elements_nor_failures(lsf: Lsf) -> None:
    rows = "".join(row("7", "EXIT", f"a[{at}]") for at in range(1, 1001))
    lsf.says("bjobs", rows, body='[ "$1" != -l ] || exit 0')
    LSFExecutor().poll(["7"])
    assert [len(lsf.calls(name)) for name in ("bjobs", "bhist")] == [2, 0]
    jobs = [str(job) for job in range(1, 2 * CHUNK + 1)]
    lsf.says("bjobs", "".join(row(job, "RUN") for job in jobs))
    assert len(LSFExecutor().poll(jobs)) == len(jobs)
    assert len(lsf.calls("bjobs")) == 4


def test_ibm_is_asked_for_json_and_for_nothing_else(lsf: Lsf) -> None:
    record = {"JOBID": "1", "JOBINDEX": "0", "USER": ME, "STAT": "EXIT", "EXEC_HOST": "h",
              "EXIT_CODE": "140", "EXIT_REASON": "TERM_RUNLIMIT: job killed"}  # fmt: skip
    gone = {"JOBID": "2", "ERROR": "Job <2> is not found"}
    lsf.says("bjobs", json.dumps({"RECORDS": [record, gone]}), err=not_found("2"), code=255)
    statuses = LSFExecutor(dialect="json", bhist="none").poll(["1", "2"])
    assert {job: status.cause for job, status in statuses.items()} == {"1": "TIMEOUT"}
    assert [call[:2] for call in lsf.calls("bjobs")] == [["-a", "-o"]]
    assert lsf.calls("bjobs")[0][3:] == ["-json", "1", "2"]


def test_an_unknown_state_warns_and_is_no_success(
    lsf: Lsf, caplog: pytest.LogCaptureFixture
) -> None:
    lsf.says("bjobs", row("1", "DANCE") + row("2", "SING", "a[1]") + row("3", "UNKWN"))
    with caplog.at_level(logging.WARNING):
        statuses = LSFExecutor().poll(["1", "2", "3"])
    assert {status.cause for status in statuses.values()} == {"UNKNOWN"}
    assert {status.state for status in statuses.values()} == {LIVE}
    assert ["DANCE" in caplog.text, "SING" in caplog.text, "UNKWN" in caplog.text] == [
        True, True, False
    ]  # fmt: skip


def test_a_job_that_can_never_start_is_held_with_its_reason(lsf: Lsf) -> None:
    reason = " Dependency condition invalid or never satisfied: 1 host;\n"
    lsf.says("bjobs", row("1", "PEND") + reason + row("2", "PSUSP") + row("3", "PEND")
             + " New job is waiting for scheduling: 1 host;\n")  # fmt: skip
    statuses = LSFExecutor(dialect="openlava").poll(["1", "2", "3"])
    assert {job: status.cause for job, status in statuses.items()} == {
        "1": "HELD",
        "2": "HELD",
        "3": "",
    }
    assert "never satisfied" in statuses["1"].reason


@pytest.mark.parametrize(("dialect", "asks"), [("openlava", True), ("table", False), (None, False)])
def test_pending_reasons_are_requested_only_where_bjobs_p_lists_all_jobs(
    lsf: Lsf, dialect: str | None, asks: bool
) -> None:
    lsf.says("bjobs", row("1", "RUN"))
    LSFExecutor(dialect=dialect).poll(["1"])
    assert ("-p" in lsf.calls("bjobs")[0]) is asks


def test_poll_and_find_of_nothing_ask_nothing(lsf: Lsf) -> None:
    assert LSFExecutor().poll([]) == LSFExecutor().find([]) == {}
    LSFExecutor().cancel([])
    assert [len(lsf.calls(name)) for name in ("bjobs", "bkill", "bhist")] == [0, 0, 0]


# find


def test_find_asks_once_for_names_that_begin_alike(lsf: Lsf) -> None:
    lsf.says("bjobs", row("12", "RUN", "f-1.1.1.w") + row("13", "DONE", "f-1.1.2.w[1]")
             + row("13", "RUN", "f-1.1.2.w[2]") + row("99", "RUN", "f-1.1.22.w"))  # fmt: skip
    jobs = LSFExecutor().find(["f-1.1.1.w", "f-1.1.2.w", "f-1.1.3.g"])
    assert jobs == {"f-1.1.1.w": "12", "f-1.1.2.w": "13"}
    assert [call[call.index("-J") + 1] for call in lsf.calls("bjobs")] == ["f-1.1.*"]


def test_find_knows_a_tag_by_the_name_that_it_was_submitted_with(lsf: Lsf) -> None:
    tag = "my flow[*], 1.1.w"
    lsf.says("bsub", SUBMITTED)
    LSFExecutor().submit(evolve(REQUEST, tag=tag))
    call = lsf.calls("bsub")[0]
    name = call[call.index("-J") + 1]
    lsf.says("bjobs", row("32", "RUN", name))
    assert LSFExecutor().find([tag]) == {tag: "32"}
    argv = lsf.calls("bjobs")[0]
    assert argv[argv.index("-J") + 1] == name


def test_find_of_what_is_not_there(lsf: Lsf) -> None:
    lsf.says("bjobs", err="Job <f-1.1.*> is not found\n", code=255)
    assert LSFExecutor().find(["f-1.1.1.w", "f-1.1.2.w"]) == {}


# cancel


def test_cancel_takes_what_waits_as_a_whole_and_then_names_what_runs(lsf: Lsf) -> None:
    lsf.says("bjobs", row("1", "RUN") + row("2", "RUN", "a[2]") + row("2", "RUN", "a[3]")
             + row("2", "PEND", "a[4]") + row("2", "DONE", "a[1]") + row("3", "PEND", "b[1]")
             + row("4", "EXIT"), err=not_found("5"), code=255)  # fmt: skip
    lsf.says("bkill", err="Job <2>: Operation is in progress\n", code=255)
    LSFExecutor().cancel(["1", "2", "3", "4", "5"])
    assert lsf.calls("bkill") == [["2", "3"], ["1", "2[2-3]"]]


@pytest.mark.parametrize("err", ["", "No unfinished job found\n", not_found("1")])
def test_cancel_of_what_is_gone_kills_nothing(lsf: Lsf, err: str) -> None:
    lsf.says("bjobs", row("1", "DONE") if not err else "", err=err, code=255 if err else 0)
    LSFExecutor().cancel(["1"])
    assert lsf.calls("bkill") == []


@pytest.mark.parametrize(
    "err", ["Job <1>: Job has already finished", "Job <1>: No matching job found",
            "Job <1>: Operation is in progress", "Job <1>: User permission denied"],
)  # fmt: skip
def test_cancel_of_what_has_just_gone_is_no_error(lsf: Lsf, err: str) -> None:
    lsf.says("bjobs", row("1", "RUN"))
    lsf.says("bkill", err=f"{err}\n", code=255)
    LSFExecutor().cancel(["1"])


@pytest.mark.parametrize(
    ("err", "error"),
    [(DOWN, SchedulerUnreachableError), ("Job <1>: Bad argument", ExecutorError),
     ("", ExecutorError), ("Job <1>: Job has already finished\nodd", ExecutorError)],
)  # fmt: skip
def test_a_cancel_that_fails_says_so(lsf: Lsf, err: str, error: type[Exception]) -> None:
    lsf.says("bjobs", row("1", "RUN"))
    lsf.says("bkill", err=err, code=255)
    with pytest.raises(ExecutorError) as caught:
        LSFExecutor().cancel(["1"])
    assert type(caught.value) is error


def test_cancel_in_chunks(lsf: Lsf) -> None:
    jobs = [str(job) for job in range(CHUNK + 1)]
    lsf.says("bjobs", "".join(row(job, "PEND") for job in jobs))
    LSFExecutor().cancel(jobs)
    assert [len(lsf.calls(name)) for name in ("bjobs", "bkill")] == [2, 2]


# settings


def test_located_finds_out_what_lsf_this_is(lsf: Lsf) -> None:
    lsf.says("bparams", "    MAX_JOB_ARRAY_SIZE = 4000\n\n")
    lsf.says("bsub", err="OpenLava 4.0dev4, Nov 25 2026\n")
    (lsf.folder / "lsf.conf").write_text("LSF_UNIT_FOR_LIMITS=MB\n")
    executor = LSFExecutor().located()
    assert (executor.dialect, executor.max_array_size, executor.memory_unit) == (
        "openlava",
        4000,
        "MB",
    )
    assert executor.capabilities.max_array_size == 4000
    assert executor.bsub == str(lsf.folder / "bsub")
    assert executor.located() == executor
    assert [len(lsf.calls(name)) for name in ("bparams", "bsub", "bjobs")] == [1, 1, 0]


@pytest.mark.parametrize(
    ("err", "dialect"),
    [("No unfinished job found\n", "json"), (USAGE, "table"), ("", "json"), (DOWN, None),
     ("bjobs: Illegal option -- o\n", "table")],
)  # fmt: skip
def test_the_dialect_of_what_is_not_openlava(lsf: Lsf, err: str, dialect: str | None) -> None:
    lsf.says("bsub", err="IBM Spectrum LSF Standard 10.1.0.12, Jun 10 2021\n")
    lsf.says("bjobs", err=err, code=255 if err else 0)
    assert LSFExecutor().located().dialect == dialect
    assert lsf.calls("bjobs")[0] == ["-o", "jobid", "-json"]


def test_defaults_of_lsf_count_where_settings_are_missing(lsf: Lsf) -> None:
    for name in COMMANDS:
        lsf.says(name, err=DOWN, code=255)
    executor = LSFExecutor().located()
    assert (executor.dialect, executor.memory_unit, executor.max_array_size) == (None, "", None)
    assert executor.capabilities.max_array_size == 1000


def test_configured_settings_are_not_asked_for(lsf: Lsf) -> None:
    configured = LSFExecutor(max_array_size=50, memory_unit="GB", dialect="table")
    executor = configured.located()
    assert (executor.max_array_size, executor.memory_unit, executor.dialect) == (50, "GB", "table")
    assert [lsf.calls(name) for name in COMMANDS] == [[]] * len(COMMANDS)


def test_gpus_by_dialect(lsf: Lsf) -> None:
    lsf.says("bsub", SUBMITTED)
    job_request = evolve(REQUEST, resources=Resources(gpus=2))
    assert LSFExecutor(dialect="json").submit(job_request) == "32"
    assert "num=2" in lsf.calls("bsub")[0]
    with pytest.raises(SubmissionRefusedError, match="no -gpu"):
        LSFExecutor(dialect="openlava").submit(job_request)


def test_check_names_the_command_that_is_missing(lsf: Lsf) -> None:
    LSFExecutor(bhist="no-such", bparams="no-such").check()
    with pytest.raises(ExecutorError, match=r"no command 'no-such'.*set bjobs in"):
        LSFExecutor(bjobs="no-such").check()


@pytest.mark.parametrize(
    "make",
    [lambda: LSFExecutor(max_array_size=0), lambda: LSFExecutor(max_submit_jobs=1),
     lambda: LSFExecutor(memory_unit="K"), lambda: LSFExecutor(dialect="slurm"),
     lambda: LSFExecutor(bsub="")],
)  # fmt: skip
def test_settings_that_make_no_sense(make: Callable[[], LSFExecutor]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (the wording is attrs')
        make()


def test_user_without_a_passwd_entry_can_poll(
    lsf: Lsf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    lsf.says("bjobs", row("1", "RUN", user="4711"))
    assert LSFExecutor().poll(["1"])["1"].running
