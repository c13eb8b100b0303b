"""The right to write to a store's file, where locks cannot be trusted.

Locks of a network file system may be missing, may hold on one machine alone, or may
outlive their holder. So, as with a run's journal, to take the lease *is* to create the
next of a row of numbered files, exclusively: the highest number holds, until its file says
that it is free or its holder is dead. A holder on this machine is judged by whether its
process lives, one elsewhere by the age of its file, by the file server's clock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from ...errors import LeaseHeldError, LeaseLostError
from ..filesystem import Files
from ..process_id import is_alive, this_process

LEASE_SECONDS = 60.0
"""A holder on another machine is given up when its file has not changed so long."""

KEPT = 16
"""So many files stay behind the newest: whoever lists them late must not take an old number."""

_FREE = b"free\n"


class Sighting(NamedTuple):
    """What the folder of a lease said when it was looked at; `number` 0: nobody ever wrote."""

    number: int = 0
    owner: str = ""
    free: bool = True


class StoreLease:
    """The lease in `folder`, held by one process at a time."""

    def __init__(
        self,
        folder: str,
        files: Files | None = None,
        *,
        seconds: float = LEASE_SECONDS,
        alive: Callable[[str], bool | None] = is_alive,
    ) -> None:
        self.folder = folder
        self._files = files or Files()
        self._seconds = seconds
        self._alive = alive
        self._number = 0
        self._owner = this_process()
        self._machine = self._owner.rsplit("/", 2)[0] + "/"

    # Looking

    def look(self) -> Sighting:
        """Return who holds the lease, or held it last."""
        while True:
            number = max(self._numbers(), default=0)
            if not number:
                return Sighting()
            try:
                return self._read(number)
            except FileNotFoundError:
                continue  # newer ones have come, and this one has gone

    def written_since(self, seen: Sighting, *, here: bool) -> bool:
        """Whether anybody may have written after, or while, `seen` was seen.

        With `here`, processes of this machine count too; else only others' do.
        """
        now = self.look()
        if now == seen and now.free:
            return False
        if here:
            return True
        for number in range(seen.number + seen.free, now.number + 1):
            try:
                owner = self._read(number).owner
            except FileNotFoundError:
                return True
            if not owner.startswith(self._machine):
                return True
        return False

    def has_locks(self) -> bool | None:
        """Whether the file system knows locks at all, as fcntl(2) has them; None: not known yet.

        Asked of the newest file here: to open and close the store's own would let go of
        the locks that this process has on it.
        """
        number = max(self._numbers(), default=0)
        try:
            handle = os.open(self._path(number), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
        finally:
            os.close(handle)
        return True

    def _numbers(self) -> list[int]:
        return [int(name) for name in self._files.list(self.folder) if name.isdigit()]

    def _path(self, number: int) -> str:
        return f"{self.folder}/{number:09d}"

    def _read(self, number: int) -> Sighting:
        owner, _, rest = self._files.read(self._path(number)).partition(b"\n")
        return Sighting(number, owner.decode(errors="replace"), rest == _FREE)

    # Holding

    @contextmanager
    def held(self, timeout: float) -> Iterator[None]:
        """Hold the lease; wait up to `timeout` seconds for it. Raises `LeaseHeldError`."""
        self._take(timeout)
        try:
            yield
        finally:
            self._release()

    def check(self) -> None:
        """Show a sign of life; raise `LeaseLostError` if another holder has taken over."""
        if max(self._numbers(), default=0) != self._number:
            raise LeaseLostError("another process took this one for dead and writes now")
        self._files.touch(self._path(self._number))

    def _take(self, timeout: float) -> None:
        self._make_folder()
        until, pause = time.monotonic() + timeout, 0.001
        while True:
            seen = self.look()
            if (seen.free or not self._lives(seen)) and self._create(seen.number + 1):
                return
            if time.monotonic() >= until:
                raise LeaseHeldError(described(seen.owner))
            time.sleep(pause)
            pause = min(pause * 1.5, 0.1)

    def _create(self, number: int) -> bool:
        path = self._path(number)
        if not self._files.create(path, f"{self._owner}\n".encode(), durable=False):
            return False
        numbers = self._numbers()
        if max(numbers) != number:  # the listing was of a while ago
            self._files.discard(path)
            return False
        self._number = number
        for old in numbers:
            if old <= number - KEPT:
                with contextlib.suppress(OSError):
                    self._files.discard(self._path(old))
        return True

    def _release(self) -> None:
        path, self._number = self._path(self._number), 0
        try:
            mark = self._files.open_append(path)
            try:
                mark.append(_FREE)
            finally:
                mark.close()
        except OSError:  # no room for a word: then the file goes, and its number with it
            with contextlib.suppress(OSError):
                self._files.discard(path)

    def _lives(self, seen: Sighting) -> bool:
        living = self._alive(seen.owner)
        if living is not None:
            return living
        probe = self._files.scratch(self.folder, "")
        try:
            now = self._files.touch(probe)
            return now - self._files.modified(self._path(seen.number)) < self._seconds
        except FileNotFoundError:
            return True  # newer ones have come
        finally:
            self._files.discard(probe)

    def _make_folder(self) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.folder)
        # Who may write beside the store may write to it; who may come here may look.
        wanted = os.stat(os.path.dirname(self.folder)).st_mode & 0o7777 | 0o055
        if os.stat(self.folder).st_mode & 0o7777 != wanted:
            with contextlib.suppress(OSError):
                os.chmod(self.folder, wanted)


def described(owner: str) -> str:
    """Return a holder as people know it: ``process 4711 on node1``."""
    parts = owner.split("/")
    return f"process {parts[-2]} on {parts[0]}" if len(parts) > 2 else owner or "another process"
