"""The commands that change a run: `cancel` and `retry`."""

from __future__ import annotations

import sys

import click

from ..errors import ReflowError
from ..states import CACHED, ENDED
from .access import Access, profile_option, run_argument
from .completion import executor_names, run_ids, task_names
from .terminal import BAD_USE, say_error


def cancel_command(access: Access) -> click.Command:
    """Make the command `cancel`."""

    @click.command("cancel", short_help="Cancel runs, or one task of them.")
    @click.argument("run_ids", metavar="RUN...", nargs=-1, required=True,
                    shell_complete=run_ids(access))  # fmt: skip
    @click.option("--task", metavar="TASK", shell_complete=task_names(access),
                  help="Cancel this task only.")  # fmt: skip
    @click.option("--yes", is_flag=True, help="Do not ask.")
    @profile_option(access)
    def cancel(run_ids: tuple[str, ...], task: str | None, yes: bool) -> None:
        """Cancel each RUN; one that has ended stays as it is."""
        # All are opened first: an unknown id must not leave half of them cancelled.
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
            confirm(f"cancel {what}{', '.join(run.run_id for run in active)}", "nothing cancelled")
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
    """Ask whether to do something; where nobody is there, `--yes` must have said it.

    Ends the command, with `otherwise` said, where the answer is no.
    """
    if not sys.stdin.isatty():
        raise click.UsageError(f"give --yes to {what}: nobody is there to be asked")
    if not click.confirm(f"{what[0].upper()}{what[1:]}?", err=True):
        click.echo(otherwise, err=True)
        raise click.exceptions.Exit(BAD_USE)


def retry_command(access: Access) -> click.Command:
    """Make the command `retry`."""

    @click.command("retry", short_help="Run again what failed, was skipped or cancelled.")
    @run_argument(access)
    @click.option("--task", metavar="TASK", shell_complete=task_names(access),
                  help="Retry this task only.")  # fmt: skip
    @click.option("--executor", metavar="NAME", shell_complete=executor_names(),
                  help="Submit to this one from now on, such as slurm or local.")  # fmt: skip
    @click.option("--wait", is_flag=True, help="Wait until the run has ended, and show how it "
                                               "comes on.")  # fmt: skip
    def retry(
        run_id: str | None, last: bool, task: str | None, executor: str | None, wait: bool
    ) -> None:
        """Run again, in the background, what failed, was skipped or cancelled in RUN.

        What succeeded is kept.
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

    @click.command("accept", short_help="Keep results after a change of code that does not matter.")
    @run_argument(access)
    @click.option("--task", metavar="TASK", shell_complete=task_names(access),
                  help="Of this task only.")  # fmt: skip
    def accept(run_id: str | None, last: bool, task: str | None) -> None:
        """Let the results of RUN count for the code as it is now.

        They are recorded as cached in a run of their own, whose id is printed; the next
        submission finds them. A task whose version was changed is refused.
        """
        made = access.choose(run_id, last).accept(task)
        click.echo(made.run_id)
        counts = made.counts()
        cached = sum(one.get(CACHED, 0) for one in counts.values())
        rest = sum(sum(one.values()) for one in counts.values()) - cached
        told = f"; {rest} had no result, and run at the next submission" if rest else ""
        click.echo(f"{cached} results count for the present code{told}", err=True)

    return accept
