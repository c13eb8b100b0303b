# Unions in both spellings are what is tested here.
# ruff: noqa: UP007, UP045
# No deferred annotations: the tests make types at run time.
import datetime as dt
import subprocess
import sys
import typing
import uuid
from collections import namedtuple
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import InitVar, dataclass, field
from decimal import Decimal
from enum import Enum, Flag, IntEnum
from fractions import Fraction
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Generic, Literal, NamedTuple, NewType, Optional, TypedDict, TypeVar, Union

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.errors import SerializationError
from reflow.model.annotations import RunDir
from reflow.model.spec import Constant, Resources, Source, TaskSpec, Wire, WorkflowSpec
from reflow.values.codec import codec_for, readable, structure, supported, unstructure

T = TypeVar("T")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Mode(Flag):
    READ = 1
    WRITE = 2


@dataclass(frozen=True)
class Point:
    x: float
    y: float = 0.0
    norm: float = field(init=False, default=0.0)


@dataclass(frozen=True)
class Named(Point):
    name: str = ""


@dataclass
class Tree:
    value: int
    children: "list[Tree]" = field(default_factory=list)
    parent: "Tree | None" = None


@dataclass
class Box(Generic[T]):
    item: T
    more: list[T]


@attrs.frozen
class Station:
    name: str
    _code: int = 0
    where: Point | None = None


@attrs.define
class Positive:
    n: int = attrs.field(validator=attrs.validators.gt(0))


class Row(NamedTuple):
    key: str
    count: int = 1


Loose = namedtuple("Loose", ["a", "b"])


class Options(TypedDict, total=False):
    name: str
    path: Path


class Strict(TypedDict):
    n: int


UserId = NewType("UserId", int)

WHEN = dt.datetime(2026, 4, 1, 12, 30, 15, 123456, tzinfo=dt.timezone.utc)
VALUES = [
    (Colour, Colour.RED),
    (Level, Level.HIGH),
    (Mode, Mode.READ | Mode.WRITE),
    (Point, Point(1.0, 2.5)),
    (list[Point], [Point(1.0), Point(2.0)]),
    (Tree, Tree(1, [Tree(2), Tree(3, [Tree(4)])], Tree(0))),
    (Box[int], Box(1, [2])),
    (Box[Path], Box(Path("a"), [Path("b")])),
    (Station, Station("a", 3, Point(1.0, 2.0))),
    (Row, Row("a", 2)),
    (Loose, Loose(1, ["x"])),
    (Options, {"path": Path("a")}),
    (Options, {}),
    (Strict, {"n": 1}),
    (UserId, UserId(3)),
    (Literal["a", 1, True, None], True),
    (Literal["a", 1, True, None], 1),
    (Literal[Colour.RED], Colour.RED),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2, 3)),
    (tuple[()], ()),
    (tuple, (1, "a")),
    (typing.Tuple[int, str], (1, "a")),  # noqa: UP006
    (set[str], {"a", "b"}),
    (set[Point], {Point(1.0), Point(2.0)}),
    (frozenset[int], frozenset({3, 1})),
    (AbstractSet[int], {1}),
    (bytes, b"\x00\xff"),
    (complex, 1 + 2j),
    (Path, Path("/a/b")),
    (PurePosixPath, PurePosixPath("a")),
    (RunDir, Path("/run")),
    (dt.datetime, WHEN),
    (dt.date, WHEN.date()),
    (dt.time, WHEN.time()),
    (dt.timedelta, dt.timedelta(days=-1, microseconds=7)),
    (uuid.UUID, uuid.UUID(int=5)),
    (Decimal, Decimal("1.10")),
    (Fraction, Fraction(1, 3)),
    (dict[int, str], {1: "a", 2: "b"}),
    (dict[tuple[int, int], Path], {(1, 2): Path("x")}),
    (dict[str, Point], {"a": Point(1.0)}),
    (Optional[Path], None),
    (Optional[Path], Path("x")),
    (Union[str, Path], Path("x")),
    (Union[str, Path], "x"),
    (Union[Point, Named], Named(1.0, 2.0, name="n")),
    (Union[list[int], list[str]], ["a"]),
    (Union[int, dt.timedelta], dt.timedelta(1)),
    (Union[Colour, int, None], Colour.BLUE),
]


@pytest.mark.parametrize(("annotation", "value"), VALUES)
def test_round_trip(annotation: Any, value: Any) -> None:
    codec = codec_for(annotation)
    text = codec.encode(value)
    back = codec.decode(text)
    assert back == value
    assert type(back) is type(value)
    assert codec.encode(back) == text
    assert codec_for(list[annotation]).decode(f"[{text}]") == [value]
    assert readable(annotation, annotation)


def test_sets_are_written_in_one_order() -> None:
    words = [f"word{i}" for i in range(50)]
    backwards = words[::-1]
    codec = codec_for(set[str])
    assert codec.encode(set(words)) == codec.encode(set(backwards))


