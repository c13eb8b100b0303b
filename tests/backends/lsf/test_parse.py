"""Parsing the output of LSF's commands, from transcripts/ of a real OpenLava (4.0dev4).

The JSON of IBM's bjobs is from its documentation (bjobs -o and -json, "Termination reasons"):
no IBM LSF was at hand.
"""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.executors.base import ENDED, LIVE, JobStatus
from reflow.executors.parsing import ids_by_name, only_id
from reflow_lsf import parse

TRANSCRIPTS = Path(__file__).parent / "transcripts"


def read(name: str) -> str:
    return (TRANSCRIPTS / f"{name}.txt").read_text()


def ending(status: JobStatus) -> tuple[Any, ...]:
    return (status.state, status.cause, status.exit_code, status.signal)


def test_table() -> None:
    statuses = parse.merge(parse.table(read("bjobs")), "user")
    assert {job: (status.state, status.cause) for job, status in statuses.items()} == {
        "101": (ENDED, "ERROR"),  # an array: 2 failed, the others were killed
        "102": (LIVE, ""),
        "103": (LIVE, "HELD"),
        "104": (ENDED, "ERROR"),
        "106": (LIVE, "HELD"),
        "107": (ENDED, ""),
        "108": (LIVE, ""),
        "109": (ENDED, "ERROR"),
        "110": (ENDED, ""),
        "111": (ENDED, "ERROR"),
        "112": (ENDED, "CANCELLED"),
    }
    assert sorted(statuses["101"].positions) == [0, 1, 2, 3]
    assert statuses["102"].running
    assert statuses["102"].nodes == statuses["107"].nodes == ("host",)
    assert statuses["103"].reason == "it is held: bresume"
    assert "never satisfied" in statuses["106"].reason
    assert not statuses["108"].running
    assert statuses["112"].reason == "it was killed before it started"


@pytest.mark.parametrize("name", ["bjobs-l", "bhist"])
def test_history(name: str) -> None:
    rows = [*parse.table(read("bjobs")), *parse.history(read(name))]
    statuses = parse.merge(rows, "user")
    assert {at: ending(element)[2:] for at, element in statuses["101"].positions.items()} == {
        0: (137, 9), 1: (3, None), 2: (137, 9), 3: (137, 9)
    }  # fmt: skip
    assert ending(statuses["104"]) == (ENDED, "ERROR", 7, None)
    assert ending(statuses["111"]) == (ENDED, "TIMEOUT", 140, 12)
    assert statuses["109"].cause == "CANCELLED"
    assert "memory suspected" in statuses["101"].positions[0].reason
    assert statuses["101"].positions[0].nodes == ("host",)
    assert statuses["102"].state == LIVE


def test_only_bhist_says_who_killed_a_job() -> None:
    statuses = parse.merge(parse.history(read("bhist")))
    assert statuses["109"].reason == "TERM_OWNER: killed by a person"
    assert statuses["112"].cause == "CANCELLED"


def test_a_shell_that_was_killed_is_done_as_lsf_sees_it() -> None:
    # The record says whether there is a result.
    assert ending(parse.merge(parse.table(read("bjobs")))["110"]) == (ENDED, "", 0, None)


def test_jobs_of_others_are_passed_over() -> None:
    assert parse.merge(parse.table(read("bjobs")), "somebody") == {}


RECORDS: list[dict[str, str]] = [
    {"JOBID": "1", "JOBINDEX": "0", "USER": "user", "STAT": "RUN", "EXEC_HOST": "4*hostA:hostB",
     "EXIT_CODE": "", "EXIT_REASON": "", "PEND_REASON": "", "JOB_NAME": "f-1.1.1.w"},
    {"JOBID": "2", "JOBINDEX": "1", "USER": "user", "STAT": "DONE", "EXEC_HOST": "hostA",
     "EXIT_CODE": "", "EXIT_REASON": "", "PEND_REASON": "", "JOB_NAME": "f-1.1.2.w[1]"},
    {"JOBID": "2", "JOBINDEX": "2", "USER": "user", "STAT": "EXIT", "EXEC_HOST": "hostA",
     "EXIT_CODE": "140", "PEND_REASON": "", "JOB_NAME": "f-1.1.2.w[2]",
     "EXIT_REASON": "TERM_RUNLIMIT: job killed after reaching LSF run time limit"},
    {"JOBID": "2", "JOBINDEX": "3", "USER": "user", "STAT": "EXIT", "EXEC_HOST": "hostA",
     "EXIT_CODE": "130", "PEND_REASON": "", "JOB_NAME": "f-1.1.2.w[3]",
     "EXIT_REASON": "TERM_MEMLIMIT: job killed after reaching LSF memory usage limit"},
    {"JOBID": "3[7]", "USER": "user", "STAT": "PEND", "EXEC_HOST": "", "EXIT_CODE": "",
     "PEND_REASON": "Dependency condition invalid or never satisfied;", "JOB_NAME": "n"},
    {"JOBID": "4", "ERROR": "Job <4> is not found"},
    {"JOBID": "5", "JOBINDEX": "0", "USER": "other", "STAT": "RUN", "EXEC_HOST": "hostA"},
    {"JOBID": "6", "JOBINDEX": "0", "USER": "user", "STAT": "EXIT", "EXEC_HOST": "",
     "EXIT_CODE": "", "EXIT_REASON": "TERM_OWNER: job killed by owner", "JOB_NAME": "n"},
]  # fmt: skip


