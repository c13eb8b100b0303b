"""Fields of executors that a site sets, with what people read of them, and a site's own files."""

from __future__ import annotations

from typing import Any

from attrs import field, validators


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
