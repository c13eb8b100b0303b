"""How values flow from task to task, inferred from annotations."""

from __future__ import annotations

import collections.abc as abc
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import ValidationError, unknown_name
from ..values.type_text import is_class, type_text
from .flow import TaskDefinition, innermost
from .signature import RESULT, Parameter, Signature
from .spec import Source, Wire

_LISTS = (
    list, tuple, set, frozenset, abc.Sequence, abc.MutableSequence, abc.Iterable,
    abc.Collection, abc.Set, abc.MutableSet,
)  # fmt: skip
_NUMBERS: dict[type, tuple[type, ...]] = {float: (int,), complex: (int, float)}
_NONE = type(None)


class Upstream(NamedTuple):
    """What a wire needs to know of the task it comes from."""

    name: str
    array: bool
    returns: Any


def accepts(target: Any, given: Any) -> bool:
    """Whether a value of type `given` may be passed where `target` is written.

    Structural, with an int where a float is wanted; a type it knows nothing about is
    accepted, because a wrong refusal cannot be worked around.
    """
    target, given = _plain(target), _plain(given)
    if target is given or target is Any or target is object or given is Any:
        return True
    if isinstance(target, typing.TypeVar) or isinstance(given, typing.TypeVar):
        return True
    if _is_union(given):
        return all(accepts(target, one) for one in typing.get_args(given))
    if _is_union(target):
        return any(accepts(one, given) for one in typing.get_args(target))
    if typing.get_origin(given) is typing.Literal:
        values = typing.get_args(given)
        if typing.get_origin(target) is typing.Literal:
            allowed = [(type(one), one) for one in typing.get_args(target)]
            return all((type(one), one) in allowed for one in values)
        return all(accepts(target, type(one)) for one in values)
    if typing.get_origin(target) is typing.Literal:
        return False
    return _accepts_class(target, given)


def _accepts_class(target: Any, given: Any) -> bool:
    target_class = typing.get_origin(target) or target
    given_class = typing.get_origin(given) or given
    if not isinstance(target_class, type) or not isinstance(given_class, type):
        return True
    if given_class is bool and target_class in (int, float, complex):
        return False  # Subclass or not: a truth value is no number here.
    if given_class in _NUMBERS.get(target_class, ()):
        return True
    if given_class in (str, bytes) and target_class in _LISTS:
        return False
    try:
        if not issubclass(given_class, target_class):
            return False
    except TypeError:  # A protocol that cannot be checked at run time.
        return True
    return _accepts_arguments(target_class, target, given_class, given)


def _accepts_arguments(target_class: Any, target: Any, given_class: Any, given: Any) -> bool:
    wanted, got = typing.get_args(target), typing.get_args(given)
    if given_class is tuple and target_class is tuple:
        return _accepts_tuple(target, given)
    if target_class in _LISTS:
        if not wanted:
            return True
        item = list_item(given)
        return item is None or accepts(wanted[0], item)
    if wanted and got and len(wanted) == len(got) and not isinstance(wanted[0], list):
        return all(accepts(one, other) for one, other in zip(wanted, got, strict=True))
    return True


def _accepts_tuple(target: Any, given: Any) -> bool:
    wanted, got = typing.get_args(target), typing.get_args(given)
    empty = _is_empty_tuple(given)
    if (not wanted and not _is_empty_tuple(target)) or (not got and not empty):
        return True
    if len(wanted) == 2 and wanted[1] is Ellipsis:
        return all(accepts(wanted[0], one) for one in got if one is not Ellipsis)
    if len(got) == 2 and got[1] is Ellipsis:
        return False
    return len(wanted) == len(got) and all(
        accepts(one, other) for one, other in zip(wanted, got, strict=True)
    )


def _is_empty_tuple(annotation: Any) -> bool:
    return (
        typing.get_origin(annotation) is tuple
        and not typing.get_args(annotation)
        and annotation is not typing.Tuple  # noqa: UP006
    )


def _plain(annotation: Any) -> Any:
    """Take off what does not matter here: Annotated, NewType, a named alias."""
    if is_class(annotation):
        return annotation
    while True:
        if annotation is None:
            return _NONE
        if typing.get_origin(annotation) is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            return annotation


