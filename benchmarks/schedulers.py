"""What reflow costs on any scheduler, beside the same jobs in that scheduler's own language.

Run it where the scheduler is, as an ordinary user in a folder that this user may write, with a
Python in which reflow-core and the scheduler's distribution are installed. Arguments: how many
pairs, and which schedulers (slurm, sge, pbs, lsf, flux); ``REFLOW_LIVE_PBS_PATH`` and so on
lead to their commands, as for the live tests. Pairs are interleaved, figures are medians; "spread"
is that of the figures by hand, half the range over the median: above 20 % a figure says little.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeVar

SLOW = 12
"""Seconds that the slow branch of the diamond takes."""

WORKFLOWS = f'''
import time
from typing import Annotated
from reflow import Param, Result, Workflow

chain = Workflow("chain")
diamond = Workflow("diamond")

@diamond.job()
@chain.job()
def t0(seed: Annotated[int, Param()]) -> int:
    return seed

for number in range(1, 5):
    def step(x: Annotated[int, Result(step=f"t{{number - 1}}")]) -> int:
        return x + 1
    chain.job(name=f"t{{number}}")(step)
    if number < 4:
        diamond.job(name=f"t{{number}}")(step)

@diamond.job()
def slow(seed: Annotated[int, Param()]) -> int:
    time.sleep({SLOW})
    return seed

@diamond.job()
def both(x: Annotated[int, Result(step="slow")], y: Annotated[int, Result(step="t3")]) -> int:
    return x + y
'''

Submit = Callable[[str, Sequence[str]], str]
Figure = TypeVar("Figure")


def _call(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def slurm(command: str, after: Sequence[str]) -> str:
    waits = [f"--dependency=afterany:{':'.join(after)}"] if after else []
    return _call("sbatch", "--parsable", "--output=/dev/null", *waits, "--wrap", command)


def pbs(command: str, after: Sequence[str]) -> str:
    waits = ["-W", f"depend=afterany:{':'.join(after)}"] if after else []
    return _call("qsub", "-o", "/dev/null", "-j", "oe", *waits, "--", "/bin/sh", "-c", command)


def sge(command: str, after: Sequence[str]) -> str:
    waits = ["-hold_jid", ",".join(after)] if after else []
    return _call("qsub", "-terse", "-b", "y", "-shell", "n", "-o", "/dev/null", "-j", "y", *waits,
                 "/bin/sh", "-c", command)  # fmt: skip


def lsf(command: str, after: Sequence[str]) -> str:
    waits = ["-w", " && ".join(f"ended({job})" for job in after)] if after else []
    answer = _call("bsub", "-o", "/dev/null", *waits, command)
    job = re.search("<([0-9]+)>", answer)
    assert job is not None, answer
    return job[1]


def flux(command: str, after: Sequence[str]) -> str:
    waits = [f"--dependency=afterany:{job}" for job in after]
    return _call("flux", "submit", "-n1", "-c1", "--output=/dev/null", *waits, "sh", "-c", command)


LANGUAGES: dict[str, Submit] = {"slurm": slurm, "sge": sge, "pbs": pbs, "lsf": lsf, "flux": flux}


def until_file(path: Path, seconds: float = 300) -> float:
    """Wait for a file and return when it was made."""
    end = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError(path)
        time.sleep(0.01)
    return path.stat().st_mtime


class ByHand:
    """The same jobs, submitted with the scheduler's own command."""

    def __init__(self, submit: Submit, folder: Path) -> None:
        self._submit, self._folder = submit, folder
        self._begin = time.time()
        self._last: dict[str, Path] = {}

    def job(self, name: str, after: Sequence[str] = (), *, seconds: int = 0) -> str:
        done = self._folder / f"{name}-{self._begin}"
        self._last[name] = done
        work = f"sleep {seconds}" if seconds else f"{sys.executable} -c pass"
        return self._submit(f"{work}; touch {done}", after)

    def ended(self, name: str) -> float:
        """Return when a job ended, in seconds from the first submission."""
        return until_file(self._last[name]) - self._begin


