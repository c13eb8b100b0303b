"""The example plugins are complete distributions: built, installed, and their own tests pass."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "plugins"
NAMES = {
    # what of the contract does not apply to it
    "reflow-example-npy": (),
    "reflow-example-csvcheck": (),
    "reflow-example-jsonl": ("reserve",),
    "reflow-example-rq": ("arrays", "positions", "elementwise", "throttle", "commands", "calls",
                          "shows", "replaced", "queued", "native", "beyond_limit", "forbid"),
}  # fmt: skip

# Built once, on one worker.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("examples")]


def run(
    *command: object, path: Path | None = None, home: Path, plugins: str | None = None
) -> str:
    words = [sys.executable, "-m", *(str(word) for word in command)]
    environment = {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home / "config")}
    if plugins is not None:
        environment["REFLOW_PLUGINS"] = plugins
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        words, capture_output=True, text=True, env=environment, cwd=home, check=False
    )
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all examples installed, entry points and all, built without a network."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("examples")
    pip = ("pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation")
    run(*pip, "--target", folder / "site", *(EXAMPLES / name for name in NAMES), home=folder)
    return folder / "site"


def test_every_example_is_here() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.is_dir()} == {*NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_example_passes_its_contract(installed: Path, tmp_path: Path, name: str) -> None:
    # Without other plugins: reflow-data takes arrays too.
    output = run(
        "pytest", "-q", "-rs", "-p", "no:cacheprovider", EXAMPLES / name,
        path=installed, home=tmp_path, plugins=name.removeprefix("reflow-example-"),
    )  # fmt: skip
    done = re.search(r"^\d+ passed(?:, (\d+) skipped)? in ", output, re.MULTILINE)
    assert done is not None, output
    # Only features that the example does not promise are skipped.
    reasons = re.findall(r"^SKIPPED \[(\d+)\] .*: not promised: (.*)$", output, re.MULTILINE)
    assert sum(int(count) for count, _ in reasons) == int(done[1] or 0), output
    odd = [why for _, why in reasons if not any(word in why for word in NAMES[name])]
    assert odd == []
