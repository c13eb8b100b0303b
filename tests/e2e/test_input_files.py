"""Which tasks run again after a change of a file that a parameter names."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reflow import DefinitionError, ParameterError, RunDir, Workflow
from reflow.config import Config, RunSettings


@dataclass
class Station:
    name: str
    data: Path


def settle(path: Path, seconds: float = 100.0) -> None:
    """Set a file's time so far back that its stamp is trusted."""
    os.utime(path, (time.time() - seconds,) * 2)


def touch(path: Path) -> None:
    settle(path, 50)


def same_size(path: Path) -> None:
    before = path.stat()
    path.write_text("eno")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def other_size(path: Path) -> None:
    path.write_text("three")


def delete(path: Path) -> None:
    path.unlink()


def into_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_copy(path: Path) -> None:
    copy = path.with_name("copy")
    copy.write_text(path.read_text())
    copy.replace(path)


def nothing(path: Path) -> None:
    """Leave it."""


CHANGES: list[tuple[Callable[[Path], None], dict[str, bool]]] = [
    (nothing, {"auto": False, "content": False, "stat": False, "path": False}),
    (touch, {"auto": False, "content": False, "stat": True, "path": False}),
    (replace_by_copy, {"auto": False, "content": False, "stat": True, "path": False}),
    (same_size, {"auto": True, "content": True, "stat": False, "path": False}),
    (other_size, {"auto": True, "content": True, "stat": True, "path": False}),
    (delete, {"auto": True, "content": True, "stat": True, "path": False}),
    (into_folder, {"auto": True, "content": True, "stat": True, "path": False}),
]
FILE_CASES = [(change, how, runs) for change, table in CHANGES for how, runs in table.items()]

SHAPES: list[tuple[Any, Callable[[Path], Any]]] = [
    (Path, lambda path: path),
    (Path | None, lambda path: path),
    (list[Path], lambda path: [path]),
    (dict[str, Path], lambda path: {"a": path}),
    (Station, lambda path: Station("a", path)),
    (list[Station], lambda path: [Station("a", path)]),
]


def workflow(
    annotation: Any, how: str | None, calls: list[Any], configured: str = "auto"
) -> Workflow:
    wf = Workflow("files", config=Config(run=RunSettings(files=configured)))

    def read(file: Any) -> int:
        calls.append(file)
        return len(calls)

    read.__annotations__["file"] = annotation
    wf.job(files=how)(read)
    return wf


def runs_again(wf: Workflow, calls: list[Any], folder: Path, value: Any) -> bool:
    before = len(calls)
    wf.run_local(folder, file=value)
    return len(calls) > before


@pytest.mark.parametrize(("change", "how", "again"), FILE_CASES)
def test_a_file(tmp_path: Path, change: Callable[[Path], None], how: str, again: bool) -> None:
    file = tmp_path / "in.txt"
    file.write_text("one")
    settle(file)
    calls: list[Any] = []
    wf = workflow(Path, how, calls)
    assert runs_again(wf, calls, tmp_path / "run", file)
    assert not runs_again(wf, calls, tmp_path / "run", file)
    change(file)
    assert runs_again(wf, calls, tmp_path / "run", file) is again
    assert not runs_again(wf, calls, tmp_path / "run", file)


@pytest.mark.parametrize(
    ("how", "configured", "again"),
    [
        (None, "path", False), (None, "content", True), ("auto", "path", True),
        ("path", "auto", False),
    ],
)  # fmt: skip
def test_configuration_decides_if_the_task_does_not(
    tmp_path: Path, how: str | None, configured: str, again: bool
) -> None:
    file = tmp_path / "in.txt"
    file.write_text("one")
    calls: list[Any] = []
    wf = workflow(Path, how, calls, configured)
    assert runs_again(wf, calls, tmp_path / "run", file)
    other_size(file)
    assert wf.plan(tmp_path / "run", file=file).hits == (0 if again else 1)
    assert runs_again(wf, calls, tmp_path / "run", file) is again


def test_configuration_refuses_an_unknown_policy() -> None:
    with pytest.raises(ValueError, match="files"):
        RunSettings(files="mtime")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("configured", "kept"), [("auto", True), ("path", False)])
def test_the_configuration_says_how_files_in_results_count(
    tmp_path: Path, workers: int, configured: str, kept: bool
) -> None:
    wf = Workflow("files", config=Config(run=RunSettings(files=configured)))

    @wf.job()
    def write(where: RunDir) -> Path:
        (where / "out.txt").write_text("one")
        return where / "out.txt"

    run = wf.run_local(tmp_path / "run", max_workers=workers)
    (row,) = wf.store.instances(run.run_id)
    assert [bool(text) for text in row.prints] == ([True] if kept else [])


