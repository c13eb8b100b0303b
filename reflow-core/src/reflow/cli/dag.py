"""The commands `dag` and `describe`, and tasks drawn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from .access import Access, run_argument
from .terminal import print_json

if TYPE_CHECKING:
    from ..model.spec import TaskSpec
    from ..runs.describe import TaskDescription

AFTER = "after"
"""The mode of an edge that is order alone."""


def dag_command(access: Access) -> click.Command:
    """Make the command `dag`."""
    own = access.workflow

    @click.command("dag", short_help="Show the tasks and how they depend on each other.")
    @run_argument(access)
    @click.option("--format", "form", type=click.Choice(list(DAG_FORMATS)), default="text",
                  show_default=True, help="How to draw them.")  # fmt: skip
    def dag(run_id: str | None, last: bool, form: str) -> None:
        """Show the tasks of RUN and the tasks that each one needs.

        Without RUN, a script's own command shows its workflow as it is now.
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

    @click.command("describe", short_help="Print the tasks and parameters as JSON.")
    @run_argument(access)
    def describe(run_id: str | None, last: bool) -> None:
        """Print the parameters, options and tasks of RUN as JSON.

        Without RUN, a script's own command describes its workflow as it is now.
        """
        native: dict[str, Any]
        if own is not None and run_id is None and not last:
            native = own.describe()
        else:
            from ..runs.status import describe_run

            native = describe_run(access.choose(run_id, last).record.request())
        print_json(native)

    return describe


Edge: TypeAlias = tuple[str, str, str]
"""Source, target, and how the value goes over it: a mode such as "fan-out", or "after"."""


def dag_text(tasks: Sequence[TaskSpec | TaskDescription], form: str) -> str:
    """Return the tasks, upstream before downstream, and their edges in one of `DAG_FORMATS`."""
    return DAG_FORMATS[form](tasks, list(dict.fromkeys(_edges(tasks))))


def _edges(tasks: Iterable[TaskSpec | TaskDescription]) -> Iterator[Edge]:
    for task in tasks:
        for wire in task.wires:
            for source in wire.sources:
                yield source.task, task.name, wire.mode
        for name in task.after:
            yield name, task.name, AFTER


def _labels(tasks: Iterable[TaskSpec | TaskDescription]) -> dict[str, str]:
    return {task.name: f"{task.name}[]" if task.array else task.name for task in tasks}


def _text(tasks: Iterable[TaskSpec | TaskDescription], edges: Iterable[Edge]) -> str:
    labels = _labels(tasks)
    width = max(map(len, labels.values()), default=0)
    upstreams: dict[str, list[str]] = {name: [] for name in labels}
    for source, target, mode in edges:
        upstreams[target].append(f"{source} ({mode})")
    return "\n".join(
        f"{label:{width}}  <- {', '.join(upstreams[name])}" if upstreams[name] else label
        for name, label in labels.items()
    )


def _json(tasks: Iterable[TaskSpec | TaskDescription], edges: Iterable[Edge]) -> str:
    native = {
        "tasks": [{"name": task.name, "array": task.array} for task in tasks],
        "edges": [
            {"source": source, "target": target, "mode": mode} for source, target, mode in edges
        ],
    }
    return json.dumps(native, indent=2)


def _mermaid(tasks: Iterable[TaskSpec | TaskDescription], edges: Iterable[Edge]) -> str:
    labels = _labels(tasks)
    # Numbers for names: a task called "end" would be a keyword.
    numbers = {name: f"t{number}" for number, name in enumerate(labels)}
    lines = ["flowchart TD"]
    lines.extend(f'    {numbers[name]}["{label}"]' for name, label in labels.items())
    for source, target, mode in edges:
        arrow = "-.->" if mode == AFTER else "-->"
        lines.append(f"    {numbers[source]} {arrow}|{mode}| {numbers[target]}")
    return "\n".join(lines)


def _dot(tasks: Iterable[TaskSpec | TaskDescription], edges: Iterable[Edge]) -> str:
    lines = ["digraph {", "    node [shape=box];"]
    lines.extend(
        f'    "{name}" [label="{label}"{", peripheries=2" if label != name else ""}];'
        for name, label in _labels(tasks).items()
    )
    for source, target, mode in edges:
        style = ", style=dashed" if mode == AFTER else ""
        lines.append(f'    "{source}" -> "{target}" [label="{mode}"{style}];')
    return "\n".join([*lines, "}"])


DAG_FORMATS: dict[str, Callable[[Sequence[TaskSpec | TaskDescription], list[Edge]], str]] = {
    "text": _text, "mermaid": _mermaid, "dot": _dot, "json": _json,
}  # fmt: skip
