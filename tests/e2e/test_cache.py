"""Which tasks run again and which results are reused, through `run_local`."""

import shutil
import textwrap
from pathlib import Path
from typing import Annotated, Any

import pytest

from reflow import Result, RunDir, Workflow

LARGE = 70_000  # more than the 64 KiB that a record keeps in line


class Counted:
    """Notes every call that really happens."""

    def __init__(self):
        self.calls: list[tuple] = []

    def __call__(self, *call):
        self.calls.append(call)

    def take(self):
        """Return the calls since the last time."""
        taken, self.calls = self.calls, []
        return taken


@pytest.fixture
def ran():
    return Counted()


def states(run, task):
    return run.status(as_dict=True)["summary"][task]


# Identity


def test_values_of_other_types_are_other_work(tmp_path, ran):
    wf = Workflow("typed")

    @wf.job()
    def show(x: int | float | str | bool | None) -> str:
        ran(type(x).__name__)
        return repr(x)

    for value in (1, 1.0, "1", True, None, "None", "True", 0, False, ""):
        assert wf.run_local(tmp_path, x=value).result("show") == repr(value)
    assert len(ran.take()) == 10
    for value in (1, 1.0, "1", True, None, "None", "True", 0, False, ""):
        assert wf.run_local(tmp_path, x=value).result("show") == repr(value)
    assert ran.take() == []


def test_values_of_other_types_between_tasks_are_other_work(tmp_path, ran):
    wf = Workflow("typed_wires")

    @wf.job()
    def values(x: int) -> list[Any]:
        return [1, 1.0, "1", True, [1], "[1]"]

    @wf.job(array=True)
    def show(item: Annotated[Any, Result(step="values")]) -> str:
        ran(item)
        return repr(item)

    run = wf.run_local(tmp_path, x=1)
    assert run.result("show") == ["1", "1.0", "'1'", "True", "[1]", "'[1]'"]
    assert len(ran.take()) == 6
    assert states(wf.run_local(tmp_path, x=2), "show") == {"CACHED": 6}
    assert ran.take() == []


def test_a_path_is_not_the_text_of_its_name(tmp_path, ran):
    def workflow(kind):
        wf = Workflow("paths")

        def show(x):
            ran(x)
            return type(x).__name__

        show.__annotations__ = {"x": kind, "return": str}
        wf.job()(show)
        return wf

    assert workflow(str).run_local(tmp_path, x="a").result("show") == "str"
    assert workflow(Path).run_local(tmp_path, x="a").result("show") != "str"
    assert len(ran.take()) == 2


def test_a_changed_parameter_runs_again_only_what_takes_it(tmp_path, ran):
    wf = Workflow("parameters")

    @wf.job()
    def left(x: int) -> int:
        ran("left")
        return x

    @wf.job()
    def right(y: int = 2) -> int:
        ran("right")
        return y

    @wf.job()
    def both(
        a: Annotated[int, Result(step=left)], b: Annotated[int, Result(step=right)], z: int = 0
    ) -> int:
        ran("both")
        return a + b + z

    assert wf.run_local(tmp_path, x=1).result(both) == 3
    assert ran.take() == [("left",), ("right",), ("both",)]
    assert wf.run_local(tmp_path, x=1, y=2, z=0).result(both) == 3  # the defaults, spelled out
    assert ran.take() == []
    assert wf.run_local(tmp_path, x=5).result(both) == 7
    assert ran.take() == [("left",), ("both",)]
    assert wf.run_local(tmp_path, x=1, z=1).result(both) == 4
    assert ran.take() == [("both",)]
    assert wf.run_local(tmp_path, x=1).result(both) == 3  # the first result is still there
    assert ran.take() == []


def build(ran, *, default=1, version="1", code="function", source="return x"):
    """Return a workflow of one task with this default, version and code."""
    wf = Workflow("changing")
    space = {"ran": ran}
    exec(f"def task(x: int = {default}) -> int:\n    ran('task')\n    {source}\n", space)
    wf.job(version=version, code=code)(space["task"])
    return wf


