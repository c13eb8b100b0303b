"""The commands `dag` and `describe`, and tasks drawn."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from .access import Access, run_argument

if TYPE_CHECKING:
    from ..model.spec import TaskSpec
    from ..runs.describe import TaskDescription

DAG_FORMATS = ("text", "mermaid", "dot", "json")


def dag_command(access: Access) -> click.Command:
    """Make the command `dag`."""
    own = access.workflow

    @click.command("dag", short_help="Show the tasks and what they need.")
    @run_argument(access)
    @click.option("--format", "form", type=click.Choice(DAG_FORMATS), default="text",
                  show_default=True, help="Plain text, a Mermaid flowchart, Graphviz, or JSON."
                  )  # fmt: skip
    def dag(run_id: str | None, last: bool, form: str) -> None:
        """Show the tasks of RUN and what they need.

        A script's own command shows the workflow as it is now where no RUN is given.
        """
        if own is not None and run_id is None and not last:
            click.echo(dag_text(own.describe_typed().tasks, form))
        else:
            request = access.choose(run_id, last).record.request()
            click.echo(dag_text(request.spec.tasks, form))

    return dag


def describe_command(access: Access) -> click.Command:
    """Make the command `describe`."""
    own = access.workflow

    @click.command("describe", short_help="Print tasks and parameters as JSON.")
    @run_argument(access)
    def describe(run_id: str | None, last: bool) -> None:
        """Print as JSON what was asked of RUN, and its tasks.

        A script's own command describes the workflow as it is now where no RUN is given.
        """
        native: dict[str, Any]
        if own is not None and run_id is None and not last:
            native = own.describe()
        else:
            from ..runs.status import describe_run

            native = describe_run(access.choose(run_id, last).record.request())
        click.echo(json.dumps(native, indent=2))

    return describe


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
    if form == "json":
        native = {
            "tasks": [{"name": one.name, "array": one.array} for one in listed],
            "edges": [
                {"source": source, "target": target, "mode": mode}
                for source, target, mode in edges
            ],
        }
        return json.dumps(native, indent=2)
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
