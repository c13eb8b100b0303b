"""How runs and outcomes stand in rows, and come back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from reflow.errors import StoreError
from reflow.states import CACHED, SUCCESS
from reflow.stores.base import InstanceRow, Outcome, RunRow

RUN_COLUMNS = (
    "run_id, graph_name, user_id, created_at, run_dir, record, status, parameters, executor"
)
INSTANCE_COLUMNS = (
    "task, element, state, attempt, identity, digest, value, cause, detail, origin, job, started,"
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


def digest_of(text: str) -> bytes:
    """Return the bytes of a digest in hex. Raises `StoreError` for anything else."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise StoreError(f"an identity or digest must be given in hex, not as {text!r}") from None


PUT_TYPES = (
    "bigint", "bigint", "text", "integer", "double precision", "double precision", "bytea", "bytea",
    "boolean", "text", "text", "text", "text", "text", "text", "text",
)  # fmt: skip
_PUT_COLUMNS = (
    "task", "element", "state", "attempt", "started", "ended", "identity", "digest", "found",
    "cause", "origin", "job", "paths", "detail", "value", "prints",
)  # fmt: skip
PUT = (
    f"INSERT INTO instance ({', '.join(_PUT_COLUMNS)})"
    f" SELECT * FROM unnest({', '.join(f'%s::{kind}[]' for kind in PUT_TYPES)})"
    " ON CONFLICT (task, element) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _PUT_COLUMNS[2:])
)


def columns_of(
    outcomes: Iterable[Outcome], keys: Mapping[str, int], gone: frozenset[str]
) -> list[list[Any]]:
    """Return outcomes, one for each instance, as columns for `PUT`.

    `keys` are the tasks', `gone` the runs that nobody knows any more.
    """
    rows = []
    for one in outcomes:
        # Of a taken-over result the first copy is found, as long as its run is there. A value
        # that stands in a file has a copy here, which may be the last; one without an origin is
        # nowhere else under this identity.
        found = one.identity != "" and (
            one.state == SUCCESS
            or (
                one.state == CACHED
                and (one.value is None or not one.origin or one.origin in gone)
            )
        )
        rows.append(
            (
                keys[one.task],
                one.index,
                one.state,
                one.attempt,
                one.started,
                one.ended,
                digest_of(one.identity) if one.identity else None,
                digest_of(one.digest) if one.digest else None,
                found,
                stored(one.cause),
                stored(one.origin),
                stored(one.job),
                stored(json.dumps(one.paths)) if one.paths else None,
                stored(one.detail),
                None if one.value is None else stored(one.value),
                json.dumps(one.prints) if one.prints else None,
            )
        )
    return [list(column) for column in zip(*rows, strict=True)]


def run_row(row: tuple[Any, ...]) -> RunRow:
    """Return the run of a row of `RUN_COLUMNS`."""
    run_id, graph_name, user_id, created_at, run_dir, record, status, parameters, executor = row
    return RunRow(
        run_id=loaded(run_id),
        graph_name=loaded(graph_name),
        user_id=loaded(user_id),
        created_at=created_at,
        run_dir=loaded(run_dir),
        record=loaded(record),
        status=status,
        parameters=json.loads(parameters),
        executor=loaded(executor),
    )


def instance_row(tasks: Mapping[int, tuple[str, bool]], row: tuple[Any, ...]) -> InstanceRow:
    """Return the instance of a row of `INSTANCE_COLUMNS`."""
    (
        task, element, state, attempt, identity, digest, value, cause, detail, origin, job,
        started, ended, paths, prints,
    ) = row  # fmt: skip
    name, array = tasks[task]
    return InstanceRow(
        name,
        element if array and element >= 0 else None,
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
