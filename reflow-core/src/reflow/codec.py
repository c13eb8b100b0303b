"""Values of structured types as JSON, by their annotations; the records of a run too.

`codec_for` gives the codec of any supported annotation: what `plain` has, and from
here dataclasses, attrs classes, NamedTuple, TypedDict, Enum, Literal, tuples, sets,
bytes, paths, dates and times, UUID, Decimal, Fraction, complex, and unions. Nothing in
the JSON ever says which class to make: only the annotation does.

Values are checked strictly and quickly here, and a worker gets by without cattrs;
`structure` and `unstructure` use cattrs for reflow's own attrs records.
"""

from __future__ import annotations

import base64
import binascii
import collections.abc as abc
import contextlib
import functools
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

from .annotations import RunDir
from .attachments import StoredAs, current, is_reference, serializer_for
from .errors import SerializationError
from .plain import (
    Codec,
    DictCodec,
    ListCodec,
    Mismatch,
    SequenceCodec,
    UnionCodec,
    dump,
    kind_of,
    load_attachment,
    pack_items,
    plain_codec,
    select,
    union_codec,
)
from .signature import is_class, type_text

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


def codec_to_read(annotation: Any) -> Codec:
    """Return the codec that reads results of an annotation, whichever serializer wrote them.

    Raises `SerializationError` as `codec_for` does.
    """
    try:
        return codec_for(annotation)
    except SerializationError:
        return codec_for(in_files(annotation, ""))


def readable(target: Any, given: Any) -> bool:
    """Whether what is written as `given` is read back right as `target`.

    True where either has no codec: that is a complaint of its own.
    """
    try:
        reader, writer = codec_for(target), codec_for(given)
    except SerializationError:
        return True
    return reader.reads(writer)


def serializers_of(codec: Codec) -> dict[str, list[Any]]:
    """Return the serializers that a codec writes by, each with the types it writes."""
    found: dict[str, list[Any]] = {}
    seen: set[int] = set()
    waiting = [codec]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, _FileCodec):
            found.setdefault(one.serializer, []).append(one.runtime)
        for name in ("item", "key", "value"):
            part = getattr(one, name, None)
            if isinstance(part, Codec):
                waiting.append(part)
        for name in ("items", "members"):
            waiting.extend(getattr(one, name, ()))
        waiting.extend(getattr(one, "_members", {}).values())
        waiting.extend(field.codec for field in getattr(one, "fields", ()))
    return found


def is_in_file(annotation: Any) -> bool:
    """Whether values of an annotation, or the items of a list of them, are kept in files."""
    try:
        codec = codec_for(annotation)
    except SerializationError:
        return False
    return codec.in_file or (isinstance(codec, ListCodec) and codec.item.in_file)


def in_files(annotation: Any, serializer: str, *, whole: bool = False) -> Any:
    """Return the annotation with what JSON cannot hold marked as `StoredAs(serializer)`.

    Items of lists, values of dicts and members of unions are looked at one by one, so
    that a list of such values can still be fanned out. Where JSON could hold all of it,
    nothing is marked or, with `whole`, the value as one.
    """
    if _in_json(annotation):
        return typing.Annotated[annotation, StoredAs(serializer)] if whole else annotation
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    union = origin is typing.Union or origin is types.UnionType
    if union or (arguments and getattr(origin, "__module__", "") in _CONTAINER_MODULES):
        parts = [one if one is Ellipsis else in_files(one, serializer) for one in arguments]
        with contextlib.suppress(TypeError):
            rebuilt: Any = (typing.Union if union else origin)[tuple(parts)]
            if supported(rebuilt) is None:
                return rebuilt
    return typing.Annotated[annotation, StoredAs(serializer)]


def _in_json(annotation: Any) -> bool:
    try:
        return not serializers_of(codec_for(annotation))
    except SerializationError:
        return False


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


class _TextCodec(Codec):
    """Values of one class that are written as one JSON text or number."""

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
            return self._pack(value)
        raise Mismatch(self.text, value)

    def unpack(self, native: Any) -> Any:
        if kind_of(native) not in self.kinds:
            raise Mismatch(self.text, native)
        try:
            return self._unpack(native)
        except (ValueError, TypeError, ArithmeticError, KeyError) as error:
            raise Mismatch(self.text, native, note=str(error)) from None


