"""Values of structured types as JSON, by their annotations; the records of a run too.

`codec_for` gives the codec of any supported annotation: what `json_codec`, `scalars` and
`dataclasses` have, numpy's scalars, and from here tuples, sets, dicts whose keys are not
texts, Literal, unions, aliases, and what serializers keep in files. Nothing in the JSON
ever says which class to make: only the annotation does. Values that are the same have
the same text; a dict keeps its order, so another order is another text.

Values are checked strictly and quickly here, and a worker gets by without cattrs;
`structure` and `unstructure` use cattrs for reflow's own attrs records.
"""

from __future__ import annotations

import collections.abc as abc
import contextlib
import functools
import itertools
import sys
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from ..errors import SerializationError
from .json_codec import (
    MAPPINGS,
    SEQUENCES,
    Codec,
    DictCodec,
    ListCodec,
    Mismatch,
    SequenceCodec,
    StrCodec,
    UnionCodec,
    convert_items,
    dump,
    kind_of,
    load_attachment,
    plain_codec,
    select,
    union_codec,
)
from .references import StoredAs, current, is_reference, serializer_for
from .type_text import is_union, type_text

Record = TypeVar("Record")

_CONTAINER_MODULES = ("builtins", "collections.abc")
_NATIVE_LITERALS = (type(None), bool, int, str)
_cache: dict[Any, Codec] = {}


def codec_for(annotation: Any) -> Codec:
    """Return the codec of an annotation.

    Raises `SerializationError` that says why, for a type without known structure.
    """
    codec = plain_codec(annotation)
    if codec is not None:
        return codec
    try:
        codec = _cache.get(annotation)
    except TypeError:  # It cannot be hashed.
        return _make(annotation)
    if type(codec) is _AliasCodec and codec.inner is None:
        codec.used = True  # Its own type asks for it while it is being made.
    if codec is None:
        before = set(_cache)
        try:
            codec = _make(annotation)
        except BaseException:
            # What was begun around a part that failed is not finished.
            for begun in set(_cache) - before:
                del _cache[begun]
            raise
        _cache[annotation] = codec
    return codec


def supported(annotation: Any) -> str | None:
    """Return why values of this annotation cannot be written, or None if they can."""
    try:
        codec_for(annotation)
    except SerializationError as error:
        return str(error)
    return None


def codec_or_none(annotation: Any) -> Codec | None:
    """Return the codec of an annotation, None for a type that is not supported."""
    try:
        return codec_for(annotation)
    except SerializationError:
        return None


def codec_to_read(annotation: Any) -> Codec:
    """Return the codec that reads results of an annotation, whichever serializer wrote them.

    Raises `SerializationError` as `codec_for` does.
    """
    return codec_or_none(annotation) or codec_for(in_files(annotation, ""))


def readable(target: Any, source: Any) -> bool:
    """Whether what is written as `source` is read back right as `target`.

    True where either has no codec: that is a complaint of its own.
    """
    reader, writer = codec_or_none(target), codec_or_none(source)
    return reader is None or writer is None or reader.reads(writer)


def serializers_of(codec: Codec) -> dict[str, list[Any]]:
    """Return the serializers that a codec writes by, each with the types it writes."""
    types_of: dict[str, list[Any]] = {}
    visited: set[int] = set()  # A class may have fields of itself.
    waiting = [codec]
    while waiting:
        part = waiting.pop()
        if id(part) in visited:
            continue
        visited.add(id(part))
        if isinstance(part, _FileCodec):
            types_of.setdefault(part.serializer, []).append(part.runtime)
        waiting.extend(part.parts())
    return types_of


def is_in_file(annotation: Any) -> bool:
    """Whether values of an annotation, or the items of a list of them, are kept in files."""
    codec = codec_or_none(annotation)
    item = codec.item if isinstance(codec, ListCodec) else codec
    return item is not None and item.in_file


