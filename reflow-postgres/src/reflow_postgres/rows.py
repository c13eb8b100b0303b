"""How outcomes stand in rows, and come back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from reflow.storage.stores.queries import digest_of
from reflow.storage.stores.sql import TaskKey, is_found
from reflow.stores.base import InstanceRow, Outcome

INSTANCE_COLUMNS = (
    "element, state, attempt, identity, digest, value, cause, detail, origin, job, started,"
    " ended, paths, prints"
)

# PostgreSQL's text is UTF-8 without NUL; Python's may have both NUL and half of a surrogate pair.
_ESCAPED = "\x01"


def stored(text: str) -> str:
    """Return text as PostgreSQL can keep it; `loaded` undoes it."""
    if text.isascii() and "\0" not in text and _ESCAPED not in text:
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        pass
    else:
        if "\0" not in text and not text.startswith(_ESCAPED):
            return text
    return _ESCAPED + text.encode("unicode_escape", "surrogatepass").decode("ascii")


def loaded(text: str) -> str:
    """Return text as it was before `stored`."""
    if not text.startswith(_ESCAPED):
        return text
    return text[1:].encode("ascii").decode("unicode_escape")


_PUT_TYPES = (
    "bigint", "bigint", "text", "integer", "double precision", "double precision", "bytea", "bytea",
    "boolean", "text", "text", "text", "text", "text", "text", "text",
)  # fmt: skip
_PUT_COLUMNS = (
    "task", "element", "state", "attempt", "started", "ended", "identity", "digest", "found",
    "cause", "origin", "job", "paths", "detail", "value", "prints",
)  # fmt: skip
PUT = (
    f"INSERT INTO instance ({', '.join(_PUT_COLUMNS)})"
    f" SELECT * FROM unnest({', '.join(f'%s::{kind}[]' for kind in _PUT_TYPES)})"
    " ON CONFLICT (task, element) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _PUT_COLUMNS[2:])
)


def columns_of(
    outcomes: Iterable[Outcome], keys: Mapping[str, int], gone: frozenset[str]
) -> list[list[Any]]:
    """Return outcomes, one for each instance, as columns for `PUT`.

    `keys` are the tasks', `gone` the runs that the store does not have any more.
    """
    rows = [
        (
            keys[outcome.task],
            outcome.index,
            outcome.state,
            outcome.attempt,
            outcome.started,
            outcome.ended,
            digest_of(outcome.identity) if outcome.identity else None,
            digest_of(outcome.digest) if outcome.digest else None,
            outcome.identity != "" and is_found(outcome.state, outcome.value, outcome.origin, gone),
            stored(outcome.cause),
            stored(outcome.origin),
            stored(outcome.job),
            stored(json.dumps(outcome.paths)) if outcome.paths else None,
            stored(outcome.detail),
            None if outcome.value is None else stored(outcome.value),
            json.dumps(outcome.prints) if outcome.prints else None,
        )
        for outcome in outcomes
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def instance_row(task: TaskKey, row: tuple[Any, ...]) -> InstanceRow:
    """Return the instance of a row of `INSTANCE_COLUMNS`."""
    (
        element, state, attempt, identity, digest, value, cause, detail, origin, job,
        started, ended, paths, prints,
    ) = row  # fmt: skip
    return InstanceRow(
        task.name,
        element if task.array and element >= 0 else None,
        state,
        attempt,
        identity.hex() if identity else "",
        digest.hex() if digest else "",
        None if value is None else loaded(value),
        value is None and digest is not None,
        loaded(cause),
        loaded(detail),
        loaded(origin),
        loaded(job),
        started,
        ended,
        tuple(json.loads(loaded(paths))) if paths else (),
        tuple(json.loads(prints)) if prints else (),
    )
