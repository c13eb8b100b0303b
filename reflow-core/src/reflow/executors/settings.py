"""Fields of executors that a site sets, with what people read of them."""

from __future__ import annotations

from typing import Any

from attrs import field, validators


def setting(default: Any, help_text: str, check: Any = None) -> Any:
    """Make a field with its help; `check` is attrs' validator of what is given.

    None is a setting that is not given.
    """
    return field(
        default=default,
        validator=None if check is None else validators.optional(check),
        metadata={"help": help_text},
    )


def largest_array(help_text: str) -> Any:
    """Make the field `max_array_size`: the most elements of one job, None where it is not given."""
    return setting(None, help_text, validators.ge(1))
