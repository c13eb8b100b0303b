"""What the jobs of a run printed: which log is whose, and where nothing was kept."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator

from attrs import frozen

from ..errors import PluginError, UnknownTaskError, unknown_name
from ..executors.base import Capabilities
from ..states import FAILED
from ..storage.events import HOME, Epoch, Intent, Place, Retried, Sized
from ..storage.journal import JournalReader
from ..storage.outcome import Outcome
from ..storage.run_directory import INLINE, RunRecord, RunRequest

_PIECE = 1 << 16


@frozen(kw_only=True)
class Log:
    """One log file. `task` is "" where it is not of one task alone, `index` None for no array."""

    path: str
    task: str = ""
    index: int | None = None
    attempt: int = 0

    @property
    def instance(self) -> str:
        """The instance as people write it, such as ``align[3]``; "" for none."""
        return self.task if self.index is None else f"{self.task}[{self.index}]"

    @property
    def title(self) -> str:
        """What stands above the log where there are several."""
        name = os.path.basename(self.path)
        return f"{self.instance}, attempt {self.attempt} ({name})" if self.task else name


@frozen
class Selection:
    """The logs of a run that are asked for: of all, one task, one element, or the driver.

    `logs` may be asked again while the run goes on. Raises `UnknownTaskError` for a task
    or an element that the run does not have.
    """

    record: RunRecord
    request: RunRequest
    task: str | None = None
    index: int | None = None
    driver: bool = False

    def __attrs_post_init__(self) -> None:
        """Check the names."""
        if self.task is None:
            return
        arrays = {one.name: one.array for one in self.request.spec.tasks}
        if self.task not in arrays:
            raise UnknownTaskError(unknown_name("task", self.task, arrays))
        if self.index is None:
            return
        if not arrays[self.task]:
            raise UnknownTaskError(f"task {self.task!r} is no array: leave out [{self.index}]")
        size = self._size()
        if size is not None and self.index >= size:
            allowed = f"0 to {size - 1}" if size else "none"
            raise UnknownTaskError(
                f"task {self.task!r} has no element {self.index} (elements: {allowed})"
            )

    def _size(self) -> int | None:
        known = JournalReader(self.record.files, self.record.segments).read(outcomes=False)
        sizes = [one.size for one in known if isinstance(one, Sized) and one.task == self.task]
        return sizes[-1] if sizes else None

    def logs(self) -> list[Log]:
        """Return the logs that there are, in the order of submission.

        Of a task whose output is not kept on its own it is the logs that it shares.
        """
        found = logs_of(self.record, self.request)
        shared = [one for one in found if not one.task]
        if self.driver:
            return shared
        if self.task is None:
            return found
        own = [
            one for one in found if one.task == self.task and self.index in (None, one.index)
        ]
        return own or (shared if self._shares else [])

    @property
    def _shares(self) -> bool:
        """Whether the elements run inside the driver and print into its log."""
        from ..engine.executor_of_run import place_of

        try:
            return _capabilities(self.request, place_of(self.record)).inline
        except PluginError:
            return False

    def notes(self) -> list[str]:
        """Return what a person must know of output that is not, or not on its own, here."""
        if self.request.executor == INLINE:
            return [
                "run_local printed to the terminal it was started from: its output is not kept"
            ]
        if self.driver or self.task is None:
            return []
        if self._shares:
            return [
                f"the output of task {self.task!r} is not kept on its own: all tasks of a run "
                f"by executor {self.request.executor!r} print into the driver's log"
            ]
        if not self.logs():
            return ["there is no log of it: it has not started, or its result is from the cache"]
        return []


def earlier_failures(record: RunRecord, request: RunRequest) -> list[tuple[Log, str]]:
    """Return the attempts that failed and were not the last of their elements, with what of.

    In order of task, element and attempt; the logs have no path.
    """
    reader = JournalReader(record.files, record.segments)
    known = reader.read(outcomes=False)
    if any(isinstance(one, Epoch) and one.kind == "retry" for one in known):
        known = JournalReader(record.files, record.segments).read()
    elif not any(isinstance(one, Retried) for one in known):
        return []
    order = {one.name: place for place, one in enumerate(request.spec.tasks)}
    arrays = {one.name: one.array for one in request.spec.tasks}
    last: dict[tuple[str, int], Outcome] = {}
    found: list[tuple[str, int, int, str]] = []
    for one in known:
        if isinstance(one, Retried):
            found.append((one.task, one.index, one.attempt, one.detail))
        elif isinstance(one, Outcome):
            before = last.get((one.task, one.index))
            if before is not None and before.state == FAILED and before.attempt:
                found.append((one.task, one.index, before.attempt, before.detail))
            last[one.task, one.index] = one
    found.sort(key=lambda one: (order[one[0]], *one[1:3]))
    return [
        (Log(path="", task=task, index=index if arrays[task] else None, attempt=attempt), detail)
        for task, index, attempt, detail in found
    ]


def logs_of(record: RunRecord, request: RunRequest) -> list[Log]:
    """Return all logs of a run, those of its drivers first, then in order of submission."""
    arrays = {one.name: one.array for one in request.spec.tasks}
    known = JournalReader(record.files, record.segments).read(outcomes=False)
    intents: dict[str, tuple[int, Intent, Place]] = {}
    where = HOME
    for place, one in enumerate(known):
        if isinstance(one, Epoch) and one.executor:
            where = (one.executor, one.settings)
        elif isinstance(one, Intent):
            intents[one.tag] = (place, one, where)
    first: dict[Place, int] = {}
    found: list[tuple[tuple[int, int, str], Log]] = []
    names = [(record.logs, name) for name in record.files.list(record.logs)]
    names += [(record.jobs, one) for one in record.files.list(record.jobs) if one.endswith(".log")]
    for folder, name in names:
        path = f"{folder}/{name}"
        tag, _, text = name.removesuffix(".log").rpartition(".")
        place, intent, where = intents.get(tag, (-1, None, HOME))
        if intent is None or not intent.task or not intent.indices:
            found.append(((-1, 0, name), Log(path=path)))
            continue
        position = 0
        if len(intent.indices) > 1 and text.isdigit():
            if where not in first:
                first[where] = _first_index(request, where)
            position = int(text) - first[where]
        if not 0 <= position < len(intent.indices):
            found.append(((place, 0, name), Log(path=path)))
            continue
        log = Log(
            path=path,
            task=intent.task,
            index=intent.indices[position] if arrays.get(intent.task) else None,
            attempt=intent.attempts[position],
        )
        found.append(((place, position, name), log))
    return [log for _, log in sorted(found, key=lambda one: one[0])]


def _capabilities(request: RunRequest, place: Place) -> Capabilities:
    from ..engine.executor_of_run import executor_of

    return executor_of(request, place).capabilities


def _first_index(request: RunRequest, place: Place) -> int:
    """Return what the scheduler counts from; without its plugin: the usual 0."""
    try:
        return _capabilities(request, place).first_index
    except PluginError:
        return 0


def size(path: str) -> int:
    """Return the bytes of a log."""
    return os.stat(path).st_size


def piece(path: str, offset: int) -> bytes:
    """Return the next bytes of a log from `offset` on, b"" at its end."""
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(_PIECE)


def pieces(path: str) -> Iterator[bytes]:
    """Return a log bit by bit: it may be larger than the memory."""
    with open(path, "rb") as file:
        while data := file.read(_PIECE):
            yield data


def last_lines(path: str, count: int) -> bytes:
    """Return the last lines of a log."""
    with open(path, "rb") as file:
        return b"".join(deque(file, maxlen=count))
