"""What commands print for people, compared as a whole with the files in `rendered/`.

Where a text was changed on purpose, delete its file, run the tests twice and read the difference.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.testing import CliRunner

from reflow import Run
from reflow.cli.commands import reflow_command

RENDERED = Path(__file__).parent / "rendered"
PAGE = Path(__file__).parents[2] / "docs/reference/command-line.md"

SCRIPT = '''
from pathlib import Path
from typing import Annotated
from reflow import Param, Result, Workflow

wf = Workflow("demo")

@wf.job()
def make(count: Annotated[int, Param(help="How many")], scale: float = 1.0) -> list[int]:
    print("making", count)
    return list(range(count))

@wf.job(array=True)
def double(item: Annotated[int, Result(step="make")], bad: int = -1) -> int:
    print("doubling", item)
    if item == bad:
        raise ValueError(f"bad item {item}")
    return 2 * item

@wf.job(after=["make"], cache=False)
def total(items: Annotated[list[int], Result(step="double")]) -> int:
    return sum(items)
'''


@pytest.fixture
def module(load: Callable[[str], ModuleType]) -> ModuleType:
    return load(SCRIPT)


@pytest.fixture
def failed(module: ModuleType, tmp_path: Path) -> Run:
    """A run by the local executor in which double[1] has failed."""
    run: Run = module.wf.submit(tmp_path / "first", executor="local", count=3, bad=1)
    assert run.wait(60) == "FAILED"
    return run


@pytest.fixture
def second(module: ModuleType, failed: Run, tmp_path: Path) -> Run:
    """A later run with another parameter, which reuses the other results."""
    assert failed.state == "FAILED"  # it is there first
    run: Run = module.wf.run_local(
        tmp_path / "second", count=3, bad=1, scale=2.0, on_error="continue"
    )
    return run


def plain(text: str, folder: Path) -> str:
    """Return a text without the parts that differ from run to run."""
    text = text.replace(str(folder), "/FOLDER")
    text = re.sub(r"demo-\d{8}-\w{10}", "demo-20260401-7c2k9q4mx1", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT(\d\d:){2}\d\d(\.\d+)?(\+00:00)?", "2026-04-01T09:30:12", text)
    text = re.sub(r"( *)  File .*\n(?:\1   .*\n)*", r"\1  …\n", text)
    return re.sub(r"\d+\.\d s\b", "0.1 s", text)


def check(name: str, text: str, folder: Path) -> None:
    """Compare a text with the file of this name, which is made where there is none."""
    path, shown = RENDERED / f"{name}.txt", plain(text, folder)
    if not path.exists():
        path.write_text(shown, encoding="utf-8")
        pytest.fail(f"{path} was not there and is written now: read it, and run again")
    assert shown == path.read_text(encoding="utf-8")


def printed(*words: str) -> str:
    """Return what `reflow` prints on stdout."""
    done = CliRunner().invoke(reflow_command(), list(words))
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("status", ["status", "--last"]),
        ("status-errors", ["status", "--last", "--errors"]),
        ("status-task", ["status", "--last", "--task", "double", "--verbose"]),
        ("logs", ["logs", "--last"]),
        ("logs-list", ["logs", "--last", "--list"]),
        ("runs", ["runs"]),
        ("dag-text", ["dag", "--last"]),
        ("dag-mermaid", ["dag", "--last", "--format", "mermaid"]),
        ("dag-dot", ["dag", "--last", "--format", "dot"]),
    ],
)
def test_a_failed_run(failed: Run, tmp_path: Path, name: str, words: list[str]) -> None:
    assert failed.run_id
    check(name, printed(*words), tmp_path)


def test_a_run_that_takes_results_over(second: Run, tmp_path: Path) -> None:
    check("status-cached", printed("status", second.run_id, "--task", "double"), tmp_path)
    check("cache-stats", printed("cache", "stats"), tmp_path)
    reasons = [printed("why", second.run_id, place) for place in ("make", "double[1]", "total")]
    check("why", "\n".join(reasons), tmp_path)


def test_plans(module: ModuleType, second: Run, tmp_path: Path) -> None:
    assert second.run_id
    plans = [
        module.wf.plan(tmp_path / "third", count=count, bad=bad)
        for count, bad in ((3, 2), (3, 1), (4, 2))
    ]
    check("plan", "\n\n".join(map(str, plans)) + "\n", tmp_path)


def test_every_command_has_a_row_on_its_page() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    words = {word.strip("`,") for row in rows for word in row.split("|")[1].split()}
    for name, command in reflow_command().commands.items():
        assert name in words
        if name in ("store", "cache"):
            assert isinstance(command, click.Group)
            assert words >= command.commands.keys()
