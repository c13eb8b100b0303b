"""What holds, where each value comes from, and what is wrong: for `reflow config show`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from attrs import evolve, frozen

from ..config.loading import known_variables
from ..config.provenance import DEFAULT, Key, Origin, dotted, taken_apart
from ..config.settings import TABLES, Config
from ..config.structure import is_table, table_keys, variables_of
from ..errors import ConfigError, ReflowError, did_you_mean, nearest
from .installed_executors import InstalledExecutor, installed_executors
from .kinds import BACKENDS


@frozen(kw_only=True)
class Row:
    """A key with the value that holds and where that came from."""

    key: Key
    value: object
    origin: Origin


@frozen(kw_only=True)
class Overview:
    """Every key with its value; `problems` should be fixed, `notes` are for information."""

    rows: tuple[Row, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def overview(config: Config) -> Overview:
    """Look at a configuration together with what is installed and the environment.

    Loads all plugins and the classes of all executors. Raises nothing for a broken plugin:
    that is one of the notes.
    """
    executors = {executor.name: executor for executor in installed_executors()}
    variables = set(known_variables())
    for executor in executors.values():
        if executor.cls is not None:
            variables.update(variables_of(executor.cls, ("executor", executor.name)))
    parts = [
        Overview(rows=tuple(_rows(getattr(config, name), cls, (name,), config.origin)))
        for name, cls in TABLES.items()
    ]
    names = sorted({*executors, *config.executor})
    parts += [_of_executor(config, name, executors) for name in names]
    parts.append(Overview(problems=(*_not_found(config), *_meaningless(variables))))
    return Overview(
        rows=tuple(row for part in parts for row in part.rows),
        problems=tuple(problem for part in parts for problem in part.problems),
        notes=tuple(note for part in parts for note in part.notes),
    )


def _of_executor(
    config: Config, name: str, executors: Mapping[str, InstalledExecutor]
) -> Overview:
    """Look at the table of one executor, installed or not."""
    at, installed = ("executor", name), executors.get(name)
    as_written = tuple(_raw(config.executor.get(name, {}), at, config.origin))
    if installed is None:
        return evolve(_of_absent(config, name, executors), rows=as_written)
    if installed.cls is None:
        return Overview(rows=as_written, notes=(installed.problem,))
    try:
        executor: object = config.executor_settings(name, installed.cls)
    except ConfigError as error:
        return Overview(rows=as_written, problems=tuple(str(error).splitlines()))
    origin = _origins_in(config, name, installed.cls)
    return Overview(rows=tuple(_rows(executor, installed.cls, at, origin)))


def _of_absent(config: Config, name: str, executors: Iterable[str]) -> Overview:
    """Say that an executor with a table is not installed: a misspelt name is a problem."""
    at = ("executor", name)
    if not config.executor[name]:
        return Overview()
    origin = next((place for key, place in config.origins.items() if key[:2] == at), "code")
    text = f"{origin}: [{dotted(at)}]: no executor of that name is installed"
    close = nearest(name, [*executors, *BACKENDS])
    if close and close != name:
        return Overview(problems=(f"{text}: did you mean {close!r}?",))
    return Overview(notes=(text,))


def _rows(
    instance: object, cls: type, at: Key, origin: Callable[..., Origin]
) -> Iterator[Row]:
    for table_key in table_keys(cls).values():
        key, value = (*at, table_key.name), getattr(instance, table_key.attribute)
        if is_table(table_key.annotation) and value is not None:
            yield from _rows(value, table_key.annotation, key, origin)
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
        setting = settings.get(key[2:])
        return Origin(kind=DEFAULT) if setting is None else setting.origin

    return origin


def without_password(value: object) -> object:
    """Return a URL without the password in it: people paste this into mails and issues."""
    if isinstance(value, str):
        value = re.sub(r"(://[^/@:?#]*:)[^/@]*@", r"\1***@", value)
        # Some databases take the password as a parameter.
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


def _meaningless(variables: set[str]) -> Iterator[str]:
    """Yield a complaint for each variable of the environment that reflow does not read."""
    for variable in sorted(os.environ):
        if variable.startswith("REFLOW_") and variable not in variables:
            hint = did_you_mean(variable, variables, ": did you mean {}?")
            yield f"{variable}: no variable of that name means anything to reflow{hint}"
