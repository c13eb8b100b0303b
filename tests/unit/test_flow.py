from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest

import reflow
from reflow.errors import DefinitionError
from reflow.model.annotations import Result, RunDir
from reflow.model.flow import Flow
from reflow.model.options import TaskOptions
from reflow.runs.resolve import build_spec, check


def test_the_decorator_leaves_the_function_as_it_is() -> None:
    flow = Flow("f")

    def number() -> int:
        return 1

    assert flow.job(number) is number
    assert flow.job("named")(number) is number
    assert flow.job(name="other", cpus=2)(number) is number
    assert list(flow.tasks) == ["number", "named", "other"]
    assert flow.tasks["other"].options.cpus == 2


def test_all_options() -> None:
    flow = Flow("f")

    def good(value: int) -> bool:
        return True

    @flow.job(
        cpus=4,
        time="01:00:00",
        mem="8G",
        gpus=1,
        nodes=2,
        partition="fast",
        account="me",
        array=True,
        array_parallelism=5,
        after="other",
        cache=False,
        version="2",
        verify=["nonempty", good],
        serializer="pickle",
        code="off",
        qos="high",
        exclusive=True,
        nice=3,
        hold=False,
        comment=None,
    )
    def task(x: Annotated[int, Result(step="other")]) -> int:
        return x

    definition = flow.tasks["task"]
    assert definition.options._asdict() == {
        **TaskOptions._field_defaults,
        "array": True,
        "array_parallelism": 5,
        "after": ("other",),
        "cache": False,
        "version": "2",
        "verify": ("nonempty", good),
        "code": "off",
        "serializer": "pickle",
        "cpus": 4,
        "time": 3600,
        "mem": 8 * 1024**3,
        "gpus": 1,
        "nodes": 2,
        "queue": "fast",
        "account": "me",
        "native": {"qos": "high", "exclusive": "", "nice": "3"},
    }
    assert repr(definition) == "TaskDefinition('task', array=True)"


