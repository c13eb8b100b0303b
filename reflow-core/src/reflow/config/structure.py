"""Makes attrs classes of tables, and says what is wrong with them and where."""

from __future__ import annotations

import os
import re
import types
from collections.abc import Mapping, Sequence, Set
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Annotated, Any, ClassVar, TypeVar, Union, get_args, get_origin, get_type_hints

from attrs import NOTHING, Factory, fields, frozen, has

from ..errors import ConfigError, SerializationError, nearest
from ..values.codec import codec_for
from .provenance import CODE, ENVIRONMENT, Key, Origin, Setting, Settings, below, dotted

T = TypeVar("T")


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
    found = {}
    for one in fields(cls):
        hint = hints.get(one.name, Any)
        if not one.init or get_origin(hint) is ClassVar:
            continue
        default = one.default
        if isinstance(default, Factory):  # type: ignore[arg-type]  # typed as a function
            default = None if default.takes_self else default.factory()
        found[one.alias] = TableKey(
            name=one.alias,
            attribute=one.name,
            annotation=hint,
            default=None if default is NOTHING else default,
            required=default is NOTHING,
            converter=one.converter is not None,
            help=one.metadata.get("help", ""),
            example=one.metadata.get("example"),
            variable=one.metadata.get("variable"),
            instead_of=one.metadata.get("instead_of"),
        )
    return found


def variable_of(key: Key) -> str:
    """Return the environment variable of a key: ``REFLOW_STORE_PATH``."""
    return "REFLOW_" + re.sub(r"\W", "_", "_".join(key)).upper()


def variables_of(cls: type, at: Key) -> dict[str, tuple[Key, TableKey]]:
    """Return the environment variables of a table, each with the key it sets."""
    found = {}
    for one in table_keys(cls).values():
        key = (*at, one.name)
        if is_table(one.annotation):
            found.update(variables_of(one.annotation, key))
        else:
            found[one.variable or variable_of(key)] = (key, one)
    return found


def settings_from(
    environment: Mapping[str, str], variables: Mapping[str, tuple[Key, TableKey]]
) -> dict[Key, Setting]:
    """Return what environment variables set. Texts are read by the keys' types.

    An empty variable is an empty list where a list is wanted, else as good as not set.
    """
    found: dict[Key, Setting] = {}
    for variable, (key, one) in variables.items():
        text = environment.get(variable)
        if text is None:
            continue
        annotation = Any if one.converter else one.annotation
        if not text.strip() and not any(map(_is_list, _members(annotation))):
            continue
        origin = Origin(kind=ENVIRONMENT, variable=variable)
        value = native_of(text, annotation)
        if isinstance(value, Mapping):
            found.update({(*key, name): Setting(part, origin) for name, part in value.items()})
        else:
            found[key] = Setting(value, origin)
    return found


def native_of(text: str, annotation: Any) -> object:
    """Return the value, of TOML's own types, that a text stands for.

    Lists are separated by commas, mappings are ``key=value`` so separated. What does
    not fit stays text, for the reader to complain about.
    """
    members = _members(annotation)
    for member in members:
        if _is_list(member):
            item = next(iter(get_args(member)), str)
            return [native_of(part.strip(), item) for part in text.split(",") if part.strip()]
        if _is_mapping(member):
            pairs = [part.partition("=") for part in text.split(",") if part.strip()]
            if all(equals for _, equals, _ in pairs):
                item = (*get_args(member), str, str)[1]
                return {key.strip(): native_of(part.strip(), item) for key, _, part in pairs}
    if bool in members and text.strip().lower() in ("true", "1", "false", "0"):
        return text.strip().lower() in ("true", "1")
    for number in (int, float):
        if number in members:
            try:
                return number(text)
            except ValueError:
                continue
    return text


def read_table(
    cls: type[T],
    settings: Settings,
    at: Key,
    complaints: list[str],
    elsewhere: Mapping[str, str] | None = None,
) -> T | None:
    """Make an instance of an attrs class from the settings of a table.

    `settings` are by the part of the key below `at`, which is the table's own key.
    `elsewhere` says of keys in which other table they belong. Whatever is wrong is
    added to `complaints`, one line each, and then there is no instance.
    """
    described: type = cls
    before, keys = len(complaints), table_keys(described)
    if settings and not keys:
        complaints.append(f"{_where(settings)}[{dotted(at)}]: {cls.__qualname__} has no settings")
        return None
    values: dict[str, object] = {}
    for name in dict.fromkeys(key[0] for key in settings if key):
        group, key = below(settings, (name,)), (*at, name)
        if name not in keys:
            complaints.append(unknown(group, key, keys, elsewhere or {}))
            continue
        known = keys[name]
        value = _nested(group)
        if is_table(known.annotation):
            if not isinstance(value, Mapping):
                complaints.append(no_table(group, key))
                continue
            inner = {} if () in group else group
            values[name] = read_table(known.annotation, inner, key, complaints)
        elif known.converter:
            values[name] = value
        else:
            try:
                decoded = codec_for(known.annotation).decode_native(value)
                values[name] = _anchored(decoded, first_origin(group).folder)
            except (SerializationError, RuntimeError, OSError) as error:
                complaints.append(f"{_where(group)}{dotted(key)} = {value!r}: {error}")
    for known in keys.values():
        if known.required and known.name not in values and len(complaints) == before:
            complaints.append(f"{_where(settings)}[{dotted(at)}]: key {known.name!r} is required")
    if len(complaints) > before:
        return None
    made, refusal = _try(cls, values)
    if refusal is not None:
        complaints.append(_refused(cls, values, settings, at, refusal))
    return made


