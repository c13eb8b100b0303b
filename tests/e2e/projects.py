"""A project of two modules that is edited between its runs and notes which tasks ran."""

from __future__ import annotations

import importlib
import os
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

FLOW = """
    from dataclasses import dataclass
    from pathlib import Path
    from typing import Annotated
    from reflow import Param, Result, RunDir, Workflow
    import helpers
    from helpers import SCALE

    wf = Workflow("project")

    def ran(task, *what):
        with open(Path(__file__).parent / "ran", "a") as file:
            print(task, *what, file=file)

    @wf.job()
    def numbers(items: list[int], shift: int = 0) -> list[int]:
        ran("numbers")
        return [number + shift for number in items]

    @wf.job(array=True, code="CODE")
    def each(x: Annotated[int, Result(step="numbers")], times: int = 2) -> int:
        '''What becomes of one.'''
        ran("each", x)
        return helpers.multiplied(x, times) * SCALE

    @wf.job(array=True)
    def after(y: Annotated[int, Result(step="each")]) -> int:
        ran("after", y)
        return y // 10  # so that small changes come out the same

    @wf.job(version="1")
    def total(ys: Annotated[list[int], Result(step="after")], name: str = "a") -> str:
        ran("total")
        return f"{name}{sum(ys)}"

    @wf.job()
    def beside() -> int:
        ran("beside")
        return 1
    """
HELPERS = """
    SCALE = 1

    def multiplied(x, times):
        return plain(x) * times

    def plain(x):
        return x

    def unrelated(x):
        return 0
    """
PARAMETERS: dict[str, Any] = {"items": [10, 20, 30]}
TASKS = ("numbers", "each", "after", "total", "beside")


class Project:
    """The project in a folder; `code` is what counts as the code of its task `each`."""

    def __init__(self, folder: Path, code: str) -> None:
        self.folder, self.code = folder, code
        self.run_dir = folder / "out"
        self._count = 0

    def load(self, *edits: tuple[str, str]) -> ModuleType:
        """Write the modules, with texts replaced, and import them afresh."""
        self.forget()
        self._count += 1
        flow, helpers = textwrap.dedent(FLOW).replace("CODE", self.code), textwrap.dedent(HELPERS)
        for old, new in edits:
            assert (old in flow) + (old in helpers) == 1, old
            flow, helpers = flow.replace(old, new), helpers.replace(old, new)
        for name, text in (("flow.py", flow), ("helpers.py", helpers)):
            (self.folder / name).write_text(text)
            os.utime(self.folder / name, (self._count, self._count))
        importlib.invalidate_caches()
        sys.path.insert(0, str(self.folder))
        written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        try:
            return importlib.import_module("flow")
        finally:
            sys.path.remove(str(self.folder))
            sys.dont_write_bytecode = written

    @staticmethod
    def forget() -> None:
        for name in ("flow", "helpers"):
            sys.modules.pop(name, None)

    def ran(self) -> dict[str, int]:
        """Return how often each task has run since the last time."""
        file = self.folder / "ran"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        names = [line.split()[0] for line in lines]
        return {task: names.count(task) for task in TASKS if task in names}

    def run(self, wf: Any, **parameters: Any) -> tuple[Any, dict[str, int]]:
        """Run everything in this process; return the run, and how often each task ran."""
        self.ran()
        run = wf.run_local(self.run_dir, **parameters)
        return run, self.ran()

    def check_plan(self, plan: Any, counts: Mapping[str, int]) -> None:
        """Assert that the run did what the plan said."""
        for task in plan.tasks:
            done = counts.get(task.name, 0)
            if task.unknown == 0:
                assert task.misses == done, (str(plan), counts)
                assert task.hits + task.misses == task.size
            else:
                assert task.misses <= done, (str(plan), counts)
            assert sum(reason.elements for reason in task.reasons) >= task.misses
