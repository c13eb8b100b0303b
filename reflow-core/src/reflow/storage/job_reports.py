"""What schedulers said of the jobs of elements that have ended: node, exit code, signal, times.

For people alone: nothing that a run does depends on it. So it stands beside the journal, in one
file for each dispatch pass that heard something, and earlier versions do not look at it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import NamedTuple

from .filesystem import Files


class JobReport(NamedTuple):
    """What the scheduler said of one attempt of an element; None or () where it says nothing.

    Times are seconds since the epoch. `exit_code` and `signal` are those of the job's script, which
    itself ends well where it could publish how its worker died.
    """

    task: str
    index: int  # type: ignore[assignment]  # a field, not tuple.index
    attempt: int
    nodes: tuple[str, ...] = ()
    exit_code: int | None = None
    signal: int | None = None
    started: float | None = None
    ended: float | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing."""
        return not self.nodes and all(value is None for value in self[4:])


def write_reports(files: Files, folder: str, lease: int, reports: Sequence[JobReport]) -> None:
    """Keep the reports that the holder of a lease of that number got, in a run's record."""
    with contextlib.suppress(OSError):  # what carries the run on must not fail for want of them
        files.make_folder(_place(folder))
        data = json.dumps(reports).encode()
        files.create(f"{_place(folder)}/{lease:06d}.json", data)


def read_reports(files: Files, folder: str) -> dict[tuple[str, int, int], JobReport]:
    """Return all reports of a run's record by (task, index, attempt)."""
    reports = {}
    for name in sorted(files.list(_place(folder))):
        try:
            rows = json.loads(files.read(f"{_place(folder)}/{name}"))
            for task, index, attempt, nodes, *numbers in rows:
                report = JobReport(task, index, attempt, tuple(nodes), *numbers)
                reports[task, index, attempt] = report
        except (OSError, ValueError, TypeError):
            continue  # damaged, or of a later version: the run goes on without it
    return reports


def _place(folder: str) -> str:
    return f"{folder}/reports"
