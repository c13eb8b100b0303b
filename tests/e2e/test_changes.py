"""For each kind of change: what runs again and what does not, and that a plan says so before."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from .projects import GIVEN, TASKS, Project

ALL = {"numbers": 1, "each": 3, "after": 3, "total": 1, "beside": 1}


class Change(NamedTuple):
    """What is edited and given, what must run by ``code="function"``, and by "deep" if not that.

    `why` is what the plan says of the first task that runs.
    """

    runs: dict[str, int]
    edits: tuple[tuple[str, str], ...] = ()
    given: dict[str, Any] = {}  # noqa: RUF012 (never changed)
    why: str = ""
    deep: dict[str, int] | None = None
    deep_why: str = ""
    options: dict[str, Any] = {}  # noqa: RUF012


EACH = {"each": 3}
CHANGES = {
    "nothing": Change({}),
    "default, spelled out": Change({}, given={"shift": 0}),
    "parameter": Change(
        {"total": 1}, given={"name": "b"}, why='parameter name: "a" -> "b"'
    ),
    "parameter of an array": Change(
        {"each": 3, "after": 3, "total": 1}, given={"times": 20},
        why="parameter times: 2 -> 20",
    ),
    "parameter that changes nothing below": Change(
        {"numbers": 1}, given={"items": [9, 19, 29], "shift": 1},
        why="parameter items: [10,20,30] -> [9,19,29]; parameter shift: 0 -> 1",
    ),
    "default": Change(
        {"total": 1}, (('name: str = "a"', 'name: str = "b"'),), why='parameter name: "a" -> "b"'
    ),
    "one more item": Change(
        {"numbers": 1, "each": 1, "after": 1, "total": 1}, given={"items": [10, 20, 25, 30]},
        why="parameter items",
    ),
    "order of a list": Change(
        {"numbers": 1, "total": 1}, given={"items": [30, 20, 10]}, why="parameter items"
    ),
    "one item fewer": Change(
        {"numbers": 1, "total": 1}, given={"items": [10, 30]}, why="parameter items"
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
    "formatting": Change({}, (("[one + shift for", "[ one+shift  for"),)),
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
    _, counts = project.run(project.load().wf, **GIVEN)
    assert counts == ALL
    wf = project.load(*change.edits).wf
    given = {**GIVEN, **change.given, **change.options}
    plan = wf.plan(project.run_dir, **given)
    assert project.ran() == {}
    run, counts = project.run(wf, **given)
    deep = project.code == "deep" and change.deep is not None
    assert counts == (change.deep if deep else change.runs)
    assert run.state == "SUCCESS"
    project.check_plan(plan, {**counts, "other": counts.get("beside", 0)})
    told = [why.text for one in plan.tasks for why in one.reasons if one.misses]
    expected = change.deep_why if deep else change.why
    assert any(expected in text for text in told) or not expected, told
    # What was found is there for the next run, too.
    again = wf.plan(project.run_dir, **{**GIVEN, **change.given})
    assert again.complete
    assert again.misses == (1 if "cache=False" in str(change.edits) else 0)


def test_what_was_changed_back_is_found_again(project: Project) -> None:
    project.run(project.load().wf, **GIVEN)
    project.run(project.load(("times) * SCALE", "times) * SCALE * 10")).wf, **GIVEN)
    _, counts = project.run(project.load().wf, **GIVEN)
    assert counts == {}


def test_a_plan_of_what_never_ran(project: Project) -> None:
    wf = project.load().wf
    plan = wf.plan(project.run_dir, **GIVEN)
    assert {one.name: (one.size, one.hits, one.misses, one.unknown) for one in plan.tasks} == {
        "numbers": (1, 0, 1, 0), "each": (None, 0, 0, None), "after": (None, 0, 0, None),
        "total": (1, 0, 0, 1), "beside": (1, 0, 1, 0),
    }  # fmt: skip
    assert (plan.hits, plan.misses, plan.complete) == (0, 2, False)
    assert [one.reasons[0].text for one in plan.tasks] == [
        "it has never run", "waits for numbers", "waits for each", "waits for after",
        "it has never run",
    ]  # fmt: skip
    lines = str(plan).splitlines()
    assert lines[0].endswith("2 would run, and more may when these have run; 0 cached")
    assert lines[1].split() == ["TASK", "ELEMENTS", "CACHED", "RUN", "UNKNOWN", "BECAUSE"]
    assert lines[3].split() == ["each", "?", "0", "0", "?", "waits", "for", "numbers"]


def test_a_plan_writes_nothing(project: Project, home: Path) -> None:
    wf = project.load().wf
    wf.store.list_runs(limit=0)  # makes a store where there is none
    before = sorted(home.rglob("*"))
    wf.plan(project.run_dir, **GIVEN)
    assert sorted(home.rglob("*")) == before
    project.run(wf, **GIVEN)
    before = sorted((path, path.stat().st_mtime_ns) for path in home.rglob("*"))
    assert wf.plan(project.run_dir / "elsewhere", **GIVEN).misses == 0
    assert sorted((path, path.stat().st_mtime_ns) for path in home.rglob("*")) == before


def test_a_plan_takes_what_submit_takes(project: Project) -> None:
    wf = project.load().wf
    plan = wf.plan(run_dir="x", executor="slurm", wait=True, on_code_change="fail", **GIVEN)
    assert plan.run_dir == str(Path("x").absolute())
    with pytest.raises(ValueError, match=r"force_tasks: .*no task named 'eech'"):
        wf.plan("x", force_tasks=["eech"], **GIVEN)
    with pytest.raises(ValueError, match=r"parameter 'items'.* is missing"):
        wf.plan("x")
    with pytest.raises(ValueError, match="no parameter 'shifts': did you mean 'shift'"):
        wf.plan("x", shifts=1, **GIVEN)


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
    import textwrap

    wf = load(textwrap.dedent(FILES)).wf
    out = tmp_path / "out"
    wf.run_local(out)
    assert wf.plan(out).hits == 5
    (out / "1.txt").write_text("bad")
    (out / "2.txt").unlink()
    (out / "0.txt").write_text("raise")
    told = {one.name: one for one in wf.plan(out).tasks}
    assert (told["write"].hits, told["write"].misses) == (0, 3)
    assert {one.text for one in told["write"].reasons} == {
        "a verifier refused the older result", f"its file {out}/2.txt is gone",
        "a verifier raised OSError('unreadable')",
    }  # fmt: skip
    assert told["large"].reasons[0].text == "waits for write"
    assert wf.plan(out, verify=False).misses == 0
    # Large values are read where they are; one that is gone is made again.
    for name in ("0.txt", "1.txt", "2.txt"):
        (out / name).write_text(name[0])
    assert wf.plan(out).hits == 5
    shutil.rmtree(next(out.glob(".reflow/*/values")))
    told = {one.name: one for one in wf.plan(out).tasks}
    assert told["large"].reasons[0].text.startswith("the value of the older result is gone")


def test_inputs_that_differ_in_length_are_told(load: Any, tmp_path: Path) -> None:
    wf = load(
        "from typing import Annotated\nfrom reflow import Result, Workflow\n"
        "wf = Workflow('uneven')\n"
        "@wf.job()\ndef a() -> list[int]: return [1]\n"
        "@wf.job()\ndef b() -> list[int]: return [1, 2]\n"
        "@wf.job(array=True)\ndef c(x: Annotated[int, Result(step=a)],"
        " y: Annotated[int, Result(step=b)]) -> int: return x\n"
    ).wf
    wf.run_local(tmp_path, on_error="continue")
    (told,) = [one for one in wf.plan(tmp_path).tasks if one.name == "c"]
    assert (told.size, told.misses, told.unknown) == (None, 0, None)
    assert "differ in length: x has 1, y has 2" in told.reasons[0].text


def test_every_task_is_in_the_table() -> None:
    assert set(ALL) == set(TASKS)
