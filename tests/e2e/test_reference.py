"""Every line of the Python reference page."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = """
from typing import Annotated

from reflow import (
    Workflow,       # main entry point
    Flow,           # reusable task group
    Run,            # handle to a submitted run
    Param,          # CLI parameter descriptor
    Result,         # data dependency descriptor
    RunDir,         # working directory marker
    Config,         # user configuration
)

wf = Workflow("my_pipeline")

@wf.job(cpus=4, time="01:00:00", mem="8G")
def step_a(x: Annotated[str, Param(help="Input")]) -> list[str]:
    return [x, x + "_copy"]

@wf.job(array=True)
def step_b(item: Annotated[str, Result(step="step_a")]) -> str:
    if item == "bad":
        raise ValueError("bad item")
    return item.upper()
"""


@pytest.fixture
def module(load):
    return load(SOURCE)


def test_submit(module, tmp_path):
    from reflow import Run

    run = module.wf.submit(
        run_dir=tmp_path / "run1",
        x="hello",
        executor="local",
        force=False,
        force_tasks=["step_a"],
        verify=True,
    )
    assert isinstance(run, Run)
    assert run.wait(60) == "SUCCESS"
    assert run.result("step_a") == ["hello", "hello_copy"]
    assert run.result(module.step_b) == ["HELLO", "HELLO_COPY"]


@pytest.mark.parametrize("workers", [1, 3])
def test_run_local(module, tmp_path, workers):
    from reflow import Run

    run = module.wf.run_local(
        run_dir=str(tmp_path / "test"),
        x="hello",
        max_workers=workers,
        force=False,
        on_error="stop",
    )
    assert isinstance(run, Run)
    assert run.result("step_b") == ["HELLO", "HELLO_COPY"]


def test_on_error_continue_records_and_skips(load, tmp_path):
    from reflow import RunFailedError

    module = load(
        SOURCE
        + """
@wf.job()
def step_c(all: Annotated[list[str], Result(step="step_b")]) -> str:
    return ",".join(all)

@wf.job()
def apart() -> int:
    return 1
"""
    )
    with pytest.raises(RunFailedError):
        module.wf.run_local(run_dir=tmp_path / "stop", x="bad", on_error="stop")
    run = module.wf.run_local(run_dir=tmp_path / "go", x="bad", on_error="continue")
    assert run.result("apart") == 1
    summary = run.status(as_dict=True)["summary"]
    assert summary["step_b"] == {"FAILED": 1, "SUCCESS": 1}
    assert summary["step_c"] == {"SKIPPED": 1}
    with pytest.raises(ValueError, match="on_error"):
        module.wf.run_local(run_dir=tmp_path / "no", x="a", on_error="ignore")


MISSING = """
@wf.job()
def wrong(x: Annotated[str, Result(step="nowhere")]) -> str: ...
"""
CYCLE = """
@wf.job()
def one(x: Annotated[str, Result(step="two")]) -> str: ...

@wf.job()
def two(x: Annotated[str, Result(step="one")]) -> str: ...
"""
MISMATCH = """
@wf.job()
def wrong(x: Annotated[dict[str, int], Result(step="step_a")]) -> str: ...
"""


@pytest.mark.parametrize("more", [MISSING, CYCLE, MISMATCH])
def test_validation(load, tmp_path, more):
    wf = load(SOURCE + more).wf
    with pytest.raises(ValueError):  # noqa: PT011 (the text differs by case)
        wf.validate()
    # It runs automatically on submit and run_local, before anything is written.
    with pytest.raises(ValueError):  # noqa: PT011
        wf.submit(run_dir=tmp_path / "r", x="a", executor="local")
    with pytest.raises(ValueError):  # noqa: PT011
        wf.run_local(run_dir=tmp_path / "r", x="a")
    assert not (tmp_path / "r").exists()
    assert wf.store.list_runs() == []


def test_validation_of_what_is_right(module):
    assert module.wf.validate() is None


def test_including_flows(load, tmp_path):
    source = """
from typing import Annotated
from reflow import Flow, Result, Workflow

preprocessing = Flow("preprocess")

@preprocessing.job()
def download() -> list[str]:
    return ["a", "b"]

@preprocessing.job(array=True)
def unpack(item: Annotated[str, Result(step="download")]) -> str:
    return item * 2

wf = Workflow("whole")
wf.include(preprocessing, prefix="pre")

@wf.job()
def last(all: Annotated[list[str], Result(step="pre_unpack")]) -> str:
    return "".join(all)
