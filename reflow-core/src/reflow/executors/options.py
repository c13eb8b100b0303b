"""What backends that call commands make of a site's and a user's own options; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from attrs import field, frozen, validators

from ..errors import SubmissionRefusedError
from .base import JobRequest

Value = TypeVar("Value")


@frozen(kw_only=True)
class SiteDefaults:
    """What a job asks for where its task says nothing; None leaves it to the site."""

    queue: str | None = None
    account: str | None = None
    options: Mapping[str, str] = field(factory=dict)


def given(**options: str | None) -> dict[str, str]:
    """Return the options that have a value, dashes for the underscores of their names.

    >>> given(queue="gpu", account=None, time_limit="")
    {'queue': 'gpu'}
    """
    return {name.replace("_", "-"): value for name, value in options.items() if value}


def long_name(name: str, short: Mapping[str, str]) -> str:
    """Return an option's long name: of a letter the one in `short`, else with dashes.

    >>> long_name("q", {"q": "qos"}), long_name("ntasks_per_node", {})
    ('qos', 'ntasks-per-node')
    """
    return short.get(name, name) if len(name) == 1 else name.replace("_", "-")


def checked(
    options: Mapping[str, str],
    command: str,
    *,
    ours: Collection[str],
    allowed: str,
    spelled: Callable[[str], str] = str,
    read: Callable[[str], Value],
    instead: Mapping[str, str] | None = None,
) -> dict[str, Value]:
    """Return a user's own options of a command, by the names that it knows them by.

    A name is taken without its dashes and as `spelled` writes it; `read` makes of a value what
    the backend needs. Raises `SubmissionRefusedError` for an option in `ours`, which reflow sets
    itself (`instead`: what to do where it is not to leave it out), for a name that the pattern
    `allowed` does not match, and for a value that cannot be printed or read.
    """
    found = {}
    for name, value in options.items():
        option = spelled(name.lstrip("-"))
        if option in ours:
            hint = (instead or {}).get(option, "leave it out")
            raise SubmissionRefusedError(
                f"the option {name!r} ({value!r}) is set by reflow itself: {hint}"
            )
        try:
            found[option] = read(value)
            sound = re.fullmatch(allowed, option) is not None and value.isprintable()
        except ValueError:
            sound = False
        if not sound:
            raise SubmissionRefusedError(f"{name!r} = {value!r} is no option of {command}")
    return found


def name_pattern(names: Collection[str]) -> str:
    """Return one pattern that fits these names, which may be of more: those of a run begin alike.

    >>> name_pattern(["f-1.1.w", "f-1.2.w"]), name_pattern(["f-1.1.w"])
    ('f-1.*', 'f-1.1.w')
    """
    first, last = min(names), max(names)
    alike = next((at for at, one in enumerate(first) if last[at : at + 1] != one), len(first))
    return first if first == last else f"{first[:alike]}*"


def setting(default: Any, help_text: str, check: Any = None) -> Any:
    """Make a field with its help.

    `check` is attrs' validator of what is given, or a tuple of what may be; None is not given.
    """
    if isinstance(check, tuple):
        check = validators.in_(check)
    return field(
        default=default,
        validator=None if check is None else validators.optional(check),
        metadata={"help": help_text},
    )


def largest_array(help_text: str) -> Any:
    """Make the field `max_array_size`: the most elements of one job, None where it is not given."""
    return setting(None, help_text, validators.ge(1))


def site_file(path: str) -> str:
    """Return the text of a file that a site sets a scheduler up by; "" where it cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(1_000_000)
    except (OSError, UnicodeDecodeError):
        return ""


def log_path(request: JobRequest, element: str) -> str:
    """Return the path of the log, of an array with the scheduler's word for its element."""
    return request.log.replace("{position}", element if request.size > 1 else "0")


def refuse(pattern: str, what: str, path: str, why: str) -> None:
    """Raise `SubmissionRefusedError` for a path that the scheduler would not take as it is."""
    if re.search(pattern, path, re.DOTALL):
        raise SubmissionRefusedError(f"the {what} {path!r} has {why}: use another run directory")


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
