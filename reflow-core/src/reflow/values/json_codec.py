"""Values whose types JSON has itself, written and read strictly, and fast.

A codec turns the values of one annotation into JSON and back. Those here are for
None, bool, int, float, str, lists, dicts with text keys, Any, and unions of these:
what most tasks exchange, and all that most workers ever need.
"""

from __future__ import annotations

import collections.abc as abc
import json
import json.encoder
import typing
from collections.abc import Callable
from typing import Any, ClassVar

from ..errors import SerializationError
from .references import KEY, StoredAs, current
from .type_text import is_union, type_text

_NONE = type(None)
_scan: Any = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
_dump: Any = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), check_circular=False
).encode
_escape: Any = json.encoder.encode_basestring
_accelerated: Any = getattr(json.encoder, "c_make_encoder", None)
if _accelerated is not None:
    # What JSONEncoder.encode makes anew at every call.
    _chunks = _accelerated(None, None, _escape, None, ":", ",", False, False, True)

    def _dump(native: object) -> str:
        return "".join(_chunks(native, 0))


class Mismatch(Exception):
    """A value is not what the annotation says; `place` is where in the value."""

    def __init__(self, expected: str, value: object, *, note: str = "") -> None:
        super().__init__(expected)
        self.expected = expected
        self.actual = _shown(value)
        self.note = note
        self.place = ""

    def at(self, step: str) -> Mismatch:
        """Add one step at the front of the place; for `raise` on the way up."""
        self.place = step + self.place
        return self

    def __str__(self) -> str:
        where = f" at {self.place}" if self.place else ""
        return f"expected {self.expected}, got {self.actual}{where}" + (
            f" ({self.note})" if self.note else ""
        )


def _shown(value: object) -> str:
    kind = type(value)
    name = "None" if value is None else kind.__qualname__
    if kind.__module__ == "numpy":
        name = f"numpy.{name}"
    if isinstance(value, (str, int, float, bool)):
        text = repr(value)
        return f"{name} {text if len(text) <= 40 else text[:37] + '...'}"
    return name


def dump(native: object) -> str:
    """Write an object of JSON's own types as canonical text."""
    return str(_dump(native))


def load(text: str) -> Any:
    """Read one JSON text. Raises `SerializationError` for anything else."""
    # Without what json.loads does around the scan: most texts are canonical.
    try:
        value, end = _scan(text, 0)
    except (StopIteration, ValueError, RecursionError):
        end = -1
    if end != len(text):
        try:
            return json.loads(text)  # It may have white space around it.
        except (ValueError, RecursionError) as error:
            raise SerializationError(f"this is not JSON: {error}") from None
    return value


def scalar(value: Any) -> Any:
    """Return a numpy scalar as the Python number it equals; other values unchanged."""
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return value.item()
    return value


class Codec:
    """Writes and reads the values of one annotation.

    `text` is the annotation as a person writes it; `kinds` the kinds of JSON value it
    may produce; `form` a name for how it is written: codecs of one form read each
    other's values; `as_is` whether what it packs is always the value itself; `exact` the
    Python types whose values are written without a look at each (empty where there are none);
    `in_file` whether the value is in a file that the JSON refers to. The public methods raise
    `SerializationError` naming the expected and the actual type and where in the value.
    """

    __slots__ = ("annotation", "form", "text")
    kinds: frozenset[str] = frozenset()
    exact: frozenset[type] = frozenset()
    runtime: Any = None
    has_paths: bool = False
    as_is: bool = False
    in_file: bool = False

    def __init__(self, annotation: Any, form: str) -> None:
        self.annotation = annotation
        self.text = type_text(annotation)
        self.form = form

    def __repr__(self) -> str:
        return f"<codec of {self.text}>"

    def pack(self, value: Any) -> Any:
        """Return the value in JSON's own types, or raise `Mismatch`."""
        raise NotImplementedError

    def unpack(self, native: Any) -> Any:
        """Return the value that `pack` was given, or raise `Mismatch`."""
        raise NotImplementedError

    def reads(self, other: Codec) -> bool:
        """Whether `unpack` gets all that `other` packs right.

        True for what was written without an annotation: it is checked when it comes.
        """
        return self is other or other.form == "any" or self._reads(other)

    def _reads(self, other: Codec) -> bool:
        return self.form == other.form

    def encode(self, value: Any) -> str:
        """Return the value as canonical JSON text."""
        return str(_dump(self.encode_native(value)))

    def decode(self, text: str) -> Any:
        """Return the value of a JSON text."""
        return self.decode_native(load(text))

    def encode_native(self, value: Any) -> Any:
        """Return the value in JSON's own types (it may share parts with the value)."""
        try:
            return self.pack(value)
        except Mismatch as error:
            whole = f"a value of type {self.text} cannot be written: " if error.place else ""
            raise SerializationError(f"{whole}{error}") from None
        except RecursionError:
            raise SerializationError(
                f"a value of type {self.text} cannot be written: "
                "it is nested too deeply or contains itself"
            ) from None

    def decode_native(self, native: Any) -> Any:
        """Return the value of an object of JSON's own types."""
        try:
            return self.unpack(native)
        except Mismatch as error:
            whole = f"a value of type {self.text} cannot be read: " if error.place else ""
            raise SerializationError(f"{whole}{error}") from None
        except RecursionError:
            raise SerializationError(
                f"a value of type {self.text} cannot be read: it is nested too deeply"
            ) from None

    def parts(self) -> abc.Iterable[Codec]:
        """Return the codecs that this one is made of."""
        return ()

    def paths(self, value: Any) -> tuple[str, ...]:
        """Return the paths (`pathlib.Path`) in the value, each once, in order."""
        if not self.has_paths:
            return ()
        paths: dict[str, None] = {}
        _collect_paths(value, paths)
        return tuple(paths)


