"""The contract of stores."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ..errors import StoreError, UnknownRunError, UnknownTaskError
from ..states import (
    CACHED,
    CANCELLED,
    DONE,
    FAILED,
    PENDING,
    RUN_STATES,
    RUNNING,
    SKIPPED,
    SUBMITTED,
    SUCCESS,
    TERMINAL,
)
from ..storage.outcome import WHOLE_TASK, Outcome
from ..storage.stores.base import (
    Position,
    QueryError,
    Reservation,
    RunRow,
    Store,
    TaskRow,
    Underway,
    instance_of,
)
from .modelstore import ModelStore
from .processes import finish, reference, run_fresh, start_fresh
from .registration import not_promised

TASKS = [("first", False), ("many", True), ("last", False)]

_OPEN = """
import os, time
from reflow.stores.base import Outcome
from reflow.stores.base import Position, RunRow
from reflow.testing.processes import referenced
from reflow.testing.stores import TASKS, run_row, success
cls = referenced(arguments[0])
"""
_REOPEN = f"""{_OPEN}
with cls.from_url(arguments[1]) as store:
    assert [run.run_id for run in store.list_runs()] == ["flow-1"]
    store.add_run(run_row("fresh-1"), TASKS)
    store.apply("fresh-1", [success("many", 3)], {{"many": 4}}, None, Position(1, 7))
"""
_TOGETHER = f"""{_OPEN}
_, urls, meeting, number, total = arguments
def met(round):
    names = os.listdir(meeting)
    return "failed" in names or sum(name.startswith(f"{{round}}-") for name in names) == total

def write(store):
    for i in range(3):
        run_id = f"p{{number}}-{{i}}"
        store.add_run(run_row(run_id), TASKS)
        for batch in range(2):
            changes = [success("many", batch * 50 + k, run_id) for k in range(50)]
            store.apply(run_id, changes, {{"many": 100}}, None, Position(1, batch + 1))

for round, url in enumerate(urls):
    open(f"{{meeting}}/{{round}}-{{number}}", "w").close()
    end = time.monotonic() + 20
    while not met(round) and time.monotonic() < end:
        pass
    try:
        with cls.from_url(url) as store:
            write(store)
    except BaseException:
        open(f"{{meeting}}/failed", "w").close()  # nobody needs to wait for this one
        raise
"""
_UNTIL_KILLED = f"""{_OPEN}
store = cls.from_url(arguments[1])
store.add_run(run_row(), TASKS)
offset = 0
while True:
    changes = [success("many", offset * 20 + k) for k in range(20)]
    offset += 1
    store.apply("flow-1", changes, {{"many": offset * 20}}, None, Position(1, offset))
    print(offset, flush=True)
