"""Every type of values: they come back as they were, and equal ones have equal texts."""

# Unions in both spellings are what is tested here.
# ruff: noqa: UP007, UP045
# No deferred annotations: the tests make types at run time.
import collections
import copy
import datetime as dt
import math
import os
import subprocess
import sys
import typing
import uuid
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, Flag, IntEnum, auto
from fractions import Fraction
from pathlib import Path, PurePath, PurePosixPath
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypeVar, Union

import attrs
import pytest
import typing_extensions as te
from hypothesis import given, settings
from hypothesis import strategies as st

from reflow import Param, ValidationError, Workflow
from reflow.errors import SerializationError
from reflow.values.codec import codec_for, readable, supported
from reflow.values.json_codec import dump, load
from reflow.values.numpy import numpy_codec

T = TypeVar("T")
S = TypeVar("S")
Number = TypeVar("Number", int, str)
Few = TypeVar("Few", bound=tuple[int, ...])


class Colour(Enum):
    RED = "red"
    BLUE = "blue"
    CRIMSON = "red"


class Shade(str, Enum):
    DARK = "dark"
    LIGHT = "light"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Mode(Flag):
    READ = auto()
    WRITE = auto()


@dataclass(frozen=True)
class Point:
    x: float
    y: float = 0.0


@dataclass
class Tree:
    value: int
    children: "list[Tree]" = field(default_factory=list)
    parent: "Tree | None" = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for child in self.children:
            child.parent = self


@dataclass(frozen=True)
class Pair(Generic[T, S]):
    left: T
    right: list[S]


@dataclass(frozen=True)
class Swapped(Pair[S, T], Generic[T, S]):
    own: dict[str, T] = field(default_factory=dict)


@dataclass(frozen=True)
class Days(Swapped[dt.date, Path]):
    more: int = 0


@dataclass
class Bounded(Generic[Number, Few]):
    number: Number
    few: Few


@attrs.define
class Linked(Generic[T]):
    item: T
    next: "Optional[Linked[T]]" = None
    copies: "list[te.Self]" = attrs.field(factory=list)


class Row(NamedTuple):
    key: str
    when: dt.date
    count: int = 1


class Options(te.TypedDict, total=False):
    name: te.Required[str]
    path: Path


class Closed(te.TypedDict):
    n: int
    note: te.NotRequired[str]
    when: te.ReadOnly[dt.date]


UserId = NewType("UserId", int)
GroupId = NewType("GroupId", int)
Json = te.TypeAliasType("Json", "bool | int | float | str | list[Json] | dict[str, Json] | None")
Nested = te.TypeAliasType("Nested", "Path | tuple[Nested, ...]")
Plainly = te.TypeAliasType("Plainly", list[Path])
Itself = te.TypeAliasType("Itself", "Itself")

ZONES = [zoneinfo.ZoneInfo(name) for name in ("Europe/Berlin", "UTC", "Asia/Kathmandu")]
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
numbers = st.integers() | st.floats()
dates = st.dates()
zones = st.none() | st.just(dt.timezone.utc) | st.timezones() | st.sampled_from(ZONES) | st.builds(
    dt.timezone, st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23))
)
points = st.builds(Point, st.floats(), st.floats())
trees = st.recursive(
    st.builds(Tree, st.integers()),
    lambda inner: st.builds(Tree, st.integers(), st.lists(inner, max_size=3)),
    max_leaves=6,
)
ranges = st.builds(
    range, st.integers(-9, 9), st.integers(-9, 9), st.integers(-3, 3).filter(bool)
)
jsons = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)



def declared(cls: Any) -> Any:
    """Put the keys of a dict in the order of the TypedDict, which is the order when it is read."""
    return lambda mapping: {key: mapping[key] for key in cls.__annotations__ if key in mapping}


