"""Fingerprints of files and folders: whether a path still holds what it held before.

A fingerprint has two parts. The *quick* part is made of sizes and times, from `os.stat`
alone; as long as it is the same, so is the file, unless it was changed twice within one
tick of the file system's clock. Where it differs, only the *content* tells: a file that was
touched, copied or restored has another time and the same content. A folder's fingerprint
covers all that is in it, by relative path, but for the records of runs; links are followed
where they lead to files. Pipes and devices are never read.

Nothing here is kept: whoever takes a fingerprint stores its text and compares it later. Workers
import this: no attrs, and OpenSSL only for large files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from ..values.hashing import LARGE, sha256

_BLOCK = 1 << 20
_RECORDS = ".reflow"  # grows while a run goes on, in its run directory
GONE = "-"
"""The quick part for a path at which there is nothing."""

HashFile: TypeAlias = Callable[[str], str]
"""Returns the sha256 of a regular file's content, by its absolute path, perhaps without reading
it again."""


def file_stamp(status: os.stat_result) -> str:
    """Return how a file looks, as text: "f:<bytes>:<nanoseconds of mtime>".

    The same text means the same file, wherever it was moved or copied with its times.
    """
    return f"f:{status.st_size}:{status.st_mtime_ns}"


def strict_stamp(status: os.stat_result) -> str:
    """Return how a file looks that stays where it is: its stamp and ":<nanoseconds of ctime>".

    Nobody can set back the time at which an inode was last changed.
    """
    return f"{file_stamp(status)}:{status.st_ctime_ns}"


class Fileprint(NamedTuple):
    """The fingerprint of a file or folder.

    `quick` is "-" where there is nothing, a `file_stamp` for a file and
    "d:<entries>:<sha256>" for a folder. `content` is a sha256 in hex, "" where it was not taken.
    """

    quick: str
    content: str = ""

    def __str__(self) -> str:
        return f"{self.quick} {self.content}".rstrip()


def parse(text: str) -> Fileprint:
    """Return the fingerprint that `str` wrote. Raises `ValueError` for any other text."""
    quick, _, content = text.partition(" ")
    if quick[:2] not in ("f:", "d:") and quick != GONE:
        raise ValueError(f"{text!r} is no fingerprint of a file")
    return Fileprint(quick, content)


def quick_print(path: str) -> Fileprint:
    """Return a fingerprint by size and mtime. Raises `OSError` for what cannot be looked at.

    A path at which there is nothing, a broken link among them, has one too.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return Fileprint(GONE)
    if not stat.S_ISDIR(status.st_mode):
        return Fileprint(file_stamp(status))
    # A list and not a sum, in one order: each entry counts, under its own name.
    entries = [f"{name}\0{quick}" for name, _, quick in _walk(path)]
    joined = "\n".join(entries).encode("utf-8", "surrogateescape")
    return Fileprint(f"d:{len(entries)}:{sha256(joined).hexdigest()}")


def full_print(path: str, hash_file: HashFile | None = None) -> Fileprint:
    """Return a fingerprint by size, mtime and content. Raises `OSError` as `quick_print`.

    A file that changes while it is read gets the quick part of before, so the next
    comparison looks at its content again. The content of a file is asked of `hash_file`, if that
    is given; those of files in a folder are read.
    """
    quick = quick_print(path).quick
    if quick == GONE:
        return Fileprint(GONE)
    if quick.startswith("f:"):
        is_regular = os.path.isfile(path)  # reading a pipe would wait for somebody to write
        return Fileprint(quick, (hash_file or _content)(path) if is_regular else "")
    contents = sha256()
    for name, kind, _ in _walk(path):
        content = _content(os.path.join(path, name)) if kind == "f" else ""
        contents.update(f"{name}\0{kind}\0{content}\n".encode("utf-8", "surrogateescape"))
    return Fileprint(quick, contents.hexdigest())


def is_same(
    path: str, before: Fileprint, *, content: bool = False, hash_file: HashFile | None = None
) -> bool:
    """Whether a path holds what `before` was taken of.

    With the size and time of then it does, unread, unless `content` asks to look. Where
    only the time differs, the content decides, as `full_print` takes it; without one on record
    it is taken for changed. Raises `OSError` for what cannot be looked at or read.
    """
    now = quick_print(path)
    if GONE in (now.quick, before.quick):
        return False
    if now.quick == before.quick and not content:
        return True
    # A file of another size, or a folder of more entries, need not be read.
    if not before.content or _kind_and_size(now) != _kind_and_size(before):
        return False
    # Not abspath, which takes ".." away: behind a link that would be another file.
    # Nor getcwd for a path that needs none: the working directory may be gone.
    absolute = path if os.path.isabs(path) else os.path.join(os.getcwd(), path)
    return full_print(absolute, hash_file).content == before.content


def _kind_and_size(fingerprint: Fileprint) -> list[str]:
    # Of a folder only the number of entries is in plain text; of a file, the bytes.
    return fingerprint.quick.split(":")[:2]


def _walk(folder: str) -> list[tuple[str, str, str]]:
    """Return (relative path, kind, quick part) of all that is in a folder, in order.

    Kinds: "f" a file, "d" a folder, "o" a pipe or device, "l…" a link to a folder, which is
    not entered, or to nothing: it counts by where it leads. A folder's own time says nothing
    that its entries do not. What reflow itself writes into a run directory is left out.
    """
    rows: list[tuple[str, str, str]] = []
    pending = [""]
    while pending:
        below = pending.pop()
        with os.scandir(os.path.join(folder, below)) as entries:
            for entry in entries:
                name = os.path.join(below, entry.name)
                if not entry.is_dir(follow_symlinks=False):
                    rows.extend((name, *looks) for looks in _looks(entry))
                elif entry.name != _RECORDS:
                    rows.append((name, "d", "d"))
                    pending.append(name)
    rows.sort()  # a folder lists its entries in any order
    return rows


def _looks(entry: os.DirEntry[str]) -> list[tuple[str, str]]:
    """Return kind and quick part of what is no folder; none if it went while that was read."""
    try:
        if not entry.is_dir():
            return [("f" if entry.is_file() else "o", file_stamp(entry.stat()))]
    except (FileNotFoundError, NotADirectoryError):
        if not entry.is_symlink():
            return []
    target = os.readlink(entry.path)
    return [(f"l{target}", target)]


def _content(path: str) -> str:
    with open(path, "rb") as file:
        block = file.read(_BLOCK)
        hasher: Any
        if len(block) < LARGE:
            hasher = sha256()
        else:
            from hashlib import sha256 as openssl_sha256

            hasher = openssl_sha256()
        while block:
            hasher.update(block)
            block = file.read(_BLOCK)
    return str(hasher.hexdigest())
