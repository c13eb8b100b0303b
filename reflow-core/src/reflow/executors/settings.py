"""Fields of executors: a setting of the configuration, with its help and what it may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import Attribute, field, fields, validators


def setting(default: Any, help_text: str, check: Any = None) -> Any:
    """Make a field with its help.

    `check` is attrs' validator of a value, or a tuple of the allowed values. None, which stands
    for "not set", is always allowed.
    """
    if isinstance(check, tuple):
        check = validators.in_(check)
    return field(
        default=default,
        validator=None if check is None else validators.optional(check),
        metadata={"help": help_text},
    )


def largest_array(help_text: str) -> Any:
    """Make the field `max_array_size`: the most elements of one job, None where it is not set."""
    return setting(None, help_text, validators.ge(1))


def command(default: str, help_text: str, *, needed: bool = True) -> str:
    """Make a field that names one of the scheduler's commands: a name on PATH, or a path.

    Without a command that is `needed` the executor cannot be used.
    """
    made: str = field(
        default=default,
        validator=[validators.instance_of(str), validators.min_len(1)],
        metadata={"command": True, "needed": needed, "help": help_text},
    )
    return made


def command_names(executor: type, *, needed: bool = False) -> list[str]:
    """Return the names of the fields made by `command`; with `needed`, of the needed ones."""
    return [
        attribute.name
        for attribute in fields(executor)
        if attribute.metadata.get("command") and (attribute.metadata["needed"] or not needed)
    ]


def quantity(parse: Callable[[str], int]) -> Any:
    """Return a validator: a text that `parse` can read."""

    def check(instance: object, attribute: Attribute[Any], value: str) -> None:
        parse(value)

    return check