TYPES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (float, st.floats()),
    (complex, st.complex_numbers()),
    (bytes, st.binary()),
    (bytearray, st.binary().map(bytearray)),
    (Path, st.lists(texts.filter(lambda text: "\x00" not in text)).map(lambda all: Path(*all))),
    (dt.date, dates),
    (dt.time, st.times(timezones=zones)),
    (dt.datetime, st.datetimes(timezones=zones, allow_imaginary=True)),
    (dt.timedelta, st.timedeltas()),
    (uuid.UUID, st.uuids()),
    (Decimal, st.decimals()),
    (Fraction, st.fractions()),
    (range, ranges),
    (Colour, st.sampled_from(Colour)),
    (Shade, st.sampled_from(Shade)),
    (Level, st.sampled_from(Level)),
    (Mode, st.sampled_from([Mode(0), Mode.READ, Mode.READ | Mode.WRITE])),
    (Literal["a", 1, None, True], st.sampled_from(["a", 1, None, True])),
    (tuple[int, str, Point], st.tuples(st.integers(), texts, points)),
    (tuple[dt.date, ...], st.lists(dates).map(tuple)),
    (list[tuple[()]], st.lists(st.just(()))),
    (set[dt.date], st.sets(dates)),
    (frozenset[tuple[int, str]], st.frozensets(st.tuples(st.integers(), texts))),
    (set[frozenset[int]], st.sets(st.frozensets(st.integers(0, 5)))),
    (dict[int, Point], st.dictionaries(st.integers(), points)),
    (dict[Shade, float], st.dictionaries(st.sampled_from(Shade), st.floats())),
    (dict[Point, set[str]], st.dictionaries(points, st.sets(texts))),
    (dict[tuple[int, ...] | None, str], st.dictionaries(
        st.none() | st.lists(st.integers(), max_size=2).map(tuple), texts)),
    (dict[bool | str, int], st.dictionaries(st.booleans() | texts, st.integers())),
    (Point, points),
    (Tree, trees),
    (Pair[int, Path], st.builds(Pair, st.integers(), st.lists(st.just(Path("a"))))),
    (Swapped[int, dt.date], st.builds(
        Swapped, dates, st.lists(st.integers()), st.dictionaries(texts, st.integers()))),
    (Days, st.builds(
        Days, st.just(Path("b")), st.lists(dates), st.dictionaries(texts, dates), st.integers())),
    (Linked[dt.date], st.builds(Linked, dates, st.none() | st.builds(Linked, dates),
                                st.lists(st.builds(Linked, dates), max_size=2))),
    (Row, st.builds(Row, texts, dates, st.integers())),
    (Options, st.fixed_dictionaries(
        {"name": texts}, optional={"path": st.just(Path("a"))}).map(declared(Options))),
    (Closed, st.fixed_dictionaries(
        {"n": st.integers(), "when": dates}, optional={"note": texts}).map(declared(Closed))),
    (UserId, st.integers()),
    (Json, jsons),
    (list[Json], st.lists(jsons, max_size=2)),
    (Nested, st.recursive(st.just(Path("a")), lambda deep: st.lists(deep, max_size=2).map(tuple))),
    (Plainly, st.lists(st.just(Path("a")))),
    (Annotated[set[int], "unit: K"], st.sets(st.integers())),
    (Optional[dt.datetime], st.none() | st.datetimes()),
    (Union[int, float, complex, None], st.none() | numbers | st.complex_numbers()),
    (Union[dt.date, dt.datetime, str], dates | st.datetimes() | texts),
    (Union[Colour, Shade, str], st.sampled_from(Colour) | st.sampled_from(Shade) | texts),
    (Union[list[float], list[int], set[int]], st.one_of(
        st.lists(st.floats(), min_size=1), st.lists(st.integers(), min_size=1),
        st.sets(st.integers()))),
    (Union[Pair[float, str], Pair[int, str], Point], st.one_of(
        st.builds(Pair, st.floats(), st.lists(texts)),
        st.builds(Pair, st.integers(), st.lists(texts)), points)),
    (Union[Row, tuple[str, int], Options], st.one_of(
        st.builds(Row, texts, dates), st.tuples(texts, st.integers()),
        st.fixed_dictionaries({"name": texts}))),
    (Union[UserId, GroupId, None], st.none() | st.integers()),
    (Union[list[None], list[type(None)]], st.lists(st.none())),
    (Optional[Any], jsons),
]  # fmt: skip


