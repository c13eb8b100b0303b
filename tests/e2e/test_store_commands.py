"""`reflow store`: rebuild, check, export and clean up, on real runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import jsonschema
import pytest

from reflow import Result, RunDir, Workflow
from reflow.run import Run
from reflow.runs.gc import ORPHANED_AFTER, carry_out, plan_cleaning
from reflow.runs.retention import Policy
from reflow.storage.clock import Clock
from reflow.storage.indexing import records_below
from reflow.storage.journal import JournalReader, take_lease
from reflow.storage.process_id import this_process
from reflow.storage.stores.sqlite.store import SqliteStore
from reflow.storage.user_state import default_store_path

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "reference" / "json"
DAY = 24 * 3600


class Later(Clock):
    """A clock that is ahead."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def now(self) -> float:
        return time.time() + self.seconds


def reflow(*words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "from reflow.cli import main; main()", *words],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout if code in (0, 1) else done.stderr


def as_json(name: str, text: str) -> Any:
    value = json.loads(text)
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(value)
    return value


def workflow(calls: Path, factor: int = 1) -> Workflow:
    """A workflow with a small value, a large one (in a file), and one that is pickled."""
    wf = Workflow("flow")

    @wf.job()
    def numbers() -> list[int]:
        with calls.open("a") as file:
            file.write("numbers\n")
        return [1, 2, 3]

    @wf.job(array=True)
    def large(x: Annotated[int, Result(step="numbers")]) -> str:
        with calls.open("a") as file:
            file.write("large\n")
        return str(x) * 100_000

    @wf.job(serializer="pickle")
    def pickled(xs: Annotated[list[str], Result(step="large")]) -> object:
        with calls.open("a") as file:
            file.write("pickled\n")
        return {len(x) for x in xs}

    @wf.job()
    def last(x: Annotated[object, Result(step="pickled")], run_dir: RunDir) -> str:
        (run_dir / "output.txt").write_text(str(factor))
        return str(run_dir / "output.txt")

    return wf


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    path = tmp_path / "calls"
    path.touch()
    return path


@pytest.fixture
def runs(tmp_path: Path, calls: Path) -> list[Run]:
    """Three runs; the second and the third reuse almost all results of those before."""
    wf = workflow(calls)
    return [wf.run_local(tmp_path / "runs" / str(number)) for number in range(3)]


def listed() -> list[str]:
    with SqliteStore(default_store_path()) as store:
        return [row.run_id for row in store.list_runs()]


def test_a_lost_store_is_rebuilt(runs: list[Run], tmp_path: Path) -> None:
    before = [run.status(as_dict=True) for run in runs]
    default_store_path().unlink()
    assert "3 runs indexed" in reflow("store", "rebuild", str(tmp_path / "runs"))
    assert [run.status(as_dict=True) for run in runs] == before
    answer = as_json("store-rebuild", reflow("store", "rebuild", "--json"))
    assert answer == {"runs": [run.run_id for run in runs], "problems": [], "moved_to": None}
    assert [run.status(as_dict=True) for run in runs] == before
    assert "nothing is wrong" in reflow("store", "check")


def test_a_damaged_store_is_moved_away(runs: list[Run], tmp_path: Path) -> None:
    path = default_store_path()
    path.write_bytes(b"\xff" * 20_000)
    assert "store rebuild --new" in reflow("store", "check", code=2)
    assert "give the folders" in reflow("store", "rebuild", "--new", code=2)
    answer = as_json(
        "store-rebuild", reflow("store", "rebuild", "--new", "--json", str(tmp_path / "runs"))
    )
    assert answer["moved_to"] == f"{path}.1"
    assert Path(f"{path}.1").read_bytes() == b"\xff" * 20_000
    assert listed() == [run.run_id for run in reversed(runs)]


def test_a_damaged_record_does_not_stop_the_others(runs: list[Run], tmp_path: Path) -> None:
    Path(runs[1].record.folder, "run.json").write_text("{}")
    answer = as_json("store-rebuild", reflow("store", "rebuild", "--json", str(tmp_path), code=1))
    assert answer["runs"] == [runs[0].run_id, runs[2].run_id]
    assert [problem["record"] for problem in answer["problems"]] == [runs[1].record.folder]
    assert "is no folder" in reflow("store", "rebuild", str(tmp_path / "none"), code=2)


