# Unions in both spellings are what is tested here.
# ruff: noqa: UP045
from __future__ import annotations

import functools
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import pytest

from reflow.errors import DefinitionError
from reflow.model.annotations import Param, Result, RunDir
from reflow.model.signature import read_signature, type_text

if typing.TYPE_CHECKING:
    from decimal import Decimal


class Point:
    pass


def test_kinds_types_and_defaults() -> None:
    def task(
        a,  # type: ignore[no-untyped-def]
        b: int,
        c: Annotated[list[Point], Result(step="x")],
        run_dir: RunDir,
        d: Annotated[str | None, Param(help="d")] = None,
        *,
        e: Annotated[Path, RunDir()],
        f: RunDir = RunDir(),  # noqa: B008
        g: Annotated[Path, RunDir],
        h: Annotated[int, Param] = 3,
    ) -> dict[str, Point]: ...

    signature = read_signature(task)
    by_name = {parameter.name: parameter for parameter in signature.parameters}
    assert list(by_name) == ["a", "b", "c", "run_dir", "d", "e", "f", "g", "h"]
    assert [parameter.kind for parameter in signature.parameters] == (
        ["param", "param", "result", "run_dir", "param"] + ["run_dir"] * 3 + ["param"]
    )
    assert by_name["a"].annotation is Any
    assert by_name["b"].marker is None
    assert by_name["c"].annotation == list[Point]
    assert by_name["c"].marker == Result(step="x")
    assert by_name["d"].annotation == Optional[str]
    assert (by_name["d"].has_default, by_name["d"].default) == (True, None)
    assert by_name["h"].marker == Param()
    assert not by_name["b"].has_default
    assert signature.returns == dict[str, Point]


def test_without_annotations() -> None:
    signature = read_signature(lambda: 1)
    assert signature.parameters == ()
    assert signature.returns is Any

    def nothing() -> None: ...

    assert read_signature(nothing).returns is type(None)


def test_an_unmarked_default_of_none_does_not_widen_the_type() -> None:
    def task(x: int = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013

    assert read_signature(task).parameters[0].annotation is int


def test_names_of_the_closure_and_of_the_surroundings() -> None:
    class Local:
        pass

    def closing(x: Local) -> None:
        Local()

    def plain(x: Local) -> None: ...

    assert read_signature(closing).parameters[0].annotation is Local
    assert read_signature(plain, {"Local": Local}).parameters[0].annotation is Local


def test_under_decorators() -> None:
    def log(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    @log
    def task(x: int) -> str: ...  # type: ignore[empty-body]

    assert read_signature(task).parameters[0].annotation is int


def positional(x: int, /) -> None: ...
def starred(*args: int) -> None: ...
def keywords(**kwargs: int) -> None: ...
def unresolved(x: Decimal) -> None: ...
def unresolved_return() -> list[Decimal]: ...  # type: ignore[empty-body]
def nonsense(x: "list[") -> None: ...  # type: ignore  # noqa
def no_step(x: Annotated[int, Result]) -> None: ...
def no_step_either(x: Annotated[int, Result()]) -> None: ...
def twice(x: Annotated[int, Param(), Result("a")]) -> None: ...
def hidden(x: Annotated[int, Param()] | None) -> None: ...
def hidden_dir(x: list[RunDir]) -> None: ...
def bare(x: Param("help")) -> None: ...  # type: ignore
def as_default(x: int = Result(step="a")) -> None: ...  # type: ignore[assignment]
def both(x: Annotated[RunDir, Param()]) -> None: ...
def text_dir(x: Annotated[str, RunDir()]) -> None: ...
def marked_return() -> Annotated[int, Param()]: ...  # type: ignore[empty-body]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (positional, "parameter 'x': positional-only"),
        (starred, r"takes \*args or \*\*kwargs"),
        (keywords, r"takes \*args or \*\*kwargs"),
        (
            unresolved,
            "'unresolved', parameter 'x': the annotation 'Decimal' cannot be resolved: "
            "name 'Decimal' is not defined; import it outside",
        ),
        (unresolved_return, r"return annotation: the annotation 'list\[Decimal\]' cannot"),
        (nonsense, "'nonsense', parameter 'x': the annotation .* cannot be resolved"),
        (no_step, "'no_step', parameter 'x': Result takes either step="),
        (no_step_either, "'no_step_either', parameter 'x': Result takes either step="),
        (twice, r"more than one marker: Param\(\), Result\(step='a'\)"),
        (hidden, r"Param\(\) is inside .*outermost"),
        (hidden_dir, r"RunDir\(\) is inside list\[RunDir\]"),
        (bare, r"parameter 'x': .*Param\(help='help'\)"),
        (as_default, r"is the default: write x: Annotated\[int, Result\(\.\.\.\)\]"),
        (both, r"cannot be Param\(\) too"),
        (text_dir, "given as a pathlib.Path, not as str"),
        (marked_return, "belongs to an argument"),
    ],
)
def test_bad_signatures(function: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        read_signature(function)


def test_only_the_function_asked_for_is_read() -> None:
    assert read_signature(positional_free := nothing_wrong).parameters == ()
    assert positional_free is nothing_wrong


def nothing_wrong() -> None: ...


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "int"),
        (None, "None"),
        (Any, "Any"),
        (Point, "Point"),
        (list[str], "list[str]"),
        (typing.List[str], "list[str]"),  # noqa: UP006
        (dict[str, list[int]], "dict[str, list[int]]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (tuple[()], "tuple[()]"),
        (Optional[Path], "Path | None"),
        (int | str, "int | str"),
        (None | str | int, "int | str | None"),
        (Literal["b", "a"], "Literal['a', 'b']"),
        (Literal["a", 1], "Literal['a', 1]"),
        (Annotated[int, Param()], "int"),
        (Callable[[int], str], "Callable[[int], str]"),
    ],
)
def test_type_text(annotation: Any, text: str) -> None:
    assert type_text(annotation) == text
