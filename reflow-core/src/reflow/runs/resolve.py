"""From a loaded workflow to the `WorkflowSpec` that runs are planned from, with all checks.

The only place where annotations, wires, parameters and code meet.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

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
from ..values.codec import codec_for, codec_or_none, serializers_of, supported
from ..values.json_codec import Codec, dump
from ..values.references import find_with, learn
from ..values.type_text import type_text
from .describe import ParameterDescription

if TYPE_CHECKING:
    from ..values.references import Named

TypesBySerializer: TypeAlias = dict[str, list[Any]]
"""Serializers that some values need, by name, each with the classes of its values."""
Uses: TypeAlias = list[tuple[str, Parameter]]
"""The tasks that take a run parameter, each with its own argument of that name."""

RUN_DIR_TYPE = "RunDir"
"""`Constant.type` of the run directory, which distinguishes it from a parameter."""

RESERVED = frozenset({"self", "run_dir", "executor", "wait", *RunOptions.arguments()})
"""Names that `submit` and `run_local` use themselves."""


@frozen(kw_only=True)
class Resolved:
    """A workflow that fits together.

    `order` has every task behind those it needs; `wires`, `after` and `verifiers` are by
    task; `serializers` are all that are used.
    """

    tasks: Mapping[str, TaskDefinition]
    signatures: Mapping[str, Signature]
    wires: Mapping[str, tuple[Wire, ...]]
    after: Mapping[str, tuple[str, ...]]
    order: tuple[str, ...]
    parameters: tuple[ParameterDescription, ...]
    serializers: tuple[SerializerSpec, ...]
    verifiers: Mapping[str, tuple[VerifierSpec, ...]]

    def task_fields(self, name: str) -> dict[str, Any]:
        """Return what a `ResolvedTask` says of a task, by field.

        As the decorator has it: `code` is what counts as the code, `files` "" where the task
        leaves that to the configuration.
        """
        options = self.tasks[name].options
        values = options._asdict()
        resources = Resources(**{field.name: values.pop(field.name) for field in fields(Resources)})
        return {
            **values,
            "name": name,
            "wires": self.wires[name],
            "after": self.after[name],
            "returns": type_text(self.signatures[name].returns),
            "resources": resources,
            "files": options.files or "",
            "serializer": options.serializer or "",
            "verifiers": tuple(verifier.name for verifier in self.verifiers[name]),
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
    # What a plugin may serialize is asked anew: not what earlier workflows have learned.
    find_with(_installed)
    # All problems are reported together; a wrong signature or wire alone ends this earlier.
    problems: list[str] = []
    _learn_named_serializers(tasks, problems)
    signatures = {name: task.signature() for name, task in tasks.items()}
    after = {name: _after(task, tasks, problems) for name, task in tasks.items()}
    try:
        wires = infer(tasks, signatures)
    except ValidationError as error:
        # Nothing below makes sense of tasks without wires.
        problems.append(str(error))
        raise_for(problems)
        raise
    in_files = {name: _serializers(signatures[name].returns) for name in tasks}
    for name in tasks:
        problems.extend(_unsupported(name, signatures[name], wires[name], in_files))
        problems.extend(_unsplittable(name, wires[name], tasks, signatures))
    parameters = _parameters(signatures, problems)
    verifiers = {name: _verifiers(task, in_files[name], problems) for name, task in tasks.items()}
    raise_for(problems)
    return Resolved(
        tasks=tasks,
        signatures=signatures,
        wires=wires,
        after=after,
        order=tuple(order({name: [*_sources(wires[name]), *after[name]] for name in tasks})),
        parameters=parameters,
        serializers=_serializer_specs(tasks, in_files),
        verifiers=verifiers,
    )


def _sources(wires: Iterable[Wire]) -> Iterator[str]:
    return (source.task for wire in wires for source in wire.sources)


def _plugins() -> Any:
    # Imported when a workflow needs one: most do without.
    from ..plugins import lookup

    return lookup


def _installed(cls: type) -> Named | None:
    entry: Named | None = _plugins().serializer_entry_for(cls)
    return entry


def _learn_named_serializers(tasks: Mapping[str, TaskDefinition], problems: list[str]) -> None:
    for name, task in tasks.items():
        if task.options.serializer is not None:
            try:
                learn([_plugins().serializer_entry(task.options.serializer)])
            except PluginError as error:
                problems.append(f"task {name!r}: {error}")


def _after(
    task: TaskDefinition, tasks: Mapping[str, TaskDefinition], problems: list[str]
) -> tuple[str, ...]:
    """Return the names of the tasks that a task comes after."""
    names = []
    for reference in task.options.after:
        try:
            names.append(resolve(reference, task, tasks))
        except ValueError as problem:
            problems.append(f"task {task.name!r}, after: {problem}")
    return tuple(dict.fromkeys(names))


def _serializers(annotation: Any) -> TypesBySerializer:
    """Return the serializers, with the types, that values of an annotation need."""
    codec = codec_or_none(annotation)
    return {} if codec is None else serializers_of(codec)


def _serializer_specs(
    tasks: Mapping[str, TaskDefinition], in_files: Mapping[str, TypesBySerializer]
) -> tuple[SerializerSpec, ...]:
    """Return the serializers that the results of the tasks need."""
    by_type = {
        serializer
        for name, serializers in in_files.items()
        if not tasks[name].options.serializer
        for serializer in serializers
    }
    names = dict.fromkeys(name for serializers in in_files.values() for name in serializers)
    specs = []
    for name in names:
        entry = _plugins().serializer_entry(name)
        # One that tasks only name takes no type: the worker must decide as is decided here.
        types = entry.types if name in by_type else ()
        specs.append(SerializerSpec(name=name, target=entry.target, types=types))
    return tuple(specs)


def _verifiers(
    task: TaskDefinition, in_files: TypesBySerializer, problems: list[str]
) -> tuple[VerifierSpec, ...]:
    """Return the verifiers that a task names, and those of its types.

    Only of types whose values are kept in files: finding out whether any plugin judges
    an int would load them all for every workflow.
    """
    entries = []
    for verifier in task.options.verify:
        if isinstance(verifier, str):
            try:
                entries.append(_plugins().verifier_entry(verifier))
            except PluginError as error:
                problems.append(f"task {task.name!r}: {error}")
    for types in in_files.values():
        for cls in types:
            if cls is not None:
                entries.extend(_plugins().verifier_entries_for(cls))
    specs = [
        VerifierSpec(name=entry.name, target=entry.target, fingerprints=entry.fingerprints)
        for entry in entries
    ]
    return tuple(dict.fromkeys(specs))


def _unsupported(
    name: str,
    signature: Signature,
    wires: tuple[Wire, ...],
    in_files: Mapping[str, TypesBySerializer],
) -> Iterator[str]:
    """Yield which values of a task can neither be written as JSON nor be kept in a file."""
    # What comes in a file is read by whatever wrote it.
    fed_by_files = {
        wire.parameter for wire in wires if any(map(in_files.get, _sources([wire])))
    }
    for parameter in signature.parameters:
        if parameter.kind == RUN_DIR:
            continue
        where = f"task {name!r}, parameter {parameter.name!r}"
        reason = supported(parameter.annotation)
        if reason is not None and parameter.name not in fed_by_files:
            yield f"{where}: {reason}"
        elif parameter.kind == PARAM and _serializers(parameter.annotation):
            yield (
                f"{where}: {type_text(parameter.annotation)} cannot be written as JSON, as "
                "a parameter of a run is: take the Path of a file, or return it from a task"
            )
    reason = supported(signature.returns)
    if reason is not None:
        yield f"task {name!r}, return value: {reason}"


def _unsplittable(
    name: str,
    wires: tuple[Wire, ...],
    tasks: Mapping[str, TaskDefinition],
    signatures: Mapping[str, Signature],
) -> Iterator[str]:
    """Yield which parameters get the items of a list that is kept as a whole in one file."""
    for wire in wires:
        for source in wire.sources:
            if source.flatten and codec_for(signatures[source.task].returns).in_file:
                yield (
                    f"task {name!r}, parameter {wire.parameter!r} gets the items of what "
                    f"{source.task!r} returns, but that is kept in one file "
                    f"(serializer={tasks[source.task].options.serializer!r}): annotate what "
                    f"{source.task!r} returns with the type of the items, list[...], so "
                    "that each has a file of its own"
                )


def full_name(task: str, parameter: Parameter) -> str:
    """Return the name by which a run is given a parameter of a task."""
    marker: Any = parameter.marker
    local = marker is not None and marker.namespace == "local"
    return f"{task}_{parameter.name}" if local else parameter.name


def _parameters(
    signatures: Mapping[str, Signature], problems: list[str]
) -> tuple[ParameterDescription, ...]:
    """Describe the parameters of a run, each of one or more tasks, in order of first use."""
    uses: dict[str, Uses] = {}
    for task, signature in signatures.items():
        for parameter in signature.parameters:
            if parameter.kind == PARAM:
                uses.setdefault(full_name(task, parameter), []).append((task, parameter))
    descriptions = [_describe(name, of_name, problems) for name, of_name in uses.items()]
    owners: dict[str, str] = {}
    for described in descriptions:
        if described.short is not None:
            owner = owners.setdefault(described.short, described.name)
            if owner != described.name:
                problems.append(
                    f"parameters {owner!r} and {described.name!r} both have the short option "
                    f"-{described.short}"
                )
    return tuple(descriptions)


def _describe(name: str, uses: Uses, problems: list[str]) -> ParameterDescription:
    task, first = uses[0]
    if name in RESERVED:
        problems.append(
            f"task {task!r}, parameter {first.name!r}: {name!r} is an argument of submit() "
            "itself: give the parameter another name"
        )
    annotation = _common_type(name, uses, problems)
    default = _default(uses, problems)
    required = any(not parameter.has_default for _, parameter in uses)
    markers: list[Any] = [use.marker for _, use in uses if use.marker is not None]
    return ParameterDescription(
        name=name,
        type=type_text(annotation),
        required=required,
        default=None if required else default,
        help=_first(markers, "help") or "",
        short=_first(markers, "short"),
        namespace="local" if markers and markers[0].namespace == "local" else "global",
        tasks=tuple(dict.fromkeys(user for user, _ in uses)),
        annotation=annotation,
    )


def _first(markers: list[Any], attribute: str) -> Any:
    """Return the first that markers say of an attribute, None if none says anything."""
    return next(filter(None, (getattr(marker, attribute) for marker in markers)), None)


def _common_type(name: str, uses: Uses, problems: list[str]) -> Any:
    """Return the narrowest of the types that tasks have for a parameter."""
    task, first = uses[0]
    annotation = first.annotation
    for other_task, other in uses[1:]:
        if other.name != first.name:
            problems.append(
                f"tasks {task!r} and {other_task!r} have different parameters that are both "
                f"called {name!r}: rename one"
            )
        elif accepts(annotation, other.annotation):
            annotation = other.annotation
        elif not accepts(other.annotation, annotation):
            problems.append(
                f"parameter {name!r} is {type_text(annotation)} in task {task!r} but "
                f"{type_text(other.annotation)} in task {other_task!r}: use one type, or "
                "Param(namespace='local')"
            )
    return annotation


def _default(uses: Uses, problems: list[str]) -> Any:
    """Return the default of a parameter in JSON's own types; of several, the last task's."""
    default: Any = None
    for task, parameter in uses:
        if not parameter.has_default:
            continue
        try:
            default = codec_for(parameter.annotation).encode_native(parameter.default)
        except SerializationError:
            kind = type_text(parameter.annotation)
            hint = f": write {kind} | None" if parameter.default is None else ""
            problems.append(
                f"task {task!r}, parameter {parameter.name!r}: the default "
                f"{parameter.default!r} is not of type {kind}{hint}"
            )
    return default


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
    descriptions = {parameter.name: parameter for parameter in resolved.parameters}
    problems = [
        _unknown(workflow_name, name, descriptions)
        for name in parameters
        if name not in descriptions
    ]
    directory = dump(os.path.abspath(run_dir))
    specs = []
    for name in resolved.order:
        constants = []
        for parameter in resolved.signatures[name].parameters:
            try:
                if parameter.kind == RUN_DIR:
                    constants.append(
                        Constant(parameter=parameter.name, type=RUN_DIR_TYPE, text=directory)
                    )
                elif parameter.kind == PARAM:
                    description = descriptions[full_name(name, parameter)]
                    constants.append(_constant(name, parameter, description, parameters))
            except ParameterError as problem:
                problems.append(str(problem))
        values = resolved.task_fields(name)
        values["code"], sources = code_of(tasks[name])
        specs.append(
            TaskSpec(
                **{**values, "files": values["files"] or files},
                constants=tuple(constants),
                sources=sources,
                as_left=not tasks[name].options.verify,
            )
        )
    if problems:
        # Each once: a parameter may be missing for several tasks.
        raise ParameterError("; ".join(dict.fromkeys(problems)))
    return WorkflowSpec(
        name=workflow_name,
        tasks=tuple(specs),
        serializers=resolved.serializers,
        verifiers=tuple(dict.fromkeys(itertools.chain(*resolved.verifiers.values()))),
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


def _constant(
    task: str,
    parameter: Parameter,
    description: ParameterDescription,
    values: Mapping[str, object],
) -> Constant:
    """Bind a run parameter of a task. Raises `ParameterError`."""
    name = description.name
    if name not in values and not parameter.has_default:
        raise ParameterError(_missing(description))
    value, origin = values.get(name, parameter.default), "" if name in values else " (its default)"
    kind = type_text(parameter.annotation)
    try:
        text = _encode(codec_for(parameter.annotation), value, from_json=name in values)
    except SerializationError as error:
        raise ParameterError(
            f"parameter {name!r} of task {task!r} must be {kind}, got {value!r} "
            f"({type(value).__qualname__}){origin}: {error}"
        ) from error
    return Constant(parameter=parameter.name, type=kind, text=text)


def _encode(codec: Codec, value: object, *, from_json: bool) -> str:
    """Return the JSON text of a value; with `from_json` also of one in the form it has in JSON."""
    try:
        return codec.encode(value)
    except SerializationError:
        if from_json:
            with contextlib.suppress(SerializationError):
                return codec.encode(codec.decode_native(value))
        raise


def _unknown(workflow: str, name: str, allowed: Mapping[str, ParameterDescription]) -> str:
    close = nearest(name, allowed)
    hint = f": did you mean {close!r}?" if close else ""
    listed = ", ".join(f"{parameter.name}: {parameter.type}" for parameter in allowed.values())
    return f"workflow {workflow!r} has no parameter {name!r}{hint} (parameters: {listed or 'none'})"


def _missing(parameter: ParameterDescription) -> str:
    tasks = ", ".join(map(repr, parameter.tasks))
    return (
        f"parameter {parameter.name!r} ({parameter.type}) is missing: "
        f"task{'s' if len(parameter.tasks) > 1 else ''} {tasks} need"
        f"{'' if len(parameter.tasks) > 1 else 's'} it"
    )
