"""Waits for a run and shows its progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import click

from ..errors import WaitTimeoutError
from ..run import Run
from ..states import DONE, FAILED, PENDING, SUCCESS
from .terminal import INTERRUPTED, RUN_FAILED, colours

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Counts = dict[str, dict[str, int]]


def wait_showing(run: Run) -> str:
    """Wait until a run has ended and return its state; show its progress on stderr.

    On a terminal with rich installed that is a bar for each task, elsewhere a line for each
    task whose counts change. Each note, such as why a job does not start, is a line.
    Ctrl-C ends the waiting and not the run; the exit code is then `INTERRUPTED`.
    """
    pause = 0.1
    try:
        with _display() as (show, say):
            notes: set[str] = set()
            while True:
                try:
                    state = run.wait(timeout=pause)
                except WaitTimeoutError:
                    began = time.monotonic()
                    show(run.counts())
                    for note in run.notes():
                        if note not in notes:
                            notes.add(note)
                            say(f"note: {note}")
                    # A look at a large run takes a while: spend at most a tenth of the time on it.
                    pause = max(min(pause * 1.5, 2.0), 9 * (time.monotonic() - began))
                    continue
                show(run.counts())
                return state
    except KeyboardInterrupt:
        click.echo(
            f"\nno longer waiting; run {run.run_id} continues\n"
            f"  reflow status {run.run_id}   shows where it stands\n"
            f"  reflow cancel {run.run_id}   cancels it",
            err=True,
        )
        raise click.exceptions.Exit(INTERRUPTED) from None


@contextmanager
def _display() -> Iterator[tuple[Callable[[Counts], None], Callable[[str], None]]]:
    """Yield one function that shows the counts of all tasks, and one that prints a line."""
    bars = None
    if sys.stderr.isatty() and colours() is not False:
        with suppress(ImportError):
            bars = _bars()
    if bars is None:
        yield _lines(), partial(click.echo, err=True)
        return
    with bars:
        # Printed above the bars, which stay where they are.
        say = partial(bars.console.print, markup=False, highlight=False, soft_wrap=True)
        yield partial(_move, bars, {}), say


def _lines() -> Callable[[Counts], None]:
    shown: Counts = {}

    def show(counts: Counts) -> None:
        for task, states in counts.items():
            if states != shown.get(task, {}):
                click.echo(progress_line(task, states), err=True)
        shown.update(counts)

    return show


def _bars() -> Progress:
    """Return rich's bars, not yet on the screen. Raises `ImportError` without rich."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[others]}", markup=False), console=Console(stderr=True),
    )  # fmt: skip


def _move(bars: Progress, bar_ids: dict[str, TaskID], counts: Counts) -> None:
    for task, states in counts.items():
        done, total, others = _progress(states)
        if task not in bar_ids:
            bar_ids[task] = bars.add_task(task, total=total, others="")
        bars.update(bar_ids[task], completed=done, total=total, others=", ".join(others))


def _progress(states: dict[str, int]) -> tuple[int, int, list[str]]:
    """Return how many elements have a value, of how many, and the states of the others."""
    done = sum(count for state, count in states.items() if state in DONE)
    others = [
        f"{count} {state.lower()}"
        for state, count in states.items()
        if count and state not in DONE and state != PENDING
    ]
    return done, sum(states.values()), others


def progress_line(task: str, states: dict[str, int]) -> str:
    """Return one line on a task: how many elements are done, and the states of the others."""
    done, total, others = _progress(states)
    return f"{task}: {', '.join([f'{done}/{total} done', *others])}"


def end_if_refused(run: Run) -> None:
    """Exit with `RUN_FAILED` if a run has failed already because the scheduler refused its jobs."""
    from ..runs.lifecycle import is_queued

    if is_queued(run.record, run.record.request()) and run.state == FAILED:
        click.echo(
            f"run {run.run_id} has failed already: `reflow status {run.run_id}` shows why",
            err=True,
        )
        raise click.exceptions.Exit(RUN_FAILED)


def end_with(run: Run, state: str) -> None:
    """Show the status of a run that has ended; exit with `RUN_FAILED` unless it succeeded."""
    from .status import show_status

    show_status(run, errors=state != SUCCESS)
    if state != SUCCESS:
        raise click.exceptions.Exit(RUN_FAILED)
