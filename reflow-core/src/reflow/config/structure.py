"""Makes attrs classes of tables, and says what is wrong with them and where."""

from __future__ import annotations

import os
import re
import types
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Annotated, Any, ClassVar, TypeVar, Union, get_args, get_origin, get_type_hints

from attrs import NOTHING, Factory, fields, frozen, has

from ..errors import ConfigError, SerializationError, did_you_mean
from ..values.codec import codec_for
from .provenance import CODE, ENVIRONMENT, Key, Layer, Origin, Setting, below, dotted, names

T = TypeVar("T")

_TRUTH = {"true": True, "1": True, "false": False, "0": False}
_SCALARS: dict[type, Callable[[str], object]] = {
    bool: lambda text: _TRUTH[text.strip().lower()], int: int, float: float,
}  # fmt: skip
"""How a text is read, by the type that is tried first."""
_TYPE_NAMES: dict[Any, str] = {
    str: "text", int: "whole number", float: "number", bool: "true or false",
}  # fmt: skip


@frozen(kw_only=True)
class TableKey:
    """One key of a table: a field of the attrs class behind the table.

    From the field's metadata come `help` (one line), `example` (shown where the default
    shows nothing), `variable` (where it is not the usual one) and `instead_of` (the key
    that may not be given beside this one). `default` is None for none; `required` says
    that a value must be given. With a `converter` the field takes whatever that takes.
    """

    name: str
    attribute: str
    annotation: Any
    default: Any
    required: bool
    converter: bool
    help: str
    example: Any
    variable: str | None
    instead_of: str | None


@lru_cache(maxsize=128)
def table_keys(cls: type) -> Mapping[str, TableKey]:
    """Return the keys of the table that an attrs class describes, by name."""
    if not has(cls):
        return {}
    try:
        hints = get_type_hints(cls, include_extras=True)
    except Exception:  # Names that only a type checker imports: the class will judge.
        hints = {}
    keys = {}
    for field in fields(cls):
        hint = hints.get(field.name, Any)
        if not field.init or get_origin(hint) is ClassVar:
            continue
        default = field.default
        if isinstance(default, Factory):  # type: ignore[arg-type]  # typed as a function
            default = None if default.takes_self else default.factory()
        keys[field.alias] = TableKey(
            name=field.alias,
            attribute=field.name,
            annotation=hint,
            default=None if default is NOTHING else default,
            required=default is NOTHING,
            converter=field.converter is not None,
            help=field.metadata.get("help", ""),
            example=field.metadata.get("example"),
            variable=field.metadata.get("variable"),
            instead_of=field.metadata.get("instead_of"),
        )
    return keys


def variable_of(key: Key) -> str:
    """Return the environment variable of a key: ``REFLOW_STORE_PATH``."""
    return "REFLOW_" + re.sub(r"\W", "_", "_".join(key)).upper()


def variables_of(cls: type, at: Key) -> dict[str, tuple[Key, TableKey]]:
    """Return the environment variables of a table, each with the key it sets."""
    variables = {}
    for table_key in table_keys(cls).values():
        key = (*at, table_key.name)
        if is_table(table_key.annotation):
            variables.update(variables_of(table_key.annotation, key))
        else:
            variables[table_key.variable or variable_of(key)] = (key, table_key)
    return variables


def settings_from(
    environment: Mapping[str, str], variables: Mapping[str, tuple[Key, TableKey]]
) -> dict[Key, Setting]:
    """Return what environment variables set. Texts are read by the keys' types.

    An empty variable is an empty list where the key takes a list; else it counts as not set.
    """
    settings: dict[Key, Setting] = {}
    for variable, (key, table_key) in variables.items():
        text = environment.get(variable)
        if text is None:
            continue
        annotation = Any if table_key.converter else table_key.annotation
        if not text.strip() and not any(map(_is_list, _members(annotation))):
            continue
        origin = Origin(kind=ENVIRONMENT, variable=variable)
        value = native_of(text, annotation)
        if isinstance(value, Mapping):
            settings.update({(*key, name): Setting(part, origin) for name, part in value.items()})
        else:
            settings[key] = Setting(value, origin)
    return settings


