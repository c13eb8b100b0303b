"""What a run reserves before it computes it, and what it awaits because another run has it."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Mapping
from functools import cached_property
from typing import NamedTuple

from ..caching.lineage import element_lineage, task_lineages
from ..caching.reuse import Decision
from ..model.spec import TaskSpec, WorkflowSpec
from ..storage.stores.base import CachedResult, Reservation, Store, Underway
from .other_runs import OtherRuns, Prospect

LOOK_SECONDS = 1.0
"""How often a process that stays looks after what other runs have in hand, at most."""

LOOK_SHARE = 10
"""So many times as long as a look takes nobody looks again."""

MOST_RIVALS = 5
"""So often what a run that is gone had reserved is asked for, if others are quicker."""


class Reserved(NamedTuple):
    """What came of asking: by identity, results that another run has by now and that stand, and
    what other runs have in hand. All else is reserved."""

    good: dict[str, CachedResult]
    awaited: dict[str, Underway]


class Reservations:
    """The reservations of one run in its store, for the holder of its lease.

    `counts` says of a task of its `workflow` whether its results are to be used again, and
    `other_runs` reads what other runs have. Without a store nothing is reserved or awaited.
    """

    def __init__(
        self,
        store: Store | None,
        run_id: str,
        workflow: WorkflowSpec,
        counts: Callable[[TaskSpec], bool],
        other_runs: OtherRuns,
    ) -> None:
        self._store, self._run_id = store, run_id
        self._workflow, self._counts = workflow, counts
        self._ahead: list[Reservation] = []
        self._due = 0.0
        self._other_runs = other_runs
        self._awaited: dict[tuple[str, int], tuple[str, Underway]] = {}

    @cached_property
    def _lineages(self) -> dict[str, str]:
        return task_lineages(self._workflow, self._counts)

    @property
    def awaits(self) -> bool:
        """Whether other runs have anything in hand that need not run here thanks to them."""
        return bool(self._awaited)

    def newest(self) -> float:
        """Return since when the newest of what is awaited has been under way."""
        return max(self._other_runs.since(element) for _, element in self._awaited.values())

    def wait(self, task: str, index: int, identity: str, elsewhere: Underway) -> None:
        """An element here waits for what another run has in hand."""
        self._awaited[task, index] = (identity, elsewhere)

    def ask(
        self,
        task: str,
        missing: Mapping[str, int],
        refused: Container[str],
        decide: Callable[[CachedResult], Decision],
    ) -> Reserved:
        """Reserve elements, by identity with the index of one each.

        Of those in `refused` there are results that do not stand; `decide` says of others whether
        they do. Raises `StoreError`.
        """
        began = time.monotonic()
        reserved = Reserved({}, {})
        if self._store is None or not missing:
            return reserved
        lineage = self._lineages[task]
        reservations = [
            Reservation(
                task, index, identity, element_lineage(lineage, index), anew=identity in refused
            )
            for identity, index in missing.items()
        ]  # fmt: skip
        # What a run has left behind is taken over from it; another may be quicker each time.
        for _ in range(MOST_RIVALS):
            held = self._store.reserve(self._run_id, reservations)
            gone = self._look(held, decide, reserved)
            if not gone:
                break
            # From that run alone: of several who wait, one gets it.
            reservations = [
                reservation._replace(over=held[reservation.identity].run_id)
                for reservation in reservations
                if reservation.identity in gone
            ]
        if reserved.awaited:
            self._look_later(began)
        return reserved

    def _look(
        self,
        held: Mapping[str, Underway],
        decide: Callable[[CachedResult], Decision],
        reserved: Reserved,
    ) -> set[str]:
        """Look what has become of what other runs had reserved; return that of which nothing
        will come any more."""
        gone = set()
        for identity, prospect in self._other_runs.look(held).items():
            if isinstance(prospect, CachedResult) and decide(prospect).stands:
                reserved.good[identity] = prospect
            elif prospect is Prospect.UNDER_WAY:
                reserved.awaited[identity] = held[identity]
            else:
                gone.add(identity)
        return gone

    def ahead(self, task: str, indices: Iterable[int]) -> None:
        """Reserve, with `enter`, elements that are queued ahead of their inputs."""
        lineage = self._lineages[task] if self._store is not None else ""
        if lineage:
            self._ahead.extend(
                Reservation(task, index, element_lineage(lineage, index)) for index in indices
            )

    def enter(self) -> None:
        """Enter what was queued ahead into the store. Raises `StoreError`."""
        ahead, self._ahead = self._ahead, []
        if self._store is not None:
            self._store.reserve(self._run_id, ahead)

    def take_due(self) -> list[tuple[str, int]]:
        """Look after what is awaited, if it is time to; return the (task, index) that need not
        wait any longer."""
        if not self._awaited or time.monotonic() < self._due:
            return []
        began = time.monotonic()
        self._other_runs.look_again()
        prospects = self._other_runs.look(dict(self._awaited.values()))
        # What has come out is free as well: `plan` looks it up and finds the result.
        free = [
            element
            for element, (identity, _) in self._awaited.items()
            if prospects[identity] is not Prospect.UNDER_WAY
        ]
        for element in free:
            del self._awaited[element]
        self._look_later(began)
        return free

    def _look_later(self, began: float) -> None:
        now = time.monotonic()
        self._due = now + max(LOOK_SECONDS, LOOK_SHARE * (now - began))
