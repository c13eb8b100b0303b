"""Fingerprints of files and folders tell what changed, and read no more than they must."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reflow.caching import file_fingerprint
from reflow.caching.file_fingerprint import Fileprint, full_print, is_same, parse, quick_print


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read."""
    names: list[str] = []
    real = file_fingerprint._content

    def counted(path: str) -> str:
        names.append(os.path.basename(path))
        return real(path)

    monkeypatch.setattr(file_fingerprint, "_content", counted)
    return names


def later(path: Path, seconds: int = 1) -> None:
    os.utime(path, ns=(0, seconds * 10**9))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    (top / "sub" / "empty").mkdir(parents=True)
    (top / "a").write_text("1")
    (top / "sub" / "b").write_text("2")
    (top / "link").symlink_to("a")
    (top / "round").symlink_to("sub")
    (top / "broken").symlink_to("nowhere")
    return top


def test_file_of_the_same_time_and_size_is_not_read(tmp_path: Path, reads: list[str]) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    before = full_print(str(path))
    assert reads == ["a"]
    assert is_same(str(path), before)
    assert is_same(str(path), Fileprint(before.quick))
    assert reads == ["a"]
    assert is_same(str(path), before, content=True)
    assert reads == ["a", "a"]


def test_content_is_compared_if_the_time_differs(tmp_path: Path, reads: list[str]) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    before = full_print(str(path))
    later(path)
    assert is_same(str(path), before)
    assert not is_same(str(path), Fileprint(before.quick)), "no content on record"
    path.write_text("two")
    later(path)
    assert not is_same(str(path), before)
    reads.clear()
    path.write_text("longer")
    assert not is_same(str(path), before)
    assert reads == [], "another size is another file"


def test_forged_time_is_noticed_if_the_content_counts(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    later(path)
    before = full_print(str(path))
    path.write_text("two")
    later(path)
    assert is_same(str(path), before)
    assert not is_same(str(path), before, content=True)


def test_nothing_there_is_never_the_same(tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    assert str(full_print(path)) == "-"
    assert not is_same(path, full_print(path))
    (tmp_path / "a").write_text("")
    before = full_print(path)
    assert is_same(path, before)
    assert not is_same(path, Fileprint("-"))
    os.unlink(path)
    assert not is_same(path, before)
    assert not is_same(f"{path}/below", before)
    os.symlink("nowhere", path)
    assert not is_same(path, before)


def test_fingerprint_of_a_folder_covers_all_in_it(
    tree: Path, tmp_path: Path, reads: list[str]
) -> None:
    before = full_print(str(tree))
    assert sorted(reads) == ["a", "b", "link"]
    reads.clear()
    assert is_same(str(tree), before)
    assert reads == []
    shutil.copytree(tree, tmp_path / "copy", symlinks=True)
    later(tmp_path / "copy" / "a")
    assert is_same(str(tmp_path / "copy"), before), "the same contents under the same names"


def change_text(top: Path) -> None:
    (top / "sub" / "b").write_text("3")
    later(top / "sub" / "b")


CHANGES = {
    "text": change_text,
    "more": lambda top: (top / "sub" / "more").write_text(""),
    "less": lambda top: (top / "a").unlink(),
    "renamed": lambda top: (top / "a").rename(top / "c"),
    "moved": lambda top: (top / "sub" / "b").rename(top / "b"),
    "folder less": lambda top: (top / "sub" / "empty").rmdir(),
    "folder renamed": lambda top: (top / "sub" / "empty").rename(top / "sub" / "void"),
    "link elsewhere": lambda top: ((top / "round").unlink(), (top / "round").symlink_to(".")),
    "broken link elsewhere": lambda top: (
        (top / "broken").unlink(), (top / "broken").symlink_to("nothing")
    ),
    "file for folder": lambda top: (
        (top / "sub" / "empty").rmdir(), (top / "sub" / "empty").write_text("")
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_folder_that_changed_anywhere_is_another(tree: Path, change: Any) -> None:
    before = full_print(str(tree))
    change(tree)
    assert not is_same(str(tree), before)
    assert not is_same(str(tree), before, content=True)
    assert full_print(str(tree)).content != before.content


def test_a_file_and_a_folder_are_never_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    before = full_print(str(tmp_path / "a"))
    (tmp_path / "a").rmdir()
    (tmp_path / "a").write_text("")
    assert not is_same(str(tmp_path / "a"), before)


def test_path_that_cannot_be_examined_is_an_error(tmp_path: Path) -> None:
    path = str(tmp_path / ("n" * 300))
    for take in (quick_print, full_print, lambda path: is_same(path, Fileprint("f:1:1"))):
        with pytest.raises(OSError, match="File name too long"):
            take(path)


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from("abc"), st.binary(max_size=3), max_size=3))
def test_equal_contents_have_equal_prints(
    tmp_path_factory: pytest.TempPathFactory, contents: dict[str, bytes]
) -> None:
    prints = []
    for number, order in enumerate((list(contents), list(contents)[::-1])):
        folder = tmp_path_factory.mktemp("print")
        for name in order:
            (folder / name).write_bytes(contents[name])
            later(folder / name, number)
        prints.append(full_print(str(folder)))
        assert parse(str(prints[-1])) == prints[-1]
    assert prints[0].content == prints[1].content
    assert (prints[0].quick == prints[1].quick) == (not contents)


@pytest.mark.parametrize("text", ["", "x", "f", "exec:1 a", "d"])
def test_other_texts_are_no_fingerprints(text: str) -> None:
    with pytest.raises(ValueError, match="is no fingerprint"):
        parse(text)


def test_names_of_any_bytes(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(folder)
    with open(folder + b"/\xfe\n", "wb") as file:
        file.write(b"1")
    path = os.fsdecode(folder)
    before = full_print(path)
    assert is_same(path, before, content=True)
    os.rename(folder + b"/\xfe\n", folder + b"/\xfd\n")
    assert not is_same(path, before)


def test_an_unchanged_file_stands_where_the_working_directory_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("text")
    before = full_print(str(path))
    os.utime(path, ns=(1, 1))  # another time, the same content

    def gone() -> str:
        raise FileNotFoundError("the working directory is gone")

    monkeypatch.setattr(os, "getcwd", gone)
    assert is_same(str(path), before)
