"""Random changes of random workflows: no stale result, and no unchanged task runs."""

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


class Origin(NamedTuple):
    """What the result of an element depends on, by the model."""

    task: int
    version: int
    code: tuple[int, int]
    received: tuple[Any, ...]


@st.composite
def workflows(draw: st.DrawFn) -> list[Task]:
    tasks: list[Task] = []
    for number in range(draw(st.integers(2, 5))):
        above = draw(st.sets(st.integers(0, number - 1), max_size=2)) if number else set()
        tasks.append(
            Task(tuple(sorted(above)), draw(st.integers(0, 2)), draw(st.integers(2, 9)), 0, 1,
                 draw(st.booleans()), draw(st.booleans()))
        )  # fmt: skip
    return tasks


CHANGES = st.tuples(
    st.sampled_from(
        ["add", "limit", "comment", "version", "parameter", "nothing", "touch", "alter", "delete"]
    ),
    st.integers(0, 4), st.integers(1, 3),
)  # fmt: skip


def source(tasks: list[Task]) -> str:
    """Return a module. Small limits make equal values of different inputs and code."""
    lines = [
        "from pathlib import Path", "from typing import Annotated",
        "from reflow import Param, Result, RunDir, Workflow",
        "ran = []", "wf = Workflow('random')",
    ]  # fmt: skip
    for number, task in enumerate(tasks):
        types = ["Path" if tasks[i].file else "int" for i in task.above]
        parts = [
            f"a{i}: Annotated[{kind}, Result(step='t{i}')]"
            for i, kind in zip(task.above, types, strict=True)
        ]
        parts += ["p: Annotated[int, Param()]"] if task.parameter else []
        parts += ["run_dir: RunDir"] if task.file else []
        terms = [f"int(a{i}.read_text())" if tasks[i].file else f"a{i}" for i in task.above]
        terms += [*(["p"] if task.parameter else []), str(task.add)]
        value = f"min({task.limit}, {' + '.join(terms)})"
        lines += [
            f"@wf.job(version='{task.version}')",
            f"def t{number}({', '.join(parts)}) -> {'Path' if task.file else 'int'}:",
            f"    {'#' * task.comment}",
            f"    ran.append({number})",
        ]
        if task.file:
            lines += [
                f"    (run_dir / 't{number}').write_text(str({value}))",
                f"    return run_dir / 't{number}'",
            ]
        else:
            lines.append(f"    return {value}")
    return "\n".join(lines) + "\n"


def expected(tasks: list[Task], parameter: int) -> tuple[list[int], list[Origin]]:
    """Return the values, and what each depends on."""
    values: list[int] = []
    origins: list[Origin] = []
    for number, task in enumerate(tasks):
        received = tuple(values[i] for i in task.above)
        passed = (parameter,) if task.parameter else ()
        values.append(min(task.limit, sum((*received, *passed, task.add))))
        origins.append(
            Origin(number, task.version, (task.add, task.limit),
                   (*zip(task.above, received), passed))  # noqa: B905
        )  # fmt: skip
    return values, origins


def changed(tasks: list[Task], what: str, number: int, by: int) -> list[Task]:
    place = number % len(tasks)
    if what in ("nothing", "parameter", "touch", "alter", "delete"):
        return tasks
    task = tasks[place]
    new = {"add": task.add + by, "limit": 1 + (task.limit + by) % 9, "comment": task.comment + by,
           "version": task.version + by}[what]  # fmt: skip
    return [*tasks[:place], evolve(task, **{what: new}), *tasks[place + 1 :]]


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    tasks=workflows(),
    changes=st.lists(CHANGES, min_size=1, max_size=5),
    start=st.integers(0, 3),
)
def test_a_task_runs_again_exactly_if_what_made_it_changed(
    tasks: list[Task], changes: list[tuple[str, int, int]], start: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "store")
        computed: set[Origin] = set()
        parameter = start
        files: dict[int, int | None] = {}
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
                    files[number % len(tasks)] = None
            tasks = changed(tasks, what, number, by)
            parameter += by if what == "parameter" else 0
            values, origins = expected(tasks, parameter)
            needs: Mapping[str, Any] = (
                {"p": parameter} if any(task.parameter for task in tasks) else {}
            )
            module = loaded(Path(folder), source(tasks), store)
            plan = module.wf.plan(folder, **needs)
            run = module.wf.run_local(folder, **needs)
            results = [run.result(f"t{n}") for n in range(len(tasks))]
            assert [
                int(result.read_text()) if isinstance(result, Path) else result
                for result in results
            ] == values, source(tasks)
            # A file that an older result names must be what it was then.
            new = [
                origin.task
                for origin in origins
                if origin not in computed
                or (tasks[origin.task].file and files[origin.task] != values[origin.task])
            ]
            files = {n: values[n] for n, task in enumerate(tasks) if task.file}
            assert sorted(module.ran) == new, source(tasks)
            assert plan.misses <= len(new) <= plan.misses + sum(
                task.unknown or 0 for task in plan.tasks
            )
            computed.update(origins)
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
