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
from .file_fingerprint import Fileprint, strict_stamp

MOST = 200_000
"""So many files are remembered; those that were read longest ago go first."""

DOUBT_SECONDS = 2.0
"""Coarsest tick of the clocks of file systems (FAT; most others have 10 ms or less)."""

_FORMAT = "reflow-filehashes-2"


class FileHashes:
    """Hashes of files' contents, remembered in one file at `path`.

    Without `path` it is the one of this user's processes, beside the default store. The file
    is read when the first hash is asked for. `save` adds what is new to what others have written
    since, and writes it whole. A file that cannot be read or written costs time and nothing
    else, and so does what another process adds in the same moment.
    """

    def __init__(self, path: str | None = None) -> None:
        self._given_path = path
        self._new: dict[str, str] = {}

    def digest(self, path: str, status: os.stat_result | None = None) -> str:
        """Return the sha256, in hex, of a regular file's content; read only if it may differ.

        `path` is absolute, and `status` what `os.stat` has just returned for it, if it was called.
        Raises `OSError` for a file that cannot be looked at or read.
        """
        status = status or os.stat(path)
        stamp = _stamp(status)
        quick, _, content = self._remembered.get(path, "").partition(" ")
        if quick == stamp:
            return content
        read_at = time.time()
        content = Files().digest(path)
        newest = max(status.st_mtime, status.st_ctime)
        # The second look: it may have changed while it was read.
        if read_at - newest > DOUBT_SECONDS and _stamp(os.stat(path)) == stamp:
            self._remembered[path] = self._new[path] = str(Fileprint(stamp, content))
        return content

    def save(self) -> None:
        """Write what is new, all at once."""
        if not self._new:
            return
        by_path = _read(self._path)
        for path, text in self._new.items():
            by_path.pop(path, None)  # to the end of the order
            by_path[path] = text
        data = json.dumps([_FORMAT, dict(list(by_path.items())[-MOST:])]).encode("ascii")
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

    @cached_property
    def _remembered(self) -> dict[str, str]:
        return _read(self._path)


def _read(path: str) -> dict[str, str]:
    """Return the fingerprints in a file, by path; {} where it cannot be read."""
    try:
        format, by_path = json.loads(Files().read(path))
        if format == _FORMAT:
            return {name: str(text) for name, text in by_path.items()}
    except (OSError, ValueError, AttributeError):
        pass
    return {}


def _stamp(status: os.stat_result) -> str:
    # A path may lead to another file of the same times, where a folder above it was renamed.
    return f"{strict_stamp(status)}:{status.st_dev}:{status.st_ino}"
