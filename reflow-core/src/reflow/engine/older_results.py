"""What other runs have for the elements of this one: results that stand, and work under way."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from ..caching.hash_cache import FileHashes
from ..caching.prior_results import PriorResult
from ..caching.reuse import Decision, Reuse, checks_of, find_results, success_by_store
from ..errors import StoreError, UnknownRunError, UnknownTaskError
from ..model.flow import TaskDefinition
from ..model.spec import TaskSpec
from ..states import CACHED, SUCCESS
from ..storage.outcome import Outcome, lacks_prints
from ..storage.run_directory import RunRecord, RunRequest
from ..storage.stores.base import CachedResult, RunRow, Store, Underway
from .other_runs import OtherRuns
from .record_writer import RecordWriter
from .reservations import Reservations
from .task_call import WITHIN_TASK

OLDER_RUNS, MOST_OLDER = 10, 20_000
"""So many runs, and elements of a task, are looked through for what is queued ahead."""

TaskLoader = Callable[[], Mapping[str, TaskDefinition]]


class Matches(NamedTuple):
    """What other runs have, by identity: outcomes of which results stand, and elements that they
    have in hand."""

    outcomes: dict[str, Outcome]
    awaited: dict[str, Underway]


class OlderResults:
    """Looks up, for the holder of a run's lease, what need not be computed here.

    `load_tasks` gives the user's functions where a task's own verifier is called.
    """

    def __init__(
        self,
        record: RunRecord,
        request: RunRequest,
        store: Store | None,
        load_tasks: TaskLoader,
        writer: RecordWriter,
        server_time: Callable[[], float],
    ) -> None:
        self._record = record
        self._request = request
        self._store = store
        self._load_tasks = load_tasks
        self._writer = writer
        self._hashes = FileHashes()
        self._reuse: dict[str, Reuse] = {}
        self.reservations = Reservations(
            # A run that a task starts waits for nobody: its task's own run could be the other.
            None if os.environ.get(WITHIN_TASK) else store,
            request.run_id,
            request.spec,
            self.may_reuse,
            OtherRuns(record.files, request.user, server_time),
        )

    def may_reuse(self, spec: TaskSpec) -> bool:
        """Whether results of older runs may stand for those of a task."""
        return spec.cache and not self._request.options.forces(spec.name)

    def look_up(self, spec: TaskSpec, identities: Mapping[str, int]) -> Matches:
        """Return what may stand for these identities (with the index of an element each).

        What has neither a result nor a run that has it in hand is reserved for this run.
        """
        matches = Matches({}, {})
        if self._store is None or not self.may_reuse(spec):
            return matches
        reuse = self._reuse_of(spec, self._store)
        notices: dict[str, str] = {}

        def decide(result: CachedResult) -> Decision:
            decision = reuse.decide(result)
            if decision.notice:
                notices.setdefault(result.identity, decision.notice)
            return decision

        def take_over(results: Mapping[str, CachedResult]) -> None:
            for identity, result in results.items():
                outcome = reuse.outcome(result, identity, identities[identity])
                matches.outcomes[identity] = outcome

        try:
            stored = find_results(self._store, identities, decide)
            take_over(stored.good)
            for identity in stored.good:
                notices.pop(identity, None)  # of another run's copy
            # Not before the look-up: what another run has finished by now need not be reserved.
            missing = {
                identity: index
                for identity, index in identities.items()
                if identity not in stored.good
            }
            reserved = self.reservations.ask(spec.name, missing, stored.refused, decide)
            take_over(reserved.good)
            matches.awaited.update(reserved.awaited)
        except (StoreError, UnknownRunError):
            pass  # it is an index, and may be gone
        finally:
            self._hashes.save()
        for text in notices.values():
            self._writer.note(text)
        for run_id in sorted({work.run_id for work in matches.awaited.values()}):
            self._tell_awaited(spec.name, run_id)
        return matches

    def _reuse_of(self, spec: TaskSpec, store: Store) -> Reuse:
        name = spec.name
        if name not in self._reuse:
            workflow = self._request.spec
            self._reuse[name] = Reuse(
                name,
                self._record.files,
                workflow.serializers,
                lambda: self._load_tasks()[name],
                success_by_store(store),
                checks=checks_of(workflow, spec) if self._request.options.verify else None,
                values=self._record.values,
                hash_file=self._hashes.digest,
            )
        return self._reuse[name]

    def _tell_awaited(self, task: str, run_id: str) -> None:
        text = (
            f"{task}: the same is under way in run {run_id}, whose results are waited for; to "
            f"have it computed here, cancel that run, or submit with --force-task {task}"
        )
        if self._writer.note(text):
            # Who submits, or runs it in this process, should not have to ask.
            print(f"reflow: {text}", file=sys.stderr)

    def latest(self, spec: TaskSpec) -> list[PriorResult]:
        """Return what the latest runs of this workflow have for a task, newest first.

        For workers whose identities nobody knows yet: of a few runs, and of no more than
        `MOST_OLDER` elements.
        """
        results: list[PriorResult] = []
        if self._store is None or not self.may_reuse(spec):
            return results
        with contextlib.suppress(StoreError):
            workflow = self._request.spec.name
            runs = self._store.list_runs(graph_name=workflow, limit=OLDER_RUNS + 1)
            # Of equal results the first stands: not one whose files somebody has deleted.
            runs.sort(key=lambda run: not os.path.isdir(run.record))
            for run in runs:
                if run.run_id != self._request.run_id and len(results) < MOST_OLDER:
                    results.extend(_results_of(self._store, run, spec.name))
        return results


def _results_of(store: Store, run: RunRow, task: str) -> Iterator[PriorResult]:
    """Yield the results of a task in one run; none if the run has no such task."""
    with contextlib.suppress(UnknownTaskError):
        for row in store.instances(run.run_id, task, (SUCCESS, CACHED)):
            if row.identity:
                yield PriorResult(
                    row.identity, row.digest, row.value, row.paths, run.run_id, run.record,
                    row.prints,
                    lacks_prints(row.paths, row.prints) and run.status != SUCCESS,
                )  # fmt: skip
