"""Serializers and verifiers end to end: what a run does with the plugins of the contracts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "plugins"

PICKLED = """
import json, sys
from array import array
from typing import Annotated
from reflow import Result, Workflow

ran = []
wf = Workflow("kept")

@wf.job(serializer="pickle")
def one() -> array:
    ran.append("one")
    return array("i", [1, 2])

@wf.job(serializer="pickle")
def several() -> list[array]:
    ran.append("several")
    return [array("i", [10]), array("i", [20]), array("i", [30])]

@wf.job(array=True, serializer="pickle")
def double(z: Annotated[array, Result(step="several")]) -> array:
    ran.append("double")
    return z + z

@wf.job()
def total(
    first: Annotated[array, Result(step="one")],
    rest: Annotated[list[array], Result(step="double")],
) -> int:
    ran.append("total")
    return sum(first) + sum(map(sum, rest))

if __name__ == "__main__":
    print(wf.run_local(run_dir=sys.argv[1]).result("total"))
    print(json.dumps(ran))
"""

ARRAYS = """
import json, sys
from typing import Annotated
import numpy as np
from reflow import Result, Workflow

ran = []
wf = Workflow("arrays")

@wf.job()
def rows() -> list[np.ndarray]:
    ran.append("rows")
    return [np.arange(3), np.arange(3) * 10]

@wf.job(array=True)
def double(row: Annotated[np.ndarray, Result(step="rows")]) -> np.ndarray:
    ran.append("double")
    assert type(row) is np.ndarray
    return row * 2

@wf.job()
def total(parts: Annotated[list[np.ndarray], Result(step="double")]) -> int:
    ran.append("total")
    return int(sum(part.sum() for part in parts))

if __name__ == "__main__":
    print(wf.run_local(run_dir=sys.argv[1]).result("total"))
    print(json.dumps(ran))
"""


def start(script: Path, run_dir: Path, *path: Path) -> list[str]:
    """Run a workflow's script in a fresh process with a home of its own; return its lines."""
    home = script.parent
    done = subprocess.run(
        [sys.executable, str(script), str(run_dir)],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "HOME": str(home),
            "XDG_STATE_HOME": str(home / "state"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "REFLOW_PLUGINS": "npy",  # reflow-data takes arrays too
        },
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def npy(tmp_path: Path) -> Path:
    """The metadata that installing the example writes; its code is used where it stands."""
    info = tmp_path / "site" / "reflow_example_npy-1.0.dist-info"
    info.mkdir(parents=True)
    name = "Metadata-Version: 2.1\nName: reflow-example-npy\nVersion: 1.0\n"
    (info / "METADATA").write_text(name)
    (info / "entry_points.txt").write_text("[reflow]\nnpy = reflow_example_npy.plugin\n")
    return info.parent


def test_values_by_name_fan_out_gather_and_are_cached(tmp_path: Path) -> None:
    script = tmp_path / "kept.py"
    script.write_text(PICKLED)
    answer, ran = start(script, tmp_path / "run1")
    assert answer == "123"
    assert sorted(json.loads(ran)) == sorted(["one", "several", *["double"] * 3, "total"])
    assert start(script, tmp_path / "run2") == [answer, "[]"]
    kept = [path.name for path in (tmp_path / "run1").rglob("*.pickle")]
    assert kept
    assert all(len(name) == 64 + len(".pickle") for name in kept)


def test_values_by_type_fan_out_gather_and_are_cached(tmp_path: Path, npy: Path) -> None:
    pytest.importorskip("numpy")
    script = tmp_path / "arrays.py"
    script.write_text(ARRAYS)
    path = (npy, EXAMPLES / "reflow-example-npy" / "src")
    answer, ran = start(script, tmp_path / "run1", *path)
    assert answer == "66"
    assert sorted(json.loads(ran)) == ["double", "double", "rows", "total"]
    assert start(script, tmp_path / "run2", *path) == ["66", "[]"]
    assert list((tmp_path / "run1").rglob("*.npy"))


def verified(verify: str) -> str:
    return f"""
import json, sys
from pathlib import Path
from reflow import RunDir, Workflow

ran = []
wf = Workflow("checked")

def broken(value):
    raise RuntimeError("this verifier is broken")

@wf.job(verify={verify})
def table() -> Path:
    ran.append("table")
    path = Path(__file__).parent / "table.csv"
    path.write_text("a,b\\n1,2\\n")
    return path

if __name__ == "__main__":
    print(wf.run_local(run_dir=sys.argv[1]).result("table"))
    print(json.dumps(ran))
"""


def test_named_verifier_judges_cached_results(tmp_path: Path) -> None:
    script = tmp_path / "checked.py"
    script.write_text(verified('"nonempty"'))
    again = '["table"]'
    assert start(script, tmp_path / "run1")[1] == again
    assert start(script, tmp_path / "run2")[1] == "[]"
    (tmp_path / "table.csv").write_text("")
    assert start(script, tmp_path / "run3")[1] == again
    (tmp_path / "table.csv").unlink()
    assert start(script, tmp_path / "run4")[1] == again


def test_task_runs_again_if_its_verifier_raises(tmp_path: Path) -> None:
    script = tmp_path / "checked.py"
    script.write_text(verified("broken"))
    for number in range(2):
        assert start(script, tmp_path / f"run{number}")[1] == '["table"]'
