"""Files in results count by content: which tasks run again, and that a plan says so before."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from reflow.storage.filesystem import Files

SOURCE = """
from pathlib import Path
from typing import Annotated
from reflow import Result, RunDir, Workflow

wf = Workflow("files")
ran = []

@wf.job()
def items(letters: list[str]) -> list[tuple[int, str]]:
    ran.append("items")
    return list(enumerate(letters))

@wf.job(array=True, files="POLICY")
def write(pair: Annotated[tuple[int, str], Result(step="items")], run_dir: RunDir) -> Path:
    ran.append("write")
    path = run_dir / f"{pair[0]}.txt"
    path.unlink(missing_ok=True)
    path.write_text(pair[1])
    return path

@wf.job(array=True)
def read(path: Annotated[Path, Result(step="write")]) -> str:
    ran.append("read")
    return path.read_text().upper()

@wf.job(array=True)
def after(text: Annotated[str, Result(step="read")]) -> str:
    ran.append("after")
    return text * 2

@wf.job()
def listed(paths: Annotated[list[Path], Result(step="write")]) -> list[Path]:
    ran.append("listed")
    return paths

@wf.job(array=True)
def again(path: Annotated[Path, Result(step="listed")]) -> str:
    ran.append("again")
    return path.read_text()
"""
LETTERS = ["a", "b", "c"]
ALL = {"items": 1, "write": 3, "read": 3, "after": 3, "listed": 1, "again": 3}


class Change(NamedTuple):
    """What happens between two runs, and what the second one runs by ``files="auto"``.

    `stat` and `path` say it for these policies, where it differs; `why` is what the plan says
    of `write`.
    """

    runs: dict[str, int]
    file: Callable[[Path], object] = lambda path: None
    letters: list[str] = LETTERS
    edits: tuple[str, str] = ("", "")
    options: dict[str, Any] = {}  # noqa: RUF012 (never changed)
    why: str = ""
    stat: dict[str, int] | None = None
    path: dict[str, int] | None = None


def altered(path: Path) -> None:
    path.write_text("X")
    os.utime(path, (1, 1))


def copied(path: Path) -> None:
    shutil.copy(path, path.with_suffix(".copy"))
    path.with_suffix(".copy").replace(path)
    os.utime(path, (1, 1))


# A rewritten file has another time: by "stat" its element and those below it run again.
# `listed`, by "auto", passes the paths on: for the tasks below it their content counts.
ONE = {"write": 1, "read": 1, "listed": 1}
EVERY = {"write": 3, "read": 3, "listed": 1}
CHANGES = {
    "nothing": Change({}),
    "touched": Change(
        {}, lambda path: os.utime(path, (1, 1)), stat=ONE, path={},
    ),
    "copied": Change({}, copied, stat=ONE, path={}),
    "deleted": Change(
        {"write": 1}, Path.unlink, why="1.txt is gone", stat=ONE,
        path=ONE,
    ),
    "altered": Change(
        {"write": 1}, altered, why="1.txt was changed since it was made", stat=ONE,
        path={"listed": 1, "again": 1},
    ),
    "made anew, the same": Change(
        {"write": 3}, edits=("write_text(pair[1])", "write_text(pair[1] + '')"),
        why="its code has changed", stat=EVERY, path=EVERY,
    ),
    "forced": Change(
        {"write": 3}, options={"force_tasks": ["write"]}, why="forced",
        stat=EVERY, path=EVERY,
    ),
    "another content": Change(
        {"items": 1, "write": 1, "read": 1, "after": 1, "listed": 1, "again": 1},
        letters=["a", "B", "c"],
    ),
}  # fmt: skip


@pytest.fixture
def make(load: Any, tmp_path: Path) -> Iterator[Any]:
    """Load the workflow with a policy, perhaps edited."""

    def load_with(policy: str, edits: tuple[str, str] = ("", "")) -> Any:
        return load(SOURCE.replace("POLICY", policy).replace(*edits))

    return load_with


@pytest.mark.parametrize("policy", ["auto", "stat", "path"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_runs_again(make: Any, tmp_path: Path, change: Change, policy: str) -> None:
    out = tmp_path / "out"
    module = make(policy)
    module.wf.run_local(out, letters=LETTERS)
    assert Counter(module.ran) == ALL
    change.file(out / "1.txt")
    module = make(policy, change.edits)
    plan = module.wf.plan(out, letters=change.letters, **change.options)
    run = module.wf.run_local(out, letters=change.letters, **change.options)
    other = {"stat": change.stat, "path": change.path}.get(policy)
    expected = change.runs if other is None else other
    # "B" and "b" have the same upper case: equal values stop the changes from spreading.
    same = {"after": 0} if change.letters != LETTERS else {}
    assert Counter(module.ran) == {
        task: count for task, count in {**expected, **same}.items() if count
    }
    texts = [path.read_text() for path in run.result("listed")]
    assert texts == run.result("again")
    if not (policy == "path" and change.file is altered):
        assert [text.upper() for text in texts] == run.result("read")
    planned = {task.name: task for task in plan.tasks}["write"]
    if planned.unknown == 0:
        assert planned.misses == module.ran.count("write")
        if change.why and planned.misses:
            assert change.why in planned.reasons[0].text
    assert module.wf.plan(out, letters=change.letters).misses == 0


def test_a_touched_file_is_read_once(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    real = Files.digest

    def counted(self: Files, path: str) -> str:
        read.append(os.path.basename(path))
        return real(self, path)

    monkeypatch.setattr("reflow.caching.hash_cache.DOUBT_SECONDS", -1.0)
    monkeypatch.setattr(Files, "digest", counted)
    wf, out = make("auto").wf, tmp_path / "out"
    wf.run_local(out, letters=LETTERS)
    for name in "01":
        os.utime(out / f"{name}.txt", (1, 1))
    assert wf.plan(out, letters=LETTERS).misses == 0
    # `write` and `listed` name them both: the first lookup left its hashes for the second.
    read.clear()
    for _ in range(2):
        assert wf.run_local(out, letters=LETTERS).state == "SUCCESS"
        assert sorted(read) == ["0.txt", "1.txt"]
    read.clear()
    altered(out / "1.txt")
    (out / "0.txt").write_text("longer")
    assert wf.plan(out, letters=LETTERS).misses == 2
    assert read == ["1.txt"], "another size is another file"


def test_touched_files_are_read_each_time_without_a_home(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    wf, out = make("auto").wf, tmp_path / "out"
    wf.run_local(out, letters=LETTERS)
    os.utime(out / "1.txt", (1, 1))
    monkeypatch.setattr("reflow.storage.user_state.user_state_folder", nowhere)
    run = wf.run_local(out, letters=LETTERS)
    assert run.status(as_dict=True)["summary"]["write"] == {"CACHED": 3}


def test_plan_names_several_files_in_one_line(make: Any, tmp_path: Path) -> None:
    wf, out = make("auto").wf, tmp_path / "out"
    wf.run_local(out, letters=LETTERS)
    for name in "012":
        altered(out / f"{name}.txt")
    (planned,) = [task for task in wf.plan(out, letters=LETTERS).tasks if task.name == "write"]
    assert [(reason.text, reason.elements) for reason in planned.reasons] == [
        (f"its file {out}/0.txt was changed since it was made, "
         "and files of 2 more are gone or changed", 3)
    ]  # fmt: skip
    assert wf.plan(out, letters=LETTERS, verify=False).misses == 0


def test_a_changed_file_is_named_by_why(make: Any, tmp_path: Path) -> None:
    wf, out = make("auto").wf, tmp_path / "out"
    wf.run_local(out, letters=LETTERS)
    run = wf.run_local(out, letters=["a", "x", "c"])
    (difference,) = run.why("read", 1).differences
    assert (difference.source, difference.after) == ("write[1]", "what stands there has changed")
    (difference,) = run.why("again", 1).differences
    assert (difference.source, difference.after) == (
        "listed (item 1)",
        "what stands there has changed",
    )
    altered(out / "2.txt")
    run = wf.run_local(out, letters=["a", "x", "c"])
    assert "one of its files was gone or changed" in str(run.why("write", 2))


SHAPES = {
    "path": ("Path", "file", "value"),
    "optional": ("Path | None", "file", "value"),
    "list": ("list[Path]", "[file]", "value[0]"),
    "tuple": ("tuple[int, Path]", "(1, file)", "value[1]"),
    "dict": ("dict[str, list[Path]]", '{"a": [file]}', 'value["a"][0]'),
    "keys": ("dict[Path, int]", "{file: 1}", "next(iter(value))"),
    "dataclass": ("Station", 'Station("a", file)', "value.data"),
    "nested": ("list[Station]", '[Station("a", file)]', "value[0].data"),
    "folder": ("Path", "file.parent", 'value / "data"'),
}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_paths_are_checked_wherever_a_value_holds_them(
    load: Any, tmp_path: Path, shape: tuple[str, str, str], workers: int
) -> None:
    annotation, value, path = shape
    module = load(f"""
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from reflow import Result, RunDir, Workflow

