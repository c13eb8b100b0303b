"""Measure a store with two million instances in it.

    python benchmarks/stores.py [--runs 20] [--elements 100000] [--folder FOLDER] [--url URL]

Runs with records as the engine leaves them are made in FOLDER (a temporary one, unless it is
given; then what is there is used again) and indexed by `reflow store rebuild`'s own code. Then
`reflow runs`, `reflow status` and look-ups are timed, in fresh processes, the best of five. Beside
the time on the clock stands the processor's, and for commands the ratio to a bare ``python -c
pass``: on a busy machine these say more. Last, 10,000 small files are compared with their
fingerprints, one result after the other, beside `os.stat` of each: in turns, the medians.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

from reflow import Result, Workflow
from reflow.caching.output_files import find_damage, take_prints
from reflow.plugins.open_store import open_store
from reflow.runs.submit import prepare
from reflow.states import CACHED, FAILED, SUCCESS
from reflow.storage.clock import Clock
from reflow.storage.events import Finished, Sized, encode
from reflow.storage.indexing import index_anew, records_below
from reflow.storage.journal import JournalReader, take_lease
from reflow.storage.outcome import Outcome
from reflow.storage.process_id import this_process
from reflow.storage.run_directory import RunOptions, RunRecord
from reflow.stores.base import Store

TIMES = 5
LOOKED_UP = 10_000

LOOK_UP = """
import json, resource, sys, time
from hashlib import sha256
from reflow.plugins.open_store import open_store
url, kind, run, elements = json.loads(sys.argv[1])
words = {"hits": "%d.%d", "misses": "none %d.%d"}
identities = [sha256((words[kind] % (run, i)).encode()).hexdigest() for i in range(10_000)]
with open_store(url) as store:
    store.list_runs(limit=1)
    for _ in range(2):
        before, begun = time.process_time(), time.perf_counter()
        hits = store.lookup(identities, newest=True)
        print(time.perf_counter() - begun, time.process_time() - before, len(hits))