def _is_union(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    return origin is typing.Union or origin is types.UnionType


def list_item(annotation: Any) -> Any:
    """Return the type of the items of a list-like type, or None where it is none.

    Any, as a list of unknown things, has items of type Any. A union is list-like
    where each of its members is.
    """
    annotation = _plain(annotation)
    if annotation is Any:
        return Any
    if _is_union(annotation):
        items = [list_item(one) for one in typing.get_args(annotation)]
        return None if any(one is None for one in items) else _union(items)
    origin = typing.get_origin(annotation) or annotation
    if origin not in _LISTS:
        return None
    arguments = [one for one in typing.get_args(annotation) if one is not Ellipsis]
    return _union(arguments) if arguments else Any


def _union(members: list[Any]) -> Any:
    return members[0] if len(members) == 1 else typing.Union[tuple(members)]  # noqa: UP007


def _takes_list(target: Any, item: Any) -> bool:
    """Whether a parameter of type `target` can be given a list of `item`."""
    target = _plain(target)
    if target is Any or target is object:
        return True
    if _is_union(target):
        return any(_takes_list(one, item) for one in typing.get_args(target))
    if typing.get_origin(target) is tuple and _fixed_tuple(target):
        return False
    wanted = list_item(target)
    return wanted is not None and accepts(wanted, item)


def _fixed_tuple(target: Any) -> bool:
    arguments = typing.get_args(target)
    return not (len(arguments) == 2 and arguments[1] is Ellipsis)


def resolve(reference: object, task: TaskDefinition, tasks: Mapping[str, TaskDefinition]) -> str:
    """Return the name of the task that `task` refers to by name or function.

    Raises `ValueError` (a plain text, for the caller to say where) for none or several.
    """
    if isinstance(reference, str):
        name = task.scope.get(reference, reference)
        if name not in tasks:
            raise ValueError(unknown_name("task", reference, tasks))
        return name
    function = innermost(reference)
    try:
        scoped = task.scope.get(function)
    except TypeError:  # Something callable that has no hash.
        scoped = None
    if scoped is not None:
        return scoped
    found = [name for name, other in tasks.items() if innermost(other.function) is function]
    if len(found) == 1:
        return found[0]
    text = getattr(function, "__qualname__", None) or repr(function)
    if not found:
        raise ValueError(
            f"the function {text!r} is no task of this workflow; decorate it with job() "
            f"(tasks: {', '.join(tasks) or 'none'})"
        )
    raise ValueError(
        f"the function {text!r} is several tasks ({', '.join(found)}): refer to one by its name"
    )


def infer(
    tasks: Mapping[str, TaskDefinition], signatures: Mapping[str, Signature]
) -> dict[str, tuple[Wire, ...]]:
    """Return the wires of every task, in the order of its parameters.

    Raises `ValidationError` that tells every place where tasks do not fit together.
    """
    problems: list[str] = []
    wires: dict[str, tuple[Wire, ...]] = {}
    for name, task in tasks.items():
        found = []
        complete = True
        for parameter in signatures[name].parameters:
            if parameter.kind != RESULT:
                continue
            try:
                found.append(_wire(task, parameter, tasks, signatures))
            except ValueError as problem:
                complete = False
                problems.append(f"task {name!r}, parameter {parameter.name!r}: {problem}")
        if task.options.array and complete and not any(wire.each for wire in found):
            problems.append(_nothing_to_fan_out(name, found))
        wires[name] = tuple(found)
    raise_for(problems)
    return wires


def raise_for(problems: list[str]) -> None:
    """Raise one `ValidationError` with all problems, if there are any."""
    if len(problems) == 1:
        raise ValidationError(problems[0])
    if problems:
        listed = "".join(f"\n- {problem}" for problem in problems)
        raise ValidationError(f"{len(problems)} problems:{listed}")


def _nothing_to_fan_out(name: str, wires: list[Wire]) -> str:
    whole = ", ".join(
        f"{wire.parameter!r} takes the whole of {wire.sources[0].task!r}" for wire in wires
    )
    return (
        f"array task {name!r} has nothing to fan out over"
        + (f" ({whole})" if whole else "")
        + ": give it a Result parameter whose type is that of one item of a list, "
        "or leave array=True out"
    )


def _wire(
    task: TaskDefinition,
    parameter: Parameter,
    tasks: Mapping[str, TaskDefinition],
    signatures: Mapping[str, Signature],
) -> Wire:
    marker: Any = parameter.marker
    upstreams = []
    for reference in marker.references:
        name = resolve(reference, task, tasks)
        upstreams.append(Upstream(name, tasks[name].options.array, signatures[name].returns))
    if marker.steps is not None:
        return _concatenated(task, parameter, upstreams, marker.broadcast)
    (up,) = upstreams
    if task.options.array:
        return _to_array(task, parameter, up, marker.broadcast)
    return _to_single(task, parameter, up)


def _to_single(task: TaskDefinition, parameter: Parameter, up: Upstream) -> Wire:
    target = parameter.annotation
    if not up.array:
        if not accepts(target, up.returns):
            raise ValueError(_misfit(task, parameter, up))
        return _made(parameter, "direct", Source(task=up.name), given=up.returns)
    if _takes_list(target, up.returns):
        source = Source(task=up.name, array=True)
        return _made(parameter, "gather", source, given=_list(up.returns))
    item = list_item(up.returns)
    if item is not None and _takes_list(target, item):
        source = Source(task=up.name, array=True, flatten=True)
        return _made(parameter, "gather-flatten", source, given=_list(item))
    raise ValueError(_misfit(task, parameter, up))


def _to_array(task: TaskDefinition, parameter: Parameter, up: Upstream, broadcast: bool) -> Wire:
    target, returns = parameter.annotation, up.returns
    item = list_item(returns)
    if broadcast:
        if not up.array:
            if accepts(target, returns):
                return _made(parameter, "broadcast", Source(task=up.name), given=returns)
        elif _takes_list(target, returns):
            source = Source(task=up.name, array=True)
            return _made(parameter, "broadcast", source, given=_list(returns))
        elif item is not None and _takes_list(target, item):
            source = Source(task=up.name, array=True, flatten=True)
            return _made(parameter, "broadcast", source, given=_list(item))
        raise ValueError(_misfit(task, parameter, up))
    if up.array:
        if accepts(target, returns):
            source = Source(task=up.name, array=True)
            return _made(parameter, "chain", source, each=True, given=returns)
        if item is not None and accepts(target, item):
            source = Source(task=up.name, array=True, flatten=True)
            return _made(parameter, "chain-flatten", source, each=True, given=item)
    else:
        if item is not None and accepts(target, item):
            source = Source(task=up.name, flatten=True)
            return _made(parameter, "fan-out", source, each=True, given=item)
        if accepts(target, returns):
            return _made(parameter, "broadcast", Source(task=up.name), given=returns)
    raise ValueError(_misfit(task, parameter, up))


def _concatenated(
    task: TaskDefinition, parameter: Parameter, upstreams: list[Upstream], broadcast: bool
) -> Wire:
    target = parameter.annotation
    each = task.options.array and not broadcast
    fits: Callable[[Any, Any], bool] = accepts if each else _takes_list
    sources, types_given = [], []
    for up in upstreams:
        item = list_item(up.returns)
        if fits(target, up.returns):
            sources.append(Source(task=up.name, array=up.array))
            types_given.append(up.returns)
        elif item is not None and fits(target, item):
            sources.append(Source(task=up.name, array=up.array, flatten=True))
            types_given.append(item)
        else:
            raise ValueError(_misfit(task, parameter, up))
    flattened = any(source.flatten for source in sources)
    if not task.options.array:
        mode = "gather-flatten" if flattened else "gather"
    elif broadcast:
        mode = "broadcast"
    elif any(source.array for source in sources):
        mode = "chain-flatten"
    else:
        mode = "fan-out"
    for given in types_given:
        _check_readable(target, given if each else _list(given))
    return Wire(
        parameter=parameter.name, mode=mode, sources=tuple(sources), each=each, listed=True
    )


def _made(
    parameter: Parameter, mode: str, source: Source, *, given: Any, each: bool = False
) -> Wire:
    _check_readable(parameter.annotation, given)
    return Wire(
        parameter=parameter.name,
        mode=mode,
        sources=(source,),
        each=each,
        listed=source.array or source.flatten,
    )


def _list(item: Any) -> Any:
    return list[item]


def _check_readable(target: Any, given: Any) -> None:
    """Refuse what is right in Python but would not come back right from its JSON."""
    if target is given:
        return
    from ..values.codec import is_in_file, readable

    if not readable(target, given):
        if is_in_file(given):
            raise ValueError(
                f"all of a value written as {type_text(given)} is kept in a file by the "
                "serializer that its task names, which JSON could hold: leave the serializer "
                "out, or annotate the parameter with Any"
            )
        raise ValueError(
            f"a value written as {type_text(given)} cannot be read as {type_text(target)}: "
            "annotate both sides with the same type"
        )


def _misfit(task: TaskDefinition, parameter: Parameter, up: Upstream) -> str:
    target, returns = type_text(parameter.annotation), type_text(up.returns)
    kind = "array task" if up.array else "task"
    text = (
        f"{task.name!r} wants {target}, but {kind} {up.name!r} returns {returns}"
        f"{' for each element' if up.array else ''}"
    )
    hint = _hint(task, parameter, up)
    return f"{text}; {hint}" if hint else text


def _hint(task: TaskDefinition, parameter: Parameter, up: Upstream) -> str:
    target, returns = parameter.annotation, up.returns
    marker: Any = parameter.marker
    item = list_item(returns)
    listed = not task.options.array or marker.broadcast
    if marker.steps is not None or up.array:
        if task.options.array and not marker.broadcast:
            if _takes_list(target, returns):
                return "add broadcast=True to give every element the whole list"
        elif listed and accepts(target, returns):
            return (
                f"all values are gathered: write list[{type_text(returns)}], "
                f"or make {task.name!r} an array task"
            )
    elif not task.options.array and item is not None and accepts(target, item):
        return f"make {task.name!r} an array task to run it for each item"
    elif marker.broadcast and item is not None and accepts(target, item):
        return "leave broadcast out to give every element one item"
    if _is_union(returns) and accepts(target, _without_none(returns)):
        return f"{up.name!r} may return None: accept it, or return another value"
    return f"change the annotation of {parameter.name!r} or what {up.name!r} returns"


def _without_none(annotation: Any) -> Any:
    members = [one for one in typing.get_args(annotation) if one is not _NONE]
    return _union(members) if members else annotation


def order(edges: Mapping[str, Sequence[str]]) -> list[str]:
    """Return all tasks, every one behind those it needs.

    `edges` maps each task to the tasks it needs. Where the mapping's own order
    already fits, it is kept. Takes time linear in tasks and edges. Raises
    `ValidationError` for a task that does not exist, and for a cycle, with its path.
    """
    done: dict[str, bool] = {}  # False: being visited, so meeting it again is a cycle
    result: list[str] = []
    for start in edges:
        if start in done:
            continue
        done[start] = False
        path = [start]
        # An explicit stack: a chain of tasks may be longer than Python's own allows.
        stack: list[Iterator[str]] = [iter(edges[start])]
        while stack:
            for needed in stack[-1]:
                state = done.get(needed)
                if state is None:
                    if needed not in edges:
                        raise ValidationError(
                            f"task {path[-1]!r} needs {needed!r}: "
                            + unknown_name("task", needed, edges)
                        )
                    done[needed] = False
                    path.append(needed)
                    stack.append(iter(edges[needed]))
                    break
                if not state:
                    raise ValidationError(_cycle(path, needed))
            else:
                stack.pop()
                finished = path.pop()
                done[finished] = True
                result.append(finished)
    return result


def _cycle(path: list[str], again: str) -> str:
    # The walk goes from a task to what it needs; data flows the other way.
    loop = [*path[path.index(again) :], again][::-1]
    return (
        f"the tasks form a cycle: {' -> '.join(loop)} "
        "(each needs the one before it; take one of these references out)"
    )
