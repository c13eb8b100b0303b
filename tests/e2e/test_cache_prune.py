"""`reflow cache prune` removes older results; the runs that computed them stay."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reflow.errors import RecordError
from reflow.run import Run
from reflow.runs.cache_prune import carry_out, plan_pruning
from reflow.runs.gc import ORPHANED_AFTER, plan_cleaning
from reflow.runs.gc import carry_out as carry_out_cleaning
from reflow.runs.retention import Policy, ResultPolicy
from reflow.storage.clock import Clock
from reflow.storage.filesystem import Files
from reflow.storage.journal import JournalReader, take_lease
from reflow.storage.process_id import this_process
from reflow.storage.stores.sqlite.store import SqliteStore
from reflow.storage.user_state import default_store_path

from .test_store_commands import Later, as_json, reflow

SOURCE = """
from typing import Annotated
from reflow import Result, Workflow
wf = Workflow("flow")

@wf.job()
def numbers(n: int = 3) -> list[int]:
    return list(range(n))

@wf.job(array=True)
def large(x: Annotated[int, Result(step="numbers")], letter: str = "a") -> str:
    return f"{x}{letter}" * 50_000

@wf.job(serializer="pickle")
def pickled(xs: Annotated[list[str], Result(step="large")]) -> object:
    return {x[:2] for x in xs}

@wf.job()
def last(x: Annotated[object, Result(step="pickled")], fail: bool = False) -> str:
    if fail:
        raise RuntimeError("as asked")
    return "end"
