"""How values flow from task to task, inferred from annotations."""

from __future__ import annotations

import collections.abc as abc
import contextlib
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import ValidationError, unknown_name
from ..values.type_text import is_class, is_union, type_text
from .flow import TaskDefinition, innermost
from .signature import RESULT, Parameter, Signature
from .spec import Source, Wire

_LISTS = (
    list, tuple, set, frozenset, abc.Sequence, abc.MutableSequence, abc.Iterable,
    abc.Collection, abc.Set, abc.MutableSet,
)  # fmt: skip
_NONE = type(None)
_TAKEN_FOR: dict[type, tuple[type, ...]] = {float: (int,), complex: (int, float)}
"""Classes whose values are accepted for another class that is not a base of theirs."""
_NOT_TAKEN_FOR: dict[Any, tuple[type, ...]] = {
    # Subclass or not: a bool is not a number here, and a text not a list of letters.
    **dict.fromkeys((int, float, complex), (bool,)),
    **dict.fromkeys(_LISTS, (str, bytes)),
}


class Upstream(NamedTuple):
    """What a wire needs to know of the task it comes from."""

    name: str
    array: bool
    returns: Any


def accepts(target: Any, source: Any) -> bool:
    """Whether a value of type `source` may be passed where `target` is written.

    Structural, with an int where a float is written; a type it knows nothing about is
    accepted, because a wrong refusal cannot be worked around.
    """
    target, source = _plain(target), _plain(source)
    if target is source or target is object or any(map(_is_open, (target, source))):
        return True
    # The source first: each of its members may fit another member of the target.
    if is_union(source):
        return all(accepts(target, member) for member in typing.get_args(source))
    if is_union(target):
        return any(accepts(member, source) for member in typing.get_args(target))
    if typing.get_origin(source) is typing.Literal:
        return _accepts_values(target, typing.get_args(source))
    if typing.get_origin(target) is typing.Literal:
        return False
    return _accepts_class(target, source)


def _is_open(annotation: Any) -> bool:
    """Whether a type says nothing about its values."""
    return annotation is Any or isinstance(annotation, typing.TypeVar)


def _accepts_values(target: Any, values: tuple[Any, ...]) -> bool:
    if typing.get_origin(target) is not typing.Literal:
        return all(accepts(target, type(value)) for value in values)
    # With their types: 1 == True.
    allowed = [(type(value), value) for value in typing.get_args(target)]
    return all((type(value), value) in allowed for value in values)


def _accepts_class(target: Any, source: Any) -> bool:
    target_class = typing.get_origin(target) or target
    source_class = typing.get_origin(source) or source
    if not isinstance(target_class, type) or not isinstance(source_class, type):
        return True
    if source_class in _TAKEN_FOR.get(target_class, ()):
        return True
    if source_class in _NOT_TAKEN_FOR.get(target_class, ()):
        return False
    try:
        is_subclass = issubclass(source_class, target_class)
    except TypeError:  # A protocol that cannot be checked at run time.
        return True
    return is_subclass and _accepts_arguments(target_class, target, source_class, source)


def _accepts_arguments(target_class: Any, target: Any, source_class: Any, source: Any) -> bool:
    if target_class is tuple and source_class is tuple:
        return _accepts_tuple(target, source)
    arguments, source_arguments = typing.get_args(target), typing.get_args(source)
    if target_class in _LISTS:
        item = list_item(source) if arguments else None
        return item is None or accepts(arguments[0], item)
    if len(arguments) != len(source_arguments) or isinstance(next(iter(arguments), None), list):
        return True  # Nothing to compare one by one: a bare class, or the arguments of a Callable.
    return all(map(accepts, arguments, source_arguments))


def _accepts_tuple(target: Any, source: Any) -> bool:
    if _is_bare_tuple(target) or _is_bare_tuple(source):
        return True
    items, source_items = typing.get_args(target), typing.get_args(source)
    if _has_any_length(target):
        return all(accepts(items[0], item) for item in source_items if item is not Ellipsis)
    if _has_any_length(source) or len(items) != len(source_items):
        return False
    return all(map(accepts, items, source_items))


def _is_bare_tuple(annotation: Any) -> bool:
    """Whether this is a tuple of unknown items; ``tuple[()]``, of none, is not."""
    if typing.get_args(annotation):
        return False
    return typing.get_origin(annotation) is not tuple or annotation is typing.Tuple  # noqa: UP006


