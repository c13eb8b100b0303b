"""Elements that other runs have in hand: what has become of them, by those runs' records."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import NamedTuple

from ..errors import ReflowError
from ..executors.base import LIVE, JobStatus
from ..plugins.executor_of_run import executor_of
from ..states import DONE
from ..storage.claims import published
from ..storage.events import Opened, Place
from ..storage.filesystem import Files
from ..storage.journal import JournalReader, is_held, last_sign
from ..storage.outcome import Outcome
from ..storage.process_id import is_alive
from ..storage.run_directory import RunRecord
from ..storage.stores.base import CachedResult, Underway
from .replay import JobState, Replay

LAG_SECONDS = 30.0
"""So long after its last record a scheduler may not tell of a job that it has."""

STALE_SECONDS = 2 * 3600.0
"""So long after its last record a queued run counts as given up where nobody can ask after its
jobs: twice the time between two of its guards."""


class Prospect(Enum):
    """What is to be expected of an element that another run had in hand."""

    UNDER_WAY = "under way"
    GONE = "gone"
    """Nothing: it came out otherwise, or nobody works on it any more."""


class _Activity(NamedTuple):
    """Who is at work on a run: a process has it `held`, or it will be `carried_on` by somebody.

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
        for record in records:
            if isinstance(record, Opened):
                self.opened = record.at

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
        outcomes: dict[int, Outcome] = {}
        attempts: dict[int, int] = {}
        for index in indices:
            outcome = state.outcomes[index] if index < len(state.outcomes) else None
            outcome = outcome or state.whole
            if outcome is not None:
                outcomes[index] = outcome
            elif self.job(task, index) is not None:
                attempts[index] = state.tries[index]
        if attempts:
            for outcome in published(self.record.files, self.record.folder, task, attempts):
                outcomes[outcome.index] = outcome
        return outcomes


class OtherRuns:
    """Looks after elements in the records of other runs, for a run of `user`.

    `server_time` returns the file server's time.
    """

    def __init__(self, files: Files, user: str, server_time: Callable[[], float]) -> None:
        self._files, self._user, self._server_time = files, user, server_time
        self._runs: dict[str, OtherRun] = {}
        self._activities: dict[str, _Activity] = {}

    def look_again(self) -> None:
        """What is asked from now on is read anew."""
        self._activities.clear()

    def since(self, element: Underway) -> float:
        """Return since when an element has been under way there, in seconds since the epoch."""
        other = self._runs.get(element.run_id)
        if other is None:
            return self._server_time()
        job = other.job(element.task, element.index)
        return job.intent.at if job is not None else other.opened

    def look(self, held: Mapping[str, Underway]) -> dict[str, CachedResult | Prospect]:
        """Return, by identity, the results that other runs have by now, or what to expect."""
        prospects: dict[str, CachedResult | Prospect] = dict.fromkeys(held, Prospect.GONE)
        groups: dict[tuple[str, str], dict[str, Underway]] = {}
        for identity, element in held.items():
            groups.setdefault((element.run_id, element.task), {})[identity] = element
        for group in groups.values():
            # What cannot be read cannot be waited for.
            with contextlib.suppress(ReflowError, OSError, KeyError):
                prospects.update(self._look(group))
        return prospects

    def _look(self, group: Mapping[str, Underway]) -> dict[str, CachedResult | Prospect]:
        """Do so for elements of one task of one run."""
        prospects: dict[str, CachedResult | Prospect] = {}
        first = next(iter(group.values()))
        other, activity = self._read(first)
        outcomes = other.outcomes(first.task, [element.index for element in group.values()])
        for identity, element in group.items():
            outcome = outcomes.get(element.index)
            if outcome is not None:
                if outcome.state in DONE and outcome.identity == identity:
                    prospects[identity] = _result(element, outcome)
                continue
            job = other.job(element.task, element.index)
            starts = job is not None and job.job not in activity.stuck
            if activity.held or (activity.carried_on and starts):
                prospects[identity] = Prospect.UNDER_WAY
        return prospects

    def _read(self, element: Underway) -> tuple[OtherRun, _Activity]:
        """Return a run, read once until `look_again`, and who is at work on it."""
        run_id = element.run_id
        if run_id not in self._runs:
            self._runs[run_id] = OtherRun(element.record, self._files)
        other = self._runs[run_id]
        if run_id not in self._activities:
            other.read()
            now = self._server_time()
            if other.holder(now):
                self._activities[run_id] = _Activity(held=True)
            else:
                self._activities[run_id] = self._activity(other, now)
                other.read()  # what it left before that was known
        return other, self._activities[run_id]

    def _activity(self, other: OtherRun, now: float) -> _Activity:
        """Look whether any job will carry on a run that nobody holds right now."""
        silence = now - other.last_sign()
        driver = other.replay.driver
        if driver:
            living = is_alive(driver)
            # On another machine it had the time to take the lease.
            return _Activity(carried_on=silence < LAG_SECONDS if living is None else living)
        jobs = [job for job in other.replay.queued() if job.job]
        if other.replay.finished is not None or not jobs:
            return _Activity()
        statuses = self._poll(other, jobs)
        if statuses is None or not (statuses or silence > LAG_SECONDS):
            # Schedulers tell people of their own jobs only, and of new ones after a while.
            return _Activity(carried_on=silence < STALE_SECONDS)
        return _Activity(
            carried_on=any(status.state == LIVE for status in statuses.values()),
            stuck=frozenset(job for job, status in statuses.items() if status.hold),
        )

    def _poll(self, other: OtherRun, jobs: Iterable[JobState]) -> dict[str, JobStatus] | None:
        """Return what schedulers say of jobs of another run, by id; None: they say nothing."""
        if other.request.user != self._user:
            return None
        ids: dict[Place, list[str]] = {}
        for job in jobs:
            ids.setdefault(job.place, []).append(job.job)
        statuses: dict[str, JobStatus] = {}
        with contextlib.suppress(ReflowError):
            for place, group in ids.items():
                statuses.update(executor_of(other.request, place).poll(group))
            return statuses
        return None


def _result(element: Underway, outcome: Outcome) -> CachedResult:
    return CachedResult(
        element.run_id, element.record, element.task, element.index, outcome.identity,
        outcome.digest, outcome.value, outcome.paths, outcome.prints,
    )  # fmt: skip