wf = Workflow("shapes")

@dataclass
class Station:
    name: str
    data: Path

@wf.job(files="content")
def make(text: str, run_dir: RunDir) -> {annotation}:
    file = run_dir / "folder" / "data"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return {value}

@wf.job()
def use(value: Annotated[{annotation}, Result(step="make")]) -> str:
    return ({path}).read_text()
""")
    out = tmp_path / "out"

    def states(text: str, **options: Any) -> list[str]:
        run = module.wf.run_local(out, text=text, max_workers=workers, **options)
        assert run.result("use") == text
        return [element["state"] for element in run.status(as_dict=True)["instances"]]

    assert states("1") == ["SUCCESS", "SUCCESS"]
    assert states("1") == ["CACHED", "CACHED"]
    assert states("1", force_tasks=["make"]) == ["SUCCESS", "CACHED"]
    assert states("2") == ["SUCCESS", "SUCCESS"]
    assert states("1") == ["SUCCESS", "CACHED"], "the older result names a file that was changed"
    altered(out / "folder" / "data")
    assert states("1") == ["SUCCESS", "CACHED"]
    shutil.rmtree(out / "folder")
    assert states("1") == ["SUCCESS", "CACHED"]


def test_a_folder_that_others_fill_does_not_change(load: Any, tmp_path: Path) -> None:
    module = load("""
