# Unions in both spellings are what is tested here.
# ruff: noqa: UP007, UP045
# No deferred annotations: the tests make types at run time.
import collections.abc as abc
import typing
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, Optional, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.errors import ValidationError
from reflow.model.annotations import Result
from reflow.model.flow import Flow
from reflow.model.spec import MODES, Source, Wire
from reflow.model.wiring import accepts, list_item
from reflow.runs.resolve import check
from reflow.values.json_codec import plain_codec

UserId = NewType("UserId", int)
T = typing.TypeVar("T")


class Base:
    pass


class Derived(Base):
    pass


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("target", "given_type"),
    [
        (Any, int),
        (int, Any),
        (object, str),
        (int, int),
        (float, int),
        (complex, float),
        (Base, Derived),
        (Optional[int], int),
        (Optional[int], None),
        (Optional[int], Optional[int]),
        (Union[int, str, None], Union[str, int]),
        (list[float], list[int]),
        (list, list[int]),
        (list[int], list),
        (list[Any], list[str]),
        (dict[str, float], dict[str, int]),
        (abc.Sequence[int], list[int]),
        (abc.Sequence[int], tuple[int, int]),
        (abc.Iterable[int], set[int]),
        (tuple[int, ...], tuple[int, int]),
        (tuple[float, str], tuple[int, str]),
        (tuple, tuple[int]),
        (tuple[int, ...], tuple[()]),
        (str, Literal["a", "b"]),
        (Literal["a", "b"], Literal["a"]),
        (int, UserId),
        (UserId, int),
        (Annotated[int, "x"], int),
        (T, int),
        (Colour, Literal[Colour.RED]),
        (typing.List[int], list[int]),  # noqa: UP006
        (abc.Mapping[str, int], dict[str, int]),
    ],
)
def test_accepts(target: Any, given_type: Any) -> None:
    assert accepts(target, given_type)


@pytest.mark.parametrize(
    ("target", "given_type"),
    [
        (int, str),
        (int, float),
        (int, bool),
        (float, bool),
        (bool, int),
        (str, None),
        (int, Optional[int]),
        (Derived, Base),
        (list[int], list[str]),
        (list[int], int),
        (list[str], str),
        (abc.Sequence[str], str),
        (list[int], tuple[int, ...]),
        (dict[str, int], dict[str, str]),
        (dict[str, int], dict[int, int]),
        (tuple[int, int], tuple[int, ...]),
        (tuple[int, int], tuple[int]),
        (tuple[()], tuple[int]),
        (Literal["a"], Literal["a", "b"]),
        (Literal["a"], str),
        (Literal[1], Literal[True]),
        (int, Literal["a"]),
        (Path, str),
    ],
)
def test_refuses(target: Any, given_type: Any) -> None:
    assert not accepts(target, given_type)


def test_list_items() -> None:
    assert list_item(list[int]) is int
    assert list_item(abc.Iterable[str]) is str
    assert list_item(tuple[int, ...]) is int
    assert list_item(tuple[int, str]) == Union[int, str]
    assert list_item(list) is Any
    assert list_item(Any) is Any
    assert list_item(str) is None
    assert list_item(dict[str, int]) is None
    assert list_item(Optional[list[int]]) is None
    assert list_item(Union[list[int], tuple[str, ...]]) == Union[int, str]


plain_types = st.recursive(
    st.sampled_from([None, bool, int, float, str, Any]),
    lambda inner: st.one_of(
        inner.map(lambda t: list[t]),
        inner.map(lambda t: dict[str, t]),
        inner.map(lambda t: Optional[t]),
        st.tuples(inner, inner).map(lambda pair: Union[pair]),
    ),
    max_leaves=5,
)


@given(plain_types)
def test_every_type_accepts_itself_and_any(annotation: Any) -> None:
    assert accepts(annotation, annotation)
    assert accepts(Any, annotation)
    assert accepts(annotation, Any)
    assert accepts(Optional[annotation], annotation)
    assert accepts(abc.Sequence[annotation], list[annotation])


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(plain_types, plain_types, values)
def test_type_can_read_every_value_that_it_accepts(target: Any, source: Any, value: Any) -> None:
    from reflow.errors import SerializationError
    from reflow.values.codec import codec_for, readable

    writer, reader = codec_for(source), codec_for(target)
    if "Any" in writer.text or not accepts(target, source) or not readable(target, source):
        return
    try:
        text = writer.encode(value)
    except SerializationError:
        return
    assert reader.decode(text) == writer.decode(text)


