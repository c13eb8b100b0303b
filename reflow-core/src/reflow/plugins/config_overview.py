"""What holds, where each value comes from, and what is wrong: for `reflow config show`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping

from attrs import frozen

from ..config.loading import known_variables
from ..config.provenance import DEFAULT, Key, Origin, dotted, taken_apart
from ..config.settings import TABLES, Config
from ..config.structure import is_table, table_keys, variables_of
from ..errors import ConfigError, ReflowError, nearest
from .installed_executors import installed_executors
from .targets import BACKENDS


@frozen(kw_only=True)
class Row:
    """A key with the value that holds and where that came from."""

    key: Key
    value: object
    origin: Origin


@frozen(kw_only=True)
class Overview:
    """Every key with its value; `problems` are to be mended, `notes` are no fault."""

    rows: tuple[Row, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def overview(config: Config) -> Overview:
    """Look at a configuration together with what is installed and the environment.

    Loads all plugins and the classes of all executors. Raises nothing for a broken one:
    that is a problem of its own.
    """
    rows = [row for name, cls in TABLES.items()
            for row in _rows(getattr(config, name), cls, (name,), config.origin)]  # fmt: skip
    problems: list[str] = []
    notes: list[str] = []
    variables = set(known_variables())
    executors = {one.name: one for one in installed_executors()}
    for name in sorted({*executors, *config.executor}):
        at, known = ("executor", name), executors.get(name)
        made: object = None
        if known is not None and known.cls is not None:
            variables.update(variables_of(known.cls, at))
            try:
                made = config.executor_settings(name, known.cls)
                rows += _rows(made, known.cls, at, _origins_in(config, name, known.cls))
            except ConfigError as error:
                problems.extend(str(error).splitlines())
        if made is None:
            rows += _raw(config.executor.get(name, {}), at, config.origin)
        if known is not None and known.problem:
            notes.append(known.problem)
        elif known is None and config.executor[name]:
            origin = next((one for key, one in config.origins.items() if key[:2] == at), "code")
            close = nearest(name, [*executors, *BACKENDS])
            said = f"{origin}: [{dotted(at)}]: no executor of that name is installed"
            if close and close != name:
                problems.append(f"{said}: did you mean {close!r}?")
            else:
                notes.append(said)
    problems.extend(_not_found(config))
    problems.extend(_meaningless(variables, set(executors) | set(config.executor)))
    return Overview(rows=tuple(rows), problems=tuple(problems), notes=tuple(notes))


def _rows(
    made: object, cls: type, at: Key, origin: Callable[..., Origin]
) -> Iterator[Row]:
    for one in table_keys(cls).values():
        key, value = (*at, one.name), getattr(made, one.attribute)
        if is_table(one.annotation) and value is not None:
            yield from _rows(value, one.annotation, key, origin)
        elif isinstance(value, Mapping) and value:
            yield from _raw(value, key, origin)
        else:
            yield Row(key=key, value=without_password(value), origin=origin(*key))


def _raw(table: Mapping[str, object], at: Key, origin: Callable[..., Origin]) -> Iterator[Row]:
    for key, value in taken_apart(table, at):
        yield Row(key=key, value=without_password(value), origin=origin(*key))


def _origins_in(config: Config, name: str, cls: type) -> Callable[..., Origin]:
    settings = config.executor_table(name, cls)

    def origin(*key: str) -> Origin:
        known = settings.get(key[2:])
        return Origin(kind=DEFAULT) if known is None else known.origin

    return origin


def without_password(value: object) -> object:
    """Return a URL without the password in it: people show this around."""
    if isinstance(value, str):
        value = re.sub(r"(://[^/@:?#]*:)[^/@]*@", r"\1***@", value)
        # Some databases take it as a parameter.
        return re.sub(r"(?i)([?&]\w*(?:password|passwd|pwd)=)[^&#]*", r"\1***", value)
    return value


def _not_found(config: Config) -> Iterator[str]:
    from .lookup import executor_class, observers

    if config.run.executor != "local":
        try:
            executor_class(config.run.executor)
        except ReflowError as error:
            yield f"{config.origin('run', 'executor')}: run.executor: {error}"
    try:
        observers(config.run.observers)
    except ReflowError as error:
        yield f"{config.origin('run', 'observers')}: run.observers: {error}"


def _meaningless(variables: set[str], names: set[str]) -> Iterator[str]:
    """Yield a complaint for each variable that begins as ours do and is none."""
    for variable in sorted(os.environ):
        if not variable.startswith("REFLOW_") or variable in variables:
            continue
        close = nearest(variable, variables)
        hint = f": did you mean {close}?" if close else ""
        yield f"{variable}: no variable of that name means anything to reflow{hint}"
