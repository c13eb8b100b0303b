"""What the jobs of a run printed: whose log is which, and where no output was kept."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial

from attrs import frozen

from ..engine.replay import JobState
from ..engine.run_view import RunView
from ..errors import PluginError, UnknownTaskError, unknown_name
from ..executors.base import Capabilities
from ..states import FAILED
from ..storage.events import Place, Record, Retried
from ..storage.journal import JournalReader
from ..storage.outcome import Outcome
from ..storage.run_directory import INLINE, RunRecord, RunRequest
from .instance_view import element_name

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
        """The element as people write it, such as ``align[3]``; "" for none."""
        return element_name(self.task, self.index)

    @property
    def title(self) -> str:
        """What stands above the log where there are several."""
        name = os.path.basename(self.path)
        return f"{self.instance}, attempt {self.attempt} ({name})" if self.task else name


@frozen(kw_only=True)
class Failure:
    """A failed attempt of an element; `attempt` is 0 for the one that its outcome is of."""

    task: str
    index: int | None
    attempt: int
    detail: str

    @property
    def instance(self) -> str:
        """The element as people write it, such as ``align[3]``."""
        return element_name(self.task, self.index)

    @property
    def title(self) -> str:
        """What stands above the traceback."""
        attempt = f", attempt {self.attempt}" if self.attempt else ""
        return f"{self.instance}{attempt} failed"


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
        arrays = {task.name: task.array for task in self.request.spec.tasks}
        if self.task not in arrays:
            raise UnknownTaskError(unknown_name("task", self.task, arrays))
        if self.index is None:
            return
        if not arrays[self.task]:
            raise UnknownTaskError(f"task {self.task!r} is not an array: leave out [{self.index}]")
        size = RunView(self.record).replay.sizes.get(self.task)
        if size is not None and self.index >= size:
            allowed = f"0 to {size - 1}" if size else "none"
            raise UnknownTaskError(
                f"task {self.task!r} has no element {self.index} (elements: {allowed})"
            )

    def logs(self) -> list[Log]:
        """Return the logs that there are, in the order of submission.

        For a task whose output is not kept on its own, these are the logs that it shares.
        """
        logs = logs_of(self.record, self.request)
        shared = [log for log in logs if not log.task]
        if self.driver:
            return shared
        if self.task is None:
            return logs
        own = [log for log in logs if log.task == self.task and self.index in (None, log.index)]
        return own or (shared if self._shares else [])

    @property
    def _shares(self) -> bool:
        """Whether the elements run inside the driver and print into its log."""
        from ..plugins.executor_of_run import place_of

        try:
            return _capabilities(self.request, place_of(self.record)).inline
        except PluginError:
            return False

    def notes(self) -> list[str]:
        """Return what a person must know about output that is missing, or shared with others."""
        if self.request.executor == INLINE:
            return [
                "run_local printed to the terminal that it was started from: its output is not kept"
            ]
        if self.driver or self.task is None:
            return []
        if self._shares:
            return [
                f"the output of task {self.task!r} is not kept on its own: all tasks of a run "
                f"by executor {self.request.executor!r} print into the driver's log"
            ]
        if not self.logs():
            return ["there is no log: it has not started, or its result is from the cache"]
        return []


def earlier_failures(record: RunRecord, request: RunRequest) -> list[Failure]:
    """Return the failed attempts after which their elements were tried again.

    In order of task, element and attempt.
    """
    replay = RunView(record).replay
    if not (replay.retries or replay.retried):
        return []
    arrays = {task.name: task.array for task in request.spec.tasks}
    order = {name: number for number, name in enumerate(arrays)}
    # Without a retry all earlier failures are on record as retried: no outcome is needed.
    records = JournalReader(record.files, record.segments).read(outcomes=replay.retries > 0)
    attempts = sorted(
        _retried(records), key=lambda attempt: (order[attempt.task], *attempt[1:3])
    )
    return [
        Failure(
            task=attempt.task, index=attempt.index if arrays[attempt.task] else None,
            attempt=attempt.attempt, detail=attempt.detail,
        )
        for attempt in attempts
    ]  # fmt: skip


def _retried(records: Iterable[Record]) -> Iterator[Retried | Outcome]:
    """Yield what failed and was tried again: at once, or by a retry."""
    last: dict[tuple[str, int], Outcome] = {}
    for record in records:
        if isinstance(record, Retried):
            yield record
        elif isinstance(record, Outcome):
            before = last.get((record.task, record.index))
            if before is not None and before.state == FAILED and before.attempt:
                yield before
            last[record.task, record.index] = record


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
    from ..plugins.executor_of_run import executor_of

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
