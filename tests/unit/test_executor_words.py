"""What backends share: options, ranges, paths, and reports of schedulers."""

from __future__ import annotations

import shlex
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.errors import SubmissionRefusedError
from reflow.executors.base import ENDED, LIVE, JobRequest, JobStatus
from reflow.executors.options import (
    begin_stamp,
    index_range,
    log_path,
    name_pattern,
    only_set,
    refuse_path,
    user_options,
    whole_units,
    write_ranges,
)
from reflow.executors.parsing import (
    Report,
    array_status,
    c_time,
    ended_badly,
    ids_by_name,
    iso_time,
    merge,
    only_id,
    read_ranges,
    signal_of,
    size_in,
)


def request(size: int = 1, throttle: int | None = None) -> JobRequest:
    return JobRequest(tag="t", name="n", script="s", directory="/", log="/l.{position}",
                      size=size, throttle=throttle)  # fmt: skip


def test_options_that_are_given() -> None:
    options = only_set(queue="gpu", account=None, time_limit="", job_name="x")
    assert options == {"queue": "gpu", "job-name": "x"}


def test_native_options() -> None:
    short = {"q": "qos"}
    options = user_options(
        {"q": "high", "--mail-type": "END", "ntasks_per_node": "a b"}, "sub", reserved=["array"],
        allowed="[a-z-]+", short=short, read=shlex.split,
    )  # fmt: skip
    assert options == {"qos": ["high"], "mail-type": ["END"], "ntasks-per-node": ["a", "b"]}


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [("--array", "1", r"'--array' \('1'\) is set by reflow itself: leave it out"),
     ("site", "x", "is set by reflow itself: set it elsewhere"),
     ("", "x", "'' = 'x' is not an option of sub"), ("a b", "x", "is not an option of sub"),
     ("qos", "a\nb", "is not an option of sub"), ("qos", "'open", "is not an option of sub")],
)  # fmt: skip
def test_options_that_are_refused(name: str, value: str, problem: str) -> None:
    with pytest.raises(SubmissionRefusedError, match=problem):
        user_options(
            {name: value}, "sub", reserved=["array", "site"], allowed="[a-z-]+", read=shlex.split,
            advice={"site": "set it elsewhere"},
        )  # fmt: skip


def test_paths() -> None:
    assert (log_path(request(), "%a"), log_path(request(2), "%a")) == ("/l.0", "/l.%a")
    refuse_path(",", "log", "/a", "a comma, which ends it")
    with pytest.raises(SubmissionRefusedError, match="the log '/a,b' has a comma, which ends it: "):
        refuse_path(",", "log", "/a,b", "a comma, which ends it")


def test_the_positions_of_an_array() -> None:
    assert index_range(request(200)) == "0-199"
    assert index_range(request(200, throttle=20), first=1) == "1-200%20"


@given(st.sets(st.integers(0, 5000)))
def test_written_ranges_are_read_again(numbers: set[int]) -> None:
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
def test_ranges_never_exceed_the_maximum(text: str) -> None:
    assert all(number <= 99 for number in read_ranges(text, 99))


@pytest.mark.parametrize("ids", [[], ["1", "2"]])
def test_an_answer_without_one_id(ids: list[str]) -> None:
    with pytest.raises(ValueError, match="sub printed no job id: 'Welcome'"):
        only_id("sub", " Welcome\n", ids)


def test_a_size() -> None:
    assert size_in(r"^Most = (\d+)$", "x\nMost = 7\n") == 7
    assert (size_in(r"^Most = (\d+)$", "Most = 0"), size_in(r"^Most = (\d+)$", "")) == (1, None)


def test_state_of_an_array_follows_its_positions() -> None:
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


def test_a_time_as_c_writes_it_in_any_locale() -> None:
    assert c_time("Mon Nov  3 04:53:24 2026") == iso_time("2026-11-03T04:53:24")
    assert c_time("lun. nov. 3 04:53:24 2026") is None
    assert c_time("Mon Foo 23 04:53:24 2026") is None


def test_amounts_are_rounded_up_and_never_zero_which_is_no_limit() -> None:
    assert [whole_units(amount, 1024) for amount in (0, 1, 1024, 1025)] == [1, 1, 1, 2]
    assert whole_units(2**60 + 1, 1024) == 2**50 + 1
    assert (whole_units(0.01), whole_units(59.2)) == (1, 60)


@pytest.mark.parametrize(
    ("code", "signal"),
    [(129, 1), (192, 64), (193, None), (255, None), (128, None), (1, None), (0, None),
     (None, None)],
)  # fmt: skip
def test_an_exit_code_that_stands_for_a_signal(code: int | None, signal: int | None) -> None:
    assert signal_of(code) == signal


def test_a_begin_is_never_early() -> None:
    now = datetime(2026, 11, 25, 23, 59, 1, 500_000).timestamp()
    assert [begin_stamp(now, delay) for delay in (0.01, 1.0, 57.6)] == [
        "202611252359.03", "202611252359.03", "202611260000.00"
    ]  # fmt: skip


def test_a_pattern_of_names() -> None:
    assert name_pattern(["a.1", "a.10"]) == "a.1*"
    assert name_pattern({"x"}) == "x"


def test_reports_become_one_status_for_each_job() -> None:
    lives, well = JobStatus(state=LIVE), JobStatus(state=ENDED)
    failed = JobStatus(state=ENDED, cause="ERROR")
    reports = [
        Report(job="1", status=lives, name="a"),
        Report(job="2", status=lives, positions=(0, 1), name="b"),
        Report(job="2", status=failed, positions=(1,), name="b"),
        Report(job="1", status=well, name="a"),
        Report(job="3", status=lives, positions=()),
    ]
    statuses = merge(reports)
    assert statuses["1"] == well, "the last report counts"
    assert (statuses["2"].state, statuses["2"].positions) == (LIVE, {0: lives, 1: failed})
    assert (statuses["3"].state, statuses["3"].positions) == (LIVE, {})
    assert ids_by_name(reports, ["b", "c"]) == {"b": "2"}
