"""What backends share: options, ranges, paths, and what schedulers tell alike."""

from __future__ import annotations

import shlex
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.errors import SubmissionRefusedError
from reflow.executors.base import ENDED, LIVE, JobRequest, JobStatus
from reflow.executors.options import (
    checked,
    elements,
    log_path,
    long_name,
    read_ranges,
    refuse,
    write_ranges,
)
from reflow.executors.options import given as options_given
from reflow.executors.parsing import array_status, ended_badly, iso_time, only_id, size_in


def request(size: int = 1, throttle: int | None = None) -> JobRequest:
    return JobRequest(tag="t", name="n", script="s", directory="/", log="/l.{position}",
                      size=size, throttle=throttle)  # fmt: skip


def test_options_that_are_given() -> None:
    found = options_given(queue="gpu", account=None, time_limit="", job_name="x")
    assert found == {"queue": "gpu", "job-name": "x"}


def test_native_options() -> None:
    short = {"q": "qos"}
    found = checked(
        {"q": "high", "--mail-type": "END", "ntasks_per_node": "a b"}, "sub", ours=["array"],
        allowed="[a-z-]+", spelled=lambda name: long_name(name, short), read=shlex.split,
    )  # fmt: skip
    assert found == {"qos": ["high"], "mail-type": ["END"], "ntasks-per-node": ["a", "b"]}


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [("--array", "1", r"'--array' \('1'\) is set by reflow itself: leave it out"),
     ("site", "x", "is set by reflow itself: set it elsewhere"),
     ("", "x", "'' = 'x' is no option of sub"), ("a b", "x", "is no option of sub"),
     ("qos", "a\nb", "is no option of sub"), ("qos", "'open", "is no option of sub")],
)  # fmt: skip
def test_options_that_are_refused(name: str, value: str, problem: str) -> None:
    with pytest.raises(SubmissionRefusedError, match=problem):
        checked({name: value}, "sub", ours=["array", "site"], allowed="[a-z-]+", read=shlex.split,
               instead={"site": "set it elsewhere"})  # fmt: skip


def test_paths() -> None:
    assert (log_path(request(), "%a"), log_path(request(2), "%a")) == ("/l.0", "/l.%a")
    refuse(",", "log", "/a", "a comma, which ends it")
    with pytest.raises(SubmissionRefusedError, match="the log '/a,b' has a comma, which ends it: "):
        refuse(",", "log", "/a,b", "a comma, which ends it")


def test_elements() -> None:
    assert elements(request(200)) == "0-199"
    assert elements(request(200, throttle=20), first=1) == "1-200%20"


@given(st.sets(st.integers(0, 5000)))
def test_what_is_written_is_read_again(numbers: set[int]) -> None:
    written = write_ranges(numbers)
    assert list(read_ranges(",".join(written), 5000)) == sorted(numbers)
    assert list(read_ranges(",".join(written) + "%7", 5000)) == sorted(numbers)


@pytest.mark.parametrize(
    ("text", "places"),
    [("0-9%3", list(range(10))), ("1,3-5", [1, 3, 4, 5]), ("5-9:2", [5, 7, 9]), ("", []),
     ("1,3-5,...", [1, 3, 4, 5]), ("1,3,12...", [1, 3]), ("0-99999999999", []), ("9-1", []),
     ("0-9:0", []), ("²", []), ("a-b", [])],
)  # fmt: skip
def test_array_expressions(text: str, places: list[int]) -> None:
    assert list(read_ranges(text, 4_000_000)) == places


@given(st.one_of(st.text(), st.text("0123456789-,:%.[]x")))
def test_no_text_is_more_than_the_most(text: str) -> None:
    assert all(one <= 99 for one in read_ranges(text, 99))


@pytest.mark.parametrize("found", [[], ["1", "2"]])
def test_an_answer_without_one_id(found: list[str]) -> None:
    with pytest.raises(ValueError, match="sub printed no job id: 'Welcome'"):
        only_id("sub", " Welcome\n", found)


def test_a_size() -> None:
    assert size_in(r"^Most = (\d+)$", "x\nMost = 7\n") == 7
    assert (size_in(r"^Most = (\d+)$", "Most = 0"), size_in(r"^Most = (\d+)$", "")) == (1, None)


def test_an_array_is_what_its_positions_are() -> None:
    well, failed = JobStatus(state=ENDED), JobStatus(state=ENDED, cause="ERROR")
    waits, runs = JobStatus(state=LIVE), JobStatus(state=LIVE, running=True)
    assert array_status({0: well, 1: failed}).cause == "ERROR"
    assert array_status({0: well, 1: well}).cause == ""
    living = array_status({0: failed, 1: waits, 2: runs})
    assert (living.state, living.running, living.cause) == (LIVE, True, "")
    assert array_status({0: failed}, [waits]).state == LIVE
    assert array_status({0: failed}, [waits]).positions == {0: failed}
    assert array_status({}, [runs]).running


def test_how_a_process_ended() -> None:
    assert ended_badly(3, None) == "exit code 3"
    assert ended_badly(None, 15) == "killed by signal 15"
    assert ended_badly(0, 9).endswith("memory suspected")


def test_an_error_by_sigkill_makes_memory_suspected() -> None:
    assert JobStatus(state=ENDED, cause="ERROR", signal=9).suspected == "OOM"
    assert JobStatus(state=ENDED, cause="ERROR", signal=9, suspected="").suspected == ""
    assert JobStatus(state=ENDED, cause="TIMEOUT", signal=9).suspected == ""
    assert JobStatus(state=ENDED, cause="ERROR", signal=15).suspected == ""


@pytest.mark.parametrize("text", ["", "Unknown", "N/A", "9999-99-99T00:00:00", "²"])
def test_a_text_that_is_no_time(text: str) -> None:
    assert iso_time(text) is None


def test_a_time() -> None:
    text = "2026-11-23T04:37:12"
    assert iso_time(text) == datetime.fromisoformat(text).timestamp()
