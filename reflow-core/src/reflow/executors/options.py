"""What a backend makes of a request: options of a command, names, paths and times; pure."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeVar

from ..errors import SubmissionRefusedError
from .base import JobRequest

Value = TypeVar("Value")


# Options: of reflow, of a site, of a user


def only_set(**options: str | None) -> dict[str, str]:
    """Return the options that have a value, with dashes for the underscores of their names.

    >>> only_set(queue="gpu", account=None, time_limit="")
    {'queue': 'gpu'}
    """
    return {name.replace("_", "-"): value for name, value in options.items() if value}


def long_name(name: str, short: Mapping[str, str]) -> str:
    """Return an option's long name: a letter's is in `short`, others are spelled with dashes.

    >>> long_name("q", {"q": "qos"}), long_name("ntasks_per_node", {})
    ('qos', 'ntasks-per-node')
    """
    return short.get(name, name) if len(name) == 1 else name.replace("_", "-")


def user_options(
    options: Mapping[str, str],
    command: str,
    *,
    reserved: Collection[str],
    read: Callable[[str], Value],
    short: Mapping[str, str] | None = None,
    allowed: str = "[A-Za-z0-9_-]+",
    advice: Mapping[str, str] | None = None,
) -> dict[str, Value]:
    """Return a user's own options of a command, by the names that the backend uses.

    A name is taken without its dashes, or as its `long_name`, where there are `short` ones;
    `read` turns a value into what the backend needs. Raises `SubmissionRefusedError` for an option
    in `reserved`, which reflow sets itself (`advice` says what to do, where that is not to leave it
    out), for a name that the pattern `allowed` does not match, and for a value that cannot be
    printed or read.
    """
    accepted = {}
    for name, value in options.items():
        bare = name.lstrip("-")
        option = bare if short is None else long_name(bare, short)
        if option in reserved:
            hint = (advice or {}).get(option, "leave it out")
            raise SubmissionRefusedError(
                f"the option {name!r} ({value!r}) is set by reflow itself: {hint}"
            )
        try:
            accepted[option] = read(value)
            valid = re.fullmatch(allowed, option) is not None and value.isprintable()
        except ValueError:
            valid = False
        if not valid:
            raise SubmissionRefusedError(f"{name!r} = {value!r} is not an option of {command}")
    return accepted


def long_flags(options: Mapping[str, str]) -> list[str]:
    """Return options as words of a command line; an option without a value is a flag.

    >>> long_flags({"qos": "high", "exclusive": ""})
    ['--qos=high', '--exclusive']
    """
    return [f"--{name}={value}" if value else f"--{name}" for name, value in options.items()]


def short_flags(options: Mapping[str, str]) -> list[str]:
    """Return options with one dash as words of a command line; one without a value is a flag.

    >>> short_flags({"q": "high", "x": ""})
    ['-q', 'high', '-x']
    """
    return [word for name, value in options.items() for word in (f"-{name}", value) if word]


# Quantities: many schedulers count in whole units, and take 0 for "no limit"


def whole_units(amount: float, unit: int = 1) -> int:
    """Return an amount in units, rounded up, and at least 1.

    >>> whole_units(1025, 1024), whole_units(0), whole_units(59.2)
    (2, 1, 60)
    """
    return max(1, int(-(-amount // unit)))


def written(
    value: int | None, form: Callable[[int], str] = str, *, default: int | None = None
) -> str | None:
    """Return a quantity as a scheduler writes it; None where it is not set, or is the `default`.

    >>> written(4), written(1, default=1), written(None), written(2, "gpu:{}".format)
    ('4', None, None, 'gpu:2')
    """
    return None if value is None or value == default else form(value)


def clock(seconds: int) -> str:
    """Write a duration as ``hours:minutes:seconds``.

    >>> clock(90061)
    '25:01:01'
    """
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def begin_stamp(now: float, delay: float) -> str:
    """Return the local time of a begin as POSIX's qsub wants it after ``-a``, never early.

    `now` is in seconds since the epoch. IEEE Std 1003.1, qsub: ``[[CC]YY]MMDDhhmm[.SS]``.
    """
    begin = math.ceil(now + max(1.0, delay))
    return time.strftime("%Y%m%d%H%M.%S", time.localtime(begin))


# Names


def job_name(tag: str) -> str:
    """Return a tag as a job name that every scheduler takes and can be asked for."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", tag)


def name_pattern(names: Collection[str]) -> str:
    """Return one pattern that matches these names, and perhaps more: those of a run begin alike.

    >>> name_pattern(["f-1.1.w", "f-1.2.w"]), name_pattern(["f-1.1.w"])
    ('f-1.*', 'f-1.1.w')
    """
    first, last = min(names), max(names)
    if first == last:
        return first
    shared = (at for at, letter in enumerate(first) if last[at : at + 1] != letter)
    return f"{first[: next(shared, len(first))]}*"


# Paths


def log_path(request: JobRequest, position: str) -> str:
    """Return the path of the log; `position` is the scheduler's word for an array's position."""
    return request.log.replace("{position}", position if request.size > 1 else "0")


def refuse_path(pattern: str, what: str, path: str, why: str) -> None:
    """Raise `SubmissionRefusedError` for a path that the scheduler would not take as it is."""
    if re.search(pattern, path, re.DOTALL):
        raise SubmissionRefusedError(f"the {what} {path!r} has {why}: use another run directory")


# Ranges of array positions


def index_range(request: JobRequest, first: int = 0) -> str:
    """Return the positions of an array, counted from `first`, and its throttle after ``%``.

    >>> request = JobRequest(tag="", name="", script="", directory="", log="", size=9, throttle=2)
    >>> index_range(request), index_range(request, 1)
    ('0-8%2', '1-9%2')
    """
    throttle = f"%{request.throttle}" if request.throttle else ""
    return f"{first}-{first + request.size - 1}{throttle}"


def write_ranges(numbers: Iterable[int]) -> list[str]:
    """Return the ranges that cover these numbers, in order.

    >>> write_ranges([7, 1, 2, 3])
    ['1-3', '7']
    """
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return [f"{first}-{last}" if last > first else str(first) for first, last in spans]