def test_changed_default_version_and_code_run_again(tmp_path, ran):
    def calls(**changes):
        build(ran, **changes).run_local(tmp_path)
        return len(ran.take())

    assert calls() == 1
    assert calls() == 0
    assert calls(default=2) == 1
    assert calls(version="2") == 1
    assert calls(source="return x + 1") == 1
    assert calls() == 0
    assert calls(source="return x + 3", version="2") == 1


def test_changed_code_is_ignored_if_the_task_says_so(tmp_path, ran):
    build(ran, code="off").run_local(tmp_path)
    assert build(ran, code="off", source="return x + 1").run_local(tmp_path).result("task") == 1
    assert len(ran.take()) == 1


def test_tasks_of_other_names_do_not_share_results(tmp_path, ran):
    wf = Workflow("names")

    def task(x: int) -> int:
        ran("task")
        return x

    wf.job(name="one")(task)
    wf.job(name="two")(task)
    wf.run_local(tmp_path, x=1)
    assert len(ran.take()) == 2


# Arrays


def squares(ran):
    wf = Workflow("squares")

    @wf.job(cache=False)
    def numbers(items: list[int]) -> list[int]:
        return items

    @wf.job(array=True)
    def square(n: Annotated[int, Result(step=numbers)]) -> int:
        ran("square", n)
        return n * n

    @wf.job(array=True)
    def negate(n: Annotated[int, Result(step=square)]) -> int:
        ran("negate", n)
        return -n

    @wf.job()
    def total(values: Annotated[list[int], Result(step=negate)]) -> int:
        ran("total")
        return sum(values)

    return wf


@pytest.mark.parametrize("workers", [1, 3])
def test_one_more_item_is_one_more_element_of_each_array(tmp_path, ran, workers):
    wf = squares(ran)
    run = wf.run_local(tmp_path, items=[1, 2, 3], max_workers=workers)
    assert run.result("total") == -14
    run = wf.run_local(tmp_path, items=[9, 1, 2, 3], max_workers=workers)
    assert run.result("total") == -95
    assert states(run, "square") == {"SUCCESS": 1, "CACHED": 3}
    assert states(run, "negate") == {"SUCCESS": 1, "CACHED": 3}
    assert states(run, "total") == {"SUCCESS": 1}


def test_order_and_removal_cost_nothing_but_the_gather(tmp_path, ran):
    wf = squares(ran)
    wf.run_local(tmp_path, items=[1, 2, 3])
    ran.take()
    assert wf.run_local(tmp_path, items=[3, 1]).result("negate") == [-9, -1]
    assert ran.take() == [("total",)]


def test_equal_values_stop_the_spread_of_changes(tmp_path, ran):
    wf = squares(ran)
    wf.run_local(tmp_path, items=[2])
    ran.take()
    run = wf.run_local(tmp_path, items=[-2])
    assert ran.take() == [("square", -2)]
    assert states(run, "negate") == states(run, "total") == {"CACHED": 1}


def test_forced_task_with_an_equal_value_runs_nothing_below(tmp_path, ran):
    wf = squares(ran)
    wf.run_local(tmp_path, items=[1, 2])
    ran.take()
    wf.run_local(tmp_path, items=[1, 2], force_tasks=["square"])
    assert sorted(ran.take()) == [("square", 1), ("square", 2)]


# Control


def test_force_runs_everything_again(tmp_path, ran):
    wf = squares(ran)
    wf.run_local(tmp_path, items=[1, 2])
    first = len(ran.take())
    run = wf.run_local(tmp_path, items=[1, 2], force=True)
    assert len(ran.take()) == first == 5
    assert states(run, "square") == {"SUCCESS": 2}
    wf.run_local(tmp_path, items=[1, 2])
    assert ran.take() == []


def test_the_newest_of_several_results_is_taken(tmp_path):
    wf = Workflow("newest")
    values = [0]

    @wf.job()
    def count() -> int:
        values[0] += 1
        return values[0]

    assert wf.run_local(tmp_path).result("count") == 1
    assert wf.run_local(tmp_path, force=True).result("count") == 2
    assert wf.run_local(tmp_path).result("count") == 2