"""


def workflow(store: str) -> Workflow:
    wf = Workflow("bench", store=store)

    @wf.job()
    def numbers() -> list[int]:
        return []

    @wf.job(array=True)
    def square(x: Annotated[int, Result(step="numbers")]) -> int:
        return x * x

    return wf


def outcome(run: int, index: int, runs: int) -> Outcome:
    """One element: a thousandth fail, and of the latter half of the runs a third is cached."""
    name = sha256(f"{run}.{index}".encode()).hexdigest()
    times = {"started": 1.75e9 + index, "ended": 1.75e9 + index + 1.5}
    if index % 1000 == 999:
        return Outcome("square", index, 1, FAILED, name, cause="ERROR", detail="Traceback\n" * 20,
                       **times)  # type: ignore[arg-type]  # fmt: skip
    if run >= runs / 2 and index % 3 == 0:
        return Outcome("square", index, 0, CACHED, name, name, str(index), origin="bench-other")
    return Outcome("square", index, 1, SUCCESS, name, name, str(index * index), job="local",
                   **times)  # type: ignore[arg-type]  # fmt: skip


def make_runs(folder: Path, url: str, runs: int, elements: int) -> None:
    wf = workflow(url)
    for number in range(runs):
        record, _ = prepare(
            wf, (__file__, True), wf.store, run_dir=folder / "runs" / str(number), parameters={},
            options=RunOptions(), executor=None,
        )  # fmt: skip
        reader = JournalReader(record.files, record.segments)
        lease, _ = take_lease(record.files, Clock(), reader, this_process())
        lines = [encode(Sized("square", elements))]
        lines += [encode(outcome(number, index, runs)) for index in range(elements)]
        lease.append_encoded(b"".join(lines))
        lease.append(Finished(FAILED, time.time()))
        lease.release()


def timed(command: list[str]) -> tuple[float, float]:
    """Return the seconds on the clock and of the processor, each the best of several."""
    walls, cpus = [], []
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # reads and compiles
    for _ in range(TIMES):
        before, begun = _children(), time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        walls.append(time.perf_counter() - begun)
        cpus.append(_children() - before)
    return min(walls), min(cpus)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def report(what: str, wall: float, cpu: float, more: str = "") -> None:
    """Print a row of the table; times are in seconds."""
    print(f"| {what} | {wall * 1000:.0f} ms | {cpu * 1000:.0f} ms | {more} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--elements", type=int, default=100_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--url")
    parser.add_argument("--keep-index", action="store_true", help="measure no rebuild")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="reflow-bench-") as temporary:
        measure(options, options.folder or Path(temporary))


def measure(options: Any, folder: Path) -> None:
    """Measure and print the table."""
    url = options.url or f"sqlite:///{folder.absolute()}/index.sqlite"
    os.environ["REFLOW_STORE_URL"] = url
    os.environ["XDG_CONFIG_HOME"] = str(folder)
    # An installed reflow is compiled.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if not (folder / "runs").exists():
        folder.mkdir(parents=True, exist_ok=True)
        make_runs(folder, url, options.runs, options.elements)
    total = options.runs * options.elements
    print(f"{total:,} instances in {options.runs} runs; {url.partition(':')[0]}\n")
    print("| what | clock | processor | |\n|---|---|---|---|")
    with open_store(url) as store:
        if not options.keep_index:
            measure_rebuild(store, records_below([folder]), total)
        run_id = store.list_runs()[options.runs // 2].run_id
    measure_commands(run_id)
    for kind in ("hits", "misses"):
        measure_lookup(kind, json.dumps([url, kind, options.runs // 2 - 1, options.elements]))
    measure_files(folder / "files")


def measure_rebuild(store: Store, records: Iterable[RunRecord], total: int) -> None:
    """Measure how long it takes to index all records again."""
    for row in store.list_runs():
        store.drop_run(row.run_id)
    before, begun = time.process_time(), time.perf_counter()
    for record in records:
        index_anew(store, record)
    wall, cpu = time.perf_counter() - begun, time.process_time() - before
    rates = f"{total / wall:,.0f} instances/s, {total / cpu:,.0f}/s of processor"
    report("rebuild", wall, cpu, rates)


def measure_commands(run_id: str) -> None:
    """Measure command lines beside a Python that does nothing."""
    reflow = [sys.executable, "-c", "from reflow.cli import main; main()"]
    bare = timed([sys.executable, "-c", "pass"])
    report("python -c pass", *bare)
    for words in (["--version"], ["runs"], ["runs", "--status", "FAILED"], ["status", run_id]):
        wall, cpu = timed([*reflow, *words])
        report(f"reflow {' '.join(words).replace(run_id, 'RUN')}", wall, cpu,
               f"{wall / bare[0]:.1f} x bare python, {cpu / bare[1]:.1f} x its processor time")


def measure_lookup(kind: str, argument: str) -> None:
    """Measure look-ups that all hit or all miss, the first in a process and another."""
    samples: list[list[tuple[float, float]]] = [[], []]
    for _ in range(TIMES):
        done = subprocess.run([sys.executable, "-c", LOOK_UP, argument], check=True, text=True,
                              capture_output=True)  # fmt: skip
        for which, line in enumerate(done.stdout.splitlines()):
            wall, cpu, hits = line.split()
            samples[which].append((float(wall), float(cpu)))
    for name, times in zip(("first", "again"), samples, strict=True):
        report(f"look-up of {LOOKED_UP:,}: {int(hits):,} hits, {name}", *map(min, *times))


def measure_files(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    paths = [str(folder / f"{number}.txt") for number in range(LOOKED_UP)]
    for path in paths:
        Path(path).write_text(path)
    results = [((path,), take_prints((path,), "auto", print)) for path in paths]
    samples: list[list[float]] = [[], []]
    for _ in range(3 * TIMES):
        begun = time.perf_counter()
        for path in paths:
            os.stat(path)
        half = time.perf_counter()
        whole = not any(find_damage(*result) for result in results)
        samples[0].append(half - begun)
        samples[1].append(time.perf_counter() - half)
        assert whole
    bare, ours = map(statistics.median, samples)
    report(f"os.stat of {LOOKED_UP:,} files", bare, bare)
    report("their fingerprints, compared", ours, ours, f"{ours / bare:.2f} x")


if __name__ == "__main__":
    main()