def wired(
    returns: Any,
    target: Any,
    *,
    up_array: bool = False,
    array: bool = False,
    broadcast: bool = False,
    steps: bool = False,
) -> Wire:
    """Return the wire between a task that returns one type and a task that takes another."""
    flow = Flow("w")

    def seed() -> list[int]: ...  # type: ignore[empty-body]

    def up(n: Annotated[int, Result(step="seed")]) -> Any: ...

    def single_up() -> Any: ...

    source = up if up_array else single_up
    source.__annotations__["return"] = returns

    def down(x: Any, n: Annotated[int, Result(step="seed")] = 0) -> None: ...

    def single_down(x: Any) -> None: ...

    sink = down if array else single_down
    marker = (
        Result(steps=["up"], broadcast=broadcast)
        if steps
        else Result(step="up", broadcast=broadcast)
    )
    sink.__annotations__["x"] = Annotated[target, marker]
    flow.job(seed)
    flow.job("up", array=up_array)(source)
    flow.job("down", array=array)(sink)
    return check(flow).wires["down"][0]


MANY = {"up_array": True}
TO_EACH = {"array": True}
BOTH = {"up_array": True, "array": True}


@pytest.mark.parametrize(
    ("returns", "target", "how", "mode", "flatten"),
    [
        (int, int, {}, "direct", False),
        (int, float, {}, "direct", False),
        (list[int], list[int], {}, "direct", False),
        (int, Any, {}, "direct", False),
        (list[int], int, TO_EACH, "fan-out", True),
        (tuple[int, ...], int, TO_EACH, "fan-out", True),
        (set[int], int, TO_EACH, "fan-out", True),
        (abc.Iterable[int], int, TO_EACH, "fan-out", True),
        (list[list[int]], list[int], TO_EACH, "fan-out", True),
        (list[int], Any, TO_EACH, "fan-out", True),
        (Any, int, TO_EACH, "fan-out", True),
        (Any, Any, TO_EACH, "fan-out", True),
        (int, int, TO_EACH, "broadcast", False),
        (list[int], list[int], TO_EACH, "broadcast", False),
        (list[int], list[int], {**TO_EACH, "broadcast": True}, "broadcast", False),
        (int, list[int], {**BOTH, "broadcast": True}, "broadcast", False),
        (list[int], list[int], {**BOTH, "broadcast": True}, "broadcast", True),
        (int, list[int], MANY, "gather", False),
        (int, tuple[int, ...], MANY, "gather", False),
        (int, Any, MANY, "gather", False),
        (list[int], list[list[int]], MANY, "gather", False),
        (list[int], list[int], MANY, "gather-flatten", True),
        (list[int], list[Any], MANY, "gather", False),
        (int, int, BOTH, "chain", False),
        (list[int], list[int], BOTH, "chain", False),
        (list[int], Any, BOTH, "chain", False),
        (list[int], int, BOTH, "chain-flatten", True),
        (int, list[int], {"steps": True}, "gather", False),
        (list[int], list[int], {"steps": True}, "gather-flatten", True),
        (list[int], list[list[int]], {"steps": True}, "gather", False),
        (int, list[int], {**MANY, "steps": True}, "gather", False),
        (list[int], list[int], {**MANY, "steps": True}, "gather-flatten", True),
        (int, int, {**TO_EACH, "steps": True}, "fan-out", False),
        (list[int], int, {**TO_EACH, "steps": True}, "fan-out", True),
        (int, int, {**BOTH, "steps": True}, "chain-flatten", False),
        (list[int], int, {**BOTH, "steps": True}, "chain-flatten", True),
        (int, list[int], {**TO_EACH, "steps": True, "broadcast": True}, "broadcast", False),
    ],
)
def test_modes(returns: Any, target: Any, how: dict[str, bool], mode: str, flatten: bool) -> None:
    wire = wired(returns, target, **how)
    assert wire.mode == mode
    assert mode in MODES
    assert wire.sources == (
        Source(task="up", array=how.get("up_array", False), flatten=flatten),
    )
    each = how.get("array", False) and mode != "broadcast"
    assert wire.each == each
    source = wire.sources[0]
    assert wire.listed == (source.array or source.flatten or how.get("steps", False))
    assert wire.chained == (mode == "chain" or (mode == "chain-flatten" and not flatten))


