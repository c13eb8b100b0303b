"""Which tasks run again after each kind of change, and that a plan says so before."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import reflow

from .projects import PARAMETERS, TASKS, Project

ALL = {"numbers": 1, "each": 3, "after": 3, "total": 1, "beside": 1}


class Change(NamedTuple):
    """Edits and parameters, and which tasks must run by ``code="function"`` (and by "deep").

    `why` is what the plan says of the first task that runs.
    """

    runs: dict[str, int]
    edits: tuple[tuple[str, str], ...] = ()
    parameters: dict[str, Any] = {}  # noqa: RUF012 (never changed)
    why: str = ""
    deep: dict[str, int] | None = None
    deep_why: str = ""
    options: dict[str, Any] = {}  # noqa: RUF012


EACH = {"each": 3}
CHANGES = {
    "nothing": Change({}),
    "default, spelled out": Change({}, parameters={"shift": 0}),
    "parameter": Change(
        {"total": 1}, parameters={"name": "b"}, why='parameter name: "a" -> "b"'
    ),
    "parameter of an array": Change(
        {"each": 3, "after": 3, "total": 1}, parameters={"times": 20},
        why="parameter times: 2 -> 20",
    ),
    "parameter that changes nothing below": Change(
        {"numbers": 1}, parameters={"items": [9, 19, 29], "shift": 1},
        why="parameter items: [10,20,30] -> [9,19,29]; parameter shift: 0 -> 1",
    ),
    "default": Change(
        {"total": 1}, (('name: str = "a"', 'name: str = "b"'),), why='parameter name: "a" -> "b"'
    ),
    "one more item": Change(
        {"numbers": 1, "each": 1, "after": 1, "total": 1}, parameters={"items": [10, 20, 25, 30]},
        why="parameter items",
    ),
    "order of a list": Change(
        {"numbers": 1, "total": 1}, parameters={"items": [30, 20, 10]}, why="parameter items"
    ),
    "one item fewer": Change(
        {"numbers": 1, "total": 1}, parameters={"items": [10, 30]}, why="parameter items"
    ),
    "upstream value that comes out the same": Change(
        {"after": 3}, (("return y //", "return y * 1 //"),), why="its code has changed"
    ),
    "own code": Change(
        {"each": 3, "after": 3, "total": 1}, (("times) * SCALE", "times) * SCALE * 10"),),
        why="its code has changed",
    ),
    "own code, same values": Change(
        EACH, (("times) * SCALE", "times) * SCALE * 1"),), why="its code has changed"
    ),
    "helper": Change({}, (("return plain(x) *", "return 1 * plain(x) *"),), deep=EACH,
                     deep_why="its code has changed"),
    "helper of a helper": Change({}, (("    return x\n", "    return +x\n"),), deep=EACH),
    "constant": Change({}, (("SCALE = 1", "SCALE = True"),), deep=EACH),
    "helper nobody calls": Change({}, (("return 0", "return 1"),)),
    "comment": Change({}, (("# so that", "# or: so that"),)),
    "helper's comment": Change({}, (("return 0", "return 0  # why"),)),
    "docstring": Change({}, (("What becomes of one.", "How one ends."),)),
    "formatting": Change({}, (("[number + shift for", "[ number+shift  for"),)),
    "version": Change(
        {"total": 1}, (('version="1"', 'version="2"'),), why="version: 1 -> 2"
    ),
    "annotation": Change(
        {"total": 1}, (('name: str = "a"', 'name: str | None = "a"'),), why="parameter name: str"
    ),
    "new parameter": Change(
        {"beside": 1}, (("def beside()", "def beside(more: int = 1)"),),
        why="parameter more: not there -> 1",
    ),
    "resources": Change({}, (("@wf.job()\ndef beside", "@wf.job(cpus=2)\ndef beside"),)),
    "no cache": Change(
        {"beside": 1}, (("@wf.job()\ndef beside", "@wf.job(cache=False)\ndef beside"),),
        why="cache=False",
    ),
    "name": Change(
        {"beside": 1}, (('@wf.job()\ndef beside', '@wf.job("other")\ndef beside'),),
        why="it has never run",
    ),
    "forced": Change(ALL, options={"force": True}, why="forced"),
    "forced task": Change(EACH, options={"force_tasks": ["each"]}, why="forced"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_runs_again(project: Project, change: Change) -> None:
    _, counts = project.run(project.load().wf, **PARAMETERS)
    assert counts == ALL
    wf = project.load(*change.edits).wf
    arguments = {**PARAMETERS, **change.parameters, **change.options}
    plan = wf.plan(project.run_dir, **arguments)
    assert project.ran() == {}
    run, counts = project.run(wf, **arguments)
    deep = project.code == "deep" and change.deep is not None
    assert counts == (change.deep if deep else change.runs)
    assert run.state == "SUCCESS"
    project.check_plan(plan, {**counts, "other": counts.get("beside", 0)})
    texts = [why.text for task in plan.tasks for why in task.reasons if task.misses]
    expected = change.deep_why if deep else change.why
    assert any(expected in text for text in texts) or not expected, texts
    # The next run has these results, too.
    again = wf.plan(project.run_dir, **{**PARAMETERS, **change.parameters})
    assert again.complete
    assert again.misses == (1 if "cache=False" in str(change.edits) else 0)


def test_result_is_reused_after_a_change_is_undone(project: Project) -> None:
    project.run(project.load().wf, **PARAMETERS)
    project.run(project.load(("times) * SCALE", "times) * SCALE * 10")).wf, **PARAMETERS)
    _, counts = project.run(project.load().wf, **PARAMETERS)
    assert counts == {}


def test_plan_of_a_workflow_that_never_ran(project: Project) -> None:
    wf = project.load().wf
    plan = wf.plan(project.run_dir, **PARAMETERS)
    assert {t.name: (t.size, t.hits, t.misses, t.unknown) for t in plan.tasks} == {
        "numbers": (1, 0, 1, 0), "each": (None, 0, 0, None), "after": (None, 0, 0, None),
        "total": (1, 0, 0, 1), "beside": (1, 0, 1, 0),
    }  # fmt: skip
    assert (plan.hits, plan.misses, plan.complete) == (0, 2, False)
    assert [task.reasons[0].text for task in plan.tasks] == [
        "it has never run", "waits for numbers", "waits for each", "waits for after",
        "it has never run",
    ]  # fmt: skip
    lines = str(plan).splitlines()
    assert lines[0].endswith("2 would run, and more may follow; 0 cached")
    assert lines[1].split() == ["TASK", "ELEMENTS", "CACHED", "RUN", "UNKNOWN", "BECAUSE"]
    assert lines[3].split() == ["each", "?", "0", "0", "?", "waits", "for", "numbers"]


def test_a_plan_writes_nothing(project: Project, home: Path) -> None:
    wf = project.load().wf
    wf.store.list_runs(limit=0)  # creates the store if there is none
    before = sorted(home.rglob("*"))
    wf.plan(project.run_dir, **PARAMETERS)
    assert sorted(home.rglob("*")) == before
    project.run(wf, **PARAMETERS)
    before = sorted((path, path.stat().st_mtime_ns) for path in home.rglob("*"))
    assert wf.plan(project.run_dir / "elsewhere", **PARAMETERS).misses == 0
    assert sorted((path, path.stat().st_mtime_ns) for path in home.rglob("*")) == before


def test_a_plan_takes_what_submit_takes(project: Project) -> None:
    wf = project.load().wf
    plan = wf.plan(run_dir="x", executor="slurm", wait=True, on_code_change="fail", **PARAMETERS)
    assert plan.run_dir == str(Path("x").absolute())
    with pytest.raises(ValueError, match=r"force_tasks: .*no task named 'eech'"):
        wf.plan("x", force_tasks=["eech"], **PARAMETERS)
    with pytest.raises(ValueError, match=r"parameter 'items'.* is missing"):
        wf.plan("x")
    with pytest.raises(ValueError, match="no parameter 'shifts': did you mean 'shift'"):
        wf.plan("x", shifts=1, **PARAMETERS)


FILES = """
    from pathlib import Path
    from typing import Annotated
    from reflow import Result, RunDir, Workflow
    wf = Workflow("files")

    def good(path):
        if path.read_text() == "raise":
            raise OSError("unreadable")
        return path.read_text() != "bad"

    @wf.job(array=True, verify=good)
    def write(x: Annotated[int, Result(step="make")], run_dir: RunDir) -> Path:
        path = run_dir / f"{x}.txt"
        path.write_text(str(x))
        return path

    @wf.job()
    def make() -> list[int]:
        return [0, 1, 2]

    @wf.job()
    def large(xs: Annotated[list[Path], Result(step="write")]) -> str:
        return "x" * 100_000
    """


def test_a_plan_verifies(load: Any, tmp_path: Path) -> None:
    wf = load(textwrap.dedent(FILES)).wf
    out = tmp_path / "out"
    wf.run_local(out)
    assert wf.plan(out).hits == 5
    (out / "1.txt").write_text("bad")
    (out / "2.txt").unlink()
    (out / "0.txt").write_text("raise")
    tasks = {task.name: task for task in wf.plan(out).tasks}
    assert (tasks["write"].hits, tasks["write"].misses) == (0, 3)
    assert {reason.text for reason in tasks["write"].reasons} == {
        "a verifier refused the older result", f"its file {out}/2.txt is gone",
        "a verifier raised OSError('unreadable')",
    }  # fmt: skip
    assert tasks["large"].reasons[0].text == "waits for write"
    assert wf.plan(out, verify=False).misses == 0
    # Large values are read from their files; a missing one is computed again.
    for name in ("0.txt", "1.txt", "2.txt"):
        (out / name).write_text(name[0])
    assert wf.plan(out).hits == 5
    shutil.rmtree(next(out.glob(".reflow/*/values")))
    tasks = {task.name: task for task in wf.plan(out).tasks}
    assert tasks["large"].reasons[0].text.startswith("the value of the older result is gone")


def test_plan_reports_inputs_that_differ_in_length(load: Any, tmp_path: Path) -> None:
    wf = load(
        "from typing import Annotated\nfrom reflow import Result, Workflow\n"
        "wf = Workflow('uneven')\n"
        "@wf.job()\ndef a() -> list[int]: return [1]\n"
        "@wf.job()\ndef b() -> list[int]: return [1, 2]\n"
        "@wf.job(array=True)\ndef c(x: Annotated[int, Result(step=a)],"
        " y: Annotated[int, Result(step=b)]) -> int: return x\n"
    ).wf
    wf.run_local(tmp_path, on_error="continue")
    (planned,) = [task for task in wf.plan(tmp_path).tasks if task.name == "c"]
    assert (planned.size, planned.misses, planned.unknown) == (None, 0, None)
    assert "differ in length: x has 1, y has 2" in planned.reasons[0].text


SERIALIZER = """
from reflow.hookspecs import SerializerEntry, hookimpl
from reflow.serializers.base import Serializer