def _has_any_length(annotation: Any) -> bool:
    """Whether this is ``tuple[X, ...]``."""
    arguments = typing.get_args(annotation)
    return len(arguments) == 2 and arguments[1] is Ellipsis


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


def list_item(annotation: Any) -> Any:
    """Return the type of the items of a list-like type, or None where it has none.

    Any, as a list of unknown things, has items of type Any. A union is list-like
    where each of its members is.
    """
    annotation = _plain(annotation)
    if annotation is Any:
        return Any
    if is_union(annotation):
        items = [list_item(member) for member in typing.get_args(annotation)]
        return None if None in items else _union(items)
    if (typing.get_origin(annotation) or annotation) not in _LISTS:
        return None
    arguments = [argument for argument in typing.get_args(annotation) if argument is not Ellipsis]
    return _union(arguments) if arguments else Any


def _union(members: list[Any]) -> Any:
    return members[0] if len(members) == 1 else typing.Union[tuple(members)]  # noqa: UP007


def _takes_list(target: Any, item: Any) -> bool:
    """Whether a parameter of type `target` can be given a list of `item`."""
    target = _plain(target)
    if target is Any or target is object:
        return True
    if is_union(target):
        return any(_takes_list(member, item) for member in typing.get_args(target))
    if typing.get_origin(target) is tuple and not _has_any_length(target):
        return False
    target_item = list_item(target)
    return target_item is not None and accepts(target_item, item)


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
    with contextlib.suppress(TypeError):  # Something callable that has no hash.
        if function in task.scope:
            return task.scope[function]
    names = [name for name, other in tasks.items() if innermost(other.function) is function]
    if len(names) == 1:
        return names[0]
    text = getattr(function, "__qualname__", None) or repr(function)
    if not names:
        raise ValueError(
            f"the function {text!r} is not a task of this workflow; decorate it with job() "
            f"(tasks: {', '.join(tasks) or 'none'})"
        )
    raise ValueError(
        f"the function {text!r} is several tasks ({', '.join(names)}): refer to one by its name"
    )


def infer(
    tasks: Mapping[str, TaskDefinition], signatures: Mapping[str, Signature]
) -> dict[str, tuple[Wire, ...]]:
    """Return the wires of every task, in the order of its parameters.

    Raises one `ValidationError` with every place where tasks do not fit together.
    """
    problems: list[str] = []
    wires: dict[str, tuple[Wire, ...]] = {}
    for name, task in tasks.items():
        own: list[Wire] = []
        complete = True
        for parameter in signatures[name].parameters:
            if parameter.kind != RESULT:
                continue
            try:
                own.append(_wire(task, parameter, tasks, signatures))
            except ValueError as problem:
                complete = False
                problems.append(f"task {name!r}, parameter {parameter.name!r}: {problem}")
        if task.options.array and complete and not any(wire.each for wire in own):
            problems.append(_nothing_to_fan_out(name, own))
        wires[name] = tuple(own)
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
    return _from_one(task, parameter, upstreams[0], marker.broadcast)


class _Way(NamedTuple):
    """A way to feed a parameter from one task.

    `each`: every element of an array gets a part of its own. `flatten`: an upstream value
    is a list, and its items are taken.
    """

    mode: str
    each: bool = False
    flatten: bool = False


# By whether the upstream is an array, and whether each element is to get its own; the first
# way that the types allow is taken. A parameter of type Any fits all of them: an array gathers
# whole values, and a list is fanned out.
_WAYS = {
    (False, False): [_Way("direct")],
    (True, False): [_Way("gather"), _Way("gather-flatten", flatten=True)],
    (True, True): [_Way("chain", each=True), _Way("chain-flatten", each=True, flatten=True)],
    (False, True): [_Way("fan-out", each=True, flatten=True), _Way("broadcast")],
}


def _from_one(task: TaskDefinition, parameter: Parameter, up: Upstream, broadcast: bool) -> Wire:
    array = task.options.array
    for way in _WAYS[up.array, array and not broadcast]:
        several = up.array or way.flatten
        if _fits(parameter.annotation, up, flatten=way.flatten, as_list=several and not way.each):
            return Wire(
                parameter=parameter.name,
                mode="broadcast" if array and not way.each else way.mode,
                sources=(Source(task=up.name, array=up.array, flatten=way.flatten),),
                each=way.each,
                listed=several,
            )
    raise ValueError(_misfit(task, parameter, up))


