"""From a loaded workflow to the plan-ready `WorkflowSpec`, with everything checked.

This is the one place where annotations, wires, parameters and code meet.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from attrs import fields, frozen

from ..caching.code_fingerprint import code_of
from ..errors import (
    ParameterError,
    PluginError,
    SerializationError,
    ValidationError,
    nearest,
)
from ..model.flow import Flow, TaskDefinition
from ..model.retry import Retry
from ..model.signature import PARAM, RUN_DIR, Parameter, Signature
from ..model.spec import (
    Constant,
    Resources,
    RetryRule,
    RetrySpec,
    SerializerSpec,
    TaskSpec,
    VerifierSpec,
    Wire,
    WorkflowSpec,
)
from ..model.wiring import accepts, infer, order, raise_for, resolve
from ..storage.run_directory import RunOptions
from ..values.codec import codec_for, serializers_of, supported
from ..values.json_codec import Codec, dump
from ..values.references import Named, find_with, learn
from ..values.type_text import type_text
from .describe import ParameterDescription

RUN_DIR_TYPE = "RunDir"
"""`Constant.type` of the run directory, so that it can be told from a parameter."""

RESERVED = frozenset({"self", "run_dir", "executor", "wait", *RunOptions.arguments()})
"""Names that `submit` and `run_local` use themselves."""


@frozen(kw_only=True)
class Resolved:
    """A workflow that fits together.

    `order` has every task behind those it needs; `wires`, `after` and `verifiers_of` (the
    names of the verifiers) are by task; `serializers` and `verifiers` are all that are used.
    """

    tasks: Mapping[str, TaskDefinition]
    signatures: Mapping[str, Signature]
    wires: Mapping[str, tuple[Wire, ...]]
    after: Mapping[str, tuple[str, ...]]
    order: tuple[str, ...]
    parameters: tuple[ParameterDescription, ...]
    serializers: tuple[SerializerSpec, ...]
    verifiers: tuple[VerifierSpec, ...]
    verifiers_of: Mapping[str, tuple[str, ...]]

    def task_fields(self, name: str) -> dict[str, Any]:
        """Return what a `ResolvedTask` says of a task, by field.

        As the decorator has it: `code` is what counts as the code, `files` "" where the task
        leaves that to the configuration.
        """
        options = self.tasks[name].options
        values = options._asdict()
        resources = Resources(**{one.name: values.pop(one.name) for one in fields(Resources)})
        return {
            **values,
            "name": name,
            "wires": self.wires[name],
            "after": self.after[name],
            "returns": type_text(self.signatures[name].returns),
            "resources": resources,
            "files": options.files or "",
            "serializer": options.serializer or "",
            "verifiers": self.verifiers_of[name],
            "verify": any(map(callable, options.verify)),
            "retry": _retry_spec(options.retry),
        }


def check(workflow: Flow) -> Resolved:
    """Check that the workflow's tasks fit together, without any run parameters.

    Raises `DefinitionError` or, from wiring on, `ValidationError` (both `ValueError`).
    """
    return resolve_tasks(workflow.name, workflow.tasks)


def resolve_tasks(workflow_name: str, tasks: Mapping[str, TaskDefinition]) -> Resolved:
    """Do what `check` does for tasks alone."""
    if not tasks:
        raise ValidationError(f"workflow {workflow_name!r} has no tasks: add some with job()")
    find_with(_installed)
    problems: list[str] = []
    for name, task in tasks.items():
        if task.options.serializer is not None:
            try:
                learn([_plugins().serializer_entry(task.options.serializer)])
            except PluginError as error:
                problems.append(f"task {name!r}: {error}")
    signatures = {name: task.signature() for name, task in tasks.items()}
    after: dict[str, tuple[str, ...]] = {}
    for name, task in tasks.items():
        found = []
        for reference in task.options.after:
            try:
                found.append(resolve(reference, task, tasks))
            except ValueError as problem:
                problems.append(f"task {name!r}, after: {problem}")
        after[name] = tuple(dict.fromkeys(found))
    try:
        wires = infer(tasks, signatures)
    except ValidationError as error:
        problems.append(str(error))
        raise_for(problems)
        raise
    problems.extend(_unsupported(tasks, signatures, wires))
    edges = {
        name: (*(source.task for wire in wires[name] for source in wire.sources), *after[name])
        for name in tasks
    }
    parameters = _parameters(signatures, problems)
    kept = {name: _serializers(signatures[name].returns) for name in tasks}
    entries = {name: _verifiers(name, tasks[name], kept[name], problems) for name in tasks}
    raise_for(problems)
    # One that is only named takes no type: for that the worker asks the same as we do here.
    by_type = {
        one for name, found in kept.items() if not tasks[name].options.serializer for one in found
    }
    used = {name: _plugins().serializer_entry(name) for found in kept.values() for name in found}
    return Resolved(
        tasks=tasks,
        signatures=signatures,
        wires=wires,
        after=after,
        order=tuple(order(edges)),
        parameters=parameters,
        serializers=tuple(
            SerializerSpec(name=name, target=one.target, types=one.types if name in by_type else ())
            for name, one in used.items()
        ),
        verifiers=tuple(
            dict.fromkeys(
                VerifierSpec(name=one.name, target=one.target)
                for found in entries.values()
                for one in found
            )
        ),
        verifiers_of={
            name: tuple(dict.fromkeys(one.name for one in found))
            for name, found in entries.items()
        },
    )


def _plugins() -> Any:
    # Imported when a workflow needs one: most do without.
    from ..plugins import lookup

    return lookup


def _installed(cls: type) -> Named | None:
    found: Named | None = _plugins().serializer_entry_for(cls)
    return found


def _verifiers(
    name: str, task: TaskDefinition, kept: Mapping[str, list[Any]], problems: list[str]
) -> list[Any]:
    """Return the entries of the verifiers that a task names, and of those of its types.

    By their types only values are judged that are kept in files: finding out whether any
    plugin judges an int would load them all for every workflow.
    """
    found = []
    for one in task.options.verify:
        if isinstance(one, str):
            try:
                found.append(_plugins().verifier_entry(one))
            except PluginError as error:
                problems.append(f"task {name!r}: {error}")
    for types_kept in kept.values():
        for cls in types_kept:
            if cls is not None:
                found.extend(_plugins().verifier_entries_for(cls))
    return found


def _unsupported(
    tasks: Mapping[str, TaskDefinition],
    signatures: Mapping[str, Signature],
    wires: Mapping[str, tuple[Wire, ...]],
) -> list[str]:
    """Return what can neither be written as JSON nor be kept in a file."""
    problems = []
    filed = {
        name: _serializers(signature.returns) for name, signature in signatures.items()
    }
    for name, signature in signatures.items():
        fed_by_files = {
            wire.parameter
            for wire in wires[name]
            if any(filed[source.task] for source in wire.sources)
        }
        for parameter in signature.parameters:
            if parameter.kind == RUN_DIR:
                continue
            where = f"task {name!r}, parameter {parameter.name!r}"
            reason = supported(parameter.annotation)
            if reason is not None and parameter.name in fed_by_files:
                reason = None  # it is read by whatever wrote it
            if reason is not None:
                problems.append(f"{where}: {reason}")
            elif parameter.kind == PARAM and _serializers(parameter.annotation):
                problems.append(
                    f"{where}: {type_text(parameter.annotation)} cannot be written as JSON, as "
                    "a parameter of a run is: take the Path of a file, or return it from a task"
                )
        reason = supported(signature.returns)
        if reason is not None:
            problems.append(f"task {name!r}, return value: {reason}")
        for wire in wires[name]:
            for source in wire.sources:
                if source.flatten and codec_for(signatures[source.task].returns).in_file:
                    problems.append(
                        f"task {name!r}, parameter {wire.parameter!r} gets the items of what "
                        f"{source.task!r} returns, but that is kept in one file "
                        f"(serializer={tasks[source.task].options.serializer!r}): annotate what "
                        f"{source.task!r} returns with the type of the items, list[...], so "
                        "that each has a file of its own"
                    )
    return problems


def _serializers(annotation: Any) -> dict[str, list[Any]]:
    """Return the serializers, with the types, that values of an annotation need."""
    try:
        return serializers_of(codec_for(annotation))
    except SerializationError:
        return {}


def full_name(task: str, parameter: Parameter) -> str:
    """Return the name by which a run is given a parameter of a task."""
    marker: Any = parameter.marker
    local = marker is not None and marker.namespace == "local"
    return f"{task}_{parameter.name}" if local else parameter.name


def cli_parameters(workflow: Flow) -> list[ParameterDescription]:
    """Return the run parameters that the workflow takes, in order of first use."""
    return list(check(workflow).parameters)


def _parameters(
    signatures: Mapping[str, Signature], problems: list[str]
) -> tuple[ParameterDescription, ...]:
    users: dict[str, list[tuple[str, Parameter]]] = {}
    for task, signature in signatures.items():
        for parameter in signature.parameters:
            if parameter.kind == PARAM:
                users.setdefault(full_name(task, parameter), []).append((task, parameter))
    shorts: dict[str, str] = {}
    found = []
    for name, uses in users.items():
        described = _described(name, uses, problems)
        if described.short is not None:
            other = shorts.setdefault(described.short, name)
            if other != name:
                problems.append(
                    f"parameters {other!r} and {name!r} both have the short option "
                    f"-{described.short}"
                )
        found.append(described)
    return tuple(found)


def _described(
    name: str, uses: list[tuple[str, Parameter]], problems: list[str]
) -> ParameterDescription:
    task, first = uses[0]
    if name in RESERVED:
        problems.append(
            f"task {task!r}, parameter {first.name!r}: {name!r} is an argument of submit() "
            "itself: give the parameter another name"
        )
    annotation = first.annotation
    for other_task, other in uses[1:]:
        if other.name != first.name:
            problems.append(
                f"tasks {task!r} and {other_task!r} have different parameters that are both "
                f"called {name!r}: rename one"
            )
        elif accepts(annotation, other.annotation):
            annotation = other.annotation  # The narrower of the two.
        elif not accepts(other.annotation, annotation):
            problems.append(
                f"parameter {name!r} is {type_text(annotation)} in task {task!r} but "
                f"{type_text(other.annotation)} in task {other_task!r}: use one type, or "
                "Param(namespace='local')"
            )
    markers: list[Any] = [use.marker for _, use in uses if use.marker is not None]
    default: Any = None
    for user, use in uses:
        if use.has_default:
            try:
                default = codec_for(use.annotation).encode_native(use.default)
            except SerializationError:
                problems.append(_bad_default(user, use))
    required = any(not use.has_default for _, use in uses)
    return ParameterDescription(
        name=name,
        type=type_text(annotation),
        required=required,
        default=None if required else default,
        help=next((one.help for one in markers if one.help), ""),
        short=next((one.short for one in markers if one.short), None),
        namespace="local" if markers and markers[0].namespace == "local" else "global",
        tasks=tuple(dict.fromkeys(user for user, _ in uses)),
        annotation=annotation,
    )


def _bad_default(task: str, parameter: Parameter) -> str:
    kind = type_text(parameter.annotation)
    hint = f": write {kind} | None" if parameter.default is None else ""
    return (
        f"task {task!r}, parameter {parameter.name!r}: the default {parameter.default!r} "
        f"is no {kind}{hint}"
    )


def build_spec(
    workflow_name: str,
    tasks: Mapping[str, TaskDefinition],
    parameters: Mapping[str, object],
    run_dir: str,
    *,
    files: str = "auto",
) -> WorkflowSpec:
    """Check the tasks, bind the run parameters, and return what a run is planned from.

    `run_dir` is made absolute. `files` is how files count, for tasks that do not say. A
    parameter is given as its value, or in the form it has in JSON (a path or a date as a
    text). Raises what `check` raises, and `ParameterError` for parameters that are missing,
    unknown or of the wrong type.
    """
    resolved = resolve_tasks(workflow_name, tasks)
    known = {one.name: one for one in resolved.parameters}
    problems = [_unknown(workflow_name, name, known) for name in parameters if name not in known]
    directory = dump(os.path.abspath(run_dir))
    specs = []
    missing: set[str] = set()
    for name in resolved.order:
        task = tasks[name]
        constants = []
        for parameter in resolved.signatures[name].parameters:
            if parameter.kind == RUN_DIR:
                constants.append(
                    Constant(parameter=parameter.name, type=RUN_DIR_TYPE, text=directory)
                )
            elif parameter.kind == PARAM:
                full = full_name(name, parameter)
                if full in parameters:
                    value, given = parameters[full], True
                elif parameter.has_default:
                    value, given = parameter.default, False
                else:
                    if full not in missing:
                        problems.append(_missing(known[full]))
                    missing.add(full)
                    continue
                try:
                    constants.append(_constant(parameter, value, given=given))
                except SerializationError as error:
                    origin = "" if given else " (its default)"
                    problems.append(
                        f"parameter {full!r} of task {name!r} must be "
                        f"{type_text(parameter.annotation)}, got {value!r} "
                        f"({type(value).__qualname__}){origin}: {error}"
                    )
        described = resolved.task_fields(name)
        described["code"], sources = code_of(task)
        described["files"] = described["files"] or files
        specs.append(
            TaskSpec(
                **described,
                constants=tuple(constants),
                sources=sources,
                as_left=not task.options.verify,
            )
        )
    if problems:
        raise ParameterError("; ".join(dict.fromkeys(problems)))
    return WorkflowSpec(
        name=workflow_name,
        tasks=tuple(specs),
        serializers=resolved.serializers,
        verifiers=resolved.verifiers,
    )


def _retry_spec(retry: Retry | None) -> RetrySpec | None:
    if retry is None:
        return None
    rules = [
        RetryRule(
            cause=cause, mem=scale.mem, time=scale.time, max_mem=scale.max_mem,
            max_time=scale.max_time,
        )
        for cause, scale in retry.rules.items()
    ]  # fmt: skip
    return RetrySpec(times=retry.times, rules=tuple(rules))


def _constant(parameter: Parameter, value: object, *, given: bool) -> Constant:
    annotation = parameter.annotation
    kind = type_text(annotation)
    codec = codec_for(annotation)
    try:
        text = codec.encode(value)
    except SerializationError:
        if not given:
            raise
        read = _read(codec, value)
        if read is None:
            raise
        text = read
    return Constant(parameter=parameter.name, type=kind, text=text)


def _read(codec: Codec, value: object) -> str | None:
    try:
        return codec.encode(codec.decode_native(value))
    except SerializationError:
        return None


def _unknown(workflow: str, name: str, known: Mapping[str, ParameterDescription]) -> str:
    close = nearest(name, known)
    hint = f": did you mean {close!r}?" if close else ""
    allowed = ", ".join(f"{one.name}: {one.type}" for one in known.values()) or "none"
    return f"workflow {workflow!r} has no parameter {name!r}{hint} (parameters: {allowed})"


def _missing(parameter: ParameterDescription) -> str:
    tasks = ", ".join(map(repr, parameter.tasks))
    return (
        f"parameter {parameter.name!r} ({parameter.type}) is missing: "
        f"task{'s' if len(parameter.tasks) > 1 else ''} {tasks} need"
        f"{'' if len(parameter.tasks) > 1 else 's'} it"
    )
