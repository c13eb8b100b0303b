"""The executor on tiny fake commands: its calls, and how it handles bad answers."""

from __future__ import annotations

import logging
import os
import pwd
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
from reflow.values.codec import structure, unstructure
from reflow_pbs.executor import ASKED, CHUNK, PBSExecutor

ME = pwd.getpwuid(os.getuid()).pw_name
REQUEST = JobRequest(
    tag="f-1.1.1.w", name="f-1.step", script="/r/1.sh", directory="/", log="/r/1.{position}.log"
)
DOWN = "Connection refused\nqstat: cannot connect to server pbshost (errno=15010)"
NO_HISTORY = "qstat: PBS is not configured to maintain job history 1.pbshost"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_PAUSES", (0.0, 0.0))
    for name in [variable for variable in os.environ if variable.startswith("PBS_")]:
        monkeypatch.delenv(name)


class PBS:
    """A folder of commands that log their calls and print scripted answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("qsub", "qstat", "qdel", "qselect", "qalter"):
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
def pbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PBS:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return PBS(tmp_path)


def entry(job: str, state: str, **more: str) -> str:
    lines = {"Job_Owner": f"{ME}@pbshost", "job_state": state, **more}
    return f"Job Id: {job}\n" + "".join(f"    {name} = {value}\n" for name, value in lines.items())


def ended(job: str, code: str = "0") -> str:
    return entry(job, "F", substate="92" if code == "0" else "93", Exit_status=code,
                stime="Wed Nov 25 03:42:31 2026")  # fmt: skip


def shell_lines(jobs: list[str]) -> str:
    return f"printf '%s\\n' {' '.join(jobs)}"


# submit


@pytest.mark.parametrize("out", ["32.pbshost\n", "Welcome!\n32.pbshost\n"])
def test_submit(pbs: PBS, out: str) -> None:
    pbs.says("qsub", out, err="a site's greeting\n")
    assert PBSExecutor().submit(REQUEST) == "32.pbshost"
    assert pbs.calls("qsub")[0].endswith("/r/1.sh")
    assert pbs.calls("qselect") == pbs.calls("qstat") == []


@pytest.mark.parametrize(
    ("err", "code", "error"),
    [
        ("qsub: Unknown queue", 170, SubmissionRefusedError),
        ("qsub: illegal -J value\nusage: qsub", 2, SubmissionRefusedError),
        ("qsub: Array job exceeds server or queue size limit", 3, SubmissionRefusedError),
        ("qsub: Access from host not allowed, or unknown host", 160, SubmissionForbiddenError),
        ("qsub: would exceed complex's per-user limit", 38, SubmissionLimitError),
        ("Connection refused\nqsub: cannot connect to server pbshost (errno=15010)", 162,
         SchedulerUnreachableError),
        ("", 0, SchedulerUnreachableError),  # no id: it is unknown whether the job was accepted
    ],
)  # fmt: skip
def test_a_submission_that_fails(pbs: PBS, err: str, code: int, error: type[Exception]) -> None:
    pbs.says("qsub", err=err, code=code)
    with pytest.raises(ExecutorError) as caught:
        PBSExecutor().submit(REQUEST)
    assert type(caught.value) is error
    assert err.splitlines()[0] in str(caught.value) if err else "no job id" in str(caught.value)
    assert len(pbs.calls("qsub")) == 1, "what may have been taken is not submitted again"


@pytest.mark.usefixtures("limit_from_first_word")
def test_a_submission_that_takes_too_long_is_in_doubt(pbs: PBS) -> None:
    pbs.says("qsub", body="echo begun >&2; exec sleep 60")
    with pytest.raises(SchedulerUnreachableError, match=r"within 0\.5 s"):
        PBSExecutor(command_timeout=0.5).submit(REQUEST)
    assert len(pbs.calls("qsub")) == 1


def test_a_job_that_waits_is_looked_for_once(pbs: PBS) -> None:
    pbs.says("qsub", "32.pbshost\n")
    pbs.says("qselect", "30.pbshost\n32.pbshost\n")
    assert PBSExecutor().submit(evolve(REQUEST, after=("30.pbshost",))) == "32.pbshost"
    assert len(pbs.calls("qsub")) == len(pbs.calls("qselect")) == 1


def test_a_job_that_pbs_deleted_is_submitted_again_without_what_has_ended(pbs: PBS) -> None:
    # The first submission is lost, since 29 has ended; the second is kept.
    pbs.says("qsub", body='n=$(wc -l < "$0.calls"); echo $((30 + n)).pbshost')
    pbs.says("qselect", "30[].pbshost\n32.pbshost\n")
    pbs.says("qstat", entry("31.pbshost", "F", substate="92"))
    request = evolve(REQUEST, after=("29.pbshost", "30[].pbshost"))
    assert PBSExecutor().submit(request) == "32.pbshost"
    first, second = pbs.calls("qsub")
    assert "depend=afterany:29.pbshost:30[].pbshost" in first
    assert "depend=afterany:30[].pbshost" in second


def test_job_is_submitted_without_dependencies_that_are_all_gone(pbs: PBS) -> None:
    pbs.says("qsub", body='n=$(wc -l < "$0.calls"); echo $((30 + n)).pbshost')
    pbs.says("qstat", err="qstat: Unknown Job Id 31.pbshost\n", code=153)
    assert PBSExecutor().submit(evolve(REQUEST, after=("29.pbshost",))) == "32.pbshost"
    assert "depend" not in pbs.calls("qsub")[1]


def test_a_job_that_has_run_already_is_not_submitted_again(pbs: PBS) -> None:
    pbs.says("qsub", "31.pbshost\n")
    pbs.says("qstat", ended("31.pbshost"))
    assert PBSExecutor().submit(evolve(REQUEST, after=("29.pbshost",))) == "31.pbshost"
    assert len(pbs.calls("qsub")) == 1


def test_a_job_that_somebody_deleted_stays_deleted(pbs: PBS) -> None:
    pbs.says("qsub", "31.pbshost\n")
    pbs.says("qselect", "29.pbshost\n")
    assert PBSExecutor().submit(evolve(REQUEST, after=("29.pbshost",))) == "31.pbshost"
    assert len(pbs.calls("qsub")) == 1


def test_submission_is_in_doubt_when_the_job_cannot_be_looked_up(pbs: PBS) -> None:
    pbs.says("qsub", "31.pbshost\n")
    pbs.says("qselect", err=DOWN, code=162)
    with pytest.raises(SchedulerUnreachableError):
        PBSExecutor().submit(evolve(REQUEST, after=("29.pbshost",)))


def test_environment_that_reaches_qsub(pbs: PBS, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = ("PBS_JOBID", "PBS_ARRAY_INDEX", "PBS_ARRAY_ID", "PBS_O_WORKDIR", "PBS_NODEFILE",
            "PBS_DPREFIX", "PBS_ENVIRONMENT", "REFLOW_JOB_TAG")  # fmt: skip
    stays = ("PBS_CONF_FILE", "PBS_SERVER", "PBS_EXEC", "MY_OWN")
    for name in (*gone, *stays):
        monkeypatch.setenv(name, "x")
    pbs.says("qsub", "32.pbshost\n")
    PBSExecutor().submit(REQUEST)
    environment = pbs.environment("qsub")
    assert {name: environment.get(name) for name in stays} == dict.fromkeys(stays, "x")
    assert [name for name in gone if name in environment] == []
    assert environment["LC_ALL"] == "C"


def test_umask_of_the_submitter_applies_to_the_job(pbs: PBS) -> None:
    pbs.says("qsub", "32.pbshost\n")
    before = os.umask(0o027)
    try:
        PBSExecutor().submit(REQUEST)
    finally:
        os.umask(before)
    assert "-W umask=0027" in pbs.calls("qsub")[0]


def test_max_submit_jobs_holds_back_all_but_what_carries_the_run_on(pbs: PBS) -> None:
    pbs.says("qsub", "32.pbshost\n")
    pbs.says("qselect", "5[].pbshost\n5[0].pbshost\n5[1].pbshost\n6.pbshost\n")
    executor = PBSExecutor(max_submit_jobs=4)
    assert executor.submit(REQUEST) == "32.pbshost"
    with pytest.raises(SubmissionLimitError, match="3 jobs are in the queue, and 2 more"):
        executor.submit(evolve(REQUEST, size=2))
    assert executor.submit(evolve(REQUEST, size=9, auxiliary=True)) == "32.pbshost"
    assert executor.capabilities.max_array_size == 2


# poll


def test_poll_asks_once_for_all(pbs: PBS) -> None:
    pbs.says("qstat", entry("1.pbshost", "R") + ended("2.pbshost", "3"),
             err="qstat: Unknown Job Id 3.pbshost\n", code=153)  # fmt: skip
    statuses = PBSExecutor().poll(["1.pbshost", "2.pbshost", "3.pbshost"])
    assert {job: (status.state, status.exit_code) for job, status in statuses.items()} == {
        "1.pbshost": (LIVE, None), "2.pbshost": (ENDED, 3)
    }  # fmt: skip
    assert pbs.calls("qstat") == ["-x -t -f 1.pbshost 2.pbshost 3.pbshost"]
    assert pbs.calls("qselect") == []


def test_poll_of_nothing_asks_nothing(pbs: PBS) -> None:
    assert PBSExecutor().poll([]) == {}
    assert pbs.calls("qstat") == []


def test_poll_asks_without_history_where_the_server_keeps_none(pbs: PBS) -> None:
    output = entry("1.pbshost", "R").replace("\n", "\\n")
    pbs.says("qstat", body=f'case "$*" in *-x*) echo "{NO_HISTORY}" >&2; exit 0;; esac\n'
                           f'printf "{output}"')  # fmt: skip
    assert PBSExecutor().poll(["1.pbshost"])["1.pbshost"].running
    assert len(pbs.calls("qstat")) == 2
    assert PBSExecutor(history=False).poll(["1.pbshost"])["1.pbshost"].running
    assert len(pbs.calls("qstat")) == 3


def test_job_that_is_gone_is_absent_without_history(pbs: PBS) -> None:
    pbs.says("qstat", err="qstat: Unknown Job Id 1.pbshost\n", code=153)
    assert PBSExecutor(history=False).poll(["1.pbshost"]) == {}


@pytest.mark.parametrize(
    ("out", "err", "code"),
    [("", DOWN, 255), ("{}", DOWN, 255), ("", "", 1), ("", "qstat: something new", 1),
     ("", "qstat: something new", 0), ("", "qstat: Unknown Job Id 1.h\nqstat: odd", 153)],
)  # fmt: skip
def test_a_server_that_does_not_answer_is_no_absence(
    pbs: PBS, out: str, err: str, code: int
) -> None:
    pbs.says("qstat", out, err=err, code=code)
    with pytest.raises(SchedulerUnreachableError):
        PBSExecutor().poll(["1.h"])


def test_a_server_that_comes_back_is_asked_again(pbs: PBS) -> None:
    once = f'[ -e "$0.up" ] || {{ : > "$0.up"; echo "{DOWN}" >&2; exit 255; }}'
    pbs.says("qstat", entry("1.pbshost", "R"), body=once)
    assert PBSExecutor().poll(["1.pbshost"])["1.pbshost"].running
    assert len(pbs.calls("qstat")) == 2


def test_many_ids_do_not_take_all_reserved_ports(pbs: PBS) -> None:
    jobs = [f"{number}.pbshost" for number in range(1, 501)]
    alive, listed = (shell_lines(jobs[start:499]) for start in (5, 0))
    pbs.says("qselect", body=f'case "$*" in *-x*) {listed};; *) {alive};; esac')
    pbs.says("qstat", "".join(ended(job) for job in jobs[:5]))
    statuses = PBSExecutor().poll(jobs)
    [call] = pbs.calls("qstat")
    assert len(call.split()) - 3 == ASKED
    assert call.split()[3:8] == jobs[:5], "what has left the queue comes first"
    assert len(pbs.calls("qselect")) == 2
    assert {statuses[job].state for job in jobs[:5]} == {ENDED}
    assert {statuses[job].state for job in jobs[ASKED:499]} == {LIVE}
    assert jobs[499] not in statuses, "nobody knows it"


def test_many_ended_jobs_are_asked_for_in_turns(pbs: PBS) -> None:
    jobs = [f"{number}.pbshost" for number in range(1, 101)]
    pbs.says("qselect", body=f'case "$*" in *-x*) {shell_lines(jobs)};; esac')
    pbs.says("qstat", "".join(ended(job) for job in jobs[:ASKED]))
    statuses = PBSExecutor(history=True).poll(jobs)
    assert sum(status.state == ENDED for status in statuses.values()) == ASKED
    assert len(statuses) == 100, "none of the others is taken for lost"
    # If the server forgets ended jobs at once, there is nothing to wait for.
    assert PBSExecutor(history=False).poll(jobs) == {}


def test_job_that_waits_for_one_that_is_gone_is_released(pbs: PBS) -> None:
    gone = {"depend": "afterany:1.pbshost@pbshost", "substate": "22", "Hold_Types": "s"}
    kept = {**gone, "depend": "afterany:1.pbshost@pbshost:2.pbshost@pbshost"}
    pbs.says("qstat", entry("3.pbshost", "H", **gone) + entry("4.pbshost", "H", **kept))
    pbs.says("qselect", "2.pbshost\n3.pbshost\n4.pbshost\n")
    statuses = PBSExecutor().poll(["3.pbshost", "4.pbshost"])
    assert {status.state for status in statuses.values()} == {LIVE}
    assert pbs.calls("qalter") == ["-W depend=afterany:1.pbshost 3.pbshost"]


def test_job_that_waits_for_a_living_one_is_left_alone(pbs: PBS) -> None:
    waits = {"depend": "afterany:1.pbshost@pbshost", "substate": "22", "Hold_Types": "s"}
    pbs.says("qstat", entry("1.pbshost", "R") + entry("3.pbshost", "H", **waits))
    PBSExecutor().poll(["1.pbshost", "3.pbshost"])
    assert pbs.calls("qselect") == pbs.calls("qalter") == []


@pytest.mark.parametrize("missing", [True, False])
def test_poll_warns_when_waiting_jobs_cannot_be_released(
    pbs: PBS, caplog: pytest.LogCaptureFixture, missing: bool
) -> None:
    waits = {"depend": "afterany:1.pbshost@pbshost", "substate": "22", "Hold_Types": "s"}
    pbs.says("qstat", entry("3.pbshost", "H", **waits))
    pbs.says("qalter", err="qalter: Unauthorized Request 3.pbshost\n", code=159)
    executor = PBSExecutor(qalter="no-such-qalter" if missing else "qalter")
    with caplog.at_level(logging.WARNING):
        assert executor.poll(["3.pbshost"])["3.pbshost"].state == LIVE
    assert "qalter" in caplog.text


def test_an_unknown_state_warns_and_is_no_success(
    pbs: PBS, caplog: pytest.LogCaptureFixture
) -> None:
    pbs.says(
        "qstat", entry("1.pbshost", "Y") + entry("2[].pbshost", "B") + entry("2[0].pbshost", "Z")
    )
    with caplog.at_level(logging.WARNING):
        statuses = PBSExecutor().poll(["1.pbshost", "2[].pbshost"])
    assert statuses["1.pbshost"].cause == statuses["2[].pbshost"].positions[0].cause == "UNKNOWN"
    assert ["state Y" in caplog.text, "state Z" in caplog.text] == [True, True]


def test_a_number_that_is_anothers_by_now_is_absent(pbs: PBS) -> None:
    pbs.says("qstat", entry("1.pbshost", "R").replace(ME, "somebody"))
    assert PBSExecutor().poll(["1.pbshost"]) == {}


# find


def test_find_asks_by_name_and_takes_the_last(pbs: PBS) -> None:
    pbs.says("qselect", body='case "$*" in *1.w*) echo 9.pbshost; echo 12[].pbshost;; esac')
    assert PBSExecutor().find(["f-1.1.1.w", "f-1.1.3.g"]) == {"f-1.1.1.w": "12[].pbshost"}
    assert pbs.calls("qselect")[0] == f"-x -u {ME} -N f-1.1.1.w"


def test_many_tags_are_looked_for_among_all_jobs(pbs: PBS) -> None:
    tags = [f"f-1.1.{number}.w" for number in range(50)]
    own = [entry(f"{number}.h", "R", Job_Name=tags[number]) for number in range(40)]
    again = entry("77[].h", "Q", Job_Name=tags[0])
    foreign = entry("99.h", "R", Job_Name=tags[45]).replace(ME, "somebody")
    pbs.says("qstat", "".join([again, *own, foreign]))
    ids = PBSExecutor().find(tags)
    assert ids == {tags[0]: "77[].h", **{tags[at]: f"{at}.h" for at in range(1, 40)}}
    assert pbs.calls("qstat") == ["-x -f"]
    assert pbs.calls("qselect") == []


def test_find_knows_a_tag_by_the_name_that_it_was_submitted_with(pbs: PBS) -> None:
    tag = "my flow, 1.1.w"
    pbs.says("qsub", "12.pbshost\n")
    PBSExecutor().submit(evolve(REQUEST, tag=tag))
    name = pbs.calls("qsub")[0].partition("-N ")[2].partition(" ")[0]
    pbs.says("qselect", body=f'case "$*" in *"-N {name}"*) echo 12.pbshost;; esac')
    assert PBSExecutor().find([tag]) == {tag: "12.pbshost"}


def test_find_without_history_says_what_the_queue_knows(pbs: PBS) -> None:
    pbs.says("qselect", body=f'case "$*" in *-x*) echo "{NO_HISTORY}" >&2;; *) echo 12.h;; esac')
    assert PBSExecutor().find(["a.1.w"]) == {"a.1.w": "12.h"}


def test_find_never_takes_a_server_that_is_down_for_no_job(pbs: PBS) -> None:
    pbs.says("qselect", err=DOWN, code=162)
    with pytest.raises(SchedulerUnreachableError):
        PBSExecutor().find(["a"])


# cancel


def test_cancel_in_chunks_what_is_in_the_queue(pbs: PBS) -> None:
    jobs = [f"{number}.pbshost" for number in range(CHUNK + 1)]
    pbs.says("qselect", "".join(f"{job}\n" for job in [*jobs, "999.pbshost"]))
    pbs.says("qstat", entry("999.pbshost", "R"))
    PBSExecutor().cancel([*jobs, "1000.pbshost"])
    assert sorted(len(line.split()) for line in pbs.calls("qdel")) == [1, CHUNK]
    assert "1000.pbshost" not in " ".join(pbs.calls("qdel"))


def test_cancel_releases_jobs_behind_one_that_never_began(pbs: PBS) -> None:
    # PBS no longer has job 1 after its deletion, and job 2 waits for it.
    body = '[ -e "$0.gone" ] && echo 2.pbshost || echo 1.pbshost; : > "$0.gone"'
    pbs.says("qselect", body=body)
    waits = {"depend": "afterany:1.pbshost@pbshost", "substate": "22", "Hold_Types": "s"}
    pbs.says("qstat", entry("2.pbshost", "H", **waits))
    PBSExecutor().cancel(["1.pbshost"])
    assert pbs.calls("qalter") == ["-W depend=afterany:1.pbshost 2.pbshost"]


def test_cancel_of_what_is_gone_or_of_nothing_deletes_nothing(pbs: PBS) -> None:
    PBSExecutor().cancel(["1.pbshost"])
    PBSExecutor().cancel([])
    assert pbs.calls("qdel") == []
    assert len(pbs.calls("qselect")) == 1


@pytest.mark.parametrize(
    "err",
    ["qdel: Job has finished 1.pbshost", "qdel: Unknown Job Id 1.pbshost",
     "qdel: Unauthorized Request  1.pbshost", "qdel: Request invalid for state of job 1.pbshost"],
)  # fmt: skip
def test_cancel_of_a_job_that_ends_meanwhile_is_no_error(pbs: PBS, err: str) -> None:
    pbs.says("qselect", "1.pbshost\n")
    pbs.says("qdel", err=f"{err}\n", code=35)
    PBSExecutor().cancel(["1.pbshost"])


@pytest.mark.parametrize(
    ("err", "error"),
    [("Connection refused\nCouldn't connect to cluster: pbshost", SchedulerUnreachableError),
     ("qdel: Unknown Job Id 1.pbshost\nqdel: odd", ExecutorError), ("", ExecutorError)],
)  # fmt: skip
def test_a_cancel_that_fails_says_so(pbs: PBS, err: str, error: type[Exception]) -> None:
    pbs.says("qselect", "1.pbshost\n")
    pbs.says("qdel", err=err, code=162)
    with pytest.raises(ExecutorError) as caught:
        PBSExecutor().cancel(["1.pbshost"])
    assert type(caught.value) is error


# settings

SERVER = "Server: pbshost\n    max_array_size = 4000\n    job_history_enable = True\n"


def test_located_asks_once_for_dialect_largest_array_and_history(pbs: PBS) -> None:
    pbs.says("qstat", SERVER)
    executor = PBSExecutor().located()
    assert executor.capabilities.max_array_size == 4000
    assert (executor.history, executor.torque) == (True, False)
    assert executor.qsub == str(pbs.folder / "qsub")
    assert executor.located() == executor
    assert structure(unstructure(executor), PBSExecutor) == executor
    assert pbs.calls("qstat") == ["--version", "-B -f"]


def test_default_counts_for_what_the_server_does_not_report(pbs: PBS) -> None:
    pbs.says("qstat", "Server: pbshost\n")
    executor = PBSExecutor().located()
    assert (executor.capabilities.max_array_size, executor.history) == (10000, False)


def test_a_server_that_is_down_leaves_it_open(pbs: PBS) -> None:
    pbs.says("qstat", err=DOWN, code=255)
    executor = PBSExecutor().located()
    assert (executor.capabilities.max_array_size, executor.history) == (10000, None)


def test_configured_settings_are_not_asked_for(pbs: PBS) -> None:
    executor = PBSExecutor(max_array_size=50, history=True, torque=False).located()
    assert executor.capabilities.max_array_size == 50
    assert pbs.calls("qstat") == []


def test_check_names_the_command_that_is_missing(pbs: PBS) -> None:
    pbs.says("qstat", "pbs_version = 23.06.06\n")
    PBSExecutor(qalter="no-such").check()
    with pytest.raises(ExecutorError, match=r"no command 'no-such'.*set qselect in"):
        PBSExecutor(qselect="no-such").check()


@pytest.mark.parametrize(
    ("out", "err", "code"),
    [("", "Unknown option --version", 1), ("", "", 0), ("SGE 8.1.9\nusage: qstat", "", 0)],
)
def test_check_tells_other_programs_of_the_same_name(
    pbs: PBS, out: str, err: str, code: int
) -> None:
    pbs.says("qstat", out, err=err, code=code)
    with pytest.raises(ExecutorError, match="Grid Engine has commands"):
        PBSExecutor().check()


@pytest.mark.parametrize(
    "make",
    [lambda: PBSExecutor(max_array_size=0), lambda: PBSExecutor(max_submit_jobs=1),
     lambda: PBSExecutor(min_poll_interval=-1), lambda: PBSExecutor(command_timeout=0),
     lambda: PBSExecutor(qsub="")],
)  # fmt: skip
def test_settings_that_make_no_sense(make: Callable[[], PBSExecutor]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (the wording is attrs')
        make()


# Torque

TORQUE = PBSExecutor(torque=True, history=False)
DROPPED = "qsub: submit error (Invalid Job Dependency)"
OVER = "qsub: submit error (Maximum number of jobs already in queue for user MSG=total number)"
NOT_HERE = "qsub: submit error (Bad UID for job execution MSG=ruserok failed validating me from n)"


def shown(job: str, state: str, **more: str) -> str:
    return entry(job, state, submit_args="-N x -t 0-2%1 -", **more)


@pytest.mark.parametrize("message", ["Version: 6.1.3.h5\nCommit: \n", "version: 2.5.13\n"])
def test_torque_is_recognised_by_its_version(pbs: PBS, message: str) -> None:
    limit = "Server: pbshost\\n    pbs_version = 6.1.3\\n    max_job_array_size = 300\\n"
    body = f'case "$*" in --version) cat "$0.err" >&2;; *) printf "{limit}";; esac; exit 0'
    pbs.says("qstat", err=message, body=body)
    PBSExecutor().check()
    executor = PBSExecutor().located()
    assert (executor.torque, executor.history) == (True, False)
    assert executor.capabilities.max_array_size == 300
    assert executor.located() == executor
    assert structure(unstructure(executor), PBSExecutor) == executor
    assert pbs.calls("qstat") == ["--version"] * 2 + ["-B -f"]


def test_arrays_of_torque_stay_small_where_the_server_has_no_limit(pbs: PBS) -> None:
    pbs.says("qstat", "Server: pbshost\n")
    assert PBSExecutor(torque=True).located().capabilities.max_array_size == 1000
    most = PBSExecutor(torque=True, max_array_size=2000).located().capabilities.max_array_size
    assert most == 2000


def test_qsub_of_torque_reads_the_script(pbs: PBS) -> None:
    pbs.says("qsub", body='cat > "$0.read"; echo 32.pbshost')
    assert TORQUE.submit(REQUEST) == "32.pbshost"
    assert pbs.calls("qsub")[0].endswith(" -")
    assert "exec /bin/sh /r/1.sh >> /r/1." in (pbs.folder / "qsub.read").read_text()
    assert pbs.calls("qselect") == []


def test_ended_dependencies_that_torque_refuses_are_left_out(pbs: PBS) -> None:
    refuse = f'case "$*" in *29.pbshost*) echo "{DROPPED}" >&2; exit 208;; esac; echo 32.pbshost'
    pbs.says("qsub", body=refuse)
    pbs.says("qselect", "30[0].pbshost\n30[1].pbshost\n31.pbshost\n")
    request = evolve(REQUEST, after=("29.pbshost", "30[].pbshost", "31.pbshost"))
    assert TORQUE.submit(request) == "32.pbshost"
    assert "depend=afterany:31.pbshost,afteranyarray:30[].pbshost" in pbs.calls("qsub")[1]
    assert pbs.calls("qselect") == [f"-u {ME} -s EHQRTW"]


def test_submission_that_torque_refuses_again_and_again_is_in_doubt(pbs: PBS) -> None:
    pbs.says("qsub", err=DROPPED, code=208)
    pbs.says("qselect", "31.pbshost\n")
    with pytest.raises(SchedulerUnreachableError, match=r"31\.pbshost"):
        TORQUE.submit(evolve(REQUEST, after=("31.pbshost",)))
    with pytest.raises(SubmissionRefusedError):  # without a dependency: something else
        TORQUE.submit(REQUEST)


@pytest.mark.parametrize(
    ("err", "code", "error"),
    [("qsub: submit error (Unknown queue MSG=requested queue not found)", 172,
      SubmissionRefusedError),
     (OVER, 228, SubmissionLimitError), (NOT_HERE, 184, SubmissionForbiddenError),
     ("Cannot connect to specified server host 'h'.\n"
      "qsub: cannot connect to server h (errno=111) Connection refused", 111,
      SchedulerUnreachableError)],
)  # fmt: skip
def test_a_submission_to_torque_that_fails(
    pbs: PBS, err: str, code: int, error: type[Exception]
) -> None:
    pbs.says("qsub", err=err, code=code)
    with pytest.raises(ExecutorError) as caught:
        TORQUE.submit(REQUEST)
    assert type(caught.value) is error


def test_poll_of_torque(pbs: PBS) -> None:
    pbs.says("qstat", shown("1[0].pbshost", "C", exit_status="3", start_time="x")
             + shown("1[1].pbshost", "R") + entry("2.pbshost", "C", exit_status="0"))  # fmt: skip
    statuses = TORQUE.poll(["1[].pbshost", "2.pbshost"])
    assert pbs.calls("qstat") == ["-t -f 1[].pbshost 2.pbshost"]
    array = statuses["1[].pbshost"]
    assert (array.state, array.running) == (LIVE, True)
    assert [array.positions[at].exit_code for at in range(3)] == [3, None, None]
    assert (statuses["2.pbshost"].state, statuses["2.pbshost"].cause) == (ENDED, "")


def test_torque_is_asked_for_what_it_knows(pbs: PBS) -> None:
    """Each unknown id leaves a connection of qstat's open, and it has ten."""
    pbs.says("qselect", "1[0].pbshost\n1[1].pbshost\n2.pbshost\n")
    pbs.says("qstat", shown("1[0].pbshost", "R") + shown("1[1].pbshost", "H", Hold_Types="l"))
    jobs = [f"{number}.pbshost" for number in range(10, 30)]
    statuses = TORQUE.poll(["1[].pbshost", *jobs])
    assert set(statuses) == {"1[].pbshost"}
    assert pbs.calls("qstat") == ["-t -f 1[].pbshost"]
    assert pbs.calls("qselect") == [f"-u {ME} -s EHQRTW", f"-u {ME}"]


def test_jobs_of_torque_are_found_among_all(pbs: PBS) -> None:
    named = entry("1[].pbshost", "Q", Job_Name="a.1.w") + entry("2.pbshost", "C", Job_Name="b.1.w")
    pbs.says("qstat", named)
    assert TORQUE.find(["a.1.w", "c.1.w"]) == {"a.1.w": "1[].pbshost"}
    assert TORQUE.find([]) == {}
    assert pbs.calls("qstat") == ["-f"]


def test_jobs_of_torque_are_counted_and_cancelled(pbs: PBS) -> None:
    pbs.says("qselect", "1[0].pbshost\n1[1].pbshost\n2.pbshost\n")
    assert TORQUE.queued() == 3
    pbs.says("qdel", err="qdel: nonexistent job id: 1[].pbshost\n", code=153)
    TORQUE.cancel(["1[].pbshost", "9.pbshost"])
    # Twice: qdel misses an element that starts at that moment.
    assert pbs.calls("qdel") == ["1[].pbshost"] * 2
    assert pbs.calls("qstat") == pbs.calls("qalter") == []
    pbs.says("qdel", err="qdel: odd\n", code=1)
    with pytest.raises(ExecutorError, match="odd"):
        TORQUE.cancel(["1[].pbshost"])
