"""Results that are kept after a change of code that does not matter."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import reflow
from reflow.cli.commands import reflow_command
from reflow.errors import ParameterError, UnknownTaskError

from .projects import PARAMETERS, Project

OWN = ("times) * SCALE", "times) * SCALE * 1")
OTHER = ("return y //", "return +y //")


def test_accepted_results_are_reused(project: Project) -> None:
    first, _ = project.run(project.load().wf, **PARAMETERS)
    wf = project.load(OWN, OTHER).wf
    assert wf.plan(project.run_dir, **PARAMETERS).misses == 3
    accepted = wf.run(first.run_id).accept()
    assert project.ran() == {}
    assert (accepted.state, accepted.result("total")) == ("SUCCESS", first.result("total"))
    assert accepted.run_id != first.run_id
    plan = wf.plan(project.run_dir, **PARAMETERS)
    assert (plan.misses, plan.complete) == (0, True)
    run, counts = project.run(wf, **PARAMETERS)
    assert counts == {}
    assert run.result("total") == first.result("total")
    # The results of the code as it was before are reused as well.
    _, counts = project.run(project.load().wf, **PARAMETERS)
    assert counts == {}


def test_accept_of_one_task(project: Project) -> None:
    first, _ = project.run(project.load().wf, **PARAMETERS)
    wf = project.load(OWN, OTHER).wf
    accepted = wf.run(first.run_id).accept("each")
    assert accepted.state == "SUCCESS"
    _, counts = project.run(wf, **PARAMETERS)
    assert counts == {"after": 3}


def test_task_without_a_result_is_not_accepted(project: Project) -> None:
    failing = ('return f"{name}', 'raise OSError(name)\n    return f"{name}')
    failed = project.load(failing).wf.run_local(project.run_dir, on_error="continue", **PARAMETERS)
    assert failed.state == "FAILED"
    project.ran()
    wf = project.load(OWN).wf
    accepted = wf.run(failed.run_id).accept()
    states = {
        (element["task_name"], element["array_index"]): element["state"]
        for element in accepted.status(as_dict=True)["instances"]
    }
    assert states["each", 0] == states["after", 2] == "CACHED"
    assert states["total", None] == "CANCELLED"
    _, counts = project.run(wf, **PARAMETERS)
    assert counts == {"total": 1}


def test_a_value_that_is_gone_is_not_accepted(load: Any, tmp_path: Path) -> None:
    source = (
        "from reflow import Workflow\nwf = Workflow('w')\n"
        "@wf.job()\ndef large() -> str: return 'x' * 200_000\n"
        "@wf.job()\ndef small() -> int: return 1\n"
    )
    first = load(source).wf.run_local(tmp_path)
    shutil.rmtree(Path(first.record.folder) / "values")
    wf = load(source.replace("200_000", "200000 + 0").replace("return 1", "return 1 + 0")).wf
    accepted = wf.run(first.run_id).accept()
    status = accepted.status(as_dict=True)
    assert {row["task_name"]: row["state"] for row in status["instances"]} == {
        "large": "CANCELLED", "small": "CACHED",
    }  # fmt: skip
    assert {task.name: task.misses for task in wf.plan(tmp_path).tasks} == {"large": 1, "small": 0}


def test_accept_says_why_it_refuses(project: Project) -> None:
    first, _ = project.run(project.load().wf, **PARAMETERS)
    same = project.load().wf.run(first.run_id)
    with pytest.raises(ParameterError, match="nothing to accept"):
        same.accept()
    with pytest.raises(UnknownTaskError, match=r"eech.*did you mean 'each'"):
        same.accept("eech")
    with pytest.raises(ParameterError, match="'total' is '2' now and was '1'"):
        project.load(('version="1"', 'version="2"')).wf.run(first.run_id).accept()
    gone = project.load(("@wf.job()\ndef beside", '@wf.job("other")\ndef beside')).wf
    with pytest.raises(ParameterError, match="no task 'beside' any more"):
        gone.run(first.run_id).accept()
    assert len(first.store.list_runs()) == 1


def test_the_command_loads_the_present_code(project: Project) -> None:
    first, _ = project.run(project.load().wf, **PARAMETERS)
    wf = project.load(OWN).wf
    done = CliRunner().invoke(reflow_command(), ["accept", first.run_id, "--task", "each"])
    assert done.exit_code == 0, done.output
    assert "accepted for the present code" in done.output
    _, counts = project.run(wf, **PARAMETERS)
    assert counts == {}


HANDS_ON = """
from pathlib import Path
from typing import Annotated
from reflow import Result, RunDir, Workflow

wf = Workflow("w")

@wf.job(files="path")
def write(x: int, run_dir: RunDir) -> Path:
    (run_dir / "made").write_text(str(x))
    return run_dir / "made"

@wf.job()
def read(path: Annotated[Path, Result(step="write")]) -> str:
    if (path.parent / "broken").exists():
        raise OSError("broken")
    return path.read_text()
"""


def test_result_of_older_files_is_not_accepted_for_a_missing_one(
    load: Any, tmp_path: Path
) -> None:
    """The path is the same, but its content is unknown, and `read` has not read the new file."""
    wf = load(HANDS_ON).wf
    assert wf.run_local(tmp_path, x=1).result("read") == "1"
    (tmp_path / "broken").touch()
    failed = wf.run_local(tmp_path, x=2, on_error="continue")
    assert failed.state == "FAILED"
    (tmp_path / "broken").unlink()
    wf = load(HANDS_ON.replace("str(x)", "str(x + 0)")).wf
    accepted = wf.run(failed.run_id).accept()
    rows = accepted.status(as_dict=True)["instances"]
    assert {row["task_name"]: row["state"] for row in rows} == {
        "write": "CACHED", "read": "CANCELLED",
    }  # fmt: skip
    assert wf.plan(tmp_path, x=2).misses == 1
    assert wf.run_local(tmp_path, x=2).result("read") == "2"


def test_accept_while_an_uncached_task_is_gone_from_the_code(tmp_path: Path) -> None:
    def removed(x: int = 1) -> int:
        return x

    before = reflow.Workflow("shrinks")

    @before.job(name="kept")
    def kept_before(x: int = 1) -> int:
        return x + 1

    before.job(name="removed", cache=False)(removed)
    run = before.run_local(tmp_path / "out")
    after = reflow.Workflow("shrinks")

    @after.job(name="kept")
    def kept_after(x: int = 1) -> int:
        return 1 + x

    accepted = after.run(run.run_id).accept("kept")
    assert accepted.result("kept") == 2
