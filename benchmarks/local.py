"""Measure reflow on one machine, beside reflow-hpc on the same work.

    python benchmarks/local.py OURS PEER [--rounds 5] [--only WORD] [--json FILE]

OURS and PEER are interpreters: one with reflow-core, one with reflow-hpc (both own the import name
`reflow`). Without PEER only reflow is measured. See README.md for what the rows mean.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
# A script that only registers tasks has no use for these.
UNWANTED = ("attrs", "cattrs", "click", "pluggy", "sqlite3")
LIMIT_SECONDS = 600


# What a submission and a dispatch pass leave for the workers of one job, whose command it prints.
PREPARE_QUEUED = """
import os, sys
from pathlib import Path
from reflow.storage.claims import JobHeader, make_folders, write_job
from reflow.storage.filesystem import Files
from reflow.storage.run_directory import job_command
from reflow.model.entrypoint import keep_code

home, here = sys.argv[1:]
for folder in ("jobs", "epochs"):
    os.makedirs(f"{home}/{folder}")
make_folders(Files(), home, "measure")
entry = {
    "kind": "file", "target": f"{here}/definitions.py", "workflow": "bench_definitions",
    "directory": home, "search_path": [], "arguments": [],
}
header = JobHeader(
    task="measure", epoch=0, entrypoint=entry,
    identity={"name": "measure", "version": "1", "code": "", "serializer": "", "constants": []},
    order=[("path", True)], editable=True, on_code_change="run", files="auto", serializers=[],
    check=None, common={},
)
places = [(index, 1, "0" * 64, {"path": f'"p{index}"'}) for index in range(10_000)]
write_job(Files(), f"{home}/jobs", "bench.1.w", header, places)
script = Path(here, "definitions.py")
keep_code(Files().write, script.read_bytes(), str(script), home)
print(job_command(sys.executable))
"""


class MeasurementError(Exception):
    """A process of a measurement failed; the text is the end of what it said."""


@dataclass(frozen=True)
class Usage:
    """What a finished process printed, and the CPU time it took."""

    output: str
    cpu_seconds: float


@dataclass
class Row:
    """One line of the table.

    `reach` bounds the ratio of medians where `relative`, else the median of ours, in `unit`.
    """

    name: str
    unit: str
    reach: float
    relative: bool = True
    scale: float = 1.0
    ours: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)
    note: str = ""

    def value(self) -> float | None:
        """Return what `reach` bounds; None while something was not measured."""
        if not self.ours or (self.relative and not self.peer):
            return None
        ours = statistics.median(self.ours)
        return ours / statistics.median(self.peer) if self.relative else ours * self.scale

    def verdict(self) -> str:
        value = self.value()
        if self.note or value is None:
            return self.note or "not measured"
        return "ok" if value <= self.reach else "short"


class Bench:
    """Runs the measurements under both interpreters, in turn."""

    def __init__(self, ours: str, peer: str | None, rounds: int, scratch: Path) -> None:
        self.interpreters = {"ours": ours} | ({"peer": peer} if peer else {})
        self.rounds = rounds
        self.scratch = scratch

    def elements(self, count: int) -> list[Row]:
        """An array of no-op elements: fresh, all cached, and its status; µs per element."""
        fresh = Row(f"run_local, array of {count:,}, per element", "µs", 0.15, scale=1e6)
        cached = Row("  the same, all cached", "µs", 0.07, scale=1e6)
        as_dict = Row(f"status(as_dict=True) of {count:,} instances", "ms", 0.5, scale=1e3)
        as_text = Row("  status() as text", "ms", 0.5, scale=1e3)
        rows = [fresh, cached, as_dict, as_text]
        for who, python in self.turns(rows):
            with self.home() as home:
                first = self.work(python, home, "array", home / "first", str(count))
                collect(fresh, who, number(first, "seconds") / count)
                second = self.work(python, home, "array", home / "second", str(count))
                collect(cached, who, number(second, "seconds") / count)
                if second["states"] == first["states"] and who == "ours":
                    cached.note = f"not cached: {second['states']}"
                run_id = str(first["run_id"])
                answer = self.work(python, home, "status", home / "first", run_id)
                collect(as_dict, who, number(answer, "seconds"))
                answer = self.work(python, home, "status-text", home / "first", run_id)
                collect(as_text, who, number(answer, "seconds"))
        return rows

    def chain(self, count: int) -> list[Row]:
        """A chain of single tasks; µs per task."""
        row = Row(f"run_local, chain of {count:,} tasks, per task", "µs", 0.6, scale=1e6)
        for who, python in self.turns([row]):
            with self.home() as home:
                # Before the process that imports it starts, as a user's script is.
                (home / "chain_of_tasks.py").write_text(chain_source(count), encoding="utf-8")
                answer = self.work(python, home, "chain", home / "run", str(count))
                collect(row, who, number(answer, "seconds") / count)
        return [row]

    def many(self, count: int) -> list[Row]:
        """A large array, ours only: seconds and peak memory of the whole run."""
        fresh = Row(f"run_local, array of {count:,}", "s", 7.0, relative=False)
        cached = Row("  the same, all cached", "s", 2.5, relative=False)
        memory = Row("  peak memory, the larger of the two", "MB", 250.0, False, scale=1e-6)
        rows = [fresh, cached, memory]
        for who, python in self.turns(rows, only="ours"):
            with self.home() as home:
                first = self.work(python, home, "array", home / "first", str(count))
                second = self.work(python, home, "array", home / "second", str(count))
                collect(fresh, who, number(first, "seconds"))
                collect(cached, who, number(second, "seconds"))
                peaks = [number(answer, "peak_bytes") for answer in (first, second)]
                collect(memory, who, max(peaks))
        return rows

    def definitions(self) -> list[Row]:
        """CPU time of importing the public names and registering five tasks, over bare python."""
        row = Row("import and register five tasks, CPU", "ms", 35.0, relative=False, scale=1e3)
        script = str(HERE / "definitions.py")
        for who, python in self.turns([row], rounds=4 * self.rounds, only="ours"):
            with self.home() as home:
                bare = self.call([python, "-c", "pass"], home).cpu_seconds
                collect(row, who, self.call([python, script], home).cpu_seconds - bare)
        check = (
            "import runpy, sys; "
            f"runpy.run_path({script!r}); "
            f"print(*[name for name in {UNWANTED!r} if name in sys.modules])"
        )
        with self.home() as home:
            imported = self.call([self.interpreters["ours"], "-c", check], home).output.split()
        if imported:
            row.note = f"imports {', '.join(imported)}"
        return [row]

    def worker(self) -> list[Row]:
        """CPU time of a worker's start, over the user's own imports."""
        row = Row("a worker's start, CPU over own imports", "ms", 25.0, relative=False, scale=1e3)
        for who, python in self.turns([row], rounds=4 * self.rounds, only="ours"):
            with self.home() as home:
                command = queued_worker(python, home)
                if command is None:
                    row.note = "no command yet"
                    break
                own = [python, "-c", "import typing; from typing import Annotated"]
                bare = self.call(own, home).cpu_seconds
                collect(row, who, self.call(command, home).cpu_seconds - bare)
                for outcome in (home / "outcomes" / "measure").iterdir():
                    if '"SUCCESS"' not in outcome.read_text(encoding="utf-8"):
                        row.note = "the worker failed"
        return [row]

    def turns(
        self, rows: Sequence[Row], rounds: int = 0, only: str = ""
    ) -> Iterator[tuple[str, str]]:
        """Alternate between the interpreters, so that a busy spell hits both."""
        for turn in range(rounds or self.rounds):
            for who, python in self.interpreters.items():
                if not only or who == only:
                    progress = f"{rows[0].name}: round {turn + 1}, {who}"
                    print(f"\r\033[K{progress}", end="", file=sys.stderr, flush=True)
                    yield who, python
        print("\r\033[K", end="", file=sys.stderr, flush=True)

    @contextmanager
    def home(self) -> Iterator[Path]:
        """A fresh home: no store, no configuration, no runs."""
        path = Path(tempfile.mkdtemp(dir=self.scratch))
        try:
            yield path
        finally:
            shutil.rmtree(path)

    def work(
        self, python: str, home: Path, what: str, run_dir: Path, argument: str
    ) -> dict[str, object]:
        command = [python, str(HERE / "workload.py"), what, str(run_dir), argument]
        used = self.call(command, home)
        answer: dict[str, object] = json.loads(used.output.splitlines()[-1])
        return answer

    def call(self, command: Sequence[str], home: Path) -> Usage:
        """Run a process to its end, with all it keeps between runs under `home`."""
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("REFLOW_", "PYTHON"))
        }
        # Bytecode is kept, as it is for users, but not in the checkout.
        environment["PYTHONPYCACHEPREFIX"] = str(self.scratch / "bytecode")
        environment["HOME"] = str(home)
        for kind in ("STATE", "CACHE", "CONFIG", "DATA"):
            environment[f"XDG_{kind}_HOME"] = str(home / kind.lower())
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                command, env=environment, cwd=home, stdout=output, stderr=errors
            )
            # wait4 tells this child's usage from that of all the others.
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            for stream in (output, errors):
                stream.seek(0)
            text, complaint = output.read().decode(), errors.read().decode().strip()
        if process.returncode:
            last = (complaint or text or "no message").splitlines()[-1]
            raise MeasurementError(f"exit {process.returncode}: {last}")
        return Usage(text, usage.ru_utime + usage.ru_stime)


def chain_source(count: int) -> str:
    """Return a module of `count` tasks, each of which takes what the one before returns."""
    parts = [
        "from typing import Annotated",
        "from reflow import Param, Result, Workflow",
        'wf = Workflow("bench_chain")',
        "@wf.job()",
        'def task_0(start: Annotated[int, Param(help="first value")]) -> int:',
        "    return start",
    ]
    for number in range(1, count):
        parts += [
            "@wf.job()",
            f'def task_{number}(value: Annotated[int, Result(step="task_{number - 1}")]) -> int:',
            "    return value + 1",
        ]
    return "\n".join(parts) + "\n"


def queued_worker(python: str, home: Path) -> list[str] | None:
    """Prepare one queued element under `home`; return the command a scheduler's job would run.

    The element is one of an array of 10,000. The preparation is not measured; the command is run
    once, with `home` as its home and working directory.
    """
    prepared = subprocess.run(
        [python, "-c", PREPARE_QUEUED, str(home), str(HERE)],
        stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if prepared.returncode != 0:
        return None
    return [*shlex.split(prepared.stdout), "work", str(home), "bench.1.w", "4711"]


def collect(row: Row, who: str, value: float) -> None:
    (row.ours if who == "ours" else row.peer).append(value)


def number(answer: dict[str, object], name: str) -> float:
    value = answer[name]
    assert isinstance(value, int | float)
    return float(value)


def print_table(rows: Sequence[Row]) -> None:
    head = f"{'':<46} {'reflow':>22} {'reflow-hpc':>24} {'ratio':>7} {'reach':>9}"
    print(f"{head}\n{'-' * len(head)}")
    for row in rows:
        value = row.value()
        ratio = f"{value:.3f}" if row.relative and value is not None else ""
        reach = f"{row.reach:g} x" if row.relative else f"{row.reach:g} {row.unit}"
        print(
            f"{row.name:<46} {spread(row, row.ours):>22} {spread(row, row.peer):>24}"
            f" {ratio:>7} {reach:>9}  {row.verdict()}"
        )
    print("\nMedian (least-most) of the rounds; ratio: reflow's median over reflow-hpc's.")


def spread(row: Row, values: Sequence[float]) -> str:
    if not values:
        return "-"
    middle, least, most = (
        f"{value * row.scale:.3g}" if value * row.scale < 1000 else f"{value * row.scale:.0f}"
        for value in (statistics.median(values), min(values), max(values))
    )
    return f"{middle} {row.unit} ({least}-{most})"


def write_json(rows: Sequence[Row], target: str) -> None:
    """Write all samples, in seconds or bytes, with the verdicts."""
    text = json.dumps(
        [asdict(row) | {"value": row.value(), "verdict": row.verdict()} for row in rows], indent=1
    )
    if target == "-":
        print(text)
    else:
        Path(target).write_text(text + "\n", encoding="utf-8")


def main() -> int:
    """Measure, print the table; return 1 where something could not be measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("ours", type=os.path.abspath, help="interpreter with reflow-core")
    parser.add_argument("peer", nargs="?", type=os.path.abspath, help="interpreter with reflow-hpc")
    parser.add_argument("--rounds", type=int, default=5, help="rounds per measurement (5)")
    parser.add_argument("--only", default="", help="measurements whose name holds this word")
    parser.add_argument("--json", metavar="FILE", help="write all samples as JSON; - is stdout")
    parser.add_argument("--scratch", type=Path, help="folder for stores and run directories")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")

    with tempfile.TemporaryDirectory(prefix="reflow-bench-", dir=options.scratch) as scratch:
        bench = Bench(options.ours, options.peer, options.rounds, Path(scratch))
        measurements: dict[str, Callable[[], list[Row]]] = {
            "elements": lambda: bench.elements(10_000),
            "chain": lambda: bench.chain(1_000),
            "many": lambda: bench.many(100_000),
            "worker": bench.worker,
            "definitions": bench.definitions,
        }
        rows: list[Row] = []
        failed = False
        for name, measure in measurements.items():
            if options.only not in name:
                continue
            try:
                rows += measure()
            except MeasurementError as error:
                failed = True
                print(f"\r\033[K{name}: {error}", file=sys.stderr)
    if options.json != "-":
        print_table(rows)
    if options.json:
        write_json(rows, options.json)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
