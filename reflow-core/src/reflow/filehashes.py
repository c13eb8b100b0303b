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

from .files import Files

MOST = 200_000
"""So many files are remembered; those that were read longest ago go first."""

DOUBT_SECONDS = 2.0
"""Coarsest tick of the clocks of file systems (FAT; most others have 10 ms or less)."""

_FORMAT = "reflow-filehashes-1"


class FileHashes:
    """Hashes of files' contents, remembered in one file at `path`.

    The file is read when the first hash is asked for and written whole by `save`, where
    there is something new. One that cannot be read or written costs time and nothing else.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._known: dict[str, list[object]] | None = None
        self._changed = False

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
        known.pop(path, None)  # to the end of the order
        if read_at - newest > DOUBT_SECONDS and _stamp(os.stat(path)) == stamp:
            known[path] = [*stamp, text]
            self._changed = True
        return text

    def save(self) -> None:
        """Write what is new, all at once."""
        if self._known is None or not self._changed:
            return
        kept = dict(list(self._known.items())[-MOST:])
        data = json.dumps([_FORMAT, kept]).encode("ascii")
        files = Files()
        with contextlib.suppress(OSError):
            files.make_folder(os.path.dirname(self._path))
            files.write(self._path, data)
            self._changed = False

    def _load(self) -> dict[str, list[object]]:
        if self._known is None:
            self._known = {}
            with contextlib.suppress(OSError, ValueError, AttributeError):
                format, known = json.loads(Files().read(self._path))
                if format == _FORMAT:
                    self._known = {
                        path: one
                        for path, one in known.items()
                        if isinstance(one, list) and len(one) == 6
                    }
        return self._known


def _stamp(found: os.stat_result) -> list[object]:
    # The time of the last change of the inode, too: nobody can set it back.
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
