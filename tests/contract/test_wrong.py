"""The suites catch implementations with one mistake each, by the case that is named there."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "wrong"
SUITES = ("serializers", "verifiers", "stores", "executors", "commandexecutors")


def expected(suite: str) -> dict[str, str]:
    """Return by class of the file the case that must fail, of several samples perhaps one."""
    cases: dict[str, str] = {}
    for node in ast.parse((FOLDER / f"{suite}.py").read_text()).body:
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            for line in node.body:
                if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "case":
                    cases[node.name] = ast.literal_eval(line.value)
    return cases


@pytest.mark.slow
@pytest.mark.parametrize("suite", SUITES)
def test_each_mistake_is_caught(suite: str, tmp_path: Path) -> None:
    cases = expected(suite)
    assert len(cases) >= 4
    file, report = FOLDER / f"{suite}.py", tmp_path / "report.xml"
    # The case of each wrong class, and the same cases of the right one.
    tests = {f"{name}::{case}" for name, case in cases.items()}
    tests |= {f"TestRight::{case}" for case in cases.values()}
    # Where CI is set, Hypothesis tries the same few examples each time.
    # Real schedulers are not used here.
    environment = {
        name: value
        for name, value in os.environ.items()
        if name != "CI" and not name.startswith("REFLOW_LIVE")
    }
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "--rootdir", FOLDER, "-c", os.devnull,
            "-p", "no:cacheprovider", "--import-mode=importlib", "--tb=short",
            f"--junitxml={report}", *(f"{file}::{test}" for test in sorted(tests)),
        ],
        capture_output=True, text=True, cwd=tmp_path, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    failed: dict[str, set[str]] = defaultdict(set)
    right: set[str] = set()
    for result in ElementTree.parse(report).iter("testcase"):
        name, case = result.attrib["classname"].split(".")[-1], result.attrib["name"].split("[")[0]
        if name == "TestRight":
            assert result.find("failure") is None, f"the right one fails {case}\n{done.stdout}"
            assert result.find("error") is None
            right.add(case)
        elif result.find("failure") is not None or result.find("error") is not None:
            failed[name].add(case)
    cases = {name: case.split("[")[0] for name, case in cases.items()}
    assert failed == {name: {case} for name, case in cases.items()}, done.stdout
    assert right == {*cases.values()}
