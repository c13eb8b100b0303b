"""Where a run stands, read off its record alone; cheap enough to ask again and again."""

from __future__ import annotations

from collections import Counter

from ..states import PENDING, RUNNING, WAITING
from ..storage.events import (
    Called,
    Ended,
    Epoch,
    Finished,
    Intent,
    Note,
    Retried,
    Submitted,
    Waiting,
)
from ..storage.journal import JournalReader, is_held, last_sign
from ..storage.outcome import Outcome
from ..storage.process_id import is_alive
from ..storage.run_directory import RunRecord

LONGEST_WATCH = 3600.0
"""Seconds after which a queued run's next guard begins, at most."""


class Standing:
    """Where a run stands by its record alone: read, nothing changed."""

    def __init__(self, record: RunRecord) -> None:
        reader = JournalReader(record.files, record.segments)
        records = reader.read(outcomes=False)
        self.finished: str | None = None
        self.finished_at = 0.0
        self.driver = ""
        self.notes: list[str] = []
        self.fruitless = 0
        self.progressed = False
        self.epoch = 0
        ended: set[str] = set()
        self.intents: dict[str, Intent] = {}
        self.ids: dict[str, str] = {}
        """Id of each job that a scheduler was given, "" where that is in doubt, by tag."""
        self.calls: Counter[str] = Counter()
        """How often dispatch passes have called each of the scheduler's commands."""
        self.waiting: dict[str, str] = {}
        """Why jobs do not start, by tag; why tasks are not submitted, by name; by "" why the run
        does not go on."""
        self.retried: Counter[tuple[str, str]] = Counter()
        """How many attempts were tried again, by task and cause."""
        self.place = ""
        """The executor that the run was last retried with, "" for that of its submission."""
        self.reopened = False
        """Whether a retry is under way: older outcomes on record may stand no more."""
        for one in records:
            if isinstance(one, Finished):
                self.finished, self.finished_at = one.state, one.at
                self.reopened = False
            elif isinstance(one, Submitted):
                if one.tag in self.ids:
                    self.ids[one.tag] = one.job
                else:
                    self.driver = one.job
            elif isinstance(one, Intent) and one.role == "driver":
                self.fruitless += 1
            elif isinstance(one, Intent):
                self.ids[one.tag] = ""
                self.intents[one.tag] = one
            elif isinstance(one, Ended):
                ended.add(one.tag)
                self.waiting.pop(one.tag, None)
            elif isinstance(one, Waiting):
                self.waiting[one.tag] = one.reason
            elif isinstance(one, Called):
                self.calls.update(dict(one.commands))
            elif isinstance(one, Retried):
                self.retried[one.task, one.cause] += 1
                self.progressed = True
            elif isinstance(one, Outcome):
                self.fruitless = 0
                self.progressed = True
            elif isinstance(one, Note):
                self.notes.append(one.text)
            elif isinstance(one, Epoch):
                self.epoch = one.number
                self.fruitless = 0
                self.place = one.executor or self.place
                if one.kind == "retry":
                    self.finished, self.reopened = None, True
                    for name in self.waiting.keys() - self.intents.keys() - {""}:
                        del self.waiting[name]
        self.jobs = {tag: job for tag, job in self.ids.items() if tag not in ended}
        """Id of each job that is on record as in a scheduler's hands, by tag."""
        self.queued = tuple(self.jobs.values())
        """Ids of the jobs that are on record as in a scheduler's hands, "" where in doubt: such
        jobs, which may not be there, carry nothing on."""
        asked = [int(name.partition(".")[0]) for name in record.files.list(record.epochs)]
        self.asked = max(asked, default=0)
        self.held = is_held(record.files, reader)
        self.seen_at = last_sign(record.files, reader) if reader.segment else 0.0
        """When anybody last had the run in hand, in seconds since the epoch."""

    @property
    def state(self) -> str:
        """The state of the run: final, or whether anything carries it on."""
        if self.finished is not None and self.asked <= self.epoch:
            return self.finished
        if self.held:
            return RUNNING
        if self.waiting.get("") and not any(self.intents[tag].task for tag in self.jobs):
            return WAITING  # what lives only looks on: it may not submit
        if any(self.queued) or (self.driver and is_alive(self.driver) is not False):
            return RUNNING if self.progressed else PENDING
        return WAITING
