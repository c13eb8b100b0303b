"""Fingerprints of files and folders: whether what stands under a path is what stood there.

A fingerprint has two parts. The *quick* one is made of sizes and times, from `os.stat`
alone; as long as it is the same, so is the file, unless it was changed twice within one
tick of the file system's clock. Where it differs, only the *content* tells: a file that was
touched, copied or restored has another time and the same content. A folder's fingerprint
covers all that is in it, by relative path, but for the records of runs; links are followed
where they lead to files. Pipes and devices are never read.

Nothing here is kept: who takes a fingerprint stores its text and compares it later. Workers
import this: no attrs, and OpenSSL only for large files.
"""

from __future__ import annotations

import os
import stat
from typing import Any, NamedTuple

from ..values.hashing import LARGE, sha256

_BLOCK = 1 << 20
_RECORDS = ".reflow"
GONE = "-"
"""The quick part for a path at which there is nothing."""


class Fileprint(NamedTuple):
    """The fingerprint of a file or folder.

    `quick` is "-" where there is nothing, "f:<bytes>:<nanoseconds of mtime>" for a file and
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
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return Fileprint(GONE)
    if not stat.S_ISDIR(found.st_mode):
        return Fileprint(_quick(found))
    # A list and not a sum, in one order: each entry counts, under its own name.
    entries = [f"{name}\0{quick}" for name, _, quick in _walk(path)]
    joined = "\n".join(entries).encode("utf-8", "surrogateescape")
    return Fileprint(f"d:{len(entries)}:{sha256(joined).hexdigest()}")


def full_print(path: str) -> Fileprint:
    """Return a fingerprint by size, mtime and content. Raises `OSError` as `quick_print`.

    A file that changes while it is read gets the quick part of before, so the next
    comparison looks at its content again.
    """
    quick = quick_print(path).quick
    if quick == GONE:
        return Fileprint(GONE)
    if quick.startswith("f:"):
        return Fileprint(quick, _content(path) if os.path.isfile(path) else "")
    found = sha256()
    for name, kind, _ in _walk(path):
        content = _content(os.path.join(path, name)) if kind == "f" else ""
        found.update(f"{name}\0{kind}\0{content}\n".encode("utf-8", "surrogateescape"))
    return Fileprint(quick, found.hexdigest())


def is_same(path: str, before: Fileprint, *, content: bool = False) -> bool:
    """Whether what stands at a path is what `before` was taken of.

    With the size and time of then it is, unread, unless `content` asks to look. Where
    only the time differs, the content is read and decides; without one on record it is
    taken for changed. Raises `OSError` for what cannot be looked at or read.
    """
    now = quick_print(path)
    if now.quick == GONE or before.quick == GONE:
        return False
    if now.quick == before.quick and not content:
        return True
    if not before.content or now.quick[:2] != before.quick[:2]:
        return False
    if _sizes_differ(now.quick, before.quick):
        return False  # no need to read it
    return full_print(path).content == before.content


def _sizes_differ(one: str, other: str) -> bool:
    # Of a folder only the number of entries is in plain text; of a file, the bytes.
    return one.split(":")[1] != other.split(":")[1]


def _quick(found: os.stat_result) -> str:
    return f"f:{found.st_size}:{found.st_mtime_ns}"


def _walk(folder: str) -> list[tuple[str, str, str]]:
    """Return (relative path, kind, quick part) of all that is in a folder, in order.

    Kinds: "f" a file, "d" a folder, "o" a pipe or device, "l…" a link to a folder, which is
    not entered, or to nothing: it counts by where it leads. A folder's own time says nothing
    that its entries do not. What reflow itself writes into a run directory is left out.
    """
    found: list[tuple[str, str, str]] = []
    waiting = [""]
    while waiting:
        below = waiting.pop()
        with os.scandir(os.path.join(folder, below)) as entries:
            for entry in entries:
                name = os.path.join(below, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    if entry.name == _RECORDS:
                        continue
                    found.append((name, "d", "d"))
                    waiting.append(name)
                    continue
                try:
                    is_file = not entry.is_dir()
                    quick = _quick(entry.stat()) if is_file else ""
                    kind = "f" if entry.is_file() else "o"
                except (FileNotFoundError, NotADirectoryError):
                    if not entry.is_symlink():
                        continue  # it went while the folder was read
                    is_file, quick = False, ""
                if is_file:
                    found.append((name, kind, quick))
                else:
                    found.append((name, f"l{os.readlink(entry.path)}", os.readlink(entry.path)))
    found.sort()
    return found


def _content(path: str) -> str:
    with open(path, "rb") as file:
        block = file.read(_BLOCK)
        found: Any
        if len(block) < LARGE:
            found = sha256()
        else:
            from hashlib import sha256 as quicker

            found = quicker()
        while block:
            found.update(block)
            block = file.read(_BLOCK)
    return str(found.hexdigest())
