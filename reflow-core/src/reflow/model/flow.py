"""Groups of tasks: what a script builds when it is loaded.

Loading a script must cost next to nothing, so nothing here looks into a task's
annotations: that is done when the workflow is checked, or in the one worker that
calls the task.
"""

from __future__ import annotations

import re
import sys
import time as clock
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ..errors import DefinitionError, nearest
from .options import TaskOptions
from .units import parse_memory, parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta
    from typing import TypeAlias

    from .annotations import Reference
    from .retry import Retry
    from .signature import Signature

    References: TypeAlias = Reference | Sequence[Reference]
    Verify: TypeAlias = Callable[[Any], Any] | str

Function = TypeVar("Function", bound=Callable[..., Any])

LOADED = clock.time()
"""When this process began to load tasks: files changed since may not be what runs."""

# Compiled when first used (by re, which keeps them): most workers never do.
_WORD = r"[^\W\d]\w*"
_GENERATOR, _COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x200
_CODE = ("function", "deep", "off")
FILE_POLICIES = ("auto", "content", "stat", "path")
"""How files that parameters and results name may count."""
# What users of other systems write; anything else unknown is a scheduler's own option.
_MISNAMED = {
    "cpu": "cpus",
    "ncpus": "cpus",
    "cores": "cpus",
    "cpus_per_task": "cpus",
    "memory": "mem",
    "walltime": "time",
    "timelimit": "time",
    "time_limit": "time",
    "gpu": "gpus",
    "ngpus": "gpus",
    "node": "nodes",
    "parallelism": "array_parallelism",
    "depends": "after",
    "depends_on": "after",
    "retries": "retry",
    "max_retries": "retry",
}
_OPTIONS = (
    "name", "cpus", "time", "mem", "gpus", "nodes", "queue", "partition", "account", "array",
    "array_parallelism", "after", "cache", "version", "verify", "code", "files", "serializer",
    "retry",
)  # fmt: skip


def _is_name(name: str) -> bool:
    """Whether a name is of letters, digits and "_", and of "-" and "." where these do not begin it.

    Without a regular expression: each worker would compile it.
    """
    plain = name.replace("-", "_").replace(".", "_")
    return name.isascii() and name[:1] not in ("", "-", ".") and f"_{plain}".isidentifier()


class TaskDefinition:
    """One registered task. Read only.

    `function` is what the user wrote, unchanged. `after` and the markers in the
    annotations refer to other tasks by name or function, in the words of the flow the
    task was written in; `scope` translates those into names of the flow it is in now
    (what `scope` does not have means itself). `names` are local variables that the
    annotations' texts refer to, for a task that was defined inside a function.
    """

    __slots__ = (
        "_signature",
        "after",
        "array",
        "array_parallelism",
        "cache",
        "code",
        "files",
        "function",
        "name",
        "names",
        "options",
        "retry",
        "scope",
        "serializer",
        "verify",
        "version",
    )

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        *,
        array: bool = False,
        options: TaskOptions = TaskOptions(),  # noqa: B008 (immutable)
        after: tuple[Reference, ...] = (),
        cache: bool = True,
        version: str = "1",
        verify: tuple[Verify, ...] = (),
        code: str = "function",
        files: str | None = None,
        serializer: str | None = None,
        array_parallelism: int | None = None,
        retry: Retry | None = None,
        scope: Mapping[object, str] | None = None,
        names: Mapping[str, object] | None = None,
    ) -> None:
        self.name = name
        self.function = function
        self.array = array
        self.options = options
        self.after = after
        self.cache = cache
        self.version = version
        self.verify = verify
        self.code = code
        self.files = files
        self.serializer = serializer
        self.array_parallelism = array_parallelism
        self.retry = retry
        self.scope: Mapping[object, str] = scope or {}
        self.names: Mapping[str, object] = names or {}
        self._signature: Signature | None = None

    def signature(self) -> Signature:
        """Return what the annotations say, read at the first call.

        Raises `DefinitionError` for annotations that are not well formed.
        """
        if self._signature is None:
            from .signature import read_signature

            self._signature = read_signature(self.function, self.names, task=self.name)
            if self.serializer is not None:
                from ..values.codec import in_files

                self._signature = self._signature._replace(
                    returns=in_files(self._signature.returns, self.serializer, whole=True)
                )
        return self._signature

    def renamed(self, name: str, scope: Mapping[object, str]) -> TaskDefinition:
        """Return the same task under another name, with its references translated."""
        copy = TaskDefinition(
            name,
            self.function,
            array=self.array,
            options=self.options,
            after=self.after,
            cache=self.cache,
            version=self.version,
            verify=self.verify,
            code=self.code,
            files=self.files,
            serializer=self.serializer,
            array_parallelism=self.array_parallelism,
            retry=self.retry,
            scope=scope,
            names=self.names,
        )
        copy._signature = self._signature
        return copy

    def __repr__(self) -> str:
        return f"TaskDefinition({self.name!r}{', array=True' if self.array else ''})"


