"""Why an element ran or did not, by `run.why` and the command `why`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from reflow.cli.commands import reflow_command
from reflow.errors import ParameterError, RunFailedError, UnknownTaskError

from .projects import PARAMETERS, Project

SCHEMAS = Path(__file__).parents[2] / "docs/reference/json"


def reasons(why: Any) -> list[str]:
    return [*why.reasons, *map(str, why.differences)]


def test_why_of_a_task_that_never_ran(project: Project) -> None:
    run, _ = project.run(project.load().wf, **PARAMETERS)
    why = run.why("each", 1)
    assert (why.state, why.compared_with, why.differences) == ("SUCCESS", "", ())
    assert "it has never run before" in why.reasons[0]
    assert str(why).startswith(f"each[1] of run {run.run_id}: SUCCESS\n")


def test_why_of_a_reused_result(project: Project) -> None:
    first, _ = project.run(project.load().wf, **PARAMETERS)
    run, counts = project.run(project.load().wf, **PARAMETERS)
    assert counts == {}
    why = run.why("each", 1)
    assert (why.state, why.taken_from) == ("CACHED", first.run_id)
    assert first.run_id in why.reasons[0]


@pytest.mark.parametrize(
    ("changed", "task", "index", "kind", "text"),
    [
        ({"times": 3}, "each", 1, "parameter", "parameter times: 2 -> 3"),
        ({"name": "b"}, "total", None, "parameter", 'parameter name: "a" -> "b"'),
        ({"shift": 1}, "numbers", None, "parameter", "parameter shift: 0 -> 1"),
        ({"items": [10, 25, 30]}, "each", 1, "upstream",
         "value of x from numbers (item 1): 20 -> 25"),
        ({"times": 30}, "after", 2, "upstream", "value of y from each[2]: 60 -> 900"),
        ({"times": 30}, "total", None, "upstream",
         "value of ys from after[0], after[1], after[2]: [2,4,6] -> [30,60,90]"),
    ],
)  # fmt: skip
def test_why_names_the_input_that_differs(
    project: Project, changed: dict[str, Any], task: str, index: int | None, kind: str, text: str
) -> None:
    first, _ = project.run(project.load().wf, **PARAMETERS)
    run, counts = project.run(project.load().wf, **{**PARAMETERS, **changed})
    assert counts
    why = run.why(task, index)
    assert [(difference.kind, str(difference)) for difference in why.differences] == [(kind, text)]
    assert why.compared_with.startswith(f"{first.run_id} {task}")


def test_why_shows_how_the_code_differs(project: Project) -> None:
    project.run(project.load().wf, **PARAMETERS)
    run, _ = project.run(project.load(("times) * SCALE", "times) * SCALE * 1")).wf, **PARAMETERS)
    why = run.why("each", 0)
    assert [difference.kind for difference in why.differences] == ["code"]
    lines = why.diff.splitlines()
    assert "-    return helpers.multiplied(x, times) * SCALE" in lines
    assert "+    return helpers.multiplied(x, times) * SCALE * 1" in lines
    assert [line for line in lines if line[:3] == "+++"] == ["+++ flow.each (now)"]
    assert lines[2] in str(why)


def test_a_helpers_code_is_shown_where_it_counts(project: Project) -> None:
    project.run(project.load().wf, **PARAMETERS)
    run, _ = project.run(project.load(("    return x\n", "    return +x\n")).wf, **PARAMETERS)
    why = run.why("each", 0)
    if project.code == "function":
        assert why.state == "CACHED"
        return
    assert [difference.kind for difference in why.differences] == ["code"]
    assert "-    return x" in why.diff.splitlines()
    assert "+    return +x" in why.diff.splitlines()
    assert "+++ helpers.plain (now)" in why.diff


def test_version_force_and_no_cache(project: Project) -> None:
    project.run(project.load().wf, **PARAMETERS)
    run, _ = project.run(project.load(('version="1"', 'version="2"')).wf, **PARAMETERS)
    assert reasons(run.why("total"))[1:] == ["version: 1 -> 2"]
    run, _ = project.run(project.load().wf, force_tasks=["each"], **PARAMETERS)
    assert reasons(run.why("each", 0)) == ["it was forced: older results were not looked at"]
    never = ("@wf.job()\ndef beside", "@wf.job(cache=False)\ndef beside")
    run, _ = project.run(project.load(never).wf, **PARAMETERS)
    assert "cache=False" in run.why("beside").reasons[0]


def test_a_failure_is_no_result(project: Project) -> None:
    failing = ("    return x\n", "    raise OSError(x)\n")
    with pytest.raises(RunFailedError) as failed:
        project.load(failing).wf.run_local(project.run_dir, **PARAMETERS)
    run = failed.value.run
    assert run is not None
    why = run.why("after", 0)
    assert why.state in ("SKIPPED", "CANCELLED")
    assert why.reasons[0].startswith("it did not run")
    run, _ = project.run(project.load().wf, **PARAMETERS)
    why = run.why("each", 0)
    if project.code == "function":
        assert "the earlier element failed" in why.reasons[0]
    else:
        assert "-    raise OSError(x)" in why.diff.splitlines()


def test_why_of_an_unknown_task_or_element_is_an_error(project: Project) -> None:
    run, _ = project.run(project.load().wf, **PARAMETERS)
    with pytest.raises(UnknownTaskError, match=r"eech.*did you mean 'each'"):
        run.why("eech")
    with pytest.raises(UnknownTaskError, match=r"no element 3 \(elements: 0 to 2\)"):
        run.why("each", 3)
    with pytest.raises(ParameterError, match=r"is an array: say which.*each\[0\]"):
        run.why("each")


def test_the_command(project: Project) -> None:
    def called(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(reflow_command(), ["why", *arguments])
        assert done.exit_code == code, done.output
        return done.output

    project.run(project.load().wf, **PARAMETERS)
    run, _ = project.run(project.load().wf, **{**PARAMETERS, "times": 3})
    output = called(run.run_id, "each[1]")
    assert "parameter times: 2 -> 3" in output
    value = json.loads(called("--last", "each[1]", "--json"))
    schema = json.loads((SCHEMAS / "why.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(value)
    assert value["differences"][0]["before"] == "2"
    assert "give a TASK" in called(run.run_id, code=2)
    assert "neither TASK nor TASK[INDEX]" in called(run.run_id, "each[x]", code=2)
