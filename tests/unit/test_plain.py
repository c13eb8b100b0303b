# Unions in both spellings are what is tested here.
# ruff: noqa: UP007, UP045
import json
import math
from collections.abc import Sequence
from typing import Any, Optional, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.errors import SerializationError
from reflow.values.json_codec import Codec, load, plain_codec

text = st.text(st.characters()).filter(lambda key: key != "$attachment")  # reflow's own key
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), text),
    lambda inner: st.lists(inner) | st.dictionaries(text, inner),
    max_leaves=10,
)


def codec(annotation: Any) -> Codec:
    plain = plain_codec(annotation)
    assert plain is not None
    return plain


@given(json_values)
def test_any_json_value_comes_back(value: Any) -> None:
    encoded = codec(Any).encode(value)
    assert codec(Any).decode(encoded) == value
    assert encoded == json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize(
    ("annotation", "strategy"),
    [
        (int, st.integers()),
        (float, st.floats(allow_nan=False)),
        (str, text),
        (bool, st.booleans()),
        (None, st.none()),
        (list[int], st.lists(st.integers())),
        (list, st.lists(json_values)),
        (list[Any], st.lists(json_values)),
        (dict[str, list[float]], st.dictionaries(text, st.lists(st.floats(allow_nan=False)))),
        (dict, st.dictionaries(text, json_values)),
        (Optional[int], st.none() | st.integers()),
        (Union[float, int], st.integers() | st.floats(allow_nan=False)),
        (list[int | str | None], st.lists(st.none() | st.integers() | text)),
        (list[list[str | None]], st.lists(st.lists(st.none() | text))),
    ],
)
@given(data=st.data())
def test_round_trip(annotation: Any, strategy: Any, data: st.DataObject) -> None:
    value = data.draw(strategy)
    plain = codec(annotation)
    encoded = plain.encode(value)
    back = plain.decode(encoded)
    assert back == value
    assert json.dumps(back) == json.dumps(value)  # 1 and 1.0 and True are told apart
    assert plain.encode(back) == encoded
    assert plain.decode_native(plain.encode_native(value)) == value
    assert plain.paths(value) == ()


def test_numbers_that_are_no_json() -> None:
    assert codec(float).decode(codec(float).encode(math.inf)) == math.inf
    assert math.isnan(codec(float).decode(codec(float).encode(math.nan)))


def test_int_is_accepted_as_a_float() -> None:
    assert codec(float).encode(3) == "3.0"
    assert codec(list[float]).encode([1, 2.5]) == "[1.0,2.5]"
    value = codec(float).decode("3")
    assert type(value) is float
    assert codec(Union[float, str]).decode("3") == 3.0


def test_numpy_scalars_are_numbers() -> None:
    np = pytest.importorskip("numpy")
    assert codec(int).encode(np.int64(3)) == "3"
    assert codec(float).encode(np.float32(0.5)) == "0.5"
    assert codec(float).encode(np.float64(0.5)) == "0.5"
    assert codec(bool).encode(np.bool_(True)) == "true"
    assert codec(list[float]).encode([np.float64(1.5), 2.0]) == "[1.5,2.0]"
    assert codec(Any).encode({"a": np.int8(1)}) == '{"a":1}'
    with pytest.raises(SerializationError, match=r"expected int, got numpy\.ndarray"):
        codec(int).encode(np.array([3]))
    with pytest.raises(SerializationError, match="expected int"):
        codec(int).encode(np.float64(3))


def test_sequences_take_tuples() -> None:
    assert codec(Sequence[int]).encode((1, 2)) == "[1,2]"
    with pytest.raises(SerializationError, match="a list is needed"):
        codec(Sequence[str]).encode("abc")


def test_subclasses_of_text_and_numbers_are_what_they_hold() -> None:
    class Name(str):
        def __repr__(self) -> str:
            return "!"

    class Count(int):
        pass

    assert codec(str).encode(Name("a")) == '"a"'
    assert codec(dict[str, int]).encode({Name("a"): Count(1)}) == '{"a":1}'
    assert codec(int).encode(Count(2)) == "2"


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (int, "5", "expected int, got str '5'"),
        (int, True, "expected int, got bool True"),
        (int, 1.0, "expected int, got float 1.0"),
        (float, True, "expected float, got bool"),
        (float, 10**400, "too large"),
        (str, None, "expected str, got None"),
        (str, b"a", "expected str, got bytes"),
        (bool, 1, "expected bool, got int 1"),
        (None, 0, "expected None, got int 0"),
        (list[int], (1,), r"expected list\[int\], got tuple"),
        (list[int], [1, "a"], r"list\[int\].*expected int, got str 'a' at \[1\]"),
        (dict[str, list[int]], {"a": [1, None]}, r"got None at \['a'\]\[1\]"),
        (dict[str, int], {1: 1}, "a key of type str, got int 1"),
        (dict[str, int], [1], "got list"),
        (Optional[int], "x", r"expected int \| None, got str 'x'"),
        (list[int | None], [1, "x"], r"expected int \| None, got str 'x' at \[1\]"),
        (Any, {"a": [object()]}, r"got object at \['a'\]\[0\] \(annotate it"),
        (Any, (1, 2), "got tuple"),
        (Any, {1: 2}, "a key of type str"),
    ],
)
def test_values_that_do_not_fit(annotation: Any, value: Any, message: str) -> None:
    with pytest.raises(SerializationError, match=message):
        codec(annotation).encode(value)


@pytest.mark.parametrize(
    ("annotation", "encoded", "message"),
    [
        (int, "1.5", "expected int"),
        (int, "true", "expected int"),
        (str, "1", "expected str"),
        (list[int], '["a"]', r"at \[0\]"),
        (list[int], "{}", "expected list"),
        (dict[str, int], '{"a":null}', r"got None at \['a'\]"),
        (dict[str, int], "[]", "expected dict"),
        (Optional[int], '"a"', r"expected int \| None"),
        (bool, "0", "expected bool"),
        (None, "0", "expected None"),
        (int, "", "not JSON"),
        (int, "1 2", "not JSON"),
        (int, "[" * 100_000, "not JSON"),
    ],
)
def test_texts_that_do_not_fit(annotation: Any, encoded: str, message: str) -> None:
    with pytest.raises(SerializationError, match=message):
        codec(annotation).decode(encoded)


def test_a_value_that_contains_itself() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(SerializationError, match="contains itself"):
        codec(Any).encode(value)


def test_white_space_around_json() -> None:
    assert load(" [1] ") == [1]


@pytest.mark.parametrize(
    "annotation", [bytes, tuple[int, ...], dict[int, int], Union[list[int], list[str]], set]
)
def test_types_without_a_plain_codec(annotation: Any) -> None:
    assert plain_codec(annotation) is None


def test_codecs_are_kept() -> None:
    assert codec(list[int]) is codec(list[int])
    assert repr(codec(list[int])) == "<codec of list[int]>"
