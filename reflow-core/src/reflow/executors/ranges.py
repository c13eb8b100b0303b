"""Elements of arrays as schedulers write them: ``0-9:2,12``; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from .base import JobRequest

_SPAN = re.compile(r"([0-9]+)(?:-([0-9]+)(?::([1-9][0-9]*))?)?")


def elements(request: JobRequest, first: int = 0) -> str:
    """Return the elements of an array, counted from `first`, and its throttle after ``%``.

    >>> elements(JobRequest(tag="", name="", script="", directory="", log="", size=9, throttle=2))
    '0-8%2'
    """
    throttle = f"%{request.throttle}" if request.throttle else ""
    return f"{first}-{first + request.size - 1}{throttle}"


def read_ranges(text: str, most: int) -> Iterator[int]:
    """Yield the numbers of an expression without its throttle; what is no range is passed over.

    So is a range that goes beyond `most`: it would be no array, and fill the memory.

    >>> list(read_ranges("0-2,5,8-12:2%3", 1000))
    [0, 1, 2, 5, 8, 10, 12]
    >>> list(read_ranges("1,3-5,12...", 1000))
    [1, 3, 4, 5]
    """
    for part in text.partition("%")[0].split(","):
        span = _SPAN.fullmatch(part.strip())
        if span is not None:
            first, last = int(span[1]), int(span[2] or span[1])
            if last <= most:
                yield from range(first, last + 1, int(span[3] or 1))


def write_ranges(numbers: Iterable[int]) -> list[str]:
    """Return the ranges that numbers make, in their order.

    >>> write_ranges([7, 1, 2, 3])
    ['1-3', '7']
    """
    spans: list[list[int]] = []
    for one in sorted(numbers):
        if spans and one == spans[-1][1] + 1:
            spans[-1][1] = one
        else:
            spans.append([one, one])
    return [f"{first}-{last}" if last > first else str(first) for first, last in spans]
