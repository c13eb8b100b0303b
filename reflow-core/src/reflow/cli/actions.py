"""The commands that change a run: `cancel`, `retry` and `accept`."""

from __future__ import annotations

import sys
from collections import Counter

import click

from ..errors import ReflowError
from ..states import CACHED, ENDED
from .access import Access, profile_option, run_argument, task_option
from .completion import executor_names, run_ids
from .terminal import BAD_USE, counted, say_error


def cancel_command(access: Access) -> click.Command:
    """Make the command `cancel`."""

    @click.command("cancel", short_help="Cancel runs, or one task of them.")
    @click.argument("run_ids", metavar="RUN...", nargs=-1, required=True,
                    shell_complete=run_ids(access))  # fmt: skip
    @task_option(access, "Cancel only this task.")
    @click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
    @profile_option(access)
    def cancel(run_ids: tuple[str, ...], task: str | None, yes: bool) -> None:
        """Cancel each RUN. A run that has ended stays as it is."""
        # Open all first: an unknown id must not leave half of them cancelled.
        runs = list({run.run_id: run for run in map(access.run, run_ids)}.values())
        active = []
        for run in runs:
            state = run.state
            if state in ENDED:
                click.echo(f"{run.run_id} has already ended: {state}")
            else:
                active.append(run)
        if not active:
            return
        if not yes:
            what = f"task {task} of " if task else ""
            names = ", ".join(run.run_id for run in active)
            confirm(f"cancel {what}{names}", "nothing was cancelled")
        failed = False
        for run in active:
            try:
                run.cancel(task)
            except ReflowError as error:
                say_error(error)
                failed = True
            else:
                click.echo(f"{run.run_id} {f'task {task} cancelled' if task else run.state}")
        if failed:
            raise click.exceptions.Exit(BAD_USE)

    return cancel


def confirm(what: str, otherwise: str) -> None:
    """Ask whether to do something; the command ends, and prints `otherwise`, if it is refused.

    Raises `UsageError` where standard input is no terminal: then `--yes` is needed.
    """
    if not sys.stdin.isatty():
        raise click.UsageError(f"give --yes to {what}: there is no terminal to ask on")
    if not click.confirm(f"{what[0].upper()}{what[1:]}?", err=True):
        click.echo(otherwise, err=True)
        raise click.exceptions.Exit(BAD_USE)


def retry_command(access: Access) -> click.Command:
    """Make the command `retry`."""

    @click.command("retry", short_help="Run again what failed, was skipped or was cancelled.")
    @run_argument(access)
    @task_option(access, "Retry only this task.")
    @click.option("--executor", metavar="NAME", shell_complete=executor_names(),
                  help="Submit to this executor from now on, such as slurm or local.")  # fmt: skip
    @click.option("--wait", is_flag=True,
                  help="Wait until the run has ended, and show its progress.")  # fmt: skip
    def retry(
        run_id: str | None, last: bool, task: str | None, executor: str | None, wait: bool
    ) -> None:
        """Run again what failed, was skipped or was cancelled in RUN.

        It runs in the background. What succeeded is kept.
        """
        from .progress import end_if_refused, end_with, wait_showing

        run = access.choose(run_id, last)
        run.retry(task, executor=executor)
        click.echo(run.run_id)
        if wait:
            end_with(run, wait_showing(run))
        else:
            end_if_refused(run)

    return retry


def accept_command(access: Access) -> click.Command:
    """Make the command `accept`."""

    @click.command("accept", short_help="Keep results after an irrelevant change of code.")
    @run_argument(access)
    @task_option(access, "Accept only the results of this task.")
    def accept(run_id: str | None, last: bool, task: str | None) -> None:
        """Accept the results of RUN for the code as it is now.

        They are recorded as cached in a new run, whose id is printed, and the next submission
        finds them. A task whose version was changed is refused.
        """
        accepting = access.choose(run_id, last).accept(task)
        click.echo(accepting.run_id)
        states = sum(map(Counter, accepting.counts().values()), Counter[str]())
        accepted = states.pop(CACHED, 0)
        missing = states.total()
        more = f"; {missing} had no result and will run at the next submission" if missing else ""
        click.echo(f"{counted(accepted, 'result')} accepted for the present code{more}", err=True)

    return accept