@pytest.mark.parametrize(
    ("returns", "target", "how", "message"),
    [
        (str, int, {}, "'down' takes int, but task 'up' returns str"),
        (list[str], str, {}, "make 'down' an array task"),
        (Optional[int], int, {}, "'up' may return None"),
        (list[str], int, TO_EACH, r"'down' takes int, but task 'up' returns list\[str\]"),
        (str, int, BOTH, "array task 'up' returns str for each element"),
        (int, list[int], BOTH, "add broadcast=True"),
        (int, int, MANY, r"all values are gathered: write list\[int\]"),
        (str, list[int], MANY, r"takes list\[int\], but array task 'up' returns str"),
        (int, int, {"steps": True}, r"write list\[int\]"),
        (str, int, {**TO_EACH, "steps": True}, "takes int"),
        (list[int], int, {**TO_EACH, "broadcast": True}, "leave broadcast out"),
        (int, int, {**BOTH, "broadcast": True}, r"write list\[int\]"),
        (int, tuple[int, int], MANY, r"takes tuple\[int, int\]"),
        (Path, Any, {}, "a value written as Path cannot be read as Any"),
        (Path, Union[str, Path], {}, r"written as Path cannot be read as Path \| str"),
    ],
)
def test_misfits(returns: Any, target: Any, how: dict[str, bool], message: str) -> None:
    with pytest.raises(ValidationError, match=r"task 'down', parameter 'x': .*" + message):
        wired(returns, target, **how)


def test_several_steps_in_order() -> None:
    flow = Flow("w")

    @flow.job()
    def single() -> int:
        return 1

    @flow.job()
    def many() -> list[int]:
        return [2, 3]

    @flow.job(array=True)
    def each(n: Annotated[int, Result(step=many)]) -> list[int]:
        return [n]

    @flow.job()
    def total(ns: Annotated[list[int], Result(steps=[many, single, "each"])]) -> int:
        return sum(ns)

    @flow.job(array=True)
    def again(n: Annotated[int, Result(steps=[single, each, many])]) -> int:
        return n

    wires = check(flow).wires
    assert wires["total"][0] == Wire(
        parameter="ns",
        mode="gather-flatten",
        sources=(
            Source(task="many", flatten=True),
            Source(task="single"),
            Source(task="each", array=True, flatten=True),
        ),
        listed=True,
    )
    assert wires["again"][0].mode == "chain-flatten"
    assert wires["again"][0].each


def test_an_array_task_needs_something_to_fan_out_over() -> None:
    flow = Flow("w")

    @flow.job()
    def single() -> int:
        return 1

    @flow.job(array=True)
    def each(n: Annotated[int, Result(step=single)]) -> int:
        return n

    @flow.job(array=True)
    def alone(n: int) -> int:
        return n

    with pytest.raises(ValidationError) as caught:
        check(flow)
    assert "2 problems" in str(caught.value)
    assert "'each' has nothing to fan out over ('n' takes the whole of 'single')" in str(
        caught.value
    )
    assert "array task 'alone' has nothing to fan out over: give it" in str(caught.value)


def test_unknown_and_ambiguous_references() -> None:
    flow = Flow("w")

    def stranger() -> int:
        return 1

    def load() -> int:
        return 1

    @flow.job()
    def by_name(x: Annotated[int, Result(step="laod")]) -> int:
        return x

    @flow.job(after="lod")
    def by_function(x: Annotated[int, Result(step=stranger)]) -> int:
        return x

    flow.job("load")(load)
    flow.job("load2")(load)

    @flow.job()
    def ambiguous(x: Annotated[int, Result(step=load)]) -> int:
        return x

    with pytest.raises(ValidationError) as caught:
        check(flow)
    text = str(caught.value)
    assert "task 'by_name', parameter 'x': no task named 'laod': did you mean 'load'?" in text
    assert "'by_function', after: no task named 'lod': did you mean 'load'?" in text
    assert "stranger' is not a task of this workflow" in text
    assert "is several tasks (load, load2): refer to one by its name" in text


def test_plain_codec_knows_the_types_used_here() -> None:
    assert plain_codec(list[int]) is not None
