"""What a task's annotations say, read for one function at a time.

Workers read the signature of the task they call, so this imports neither
`inspect` nor anything else that takes long, and has no annotations as texts (see
`reflow.storage.outcome`).
"""

import typing
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import DefinitionError
from ..values.type_text import is_class, type_text
from .annotations import Param, Result, RunDir
from .flow import innermost

PARAM = "param"
RESULT = "result"
RUN_DIR = "run_dir"

_VARIABLE_ARGUMENTS = 0x0C  # inspect.CO_VARARGS | inspect.CO_VARKEYWORDS

Marker: typing.TypeAlias = Param | Result | RunDir


class Parameter(NamedTuple):
    """One argument of a task.

    `annotation` is the type without the marker (Any where nothing is written);
    `kind` is "param", "result" or "run_dir"; `marker` is None for an argument of the
    first kind that carries none.
    """

    name: str
    annotation: Any
    kind: str
    marker: Marker | None
    has_default: bool
    default: Any


class Signature(NamedTuple):
    """All arguments of a task, in order, and the type it returns."""

    parameters: tuple[Parameter, ...]
    returns: Any


class _Holder:
    """Looks to `typing.get_type_hints` like something with one annotation."""

    __slots__ = ("__annotations__",)

    def __init__(self, annotation: object) -> None:
        self.__annotations__ = {"annotation": annotation}


def read_signature(
    function: Any, names: Mapping[str, object] | None = None, *, task: str | None = None
) -> Signature:
    """Read and resolve the annotations of one task function.

    `names` are variables that annotations written as text may use besides the
    function's globals and closure; `task` is the name for messages. Raises
    `DefinitionError` for an annotation that cannot be resolved, and for arguments
    that cannot be passed by name.
    """
    function = innermost(function)
    task = task or function.__name__
    arguments = _arguments(function, task)
    defaults = _defaults(function, arguments)
    try:
        written = function.__annotations__
    except Exception as error:  # From Python 3.14 on they are evaluated only here.
        raise DefinitionError(
            f"task {task!r}: its annotations cannot be resolved: {error}"
        ) from error
    scope = _scope(function, names)
    parameters = []
    for name in arguments:
        where = f"task {task!r}, parameter {name!r}"
        annotation = _resolve(written.get(name, Any), function.__globals__, scope, where)
        parameters.append(_parameter(where, name, annotation, defaults))
    where = f"task {task!r}, return annotation"
    returns, markers = _split(
        _resolve(written.get("return", Any), function.__globals__, scope, where)
    )
    if markers:
        raise DefinitionError(f"{where}: {markers[0]!r} belongs to an argument")
    return Signature(tuple(parameters), returns)


def _arguments(function: Any, task: str) -> tuple[str, ...]:
    """Return the names of the arguments, all of which can be passed by name."""
    code = function.__code__
    if code.co_flags & _VARIABLE_ARGUMENTS:
        raise DefinitionError(
            f"task {task!r} takes *args or **kwargs: every argument of a task needs a name, "
            "so that its value has a known origin"
        )
    if code.co_posonlyargcount:
        raise DefinitionError(
            f"task {task!r}, parameter {code.co_varnames[0]!r}: positional-only arguments "
            "cannot be passed by name; take the '/' out"
        )
    names: tuple[str, ...] = code.co_varnames
    return names[: code.co_argcount + code.co_kwonlyargcount]


def _defaults(function: Any, arguments: tuple[str, ...]) -> dict[str, Any]:
    values = function.__defaults__ or ()
    count = function.__code__.co_argcount
    # Those of the last positional arguments.
    defaults = dict(zip(arguments[count - len(values) : count], values, strict=True))
    return {**defaults, **(function.__kwdefaults__ or {})}


def _scope(function: Any, names: Mapping[str, object] | None) -> dict[str, object]:
    """Return the variables besides the globals that annotations written as text may use."""
    scope = dict(names or {})
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            scope[name] = cell.cell_contents
        except ValueError:  # A variable that has no value yet.
            continue
    return scope


