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
        self.__annotations__ = {"it": annotation}


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
    code = function.__code__
    if code.co_flags & 0x0C:
        raise DefinitionError(
            f"task {task!r} takes *args or **kwargs: every argument of a task needs a name, "
            "so that its value has a known origin"
        )
    if code.co_posonlyargcount:
        raise DefinitionError(
            f"task {task!r}, parameter {code.co_varnames[0]!r}: positional-only arguments "
            "cannot be passed by name; take the '/' out"
        )
    count = code.co_argcount
    arguments = code.co_varnames[: count + code.co_kwonlyargcount]
    defaults: dict[str, Any] = {}
    if function.__defaults__:
        given = function.__defaults__
        defaults.update(zip(arguments[count - len(given) : count], given, strict=True))
    if function.__kwdefaults__:
        defaults.update(function.__kwdefaults__)
    try:
        written = function.__annotations__
    except Exception as error:  # From Python 3.14 on they are evaluated only here.
        raise DefinitionError(
            f"task {task!r}: its annotations cannot be resolved: {error}"
        ) from error
    scope: dict[str, object] | None = None
    parameters = []
    for name in arguments:
        annotation: Any = Any
        if name in written:
            annotation = written[name]
            if not is_class(annotation):
                if scope is None:
                    scope = _scope(function, names)
                annotation = _resolve(
                    annotation, function.__globals__, scope, f"task {task!r}, parameter {name!r}"
                )
        parameters.append(_parameter(task, name, annotation, defaults))
    returns: Any = written.get("return", Any)
    if not is_class(returns):
        returns = _resolve(
            returns,
            function.__globals__,
            _scope(function, names) if scope is None else scope,
            f"task {task!r}, return annotation",
        )
        returns, markers = _split(returns)
        if markers:
            raise DefinitionError(
                f"task {task!r}, return annotation: {markers[0]!r} belongs to an argument"
            )
    return Signature(tuple(parameters), returns)


def _scope(function: Any, names: Mapping[str, object] | None) -> dict[str, object]:
    found = dict(names) if names else {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # A variable that has no value yet.
            continue
    return found


def _resolve(
    annotation: Any, module: dict[str, Any], local: dict[str, object], where: str
) -> Any:
    if annotation is None:
        return type(None)
    try:
        return typing.get_type_hints(
            _Holder(annotation), globalns=module, localns=local or module, include_extras=True
        )["it"]
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
    return inner, [_instance(one) for one in metadata if _is_marker(one)]


def _is_marker(given: object) -> bool:
    return isinstance(given, (Param, Result, RunDir)) or (
        given is Param or given is Result or given is RunDir
    )


def _instance(marker: Any) -> Any:
    return marker() if isinstance(marker, type) else marker


def _parameter(task: str, name: str, annotation: Any, defaults: dict[str, Any]) -> Parameter:
    where = f"task {task!r}, parameter {name!r}"
    try:
        inner, markers = (annotation, []) if is_class(annotation) else _split(annotation)
    except DefinitionError as error:
        raise DefinitionError(f"{where}: {error}") from None
    if len(markers) > 1:
        raise DefinitionError(
            f"{where} has more than one marker: {', '.join(map(repr, markers))}; keep one"
        )
    if isinstance(inner, (Param, Result, RunDir)):
        raise DefinitionError(f"{where}: write Annotated[type, {inner!r}] instead of {inner!r}")
    if not is_class(inner) and (hidden := _hidden_marker(inner)) is not None:
        raise DefinitionError(
            f"{where}: {hidden!r} is inside {type_text(inner)}: "
            "put Annotated[..., marker] outermost"
        )
    marker: Any = markers[0] if markers else None
    has_default = name in defaults
    default = defaults.get(name)
    if isinstance(default, (Param, Result)):
        raise DefinitionError(
            f"{where}: {default!r} stands as the default: write "
            f"{name}: Annotated[{type_text(inner)}, {type(default).__name__}(...)]"
        )
    if inner is RunDir or isinstance(default, RunDir) or isinstance(marker, RunDir):
        if isinstance(marker, (Param, Result)):
            raise DefinitionError(f"{where} is the run's directory and cannot be {marker!r} too")
        if not _holds_path(inner):
            raise DefinitionError(
                f"{where}: the run's directory is given as a pathlib.Path, "
                f"not as {type_text(inner)}: write Annotated[Path, RunDir()]"
            )
        marker = marker or RunDir()
        return Parameter(name, inner, RUN_DIR, marker, has_default, default)
    kind = RESULT if isinstance(marker, Result) else PARAM
    return Parameter(name, inner, kind, marker, has_default, default)


def _hidden_marker(annotation: Any) -> Any:
    for argument in typing.get_args(annotation):
        if typing.get_origin(argument) is typing.Annotated:
            inner, markers = _split(argument)
            if markers:
                return markers[0]
            argument = inner
        if argument is RunDir:
            return RunDir()
        found = _hidden_marker(argument) if typing.get_args(argument) else None
        if found is not None:
            return found
    return None


def _holds_path(annotation: Any) -> bool:
    if annotation in (RunDir, Any, object):
        return True
    # By name, because importing pathlib takes longer than all of this module.
    return is_class(annotation) and annotation.__name__ in ("Path", "PurePath", "PathLike")
