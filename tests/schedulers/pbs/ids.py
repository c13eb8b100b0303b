"""Job ids as users write them, and which jobs they mean."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..engine.cluster import Cluster
from ..engine.model import Job
from . import words


@dataclass(slots=True)
class Found:
    """What an id refers to: all jobs of its number, and the selected ones among them.

    `whole`: the id is that of a plain job or of an array, and not of some elements.
    """

    group: list[Job]
    jobs: list[Job]
    whole: bool

    @property
    def array(self) -> bool:
        return self.group[0].index is not None

    @property
    def over(self) -> bool:
        return not any(job.live for job in self.group)


_ID = re.compile(r"(\d+)(\[(?:(\d+)(?:-(\d+))?)?\])?(?:\.([\w.-]+))?(?:@[\w.-]+)?")


def full(text: str) -> str | None:
    """Return an id with the server's name, or None if it is not an id of this server."""
    match = _ID.fullmatch(text)
    if match is None or match[5] not in (None, words.SERVER):
        return None
    return f"{match[1]}{match[2] or ''}.{words.SERVER}"


def find(cluster: Cluster, text: str) -> Found | None:
    """Return what an id refers to; None if the server does not know it."""
    match = _ID.fullmatch(text)
    if match is None:
        return None
    group = [job for job in cluster.jobs.get(int(match[1]), []) if not job.purged]
    if not group or (group[0].index is not None) != bool(match[2]):
        return None
    if not any(job.live for job in group) and cluster.settings.accounting == "off":
        return None
    if match[3] is None:
        return Found(group, group, True)
    last = int(match[4] or match[3])
    chosen = [job for job in group if int(match[3]) <= (job.index or 0) <= last]
    return Found(group, chosen, False) if chosen else None


def id_of(job: Job, *, whole: bool = False) -> str:
    """Return the id of a job, or of the array that it belongs to."""
    place = "" if job.index is None else f"[{'' if whole else job.index}]"
    return f"{job.base}{place}.{words.SERVER}"
