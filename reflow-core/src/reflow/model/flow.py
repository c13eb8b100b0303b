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

from ..errors import DefinitionError
from .options import TaskOptions, check_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
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


def _is_name(name: str) -> bool:
    """Whether a name is of letters, digits and "_", and of "-" and "." where these do not begin it.

    Without a regular expression: each worker would compile it.
    """
    plain = name.replace("-", "_").replace(".", "_")
    return name.isascii() and name[:1] not in ("", "-", ".") and f"_{plain}".isidentifier()


class TaskDefinition:
    """One registered task. Read only.

    `function` is what the user wrote, unchanged, and `options` what its decorator says.
    `options.after` and the markers in the annotations refer to other tasks by name or function,
    in the words of the flow the task was written in; `scope` translates those into names of the
    flow it is in now (what `scope` does not have means itself). `names` are local variables that
    the annotations' texts refer to, for a task that was defined inside a function.
    """

    __slots__ = ("_signature", "function", "name", "names", "options", "scope")

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        options: TaskOptions = TaskOptions(),  # noqa: B008 (immutable)
        *,
        scope: Mapping[object, str] | None = None,
        names: Mapping[str, object] | None = None,
    ) -> None:
        self.name = name
        self.function = function
        self.options = options
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
            if self.options.serializer is not None:
                from ..values.codec import in_files

                self._signature = self._signature._replace(
                    returns=in_files(
                        self._signature.returns, self.options.serializer, whole=True
                    )
                )
        return self._signature

    def renamed(self, name: str, scope: Mapping[object, str]) -> TaskDefinition:
        """Return the same task under another name, with its references translated."""
        copy = TaskDefinition(name, self.function, self.options, scope=scope, names=self.names)
        copy._signature = self._signature
        return copy

    def __setstate__(self, state: tuple[None, dict[str, Any]]) -> None:
        # In pickles of 0.1.0 only what goes to the scheduler is in `options`: other options
        # are attributes of their own.
        attributes = state[1]
        separate = {
            name: attributes.pop(name) for name in TaskOptions._fields if name in attributes
        }
        attributes["options"] = attributes["options"]._replace(**separate)
        for name, value in attributes.items():
            setattr(self, name, value)

    def __repr__(self) -> str:
        return f"TaskDefinition({self.name!r}{', array=True' if self.options.array else ''})"


