"""Waits for a run and shows how it comes on."""

from __future__ import annotations

import click

from ..errors import WaitTimeoutError
from ..run import Run
from ..states import CACHED, PENDING, SUCCESS
from .terminal import INTERRUPTED, RUN_FAILED

Counts = dict[str, dict[str, int]]


def wait_showing(run: Run) -> str:
    """Wait until a run has ended and return its state; say on stderr what changes.

    Ctrl-C ends the waiting and not the run: the exit code is `INTERRUPTED` then.
    """
    shown: Counts = {}
    pause = 0.1
    try:
        while True:
            try:
                state = run.wait(timeout=pause)
            except WaitTimeoutError:
                shown = _show(run, shown)
                pause = min(pause * 1.5, 2.0)
                continue
            _show(run, shown)
            return state
    except KeyboardInterrupt:
        click.echo(
            f"\nno longer waiting: run {run.run_id} goes on\n"
            f"  reflow status {run.run_id}   shows how it stands\n"
            f"  reflow cancel {run.run_id}   ends it",
            err=True,
        )
        raise click.exceptions.Exit(INTERRUPTED) from None


def _show(run: Run, shown: Counts) -> Counts:
    counts = run.counts()
    for task, states in counts.items():
        if states != shown.get(task, {}):
            click.echo(progress_line(task, states), err=True)
    return counts


def progress_line(task: str, states: dict[str, int]) -> str:
    """Return one line on a task: how many elements are done, and what the others do."""
    done = states.get(SUCCESS, 0) + states.get(CACHED, 0)
    others = [
        f"{count} {state.lower()}"
        for state, count in states.items()
        if count and state not in (SUCCESS, CACHED, PENDING)
    ]
    return f"{task}: {', '.join([f'{done}/{sum(states.values())} done', *others])}"


def end_with(run: Run, state: str) -> None:
    """Show where a run ended; exit by `RUN_FAILED` unless it succeeded."""
    from .status import show_status

    show_status(run, errors=state != SUCCESS)
    if state != SUCCESS:
        raise click.exceptions.Exit(RUN_FAILED)