class Flow:
    """A named group of tasks, to be included in workflows and other flows.

    `tasks` maps names to definitions, in the order of registration.
    """

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not _is_name(name):
            raise DefinitionError(
                f"{name!r} is no name for a {type(self).__name__.lower()}: "
                "use letters, digits, '_', '-' and '.'"
            )
        self.name = name
        self.tasks: dict[str, TaskDefinition] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, tasks={list(self.tasks)})"

    @overload
    def job(self, name: Function, /) -> Function: ...

    @overload
    def job(
        self,
        name: str | None = None,
        *,
        cpus: int = 1,
        time: str | int | timedelta | None = None,
        mem: str | int | None = None,
        gpus: int = 0,
        nodes: int = 1,
        queue: str | None = None,
        partition: str | None = None,
        account: str | None = None,
        array: bool = False,
        array_parallelism: int | None = None,
        after: References = (),
        cache: bool = True,
        version: str = "1",
        verify: Verify | Sequence[Verify] | None = None,
        code: str = "function",
        files: str | None = None,
        serializer: str | None = None,
        retry: int | Retry | None = None,
        **native: str | int | float | bool | None,
    ) -> Callable[[Function], Function]: ...

    def job(
        self,
        name: Any = None,
        *,
        cpus: int = 1,
        time: str | int | timedelta | None = None,
        mem: str | int | None = None,
        gpus: int = 0,
        nodes: int = 1,
        queue: str | None = None,
        partition: str | None = None,
        account: str | None = None,
        array: bool = False,
        array_parallelism: int | None = None,
        after: References = (),
        cache: bool = True,
        version: str = "1",
        verify: Verify | Sequence[Verify] | None = None,
        code: str = "function",
        files: str | None = None,
        serializer: str | None = None,
        retry: int | Retry | None = None,
        **native: str | int | float | bool | None,
    ) -> Any:
        """Register the decorated function as a task; the function stays as it is.

        `name` is the function's own by default. `cpus` and `nodes` count from 1, `gpus`
        from 0; `mem` is as in "8G" or an int of bytes (per node), `time` as in
        "01:00:00", "30m", a timedelta or an int of seconds; `queue` and `partition` are
        the same. An `array` task runs once for each item it is given, at most
        `array_parallelism` at a time. `after` are tasks that must have ended well
        before, without giving a value. With ``cache=False`` the task always runs;
        another `version` makes older results void, and so does a change of what counts as its
        `code`: "function", the function's own; "deep", also the functions, classes and
        constants of your own modules that it reaches, and the versions of the distributions;
        "off", nothing. `files` says how paths among the run parameters count, and those that
        the task returns: "auto" takes files by their content and folders by their path,
        "content" folders by all that is in them too, "stat" both by sizes and times, unread,
        "path" by the path alone, as for parameters that name files which the task writes;
        not given, it is `files` in [run] of the configuration.
        `verify` is a function that is called with a cached value and says whether it still
        stands, the name of a verifier, or a list of these; without it, files that the value
        names must be as the task left them. The `serializer` of
        that name keeps what JSON cannot hold of the value that the task returns (all of it,
        where JSON could) in files. `retry` is how often an element that failed is tried again,
        whatever it failed of, or a `Retry` that tells causes apart. Other options go to
        the scheduler as they are: True is a flag, None and False leave the option out.

        Raises `DefinitionError` for a bad option, a bad name or one that is taken.
        """
        # The frame where the decorator stands, for annotations that name its variables.
        frame = sys._getframe(1)
        if name is not None and not isinstance(name, str):
            return self._register(name, None, frame, {})
        settings = _settings(
            name,
            cpus=cpus,
            time=time,
            mem=mem,
            gpus=gpus,
            nodes=nodes,
            queue=queue,
            partition=partition,
            account=account,
            array=array,
            array_parallelism=array_parallelism,
            after=after,
            cache=cache,
            version=version,
            verify=verify,
            code=code,
            files=files,
            serializer=serializer,
            retry=retry,
            **native,
        )

        def register(function: Function) -> Function:
            self._register(function, name, frame, settings)
            return function

        return register

    @overload
    def array_job(self, name: Function, /) -> Function: ...

    @overload
    def array_job(
        self, name: str | None = None, **options: Any
    ) -> Callable[[Function], Function]: ...

    def array_job(self, name: Any = None, **options: Any) -> Any:
        """Register an array task: `job` with ``array=True``."""
        if options.setdefault("array", True) is not True:
            raise DefinitionError("array_job is job(array=True): leave array out, or use job")
        frame = sys._getframe(1)
        if name is not None and not isinstance(name, str):
            return self._register(name, None, frame, {"array": True})
        settings = _settings(name, **options)

        def register(function: Function) -> Function:
            self._register(function, name, frame, settings)
            return function

        return register

    def include(self, flow: Flow, prefix: str | None = None) -> None:
        """Add copies of all tasks that `flow` has by now, called ``{prefix}_{name}``.

        References among the included tasks follow them; a flow may be included several
        times under different prefixes. Raises `DefinitionError` when a name is taken,
        and then adds nothing.
        """
        if not isinstance(flow, Flow):
            raise DefinitionError(f"include({flow!r}): a Flow or Workflow can be included")
        if flow is self:
            raise DefinitionError(f"{self.name!r} cannot include itself")
        if prefix is not None and not (isinstance(prefix, str) and prefix.isidentifier()):
            raise DefinitionError(
                f"include({flow.name!r}, prefix={prefix!r}): a prefix is a Python identifier"
            )
        new = {name: f"{prefix}_{name}" if prefix else name for name in flow.tasks}
        clashes = [full for full in new.values() if full in self.tasks]
        if clashes:
            raise DefinitionError(
                f"{self.name!r} cannot include {flow.name!r}: it already has a task named "
                f"{clashes[0]!r}; give another prefix"
            )
        own: dict[Any, str] = dict(new)
        seen: dict[object, int] = {}
        for task in flow.tasks.values():
            function = innermost(task.function)
            seen[function] = seen.get(function, 0) + 1
            own[function] = new[task.name]
        for function, times in seen.items():
            if times > 1:  # The function alone does not say which of its tasks is meant.
                del own[function]
        scopes: dict[int, dict[object, str]] = {}
        for task in flow.tasks.values():
            scope = scopes.get(id(task.scope))
            if scope is None:
                inner = {key: new[name] for key, name in task.scope.items()}
                scope = scopes[id(task.scope)] = {**own, **inner}
            self.tasks[new[task.name]] = task.renamed(new[task.name], scope)

    def _register(
        self, function: Any, name: str | None, frame: Any, settings: Mapping[str, Any]
    ) -> Any:
        code = innermost(function)
        if not isinstance(code, FunctionType):
            raise DefinitionError(
                f"{self.name!r}: a task is a function, not {_described(function)}; "
                "write a function that calls it"
            )
        if code.__code__.co_flags & (_GENERATOR | _COROUTINE | _ASYNC_GENERATOR):
            kind = "a generator" if code.__code__.co_flags & _GENERATOR else "async"
            raise DefinitionError(
                f"task {code.__qualname__!r} is {kind}: a task returns its value"
                + (", so return a list" if kind == "a generator" else "")
            )
        task = name if name is not None else code.__name__
        if not task.isidentifier():
            raise DefinitionError(
                f"{task!r} is no name for a task: it must be a Python identifier; "
                f"give one with @{self.name}.job(name=...)"
                if name is None
                else f"{task!r} is no name for a task: it must be a Python identifier"
            )
        taken = self.tasks.get(task)
        if taken is not None and not _redefines(taken, code):
            raise DefinitionError(
                f"{self.name!r} already has a task named {task!r}: "
                "give this one another name with job(name=...)"
            )
        self.tasks[task] = TaskDefinition(
            task, function, names=_local_names(function, frame), **settings
        )
        return function


