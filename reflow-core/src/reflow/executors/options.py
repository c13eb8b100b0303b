"""What backends that call commands make of a site's and a user's own options; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

from attrs import field, frozen

from ..errors import SubmissionRefusedError

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