def document(records: object) -> str:
    return json.dumps({"COMMAND": "bjobs", "JOBS": 8, "RECORDS": records})


def test_records_of_ibm_as_its_documentation_has_them() -> None:
    rows = parse.records(document(RECORDS))
    statuses = parse.merge(rows, "user")
    assert sorted(statuses) == ["1", "2", "3", "6"]
    assert (statuses["1"].running, statuses["1"].nodes) == (True, ("hostA", "hostB"))
    assert {at: element.cause for at, element in statuses["2"].positions.items()} == {
        0: "", 1: "TIMEOUT", 2: "OOM"
    }  # fmt: skip
    assert ending(statuses["2"].positions[1]) == (ENDED, "TIMEOUT", 140, 12)
    assert (statuses["3"].cause, sorted(statuses["3"].positions)) == ("HELD", [6])
    assert ending(statuses["6"]) == (ENDED, "CANCELLED", None, None)
    assert ids_by_name(rows, ["f-1.1.2.w", "f-1.1.1.w", "x"]) == {"f-1.1.1.w": "1",
                                                                "f-1.1.2.w": "2"}  # fmt: skip


@pytest.mark.parametrize("reason", [
    "TERM_RUNLIMIT", "TERM_MEMLIMIT", "TERM_OWNER", "TERM_ADMIN", "TERM_PREEMPT", "TERM_UNKNOWN",
    "TERM_EXTERNAL_SIGNAL", "TERM_SOMETHING_NEW", "TERM_CPULIMIT", "TERM_SWAP", "TERM_ZOMBIE",
])  # fmt: skip
def test_the_long_form_of_ibm_as_its_documentation_has_it(reason: str) -> None:
    text = (
        "\nJob <12[3]>, Job Name <a[3]>, User <user>, Project <default>, Status <EXIT>, Queue "
        "<normal>, Command <sleep 1>\n"
        "Mon Nov 23 04:46:45: [3] started 1 Task(s) on Host(s) <hostA>, Allocated 1 Slot(s) on "
        "Host(s) <hostA>;\n"
        "Mon Nov 23 04:46:46: Exited with exit code 1. The CPU time used is 0.1 seconds.\n"
        f"Mon Nov 23 04:46:46: Completed <exit>; {reason}: job killed.\n"
    )
    status = parse.merge(parse.history(text), "user")["12"]
    assert status.cause == parse.TERMINATIONS.get(reason, "ERROR")
    assert (status.positions[2].exit_code, status.nodes) == (1, ("hostA",))
    assert status.reason == f"{reason}: job killed"


@pytest.mark.parametrize("word", [*parse.LIVE_STATES, "DONE", "EXIT"])
def test_every_state_of_the_manual(word: str) -> None:
    status = parse.status(word, host="h")
    assert (status.state == LIVE) == (word in parse.LIVE_STATES)
    assert (status.cause == "UNKNOWN") == (word in ("UNKWN", "ZOMBI"))
    assert (status.state == ENDED and not status.cause) == (word == "DONE")
    assert status.reason or word in ("PEND", "RUN", "DONE", "SSUSP", "WAIT", "PROV")


@pytest.mark.parametrize(
    ("fields", "cause", "signal"),
    [({"code": 3}, "ERROR", None), ({"code": 127}, "ERROR", None), ({"code": 137}, "ERROR", 9),
     ({"code": 134}, "ERROR", 6), ({"code": 143}, "ERROR", 15), ({"code": 130}, "CANCELLED", 2),
     ({"signal": 2}, "CANCELLED", 2), ({"code": 140}, "TIMEOUT", 12),
     ({"signal": 12}, "TIMEOUT", 12), ({"code": 255}, "ERROR", None), ({}, "ERROR", None),
     ({"signal": 9, "reason": "TERM_OWNER: killed"}, "CANCELLED", 9)],
)  # fmt: skip
def test_how_jobs_have_failed(fields: dict[str, Any], cause: str, signal: int | None) -> None:
    status = parse.status("EXIT", host="h", **fields)
    assert (status.state, status.cause, status.signal) == (ENDED, cause, signal)
    assert status.reason