@given(st.datetimes(timezones=st.none() | st.just(dt.timezone.utc)))
def test_any_datetime(value: dt.datetime) -> None:
    codec = codec_for(dt.datetime)
    assert codec.decode(codec.encode(value)) == value


@given(st.timedeltas())
def test_any_timedelta(value: dt.timedelta) -> None:
    codec = codec_for(dt.timedelta)
    assert codec.decode(codec.encode(value)) == value


@given(st.binary())
def test_any_bytes(value: bytes) -> None:
    codec = codec_for(bytes)
    assert codec.decode(codec.encode(value)) == value


@given(st.dictionaries(st.tuples(st.integers(), st.booleans()), st.sets(st.text())))
def test_any_dict(value: dict[tuple[int, bool], set[str]]) -> None:
    codec = codec_for(dict[tuple[int, bool], set[str]])
    assert codec.decode(codec.encode(value)) == value


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (Path, "a", "expected Path, got str 'a'"),
        (Point, {"x": 1}, "expected Point, got dict"),
        (Point, Named(1.0), r"got Named \(a subclass would lose its own fields"),
        (Point, Point("a"), r"expected float, got str 'a' at \.x"),  # type: ignore[arg-type]
        (Tree, Tree(1, [Tree("b")]), r"at \.children\[0\]\.value"),  # type: ignore[arg-type]
        (Colour, "RED", "expected Colour, got str"),
        (Level, 1, "expected Level, got int 1"),
        (Literal["a"], "b", r"expected Literal\['a'\], got str 'b'"),
        (Literal[1], True, "got bool True"),
        (Literal["a"], ["a"], "got list"),
        (tuple[int, str], (1,), r"got tuple \(of length 1\)"),
        (tuple[int, str], (1, 2), r"expected str, got int 2 at \[1\]"),
        (tuple[int, ...], [1], "got list"),
        (set[int], [1], "got list"),
        (set[int], {"a"}, "expected int"),
        (dict[int, str], [(1, "a")], "got list"),
        (dict[int, str], {1: 2}, r"expected str, got int 2 at \[1\]"),
        (Options, {"nam": "a"}, "unknown key 'nam'"),
        (Strict, {}, "'n' is missing"),
        (dt.date, WHEN, "expected date, got datetime"),
        (bytes, bytearray(b"a"), "got bytearray"),
        (Union[str, Path], 3, r"expected Path \| str, got int 3"),
    ],
)
def test_values_that_do_not_fit(annotation: Any, value: Any, message: str) -> None:
    with pytest.raises(SerializationError, match=message):
        codec_for(annotation).encode(value)


@pytest.mark.parametrize(
    ("annotation", "text", "message"),
    [
        (Point, "{}", "'x' is missing"),
        (Point, '{"x":1,"z":2}', "unknown key 'z'"),
        (Point, '{"x":"a"}', r"at \.x"),
        (Point, "[]", "expected Point, got list"),
        (Positive, '{"n":-1}', "ValueError"),
        (Colour, '"GREEN"', "expected Colour"),
        (Colour, "1", "expected Colour, got int 1"),
        (Literal["a"], '"b"', "got str 'b'"),
        (Literal["a"], "[]", "got list"),
        (dt.datetime, '"yesterday"', "expected datetime"),
        (uuid.UUID, '"x"', "expected UUID"),
        (Decimal, '"x"', "expected Decimal"),
        (bytes, '"*"', "base64"),
        (complex, "[1]", "expected complex"),
        (tuple[int, str], "[1]", "of length 1"),
        (tuple[int, str], '["a","b"]', r"at \[0\]"),
        (dict[int, str], "[[1]]", r"a pair of key and value, got list at \[0\]"),
        (dict[int, str], '[["a","b"]]', r"at \[0\]"),
        (dict[int, str], "{}", "got dict"),
        (set[Any], "[[]]", "unhashable"),
        (Union[str, Path], '"x"', r"expected Path \| str"),
        (Union[str, Path], '{"type":"os.system","value":"x"}', "not 'os.system'"),
    ],
)
def test_texts_that_do_not_fit(annotation: Any, text: str, message: str) -> None:
    with pytest.raises(SerializationError, match=message):
        codec_for(annotation).decode(text)


class Opaque:
    pass


@dataclass
class Holder:
    inner: list[Opaque]


@dataclass
class Secret:
    key: InitVar[int]


@dataclass
class Recursive:
    more: "Recursive"
    bad: Opaque


class Twin(Enum):
    RED = 1


