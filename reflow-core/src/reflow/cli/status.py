"""The command `status`."""

from __future__ import annotations

import json

import click

from ..run import Run
from ..states import ENDED, SUCCESS
from .access import Access, run_argument
from .completion import task_names
from .terminal import NOT_ENDED, RUN_FAILED, paint


def show_status(
    run: Run, *, errors: bool = False, task: str | None = None, verbose: bool = False
) -> None:
    """Print where a run stands, states in colour where there may be colours."""
    click.echo(run.status_text(errors=errors, task=task, verbose=verbose, paint=paint))


def status_command(access: Access) -> click.Command:
    """Make the command `status`."""

    @click.command("status", short_help="Show where a run stands.")
    @run_argument(access)
    @click.option("--errors", is_flag=True, help="Show the tracebacks of what failed.")
    @click.option("--task", metavar="TASK", shell_complete=task_names(access),
                  help="Show this task only, and its instances.")  # fmt: skip
    @click.option("--verbose", "-v", is_flag=True,
                  help="Show the jobs in the queue, and how often the scheduler was called.")
    @click.option("--refresh", is_flag=True,
                  help="Ask the scheduler first, and carry the run on by one step.")  # fmt: skip
    @click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
    @click.option("--exit-code", "judge", is_flag=True,
                  help="Exit with 0 if it succeeded, 1 if it ended otherwise, "
                       "3 if it has not ended.")  # fmt: skip
    def status(
        run_id: str | None, last: bool, errors: bool, task: str | None, verbose: bool,
        refresh: bool, as_json: bool, judge: bool,
    ) -> None:  # fmt: skip
        """Show where RUN stands.

        RUN is an id, the beginning of one, or a run directory (its newest run).
        """
        run = access.choose(run_id, last)
        if refresh:
            run.refresh()
        if as_json:
            click.echo(json.dumps(run.status(as_dict=True, task=task), indent=2))
        else:
            show_status(run, errors=errors, task=task, verbose=verbose)
        state = run.state if judge else SUCCESS
        if state != SUCCESS:
            raise click.exceptions.Exit(RUN_FAILED if state in ENDED else NOT_ENDED)

    return status