@pytest.mark.parametrize("word", ["", "DONEX", "done", "?", "SUCCESS"])
def test_a_state_that_is_not_known_is_unknown_and_never_a_success(word: str) -> None:
    status = parse.status(word, code=0)
    assert (status.state, status.cause) == (LIVE, "UNKNOWN")


@pytest.mark.parametrize("reason", [
    "New job is waiting for scheduling: 1 host;", "Job dependency condition not satisfied;",
    "The job has a specified start time;", "Not enough job slot(s): 1 host;",
    "Job requirements for reserving resource (mem) not satisfied: 1 host;",
    "The queue has reached its job slot limit;", "Load information unavailable: 3 hosts;",
])  # fmt: skip
def test_reasons_that_pass_by_themselves(reason: str) -> None:
    assert parse.status("PEND", reason=reason).cause == ""


@pytest.mark.parametrize("reason", [
    "Dependency condition invalid or never satisfied: 1 host;",
    "The queue is inactivated by the administrator;", "There is no such user account: 2 hosts;",
    "Unable to open job's I/O buffers: 1 host;",
])  # fmt: skip
def test_reasons_that_need_a_person(reason: str) -> None:
    status = parse.status("PEND", reason=reason)
    assert (status.state, status.cause, status.reason) == (LIVE, "HELD", reason)
    assert parse.status("RUN", host="h", reason=reason).cause == ""


ROW = "12      user    RUN   normal     host        2*h1:h2     {name} Nov 23 04:46"


@pytest.mark.parametrize(
    ("name", "index"), [("a", 0), ("a[3]", 3), ("a b[3] Nov 23 04:45", 0), ("a b[x][7]", 7)]
)
def test_a_row_with_any_name(name: str, index: int) -> None:
    [row] = parse.table(ROW.format(name=name))
    positions = (index - 1,) if index else None
    assert (row.job, row.positions, row.status.nodes) == ("12", positions, ("h1", "h2"))


def test_a_row_whose_id_has_the_index() -> None:
    [row] = parse.table(ROW.format(name="a").replace("12 ", "12[3] "))
    assert (row.job, row.positions) == ("12", (2,))


@pytest.mark.parametrize(
    "text",
    ["Job <101> is submitted to default queue <normal>.\n",
     "Job <101> is submitted to queue <short>.\n",
     "Welcome\nJob <101> is submitted to default queue <normal>.\nJob will be scheduled after "
     "Wed Nov 25 05:12:00 2026\n"],
)  # fmt: skip
def test_job_id(text: str) -> None:
    assert only_id("bsub", text, parse.JOB_ID.findall(text)) == "101"


@pytest.mark.parametrize(
    "text", ["", "Job <x> is submitted", "101", "Job <²> is submitted",
             "Job <1> is submitted to x\nJob <2> is submitted to x"],
)  # fmt: skip
def test_no_job_id(text: str) -> None:
    with pytest.raises(ValueError, match="no job id"):
        only_id("bsub", text, parse.JOB_ID.findall(text))


@pytest.mark.parametrize(
    ("text", "job"),
    [("99999: No matching job found. Job not submitted.\n", "99999"),
     ("135[*]: No matching job found. Job not submitted.\n", "135"),
     ("135[1]: No matching job found. Job not submitted.\n", "135"),
     ("Dependent arrays do not have the same size. Job not submitted.\n", ""), ("", "")],
)  # fmt: skip
def test_the_dependency_that_bsub_does_not_know(text: str, job: str) -> None:
    assert parse.unknown_dependency(text) == job


def test_array_size() -> None:
    assert parse.array_size(read("bparams")) == 1000
    assert parse.array_size("MAX_JOB_ARRAY_SIZE = 0") == 1
    assert parse.array_size("") is parse.array_size("MAX_JOB_ARRAY_SIZE = many") is None


@pytest.mark.parametrize(
    ("text", "unit"),
    [("", ""), ("LSF_UNIT_FOR_LIMITS=MB\n", "MB"), ("X=1\n LSF_UNIT_FOR_LIMITS = G\n", "GB"),
     ('LSF_UNIT_FOR_LIMITS="TB"', "TB"), ("# LSF_UNIT_FOR_LIMITS=MB\n", ""),
     ("LSF_UNIT_FOR_LIMITS=EB\n", "")],
)  # fmt: skip
def test_limits_unit(text: str, unit: str) -> None:
    assert parse.limits_unit(text) == unit