class _ManyCodec(ListCodec):
    """Sets, frozensets and tuples of any length: a JSON list."""

    __slots__ = ("make", "ordered", "runtime", "taken")

    def __init__(
        self, annotation: Any, item: Codec, make: Callable[[Any], Any], taken: Any, ordered: bool
    ) -> None:
        super().__init__(annotation, item)
        self.form = f"{make.__name__}[{item.form}]"
        self.as_is = False
        self.make = make
        self.taken = taken
        self.ordered = ordered
        self.runtime = make if isinstance(make, type) else None

    def pack(self, value: Any) -> Any:
        if not isinstance(value, self.taken):
            raise Mismatch(self.text, value)
        packed = pack_items(self.item, value)
        if not self.ordered:
            packed.sort(key=dump)
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
        super().__init__(annotation, f"tuple[{', '.join(one.form for one in items)}]")
        self.items = items
        self.has_paths = any(one.has_paths for one in items)

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
        return (
            isinstance(other, _TupleCodec)
            and len(other.items) == len(self.items)
            and all(one.reads(two) for one, two in zip(self.items, other.items, strict=True))
        )


def _length(value: Any) -> str:
    return f"of length {len(value)}" if isinstance(value, (tuple, list)) else ""


class _PairsCodec(Codec):
    """Dicts whose keys are no text: a JSON list of pairs."""

    __slots__ = ("has_paths", "key", "value")
    kinds = frozenset({"list"})
    runtime = dict

    def __init__(self, annotation: Any, key: Codec, value: Codec) -> None:
        super().__init__(annotation, f"pairs[{key.form}, {value.form}]")
        self.key = key
        self.value = value
        self.has_paths = key.has_paths or value.has_paths

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
        values = {}
        for position, pair in enumerate(native):
            if type(pair) is not list or len(pair) != 2:
                raise Mismatch("a pair of key and value", pair).at(f"[{position}]")
            try:
                values[self.key.unpack(pair[0])] = self.value.unpack(pair[1])
            except Mismatch as error:
                raise error.at(f"[{position}]") from None
        return values

    def _reads(self, other: Codec) -> bool:
        return (
            isinstance(other, _PairsCodec)
            and self.key.reads(other.key)
            and self.value.reads(other.value)
        )


class _Field(typing.NamedTuple):
    name: str
    argument: str
    codec: Codec
    required: bool


class _ClassCodec(Codec):
    """Dataclasses, attrs classes, named tuples and typed dicts: a JSON object.

    Fields that have a default may be absent from the JSON; unknown ones may not stand
    in it. The value must be of the very class: a subclass would lose what it adds.
    """

    __slots__ = ("exact_class", "fields", "get", "has_paths", "known", "make", "runtime")
    kinds = frozenset({"dict"})

    def __init__(self, annotation: Any, cls: Any, arguments: tuple[Any, ...]) -> None:
        super().__init__(annotation, f"{cls.__module__}.{cls.__qualname__}")
        if arguments:
            self.form += f"[{', '.join(map(type_text, arguments))}]"
        self.runtime = cls
        self.exact_class: Any = cls
        self.make: Callable[..., Any] = cls
        self.get: Callable[[Any, str], Any] = getattr
        self.fields: list[_Field] = []
        self.known: frozenset[str] = frozenset()
        # A class may have fields of itself, so its paths are looked for in every value.
        self.has_paths = True

    def fill(self, fields: list[_Field]) -> None:
        """Set the fields; apart from the constructor, for classes that contain themselves."""
        self.fields = fields
        self.known = frozenset(one.name for one in fields)

    def pack(self, value: Any) -> Any:
        if type(value) is not self.exact_class:
            note = ""
            if self.runtime is not dict and isinstance(value, self.exact_class):
                note = "a subclass would lose its own fields: name it in the annotation"
            raise Mismatch(self.text, value, note=note)
        packed = {}
        if self.exact_class is dict:
            unknown = [key for key in value if key not in self.known]
            if unknown:
                raise Mismatch(self.text, value, note=f"unknown key {unknown[0]!r}")
        for field in self.fields:
            try:
                item = self.get(value, field.name)
            except (AttributeError, KeyError):
                if not field.required:
                    continue
                raise Mismatch(self.text, value, note=f"{field.name!r} is missing") from None
            try:
                packed[field.name] = field.codec.pack(item)
            except Mismatch as error:
                raise error.at(f".{field.name}") from None
        return packed

    def unpack(self, native: Any) -> Any:
        if type(native) is not dict:
            raise Mismatch(self.text, native)
        if not self.known.issuperset(native):
            unknown = next(key for key in native if key not in self.known)
            raise Mismatch(self.text, native, note=f"unknown key {unknown!r}")
        values = {}
        for field in self.fields:
            if field.name not in native:
                if field.required:
                    raise Mismatch(self.text, native, note=f"{field.name!r} is missing")
                continue
            try:
                values[field.argument] = field.codec.unpack(native[field.name])
            except Mismatch as error:
                raise error.at(f".{field.name}") from None
        try:
            return self.make(**values)
        except SerializationError:
            raise
        except Exception as error:
            raise Mismatch(self.text, native, note=f"{type(error).__name__}: {error}") from None


