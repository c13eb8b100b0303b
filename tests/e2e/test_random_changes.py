"""A random workflow, changed at random: no stale result, and nothing runs that did not change."""

from __future__ import annotations

import importlib.util
import itertools
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from attrs import evolve, frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reflow.storage.stores.sqlite.store import SqliteStore

_names = itertools.count()


@frozen
class Task:
    """A task that adds what it receives: `above` are indices of tasks before it.

    With `file` it returns the path of a file that has the sum in it.
    """

    above: tuple[int, ...]
    add: int
    limit: int
    comment: int
    version: int
    parameter: bool
    file: bool


class Seen(NamedTuple):
    """What an instance is made of, by the model."""

    task: int
    version: int
    code: tuple[int, int]
    received: tuple[Any, ...]


@st.composite
def workflows(draw: st.DrawFn) -> list[Task]:
    made: list[Task] = []
    for number in range(draw(st.integers(2, 5))):
        above = draw(st.sets(st.integers(0, number - 1), max_size=2)) if number else set()
        made.append(
            Task(tuple(sorted(above)), draw(st.integers(0, 2)), draw(st.integers(2, 9)), 0, 1,
                 draw(st.booleans()), draw(st.booleans()))
        )  # fmt: skip
    return made


CHANGES = st.tuples(
    st.sampled_from(
        ["add", "limit", "comment", "version", "parameter", "nothing", "touch", "alter", "delete"]
    ),
    st.integers(0, 4), st.integers(1, 3),
)  # fmt: skip


def source(tasks: list[Task]) -> str:
    """A module; small limits make values come out the same though what made them differs."""
    lines = [
        "from pathlib import Path", "from typing import Annotated",
        "from reflow import Param, Result, RunDir, Workflow",
        "ran = []", "wf = Workflow('random')",
    ]  # fmt: skip
    for number, one in enumerate(tasks):
        types = ["Path" if tasks[i].file else "int" for i in one.above]
        parts = [
            f"a{i}: Annotated[{kind}, Result(step='t{i}')]"
            for i, kind in zip(one.above, types, strict=True)
        ]
        parts += ["p: Annotated[int, Param()]"] if one.parameter else []
        parts += ["run_dir: RunDir"] if one.file else []
        terms = [f"int(a{i}.read_text())" if tasks[i].file else f"a{i}" for i in one.above]
        terms += [*(["p"] if one.parameter else []), str(one.add)]
        made = f"min({one.limit}, {' + '.join(terms)})"
        lines += [
            f"@wf.job(version='{one.version}')",
            f"def t{number}({', '.join(parts)}) -> {'Path' if one.file else 'int'}:",
            f"    {'#' * one.comment}",
            f"    ran.append({number})",
        ]
        if one.file:
            lines += [
                f"    (run_dir / 't{number}').write_text(str({made}))",
                f"    return run_dir / 't{number}'",
            ]
        else:
            lines.append(f"    return {made}")
    return "\n".join(lines) + "\n"


def expected(tasks: list[Task], parameter: int) -> tuple[list[int], list[Seen]]:
    """The values, and what each was made of."""
    values: list[int] = []
    made: list[Seen] = []
    for number, one in enumerate(tasks):
        received = tuple(values[i] for i in one.above)
        given = (parameter,) if one.parameter else ()
        values.append(min(one.limit, sum((*received, *given, one.add))))
        made.append(
            Seen(number, one.version, (one.add, one.limit), (*zip(one.above, received), given))  # noqa: B905
        )
    return values, made


def changed(tasks: list[Task], what: str, number: int, by: int) -> list[Task]:
    place = number % len(tasks)
    if what in ("nothing", "parameter", "touch", "alter", "delete"):
        return tasks
    one = tasks[place]
    new = {"add": one.add + by, "limit": 1 + (one.limit + by) % 9, "comment": one.comment + by,
           "version": one.version + by}[what]  # fmt: skip
    return [*tasks[:place], evolve(one, **{what: new}), *tasks[place + 1 :]]


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    tasks=workflows(),
    changes=st.lists(CHANGES, min_size=1, max_size=5),
    start=st.integers(0, 3),
)
def test_what_did_not_change_does_not_run_and_what_did_runs(
    tasks: list[Task], changes: list[tuple[str, int, int]], start: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "store")
        seen: set[Seen] = set()
        parameter = start
        there: dict[int, int | None] = {}
        for what, number, by in [("nothing", 0, 1), *changes]:
            file = Path(folder) / f"t{number % len(tasks)}"
            if what in ("touch", "alter", "delete") and file.exists():
                if what == "alter":
                    file.write_text("x")
                if what == "delete":
                    file.unlink()
                else:
                    os.utime(file, (by, by))
                if what != "touch":
                    there[number % len(tasks)] = None
            tasks = changed(tasks, what, number, by)
            parameter += by if what == "parameter" else 0
            values, made = expected(tasks, parameter)
            needs: Mapping[str, Any] = (
                {"p": parameter} if any(one.parameter for one in tasks) else {}
            )
            module = loaded(Path(folder), source(tasks), store)
            plan = module.wf.plan(folder, **needs)
            run = module.wf.run_local(folder, **needs)
            results = [run.result(f"t{n}") for n in range(len(tasks))]
            assert [
                int(one.read_text()) if isinstance(one, Path) else one for one in results
            ] == values, source(tasks)
            # A file that an older result names must be what it was then.
            new = [
                one.task
                for one in made
                if one not in seen
                or (tasks[one.task].file and there[one.task] != values[one.task])
            ]
            there = {n: values[n] for n, one in enumerate(tasks) if one.file}
            assert sorted(module.ran) == new, source(tasks)
            assert plan.misses <= len(new) <= plan.misses + sum(
                one.unknown or 0 for one in plan.tasks
            )
            seen.update(made)
        store.close()


def loaded(folder: Path, text: str, store: SqliteStore) -> Any:
    name = f"random_{next(_names)}"
    path = folder / f"{name}.py"
    path.write_text(text.replace("Workflow('random')", "Workflow('random', store=store)"))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    module.store = store  # type: ignore[attr-defined]
    spec.loader.exec_module(module)
    return module