def in_files(annotation: Any, serializer: str, *, whole: bool = False) -> Any:
    """Return the annotation with what JSON cannot hold marked as `StoredAs(serializer)`.

    Items of lists, values of dicts and members of unions are looked at one by one, so
    that a list of such values can still be fanned out. Where JSON could hold all of it,
    nothing is marked or, with `whole`, the value as one.
    """
    codec = codec_or_none(annotation)
    if codec is not None and not serializers_of(codec):
        return typing.Annotated[annotation, StoredAs(serializer)] if whole else annotation
    with contextlib.suppress(TypeError):  # Not every type can be made anew of such parts.
        rebuilt = _with_parts_in_files(annotation, serializer)
        if rebuilt is not None and supported(rebuilt) is None:
            return rebuilt
    return typing.Annotated[annotation, StoredAs(serializer)]


def _with_parts_in_files(annotation: Any, serializer: str) -> Any:
    """Return a union or container of marked parts, None for any other type."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    make: Any = typing.Union if is_union(annotation) else origin
    if make is not typing.Union and getattr(origin, "__module__", "") not in _CONTAINER_MODULES:
        return None
    parts = [part if part is Ellipsis else in_files(part, serializer) for part in arguments]
    return make[tuple(parts)] if parts else None


class _FileCodec(Codec):
    """Values that a serializer keeps in files: a reference in JSON."""

    __slots__ = ("runtime", "serializer")
    kinds = frozenset({"dict"})
    in_file = True

    def __init__(self, annotation: Any, runtime: Any, serializer: str) -> None:
        super().__init__(annotation, "file")
        self.runtime = None if runtime is Any or not isinstance(runtime, type) else runtime
        self.serializer = serializer

    def pack(self, value: Any) -> Any:
        if self.runtime is not None and not isinstance(value, self.runtime):
            raise Mismatch(self.text, value)
        attachments = current.get()
        if attachments is None or not self.serializer:
            raise Mismatch("a value that JSON has", value, note="only results are kept in files")
        return attachments.keep(self.serializer, value)

    def unpack(self, native: Any) -> Any:
        if not is_reference(native):
            raise Mismatch(self.text, native)
        return load_attachment(native)


class _AliasCodec(Codec):
    """An alias that contains itself (``type Json = ...``): its meaning is set later."""

    __slots__ = ("has_paths", "inner", "kinds", "used")

    def __init__(self, annotation: Any) -> None:
        super().__init__(annotation, f"alias {type_text(annotation)}")
        self.inner: Any = None
        self.used = False
        self.kinds: frozenset[str] = frozenset()
        self.has_paths = True

    def parts(self) -> Iterable[Codec]:
        return () if self.inner is None else (self.inner,)

    def pack(self, value: Any) -> Any:
        return self.inner.pack(value)

    def unpack(self, native: Any) -> Any:
        return self.inner.unpack(native)

    def _reads(self, other: Codec) -> bool:
        if isinstance(other, _AliasCodec):
            return self.form == other.form
        return self.inner is not None and bool(self.inner.reads(other))


class _ManyCodec(ListCodec):
    """Sets, frozensets and tuples of any length: a JSON list, that of a set in one order."""

    __slots__ = ("make", "ordered", "runtime", "taken")

    def __init__(self, annotation: Any, item: Codec, make: type, taken: tuple[type, ...]) -> None:
        super().__init__(annotation, item)
        self.form = f"{make.__name__}[{item.form}]"
        self.as_is = False
        self.make = make
        self.taken = taken
        self.ordered = make is tuple
        self.runtime = make

    def pack(self, value: Any) -> Any:
        if type(value) not in self.taken:
            raise Mismatch(self.text, value)
        packed = convert_items(self.item.pack, value)
        if not self.ordered:
            packed.sort(key=dump)  # Sets have no order that two processes agree on.
        return packed

    def unpack(self, native: Any) -> Any:
        values = super().unpack(native)
        try:
            return self.make(values)
        except TypeError as error:
            raise Mismatch(self.text, native, note=str(error)) from None


class _TupleCodec(Codec):
    """Tuples of a fixed length: a JSON list."""

    __slots__ = ("has_paths", "items")
    kinds = frozenset({"list"})
    runtime = tuple

    def __init__(self, annotation: Any, items: list[Codec]) -> None:
        super().__init__(annotation, f"tuple[{', '.join(item.form for item in items)}]")
        self.items = items
        self.has_paths = any(item.has_paths for item in items)

    def parts(self) -> Iterable[Codec]:
        return self.items

    def pack(self, value: Any) -> Any:
        if type(value) is not tuple or len(value) != len(self.items):
            raise Mismatch(self.text, value, note=_length(value))
        return self._each(value, "pack")

    def unpack(self, native: Any) -> Any:
        if type(native) is not list or len(native) != len(self.items):
            raise Mismatch(self.text, native, note=_length(native))
        return tuple(self._each(native, "unpack"))

    def _each(self, values: Any, action: str) -> list[Any]:
        done: list[Any] = []
        try:
            for codec, value in zip(self.items, values, strict=True):
                done.append(getattr(codec, action)(value))
        except Mismatch as error:
            raise error.at(f"[{len(done)}]") from None
        return done

    def _reads(self, other: Codec) -> bool:
        if not isinstance(other, _TupleCodec) or len(other.items) != len(self.items):
            return False
        return all(map(Codec.reads, self.items, other.items))


def _length(value: Any) -> str:
    return f"of length {len(value)}" if isinstance(value, (tuple, list)) else ""


class _PairsCodec(Codec):
    """Dicts whose keys are not texts: a JSON list of pairs."""

    __slots__ = ("has_paths", "key", "value")
    kinds = frozenset({"list"})
    runtime = dict

    def __init__(self, annotation: Any, key: Codec, value: Codec) -> None:
        super().__init__(annotation, f"pairs[{key.form}, {value.form}]")
        self.key = key
        self.value = value
        self.has_paths = key.has_paths or value.has_paths

    def parts(self) -> Iterable[Codec]:
        return (self.key, self.value)

    def pack(self, value: Any) -> Any:
        if not isinstance(value, dict):
            raise Mismatch(self.text, value)
        pairs = []
        key: Any = None
        try:
            for key, item in value.items():
                pairs.append([self.key.pack(key), self.value.pack(item)])
        except Mismatch as error:
            raise error.at(f"[{key!r}]") from None
        return pairs

    def unpack(self, native: Any) -> Any:
        if type(native) is not list:
            raise Mismatch(self.text, native)
        values: dict[Any, Any] = {}
        convert_items(functools.partial(self._add, values), native)
        return values

    def _add(self, values: dict[Any, Any], pair: Any) -> None:
        if type(pair) is not list or len(pair) != 2:
            raise Mismatch("a pair of key and value", pair)
        key = self.key.unpack(pair[0])
        try:
            is_new = key not in values
        except TypeError as error:  # It cannot be hashed.
            raise Mismatch(self.key.text, pair[0], note=str(error)) from None
        if not is_new:
            raise Mismatch("each key once", pair[0])
        values[key] = self.value.unpack(pair[1])

    def _reads(self, other: Codec) -> bool:
        return (
            isinstance(other, _PairsCodec)
            and self.key.reads(other.key)
            and self.value.reads(other.value)
        )


class _LiteralCodec(Codec):
    """Literals: the value itself, or the name of an Enum member."""

    __slots__ = ("_natives", "_values", "as_is", "kinds")

    def __init__(self, annotation: Any, values: tuple[Any, ...]) -> None:
        super().__init__(annotation, "")
        self._natives: dict[tuple[type, Any], Any] = {}
        self._values: dict[tuple[type, Any], Any] = {}
        for value in values:
            native = value if type(value) in _NATIVE_LITERALS else getattr(value, "name", None)
            if native is None and value is not None:
                raise SerializationError(
                    f"{type_text(annotation)} cannot be written as JSON: {value!r} is not "
                    "None, a bool, an int, a str or an Enum member"
                )
            if (type(native), native) in self._values:
                raise SerializationError(
                    f"{type_text(annotation)} cannot be written as JSON: "
                    f"two of its values are written {native!r}"
                )
            self._natives[type(value), value] = native
            self._values[type(native), native] = value
        self.kinds = frozenset(map(kind_of, self._natives.values()))
        self.as_is = all(value is native for (_, value), native in self._natives.items())
        texts = sorted(map(repr, self._values))
        self.form = f"{'literal' if self.as_is else self.text}{texts}"

    def pack(self, value: Any) -> Any:
        try:
            return self._natives[type(value), value]
        except (KeyError, TypeError):
            raise Mismatch(self.text, value) from None

    def unpack(self, native: Any) -> Any:
        try:
            return self._values[type(native), native]
        except (KeyError, TypeError):
            raise Mismatch(self.text, native) from None

    def _reads(self, other: Codec) -> bool:
        return isinstance(other, _LiteralCodec) and all(
            key in self._values and self._values[key] == value
            for key, value in other._values.items()
        )


class _TaggedCodec(Codec):
    """Unions whose members look the same in JSON: each with its type's name."""

    __slots__ = ("_members", "has_paths")
    kinds = frozenset({"dict"})

    def __init__(self, annotation: Any, members: list[Codec]) -> None:
        members = sorted(members, key=lambda member: member.text)
        forms = sorted(member.form for member in members)
        super().__init__(annotation, f"tagged[{' | '.join(forms)}]")
        for member, other in itertools.combinations(members, 2):
            if member.text == other.text:
                raise SerializationError(
                    f"{self.text} cannot be written as JSON: two of its members have the "
                    f"same name, {member.text}, which should distinguish them: rename one"
                )
            if member.form == other.form:
                raise SerializationError(
                    f"{self.text} cannot be written as JSON: {member.text} and {other.text} "
                    "cannot be distinguished, each takes the other's values: keep one of them"
                )
        self._members = {member.text: member for member in members}
        self.has_paths = any(member.has_paths for member in members)

    def parts(self) -> Iterable[Codec]:
        return self._members.values()

    def pack(self, value: Any) -> Any:
        member, packed = select(list(self._members.values()), value, self.text)
        return {"type": member.text, "value": packed}

    def unpack(self, native: Any) -> Any:
        if type(native) is not dict or native.keys() != {"type", "value"}:
            raise Mismatch(self.text, native)
        name = native["type"]
        member = self._members.get(name) if type(name) is str else None
        if member is None:
            raise Mismatch(self.text, native, note=f"not {name!r}")
        return member.unpack(native["value"])