def _settings(
    name: str | None,
    *,
    cpus: object = 1,
    time: object = None,
    mem: object = None,
    gpus: object = 0,
    nodes: object = 1,
    queue: object = None,
    partition: object = None,
    account: object = None,
    array: object = False,
    array_parallelism: object = None,
    after: object = (),
    cache: object = True,
    version: object = "1",
    verify: object = None,
    code: object = "function",
    files: object = None,
    serializer: object = None,
    retry: object = None,
    **native: object,
) -> dict[str, Any]:
    """Check the options of a task: they come from outside, whatever their annotations say."""
    task = repr(name) if name else "a task"
    settings: dict[str, Any] = {
        "array": _flag(task, "array", array),
        "options": TaskOptions(
            cpus=_count(task, "cpus", cpus, 1),
            time=None if time is None else _about(task, parse_time, time),
            mem=None if mem is None else _about(task, parse_memory, mem),
            gpus=_count(task, "gpus", gpus, 0),
            nodes=_count(task, "nodes", nodes, 1),
            queue=_queue(task, queue, partition),
            account=_text(task, "account", account),
            native=_native(task, native),
        ),
        "after": _after(task, after),
        "cache": _flag(task, "cache", cache),
        "version": _version(task, version),
        "verify": _verify(task, verify),
        "code": code,
        "files": files,
        "serializer": _text(task, "serializer", serializer),
    }
    if retry is not None:
        from .retry import retry_of

        try:
            settings["retry"] = retry_of(retry)
        except DefinitionError as error:
            raise DefinitionError(f"{task}: {error}") from None
    if code not in _CODE:
        raise DefinitionError(f"{task}: code={code!r}: code is 'function', 'deep' or 'off'")
    if files is not None and files not in FILE_POLICIES:
        named = ", ".join(map(repr, FILE_POLICIES[:-1]))
        raise DefinitionError(f"{task}: files={files!r}: files is {named} or 'path'")
    if array_parallelism is not None:
        _count(task, "array_parallelism", array_parallelism, 1)
        if not array:
            raise DefinitionError(
                f"{task}: array_parallelism={array_parallelism} needs array=True"
            )
        settings["array_parallelism"] = array_parallelism
    return settings


