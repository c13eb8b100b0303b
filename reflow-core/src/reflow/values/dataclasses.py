"""Classes with fields as JSON objects: dataclasses, attrs classes, NamedTuple, TypedDict."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from ..errors import SerializationError
from .json_codec import Codec, Mismatch
from .type_text import is_class, is_union, type_text

Find = Callable[[Any, dict[str, Any]], "list[tuple[str, str, Any, bool]]"]


class Field(typing.NamedTuple):
    """One field: its name in JSON, the argument that makes it, and whether it must be there."""

    name: str
    argument: str
    codec: Codec
    required: bool


class ClassCodec(Codec):
    """A JSON object of a class's fields.

    Fields that have a default may be absent from the JSON; unknown ones are refused. The value
    must be of the very class: a subclass would lose what it adds.
    """

    __slots__ = ("exact_class", "fields", "get", "has_paths", "make", "names", "runtime")
    kinds = frozenset({"dict"})

    def __init__(self, annotation: Any, cls: Any, arguments: tuple[Any, ...]) -> None:
        super().__init__(annotation, f"{cls.__module__}.{cls.__qualname__}")
        if arguments:
            self.form += f"[{', '.join(map(type_text, arguments))}]"
        self.runtime = cls
        self.exact_class: Any = cls
        self.make: Callable[..., Any] = cls
        self.get: Callable[[Any, str], Any] = getattr
        if _is_typed_dict(cls):
            self.exact_class, self.make, self.runtime = dict, dict, dict
            self.get = dict.__getitem__
        self.fields: list[Field] = []
        self.names: frozenset[str] = frozenset()
        # A class may have fields of itself, so its paths are looked for in every value.
        self.has_paths = True

    def fill(self, fields: list[Field]) -> None:
        """Set the fields; apart from the constructor, for classes that contain themselves."""
        self.fields = fields
        self.names = frozenset(field.name for field in fields)

    def parts(self) -> Iterable[Codec]:
        return [field.codec for field in self.fields]

    def pack(self, value: Any) -> Any:
        if type(value) is not self.exact_class:
            is_subclass = self.runtime is not dict and isinstance(value, self.exact_class)
            note = "a subclass would lose its own fields: name it in the annotation"
            raise Mismatch(self.text, value, note=note if is_subclass else "")
        if self.exact_class is dict:
            self._refuse_unknown(value)
        packed = {}
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

    def _refuse_unknown(self, keys: Any) -> None:
        for key in keys:
            if key not in self.names:
                raise Mismatch(self.text, keys, note=f"unknown key {key!r}")

    def unpack(self, native: Any) -> Any:
        if type(native) is not dict:
            raise Mismatch(self.text, native)
        self._refuse_unknown(native)
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


def structured_codec(
    annotation: Any,
    cls: Any,
    arguments: tuple[Any, ...],
    begin: Callable[[ClassCodec], None],
    codec_for: Callable[[Any], Codec],
) -> Codec | None:
    """Return the codec of a class with fields, None for any other class.

    `begin` gets the codec before its fields are read, so that `codec_for` finds it
    for a field of the class itself. Raises `SerializationError` for a field that cannot
    be written.
    """
    if hasattr(cls, "__dataclass_fields__"):
        find: Find = _dataclass_fields
    elif hasattr(cls, "__attrs_attrs__"):
        find = _attrs_fields
    elif issubclass(cls, tuple) and hasattr(cls, "_fields"):
        find = _named_tuple_fields
    elif _is_typed_dict(cls):
        find = _typed_dict_fields
    else:
        return None
    codec = ClassCodec(annotation, cls, arguments)
    begin(codec)
    # From here on a field of the class itself finds this codec, which has no fields yet.
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except Exception as error:
        raise SerializationError(
            f"{cls.__qualname__} cannot be written as JSON: its annotations cannot be "
            f"resolved: {error}; define what they name at the top of the module"
        ) from error
    variables = _variables(cls, arguments)
    fields = []
    for name, argument, hint, required in find(cls, hints):
        try:
            own = _substituted(hint, variables.get(_owner(cls, name), {}), annotation)
            fields.append(Field(name, argument, codec_for(own), required))
        except SerializationError as error:
            raise SerializationError(f"{cls.__qualname__}.{name}: {error}") from None
    codec.fill(fields)
    return codec


def _is_typed_dict(cls: Any) -> bool:
    return issubclass(cls, dict) and hasattr(cls, "__required_keys__")


def _variables(cls: Any, arguments: tuple[Any, ...]) -> dict[Any, dict[Any, Any]]:
    """Return what the type variables of a class, and of each of its bases, mean."""
    own = dict(zip(getattr(cls, "__parameters__", ()), arguments, strict=False))
    by_class = {cls: own}
    for base in getattr(cls, "__orig_bases__", ()):
        origin = typing.get_origin(base)
        if isinstance(origin, type) and origin is not typing.Generic:
            inner = tuple(_substituted(hint, own, cls) for hint in typing.get_args(base))
            by_class.update(_variables(origin, inner))
    return by_class


def _owner(cls: Any, name: str) -> Any:
    """Return the class that annotates a field: its type variables are those meant."""
    for base in cls.__mro__:
        # Only of the class itself: as an attribute Python does not look for them in its bases.
        if name in getattr(base, "__annotations__", ()):
            return base
    return cls


def _substituted(hint: Any, variables: dict[Any, Any], this: Any) -> Any:
    """Put the arguments of a generic class in the place of its type variables, `this` of Self."""
    if isinstance(hint, TypeVar):
        return variables.get(hint, hint)
    if getattr(hint, "_name", None) == "Self":
        return this
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        annotated: Any = typing.Annotated
        extended = (_substituted(arguments[0], variables, this), *arguments[1:])
        return annotated[extended]
    if is_class(hint) or origin in (None, typing.Literal):
        return hint
    parts = tuple(_substituted(argument, variables, this) for argument in arguments)
    if parts == arguments:
        return hint
    make: Any = typing.Union if is_union(hint) else origin
    return make[parts]


def _dataclass_fields(cls: Any, hints: dict[str, Any]) -> list[tuple[str, str, Any, bool]]:
    import dataclasses

    for name, field in cls.__dataclass_fields__.items():
        if type(field.type).__name__ == "InitVar" or str(field.type).startswith(
            ("InitVar", "dataclasses.InitVar")
        ):
            raise SerializationError(
                f"{cls.__qualname__}.{name} cannot be written as JSON: an InitVar is not kept"
            )
    return [
        (
            field.name,
            field.name,
            hints[field.name],
            field.default is field.default_factory is dataclasses.MISSING,
        )
        for field in dataclasses.fields(cls)
        if field.init
    ]


def _attrs_fields(cls: Any, hints: dict[str, Any]) -> list[tuple[str, str, Any, bool]]:
    return [
        (
            field.name,
            getattr(field, "alias", None) or field.name.lstrip("_"),
            hints.get(field.name, Any),
            type(field.default).__name__ == "_Nothing",
        )
        for field in cls.__attrs_attrs__
        if field.init
    ]


def _named_tuple_fields(cls: Any, hints: dict[str, Any]) -> list[tuple[str, str, Any, bool]]:
    defaults = cls._field_defaults
    return [(name, name, hints.get(name, Any), name not in defaults) for name in cls._fields]


def _typed_dict_fields(cls: Any, hints: dict[str, Any]) -> list[tuple[str, str, Any, bool]]:
    fields = []
    for name, hint in hints.items():
        required = name in cls.__required_keys__
        for _ in range(3):  # Required and ReadOnly may be nested in each other.
            word = str(typing.get_origin(hint)).rpartition(".")[2]
            if word not in ("Required", "NotRequired", "ReadOnly"):
                break
            hint = typing.get_args(hint)[0]
            required = {"Required": True, "NotRequired": False}.get(word, required)
        fields.append((name, name, hint, required))
    return fields
