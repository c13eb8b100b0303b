"""Values of one class that are one text, number or short list in JSON.

Enum, bytes, paths, dates and times, UUID, Decimal, Fraction, complex, range: what the
standard library has. Each value has one text, and is of the very class that the
annotation names.
"""

from __future__ import annotations

import enum
import pathlib
from collections.abc import Callable
from typing import Any

from .json_codec import Codec, Mismatch, kind_of, scalar


class TextCodec(Codec):
    """Values of one class, written by one function and read by another.

    Both may raise `ValueError`, whose text is then the reason. Unless `strict`, values of
    subclasses are taken too.
    """

    __slots__ = ("_pack", "_unpack", "has_paths", "kinds", "runtime", "strict")

    def __init__(
        self,
        annotation: Any,
        runtime: type,
        pack: Callable[[Any], Any],
        unpack: Callable[[Any], Any],
        *,
        form: str = "",
        kind: str = "str",
        strict: bool = True,
        has_paths: bool = False,
    ) -> None:
        super().__init__(annotation, form or runtime.__qualname__)
        self.runtime = runtime
        self.kinds = frozenset({kind})
        self.strict = strict
        self.has_paths = has_paths
        self._pack = pack
        self._unpack = unpack

    def pack(self, value: Any) -> Any:
        assert self.runtime is not None
        if type(value) is self.runtime or (not self.strict and isinstance(value, self.runtime)):
            try:
                return self._pack(value)
            except ValueError as error:
                raise Mismatch(self.text, value, note=str(error)) from None
        raise Mismatch(self.text, value, note=_advice(self.runtime, value))

    def unpack(self, native: Any) -> Any:
        if kind_of(native) not in self.kinds:
            raise Mismatch(self.text, native)
        try:
            return self._unpack(native)
        except (ValueError, TypeError, ArithmeticError, LookupError) as error:
            raise Mismatch(self.text, native, note=str(error)) from None


class _ComplexCodec(TextCodec):
    """Complex numbers; any other number is taken for the complex one it equals."""

    __slots__ = ()

    def pack(self, value: Any) -> Any:
        plain = scalar(value)
        if type(plain) in (int, float):
            try:
                plain = complex(plain)
            except OverflowError:
                raise Mismatch(self.text, value, note="too large") from None
        return super().pack(plain)


def _advice(expected: type, value: object) -> str:
    """Say what to do with a subclass that would lose what it adds, or return ""."""
    if not isinstance(value, expected):
        return ""
    if hasattr(value, "to_pydatetime"):
        return "convert it with .to_pydatetime()"
    return f"convert it to {expected.__qualname__}: a subclass would lose what it adds"


def scalar_codec(cls: Any) -> Codec | None:
    """Return the codec of one class of the standard library, None for any other."""
    if issubclass(cls, enum.Enum):
        return _enum(cls)
    if issubclass(cls, pathlib.PurePath) or _is_path_like(cls):
        return _path(cls)
    if cls in (bytes, bytearray):
        return _base64(cls)
    if cls is complex:
        return _ComplexCodec(
            complex, complex, lambda number: [number.real, number.imag], to_complex, kind="list"
        )
    if cls is range:
        return TextCodec(range, range, _from_range, _to_range, kind="list")
    if cls.__module__ in ("datetime", "uuid", "decimal", "fractions"):
        return _standard(cls)
    return None


def _enum(cls: Any) -> Codec:
    form = _class_form(cls)
    if issubclass(cls, enum.Flag):
        return TextCodec(cls, cls, lambda member: member.value, cls, form=form, kind="int")
    # cls[...], as one that is a text too has that text's __getitem__.
    return TextCodec(
        cls, cls, lambda member: member.name, lambda name: cls[name], form=form, strict=False
    )


def _path(cls: Any) -> Codec:
    is_own = issubclass(cls, pathlib.PurePath) and cls is not pathlib.PurePath
    # Any path is taken for one: what differs is the system it is used on.
    return TextCodec(
        cls, pathlib.PurePath, str, cls if is_own else pathlib.Path,
        form="path", strict=False, has_paths=True,
    )  # fmt: skip


