"""Instances that other runs have in hand: what has become of them, by those runs' records."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from enum import Enum

from .claims import published
from .errors import ReflowError
from .files import Files
from .journal import JournalReader, is_held
from .ledger import JobState, Ledger
from .owner import is_above, is_alive
from .records import Opened, Outcome
from .runrecord import RunRecord
from .states import DONE
from .stores.base import CachedResult, Underway

STALE_SECONDS = 2 * 3600.0
"""So long after its last record a queued run counts as given up where nobody can ask after its
jobs: twice the time between two of its guards."""


class Prospect(Enum):
    """What is to be expected of an instance that another run had in hand."""

    UNDER_WAY = "under way"
    GONE = "gone"
    """Nothing: it came out otherwise, or nobody works on it any more."""


class OtherRun:
    """Another run, read off its record as far as it has come; nothing is changed there."""

    def __init__(self, folder: str, files: Files) -> None:
        """Raises `ReflowError` or `OSError` where it cannot be read."""
        self.record = RunRecord(folder, files)
        self.request = self.record.request()
        self.ledger = Ledger(self.request)
        self.opened = 0.0
        self._reader = JournalReader(files, self.record.segments)

    def read(self) -> None:
        """Read what has come since the last time."""
        records = self._reader.read()
        self.ledger.fold(records)
        self.opened = next((o.at for o in reversed(records) if isinstance(o, Opened)), self.opened)

    def holder(self, now: float) -> str:
        """Return the process that carries the run on right now, "" where none does."""
        return self._reader.owner if is_held(self.record.files, self._reader, now) else ""

    def last_sign(self) -> float:
        """Return when the last record was written, by the file server's clock."""
        folder = self.record.segments
        return self.record.files.modified(f"{folder}/{self._reader.segment:06d}.seg")

    def job(self, task: str, index: int) -> JobState | None:
        """Return the job that has an element in hand, if one has."""
        state = self.ledger.progress.tasks.get(task)
        return self.ledger.jobs.get(state.flying.get(index, "")) if state is not None else None

    def outcomes(self, task: str, indices: Iterable[int]) -> dict[int, Outcome]:
        """Return how elements came out, also where no pass has taken note of it yet."""
        state = self.ledger.progress.tasks[task]
        found: dict[int, Outcome] = {}
        wanted: dict[int, int] = {}
        for index in indices:
            outcome = state.outcomes[index] if index < len(state.outcomes) else None
            outcome = outcome or state.whole
            if outcome is not None:
                found[index] = outcome
            elif self.job(task, index) is not None:
                wanted[index] = state.tries[index]
        if wanted:
            for outcome in published(self.record.files, self.record.folder, task, wanted):
                found[outcome.index] = outcome
        return found


class Elsewhere:
    """Looks after instances in the records of other runs.

    `now` returns the file server's time; `has_jobs` says whether a scheduler has anything of a
    queued run: None where it cannot be asked.
    """

    def __init__(
        self,
        files: Files,
        now: Callable[[], float],
        has_jobs: Callable[[OtherRun], bool | None],
    ) -> None:
        self._files = files
        self._now = now
        self._has_jobs = has_jobs
        self._runs: dict[str, OtherRun] = {}
        self._carried_on: dict[str, tuple[bool, bool]] = {}

    def look_again(self) -> None:
        """What is asked from now on is read anew."""
        self._carried_on.clear()

    def since(self, one: Underway) -> float:
        """Return since when an instance has been under way there, in seconds since the epoch."""
        other = self._runs.get(one.run_id)
        if other is None:
            return self._now()
        job = other.job(one.task, one.index)
        return job.intent.at if job is not None else other.opened

    def look(self, held: Mapping[str, Underway]) -> dict[str, CachedResult | Prospect]:
        """Return, by identity, the results that other runs have by now, or what to expect."""
        found: dict[str, CachedResult | Prospect] = dict.fromkeys(held, Prospect.GONE)
        groups: dict[tuple[str, str], dict[str, Underway]] = {}
        for identity, one in held.items():
            groups.setdefault((one.run_id, one.task), {})[identity] = one
        for group in groups.values():
            # What cannot be read cannot be waited for.
            with contextlib.suppress(ReflowError, OSError, KeyError):
                found.update(self._look(group))
        return found

    def _look(self, group: Mapping[str, Underway]) -> dict[str, CachedResult | Prospect]:
        """Do so for instances of one task of one run."""
        found: dict[str, CachedResult | Prospect] = {}
        first = next(iter(group.values()))
        other, carried_on, held = self._read(first)
        outcomes = other.outcomes(first.task, [one.index for one in group.values()])
        for identity, one in group.items():
            outcome = outcomes.get(one.index)
            if outcome is not None:
                if outcome.state in DONE and outcome.identity == identity:
                    found[identity] = _result(one, outcome)
            elif held or (carried_on and other.job(one.task, one.index) is not None):
                found[identity] = Prospect.UNDER_WAY
        return found

    def _read(self, one: Underway) -> tuple[OtherRun, bool, bool]:
        """Return a run, read once until `look_again`; whether somebody carries it on, and
        whether a process does so right now."""
        other = self._runs.get(one.run_id)
        if other is None:
            other = self._runs[one.run_id] = OtherRun(one.record, self._files)
        if one.run_id not in self._carried_on:
            other.read()
            now = self._now()
            holder = other.holder(now)
            # What this very process waits for here it would never come to do.
            held = bool(holder) and not is_above(holder)
            carried_on = held or (not holder and self._is_carried_on(other, now))
            self._carried_on[one.run_id] = (carried_on, held)
            if not carried_on:
                other.read()  # what it left before that was known
        return other, *self._carried_on[one.run_id]

    def _is_carried_on(self, other: OtherRun, now: float) -> bool:
        """Whether anybody will carry on a run that nobody holds right now."""
        live = [job for job in other.ledger.jobs.values() if not job.ended]
        drivers = [job.job for job in live if job.intent.role == "driver" and job.job]
        if drivers:
            return is_alive(drivers[-1]) is not False
        if other.ledger.finished is not None or not live:
            return False
        told = self._has_jobs(other)
        return now - other.last_sign() < STALE_SECONDS if told is None else told


def _result(one: Underway, outcome: Outcome) -> CachedResult:
    return CachedResult(
        one.run_id, one.record, one.task, one.index, outcome.identity, outcome.digest,
        outcome.value, outcome.paths, outcome.prints,
    )  # fmt: skip