"""


def sha(text: str) -> str:
    """Return a digest such as identities and digests are."""
    return hashlib.sha256(text.encode()).hexdigest()


def run_row(run_id: str = "flow-1", created_at: str = "2026-04-01T12:00:00+00:00") -> RunRow:
    """Return a run of the graph that its id begins with."""
    return RunRow(
        run_id=run_id,
        graph_name=run_id.rsplit("-", 1)[0],
        user_id="me",
        created_at=created_at,
        run_dir=f"/runs/{run_id}",
        record=f"/runs/{run_id}/.reflow",
        status=RUNNING,
        parameters={"x": 1, "y": ["ä", None, 1.5, {"z": True}]},
        executor="local",
    )


def success(task: str, index: int = 0, seed: str = "", **more: Any) -> Outcome:
    """Return an outcome whose identity, digest and value follow from what is given."""
    text = f"{task}{index}{seed}"
    done = Outcome(task, index, 1, SUCCESS, sha(text), sha("v" + text), f'"{text}"')
    return done._replace(**more)


def reservation(task: str, index: int = 0, **more: Any) -> Reservation:
    """Return the reservation of what `success` returns."""
    return Reservation(task, index, sha(f"{task}{index}"))._replace(**more)


class StoreContract:
    """What every store must do. Derive a class named ``Test…`` and set:

    * `entry`, the registered URL scheme, or `store`, the class; or both.
    * `url`, where ``<entry>:///<folder>/index`` is no URL of a new store.
    * `unopenable`, where a file in the place of the folder does not stop it.

    Where several processes must not write at once, `concurrent` is False.
    """

    entry: ClassVar[str] = ""
    store: ClassVar[type[Store] | None] = None
    concurrent: ClassVar[bool] = True

    def url(self, folder: Path) -> str:
        """Return the URL of a store of its own for this folder, which nobody has opened yet."""
        return f"{self.entry}:///{quote(os.fsencode(folder))}/index"

    def unopenable(self, tmp_path: Path) -> str:
        """Return the URL of a store that cannot be opened."""
        (tmp_path / "file").write_text("no folder")
        return self.url(tmp_path / "file")

    @cached_property
    def cls(self) -> type[Store]:
        """The class under test."""
        if self.store is not None:
            return self.store
        from ..plugins.lookup import store_class

        assert self.entry, "set `entry` to the registered scheme, or `store` to the class"
        return store_class(self.entry)

    @pytest.fixture
    def empty(self, tmp_path: Path) -> Iterator[Store]:
        """A new store."""
        with self.cls.from_url(self.url(tmp_path)) as opened:
            yield opened

    @pytest.fixture
    def filled(self, empty: Store) -> Store:
        """A store with the run "flow-1", of which nothing is indexed yet."""
        empty.add_run(run_row(), TASKS)
        return empty

    # Opening and closing

    def test_the_scheme_leads_to_the_class(self, tmp_path: Path) -> None:
        from ..plugins.lookup import store_class
        from ..plugins.open_store import open_store

        if not self.entry:
            not_promised("no `entry`, so no registered scheme")
        assert store_class(self.entry) is self.cls
        url = self.url(tmp_path)
        assert url.startswith(f"{self.entry}://")
        with open_store(url) as opened:
            assert type(opened) is self.cls
            assert opened.list_runs() == []

    def test_its_url_opens_it_again(self, filled: Store, tmp_path: Path) -> None:
        filled.apply("flow-1", [success("many", 1)], {"many": 2}, FAILED, Position(1, 5))
        before = everything(filled)
        url = filled.url
        if self.entry:
            assert url.startswith(f"{self.entry}://")
        filled.close()
        with self.cls.from_url(url) as again:
            assert everything(again) == before
            assert again.url == url

    def test_its_url_does_not_depend_on_the_working_directory(
        self, filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        url = filled.url
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        with self.cls.from_url(url) as again:
            assert again.run("flow-1") == run_row()

    @pytest.mark.parametrize("name", ["a b", "ünï", "%41", "a?b=c#d", "\udcff"], ids=ascii)
    def test_any_folder_will_do(self, tmp_path: Path, name: str) -> None:
        folder = tmp_path / name
        folder.mkdir()
        with self.cls.from_url(self.url(folder)) as opened:
            opened.add_run(run_row(), TASKS)
            url = opened.url
        assert url.isascii(), "a URL goes into records and onto command lines"
        with self.cls.from_url(url) as again:
            assert again.run("flow-1") == run_row()

    def test_a_fresh_process_reads_and_writes_it(self, filled: Store) -> None:
        filled.close()
        run_fresh(_REOPEN, reference(self.cls), filled.url)
        assert filled.position("fresh-1") == Position(1, 7)
        assert filled.summary("fresh-1")["many"] == {SUCCESS: 1, PENDING: 3}

    def test_what_one_object_writes_another_reads_at_once(self, filled: Store) -> None:
        with self.cls.from_url(filled.url) as other:
            assert other.run("flow-1") == run_row()
            filled.set_status("flow-1", FAILED)
            assert other.run("flow-1").status == FAILED
            other.apply("flow-1", [success("first")], {}, None, Position(1, 1))
            assert filled.position("flow-1") == Position(1, 1)
            assert len(filled.instances("flow-1")) == 1

    def test_closing_lets_go_and_the_next_call_opens_again(self, filled: Store) -> None:
        before = everything(filled)
        filled.close()
        filled.close()
        assert everything(filled) == before
        with filled as entered:
            assert entered is filled
        filled.set_status("flow-1", FAILED)
        assert filled.run("flow-1").status == FAILED

    def test_two_urls_are_two_stores(self, filled: Store, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        with self.cls.from_url(self.url(tmp_path / "other")) as other:
            assert other.list_runs() == []

    @pytest.mark.parametrize("call", ["read", "write"])
    def test_a_place_that_cannot_be_opened(self, tmp_path: Path, call: str) -> None:
        url = self.unopenable(tmp_path)

        def use() -> None:
            opened = self.cls.from_url(url)
            opened.list_runs() if call == "read" else opened.add_run(run_row(), TASKS)

        with pytest.raises(StoreError) as caught:
            use()
        assert str(caught.value), "say what cannot be opened and what to do"

    @pytest.mark.parametrize("url", ["", "no-scheme", "other-scheme:///place"])
    def test_a_url_of_no_store_is_refused(self, url: str) -> None:
        with pytest.raises(StoreError):
            self.cls.from_url(url)

    # Runs

    def test_a_run_comes_back_as_it_was_added(self, empty: Store) -> None:
        row = run_row()
        empty.add_run(row, TASKS)
        assert empty.run("flow-1") == row
        assert empty.list_runs() == [row]
        assert empty.position("flow-1") == Position(0, 0)
        assert empty.instances("flow-1") == []

    def test_tasks_come_back_in_order(self, empty: Store) -> None:
        tasks = [("z", True), ("a", False), ("ünï code", True), ("M", False)]
        empty.add_run(run_row(), tasks)
        assert empty.tasks("flow-1") == [
            TaskRow(name=name, array=array, size=None if array else 1) for name, array in tasks
        ]
        assert list(empty.summary("flow-1")) == [name for name, _ in tasks]

    def test_a_run_without_tasks(self, empty: Store) -> None:
        empty.add_run(run_row(), [])
        assert (empty.tasks("flow-1"), empty.summary("flow-1")) == ([], {})

    def test_names_that_are_not_unicode_come_back(self, empty: Store) -> None:
        odd = "/runs/\udcff"  # how Python names a file whose name is no UTF-8
        row = evolve(run_row("odd-1"), run_dir=odd, record=odd, parameters={"p": odd})
        empty.add_run(row, TASKS)
        outcome = success("first", value='"\ud800"', detail="\ud800\x00\U0001f600", paths=(odd,))
        empty.apply("odd-1", [outcome], {}, None, Position(1, 1))
        assert empty.run("odd-1") == row
        assert empty.instances("odd-1") == [instance_of(outcome, array=False)]
        (hit,) = empty.lookup([outcome.identity]).values()
        assert (hit.value, hit.record, hit.paths) == ('"\ud800"', odd, (odd,))

    def test_adding_again_updates_the_description_and_keeps_the_rest(
        self, filled: Store
    ) -> None:
        filled.apply("flow-1", [success("first")], {"many": 3}, None, Position(1, 1))
        before = filled.summary("flow-1"), filled.instances("flow-1"), filled.tasks("flow-1")
        moved = evolve(run_row(), run_dir="/moved", status=FAILED, parameters={})
        filled.add_run(moved, TASKS)
        assert filled.list_runs() == [moved]
        assert filled.position("flow-1") == Position(1, 1)
        assert before == (
            filled.summary("flow-1"), filled.instances("flow-1"), filled.tasks("flow-1"),
        )  # fmt: skip

    @pytest.mark.parametrize(
        "tasks",
        [TASKS[:2], TASKS[::-1], [("first", True), *TASKS[1:]], [*TASKS, ("more", False)]],
        ids=["fewer", "reordered", "an array now", "more"],
    )
    def test_adding_again_with_other_tasks_begins_anew(
        self, filled: Store, tasks: list[tuple[str, bool]]
    ) -> None:
        filled.apply("flow-1", [success("first")], {"many": 3}, None, Position(1, 1))
        filled.add_run(run_row(), tasks)
        assert filled.position("flow-1") == Position()
        assert filled.instances("flow-1") == []
        assert [(row.name, row.array) for row in filled.tasks("flow-1")] == tasks
        assert filled.lookup([success("first").identity]) == {}
        assert len(filled.list_runs()) == 1

    def test_a_dropped_run_leaves_nothing(self, filled: Store) -> None:
        filled.add_run(run_row("flow-2"), TASKS)
        for run_id in ("flow-1", "flow-2"):
            filled.apply(run_id, [success("first", seed=run_id)], {}, None, Position(1, 1))
        filled.drop_run("flow-1")
        filled.drop_run("never-there")
        assert [run.run_id for run in filled.list_runs()] == ["flow-2"]
        assert len(filled.instances("flow-2")) == 1
        assert filled.lookup([success("first", seed="flow-1").identity]) == {}
        filled.add_run(run_row(), TASKS)
        assert filled.position("flow-1") == Position()
        assert filled.instances("flow-1") == []

    def test_a_status_is_one_of_the_states_of_runs(self, filled: Store) -> None:
        for status in RUN_STATES:
            filled.set_status("flow-1", status)
            assert filled.run("flow-1").status == status
        for wrong in ("DONE", "failed", SUBMITTED):
            with pytest.raises(QueryError):
                filled.set_status("flow-1", wrong)
        assert filled.run("flow-1").status == RUN_STATES[-1]

    def test_a_run_is_found_by_the_beginning_of_its_id(self, empty: Store) -> None:
        for run_id in ("flow-abc", "flow-abd", "flow-abd2", "other-1"):
            empty.add_run(run_row(run_id), TASKS)
        assert empty.run("oth").run_id == "other-1"
        assert empty.run("flow-abd").run_id == "flow-abd"  # whole ids come first
        with pytest.raises(UnknownRunError) as caught:
            empty.run("flow-ab")
        assert "flow-abc" in str(caught.value), "say which runs it may be"
        for wrong in ("", "flow-abcd", "FLOW-ABC", "low-abc", "flow_abc", "%", "flow*"):
            with pytest.raises(UnknownRunError):
                empty.run(wrong)

    def test_an_unknown_run_is_an_error_everywhere(self, filled: Store) -> None:
        calls: list[Callable[[str], object]] = [
            filled.position,
            filled.summary,
            filled.instances,
            filled.tasks,
            lambda run_id: filled.set_status(run_id, FAILED),
            lambda run_id: filled.apply(run_id, [], {}, None, Position(1, 1)),
        ]
        for call in calls:
            for wrong in ("flow-2", "flow", ""):  # a beginning is for people, in `run` alone
                with pytest.raises(UnknownRunError):
                    call(wrong)

    # Lists of runs

    def test_runs_are_listed_newest_first_and_filtered(self, empty: Store) -> None:
        empty.add_run(run_row("a-3", "2026-04-02T00:00:00.000001"), TASKS)
        empty.add_run(run_row("a-1", "2026-03-31T23:30:00+00:00"), TASKS)
        empty.add_run(run_row("b-2", "2026-04-01T00:00:00Z"), TASKS)
        empty.set_status("b-2", FAILED)

        def ids(**query: Any) -> list[str]:
            return [run.run_id for run in empty.list_runs(**query)]

        assert ids() == ["a-3", "b-2", "a-1"]
        assert ids(limit=2) == ["a-3", "b-2"]
        assert ids(limit=0) == []
        assert ids(limit=9) == ids()
        assert ids(graph_name="a") == ["a-3", "a-1"]
        assert ids(graph_name="a", limit=1) == ["a-3"]
        assert ids(graph_name="none") == []
        assert ids(status=FAILED) == ["b-2"]
        assert ids(status=FAILED, graph_name="a") == []
        assert ids(since="2026-04-01") == ["a-3", "b-2"]
        assert ids(until="2026-04-01T00:00:00Z") == ["a-1"]
        assert ids(since="2026-04-01T02:00:00+02:00", until="2026-04-02") == ["b-2"]
        assert ids(since="2026-04-02T00:00:00.000001") == ["a-3"]
        assert ids(until="2026-04-02T00:00:00.000001") == ["b-2", "a-1"]

    def test_the_order_is_of_moments_not_of_texts(self, empty: Store) -> None:
        empty.add_run(run_row("later-1", "2026-04-01T01:00:00-05:00"), TASKS)
        empty.add_run(run_row("sooner-1", "2026-04-01T02:00:00+00:00"), TASKS)
        assert [run.run_id for run in empty.list_runs()] == ["later-1", "sooner-1"]

    @pytest.mark.parametrize(
        "query",
        [
            {"status": "failed"},
            {"status": "BUSY"},
            {"limit": -1},
            {"limit": 1.5},
            {"since": "yesterday"},
            {"until": "2026-13-01"},
        ],
        ids=lambda query: "-".join(f"{key} {value}" for key, value in query.items()),
    )
    def test_a_query_that_makes_no_sense(self, empty: Store, query: dict[str, Any]) -> None:
        with pytest.raises(QueryError) as caught:
            empty.list_runs(**query)
        (value,) = query.values()
        assert str(value) in str(caught.value), "say what was given"

    # Applying what a record says

    def test_outcomes_sizes_status_and_position(self, filled: Store) -> None:
        changes = [
            Outcome("last", 0, 0, SKIPPED, detail="many[0]"),
            success("many", 1, value=None),
            Outcome("many", 0, 2, FAILED, sha("i"), cause="OOM", detail="Traceback …"),
            success("first", paths=("/a", "/b ü"), job="7", started=1.5, ended=1774000000.25,
                    prints=("f:1:1 00", "")),
            success("many", 10, origin="flow-0"),
        ]
        assert filled.apply("flow-1", changes, {"many": 12}, FAILED, Position(2, 2**40)) is True
        assert filled.position("flow-1") == Position(2, 2**40)
        assert filled.run("flow-1").status == FAILED
        assert filled.summary("flow-1") == {
            "first": {SUCCESS: 1},
            "many": {FAILED: 1, SUCCESS: 2, PENDING: 9},
            "last": {SKIPPED: 1},
        }
        assert filled.tasks("flow-1")[1] == TaskRow(name="many", array=True, size=12)
        last, spilled, failed, first, tenth = changes
        changed = first, failed, spilled, tenth, last
        rows = [instance_of(outcome, outcome.task == "many") for outcome in changed]
        assert filled.instances("flow-1") == rows
        assert (rows[0].index, rows[1].index, rows[2].spilled) == (None, 0, True)
        assert filled.instances("flow-1", "many") == rows[1:4]
        assert filled.instances("flow-1", "many", [FAILED]) == [rows[1]]
        assert filled.instances("flow-1", states=iter([SKIPPED, FAILED])) == [rows[1], rows[4]]
        assert filled.instances("flow-1", states=[]) == []
        assert filled.instances("flow-1", states=[RUNNING]) == []

    def test_of_an_instance_the_last_outcome_stands(self, filled: Store) -> None:
        changes = [Outcome("first", 0, 1, FAILED, cause="OOM"), success("first", attempt=2)]
        filled.apply("flow-1", changes, {}, None, Position(1, 5))
        assert filled.instances("flow-1") == [instance_of(changes[1], array=False)]
        filled.apply("flow-1", changes[:1], {}, None, Position(1, 6))
        assert filled.instances("flow-1") == [instance_of(changes[0], array=False)]

    def test_applying_again_is_harmless(self, filled: Store) -> None:
        changes = [success("first"), Outcome("many", 0, 1, FAILED)]
        live = [Outcome("many", 1, 1, RUNNING)]
        states = []
        for _ in range(3):
            assert filled.apply("flow-1", changes, {"many": 3}, None, Position(1, 5), live)
            states.append(everything(filled))
        assert states[0] == states[1] == states[2]

    def test_without_a_status_the_status_stays(self, filled: Store) -> None:
        filled.set_status("flow-1", FAILED)
        assert filled.apply("flow-1", [], {}, None, Position(1, 1))
        assert filled.run("flow-1").status == FAILED

    @pytest.mark.parametrize("late", [Position(2, 4), Position(1, 999), Position()])
    def test_a_slower_process_does_not_turn_it_back(
        self, filled: Store, late: Position
    ) -> None:
        assert filled.apply("flow-1", [success("first")], {}, SUCCESS, Position(2, 5), [])
        before = everything(filled)
        changes = [Outcome("first", 0, 1, FAILED), success("last")]
        live = [Outcome("many", 0, 1, RUNNING)]
        assert filled.apply("flow-1", changes, {"many": 3}, FAILED, late, live) is False
        assert everything(filled) == before
        assert filled.apply("flow-1", [], {}, None, Position(3, 0)) is True

    def test_a_whole_array_gives_way_to_its_elements(self, filled: Store) -> None:
        filled.apply("flow-1", [Outcome("many", WHOLE_TASK, 0, SKIPPED)], {}, None, Position(1, 1))
        (whole,) = filled.instances("flow-1", "many")
        assert (whole.index, whole.state) == (None, SKIPPED)
        assert filled.summary("flow-1")["many"] == {SKIPPED: 1}
        filled.apply("flow-1", [success("many")], {"many": 2}, None, Position(1, 2))
        assert [row.index for row in filled.instances("flow-1", "many")] == [0]
        assert filled.summary("flow-1")["many"] == {SUCCESS: 1, PENDING: 1}

    def test_an_array_of_no_elements(self, filled: Store) -> None:
        assert filled.summary("flow-1") == {"first": {PENDING: 1}, "many": {}, "last": {PENDING: 1}}
        filled.apply("flow-1", [], {"many": 0}, None, Position(1, 1))
        assert filled.summary("flow-1")["many"] == {}
        assert filled.tasks("flow-1")[1].size == 0

    def test_what_is_under_way_is_replaced_as_a_whole(self, filled: Store) -> None:
        def states() -> dict[str, int]:
            return filled.summary("flow-1")["many"]

        under_way = [Outcome("many", i, 1, SUBMITTED, job="5") for i in range(3)]
        filled.apply("flow-1", [], {"many": 3}, None, Position(1, 1), under_way)
        assert states() == {SUBMITTED: 3}
        filled.apply("flow-1", [success("many", 0)], {}, None, Position(1, 2))
        assert states() == {SUCCESS: 1, SUBMITTED: 2}
        filled.apply("flow-1", [], {}, None, Position(1, 2), [Outcome("many", 1, 1, RUNNING)])
        assert states() == {SUCCESS: 1, RUNNING: 1, PENDING: 1}
        filled.apply("flow-1", [], {}, None, Position(1, 3), [])
        assert states() == {SUCCESS: 1, PENDING: 2}

    def test_what_is_under_way_in_another_run_is_left_alone(self, filled: Store) -> None:
        filled.add_run(run_row("flow-2"), TASKS)
        live = [Outcome("first", 0, 1, RUNNING)]
        filled.apply("flow-1", [], {}, None, Position(1, 1), live)
        filled.apply("flow-2", [], {}, None, Position(1, 1), [])
        assert filled.summary("flow-1")["first"] == {RUNNING: 1}

    def test_what_cannot_be_applied_changes_nothing(self, filled: Store) -> None:
        before = everything(filled)
        good, live = success("first"), [Outcome("other", 0, 1, RUNNING)]
        with pytest.raises(UnknownTaskError):
            filled.apply("flow-1", [good, success("other")], {}, FAILED, Position(1, 1))
        with pytest.raises(UnknownTaskError):
            filled.apply("flow-1", [good], {"other": 3}, FAILED, Position(1, 1))
        with pytest.raises(UnknownTaskError):
            filled.apply("flow-1", [good], {}, FAILED, Position(1, 1), live)
        with pytest.raises(QueryError):
            filled.apply("flow-1", [good], {}, "DONE", Position(1, 1))
        assert everything(filled) == before

    def test_unknown_tasks_and_states_are_errors(self, filled: Store) -> None:
        with pytest.raises(UnknownTaskError) as caught:
            filled.instances("flow-1", "mayn")
        assert "many" in str(caught.value), "say which tasks there are"
        with pytest.raises(QueryError):
            filled.instances("flow-1", states=["SKIPED"])

    def test_ten_thousand_instances_in_one_call(self, filled: Store) -> None:
        changes = [success("many", index) for index in reversed(range(10_000))]
        filled.apply("flow-1", changes, {"many": 10_001}, None, Position(1, 1))
        assert filled.summary("flow-1")["many"] == {SUCCESS: 10_000, PENDING: 1}
        assert [row.index for row in filled.instances("flow-1")] == list(range(10_000))
        identities = [change.identity for change in changes[:3000]]
        assert {row.index for row in filled.lookup(identities).values()} == {*range(7000, 10_000)}

    def test_large_values_come_back(self, filled: Store) -> None:
        large = success("first", value='"' + "ä" * 2_000_000 + '"', detail="line\n" * 200_000)
        filled.apply("flow-1", [large], {}, None, Position(1, 1))
        assert filled.instances("flow-1") == [instance_of(large, array=False)]
        assert filled.lookup([large.identity])[large.identity].value == large.value

    # Looking results up

    def test_a_result_is_found_by_its_identity(self, filled: Store) -> None:
        hit = success("many", 4, paths=("/p", "/q"), prints=("", "f:0:7 e3"))
        single = success("first", value=None)
        filled.apply("flow-1", [hit, single], {"many": 7}, None, Position(1, 1))
        hits = filled.lookup([hit.identity, hit.identity, sha("none"), single.identity])
        assert hits.keys() == {hit.identity, single.identity}
        element, whole = hits[hit.identity], hits[single.identity]
        assert (element.run_id, element.record) == ("flow-1", run_row().record)
        assert (element.task, element.index, element.identity, element.digest, element.value) == (
            "many", 4, hit.identity, hit.digest, hit.value,
        )  # fmt: skip
        assert (element.paths, element.prints) == (hit.paths, hit.prints)
        assert (whole.paths, whole.prints) == ((), ())
        assert (whole.index, whole.digest, whole.value) == (0, single.digest, None)
        assert filled.lookup([bytes.fromhex(hit.identity)]) == {hit.identity: element}
        assert filled.lookup([]) == {}

    def test_only_successes_are_found(self, filled: Store) -> None:
        others = [
            success("many", index, state=state)
            for index, state in enumerate(sorted(TERMINAL - DONE))
        ]
        live = [success("many", len(others), state=RUNNING)]
        filled.apply("flow-1", others, {"many": len(others) + 1}, None, Position(1, 1), live)
        assert filled.lookup([outcome.identity for outcome in (*others, *live)]) == {}

    def test_of_several_runs_the_first_or_the_newest_is_found(self, empty: Store) -> None:
        outcome = success("many", 4)
        # First and last are of adding, whenever the runs were created or got their results.
        for run_id, day in (("a-1", "03"), ("b-1", "01"), ("c-1", "02")):
            empty.add_run(run_row(run_id, f"2026-04-{day}"), TASKS)
        for run_id in ("c-1", "b-1", "a-1"):
            empty.apply(run_id, [outcome._replace(value=f'"{run_id}"')], {}, None, Position(1, 1))

        def value(newest: bool = False) -> str | None:
            return empty.lookup([outcome.identity], newest=newest)[outcome.identity].value

        assert (value(), value(newest=True)) == ('"a-1"', '"c-1"')
        empty.add_run(run_row("a-1", "2026-04-03"), TASKS)  # again: it keeps its place
        assert (value(), value(newest=True)) == ('"a-1"', '"c-1"')
        empty.drop_run("a-1")
        empty.drop_run("c-1")
        assert (value(), value(newest=True)) == ('"b-1"', '"b-1"')

    def test_equal_beginnings_of_identities_are_told_apart(self, filled: Store) -> None:
        first, second = "ab" * 31 + "00", "ab" * 31 + "01"
        filled.apply("flow-1", [success("first", identity=first)], {}, None, Position(1, 1))
        assert filled.lookup([second]) == {}
        filled.apply("flow-1", [success("last", identity=second)], {}, None, Position(1, 2))
        hits = filled.lookup([first, second])
        assert {key: row.task for key, row in hits.items()} == {first: "first", second: "last"}

    def test_a_result_that_was_superseded_is_found_no_more(self, filled: Store) -> None:
        filled.apply("flow-1", [success("first")], {}, None, Position(1, 1))
        assert len(filled.lookup([success("first").identity])) == 1
        filled.apply("flow-1", [success("first", state=CANCELLED)], {}, None, Position(1, 2))
        assert filled.lookup([success("first").identity]) == {}
        filled.apply("flow-1", [success("first", seed="new")], {}, None, Position(1, 3))
        assert filled.lookup([success("first").identity]) == {}
        assert len(filled.lookup([success("first", seed="new").identity])) == 1

    def test_a_result_that_lost_its_identity_is_found_no_more(self, filled: Store) -> None:
        """As when it was taken out of the cache: how the instance ended stays."""
        filled.apply("flow-1", [success("first"), success("last")], {}, SUCCESS, Position(1, 1))
        assert filled.out_of_cache("flow-1") == {}
        pruned = success("first", identity="", digest="", value=None)
        filled.apply("flow-1", [pruned], {}, None, Position(2, 1))
        assert filled.out_of_cache("flow-1") == {"first": 1}
        assert filled.lookup([success("first").identity]) == {}
        assert len(filled.lookup([success("last").identity])) == 1
        assert filled.instances("flow-1", "first") == [instance_of(pruned, array=False)]
        assert filled.summary("flow-1")["first"] == {SUCCESS: 1}

    def test_a_dropped_runs_results_stay_with_those_who_took_them_over(self, filled: Store) -> None:
        """Clean-up of old runs must not have the work of kept ones done again."""
        first = success("first")
        filled.apply("flow-1", [first], {}, SUCCESS, Position(1, 1))
        for run_id, day in (("later-1", "02"), ("later-2", "03")):
            filled.add_run(run_row(run_id, f"2026-05-{day}"), TASKS)
            taken = first._replace(state=CACHED, attempt=0, origin="flow-1")
            filled.apply(run_id, [taken], {}, SUCCESS, Position(1, 1))
        filled.drop_run("flow-1")

        def run_of_hit(newest: bool = False) -> str:
            return filled.lookup([first.identity], newest=newest)[first.identity].run_id

        assert (run_of_hit(), run_of_hit(newest=True)) == ("later-1", "later-2")
        filled.drop_run("later-1")
        assert run_of_hit() == "later-2"
        filled.drop_run("later-2")
        assert filled.lookup([first.identity]) == {}

    def test_what_was_taken_over_from_an_unknown_run_is_found(self, filled: Store) -> None:
        """As when an index is rebuilt after clean-up."""
        taken = success("many", 1, state=CACHED, origin="gone-1")
        filled.apply("flow-1", [taken], {"many": 2}, None, Position(1, 1))
        assert filled.lookup([taken.identity])[taken.identity].run_id == "flow-1"

    def test_what_was_taken_over_without_an_origin_is_found(self, filled: Store) -> None:
        """As when results were accepted for other code: nowhere else is it of this identity."""
        taken = success("many", 1, state=CACHED)
        filled.apply("flow-1", [taken], {"many": 2}, None, Position(1, 1))
        assert filled.lookup([taken.identity])[taken.identity].run_id == "flow-1"

    def test_what_was_taken_over_from_runs_that_do_not_count_is_found(self, empty: Store) -> None:
        """As when somebody has deleted their directories, and the store does not know."""
        result, other = success("first"), success("last")
        for run_id, origin in (("a-1", ""), ("b-1", "a-1"), ("c-1", "a-1"), ("d-1", "")):
            empty.add_run(run_row(run_id), TASKS)
            taken = result._replace(state=CACHED, attempt=0, origin=origin) if origin else result
            changes = [taken, *([other] if run_id == "d-1" else ())]
            empty.apply(run_id, changes, {}, SUCCESS, Position(1, 1))

        def run_of_hit(*besides: str, newest: bool = False) -> str:
            hits = empty.lookup([result.identity], newest=newest, besides=besides)
            hit = hits.get(result.identity)
            return hit.run_id if hit else ""

        assert (run_of_hit(), run_of_hit(newest=True)) == ("a-1", "d-1")
        assert (run_of_hit("a-1"), run_of_hit("a-1", newest=True)) == ("b-1", "d-1")
        assert (run_of_hit("d-1"), run_of_hit("d-1", newest=True)) == ("a-1", "a-1")
        assert (run_of_hit("a-1", "d-1"), run_of_hit("a-1", "d-1", newest=True)) == ("b-1", "c-1")
        assert run_of_hit("a-1", "b-1", "d-1", "not-there") == "c-1"
        assert run_of_hit("a-1", "b-1", "c-1", "d-1") == ""
        hits = empty.lookup([result.identity, other.identity, sha("none")], besides=["a-1"])
        assert {key: hit.run_id for key, hit in hits.items()} == {
            result.identity: "b-1", other.identity: "d-1"
        }  # fmt: skip
        assert hits[result.identity].value == result.value

    # Reserving

    def reserving(self, store: Store) -> Store:
        """Return the store, with a second run; "not promised" where it keeps no reservations."""
        if self.cls.reserve is Store.reserve:
            not_promised("runs reserve what they compute (override `reserve`)")
        store.add_run(run_row("other-1"), TASKS)
        return store

    def test_who_reserves_first_has_it(self, filled: Store) -> None:
        store = self.reserving(filled)
        assert store.reserve("flow-1", []) == {}
        assert store.reserve("flow-1", [reservation("many", 3), reservation("first")]) == {}
        assert store.reserve("flow-1", [reservation("many", 3)]) == {}  # it has it already
        held = store.reserve("other-1", [reservation("many", 3), reservation("many", 4)])
        record = run_row("flow-1").record
        assert held == {sha("many3"): Underway("flow-1", record, "many", 3)}
        assert store.reserve("flow-1", [reservation("many", 4)]).keys() == {sha("many4")}
        assert store.summary("flow-1")["many"] == {}  # nobody else hears of it
        assert store.lookup([sha("many3"), sha("first0")]) == {}

    def test_a_reservation_has_two_names(self, filled: Store) -> None:
        store = self.reserving(filled)
        assert store.reserve("flow-1", [reservation("many", 3, identity=sha("line"))]) == {}
        line = reservation("last", lineage=sha("line"))
        held = store.reserve("other-1", [line])
        assert held[sha("last0")][2:] == ("many", 3)
        assert store.reserve("flow-1", [line]) == {}  # nor was it reserved under the other

    def test_an_outcome_ends_a_reservation(self, filled: Store) -> None:
        store = self.reserving(filled)
        store.reserve("flow-1", [reservation("many", index) for index in range(4)])
        changes = [success("many", 1, state=FAILED), success("many", 2, seed="changed")]
        store.apply("flow-1", changes, {"many": 4}, None, Position(1, 1))
        reservations = [reservation("many", index) for index in range(4)]
        assert store.reserve("other-1", reservations).keys() == {sha("many0"), sha("many3")}

    @pytest.mark.parametrize("how", ["apply", "set_status", "drop_run", "replace_run"])
    def test_what_a_run_that_has_ended_had_reserved_is_free(self, filled: Store, how: str) -> None:
        store = self.reserving(filled)
        store.reserve("flow-1", [reservation("many", 1)])
        if how == "apply":
            store.apply("flow-1", [], {}, CANCELLED, Position(1, 1))
        elif how == "set_status":
            store.set_status("flow-1", FAILED)
        elif how == "drop_run":
            store.drop_run("flow-1")
        else:
            row = evolve(run_row(), status=CANCELLED)
            store.replace_run(row, TASKS, [], {}, Position(1, 1))
        assert store.reserve("other-1", [reservation("many", 1)]) == {}
        assert store.check() == []

    def test_a_reservation_can_be_taken_over(self, filled: Store) -> None:
        store = self.reserving(filled)
        store.add_run(run_row("third-1"), TASKS)
        store.reserve("flow-1", [reservation("many", 1), reservation("many", 2)])
        assert store.reserve("other-1", [reservation("many", 1, over="flow-1")]) == {}
        # Who comes later to the same decision finds that somebody else has it by now.
        held = store.reserve("third-1", [
            reservation("many", 1, over="flow-1"), reservation("many", 2, over="not-there")
        ])  # fmt: skip
        assert {identity: underway.run_id for identity, underway in held.items()} == {
            sha("many1"): "other-1", sha("many2"): "flow-1"
        }  # fmt: skip

    def test_what_is_taken_over_is_free_under_both_names(self, filled: Store) -> None:
        store = self.reserving(filled)
        store.add_run(run_row("third-1"), TASKS)
        line = reservation("many", 1, lineage=sha("line"))
        store.reserve("flow-1", [reservation("many", 1)])
        store.reserve("third-1", [reservation("many", 1, identity=sha("line"))])
        reservations, held = [line], {}
        for _ in range(3):  # as whoever finds that neither of the two carries on
            held = store.reserve("other-1", reservations)
            reservations = [line._replace(over=holder.run_id) for holder in held.values()]
        assert held == {}
        assert store.reserve("flow-1", [line])[line.identity].run_id == "other-1"

    def test_a_result_that_has_come_meanwhile_is_told(self, filled: Store) -> None:
        store = self.reserving(filled)
        store.apply("flow-1", [success("many", 1)], {"many": 2}, None, Position(1, 1))
        held = store.reserve("other-1", [reservation("many", 1)])
        assert held[sha("many1")][:1] == ("flow-1",)
        assert store.reserve("other-1", [reservation("many", 1, over="flow-1")]) == {}
        assert store.reserve("other-1", [reservation("many", 1, anew=True)]) == {}

    def test_an_unknown_run_reserves_nothing(self, filled: Store) -> None:
        store = self.reserving(filled)
        with pytest.raises(UnknownRunError):
            store.reserve("nobody-1", [reservation("many", 1)])

    def test_of_many_that_reserve_at_once_one_has_it(self, filled: Store) -> None:
        store = self.reserving(filled)
        names = [f"rival-{i}" for i in range(4)]
        for name in names:
            store.add_run(run_row(name), TASKS)
        held: dict[str, set[str]] = {}

        def ask(name: str) -> None:
            order = range(50) if name < "rival-2" else reversed(range(50))
            with self.cls.from_url(store.url) as own:
                taken = own.reserve(name, [reservation("many", index) for index in order])
            held[name] = {sha(f"many{index}") for index in range(50)} - taken.keys()

        threads = [threading.Thread(target=ask, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert held.keys() == {*names}, "a thread has raised"
        assert sum(map(len, held.values())) == 50

    # Indexing anew

    def test_a_run_is_indexed_anew(self, filled: Store) -> None:
        filled.apply("flow-1", [success("first"), success("last")], {"many": 9}, FAILED,
                     Position(2, 5))  # fmt: skip
        row = run_row()
        again = [success("many", 1), success("first", seed="new")]
        assert filled.replace_run(row, TASKS, again, {"many": 2}, Position(2, 5)) is True
        assert filled.run("flow-1") == row
        assert filled.position("flow-1") == Position(2, 5)
        assert filled.summary("flow-1") == {
            "first": {SUCCESS: 1}, "many": {SUCCESS: 1, PENDING: 1}, "last": {PENDING: 1}
        }  # fmt: skip
        assert filled.lookup([success("first").identity]) == {}
        assert len(filled.lookup([success("first", seed="new").identity])) == 1

    def test_who_indexed_further_is_not_replaced(self, filled: Store) -> None:
        filled.apply("flow-1", [success("first")], {}, None, Position(2, 5))
        before = everything(filled)
        assert filled.replace_run(run_row(), TASKS, [], {}, Position(2, 4)) is False
        assert everything(filled) == before

    def test_a_run_that_was_not_there_is_added(self, empty: Store) -> None:
        assert empty.replace_run(run_row(), TASKS, [success("first")], {}, Position(1, 1)) is True
        assert empty.summary("flow-1")["first"] == {SUCCESS: 1}

    def test_nothing_is_wrong_with_a_sound_store(self, filled: Store) -> None:
        filled.apply("flow-1", [success("first")], {"many": 2}, None, Position(1, 1),
                     [Outcome("many", 0, 1, RUNNING)])  # fmt: skip
        filled.add_run(run_row("flow-2"), TASKS)
        filled.drop_run("flow-2")
        assert filled.check() == []

    # Several at once

    def test_threads_share_a_store(self, filled: Store) -> None:
        failures: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for i in range(10):
                    filled.add_run(run_row(f"t{number}-{i}"), TASKS)
                    filled.apply(f"t{number}-{i}", [success("first")], {}, None, Position(1, i))
                    filled.summary(f"t{number}-{i}")
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(filled.list_runs()) == 41

    def test_an_open_store_survives_a_fork(self, filled: Store) -> None:
        assert filled.list_runs()
        child = os.fork()
        if child == 0:
            try:
                filled.add_run(run_row("child-1"), TASKS)
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert {run.run_id for run in filled.list_runs()} == {"flow-1", "child-1"}
        filled.set_status("child-1", FAILED)

    def test_processes_write_at_once_to_new_stores(self, tmp_path: Path) -> None:
        if not self.concurrent:
            not_promised("`concurrent` is False, so one process at a time may write")
        urls = []
        for number in range(6):
            (tmp_path / str(number)).mkdir()
            urls.append(self.url(tmp_path / str(number)))
        meeting = tmp_path / "meeting"
        meeting.mkdir()
        where = reference(self.cls)
        started = [
            start_fresh(_TOGETHER, where, urls, str(meeting), number, 3) for number in range(3)
        ]
        for process in started:
            finish(process)
        for url in urls:
            with self.cls.from_url(url) as opened:
                runs = opened.list_runs()
                assert len(runs) == 9
                assert all(opened.summary(run.run_id)["many"] == {SUCCESS: 100} for run in runs)

    def test_a_killed_writer_leaves_whole_transactions(self, tmp_path: Path) -> None:
        url = self.url(tmp_path)
        process = start_fresh(_UNTIL_KILLED, reference(self.cls), url)
        assert process.stdout is not None
        batches = [process.stdout.readline() for _ in range(3)]
        process.kill()
        errors = process.communicate()[1]
        assert batches == ["1\n", "2\n", "3\n"], errors
        with self.cls.from_url(url) as opened:
            position = opened.position("flow-1")
            assert position.offset >= 3
            assert opened.summary("flow-1")["many"] == {SUCCESS: position.offset * 20}
            assert opened.tasks("flow-1")[1].size == position.offset * 20
            opened.set_status("flow-1", FAILED)  # and no lock is left behind

    # All of it together

    def test_it_does_what_the_model_does(self, tmp_path: Path) -> None:
        examples = iter(range(1_000_000))

        @settings(
            max_examples=40,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
        )
        @given(st.lists(_steps, min_size=1, max_size=12))
        def check(steps: list[Step]) -> None:
            folder = tmp_path / f"example{next(examples)}"
            folder.mkdir()
            model = ModelStore()
            with self.cls.from_url(self.url(folder)) as store:
                for name, run_id, arguments in [("add_run", "a-1", (TASKS,)), *steps]:
                    if name in ("set_status", "apply") and run_id not in model.runs:
                        continue
                    given_run = (run_row(run_id, _CREATED[run_id]),)
                    values = (given_run if name == "add_run" else (run_id,)) + arguments
                    result, expected = getattr(store, name)(*values), getattr(model, name)(*values)
                    assert result == expected
                    assert_as_modelled(store, model)

        check()


def everything(store: Store) -> list[object]:
    """Return all that a store tells of its runs."""
    return [
        (run, store.position(run.run_id), store.tasks(run.run_id), store.summary(run.run_id),
         store.instances(run.run_id))
        for run in store.list_runs()
    ]  # fmt: skip


def assert_as_modelled(store: Store, model: ModelStore) -> None:
    """Compare all that a store tells with what the model does."""
    assert store.list_runs() == model.list_runs()
    for run_id, run in model.runs.items():
        assert store.position(run_id) == run.position
        assert store.tasks(run_id) == model.tasks(run_id)
        assert store.summary(run_id) == model.summary(run_id)
        assert store.instances(run_id) == model.instances(run_id)
    for newest in (False, True):
        for besides in ((), ("a-1",), ("b-1", "c-1")):
            hits = store.lookup(_IDENTITIES, newest=newest, besides=besides)
            expected = model.lookup(_IDENTITIES, newest=newest, besides=besides)
            assert {key: (row.run_id, row.value) for key, row in hits.items()} == {
                key: (run_id, outcome.value) for key, (run_id, outcome) in expected.items()
            }


Step = tuple[str, str, tuple[Any, ...]]
_CREATED = {f"{name}-1": f"2026-04-0{day}T00:00:00Z" for day, name in enumerate("ba", start=1)}
_PLACES = [("first", 0), ("many", 0), ("many", 1), ("many", 3), ("last", 0)]
_SEEDS = ["", "x"]
_IDENTITIES = [success(*place, seed).identity for place in _PLACES for seed in _SEEDS]
_places = st.sampled_from(_PLACES)
_changes = st.builds(
    lambda place, state, seed: success(place[0], place[1], seed, state=state),
    _places,
    st.sampled_from([SUCCESS, SUCCESS, *sorted(TERMINAL - DONE)]),
    st.sampled_from(_SEEDS),
)
_live = st.builds(
    lambda place, state: Outcome(place[0], place[1], 1, state),
    _places,
    st.sampled_from([SUBMITTED, RUNNING]),
)
_status = st.sampled_from(RUN_STATES)
_steps: st.SearchStrategy[Step] = st.tuples(
    st.just("add_run"), st.sampled_from(sorted(_CREATED)),
    st.tuples(st.sampled_from([TASKS, TASKS, TASKS, [*TASKS, ("more", True)]])),
) | st.tuples(
    st.just("apply"), st.sampled_from(sorted(_CREATED)),
    st.tuples(
        st.lists(_changes, max_size=5),
        st.sampled_from([{}, {"many": 4}]),
        st.none() | _status,
        st.builds(Position, st.integers(0, 2), st.integers(0, 3)),
        st.none() | st.lists(_live, max_size=4, unique_by=lambda live: (live.task, live.index)),
    ),
) | st.tuples(
    st.just("set_status"), st.sampled_from(sorted(_CREATED)), st.tuples(_status)
) | st.tuples(st.just("drop_run"), st.sampled_from(sorted(_CREATED)), st.just(()))  # fmt: skip