def innermost(function: object) -> object:
    """Return the function under decorators that used `functools.wraps`."""
    while True:
        wrapped = getattr(function, "__wrapped__", None)
        if wrapped is None:
            return function
        function = wrapped


def _redefines(taken: TaskDefinition, function: FunctionType) -> bool:
    """Whether a person at a prompt or in a notebook has run a definition again."""
    return (
        hasattr(sys, "ps1")
        and function.__module__ == "__main__"
        and getattr(innermost(taken.function), "__qualname__", None) == function.__qualname__
    )


def _local_names(function: object, frame: Any) -> dict[str, object]:
    """Return the variables of `frame` that annotations written as text refer to.

    Only those: holding on to the whole frame would keep its every value alive.
    """
    if frame.f_locals is frame.f_globals:
        return {}
    annotations = getattr(innermost(function), "__annotations__", None) or {}
    words: set[str] = set()
    for annotation in annotations.values():
        if isinstance(annotation, str):
            words.update(re.findall(_WORD, annotation))
    if not words:
        return {}
    local = frame.f_locals
    return {word: local[word] for word in words if word in local}


def _described(given: object) -> str:
    if isinstance(given, type):
        return f"the class {given.__qualname__!r}"
    return f"{given!r} (a {type(given).__qualname__})"


