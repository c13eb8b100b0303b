"""What `store gc` and `cache prune` share: options for age and size, and how they report."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from ..errors import DefinitionError
from ..model.units import parse_memory, parse_time
from .access import Decorated
from .terminal import NOT_OK, print_json

dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Only show what would be removed."
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


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


_read_time = _reader(parse_time, "a length of time, such as 90d, 12h or 30m")
_read_size = _reader(_bytes, "a size, such as 50G, 500M or a number of bytes")


def older_than_option(text: str) -> Callable[[Decorated], Decorated]:
    """Let a command take `--older-than`, in seconds."""
    return click.option("--older-than", metavar="TIME", callback=_read_time, help=text)


def max_size_option(text: str) -> Callable[[Decorated], Decorated]:
    """Let a command take `--max-size`, in bytes."""
    return click.option("--max-size", metavar="SIZE", callback=_read_size, help=text)


def keep_option(text: str) -> Callable[[Decorated], Decorated]:
    """Let a command take `--keep`, a number of runs."""
    return click.option(
        "--keep", type=click.IntRange(min=0), default=1, show_default=True, help=text
    )



def size_text(size: int) -> str:
    """Return a number of bytes as people read it, such as ``1.5 GiB``."""
    amount, unit = float(size), 0
    while amount >= 1024 and unit < 4:
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.{1 if unit else 0}f} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[unit]}"


def freed_text(freed: int, size: int) -> str:
    """Return how much of a size becomes free."""
    return f"{size_text(freed)} of {size_text(size)}"


def report(summary: object, problems: Sequence[str]) -> None:
    """Print what was removed, a text as it is, anything else as JSON; problems set the exit code.

    JSON has the problems among its keys.
    """
    if isinstance(summary, str):
        click.echo(summary)
        for problem in problems:
            click.echo(f"error: {problem}", err=True)
    else:
        print_json(summary)
    if problems:
        click.get_current_context().exit(NOT_OK)
