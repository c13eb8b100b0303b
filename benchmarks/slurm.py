"""What reflow costs on Slurm, beside the same work submitted by hand.

Run it where Slurm is, as an ordinary user in a folder that this user may write, with a Python
in which reflow-core and reflow-slurm are installed. Pairs are interleaved, figures
are medians; "spread" is that of the figures by hand, half the range over the median: above
20 % a figure says little. Arguments: how many pairs (5), and which rows (all): chain, tail, fan,
calls, submission, diamond.

slurmctld starts jobs that waited at moments a second apart, and those of its backfill scheduler
lie somewhere between: what takes a hop or two is a matter of where these moments are. `chain`
and `tail` begin at any time in relation to them, in four times as many pairs, and show means.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from math import hypot
from pathlib import Path
from statistics import mean, median, stdev

from schedulers import in_turns, until_file

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5

WORKFLOWS = '''
import time
from typing import Annotated
from reflow import Param, Result, RunDir, Workflow

chain = Workflow("chain")

@chain.job()
def t0(seed: Annotated[int, Param()]) -> int:
    return seed

for number in range(1, 5):
    def step(x: Annotated[int, Result(step=f"t{number - 1}")]) -> int:
        return x + 1
    chain.job(name=f"t{number}")(step)

fan = Workflow("fan")

@fan.job()
def start(n: Annotated[int, Param()], seed: Annotated[int, Param()]) -> list[int]:
    return [seed + k for k in range(n)]

@fan.job(array=True)
def a(x: Annotated[int, Result(step="start")]) -> int:
    return x + 1

@fan.job(array=True)
def b(x: Annotated[int, Result(step="a")]) -> int:
    return x + 1

@fan.job()
def end(xs: Annotated[list[int], Result(step="b")]) -> int:
    return len(xs)

# A list that is made after a while; the scheduler starts jobs once a second.
late = Workflow("late")

@late.job()
def listed(seed: Annotated[int, Param()], n: Annotated[int, Param()],
           delay: Annotated[float, Param()]) -> list[int]:
    time.sleep(delay)
    return [seed + k for k in range(n)]

@late.job(array=True)
def each(x: Annotated[int, Result(step="listed")]) -> int:
    return x

# An array whose size is known at submission: its items are there from another run.
wide = Workflow("wide")
items = Workflow("items")

@items.job()
@wide.job()
def many(n: Annotated[int, Param()], seed: Annotated[int, Param()]) -> list[int]:
    return [seed + k for k in range(n)]

@wide.job(array=True, array_parallelism=1)
def one(x: Annotated[int, Result(step="many")]) -> int:
    return x

diamond = Workflow("diamond")

@diamond.job()
def slow(seed: Annotated[int, Param()]) -> int:
    time.sleep(20)
    return seed

@diamond.job()
def q0(seed: Annotated[int, Param()]) -> int:
    return seed

for number in range(1, 4):
    def quick(x: Annotated[int, Result(step=f"q{number - 1}")]) -> int:
        return x + 1
    diamond.job(name=f"q{number}")(quick)

@diamond.job()
def both(x: Annotated[int, Result(step="slow")], y: Annotated[int, Result(step="q3")]) -> int:
    return x + y
'''


def sbatch(*options: str, command: str = f"{sys.executable} -c pass") -> str:
    """Submit by hand and return the job's id."""
    done = subprocess.run(
        ["sbatch", "--parsable", "--output=/dev/null", *options, "--wrap", command],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def chain_by_hand(folder: Path) -> float:
    """Five jobs, each after the one before; seconds from the first sbatch to the last result."""
    begin = time.time()
    job = sbatch()
    for _ in range(3):
        job = sbatch(f"--dependency=afterany:{job}")
    done = folder / f"done-{begin}"
    sbatch(f"--dependency=afterany:{job}", command=f"{sys.executable} -c pass; touch {done}")
    return until_file(done) - begin


def fan_by_hand(folder: Path, size: int = 200) -> float:
    """A list, two arrays element by element, a gather."""
    begin = time.time()
    first = sbatch()
    second = sbatch(f"--dependency=afterany:{first}", f"--array=0-{size - 1}")
    third = sbatch(f"--dependency=aftercorr:{second}", f"--array=0-{size - 1}")
    done = folder / f"done-{begin}"
    sbatch(f"--dependency=afterany:{third}", command=f"{sys.executable} -c pass; touch {done}")
    return until_file(done) - begin


def tail_by_hand(folder: Path, delay: float) -> float:
    """Seconds from a job's last line, which submits an array, to the array's first element.

    An element is a Python, as everywhere here, and has begun when that runs.
    """
    begin = time.time()
    ended, started = folder / f"ended-{begin}", folder / f"started-{begin}"
    script = folder / f"element-{begin}.py"
    script.write_text(f"open({str(started)!r}, 'a')")
    array = f"--array=0-9 --wrap '{sys.executable} {script}'"
    sbatch(command=f"sleep {delay}; touch {ended}; sbatch --output=/dev/null {array}")
    return until_file(started) - until_file(ended)


def submission_by_hand(size: int, most: int) -> float:
    """Seconds in which jobs of so many elements are submitted, one command after the other."""
    begin = time.time()
    jobs = []
    for start in range(0, size, most):
        jobs.append(sbatch(f"--array=0-{min(most, size - start) - 1}%1"))
    seconds = time.time() - begin
    subprocess.run(["scancel", *jobs], check=True)
    return seconds


def ours(name: str, folder: Path, last: str, **parameters: float) -> dict[str, float]:
    """Run a workflow; return when each task's last element ended, in seconds from submission."""
    import bench_workflows

    workflow = getattr(bench_workflows, name)
    begin = time.time()
    run = workflow.submit(
        folder / f"run-{begin}", executor="slurm", seed=fresh(begin), **parameters
    )
    submitted = time.time() - begin
    while not any(row["task_name"] == last and row["ended_at"] for row in _elements(run)):
        if run.state in ("FAILED", "CANCELLED"):
            run.status(errors=True)
            raise SystemExit(1)
        time.sleep(0.1)
    times: dict[str, float] = {"submit": submitted}
    while run.state not in ("SUCCESS", "FAILED", "CANCELLED"):
        time.sleep(0.1)
    first: dict[str, float] = {}
    for row in _elements(run):
        task = row["task_name"]
        if not row["started_at"]:
            continue
        times[task] = max(times.get(task, 0.0), row["ended_at"] - begin)
        first[task] = min(first.get(task, 1e9), row["started_at"] - begin)
    times.update({f"first {task}": value for task, value in first.items()})
    return times


def fresh(begin: float) -> int:
    """Return a number that no other run's values come near, so that nothing is in the cache."""
    return int(begin * 10) * 100_000


def _elements(run: object) -> list[dict[str, object]]:
    status = run.status(as_dict=True)  # type: ignore[attr-defined]
    return list(status["instances"])


def report(
    what: str,
    by_hand: list[float],
    with_reflow: list[float],
    reach: float,
    average: Callable[[list[float]], float] = median,
) -> None:
    hand, own = average(by_hand), average(with_reflow)
    if average is mean:
        # How far a repetition would be from this.
        margin = f"give or take {ratio_error(by_hand, with_reflow):.2f}, of {len(by_hand)} pairs"
    else:
        margin = f"spread {(max(by_hand) - min(by_hand)) / 2 / hand:.0%}"
    print(f"{what:34} by hand {hand:6.2f} s  reflow {own:6.2f} s  {own / hand:5.2f} x "
          f"(reach {reach} x; {margin})", flush=True)  # fmt: skip


def ratio_error(by_hand: list[float], with_reflow: list[float]) -> float:
    """Return the standard error of a ratio of means, both sides taken as independent."""
    relative = [stdev(side) / mean(side) / len(side) ** 0.5 for side in (by_hand, with_reflow)]
    return mean(with_reflow) / mean(by_hand) * hypot(*relative)


def print_calls(folder: Path, size: int = 1000) -> None:
    """How often the scheduler's commands are called in a fan-out, a chain and a gather."""
    import bench_workflows

    begin = time.time()
    run = bench_workflows.fan.submit(
        folder / f"calls-{begin}", executor="slurm", seed=fresh(begin), n=size
    )
    while run.state not in ("SUCCESS", "FAILED", "CANCELLED"):
        time.sleep(1)
    calls = run.status(as_dict=True)["scheduler_calls"]
    print(f"{f'fan-out {size}, chain, gather':34} {run.state}: {sum(calls.values())} calls of the "
          f"scheduler {calls} (reach 12), {time.time() - begin:.0f} s", flush=True)  # fmt: skip


def print_submission(folder: Path, size: int = 5000) -> None:
    """How long the call takes that submits a large array; what it submits is cancelled."""
    import bench_workflows

    from reflow_slurm.executor import SlurmExecutor

    most = 1001
    executor = SlurmExecutor(max_array_size=most)
    parameters = {"seed": fresh(time.time()), "n": size}
    bench_workflows.items.run_local(folder / f"items-{time.time()}", **parameters)
    # One pair: a usual slurmctld keeps 10,000 jobs, cancelled ones too for a while.
    by_hand = submission_by_hand(size, most)
    begin = time.time()
    run = bench_workflows.wide.submit(folder / f"wide-{begin}", executor=executor, **parameters)
    own = time.time() - begin
    run.cancel()
    print(f"{f'submit call, array of {size}':34} by hand {by_hand:6.2f} s  reflow {own:6.2f} s  "
          f"(reach 0.5 s; in jobs of at most {most})", flush=True)  # fmt: skip


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="reflow-bench-", dir=os.getcwd()))
    (folder / "bench_workflows.py").write_text(WORKFLOWS)
    sys.path.insert(0, str(folder))

    def first_element(delay: float) -> float:
        times = ours("late", folder, "each", n=10, delay=delay)
        return times["first each"] - times["listed"]

    def chain() -> None:
        report("chain of 5, submit to last result",
               *in_turns(4 * ROUNDS, lambda: chain_by_hand(folder),
                         lambda: ours("chain", folder, "t4")["t4"]),
               reach=1.1, average=mean)  # fmt: skip

    def tail() -> None:
        # A scheduler that starts jobs once a second is met at each of its moments alike.
        delays = [count / (4 * ROUNDS) for count in range(4 * ROUNDS)]
        pairs = [(tail_by_hand(folder, delay), first_element(delay)) for delay in delays]
        report("list task's end to first element", *map(list, zip(*pairs, strict=True)),
               reach=1.2, average=mean)  # fmt: skip

    def fan() -> None:
        report("fan-out 200, chain, gather",
               *in_turns(ROUNDS, lambda: fan_by_hand(folder),
                         lambda: ours("fan", folder, "end", n=200)["end"]), reach=1.3)  # fmt: skip

    def diamond() -> None:
        report("four quick tasks, alone and beside",
               *in_turns(ROUNDS, lambda: ours("chain", folder, "t4")["t3"],
                         lambda: ours("diamond", folder, "both")["q3"]), reach=1.0)  # fmt: skip

    rows = {
        "chain": chain, "tail": tail, "fan": fan, "calls": lambda: print_calls(folder),
        "submission": lambda: print_submission(folder), "diamond": diamond,
    }  # fmt: skip
    for name in sys.argv[2:] or rows:
        rows[name]()


if __name__ == "__main__":
    main()
