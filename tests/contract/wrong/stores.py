"""Stores that are wrong in one way each; `case` is what must catch it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from reflow.errors import StoreError, UnknownRunError
from reflow.states import ENDED, SUCCESS
from reflow.storage.stores.sqlite.store import SqliteStore
from reflow.stores.base import (
    CachedResult,
    InstanceRow,
    Position,
    Reservation,
    RunRow,
    Underway,
)
from reflow.testing import StoreContract
from reflow.testing.stores import reservation


class Contract(StoreContract):
    store = SqliteStore

    def url(self, folder: Path) -> str:
        return f"sqlite:///{quote(os.fsencode(folder))}/index"


class TestRight(Contract):
    pass


class TestForgetsTheOrder(Contract):
    case = "test_outcomes_sizes_status_and_position"

    class store(SqliteStore):
        def instances(self, *arguments: Any, **more: Any) -> list[InstanceRow]:
            rows = super().instances(*arguments, **more)
            return sorted(rows, key=lambda row: (row.task, str(row.index)))


class TestGoesBackwards(Contract):
    case = "test_a_slower_process_does_not_turn_it_back"

    class store(SqliteStore):
        def apply(self, run_id: str, changes: Any, sizes: Any, status: Any, position: Position,
                  live: Any = None) -> bool:  # fmt: skip
            position = max(position, self.position(run_id))
            return super().apply(run_id, changes, sizes, status, position, live)


class TestComparesOffsetsOnly(Contract):
    case = "test_a_slower_process_does_not_turn_it_back"

    class store(SqliteStore):
        def apply(self, run_id: str, changes: Any, sizes: Any, status: Any, position: Position,
                  live: Any = None) -> bool:  # fmt: skip
            if position.offset < self.position(run_id).offset:
                return False
            return super().apply(run_id, changes, sizes, status, position, live)


class TestAppliesInParts(Contract):
    case = "test_what_cannot_be_applied_changes_nothing"

    class store(SqliteStore):
        def apply(self, run_id: str, changes: Any, sizes: Any, status: Any, position: Position,
                  live: Any = None) -> bool:  # fmt: skip
            before = self.position(run_id)
            for change in changes:
                super().apply(run_id, [change], {}, None, before)
            return super().apply(run_id, [], sizes, status, position, live)


class TestAddsToWhatIsUnderWay(Contract):
    case = "test_what_is_under_way_is_replaced_as_a_whole"

    class store(SqliteStore):
        def apply(self, run_id: str, changes: Any, sizes: Any, status: Any, position: Position,
                  live: Any = None) -> bool:  # fmt: skip
            return super().apply(run_id, [*changes, *(live or ())], sizes, status, position)


class TestTakesTheFirstForTheNewest(Contract):
    case = "test_of_several_runs_the_first_or_the_newest_is_found"

    class store(SqliteStore):
        def lookup(
            self, identities: Any, *, newest: bool = False, besides: Any = ()
        ) -> dict[str, CachedResult]:
            return super().lookup(identities)


class TestForgetsWhoTookOver(Contract):
    case = "test_what_was_taken_over_from_runs_that_do_not_count_is_found"

    class store(SqliteStore):
        def lookup(
            self, identities: Any, *, newest: bool = False, besides: Any = ()
        ) -> dict[str, CachedResult]:
            results = super().lookup(identities, newest=newest)
            return {key: result for key, result in results.items() if result.run_id not in besides}


class TestRemembersResults(Contract):
    case = "test_a_result_that_was_superseded_is_found_no_more"

    class store(SqliteStore):
        def lookup(
            self, identities: Any, *, newest: bool = False, besides: Any = ()
        ) -> dict[str, CachedResult]:
            memory = self.__dict__.setdefault("memory", {})
            memory.update(super().lookup(identities, newest=newest))
            return {key: memory[key] for key in identities if key in memory}


class TestLeaksItsOwnErrors(Contract):
    case = "test_a_place_that_cannot_be_opened"

    class store(SqliteStore):
        def list_runs(self, *arguments: Any, **more: Any) -> list[RunRow]:
            try:
                return super().list_runs(*arguments, **more)
            except StoreError as error:
                raise error.__cause__ or error from None


class TestComparesDatesAsTexts(Contract):
    case = "test_the_order_is_of_moments_not_of_texts"

    class store(SqliteStore):
        def list_runs(self, *arguments: Any, **more: Any) -> list[RunRow]:
            rows = super().list_runs(*arguments, **more)
            return sorted(rows, key=lambda row: row.created_at, reverse=True)


class TestFindsRunsByPattern(Contract):
    case = "test_a_run_is_found_by_the_beginning_of_its_id"

    class store(SqliteStore):
        def run(self, run_id: str) -> RunRow:
            rows = self._file.read(
                lambda connection: connection.execute(
                    "SELECT run_id FROM run WHERE run_id LIKE ? || '%'", (run_id,)
                ).fetchall()
            )
            if not rows:
                raise UnknownRunError(run_id)
            return super().run(rows[0][0])


class TestUrlIsRelative(Contract):
    case = "test_its_url_does_not_depend_on_the_working_directory"

    class store(SqliteStore):
        @property
        def url(self) -> str:
            return f"sqlite:///{quote(os.path.relpath(self.path))}"


class TestUrlLosesTheName(Contract):
    case = "test_any_folder_will_do"

    class store(SqliteStore):
        @property
        def url(self) -> str:
            return f"sqlite:///{self.path}"


class TestKeepsWhatItRead(Contract):
    case = "test_what_one_object_writes_another_reads_at_once"

    class store(SqliteStore):
        def run(self, run_id: str) -> RunRow:
            cached: dict[str, RunRow] = self.__dict__.setdefault("cached", {})
            if run_id not in cached:
                cached[run_id] = super().run(run_id)
            return cached[run_id]


class TestLivesInOneProcess(Contract):
    case = "test_a_fresh_process_reads_and_writes_it"

    class store(SqliteStore):
        def __init__(self, path: Any) -> None:
            super().__init__(f"{path}-{os.getpid()}")

        @property
        def url(self) -> str:
            return super().url.removesuffix(f"-{os.getpid()}")


class TestForgetsThatItForked(Contract):
    case = "test_an_open_store_survives_a_fork"

    class store(SqliteStore):
        def add_run(self, run: RunRow, tasks: Any) -> None:
            if run.run_id.startswith("child") and os.getpid() != self._file._pid:
                raise RuntimeError("this store belongs to another process")
            super().add_run(run, tasks)


class TestMixesWritersUp(Contract):
    """Each process writes all that it knows back, over what others wrote meanwhile."""

    case = "test_processes_write_at_once_to_new_stores"

    class store(SqliteStore):
        def add_run(self, run: RunRow, tasks: Any) -> None:
            own = self.__dict__.setdefault("own", set())
            own.add(run.run_id)
            super().add_run(run, tasks)
            if len(own) == 3:
                for other in self.list_runs():
                    if other.run_id not in own:
                        self.drop_run(other.run_id)


class TestReservesForEverybody(Contract):
    case = "test_who_reserves_first_has_it"

    class store(SqliteStore):
        def reserve(self, run_id: str, wanted: Sequence[Reservation]) -> dict[str, Underway]:
            self.run(run_id)
            return {}


class TestKnowsOneNameOnly(Contract):
    case = "test_a_reservation_has_two_names"

    class store(SqliteStore):
        def reserve(self, run_id: str, wanted: Sequence[Reservation]) -> dict[str, Underway]:
            return super().reserve(run_id, [element._replace(lineage="") for element in wanted])


class TestNeverFreesWhatHasFailed(Contract):
    case = "test_an_outcome_ends_a_reservation"

    class store(SqliteStore):
        def apply(self, run_id: str, changes: Any, *more: Any) -> bool:
            return super().apply(
                run_id, [change for change in changes if change.state == SUCCESS], *more
            )


class TestTakesOverFromAnybody(Contract):
    case = "test_a_reservation_can_be_taken_over"

    class store(SqliteStore):
        def reserve(self, run_id: str, wanted: Sequence[Reservation]) -> dict[str, Underway]:
            held = super().reserve(run_id, wanted)
            again = [
                element._replace(over=held[element.identity].run_id)
                for element in wanted
                if element.over and element.identity in held
            ]
            super().reserve(run_id, again)
            return {
                identity: underway
                for identity, underway in held.items()
                if identity not in {element.identity for element in again}
            }


class TestKeepsWhatEndedRunsReserved(Contract):
    case = "test_what_a_run_that_has_ended_had_reserved_is_free"

    class store(SqliteStore):
        def set_status(self, run_id: str, status: str) -> None:
            super().set_status(run_id, status)
            if status in ENDED:
                self.reserve(run_id, [reservation("many", 1)])


class TestDoesNotTellOfNewResults(Contract):
    case = "test_a_result_that_has_come_meanwhile_is_told"

    class store(SqliteStore):
        def reserve(self, run_id: str, wanted: Sequence[Reservation]) -> dict[str, Underway]:
            return super().reserve(run_id, [element._replace(anew=True) for element in wanted])


class TestLooksBeforeItReserves(Contract):
    case = "test_of_many_that_reserve_at_once_one_has_it"

    class store(SqliteStore):
        def reserve(self, run_id: str, wanted: Sequence[Reservation]) -> dict[str, Underway]:
            held = super().reserve(run_id, wanted[:1])  # and takes the others without a look
            others = [element for element in wanted[1:] if element.identity not in held]
            for other in self.list_runs():
                super().reserve(run_id, [element._replace(over=other.run_id) for element in others])
            return held
