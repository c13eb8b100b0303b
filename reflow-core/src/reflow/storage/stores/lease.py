"""The right to write to a store's file, where locks cannot be trusted.

The lease is a row of numbered files (`reflow.storage.numbered_files`), as the journal of a run
is. A file names its holder in its first line, and says "free" in its second once that has let go.
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

from ...errors import LeaseHeldError
from ..filesystem import Files
from ..numbered_files import LEASE_SECONDS, NumberedFiles
from ..process_id import is_alive, this_process

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
        self._files = files or Files()
        self._row = NumberedFiles(self._files, folder, 9)
        self._seconds = seconds
        self._alive = alive
        self._number = 0
        self._owner = this_process()
        self._machine = self._owner.rsplit("/", 2)[0] + "/"

    # Looking

    def look(self) -> Sighting:
        """Return who holds the lease, or held it last."""
        while True:
            number = self._row.newest()
            if not number:
                return Sighting()
            try:
                return self._read(number)
            except FileNotFoundError:
                continue  # newer ones have come, and this one has gone

    def written_since(self, before: Sighting, *, also_here: bool) -> bool:
        """Whether anybody may have written since, or during, an earlier sighting.

        With `also_here`, processes of this machine count too; else only those of others do.
        """
        now = self.look()
        if now == before and now.free:
            return False
        if also_here:
            return True
        # Who held it at the sighting may have written since, unless it had let go.
        for number in range(before.number + before.free, now.number + 1):
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
        try:
            handle = os.open(self._row.path(self._row.newest()), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
        finally:
            os.close(handle)
        return True

    def _read(self, number: int) -> Sighting:
        owner, _, mark = self._files.read(self._row.path(number)).partition(b"\n")
        return Sighting(number, owner.decode(errors="replace"), mark == _FREE)

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
        self._row.check(self._number, "another process took this one for dead and writes now")
        self._row.renew(self._number)

    def _take(self, timeout: float) -> None:
        self._make_folder()
        deadline, pause = time.monotonic() + timeout, 0.001
        while True:
            last = self.look()
            if (last.free or not self._lives(last)) and self._create(last.number + 1):
                return
            if time.monotonic() >= deadline:
                raise LeaseHeldError(described(last.owner))
            time.sleep(pause)
            pause = min(pause * 1.5, 0.1)

    def _create(self, number: int) -> bool:
        path = self._row.path(number)
        # Not synced: where the machine loses power, its holders are dead, too.
        if not self._files.create(path, f"{self._owner}\n".encode(), durable=False):
            return False
        numbers = self._row.numbers()
        if numbers[-1:] != [number]:
            # The listing that `look` saw was of a while ago, and this old number was free again.
            self._files.discard(path)
            return False
        self._number = number
        for old in numbers:
            if old <= number - KEPT:
                with contextlib.suppress(OSError):
                    self._files.discard(self._row.path(old))
        return True

    def _release(self) -> None:
        path, self._number = self._row.path(self._number), 0
        try:
            mark = self._files.open_append(path)
            try:
                mark.append(_FREE)
            finally:
                mark.close()
        except OSError:  # no room for a word: then the file goes, and its number with it
            with contextlib.suppress(OSError):
                self._files.discard(path)

    def _lives(self, last: Sighting) -> bool:
        return self._row.holder_lives(last.number, last.owner, self._seconds, self._alive)

    def _make_folder(self) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._row.folder)
        # Who may write beside the store may write to it; who may come here may look.
        mode = os.stat(os.path.dirname(self._row.folder)).st_mode & 0o7777 | 0o055
        if os.stat(self._row.folder).st_mode & 0o7777 != mode:
            with contextlib.suppress(OSError):
                os.chmod(self._row.folder, mode)


def described(owner: str) -> str:
    """Return a holder as people know it: ``process 4711 on node1``."""
    parts = owner.split("/")
    return f"process {parts[-2]} on {parts[0]}" if len(parts) > 2 else owner or "another process"