def _collect_paths(value: Any, paths: dict[str, None]) -> None:
    if isinstance(value, (str, int, float, bytes, _NONE)):
        return
    if hasattr(value, "__fspath__"):
        paths[str(value)] = None
        return
    for part in _parts(value):
        _collect_paths(part, paths)


def _parts(value: Any) -> abc.Iterable[Any]:
    """Return what a value is made of, in an order that does not depend on the process."""
    if isinstance(value, abc.Mapping):
        return [part for item in value.items() for part in item]
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    if isinstance(value, (list, tuple)):
        return value
    fields = getattr(value, "__dataclass_fields__", None)
    listed = getattr(value, "__attrs_attrs__", ()) if fields is None else fields.values()
    # What a class makes itself is not written; it may lead back to the value.
    return [getattr(value, field.name, None) for field in listed if field.init]


class ScalarCodec(Codec):
    """Values that are one word of JSON; literals of the same kind are such values too."""

    __slots__ = ()
    as_is = True

    def _reads(self, other: Codec) -> bool:
        return other.as_is and other.kinds <= self.kinds


class NoneCodec(ScalarCodec):
    __slots__ = ()
    kinds = frozenset({"null"})
    exact = frozenset({_NONE})
    runtime = _NONE

    def pack(self, value: Any) -> Any:
        if value is not None:
            raise Mismatch("None", value)
        return None

    def unpack(self, native: Any) -> Any:
        return self.pack(native)

    def encode(self, value: Any) -> str:
        return "null" if value is None else super().encode(value)


class BoolCodec(ScalarCodec):
    __slots__ = ()
    kinds = frozenset({"bool"})
    exact = frozenset({bool})
    runtime = bool

    def pack(self, value: Any) -> Any:
        if value is True or value is False:
            return value
        plain = scalar(value)
        if plain is True or plain is False:
            return plain
        raise Mismatch("bool", value)

    def unpack(self, native: Any) -> Any:
        if native is True or native is False:
            return native
        raise Mismatch("bool", native)


class IntCodec(ScalarCodec):
    __slots__ = ()
    kinds = frozenset({"int"})
    exact = frozenset({int})
    runtime = int

    def pack(self, value: Any) -> Any:
        if type(value) is int:
            return value
        plain = scalar(value)
        if isinstance(plain, int) and not isinstance(plain, bool):
            return int(plain)
        raise Mismatch("int", value)

    def unpack(self, native: Any) -> Any:
        if type(native) is int:
            return native
        raise Mismatch("int", native)

    def encode(self, value: Any) -> str:
        try:
            return int.__repr__(value) if type(value) is int else super().encode(value)
        except ValueError as error:  # More digits than Python converts.
            raise SerializationError(f"this int cannot be written: {error}") from None