def _try(cls: type[T], values: Mapping[str, object]) -> tuple[T | None, Exception | None]:
    make: Any = cls
    try:
        return make(**values), None
    except Exception as error:  # Converters and validators of plugins may raise anything.
        return None, error


def _refused(
    cls: type, values: Mapping[str, object], settings: Settings, at: Key, error: Exception
) -> str:
    """Say which value the class did not take: the one that fails in the same way alone."""
    text = _said(error)
    needed = {one.name: values[one.name] for one in table_keys(cls).values() if one.required}
    for name, value in values.items():
        alone = _try(cls, {**needed, name: value})[1]
        if alone is not None and _said(alone) == text:
            group = below(settings, (name,))
            return f"{_where(group)}{dotted((*at, name))} = {_nested(group)!r}: {text}"
    return f"{_where(settings)}[{dotted(at)}]: {text}"


def _said(error: Exception) -> str:
    # attrs' validators add the attribute and the value to the arguments.
    text = str(error.args[0]) if error.args else ""
    return text or type(error).__name__


def first_origin(settings: Settings) -> Origin:
    """Return where the first of some settings came from."""
    return next((one.origin for one in settings.values()), Origin(kind=CODE))


def _where(settings: Settings) -> str:
    origin = first_origin(settings)
    return "" if origin.kind == CODE else f"{origin}: "


def unknown(
    settings: Settings, key: Key, allowed: Mapping[str, object], elsewhere: Mapping[str, str]
) -> str:
    """Say that a key (or, at the top, a table) is none, what was meant and what there is."""
    name, plural = key[-1], "keys" if _depth(key) else "tables"
    kind = "table" if isinstance(_nested(settings), Mapping) else "key"
    close = nearest(name, allowed)
    if name in elsewhere:
        hint = f": it belongs in [{elsewhere[name]}]"
    elif close:
        hint = f": did you mean {close!r}?"
    else:
        hint = ""
    known = ", ".join(sorted(allowed)) or "none"
    return f"{_where(settings)}unknown {kind} {dotted(key)!r}{hint} ({plural}: {known})"


def _depth(key: Key) -> int:
    """Return how many tables a key stands in, its profile's not counted."""
    return len(key) - (3 if key[0] == "profile" and len(key) > 2 else 1)


def no_table(settings: Settings, key: Key, hint: str = "") -> str:
    """Say that a value stands where a table must be."""
    value = _nested(settings)
    return (
        f"{_where(settings)}{dotted(key)} = {value!r}: must be a table, [{dotted(key)}], "
        f"not {type(value).__name__}{hint}"
    )


def _nested(settings: Settings) -> object:
    if () in settings:
        return settings[()].value
    names = dict.fromkeys(key[0] for key in settings)
    return {name: _nested(below(settings, (name,))) for name in names}


def _anchored(value: Any, folder: Path) -> Any:
    """Make paths absolute: "~" is the home folder, relative ones count from `folder`."""
    if isinstance(value, PurePath):
        expanded = Path(value).expanduser()
        return type(value)(os.path.normpath(folder / expanded))
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(_anchored(one, folder) for one in value)
    if type(value) is dict:
        return {key: _anchored(one, folder) for key, one in value.items()}
    return value


def is_table(annotation: Any) -> bool:
    """Whether values of an annotation are tables with known keys."""
    return isinstance(annotation, type) and has(annotation)


def _members(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(one for part in get_args(annotation) for one in _members(part))
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
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    parts = []
    for one in _members(annotation):
        arguments = [part for part in get_args(one) if part is not Ellipsis]
        if one is type(None):
            continue
        if one in names:
            parts.append(names[one])
        elif _is_list(one):
            parts.append(f"list of {type_name(arguments[0])}" if arguments else "list")
        elif _is_mapping(one) or is_table(one):
            parts.append(f"table of {type_name(arguments[1])}" if arguments else "table")
        elif isinstance(one, type) and issubclass(one, PurePath):
            parts.append("path")
        elif arguments:
            parts.append(" or ".join(repr(part) for part in arguments))
        else:
            parts.append(getattr(one, "__name__", "any"))
    return " or ".join(parts) or "any"


def raise_for(complaints: Sequence[str]) -> None:
    """Raise `ConfigError` with all complaints, one a line, if there are any."""
    if complaints:
        raise ConfigError("\n".join(dict.fromkeys(complaints)))
