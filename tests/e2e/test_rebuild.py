"""The store is an index: a lost one is rebuilt from run directories."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from reflow import Param, Result, Run, Workflow
from reflow.engine.dispatcher import Dispatch
from reflow.storage.indexing import index_anew, records_below
from reflow.storage.stores.sqlite.store import SqliteStore


def workflow(store: SqliteStore) -> Workflow:
    wf = Workflow("rebuilt", store=store)

    @wf.job()
    def numbers(n: Annotated[int, Param(help="how many")] = 4) -> list[int]:
        return list(range(n))

    @wf.job(array=True)
    def invert(x: Annotated[int, Result(step="numbers")]) -> float:
        return 1 / x

    return wf


def rebuild(store: SqliteStore, folders: list[Path]) -> list[str]:
    return [index_anew(store, record) for record in records_below(folders)]


def status_of(run: Run) -> dict[str, Any]:
    status = run.status(as_dict=True)
    assert status is not None
    return status


def test_a_lost_store_is_rebuilt_from_run_directories(tmp_path: Path) -> None:
    first = workflow(SqliteStore(tmp_path / "first.sqlite"))
    runs = [
        first.run_local(tmp_path / name, n=n, on_error="continue")
        for name, n in (("one", 4), ("two", 6))
    ]
    before = [status_of(run) for run in runs]

    store = SqliteStore(tmp_path / "second.sqlite")
    run_ids = rebuild(store, [tmp_path / "one", tmp_path / "two"])

    assert sorted(run_ids) == sorted(run.run_id for run in runs)
    rebuilt = workflow(store)
    assert [status_of(rebuilt.run(run.run_id)) for run in runs] == before
    assert {row.status for row in store.list_runs()} == {"FAILED"}
    # Successful elements are cache hits again; only the failing element runs.
    third = rebuilt.run_local(tmp_path / "three", n=6, on_error="continue")
    summary = status_of(third)["summary"]
    assert summary == {"numbers": {"CACHED": 1}, "invert": {"CACHED": 5, "FAILED": 1}}


def test_rebuilding_twice_changes_nothing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.sqlite")
    run = workflow(store).run_local(tmp_path / "run", on_error="continue")
    before = status_of(run)
    rebuild(store, [tmp_path / "run"])
    rebuild(store, [tmp_path / "run"])
    assert status_of(run) == before
    assert len(store.list_runs()) == 1


def test_a_pass_over_a_run_that_has_ended_leaves_its_status_in_the_store(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.sqlite")
    run = workflow(store).run_local(tmp_path / "run", on_error="continue")
    Dispatch(run.record, run.record.request(), store, dict).release()
    assert store.run(run.run_id).status == "FAILED"
