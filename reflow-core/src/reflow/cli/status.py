"""The command `status`."""

from __future__ import annotations

import click

from ..run import Run
from ..states import ENDED, SUCCESS
from .access import Access, json_option, run_argument, task_option
from .terminal import NOT_ENDED, RUN_FAILED, paint, print_json


def show_status(
    run: Run, *, errors: bool = False, task: str | None = None, verbose: bool = False
) -> None:
    """Print where a run stands; states have colours on a terminal."""
    click.echo(run.status_text(errors=errors, task=task, verbose=verbose, paint=paint))


def status_command(access: Access) -> click.Command:
    """Make the command `status`."""

    @click.command("status", short_help="Show where a run stands.")
    @run_argument(access)
    @click.option("--errors", is_flag=True, help="Show the tracebacks of failed elements.")
    @task_option(access, "Show only this task, and list its elements.")
    @click.option("--verbose", "-v", is_flag=True,
                  help="Also show the jobs in the queue, and how often the scheduler was called.")
    @click.option("--refresh", is_flag=True,
                  help="First ask the scheduler, and carry the run on by one step.")  # fmt: skip
    @json_option
    @click.option("--exit-code", "judge", is_flag=True,
                  help="Exit with 0 if the run succeeded, 1 if it ended otherwise, "
                       "3 if it has not ended.")  # fmt: skip
    def status(
        run_id: str | None, last: bool, errors: bool, task: str | None, verbose: bool,
        refresh: bool, as_json: bool, judge: bool,
    ) -> None:  # fmt: skip
        """Show where RUN stands: the state of the run and of its tasks.

        RUN is an id, the beginning of one, or a run directory (its newest run).
        """
        run = access.choose(run_id, last)
        if refresh:
            run.refresh()
        if as_json:
            print_json(run.status(as_dict=True, task=task))
        else:
            show_status(run, errors=errors, task=task, verbose=verbose)
        state = run.state if judge else SUCCESS
        if state != SUCCESS:
            raise click.exceptions.Exit(RUN_FAILED if state in ENDED else NOT_ENDED)

    return status