from pathlib import Path
from typing import Annotated
from reflow import Result, RunDir, Workflow

wf = Workflow("folders")

@wf.job()
def prepare(run_dir: RunDir) -> Path:
    (run_dir / "work").mkdir()
    return run_dir / "work"

@wf.job()
def fill(folder: Annotated[Path, Result(step="prepare")]) -> Path:
    (folder / "data").write_text("1")
    return folder / "data"

@wf.job()
def top(after: Annotated[Path, Result(step="fill")], run_dir: RunDir) -> Path:
    return run_dir
""")
    module.wf.run_local(tmp_path / "out")
    summary = module.wf.run_local(tmp_path / "out").status(as_dict=True)["summary"]
    assert summary == {name: {"CACHED": 1} for name in ("prepare", "fill", "top")}


def test_names_of_files_that_others_write_do_not_change(load: Any, tmp_path: Path) -> None:
    module = load("""
from pathlib import Path
from typing import Annotated
from reflow import Result, RunDir, Workflow

wf = Workflow("names")

@wf.job()
def names(run_dir: RunDir) -> list[Path]:
    return [run_dir / "a", run_dir / "b"]

@wf.job(array=True)
def write(path: Annotated[Path, Result(step="names")]) -> Path:
    path.write_text("1")
    return path
""")
    module.wf.run_local(tmp_path / "out")
    summary = module.wf.run_local(tmp_path / "out").status(as_dict=True)["summary"]
    assert summary == {"names": {"CACHED": 1}, "write": {"CACHED": 2}}


def test_tasks_below_run_if_a_file_cannot_be_examined(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = os.stat

    def failing(path: Any, **options: Any) -> os.stat_result:
        raise OSError(5, "Input/output error", path)

    module, out = make("auto"), tmp_path / "out"
    module.wf.run_local(out, letters=["a"])
    module.ran.clear()
    with monkeypatch.context() as patch:
        patch.setattr("reflow.caching.output_files.full_print", failing)
        run = module.wf.run_local(out, letters=["a"], force_tasks=["write"])
    assert run.state == "SUCCESS"
    assert "no fingerprint of" in capsys.readouterr().err
    assert Counter(module.ran) == {"write": 1, "read": 1, "listed": 1, "again": 1}
    assert real(out / "0.txt")


def test_element_fails_if_its_worker_dies_over_a_file(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wf, out = make("auto").wf, tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("reflow.caching.output_files.full_print", lambda path: os._exit(9))
        run = wf.run_local(out, letters=["a", "b"], max_workers=2, on_error="continue")
    assert run.state == "FAILED"
    status = run.status(as_dict=True)
    assert status["summary"]["write"] == {"FAILED": 2}
    assert {
        element["cause"] for element in status["instances"] if element["task_name"] == "write"
    } == {"ERROR"}
    assert wf.run_local(out, letters=["a", "b"], max_workers=2).result("again") == ["a", "b"]


def test_results_of_other_parameters_in_the_same_folder_are_not_mixed(
    make: Any, tmp_path: Path
) -> None:
    module, out = make("auto"), tmp_path / "out"
    for letters in (["a", "b"], ["c", "d"], ["a", "b"], ["c", "b"]):
        run = module.wf.run_local(out, letters=letters)
        assert run.result("again") == letters
        assert run.result("read") == [text.upper() for text in letters]