def _make(annotation: Any) -> Codec:
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is typing.Annotated:
        return _annotated(annotation, *arguments)
    if hasattr(annotation, "__supertype__"):  # NewType
        return codec_for(annotation.__supertype__)
    if type(origin or annotation).__name__ == "TypeAliasType":
        return _alias(annotation, origin or annotation, arguments)
    if origin is typing.Literal:
        return _LiteralCodec(annotation, arguments)
    if is_union(annotation):
        return _union(annotation, arguments)
    if isinstance(annotation, TypeVar):
        return codec_for(_stands_for(annotation))
    base = origin or annotation
    codec = _of_type(annotation, base, arguments) if isinstance(base, type) else None
    if codec is None:
        raise SerializationError(
            f"{type_text(annotation)} cannot be written as JSON: {_reason(annotation, base)}"
        )
    return codec


def _annotated(annotation: Any, inner: Any, *extras: Any) -> Codec:
    for extra in extras:
        if type(extra) is StoredAs:
            return _FileCodec(annotation, typing.get_origin(inner) or inner, extra.name)
    return codec_for(inner)


def _union(annotation: Any, arguments: tuple[Any, ...]) -> Codec:
    # Members with the same codec need no tag, such as two NewTypes of one class. Builtin
    # classes keep both list[None] and list[NoneType], which are the same type.
    members = list(dict.fromkeys(codec_for(_without_none(member)) for member in arguments))
    if len(members) == 1:
        return members[0]
    return union_codec(annotation, members) or _TaggedCodec(annotation, members)