class Flow:
    """A named group of tasks, to be included in workflows and other flows.

    `tasks` maps names to definitions, in the order of registration.
    """

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not _is_name(name):
            raise DefinitionError(
                f"{name!r} is not a valid {type(self).__name__.lower()} name: "
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

    def job(self, name: Any = None, **options: Any) -> Any:
        """Register the decorated function as a task; the function stays as it is.

        `name` is the function's own by default. `cpus` and `nodes` count from 1, `gpus`
        from 0; `mem` is as in "8G" or an int of bytes (per node), `time` as in
        "01:00:00", "30m", a timedelta or an int of seconds; `queue` and `partition` are
        the same. An `array` task runs once for each item it gets, at most
        `array_parallelism` at a time. `after` are tasks that must have succeeded first,
        without passing a value. With ``cache=False`` the task always runs; a new `version`
        invalidates older results, and so does a change of what counts as its
        `code`: "function", the function's own; "deep", also the functions, classes and
        constants of your own modules that it reaches, and the versions of the distributions;
        "off", nothing. `files` says how paths among the run parameters count, and those that
        the task returns: "auto" takes files by their content and folders by their path,
        "content" folders by everything in them too, "stat" both by sizes and times, without
        reading them, "path" by the path alone, as for parameters that name files which the
        task writes; by default `files` in [run] of the configuration decides.
        `verify` is a function that is called with a cached value and says whether it is still
        valid, the name of a verifier, or a list of these; without it, files that the value
        names must be as the task left them. The `serializer` of that name keeps in files what
        JSON cannot hold of the returned value (all of it, where JSON could). `retry` is how
        often a failed element is tried again, whatever the cause, or a `Retry` that
        distinguishes causes. Other options go to the scheduler as they are: True is a flag,
        None and False leave the option out.

        Raises `DefinitionError` for a bad option, a bad name or one that is taken.
        """
        return self._decorator(name, options, sys._getframe(1))

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
        return self._decorator(name, options, sys._getframe(1))

    def _decorator(self, name: Any, arguments: dict[str, Any], frame: Any) -> Any:
        """Return what registers a function, or the function that was passed for `name`.

        `frame` is where the decorator is written, for annotations that name its variables.
        """
        function = None
        if name is not None and not isinstance(name, str):
            function, name = name, None  # @flow.job, without parentheses
        try:
            options = check_options(arguments)
        except DefinitionError as error:
            raise DefinitionError(f"{repr(name) if name else 'a task'}: {error}") from None

        def register(function: Function) -> Function:
            self._register(function, name, frame, options)
            return function

        return register if function is None else register(function)

    def include(self, flow: Flow, prefix: str | None = None) -> None:
        """Add copies of all tasks that `flow` has by now, called ``{prefix}_{name}``.

        References among the included tasks follow them; a flow may be included several
        times under different prefixes. Raises `DefinitionError` when a name is taken,
        and then adds nothing.
        """
        self._check_include(flow, prefix)
        new_names = {name: f"{prefix}_{name}" if prefix else name for name in flow.tasks}
        clashes = [name for name in new_names.values() if name in self.tasks]
        if clashes:
            raise DefinitionError(
                f"{self.name!r} cannot include {flow.name!r}: it already has a task named "
                f"{clashes[0]!r}; give another prefix"
            )
        references = _references(flow.tasks.values(), new_names)
        scopes: dict[int, dict[object, str]] = {}
        for task in flow.tasks.values():
            # Tasks that were written in one flow share its scope: one translation for all of them.
            if id(task.scope) not in scopes:
                inner = {reference: new_names[name] for reference, name in task.scope.items()}
                scopes[id(task.scope)] = {**references, **inner}
            new_name = new_names[task.name]
            self.tasks[new_name] = task.renamed(new_name, scopes[id(task.scope)])

    def _check_include(self, flow: object, prefix: object) -> None:
        if not isinstance(flow, Flow):
            raise DefinitionError(f"include({flow!r}): a Flow or Workflow can be included")
        if flow is self:
            raise DefinitionError(f"{self.name!r} cannot include itself")
        if prefix is not None and not (isinstance(prefix, str) and prefix.isidentifier()):
            raise DefinitionError(
                f"include({flow.name!r}, prefix={prefix!r}): a prefix is a Python identifier"
            )

    def _register(
        self, function: Any, name: str | None, frame: Any, options: TaskOptions
    ) -> None:
        # Its name and kind are those of what the user wrote, under all decorators.
        code = self._plain_function(function)
        task = name if name is not None else code.__name__
        if not task.isidentifier():
            advice = "" if name else f"; give one with @{self.name}.job(name=...)"
            raise DefinitionError(
                f"{task!r} is not a valid task name: it must be a Python identifier{advice}"
            )
        present = self.tasks.get(task)
        if present is not None and not _redefines(present, code):
            raise DefinitionError(
                f"{self.name!r} already has a task named {task!r}: "
                "give this one another name with job(name=...)"
            )
        self.tasks[task] = TaskDefinition(
            task, function, options, names=_local_names(function, frame)
        )

    def _plain_function(self, function: Any) -> FunctionType:
        """Return the innermost function of what was decorated, which must return its value."""
        code = innermost(function)
        if not isinstance(code, FunctionType):
            kind = (
                f"the class {function.__qualname__!r}" if isinstance(function, type)
                else f"{function!r} (a {type(function).__qualname__})"
            )
            raise DefinitionError(
                f"{self.name!r}: a task is a function, not {kind}; write a function that calls it"
            )
        if code.__code__.co_flags & (_GENERATOR | _COROUTINE | _ASYNC_GENERATOR):
            kind = "a generator" if code.__code__.co_flags & _GENERATOR else "async"
            raise DefinitionError(
                f"task {code.__qualname__!r} is {kind}: a task returns its value"
                + (", so return a list" if kind == "a generator" else "")
            )
        return code


def _references(
    tasks: Iterable[TaskDefinition], new_names: Mapping[str, str]
) -> dict[Any, str]:
    """Return the new names of tasks by what may refer to them: their names and functions.

    A function of several tasks is left out: alone it does not say which of them is meant.
    """
    by_function: dict[object, list[str]] = {}
    for task in tasks:
        by_function.setdefault(innermost(task.function), []).append(new_names[task.name])
    unique = {function: names[0] for function, names in by_function.items() if len(names) == 1}
    return {**new_names, **unique}


def innermost(function: object) -> object:
    """Return the function under decorators that used `functools.wraps`."""
    while True:
        wrapped = getattr(function, "__wrapped__", None)
        if wrapped is None:
            return function
        function = wrapped


def _redefines(task: TaskDefinition, function: FunctionType) -> bool:
    """Whether a person at a prompt or in a notebook has run a definition again."""
    return (
        hasattr(sys, "ps1")
        and function.__module__ == "__main__"
        and getattr(innermost(task.function), "__qualname__", None) == function.__qualname__
    )


def _local_names(function: object, frame: Any) -> dict[str, object]:
    """Return the variables of `frame` that annotations written as text refer to.

    Only those: holding on to the whole frame would keep its every value alive.
    """
    if frame.f_locals is frame.f_globals:
        return {}  # At module level the function's own globals have them.
    annotations = getattr(innermost(function), "__annotations__", None) or {}
    words: set[str] = set()
    for annotation in annotations.values():
        if isinstance(annotation, str):
            words.update(re.findall(_WORD, annotation))
    if not words:
        return {}
    local = frame.f_locals
    return {word: local[word] for word in words if word in local}
