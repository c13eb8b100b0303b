"""A workflow described: what `Workflow.describe` and the command line show."""

from __future__ import annotations

import typing
from typing import Any

from attrs import evolve, field, frozen

from ..model.spec import ResolvedTask
from ..values.codec import unstructure

if typing.TYPE_CHECKING:
    from ..model.flow import Flow


@frozen(kw_only=True)
class ParameterDescription:
    """One parameter of a run.

    `type` is the annotation as text and `annotation` itself (left out of `to_dict`);
    `default` is in JSON's own types, and counts where the parameter is not `required`;
    `tasks` are those that take it.
    """

    name: str
    type: str
    required: bool = True
    default: Any = None
    help: str = ""
    short: str | None = None
    namespace: str = "global"
    tasks: tuple[str, ...] = ()
    annotation: Any = field(default=Any, eq=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the description in JSON's own types."""
        native: dict[str, Any] = unstructure(evolve(self, annotation=None))
        del native["annotation"]
        return native


@frozen(kw_only=True)
class TaskDescription(ResolvedTask):
    """One task: where its arguments come from, and what it asks for.

    `parameters` are the names of the run parameters it takes. `code` is what counts as the
    task's code or, in the description of a run, its fingerprint; `files` is "" where the
    configuration says how files count.
    """

    doc: str = ""
    parameters: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the description in JSON's own types."""
        native: dict[str, Any] = unstructure(self)
        wires = native.pop("wires")
        native["inputs"] = [
            {
                "parameter": wire["parameter"],
                "mode": wire["mode"],
                "tasks": [source["task"] for source in wire["sources"]],
            }
            for wire in wires
        ]
        native["upstreams"] = list(self.upstreams)
        return native


@frozen(kw_only=True)
class WorkflowDescription:
    """A workflow: its tasks, upstream before downstream, and its run parameters."""

    name: str
    tasks: tuple[TaskDescription, ...]
    parameters: tuple[ParameterDescription, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the description in JSON's own types."""
        return {
            "name": self.name,
            "tasks": [task.to_dict() for task in self.tasks],
            "parameters": [parameter.to_dict() for parameter in self.parameters],
        }


def describe(workflow: Flow) -> WorkflowDescription:
    """Describe a workflow. Raises what `reflow.runs.resolve.check` raises."""
    from .resolve import check

    resolved = check(workflow)
    tasks = [
        TaskDescription(
            **resolved.task_fields(name),
            doc=_first_paragraph(resolved.tasks[name].function.__doc__),
            parameters=tuple(
                parameter.name for parameter in resolved.parameters if name in parameter.tasks
            ),
        )
        for name in resolved.order
    ]
    return WorkflowDescription(
        name=workflow.name, tasks=tuple(tasks), parameters=resolved.parameters
    )


def _first_paragraph(doc: str | None) -> str:
    return " ".join((doc or "").strip().partition("\n\n")[0].split())
