"""What all end-to-end tests share: a home of their own, and helpers for modules and processes."""

import importlib.util
import itertools
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from reflow import Run
from reflow.states import DONE
from reflow.storage.journal import JournalReader
from reflow.storage.outcome import Outcome
from reflow.storage.run_directory import FOLDER, RunRecord

from .projects import Project

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the store and the configuration of every test to itself."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Callable[[str], ModuleType]]:
    """Write a module's source to a file and load it under a name of its own."""
    names = []

    def load_source(source: str) -> ModuleType:
        name = f"e2e_{os.getpid()}_{next(_numbers)}"
        path = tmp_path / f"{name}.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        names.append(name)
        spec.loader.exec_module(module)
        return module

    sys.path.insert(0, str(tmp_path))
    yield load_source
    sys.path.remove(str(tmp_path))
    for name in names:
        sys.modules.pop(name, None)


class Watch:
    """Questions that a test asks about a run from outside."""

    @staticmethod
    def record(run: Run) -> RunRecord:
        return RunRecord(f"{run.run_dir}/{FOLDER}/{run.run_id}")

    def outcomes(self, run: Run) -> list[Outcome]:
        record = self.record(run)
        events = JournalReader(record.files, record.segments).read()
        return [event for event in events if isinstance(event, Outcome)]

    def assert_recorded_once(self, run: Run) -> None:
        """Assert that the record has at most one good outcome for each element."""
        counts = Counter(
            (outcome.task, outcome.index) for outcome in self.outcomes(run) if outcome.state in DONE
        )
        assert [key for key, count in counts.items() if count > 1] == []

    def processes(self, run: Run) -> dict[int, str]:
        """Return the command lines of the run's driver, its shell and its workers, by pid."""
        commands = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                # Command lines of other processes need not be valid text.
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                line = words.decode(errors="replace")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if run.run_id in line and state not in "ZX":
                commands[int(entry.name)] = line
        return commands

    @staticmethod
    def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
        """Wait until a condition is true, and return its value."""
        end = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < end, "it did not come about in time"
            time.sleep(0.01)
        return value


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def install(tmp_path: Path) -> Callable[..., Path]:
    """Make a plugin importable, entry point and all, from a folder to put on PYTHONPATH.

    `source` is its one module, which is named after the plugin.
    """
    site = tmp_path / "site"

    def install_source(name: str, source: str) -> Path:
        metadata = site / f"{name}-1.0.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[reflow]\n{name} = {name}\n")
        (site / f"{name}.py").write_text(source)
        return site

    return install_source


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., str]:
    """Run a script in a process of its own, with some folders on PYTHONPATH; return its output."""

    def run_script(source: str, *path: Path, name: str = "script.py", code: int = 0) -> str:
        file = tmp_path / name
        file.write_text(source)
        done = subprocess.run(
            [sys.executable, str(file)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    return run_script


@pytest.fixture(params=["function", "deep"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path, request.param)
    yield project
    project.forget()