def _resolve(
    annotation: Any, module: dict[str, Any], local: dict[str, object], where: str
) -> Any:
    if is_class(annotation) or annotation is Any:
        return annotation  # Most are: get_type_hints would take its time.
    if annotation is None:
        return type(None)
    try:
        return typing.get_type_hints(
            _Holder(annotation), globalns=module, localns=local or module, include_extras=True
        )["annotation"]
    except DefinitionError as error:
        raise DefinitionError(f"{where}: {error}") from None
    except Exception as error:
        text = annotation if isinstance(annotation, str) else type_text(annotation)
        hint = ""
        if isinstance(error, NameError):
            hint = (
                "; import it outside 'if TYPE_CHECKING:', or define it at the top of the module "
                "or before the task"
            )
        raise DefinitionError(
            f"{where}: the annotation {text!r} cannot be resolved: {error}{hint}"
        ) from error


def _split(annotation: Any) -> tuple[Any, list[Any]]:
    """Take the markers out of ``Annotated[type, marker]``."""
    if typing.get_origin(annotation) is not typing.Annotated:
        return annotation, []
    inner, *metadata = typing.get_args(annotation)
    # A marker's class means a marker without arguments.
    instances = [extra() if extra in (Param, Result, RunDir) else extra for extra in metadata]
    return inner, [extra for extra in instances if isinstance(extra, (Param, Result, RunDir))]


def _parameter(where: str, name: str, annotation: Any, defaults: dict[str, Any]) -> Parameter:
    inner, marker = _type_and_marker(annotation, where)
    default = defaults.get(name)
    if isinstance(default, (Param, Result)):
        raise DefinitionError(
            f"{where}: {default!r} is the default: write "
            f"{name}: Annotated[{type_text(inner)}, {type(default).__name__}(...)]"
        )
    kind = RESULT if isinstance(marker, Result) else PARAM
    if inner is RunDir or isinstance(default, RunDir) or isinstance(marker, RunDir):
        if isinstance(marker, (Param, Result)):
            raise DefinitionError(f"{where} is the run's directory and cannot be {marker!r} too")
        if not _holds_path(inner):
            raise DefinitionError(
                f"{where}: the run's directory is given as a pathlib.Path, "
                f"not as {type_text(inner)}: write Annotated[Path, RunDir()]"
            )
        kind, marker = RUN_DIR, marker or RunDir()
    return Parameter(name, inner, kind, marker, name in defaults, default)


def _type_and_marker(annotation: Any, where: str) -> tuple[Any, Marker | None]:
    """Return the type and the one marker, if any, of an argument."""
    if is_class(annotation):
        return annotation, None
    try:
        inner, markers = _split(annotation)
    except DefinitionError as error:
        raise DefinitionError(f"{where}: {error}") from None
    if len(markers) > 1:
        raise DefinitionError(
            f"{where} has more than one marker: {', '.join(map(repr, markers))}; keep one"
        )
    if isinstance(inner, (Param, Result, RunDir)):
        raise DefinitionError(f"{where}: write Annotated[type, {inner!r}] instead of {inner!r}")
    hidden = None if is_class(inner) else _hidden_marker(inner)
    if hidden is not None:
        raise DefinitionError(
            f"{where}: {hidden!r} is inside {type_text(inner)}: "
            "put Annotated[..., marker] outermost"
        )
    return inner, markers[0] if markers else None


def _hidden_marker(annotation: Any) -> Any:
    """Return a marker from somewhere inside a type, where it would have no effect."""
    for argument in typing.get_args(annotation):
        if typing.get_origin(argument) is typing.Annotated:
            inner, markers = _split(argument)
            if markers:
                return markers[0]
            argument = inner
        if argument is RunDir:
            return RunDir()
        marker = _hidden_marker(argument)
        if marker is not None:
            return marker
    return None


def _holds_path(annotation: Any) -> bool:
    if annotation in (RunDir, Any, object):
        return True
    # By name, because importing pathlib takes longer than all of this module.
    return is_class(annotation) and annotation.__name__ in ("Path", "PurePath", "PathLike")
