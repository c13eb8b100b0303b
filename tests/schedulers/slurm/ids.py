"""Job ids as users write them, and jobs as rows: a pending array is one row."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..engine.cluster import Cluster
from ..engine.model import ENDED, PENDING, Job
from . import words


@dataclass(slots=True)
class Shown:
    """A row of squeue or scontrol: one job, or those of an array that have not parted."""

    jobs: list[Job]
    split: bool = False
    """Whether it stands for one position although it has not parted."""

    @property
    def job(self) -> Job:
        return self.jobs[0]

    @property
    def indices(self) -> str:
        """The positions, or "" where it is no array."""
        if self.job.index is None:
            return ""
        if self.job.number or self.split:
            return str(self.job.index)
        return words.indices((job.index or 0 for job in self.jobs), self.job.request.throttle)

    @property
    def id(self) -> str:
        """The id as squeue writes it."""
        if self.job.index is None or (self.job.state == ENDED and not self.job.number):
            return str(self.job.base)
        alone = self.job.number or self.split
        return f"{self.job.base}_{self.indices if alone else f'[{self.indices}]'}"


def rows(jobs: Iterable[Job], *, split: bool = False) -> Iterator[Shown]:
    """Yield rows for jobs; `split` gives every position its own."""
    groups: dict[tuple[int, str], Shown] = {}
    for job in jobs:
        if job.number or job.index is None:
            yield Shown([job])
        elif split and job.state == PENDING:
            yield Shown([job], split=True)
        else:
            groups.setdefault((job.base, job.state), Shown([])).jobs.append(job)
    yield from groups.values()


def parse(text: str) -> tuple[int, list[int] | None] | None:
    """Read ``5``, ``5_3``, ``5_[0-2,7]``, ``5_*`` or ``5.batch``; None if it is none of these."""
    match = re.fullmatch(r"(\d+)(?:\+\d+)?(?:_(?:(\d+)|\[([\d,:%-]+)\]|\*))?(?:\.\w+)?", text)
    if match is None:
        return None
    number, single, several = match.groups()
    if single is not None:
        return int(number), [int(single)]
    if several is not None:
        indices: list[int] = []
        for part in several.partition("%")[0].split(","):
            span, _, step = part.partition(":")
            first, _, last = span.partition("-")
            indices += range(int(first), int(last or first) + 1, int(step or 1))
        return int(number), indices
    return int(number), None


def chosen(cluster: Cluster, number: int, indices: list[int] | None) -> list[Job]:
    """Return the jobs of an id: of an array all positions, unless some are named."""
    jobs = [job for job in cluster.find(number) if not job.purged]
    if indices is None:
        return jobs
    return [job for job in jobs if number in cluster.jobs and job.index in indices]
