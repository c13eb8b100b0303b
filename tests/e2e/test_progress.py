"""What `submit --wait` shows: bars on a terminal, lines in a log."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = """
import sys, time
from typing import Annotated
from reflow import Result, Workflow

if "norich" in sys.argv:
    sys.argv.remove("norich")
    sys.modules["rich"] = None

wf = Workflow("shown")

@wf.job()
def items() -> list[int]:
    return [1, 2, 3]

@wf.job(array=True)
def each(x: Annotated[int, Result(step="items")]) -> int:
    time.sleep(0.4)
    return x

if __name__ == "__main__":
    wf.cli()
"""


def in_terminal(command: list[str], folder: Path, **variables: str) -> tuple[int, str]:
    """Run a command whose output is a terminal; return its exit code and what it showed."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        command, cwd=folder, stdin=follower, stdout=follower, stderr=follower,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", **variables},
    )  # fmt: skip
    os.close(follower)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # the other side was closed
            break
        if not piece:
            break
        shown += piece
    os.close(leader)
    return process.wait(60), shown.decode("utf-8", "replace")


@pytest.fixture
def script(tmp_path: Path) -> list[str]:
    (tmp_path / "shown.py").write_text(SOURCE)
    return [sys.executable, "shown.py", "submit", "--executor", "local", "--wait",
            "--run-dir", "out"]  # fmt: skip


def test_bars_on_a_terminal(script: list[str], tmp_path: Path) -> None:
    pytest.importorskip("rich")
    code, shown = in_terminal(script, tmp_path)
    assert code == 0, shown
    assert "━" in shown
    assert "3/3" in shown
    assert "each: " not in shown


@pytest.mark.parametrize("how", ["no rich", "NO_COLOR"])
def test_lines_without_rich_or_where_it_may_not_draw(
    script: list[str], tmp_path: Path, how: str
) -> None:
    words = [*script, "norich"] if how == "no rich" else script
    code, shown = in_terminal(words, tmp_path, NO_COLOR="1" if how == "NO_COLOR" else "")
    assert code == 0, shown
    assert "each: 3/3 done" in shown
    assert "━" not in shown


def test_lines_in_a_log(script: list[str], tmp_path: Path) -> None:
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "each: 3/3 done" in done.stderr.splitlines()
    assert "\x1b" not in done.stderr + done.stdout