class FloatCodec(ScalarCodec):
    """Floats; an int is taken for the float it equals. NaN and infinities are kept."""

    __slots__ = ()
    kinds = frozenset({"float"})
    exact = frozenset({float})
    runtime = float

    def pack(self, value: Any) -> Any:
        if type(value) is float:
            return value
        plain = scalar(value)
        if isinstance(plain, (float, int)) and not isinstance(plain, bool):
            try:
                return float(plain)
            except OverflowError:
                raise Mismatch("float", value, note="too large") from None
        raise Mismatch("float", value)

    def unpack(self, native: Any) -> Any:
        if type(native) is float:
            return native
        if type(native) is int:
            return self.pack(native)
        raise Mismatch("float", native)

    def _reads(self, other: Codec) -> bool:
        return other.as_is and other.kinds <= {"float", "int"}


class StrCodec(ScalarCodec):
    __slots__ = ()
    kinds = frozenset({"str"})
    exact = frozenset({str})
    runtime = str

    def pack(self, value: Any) -> Any:
        if type(value) is str:
            return value
        if isinstance(value, str):
            return str.__str__(value)  # The text itself, whatever a subclass makes of it.
        raise Mismatch("str", value)

    def unpack(self, native: Any) -> Any:
        if type(native) is str:
            return native
        raise Mismatch("str", native)

    def encode(self, value: Any) -> str:
        return str(_escape(value)) if type(value) is str else super().encode(value)


class AnyCodec(Codec):
    """Whatever JSON has itself, checked to the bottom, for want of an annotation."""

    __slots__ = ()
    as_is = True
    kinds = frozenset({"null", "bool", "int", "float", "str", "list", "dict"})
    _plain: ClassVar[frozenset[type]] = frozenset({_NONE, bool, int, float, str})

    def pack(self, value: Any) -> Any:
        kind = type(value)
        if kind in self._plain:
            return value
        # Without a codec for each part: a value without an annotation may be large.
        if kind is list:
            if self._plain.issuperset(map(type, value)):
                return value
            return convert_items(self.pack, value)
        if kind is dict:
            return _pack_dict(self, value)
        number = scalar(value)
        if type(number) in self._plain:
            return number
        raise Mismatch(
            "a value that JSON has (None, bool, int, float, str, list, dict)",
            value,
            note="annotate it with its type",
        )

    def unpack(self, native: Any) -> Any:
        if type(native) is dict and KEY in native:
            return load_attachment(native)
        return native

    def decode(self, text: str) -> Any:
        native = load(text)
        return _with_attachments(native) if KEY in text else native

    def _reads(self, other: Codec) -> bool:
        items = other.item if type(other) is ListCodec else other
        return other.as_is or items.in_file


class ListCodec(Codec):
    __slots__ = ("as_is", "exact_items", "has_paths", "item")
    kinds = frozenset({"list"})
    runtime: Any = list

    def __init__(self, annotation: Any, item: Codec) -> None:
        super().__init__(annotation, f"list[{item.form}]")
        self.item = item
        self.exact_items = item.exact
        self.as_is = item.as_is
        self.has_paths = item.has_paths

    def parts(self) -> abc.Iterable[Codec]:
        return (self.item,)

    def check(self, value: Any) -> None:
        """Refuse what is not a list; codecs of other list-like types accept more."""
        if type(value) is not list:
            raise Mismatch(self.text, value)

    def pack(self, value: Any) -> Any:
        if type(value) is not list:
            self.check(value)
            value = list(value)
        # One loop in C instead of a call for each item.
        if self.exact_items and self.exact_items.issuperset(map(type, value)):
            return value
        return convert_items(self.item.pack, value)

    def unpack(self, native: Any) -> Any:
        if type(native) is not list:
            raise Mismatch(self.text, native)
        if self.exact_items and self.exact_items.issuperset(map(type, native)):
            return native
        return convert_items(self.item.unpack, native)

    def _reads(self, other: Codec) -> bool:
        items: Codec | None = getattr(other, "item", None)
        return self.kinds == other.kinds and items is not None and self.item.reads(items)


class SequenceCodec(ListCodec):
    """Sequence, Iterable and their like: a list or tuple goes in, a list comes out."""

    __slots__ = ()

    def check(self, value: Any) -> None:
        if not isinstance(value, (list, tuple)):
            raise Mismatch(self.text, value, note="a list is needed")


def convert_items(convert: Callable[[Any], Any], items: abc.Iterable[Any]) -> list[Any]:
    """Pack or unpack each item; a `Mismatch` says which of them it is about."""
    converted: list[Any] = []
    try:
        for item in items:
            converted.append(convert(item))
    except Mismatch as error:
        raise error.at(f"[{len(converted)}]") from None
    return converted


