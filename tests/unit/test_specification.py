# No deferred annotations: the tests make types at run time.
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from reflow.errors import DefinitionError, ParameterError, ValidationError
from reflow.model.annotations import Param, Result, RunDir
from reflow.model.flow import Flow
from reflow.model.spec import Constant
from reflow.runs.describe import describe
from reflow.runs.resolve import RUN_DIR_TYPE, build_spec, check


@dataclass
class Settings:
    depth: int
    out: Path


def example() -> Flow:
    flow = Flow("example")

    @flow.job(after="prepare", native_flag=True)
    def load(
        source: Annotated[Path, Param(help="Where from", short="s")],
        run_dir: RunDir,
        limit: Annotated[int, Param(namespace="local")] = 10,
    ) -> list[str]:
        """Load it.

        At length.
        """
        return []

    @flow.job(array=True, code="off", version="3", array_parallelism=4)
    def each(item: Annotated[str, Result(step=load)], scale: float = 1.0) -> int:
        return 1

    @flow.job(cpus=2, mem="2G", time="1h", cache=False, verify=bool)
    def total(
        items: Annotated[list[int], Result(step="each")],
        source: Path,
        mode: Literal["a", "b"] = "a",
    ) -> int:
        return 1

    @flow.job()
    def prepare() -> None: ...

    return flow


def test_a_spec() -> None:
    spec = build_spec("w", example().tasks, {"source": Path("data"), "scale": 2}, "run")
    assert spec.name == "w"
    assert [task.name for task in spec.tasks] == ["prepare", "load", "each", "total"]
    _, load, each, total = spec.tasks
    assert load.constants == (
        Constant(parameter="source", type="Path", text='"data"'),
        Constant(parameter="run_dir", type=RUN_DIR_TYPE, text=json.dumps(os.path.abspath("run"))),
        Constant(parameter="limit", type="int", text="10"),
    )
    assert load.after == ("prepare",)
    assert load.upstreams == ("prepare",)
    assert load.resources.native == {"native_flag": ""}
    assert load.returns == "list[str]"
    assert len(load.code) == 64
    assert each.constants == (Constant(parameter="scale", type="float", text="2.0"),)
    assert (each.array, each.code, each.version, each.array_parallelism) == (True, "", "3", 4)
    assert (total.cache, total.verify) == (False, True)
    assert total.constants[1] == Constant(parameter="mode", type="Literal['a', 'b']", text='"a"')
    resources = total.resources
    assert (resources.cpus, resources.mem, resources.time) == (2, 2 * 1024**3, 3600)


