"""What commands share that print: exit codes, errors, colours, tables."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from ..errors import ReflowError
from ..states import DONE, FAILED, INSTANCE_STATES, PENDING, RUN_STATES, TERMINAL, WAITING

NOT_OK = 1
"""Exit code where a check found something, or not everything could be done."""
RUN_FAILED = 1
"""Exit code of a command that saw a run end without success."""
BAD_USE = 2
"""Exit code where nothing was done: bad arguments, an unknown run and the like."""
NOT_ENDED = 3
"""Exit code of ``status --exit-code`` for a run that goes on."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""
PIPE_CLOSED = 141
"""Exit code where whoever read the output has left, as shells have it."""

_COLOURS = {
    **dict.fromkeys((*INSTANCE_STATES, *RUN_STATES), "blue"),
    **dict.fromkeys(TERMINAL, "yellow"),
    **dict.fromkeys(DONE, "green"),
    PENDING: "cyan",
    WAITING: "yellow",
    FAILED: "red",
}

# The machine is at fault, not the program: a traceback would not help a user.
_ENVIRONMENT = {
    getattr(errno, name)
    for name in ("EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "EIO", "ESTALE", "EMFILE")
}


class Problems(click.UsageError):
    """Everything that is wrong with a command line, one message each."""

    def __init__(self, messages: Sequence[str], ctx: click.Context | None = None) -> None:
        super().__init__("\n".join(messages), ctx)
        self.messages = list(messages)


def say_error(error: ReflowError) -> None:
    """Print an error on stderr."""
    click.echo(f"error: {error}", err=True)


def _say_bad_use(error: click.ClickException) -> None:
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()  # its message is the help itself
        return
    messages = error.messages if isinstance(error, Problems) else [error.format_message()]
    for message in messages:
        click.echo(f"error: {message}", err=True)
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is not None:
        click.echo(f"see: {context.command_path} --help", err=True)


def exit_code(call: Callable[[], Any]) -> int:
    """Carry out a command line; print every expected error and return the exit code.

    An unexpected error is raised: its traceback is needed.
    """
    try:
        call()
        sys.stdout.flush()
    except click.exceptions.Exit as end:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        return end.exit_code
    except (click.Abort, KeyboardInterrupt, EOFError):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except click.ClickException as error:
        _say_bad_use(error)
        return BAD_USE
    except ReflowError as error:
        say_error(error)
        return BAD_USE
    except OSError as error:
        if error.errno == errno.EPIPE:
            _drop_output()
            return PIPE_CLOSED
        if error.errno not in _ENVIRONMENT:
            raise
        place = f": {error.filename}" if error.filename else ""
        click.echo(f"error: {error.strerror}{place}", err=True)
        return BAD_USE
    return 0


def _drop_output() -> None:
    """Send what is still buffered to nowhere: the interpreter flushes it when it ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def accept_all_text() -> None:
    """Make output of characters that the terminal's encoding lacks no error."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def colours() -> bool | None:
    """Return False where there must be no colours; None leaves it to whether it is a terminal."""
    # https://no-color.org: any value but an empty one.
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return False if plain else None


def paint(text: str) -> str:
    """Return a state in its colour, and any other text as it is.

    Goes to `click.echo`, which takes colours out again where they do not belong.
    """
    return click.style(text, fg=_COLOURS[text]) if text in _COLOURS else text


def print_json(value: object) -> None:
    """Print a value as JSON, for programs."""
    click.echo(json.dumps(value, indent=2))


def counted(count: int, noun: str) -> str:
    """Return how many there are of a thing, such as ``1 run`` or ``3 runs``."""
    return f"{count} {noun}{'s' * (count != 1)}"


def on_terminal() -> bool:
    """Whether a person reads the output, in a terminal of some width."""
    return sys.stdout.isatty()


def shortened(text: str, width: int) -> str:
    """Return the end of a path, which says more than its beginning, in at most `width` columns."""
    return text if len(text) <= width else "…" + text[len(text) - max(width, 8) + 1 :]


def table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    paint: Callable[[str], str] | None = None,
) -> str:
    """Return rows in columns that are as wide as they must be; `paint` colours a cell."""
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    lines = []
    for row in (heads, *rows):
        cells = [f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)]
        cells[-1] = cells[-1].rstrip()
        if paint is not None and row is not heads:
            cells = [
                paint(cell) + padded[len(cell) :]
                for cell, padded in zip(row, cells, strict=True)
            ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
