from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.errors import DefinitionError
from reflow.model.units import format_memory, format_time, parse_memory, parse_time


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("8G", 8 * 1024**3),
        ("8GiB", 8 * 1024**3),
        ("8gb", 8 * 1024**3),
        (" 500 M ", 500 * 1024**2),
        ("64k", 65536),
        ("1.5T", 3 * 1024**4 // 2),
        ("100B", 100),
        ("0.3K", 308),
        (4096, 4096),
    ],
)
def test_memory(text: Any, amount: int) -> None:
    assert parse_memory(text) == amount


@pytest.mark.parametrize(
    "bad", ["", "G", "8X", "-1G", "0G", 0, -5, True, 1.5, None, "8 G B", "1e3M"]
)
def test_bad_memory(bad: Any) -> None:
    with pytest.raises(DefinitionError, match="mem="):
        parse_memory(bad)


def test_a_number_without_unit_is_a_guess() -> None:
    with pytest.raises(DefinitionError, match=r"mem='500' has no unit: .*'8G'"):
        parse_memory("500")
    with pytest.raises(DefinitionError, match=r"time='30' has no unit: .*'30m'"):
        parse_time("30")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("01:00:00", 3600),
        ("30:00", 1800),
        ("1-00:00:00", 86400),
        ("2-12", 216000),
        ("1-02:30", 95400),
        ("100:00:00", 360000),
        ("30m", 1800),
        ("2h", 7200),
        ("90s", 90),
        ("1h30m", 5400),
        ("1d 2h", 93600),
        (60, 60),
        (timedelta(hours=1), 3600),
        (timedelta(milliseconds=1500), 2),
    ],
)
def test_time(text: Any, seconds: int) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    "bad", ["", "h", "00:00:00", "1:60", "1:00:99", "-5m", 0, -1, False, 2.5, None, "1:2:3:4", "5x"]
)
def test_bad_time(bad: Any) -> None:
    with pytest.raises(DefinitionError, match="time="):
        parse_time(bad)


def test_no_time_at_all_in_a_timedelta() -> None:
    with pytest.raises(DefinitionError, match="more than nothing"):
        parse_time(timedelta(0))


@given(st.integers(min_value=1, max_value=10**18))
def test_memory_round_trip(amount: int) -> None:
    assert parse_memory(format_memory(amount)) == amount


@given(st.integers(min_value=1, max_value=10**9))
def test_time_round_trip(seconds: int) -> None:
    assert parse_time(format_time(seconds)) == seconds


@given(st.text(max_size=12))
def test_any_text_is_an_amount_or_a_definition_error(text: str) -> None:
    for parse in (parse_memory, parse_time):
        with contextlib.suppress(DefinitionError):
            assert parse(text) > 0
