"""The contract suites over what reflow brings itself."""

from __future__ import annotations

import datetime
import math
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import pytest

from reflow.caching.verifiers.exists import ExistsVerifier
from reflow.caching.verifiers.nonempty import NonemptyVerifier
from reflow.testing import SerializerContract, StoreContract, VerifierContract, output
from reflow.verifiers.base import Output, Verifier


class TestPickle(SerializerContract):
    entry = "pickle"
    values = (
        None,
        0,
        -(2**80),
        math.inf,
        "",
        "ä\ud800\x00",
        b"\x00\xff" * 10_000,
        [1, [2.5, {"a": (None, True)}]],
        {3, 1, 2},
        {"d": datetime.datetime(2026, 4, 1, tzinfo=datetime.timezone.utc)},
        PurePosixPath("/runs/ä"),
        PurePosixPath,
        range(5),
        complex(1, -2),
    )
    refused = (lambda: 1, (number for number in range(3)), {"a lock": threading.Lock()})
    # The same parts may be one object or several, and a set has no order.
    deterministic = False

    def same(self, a: Any, b: Any) -> bool:
        return type(a) is type(b) and repr(a) == repr(b)


def file(folder: Path, name: str = "a.txt", text: str = "content") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def one_file(folder: Path) -> Output:
    path = file(folder)
    return output(path, [path])


def folder_with_a_file(folder: Path) -> Output:
    path = file(folder, "sub/ä b")
    return output([path.parent], [path.parent])


def two_files(folder: Path) -> Output:
    paths = [file(folder), file(folder, "b.txt")]
    return output({"named": tuple(paths)}, paths)


def linked_file(folder: Path) -> Output:
    link = folder / "link"
    link.symlink_to(file(folder))
    return output(link, [link])


def missing(folder: Path) -> Output:
    return output(folder / "none", [folder / "none"])


def one_of_two_missing(folder: Path) -> Output:
    paths = [file(folder), folder / "none"]
    return output(paths, paths)


def below_a_file(folder: Path) -> Output:
    path = file(folder) / "none"
    return output(path, [path])


def broken_link(folder: Path) -> Output:
    link = folder / "link"
    link.symlink_to("none")
    return output(link, [link])


def link_to_itself(folder: Path) -> Output:
    link = folder / "link"
    link.symlink_to(link)
    return output(link, [link])


def empty_file(folder: Path) -> Output:
    path = file(folder, text="")
    return output(path, [path])


def empty_folder(folder: Path) -> Output:
    path = folder / "sub"
    path.mkdir()
    return output(path, [path])


def one_of_two_empty(folder: Path) -> Output:
    paths = [file(folder), file(folder, "b.txt", "")]
    return output(paths, paths)


GONE = (missing, one_of_two_missing, below_a_file, broken_link, link_to_itself)
EMPTY = (empty_file, empty_folder, one_of_two_empty)


class TestExists(VerifierContract):
    entry = "exists"
    good = (one_file, folder_with_a_file, two_files, linked_file, *EMPTY)
    bad = GONE


class TestNonempty(VerifierContract):
    entry = "nonempty"
    good = (one_file, folder_with_a_file, two_files, linked_file)
    bad = (*GONE, *EMPTY)


def changed(change: Callable[[Path], object]) -> Callable[[Path], Output]:
    """Return a function that makes an output and then changes its file behind the task's back."""

    def make(folder: Path) -> Output:
        output = two_files(folder)
        change(output.paths[1])
        later(output.paths[1])  # the clock of the file system ticks slowly
        return output

    return make


def later(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def touched(folder: Path) -> Output:
    output = two_files(folder)
    later(output.paths[0])
    return output


def copied(folder: Path) -> Output:
    output = folder_with_a_file(folder)
    place = output.paths[0]
    place.rename(folder / "old")
    shutil.copytree(folder / "old", place)
    later(place / "ä b")
    return output


def folder_with_one_more(folder: Path) -> Output:
    output = folder_with_a_file(folder)
    file(output.paths[0], "more")
    return output


def folder_with_another_text(folder: Path) -> Output:
    output = folder_with_a_file(folder)
    later(file(output.paths[0], "ä b", "CONTENT"))
    return output


def file_for_folder(folder: Path) -> Output:
    output = folder_with_a_file(folder)
    shutil.rmtree(output.paths[0])
    file(folder, output.paths[0].name)
    return output


class TestFingerprint(VerifierContract):
    entry = "fingerprint"
    good = (
        one_file, folder_with_a_file, two_files, linked_file, touched, copied, *EMPTY,
    )  # fmt: skip
    bad = (
        *GONE,
        changed(lambda path: path.write_text("CONTENT")),  # of the same size
        changed(lambda path: path.write_text("longer content")),
        changed(lambda path: path.write_text("")),
        folder_with_one_more,
        folder_with_another_text,
        file_for_folder,
    )


class TestSqlite(StoreContract):
    entry = "sqlite"

    def url(self, folder: Path) -> str:
        return f"sqlite:///{quote(os.fsencode(folder))}/a%20b.sqlite"


@pytest.mark.parametrize("verifier", [ExistsVerifier(), NonemptyVerifier()])
def test_path_that_cannot_be_examined_is_an_error(verifier: Verifier, tmp_path: Path) -> None:
    """The engine runs the task again and says why; the file must not count as missing."""
    path = tmp_path / ("n" * 300)
    with pytest.raises(OSError, match="File name too long"):
        verifier.verify(output(path, [path]))
