"""Parsing what Flux printed, and what it might print."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.executors.base import ENDED, LIVE
from reflow_flux import parse

TRANSCRIPTS = Path(__file__).parent / "transcripts"


def read(name: str) -> str:
    return (TRANSCRIPTS / f"{name}.txt").read_text()


# name: state, cause, exit code, signal, and part of the reason
WANTED = {
    "ok": (ENDED, "", 0, None, ""),
    "exit4": (ENDED, "ERROR", 4, None, "exit code 4"),
    "timeout": (ENDED, "TIMEOUT", None, 14, "resource allocation expired"),
    "trapped": (ENDED, "TIMEOUT", None, 9, "resource allocation expired"),
    "kill9": (ENDED, "ERROR", None, 9, "killed by signal 9: memory suspected"),
    "term": (ENDED, "ERROR", None, 15, "killed by signal 15"),
    "abort": (ENDED, "ERROR", None, 6, "killed by signal 6"),
    "notfound": (ENDED, "ERROR", 127, None, "exec: task 0 (host n1): start failed"),
    "noexec": (ENDED, "ERROR", 126, None, "Permission denied"),
    "noout": (ENDED, "ERROR", 1, None, "shell_init: No such file or directory"),
    "toomany": (ENDED, "HELD", None, None, "unsatisfiable request: need 1 slot(s) of 99 core(s)"),
    "nogpu": (ENDED, "HELD", None, None, "unsatisfiable request: need 1 slot(s) with 9 GPU(s)"),
    "held": (LIVE, "HELD", None, None, "flux job urgency"),
    "heldcancelled": (ENDED, "CANCELLED", None, None, "Flux says CANCELED"),
    "running": (LIVE, "", None, None, ""),
    "cancelled": (ENDED, "CANCELLED", None, 15, "Flux says CANCELED"),
    "parent": (ENDED, "ERROR", 1, None, "exit code 1"),
    "warned": (ENDED, "", 0, None, ""),
    "note": (ENDED, "CANCELLED", None, 15, "a|b by me"),
    "waits": (LIVE, "", None, None, ""),
    "never": (ENDED, "LOST", None, None, "can never be satisfied"),
}


def test_a_transcript() -> None:
    jobs = {job.name: job for job in parse.jobs(read("jobs")) if job.positions is None}
    statuses = {
        name: (job.status.state, job.status.cause, job.status.exit_code, job.status.signal)
        for name, job in jobs.items()
    }
    assert {name: status for name, status in statuses.items() if name in WANTED} == {
        name: row[:4] for name, row in WANTED.items()
    }
    for name, (*_, reason) in WANTED.items():
        assert reason in jobs[name].status.reason, name
        assert bool(reason) == bool(jobs[name].status.reason), name
    running = [job.name for job in jobs.values() if job.status.running]
    assert running == ["running"]
    # A foreign job's name may hold the separator: a misread row is never a success.
    assert jobs.pop("odd").status.cause == "UNKNOWN"
    unborn = {name for name, job in jobs.items() if job.status.started is None}
    assert unborn == {"toomany", "nogpu", "held", "heldcancelled", "waits", "never"}
    assert jobs["ok"].status.nodes == ("n1",)


def test_an_array_of_a_transcript() -> None:
    job = parse.array_id("arr", 1795577355.9)
    [(name, status)] = parse.merge(parse.jobs(read("jobs")), [job]).items()
    assert name == job
    assert {at: (element.cause, element.exit_code) for at, element in status.positions.items()} == {
        0: ("", 0), 1: ("ERROR", 1), 2: ("ERROR", 2)
    }  # fmt: skip
    assert (status.state, status.cause) == (ENDED, "ERROR")


def row(job: str, name: str, state: str, result: str = "", code: str = "", more: str = "") -> str:
    return f"{job}|{name}|17.5|{state}|{result}|16|{code}|0.0|0.0||{more or '||'}\n"


def test_an_array_lives_while_one_element_does() -> None:
    text = row("f1", "a[0]", "INACTIVE", "FAILED", "3") + row("f2", "a[1]", "RUN")
    status = parse.merge(parse.jobs(text), ["a[]@17"])["a[]@17"]
    assert (status.state, status.running, status.cause) == (LIVE, True, "")
    assert status.positions[0].state == ENDED
    assert parse.merge([], ["a[]@17", "f1"]) == {}


def test_jobs_of_another_name_are_none_of_the_array() -> None:
    text = "".join(row("f1", name, "RUN") for name in ("a", "aa[0]", "a[x]", "a[0]b", "a[0][1]"))
    assert parse.merge(parse.jobs(text), ["a[]@17"]) == {}


@pytest.mark.parametrize(
    ("severity", "kind", "note", "cause"),
    [("0", "exec", "lost contact with job shell on broker n2 (rank 1)", "NODE_FAIL"),
     ("0", "node-failure", "n2", "NODE_FAIL"), ("0", "preempt", "", "PREEMPTED"),
     ("0", "prolog", "prolog exited with exit code=1", "ERROR"),
     ("2", "node-failure", "lost contact with job shell", "ERROR"), ("", "", "", "ERROR")],
)  # fmt: skip
def test_fatal_exceptions(severity: str, kind: str, note: str, cause: str) -> None:
    more = f"{severity}|{kind}|{note}"
    [job] = parse.jobs(row("f1", "a", "INACTIVE", "FAILED", "1", more))
    assert (job.status.state, job.status.cause) == (ENDED, cause)


@pytest.mark.parametrize(("code", "signal"), [("192", 64), ("193", None), ("255", None)])
def test_a_code_that_is_no_signal_is_an_exit_code(code: str, signal: int | None) -> None:
    [job] = parse.jobs(row("f1", "a", "INACTIVE", "FAILED", code))
    ending = (job.status.cause, job.status.exit_code, job.status.signal)
    assert ending == ("ERROR", None if signal else int(code), signal)
    assert job.status.reason == (f"killed by signal {signal}" if signal else f"exit code {code}")


@pytest.mark.parametrize("state", ["NEW", "DEPEND", "PRIORITY", "SCHED", "RUN", "CLEANUP"])
def test_states_of_what_lives(state: str) -> None:
    status = parse.status(state, "", "16")
    assert (status.state, status.cause) == (LIVE, "")
    assert status.running == (state in ("RUN", "CLEANUP"))
    # An urgency of 0 is ignored for a running job.
    assert (parse.status(state, "", "0").cause == "HELD") != status.running


@pytest.mark.parametrize(
    ("state", "result"),
    [("", ""), ("INACTIVE", ""), ("INACTIVE", "CANCELLED"), ("DANCING", ""), ("CD", "COMPLETED"),
     ("inactive", "completed"), ("INACTIVE", "COMPLETED "), ("RUNNING", "")],
)  # fmt: skip
def test_a_state_that_is_not_known_is_unknown_and_never_a_success(state: str, result: str) -> None:
    status = parse.status(state, result, code="0")
    assert (status.cause, status.exit_code) == ("UNKNOWN", None)
    assert status.state == (ENDED if state == "INACTIVE" else LIVE)


@pytest.mark.parametrize(
    ("text", "ids"),
    [("frqxrXR\n", ["frqxrXR"]), ("ƒrqxrXR\nf21cUcBh\n", ["frqxrXR", "f21cUcBh"]),
     ("Welcome!\n\n  frqxrXR \n", ["frqxrXR"]), ("", []), ("f\nfoo bar\nf0OIl\n", [])],
)  # fmt: skip
def test_job_ids(text: str, ids: list[str]) -> None:
    assert parse.job_ids(text) == ids


def test_forgotten_jobs_of_a_refused_dependency() -> None:
    text = "[Errno 22] dependency: afterany: id ƒ1234567: job not found\nid f12: job not found\n"
    assert parse.unknown(text) == {"f1234567", "f12"}


REFUSED = """[Errno 22] 'batch' is not a valid queue
[Errno 1] no queue specified
[Errno 1] Invalid queue 'nosuch' specified
[Errno 22] requested duration (2h) exceeds policy limit of 1h for queue batch
[Errno 22] requested nnodes (5) exceeds policy limit of 2 for queue batch
[Errno 22] dependency: afterany: id f1234567: job not found
flux-submit: ERROR: invalid Flux standard duration
flux submit: error: unrecognized arguments: --nosuchopt
[Errno 22] urgency range is [0:31]"""
LATER = """[Errno 22] job submission to debug is disabled: out of order
[Errno 22] job submission is disabled: maintenance
[Errno 1] user has max number of jobs submitted
[Errno 1] per-user max jobs limit reached"""
DOWN = """flux-submit: ERROR: Unable to connect to Flux: broker socket /run/flux/local was not found
flux-jobs: ERROR: Unable to connect to Flux: Connection refused
flux-cancel: ERROR: [Errno 108] Cannot send after transport endpoint shutdown
flux-jobs: ERROR: [Errno 38] No service matching job-list.list is registered"""


def test_what_a_refusal_is() -> None:
    kinds = {"refused": REFUSED, "later": LATER, "down": DOWN}
    for kind, text in kinds.items():
        for line in text.splitlines():
            assert (parse.LIMIT.search(line) is not None) == (kind == "later"), line
            assert (parse.UNREACHABLE.search(line) is not None) == (kind == "down"), line


PIECES = st.lists(
    st.one_of(
        st.sampled_from(["|", "[", "]", "f1", "ƒ12", "INACTIVE", "COMPLETED", "FAILED", "RUN", "\n",
                         "0", "-128", "1795409405.85", "exec", "lost contact", "a[3]", "[]@", " "]),
        st.text(max_size=5),
    )
).map("".join)  # fmt: skip


@given(st.one_of(st.text(), PIECES))
def test_no_text_raises(text: str) -> None:
    line = "|".join([text] * 13)
    for output in (text, line, f"f1|{line}", text.join(read("jobs").splitlines()[:3])):
        parse.merge(parse.jobs(output), [text, "arr[]@1"])
    parse.job_ids(text), parse.unknown(text), parse.array_name(text)
    parse.status(*[text] * 10)


@given(st.text(string.ascii_uppercase, min_size=1), st.text(string.ascii_uppercase, min_size=1))
def test_only_completed_is_a_success(state: str, result: str) -> None:
    for status in (
        parse.status(state, result, code="0"),
        parse.status("INACTIVE", result, code="0"),
    ):
        well = status.state == ENDED and not status.cause
        assert well == (status.raw in ("INACTIVE COMPLETED",))


@given(
    name=st.text(string.ascii_letters + "_.+@=-", min_size=1),
    places=st.sets(st.integers(0, 5000), min_size=1),
    when=st.floats(1, 2**33),
)
def test_arrays_come_back(name: str, places: set[int], when: float) -> None:
    job = parse.array_id(name, when)
    array = parse.array_name(job)
    assert array is not None
    assert array[0] == name
    assert array[1] <= when
    text = "".join(row("f1", f"{name}[{place}]", "RUN") for place in places)
    assert set(parse.merge(parse.jobs(text), [job])[job].positions) == places