class DictCodec(Codec):
    """Dicts with text keys, in their own order."""

    __slots__ = ("as_is", "has_paths", "value")
    kinds = frozenset({"dict"})
    runtime = dict

    def __init__(self, annotation: Any, value: Codec) -> None:
        super().__init__(annotation, f"dict[{value.form}]")
        self.value = value
        self.as_is = value.as_is
        self.has_paths = value.has_paths

    def parts(self) -> abc.Iterable[Codec]:
        return (self.value,)

    def pack(self, value: Any) -> Any:
        if not isinstance(value, dict):
            raise Mismatch(self.text, value)
        return _pack_dict(self.value, value)

    def unpack(self, native: Any) -> Any:
        if type(native) is not dict:
            raise Mismatch(self.text, native)
        exact = self.value.exact
        if exact and exact.issuperset(map(type, native.values())):
            return native
        key = ""
        try:
            unpack = self.value.unpack
            values = {}
            for key, item in native.items():
                values[key] = unpack(item)
        except Mismatch as error:
            raise error.at(f"[{key!r}]") from None
        return values

    def _reads(self, other: Codec) -> bool:
        return isinstance(other, DictCodec) and self.value.reads(other.value)


def _pack_dict(codec: Codec, value: Any) -> dict[str, Any]:
    packed: dict[str, Any] = {}
    pack = codec.pack
    key: Any = None
    try:
        for key, item in value.items():
            if type(key) is not str:
                if not isinstance(key, str):
                    raise Mismatch("a key of type str", key)
                key = str.__str__(key)
            packed[key] = pack(item)
    except Mismatch as error:
        raise error.at(f"[{key!r}]") from None
    # Such a dict would be read as a reference to a file.
    if KEY in packed:
        raise Mismatch(f"a dict without the key {KEY!r}", value, note="reflow uses it itself")
    return packed


def _with_attachments(native: Any) -> Any:
    if type(native) is list:
        return [_with_attachments(item) for item in native]
    if type(native) is dict:
        if KEY in native:
            return load_attachment(native)
        return {key: _with_attachments(item) for key, item in native.items()}
    return native


def load_attachment(native: dict[str, Any]) -> Any:
    """Return the value that a reference refers to."""
    attachments = current.get()
    if attachments is None:
        raise Mismatch("a value in JSON", native, note="it is in a file of a run")
    return attachments.load(native)


class UnionCodec(Codec):
    """Unions whose members are of different kinds in JSON, so that no tag is needed."""

    __slots__ = ("_runtimes", "as_is", "by_kind", "exact", "has_paths", "kinds", "members")

    def __init__(self, annotation: Any, members: list[Codec]) -> None:
        super().__init__(annotation, " | ".join(sorted(member.form for member in members)))
        self.members = members
        self.kinds = frozenset().union(*(member.kinds for member in members))
        self.exact = frozenset().union(*(member.exact for member in members))
        self.as_is = all(member.as_is for member in members)
        self.has_paths = any(member.has_paths for member in members)
        self.by_kind = {kind: member for member in members for kind in member.kinds}
        if "float" in self.by_kind:
            self.by_kind.setdefault("int", self.by_kind["float"])  # JSON may have 1 for 1.0.
        self._runtimes = {member.runtime for member in members}

    def parts(self) -> abc.Iterable[Codec]:
        return self.members

    def pack(self, value: Any) -> Any:
        if type(value) in self.exact:
            return value
        # A numpy scalar counts as the number it equals, unless the union names its class.
        plain = scalar(value)
        if type(plain) in self.exact and type(value) not in self._runtimes:
            return plain
        return select(self.members, value, self.text)[1]

    def unpack(self, native: Any) -> Any:
        member = self.by_kind.get(kind_of(native))
        if member is None:
            raise Mismatch(self.text, native)
        return member.unpack(native)

    def _reads(self, other: Codec) -> bool:
        others = other.members if isinstance(other, UnionCodec) else [other]
        return all(map(self._reads_member, others))

    def _reads_member(self, other: Codec) -> bool:
        # Only the member that a value's kind leads to gets to read it.
        readers = {self.by_kind.get(kind) for kind in other.kinds}
        if not readers or None in readers:
            return False
        if other.as_is and all(isinstance(reader, ScalarCodec) for reader in readers):
            return True
        reader = readers.pop()
        return reader is not None and not readers and reader.reads(other)


