"""Looks whether a store is whole, and whether it says what the records of runs say."""

from __future__ import annotations

import os

from attrs import frozen

from ..errors import ReflowError
from ..storage.filesystem import Files
from ..storage.stores.base import Position, RunRow, Store


@frozen(kw_only=True)
class Problem:
    """What is wrong; `run_id` is "" where it is the store itself."""

    run_id: str
    text: str


def problems_of(store: Store) -> list[Problem]:
    """Return what is wrong with a store, itself first; that a run is not all indexed is no fault.

    Raises `StoreError` where it cannot be read at all.
    """
    found = [Problem(run_id="", text=text) for text in store.check()]
    files = Files()
    for row in store.list_runs():
        try:
            text = _wrong(row, store.position(row.run_id), files)
        except (OSError, ReflowError) as error:
            text = str(error)
        if text:
            found.append(Problem(run_id=row.run_id, text=text))
    return found


def _wrong(row: RunRow, seen: Position, files: Files) -> str:
    if "run.json" not in files.list(row.record):
        return (
            f"its record {row.record} is gone: `reflow store gc --missing` forgets such runs, if"
            " the file system is not just unmounted"
        )
    folder = f"{row.record}/segments"
    numbers = [int(name[:-4]) for name in files.list(folder) if name.endswith(".seg")]
    path = f"{folder}/{seen.segment:06d}.seg"
    ahead = seen.segment > max(numbers, default=0) or (
        seen.segment in numbers and seen.offset > os.stat(path).st_size
    )
    if ahead:
        return (
            "the store has more of it than its record: `reflow store rebuild"
            f" {row.run_dir}` indexes it anew"
        )
    return ""
