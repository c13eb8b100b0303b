"""The command line of a script: what `Workflow.cli` runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from ..errors import ReflowError, RunFailedError
from ..states import SUCCESS
from .commands import (
    BAD_USE,
    RUN_FAILED,
    Access,
    Group,
    dag_format,
    dag_text,
    run_commands,
    say_error,
)
from .options import given_parameters, parameter_options

if TYPE_CHECKING:
    from ..run import Run
    from ..workflow import Workflow


def run_workflow_cli(workflow: Workflow, arguments: Sequence[str] | None = None) -> None:
    """Carry out a command line (default: the process's own) and end by `sys.exit`.

    The exit code is 0, 1 where a run ended without success, or 2 where nothing was
    done: bad arguments, or a `ReflowError`, which is printed on stderr.
    """
    try:
        group = workflow_command(workflow)
    except ReflowError as error:
        say_error(error)
        sys.exit(BAD_USE)
    group.main(args=None if arguments is None else list(arguments))


def workflow_command(workflow: Workflow) -> click.Group:
    """Make the command line of a workflow. Raises what `validate` raises."""
    access = Access(lambda: workflow.store, workflow)
    return Group(
        workflow.name,
        help=f"Run workflow {workflow.name}, and look at its runs.",
        commands=[
            _submit(workflow),
            _run(workflow),
            *run_commands(access),
            _dag(workflow),
            _describe(workflow),
        ],
    )


def _common() -> list[click.Option]:
    return [
        click.Option(["--run-dir"], required=True, metavar="PATH",
                     help="The run's working directory; it is made if it is not there."),
        click.Option(["--force"], is_flag=True, help="Ignore results of older runs."),
        click.Option(["force_tasks", "--force-task"], multiple=True, metavar="TASK",
                     help="Ignore older results of this task; may be given several times."),
        click.Option(["--verify/--no-verify"], default=True, show_default=True,
                     help="Check that files named in an older result still exist."),
    ]  # fmt: skip


def _starting(
    workflow: Workflow,
    name: str,
    help_text: str,
    own: list[click.Option],
    start: Callable[[dict[str, Any], dict[str, Any]], None],
) -> click.Command:
    """Make a command that starts a run: `start` gets its options and the parameters."""
    from ..specification import cli_parameters

    common, parameters = _common(), cli_parameters(workflow)
    fixed = [*common[:1], *own, *common[1:]]
    taken = {text for one in fixed for text in (*one.opts, *one.secondary_opts)}
    options = parameter_options(parameters, {*taken, "--help"})

    def callback(**values: Any) -> None:
        given = given_parameters(options, click.get_current_context(), values)
        start(values, given)

    return click.Command(
        name,
        params=[fixed[0], *(one.option for one in options), *fixed[1:]],
        callback=callback,
        help=help_text,
    )


def _submit(workflow: Workflow) -> click.Command:
    def start(options: dict[str, Any], parameters: dict[str, Any]) -> None:
        from ..dryrun import DryRun

        # Not submit(wait=True): the id must be on the screen before the wait.
        wait = options.pop("wait")
        run = workflow.submit(**options, **parameters)
        if isinstance(run, DryRun):
            return
        click.echo(run.run_id)
        if wait:
            _end(run, run.wait())

    return _starting(
        workflow,
        "submit",
        "Start a run that goes on by itself, and print its id.",
        [
            click.Option(["--executor"], metavar="NAME",
                         help="Where it runs, such as local or slurm; dry-run shows what would "
                              "be submitted.  [default: the configured one, else local]"),
            click.Option(["--wait"], is_flag=True, help="Wait until the run has ended."),
        ],
        start,
    )  # fmt: skip


def _run(workflow: Workflow) -> click.Command:
    def start(options: dict[str, Any], parameters: dict[str, Any]) -> None:
        try:
            run = workflow.run_local(**options, **parameters)
        except RunFailedError as error:
            if error.run is None:
                raise
            run = error.run
        _end(run, run.state)

    return _starting(
        workflow,
        "run",
        "Run everything here and now, and print where it ended.",
        [
            click.Option(["--max-workers"], type=click.IntRange(min=1), default=1,
                         show_default=True, help="Run in this many processes at once."),
            click.Option(["--on-error"], type=click.Choice(["stop", "continue"]),
                         default="stop", show_default=True,
                         help="After a failure start nothing new, or go on with all that "
                              "does not depend on it."),
        ],
        start,
    )  # fmt: skip


def _end(run: Run, state: str) -> None:
    run.status(errors=state != SUCCESS)
    if state != SUCCESS:
        sys.stdout.flush()
        click.get_current_context().exit(RUN_FAILED)


def _dag(workflow: Workflow) -> click.Command:
    @click.command("dag", short_help="Show the tasks and what they need.")
    @dag_format
    def dag(form: str) -> None:
        """Show the tasks and what they need."""
        click.echo(dag_text(workflow.describe_typed().tasks, form))

    return dag


def _describe(workflow: Workflow) -> click.Command:
    @click.command("describe", short_help="Print tasks and parameters as JSON.")
    def describe() -> None:
        """Print tasks and parameters as JSON."""
        click.echo(json.dumps(workflow.describe(), indent=2))

    return describe