def _class_form(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _is_path_like(cls: type) -> bool:
    # By name: annotations belong to the model, which imports this room.
    return _class_form(cls) in ("os.PathLike", "reflow.model.annotations.RunDir")


def _base64(cls: type[bytes] | type[bytearray]) -> Codec:
    import base64

    def read(text: str) -> bytes | bytearray:
        try:
            return cls(base64.b64decode(text, validate=True))
        except ValueError as error:
            raise ValueError(f"not base64: {error}") from None

    return TextCodec(cls, cls, lambda data: base64.b64encode(data).decode(), read)


def to_complex(parts: Any) -> complex:
    """Return the number of a list of two; raises `ValueError` for anything else in it."""
    real, imaginary = parts
    if {type(real), type(imaginary)} - {int, float}:
        raise ValueError("two numbers are needed, the real and the imaginary part")
    return complex(real, imaginary)


def _from_range(value: range) -> list[int]:
    # Ranges of the same numbers are equal, however they were written.
    if len(value) < 2:
        return [value[0], value[0] + 1, 1] if value else [0, 0, 1]
    return [value.start, value[-1] + (1 if value.step > 0 else -1), value.step]


def _to_range(parts: Any) -> range:
    start, stop, step = parts
    if {type(start), type(stop), type(step)} - {int}:
        raise ValueError("three ints are needed: start, stop and step")
    return range(start, stop, step)


def _standard(cls: Any) -> Codec | None:
    name = _class_form(cls)
    if name == "datetime.date":
        # A datetime is a date by inheritance, but would not come back as one.
        return TextCodec(cls, cls, cls.isoformat, cls.fromisoformat)
    if name in ("datetime.datetime", "datetime.time"):
        return TextCodec(cls, cls, _zoned_text, lambda text: _read_zoned(cls, text))
    if name == "datetime.timedelta":
        micro = cls(microseconds=1)
        return TextCodec(
            cls, cls, lambda value: value // micro, lambda count: count * micro, kind="int"
        )
    if name in ("uuid.UUID", "decimal.Decimal", "fractions.Fraction"):
        return TextCodec(cls, cls, str, cls)
    return None


def _zoned_text(value: Any) -> str:
    """Write a time of day or a datetime: ISO 8601, with the zone's name behind (RFC 9557)."""
    # The offset alone would not tell what the clock shows after the next change.
    text, zone = str(value.isoformat()), value.tzinfo
    if zone is None or _class_form(type(zone)) == "datetime.timezone":
        return text
    key = getattr(zone, "key", None)
    if type(zone).__module__ != "zoneinfo" or not key:
        raise ValueError(
            f"its zone is a {_class_form(type(zone))}, of which only the offset would stay: use "
            "zoneinfo.ZoneInfo or datetime.timezone"
        )
    return f"{text}[{key}]"


def _read_zoned(cls: Any, text: str) -> Any:
    written, bracket, key = text.partition("[")
    if written.endswith("Z"):  # Python 3.10 does not know it.
        written = f"{written[:-1]}+00:00"
    value = cls.fromisoformat(written)
    if written[-16:-6] in ("+00:00:00.", "-00:00:00."):
        from datetime import timedelta, timezone

        # An offset below a second, which fromisoformat takes for none.
        offset = timedelta(microseconds=int(written[-16] + written[-6:]))
        value = value.replace(tzinfo=timezone(offset))
    if not bracket:
        return value
    from zoneinfo import ZoneInfo

    if not key.endswith("]"):
        raise ValueError("the name of a zone ends with ']'")
    zone = ZoneInfo(key[:-1])
    if cls.__name__ == "time":
        return value.replace(tzinfo=zone)
    for fold in (0, 1):  # When clocks are set back an hour comes twice: the offset tells which.
        zoned = value.replace(tzinfo=zone, fold=fold)
        if value.tzinfo is None or zoned.utcoffset() == value.utcoffset():
            return zoned
    raise ValueError(f"this machine's data of zone {key[:-1]!r} has another offset for that time")