def _about(task: str, parse: Callable[[Any], int], given: object) -> int:
    try:
        return parse(given)
    except DefinitionError as error:
        raise DefinitionError(f"{task}: {error}") from None


def _count(task: str, option: str, given: object, least: int) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or given < least:
        raise DefinitionError(f"{task}: {option}={given!r}: give a whole number from {least} up")
    return given


def _flag(task: str, option: str, given: object) -> bool:
    if not isinstance(given, bool):
        raise DefinitionError(f"{task}: {option}={given!r}: give True or False")
    return given


def _text(task: str, option: str, given: object) -> str | None:
    if given is not None and not (isinstance(given, str) and given):
        raise DefinitionError(f"{task}: {option}={given!r}: give a name")
    return given


def _version(task: str, given: object) -> str:
    if not isinstance(given, str) or not given:
        raise DefinitionError(f"{task}: version={given!r}: a version is a text, such as '2'")
    return given


def _queue(task: str, queue: object, partition: object) -> str | None:
    if queue is not None and partition is not None and queue != partition:
        raise DefinitionError(
            f"{task}: queue={queue!r} and partition={partition!r} are one option: give one of them"
        )
    return _text(task, "queue", queue) or _text(task, "partition", partition)


def _verify(task: str, given: object) -> tuple[Any, ...]:
    verifiers: tuple[object, ...] = () if given is None else (given,)
    if isinstance(given, (list, tuple)):
        verifiers = tuple(given)
    for one in verifiers:
        if not callable(one) and not (isinstance(one, str) and one):
            raise DefinitionError(
                f"{task}: verify={given!r}: give a function that takes the cached value and "
                "returns whether it still stands, the name of a verifier, or a list of these"
            )
    return verifiers


def _after(task: str, given: object) -> tuple[Any, ...]:
    single = isinstance(given, str) or callable(given)
    if not single and not isinstance(given, (list, tuple)):
        raise DefinitionError(f"{task}: after={given!r}: give a task or a list of tasks")
    references: tuple[object, ...] = (given,) if single else tuple(given)  # type: ignore[arg-type]
    for one in references:
        if not (isinstance(one, str) and one) and not callable(one):
            raise DefinitionError(
                f"{task}: after={given!r}: a task is given by its name or by its function"
            )
    return references


def _native(task: str, given: Mapping[str, object]) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in given.items():
        meant = _MISNAMED.get(name)
        if meant is None:
            close = nearest(name, _OPTIONS)
            # One slip of the finger; a scheduler's own options are further away.
            if close is not None and sorted(close.rstrip("s")) == sorted(name.rstrip("s")):
                meant = close
        if meant is not None:
            raise DefinitionError(f"{task}: no option named {name!r}: did you mean {meant!r}?")
        if value is None or value is False:
            continue
        if not isinstance(value, (str, int, float)):
            raise DefinitionError(
                f"{task}: {name}={value!r}: an option for the scheduler is a text, a number "
                "or True"
            )
        options[name] = "" if value is True else str(value)
    return options
