"""Where a run stands, read off its record alone; cheap enough to ask again and again."""

from __future__ import annotations

from .journal import JournalReader, is_abandoned
from .owner import is_alive
from .records import Ended, Epoch, Finished, Intent, Note, Outcome, Released, Submitted
from .runrecord import RunRecord
from .states import PENDING, RUNNING, WAITING


class Standing:
    """Where a run stands by its record alone: read, nothing changed."""

    def __init__(self, record: RunRecord) -> None:
        reader = JournalReader(record.files, record.segments)
        records = reader.read(outcomes=False)
        self.finished: str | None = None
        self.driver = ""
        self.notes: list[str] = []
        self.fruitless = 0
        self.progressed = False
        self.epoch = 0
        queued: dict[str, str] = {}
        for one in records:
            if isinstance(one, Finished):
                self.finished = one.state
            elif isinstance(one, Submitted):
                if one.tag in queued:
                    queued[one.tag] = one.job
                else:
                    self.driver = one.job
            elif isinstance(one, Intent) and one.role == "driver":
                self.fruitless += 1
            elif isinstance(one, Intent):
                queued[one.tag] = ""
            elif isinstance(one, Ended):
                queued.pop(one.tag, None)
            elif isinstance(one, Outcome):
                self.fruitless = 0
                self.progressed = True
            elif isinstance(one, Note):
                self.notes.append(one.text)
            elif isinstance(one, Epoch):
                self.epoch = one.number
                self.fruitless = 0
                if one.kind == "retry":
                    self.finished = None
        self.queued = tuple(queued.values())
        """Ids of the jobs that are on record as in a scheduler's hands, "" where in doubt."""
        asked = [int(name.partition(".")[0]) for name in record.files.list(record.epochs)]
        self.asked = max(asked, default=0)
        self.held = (
            reader.segment > 0
            and not isinstance(reader.last, Released)
            and is_alive(reader.owner) is not False
            and not is_abandoned(record.files, reader)
        )

    @property
    def state(self) -> str:
        """The state of the run: final, or whether anything carries it on."""
        if self.finished is not None and self.asked <= self.epoch:
            return self.finished
        if self.held:
            return RUNNING
        if self.queued or (self.driver and is_alive(self.driver) is not False):
            return RUNNING if self.progressed else PENDING
        return WAITING