def test_a_run_that_goes_on_is_rebuilt_beside_its_driver(
    tmp_path: Path, load: Callable[[str], Any], watch: Any
) -> None:
    module = load(
        "import time\nfrom pathlib import Path\nfrom typing import Annotated\n"
        "from reflow import Result, RunDir, Workflow\nwf = Workflow('long')\n"
        "@wf.job()\ndef numbers() -> list[int]:\n    return list(range(40))\n"
        "@wf.job(array=True)\n"
        "def slow(x: Annotated[int, Result(step='numbers')], run_dir: RunDir) -> int:\n"
        "    while x == 20 and not (run_dir / 'go').exists(): time.sleep(0.01)\n    return x\n"
    )
    run = module.wf.submit(run_dir=tmp_path / "run")
    watch.until(lambda: run.counts().get("slow", {}).get("SUCCESS", 0) >= 20)
    for _ in range(5):
        reflow("store", "rebuild")
    (tmp_path / "run" / "go").touch()
    assert run.wait(60) == "SUCCESS"
    assert run.counts() == {"numbers": {"SUCCESS": 1}, "slow": {"SUCCESS": 40}}
    with SqliteStore(default_store_path()) as store:
        assert store.summary(run.run_id)["slow"] == {"SUCCESS": 40}


def test_records_are_found_below_and_in_order(runs: list[Run], tmp_path: Path) -> None:
    expected = [run.record.folder for run in runs]
    assert [record.folder for record in records_below([tmp_path])] == expected
    assert [record.folder for record in records_below([tmp_path / "runs", tmp_path])] == expected
    here = tmp_path / "runs" / "1"
    assert [record.folder for record in records_below([here])] == expected[1:2]
    assert [record.folder for record in records_below([here / ".reflow"])] == expected[1:2]
    (tmp_path / ".hidden").mkdir()
    shutil.copytree(tmp_path / "runs", tmp_path / ".hidden" / "runs")
    assert [record.folder for record in records_below([tmp_path])] == expected


def test_check_says_what_is_wrong(runs: list[Run]) -> None:
    shutil.rmtree(runs[0].record.folder)
    segments = sorted(Path(runs[1].record.segments).iterdir())
    segments[-1].write_bytes(segments[-1].read_bytes()[:-100])
    problems = as_json("store-check", reflow("store", "check", "--json", code=1))
    assert {problem["run_id"] for problem in problems} == {runs[0].run_id, runs[1].run_id}
    texts = {problem["run_id"]: problem["text"] for problem in problems}
    assert "is gone" in texts[runs[0].run_id]
    assert "store rebuild" in texts[runs[1].run_id]


def test_export(runs: list[Run], tmp_path: Path) -> None:
    lines = [as_json("store-export", line) for line in reflow("store", "export").splitlines()]
    kinds = [row["kind"] for row in lines]
    assert (kinds.count("run"), kinds.count("task"), kinds.count("instance")) == (3, 12, 18)
    assert [row["run_id"] for row in lines if row["kind"] == "run"] == [run.run_id for run in runs]
    numbers = next(row for row in lines if row["kind"] == "instance" and row["task"] == "numbers")
    assert numbers["value"] == [1, 2, 3]
    output = tmp_path / "out.jsonl"
    reflow("store", "export", runs[1].run_id, "--output", str(output))
    assert {json.loads(line)["run_id"] for line in output.read_text().splitlines()} == {
        runs[1].run_id
    }
    assert "exists already" in reflow("store", "export", "--output", str(output), code=2)
    assert "no run" in reflow("store", "export", "nothing-1", code=2)


def test_cache_stats(runs: list[Run]) -> None:
    by_task = {
        row["task"]: row for row in as_json("cache-stats", reflow("cache", "stats", "--json"))
    }
    assert list(by_task) == ["numbers", "large", "pickled", "last"]
    large = by_task["large"]
    assert (large["runs"], large["results"], large["hits"], large["share"]) == (3, 3, 6, 0.6667)
    assert by_task["last"]["hits"] == 0, "it takes the run directory"
    assert "67%" in reflow("cache", "stats", "--workflow", "flow")
    assert as_json("cache-stats", reflow("cache", "stats", "--json", "--workflow", "other")) == []


