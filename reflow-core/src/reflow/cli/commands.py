"""Commands that need a run and not its script, and the command `reflow` made of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click
from attrs import evolve, frozen

from .. import __version__
from ..errors import ReflowError
from ..run import Run, open_run
from ..states import CANCELLED, FAILED, RUN_STATES, SUCCESS

if TYPE_CHECKING:
    from ..description import TaskDescription
    from ..spec import TaskSpec
    from ..stores.base import RunRow, Store
    from ..workflow import Workflow

BAD_USE = 2
"""Exit code where nothing was done: bad arguments, an unknown run and the like."""
RUN_FAILED = 1
"""Exit code of a command that saw a run end without success."""

DAG_FORMATS = ("text", "mermaid", "dot")

_ENDED = (SUCCESS, FAILED, CANCELLED)


class Group(click.Group):
    """Commands whose `ReflowError` is a line on stderr and not a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except ReflowError as error:
            say_error(error)
            ctx.exit(BAD_USE)


def say_error(error: ReflowError) -> None:
    """Print an error on stderr."""
    click.echo(f"error: {error}", err=True)


@frozen
class Access:
    """How commands get at runs.

    `store` opens the store when a command needs it; `workflow` is the script's own,
    None for the command `reflow`.
    """

    store: Callable[[], Store]
    workflow: Workflow | None = None

    def run(self, run_id: str) -> Run:
        """Return the run of that id, or of that beginning of an id."""
        return open_run(run_id, self.store(), self.workflow)


def default_store() -> Store:
    """Open the store that the user's configuration names."""
    from ..config import load_config
    from ..stores.sqlite import open_store

    return open_store(load_config().store_path)


def reflow_command() -> click.Group:
    """Make the command `reflow`."""
    access = Access(default_store)
    group = Group(
        "reflow",
        help="Look at runs of any workflow, cancel them, and run again what failed.",
        commands=[*run_commands(access), _dag_of_run(access)],
    )
    version = click.version_option(__version__, prog_name="reflow", message="%(prog)s %(version)s")
    return version(group)


def run_commands(access: Access) -> list[click.Command]:
    """Make the commands on runs that `reflow` and every script's command line share."""
    return [_status(access), _runs(access), _cancel(access), _retry(access)]


def _status(access: Access) -> click.Command:
    @click.command("status", short_help="Show where a run stands.")
    @click.argument("run_id", metavar="RUN")
    @click.option("--errors", is_flag=True, help="Show the tracebacks of what failed.")
    @click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
    def status(run_id: str, errors: bool, as_json: bool) -> None:
        """Show where RUN stands; the beginning of its id is enough."""
        run = access.run(run_id)
        if as_json:
            click.echo(json.dumps(run.status(as_dict=True), indent=2))
        else:
            run.status(errors=errors)

    return status


def _runs(access: Access) -> click.Command:
    own = access.workflow

    @click.command("runs", short_help="List runs, newest first.")
    @click.option("--limit", type=click.IntRange(min=0), default=20, show_default=True,
                  help="Show this many at most.")  # fmt: skip
    @click.option("--since", metavar="DATE", help="Created at or after this ISO-8601 date (UTC).")
    @click.option("--until", metavar="DATE", help="Created before this ISO-8601 date (UTC).")
    @click.option("--status", type=click.Choice(RUN_STATES, case_sensitive=False),
                  help="In this state only.")  # fmt: skip
    def runs(
        limit: int,
        since: str | None,
        until: str | None,
        status: str | None,
        workflow: str | None = None,
        every: bool = False,
    ) -> None:
        """List runs, newest first."""
        name = workflow if own is None or every else own.name
        # The store may lag behind, so what is active is filtered by what the record says.
        ended = status in _ENDED
        rows = access.store().list_runs(
            graph_name=name,
            limit=limit if ended or status is None else None,
            since=since,
            until=until,
            status=status if ended else None,
        )
        rows = [row if row.status in _ENDED else _current(row) for row in rows]
        shown = [row for row in rows if status in (None, row.status)][:limit]
        if not shown:
            click.echo("No runs.", err=True)
            return
        heads = ("RUN", "STATUS", "CREATED", "WORKFLOW", "DIRECTORY")
        click.echo(
            _table(
                heads,
                [
                    (one.run_id, one.status, one.created_at[:19], one.graph_name, one.run_dir)
                    for one in shown
                ],
            )
        )

    if own is None:
        click.option("--workflow", metavar="NAME", help="Of this workflow only.")(runs)
    else:
        click.option("--all", "every", is_flag=True, help="Of every workflow.")(runs)
    return runs


