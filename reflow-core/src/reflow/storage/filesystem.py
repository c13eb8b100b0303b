"""The files port: every open, list, link and rename of the record goes through it.

`Files` works on a POSIX file system, network file systems included; tests put a
double in its place that crashes, tears writes and shows them late. The rules it
serves: a name appears only with its whole content behind it, a name is taken by
one process only, and a reader lists a folder and opens what it sees instead of
looking up names that may not be there yet.
"""

from __future__ import annotations

import contextlib
import os

from .permissions import let_only_read, let_read, make_folders

_counter = 0


def _scratch_name(path: str) -> str:
    """Return a name beside `path` that no other process or thread uses."""
    global _counter
    _counter += 1
    # With the host, because process ids of two machines may be equal; with a dot, so that `list`
    # hides it.
    folder, name = os.path.split(path)
    return f"{folder}/.{name}.{os.uname().nodename}.{os.getpid()}.{_counter}.tmp"


def _open_new(path: str, mode: int) -> int:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    let_read(handle, path)
    return handle


def _fill(handle: int, path: str, data: bytes, durable: bool = True) -> None:
    """Write all of the data and close the descriptor, whatever happens.

    `path` is what an error names: the system does not know the name of a descriptor.
    """
    try:
        unwritten = memoryview(data)
        while unwritten:
            unwritten = unwritten[os.write(handle, unwritten) :]
        if durable:
            os.fsync(handle)
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(handle)


def _sync_folder(path: str) -> None:
    """Make the names in a folder durable, where the file system knows how."""
    with contextlib.suppress(OSError):  # some file systems cannot sync folders
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class Appender:
    """A file open for appending by one process; what is appended is durable only after `sync`."""

    def __init__(self, path: str) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def append(self, data: bytes) -> None:
        """Add bytes at the end, however often the system call comes up short."""
        unwritten = memoryview(data)
        try:
            while unwritten:
                unwritten = unwritten[os.write(self._handle, unwritten) :]
        except OSError:
            # All or nothing: on a full disk the first half may have been written.
            written = len(data) - len(unwritten)
            if written:
                with contextlib.suppress(OSError):
                    size = os.fstat(self._handle).st_size
                    os.ftruncate(self._handle, size - written)
            raise

    def sync(self) -> None:
        """Make all that was appended durable."""
        # macOS has no fdatasync.
        os.fdatasync(self._handle) if hasattr(os, "fdatasync") else os.fsync(self._handle)

    def close(self) -> None:
        """Close the descriptor; further appends are errors."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


class Files:
    """The real file system. Paths are absolute strings; errors are OSError."""

    def make_folder(self, path: str) -> None:
        """Create a folder and those above it, unless they exist."""
        make_folders(path)

    def list(self, path: str) -> list[str]:
        """Return the names in a folder, without those of unfinished files; [] if it is missing."""
        try:
            names = os.listdir(path)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [name for name in names if not name.startswith(".")]

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        """Return `size` bytes of a file from `offset` on, or all to its end."""
        with open(path, "rb") as file:
            if offset:
                file.seek(offset)
            return file.read(size)

    def create(self, path: str, data: bytes, *, durable: bool = True) -> bool:
        """Publish a whole file under a new name; False if the name is taken.

        With `durable`, its content is on disk on return. The name is taken by link(2), which is
        exclusive on network file systems too.
        """
        # Not O_EXCL on the name itself: others would see the file before it is whole.
        scratch = _scratch_name(path)
        handle = _open_new(scratch, 0o666)
        try:
            _fill(handle, path, data, durable)
            try:
                os.link(scratch, path)
            except FileExistsError:
                return False
        finally:
            os.unlink(scratch)
        return True

    def write(self, path: str, data: bytes, *, executable: bool = False) -> None:
        """Replace a file, or make it, as a whole; durable on return."""
        scratch = _scratch_name(path)
        _fill(_open_new(scratch, 0o777 if executable else 0o666), path, data)
        os.replace(scratch, path)
        _sync_folder(os.path.dirname(path))

    def scratch(self, folder: str, suffix: str) -> str:
        """Return a new path in a folder that ends in `suffix`; `list` hides it."""
        path = _scratch_name(f"{folder}/value")
        return path.removesuffix(".tmp") + suffix

    def publish(self, scratch: str, path: str) -> bool:
        """Give a whole file its final name; False if the name is taken. Durable on return.

        The scratch name stays until it is discarded.
        """
        handle = os.open(scratch, os.O_RDONLY | os.O_CLOEXEC)
        try:
            let_only_read(handle, path)
            os.fsync(handle)
        finally:
            os.close(handle)
        try:
            os.link(scratch, path)
        except FileExistsError:
            return False
        return True

    def discard(self, path: str) -> None:
        """Delete what is under a scratch name, if anything."""
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError:  # somebody's serializer may have made a folder instead
            if not os.path.isdir(path):
                raise
            import shutil

            shutil.rmtree(path, ignore_errors=True)

    def share(self, source: str, path: str) -> None:
        """Give a file that nobody changes a second name, or copy it; nothing if that is taken."""
        try:
            os.link(source, path)
        except FileExistsError:
            return
        except FileNotFoundError:
            raise
        except OSError:  # another file system, one without links, or another user's file
            self.create(path, self.read(source))

    def digest(self, path: str) -> str:
        """Return the sha256, in hex, of a file's content."""
        from hashlib import sha256

        content = sha256()
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                content.update(block)
        return content.hexdigest()

    def open_append(self, path: str) -> Appender:
        """Open an existing file for appending."""
        return Appender(path)

    def touch(self, path: str) -> float:
        """Set a file's time to now, by the file server's clock, and return it."""
        try:
            os.utime(path)  # without a time: then a file server takes its own clock's
        except FileNotFoundError:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))
        return os.stat(path).st_mtime

    def abandon(self, path: str) -> None:
        """Mark a file as nobody's where the disk is full: its time becomes 0."""
        os.utime(path, (0, 0))

    def modified(self, path: str) -> float:
        """Return when a file last changed, by the file server's clock; 0 if abandoned."""
        return os.stat(path).st_mtime