def native_of(text: str, annotation: Any) -> object:
    """Return the value, of TOML's own types, that a text stands for.

    Lists are separated by commas, mappings are ``key=value`` separated by commas. What does
    not fit stays text, for the reader to complain about.
    """
    members, parts = _members(annotation), list(filter(str.strip, text.split(",")))
    for member in members:
        if _is_list(member):
            item = next(iter(get_args(member)), str)
            return [native_of(part.strip(), item) for part in parts]
        if _is_mapping(member) and all("=" in part for part in parts):
            item = (*get_args(member), str, str)[1]
            pairs = (part.partition("=") for part in parts)
            return {key.strip(): native_of(value.strip(), item) for key, _, value in pairs}
    for scalar, read in _SCALARS.items():
        if scalar in members:
            with suppress(KeyError, ValueError):
                return read(text)
    return text


def read_table(
    cls: type[T],
    settings: Layer,
    at: Key,
    complaints: list[str],
    homes: Mapping[str, str] | None = None,
) -> T | None:
    """Make an instance of an attrs class from the settings of a table.

    `settings` are by the part of the key below `at`, which is the table's own key.
    `homes` says in which other table a key belongs. Whatever is wrong is
    added to `complaints`, one line each, and then there is no instance.
    """
    described: type = cls
    before, keys = len(complaints), table_keys(described)
    table = f"{_where(settings)}[{dotted(at)}]"
    if settings and not keys:
        complaints.append(f"{table}: {cls.__qualname__} has no settings")
        return None
    values: dict[str, object] = {}
    for name in names(settings):
        group, key = below(settings, (name,)), (*at, name)
        if name in keys:
            values[name] = _value(keys[name], group, key, complaints)
        else:
            complaints.append(unknown(group, key, keys, homes or {}))
    required = {name for name, table_key in keys.items() if table_key.required}
    if len(complaints) == before:  # otherwise a key may be misspelt rather than missing
        missing = sorted(required - set(values))
        complaints += [f"{table}: key {name!r} is required" for name in missing]
    if len(complaints) > before:
        return None
    instance, refusal = _try(cls, values)
    if refusal is not None:
        complaints.append(_refused(cls, values, settings, at, refusal))
    return instance


def _value(table_key: TableKey, group: Layer, key: Key, complaints: list[str]) -> object:
    """Return the value of one key; None where something is added to `complaints`."""
    value = _nested(group)
    if is_table(table_key.annotation):
        if isinstance(value, Mapping):
            inner = {} if () in group else group
            return read_table(table_key.annotation, inner, key, complaints)
        complaints.append(no_table(group, key))
        return None
    if table_key.converter:
        return value
    try:
        decoded = codec_for(table_key.annotation).decode_native(value)
        return _anchored(decoded, first_origin(group).folder)
    except (SerializationError, RuntimeError, OSError) as error:
        complaints.append(f"{_where(group)}{dotted(key)} = {value!r}: {error}")
        return None


def _try(cls: type[T], values: Mapping[str, object]) -> tuple[T | None, Exception | None]:
    make: Any = cls
    try:
        return make(**values), None
    except Exception as error:  # Converters and validators of plugins may raise anything.
        return None, error


def _refused(
    cls: type, values: Mapping[str, object], settings: Layer, at: Key, error: Exception
) -> str:
    """Say which value the class did not take: the one that fails in the same way alone.

    A validator's error does not name its field reliably, so each value is tried without the others.
    """
    text = _text_of(error)
    required = {key.name: values[key.name] for key in table_keys(cls).values() if key.required}
    for name, value in values.items():
        alone = _try(cls, {**required, name: value})[1]
        if alone is not None and _text_of(alone) == text:
            group = below(settings, (name,))
            return f"{_where(group)}{dotted((*at, name))} = {_nested(group)!r}: {text}"
    return f"{_where(settings)}[{dotted(at)}]: {text}"


