"""A newcomer's plugin, made from a how-to page alone, passes its contract."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = {"serializer": "npy", "verifier": "csvcheck", "store": "jsonl", "backend": "rq"}
FENCE = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.slow


def files(kind: str) -> dict[str, str]:
    """Return the files of a page; blocks of one title make one file, in the order of the page."""
    parts_by_file: dict[str, list[str]] = {}
    for path, text in FENCE.findall((ROOT / f"docs/how-to/write-a-{kind}.md").read_text()):
        parts_by_file.setdefault(path, []).append(text.rstrip("\n"))
    # Two empty lines between the parts of a module, one between the methods of its class.
    return {
        path: "".join(
            f"{text}\n" if last else f"{text}\n\n" + "\n" * (not parts[number + 1].startswith(" "))
            for number, text in enumerate(parts)
            for last in [number == len(parts) - 1]
        )
        for path, parts in parts_by_file.items()
    }


def run(*command: object, cwd: Path, **environment: str) -> str:
    words = [sys.executable, "-m", *map(str, command)]
    done = subprocess.run(
        words, capture_output=True, text=True, cwd=cwd, env={**os.environ, **environment},
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("kind", PAGES)
def test_plugin_of_the_page_passes_the_contract(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    project, site = tmp_path / "project", tmp_path / "site"
    for path, text in files(kind).items():
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(text)
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    run(
        "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation",
        "--target", site, project, cwd=tmp_path, **home,
    )  # fmt: skip
    output = run(
        "pytest", "-q", "-p", "no:cacheprovider", cwd=project, PYTHONPATH=str(site),
        REFLOW_PLUGINS=PAGES[kind], **home,  # without other plugins: reflow-data takes arrays too
    )  # fmt: skip
    # For kinds with optional parts the contract says which of them are not promised.
    skipped = r"(, \d+ skipped)?" if kind in ("backend", "store") else ""
    assert re.search(rf"^\d+ passed{skipped} in ", output, re.MULTILINE), output


@pytest.mark.parametrize(("kind", "name"), PAGES.items())
def test_the_page_shows_the_example(kind: str, name: str) -> None:
    folder = ROOT / "examples" / "plugins" / f"reflow-example-{name}"
    shown = files(kind)
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}
    assert shown.keys() == there | {"pyproject.toml", "README.md"}
    for path in there | {"pyproject.toml"}:
        assert shown[path] == (folder / path).read_text(), path
