"""The attempts that jobs have in hand, and how they come out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from ...states import DONE, SKIPPED
from ...storage.claims import publish, published, read_outcome
from ...storage.outcome import Outcome
from ..dispatcher import Dispatch
from ..replay import JobState


class Attempts:
    """The attempts of a run's elements: which job has them, and how they came out."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch

    def in_hand(self, job: JobState, most: int | None = None) -> list[tuple[int, int, int]]:
        """Return (position, index, attempt) of what a job still has in hand, `most` at most."""
        intent = job.intent
        if not intent.indices:
            return []
        flying = self._dispatch.progress.tasks[intent.task].flying
        pairs = zip(intent.indices, intent.attempts)  # noqa: B905 (equal by make)
        in_hand = (
            (position, index, attempt)
            for position, (index, attempt) in enumerate(pairs)
            if flying.get(index) == intent.tag
        )
        return list(islice(in_hand, most))

    def ingest(self, tasks: Sequence[str] | None = None) -> None:
        """Take up the outcomes that workers have published, of all tasks or of these."""
        progress = self._dispatch.progress
        for name, state in progress.tasks.items():
            if state.flying and (tasks is None or name in tasks):
                attempts = {index: state.tries[index] for index in state.flying}
                for outcome in published(self._dispatch.files, self._folder, name, attempts):
                    self._settle(outcome)

    def conclude(
        self, task: str, index: int, attempt: int, state: str, cause: str, detail: str, tag: str,
        suspected: str = "",
    ) -> None:
        """Record the end of an attempt, unless its worker was quicker."""
        now = self._dispatch.clock.now()
        outcome = Outcome(
            task, index, attempt, state, cause=cause, detail=detail, job=tag, ended=now,
            suspected=suspected,
        )  # fmt: skip
        if publish(self._dispatch.files, self._folder, outcome):
            self._dispatch.settle(outcome)
            return
        # The worker's outcome stands. A listing may not show it yet, but its name is taken;
        # to pass it over here would be to run the element again.
        by_worker = read_outcome(self._dispatch.files, self._folder, task, index, attempt)
        if by_worker is not None:
            self._settle(by_worker)

    def _settle(self, outcome: Outcome) -> None:
        progress = self._dispatch.progress
        if outcome.state == SKIPPED and not progress.blocked(outcome.task, outcome.index):
            # Its worker was queued behind a failure that is being retried by now.
            progress.land(outcome.task, outcome.index)
            return
        if outcome.state in DONE and outcome.detail:
            # Of a success the detail says of which code or files it is: a note of the run.
            self._dispatch.note(outcome.detail)
            outcome = outcome._replace(detail="")
        self._dispatch.settle(outcome)

    @property
    def _folder(self) -> str:
        return self._dispatch.record.folder