"""
    wf = load(source).wf
    assert list(wf.tasks) == ["pre_download", "pre_unpack", "last"]
    assert wf.run_local(run_dir=tmp_path / "r").result("last") == "aabb"
    run = wf.submit(run_dir=tmp_path / "r2", executor="local")
    assert run.wait(60) == "SUCCESS"
    assert run.result("pre_download") == ["a", "b"]


def test_cli_stands_under_the_main_guard(tmp_path):
    script = tmp_path / "pipeline.py"
    script.write_text(SOURCE + '\nif __name__ == "__main__":\n    wf.cli()\n')
    process = subprocess.run(
        [sys.executable, str(script), "--help"], capture_output=True, text=True, timeout=60
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout


def test_describe(module):
    structure = module.wf.describe()
    assert json.loads(json.dumps(structure)) == structure
    typed = module.wf.describe_typed()
    assert type(typed).__name__ == "WorkflowDescription"
    assert typed.to_dict() == structure
    assert "step_a" in json.dumps(structure)


def test_run(module, tmp_path, capsys):
    run = module.wf.submit(run_dir=tmp_path / "r", x="bad")
    assert run.run_id.startswith("my_pipeline-20")
    assert run.run_dir == tmp_path / "r"
    assert isinstance(run.run_dir, Path)
    assert run.wait(60) == "FAILED"

    capsys.readouterr()
    assert run.status() is None
    plain = capsys.readouterr().out
    assert run.run_id in plain
    assert "FAILED" in plain
    run.status(errors=True)
    assert 'raise ValueError("bad item")' in capsys.readouterr().out
    status = run.status(as_dict=True)
    assert capsys.readouterr().out == ""
    assert json.loads(json.dumps(status)) == status
    (failed,) = status["failed_instances"]
    assert failed["task_name"] == "step_b"
    assert failed["array_index"] == 0
    assert "bad item" in failed["error_text"]

    run.cancel()
    run.cancel(task="step_a")
    assert run.state == "FAILED"
    run.retry()
    assert run.wait(60) == "FAILED"
    run.retry(task="step_b")
    assert run.wait(60) == "FAILED"
    assert run.status(as_dict=True)["failed_instances"][0]["attempt"] == 3


def test_bulk_cancel(load, tmp_path):
    from reflow import UnknownRunError

    slow = "    __import__('time').sleep(60)\n    return [x,"
    module = load(SOURCE.replace("    return [x,", slow))
    store = module.wf.store
    runs = [module.wf.submit(run_dir=tmp_path / f"r{i}", x=str(i)) for i in range(3)]
    with pytest.raises(UnknownRunError):
        module.wf.cancel_runs([runs[0].run_id, "run-001"], store)
    assert runs[0].state != "CANCELLED"
    module.wf.cancel_runs([run.run_id for run in runs], store)
    assert [run.state for run in runs] == ["CANCELLED"] * 3


def test_listing_runs(module, tmp_path):
    good = module.wf.run_local(run_dir=tmp_path / "a", x="fine")
    bad = module.wf.run_local(run_dir=tmp_path / "b", x="bad", on_error="continue")
    store = module.wf.store

    def ids(**filters):
        return [row.run_id for row in store.list_runs(**filters)]

    assert ids() == [bad.run_id, good.run_id]
    assert ids(graph_name="my_pipeline", limit=10) == [bad.run_id, good.run_id]
    assert ids(graph_name="another") == []
    assert ids(limit=1) == [bad.run_id]
    assert ids(since="2025-03-01") == [bad.run_id, good.run_id]
    assert ids(until="2025-04-01") == []
    assert ids(status="FAILED") == [bad.run_id]
    assert ids(
        graph_name="my_pipeline",
        limit=10,
        since="2025-03-01",
        until="2999-04-01",
        status="SUCCESS",
    ) == [good.run_id]


def test_executors(module, tmp_path):
    from reflow import LocalExecutor

    run = module.wf.submit(
        run_dir=tmp_path / "r", executor=LocalExecutor(max_workers=1), x="hello"
    )
    assert run.wait(60) == "SUCCESS"


@pytest.mark.parametrize(
    "name", ["SlurmExecutor", "PBSExecutor", "LSFExecutor", "SGEExecutor", "FluxExecutor"]
)
def test_executors_of_backends(name):
    import reflow

    try:
        executor_class = getattr(reflow, name)
    except ImportError as error:
        pytest.skip(str(error))
    assert executor_class.__name__ == name


def test_configuration(home):
    from reflow import Config, Workflow, ensure_config_exists, load_config

    config = load_config()
    assert isinstance(config, Config)
    assert Workflow("name", config=config).config is config
    file = ensure_config_exists()
    assert file == home / "config" / "reflow" / "config.toml"
    lines = [line for line in file.read_text().splitlines() if line.strip()]
    assert all(line.startswith(("#", "[")) for line in lines)
    file.write_text('[run]\nexecutor = "dry-run"\n')
    assert ensure_config_exists() == file
    assert load_config().run.executor == "dry-run"
