"""Puts the configuration together: files, profiles and the environment, by precedence."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from ..errors import ConfigError, did_you_mean
from .paths import READ, FileSeen, find_files
from .provenance import (
    FILE,
    Key,
    Layer,
    Origin,
    Setting,
    below,
    dotted,
    names,
    overlay,
    taken_apart,
)
from .settings import TABLES, Config
from .structure import (
    no_table,
    raise_for,
    read_table,
    settings_from,
    table_keys,
    unknown,
    variables_of,
)
from .toml import decode, key_lines, parse

_EMPTY_TABLE = Setting({}, Origin(kind=FILE))


@frozen(kw_only=True)
class Document:
    """What one file says: `base` is its tables, `profiles` those of each profile."""

    path: Path
    base: Layer
    profiles: Mapping[str, Layer]


def load_config(
    path: str | os.PathLike[str] | None = None, *, profile: str | None = None
) -> Config:
    """Read the configuration of this user, here.

    From the most important: ``REFLOW_*`` variables; the chosen profile of any file; the
    project's file (the nearest ``reflow.toml``, or ``pyproject.toml`` with
    ``[tool.reflow]``, going up from the current folder); the user's file
    (`config_path`); the site's files; defaults. Tables are merged key by key. With
    `path`, that file stands in the place of all files. `profile` is a profile's name;
    None: ``$REFLOW_PROFILE``; "": none.

    Files may be missing, but for one that `path` or ``$REFLOW_CONFIG`` names. Raises
    `ConfigError`, with a line for each problem, for a file that cannot be read or is
    not TOML, for unknown keys, values of the wrong type and an unknown profile.
    """
    complaints: list[str] = []
    files = find_files(path)
    documents = [_document(file, complaints) for file in files if file.state == READ]
    layers = [document.base for document in documents]
    chosen = os.environ.get("REFLOW_PROFILE") if profile is None else profile
    if chosen:
        by_variable = "REFLOW_PROFILE: " if profile is None else ""
        layers += _profile(chosen, documents, complaints, by_variable)
    layers.append(_from_environment(complaints))
    raise_for(complaints)
    merged = _merged(layers)
    tables: Any = {}
    for name, cls in TABLES.items():
        if name in names(merged):
            tables[name] = read_table(cls, below(merged, (name,)), (name,), complaints)
    raise_for(complaints)
    return Config(
        **tables,
        executor=_executors(merged),
        profile=chosen or None,
        origins={key: setting.origin for key, setting in merged.items()},
        files=tuple(evolve(file, content=b"") for file in reversed(files)),
        environment=_variables("REFLOW_EXECUTOR_"),
    )


# The files


def _document(file: FileSeen, complaints: list[str]) -> Document:
    """Read one file and check all of it, the profiles that were not chosen too."""
    prefix: Key = ("tool", "reflow") if file.path.name == "pyproject.toml" else ()
    empty = Document(path=file.path, base={}, profiles={})
    if not file.content.strip():
        return empty
    try:
        text = decode(file.content, file.path)
        table: Any = parse(text, file.path)
    except ConfigError as error:
        complaints.append(str(error))
        return empty
    for name in prefix:
        table = table.get(name, {})
    origin = _origins(file.path, key_lines(text), prefix)
    if not isinstance(table, Mapping):
        complaints.append(no_table({(): Setting(table, origin(()))}, prefix))
        return empty
    base, profiles = _split(table, origin, complaints)
    _check(base, (), complaints)
    for name, settings in profiles.items():
        _check(settings, ("profile", name), complaints)
    return Document(path=file.path, base=base, profiles=profiles)


def _origins(path: Path, lines: Mapping[Key, int], prefix: Key) -> Callable[..., Origin]:
    """Return a function that says where a key, of a profile or of none, stands in a file."""

    def origin(key: Key, profile: str | None = None) -> Origin:
        # A key without a place of its own stands where the table does that it is in.
        tables = (lines.get((*prefix, *key[:end])) for end in range(len(key), -1, -1))
        return Origin(kind=FILE, file=path, line=next(filter(None, tables), None), profile=profile)

    return origin


def _split(
    table: Mapping[str, object], origin: Callable[..., Origin], complaints: list[str]
) -> tuple[dict[Key, Setting], dict[str, dict[Key, Setting]]]:
    """Return what a file says outside of profiles, and what each of its profiles says."""
    base: dict[Key, Setting] = {}
    profiles: dict[str, dict[Key, Setting]] = {}
    for key, value in taken_apart(table):
        if key[0] != "profile":
            base[key] = Setting(value, origin(key))
        elif len(key) >= 3:
            _, name, *inside = key
            profiles.setdefault(name, {})[tuple(inside)] = Setting(value, origin(key, name))
        # Neither [profile] nor an empty [profile.big] is wrong; `profile = "big"` is.
        elif value != {}:
            hint = "; choose a profile by --profile or REFLOW_PROFILE"
            complaints.append(no_table({(): Setting(value, origin(key))}, key, hint))
        elif len(key) == 2:
            profiles.setdefault(key[1], {})
    return base, profiles


def _check(settings: Layer, at: Key, complaints: list[str]) -> None:
    """Complain of what is wrong in the tables of a file or of one of its profiles."""
    allowed = dict.fromkeys([*TABLES, "executor"] if at else [*TABLES, "executor", "profile"])
    homes = {key: name for name, cls in TABLES.items() for key in table_keys(cls)}
    for name in names(settings):
        group, key = below(settings, (name,)), (*at, name)
        if group.get((), _EMPTY_TABLE).value != {} and name in allowed:
            hint = f"; the key {name!r} belongs in [{homes[name]}]" if name in homes else ""
            complaints.append(no_table(group, key, hint))
        elif name in TABLES:
            group.pop((), None)
            elsewhere = {key: table for key, table in homes.items() if table != name}
            read_table(TABLES[name], group, key, complaints, elsewhere)
        elif name == "executor":
            complaints.extend(_values_for_tables(group, key))
        else:
            complaints.append(unknown(group, key, allowed, homes))


def _values_for_tables(group: Layer, at: Key) -> Iterator[str]:
    """Complain of values where tables of executors must be; their keys are checked later."""
    for key, setting in group.items():
        if len(key) == 1 and setting.value != {}:
            yield no_table({(): setting}, (*at, *key))


# The layers


def _profile(
    name: str, documents: Sequence[Document], complaints: list[str], variable: str
) -> list[Layer]:
    """Return the layers of the chosen profile, one for each file that has it."""
    layers = [document.profiles[name] for document in documents if name in document.profiles]
    if not layers:
        places = {profile: document.path for document in documents for profile in document.profiles}
        listed = ", ".join(f"{profile} in {path}" for profile, path in sorted(places.items()))
        complaints.append(
            f"{variable}no profile named {name!r}{did_you_mean(name, places)} "
            f"(profiles: {listed or 'none'}; "
            f"a profile is made by tables such as [{dotted(('profile', name, 'run'))}])"
        )
    return layers


def _variables(prefix: str) -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if name.startswith(prefix)}


def _from_environment(complaints: list[str]) -> Layer:
    environment = _variables("REFLOW_")
    layer: dict[Key, Setting] = {}
    for name, cls in TABLES.items() if environment else ():
        settings = settings_from(environment, variables_of(cls, (name,)))
        if settings:
            read_table(cls, below(settings, (name,)), (name,), complaints)
        layer.update(settings)
    return layer


def _merged(layers: Iterable[Layer]) -> dict[Key, Setting]:
    """Put layers over each other, the least important first."""
    merged: dict[Key, Setting] = {}
    for layer in filter(None, layers):
        # Who sets one of two alternatives does not want the other of a lower layer.
        for key, alternative in _alternatives():
            if key in layer and alternative not in layer:
                merged.pop(alternative, None)
        overlay(merged, layer)
    return merged


def _executors(merged: Layer) -> dict[str, dict[str, object]]:
    tables: dict[str, dict[str, object]] = {}
    for (name, *path), setting in below(merged, ("executor",)).items():
        table: dict[str, Any] = tables.setdefault(name, {})
        for part in path[:-1]:
            table = table.setdefault(part, {})
        if path:
            table[path[-1]] = setting.value
    return tables


def _alternatives() -> Iterator[tuple[Key, Key]]:
    for name, cls in TABLES.items():
        for key in table_keys(cls).values():
            if key.instead_of:
                pair = ((name, key.name), (name, key.instead_of))
                yield from (pair, pair[::-1])


def known_variables() -> Iterable[str]:
    """Return the variables that mean something, but for those of executors."""
    own = (key for name, cls in TABLES.items() for key in variables_of(cls, (name,)))
    return [*own, "REFLOW_CONFIG", "REFLOW_PROFILE", "REFLOW_TRACE_PLUGINS"]
