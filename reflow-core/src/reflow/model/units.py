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


def parse_memory(given: str | int) -> int:
    """Return an amount of memory in bytes.

    A string is a number with one of the units B, K, M, G, T (powers of 1024; "8G",
    "8GB" and "8GiB" are the same; a part of a byte counts as one); an int is bytes.
    Raises `DefinitionError` for anything else, for no unit, and for no memory at all.
    """
    if isinstance(given, int) and not isinstance(given, bool):
        amount = given
    elif isinstance(given, str):
        found = re.fullmatch(_MEMORY, given.strip(), re.IGNORECASE)
        if found is None:
            raise DefinitionError(_memory_complaint(given))
        number, unit = found.groups()
        factor = 1024 ** (_UNITS.index(unit.upper()) + 1) if unit else 1
        whole, _, part = number.partition(".")
        # In integers: a float would be off for large numbers.
        amount = int(whole) * factor
        if part:
            amount += -(-int(part) * factor // 10 ** len(part))
    else:
        raise DefinitionError(_memory_complaint(given))
    if amount <= 0:
        raise DefinitionError(f"mem={given!r}: an amount of memory must be more than nothing")
    return amount


def _memory_complaint(given: object) -> str:
    allowed = "give a number with a unit, such as '8G', '500M' or '1.5T', or an int of bytes"
    if isinstance(given, str) and given.strip().replace(".", "", 1).isdigit():
        return f"mem={given!r} has no unit: {allowed}"
    return f"mem={given!r} is no amount of memory: {allowed}"


def format_memory(amount: int) -> str:
    """Write bytes with the largest unit that needs no fraction: "8G", "1000B"."""
    for power in (4, 3, 2, 1):
        if amount and amount % 1024**power == 0:
            return f"{amount // 1024**power}{_UNITS[power - 1]}"
    return f"{amount}B"


def parse_time(given: str | int | timedelta) -> int:
    """Return a length of time in whole seconds (parts of a second are rounded up).

    Takes clock forms as schedulers do ("MM:SS", "HH:MM:SS", "D-HH", "D-HH:MM",
    "D-HH:MM:SS"), units ("90s", "30m", "2h", "1d", "1h30m"), a `timedelta`, or an int
    of seconds. Raises `DefinitionError` for anything else, for a bare number in a
    string (its unit would be a guess), and for no time at all.
    """
    if isinstance(given, int) and not isinstance(given, bool):
        seconds = given
    elif isinstance(given, str):
        seconds = _parse_time_text(given)
    elif not isinstance(given, bool) and hasattr(given, "total_seconds"):
        seconds = given.days * 86400 + given.seconds + (given.microseconds > 0)
    else:
        raise DefinitionError(_time_complaint(given))
    if seconds <= 0:
        raise DefinitionError(f"time={given!r}: a time limit must be more than nothing")
    return seconds


def _parse_time_text(given: str) -> int:
    text = given.strip()
    found = re.fullmatch(_CLOCK, text)
    if found is not None and not text.isdigit():
        days, *rest = found.groups()
        parts = [int(part) for part in rest if part is not None]
        if any(part > 59 for part in parts[1:]):
            raise DefinitionError(f"time={given!r}: minutes and seconds go up to 59")
        if days is not None:
            hours, minutes, seconds = (*parts, 0, 0)[:3]
            return int(days) * 86400 + hours * 3600 + minutes * 60 + seconds
        hours, minutes, seconds = parts if len(parts) == 3 else (0, *parts)
        return hours * 3600 + minutes * 60 + seconds
    found = re.fullmatch(_SPANS, text, re.IGNORECASE)
    if found is None or not any(found.groups()):
        raise DefinitionError(_time_complaint(given))
    factors = (86400, 3600, 60, 1)
    return sum(
        int(part) * factor for part, factor in zip(found.groups(), factors, strict=True) if part
    )


def _time_complaint(given: object) -> str:
    allowed = (
        "give 'HH:MM:SS', 'D-HH:MM:SS' or 'MM:SS', a unit such as '90s', '30m', '2h' or '1d', "
        "a timedelta, or an int of seconds"
    )
    if isinstance(given, str) and given.strip().isdigit():
        return f"time={given!r} has no unit: {allowed}"
    return f"time={given!r} is no length of time: {allowed}"


def format_time(seconds: int) -> str:
    """Write seconds as "HH:MM:SS", or "D-HH:MM:SS" from a day on."""
    days, rest = divmod(seconds, 86400)
    clock = f"{rest // 3600:02}:{rest % 3600 // 60:02}:{rest % 60:02}"
    return f"{days}-{clock}" if days else clock
