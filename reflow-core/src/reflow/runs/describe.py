"""A workflow described: what `Workflow.describe` and the command line show."""

from __future__ import annotations

import typing
from typing import Any

from attrs import field, frozen

from ..model.spec import Resources, Wire

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
        return {
            "name": self.name,
            "type": self.type,
            "required": self.required,
            "default": self.default,
            "help": self.help,
            "short": self.short,
            "namespace": self.namespace,
            "tasks": list(self.tasks),
        }


@frozen(kw_only=True)
class TaskDescription:
    """One task: where its arguments come from, and what it asks for.

    `parameters` are the names of the run parameters it takes; `upstreams` the tasks it
    needs, `after` included; `time` in seconds and `mem` in bytes.
    """

    name: str
    array: bool
    doc: str
    returns: str
    parameters: tuple[str, ...]
    wires: tuple[Wire, ...]
    after: tuple[str, ...]
    upstreams: tuple[str, ...]
    resources: Resources
    cache: bool
    version: str
    code: str
    array_parallelism: int | None

    def to_dict(self) -> dict[str, Any]:
        """Return the description in JSON's own types."""
        resources = self.resources
        return {
            "name": self.name,
            "array": self.array,
            "doc": self.doc,
            "returns": self.returns,
            "parameters": list(self.parameters),
            "inputs": [
                {
                    "parameter": wire.parameter,
                    "mode": wire.mode,
                    "tasks": [source.task for source in wire.sources],
                }
                for wire in self.wires
            ],
            "after": list(self.after),
            "upstreams": list(self.upstreams),
            "resources": {
                "cpus": resources.cpus,
                "time": resources.time,
                "mem": resources.mem,
                "gpus": resources.gpus,
                "nodes": resources.nodes,
                "queue": resources.queue,
                "account": resources.account,
                "native": dict(resources.native),
            },
            "cache": self.cache,
            "version": self.version,
            "code": self.code,
            "array_parallelism": self.array_parallelism,
        }


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
    from .resolve import check, resources_of

    resolved = check(workflow)
    tasks = []
    for name in resolved.order:
        task = resolved.tasks[name]
        wires, after = resolved.wires[name], resolved.after[name]
        sources = [source.task for wire in wires for source in wire.sources]
        tasks.append(
            TaskDescription(
                name=name,
                array=task.array,
                doc=_first_paragraph(task.function.__doc__),
                returns=resolved.returns(name),
                parameters=tuple(one.name for one in resolved.parameters if name in one.tasks),
                wires=wires,
                after=after,
                upstreams=tuple(dict.fromkeys([*sources, *after])),
                resources=resources_of(task),
                cache=task.cache,
                version=task.version,
                code=task.code,
                array_parallelism=task.array_parallelism,
            )
        )
    return WorkflowDescription(
        name=workflow.name, tasks=tuple(tasks), parameters=resolved.parameters
    )


def _first_paragraph(doc: str | None) -> str:
    return " ".join((doc or "").strip().partition("\n\n")[0].split())
