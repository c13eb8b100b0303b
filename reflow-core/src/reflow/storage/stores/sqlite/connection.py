"""The file of the SQLite store: who may read and write it when, also on a network file system.

Whoever writes holds the store's lease (`reflow.storage.stores.lease`), and only a holder opens the
file for writing: so a journal that is found is rolled back by nobody else, whatever a
file system makes of locks. The journal is a rollback journal with full syncs, never a
write-ahead log, which needs memory that machines do not share. Nothing reaches the file
before the commit, and the lease is checked right before that.

Readers open the file read-only and look at the lease before and after. Where locks cannot
have kept a writer away (it was on another machine, or there are no locks), they read again.
SQLite's own locks are used wherever there are any.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from ....errors import LeaseHeldError, LeaseLostError, StoreError, StoreVersionError
from ..lease import Sighting, StoreLease
from .schema import migrate, newest_version, version_of

T = TypeVar("T")

_PRAGMAS = (
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -65536",  # KiB; taken only as pages are read
)
_WRITER_PRAGMAS = (
    "PRAGMA page_size = 8192",  # counts for a new file only; fewer pages to journal
    "PRAGMA journal_mode = DELETE",
    "PRAGMA synchronous = FULL",
    "PRAGMA cache_spill = 65536",  # pages: no transaction of a run comes near it
)

# What may be wrong with the file, by what SQLite says: Python 3.10 has no error codes of it.
_LOCKED, _FULL, _DAMAGED, _NO_ACCESS, _OTHER = "locked", "full", "damaged", "no access", "other"
_KINDS = {
    "locked": _LOCKED,
    "busy": _LOCKED,
    "is full": _FULL,
    "not a database": _DAMAGED,
    "malformed": _DAMAGED,
    "readonly": _NO_ACCESS,
    "unable to open": _NO_ACCESS,
}
_ADVICE = {
    _LOCKED: (
        "other processes kept it locked for {timeout:g} s; try again, or see with `fuser` or"
        " `lsof` who holds it"
    ),
    _FULL: "make room on its file system (or in your quota), then try again",
    _DAMAGED: (
        "the file is damaged or no SQLite database; `reflow store rebuild --new` moves it away and"
        " makes the store anew from the run directories"
    ),
    _OTHER: "check the file and its folder, or choose another store path",
}

# Connections that a fork inherited: closing them here could undo the parent's work.
_inherited: list[sqlite3.Connection] = []


class DatabaseFile:
    """The SQLite file at `path`, opened on first use; threads take turns.

    It is made if it is not there, unless `read_only`, and with `make_folder` its folder
    too. `timeout` is how many seconds to wait for other processes.
    """

    def __init__(
        self, path: Path, *, read_only: bool, timeout: float, make_folder: bool = False
    ) -> None:
        self.path = path
        self.read_only = read_only
        self.timeout = timeout
        self.make_folder = make_folder
        self._reset()

    def _reset(self) -> None:
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None
        self._last_sighting = Sighting()
        self._locks: bool | None = None
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self.lease = StoreLease(f"{self.path}-lease")

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        self._notice_fork()
        with self._lock:
            for connection in (self._reader, self._writer):
                if connection is not None:
                    connection.close()
            self._reader = self._writer = None

    def _notice_fork(self) -> None:
        # A connection must not cross a fork, and a lock may have been held there.
        if self._pid != os.getpid():
            _inherited.extend(filter(None, (self._reader, self._writer)))
            self._reset()

    # Reading

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Return what `query` returns; all its questions see one state. It may be asked again."""
        self._notice_fork()
        with self._lock, self._errors():
            try:
                return self._read_undisturbed(query, may_mend=not self.read_only)
            except sqlite3.Error as error:
                if self.read_only or not _needs_rollback(error):
                    raise
            # A writer died within its commit. Its journal may be rolled back by a writer alone.
            self._mend()
            return self._read_undisturbed(query, may_mend=False)

    def _read_undisturbed(
        self, query: Callable[[sqlite3.Connection], T], *, may_mend: bool
    ) -> T:
        """Ask until no writer came between.

        With `may_mend` an error that a rollback mends is raised at once. Else a writer on another
        machine may just be committing, so that it is asked again like after any other error.
        """
        deadline, pause = time.monotonic() + self.timeout, 0.005
        while True:
            before = self.lease.look()
            try:
                answer = self._ask(query, before)
            except (sqlite3.Error, StoreError) as error:
                # Half of somebody's change may look like any error.
                if (may_mend and _needs_rollback(error)) or not self._disturbed(before):
                    raise
            else:
                if not self._disturbed(before):
                    return answer
            if time.monotonic() > deadline:
                raise StoreError(
                    f"store {self.path}: other machines wrote to it all the time for"
                    f" {self.timeout:g} s; try again"
                )
            time.sleep(pause)
            pause = min(pause * 1.5, 0.2)

    def _ask(self, query: Callable[[sqlite3.Connection], T], before: Sighting) -> T:
        self._refresh(before)
        connection = self._reader or self._open_reader()
        connection.execute("BEGIN")
        try:
            return query(connection)
        finally:
            _roll_back(connection)

    def _disturbed(self, before: Sighting) -> bool:
        """Whether a writer whom no lock keeps away may have written since `before`."""
        return self.lease.written_since(before, also_here=not self._has_locks())

    def _refresh(self, sighting: Sighting) -> None:
        """Forget what SQLite has of the file in memory where no lock says that it has changed."""
        if (self._reader or self._writer) and self._disturbed(self._last_sighting):
            self.close()
        self._last_sighting = sighting

    def _open_reader(self) -> sqlite3.Connection:
        try:
            connection = self._connect("ro")
        except sqlite3.OperationalError:
            if self.read_only or self.path.exists():
                raise
            self._mend()  # makes it
            connection = self._connect("ro")
        try:
            for pragma in _PRAGMAS:
                connection.execute(pragma)
            connection.execute("BEGIN")
            try:
                version = version_of(connection, self.path)
            finally:
                _roll_back(connection)
            if version < newest_version():
                # A schema is changed under the lease, and never by a reader's connection.
                if self.read_only:
                    raise StoreVersionError(
                        f"store {self.path}: its schema is version {version}, older than the"
                        f" {newest_version()} of this reflow, and it is opened read-only: open it"
                        " once with write access to bring it up to date"
                    )
                self._mend()
        except BaseException:
            connection.close()
            raise
        self._reader = connection
        return connection

    def _mend(self) -> None:
        """Have the file made, brought up to date or rolled back, by opening it for writing."""
        with self.writing():
            pass

    # Writing

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give a connection in a transaction, which nobody else writes beside."""
        self._notice_fork()
        with self._lock, self._errors():
            if self.read_only:
                raise StoreError(
                    f"store {self.path} is opened read-only: open it without read_only to write"
                )
            self._check_folder()
            with self.lease.held(self.timeout):
                connection = self._open_writer()
                # IMMEDIATE takes SQLite's lock now: a transaction that has read first could not
                # wait for it later.
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    # Nothing is in the file yet: who was taken for dead meanwhile changes nothing.
                    self.lease.check()
                    connection.execute("COMMIT")
                except BaseException:
                    _roll_back(connection)
                    raise

    def _open_writer(self) -> sqlite3.Connection:
        self._refresh(self.lease.look())
        if self._writer is not None:
            return self._writer
        connection = self._connect("rwc")
        try:
            for pragma in (*_WRITER_PRAGMAS, *_PRAGMAS):
                connection.execute(pragma)
            connection.execute("BEGIN IMMEDIATE")
            try:
                if version_of(connection, self.path) < newest_version():
                    migrate(connection, self.path)
                    self.lease.check()
                connection.execute("COMMIT")
            except BaseException:
                _roll_back(connection)
                raise
        except BaseException:
            connection.close()
            raise
        self._share()
        self._writer = connection
        return connection

    def _share(self) -> None:
        """Let a group that may write beside the file write to it too."""
        with contextlib.suppress(OSError):  # another user's file: that one sees to it
            folder, file = os.stat(self.path.parent), os.stat(self.path)
            mode = file.st_mode | (folder.st_mode & 0o060)
            if mode != file.st_mode and file.st_gid == folder.st_gid:
                os.chmod(self.path, mode & 0o7777)

    # The file

    def set_aside(self) -> Path | None:
        """Give the file a name that is free, and its journal with it; return that name."""
        self._notice_fork()
        with self._lock, self._errors(), self.lease.held(self.timeout):
            self.close()
            if not self.path.exists():
                return None
            number = 1
            while (aside := Path(f"{self.path}.{number}")).exists():
                number += 1
            os.rename(self.path, aside)
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{self.path}-journal", f"{aside}-journal")
            return aside

    def _check_folder(self) -> None:
        if self.path.is_dir():
            raise self._explained("unable to open", _NO_ACCESS)
        if self.make_folder:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(
                    f"store {self.path}: its folder cannot be made ({error.strerror}): set"
                    " XDG_STATE_HOME to a folder you may write to, or choose another store path"
                ) from error

    def _connect(self, mode: str) -> sqlite3.Connection:
        locks = "" if self._has_locks() else "&nolock=1"
        return sqlite3.connect(
            f"file:{quote(os.fsencode(self.path))}?mode={mode}{locks}",
            uri=True,
            timeout=self.timeout,
            isolation_level=None,  # transactions are begun and ended here, in so many words
            check_same_thread=False,  # the lock sees to it that threads take turns
        )

    def _has_locks(self) -> bool:
        """Whether the file system knows locks at all; some are mounted without."""
        if self._locks is None:
            self._locks = self.lease.has_locks()
        return self._locks is not False

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._explained(str(error), _kind_of(error)) from error
        except LeaseHeldError as error:
            raise self._explained(f"locked by {error}", _LOCKED) from error
        except LeaseLostError as error:
            raise StoreError(f"store {self.path}: {error}: nothing was changed") from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise self._explained("its file system is full", _FULL) from error
            message = f"unable to open: {error.strerror}"
            raise self._explained(message, _NO_ACCESS) from error

    def _explained(self, message: str, kind: str) -> StoreError:
        if self.path.is_dir():
            advice = "this is a folder; name a file in it"
        elif kind == _NO_ACCESS:
            advice = self._why_not_opened()
        else:
            advice = _ADVICE[kind].format(timeout=self.timeout)
        return StoreError(f"store {self.path}: {message}: {advice}")

    def _why_not_opened(self) -> str:
        folder = self.path.parent
        if not folder.is_dir():
            return (
                f"there is no folder {folder}; make it with `mkdir -p`,"
                " or choose another store path"
            )
        if self.read_only:
            if not self.path.exists():
                return "there is no such file; nothing was indexed here yet"
            return "open it once with write access, to complete an interrupted write"
        return (
            f"no write access to the file or to its folder {folder}; change its permissions,"
            " or choose another store path"
        )


def _roll_back(connection: sqlite3.Connection) -> None:
    # A failed COMMIT leaves the transaction open, a failed write may have ended it.
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _kind_of(error: sqlite3.Error) -> str:
    message = str(error)
    return next((kind for words, kind in _KINDS.items() if words in message), _OTHER)


def _needs_rollback(error: Exception) -> bool:
    """Whether SQLite met the journal of a writer that died, which a reader must not roll back."""
    return isinstance(error, sqlite3.Error) and "readonly" in str(error)