def test_gc_removes_old_runs_and_keeps_what_a_kept_run_needs(
    runs: list[Run], tmp_path: Path, calls: Path
) -> None:
    computed = calls.read_text()
    before = runs[2].status(as_dict=True)
    answer = as_json("store-gc", reflow("store", "gc", "--older-than", "0s", "--dry-run", "--json"))
    assert [row["run_id"] for row in answer["runs"]] == [runs[0].run_id, runs[1].run_id]
    assert answer["dry_run"] is True
    assert listed() == [run.run_id for run in reversed(runs)]
    assert "--yes" in reflow("store", "gc", "--older-than", "0s", code=2)
    answer = as_json("store-gc", reflow("store", "gc", "--older-than", "0s", "--yes", "--json"))
    assert [row["run_id"] for row in answer["runs"]] == [runs[0].run_id, runs[1].run_id]
    assert answer["freed"] > 0
    assert listed() == [runs[2].run_id]
    for run in runs[:2]:
        assert not Path(run.record.folder).parent.exists()
        assert (run.run_dir / "output.txt").read_text() == "1", "what tasks wrote is the user's"
    # The kept run has all its values, and the next run reuses them.
    assert runs[2].status(as_dict=True) == before
    assert runs[2].result("large") == [str(x) * 100_000 for x in (1, 2, 3)]
    assert runs[2].result("pickled") == {100_000}
    again = workflow(calls).run_local(tmp_path / "runs" / "again")
    assert again.counts()["large"] == {"CACHED": 3}
    assert again.counts()["pickled"] == {"CACHED": 1}
    assert calls.read_text() == computed, "nothing was computed twice"
    # A store that is rebuilt has them too.
    default_store_path().unlink()
    reflow("store", "rebuild", str(tmp_path / "runs"))
    more = workflow(calls).run_local(tmp_path / "runs" / "more")
    assert more.counts()["numbers"] == {"CACHED": 1}
    assert calls.read_text() == computed
    assert "nothing is wrong" in reflow("store", "check")


@pytest.mark.parametrize("index", ["as it was", "made anew", "forgotten"])
def test_reused_results_outlive_the_run_that_was_deleted_by_hand(
    runs: list[Run], tmp_path: Path, calls: Path, index: str
) -> None:
    """The index still lists the first run, whose files are gone: the other runs have them all."""
    computed = calls.read_text()
    for run in runs[:2]:
        shutil.rmtree(run.run_dir)
    if index == "made anew":
        default_store_path().unlink()
        reflow("store", "rebuild", str(tmp_path / "runs"))
    elif index == "forgotten":
        reflow("store", "gc", "--missing", "--yes")
    wf = workflow(calls)
    plan = {task.name: task.misses for task in wf.plan(tmp_path / "runs" / "new").tasks}
    assert plan == {"numbers": 0, "large": 0, "pickled": 0, "last": 1}
    again = wf.run_local(tmp_path / "runs" / "again")
    assert calls.read_text() == computed, "nothing was computed twice"
    rows = again.status(as_dict=True)["instances"]
    taken = {row["task_name"]: row["cached_from"] for row in rows}
    assert taken["pickled"] == runs[2].run_id
    assert again.result("pickled") == {100_000}
    assert again.result("large") == [str(x) * 100_000 for x in (1, 2, 3)]


def test_replaced_result_is_not_reused(
    tmp_path: Path, load: Callable[[str], Any]
) -> None:
    """Somebody forced it to be computed again, perhaps for a good reason."""
    source = (
        "from pathlib import Path\nfrom reflow import Workflow\nwf = Workflow('forced')\n"
        "@wf.job(serializer='pickle')\ndef read() -> object:\n"
        "    return {Path(__file__).with_name('input').read_text()}\n"
    )
    (tmp_path / "input").write_text("old")
    wf = load(source).wf
    wf.run_local(tmp_path / "1")
    (tmp_path / "input").write_text("new")
    forced = wf.run_local(tmp_path / "2", force=True)
    shutil.rmtree(forced.run_dir)
    assert wf.plan(tmp_path / "3").misses == 1
    assert wf.run_local(tmp_path / "3").result("read") == {"new"}


