"""Measure what finding plugins costs, with none and with many of them installed.

    python benchmarks/plugins.py [--rounds 20] [--plugins 100]

Run it with an interpreter that has reflow-core (`make bench-plugins`). One backend, reflow-pbs, and
the many plugins are put on its path from a temporary folder, where they are installed as far as
any search for entry points can tell; one of the many cannot be imported. Every sample is a process
of its own, timed from outside; the rows take turns, so that a busy spell hits them all.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reflow import __version__

ROOT = Path(__file__).resolve().parents[1]
DUMMY = """
from reflow.hookspecs import ExecutorEntry, hookimpl

@hookimpl
def reflow_register_executors():
    return [ExecutorEntry(name="dummy-{0}", target="reflow.executors.local:LocalExecutor")]
"""
IMPORTED = "from reflow_pbs.executor import PBSExecutor"
RESOLVED = "from reflow.plugins.lookup import executor_class; executor_class('pbs')"


@dataclass
class Row:
    """A command, and what its processes took: milliseconds of wall and of CPU time."""

    name: str
    command: Sequence[str]
    folder: Path | None = None
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def sample(self, home: Path) -> None:
        """Run the command once."""
        environment = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
        environment |= dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"), str(home))
        if self.folder is not None:
            environment["PYTHONPATH"] = str(self.folder)
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(self.command, env=environment, capture_output=True, check=False)
        self.wall.append(1000 * (time.perf_counter() - start))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        self.cpu.append(1000 * used)
        if done.returncode:
            sys.exit(f"{self.name}: exit code {done.returncode}\n{done.stderr.decode()}")


def install(folder: Path, name: str, module: str, source: str | None, key: str) -> None:
    """Put a distribution with one plugin into a folder; `source` None links the checkout's."""
    if source is None:
        (folder / module).symlink_to(ROOT / name / "src" / module)
        value = f"{module}.plugin"
    else:
        (folder / f"{module}.py").write_text(source)
        value = module
    info = folder / f"{name.replace('-', '_')}-{__version__}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {__version__}\n"
        f"Requires-Dist: reflow-core=={__version__}\n"
    )
    (info / "entry_points.txt").write_text(f"[reflow]\n{key} = {value}\n")


def install_all(folder: Path, dummies: int) -> None:
    """Make a folder with the backend in it and so many plugins, of which the first is broken."""
    folder.mkdir()
    install(folder, "reflow-pbs", "reflow_pbs", None, "pbs")
    for number in range(dummies):
        source = "import a_module_that_is_not_there\n" if number == 0 else DUMMY.format(number)
        install(folder, f"dummy-{number}", f"dummy_{number}", source, f"dummy-{number}")


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--plugins", type=int, default=100)
    options = parser.parse_args()
    python, command = sys.executable, str(Path(sys.executable).parent / "reflow")
    with tempfile.TemporaryDirectory() as scratch:
        home, few, many = (Path(scratch) / name for name in ("home", "few", "many"))
        home.mkdir()
        install_all(few, 0)
        install_all(many, options.plugins)
        bare = Row("python -c pass", [python, "-c", "pass"])
        click = Row("python -c 'import click'", [python, "-c", "import click"])
        help_few = Row("reflow --help, 1 plugin", [command, "--help"], few)
        help_many = Row(f"reflow --help, {options.plugins + 1} plugins", [command, "--help"], many)
        imported = Row("import the backend's executor", [python, "-c", IMPORTED], few)
        by_name = Row("find it by name, 1 plugin", [python, "-c", RESOLVED], few)
        by_name_many = Row(
            f"find it by name, {options.plugins + 1} plugins", [python, "-c", RESOLVED], many
        )
        rows = [bare, click, help_few, help_many, imported, by_name, by_name_many]
        for row in rows:
            row.sample(home)  # bytecode is written, files are in memory
            row.wall.clear()
            row.cpu.clear()
        for row in rows * options.rounds:
            row.sample(home)
    print(f"whole processes, {options.rounds} rounds, ms\n")
    print("| what | wall: median | least | most | CPU: median |\n|---|---:|---:|---:|---:|")
    for row in rows:
        wall, cpu = statistics.median(row.wall), statistics.median(row.cpu)
        cells = (wall, min(row.wall), max(row.wall), cpu)
        print("|".join(["", f" {row.name} ", *(f" {cell:.0f} " for cell in cells), ""]))
    print(f"\nreflow --help over import click: {ratio(help_few, click)}")
    print(f"by name over importing it: {difference(by_name, imported)}")
    print(
        f"{options.plugins} more plugins, one of them broken: "
        f"--help {difference(help_many, help_few)}; by name {difference(by_name_many, by_name)}"
    )


def ratio(row: Row, base: Row) -> str:
    """Return how many times the median of `base` the median of `row` is."""
    wall = statistics.median(row.wall) / statistics.median(base.wall)
    return f"{wall:.2f} times (wall)"


def difference(row: Row, base: Row) -> str:
    """Return by how much the medians of `row` are above those of `base`."""
    wall = statistics.median(row.wall) - statistics.median(base.wall)
    cpu = statistics.median(row.cpu) - statistics.median(base.cpu)
    return f"{wall:+.1f} ms wall, {cpu:+.1f} ms CPU"


if __name__ == "__main__":
    main()