def test_array_job_bare_and_called() -> None:
    flow = Flow("f")

    @flow.array_job
    def a(x: Annotated[int, Result(step="s")]) -> int:
        return x

    @flow.array_job(mem="1G")
    def b(x: Annotated[int, Result(step="s")]) -> int:
        return x

    assert flow.tasks["a"].options.array
    assert flow.tasks["b"].options.array
    assert flow.tasks["b"].options.mem == 1024**3
    with pytest.raises(DefinitionError, match="array_job is job"):
        flow.array_job(array=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cpus": 0}, "cpus=0: give a whole number from 1"),
        ({"cpus": 1.5}, "cpus=1.5"),
        ({"cpus": True}, "cpus=True"),
        ({"gpus": -1}, "gpus=-1"),
        ({"nodes": 0}, "nodes=0"),
        ({"mem": "8"}, "'t': mem='8' has no unit"),
        ({"time": "soon"}, "'t': time='soon'"),
        ({"queue": "a", "partition": "b"}, "one option"),
        ({"queue": ""}, "queue=''"),
        ({"account": 3}, "account=3"),
        ({"array": 1}, "array=1"),
        ({"array": True, "array_parallelism": 0}, "array_parallelism=0"),
        ({"array_parallelism": 2}, "needs array=True"),
        ({"after": 3}, "after=3"),
        ({"after": ["a", 3]}, "by its name or by its function"),
        ({"cache": "no"}, "cache='no'"),
        ({"version": 2}, "version=2: a version is a text"),
        ({"verify": 3}, "verify=3: give a function .* name of a verifier, or a list"),
        ({"verify": ["nonempty", ""]}, "verify="),
        ({"serializer": 3}, "serializer=3: give a name"),
        ({"code": "all"}, "'function', 'deep' or 'off'"),
        ({"cpu": 2}, "no option named 'cpu': did you mean 'cpus'"),
        ({"memory": "8G"}, "did you mean 'mem'"),
        ({"walltime": "1h"}, "did you mean 'time'"),
        ({"qos": ["a"]}, r"qos=\['a'\]"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        Flow("f").job("t", **options)


def test_bad_names_and_functions() -> None:
    flow = Flow("f")
    with pytest.raises(DefinitionError, match=r"not a valid task name.*name=\.\.\."):
        flow.job()(lambda: 1)
    with pytest.raises(DefinitionError, match="'a-b' is not a valid task name"):
        flow.job("a-b")(check)
    with pytest.raises(DefinitionError, match="not the class 'int'"):
        flow.job()(int)
    with pytest.raises(DefinitionError, match="a task is a function"):
        flow.job(functools.partial(check))
    for bad in ("", "a b", "../x", "-a"):
        with pytest.raises(DefinitionError, match="not a valid flow name"):
            Flow(bad)

    async def wait() -> None: ...

    def generate() -> Any:
        yield 1

    with pytest.raises(DefinitionError, match="is async"):
        flow.job(wait)
    with pytest.raises(DefinitionError, match=r"is a generator.*return a list"):
        flow.job(generate)
    assert not flow.tasks


def test_a_name_is_taken_once() -> None:
    flow = Flow("f")
    flow.job("a")(check)
    with pytest.raises(DefinitionError, match="already has a task named 'a'"):
        flow.job("a")(check)


def test_at_a_prompt_a_definition_may_be_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    flow = Flow("f")
    for _ in range(2):

        def cell() -> int:
            return 1

        cell.__module__ = "__main__"
        flow.job(cell)
    assert flow.tasks["cell"].function is cell


def preprocessing() -> Flow:
    flow = Flow("pre")

    @flow.job()
    def download(url: str) -> list[str]:
        return [url]

    @flow.job(array=True)
    def clean(item: Annotated[str, Result(step="download")]) -> str:
        return item

    @flow.job(after="clean")
    def report(items: Annotated[list[str], Result(step=clean)]) -> int:
        return len(items)

    return flow


def test_include_rewrites_references_by_name_and_function() -> None:
    flow, outer = preprocessing(), Flow("w")
    outer.include(flow, prefix="x")
    outer.include(flow, prefix="y")
    outer.include(flow)
    assert list(outer.tasks)[:4] == ["x_download", "x_clean", "x_report", "y_download"]
    spec = build_spec("w", outer.tasks, {"url": "u"}, "r")
    by_name = {task.name: task for task in spec.tasks}
    assert by_name["y_clean"].wires[0].sources[0].task == "y_download"
    assert by_name["x_report"].wires[0].sources[0].task == "x_clean"
    assert by_name["y_report"].after == ("y_clean",)
    assert by_name["report"].wires[0].sources[0].task == "clean"


def test_include_in_an_included_flow() -> None:
    middle, outer = Flow("m"), Flow("w")
    middle.include(preprocessing(), prefix="a")
    middle.include(preprocessing(), prefix="b")

    @middle.job()
    def both(x: Annotated[list[int], Result(steps=["a_report", "b_report"])]) -> int:
        return sum(x)

    outer.include(middle, prefix="q")
    resolved = check(outer)
    assert [source.task for source in resolved.wires["q_both"][0].sources] == [
        "q_a_report",
        "q_b_report",
    ]
    assert resolved.wires["q_b_report"][0].sources[0].task == "q_b_clean"


def test_an_included_task_may_refer_to_its_surroundings() -> None:
    inner, outer = Flow("i"), Flow("w")

    @inner.job()
    def use(x: Annotated[int, Result(step="load")]) -> int:
        return x

    @outer.job()
    def load() -> int:
        return 1

    outer.include(inner, prefix="p")
    assert check(outer).wires["p_use"][0].sources[0].task == "load"


def test_bad_includes() -> None:
    flow, outer = preprocessing(), Flow("w")
    with pytest.raises(DefinitionError, match="a Flow or Workflow"):
        outer.include("pre")  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="cannot include itself"):
        outer.include(outer)
    with pytest.raises(DefinitionError, match="a prefix is a Python identifier"):
        outer.include(flow, prefix="a-b")
    outer.job("p_clean")(check)
    with pytest.raises(DefinitionError, match="already has a task named 'p_clean'"):
        outer.include(flow, prefix="p")
    assert list(outer.tasks) == ["p_clean"]


def test_tasks_made_in_a_factory_see_its_variables() -> None:
    def build(start: int) -> Flow:
        flow = Flow("f")

        @flow.job()
        def first() -> int:
            return start

        @flow.array_job
        def each(x: Annotated[int, Result(step=first)], d: RunDir) -> int:
            return x

        return flow

    signature = build(3).tasks["each"].signature()
    assert signature.parameters[0].annotation is int


def test_registering_imports_little() -> None:
    code = """
import sys
from typing import Annotated
from reflow.model.annotations import Param, Result, RunDir
from reflow.model.flow import Flow
flow = Flow("f")
for i in range(5):
    @flow.job(name=f"t{i}", cpus=2, mem="8G", time="01:00:00")
    def task(x: Annotated[str, Param()], run_dir: RunDir) -> str:
        return x
heavy = "attr attrs cattrs inspect click pluggy sqlite3 pathlib dataclasses logging".split()
print([name for name in heavy if name in sys.modules])
flow.tasks["t1"].signature()
import reflow.values.json_codec, reflow.values.codec, reflow.caching.code_fingerprint
reflow.values.json_codec.plain_codec(str).encode("x")
print([name for name in heavy if name in sys.modules])
"""
    # -S: imports by this environment's .pth files do not count.
    path = [str(Path(reflow.__file__).parents[1])]
    code = f"import sys; sys.path[:0] = {path!r}\n{code}"
    out = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert out.stdout == "[]\n[]\n"


def test_a_worker_compiles_nothing() -> None:
    """With annotations as texts each worker would compile them: `typing.NamedTuple` does."""
    code = """
import sys
compiled = []
sys.addaudithook(lambda event, given: event == "compile" and compiled.append(given))
from typing import Annotated
import reflow.job, reflow.engine.worker, reflow.engine.task_call, reflow.values.codec
from reflow import Param, Workflow
workflow = Workflow("w")
@workflow.job(cpus=2, mem="8G", time="01:00:00")
def task(x: Annotated[str, Param()]) -> str:
    return x
reflow.engine.task_call.TaskCaller(workflow.tasks["task"], {"x": '"y"'}, None, "auto").call({})
# Not modules whose code is not kept, nor what collections.namedtuple evaluates.
texts = [bytes(text or b"") for text, file in compiled if file == "<string>"]
print([text for text in texts if not text.startswith(b"lambda _cls")])
"""
    path = [str(Path(reflow.__file__).parents[1])]
    code = f"import sys; sys.path[:0] = {path!r}\n{code}"
    out = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert out.stdout == "[]\n"