def chain_by_hand(submit: Submit, folder: Path) -> dict[str, float]:
    """Five jobs, each after the one before."""
    jobs = ByHand(submit, folder)
    before: tuple[str, ...] = ()
    for number in range(5):
        before = (jobs.job(f"t{number}", before),)
    return {"t4": jobs.ended("t4")}


def diamond_by_hand(submit: Submit, folder: Path) -> dict[str, float]:
    """Four quick jobs, one after the other, beside a slow one, and one behind both."""
    jobs = ByHand(submit, folder)
    first = jobs.job("slow", seconds=SLOW)
    before: tuple[str, ...] = ()
    for number in range(4):
        before = (jobs.job(f"t{number}", before),)
    jobs.job("both", (first, *before))
    return {"t3": jobs.ended("t3"), "both": jobs.ended("both")}


def ours(scheduler: str, name: str, folder: Path) -> dict[str, float]:
    """Run a workflow; return when each task ended, in seconds from submission."""
    import bench_workflows

    begin = time.time()
    workflow = getattr(bench_workflows, name)
    # A number that no other run's values come near, so that nothing is in the cache.
    seed = int(begin * 10) * 100_000
    run = workflow.submit(folder / f"run-{begin}", executor=scheduler, seed=seed)
    while run.state not in ("SUCCESS", "FAILED", "CANCELLED"):
        time.sleep(0.2)
    if run.state != "SUCCESS":
        run.status(errors=True)
        raise SystemExit(1)
    elements = run.status(as_dict=True)["instances"]
    return {element["task_name"]: element["ended_at"] - begin for element in elements}


def in_turns(
    rounds: int, *sides: Callable[[], Figure]
) -> tuple[list[Figure], ...]:
    """Measure each side `rounds` times, in turns; return the figures of each.

    Many schedulers start jobs at fixed moments: no side may profit from knowing them.
    """
    results: tuple[list[Figure], ...] = tuple([] for _ in sides)
    for _ in range(rounds):
        for figures, measure in zip(results, sides, strict=True):
            time.sleep(random.uniform(1, 3))
            figures.append(measure())
    return results


def report(what: str, hops: int, by_hand: list[float], with_reflow: list[float]) -> None:
    hand, own = median(by_hand), median(with_reflow)
    spread = (max(by_hand) - min(by_hand)) / 2 / hand
    print(f"{what:38} by hand {hand:6.2f} s  reflow {own:6.2f} s  {own / hand:5.2f} x  "
          f"{(own - hand) / hops:+.2f} s a hop  (reach 1.2 x; spread {spread:.0%})",
          flush=True)  # fmt: skip


def measure(scheduler: str, rounds: int, folder: Path) -> None:
    submit = LANGUAGES[scheduler]
    rows = (
        ("chain", chain_by_hand, (("t4", "chain of 5", 5),)),
        ("diamond", diamond_by_hand,
         (("t3", "diamond, end of the quick branch", 4), ("both", "diamond, all of it", 2))),
    )  # fmt: skip
    for name, by_hand, figures in rows:
        sides = partial(by_hand, submit, folder), partial(ours, scheduler, name, folder)
        results = in_turns(rounds, *sides)
        for task, what, hops in figures:
            times = ([figure[task] for figure in side] for side in results)
            report(f"{scheduler}: {what}", hops, *times)


def main() -> None:
    rounds = int(sys.argv[1])
    folder = Path(tempfile.mkdtemp(prefix="reflow-bench-", dir=os.getcwd()))
    (folder / "bench_workflows.py").write_text(WORKFLOWS)
    sys.path.insert(0, str(folder))
    path = os.environ["PATH"]
    for scheduler in sys.argv[2:]:
        first = os.environ.get(f"REFLOW_LIVE_{scheduler.upper()}_PATH", "")
        os.environ["PATH"] = os.pathsep.join(filter(None, [first, path]))
        measure(scheduler, rounds, folder)


if __name__ == "__main__":
    main()
