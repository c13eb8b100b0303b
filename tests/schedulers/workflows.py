"""Workflows that run on every scheduler, simulated and real.

Elements leave a letter in a file of their own each time that they run.
"""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def readme() -> str:
    """Return the script that the README begins with."""
    match = re.search(r'^```python title="squares.py"\n(.*?)^```', README.read_text(), re.M | re.S)
    assert match is not None
    return match[1]


def ways(limit: str) -> str:
    """Return a workflow whose elements end in every way, one of them at its time limit.

    It has the variables ODD and LOADED from the executor's settings. Once there is a file
    "mended" in the run directory, all is well.
    """
    return WAYS.replace("LIMIT", limit)


WAYS = """
import os, signal, time
from pathlib import Path
from typing import Annotated
from reflow import Result, RunDir, Workflow

wf = Workflow("ways")

@wf.job()
def ways() -> list[str]:
    return ["fine", "raise", "kill", "exit", "sleep", "well"]

@wf.job(array=True, array_parallelism=4, time="LIMIT")
def go(how: Annotated[str, Result(step="ways")], where: RunDir) -> str:
    with open(where / f"ran-{how}", "a") as file:
        file.write("x")
    if not (where / "mended").exists():
        if how == "raise":
            raise ValueError(how)
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "exit":
            os._exit(3)
        if how == "sleep":
            time.sleep(600)
    return how

@wf.job(array=True)
def then(how: Annotated[str, Result(step="go")], where: RunDir) -> str:
    with open(where / f"ran-then-{how}", "a") as file:
        file.write("x")
    return how.upper()

@wf.job()
def joined(hows: Annotated[list[str], Result(step="then")]) -> str:
    return " ".join(hows)

@wf.job()
def beside() -> str:
    return os.environ["ODD"] + os.environ["LOADED"]

if __name__ == "__main__":
    wf.cli()
"""

SLEEPS = """
import time
from typing import Annotated
from reflow import Result, RunDir, Workflow

wf = Workflow("sleeps")

@wf.job()
def first(where: RunDir) -> list[int]:
    while not (where / "go").exists():
        time.sleep(0.1)
    return [0, 1, 2]

@wf.job(array=True)
def nap(x: Annotated[int, Result(step="first")], where: RunDir) -> int:
    (where / f"began-{x}").touch()
    while not (where / "wake").exists():
        time.sleep(0.1)
    with open(where / f"ran-{x}", "a") as file:
        file.write("x")
    return x

@wf.job()
def last(xs: Annotated[list[int], Result(step="nap")]) -> int:
    return sum(xs)

if __name__ == "__main__":
    wf.cli()
"""