def test_parameters_in_the_form_they_have_in_json() -> None:
    flow = Flow("f")

    @flow.job()
    def task(settings: Settings, sources: list[Path]) -> None: ...

    parameters = {"settings": {"depth": 1, "out": "x"}, "sources": ["a"]}
    (spec,) = build_spec("w", flow.tasks, parameters, "r").tasks
    assert [constant.text for constant in spec.constants] == ['{"depth":1,"out":"x"}', '["a"]']
    real = {"settings": Settings(1, Path("x")), "sources": [Path("a")]}
    assert build_spec("w", flow.tasks, real, "r").tasks[0].constants == spec.constants


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, r"parameter 'source' \(Path\) is missing: tasks 'load', 'total' need it"),
        ({"source": "a", "sorce": 1}, "no parameter 'sorce': did you mean 'source'"),
        ({"source": "a", "limit": 1}, r"no parameter 'limit': did you mean 'load_limit'\?"),
        ({"source": "a", "zzz": 1}, r"no parameter 'zzz' \(parameters: source: Path, load_limit"),
        ({"source": 3}, r"'source' of task 'load' must be Path, got 3 \(int\)"),
        ({"source": "a", "scale": "2"}, r"'scale' of task 'each' must be float, got '2' \(str\)"),
        ({"source": "a", "load_limit": True}, "'load_limit' of task 'load' must be int, got True"),
        ({"source": "a", "mode": "c"}, r"must be Literal\['a', 'b'\], got 'c'"),
        ({"source": "a", "item": "x"}, "no parameter 'item'"),
        ({"source": "a", "load_limit": None}, "must be int, got None"),
    ],
)
def test_bad_parameters(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        build_spec("w", example().tasks, parameters, "r")


def test_all_bad_parameters_are_reported_at_once() -> None:
    with pytest.raises(ParameterError) as caught:
        build_spec("w", example().tasks, {"sorce": 1, "scale": "x"}, "r")
    text = str(caught.value)
    assert "'sorce'" in text
    assert "'scale'" in text
    assert "is missing" in text


def one_task(function: Callable[..., Any]) -> Flow:
    flow = Flow("f")
    flow.job(function)
    return flow


class Opaque:
    pass


def test_annotations_that_cannot_be_serialized() -> None:
    def task(x: Opaque, f: Callable[[], int]) -> list[Opaque]:
        return []

    with pytest.raises(ValidationError) as caught:
        check(one_task(task))
    text = str(caught.value)
    assert "task 'task', parameter 'x': Opaque cannot be written as JSON" in text
    assert "task 'task', parameter 'f': Callable" in text
    assert "task 'task', return value: Opaque cannot be written" in text


def bad_default(x: int = "a") -> None: ...  # type: ignore[assignment]
def bad_none(x: int = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013
def reserved(force: bool) -> None: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (bad_default, "parameter 'x': the default 'a' is not of type int"),
        (bad_none, r"the default None is not of type int: write int \| None"),
        (reserved, r"'force' is an argument of submit\(\) itself"),
    ],
)
def test_bad_tasks(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        check(one_task(function))


def test_no_tasks() -> None:
    with pytest.raises(ValidationError, match="'w' has no tasks"):
        check(Flow("w"))
    with pytest.raises(ValueError, match="'w' has no tasks"):
        build_spec("w", {}, {}, "r")


def test_a_signature_that_is_wrong_is_a_definition_error() -> None:
    def task(x: "Missing") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(DefinitionError, match=r"'task', parameter 'x': .*'Missing'"):
        check(one_task(task))


def test_cycles_name_their_path() -> None:
    flow = Flow("f")

    @flow.job(after="b")
    def a() -> int:
        return 1

    @flow.job()
    def b(x: Annotated[int, Result(step=a)]) -> int:
        return x

    with pytest.raises(ValidationError, match="cycle: a -> b -> a"):
        check(flow)


def test_parameters_shared_by_tasks() -> None:
    flow = Flow("f")

    @flow.job()
    def a(x: float, y: Annotated[int, Param(help="why", short="y")]) -> None: ...

    @flow.job()
    def b(x: int = 3, y: Annotated[int, Param()] = 1) -> None: ...

    x, y = check(flow).parameters
    assert (x.type, x.required, x.tasks, x.annotation) == ("int", True, ("a", "b"), int)
    assert (y.help, y.short, y.required) == ("why", "y", True)
    a_spec, b_spec = build_spec("f", flow.tasks, {"x": 1, "y": 2}, "r").tasks
    assert (a_spec.constants[0].text, b_spec.constants[0].text) == ("1.0", "1")

    @flow.job()
    def c(x: str, z: Annotated[int, Param(short="y")]) -> None: ...

    with pytest.raises(ValidationError) as caught:
        check(flow)
    assert "parameter 'x' is int in task 'a' but str in task 'c'" in str(caught.value)
    assert "'y' and 'z' both have the short option -y" in str(caught.value)


def test_a_local_parameter_that_meets_a_global_one() -> None:
    flow = Flow("f")

    @flow.job()
    def a(x: Annotated[int, Param(namespace="local")]) -> None: ...

    @flow.job()
    def b(a_x: int) -> None: ...

    with pytest.raises(ValidationError, match="different parameters that are both called 'a_x'"):
        check(flow)


def test_optional_parameters() -> None:
    def task(x: int | None = None) -> None: ...

    (spec,) = build_spec("f", one_task(task).tasks, {}, "r").tasks
    assert spec.constants == (Constant(parameter="x", type="int | None", text="null"),)


def test_description() -> None:
    description = describe(example())
    native = description.to_dict()
    assert json.loads(json.dumps(native)) == native
    assert [task["name"] for task in native["tasks"]] == ["prepare", "load", "each", "total"]
    load, each, total = native["tasks"][1:]
    assert load["doc"] == "Load it."
    assert load["parameters"] == ["source", "load_limit"]
    assert load["upstreams"] == ["prepare"]
    assert each["inputs"] == [{"parameter": "item", "mode": "fan-out", "tasks": ["load"]}]
    assert total["resources"]["mem"] == 2 * 1024**3
    assert native["parameters"][0] == {
        "name": "source",
        "type": "Path",
        "required": True,
        "default": None,
        "help": "Where from",
        "short": "s",
        "namespace": "global",
        "tasks": ["load", "total"],
    }
    assert native["parameters"][1]["default"] == 10
    assert native["parameters"][1]["namespace"] == "local"
    assert description.parameters[0].annotation is Path


def test_a_long_chain_is_quick() -> None:
    flow = Flow("f")

    def add(i: int) -> None:
        if i == 0:

            @flow.job("t0")
            def first(x: int) -> int:
                return x
        else:

            @flow.job(f"t{i}")
            def other(x: Annotated[int, Result(step=f"t{i - 1}")]) -> int:
                return x

    for i in range(1000):
        add(i)
    start = time.process_time()
    check(flow)
    spec = build_spec("f", flow.tasks, {"x": 1}, "r")
    # 30 ms here; the bound leaves room for a slow machine.
    assert time.process_time() - start < 0.6
    assert [task.name for task in spec.tasks] == [f"t{i}" for i in range(1000)]


def test_a_verifier_says_whether_it_needs_fingerprints() -> None:
    """Fingerprints are not taken because of the name "fingerprint"."""
    wf = Flow("w")

    @wf.job(verify=["nonempty", "fingerprint"], files="path")
    def marked() -> Path:
        return Path("x")

    @wf.job(verify="nonempty")
    def plain() -> Path:
        return Path("x")

    spec = build_spec("w", wf.tasks, {}, "/")
    needs = {task.name: spec.needs_fingerprints(task) for task in spec.tasks}
    assert needs == {"marked": True, "plain": False}
    assert all(task.files != "all" for task in spec.tasks), "what parameters name counts as before"