def test_gc_by_size_counts_shared_files_once(runs: list[Run]) -> None:
    answer = as_json("store-gc", reflow("store", "gc", "--dry-run", "--json", "--max-size", "0"))
    sizes = [sum(row["size"] for row in answer["runs"] if row["run_id"] == run.run_id)
             for run in runs[:2]]  # fmt: skip
    assert answer["size"] > answer["freed"]
    assert all(size > 300_000 for size in sizes)
    limit = str(answer["size"] - 1)
    answer = as_json("store-gc", reflow("store", "gc", "--yes", "--json", "--max-size", limit))
    assert [row["reason"] for row in answer["runs"]] == ["size"]
    assert "0 runs" in reflow("store", "gc", "--max-size", limit)
    for wrong in (["--max-size", "many"], ["--older-than", "soon"], ["--keep", "-1"]):
        assert f"'{wrong[0]}'" in reflow("store", "gc", *wrong, code=2)


def test_gc_of_orphaned_values(runs: list[Run]) -> None:
    values = Path(runs[0].record.values)
    needed = {path.name for path in values.iterdir()}
    assert len(needed) == 4
    orphans = [values / f"{'0' * 64}.json", values / ".value.node.1.2.pickle"]
    for path in orphans:
        path.write_text("left by a killed worker")
    store = SqliteStore(default_store_path())
    assert plan_cleaning(store, Policy()).orphans == (), "what is new may be needed yet"
    later = Later(ORPHANED_AFTER + 10)
    plan = plan_cleaning(store, Policy(), clock=later)
    assert {orphan.path for orphan in plan.orphans} == {str(path) for path in orphans}
    cleaned = carry_out(store, plan, clock=later)
    assert cleaned.orphans == plan.orphans
    assert {path.name for path in values.iterdir()} == needed
    assert plan_cleaning(store, Policy(older_than=5), clock=Later(1)).runs == (), "not younger"


def test_gc_keeps_runs_that_have_not_ended(runs: list[Run]) -> None:
    """Nor a run that somebody resumes between the plan and its execution."""
    store = SqliteStore(default_store_path())
    plan = plan_cleaning(store, Policy(older_than=-1, keep=0))
    assert len(plan.runs) == 3
    record = runs[1].record
    lease, _ = take_lease(
        record.files, Clock(), JournalReader(record.files, record.segments), this_process()
    )
    cleaned = carry_out(store, plan)
    assert [run.run_id for run in cleaned.runs] == [runs[0].run_id, runs[2].run_id]
    assert [problem for problem in cleaned.problems if "is kept" in problem]
    lease.release()
    assert runs[1].result("numbers") == [1, 2, 3]
    assert listed() == [runs[1].run_id]


@pytest.mark.parametrize("step", ["renamed", "half taken away"])
def test_a_killed_gc_is_continued_by_the_next(runs: list[Run], step: str) -> None:
    folder = Path(runs[0].record.folder)
    remainder = folder.with_name(f".gone-{folder.name}")
    folder.rename(remainder)
    if step == "half taken away":
        shutil.rmtree(remainder / "values")
    answer = as_json("store-gc", reflow("store", "gc", "--json"))
    assert answer["missing"] == [runs[0].run_id]
    assert not remainder.exists()
    assert listed() == [runs[2].run_id, runs[1].run_id]


def test_gc_forgets_runs_whose_directories_are_gone_if_asked(runs: list[Run]) -> None:
    shutil.rmtree(runs[0].run_dir)
    assert "--missing forgets" in reflow("store", "gc", "--dry-run")
    reflow("store", "gc")
    assert len(listed()) == 3, "its file system may only be unmounted"
    reflow("store", "gc", "--missing", "--yes")
    assert listed() == [runs[2].run_id, runs[1].run_id]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs files of another user")
def test_gc_leaves_other_users_alone(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    for run in runs[:2]:
        os.chown(run.record.folder, 65534, 65534)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    os.chown(runs[2].record.folder, 4711, 4711)
    plan = plan_cleaning(SqliteStore(default_store_path()), Policy(older_than=-1, keep=0))
    assert [run.run_id for run in plan.runs] == [runs[2].run_id]
    assert plan.others == 2


def test_gc_on_a_full_disk(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """gc makes room, so its lease on a run that goes must not need any."""
    from reflow.storage.filesystem import Files

    store = SqliteStore(default_store_path())
    plan = plan_cleaning(store, Policy(older_than=-1))
    create = Files.create

    def full(self: Files, path: str, data: bytes, *, durable: bool = True) -> bool:
        if path.endswith(".seg"):
            raise OSError(28, "No space left on device")
        return create(self, path, data, durable=durable)

    monkeypatch.setattr(Files, "create", full)
    assert len(carry_out(store, plan).runs) == 2
