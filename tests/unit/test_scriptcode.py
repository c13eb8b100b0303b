"""The compiled code of a script is kept for workers that run exactly this script."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest

from reflow.model.entrypoint import code_of, keep_code
from reflow.storage.filesystem import Files

SOURCE = b"answer = 42\n"


def value(code: Any) -> Any:
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    return namespace["answer"]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    keep_code(Files().write, SOURCE, "/scripts/it.py", str(tmp_path))
    (path,) = tmp_path.iterdir()
    return path


def test_kept_code_is_not_compiled_again(
    tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("it was compiled")

    monkeypatch.setattr(builtins, "compile", forbidden)
    code = code_of(SOURCE, "/scripts/it.py", str(tmp_path))
    assert value(code) == 42
    assert code.co_filename == "/scripts/it.py"


def test_another_text_or_place_has_code_of_its_own(tmp_path: Path, kept: Path) -> None:
    assert value(code_of(b"answer = 43\n", "/scripts/it.py", str(tmp_path))) == 43
    assert code_of(SOURCE, "/scripts/other.py", str(tmp_path)).co_filename == "/scripts/other.py"


@pytest.mark.parametrize("damage", [b"", b"\x00", b"N", b"no code at all", None])
def test_damaged_or_missing_code_is_compiled(
    tmp_path: Path, kept: Path, damage: bytes | None
) -> None:
    if damage is None:
        kept.unlink()
    else:
        kept.write_bytes(damage)
    assert value(code_of(SOURCE, "/scripts/it.py", str(tmp_path))) == 42


def test_code_that_was_cut_short_is_compiled(tmp_path: Path, kept: Path) -> None:
    whole = kept.read_bytes()
    for length in range(len(whole)):
        kept.write_bytes(whole[:length])
        assert value(code_of(SOURCE, "/scripts/it.py", str(tmp_path))) == 42


def test_no_code_is_kept_of_a_script_with_syntax_errors(tmp_path: Path) -> None:
    keep_code(Files().write, b"def half(", "/scripts/it.py", str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SyntaxError):
        code_of(b"def half(", "/scripts/it.py", str(tmp_path))
