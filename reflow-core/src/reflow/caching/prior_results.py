"""The results of older runs, in a file, for workers queued before their inputs were there.

A worker that has found out its identity looks it up here, in two short reads however many
results there are: rows are sorted by identity, and a table says where those begin that
share the first byte. Workers import this: no attrs.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from typing import NamedTuple

from ..storage.filesystem import Files

_TABLE = struct.Struct("<257Q")

MOST_BYTES = 32 * 1024 * 1024
"""A file of older results grows to about so much; newer results go first."""


class Known(NamedTuple):
    """A result of an older run; most fields are those of `reflow.stores.base.CachedResult`.

    `unsettled` is as in an outcome.
    """

    identity: str
    digest: str
    value: str | None
    paths: tuple[str, ...]
    run_id: str
    record: str
    prints: tuple[str, ...] = ()
    unsettled: bool = False


def write_known(files: Files, path: str, results: Iterable[Known]) -> None:
    """Write a file of results: of one identity the first counts, and of all the first few."""
    rows: dict[str, bytes] = {}
    size = 0
    for one in results:
        if one.identity not in rows:
            row = json.dumps(one, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
            size += len(row)
            if size > MOST_BYTES:
                break
            rows[one.identity] = row
    offsets, body = [0] * 257, bytearray()
    place = 0
    for identity in sorted(rows):
        first = int(identity[:2], 16)
        while place <= first:
            offsets[place] = len(body)
            place += 1
        body += rows[identity]
    offsets[place:] = [len(body)] * (257 - place)
    files.write(path, _TABLE.pack(*offsets) + bytes(body))


def find_known(files: Files, path: str, identity: str) -> Known | None:
    """Return the result of an identity, None if the file has none."""
    offsets = _TABLE.unpack(files.read(path, 0, _TABLE.size))
    first = int(identity[:2], 16)
    start, end = offsets[first], offsets[first + 1]
    if start == end:
        return None
    beginning = f'["{identity}"'.encode()
    for row in files.read(path, _TABLE.size + start, end - start).splitlines():
        if row.startswith(beginning):
            found = Known(*json.loads(row))
            return found._replace(paths=tuple(found.paths), prints=tuple(found.prints))
    return None
