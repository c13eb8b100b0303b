"""Instances that other runs have in hand: what has become of them, by those runs' records."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import NamedTuple

from ..errors import ReflowError
from ..executors.base import LIVE, JobStatus
from ..states import DONE
from ..storage.claims import published
from ..storage.events import Opened
from ..storage.filesystem import Files
from ..storage.journal import JournalReader, is_held, last_sign
from ..storage.outcome import Outcome
from ..storage.process_id import is_alive
from ..storage.run_directory import RunRecord
from ..storage.stores.base import CachedResult, Underway
from .executor_of_run import executor_of
from .replay import DRIVER, JobState, Replay

LAG_SECONDS = 30.0
"""So long after its last record a scheduler may not tell of a job that it has."""

STALE_SECONDS = 2 * 3600.0
"""So long after its last record a queued run counts as given up where nobody can ask after its
jobs: twice the time between two of its guards."""


class Prospect(Enum):
    """What is to be expected of an instance that another run had in hand."""

    UNDER_WAY = "under way"
    GONE = "gone"
    """Nothing: it came out otherwise, or nobody works on it any more."""


class _Seen(NamedTuple):
    """What was seen of a run: a process `held` it, or somebody will have it `carried_on`.

    `stuck` are the ids of jobs that do not start before a person acts.
    """

    held: bool = False
    carried_on: bool = False
    stuck: frozenset[str] = frozenset()


class OtherRun:
    """Another run, read off its record as far as it has come; nothing is changed there."""

    def __init__(self, folder: str, files: Files) -> None:
        """Raises `ReflowError` or `OSError` where it cannot be read."""
        self.record = RunRecord(folder, files)
        self.request = self.record.request()
        self.replay = Replay(self.request.spec)
        self.opened = 0.0
        self._reader = JournalReader(files, self.record.segments)

    def read(self) -> None:
        """Read what has come since the last time."""
        records = self._reader.read()
        self.replay.fold(records)
        self.opened = next((o.at for o in reversed(records) if isinstance(o, Opened)), self.opened)

    def holder(self, now: float) -> str:
        """Return the process that carries the run on right now, "" where none does."""
        return self._reader.owner if is_held(self.record.files, self._reader, now) else ""

    def last_sign(self) -> float:
        """Return when it last showed a sign of life, by the file server's clock."""
        return last_sign(self.record.files, self._reader)

    def job(self, task: str, index: int) -> JobState | None:
        """Return the job that has an element in hand, if one has."""
        state = self.replay.progress.tasks.get(task)
        return self.replay.jobs.get(state.flying.get(index, "")) if state is not None else None

    def outcomes(self, task: str, indices: Iterable[int]) -> dict[int, Outcome]:
        """Return how elements came out, also where no pass has taken note of it yet."""
        state = self.replay.progress.tasks[task]
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
    """Looks after instances in the records of other runs, for a run of `user`.

    `now` returns the file server's time.
    """

    def __init__(self, files: Files, user: str, now: Callable[[], float]) -> None:
        self._files, self._user, self._now = files, user, now
        self._runs: dict[str, OtherRun] = {}
        self._seen: dict[str, _Seen] = {}

    def look_again(self) -> None:
        """What is asked from now on is read anew."""
        self._seen.clear()

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
        other, seen = self._read(first)
        outcomes = other.outcomes(first.task, [one.index for one in group.values()])
        for identity, one in group.items():
            outcome = outcomes.get(one.index)
            if outcome is not None:
                if outcome.state in DONE and outcome.identity == identity:
                    found[identity] = _result(one, outcome)
                continue
            job = other.job(one.task, one.index)
            if seen.held or (seen.carried_on and job is not None and job.job not in seen.stuck):
                found[identity] = Prospect.UNDER_WAY
        return found

    def _read(self, one: Underway) -> tuple[OtherRun, _Seen]:
        """Return a run, read once until `look_again`, and what was seen of it."""
        other = self._runs.get(one.run_id)
        if other is None:
            other = self._runs[one.run_id] = OtherRun(one.record, self._files)
        seen = self._seen.get(one.run_id)
        if seen is None:
            other.read()
            now = self._now()
            if other.holder(now):
                seen = _Seen(held=True)
            else:
                seen = self._jobs(other, now)
                other.read()  # what it left before that was known
            self._seen[one.run_id] = seen
        return other, seen

    def _jobs(self, other: OtherRun, now: float) -> _Seen:
        """Look whether any job will carry on a run that nobody holds right now."""
        live = [job for job in other.replay.jobs.values() if not job.ended and job.job]
        silent = now - other.last_sign()
        drivers = [job.job for job in live if job.intent.role == DRIVER]
        if drivers:
            living = is_alive(drivers[-1])
            # On another machine it had the time to take the lease.
            return _Seen(carried_on=silent < LAG_SECONDS if living is None else living)
        if other.replay.finished is not None or not live:
            return _Seen()
        told: dict[str, JobStatus] = {}
        if other.request.user == self._user:
            try:
                for place in {job.place for job in live}:
                    jobs = [job.job for job in live if job.place == place]
                    told.update(executor_of(other.request, place).poll(jobs))
            except ReflowError:
                return _Seen(carried_on=silent < STALE_SECONDS)  # nobody knows
            if told or silent > LAG_SECONDS:
                alive = [job for job, one in told.items() if one.state == LIVE]
                stuck = frozenset(job for job, one in told.items() if one.hold)
                return _Seen(carried_on=bool(alive), stuck=stuck)
        # Schedulers tell people of their own jobs, and of new ones after a while.
        return _Seen(carried_on=silent < STALE_SECONDS)


def _result(one: Underway, outcome: Outcome) -> CachedResult:
    return CachedResult(
        one.run_id, one.record, one.task, one.index, outcome.identity, outcome.digest,
        outcome.value, outcome.paths, outcome.prints,
    )  # fmt: skip
