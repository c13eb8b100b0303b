"""The executor on tiny fake commands: its calls, and how it handles bad answers."""

from __future__ import annotations

import logging
import os
import pwd
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

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
from reflow_sge.executor import CHUNK, SHOWN, SGEExecutor, behind

ME = pwd.getpwuid(os.getuid()).pw_name
REQUEST = JobRequest(
    tag="f-1.1.1.w", name="f-1.step", script="/r/1.sh", directory="/", log="/r/1.{position}.log"
)
DOWN = (
    "error: commlib error: got select error (Connection refused)\n"
    'unable to send message to qmaster using port 6444 on host "n1": got send error\n'
)
COMMANDS = ("qsub", "qstat", "qacct", "qdel", "qconf")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_PAUSES", (0.0, 0.0))
    for name in [variable for variable in os.environ if variable.startswith("SGE_")]:
        monkeypatch.delenv(name)


class Cell:
    """A folder of commands that log their calls and print scripted answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COMMANDS:
            self.says(name)
        self.queue()

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

    def queue(self, *rows: str, **how: str) -> None:
        self.says("qstat", f"<job_info>{''.join(rows)}</job_info>\n", **how)

    def calls(self, name: str) -> list[str]:
        path = self.folder / f"{name}.calls"
        return path.read_text().splitlines() if path.exists() else []

    def environment(self, name: str) -> dict[str, str]:
        lines = (self.folder / f"{name}.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.fixture
def cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cell:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Cell(tmp_path)


def row(job: int | str, state: str = "r", tasks: str = "", name: str = "x") -> str:
    more = f"<tasks>{tasks}</tasks>" if tasks else ""
    return (
        f'<job_list state="running"><JB_job_number>{job}</JB_job_number><JB_name>{name}</JB_name>'
        f"<state>{state}</state>{more}</job_list>\n"
    )


def record(
    job: int | str, code: str = "0", *, failed: str = "0", task: str = "undefined",
    user: str = ME, name: str = "x", age: float = 3600,
) -> str:  # fmt: skip
    ended = time.strftime("%a %b %d %H:%M:%S %Y", time.localtime(time.time() - age))
    fields = {
        "owner": user, "jobname": name, "jobnumber": job, "taskid": task, "qsub_time":
        "Mon Nov 23 04:53:24 2026", "end_time": ended, "failed": failed, "exit_status": code,
    }  # fmt: skip
    return "=" * 62 + "\n" + "".join(f"{name:<12} {value}  \n" for name, value in fields.items())


def fields(request: JobRequest = REQUEST, **changes: object) -> JobRequest:
    kept = {name: getattr(request, name) for name in ("tag", "name", "script", "directory", "log")}
    return JobRequest(**{**kept, **changes})  # type: ignore[arg-type]


# submit


@pytest.mark.parametrize("out", ["32\n", "32.1-10:1\n", "Welcome!\n32\n"])
def test_submit(cell: Cell, out: str) -> None:
    cell.says("qsub", out, err="warning: be nice\n")
    assert SGEExecutor().submit(REQUEST) == "32"
    assert cell.calls("qsub")[0].endswith("/r/1.sh")


def rejected(text: str) -> str:
    return f"Unable to run job: {text}\nExiting.\n"


@pytest.mark.parametrize(
    ("err", "code", "error"),
    [
        (rejected('unknown resource "gpu"'), 1, SubmissionRefusedError),
        ('qsub: invalid option argument "--x"\n', 2, SubmissionRefusedError),
        (rejected("job rejected: only 3 jobs are allowed per user (current job count: 3)"), 25,
         SubmissionLimitError),
        (rejected("job rejected: only 3 jobs are allowed per cluster"), 25, SubmissionLimitError),
        (DOWN, 1, SchedulerUnreachableError),
        (rejected('denied: host "n1" is no submit host'), 1, SubmissionForbiddenError),
        # qmaster went away while it read the request.
        (rejected("Error reading answer list from qmaster"), 1, SchedulerUnreachableError),
        ("", 0, SchedulerUnreachableError),  # no id: it is unknown whether the job was accepted
    ],
)  # fmt: skip
def test_a_submission_that_fails(cell: Cell, err: str, code: int, error: type[Exception]) -> None:
    cell.says("qsub", err=err, code=code)
    with pytest.raises(ExecutorError) as caught:
        SGEExecutor().submit(REQUEST)
    assert type(caught.value) is error
    assert err.splitlines()[0] in str(caught.value) if err else "no job id" in str(caught.value)
    assert len(cell.calls("qsub")) == 1, "what may have been taken is not submitted again"


@pytest.mark.usefixtures("limit_from_first_word")
def test_a_submission_that_takes_too_long_is_in_doubt(cell: Cell) -> None:
    cell.says("qsub", body="echo begun >&2; exec sleep 60")
    with pytest.raises(SchedulerUnreachableError, match=r"within 0\.5 s"):
        SGEExecutor(command_timeout=0.5).submit(REQUEST)
    assert len(cell.calls("qsub")) == 1


def test_environment_that_reaches_qsub(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = (
        "JOB_ID", "JOB_NAME", "JOB_SCRIPT", "SGE_TASK_ID", "SGE_TASK_FIRST", "SGE_TASK_LAST",
        "SGE_TASK_STEPSIZE", "SGE_STDOUT_PATH", "SGE_O_HOME", "SGE_JOB_SPOOL_DIR", "NSLOTS",
        "NHOSTS", "PE_HOSTFILE", "RESTARTED", "REFLOW_JOB_TAG",
    )  # fmt: skip
    stays = (
        "SGE_ROOT", "SGE_CELL", "SGE_QMASTER_PORT", "SGE_EXECD_PORT", "SGE_CLUSTER_NAME",
        "REQUESTS_CA_BUNDLE", "PERL5LIB", "MY_OWN",
    )  # fmt: skip
    for name in (*gone, *stays):
        monkeypatch.setenv(name, "x")
    cell.says("qsub", "32\n")
    SGEExecutor().submit(REQUEST)
    environment = cell.environment("qsub")
    assert {name: environment.get(name) for name in stays} == dict.fromkeys(stays, "x")
    assert [name for name in gone if name in environment] == []
    assert environment["LC_ALL"] == "C"


def test_max_submit_jobs_holds_back_all_but_what_carries_the_run_on(cell: Cell) -> None:
    cell.says("qsub", "32\n")
    cell.queue(row(5, tasks="1"), row(5, "qw", tasks="2"), row(6))
    executor = SGEExecutor(max_submit_jobs=4)
    assert executor.submit(REQUEST) == "32"
    with pytest.raises(SubmissionLimitError, match="3 jobs are in the queue, and 2 more"):
        executor.submit(fields(size=2))
    assert executor.submit(fields(size=2, auxiliary=True)) == "32"
    assert executor.capabilities.max_array_size == 2


def test_auxiliary_jobs_request_the_resources_set_for_them(cell: Cell) -> None:
    cell.says("qsub", "32\n")
    executor = SGEExecutor(
        queue="big.q", project="sea", dispatch_queue="small.q", dispatch_time="5m",
        dispatch_mem="200M",
    )  # fmt: skip
    executor.submit(fields(auxiliary=True))
    executor.submit(fields(resources=Resources(cpus=2)))
    auxiliary, worker = cell.calls("qsub")
    assert "-q small.q -P sea -l h_rt=300,h_vmem=200M /r" in auxiliary
    assert "-q big.q -P sea -pe smp 2 /r" in worker


# poll


def test_poll_asks_qstat_once_for_all_and_accounting_for_the_rest(cell: Cell) -> None:
    cell.queue(row(1), row(9))
    cell.says("qacct", record(2, "3") + record(3))
    statuses = SGEExecutor().poll(["1", "2", "3", "4"])
    assert {job: (status.state, status.exit_code) for job, status in statuses.items()} == {
        "1": (LIVE, None), "2": (ENDED, 3), "3": (ENDED, 0)
    }  # fmt: skip
    assert cell.calls("qstat") == [f"-u {ME} -r -xml"]
    assert cell.calls("qacct") == [f"-o {ME} -j {job}" for job in "234"]


def test_records_of_the_last_days_are_read_at_once_for_many_ended_jobs(cell: Cell) -> None:
    jobs = [str(job) for job in range(1, 501)]
    cell.says("qacct", "".join(record(job) for job in jobs[:490]))
    statuses = SGEExecutor().poll(jobs)
    assert len(statuses) == 490
    assert len(cell.calls("qstat")) == 1
    # The others are asked for one by one: they may have started long ago, or never.
    assert cell.calls("qacct")[0] == f"-o {ME} -d 2 -j"
    assert len(cell.calls("qacct")) == 11 <= SHOWN


def test_calls_stay_bounded_whatever_is_gone(cell: Cell) -> None:
    assert SGEExecutor().poll([str(job) for job in range(500)]) == {}
    assert cell.calls("qacct") == [f"-o {ME} -d 2 -j", f"-o {ME} -j"]
    assert len(cell.calls("qstat")) == 1


def test_array_that_has_just_ended_is_not_reported_yet(cell: Cell) -> None:
    cell.says("qacct", record(5, task="1", age=30) + record(5, "1", task="2", age=1))
    assert SGEExecutor().poll(["5"]) == {}, "there may be more of it to come"
    assert SGEExecutor(accounting_lag=15).poll(["5"]) == {}
    cell.says("qacct", record(5, task="1", age=30) + record(5, "1", task="2", age=20))
    (five,) = SGEExecutor(accounting_lag=15).poll(["5"]).values()
    assert {at: element.exit_code for at, element in five.positions.items()} == {0: 0, 1: 1}
    assert (five.state, five.cause) == (ENDED, "ERROR")


def test_job_that_has_just_ended_is_reported(cell: Cell) -> None:
    cell.says("qacct", record(5, age=0))
    assert SGEExecutor().poll(["5"])["5"].cause == ""


def test_job_unknown_to_queue_and_accounting_is_absent(cell: Cell) -> None:
    cell.says("qacct", err="error: job id 1 not found\n", code=1)
    assert SGEExecutor().poll(["1"]) == {}


def test_a_number_that_is_another_users_by_now_is_not_our_job(cell: Cell) -> None:
    cell.says("qacct", record(1, "9", user="somebody") + record(1))
    statuses = SGEExecutor().poll(["1"])
    assert (statuses["1"].state, statuses["1"].cause) == (ENDED, "")


def test_a_job_in_error_is_held_with_its_reason(cell: Cell) -> None:
    cell.queue(
        row(1, "Eqw"), row(2, "Eqw", tasks="3"), row(3, "hqw"),
        body='case "$*" in *-j*) printf "job_number:  1\\nerror reason 1:  11/23/2026 04:50:56 '
        '[1:2]: error: no such folder\\n"; exit 1;; esac',
    )  # fmt: skip
    statuses = SGEExecutor().poll(["1", "2", "3"])
    assert {status.cause for status in statuses.values()} == {"HELD"}
    assert {status.state for status in statuses.values()} == {LIVE}
    assert statuses["1"].reason == "Eqw: no such folder; mend it, then qmod -cj 1"
    assert "qstat -j 2 says why" in statuses["2"].reason
    assert statuses["2"].positions[2].cause == "HELD"
    assert statuses["3"].reason == "hqw: it is held: qrls"
    assert cell.calls("qstat")[1:] == ["-j 1,2"]


@pytest.mark.parametrize(
    ("out", "err", "code"),
    [("", DOWN, 1), ("", "error: something new", 1), ("", "", 0), ("<job_info><job_l", "", 0)],
)
def test_a_scheduler_that_is_down_is_never_a_job_that_is_gone(
    cell: Cell, out: str, err: str, code: int
) -> None:
    cell.says("qstat", out, err=err, code=code)
    cell.says("qacct", record(1))
    with pytest.raises(SchedulerUnreachableError):
        SGEExecutor().poll(["1"])


def test_a_scheduler_that_comes_back_is_asked_again(cell: Cell) -> None:
    once = '[ -e "$0.up" ] || { : > "$0.up"; echo "error: commlib error: x" >&2; exit 1; }'
    cell.queue(row(1), body=once)
    assert SGEExecutor().poll(["1"])["1"].running
    assert len(cell.calls("qstat")) == 2


def test_without_accounting_the_queue_tells_what_it_can(cell: Cell) -> None:
    cell.queue(row(1))
    for executor in (SGEExecutor(), SGEExecutor(qacct="no-such-qacct")):
        cell.says("qacct", err="error: error opening accounting: No such file\n", code=1)
        assert set(executor.poll(["1", "2"])) == {"1"}


def test_an_unknown_state_warns_and_is_no_success(
    cell: Cell, caplog: pytest.LogCaptureFixture
) -> None:
    cell.queue(row(1, "DANCE"), row(2, "Z", tasks="1"))
    cell.says("qacct", record(3, failed="odd"))
    with caplog.at_level(logging.WARNING):
        statuses = SGEExecutor().poll(["1", "2", "3"])
    assert {status.cause for status in statuses.values()} == {"UNKNOWN"}
    assert ["DANCE" in caplog.text, "Z" in caplog.text, "odd" in caplog.text] == [True] * 3


def test_poll_of_nothing_asks_nothing(cell: Cell) -> None:
    assert SGEExecutor().poll([]) == {}
    assert cell.calls("qstat") == []


def test_accounting_reports_ended_elements_of_a_living_array(cell: Cell) -> None:
    cell.queue(row(5, tasks="3"), row(5, "qw", tasks="5-6:1"), row(5, "Eqw", tasks="2"))
    # A task that runs again, or is in error, has a record of its last start, too.
    records = [("1", "0"), ("2", "0"), ("3", "9"), ("4", "7")]
    cell.says("qacct", "".join(record(5, code, task=task, age=0) for task, code in records))
    five = SGEExecutor().poll(["5"])["5"]
    assert (five.state, five.running) == (LIVE, True)
    elements = {
        at: (element.state, element.exit_code) for at, element in sorted(five.positions.items())
    }
    assert elements == {
        0: (ENDED, 0), 1: (LIVE, None), 2: (LIVE, None), 3: (ENDED, 7), 4: (LIVE, None),
        5: (LIVE, None),
    }  # fmt: skip


def test_poll_of_ten_thousand_tasks_is_a_call_of_each(cell: Cell) -> None:
    cell.queue(row(5, "qw", tasks="5001-10000:1"))
    cell.says("qacct", "".join(record(5, task=str(task)) for task in range(1, 5001)))
    five = SGEExecutor().poll(["5"])["5"]
    assert sum(element.state == ENDED for element in five.positions.values()) == 5000
    assert len(five.positions) == 10000
    assert len(cell.calls("qstat")) == len(cell.calls("qacct")) == 1


# find


def test_find_of_nothing_asks_nothing(cell: Cell) -> None:
    assert SGEExecutor().find([]) == {}
    assert cell.calls("qstat") == []


def test_find_looks_in_the_queue_and_then_in_accounting(cell: Cell) -> None:
    cell.queue(row(12, name="f-1.1.1.w"), row(99, name="other"))
    cell.says("qacct", record(13, task="4", name="f-1.1.2.w") + record(14, name="f-1.1.4.w"))
    jobs = SGEExecutor().find(["f-1.1.1.w", "f-1.1.2.w", "f-1.1.3.g"])
    assert jobs == {"f-1.1.1.w": "12", "f-1.1.2.w": "13"}
    assert cell.calls("qacct") == [f"-o {ME} -j f-1.1.*"]


def test_find_knows_a_tag_by_the_name_that_it_was_submitted_with(cell: Cell) -> None:
    tag = "9 flows, 1.1.w"
    cell.says("qsub", "12\n")
    SGEExecutor().submit(fields(tag=tag))
    name = cell.calls("qsub")[0].partition("-N ")[2].partition(" ")[0]
    cell.queue(row(12, name=name))
    assert SGEExecutor().find([tag]) == {tag: "12"}


def test_find_never_takes_a_scheduler_that_is_down_for_no_job(cell: Cell) -> None:
    cell.says("qstat", err=DOWN, code=1)
    with pytest.raises(SchedulerUnreachableError):
        SGEExecutor().find(["a"])


# cancel


def test_cancel_in_chunks(cell: Cell) -> None:
    SGEExecutor().cancel([str(job) for job in range(CHUNK + 1)])
    assert sorted(len(line.split()) for line in cell.calls("qdel")) == [1, CHUNK]
    assert "-f" not in " ".join(cell.calls("qdel")).split()


@pytest.mark.parametrize("out", [
    'denied: job "1" does not exist\n',
    "job 1 is already in deletion\n",
    'me has registered the job 2 for deletion\ndenied: job "1" does not exist\n',
    'me has deleted job 2\nme - you do not have the necessary privileges to delete the job "1"\n',
])  # fmt: skip
def test_cancel_of_what_is_gone_or_anothers_is_no_error(cell: Cell, out: str) -> None:
    cell.says("qdel", out, code=1)
    SGEExecutor().cancel(["1", "2"])


@pytest.mark.parametrize(
    ("out", "err", "code", "error"),
    [(DOWN.splitlines()[1], DOWN.splitlines()[0], 1, SchedulerUnreachableError),
     ('denied: job "1" does not exist\nsomething odd\n', "", 1, ExecutorError),
     ("", "", 1, ExecutorError)],
)  # fmt: skip
def test_a_cancel_that_fails_says_so(
    cell: Cell, out: str, err: str, code: int, error: type[Exception]
) -> None:
    cell.says("qdel", out, err=err, code=code)
    with pytest.raises(ExecutorError) as caught:
        SGEExecutor().cancel(["1"])
    assert type(caught.value) is error


# settings


def test_located_asks_once_for_the_settings_of_the_cell(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SGE_ROOT", "/opt/sge")
    monkeypatch.setenv("SGE_CELL", "north")
    cell.says("qconf", "max_aj_tasks 4000\nreporting_params flush_time=00:00:30\n")
    executor = SGEExecutor().located()
    assert (executor.capabilities.max_array_size, executor.accounting_lag) == (4000, 30)
    assert (executor.sge_root, executor.sge_cell) == ("/opt/sge", "north")
    assert executor.qsub == str(cell.folder / "qsub")
    monkeypatch.delenv("SGE_ROOT")
    monkeypatch.setenv("SGE_CELL", "south")
    assert executor.located() == executor
    assert cell.calls("qconf") == ["-sconf"]
    # Wherever it is used, it is used with the same cell.
    executor.poll(["1"])
    environment = cell.environment("qstat")
    assert (environment["SGE_ROOT"], environment["SGE_CELL"]) == ("/opt/sge", "north")


@pytest.mark.parametrize("code", [0, 1])
def test_default_of_grid_engine_counts_where_a_setting_is_missing(cell: Cell, code: int) -> None:
    cell.says("qconf", err=DOWN, code=code)
    executor = SGEExecutor().located()
    assert (executor.capabilities.max_array_size, executor.accounting_lag) == (75000, None)


def test_configured_settings_are_not_asked_for(cell: Cell) -> None:
    executor = SGEExecutor(max_array_size=50, accounting_lag=0).located()
    assert (executor.capabilities.max_array_size, executor.accounting_lag) == (50, 0)
    assert cell.calls("qconf") == []


WRAPPER = """\
#!/bin/sh
DEFAULT_SGE_ROOT=/var/lib/gridengine
DEFAULT_SGE_CELL=default
PROG=`basename $0`
exec {folder}/${{PROG}} "$@"
"""


def test_what_stands_behind_debians_wrapper_is_found(tmp_path: Path) -> None:
    real, wrapper = tmp_path / "lib" / "qsub", tmp_path / "qsub"
    real.parent.mkdir()
    real.write_text("#!/bin/sh\n")
    wrapper.write_text(WRAPPER.format(folder=real.parent))
    # A command that cannot be run counts as missing.
    assert behind(str(wrapper)) == (str(wrapper), {})
    real.chmod(0o755)
    cell = {"SGE_ROOT": "/var/lib/gridengine", "SGE_CELL": "default"}
    site = tmp_path / "defaults"
    assert behind(str(wrapper), str(site)) == (str(real), cell)
    # The site's own settings are read last.
    site.write_text("# SGE_ROOT=/no\nSGE_CELL=north\nSGE_ARCH=`arch`\n")
    assert behind(str(wrapper), str(site)) == (str(real), {**cell, "SGE_CELL": "north"})


@pytest.mark.parametrize("content", [b"\x7fELF\xff\xfe", b"#!/bin/sh\nexec /usr/bin/other\n", b""])
def test_any_other_program_is_itself(tmp_path: Path, content: bytes) -> None:
    program = tmp_path / "qsub"
    program.write_bytes(content)
    assert behind(str(program)) == (str(program), {})
    assert behind("/nonexistent/qsub") == ("/nonexistent/qsub", {})


def test_check_names_the_command_that_is_missing(cell: Cell) -> None:
    SGEExecutor(qacct="no-such", qconf="no-such").check()
    with pytest.raises(ExecutorError, match=r"no command 'no-such'.*set qstat in"):
        SGEExecutor(qstat="no-such").check()


@pytest.mark.parametrize(
    "make",
    [lambda: SGEExecutor(max_array_size=0), lambda: SGEExecutor(max_submit_jobs=1),
     lambda: SGEExecutor(accounting_lag=-1), lambda: SGEExecutor(qsub="")],
)  # fmt: skip
def test_settings_that_make_no_sense(make: Callable[[], SGEExecutor]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (the wording is attrs')
        make()
