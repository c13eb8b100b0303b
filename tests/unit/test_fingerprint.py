from __future__ import annotations

import importlib.util
import itertools
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from reflow.caching import code_fingerprint as fingerprinting
from reflow.caching.code_fingerprint import fingerprint

HEAD = """
from typing import Annotated
from reflow.model.annotations import Param, Result
from reflow.model.flow import Flow
flow = Flow("f")
"""
BASE = """
@flow.job()
def task(x: Annotated[int, Param(help="a")] = 1) -> list[int]:
    return [x, 2]
"""
counter = itertools.count()


def load(path: Path, source: str, *, old: bool = True) -> ModuleType:
    path.write_text(source)
    if old:
        os.utime(path, (1, 1))
    spec = importlib.util.spec_from_file_location(f"loaded{next(counter)}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
    return module


def of(tmp_path: Path, source: str) -> str:
    return fingerprint(load(tmp_path / f"m{next(counter)}.py", HEAD + source).task)


@pytest.mark.parametrize(
    "same",
    [
        "\n\n# a comment\n" + BASE,
        BASE.replace("return [x, 2]", "return [ x,\n        2 ]  # why"),
        BASE.replace("    return", '    """Say what."""\n    return'),
        BASE.replace("flow.job()", "flow.job(cpus=4, mem='8G')"),
        BASE.replace("@flow.job()\n", ""),
        BASE.replace('help="a"', 'help="b"'),
        BASE.replace("= 1", "= 2"),
        "def other(): ...\n" + BASE + "\ndef third(): ...",
    ],
)
def test_equal_code_has_an_equal_fingerprint(tmp_path: Path, same: str) -> None:
    assert of(tmp_path, same) == of(tmp_path, BASE)


@pytest.mark.parametrize(
    "other",
    [
        BASE.replace("2]", "3]"),
        BASE.replace("2]", "2.0]"),
        BASE.replace("2]", "True]"),
        BASE.replace("2]", "None]"),
        BASE.replace("2]", "'2']"),
        BASE.replace("    return", "    print()\n    return"),
        BASE.replace("Annotated[int,", "Annotated[str,"),
        BASE.replace("list[int]", "set[int]"),
        BASE.replace("x", "y"),
    ],
)
def test_changed_code_has_another_fingerprint(tmp_path: Path, other: str) -> None:
    assert of(tmp_path, other) != of(tmp_path, BASE)


def test_nested_docstrings_are_no_code_but_nested_decorators_are(tmp_path: Path) -> None:
    nested = """
def task():
    @first
    def inner():
        "doc"
        return 1
    return inner
"""
    assert of(tmp_path, nested) == of(tmp_path, nested.replace('"doc"', '"other"'))
    assert of(tmp_path, nested) != of(tmp_path, nested.replace("@first", "@second"))


def test_functions_of_one_name_in_one_file_differ(tmp_path: Path) -> None:
    source = "def task(): return 1\nfirst = task\ndef task(): return 2\n"
    module = load(tmp_path / "m.py", source)
    assert fingerprint(module.first) != fingerprint(module.task)


def make(step: Any) -> Any:
    def task(x: int) -> int:
        return int(x + step)

    return task


def test_constants_of_an_enclosing_function_count() -> None:
    assert fingerprint(make(1)) == fingerprint(make(1))
    assert fingerprint(make(1)) != fingerprint(make(2))
    assert fingerprint(make(1)) != fingerprint(make(1.0))
    assert fingerprint(make([])) == fingerprint(make({}))  # not plain: not seen


def test_without_a_source_file() -> None:
    def compiled(source: str) -> Any:
        scope: dict[str, Any] = {}
        exec(compile(source, "<nowhere>", "exec"), scope)
        return scope["task"]

    first = fingerprint(compiled("def task(x): return x in {'a', 'b', 'c'}"))
    assert first == fingerprint(compiled("def task(x): return x in {'a', 'b', 'c'}"))
    assert first != fingerprint(compiled("def task(x): return x in {'a', 'b', 'd'}"))
    assert len(first) == 64


def test_the_same_in_every_process(tmp_path: Path) -> None:
    code = (
        "from reflow.caching.code_fingerprint import fingerprint\n"
        "def task(x): return x in {'a', 'b', 'c', 'd'}\n"
        "print(fingerprint(task))"
    )
    path = tmp_path / "script.py"
    path.write_text(code)
    outputs = set()
    for seed, arguments, cwd in [
        ("1", [str(path)], "/"),
        ("2", ["script.py"], str(tmp_path)),
    ]:
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        outputs.add(
            subprocess.run(
                [sys.executable, *arguments],
                capture_output=True, text=True, check=True, env=env, cwd=cwd,
            ).stdout
        )  # fmt: skip
    assert len(outputs) == 1
    by_string = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(by_string) == 1


def test_a_file_edited_after_it_was_loaded(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    module = load(path, HEAD + BASE, old=False)
    path.write_text(HEAD + BASE.replace("2]", "3]"))
    edited = load(path, HEAD + BASE.replace("2]", "3]"), old=False)
    assert fingerprint(module.task) != fingerprint(edited.task)
    assert fingerprint(edited.task) == of(tmp_path, BASE.replace("2]", "3]"))


def test_a_file_that_is_no_python_any_more(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    module = load(path, HEAD + BASE)
    path.write_text("def (")
    assert len(fingerprint(module.task)) == 64


def test_many_functions_of_one_file_are_parsed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "".join(f"def t{i}(x):\n    return x + {i}\n" for i in range(500))
    module = load(tmp_path / "m.py", source)
    parsed: list[object] = []
    parse = fingerprinting._parse
    monkeypatch.setattr(fingerprinting, "_parse", lambda text: parsed.append(1) or parse(text))
    assert len({fingerprint(getattr(module, f"t{i}")) for i in range(500)}) == 500
    assert len(parsed) == 1