def _text_of(error: Exception) -> str:
    # attrs' validators add the attribute and the value to the arguments.
    text = str(error.args[0]) if error.args else ""
    return text or type(error).__name__


def first_origin(settings: Layer) -> Origin:
    """Return where the first of some settings came from."""
    return next((setting.origin for setting in settings.values()), Origin(kind=CODE))


def _where(settings: Layer) -> str:
    origin = first_origin(settings)
    return "" if origin.kind == CODE else f"{origin}: "


def unknown(
    settings: Layer, key: Key, allowed: Mapping[str, object], homes: Mapping[str, str]
) -> str:
    """Say that there is no such key or table, which was probably meant and which there are."""
    name, plural = key[-1], "keys" if _depth(key) else "tables"
    kind = "table" if isinstance(_nested(settings), Mapping) else "key"
    home = homes.get(name)
    hint = f": it belongs in [{home}]" if home else did_you_mean(name, allowed)
    listed = ", ".join(sorted(allowed)) or "none"
    return f"{_where(settings)}unknown {kind} {dotted(key)!r}{hint} ({plural}: {listed})"


def _depth(key: Key) -> int:
    """Return how many tables a key stands in, its profile's not counted."""
    return len(key) - (3 if key[0] == "profile" and len(key) > 2 else 1)


def no_table(settings: Layer, key: Key, hint: str = "") -> str:
    """Say that a value stands where a table must be."""
    value = _nested(settings)
    return (
        f"{_where(settings)}{dotted(key)} = {value!r}: must be a table, [{dotted(key)}], "
        f"not {type(value).__name__}{hint}"
    )


def _nested(settings: Layer) -> object:
    if () in settings:
        return settings[()].value
    return {name: _nested(below(settings, (name,))) for name in names(settings)}


def _anchored(value: Any, folder: Path) -> Any:
    """Make paths absolute: "~" is the home folder, relative ones count from `folder`."""
    if isinstance(value, PurePath):
        expanded = Path(value).expanduser()
        return type(value)(os.path.normpath(folder / expanded))
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(_anchored(item, folder) for item in value)
    if type(value) is dict:
        return {key: _anchored(item, folder) for key, item in value.items()}
    return value


def is_table(annotation: Any) -> bool:
    """Whether values of an annotation are tables with known keys."""
    return isinstance(annotation, type) and has(annotation)


def _members(annotation: Any) -> tuple[Any, ...]:
    """Return the types that a union is of; of any other annotation, that alone."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(member for part in get_args(annotation) for member in _members(part))
    return (annotation,)


def _is_list(annotation: Any) -> bool:
    origin = get_origin(annotation) or annotation
    return (
        isinstance(origin, type)
        and issubclass(origin, (Sequence, Set))
        and not issubclass(origin, (str, bytes))
    )


def _is_mapping(annotation: Any) -> bool:
    origin = get_origin(annotation) or annotation
    return isinstance(origin, type) and issubclass(origin, Mapping)


def type_name(annotation: Any) -> str:
    """Name a type as people do who do not write Python: "list of text", "whole number"."""
    members = [member for member in _members(annotation) if member is not type(None)]
    return " or ".join(map(_member_name, members)) or "any"


def _member_name(member: Any) -> str:
    arguments = get_args(member)
    if member in _TYPE_NAMES:
        return _TYPE_NAMES[member]
    if _is_list(member):
        return f"list of {type_name(arguments[0])}" if arguments else "list"
    if _is_mapping(member) or is_table(member):
        return f"table of {type_name(arguments[1])}" if arguments else "table"
    if isinstance(member, type) and issubclass(member, PurePath):
        return "path"
    if arguments:  # of a Literal
        return " or ".join(map(repr, arguments))
    return str(getattr(member, "__name__", "any"))


def raise_for(complaints: Sequence[str]) -> None:
    """Raise `ConfigError` with all complaints, one a line, if there are any."""
    if complaints:
        raise ConfigError("\n".join(dict.fromkeys(complaints)))