def test_cache_false_always_runs(tmp_path, ran):
    wf = Workflow("uncached")

    @wf.job(cache=False)
    def now(x: int) -> int:
        ran("now")
        return x

    @wf.job()
    def after(x: Annotated[int, Result(step=now)]) -> int:
        ran("after")
        return x

    wf.run_local(tmp_path, x=1)
    ran.take()
    wf.run_local(tmp_path, x=1)
    assert ran.take() == [("now",)]


def test_a_failure_is_never_taken_from_the_cache(tmp_path, ran):
    wf = Workflow("failing")
    broken = [True]

    @wf.job()
    def task() -> int:
        ran("task")
        if broken[0]:
            raise ValueError("broken")
        return 1

    assert wf.run_local(tmp_path, on_error="continue").state == "FAILED"
    broken[0] = False
    assert wf.run_local(tmp_path).result("task") == 1
    assert len(ran.take()) == 2


# Verification


def writer(ran):
    wf = Workflow("files")

    @wf.job()
    def names() -> list[str]:
        return ["a", "b", "c"]

    @wf.job(array=True)
    def write(name: Annotated[str, Result(step=names)], run_dir: RunDir) -> Path:
        ran(name)
        path = run_dir / f"{name}.txt"
        path.write_text(name)
        return path

    @wf.job()
    def count(paths: Annotated[list[Path], Result(step=write)]) -> int:
        ran("count")
        return len(paths)

    return wf


def test_a_deleted_file_is_made_again_alone(tmp_path, ran):
    wf = writer(ran)
    wf.run_local(tmp_path)
    ran.take()
    (tmp_path / "b.txt").unlink()
    run = wf.run_local(tmp_path)
    # The file has its old content again: the tasks below need not run.
    assert ran.take() == [("b",)]
    assert states(run, "write") == {"SUCCESS": 1, "CACHED": 2}
    assert (tmp_path / "b.txt").read_text() == "b"


def test_verify_false_keeps_the_result_of_a_deleted_file(tmp_path, ran):
    wf = writer(ran)
    wf.run_local(tmp_path)
    ran.take()
    (tmp_path / "b.txt").unlink()
    run = wf.run_local(tmp_path, verify=False)
    assert ran.take() == []
    assert states(run, "write") == {"CACHED": 3}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_tasks_own_verifier_decides(tmp_path, workers):
    wf = Workflow("verified")
    good = tmp_path / "good"
    good.mkdir()

    def stands(value: str) -> bool:
        return (good / value).exists()

    @wf.job()
    def names() -> list[str]:
        return ["a", "b"]

    @wf.job(array=True, verify=stands)
    def make(name: Annotated[str, Result(step=names)]) -> str:
        (good / name).touch()
        return name

    wf.run_local(tmp_path, max_workers=workers)
    assert states(wf.run_local(tmp_path, max_workers=workers), "make") == {"CACHED": 2}
    (good / "a").unlink()
    run = wf.run_local(tmp_path, max_workers=workers)
    assert states(run, "make") == {"SUCCESS": 1, "CACHED": 1}
    (good / "a").unlink()
    assert states(wf.run_local(tmp_path, verify=False), "make") == {"CACHED": 2}


def test_verifier_that_raises_is_reported_and_the_task_runs_again(tmp_path, ran):
    wf = Workflow("raising")

    def stands(value: int) -> bool:
        raise OSError("no such disk")

    @wf.job(verify=stands)
    def make() -> int:
        ran("make")
        return 1

    wf.run_local(tmp_path)
    run = wf.run_local(tmp_path)
    assert len(ran.take()) == 2
    assert "no such disk" in " ".join(run.status(as_dict=True)["notes"])


# Large values


def large(ran):
    wf = Workflow("large")

    @wf.job()
    def text(size: int) -> str:
        ran("text")
        return "ä" * size

    @wf.job()
    def direct(value: Annotated[str, Result(step=text)]) -> int:
        ran("direct")
        return len(value)

    @wf.job()
    def parts(value: Annotated[str, Result(step=text)]) -> list[str]:
        ran("parts")
        return [value, value + "x"]

    @wf.job(array=True)
    def each(part: Annotated[str, Result(step=parts)]) -> str:
        ran("each")
        return part + "!"

    @wf.job(array=True)
    def chained(
        part: Annotated[str, Result(step=each)],
        whole: Annotated[str, Result(step=text, broadcast=True)],
    ) -> str:
        ran("chained")
        return part + whole[:1]

    @wf.job()
    def gathered(parts: Annotated[list[str], Result(step=chained)]) -> list[int]:
        ran("gathered")
        return [len(part) for part in parts]

    return wf


