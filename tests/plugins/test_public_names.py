"""The names of `import reflow`: all exist, and none is imported before it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import reflow
from reflow import errors

HEAVY = ("attrs", "attr", "cattrs", "click", "pluggy", "sqlite3", "inspect", "importlib_metadata")


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def loaded(code: str) -> str:
    return run(f"{code}\nimport sys\nprint([m for m in {HEAVY!r} if m in sys.modules])")


@pytest.mark.parametrize("name", reflow.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(reflow, name) is not None
    assert name in dir(reflow)


def test_all_errors_are_public() -> None:
    names = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.ReflowError)
    }
    assert names <= set(reflow.__all__)


def test_import_reflow_imports_nothing_else() -> None:
    assert run(
        "import sys; before = set(sys.modules); import reflow; "
        "print(sorted(set(sys.modules) - before - {'reflow', '__future__'}))"
    ) == "[]"


def test_definitions_are_light() -> None:
    assert loaded("from reflow import Workflow, Flow, Param, Result, RunDir") == "[]"


def test_star_import_is_safe_without_backends() -> None:
    run("from reflow import *\nWorkflow, load_config, ReflowError")


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Wrokflow'"):
        reflow.Wrokflow  # noqa: B018
    assert not hasattr(reflow, "Nothing")
