"""NumPy's scalars and dtypes as JSON.

Imported only where an annotation names one of them, so NumPy is there. Numbers are written
as JSON's own numbers, so they go wherever a Python number would.
"""

from __future__ import annotations

import ast
import base64
import math
import re
import sys
from typing import Any

from .json_codec import Codec, Mismatch, ScalarCodec, scalar
from .scalars import TextCodec, to_complex

_TAKEN: dict[str, tuple[type, ...]] = {
    "float": (float, int), "int": (int,), "bool": (bool,), "str": (str,)
}  # fmt: skip
_UNIT = re.compile(r"(.*)\[(\d*[A-Za-zμ]+)\]")


class _NumberCodec(ScalarCodec):
    """Scalars that JSON has itself: of one numpy class, written as the Python value."""

    __slots__ = ("_kind", "kinds", "runtime")

    def __init__(self, cls: Any, kind: str) -> None:
        super().__init__(cls, f"numpy.{cls.__name__}")
        self.runtime = cls
        self.kinds = frozenset({kind})
        self._kind = kind

    def _make(self, value: Any) -> Any:
        if type(value) not in _TAKEN[self._kind]:
            raise Mismatch(self.text, value)
        np = sys.modules["numpy"]
        try:
            with np.errstate(over="ignore"):
                made = self.runtime(value)
        except OverflowError:
            raise Mismatch(self.text, value, note="too large") from None
        kept = made.item()
        fits = kept == value
        if self._kind == "float":
            # It may be rounded, as floats are everywhere, but not become infinite.
            fits = math.isinf(kept) == math.isinf(value) and math.isnan(kept) == math.isnan(value)
        if not fits:
            raise Mismatch(self.text, value, note="it does not fit")
        return made

    def pack(self, value: Any) -> Any:
        if type(value) is not self.runtime:
            try:
                value = self._make(scalar(value))
            except Mismatch as error:
                raise Mismatch(self.text, value, note=error.note) from None
        return value.item()

    def unpack(self, native: Any) -> Any:
        return self._make(native)

    def _reads(self, other: Codec) -> bool:
        kinds = self.kinds | {"int"} if self._kind == "float" else self.kinds
        return other.as_is and other.kinds <= kinds


def numpy_codec(cls: Any) -> Codec | None:
    """Return the codec of a numpy class, None where there is none (arrays, abstract classes)."""
    np: Any = sys.modules["numpy"]
    if issubclass(cls, np.dtype):
        return TextCodec(cls, np.dtype, _dtype_text, _read_dtype, form="numpy.dtype", strict=False)
    if not issubclass(cls, np.generic):
        return None
    kind = _number_kind(cls)
    if kind:
        return _NumberCodec(cls, kind)
    form = f"numpy.{cls.__name__}"
    if cls in (np.complex64, np.complex128):
        return TextCodec(
            cls, cls, lambda number: [float(number.real), float(number.imag)],
            lambda parts: cls(to_complex(parts)), form=form, kind="list",
        )  # fmt: skip
    if cls is np.bytes_:
        return TextCodec(
            cls, cls, lambda data: base64.b64encode(data).decode(),
            lambda text: cls(base64.b64decode(text, validate=True)), form=form,
        )  # fmt: skip
    if cls in (np.datetime64, np.timedelta64):
        return TextCodec(cls, cls, _moment_text, lambda text: _read_moment(cls, text), form=form)
    return None


def _number_kind(cls: Any) -> str:
    """Return which of JSON's own kinds a numpy class has, "" for none."""
    np: Any = sys.modules["numpy"]
    abstract = (np.floating, np.integer, np.signedinteger, np.unsignedinteger)
    # What a long double holds depends on the machine; timedelta64 is an integer by name.
    if cls in abstract or issubclass(cls, (np.longdouble, np.timedelta64)):
        return ""
    bases = {"float": np.floating, "int": np.integer, "str": np.str_, "bool": np.bool_}
    return next((kind for kind, base in bases.items() if issubclass(cls, base)), "")


def _moment_text(value: Any) -> str:
    """Write a datetime64 or timedelta64 with its unit: ``2026-04-01T00:00[m]``, ``5[ns]``."""
    np: Any = sys.modules["numpy"]
    _, bracket, unit = value.dtype.name.partition("[")
    if np.isnat(value):
        return f"NaT{bracket}{unit}"
    if isinstance(value, np.datetime64):
        text = f"{np.datetime_as_string(value)}{bracket}{unit}"
        if _read_moment(np.datetime64, text) == value:
            return text
        # NumPy writes years that it does not read.
        return f"@{value.astype(np.int64)}{bracket}{unit}"
    return f"{value.astype(np.int64)}{bracket}{unit}"


def _read_moment(cls: Any, text: str) -> Any:
    match = _UNIT.fullmatch(text)
    written, unit = match.groups() if match else (text, None)
    value: Any = written
    if unit is not None and written.startswith("@"):
        value = int(written[1:])
    elif cls.__name__ == "timedelta64" and written != "NaT":
        value = int(written)
    if unit is None:
        return cls(value)
    np: Any = sys.modules["numpy"]
    return np.array(value, dtype=f"{cls.__name__}[{unit}]")[()]


def _dtype_text(value: Any) -> str:
    np: Any = sys.modules["numpy"]
    described = np.lib.format.dtype_to_descr(value)
    text = described if isinstance(described, str) else repr(described)
    if _read_dtype(text) != value:
        raise ValueError(f"the dtype {value} has no text that describes all of it")
    return text


def _read_dtype(text: str) -> Any:
    np: Any = sys.modules["numpy"]
    if not text.startswith("["):
        return np.dtype(text)
    try:
        return np.lib.format.descr_to_dtype(ast.literal_eval(text))
    except SyntaxError as error:
        raise ValueError(f"not a dtype: {error}") from None
