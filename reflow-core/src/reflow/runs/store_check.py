"""Checks that a store is intact, and that it agrees with the records of runs."""

from __future__ import annotations

import os

from attrs import frozen

from ..errors import ReflowError
from ..storage.filesystem import Files
from ..storage.journal import segments_in
from ..storage.stores.base import Position, RunRow, Store


@frozen(kw_only=True)
class Problem:
    """What is wrong; `run_id` is "" for the store itself."""

    run_id: str
    text: str


def problems_of(store: Store) -> list[Problem]:
    """Return what is wrong with a store, first with itself. A run may be indexed in part.

    Raises `StoreError` if it cannot be read at all.
    """
    problems = [Problem(run_id="", text=text) for text in store.check()]
    files = Files()
    for row in store.list_runs():
        try:
            text = _problem(row, store.position(row.run_id), files)
        except (OSError, ReflowError) as error:
            text = str(error)
        if text:
            problems.append(Problem(run_id=row.run_id, text=text))
    return problems


def _problem(row: RunRow, indexed: Position, files: Files) -> str:
    """Say what is wrong with what a store has of a run; "" for nothing."""
    if "run.json" not in files.list(row.record):
        return (
            f"its record {row.record} is gone: `reflow store gc --missing` forgets such runs, but"
            " check first that the file system is mounted"
        )
    segments = segments_in(files, f"{row.record}/segments")
    numbers = segments.numbers()
    ahead = indexed.segment > max(numbers, default=0) or (
        indexed.segment in numbers
        and indexed.offset > os.stat(segments.path(indexed.segment)).st_size
    )
    if ahead:
        return (
            "the store has more of it than its record does: `reflow store rebuild"
            f" {row.run_dir}` indexes it again"
        )
    return ""