REFUSED = """nosuch: No such queue. Job not submitted.
Bad job name. Job not submitted.
Job array index too large. Job not submitted.
Too many processors requested. Job not submitted.
RUNLIMIT: Cannot exceed queue's hard limit(s). Job not submitted.
Bad resource requirement syntax. Job not submitted.
Root job submission is disabled. Job not submitted.
99999: No matching job found. Job not submitted.
User permission denied. Job not submitted."""
LATER = """User <me>: Pending job threshold reached. Retrying in 60 seconds...
User <me>: Pending slot threshold reached. Retrying in 60 seconds...
The destination queue has reached its job limit. Job not submitted.
No job Id can be used now. Job not submitted."""
DOWN = """Failed in an LSF library call: LIM is down; try later
OpenLava daemon (LIM) not responding ... still trying
batch system daemon not responding ... still trying
LSF daemon (LIM) not responding ... still trying
lsb_init: Failed in an LSF library call: Unable to open file lsf.conf
Master batch daemon internal error. Job not submitted.
Contacting batch daemon: Communication timeout
ls_getclustername(): LIM is down; try later"""


def test_what_a_refusal_is() -> None:
    for kind, text in {"refused": REFUSED, "later": LATER, "down": DOWN}.items():
        for line in text.splitlines():
            assert (parse.LIMIT.search(line) is not None) == (kind == "later"), line
            assert (parse.UNREACHABLE.search(line) is not None) == (kind == "down"), line


@pytest.mark.parametrize(
    "text",
    ["Job <99999> is not found", "Job <112[9]> is not found", "No unfinished job found",
     "Job <nosuch*> is not found", "No pending job found", "No matching job found",
     "No finished job found"],
)  # fmt: skip
def test_what_bjobs_says_where_there_is_nothing(text: str) -> None:
    assert parse.NOTHING.search(text)
    assert not any(parse.NOTHING.search(line) for line in DOWN.splitlines())


PIECES = st.lists(
    st.one_of(
        st.sampled_from(["12", "[3]", "[", "]", " ", "\n", "user", "PEND", "DONE", "Nov 23 04:46",
                         "Job <1>, User <u>", "Mon Nov 23 04:46:41: ", "Exited", "TERM_OWNER:",
                         " with exit code 3", "-", "never satisfied", '{"RECORDS":', "]}", "[{"]),
        st.text(max_size=5),
    )
).map("".join)  # fmt: skip


@given(st.one_of(st.text(), PIECES))
def test_no_text_raises(text: str) -> None:
    for output in (text, ROW.format(name=text), f"{ROW.format(name='a')}\n {text}",
                f"Job <1>, User <{text}>\nMon Nov 23 04:46:41: {text}"):  # fmt: skip
        rows = [*parse.table(output), *parse.records(output), *parse.history(output)]
        parse.merge(rows)
        ids_by_name(rows, [text])
        parse.array_size(output)
        parse.limits_unit(output)
        parse.unknown_dependency(output)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inside: st.lists(inside) | st.dictionaries(
        st.sampled_from(["JOBID", "JOBINDEX", "STAT", "USER", "EXIT_CODE", "JOB_NAME"]), inside
    ),
)  # fmt: skip


@given(JSON)
def test_no_json_raises(value: object) -> None:
    for text in (json.dumps(value), document(value), document([value])):
        parse.merge(parse.records(text))


@given(st.text(string.ascii_uppercase, min_size=1), st.integers(0, 255))
def test_only_done_is_a_success(word: str, code: int) -> None:
    status = parse.status(word, host="h", code=code)
    assert (status.state == ENDED and not status.cause) == (word == "DONE")


@given(
    job=st.integers(1, 10**7),
    places=st.none() | st.sets(st.integers(1, 5000), min_size=1),
    word=st.sampled_from(sorted({*parse.LIVE_STATES, "DONE", "EXIT"})),
)
def test_rows_come_back(job: int, places: set[int] | None, word: str) -> None:
    names = ["n-1.1.w"] if places is None else [f"n-1.1.w[{index}]" for index in places]
    rows = [f"{job:<7d} user    {word:<5} normal     host        h1          {name:<10} "
            "Nov  3 04:46" for name in names]  # fmt: skip
    parsed = parse.table("\n".join(rows))
    status = parse.merge(parsed, "user")[str(job)]
    assert status.state == (LIVE if word in parse.LIVE_STATES else ENDED)
    assert set(status.positions) == {at - 1 for at in places or ()}
    assert ids_by_name(parsed, ["n-1.1.w"]) == {"n-1.1.w": str(job)}


def test_the_rows_of_a_large_array_are_read_at_one_go() -> None:
    rows = (f"12      user    DONE  normal     host        h1          a.1.w[{at}] Nov 23 04:46\n"
            for at in range(1, 10_001))  # fmt: skip
    statuses = parse.merge(parse.table("".join(rows)), "user")
    assert len(statuses["12"].positions) == 10_000
    assert parse.status.cache_info().maxsize, "states are made once for all of them"
