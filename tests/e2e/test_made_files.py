"""Files that tasks pass on: the same path may have other content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SOURCE = """
from pathlib import Path
from typing import Annotated
from reflow import Param, Result, RunDir, Workflow

wf = Workflow("files")
ran = []

@wf.job()
def items(numbers: list[int]) -> list[tuple[int, int]]:
    return list(enumerate(numbers))

@wf.job(array=True)
def write(pair: Annotated[tuple[int, int], Result(step="items")], run_dir: RunDir) -> Path:
    path = run_dir / f"{pair[0]}.txt"
    path.write_text(str(pair[1]))
    ran.append("write")
    return path

@wf.job(array=True)
def read(path: Annotated[Path, Result(step="write")]) -> int:
    ran.append("read")
    return int(path.read_text())

@wf.job()
def join(paths: Annotated[list[Path], Result(step="write")], run_dir: RunDir) -> Path:
    ran.append("join")
    (run_dir / "all").write_text(" ".join(path.read_text() for path in paths))
    return run_dir / "all"

@wf.job()
def last(path: Annotated[Path, Result(step="join")]) -> str:
    ran.append("last")
    return path.read_text()
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_results_made_of_changed_files_are_computed_again(
    load: Any, tmp_path: Path, workers: int
) -> None:
    module = load(SOURCE)
    out = tmp_path / "out"

    def run(*numbers: int) -> tuple[list[int], str]:
        module.ran.clear()
        done = module.wf.run_local(out, numbers=list(numbers), max_workers=workers)
        return done.result("read"), done.result("last")

    assert run(1, 2, 3) == ([1, 2, 3], "1 2 3")
    # The paths, and so the JSON texts of the values, are the same.
    assert run(1, 5, 3) == ([1, 5, 3], "1 5 3")
    if workers == 1:
        assert sorted(module.ran) == ["join", "last", "read", "write"]
    assert run(1, 5, 3) == ([1, 5, 3], "1 5 3")
    assert module.ran == []
    # Older results are valid again, but for those whose files were overwritten.
    assert run(1, 2, 3) == ([1, 2, 3], "1 2 3")
    if workers == 1:
        assert sorted(module.ran) == ["join", "write"]
    assert run(1, 2, 3) == ([1, 2, 3], "1 2 3")
    assert module.ran == []
    assert run(1, 5, 3) == ([1, 5, 3], "1 5 3")
    assert module.wf.plan(out, numbers=[1, 5, 3]).misses == 0