def test_types_that_are_not_supported_say_why() -> None:
    assert supported(list[Point]) is None
    assert "Opaque cannot be written as JSON: it has no structure" in str(supported(Opaque))
    assert str(supported(Holder)).startswith("Holder.inner: Opaque cannot")
    assert "code is not a value" in str(supported(Callable[[int], str]))
    assert "InitVar" in str(supported(Secret))
    assert "reflow does not know this type" in str(supported(3))
    assert "two of its values are written 'RED'" in str(supported(Literal[Colour.RED, Twin.RED]))
    assert "is not None, a bool, an int, a str or an Enum member" in str(supported(Literal[b"a"]))
    np = pytest.importorskip("numpy")
    reason = str(supported(np.random.Generator))
    assert "pip install 'reflow-data[numpy]'" in reason
    assert "write it to a file in the run directory" in reason


def test_an_unsupported_recursive_class_stays_unsupported() -> None:
    assert "Recursive.bad" in str(supported(Recursive))
    assert "Recursive.bad" in str(supported(Recursive))
    assert "Recursive.bad" in str(supported(list[Recursive]))


def test_a_class_whose_annotations_cannot_be_resolved() -> None:
    @dataclass
    class Broken:
        x: "Missing"  # type: ignore[name-defined]  # noqa: F821

    assert "annotations cannot be resolved" in str(supported(Broken))


def test_two_members_of_one_name() -> None:
    first = dataclass(type("Same", (), {"__annotations__": {"x": int}}))
    second = dataclass(type("Same", (), {"__annotations__": {"x": int}}))
    assert "the same name" in str(supported(Union[first, second]))


def test_paths() -> None:
    assert codec_for(Path).paths(Path("a")) == ("a",)
    assert codec_for(dict[str, list[Path]]).paths({"x": [Path("a"), Path("b"), Path("a")]}) == (
        "a",
        "b",
    )
    assert codec_for(Box[Path]).paths(Box(Path("a"), [Path("b")])) == ("a", "b")
    assert codec_for(Optional[Path]).paths(None) == ()
    assert codec_for(set[Path]).paths({Path("b"), Path("a")}) == ("a", "b")
    assert codec_for(Station).paths(Station("a")) == ()
    assert codec_for(list[str]).paths(["a"]) == ()


@pytest.mark.parametrize(
    ("target", "written", "expected"),
    [
        (Any, int, True),
        (Any, dict[str, list[str]], True),
        (Any, Path, False),
        (Any, tuple[int, ...], False),
        (Any, Optional[int], True),
        (float, int, True),
        (Optional[float], int, True),
        (Optional[Path], Path, True),
        (Union[str, Path], Path, False),
        (Point, Named, False),
        (list[float], list[int], True),
        (typing.Sequence[int], list[int], True),
        (tuple[int, ...], list[int], True),
        (set[int], list[int], True),
        (Any, set[int], False),
        (dict[str, float], dict[str, int], True),
        (dict[int, float], dict[int, int], True),
        (tuple[float, int], tuple[int, int], True),
        (Literal["a", "b"], Literal["a"], True),
        (Literal["a"], Literal["b"], False),
        (str, Literal["a"], True),
        (int, Level, False),
        (PurePath, Path, True),
        (Opaque, int, True),
        (int, Any, True),
        (list[Path], list, True),
        (list[Optional[int]], list[Any], True),
        (dict[str, float], dict[str, Any], True),
        (Union[int, str], Literal["a", 1], True),
        (Union[int, str], Union[int, str, None], False),
        (Optional[Literal["a"]], Literal["a"], True),
    ],
)
def test_readable(target: Any, written: Any, expected: bool) -> None:
    assert readable(target, written) is expected


SPEC = WorkflowSpec(
    name="w",
    tasks=(
        TaskSpec(
            name="a",
            wires=(Wire(parameter="x", mode="direct", sources=(Source(task="b"),)),),
            constants=(Constant(parameter="p", type="int", text="1"),),
            resources=Resources(mem=5, native={"qos": "x"}),
        ),
    ),
)


def test_records() -> None:
    native = unstructure(SPEC)
    assert native["tasks"][0]["resources"]["native"] == {"qos": "x"}
    assert structure(native, WorkflowSpec) == SPEC


def test_records_are_read_strictly() -> None:
    with pytest.raises(SerializationError, match=r"not a valid WorkflowSpec: .*tasks"):
        structure({"name": "w"}, WorkflowSpec)
    with pytest.raises(SerializationError, match="extra"):
        structure({"name": "w", "tasks": [], "extra": 1}, WorkflowSpec)
    with pytest.raises(SerializationError, match="not a valid WorkflowSpec"):
        structure(3, WorkflowSpec)


def test_values_need_no_cattrs() -> None:
    path = [p for p in sys.path if p]
    code = f"import sys; sys.path[:] = {path!r}\n" + (
        "from reflow.values.codec import codec_for\n"
        "codec_for(dict[str, list[tuple[int, str]]]).encode({'a': [(1, 'b')]})\n"
        "print([m for m in ('attr', 'cattrs', 'inspect', 'dataclasses') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert out.stdout == "[]\n"
