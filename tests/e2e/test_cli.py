"""The command lines: a script's own, and `reflow`, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """
import enum
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Optional
from reflow import Param, Result, Workflow

wf = Workflow("demo")

class Color(enum.Enum):
    RED = 1
    BLUE = 2

@dataclass
class Point:
    x: int
    y: int

@wf.job()
def make(
    count: Annotated[int, Param(help="How many", short="n")],
    seconds: float = 0.0,
    tags: list[str] = ["one"],
    mode: Literal["fast", "slow"] = "fast",
    color: Color = Color.RED,
    loud_voice: bool = False,
    where: Path = Path("x"),
    day: Optional[datetime] = None,
    point: Point = Point(1, 2),
    anything=None,
    force_task: str = "",
) -> list[int]:
    time.sleep(seconds)
    return list(range(count))

@wf.job(array=True)
def double(
    item: Annotated[int, Result(step="make")],
    bad: Annotated[int, Param(namespace="local")] = -1,
) -> int:
    if item == bad:
        raise ValueError(f"bad item {item}")
    return 2 * item

@wf.job(after=["make"])
def total(items: Annotated[list[int], Result(step="double")]) -> int:
    return sum(items)

if __name__ == "__main__":
    wf.cli()
"""


class Shell:
    """Runs commands with a home of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.script = folder / "demo.py"
        self.script.write_text(SCRIPT)
        self.environment = {
            **os.environ,
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "COLUMNS": "100",
        }

    def _call(self, *arguments: str, code: int) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, *arguments], env=self.environment, cwd=self.folder,
            capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def demo(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        return self._call(str(self.script), *arguments, code=code)

    def reflow(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        return self._call("-c", "from reflow.cli import main; main()", *arguments, code=code)

    def newest(self) -> str:
        return self.demo("runs").stdout.splitlines()[1].split()[0]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_run_prints_the_status_and_the_run_is_listed(shell: Shell) -> None:
    out = shell.demo("run", "--run-dir", "r", "-n", "3", "--max-workers", "2").stdout
    assert "Status    SUCCESS" in out
    run_id = shell.newest()
    for ask in (shell.demo, shell.reflow):
        status = json.loads(ask("status", run_id, "--json").stdout)
        assert status["run"]["status"] == "SUCCESS"
        assert status["summary"]["double"] == {"SUCCESS": 3}
        assert run_id in ask("runs", "--status", "success", "--since", "2020-01-01").stdout
        assert ask("runs", "--status", "FAILED").stdout == ""
        assert "already ended" in ask("cancel", run_id, "--yes").stdout
    assert run_id in shell.demo("runs", "--all", "--limit", "1").stdout
    assert shell.reflow("runs", "--workflow", "other").stderr == "No runs.\n"
    assert "double[]  <- make (fan-out)" in shell.reflow("dag", run_id).stdout


def test_a_failed_run_exits_1_without_a_traceback_of_reflow(shell: Shell) -> None:
    done = shell.demo("run", "--run-dir", "r", "--count", "3", "--double-bad", "1", code=1)
    assert "Status    FAILED" in done.stdout
    assert "ValueError: bad item 1" in done.stdout
    assert "RunFailedError" not in done.stdout + done.stderr
    done = shell.demo(
        "run", "--run-dir", "r", "--count", "3", "--double-bad", "1", "--on-error", "continue",
        code=1,
    )  # fmt: skip
    assert "Status    FAILED" in done.stdout
    errors = shell.reflow("status", shell.newest(), "--errors").stdout
    assert "raise ValueError" in errors
    assert "raise ValueError" not in shell.reflow("status", shell.newest()).stdout


def test_submit_prints_the_id_first_and_waits(shell: Shell) -> None:
    out = shell.demo("submit", "--run-dir", "r", "--count", "2", "--wait").stdout
    assert out.splitlines()[0] == shell.newest()
    assert "Status    SUCCESS" in out
    out = shell.demo(
        "submit", "--run-dir", "r", "--count", "2", "--double-bad", "1", "--wait", code=1
    ).stdout
    run_id = out.splitlines()[0]
    assert shell.reflow("retry", run_id, "--task", "double").stdout == f"{run_id}\n"
    until = time.monotonic() + 60
    while True:
        status = json.loads(shell.reflow("status", run_id, "--json").stdout)
        if status["run"]["status"] == "FAILED":
            break
        assert time.monotonic() < until, status
    assert {element["attempt"] for element in status["failed_instances"]} != {1}


def test_submit_and_cancel(shell: Shell) -> None:
    run_id = shell.demo("submit", "--run-dir", "r", "--count", "2", "--seconds", "60").stdout
    run_id = run_id.strip()
    # Nobody is there to answer a question, so nothing is cancelled.
    assert "give --yes" in shell.demo("cancel", run_id, code=2).stderr
    assert "CANCELLED" in shell.demo("cancel", run_id, "--yes").stdout
    status = json.loads(shell.demo("status", run_id, "--json").stdout)
    assert status["run"]["status"] == "CANCELLED"


def test_dry_run_submits_nothing(shell: Shell) -> None:
    out = shell.demo("submit", "--run-dir", "r", "--count", "2", "--executor", "dry-run").stdout
    assert "would submit" in out
    assert shell.demo("runs").stdout == ""


def test_options_are_typed(shell: Shell) -> None:
    shell.demo(
        "run", "--run-dir", "r", "--count", "1", "--seconds", "0.5", "--tags", "a", "--tags", "b",
        "--mode", "slow", "--color", "BLUE", "--loud-voice", "--where", "p/q",
        "--day", "2026-04-01T10:00:00", "--point", '{"x": 3, "y": 4}', "--anything", "[1, null]",
        "--param-force-task", "mine",
    )  # fmt: skip
    status = json.loads(shell.demo("status", shell.newest(), "--json").stdout)
    parameters = status["run"]["parameters"]
    assert parameters["day"].startswith("2026-04-01T10:00:00")
    expected = {
        "count": 1, "seconds": 0.5, "tags": ["a", "b"], "mode": "slow", "color": "BLUE",
        "loud_voice": True, "where": "p/q", "point": {"x": 3, "y": 4}, "anything": [1, None],
        "force_task": "mine",
    }  # fmt: skip
    assert {name: parameters[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "many"], "'many' is not a valid integer"),
        ([], "Missing option"),
        (["--count", "1", "--mode", "odd"], "'odd' is not one of"),
        (["--count", "1", "--color", "GREEN"], "'GREEN' is not one of"),
        (["--count", "1", "--day", "someday"], "--day"),
        (["--count", "1", "--point", "{"], "is not JSON"),
        (["--count", "1", "--point", '{"x": 1}'], "--point"),
        (["--count", "1", "--colour", "RED"], "No such option"),
        (["--count", "1", "--force-task", "mak"], "error: force_tasks: no task named 'mak'"),
    ],
)
def test_bad_parameters_exit_2(shell: Shell, arguments: list[str], message: str) -> None:
    done = shell.demo("run", "--run-dir", "r", *arguments, code=2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (shell.folder / "r").exists()


@pytest.mark.parametrize("command", ["status", "retry", "cancel"])
def test_unknown_run_exits_2(shell: Shell, command: str) -> None:
    for ask in (shell.demo, shell.reflow):
        done = ask(command, "nothing-there", code=2)
        assert done.stderr.startswith("error: ")
        assert "nothing-there" in done.stderr


def test_help_shows_defaults_and_required(shell: Shell) -> None:
    text = " ".join(shell.demo("run", "--help").stdout.split())
    for part in (
        "-n, --count INTEGER How many [required]",
        "[default: fast]",
        "[default: RED]",
        "--loud-voice / --no-loud-voice [default: no-loud-voice]",
        "Give it once for each value. [default: one]",
        '[default: {"x": 1, "y": 2}]',
        "--on-error [stop|continue]",
    ):
        assert part in text
    assert "--executor" in shell.demo("submit", "--help").stdout
    assert "retry" in shell.reflow("--help").stdout
    assert shell.reflow("--version").stdout.startswith("reflow ")


def test_describe_and_dag(shell: Shell) -> None:
    described = json.loads(shell.demo("describe").stdout)
    assert [task["name"] for task in described["tasks"]] == ["make", "double", "total"]
    assert shell.demo("dag").stdout.splitlines()[0] == "make"
    assert "t0 -->|fan-out| t1" in shell.demo("dag", "--format", "mermaid").stdout
    assert '"make" -> "double" [label="fan-out"];' in shell.demo("dag", "--format", "dot").stdout


def test_a_workflow_that_does_not_fit_together_is_an_error(shell: Shell) -> None:
    shell.script.write_text(SCRIPT.replace('step="make"', 'step="mkae"'))
    done = shell.demo("describe", code=2)
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
