"""Other processes for the contract suites: fresh ones, and several at once."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

SECONDS = 120.0
"""After this long a process hangs, whatever the machine."""


def run_fresh(code: str, *arguments: object) -> str:
    """Run code in a fresh Python that finds the modules of this one; return what it printed.

    The code has `arguments`, JSON-able values, as the list of that name. Raises
    `AssertionError` with the process's errors when it fails.
    """
    return finish(start_fresh(code, *arguments))


def start_fresh(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start what `run_fresh` runs."""
    path = os.pathsep.join(os.path.abspath(folder) for folder in sys.path)
    return subprocess.Popen(
        [sys.executable, "-c", f"import json, sys\narguments = json.loads(sys.argv[1])\n{code}",
         json.dumps(arguments)],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a process of `start_fresh` and return what it printed."""
    try:
        printed, errors = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise AssertionError(f"a fresh process hung for {SECONDS:g} s") from None
    assert process.returncode == 0, f"a fresh process failed:\n{errors}"
    return printed


def reference(cls: type) -> list[str]:
    """Return what `referenced` finds the class by in a fresh process, JSON-able."""
    return [cls.__module__, cls.__qualname__, inspect.getfile(cls)]


def referenced(where: Sequence[str]) -> type:
    """Return the class that `reference` described, of a module or of a file such as a test's."""
    name, qualified, file = where
    attribute: object = _module(name, file)
    for part in qualified.split("."):
        attribute = getattr(attribute, part)
    assert isinstance(attribute, type)
    return attribute


def _module(name: str, file: str) -> ModuleType:
    try:
        module = importlib.import_module(name)
    except ImportError:
        pass
    else:
        if Path(module.__file__ or "").resolve() == Path(file).resolve():
            return module
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
