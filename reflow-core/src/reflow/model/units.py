"""Amounts of memory and time as people write them: in bytes and in seconds inside."""

from __future__ import annotations

import re

from ..errors import DefinitionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import timedelta

_UNITS = "KMGT"
# Compiled when first used (by re, which keeps them): most workers never do.
_MEMORY = r"(\d+(?:\.\d+)?)\s*(?:([KMGT])(?:I?B)?|B)"
_CLOCK = r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?"
_SPANS = r"(?:(\d+)\s*d)?\s*(?:(\d+)\s*h)?\s*(?:(\d+)\s*m)?\s*(?:(\d+)\s*s)?"
_MEMORY_FORMS = "a number with a unit, such as '8G', '500M' or '1.5T', or an int of bytes"
_TIME_FORMS = (
    "'HH:MM:SS', 'D-HH:MM:SS' or 'MM:SS', a unit such as '90s', '30m', '2h' or '1d', "
    "a timedelta, or an int of seconds"
)


def parse_memory(value: str | int) -> int:
    """Return an amount of memory in bytes.

    A string is a number with one of the units B, K, M, G, T (powers of 1024; "8G",
    "8GB" and "8GiB" are the same; a part of a byte counts as one); an int is bytes.
    Raises `DefinitionError` for anything else, for a missing unit, and for no memory at all.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        amount = value
    else:
        text = value.strip() if isinstance(value, str) else ""
        match = re.fullmatch(_MEMORY, text, re.IGNORECASE)
        if match is None:
            raise DefinitionError(_complaint("mem", "an amount of memory", value, _MEMORY_FORMS))
        number, unit = match.groups()
        factor = 1024 ** (_UNITS.index(unit.upper()) + 1) if unit else 1
        whole, _, part = number.partition(".")
        # In integers: a float would be inexact for large numbers.
        amount = int(whole) * factor
        if part:
            amount += -(-int(part) * factor // 10 ** len(part))
    if amount <= 0:
        raise DefinitionError(f"mem={value!r}: an amount of memory must be more than nothing")
    return amount


def _complaint(option: str, kind: str, value: object, forms: str) -> str:
    if isinstance(value, str) and value.strip().replace(".", "", 1).isdigit():
        return f"{option}={value!r} has no unit: give {forms}"
    return f"{option}={value!r} is not {kind}: give {forms}"


def format_memory(amount: int) -> str:
    """Write bytes with the largest unit that needs no fraction: "8G", "1000B"."""
    for power in (4, 3, 2, 1):
        if amount and amount % 1024**power == 0:
            return f"{amount // 1024**power}{_UNITS[power - 1]}"
    return f"{amount}B"


def parse_time(value: str | int | timedelta) -> int:
    """Return a length of time in whole seconds (parts of a second are rounded up).

    Takes clock forms as schedulers do ("MM:SS", "HH:MM:SS", "D-HH", "D-HH:MM",
    "D-HH:MM:SS"), units ("90s", "30m", "2h", "1d", "1h30m"), a `timedelta`, or an int
    of seconds. Raises `DefinitionError` for anything else, for a bare number in a
    string (its unit would be a guess), and for no time at all.
    """
    seconds: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        seconds = value
    elif isinstance(value, str):
        seconds = _clock_seconds(value) if ":" in value or "-" in value else _span_seconds(value)
    elif not isinstance(value, bool) and hasattr(value, "total_seconds"):
        # Not by its class: few workers have imported datetime.
        seconds = value.days * 86400 + value.seconds + (value.microseconds > 0)
    if seconds is None:
        raise DefinitionError(_complaint("time", "a length of time", value, _TIME_FORMS))
    if seconds <= 0:
        raise DefinitionError(f"time={value!r}: a time limit must be more than nothing")
    return seconds


def _clock_seconds(text: str) -> int | None:
    """Return the seconds of "D-HH:MM:SS" and its like, None for any other text."""
    match = re.fullmatch(_CLOCK, text.strip())
    if match is None:
        return None
    days, *groups = match.groups()
    parts = [int(part) for part in groups if part is not None]
    if any(part > 59 for part in parts[1:]):
        raise DefinitionError(f"time={text!r}: minutes and seconds go up to 59")
    if days is not None:  # The first part is hours: what is missing is at the end.
        hours, minutes, seconds = (*parts, 0, 0)[:3]
        return int(days) * 86400 + hours * 3600 + minutes * 60 + seconds
    hours, minutes, seconds = parts if len(parts) == 3 else (0, *parts)
    return hours * 3600 + minutes * 60 + seconds


def _span_seconds(text: str) -> int | None:
    """Return the seconds of "1h30m" and its like, None for any other text."""
    match = re.fullmatch(_SPANS, text.strip(), re.IGNORECASE)
    if match is None or not any(match.groups()):
        return None
    factors = (86400, 3600, 60, 1)
    return sum(
        int(part) * factor for part, factor in zip(match.groups(), factors, strict=True) if part
    )


def format_time(seconds: int) -> str:
    """Write seconds as "HH:MM:SS", or "D-HH:MM:SS" from a day on."""
    days, below_day = divmod(seconds, 86400)
    clock = f"{below_day // 3600:02}:{below_day % 3600 // 60:02}:{below_day % 60:02}"
    return f"{days}-{clock}" if days else clock