def _without_none(annotation: Any) -> Any:
    """Return a type with NoneType where one of builtin containers has None for it."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin not in _CONTAINERS:
        return annotation
    parts = tuple(type(None) if part is None else _without_none(part) for part in arguments)
    return annotation if parts == arguments else origin[parts]


def _of_type(annotation: Any, base: Any, arguments: tuple[Any, ...]) -> Codec | None:
    make = _CONTAINERS.get(base)
    if make is not None:
        return make(annotation, base, arguments)
    codec = _of_class(annotation, base, arguments)
    if codec is None:
        serializer = serializer_for(base)
        if serializer is not None:
            return _FileCodec(annotation, base, serializer)
    return codec


def _of_class(annotation: Any, cls: Any, arguments: tuple[Any, ...]) -> Codec | None:
    # Imported here: most tasks exchange numbers, texts and lists of them.
    from .dataclasses import ClassCodec, structured_codec
    from .scalars import scalar_codec

    def begin(codec: ClassCodec) -> None:
        with contextlib.suppress(TypeError):
            _cache[annotation] = codec  # Found again while its own fields are looked at.

    # Fields first: a dataclass may also derive from a class that is written as one text.
    codec = structured_codec(annotation, cls, arguments, begin, codec_for) or scalar_codec(cls)
    if codec is None and cls.__module__.partition(".")[0] == "numpy":
        from .numpy import numpy_codec

        codec = numpy_codec(cls)
    return codec


def _alias(annotation: Any, alias: Any, arguments: tuple[Any, ...]) -> Codec:
    codec = _cache[annotation] = _AliasCodec(annotation)
    value = alias.__value__
    if isinstance(value, str):  # From before Python 3.12, to name itself.
        scope = vars(sys.modules[alias.__module__])
        holder = type("_Holder", (), {"__annotations__": {"value": value}})
        value = typing.get_type_hints(holder, globalns=scope, include_extras=True)["value"]
    if arguments:
        stands_for = dict(zip(alias.__type_params__, arguments, strict=False))
        variables = getattr(value, "__parameters__", ())
        if value in stands_for:
            value = stands_for[value]
        elif variables:
            value = value[tuple(stands_for.get(variable, variable) for variable in variables)]
    inner = codec_for(value)
    if inner is codec:
        raise SerializationError(f"{type_text(annotation)} means nothing but itself")
    codec.inner, codec.kinds = inner, inner.kinds
    return codec if codec.used else inner


def _stands_for(variable: Any) -> Any:
    """Return the type of values of a type variable without an argument."""
    if getattr(variable, "has_default", bool)():
        return variable.__default__
    if variable.__constraints__:
        return typing.Union[variable.__constraints__]  # noqa: UP007
    return Any if variable.__bound__ is None else variable.__bound__


_EXTRAS = {
    "numpy": "numpy", "pandas": "pandas", "polars": "polars", "pyarrow": "arrow",
    "xarray": "xarray",
}  # fmt: skip
"""Packages whose values reflow-data keeps in files, and its extra for each."""
_INSTEAD = {
    "collections.OrderedDict": "dict", "collections.defaultdict": "dict",
    "collections.Counter": "dict", "collections.deque": "list", "array.array": "list",
    "builtins.memoryview": "bytes", "collections.abc.Iterator": "list",
    "collections.abc.Generator": "list", "numbers.Number": "float", "numbers.Real": "float",
    "numbers.Integral": "int", "datetime.tzinfo": "str, the name of the zone",
    "zoneinfo.ZoneInfo": "str, the name of the zone", "re.Pattern": "str",
}  # fmt: skip
"""Types that people write and what to write for them."""


def _reason(annotation: Any, base: Any) -> str:
    if base is abc.Callable or base in (type, types.FunctionType):
        return "code is not a value; return its result"
    if isinstance(annotation, typing.ForwardRef):
        return (
            "it is part of a type that contains itself: make that a dataclass or, from Python "
            "3.12 on, write it as `type`"
        )
    module = str(getattr(base, "__module__", ""))
    instead = _INSTEAD.get(f"{module}.{getattr(base, '__qualname__', '')}")
    if instead is not None:
        return f"write {instead}"
    extra = _EXTRAS.get(module.partition(".")[0])
    if extra is not None:
        if base.__qualname__ in ("Timestamp", "Timedelta"):
            return f"write datetime.{base.__qualname__.replace('stamp', '').lower()}"
        return (
            f"install a serializer for it (pip install 'reflow-data[{extra}]'), name one "
            "(serializer=\"pickle\"), or write it to a file in the run directory and return the "
            "file's Path"
        )
    if not isinstance(annotation, type) and not isinstance(base, type):
        return "reflow does not know this type"
    return (
        "it has no structure that reflow knows; make it a dataclass, name a serializer "
        "(serializer=\"pickle\"), or write it to a file in the run directory and return the "
        "file's Path"
    )


def _list_codec(annotation: Any, base: Any, arguments: tuple[Any, ...]) -> Codec:
    make = ListCodec if base is list else SequenceCodec
    return make(annotation, codec_for(arguments[0]))


def _dict_codec(annotation: Any, _: Any, arguments: tuple[Any, ...]) -> Codec:
    key, value = map(codec_for, arguments)
    if isinstance(key, StrCodec):
        return DictCodec(annotation, value)
    return _PairsCodec(annotation, _hashable(annotation, key), value)


def _set_codec(annotation: Any, base: Any, arguments: tuple[Any, ...]) -> Codec:
    item = _hashable(annotation, codec_for(arguments[0] if arguments else Any))
    make = frozenset if base is frozenset else set
    taken = (set, frozenset) if base in (abc.Set, abc.MutableSet) else (base,)
    return _ManyCodec(annotation, item, make, taken)


def _tuple_codec(annotation: Any, _: Any, arguments: tuple[Any, ...]) -> Codec:
    if not arguments and annotation not in (tuple, typing.Tuple):  # noqa: UP006
        return _TupleCodec(annotation, [])  # tuple[()]
    item, *others = arguments or (Any, Ellipsis)
    if others == [Ellipsis]:
        return _ManyCodec(annotation, codec_for(item), tuple, (tuple,))
    return _TupleCodec(annotation, list(map(codec_for, arguments)))


_CONTAINERS: dict[Any, Callable[[Any, Any, tuple[Any, ...]], Codec]] = {
    **dict.fromkeys((list, *SEQUENCES), _list_codec),
    **dict.fromkeys(MAPPINGS, _dict_codec),
    **dict.fromkeys((set, frozenset, abc.Set, abc.MutableSet), _set_codec),
    tuple: _tuple_codec,
}


def _hashable(annotation: Any, codec: Codec) -> Codec:
    """Return the codec of the items of a set or of the keys of a dict; refuse unfit ones."""
    waiting = [codec]
    while waiting:
        part = waiting.pop()
        if isinstance(part.runtime, type) and part.runtime.__hash__ is None:
            raise SerializationError(
                f"{type_text(annotation)} cannot be written as JSON: {part.text} cannot be "
                "hashed, so it can be neither an item of a set nor a key; use a tuple, a "
                "frozenset or a frozen dataclass"
            )
        # Not the fields of a class: its own __hash__ may leave some out.
        if isinstance(part, (UnionCodec, _TupleCodec, _ManyCodec, _TaggedCodec)):
            waiting.extend(part.parts())
    return codec


@functools.cache
def _converter() -> Any:
    import cattrs

    return cattrs.Converter(forbid_extra_keys=True)


def unstructure(record: Any) -> Any:
    """Return an attrs record in JSON's own types."""
    return _converter().unstructure(record)


def structure(native: Any, cls: type[Record]) -> Record:
    """Return the attrs record of an object of JSON's own types.

    Raises `SerializationError` naming every field that is wrong, missing or unknown.
    """
    try:
        made: Record = _converter().structure(native, cls)
    except Exception as error:
        import cattrs

        try:
            causes = cattrs.transform_error(error)
        except Exception:
            causes = [str(error)]
        raise SerializationError(
            f"this is not a valid {cls.__qualname__}: {'; '.join(causes)}"
        ) from error
    return made
