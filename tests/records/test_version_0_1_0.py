"""Run directories and the store that reflow 0.1.0 wrote, before its modules moved to rooms.

The archive holds one run on a simulated Slurm, one whose functions are pickled, and the store;
`flow.py` and `pickled.py` in it made them. Paths are placeholders that `records` fills in.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

import reflow

ARCHIVE = Path(__file__).parent / "version-0.1.0.tar.xz"
STATES = {
    "samples": ["SUCCESS"],
    "weigh": ["SUCCESS", "SUCCESS", "SUCCESS"],
    "keep": ["SUCCESS"],
    "total": ["SUCCESS"],
    "text": ["SUCCESS"],
    "broken": ["FAILED"],
    "after": ["SKIPPED"],
}

Python = Callable[..., str]


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """The records, with paths as if they had been written here."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    places = {
        "@FOLDER@": str(tmp_path),
        "@PYTHON@": sys.executable,
        "@SOURCE@": str(Path(reflow.__file__).parents[1]),
    }
    for path in tmp_path.rglob("*"):
        if path.name == "run.json" or (path.parent.name == "jobs" and path.suffix != ".map"):
            text = path.read_text()
            for placeholder, place in places.items():
                text = text.replace(placeholder, place)
            path.write_text(text)
    with sqlite3.connect(tmp_path / "state/reflow/reflow.sqlite") as store:
        for column in ("run_dir", "record"):
            store.execute(
                f"UPDATE run SET {column} = replace({column}, '/var/tmp/records', ?)",
                [str(tmp_path)],
            )
    store.close()
    return tmp_path


@pytest.fixture
def python(records: Path) -> Python:
    """Run Python in the folder of the records, as their user; return what it printed."""
    environment = {
        **os.environ,
        "HOME": str(records),
        "XDG_STATE_HOME": str(records / "state"),
        "XDG_CONFIG_HOME": str(records / "config"),
    }

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=records, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


REFLOW = ("-c", "from reflow.cli import main; main()")


def run_id(records: Path, workflow: str) -> str:
    (folder,) = records.glob(f"*/.reflow/{workflow}-*")
    return folder.name


def states(python: Python, run: str, *options: str) -> dict[str, list[str]]:
    """Return the states of the elements of each task, as the status command gives them."""
    # The runs have ended, one of them with a failure: the exit code does not matter here.
    by_task: dict[str, list[str]] = {}
    for row in json.loads(python(*REFLOW, "status", run, "--json", *options))["instances"]:
        by_task.setdefault(row["task_name"], []).append(row["state"])
    return by_task


def test_the_store_lists_its_runs(records: Path, python: Python) -> None:
    rows = json.loads(python(*REFLOW, "runs", "--json"))
    assert {(row["run_id"], row["status"]) for row in rows} == {
        (run_id(records, "records"), "FAILED"),
        (run_id(records, "pickled"), "FAILED"),
    }


def test_status_by_run_id_and_by_run_directory(records: Path, python: Python) -> None:
    assert states(python, run_id(records, "records")) == STATES
    assert states(python, str(records / "out")) == STATES
    assert "ValueError: n is 3" in python(*REFLOW, "status", "out", "--errors")


def test_a_store_is_rebuilt_from_the_run_directories(records: Path, python: Python) -> None:
    (records / "state/reflow/reflow.sqlite").unlink()
    python(*REFLOW, "store", "rebuild", ".")
    assert states(python, run_id(records, "records")) == STATES


def test_results_are_read(records: Path, python: Python) -> None:
    code = (
        "from flow import *\n"
        f"run = wf.run({run_id(records, 'records')!r})\n"
        "print(run.result('total'), run.result('weigh'), len(run.result('text')))\n"
        "pair = run.result('keep')\n"
        "print(type(pair).__name__, list(pair))\n"
    )
    assert python("-c", code) == "11.0 [0.0, 1.0, 2.0] 100001\nPair [0.0, 1.0, 2.0]\n"


def test_results_are_reused(records: Path, python: Python) -> None:
    """This version computes the same identities as 0.1.0."""
    (records / "fail").unlink()
    python("flow.py", "run", "--run-dir", "again", "--table", "table.csv")
    assert states(python, "again") == {
        **{task: ["CACHED"] * len(elements) for task, elements in STATES.items()},
        "broken": ["SUCCESS"],
        "after": ["SUCCESS"],
    }


def test_a_queued_job_runs_after_an_upgrade(records: Path, python: Python) -> None:
    """A worker that was submitted before an upgrade starts after it."""
    (record,) = (records / "out/.reflow").iterdir()
    (records / "fail").unlink()
    (record / "claims/broken/0.1").unlink()
    (record / "outcomes/broken/0.1").unlink()
    headers = record.glob("jobs/*.w.json")
    (header,) = (path for path in headers if json.loads(path.read_text())["task"] == "broken")
    python("-m", "reflow.job", "work", str(record), header.name.removesuffix(".json"), "0", "mark")
    assert b"SUCCESS" in (record / "outcomes/broken/0.1").read_bytes()


@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="code that Python 3.11 pickled is read by 3.11 alone"
)
def test_pickled_functions_are_loaded(records: Path, python: Python) -> None:
    (records / "fail").unlink()
    run = run_id(records, "pickled")
    python(*REFLOW, "retry", run)
    code = f"from reflow import Workflow\nprint(Workflow('pickled').run({run!r}).wait(60))\n"
    assert python("-c", code) == "SUCCESS\n"
