"""What a task says about where its arguments come from.

Markers are written inside ``Annotated[type, marker]``. They are plain classes, so
that a script can import them at no cost.
"""

from __future__ import annotations

from ..errors import DefinitionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import Any, TypeAlias

    Reference: TypeAlias = str | Callable[..., Any]


class _Marker:
    """A value: markers with the same arguments are equal."""

    __slots__: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._arguments() == other._arguments()

    def __hash__(self) -> int:
        return hash(self._arguments())

    def _arguments(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)


class Param(_Marker):
    """Marks an argument as a parameter of the run.

    `help` is shown by the command line; `short` is a one-letter option. With
    ``namespace="global"`` all tasks that take an argument of this name share one
    parameter; with ``"local"`` the parameter is this task's own and is called
    ``{task}_{argument}``. Raises `DefinitionError` for arguments of other kinds.
    """

    __slots__ = ("help", "namespace", "short")

    def __init__(
        self, help: str = "", *, short: str | None = None, namespace: str = "global"
    ) -> None:
        if not isinstance(help, str):
            raise DefinitionError(f"Param(help={help!r}): help is a text")
        if short is not None and not (isinstance(short, str) and _is_letter(short.lstrip("-"))):
            raise DefinitionError(f"Param(short={short!r}): a short option is one letter")
        if namespace not in ("global", "local"):
            raise DefinitionError(
                f"Param(namespace={namespace!r}): a namespace is 'global' or 'local'"
            )
        self.help = help
        self.short = short.lstrip("-") if short is not None else None
        self.namespace = namespace

    def __repr__(self) -> str:
        defaults = {"help": "", "short": None, "namespace": "global"}
        arguments = [
            f"{name}={value!r}"
            for name, default in defaults.items()
            if (value := getattr(self, name)) != default
        ]
        return f"Param({', '.join(arguments)})"


def _is_letter(text: str) -> bool:
    return len(text) == 1 and text.isascii() and text.isalpha()


class Result(_Marker):
    """Marks an argument as the result of another task, or of several.

    `step` names one task, by its name or by its function; `steps` a list of them,
    whose results are concatenated in that order. `broadcast` gives every element of
    an array task the whole value where it would otherwise be fanned out.
    Raises `DefinitionError` unless exactly one of `step` and `steps` is given.
    """

    __slots__ = ("broadcast", "step", "steps")

    def __init__(
        self,
        step: Reference | None = None,
        *,
        steps: Sequence[Reference] | None = None,
        broadcast: bool = False,
    ) -> None:
        if (step is None) == (steps is None):
            raise DefinitionError(
                "Result takes either step=, one task, or steps=, a list of tasks"
                + (": both were given" if step is not None else ": neither was given")
            )
        if not isinstance(broadcast, bool):
            raise DefinitionError(f"Result(broadcast={broadcast!r}): broadcast is True or False")
        if isinstance(step, (list, tuple)):
            raise DefinitionError(f"Result(step={step!r}): a list of tasks is given as steps=")
        self.step = step
        self.steps = None if steps is None else _task_list(steps)
        self.broadcast = broadcast
        for reference in self.references:
            _check_reference("step" if steps is None else "steps", reference)

    @property
    def references(self) -> tuple[Reference, ...]:
        """The tasks meant, by name or function, in order."""
        if self.steps is not None:
            return self.steps
        assert self.step is not None
        return (self.step,)

    def __repr__(self) -> str:
        if self.steps is not None:
            text = f"steps=[{', '.join(_name(task) for task in self.steps)}]"
        else:
            text = f"step={_name(self.step)}"
        return f"Result({text}{', broadcast=True' if self.broadcast else ''})"


def _task_list(steps: object) -> tuple[Any, ...]:
    if not isinstance(steps, (list, tuple)):
        raise DefinitionError(
            f"Result(steps={steps!r}): steps is a list of tasks; one task is given as step="
        )
    if not steps:
        raise DefinitionError("Result(steps=[]): at least one task is needed")
    return tuple(steps)


def _check_reference(argument: str, reference: object) -> None:
    if not (reference if isinstance(reference, str) else callable(reference)):
        raise DefinitionError(
            f"Result({argument}={reference!r}): a task is given by its name or by its function"
        )


def _name(reference: object) -> str:
    if isinstance(reference, str):
        return repr(reference)
    return str(getattr(reference, "__qualname__", None) or repr(reference))


if TYPE_CHECKING:

    class RunDir(Path):
        """Marks an argument as the run's directory, given as an absolute `pathlib.Path`."""

else:

    class RunDir(_Marker):
        """Marks an argument as the run's directory, given as an absolute `pathlib.Path`.

        Write ``run_dir: RunDir``, ``run_dir: RunDir = RunDir()`` or
        ``run_dir: Annotated[Path, RunDir()]``.
        """

        __slots__ = ()

        def __repr__(self) -> str:
            return "RunDir()"