_KINDS = {
    _NONE: "null", bool: "bool", int: "int", float: "float", str: "str", list: "list", dict: "dict",
}  # fmt: skip


def kind_of(native: object) -> str:
    """Return which kind of JSON value this is."""
    return _KINDS.get(type(native), "")


def select(members: list[Codec], value: Any, text: str) -> tuple[Codec, Any]:
    """Return the member of a union that takes the value, and the value packed.

    Those of the value's own class come first; of several that take it, the first that
    gives it back unchanged: list[int] and not list[float] for [1].
    """
    cls = type(value)
    failures: list[Mismatch] = []
    for of_own_class in (True, False):
        candidates = [member for member in members if (member.runtime is cls) is of_own_class]
        packed = _packed_by(candidates, value, failures)
        if len(packed) > 1:
            packed.sort(key=lambda choice: not _is_faithful(choice[0], choice[1], value))
        if packed:
            return packed[0]
    # The member that got furthest tells the most.
    deepest = max(failures, key=lambda error: len(error.place))
    raise deepest if deepest.place else Mismatch(text, value)


def _packed_by(
    members: list[Codec], value: Any, failures: list[Mismatch]
) -> list[tuple[Codec, Any]]:
    """Return the members that take the value, each with the value packed."""
    packed = []
    for member in members:
        try:
            packed.append((member, member.pack(value)))
        except Mismatch as error:
            failures.append(error)
        else:
            if member.in_file:
                break  # The file is written: no other member has a better form.
    return packed


def _is_faithful(member: Codec, packed: Any, value: Any) -> bool:
    try:
        # Not ==, by which 1 is 1.0.
        return repr(member.unpack(packed)) == repr(value)
    except Mismatch:
        return False


_ANY = AnyCodec(Any, "any")
_SCALARS: dict[Any, Codec] = {
    Any: _ANY,
    object: AnyCodec(object, "any"),
    None: NoneCodec(None, "null"),
    _NONE: NoneCodec(_NONE, "null"),
    bool: BoolCodec(bool, "bool"),
    int: IntCodec(int, "int"),
    float: FloatCodec(float, "float"),
    str: StrCodec(str, "str"),
}
SEQUENCES = (abc.Sequence, abc.MutableSequence, abc.Iterable, abc.Collection)
MAPPINGS = (dict, abc.Mapping, abc.MutableMapping)
_cache: dict[Any, Codec | None] = {}


def plain_codec(annotation: Any) -> Codec | None:
    """Return the codec of an annotation that JSON covers itself, else None."""
    try:
        codec = _SCALARS.get(annotation)
        if codec is not None:
            return codec
        if annotation in _cache:
            return _cache[annotation]
    except TypeError:  # It cannot be hashed.
        return _make(annotation)
    codec = _cache[annotation] = _make(annotation)
    return codec


def _make(annotation: Any) -> Codec | None:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        is_stored = any(type(extra) is StoredAs for extra in arguments)
        return None if is_stored else plain_codec(arguments[0])
    if is_union(annotation):
        return _make_union(annotation, arguments)
    base = origin or annotation
    if base in MAPPINGS:
        key, value = arguments or (str, Any)
        return _make_around(DictCodec, annotation, value) if key is str else None
    if base is list:
        return _make_around(ListCodec, annotation, *arguments)
    if base in SEQUENCES:
        return _make_around(SequenceCodec, annotation, *arguments)
    return None


def _make_around(
    make: Callable[[Any, Codec], Codec], annotation: Any, part: Any = Any
) -> Codec | None:
    codec = plain_codec(part)
    return None if codec is None else make(annotation, codec)


def _make_union(annotation: Any, arguments: tuple[Any, ...]) -> Codec | None:
    members = []
    for argument in arguments:
        member = plain_codec(argument)
        if member is None:
            return None
        members.append(member)
    return union_codec(annotation, members)


def union_codec(annotation: Any, members: list[Codec]) -> Codec | None:
    """Return a codec without tags, or None where members look the same in JSON."""
    for member in members:
        if isinstance(member, AnyCodec) and all(other.as_is for other in members):
            return member
    members = sorted(members, key=lambda member: member.text)  # Either order is the same type.
    kinds: set[str] = set()
    for member in members:
        if not kinds.isdisjoint(member.kinds):
            return None
        kinds |= member.kinds
    return UnionCodec(annotation, members)