@pytest.mark.parametrize("workers", [1, 2])
def test_large_values_go_every_way(tmp_path, ran, workers):
    run = large(ran).run_local(tmp_path, size=LARGE, max_workers=workers)
    assert run.result("text") == "ä" * LARGE
    assert run.result("direct") == LARGE
    assert run.result("gathered") == [LARGE + 2, LARGE + 3]
    assert list(tmp_path.glob(".reflow/*/values/*.json"))
    texts = [
        element
        for element in run.status(as_dict=True)["instances"]
        if element["task_name"] == "text"
    ]
    assert texts[0]["output"] is None  # too large to be shown


def test_large_values_outlive_the_runs_they_are_from(tmp_path, ran):
    wf = large(ran)
    for name in "abcd":
        run = wf.run_local(tmp_path / name, size=LARGE)
        assert run.result("gathered") == [LARGE + 2, LARGE + 3]
        assert run.result("text") == "ä" * LARGE
        assert len(ran.take()) == (8 if name == "a" else 0), f"run {name}"
        if name > "a":
            shutil.rmtree(tmp_path / chr(ord(name) - 1))


def test_large_values_whose_only_copy_is_gone_are_made_again(tmp_path, ran):
    wf = large(ran)
    wf.run_local(tmp_path / "a", size=LARGE)
    ran.take()
    shutil.rmtree(tmp_path / "a")
    run = wf.run_local(tmp_path / "b", size=LARGE)
    assert run.result("gathered") == [LARGE + 2, LARGE + 3]
    # Small values are in the store: direct and gathered need not run.
    assert sorted(set(ran.take())) == [("chained",), ("each",), ("parts",), ("text",)]


def test_a_damaged_large_value_is_made_again(tmp_path, ran):
    wf = large(ran)
    wf.run_local(tmp_path / "a", size=LARGE)
    ran.take()
    for path in (tmp_path / "a").glob(".reflow/*/values/*.json"):
        path.write_bytes(path.read_bytes()[:-10])
    run = wf.run_local(tmp_path / "b", size=LARGE)
    assert run.result("gathered") == [LARGE + 2, LARGE + 3]
    assert ("text",) in ran.take()


# The run directory


def test_task_with_the_run_directory_is_other_work_in_another_directory(tmp_path, ran):
    wf = Workflow("elsewhere")

    @wf.job()
    def anywhere(x: int) -> int:
        ran("anywhere")
        return x

    @wf.job()
    def here(x: Annotated[int, Result(step=anywhere)], run_dir: RunDir) -> Path:
        ran("here")
        path = run_dir / "out.txt"
        path.write_text(str(x))
        return path

    for name in ("a", "b"):
        path = wf.run_local(tmp_path / name, x=1).result(here)
        assert path == tmp_path / name / "out.txt"
        assert path.read_text() == "1"
    assert ran.take() == [("anywhere",), ("here",), ("here",)]
    assert wf.run_local(tmp_path / "b" / ".." / "a", x=1).result(here) == tmp_path / "a/out.txt"
    assert ran.take() == []


def test_one_store_serves_scripts_that_are_edited(tmp_path, monkeypatch):
    script = tmp_path / "edited.py"
    monkeypatch.syspath_prepend(str(tmp_path))
    template = textwrap.dedent(
        """
        from reflow import Workflow
        wf = Workflow("edited")
        @wf.job()
        def task(x: int = 1) -> int:
            {comment}
            return x + {added}
        """
    )
    outcomes = []
    for comment, added in (("# one", 1), ("# two, and longer", 1), ("# one", 20)):
        script.write_text(template.format(comment=comment, added=added))
        space = {"__name__": "edited", "__file__": str(script)}
        exec(compile(script.read_text(), str(script), "exec"), space)
        run = space["wf"].run_local(tmp_path)
        outcomes.append((run.result("task"), *states(run, "task")))
    assert outcomes == [(2, "SUCCESS"), (2, "CACHED"), (21, "SUCCESS")]
