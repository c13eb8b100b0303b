"""Where a run stands, read off its record alone; cheap enough to ask again and again."""

from __future__ import annotations

from ..model.spec import WorkflowSpec
from ..states import PENDING, RUNNING, WAITING
from ..storage.claims import latest_request
from ..storage.journal import JournalReader, is_held, last_sign
from ..storage.process_id import is_alive
from ..storage.run_directory import RunRecord
from .planner import Progress
from .replay import Replay

LONGEST_WATCH = 3600.0
"""Seconds after which a queued run's next guard begins, at most."""


class RunView:
    """A run by its record: what has happened (`replay`), what is asked of it, and who holds it.

    Everything is as it was when it was read; nothing is changed. Who needs the elements gives
    the run's `spec`; without it the outcomes are not even read.
    """

    def __init__(self, record: RunRecord, spec: WorkflowSpec | None = None) -> None:
        reader = JournalReader(record.files, record.segments)
        self.replay = Replay(spec)
        self.replay.fold(reader.read(outcomes=spec is not None))
        # After the journal: a request that comes meanwhile counts as open, and is not missed.
        self.asked = latest_request(record.files, record.folder)
        """Number of the last request to cancel or retry, whether or not it was taken up."""
        self.held = is_held(record.files, reader)
        """Whether a process holds the run's lease, as far as can be told from here."""
        self.seen_at = last_sign(record.files, reader) if reader.segment else 0.0
        """When anybody last had the run in hand, in seconds since the epoch; 0: unknown."""

    @property
    def progress(self) -> Progress:
        """The elements; none where no `spec` was given."""
        return self.replay.progress

    @property
    def is_asked(self) -> bool:
        """Whether a request to cancel or retry has not been taken up yet."""
        return self.asked > self.replay.epoch

    @property
    def ended(self) -> str | None:
        """The state in which the run has ended; None if it goes on, or is asked to."""
        return None if self.is_asked else self.replay.finished

    @property
    def state(self) -> str:
        """The state of the run: how it ended, or whether anything carries it on."""
        ended = self.ended
        if ended is not None:
            return ended
        if self.held:
            return RUNNING
        if self._is_carried_on():
            return RUNNING if self.replay.progressed else PENDING
        return WAITING

    def _is_carried_on(self) -> bool:
        """Whether a driver, or a job in the queue, will take the run up by itself."""
        queued = self.replay.queued()
        if self.replay.stuck and not any(job.intent.task for job in queued):
            return False  # what lives only looks on: it may not submit
        if any(job.job for job in queued):
            return True
        driver = self.replay.driver
        return bool(driver) and is_alive(driver) is not False
