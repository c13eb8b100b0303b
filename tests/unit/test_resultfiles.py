"""Files of results: which of them are read, and when one counts as changed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from reflow.caching import file_fingerprint
from reflow.caching.output_files import find_damage, take_prints


def taken(how: str, *paths: Path) -> tuple[str, ...]:
    unreadable: list[str] = []
    prints = take_prints(
        [str(path) for path in paths], how, lambda path, _: unreadable.append(path)
    )
    assert unreadable == []
    return prints


def damage(paths: list[str], prints: tuple[str, ...]) -> str:
    """Return what is wrong with the files of a result, "" for nothing."""
    damaged = find_damage(paths, prints)
    return "" if damaged is None else damaged.reason


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "a").write_text("1")
    return folder


def later(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def parts(text: str) -> tuple[str, int]:
    """Return the kind of a fingerprint, and how many parts it has."""
    return text[:1], len(text.split())


@pytest.mark.parametrize(
    ("how", "file", "folder"),
    [
        ("auto", ("f", 2), ("", 0)),
        ("content", ("f", 2), ("d", 2)),
        ("stat", ("f", 1), ("d", 1)),
        ("path", ("", 0), ("", 0)),
    ],
)
def test_fingerprints_follow_the_policy(
    tree: Path, how: str, file: tuple[str, int], folder: tuple[str, int]
) -> None:
    prints = taken(how, tree / "a", tree)
    assert [parts(text) for text in prints or ("", "")] == [file, folder]
    assert damage([str(tree / "a"), str(tree)], prints) == ""


def test_no_fingerprints_if_no_path_has_one(tree: Path) -> None:
    assert taken("auto", tree, tree / "nothing") == ()
    assert taken("auto", tree, tree / "a")[0] == ""


@pytest.mark.parametrize("how", ["auto", "content", "stat", "path"])
def test_pipes_and_devices_are_not_read(tree: Path, how: str) -> None:
    os.mkfifo(tree / "pipe")
    assert taken(how, tree / "pipe", Path("/dev/zero")) == ()
    assert damage([str(tree / "pipe")], ()) == ""
    if how == "content":
        (before,) = taken(how, tree)
        (tree / "pipe").unlink()
        assert "was changed" in damage([str(tree)], (before,))


def test_the_records_of_runs_are_no_part_of_a_run_directory(tree: Path) -> None:
    prints = taken("content", tree)
    (tree / ".reflow" / "run").mkdir(parents=True)
    (tree / ".reflow" / "run" / "journal").write_text("grows")
    assert damage([str(tree)], prints) == ""
    (tree / "b").write_text("")
    assert damage([str(tree)], prints) == f"its file {tree} was changed since it was made"


@pytest.mark.parametrize("how", ["auto", "content", "stat"])
def test_changed_files_are_noticed(tree: Path, how: str) -> None:
    path = tree / "a"
    paths, prints = [str(path)], taken(how, path)
    changed = f"its file {path} was changed since it was made"
    later(path)
    assert damage(paths, prints) == (changed if how == "stat" else "")
    path.write_text("2")
    later(path)
    assert damage(paths, prints) == changed
    assert damage(paths, ()) == "", "without a fingerprint it must be there"
    path.unlink()
    for older_prints in (prints, ()):
        assert damage(paths, older_prints) == f"its file {path} is gone"
    path.mkdir()
    assert damage(paths, prints) == changed


def test_the_content_is_read_only_where_times_differ(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tree / "a"
    prints = taken("auto", path)
    with monkeypatch.context() as patch:
        patch.setattr(file_fingerprint, "_content", lambda path: pytest.fail(path))
        assert damage([str(path)], prints) == ""
        path.write_text("longer")
        assert "was changed" in damage([str(path)], prints)


def test_unreadable_file_is_reported_and_has_no_fingerprint(tree: Path) -> None:
    errors: dict[str, Exception] = {}
    odd = [str(tree / ("n" * 300)), "nul\0", str(tree / "a")]
    prints = take_prints(odd, "auto", errors.__setitem__)
    assert [bool(text) for text in prints] == [False, False, True]
    assert list(errors) == odd[:2]
    assert isinstance(errors[odd[0]], OSError)
    assert "cannot be read (File name too long)" in damage(odd[:1], ())
    assert "cannot be compared" in damage(odd[1:2], ())
    assert "cannot be compared" in damage(odd[2:], ("damaged",))
    assert damage(odd[2:], ("f:9:9", "f:9:9")) == "", "without one for each path they do not count"


@pytest.mark.parametrize("size", [1, 200_000])
def test_openssl_is_loaded_for_large_files_only(tmp_path: Path, size: int) -> None:
    import subprocess

    (tmp_path / "file").write_bytes(b"x" * size)
    code = (
        "import sys; from reflow.caching.output_files import take_prints\n"
        "print(len(take_prints([sys.argv[1]], 'auto', print)), '_hashlib' in sys.modules)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "file")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert process.stdout.split() == ["1", str(size > 100_000)]
