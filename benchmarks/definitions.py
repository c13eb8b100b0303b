"""What a user's script costs before it runs anything: the four names and five tasks."""

from typing import Annotated

from reflow import Param, Result, RunDir, Workflow

wf = Workflow("bench_definitions")


@wf.job()
def names(prefix: Annotated[str, Param(help="start of every name")] = "n") -> list[str]:
    return [prefix]


@wf.job(array=True, cpus=2, time="00:10:00", mem="2G")
def prepare(name: Annotated[str, Result(step="names")], run_dir: RunDir) -> str:
    return f"{run_dir}/{name}"


@wf.job(array=True)
def measure(path: Annotated[str, Result(step="prepare")]) -> float:
    return float(len(path))


@wf.job()
def total(values: Annotated[list[float], Result(step="measure")]) -> float:
    return sum(values)


@wf.job(after=["total"])
def report(value: Annotated[float, Result(step="total")]) -> str:
    return f"{value:.1f}"