def _current(row: RunRow) -> RunRow:
    from ..runrecord import RunRecord
    from ..standing import Standing

    record = RunRecord(row.record)
    try:
        # A record that is gone looks like one in which nothing has happened yet.
        if "run.json" not in record.files.list(record.folder):
            return row
        return evolve(row, status=Standing(record).state)
    except (ReflowError, OSError):
        return row


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    return "\n".join(
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (heads, *rows)
    )


def _cancel(access: Access) -> click.Command:
    @click.command("cancel", short_help="Cancel runs, or one task of them.")
    @click.argument("run_ids", metavar="RUN...", nargs=-1, required=True)
    @click.option("--task", metavar="TASK", help="Cancel this task only.")
    @click.option("--yes", is_flag=True, help="Do not ask.")
    def cancel(run_ids: tuple[str, ...], task: str | None, yes: bool) -> None:
        """Cancel each RUN; one that has ended stays as it is."""
        # All are opened first: an unknown id must not leave half of them cancelled.
        runs = list({run.run_id: run for run in map(access.run, run_ids)}.values())
        active = []
        for run in runs:
            state = run.state
            if state in _ENDED:
                click.echo(f"{run.run_id} has already ended: {state}")
            else:
                active.append(run)
        if not active:
            return
        if not yes:
            what = f"task {task} of " if task else ""
            names = ", ".join(run.run_id for run in active)
            click.confirm(f"Cancel {what}{names}?", abort=True, err=True)
        for run in active:
            run.cancel(task)
            click.echo(f"{run.run_id} {f'task {task} cancelled' if task else run.state}")

    return cancel


def _retry(access: Access) -> click.Command:
    @click.command("retry", short_help="Run again what failed, was skipped or cancelled.")
    @click.argument("run_id", metavar="RUN")
    @click.option("--task", metavar="TASK", help="Retry this task only.")
    def retry(run_id: str, task: str | None) -> None:
        """Run again, in the background, what failed, was skipped or cancelled in RUN."""
        run = access.run(run_id)
        run.retry(task)
        click.echo(run.run_id)

    return retry


def _dag_of_run(access: Access) -> click.Command:
    @click.command("dag", short_help="Show the tasks of a run and what they need.")
    @click.argument("run_id", metavar="RUN")
    @dag_format
    def dag(run_id: str, form: str) -> None:
        """Show the tasks of RUN and what they need."""
        from ..runrecord import RunRecord

        row = access.store().run(run_id)
        click.echo(dag_text(RunRecord(row.record).request().spec.tasks, form))

    return dag


dag_format = click.option(
    "--format", "form", type=click.Choice(DAG_FORMATS), default="text", show_default=True,
    help="Plain text, a Mermaid flowchart, or Graphviz.",
)  # fmt: skip


def dag_text(tasks: Iterable[TaskSpec | TaskDescription], form: str) -> str:
    """Return the tasks, upstream before downstream, and their edges in one of `DAG_FORMATS`.

    An edge bears how the value goes over it, such as "fan-out"; one that is order only
    is called "after".
    """
    listed = list(tasks)
    edges: list[tuple[str, str, str]] = []
    for task in listed:
        for wire in task.wires:
            edges.extend((source.task, task.name, wire.mode) for source in wire.sources)
        edges.extend((name, task.name, "after") for name in task.after)
    edges = list(dict.fromkeys(edges))
    labels = {one.name: f"{one.name}[]" if one.array else one.name for one in listed}
    if form == "mermaid":
        return _mermaid(labels, edges)
    if form == "dot":
        return _dot(labels, edges)
    width = max((len(label) for label in labels.values()), default=0)
    needs: dict[str, list[str]] = {name: [] for name in labels}
    for source, target, mode in edges:
        needs[target].append(f"{source} ({mode})")
    return "\n".join(
        f"{label:{width}}  <- {', '.join(needs[name])}" if needs[name] else label
        for name, label in labels.items()
    )


def _mermaid(labels: dict[str, str], edges: list[tuple[str, str, str]]) -> str:
    # Numbers for names: a task called "end" would be a keyword.
    numbers = {name: f"t{number}" for number, name in enumerate(labels)}
    lines = ["flowchart TD"]
    lines.extend(f'    {numbers[name]}["{label}"]' for name, label in labels.items())
    for source, target, mode in edges:
        arrow = "-.->" if mode == "after" else "-->"
        lines.append(f"    {numbers[source]} {arrow}|{mode}| {numbers[target]}")
    return "\n".join(lines)


def _dot(labels: dict[str, str], edges: list[tuple[str, str, str]]) -> str:
    lines = ["digraph {", "    node [shape=box];"]
    lines.extend(
        f'    "{name}" [label="{label}"{", peripheries=2" if label != name else ""}];'
        for name, label in labels.items()
    )
    for source, target, mode in edges:
        style = ", style=dashed" if mode == "after" else ""
        lines.append(f'    "{source}" -> "{target}" [label="{mode}"{style}];')
    return "\n".join([*lines, "}"])