class _LiteralCodec(Codec):
    """Literals: the value itself, or the name of an Enum member."""

    __slots__ = ("_natives", "_values", "as_is", "kinds")

    def __init__(self, annotation: Any, values: tuple[Any, ...]) -> None:
        super().__init__(annotation, "")
        self._natives: dict[tuple[type, Any], Any] = {}
        self._values: dict[tuple[type, Any], Any] = {}
        for value in values:
            native = value
            if type(value) not in _NATIVE_LITERALS:
                name = getattr(value, "name", None)
                if not isinstance(name, str):
                    raise SerializationError(
                        f"{type_text(annotation)} cannot be written as JSON: {value!r} is no "
                        "None, bool, int, str or Enum member"
                    )
                native = name
            if (type(native), native) in self._values:
                raise SerializationError(
                    f"{type_text(annotation)} cannot be written as JSON: "
                    f"two of its values are written {native!r}"
                )
            self._natives[type(value), value] = native
            self._values[type(native), native] = value
        self.kinds = frozenset(kind_of(one) for one in self._natives.values())
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
        names = [one.text for one in members]
        super().__init__(annotation, f"tagged[{' | '.join(sorted(one.form for one in members))}]")
        if len(set(names)) < len(names):
            raise SerializationError(
                f"{self.text} cannot be written as JSON: two of its members have the same name"
            )
        self._members = dict(zip(names, members, strict=True))
        self.has_paths = any(one.has_paths for one in members)

    def pack(self, value: Any) -> Any:
        member, packed = select(list(self._members.values()), value, self.text)
        return {"type": member.text, "value": packed}

    def unpack(self, native: Any) -> Any:
        if type(native) is not dict or native.keys() != {"type", "value"}:
            raise Mismatch(self.text, native)
        member = self._members.get(native["type"])
        if member is None:
            raise Mismatch(self.text, native, note=f"not {native['type']!r}")
        return member.unpack(native["value"])


def _make(annotation: Any) -> Codec:
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is typing.Annotated:
        for one in arguments[1:]:
            if type(one) is StoredAs:
                inner = typing.get_origin(arguments[0]) or arguments[0]
                return _FileCodec(annotation, inner, one.name)
        return codec_for(arguments[0])
    if hasattr(annotation, "__supertype__"):  # NewType
        return codec_for(annotation.__supertype__)
    if type(annotation).__name__ == "TypeAliasType":
        return codec_for(annotation.__value__)
    if origin is typing.Literal:
        return _LiteralCodec(annotation, arguments)
    if origin is typing.Union or origin is types.UnionType:
        members = [codec_for(one) for one in arguments]
        return union_codec(annotation, members) or _TaggedCodec(annotation, members)
    if isinstance(annotation, TypeVar):
        bound = annotation.__bound__
        return codec_for(Any if bound is None else bound)
    base = origin or annotation
    if isinstance(base, type):
        codec = _container(annotation, base, arguments) or _structured(annotation, base, arguments)
        if codec is not None:
            return codec
        scalar = _scalar(base)
        if scalar is not None:
            return scalar
        serializer = serializer_for(base)
        if serializer is not None:
            return _FileCodec(annotation, base, serializer)
    raise SerializationError(
        f"{type_text(annotation)} cannot be written as JSON: {_reason(annotation, base)}"
    )