@pytest.mark.parametrize(("annotation", "make"), SHAPES)
def test_a_file_inside_a_value(
    tmp_path: Path, annotation: Any, make: Callable[[Path], Any]
) -> None:
    file = tmp_path / "in.txt"
    file.write_text("one")
    calls: list[Any] = []
    wf = workflow(annotation, "auto", calls)
    assert runs_again(wf, calls, tmp_path / "run", make(file))
    touch(file)
    assert not runs_again(wf, calls, tmp_path / "run", make(file))
    same_size(file)
    assert runs_again(wf, calls, tmp_path / "run", make(file))
    file.write_text("one")  # changed back: the first result is reused
    assert not runs_again(wf, calls, tmp_path / "run", make(file))


def test_a_text_is_no_file(tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_text("one")
    calls: list[Any] = []
    wf = workflow(str, "auto", calls)
    assert runs_again(wf, calls, tmp_path / "run", str(file))
    other_size(file)
    assert not runs_again(wf, calls, tmp_path / "run", str(file))


def test_link_counts_as_its_target(tmp_path: Path) -> None:
    for name, text in (("a", "one"), ("b", "one"), ("c", "eno")):
        (tmp_path / name).write_text(text)
    link = tmp_path / "link"
    calls: list[Any] = []
    wf = workflow(Path, "auto", calls)
    again = []
    for name in "abc":
        link.unlink(missing_ok=True)
        link.symlink_to(tmp_path / name)
        again.append(runs_again(wf, calls, tmp_path / "run", link))
    assert again == [True, False, True]


@pytest.mark.parametrize(
    ("how", "touched", "edited", "added"),
    [("auto", False, False, False), ("content", False, True, True), ("stat", True, False, True)],
)
def test_a_folder(tmp_path: Path, how: str, touched: bool, edited: bool, added: bool) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    file = folder / "deep" / "a.txt"
    file.write_text("one")
    calls: list[Any] = []
    wf = workflow(Path, how, calls)
    assert runs_again(wf, calls, tmp_path / "run", folder)
    touch(file)
    assert runs_again(wf, calls, tmp_path / "run", folder) is touched
    same_size(file)
    assert runs_again(wf, calls, tmp_path / "run", folder) is edited
    (folder / "b.txt").write_text("two")
    assert runs_again(wf, calls, tmp_path / "run", folder) is added


def test_a_file_that_changes_twice_within_a_tick_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    calls: list[Any] = []
    wf = workflow(Path, "auto", calls)
    for text in ("one", "two", "six"):
        file.write_text(text)
        os.utime(file, ns=(10**18, 10**18))  # the same size and time each time
        assert runs_again(wf, calls, tmp_path / "run", file)


@pytest.mark.parametrize("text", ["", "{", "[]", '["reflow-filehashes-1", []]', '["x", {}]'])
def test_a_damaged_memory_of_hashes_is_no_memory(tmp_path: Path, text: str) -> None:
    memory = tmp_path / "state" / "reflow" / "filehashes.json"
    memory.parent.mkdir(parents=True)
    memory.write_text(text)
    file = tmp_path / "in.txt"
    file.write_text("one")
    calls: list[Any] = []
    wf = workflow(Path, "auto", calls)
    assert runs_again(wf, calls, tmp_path / "run", file)
    assert not runs_again(wf, calls, tmp_path / "run", file)


def test_unreadable_file_is_reported_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    wf = workflow(Path, "auto", [])
    with pytest.raises(ParameterError, match=r"'file' of task 'read'.*loop.*files=\"path\""):
        wf.run_local(tmp_path / "run", file=loop)
    assert not (tmp_path / "run").exists()


def test_other_words_are_refused() -> None:
    with pytest.raises(DefinitionError, match=r"files='size': files is 'auto', .*or 'path'"):
        Workflow("files").job(files="size")


def test_plan_and_why_know_of_files(load: Any, tmp_path: Path) -> None:
    source = (
        "from pathlib import Path\nfrom reflow import Workflow\nwf = Workflow('w')\n"
        "@wf.job()\ndef size(data: Path) -> int: return len(data.read_text())\n"
    )
    data = tmp_path / "data"
    data.write_text("one")
    wf = load(source).wf
    wf.run_local(tmp_path / "out", data=data)
    assert wf.plan(tmp_path / "out", data=data).misses == 0
    data.write_text("two")
    plan = wf.plan(tmp_path / "out", data=data)
    assert plan.misses == 1
    assert "what stands there has changed" in plan.tasks[0].reasons[0].text
    run = wf.run_local(tmp_path / "out", data=data)
    assert [difference.after for difference in run.why("size").differences] == [
        "what stands there has changed"
    ]
