"""The results of older runs, in a file, for workers queued before their inputs were there.

A worker that has computed its identity looks it up here, in two short reads however many
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


class PriorResult(NamedTuple):
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


def write_prior_results(files: Files, path: str, results: Iterable[PriorResult]) -> None:
    """Write a file of results: of one identity the first counts, and of all the first few."""
    rows: dict[str, bytes] = {}
    size = 0
    for result in results:
        if result.identity not in rows:
            row = json.dumps(result, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
            size += len(row)
            if size > MOST_BYTES:
                break
            rows[result.identity] = row
    # For each first byte of an identity, where its rows begin; then the end of the last.
    offsets, body = [0] * 257, bytearray()
    filled = 0
    for identity in sorted(rows):
        first = int(identity[:2], 16)
        while filled <= first:
            offsets[filled] = len(body)
            filled += 1
        body += rows[identity]
    offsets[filled:] = [len(body)] * (257 - filled)
    files.write(path, _TABLE.pack(*offsets) + bytes(body))


def find_prior_result(files: Files, path: str, identity: str) -> PriorResult | None:
    """Return the result of an identity, None if the file has none."""
    offsets = _TABLE.unpack(files.read(path, 0, _TABLE.size))
    first = int(identity[:2], 16)
    start, end = offsets[first], offsets[first + 1]
    if start == end:
        return None
    beginning = f'["{identity}"'.encode()
    for row in files.read(path, _TABLE.size + start, end - start).splitlines():
        if row.startswith(beginning):
            result = PriorResult(*json.loads(row))
            return result._replace(paths=tuple(result.paths), prints=tuple(result.prints))
    return None