def _reason(annotation: Any, base: Any) -> str:
    if base is abc.Callable or base in (type, types.FunctionType):
        return "code is no value; return what it gives"
    if getattr(base, "__module__", "").partition(".")[0] in ("numpy", "pandas", "xarray", "polars"):
        return (
            "install a serializer for it, name one (serializer=\"pickle\"), or write it to a file "
            "in the run directory and return the file's Path"
        )
    if not isinstance(annotation, type) and not isinstance(base, type):
        return "it is no type that reflow knows"
    return (
        "it has no structure that reflow knows; make it a dataclass, name a serializer "
        "(serializer=\"pickle\"), or write it to a file in the run directory and return the "
        "file's Path"
    )


def _container(annotation: Any, base: Any, arguments: tuple[Any, ...]) -> Codec | None:
    if base is list:
        return ListCodec(annotation, codec_for(arguments[0]))
    if base in (abc.Sequence, abc.MutableSequence, abc.Iterable, abc.Collection):
        return SequenceCodec(annotation, codec_for(arguments[0]))
    if base in (dict, abc.Mapping, abc.MutableMapping):
        key, value = codec_for(arguments[0]), codec_for(arguments[1])
        if arguments[0] is str:
            return DictCodec(annotation, value)
        return _PairsCodec(annotation, key, value)
    if base in (set, frozenset, abc.Set, abc.MutableSet):
        item = codec_for(arguments[0] if arguments else Any)
        make = frozenset if base is frozenset else set
        taken = (set, frozenset) if base in (abc.Set, abc.MutableSet) else base
        return _ManyCodec(annotation, item, make, taken, ordered=False)
    if base is tuple:
        if not arguments and annotation not in (tuple, typing.Tuple):  # noqa: UP006
            return _TupleCodec(annotation, [])
        if not arguments or (len(arguments) == 2 and arguments[1] is Ellipsis):
            item = codec_for(arguments[0] if arguments else Any)
            return _ManyCodec(annotation, item, tuple, tuple, ordered=True)
        return _TupleCodec(annotation, [codec_for(one) for one in arguments])
    return None


def _structured(annotation: Any, cls: Any, arguments: tuple[Any, ...]) -> Codec | None:
    if hasattr(cls, "__dataclass_fields__"):
        find: Callable[[Any, dict[str, Any]], list[tuple[str, str, Any, bool]]] = _dataclass_fields
    elif hasattr(cls, "__attrs_attrs__"):
        find = _attrs_fields
    elif issubclass(cls, tuple) and hasattr(cls, "_fields"):
        find = _named_tuple_fields
    elif issubclass(cls, dict) and hasattr(cls, "__required_keys__"):
        find = _typed_dict_fields
    else:
        return None
    codec = _ClassCodec(annotation, cls, arguments)
    if find is _typed_dict_fields:
        codec.exact_class, codec.make, codec.runtime = dict, dict, dict
        codec.get = dict.__getitem__
    with contextlib.suppress(TypeError):
        _cache[annotation] = codec  # Found again while its own fields are looked at.
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except Exception as error:
        raise SerializationError(
            f"{cls.__qualname__} cannot be written as JSON: its annotations cannot be "
            f"resolved: {error}; define what they name at the top of the module"
        ) from error
    parameters = getattr(cls, "__parameters__", ())
    given = dict(zip(parameters, arguments, strict=False))
    fields = []
    for name, argument, hint, required in find(cls, hints):
        try:
            fields.append(_Field(name, argument, codec_for(_substituted(hint, given)), required))
        except SerializationError as error:
            raise SerializationError(f"{cls.__qualname__}.{name}: {error}") from None
    codec.fill(fields)
    return codec


def _substituted(hint: Any, given: dict[Any, Any]) -> Any:
    """Put the arguments of a generic class in the place of its type variables."""
    if not given:
        return hint
    if isinstance(hint, TypeVar):
        return given.get(hint, Any)
    inner = getattr(hint, "__parameters__", ())
    if is_class(hint) or not inner:
        return hint
    return hint[tuple(given.get(one, Any) for one in inner)]


