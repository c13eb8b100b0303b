"""The command line of a script: what `Workflow.cli` runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from ..errors import RunFailedError
from ..runs.resolve import check
from .access import Access, profile_option
from .commands import Group, run_commands
from .completion import executor_names, task_names
from .options import (
    CollectingCommand,
    CollectingOption,
    ParameterOption,
    given_parameters,
    parameter_options,
)
from .progress import end_if_refused, end_with, wait_showing
from .terminal import exit_code, print_json

if TYPE_CHECKING:
    from ..runs.describe import ParameterDescription
    from ..workflow import Workflow


def run_workflow_cli(workflow: Workflow, arguments: Sequence[str] | None = None) -> None:
    """Carry out a command line (default: that of the process) and end with `sys.exit`.

    The exit code is 0, 1 if a run ended without success, 2 if nothing was done
    (bad arguments, or a `ReflowError`, which is printed on stderr), or 130 after Ctrl-C.
    """
    sys.exit(exit_code(lambda: workflow_command(workflow).main(args=arguments)))


def workflow_command(workflow: Workflow) -> click.Group:
    """Make the command line of a workflow. Raises what `validate` raises."""
    access = Access(workflow)
    parameters = check(workflow).parameters
    return Group(
        workflow.name,
        help=f"Run workflow {workflow.name}, and look at its runs.",
        commands=[
            _submit(access, workflow, parameters),
            _run(access, workflow, parameters),
            *run_commands(access),
        ],
    )


def _common(access: Access) -> list[click.Option]:
    return [
        CollectingOption(["--run-dir"], required=True, metavar="PATH",
                         help="The run's working directory; it is created if necessary."),
        CollectingOption(["--force"], is_flag=True, help="Ignore results of older runs."),
        CollectingOption(["force_tasks", "--force-task"], multiple=True, metavar="TASK",
                         shell_complete=task_names(access),
                         help="Ignore older results of this task; can be given several times."),
        CollectingOption(["--verify/--no-verify"], default=True, show_default=True,
                         help="Check that the files of older results are unchanged."),
    ]  # fmt: skip


class _StartCommand(CollectingCommand):
    """A command that starts a run: its help lists the parameters by task."""

    def __init__(self, *args: Any, workflow: Workflow, options: list[ParameterOption],
                 **kwargs: Any) -> None:  # fmt: skip
        super().__init__(*args, **kwargs)
        self._workflow = workflow
        self._options = options

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each task that takes parameters of its own, and the rest."""
        alone: dict[str, list[click.Option]] = {name: [] for name in self._workflow.tasks}
        shared: list[click.Option] = []
        for entry in self._options:
            tasks = entry.parameter.tasks
            (alone[tasks[0]] if len(tasks) == 1 else shared).append(entry.option)
        for name, options in alone.items():
            doc = self._workflow.tasks[name].function.__doc__ or ""
            first = doc.strip().partition("\n")[0].strip()
            _section(ctx, formatter, f"Parameters of {name}", options, first)
        _section(ctx, formatter, "Parameters of several tasks", shared)
        own = {entry.option.name for entry in self._options}
        others = [option for option in self.get_params(ctx) if option.name not in own]
        _section(ctx, formatter, "Run", others)


def _section(
    ctx: click.Context,
    formatter: click.HelpFormatter,
    title: str,
    options: Iterable[click.Parameter],
    text: str = "",
) -> None:
    rows = [row for option in options if (row := option.get_help_record(ctx)) is not None]
    if rows:
        with formatter.section(title):
            if text:
                formatter.write_text(text)
                formatter.write_paragraph()
            formatter.write_dl(rows)


def _starting(
    access: Access,
    workflow: Workflow,
    parameters: Iterable[ParameterDescription],
    name: str,
    help_text: str,
    own: list[click.Option],
    start: Callable[[dict[str, Any], dict[str, Any]], None],
) -> click.Command:
    """Make a command that starts a run: `start` gets its options and the parameters."""
    common = _common(access)
    fixed = [*common[:1], *own, *common[1:]]
    taken = {text for option in fixed for text in (*option.opts, *option.secondary_opts)}
    options = parameter_options(parameters, {*taken, "--help", "--profile"})

    def callback(**values: Any) -> None:
        arguments = given_parameters(options, click.get_current_context(), values)
        start(values, arguments)

    command = _StartCommand(
        name,
        params=[fixed[0], *(entry.option for entry in options), *fixed[1:]],
        callback=callback,
        help=help_text,
        workflow=workflow,
        options=options,
    )
    return profile_option(access)(command)


def _submit(
    access: Access, workflow: Workflow, parameters: Iterable[ParameterDescription]
) -> click.Command:
    def start(options: dict[str, Any], parameters: dict[str, Any]) -> None:
        from ..run import DryRun

        # Not submit(wait=True): the id must be on the screen before the waiting begins.
        wait = options.pop("wait")
        only_plan, as_json = options.pop("plan"), options.pop("as_json")
        if as_json and not only_plan:
            raise click.UsageError("--json goes with --plan: submit prints the run's id only")
        if only_plan:
            plan = workflow.plan(**options, **parameters)
            if as_json:
                print_json(plan.to_dict())
            else:
                click.echo(str(plan))
            return
        run = workflow.submit(**options, **parameters)
        if isinstance(run, DryRun):
            return
        click.echo(run.run_id)
        if wait:
            end_with(run, wait_showing(run))
        else:
            end_if_refused(run)

    return _starting(
        access,
        workflow,
        parameters,
        "submit",
        "Start a run in the background, and print its id.",
        [
            CollectingOption(["--executor"], metavar="NAME", shell_complete=executor_names(),
                         help="Where to run, such as local or slurm; dry-run shows what would "
                              "be submitted.  [default: the configured executor, else local]"),
            CollectingOption(["--on-code-change"], type=click.Choice(["run", "fail"]),
                         default="run", show_default=True,
                         help="If the code of a task has changed when a job starts: run the new "
                              "code, or fail."),
            CollectingOption(["--wait"], is_flag=True,
                         help="Wait until the run has ended, and show its progress."),
            CollectingOption(["--plan"], is_flag=True,
                         help="Only show what would run, what is cached, and why."),
            CollectingOption(["as_json", "--json"], is_flag=True,
                         help="With --plan: print JSON instead of text."),
        ],
        start,
    )  # fmt: skip


def _run(
    access: Access, workflow: Workflow, parameters: Iterable[ParameterDescription]
) -> click.Command:
    def start(options: dict[str, Any], parameters: dict[str, Any]) -> None:
        try:
            run = workflow.run_local(**options, **parameters)
        except RunFailedError as error:
            if error.run is None:
                raise
            run = error.run
        end_with(run, run.state)

    return _starting(
        access,
        workflow,
        parameters,
        "run",
        "Run everything now, on this machine, and print the status at the end.",
        [
            CollectingOption(["--max-workers"], type=click.IntRange(min=1), default=1,
                         show_default=True, help="Run this many elements at once."),
            CollectingOption(["--on-error"], type=click.Choice(["stop", "continue"]),
                         default="stop", show_default=True,
                         help="After a failure, start nothing new, or continue with "
                              "everything that does not depend on it."),
        ],
        start,
    )  # fmt: skip
