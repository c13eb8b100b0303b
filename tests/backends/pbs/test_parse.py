"""Parsing the output of PBS's commands, from transcripts/ of a real PBS (23.06)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.executors.base import ENDED, LIVE
from reflow.executors.parsing import only_id
from reflow_pbs import parse

TRANSCRIPTS = Path(__file__).parent / "transcripts"


def read(name: str) -> str:
    return (TRANSCRIPTS / f"{name}.txt").read_text()


def block(**attributes: str) -> str:
    lines = "".join(f"    {name} = {value}\n" for name, value in attributes.items())
    return f"1.pbshost\n{lines}\n"


def test_how_jobs_stand() -> None:
    states = {
        int(job.partition(".")[0]): (entry.status.state, entry.status.running, entry.status.cause)
        for job, entry in parse.jobs(read("qstat"), "reflow").items()
        if "[]" not in job
    }
    assert states == {
        1224: (ENDED, False, ""),
        1225: (ENDED, False, "ERROR"),
        1226: (ENDED, False, "ERROR"),
        1227: (ENDED, False, "ERROR"),
        1228: (ENDED, False, "TIMEOUT"),
        1229: (LIVE, False, "HELD"),
        1230: (LIVE, False, ""),
        1231: (ENDED, False, "CANCELLED"),
        1232: (ENDED, False, "LOST"),
        1233: (LIVE, False, "HELD"),
        1234: (LIVE, True, ""),
        1235: (ENDED, False, "CANCELLED"),
        1236: (LIVE, False, ""),
    }


def test_times_nodes_and_reasons_of_jobs() -> None:
    statuses = {job: entry.status for job, entry in parse.jobs(read("qstat"), "reflow").items()}
    bad, killed, wrapped = (statuses[f"{number}.pbshost"] for number in (1225, 1226, 1227))
    assert (bad.exit_code, bad.signal, bad.reason) == (7, None, "exit code 7")
    assert (killed.exit_code, killed.signal) == (None, 9)
    assert killed.reason == "killed by signal 9: memory suspected"
    # A script is started by the login shell, which exits with 128 plus the signal.
    assert (wrapped.exit_code, wrapped.signal) == (137, 9)
    assert wrapped.reason == "killed by signal 9: memory suspected"
    good = statuses["1224.pbshost"]
    moment = time.mktime((2026, 11, 25, 3, 42, 31, 0, 0, -1))
    assert (good.started, good.ended, good.nodes) == (moment, moment + 1, ("pbshost",))
    assert statuses["1234.pbshost"].ended is None
    assert statuses["1232.pbshost"].started is None
    # Folded by qstat at the end of its line.
    assert statuses["1233.pbshost"].reason == (
        "Can Never Run: Insufficient amount of resource: ncpus (R: 100 A: 8 T: 8)"
    )
    assert statuses["1229.pbshost"].reason == "it is held by its user: qrls"
    assert "terminated by reflow@pbshost" in statuses["1235.pbshost"].reason
    assert "not there any more" in statuses["1232.pbshost"].reason


def test_what_jobs_wait_for() -> None:
    jobs = parse.jobs(read("qstat"), "reflow")
    assert jobs["1230.pbshost"].behind == ("1229.pbshost",)
    assert jobs["1229.pbshost"].behind == (), "what waits for it is not what it waits for"
    text = "Job Id: 9.h\n    job_state = H\n    depend = beforeany:8.h@h,\n\tafterany:1.h@h:2[].h@h"
    assert parse.jobs(text)["9.h"].behind == ("1.h", "2[].h")


def test_an_array_that_lives_and_its_elements() -> None:
    [(job, entry)] = parse.jobs(read("living"), "reflow").items()
    array = entry.status
    assert job == "1237[].pbshost"
    assert (array.state, array.running, array.exit_code) == (LIVE, True, None)
    assert {at: (element.state, element.cause) for at, element in array.positions.items()} == {
        0: (ENDED, "ERROR"), 1: (LIVE, ""), 2: (ENDED, "ERROR"), 3: (LIVE, ""), 4: (LIVE, ""),
        5: (ENDED, "CANCELLED"),
    }  # fmt: skip
    assert [at for at, element in array.positions.items() if element.running] == [1, 3]
    assert (array.positions[0].exit_code, array.positions[2].signal) == (3, 9)
    assert array.positions[5].started is None


def test_an_array_that_has_ended() -> None:
    array = parse.jobs(read("qstat"), "reflow")["1238[].pbshost"].status
    assert (array.state, array.cause) == (ENDED, "ERROR")
    assert {at: element.exit_code for at, element in array.positions.items()} == {0: 0, 1: 1, 2: 2}
    assert array.positions[0].cause == ""


def test_an_array_that_was_deleted() -> None:
    array = parse.jobs(read("deleted_array"), "reflow")["1237[].pbshost"].status
    assert (array.state, array.cause) == (ENDED, "CANCELLED")
    assert {element.cause for element in array.positions.values()} == {"CANCELLED"}
    assert {element.started for at, element in array.positions.items() if at in (4, 5)} == {None}


def test_an_array_whose_last_element_ended_well_is_no_success() -> None:
    status = parse.status(
        block(job_state="F", substate="93", Exit_status="0", comment="and failed")
    )
    assert (status.cause, status.reason) == ("ERROR", "some of its elements failed")


def test_unknown_jobs_are_left_out() -> None:
    assert list(parse.jobs(read("partly"), "reflow")) == ["1224.pbshost"]


def test_jobs_of_others_are_not_ours() -> None:
    assert parse.jobs(read("qstat"), "somebody") == {}
    assert len(parse.jobs(read("qstat"))) == 15


@pytest.mark.parametrize("state", [*parse.WAITING, *parse.RUNNING])
def test_states_of_what_lives(state: str) -> None:
    status = parse.status(block(job_state=state, substate="10", Hold_Types="n"))
    assert (status.state, status.cause, status.running) == (LIVE, "", state in parse.RUNNING)


@pytest.mark.parametrize("state", ["", "C", "Z", "f", "QH", "FX", "REBSU", "finished"])
def test_a_state_that_is_not_known_is_unknown_and_never_a_success(state: str) -> None:
    status = parse.status(block(job_state=state, substate="92", Exit_status="0"))
    assert (status.state, status.cause) == (LIVE, "UNKNOWN")


@pytest.mark.parametrize(
    ("code", "cause"),
    [("0", ""), ("1", "ERROR"), ("255", "ERROR"), ("265", "ERROR"), ("-29", "TIMEOUT"),
     ("-28", "TIMEOUT"), ("-27", "OOM"), ("-26", "OOM"), ("-20", "NODE_FAIL"), ("-4", "NODE_FAIL"),
     ("-1", "ERROR"), ("-77", "ERROR"), ("what", "UNKNOWN"), ("", "UNKNOWN")],
)  # fmt: skip
def test_exit_codes(code: str, cause: str) -> None:
    attributes = {"job_state": "F", "substate": "92", "stime": "Wed Nov 25 03:42:31 2026"}
    status = parse.status(block(**attributes, **({"Exit_status": code} if code else {})))
    assert (status.state, status.cause) == (ENDED, cause)
    assert bool(status.reason) == bool(cause)


@pytest.mark.parametrize(
    ("holds", "substate", "cause"),
    [("s", "22", ""), ("us", "22", "HELD"), ("u", "20", "HELD"), ("o", "20", "HELD"),
     ("s", "20", "HELD"), ("p", "20", "HELD"), ("n", "20", "")],
)  # fmt: skip
def test_holds(holds: str, substate: str, cause: str) -> None:
    held = parse.status(block(job_state="H", substate=substate, Hold_Types=holds))
    assert (held.state, held.cause) == (LIVE, cause)
    assert parse.status(block(job_state="R", substate="42", Hold_Types=holds)).cause == ""


@pytest.mark.parametrize("comment", ["Not Running: Not enough free nodes available", "", "x"])
def test_reasons_that_pass_by_themselves_are_no_cause(comment: str) -> None:
    status = parse.status(block(job_state="Q", substate="10", Hold_Types="n", comment=comment))
    assert status.cause == ""


def test_nodes() -> None:
    status = parse.status(block(job_state="R", exec_host="n1/0*4+n2/1*4+n1/2"))
    assert status.nodes == ("n1", "n2")


@pytest.mark.parametrize(
    "text", ["1.pbshost\n", "26[].pbs.site.org\n", "Welcome!\n\n 3.x-1 \nBye\n"]
)
def test_job_id(text: str) -> None:
    job = only_id("qsub", text, parse.JOB_ID.findall(text))
    assert job in ("1.pbshost", "26[].pbs.site.org", "3.x-1")


@pytest.mark.parametrize("text", ["", "\n", "32\n", "1.a\n2.b\n", "²", "-3", "26[3].pbshost", "1."])
def test_no_job_id(text: str) -> None:
    with pytest.raises(ValueError, match="no job id"):
        only_id("qsub", text, parse.JOB_ID.findall(text))


LATER = """would exceed complex's per-user limit
would exceed queue workq's per-user limit
would exceed queue workq's per-user limit of jobs in 'Q' state
would exceed per-user limit on resource ncpus in queue workq
Maximum number of jobs already in queue workq
Maximum number of jobs for user me already in complex"""
REFUSED = """Unknown queue
Unauthorized Request
illegal -J value
Job violates queue and/or server resource limits
Array job exceeds server or queue size limit
Illegal attribute or resource value Resource_List.mem"""
DOWN = """cannot connect to server pbshost (errno=15010)
cannot connect to server nosuchhost.invalid (errno=15008)
End of File"""


def test_what_a_refusal_is() -> None:
    for kind, text in {"refused": REFUSED, "later": LATER, "down": DOWN}.items():
        for line in text.splitlines():
            message = f"qsub: {line}"
            assert (parse.LIMIT.search(message) is not None) == (kind == "later"), line
            assert (parse.UNREACHABLE.search(message) is not None) == (kind == "down"), line


PIECES = st.lists(
    st.one_of(
        st.sampled_from(["Job Id: ", "5.h", "5[].h", "5[3].h", "\n    job_state = ", "F", "X", "R",
                         "\n    substate = ", "91", "\n    Exit_status = ", "-29", "\n", "\n\t",
                         "\n    depend = afterany:", "\n    stime = ", "Wed Nov 25 03:42:31 2026",
                         "\n    comment = Subjob finished", "\n    exec_host = a/0+b/1", ":"]),
        st.text(max_size=5),
    )
).map("".join)  # fmt: skip


@given(st.one_of(st.text(), PIECES))
def test_no_text_raises(text: str) -> None:
    for output in (text, f"Job Id: 5.h\n{text}", text.join(read("living").splitlines()[:30])):
        parse.jobs(output)
        parse.jobs(output, "reflow")
        parse.listed(output)
        parse.number(output)
    parse.status(text)


@given(state=st.text(max_size=3), substate=st.text(max_size=3), code=st.text(max_size=4))
def test_only_a_finished_job_with_code_zero_is_a_success(
    state: str, substate: str, code: str
) -> None:
    status = parse.status(block(job_state=state, substate=substate, Exit_status=code))
    if status.state == ENDED and not status.cause:
        assert state.strip() in ("F", "X")
        assert int(code) == 0


@given(
    number=st.integers(1, 9999999),
    places=st.sets(st.integers(0, 9999), min_size=1, max_size=30),
    code=st.integers(0, 255),
)
def test_elements_come_back(number: int, places: set[int], code: int) -> None:
    text = f"Job Id: {number}[].h\n    job_state = B\n" + "".join(
        f"Job Id: {number}[{at}].h\n    job_state = X\n    substate = 93\n"
        f"    Exit_status = {code}\n    stime = Wed Nov 25 03:42:31 2026\n"
        for at in places
    )
    status = parse.jobs(text)[f"{number}[].h"].status
    assert (status.state, status.running) == (LIVE, True)
    assert set(status.positions) == places
    assert {each.exit_code for each in status.positions.values()} == {code}
