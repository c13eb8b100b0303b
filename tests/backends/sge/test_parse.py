"""Parsing the output of Grid Engine's commands, from transcripts/ of a real one (8.1.9)."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.executors.base import ENDED, LIVE, JobStatus
from reflow.executors.parsing import only_id
from reflow_sge import parse

TRANSCRIPTS = Path(__file__).parent / "transcripts"


def read(name: str) -> str:
    return (TRANSCRIPTS / name).read_text()


def local(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def ended(text: str, user: str = "reflow") -> dict[str, JobStatus]:
    return {job: status for job, (status, _) in parse.ended(text, user).items()}


# qsub


@pytest.mark.parametrize(
    ("text", "job"),
    [("32\n", "32"), ("32.1-10:1\n", "32"), ("14.5-5:1\n", "14"), ("Hi!\n\n32\nBye 7\n", "32")],
)
def test_job_id(text: str, job: str) -> None:
    assert only_id("qsub", text, parse.JOB_ID.findall(text)) == job


@pytest.mark.parametrize("text", ["", "no", "1\n2\n", 'Your job 4 ("x") has been submitted\n'])
def test_no_job_id(text: str) -> None:
    with pytest.raises(ValueError, match="no job id"):
        only_id("qsub", text, parse.JOB_ID.findall(text))


# qstat


def test_what_is_in_the_queue() -> None:
    rows = list(parse.listed(read("qstat.xml")))
    jobs = ["137", "170", "171", "176", "177", "178", "179", "180", "999"]
    statuses = parse.living(rows, jobs)
    assert sorted(statuses) == jobs[:-1]
    assert {status.state for status in statuses.values()} == {LIVE}
    assert {job for job, status in statuses.items() if status.running} == {"137", "176"}
    assert {job: status.cause for job, status in statuses.items() if status.cause} == dict.fromkeys(
        ["171", "177", "180"], "HELD"
    )
    array = statuses["176"]
    assert sorted(array.positions) == list(range(12))
    assert {at for at, element in array.positions.items() if element.running} == {0, 1, 2}
    assert array.nodes == ("n1",)
    assert array.started == local("2026-11-25T03:25:27") or array.started is not None
    # The remaining tasks of an array of which others have ended.
    assert {at: element.cause for at, element in statuses["180"].positions.items()} == {1: "HELD"}
    assert statuses["177"].reason == "hqw: it is held: qrls"
    assert statuses["178"].cause == statuses["179"].cause == "", (
        "they wait for others, not for people"
    )
    assert {row.name for row in rows} >= {"run_it", "held", "dep", "ad", "err", "erra"}
    assert sum(len(row.positions or "1") for row in rows if row.job in ("176", "177")) == 13


def test_only_requested_jobs_are_returned() -> None:
    assert set(parse.living(list(parse.listed(read("qstat.xml"))), ["177", "1"])) == {"177"}


def entry(job: str, state: str, more: str = "") -> str:
    return (
        f'<job_list state="pending">\n<JB_job_number>{job}</JB_job_number>\n<JB_name>a&amp;b'
        f"</JB_name>\n<state>{state}</state>\n{more}</job_list>\n"
    )


@pytest.mark.parametrize(
    ("state", "running", "cause"),
    [("qw", False, ""), ("r", True, ""), ("t", True, ""), ("hr", True, ""), ("Rr", True, ""),
     ("s", True, ""), ("S", True, ""), ("dr", True, ""), ("dT", True, ""), ("Rq", False, ""),
     ("Eqw", False, "HELD"), ("Ehqw", False, "HELD"), ("EhRqw", False, "HELD"),
     ("hqw", False, "HELD"), ("hRwq", False, "HELD"), ("dance", True, "UNKNOWN"),
     ("", False, "UNKNOWN"), ("Z", False, "UNKNOWN")],
)  # fmt: skip
def test_states(state: str, running: bool, cause: str) -> None:
    (row,) = parse.listed(entry("5", state))
    assert (row.status.state, row.status.running, row.status.cause) == (LIVE, running, cause) or (
        cause == "UNKNOWN" and row.status.cause == "UNKNOWN"
    )
    assert row.status.raw == state
    assert row.name == "a&b"


def test_why_jobs_are_in_error() -> None:
    assert parse.error_reasons(read("qstat_j.txt")) == {
        "171": 'can\'t open output file "/nodir/x": No such file or directory',
        "180": "exit_status of job start = 100",
    }


# qacct


def test_how_jobs_ended() -> None:
    statuses = ended(read("qacct.txt"))
    endings = {
        job: (status.cause, status.exit_code, status.signal)
        for job, status in statuses.items()
        if status.state == ENDED
    }
    assert endings == {
        "164": ("", 0, None),
        "165": ("ERROR", 3, None),
        "166": ("ERROR", None, 9),
        "167": ("TIMEOUT", None, 9),
        "168": ("ERROR", 137, None),
        # 170 exits with 99 again and again: it is still in the queue
        "171": ("ERROR", 0, None),
        "172": ("ERROR", 1, None),
        "173": ("TIMEOUT", None, 10),
        "174": ("ERROR", 1, None),
        "175": ("", 0, None),
        "181": ("ERROR", None, 9),
    }
    assert {at: element.exit_code for at, element in statuses["172"].positions.items()} == {
        0: 0,
        1: 1,
        2: 2,
    }
    assert statuses["167"].reason == "it met its time limit of 3 s"
    assert statuses["173"].reason == "it met its time limit of 2 s"
    assert statuses["166"].reason == statuses["181"].reason, "qdel leaves what any SIGKILL leaves"
    assert "by qdel or for its memory, Grid Engine does not tell" in statuses["166"].reason
    assert statuses["166"].suspected == "", "what a person has deleted is not to run once more"
    assert statuses["171"].reason == "Grid Engine says: opening input/output file"
    assert (statuses["171"].started, statuses["171"].ended) == (None, None)
    assert statuses["164"].nodes == ("n1",)
    assert statuses["164"].started is not None
    assert statuses["164"].positions == {}


def test_records_of_others_are_passed_over() -> None:
    assert parse.ended(read("qacct.txt"), "somebody") == {}


def record(**fields: Any) -> str:
    defaults = {
        "owner": "me", "jobname": "x", "jobnumber": 7, "taskid": "undefined",
        "qsub_time": "Mon Nov 23 04:53:24 2026", "start_time": "Mon Nov 23 04:53:24 2026",
        "end_time": "Mon Nov 23 04:53:24 2026", "failed": "0", "exit_status": "0",
        "ru_wallclock": "4s", "maxvmem": "0.000B", "category": "NONE",
    }  # fmt: skip
    return "=" * 62 + "\n" + "".join(
        f"{name:<12} {value!s:<20}\n" for name, value in {**defaults, **fields}.items()
    )


@pytest.mark.parametrize(
    ("fields", "cause", "reason"),
    [
        ({}, "", ""),
        ({"exit_status": "1"}, "ERROR", "exit code 1"),
        ({"failed": "37  : qmaster enforced h_rt", "exit_status": "137"}, "TIMEOUT", "enforced"),
        # In other Grid Engines the node kills the job, and qacct says so.
        ({"failed": "100 : assumedly after job", "exit_status": "137", "category": "-l h_rt=3"},
         "TIMEOUT", "limit of 3 s"),
        ({"failed": "100 : assumedly after job", "exit_status": "137", "category": "-l h_rt=30"},
         "ERROR", "signal 9"),
        ({"failed": "100 : assumedly after job", "exit_status": "137", "maxvmem": "0.199GB",
          "category": "-u me -l h_rt=30,h_vmem=200M"}, "OOM", "limit of 200M"),
        ({"failed": "37  : qmaster enforced h_rt, h_cpu, or h_vmem limit", "exit_status": "137",
          "maxvmem": "201.000M", "category": "-l h_rt=30,h_vmem=200M"}, "OOM", "limit of 200M"),
        ({"failed": "100 : assumedly after job", "exit_status": "139"}, "ERROR", "signal 11"),
        ({"failed": "19  : before writing exit_status", "exit_status": "0"}, "NODE_FAIL", "before"),
        ({"failed": "21  : in recognizing job", "exit_status": "0"}, "NODE_FAIL", "recognizing"),
        ({"failed": "26  : opening input/output file", "exit_status": "0"}, "ERROR", "opening"),
        ({"failed": "8", "exit_status": "0"}, "ERROR", "failed 8"),
        ({"failed": "0", "exit_status": "odd"}, "ERROR", "failed 0"),
        ({"failed": "odd", "exit_status": "0"}, "UNKNOWN", "'odd'"),
        ({"failed": "", "exit_status": "0"}, "UNKNOWN", "''"),
        # Univa's and Altair's qacct says who deleted a job.
        ({"failed": "100 : assumedly after job", "exit_status": "137",
          "deleted_by": "me@login"}, "CANCELLED", "me@login"),
        ({"deleted_by": "NONE"}, "", ""),
    ],
)  # fmt: skip
def test_causes(fields: dict[str, str], cause: str, reason: str) -> None:
    status = ended(record(**fields), "me")["7"]
    assert (status.state, status.cause) == (ENDED, cause)
    assert reason in status.reason


def test_of_several_starts_the_last_counts_and_one_that_was_put_back_is_none() -> None:
    error = record(failed="26  : opening input/output file")
    assert ended(error + record(), "me")["7"].cause == ""
    again = record(failed="25  : rescheduling", exit_status="99")
    assert ended(again, "me") == {}
    assert ended(record(exit_status="3") + again, "me")["7"].exit_code == 3


def test_of_several_jobs_of_one_number_the_newest_counts_whatever_the_order() -> None:
    old = "".join(record(taskid=task, exit_status="4") for task in (1, 2, 3))
    new = record(taskid=1, qsub_time="Tue Nov 24 04:53:24 2026")
    for text in (old + new, new + old):
        status = ended(text, "me")["7"]
        assert (status.cause, sorted(status.positions)) == ("", [0])


def test_times_as_others_write_them() -> None:
    status = ended(record(start_time="11/23/2026 04:53:24.250", end_time="-/-"), "me")["7"]
    assert status.started == local("2026-11-23T04:53:24.250")
    assert status.ended is None


def test_names() -> None:
    ids = parse.named(read("qacct.txt"), ["arr", "ok", "no"])
    assert ids == {"ok": "164", "arr": "172"}


def test_settings_of_the_cell() -> None:
    assert parse.cell_settings(read("qconf.txt")) == (75000, 1.0)
    assert parse.cell_settings("max_aj_tasks 0\nreporting_params accounting=true") == (None, None)
    text = "reporting_params flush_time=00:00:15 accounting_flush_time=00:01:30\n"
    assert parse.cell_settings(text) == (None, 90.0)


def test_what_qsub_says_sorted_by_what_to_do() -> None:
    kinds = {
        "later": "job rejected: only 3 jobs are allowed per user (current job count: 3)\n"
        "job rejected: only 3 jobs are allowed per cluster\n"
        "Your qsub request could not be scheduled; try again later.",
        "never": 'unknown resource "gpu"\nattribute "h_rt" is not a time value\n'
        "job rejected: you tried to submit a job with more than 75000 tasks\n"
        'job rejected: the requested project "noproj" does not exist\n'
        'qsub: invalid option argument "--partition"\n'
        'Job was rejected because job requests unknown queue "nope.q"',
        "down": "error: commlib error: got select error (Connection refused)\n"
        'unable to send message to qmaster using port 6444 on host "n1": got send error\n'
        "Error reading answer list from qmaster\n"
        "error: unable to contact qmaster using port 6444 on host",
    }
    for kind, text in kinds.items():
        for line in text.splitlines():
            message = f"Unable to run job: {line}"
            assert (parse.LIMIT.search(message) is not None) == (kind == "later"), line
            assert (parse.UNREACHABLE.search(message) is not None) == (kind == "down"), line


# Arbitrary input


PIECES = st.lists(
    st.one_of(
        st.sampled_from(["<", ">", "=" * 62, "\n", "<job_list state=\"pending\">", "</job_list>",
                         "<JB_job_number>5</JB_job_number>", "<tasks>", "1-3:1", "</tasks>", " ",
                         "jobnumber 5\n", "owner me\n", "taskid 0\n", "failed ", "exit_status ",
                         "<state>Eqw</state>", "error reason 1: ", "job_number: 5\n"]),
        st.text(max_size=5),
    )
).map("".join)  # fmt: skip


@given(st.one_of(st.text(), PIECES))
def test_no_text_raises(text: str) -> None:
    for output in (text, entry(text, text, text), entry("5", "r", f"<tasks>{text}</tasks>\n"),
                record(failed=text, exit_status=text, category=text, end_time=text)):  # fmt: skip
        rows = list(parse.listed(output))
        parse.living(rows, ["5", text])
        parse.ended(output, "me")
        parse.error_reasons(output)
        parse.cell_settings(output)
        parse.named(output, [text])


@given(st.text(max_size=12), st.text(max_size=12))
def test_only_failed_0_with_exit_status_0_is_a_success(failed: str, code: str) -> None:
    status = parse.status({"failed": failed, "exit_status": code})
    number = re.match(r"\s*0+(\.\d*)?(?!\d)", code)
    if status.cause == "":
        assert failed.split(":")[0].strip() == "0"
        assert number is not None


def positions(tasks: str) -> list[int]:
    (row,) = parse.listed(entry("5", "r", f"<tasks>{tasks}</tasks>\n"))
    return list(row.positions or ())


@given(st.sets(st.integers(1, 5000), min_size=1))
def test_tasks_come_back_as_positions_from_zero(tasks: set[int]) -> None:
    assert sorted(positions(",".join(map(str, tasks)))) == [task - 1 for task in sorted(tasks)]
    first, last = min(tasks), max(tasks)
    assert positions(f"{first}-{last}:1") == list(range(first - 1, last))


def test_an_absurd_range_is_no_range() -> None:
    assert positions("1-99999999999999") == []
