"""Puts the configuration together: files, profiles and the environment, by precedence."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from ..errors import ConfigError, nearest
from .paths import (
    GIVEN,
    IGNORED,
    MISSING,
    READ,
    SITE,
    USER,
    FileSeen,
    config_path,
    look,
    look_for_project,
    site_paths,
)
from .provenance import FILE, Key, Origin, Setting, Settings, below, dotted, overlay, taken_apart
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
from .toml import key_lines


@frozen(kw_only=True)
class Document:
    """What one file says: `base` is its tables, `profiles` those of each profile."""

    path: Path
    base: Settings
    profiles: Mapping[str, Settings]


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
    files = _files(path)
    documents = [_document(one, complaints) for one in files if one.state == READ]
    layers = [one.base for one in documents]
    chosen = os.environ.get("REFLOW_PROFILE") if profile is None else profile
    if chosen:
        by_variable = "REFLOW_PROFILE: " if profile is None else ""
        layers += _profile(chosen, documents, complaints, by_variable)
    environment = {key: text for key, text in os.environ.items() if key.startswith("REFLOW_")}
    if environment:
        layers.append(_from_environment(environment, complaints))
    raise_for(complaints)
    merged: dict[Key, Setting] = {}
    for layer in layers:
        # Who sets one of two alternatives does not want the other of a lower layer.
        for one, other in _alternatives():
            if one in layer and other not in layer:
                merged.pop(other, None)
        overlay(merged, layer)
    tables: Any = {
        name: read_table(cls, below(merged, (name,)), (name,), complaints)
        for name, cls in TABLES.items()
        if below(merged, (name,))
    }
    raise_for(complaints)
    return Config(
        **tables,
        executor=_executors(merged),
        profile=chosen or None,
        origins={key: one.origin for key, one in merged.items()},
        files=tuple(evolve(one, content=b"") for one in reversed(files)),
        environment={
            key: text for key, text in environment.items() if key.startswith("REFLOW_EXECUTOR_")
        },
    )


def _files(path: str | os.PathLike[str] | None) -> list[FileSeen]:
    """Look for the files, the least important first."""
    if path is not None:
        given = look(Path(path).expanduser().absolute(), GIVEN)
        if given.state == MISSING:
            raise ConfigError(f"no configuration file {given.path}")
        return [given]
    files = [look(one, SITE) for one in reversed(site_paths())]
    try:
        place = config_path()
    except ConfigError:
        place = None  # Without a home there is no user's file.
    if place is not None:
        user = look(place, USER)
        if user.state == MISSING and os.environ.get("REFLOW_CONFIG"):
            raise ConfigError(
                f"REFLOW_CONFIG: no configuration file {place}; write one: reflow config init"
            )
        files.append(user)
    ignored = []
    for found in look_for_project():
        if found.state == IGNORED:
            ignored.append(found)
        elif found.path.name == "reflow.toml" or _section(found) is not None:
            return [*files, found, *ignored]
    return [*files, *ignored]


def _section(file: FileSeen) -> object:
    """Return what stands under tool.reflow in a pyproject.toml, None if nothing does."""
    tool = _parsed(file).get("tool")
    return tool.get("reflow") if isinstance(tool, Mapping) else None


def _text(file: FileSeen) -> str:
    try:
        return file.content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = file.content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{file.path}:{line}: not UTF-8 text: {error.reason}") from error


def _parsed(file: FileSeen) -> dict[str, Any]:
    text = _text(file)
    # Most users have no file, and then nobody waits for a parser.
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{file.path}: not valid TOML: nested too deeply") from None
    except ValueError as error:  # Also of numbers that are too long.
        place = re.search(r"\(at line (\d+), column \d+\)", str(error))
        line = f":{place[1]}" if place else ""
        raise ConfigError(f"{file.path}{line}: not valid TOML: {error}") from error


def _document(file: FileSeen, complaints: list[str]) -> Document:
    """Read one file and check all of it, the profiles that were not chosen too."""
    prefix: Key = ("tool", "reflow") if file.path.name == "pyproject.toml" else ()
    empty = Document(path=file.path, base={}, profiles={})
    if not file.content.strip():
        return empty
    try:
        table: Any = _parsed(file)
    except ConfigError as error:
        complaints.append(str(error))
        return empty
    for name in prefix:
        table = table.get(name, {})
    lines = key_lines(_text(file))

    def origin(key: Key, profile: str | None = None) -> Origin:
        # Of a key with no place of its own, that of the table it is in.
        found = (lines.get((*prefix, *key[:end])) for end in range(len(key), -1, -1))
        line = next((one for one in found if one), None)
        return Origin(kind=FILE, file=file.path, line=line, profile=profile)

    if not isinstance(table, Mapping):
        complaints.append(no_table({(): Setting(table, origin(()))}, prefix))
        return empty
    base: dict[Key, Setting] = {}
    profiles: dict[str, dict[Key, Setting]] = {}
    for key, value in taken_apart(table):
        if key[0] != "profile":
            base[key] = Setting(value, origin(key))
        elif len(key) < 3:
            # Neither [profile] nor an empty [profile.big] is wrong; `profile = "big"` is.
            if value != {}:
                hint = "; choose a profile by --profile or REFLOW_PROFILE"
                complaints.append(no_table({(): Setting(value, origin(key))}, key, hint))
            elif len(key) == 2:
                profiles.setdefault(key[1], {})
        else:
            _, name, *rest = key
            profiles.setdefault(name, {})[tuple(rest)] = Setting(value, origin(key, name))
    _check(base, (), complaints)
    for name, settings in profiles.items():
        _check(settings, ("profile", name), complaints)
    return Document(path=file.path, base=base, profiles=profiles)


def _check(settings: Settings, at: Key, complaints: list[str]) -> None:
    """Complain of what is wrong in the tables of a file or of one of its profiles."""
    elsewhere = {key: name for name, cls in TABLES.items() for key in table_keys(cls)}
    allowed: dict[str, object] = dict.fromkeys([*TABLES, "executor", *([] if at else ["profile"])])
    for name in dict.fromkeys(key[0] for key in settings):
        group, key = below(settings, (name,)), (*at, name)
        alone = group.get(())
        if name not in allowed:
            complaints.append(unknown(group, key, allowed, elsewhere))
        elif alone is not None and alone.value != {}:
            place = f"[{elsewhere[name]}]" if name in elsewhere else ""
            hint = f"; the key {name!r} belongs in {place}" if place else ""
            complaints.append(no_table(group, key, hint))
        elif name == "executor":
            for inner, one in group.items():
                if len(inner) == 1 and one.value != {}:
                    complaints.append(no_table({(): one}, (*key, *inner)))
        else:
            inside = {} if alone is not None else group
            others = {word: table for word, table in elsewhere.items() if table != name}
            read_table(TABLES[name], inside, key, complaints, others)


def _profile(
    name: str, documents: Sequence[Document], complaints: list[str], variable: str
) -> list[Settings]:
    """Return the layers of the chosen profile, one for each file that has it."""
    found = [one.profiles[name] for one in documents if name in one.profiles]
    if not found:
        known = {profile: one.path for one in documents for profile in one.profiles}
        close = nearest(name, known)
        hint = f": did you mean {close!r}?" if close else ""
        listed = ", ".join(f"{profile} in {path}" for profile, path in sorted(known.items()))
        complaints.append(
            f"{variable}no profile named {name!r}{hint} (profiles: {listed or 'none'}; "
            f"a profile is made by tables such as [{dotted(('profile', name, 'run'))}])"
        )
    return found


def _from_environment(environment: Mapping[str, str], complaints: list[str]) -> Settings:
    found: dict[Key, Setting] = {}
    for name, cls in TABLES.items():
        there = settings_from(environment, variables_of(cls, (name,)))
        if there:
            read_table(cls, below(there, (name,)), (name,), complaints)
        found.update(there)
    return found


def _executors(merged: Settings) -> dict[str, dict[str, object]]:
    tables: dict[str, dict[str, object]] = {}
    for (name, *rest), setting in below(merged, ("executor",)).items():
        table: dict[str, Any] = tables.setdefault(name, {})
        for part in rest[:-1]:
            table = table.setdefault(part, {})
        if rest:
            table[rest[-1]] = setting.value
    return tables


def _alternatives() -> Iterator[tuple[Key, Key]]:
    for name, cls in TABLES.items():
        for one in table_keys(cls).values():
            if one.instead_of:
                pair = ((name, one.name), (name, one.instead_of))
                yield from (pair, pair[::-1])


def known_variables() -> Iterable[str]:
    """Return the variables that mean something, but for those of executors."""
    own = (one for name, cls in TABLES.items() for one in variables_of(cls, (name,)))
    return [*own, "REFLOW_CONFIG", "REFLOW_PROFILE", "REFLOW_TRACE_PLUGINS"]