def same(a: Any, b: Any) -> bool:
    """Return whether two values and all parts of them are equal and of one class: 1 is not 1.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, (set, frozenset)):
        return a == b or sorted(map(repr, a)) == sorted(map(repr, b))
    if isinstance(a, dict):
        # Item by item: a key may be nan, which equals nothing.
        return len(a) == len(b) and all(
            same(x, y) and same(a[x], b[y]) for x, y in zip(a, b, strict=True)
        )
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dt.datetime):
        return (a.replace(fold=0, tzinfo=None), a.utcoffset(), str(a.tzinfo)) == (
            b.replace(fold=0, tzinfo=None), b.utcoffset(), str(b.tzinfo)
        )  # fmt: skip
    return a == b if isinstance(a, (range, dt.time)) else repr(a) == repr(b)


@pytest.mark.parametrize("micro", [1, -1, 999_999, -999_999, 60_000_001])
def test_offsets_that_are_no_whole_seconds_come_back(micro: int) -> None:
    zone = dt.timezone(dt.timedelta(microseconds=micro))
    for annotation, value in (
        (dt.time, dt.time(12, 30, tzinfo=zone)),
        (dt.datetime, dt.datetime(2026, 4, 1, 12, 30, 0, 5, tzinfo=zone)),
    ):
        codec = codec_for(annotation)
        assert codec.decode(codec.encode(value)).utcoffset() == value.utcoffset()


@pytest.mark.parametrize(
    ("annotation", "strategy"), TYPES, ids=[str(annotation) for annotation, _ in TYPES]
)
@settings(max_examples=50)
@given(data=st.data())
def test_values_come_back_and_equal_ones_look_alike(
    annotation: Any, strategy: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    value = data.draw(strategy)
    codec = codec_for(annotation)
    text = codec.encode(value)
    back = codec.decode(text)
    assert same(back, value), (back, value)
    assert codec.encode(back) == text
    assert codec.encode(copy.deepcopy(value)) == text
    assert dump(load(text)) == text, "the canonical form of the JSON"
    whole = codec_for(dict[str, Optional[annotation]])
    assert same(whole.decode(whole.encode({"a": value})), {"a": value})
    assert readable(annotation, annotation)


@given(st.data())
def test_equal_sets_look_alike_however_they_grew(data: st.DataObject) -> None:
    items = data.draw(st.lists(texts | st.integers(), unique=True))
    codec = codec_for(set[str | int])
    grown: set[str | int] = set()
    for element in reversed(items):
        grown.add(element)
    assert codec.encode(set(items)) == codec.encode(grown)


@given(ranges, ranges)
def test_equal_ranges_look_alike(first: range, second: range) -> None:
    codec = codec_for(range)
    assert (codec.encode(first) == codec.encode(second)) == (first == second)


def test_a_dict_keeps_its_order() -> None:
    for annotation in (dict[str, int], dict[str | int, int], Any):
        codec = codec_for(annotation)
        back = codec.decode(codec.encode({"b": 1, "a": 2}))
        assert list(back) == ["b", "a"]


def test_texts() -> None:
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    for annotation, value, text in [
        (dt.datetime, dt.datetime(2026, 4, 1, 12, tzinfo=berlin),
         '"2026-04-01T12:00:00+02:00[Europe/Berlin]"'),
        (dt.time, dt.time(12, tzinfo=berlin), '"12:00:00[Europe/Berlin]"'),
        (dt.datetime, dt.datetime(2026, 4, 1, tzinfo=dt.timezone.utc),
         '"2026-04-01T00:00:00+00:00"'),
        (dt.timedelta, dt.timedelta(seconds=-1), "-1000000"),
        (bytearray, bytearray(b"\xff"), '"/w=="'),
        (range, range(0, 10, 3), "[0,10,3]"),
        (range, range(5, 0, -2), "[5,0,-2]"),
        (complex, 1, "[1.0,0.0]"),
        (Colour, Colour.CRIMSON, '"RED"'),
        (dict[int, str], {1: "a"}, '[[1,"a"]]'),
        (dict[typing.NewType("Key", str), int], {"a": 1}, '{"a":1}'),
        (set[str], {"b", "a"}, '["a","b"]'),
        (Union[Path, str], Path("a"), '{"type":"Path","value":"a"}'),
        (Optional[Path], Path("a"), '"a"'),
    ]:  # fmt: skip
        assert codec_for(annotation).encode(value) == text


def test_the_hour_that_comes_twice() -> None:
    codec = codec_for(dt.datetime)
    for fold in (0, 1):
        value = dt.datetime(2026, 10, 25, 2, 30, fold=fold, tzinfo=ZONES[0])
        back = codec.decode(codec.encode(value))
        assert (back.fold, back.utcoffset()) == (fold, value.utcoffset())


def test_a_moment_as_others_write_it() -> None:
    codec = codec_for(dt.datetime)
    assert codec.decode('"2026-04-01T00:00:00Z"') == dt.datetime(
        2026, 4, 1, tzinfo=dt.timezone.utc
    )
    assert codec.decode('"2026-04-01T12:00:00[Europe/Berlin]"').utcoffset() == dt.timedelta(hours=2)


class MyZone(dt.tzinfo):
    def utcoffset(self, when: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(hours=1)


class Moment(dt.datetime):
    pass


class Loose(tuple):
    pass


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (dt.datetime, dt.datetime(2026, 4, 1, tzinfo=MyZone()), "use zoneinfo.ZoneInfo or"),
        (dt.datetime, Moment(2026, 4, 1), "convert it to datetime"),
        (bytearray, b"a", "expected bytearray, got bytes"),
        (complex, "1", "expected complex, got str"),
        (complex, True, "expected complex, got bool"),
        (complex, 10**400, "too large"),
        (range, [0, 1], "expected range, got list"),
        (tuple[str, ...], Row("a", dt.date.min), r"expected tuple\[str, \.\.\.\], got Row"),
        (tuple[int, int], Loose((1, 2)), "got .*Loose"),
        (frozenset[int], {1}, "got set"),
        (Pair[int, str], Pair("a", ["b"]), r"expected int, got str 'a' at \.left"),
        (Days, Days("b", [], {}), r"expected Path, got str 'b' at \.left"),
        (Bounded, Bounded(1.5, ()), r"expected int \| str, got float 1\.5 at \.number"),
        (Bounded, Bounded(1, ("a",)), r"at \.few\[0\]"),
        (Closed, {"n": 1}, "'when' is missing"),
        (Options, {"path": Path("a")}, "'name' is missing"),
        (Json, {"a": [1, (2,)]}, "expected .*got tuple"),
        (Linked[int], Linked(1, Linked("a")), r"at \.next\.item"),
        (Union[Path, str], 1, r"expected Path \| str, got int 1"),
        (dict[Shade, int], {"dark": 1}, r"expected Shade, got str 'dark' at \['dark'\]"),
        (Level, True, "got bool True"),
        (Mode, 1, "got int 1"),
    ],
)
def test_values_that_do_not_fit(annotation: Any, value: Any, message: str) -> None:
    with pytest.raises(SerializationError, match=message):
        codec_for(annotation).encode(value)


@pytest.mark.parametrize(
    ("annotation", "text", "message"),
    [
        (dt.datetime, '"2026-04-01T12:00:00+02:00[Mars/Base]"', "Mars/Base"),
        (dt.datetime, '"2026-04-01T12:00:00+02:00[../../etc/passwd]"', "expected datetime"),
        (dt.datetime, '"2026-04-01T12:00:00+02:00[UTC]"', "has another offset"),
        (dt.datetime, '"2026-04-01T12:00:00+02:00[UTC"', r"ends with '\]'"),
        (dt.timedelta, "1.5", "expected timedelta, got float"),
        (dt.timedelta, str(10**30), "expected timedelta"),
        (complex, '["1",2]', "two numbers"),
        (complex, "[true,1]", "two numbers"),
        (complex, f"[{10**400},0]", "expected complex"),
        (range, "[1,2]", "expected range"),
        (range, "[0,1,0]", "expected range"),
        (range, "[0,1,1.0]", "three ints"),
        (bytearray, '"a"', "not base64"),
        (dict[int, int], "[[1,1],[1,2]]", r"each key once, got int 1 at \[1\]"),
        (dict[Any, int], "[[[],1]]", r"unhashable.*|expected Any"),
        (Mode, "8", "expected Mode"),
        (Level, '"MIDDLE"', "expected Level"),
        (Union[Path, str], '{"type":["a"],"value":"x"}', "expected"),
        (Union[Path, str], '{"type":"Path"}', "expected"),
        (Optional[Point], '"Point"', "expected None | Point"),
        (Nested, "1", "expected"),
        (Tree, '{"value":1,"parent":null}', "unknown key 'parent'"),
        (Point, '{"x":1,"__class__":"os.system"}', "unknown key '__class__'"),
    ],
)
def test_texts_that_do_not_fit(annotation: Any, text: str, message: str) -> None:
    with pytest.raises(SerializationError, match=message):
        codec_for(annotation).decode(text)


@dataclass
class Mutable:
    x: int


@dataclass
class Away:
    zone: dt.tzinfo


class Opaque:
    pass


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (set[list[int]], r"list\[int\] cannot be hashed, so it can be neither an item of a set"),
        (frozenset[Mutable], "Mutable cannot be hashed"),
        (dict[tuple[int, list[int]], int], r"list\[int\] cannot be hashed"),
        (dict[Union[int, list[int]], int], r"list\[int\] cannot be hashed"),
        (dict[tuple[set[int], ...], int], r"set\[int\] cannot be hashed"),
        (set[Union[str, bytearray]], "bytearray cannot be hashed"),
        (set[Options], "Options cannot be hashed"),
        (Union[Path, PurePosixPath], "Path and PurePosixPath cannot be distinguished"),
        (Union[os.PathLike, PurePath], "cannot be distinguished, each takes the other's values"),
        (collections.OrderedDict[str, int], "write dict"),
        (collections.deque[int], "write list"),
        (collections.Counter, "write dict"),
        (Iterator[int], "write list"),
        (Away, r"Away\.zone: tzinfo .* write str, the name of the zone"),
        (memoryview, "write bytes"),
        (Itself, "means nothing but itself"),
        (list["Unknown"], "dataclass or, from Python 3.12 on, write it as `type`"),  # type: ignore[name-defined] # noqa: F821
        (Union[int, Opaque], "Opaque cannot be written as JSON"),
        (type[int], "code is not a value"),
    ],
)
def test_error_of_an_unsupported_type_names_the_task(annotation: Any, message: str) -> None:
    resolved = typing.ForwardRef("Unknown")
    annotation = list[resolved] if annotation == list["Unknown"] else annotation  # type: ignore[name-defined,valid-type] # noqa: F821
    reason = supported(annotation)
    assert reason is not None
    wf = Workflow("w")

    def returns():  # type: ignore[no-untyped-def]
        pass

    def takes(x) -> int:  # type: ignore[no-untyped-def]
        return 1

    if "Unknown" in str(annotation):
        return  # Python itself cannot resolve it in a function
    returns.__annotations__["return"] = annotation
    takes.__annotations__["x"] = Annotated[annotation, Param()]
    wf.job()(returns)
    wf.job()(takes)
    with pytest.raises(ValidationError, match=message) as caught:
        wf.validate()
    assert "task 'returns', return value: " in str(caught.value)
    assert "task 'takes', parameter 'x': " in str(caught.value)


def test_a_value_that_leads_back_to_itself_has_paths() -> None:
    @dataclass
    class Node:
        path: Path
        parts: list["Node"] = field(default_factory=list)
        whole: Any = field(default=None, init=False, repr=False)

    part = Node(Path("part"))
    whole = Node(Path("whole"), [part])
    part.whole = whole
    Node.__annotations__["parts"] = list[Node]
    assert codec_for(Node).paths(whole) == ("whole", "part")


def test_unions_read_what_their_members_write() -> None:
    assert readable(Any | None, int)
    assert readable(Json, list[int])
    assert readable(Json, dict[str, list[str]])
    assert not readable(Json, Path)
    assert readable(Optional[Shade], Shade)
    assert not readable(Shade, Colour)


np = pytest.importorskip("numpy")
DTYPES = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", "c8", "c16"]


@pytest.mark.parametrize("code", [*DTYPES, "U", "S", "M8[ns]", "M8[25m]", "M8[D]", "m8[ns]", "m8"])
@settings(max_examples=50)
@given(data=st.data())
def test_numpy_scalars(code: str, data: st.DataObject) -> None:
    from hypothesis.extra import numpy as strategies

    value = data.draw(strategies.from_dtype(np.dtype(code)))
    cls = type(value)
    codec = codec_for(cls)
    text = codec.encode(value)
    back = codec.decode(text)
    assert type(back) is cls
    assert back.dtype == value.dtype
    assert repr(back) == repr(value)
    assert codec.encode(back) == text
    assert same(codec_for(Optional[cls]).decode(text), value)
    listed = codec_for(list[cls])
    assert listed.encode(listed.decode(f"[{text}]")) == f"[{text}]"


@pytest.mark.parametrize(
    "dtype", ["f8", ">i2", "U7", "M8[ns]", "O", [("a", "f4"), ("b", "i8", (2,))], "V5"]
)
def test_dtypes(dtype: Any) -> None:
    for annotation in (np.dtype, np.dtype[Any]):
        codec = codec_for(annotation)
        value = np.dtype(dtype)
        text = codec.encode(value)
        assert codec.decode(text) == value
        assert codec.encode(codec.decode(text)) == text


def test_numpy_scalars_are_exchanged_with_numbers() -> None:
    assert readable(np.float64, float)
    assert readable(float, np.float64)
    assert readable(np.int32, int)
    assert not readable(np.int32, float)
    assert readable(Any, list[np.float32])
    assert codec_for(np.float32).encode(0.1) == "0.10000000149011612"
    assert codec_for(np.int8).encode(np.int64(5)) == "5"
    assert codec_for(int | float | None).encode(np.int64(1)) == "1"
    assert codec_for(float | int | None).encode(np.float32(1)) == "1.0"
    assert codec_for(complex).encode(np.complex64(1)) == "[1.0,0.0]"
    assert type(codec_for(np.float64 | float).decode(
        codec_for(np.float64 | float).encode(np.float64(1))
    )) is np.float64
    assert codec_for(np.datetime64).decode('"2026-04-01"') == np.datetime64("2026-04-01")


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (np.int8, 300, "expected int8, got int 300"),
        (np.int8, np.int64(300), "expected int8"),
        (np.uint8, -1, "expected uint8"),
        (np.int64, 1.0, "got float 1.0"),
        (np.int64, True, "got bool True"),
        (np.float32, 1e300, "it does not fit"),
        (np.float64, 10**400, "too large"),
        (np.float64, "1", "got str"),
        (np.bool_, 1, "got int 1"),
        (np.datetime64, dt.datetime(2026, 4, 1), "got datetime"),
        (np.dtype, "f8", "expected dtype, got str"),
        (np.float64, np.array([1.0]), "got numpy.ndarray"),
    ],
)
def test_numpy_values_that_do_not_fit(annotation: Any, value: Any, message: str) -> None:
    with pytest.raises(SerializationError, match=message):
        codec_for(annotation).encode(value)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (np.int8, "300"), (np.int8, "1.0"), (np.bool_, "1"), (np.float64, '"1"'),
        (np.complex64, "[1]"), (np.datetime64, '"soon"'), (np.datetime64, '"2026[parsec]"'),
        (np.timedelta64, '"5.5[ns]"'), (np.bytes_, '"*"'), (np.dtype, '"f99"'),
        (np.dtype, "\"[('a', exit())]\""), (np.dtype, '"[broken"'),
    ],
)  # fmt: skip
def test_texts_that_are_no_numpy_values(annotation: Any, text: str) -> None:
    with pytest.raises(SerializationError, match="expected"):
        codec_for(annotation).decode(text)


@pytest.mark.parametrize(
    "annotation", [np.longdouble, np.clongdouble, np.void, np.object_, np.floating, np.generic]
)
def test_numpy_classes_that_are_no_plain_values(annotation: Any) -> None:
    assert "cannot be written as JSON" in str(supported(annotation))


def test_a_subclass_of_a_numpy_class_does_not_make_it_abstract() -> None:
    class Metres(np.float32): ...  # type: ignore[misc]

    # A new codec: a kept one may be older than the class.
    codec = numpy_codec(np.float32)
    assert codec is not None
    assert codec.decode(codec.encode(np.float32(1.5))) == np.float32(1.5)
    assert numpy_codec(Metres) is not None
    assert numpy_codec(np.floating) is numpy_codec(np.integer) is None


def test_numpy_is_never_imported_for_others() -> None:
    code = (
        "import sys, datetime, pathlib, typing; from dataclasses import dataclass\n"
        "from reflow.values.codec import codec_for\n"
        "Point = dataclass(type('Point', (), {'__annotations__': {'x': float}}))\n"
        "codec_for(dict[int, Point | None]).encode({1: Point(2)})\n"
        "codec_for(set[datetime.datetime]), codec_for(list[pathlib.Path])\n"
        "print([m for m in ('numpy', 'zoneinfo', 'attr', 'cattrs', 'inspect') if m in sys.modules"
        " and m not in before])"
    )
    before = "import sys, dataclasses\nbefore = set(sys.modules)\n"
    out = subprocess.run(
        [sys.executable, "-c", before + code], capture_output=True, text=True, check=True
    )
    assert out.stdout == "[]\n"


def test_plain_types_import_no_more_than_the_codec() -> None:
    path = [p for p in sys.path if p]
    code = (
        f"import sys; sys.path[:] = {path!r}\nfrom reflow.values.codec import codec_for\n"
        "before = set(sys.modules)\n"
        "for one in (int, list[str], dict[str, list[float] | None], tuple[int, ...], set[str]):\n"
        "    codec_for(one)\n"
        "print(sorted(set(sys.modules) - before))\n"
        "print([m for m in ('base64', 'enum', 'pathlib', 'datetime') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True
    )
    first, second = out.stdout.splitlines()
    assert first == "[]"
    assert "base64" not in second
    assert "pathlib" not in second


def test_nan_and_infinities_are_values() -> None:
    codec = codec_for(list[float])
    assert codec.encode([math.nan, math.inf, -math.inf]) == "[NaN,Infinity,-Infinity]"
    assert repr(codec.decode("[NaN,Infinity,-Infinity]")) == "[nan, inf, -inf]"
