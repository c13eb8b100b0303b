"""What commands that take old things away have in common: how long, how much, what went."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import click

from ..errors import DefinitionError
from ..model.units import parse_memory, parse_time

NOT_OK = 1
"""Exit code where not all could be done."""


def _reader(parse: Callable[[str], int], what: str) -> Callable[..., int | None]:
    def callback(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
        if value is None:
            return None
        try:
            return 0 if value.strip().rstrip("smhdBKMGTi") == "0" else parse(value)
        except DefinitionError:
            raise click.BadParameter(f"{value!r} is not {what}") from None

    return callback


def _bytes(text: str) -> int:
    return int(text) if text.isdigit() else parse_memory(text)


read_time = _reader(parse_time, "a length of time, such as 90d, 12h or 30m")
"""Callback of an option: its seconds, None where it is not given."""
read_size = _reader(_bytes, "a size, such as 50G, 500M or a number of bytes")
"""Callback of an option: its bytes, None where it is not given."""


def size_text(size: int) -> str:
    """Return a number of bytes as people read it, such as ``1.5 GiB``."""
    amount, unit = float(size), 0
    while amount >= 1024 and unit < 4:
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.{1 if unit else 0}f} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[unit]}"


def tell_what_went(told: object, problems: Sequence[str]) -> None:
    """Print what went, a text as it is and anything else as JSON; problems end the command."""
    as_json = not isinstance(told, str)
    click.echo(json.dumps(told, indent=2) if as_json else told)
    for problem in () if as_json else problems:
        click.echo(f"error: {problem}", err=True)
    if problems:
        click.get_current_context().exit(NOT_OK)