"""
NONE: dict[str, int] = {"SUCCESS": 3}


@pytest.fixture
def wf(load: Callable[[str], Any]) -> Any:
    return load(SOURCE).wf


@pytest.fixture
def runs(wf: Any, tmp_path: Path) -> list[Run]:
    """Two runs of letter a, the second all cached, and one of letter b."""
    parameters = [{}, {}, {"letter": "b"}]
    return [wf.run_local(tmp_path / str(n), **values) for n, values in enumerate(parameters)]


def store() -> SqliteStore:
    return SqliteStore(default_store_path())


def pruned(*words: str) -> Any:
    return as_json("cache-prune", reflow("cache", "prune", "--json", *words))


def values(run: Run) -> set[str]:
    return {path.name for path in Path(run.record.values).iterdir()}


def test_older_results_go_and_their_runs_stay(runs: list[Run], wf: Any, tmp_path: Path) -> None:
    before = [run.status(as_dict=True)["summary"] for run in runs]
    stats = [path.stat() for run in runs[:2] for path in Path(run.record.values).iterdir()]
    size = sum({stat.st_ino: stat.st_size for stat in stats}.values())
    plan = pruned("--older-than", "0s", "--dry-run")
    # What the newest run has is kept: `numbers`, which it reused.
    assert {task["task"]: task["results"] for task in plan["tasks"]} == {
        "large": 3, "pickled": 1, "last": 1
    }  # fmt: skip
    assert plan["dry_run"] is True
    assert (plan["results"], plan["kept"], plan["others"]) == (5, 6, 0)
    assert plan["runs"] == [runs[0].run_id, runs[1].run_id]
    assert plan["freed"] == size, "also what has a name in both runs, once"
    assert plan["size"] > size
    assert len(values(runs[0])) == 4
    answer = pruned("--older-than", "0s", "--yes")
    assert {**answer, "dry_run": True} == plan
    assert values(runs[0]) == values(runs[1]) == set()
    assert [run.status(as_dict=True)["summary"] for run in runs] == before
    assert [run.state for run in runs] == ["SUCCESS"] * 3
    assert "cache prune` has taken" in str(runs[1].status(as_dict=True)["notes"])
    assert runs[1].result("last") == "end", "small values stand in the record"
    with pytest.raises(RecordError, match="is gone"):
        runs[1].result("large")
    assert pruned("--older-than", "0s", "--dry-run")["results"] == 0
    assert pruned("--older-than", "0s", "--yes")["runs"] == []
    again = wf.run_local(tmp_path / "again")
    assert again.counts() == {
        "numbers": {"CACHED": 1}, "large": {"SUCCESS": 3}, "pickled": {"SUCCESS": 1},
        "last": {"SUCCESS": 1},
    }  # fmt: skip
    assert again.result("large")[0] == "0a" * 50_000
    assert wf.run_local(tmp_path / "b", letter="b").counts()["large"] == {"CACHED": 3}


def stats(task: str) -> tuple[int, int, int, float]:
    rows = as_json("cache-stats", reflow("cache", "stats", "--json"))
    (row,) = (row for row in rows if row["task"] == task)
    return row["results"], row["out_of_cache"], row["hits"], row["share"]


def test_pruned_results_are_not_counted(runs: list[Run], tmp_path: Path) -> None:
    assert stats("large") == (6, 0, 3, 0.3333)
    assert stats("last") == (2, 0, 1, 0.3333)
    pruned("--task", "large", "--keep", "0", "--yes")
    for _ in range(2):
        # They were computed once; a hit does not need its value computed again.
        assert stats("large") == (0, 6, 3, 0.3333)
        assert stats("last") == (2, 0, 1, 0.3333)
        default_store_path().unlink()
        reflow("store", "rebuild", str(tmp_path))
    assert "OUT" in reflow("cache", "stats").splitlines()[0]


def test_pruning_holds_in_a_rebuilt_store(runs: list[Run], wf: Any, tmp_path: Path) -> None:
    pruned("--older-than", "0s", "--yes")
    before = [run.status(as_dict=True) for run in runs]
    default_store_path().unlink()
    reflow("store", "rebuild", str(tmp_path))
    assert [run.status(as_dict=True) for run in runs] == before
    assert wf.plan(tmp_path / "again").misses == 3
    assert "nothing is wrong" in reflow("store", "check")
    for line in reflow("store", "export").splitlines():
        as_json("store-export", line)
    as_json("status", reflow("status", runs[0].run_id, "--json"))
    assert "letter" in reflow("why", runs[2].run_id, "large[1]")
    assert reflow("cache", "stats").count("flow") == 4
    # And `store gc` goes on with such records.
    plan = plan_cleaning(store(), Policy(), clock=Later(ORPHANED_AFTER + 10))
    assert (plan.orphans, plan.problems) == ((), ())
    assert len(carry_out_cleaning(store(), plan_cleaning(store(), Policy(older_than=-1))).runs) == 2


def test_one_task_of_a_workflow(runs: list[Run], wf: Any, tmp_path: Path) -> None:
    answer = pruned("--task", "last", "--keep", "0", "--yes")
    assert [(task["task"], task["reason"], task["results"]) for task in answer["tasks"]] == [
        ("last", "asked", 2)
    ]
    assert answer["freed"] == 0, "a small value stands in the record"
    plan = {task.name: task.misses for task in wf.plan(tmp_path / "again").tasks}
    assert plan == {"numbers": 0, "large": 0, "pickled": 0, "last": 1}
    assert pruned("--task", "large", "--workflow", "flow", "--yes")["results"] == 3
    assert "no task named 'larg'" in reflow("cache", "prune", "--task", "larg", code=2)
    assert "no task" in reflow("cache", "prune", "--workflow", "g", "--task", "large", code=2)
    assert "say which results to remove" in reflow("cache", "prune", "--yes", code=2)
    assert pruned("--workflow", "other", "--older-than", "0s")["results"] == 0


def test_prune_asks_first_and_reports(runs: list[Run]) -> None:
    assert "--yes" in reflow("cache", "prune", "--older-than", "0s", code=2)
    assert len(values(runs[0])) == 4
    text = reflow("cache", "prune", "--older-than", "0s", "--dry-run")
    assert text.splitlines()[0].split() == [
        "WORKFLOW", "TASK", "RESULTS", "BECAUSE", "OF", "LAST", "USED", "SIZE"
    ]  # fmt: skip
    assert "5 results of 2 runs would be removed: " in text
    assert "6 results kept" in text
    for wrong in (["--max-size", "many"], ["--older-than", "soon"], ["--keep", "-1"]):
        assert f"'{wrong[0]}'" in reflow("cache", "prune", *wrong, code=2)


def test_result_that_a_newer_run_reuses_is_not_old(runs: list[Run], wf: Any) -> None:
    """A result is as old as its last use."""
    wf.run_local(runs[0].run_dir)  # letter a again, the newest
    answer = pruned("--older-than", "0s", "--dry-run")
    assert {task["task"]: task["results"] for task in answer["tasks"]} == {
        "large": 3, "pickled": 1, "last": 1
    }  # fmt: skip
    assert answer["runs"] == [runs[2].run_id]
    assert plan_pruning(store(), ResultPolicy(older_than=100)).results == 0
    assert plan_pruning(store(), ResultPolicy(older_than=100), clock=Later(200)).results == 5


@pytest.fixture
def other(load: Callable[[str], Any]) -> Any:
    """A workflow of another name with equal tasks: it shares the results."""
    return load(SOURCE.replace('Workflow("flow")', 'Workflow("other")')).wf


def test_results_that_another_workflow_uses_are_kept(
    runs: list[Run], other: Any, tmp_path: Path
) -> None:
    run = other.run_local(tmp_path / "other")
    assert run.counts()["large"] == {"CACHED": 3}
    other.run_local(tmp_path / "more", letter="c")
    answer = pruned("--workflow", "flow", "--older-than", "0s", "--keep", "0", "--yes")
    assert answer["runs"] == [runs[2].run_id], "what `other` has was last used there"
    assert other.plan(tmp_path / "again").misses == 0
    answer = pruned("--workflow", "other", "--older-than", "0s", "--keep", "0", "--dry-run")
    assert answer["results"] == 5, "of letter c alone: the runs of `flow` have the others"


def test_result_that_a_kept_run_has_is_kept_though_an_old_run_reused_it_last(
    runs: list[Run], other: Any, tmp_path: Path
) -> None:
    assert other.run_local(tmp_path / "b", letter="b").counts()["large"] == {"CACHED": 3}
    other.run_local(tmp_path / "c", letter="c")
    plan = plan_pruning(store(), ResultPolicy(older_than=-1))
    assert plan.runs == (runs[0].run_id, runs[1].run_id), "the third is the newest of its workflow"
    assert plan.kept == 11


def test_superseded_results(
    runs: list[Run], load: Callable[[str], Any], tmp_path: Path
) -> None:
    assert pruned("--superseded", "--yes")["results"] == 0
    new = load(SOURCE.replace("50_000", "60_000").replace("def pickled", "def kept")).wf
    with pytest.raises(ValueError, match="pickled"):
        new.run_local(tmp_path / "broken")
    source = SOURCE.replace("50_000", "60_000").replace('"end"', '"END"')
    load(source).wf.run_local(tmp_path / "new")
    answer = pruned("--superseded", "--yes")
    assert {task["task"]: (task["reason"], task["results"]) for task in answer["tasks"]} == {
        "large": ("superseded", 6), "last": ("superseded", 2)
    }  # fmt: skip
    # Unchanged results are kept: the older run's `pickled` counts by its values alone.
    assert runs[0].result("pickled") == {"0a", "1a", "2a"}
    assert not any(name.endswith(".json") for name in values(runs[0]))
    # A task that the workflow no longer has.
    gone = source[: source.index("@wf.job(serializer")]
    load(gone).wf.run_local(tmp_path / "gone")
    answer = pruned("--superseded", "--yes")
    assert {task["task"] for task in answer["tasks"]} == {"pickled", "last"}


def test_by_size(runs: list[Run]) -> None:
    plan = pruned("--max-size", "0", "--dry-run")
    assert plan["freed"] < plan["size"]
    assert {task["reason"] for task in plan["tasks"]} == {"size"}
    enough = str(plan["size"])
    assert pruned("--max-size", enough, "--yes")["results"] == 0
    assert pruned("--max-size", str(plan["size"] - plan["freed"]), "--yes")["freed"] > 0
    assert values(runs[0]) == set() != values(runs[2])


def test_a_run_that_may_be_retried_keeps_its_values(wf: Any, tmp_path: Path) -> None:
    failed = wf.run_local(tmp_path / "failed", on_error="continue", fail=True)
    assert failed.state == "FAILED"
    before = values(failed)
    answer = pruned("--older-than", "0s", "--keep", "0", "--yes")
    assert (answer["results"], answer["freed"]) == (5, 0)
    assert values(failed) == before
    assert failed.result("pickled") == {"0a", "1a", "2a"}
    assert wf.plan(tmp_path / "again").misses == 1, "nobody takes them over"
    failed.retry()
    assert failed.wait(60) == "FAILED"
    assert failed.counts()["large"] == {"SUCCESS": 3}
    assert failed.result("large")[0] == "0a" * 50_000


def test_running_run_keeps_its_results(
    runs: list[Run], load: Callable[[str], Any], tmp_path: Path, watch: Any
) -> None:
    source = SOURCE.replace(
        "    if fail:", "    import time, pathlib\n    while fail and not"
        f" pathlib.Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.01)\n    if False:",
    )  # fmt: skip
    module = load(source)
    run = module.wf.submit(run_dir=tmp_path / "long", fail=True)
    watch.until(lambda: run.counts().get("pickled", {}).get("CACHED"))
    module.wf.run_local(tmp_path / "newest", letter="c")  # so that it is not kept as the newest
    answer = pruned("--older-than", "0s", "--yes")
    assert {task["task"]: task["results"] for task in answer["tasks"]} == {
        "large": 3, "pickled": 1, "last": 2
    }  # fmt: skip
    assert runs[0].result("large")[0] == "0a" * 50_000
    (tmp_path / "go").touch()
    assert run.wait(60) == "SUCCESS"
    assert run.counts()["large"] == {"CACHED": 3}


def test_run_resumed_between_plan_and_execution_keeps_its_results(runs: list[Run]) -> None:
    plan = plan_pruning(store(), ResultPolicy(older_than=-1))
    record = runs[0].record
    lease, _ = take_lease(
        record.files, Clock(), JournalReader(record.files, record.segments), this_process()
    )
    pruning = carry_out(store(), plan)
    lease.release()
    assert pruning.runs == (runs[1].run_id,)
    assert any("is kept" in problem for problem in pruning.problems)
    assert runs[0].result("large")[0] == "0a" * 50_000


def test_files_are_orphans_when_prune_is_killed_before_it_removes_them(
    runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in the journal holds, and the files are orphans."""

    class Killed(BaseException):
        pass

    discard = Files.discard

    def killed(self: Files, path: str) -> None:
        if Path(path).parent.name == "values":
            raise Killed
        discard(self, path)

    plan = plan_pruning(store(), ResultPolicy(older_than=-1))
    with monkeypatch.context() as patched:
        patched.setattr(Files, "discard", killed)
        with pytest.raises(Killed):
            carry_out(store(), plan)
    assert len(values(runs[0])) == 4
    cleaning = plan_cleaning(store(), Policy(), clock=Later(ORPHANED_AFTER + 10))
    assert {Path(orphan.path).name for orphan in cleaning.orphans} == values(runs[0])


