"""What a type checker makes of the public names, with the backends and without."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "reflow-core" / "src"

SCRIPT = """\
from reflow import PBSExecutor, LocalExecutor
from reflow.plugins import lookup

reveal_type(PBSExecutor(qsub="x"))
reveal_type(LocalExecutor())
reveal_type(lookup.serializer_entry_for(int))
reveal_type(lookup.store_class("sqlite"))
"""


@pytest.fixture
def mypy(tmp_path: Path) -> object:
    """Check a script with mypy; return the exit code and what was printed."""
    pytest.importorskip("mypy")

    def check(text: str, *options: str, path: str = "") -> tuple[int, str]:
        (tmp_path / "script.py").write_text(text)
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--strict", "--config-file=", *options, "script.py"],
            cwd=tmp_path, env={"MYPYPATH": path, "PATH": ""},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    return check


@pytest.mark.slow
def test_with_the_backend(mypy) -> None:  # type: ignore[no-untyped-def]
    code, out = mypy(SCRIPT)
    assert (code, [line.partition("type is ")[2] for line in out.splitlines()[:-1]]) == (
        0,
        [
            '"reflow_pbs.executor.PBSExecutor"',
            '"reflow.executors.local.LocalExecutor"',
            '"reflow.plugins.hookspecs.SerializerEntry | None"',
            '"type[reflow.storage.stores.base.Store]"',
        ],
    )
    code, out = mypy("from reflow import PBSExecutor\nPBSExecutor(qusb='x')\n")
    assert code == 1
    assert 'Unexpected keyword argument "qusb"' in out


@pytest.mark.slow
def test_without_the_backend(mypy) -> None:  # type: ignore[no-untyped-def]
    """Hide installed packages, so that no backend exists; reflow's own source is checked."""
    _, out = mypy(SCRIPT, "--no-site-packages", path=str(SOURCE))
    assert 'script.py:4: note: Revealed type is "Any"' in out
    # attrs and others are missing here too; mypy reports nothing about the backends.
    errors = [line for line in out.splitlines() if "error:" in line]
    about = re.compile(r"^script\.py|reflow/__init__\.py|reflow_(slurm|pbs|lsf|sge|flux)\b")
    assert [line for line in errors if about.search(line)] == []