def _concatenated(
    task: TaskDefinition, parameter: Parameter, upstreams: list[Upstream], broadcast: bool
) -> Wire:
    each = task.options.array and not broadcast
    sources = []
    for up in upstreams:
        whole = _fits(parameter.annotation, up, flatten=False, as_list=not each)
        if not whole and not _fits(parameter.annotation, up, flatten=True, as_list=not each):
            raise ValueError(_misfit(task, parameter, up))
        sources.append(Source(task=up.name, array=up.array, flatten=not whole))
    return Wire(
        parameter=parameter.name,
        mode=_mode_of(sources, task.options.array, each),
        sources=tuple(sources),
        each=each,
        listed=True,
    )


def _mode_of(sources: list[Source], array: bool, each: bool) -> str:
    """Return the mode of a wire from several tasks."""
    if each:
        return "chain-flatten" if any(source.array for source in sources) else "fan-out"
    if array:
        return "broadcast"
    return "gather-flatten" if any(source.flatten for source in sources) else "gather"


def _fits(target: Any, up: Upstream, *, flatten: bool, as_list: bool) -> bool:
    """Whether a parameter takes what an upstream contributes, or a list of that.

    Raises `ValueError` where it does in Python, but not what comes back from the JSON.
    """
    contributed = list_item(up.returns) if flatten else up.returns
    takes = _takes_list if as_list else accepts
    if contributed is None or not takes(target, contributed):
        return False
    _check_readable(target, _list(contributed) if as_list else contributed)
    return True


def _list(item: Any) -> Any:
    return list[item]


def _check_readable(target: Any, source: Any) -> None:
    # Python takes a list[int] for a Sequence[float]; whether JSON does depends on the codecs.
    if target is source:
        return
    from ..values.codec import is_in_file, readable

    if readable(target, source):
        return
    if is_in_file(source):
        raise ValueError(
            f"all of a value written as {type_text(source)} is kept in a file by the "
            "serializer that its task names, which JSON could hold: leave the serializer "
            "out, or annotate the parameter with Any"
        )
    raise ValueError(
        f"a value written as {type_text(source)} cannot be read as {type_text(target)}: "
        "annotate both sides with the same type"
    )


def _misfit(task: TaskDefinition, parameter: Parameter, up: Upstream) -> str:
    target, returns = type_text(parameter.annotation), type_text(up.returns)
    kind = "array task" if up.array else "task"
    each = " for each element" if up.array else ""
    marker: Any = parameter.marker
    listed = up.array or marker.steps is not None
    hint = (_hint_on_lists if listed else _hint_on_items)(task, parameter, up)
    if not hint and _accepts_but_none(parameter.annotation, up.returns):
        hint = f"{up.name!r} may return None: accept it, or return another value"
    hint = hint or f"change the annotation of {parameter.name!r} or what {up.name!r} returns"
    return f"{task.name!r} takes {target}, but {kind} {up.name!r} returns {returns}{each}; {hint}"


def _hint_on_lists(task: TaskDefinition, parameter: Parameter, up: Upstream) -> str:
    target, marker = parameter.annotation, parameter.marker
    if task.options.array and not getattr(marker, "broadcast", False):
        if _takes_list(target, up.returns):
            return "add broadcast=True to give every element the whole list"
    elif accepts(target, up.returns):
        return (
            f"all values are gathered: write list[{type_text(up.returns)}], "
            f"or make {task.name!r} an array task"
        )
    return ""


def _hint_on_items(task: TaskDefinition, parameter: Parameter, up: Upstream) -> str:
    item = list_item(up.returns)
    if item is None or not accepts(parameter.annotation, item):
        return ""
    if not task.options.array:
        return f"make {task.name!r} an array task to run it for each item"
    return "leave broadcast out to give every element one item"


def _accepts_but_none(target: Any, source: Any) -> bool:
    """Whether a union would be accepted without None."""
    if not is_union(source):
        return False
    members = [member for member in typing.get_args(source) if member is not _NONE]
    return accepts(target, _union(members))


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
