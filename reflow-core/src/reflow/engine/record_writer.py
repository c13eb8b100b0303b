"""Writes the record of a run for the holder of its lease, and keeps the store up behind it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from ..errors import RunDirectoryError, StoreError, UnknownRunError
from ..plugins.notify import observe
from ..storage.clock import Clock
from ..storage.events import Finished, Note, Record, encode
from ..storage.indexing import catch_up, index_records
from ..storage.journal import JournalReader, Lease
from ..storage.outcome import Outcome
from ..storage.run_directory import RunRecord, RunRequest
from ..storage.stores.base import Position, Store
from .replay import Replay

SYNC_SECONDS = 0.05
"""What is on record is durable after so long, while elements come out one after the other."""

INDEX_SECONDS, MOST_UNINDEXED = 2.0, 5000
"""The store lags behind the record by no more than so long, and so many records."""

MOST_LINES = 200
"""So many records at most wait in memory to be handed to the operating system."""


class RecordWriter:
    """Writes one run's journal in batches: a long array pays for no sync of its own.

    The record comes first. The store is told what is on record, and may fail: it is an index
    that catches up later. Observers are told what is durable.
    """

    def __init__(
        self,
        record: RunRecord,
        request: RunRequest,
        store: Store | None,
        replay: Replay,
        reader: JournalReader,
        lease: Lease,
        clock: Clock,
        *,
        indexed: Callable[[], None],
    ) -> None:
        """`reader` has read all that was written before `lease` was taken.

        `indexed` is called when the store has what is on record; it may raise `StoreError`.
        """
        self._record = record
        self._request = request
        self._store = store
        self._replay = replay
        self._lease = lease
        self._clock = clock
        self._indexed = indexed
        self._base = reader.offset
        self._lines: list[bytes] = []
        self._unindexed: list[Record] = []
        self._untold: list[Outcome | Finished] = []
        self._broken = False
        # Of a run's first holder nothing is on record that it does not index itself.
        self._behind = lease.number > 1
        self._synced_at = self._indexed_at = time.monotonic()

    def write(self, record: Record) -> None:
        """Put a record into the journal; on disk after `flush`, durable after `sync`."""
        self._lines.append(encode(record))
        self._unindexed.append(record)

    def note(self, text: str) -> bool:
        """Record what a person should read; False if it is on record already."""
        if text in self._replay.notes:
            return False
        self._replay.notes[text] = None
        self.write(Note(text, self._clock.now()))
        return True

    def announce(self, event: Outcome | Finished) -> None:
        """Have the run's observers told of what was written, once it is durable."""
        if self._request.options.observers:
            self._untold.append(event)

    def flush(self) -> None:
        """Hand what was written to the operating system."""
        if not self._lines or self._broken:
            return
        lines, self._lines = self._lines, []
        try:
            self._lease.append_encoded(b"".join(lines))
        except OSError as error:
            raise self._fail(error) from error

    def sync(self) -> None:
        """Make all that was written durable."""
        self.flush()
        if self._broken:
            return
        try:
            self._lease.sync()
        except OSError as error:
            raise self._fail(error) from error
        # After it: else the next record would be synced at once where a sync takes long.
        self._synced_at = time.monotonic()
        if self._untold:
            self._lease.check()  # what a stale holder saw may not have happened
            events, self._untold = self._untold, []
            for problem in observe(self._request, events):
                self.write(Note(problem, self._clock.now()))

    def _fail(self, error: OSError) -> RunDirectoryError:
        """Write nothing more: what comes later must not stand there without what is lost."""
        self._broken = True
        return RunDirectoryError(
            error.errno,
            f"cannot write the record of run {self._request.run_id} in {self._record.folder}: "
            f"{error.strerror}; make room or make it writable, then retry the run: what is on "
            "record is kept",
        )

    def save(self) -> None:
        """Sync and index, if it is time to."""
        now = time.monotonic()
        if now - self._synced_at > SYNC_SECONDS:
            self.sync()
        elif len(self._lines) > MOST_LINES:
            self.flush()
        if len(self._unindexed) >= MOST_UNINDEXED or now - self._indexed_at > INDEX_SECONDS:
            self.index()

    def index(self) -> None:
        """Enter what is on record into the store; a store that fails catches up later."""
        self.flush()  # the store never knows more than the record
        if self._broken:
            return
        records, self._unindexed = self._unindexed, []
        self._indexed_at = time.monotonic()
        if self._store is None:
            return
        run_id = self._request.run_id
        try:
            if self._behind:
                # Whatever earlier holders wrote and nobody indexed comes first.
                goes_on = self._replay.finished is None
                catch_up(self._store, self._record, run_id, carried_on=goes_on)
                self._behind = False
            else:
                offset = self._base + self._lease.size
                position = Position(segment=self._lease.number, offset=offset)
                index_records(self._store, run_id, records, position)
            self._indexed()
        except (StoreError, UnknownRunError):  # it may have been dropped, or its file deleted
            self._behind = True

    def release(self) -> None:
        """Let the lease go, with everything on record and indexed."""
        if self._broken:
            # The error is on its way up; a few bytes may still find room.
            with contextlib.suppress(OSError):
                self._lease.release()
            return
        self.sync()
        self.index()
        self._lease.release()
