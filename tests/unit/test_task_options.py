"""Options of tasks and of runs are defined once, and all lists of them agree."""

from __future__ import annotations

import ast
import inspect
import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from attrs import fields

import reflow.model.flow
from reflow import Retry, Scale, Workflow
from reflow.cli.workflow import workflow_command
from reflow.model.flow import Flow
from reflow.model.options import ALIASES, CHECKS, TaskOptions
from reflow.model.spec import Resources
from reflow.runs.status import describe_run
from reflow.storage.run_directory import RunOptions

ROOT = Path(__file__).resolve().parents[2]
SCHEDULED = {field.name for field in fields(Resources)}
STARTS = (Workflow.submit, Workflow.run_local)


def nothing() -> None: ...


def described(tmp_path: Path, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Describe a task as `Workflow.describe` does, and as the record of its run is described."""
    workflow = Workflow("w", store=tmp_path / "store.sqlite")
    workflow.job(**options)(nothing)
    (task,) = workflow.describe()["tasks"]
    run = workflow.run_local(tmp_path / "run")
    return task, describe_run(run._record.request())


def decorator_arguments() -> dict[str, object]:
    """Return what a type checker sees of `Flow.job`: its keyword arguments and their defaults."""
    source = ast.parse(inspect.getsource(reflow.model.flow))
    (signature,) = [
        node.args
        for node in ast.walk(source)
        if isinstance(node, ast.FunctionDef) and node.name == "job" and node.args.kwonlyargs
    ]
    defaults = [
        ast.literal_eval(default) for default in signature.kw_defaults if default is not None
    ]
    return dict(zip([argument.arg for argument in signature.kwonlyargs], defaults, strict=True))


def test_the_decorator_takes_each_option() -> None:
    arguments = decorator_arguments()
    for alias, option in ALIASES.items():
        assert arguments.pop(alias) == arguments[option]
    # Unknown keywords go to the scheduler, as **native.
    defined = {name: value for name, value in TaskOptions._field_defaults.items()
               if name != "native"}  # fmt: skip
    defined["verify"] = None  # a single value is allowed as well as a list
    assert arguments == defined


def test_every_option_has_a_check() -> None:
    assert {*CHECKS, "native"} == set(TaskOptions._fields)


@pytest.mark.parametrize("option", TaskOptions._fields)
def test_the_default_of_each_option_is_allowed(option: str) -> None:
    flow = Flow("f")
    default = TaskOptions._field_defaults[option]
    if option != "native":
        flow.job(**{option: default})(nothing)
        assert getattr(flow.tasks["nothing"].options, option) == default


def test_descriptions_tell_each_option_of_a_task(tmp_path: Path) -> None:
    for task in (lambda both: (both[0], both[1]["tasks"][0]))(described(tmp_path)):
        assert set(task["resources"]) == SCHEDULED
        missing = set(TaskOptions._fields) - SCHEDULED - set(task)
        assert not missing, f"no description tells these options of a task: {missing}"


def test_descriptions_tell_what_a_task_asks_for(tmp_path: Path) -> None:
    task, run = described(
        tmp_path, files="stat", verify=["nonempty", bool], retry=Retry(2, oom=Scale(mem=3)),
        serializer="pickle", qos="high",
    )  # fmt: skip
    (recorded,) = run["tasks"]
    for description in (task, recorded):
        assert (description["files"], description["serializer"], description["verify"]) == (
            "stat",
            "pickle",
            True,
        )
        assert description["verifiers"] == ["nonempty"]
        assert description["retry"]["times"] == 2
        assert {"cause": "OOM", "mem": 3.0, "time": 1.0, "max_mem": None,
                "max_time": None} in description["retry"]["rules"]  # fmt: skip
        assert description["resources"]["native"] == {"qos": "high"}
    assert recorded["code"] != task["code"] == "function"
    assert json.loads(json.dumps(task)) == task


def test_descriptions_tell_each_option_of_a_run(tmp_path: Path) -> None:
    _, run = described(tmp_path)
    assert set(run["run"]["options"]) == {field.name for field in fields(RunOptions)}


def test_each_option_of_a_run_is_an_argument_and_a_command_line_option() -> None:
    arguments = {name for start in STARTS for name in inspect.signature(start).parameters}
    assert set(RunOptions.arguments()) <= arguments
    for start in STARTS:
        assert set(inspect.signature(start).parameters) - set(RunOptions.arguments()) <= {
            "self", "run_dir", "executor", "wait", "parameters",
        }  # fmt: skip
    workflow = Workflow("w")
    workflow.job(nothing)
    commands = workflow_command(workflow).commands
    shown = {param.name for name in ("submit", "run") for param in commands[name].params}
    assert set(RunOptions.arguments()) <= shown


@pytest.mark.parametrize("name", ["describe", "describe-run"])
def test_the_schemas_name_each_option(name: str) -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "json_schemas.py"))
    text = (tool["FOLDER"] / f"{name}.schema.json").read_text(encoding="utf-8")
    assert tool["with_options"](name, json.loads(text)) == json.loads(text), (
        "run `make json-schemas`"
    )
