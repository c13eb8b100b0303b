"""The contents of files that were read before, so that a file is read once.

A file whose inode, size and times are those of when it was read has the content of then. One
that changed at about the time it was read is in doubt: it may change again within the same
tick of the file system's clock. Its hash is not remembered.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from functools import cached_property

from ..storage.filesystem import Files

MOST = 200_000
"""So many files are remembered; those that were read longest ago go first."""

DOUBT_SECONDS = 2.0
"""Coarsest tick of the clocks of file systems (FAT; most others have 10 ms or less)."""

_FORMAT = "reflow-filehashes-1"


class FileHashes:
    """Hashes of files' contents, remembered in one file at `path`.

    Without `path` it is the one of this user's processes, beside the default store. The file
    is read when the first hash is asked for. `save` adds what is new to what others have written
    since, and writes it whole. A file that cannot be read or written costs time and nothing
    else, and so does what another process adds in the same moment.
    """

    def __init__(self, path: str | None = None) -> None:
        self._given_path = path
        self._known: dict[str, list[object]] | None = None
        self._new: dict[str, list[object]] = {}

    def digest(self, path: str, found: os.stat_result | None = None) -> str:
        """Return the sha256, in hex, of a regular file's content; read only if it may differ.

        `path` is absolute, and `found` what `os.stat` has just told of it, if it was asked.
        Raises `OSError` for a file that cannot be looked at or read.
        """
        known = self._load()
        found = found or os.stat(path)
        stamp = _stamp(found)
        before = known.get(path)
        if before is not None and before[:-1] == stamp:
            return str(before[-1])
        read_at = time.time()
        text = Files().digest(path)
        newest = max(found.st_mtime, found.st_ctime)
        if read_at - newest > DOUBT_SECONDS and _stamp(os.stat(path)) == stamp:
            known[path] = self._new[path] = [*stamp, text]
        return text

    def save(self) -> None:
        """Write what is new, all at once."""
        if not self._new:
            return
        known = _read(self._path)
        for path, one in self._new.items():
            known.pop(path, None)  # to the end of the order
            known[path] = one
        data = json.dumps([_FORMAT, dict(list(known.items())[-MOST:])]).encode("ascii")
        files = Files()
        with contextlib.suppress(OSError):
            files.make_folder(os.path.dirname(self._path))
            files.write(self._path, data)
            self._new.clear()

    @cached_property
    def _path(self) -> str:
        if self._given_path is not None:
            return self._given_path
        from ..storage.user_state import user_state_folder

        try:
            return str(user_state_folder() / "filehashes.json")
        except RuntimeError:  # a user without a home: nothing is remembered
            return ""

    def _load(self) -> dict[str, list[object]]:
        if self._known is None:
            self._known = _read(self._path)
        return self._known


def _read(path: str) -> dict[str, list[object]]:
    """Return what stands in the file, {} where that cannot be read."""
    try:
        format, known = json.loads(Files().read(path))
        if format == _FORMAT:
            return {
                name: one
                for name, one in known.items()
                if isinstance(one, list) and len(one) == 6
            }
    except (OSError, ValueError, AttributeError):
        pass
    return {}


def _stamp(found: os.stat_result) -> list[object]:
    # The time of the last change of the inode, too: nobody can set it back.
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
