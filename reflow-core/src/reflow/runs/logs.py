"""What the jobs of a run printed: which log is whose, and where nothing was kept."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from functools import cache, partial

from attrs import frozen

from ..engine.replay import JobState
from ..engine.run_view import RunView
from ..errors import PluginError, UnknownTaskError, unknown_name
from ..executors.base import Capabilities
from ..states import FAILED
from ..storage.events import Place, Retried
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
        size = RunView(self.record).replay.sizes.get(self.task)
        if size is not None and self.index >= size:
            allowed = f"0 to {size - 1}" if size else "none"
            raise UnknownTaskError(
                f"task {self.task!r} has no element {self.index} (elements: {allowed})"
            )

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
    replay = RunView(record).replay
    if not (replay.retries or replay.retried):
        return []
    reader = JournalReader(record.files, record.segments)
    known = reader.read(outcomes=replay.retries > 0)
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
    arrays = {task.name: task.array for task in request.spec.tasks}
    jobs = RunView(record).replay.jobs
    numbers = {tag: number for number, tag in enumerate(jobs)}
    first_index = cache(partial(_first_index, request))
    logs: list[tuple[tuple[int, int, str], Log]] = []
    for folder, name in _log_files(record):
        path = f"{folder}/{name}"
        tag, _, suffix = name.removesuffix(".log").rpartition(".")
        job = jobs.get(tag)
        if job is None or not job.intent.indices:
            logs.append(((-1, 0, name), Log(path=path)))
            continue
        intent, position = job.intent, _position(job, suffix, first_index)
        if not 0 <= position < len(intent.indices):
            logs.append(((numbers[tag], 0, name), Log(path=path)))
            continue
        log = Log(
            path=path,
            task=intent.task,
            index=intent.indices[position] if arrays.get(intent.task) else None,
            attempt=intent.attempts[position],
        )
        logs.append(((numbers[tag], position, name), log))
    return [log for _, log in sorted(logs, key=lambda pair: pair[0])]


def _log_files(record: RunRecord) -> Iterator[tuple[str, str]]:
    """Yield (folder, name) of what drivers and jobs of a scheduler printed into."""
    for name in record.files.list(record.logs):
        yield record.logs, name
    for name in record.files.list(record.jobs):
        if name.endswith(".log"):
            yield record.jobs, name


def _position(job: JobState, suffix: str, first_index: Callable[[Place], int]) -> int:
    """Return the position of a job whose log has this suffix: schedulers count as they like."""
    if len(job.intent.indices) == 1 or not suffix.isdigit():
        return 0
    return int(suffix) - first_index(job.place)


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