def test_nothing_is_pruned_on_a_full_disk(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be recorded must not be removed."""
    create = Files.create

    def full(self: Files, path: str, data: bytes, *, durable: bool = True) -> bool:
        if path.endswith(".seg"):
            raise OSError(28, "No space left on device")
        return create(self, path, data, durable=durable)

    plan = plan_pruning(store(), ResultPolicy(older_than=-1))
    monkeypatch.setattr(Files, "create", full)
    pruning = carry_out(store(), plan)
    assert (pruning.runs, pruning.freed) == ((), 0)
    assert all("no room" in problem for problem in pruning.problems)
    assert runs[0].result("large")[0] == "0a" * 50_000


def test_damaged_and_lost_records(runs: list[Run]) -> None:
    """An unreadable record keeps its results; a lost one is ignored."""
    Path(runs[1].record.folder, "run.json").write_text("{}")
    answer = as_json("cache-prune", reflow("cache", "prune", "--json", "--older-than", "0s",
                                         "--yes", code=1))  # fmt: skip
    assert [problem.split(":")[0] for problem in answer["problems"]] == [runs[1].run_id]
    assert answer["results"] == 0, "the damaged run has them too"
    shutil.rmtree(runs[1].run_dir)
    assert pruned("--older-than", "0s", "--yes")["runs"] == [runs[0].run_id]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs files of another user")
def test_other_users_are_left_alone(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by root: the owner could not continue a journal to which root has written."""
    os.chown(runs[0].record.folder, 65534, 65534)
    plan = plan_pruning(store(), ResultPolicy(older_than=-1, max_size=0), keep=0)
    assert plan.others == 1
    assert list(plan.going) == [runs[2].run_id], "the second shares them with another user's"


def test_text_is_json_of_a_schema_that_has_the_reasons() -> None:
    from reflow.runs import retention

    schema = json.loads(
        (Path(__file__).resolve().parents[2] / "docs/reference/json/cache-prune.schema.json")
        .read_text()
    )  # fmt: skip
    reasons = schema["properties"]["tasks"]["items"]["properties"]["reason"]["enum"]
    assert set(reasons) == {
        retention.AGE, retention.SIZE, retention.SUPERSEDED, retention.ASKED
    }  # fmt: skip