def _dataclass_fields(cls: Any, hints: dict[str, Any]) -> list[tuple[str, str, Any, bool]]:
    import dataclasses

    absent = dataclasses.MISSING
    for name, field in cls.__dataclass_fields__.items():
        if type(field.type).__name__ == "InitVar" or str(field.type).startswith("InitVar"):
            raise SerializationError(
                f"{cls.__qualname__}.{name} cannot be written as JSON: an InitVar is not kept"
            )
    return [
        (
            one.name,
            one.name,
            hints[one.name],
            one.default is absent and one.default_factory is absent,
        )
        for one in dataclasses.fields(cls)
        if one.init
    ]


def _attrs_fields(cls: Any, hints: dict[str, Any]) -> list[tuple[str, str, Any, bool]]:
    return [
        (
            one.name,
            getattr(one, "alias", None) or one.name.lstrip("_"),
            hints.get(one.name, Any),
            type(one.default).__name__ == "_Nothing",
        )
        for one in cls.__attrs_attrs__
        if one.init
    ]


def _named_tuple_fields(cls: Any, hints: dict[str, Any]) -> list[tuple[str, str, Any, bool]]:
    defaults = cls._field_defaults
    return [(name, name, hints.get(name, Any), name not in defaults) for name in cls._fields]


def _typed_dict_fields(cls: Any, hints: dict[str, Any]) -> list[tuple[str, str, Any, bool]]:
    fields = []
    for name, hint in hints.items():
        required = name in cls.__required_keys__
        for _ in range(3):  # Required and ReadOnly may stand around each other.
            word = str(typing.get_origin(hint)).rpartition(".")[2]
            if word not in ("Required", "NotRequired", "ReadOnly"):
                break
            hint = typing.get_args(hint)[0]
            required = {"Required": True, "NotRequired": False}.get(word, required)
        fields.append((name, name, hint, required))
    return fields


def _scalar(cls: Any) -> Codec | None:
    import enum
    import pathlib

    if issubclass(cls, enum.Flag):
        return _TextCodec(cls, cls, lambda one: one.value, cls, form=_class_form(cls), kind="int")
    if issubclass(cls, enum.Enum):
        return _TextCodec(
            cls, cls, lambda one: one.name, cls.__getitem__, form=_class_form(cls), strict=False
        )
    if cls is RunDir:
        cls, written = pathlib.Path, RunDir
    else:
        written = cls
    if cls.__name__ == "PathLike" and cls.__module__ == "os":
        cls = pathlib.PurePath
    if issubclass(cls, pathlib.PurePath):
        make = pathlib.Path if cls is pathlib.PurePath else cls
        # Any path is taken for one: what differs is the system it is used on.
        return _TextCodec(
            written, pathlib.PurePath, str, make, form="path", strict=False, has_paths=True
        )
    if cls is bytes:
        return _TextCodec(bytes, bytes, lambda one: base64.b64encode(one).decode(), _from_base64)
    if cls is complex:
        return _TextCodec(
            complex, complex, lambda one: [one.real, one.imag], _to_complex,
            kind="list",
        )  # fmt: skip
    if cls.__module__ in ("datetime", "uuid", "decimal", "fractions"):
        return _standard(cls)
    return None


def _class_form(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"no base64: {error}") from None


def _to_complex(two: Any) -> complex:
    real, imaginary = two
    return complex(real, imaginary)


def _standard(cls: Any) -> Codec | None:
    name = f"{cls.__module__}.{cls.__qualname__}"
    if name in ("datetime.datetime", "datetime.date", "datetime.time"):
        # datetime is a date by inheritance, but would not come back as one; pandas'
        # Timestamp is a datetime with more than one can hold.
        return _TextCodec(cls, cls, cls.isoformat, cls.fromisoformat)
    if name == "datetime.timedelta":
        micro = cls(microseconds=1)
        return _TextCodec(
            cls, cls, lambda one: one // micro, lambda count: count * micro, kind="int"
        )
    if name in ("uuid.UUID", "decimal.Decimal", "fractions.Fraction"):
        return _TextCodec(cls, cls, str, cls)
    return None


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
        raise SerializationError(f"this is no {cls.__qualname__}: {'; '.join(causes)}") from error
    return made


__all__ = [
    "Codec",
    "UnionCodec",
    "codec_for",
    "codec_to_read",
    "in_files",
    "is_in_file",
    "readable",
    "serializers_of",
    "structure",
    "supported",
    "unstructure",
]
