"""The journal of a run: numbered segments, each written by one lease holder.

To take the lease of a run *is* to create its next segment: the name is taken
exclusively, and the first record says how many bytes of the segment before count.
So whatever a stale holder still appends stands outside the record, and no clock
needs to be trusted for the record to be right. The segment's file time is the
holder's sign of life.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import zip_longest

from ..errors import LeaseHeldError, RecordError
from .clock import Clock
from .events import FORMAT, Opened, Record, Released, check_format, decode_all, encode
from .filesystem import Appender, Files
from .numbered_files import LEASE_SECONDS as LEASE_SECONDS
from .numbered_files import NumberedFiles
from .process_id import is_alive

VISIBLE_SECONDS = 10
"""How long to wait for what another machine wrote before it counts as missing."""


def segments_in(files: Files, folder: str) -> NumberedFiles:
    """Return the segments of the journal in a folder."""
    return NumberedFiles(files, folder, 6, ".seg")


class JournalReader:
    """Reads a run's records in order, and later only what has come since.

    `segment` and `offset` say how far it has read. A reader without the lease may
    see what a stale holder appended before it was overtaken; holders never do.
    `behind` says that not all of a sealed segment could be seen yet: nothing that
    comes after it is read before the rest of it.
    """

    def __init__(self, files: Files, folder: str, segment: int = 0, offset: int = 0) -> None:
        self.segments = segments_in(files, folder)
        self.segment = segment
        self.offset = offset
        self.last: Record | None = None
        self.owner = ""
        self.behind = False

    def read(self, *, outcomes: bool = True) -> list[Record]:
        """Return the records that have come since the last call.

        Without `outcomes`, only the first of each stretch of them.
        """
        self.behind = False
        numbers = [number for number in self.segments.numbers() if number >= self.segment]
        records: list[Record] = []
        for number, successor in zip_longest(numbers, numbers[1:]):
            records += self._read_segment(number, successor, outcomes)
            if self.behind:
                break
        return records

    def _read_segment(self, number: int, successor: int | None, outcomes: bool) -> list[Record]:
        start = self.offset if number == self.segment else 0
        # Read before its successor's seal is: who seals a segment has seen all that counts of it.
        try:
            data = self.segments.files.read(self.segments.path(number), start)
        except FileNotFoundError as error:
            raise RecordError(f"the run's record has lost {error.filename}") from error
        sealed: int | None = None
        if successor is not None:
            # What a stale holder appended behind the seal is not part of the record.
            sealed = max(0, self._sealed(successor) - start)
            data = data[:sealed]
        records, size = decode_all(data, outcomes=outcomes)
        if records:
            self.last = records[-1]
            if isinstance(records[0], Opened) and start == 0:
                check_format(records[0].format, self.segments.folder)
                self.owner = records[0].owner
        self.segment, self.offset = number, start + size
        self.behind = sealed is not None and size < sealed
        return records

    def _sealed(self, number: int) -> int:
        """Return how many bytes of its predecessor count, as a segment says."""
        path = self.segments.path(number)
        records, _ = decode_all(self.segments.files.read(path)[:4096])
        if not records or not isinstance(records[0], Opened):
            raise RecordError(f"{path} is damaged: it has no first record")
        check_format(records[0].format, self.segments.folder)
        return records[0].sealed


class Lease:
    """The right to carry a run on, and the segment that goes with it."""

    def __init__(self, segments: NumberedFiles, number: int, clock: Clock) -> None:
        self._segments = segments
        self._clock = clock
        self._appender: Appender = segments.files.open_append(segments.path(number))
        self._dirty = False
        self.number = number
        self.size = 0

    def check(self) -> None:
        """Raise `LeaseLostError` if a newer holder has taken over."""
        folder = self._segments.folder
        self._segments.check(
            self.number, f"another process has taken over the run recorded in {folder}"
        )

    def append(self, record: Record) -> None:
        """Append one record; durable only after `sync`."""
        self.append_encoded(encode(record))

    def append_encoded(self, data: bytes) -> None:
        """Append encoded records; durable only after `sync`."""
        self._appender.append(data)
        self.size += len(data)
        self._dirty = True

    def sync(self) -> None:
        """Make the records durable."""
        if self._dirty:
            self._appender.sync()
            self._dirty = False

    def renew(self) -> None:
        """Show a sign of life."""
        self._segments.renew(self.number)

    def release(self) -> None:
        """Let go: the next holder need not wait."""
        try:
            self.append(Released(at=self._clock.now()))
            self.sync()
        except OSError:  # the disk is full
            self._segments.files.abandon(self._segments.path(self.number))
            raise
        finally:
            self._appender.close()


class SignOfLife:
    """Renews a lease from a thread: a long call of the user's, or of a scheduler, must not look
    dead."""

    def __init__(self, lease: Lease, seconds: float = LEASE_SECONDS / 6) -> None:
        self._lease = lease
        self._seconds = seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True, name="reflow-lease")

    def _renew(self) -> None:
        while not self._over.wait(self._seconds):
            try:
                self._lease.renew()
            except OSError:
                continue  # the next write of the journal reports it

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()  # a lease that was abandoned must not come to life again


def take_lease(
    files: Files,
    clock: Clock,
    reader: JournalReader,
    owner: str,
    *,
    seconds: float = LEASE_SECONDS,
    alive: Callable[[str], bool | None] = is_alive,
) -> tuple[Lease, list[Record]]:
    """Take the lease of a run, or raise `LeaseHeldError`.

    Returns the lease and the records that `reader` had not seen yet. A holder on
    this machine is judged by whether its process lives; elsewhere by the age of its
    segment against a file touched just now, both by the file server's clock.
    """
    records = _read_to_the_end(reader, clock)
    segments = reader.segments
    if reader.segment > 0 and not isinstance(reader.last, Released):
        records += _read_of_the_dead(files, reader, seconds, alive)
    if reader.segment > 0:
        # What it left in this machine's memory must be on disk before a seal counts on it;
        # even a `Released` may be there that was never synced.
        last = files.open_append(segments.path(reader.segment))
        last.sync()
        last.close()
    number = reader.segment + 1
    opened = Opened(FORMAT, number, reader.offset, owner, clock.now())
    # Here the lease is taken: of two that come so far, one gets the name.
    if not files.create(segments.path(number), encode(opened)):
        raise LeaseHeldError(_TAKEN)
    lease = Lease(segments, number, clock)
    # What the holder writes itself it need not read back.
    reader.segment, reader.offset = number, len(encode(opened))
    reader.owner, reader.last = owner, opened
    return lease, records


_TAKEN = "another process has just taken the run up"


def _read_to_the_end(reader: JournalReader, clock: Clock) -> list[Record]:
    """Read all that sealed segments have, which may become visible only after a while."""
    records = reader.read()
    for _ in range(VISIBLE_SECONDS):
        if not reader.behind:
            break
        clock.sleep(1.0)
        records += reader.read()
    if reader.behind:
        path = reader.segments.path(reader.segment)
        raise RecordError(f"{path} is damaged: it ends before its successor says")
    return records


def _read_of_the_dead(
    files: Files, reader: JournalReader, seconds: float, alive: Callable[[str], bool | None]
) -> list[Record]:
    """Return what the last holder wrote until it was judged; raise `LeaseHeldError` if it lives."""
    number, segments = reader.segment, reader.segments
    if not is_abandoned(files, reader) and segments.holder_lives(
        number, reader.owner, seconds, alive
    ):
        raise LeaseHeldError(f"the run is being carried on by {reader.owner}")
    records = reader.read()
    if reader.segment != number:
        raise LeaseHeldError(_TAKEN)
    return records


def is_held(files: Files, reader: JournalReader, now: float | None = None) -> bool:
    """Whether somebody holds the lease of the run that was read, as far as can be told from here.

    A holder on another machine counts as alive. With `now`, a time of the file server, every
    holder does only while it shows signs of life: one that was suspended carries nothing on.
    """
    if reader.segment == 0 or isinstance(reader.last, Released):
        return False
    if is_alive(reader.owner) is False or is_abandoned(files, reader):
        return False
    return now is None or now - last_sign(files, reader) < LEASE_SECONDS


def is_abandoned(files: Files, reader: JournalReader) -> bool:
    """Whether the last holder let go without room to say so in its segment."""
    return last_sign(files, reader) == 0


def last_sign(files: Files, reader: JournalReader) -> float:
    """Return when the last holder showed a sign of life, by the file server's clock."""
    return files.modified(reader.segments.path(reader.segment))