class Cells(list):
    pass

class CellsSerializer(Serializer):
    suffix = ".cells"

    def dump(self, value, path):
        path.write_text(" ".join(map(str, value)))

    def load(self, path):
        return Cells(map(int, path.read_text().split()))

@hookimpl
def reflow_register_serializers():
    return [SerializerEntry(name="cells", target="cells:CellsSerializer")]
"""
KEEPING = """
from typing import Annotated
from cells import Cells
from reflow import Result, Workflow
wf = Workflow("keeping")

@wf.job(serializer="cells", code="CODE")
def make() -> object:
    ran("make")
    return Cells([1, 2, 3])

@wf.job(code="CODE")
def use(cells: Annotated[object, Result(step="make")]) -> int:
    ran("use")
    return sum(cells)

def ran(task):
    with open("ran", "a") as file:
        print(task, file=file)

wf.run_local("out"OPTIONS)
"""
OTHER_BYTES = ('" ".join(map(str, value))', '" ".join(f"{number:02}" for number in value)')


class SerializerChange(NamedTuple):
    """A change of the serializer and of the workflow, and which tasks must run then."""

    runs: list[str]
    version: str = "1.0"
    edits: tuple[tuple[str, str], ...] = ()
    options: str = ""
    deep: list[str] | None = None


BOTH = ["make", "use"]
SERIALIZER_CHANGES = {
    "nothing": SerializerChange([]),
    # The version of the distribution counts, as the code of `make` reaches it: it makes a Cells.
    "version": SerializerChange([], "2.0", deep=["make"]),
    "its code": SerializerChange([], edits=(OTHER_BYTES,)),
    "its code, and made again": SerializerChange(
        BOTH, edits=(OTHER_BYTES,), options=", force_tasks=['make']"
    ),
    "made again": SerializerChange(["make"], options=", force_tasks=['make']"),
    "its name": SerializerChange(BOTH, edits=(('name="cells"', 'name="cells2"'),)),
    "its class": SerializerChange([], edits=(("CellsSerializer", "OtherSerializer"),)),
    "its suffix": SerializerChange([], edits=(('suffix = ".cells"', 'suffix = ".txt"'),)),
}


@pytest.mark.parametrize("code", ["function", "deep"])
@pytest.mark.parametrize("change", SERIALIZER_CHANGES.values(), ids=SERIALIZER_CHANGES)
def test_what_runs_again_when_a_serializer_changes(
    change: SerializerChange, code: str, install: Any, script: Any, tmp_path: Path
) -> None:
    def run(flow: str, options: str) -> list[str]:
        script(flow.replace("CODE", code).replace("OPTIONS", options), site, name="keeping.py")
        ran = tmp_path / "ran"
        names = ran.read_text().split() if ran.exists() else []
        ran.unlink(missing_ok=True)
        return names

    site = install("cells", SERIALIZER)
    # In site-packages, as if installed: code in other folders counts by its text.
    (tmp_path / "env").mkdir()
    site = site.rename(tmp_path / "env" / "site-packages")
    assert run(KEEPING, "") == BOTH
    plugin, flow = SERIALIZER, KEEPING
    for old, new in change.edits:
        assert old in plugin
        plugin = plugin.replace(old, new)
    if "cells2" in plugin:
        flow = flow.replace('serializer="cells"', 'serializer="cells2"')
    (site / "cells.py").write_text(plugin)
    shutil.rmtree(site / "__pycache__", ignore_errors=True)
    metadata = site / "cells-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("Version: 1.0", f"Version: {change.version}"))
    deep = change.deep if code == "deep" and change.deep is not None else change.runs
    assert run(flow, change.options) == deep
    assert run(flow, "") == []


PYTHONS = textwrap.dedent(
    '''
    import enum, functools, math, re
    from dataclasses import dataclass, field
    from pathlib import Path
    from typing import Annotated, NamedTuple
    from reflow import Result, Workflow
    wf = Workflow("pythons")

    class Kind(enum.Enum):
        A = 1

    class Pair(NamedTuple):
        a: int
        b: int = 2

    @dataclass(frozen=True)
    class Point:
        """A place."""
        x: float
        y: float = 1.0
        tags: list[str] = field(default_factory=list)

        def norm(self):
            return math.hypot(self.x, self.y)

    class Box:
        def __init__(self):
            self.n = 3

        @property
        def p(self):
            return self.n

        @staticmethod
        def s():
            return Path("x")

    WORD = re.compile(r"\\w+")

    @functools.lru_cache
    def odd(x):
        return [y for y in range(x) if y % 2]

    def helper(x):
        return odd(x), WORD.findall(f"{x!r} {'a':>3}"), (lambda z: z + 1)(x)

    @wf.job(code="CODE")
    def make(n: int = 4) -> list[int]:
        try:
            with open("ran", "a") as file:
                print("make", file=file)
        except (OSError, ValueError) as error:
            raise RuntimeError(f"{error}") from error
        match n:
            case 4:
                return odd(n)
        return [*odd(n), Box().p, Kind.A.value]

    @wf.job(code="CODE", array=True)
    def each(x: Annotated[int, Result(step="make")], kind: Kind = Kind.A) -> Pair:
        with open("ran", "a") as file:
            print("each", file=file)
        return Pair(x, helper(x)[2] + Box.s().is_dir())

    @wf.job(code="CODE")
    def last(xs: Annotated[list[Pair], Result(step="each")], point: Point = Point(1.0)) -> float:
        with open("ran", "a") as file:
            print("last", file=file)
        return point.norm() + sum(a for a, _ in xs)

    exec("def bare():\\n    open('ran', 'a').write('bare ')\\n    return 1\\n")
    wf.job(code="CODE")(bare)
    wf.run_local("out")
    '''
)


def other_pythons() -> Iterator[str]:
    """Yield Pythons of other versions that can import what reflow needs from here."""
    here = sys.version_info[:2]
    installed = Path(sys.base_prefix).parent.glob("*/bin/python3")
    named = (shutil.which(f"python3.{minor}") for minor in range(10, 20))
    versions = {here}
    question = "import sys, attrs, cattrs, click, pluggy, reflow.workflow as _"
    question += "; print(*sys.version_info[:2])"
    for python in (*map(str, sorted(installed)), *filter(None, named)):
        done = subprocess.run(
            [python, "-c", question], capture_output=True, text=True, check=False, env=environment()
        )
        version = tuple(map(int, done.stdout.split())) if done.returncode == 0 else here
        if version not in versions:
            versions.add(version)
            yield python


def environment() -> dict[str, str]:
    folders = [str(Path(reflow.__file__).parents[1])]
    folders += [path for path in sys.path if path.endswith("-packages")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(folders), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.mark.parametrize("code", ["function", "deep"])
def test_the_version_of_python_is_no_reason_to_run_again(code: str, tmp_path: Path) -> None:
    """Only functions without source count by their bytecode, which differs between versions."""
    others = list(other_pythons())
    if not others:
        pytest.skip("there is no Python of another version here that can import reflow")
    (tmp_path / "pythons.py").write_text(PYTHONS.replace("CODE", code))
    ran = tmp_path / "ran"
    for python in (sys.executable, *others, sys.executable):
        subprocess.run([python, "pythons.py"], cwd=tmp_path, env=environment(), check=True)
        names = ran.read_text().split() if ran.exists() else []
        ran.unlink(missing_ok=True)
        if python != sys.executable:
            assert names == ["bare"], python
        elif others:
            assert sorted(names) == ["bare", "each", "each", "last", "make"]
            others = []
        else:
            assert names == [], "results are reused once the change is undone"


def test_every_task_is_in_the_table() -> None:
    assert set(ALL) == set(TASKS)
