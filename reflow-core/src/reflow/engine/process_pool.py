"""Runs elements on this machine: in this process, or isolated in processes of their own.

A process of the pool that dies takes only the element with it that it was working
on: each element is answered on its own, so what is unanswered tells who it was.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from multiprocessing.connection import Connection, Pipe, wait
from typing import TYPE_CHECKING

from ..model.flow import TaskDefinition
from ..states import ERROR, FAILED
from .task_call import (
    WITHIN_TASK,
    Answer,
    TaskCaller,
    Work,
    answer_of_death,
    fail_unloadable,
    flush_output,
    within_task,
)

if TYPE_CHECKING:
    from ..caching.input_files import Changed, InputFiles
    from ..values.references import Attachments

Answered = tuple[Work, Answer, "Changed | None"]
"""With what the element was made of besides what was submitted."""
CommonTexts = Callable[[str], Mapping[str, str]]
Watch = Callable[[str], "InputFiles | None"]
"""Returns the files that the parameters of a task name, None where there are none."""

_CHUNK_SECONDS = 0.05
"""A process of the pool is handed about as much work at once as takes so long."""

_DEATH_SECONDS = 1.0
"""So long after its pipe has closed a process has to be dead that dies."""


class Callers:
    """The tasks that a process has prepared, made when they are first called.

    `files` is how files count that the results of each name, as in ``job(files=)``, and `watch`
    looks after those that its parameters name.
    """

    def __init__(
        self,
        tasks: Mapping[str, TaskDefinition],
        attachments: Attachments,
        files: Mapping[str, str],
        watch: Watch,
    ) -> None:
        self._tasks = tasks
        self._attachments = attachments
        self._files = files
        self._watch = watch
        self._made: dict[str, tuple[TaskCaller, InputFiles | None]] = {}

    def call(self, work: Work, common: CommonTexts) -> tuple[Answer, Changed | None]:
        try:
            if work.task not in self._made:
                caller = TaskCaller(
                    self._tasks[work.task], common(work.task), self._attachments,
                    self._files[work.task],
                )  # fmt: skip
                self._made[work.task] = caller, self._watch(work.task)
            caller, inputs = self._made[work.task]
            if inputs is None:
                return caller.call(work.texts), None
            changed = inputs.begin()
        except Exception as error:
            return fail_unloadable(error, time.time()), None
        answer = caller.call(work.texts)
        changed = inputs.end(changed)
        return (answer.with_notes(changed.notes) if changed else answer), changed


class InProcess:
    """Runs one element after the other right here, so that a debugger works."""

    def __init__(self, callers: Callers, common: CommonTexts) -> None:
        self._callers = callers
        self._common = common
        self._queue: deque[Work] = deque()

    def add(self, works: Iterable[Work]) -> None:
        """Take elements in hand."""
        self._queue.extend(works)

    @property
    def busy(self) -> bool:
        """Whether anything is in hand."""
        return bool(self._queue)

    def results(self, seconds: float) -> list[Answered]:
        """Run elements for about so long, at least one, and return the answers."""
        answers: list[Answered] = []
        until = time.monotonic() + seconds
        with within_task():
            while self._queue:
                work = self._queue.popleft()
                answer, changed = self._callers.call(work, self._common)
                answers.append((work, answer, changed))
                # A failure may end the run: nothing else begins before it is settled.
                if time.monotonic() > until or answer.state == FAILED:
                    break
        return answers

    def drop(self, tasks: frozenset[str] | None, *, running: bool = True) -> list[Work]:
        """Give up what has not begun, of some tasks or (None) of all; return it.

        Nothing runs here while this is called, whatever `running` says.
        """
        return _take_out(self._queue, tasks)

    def close(self) -> None:
        """Nothing to close."""


def _is_of(work: Work, tasks: frozenset[str] | None) -> bool:
    """Whether an element is of one of these tasks; None: all."""
    return tasks is None or work.task in tasks


def _take_out(queue: deque[Work], tasks: frozenset[str] | None) -> list[Work]:
    """Take the elements of some tasks, or (None) of all, out of a queue; return them."""
    works = list(queue)
    queue.clear()
    queue.extend(work for work in works if not _is_of(work, tasks))
    return [work for work in works if _is_of(work, tasks)]


class _Process:
    """A forked process that answers one element after the other over a pipe."""

    def __init__(self, callers: Callers, others: list[Connection]) -> None:
        self.channel, child_end = Pipe()
        flush_output()
        with warnings.catch_warnings():
            # Python >= 3.12 warns of forking with threads; ours only touches a file.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            try:
                _lead_group(0)
                self.channel.close()
                for other in others:
                    other.close()
                _serve(child_end, callers)
            finally:
                os._exit(0)
        child_end.close()
        _lead_group(self.pid)  # here too: it may be killed before it has run a line
        self.pending: deque[Work] = deque()
        self.prepared: set[str] = set()  # tasks whose common texts it has
        self.pace = 0.0

    def kill(self) -> int | None:
        """End the process, with all that its task has started; return its wait status."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        return self.reap()

    def bury(self, task: str) -> Answer:
        """End the process, which died while it ran `task` or answers no more; return why."""
        until = time.monotonic() + _DEATH_SECONDS
        # The kernel closes the files of a process a moment before it can be waited for.
        while not self.is_dead() and time.monotonic() < until:
            time.sleep(0.001)
        by_itself = self.is_dead()
        status = self.kill()
        if by_itself and status is not None:
            if os.WIFSIGNALED(status):
                return answer_of_death(task, signal=os.WTERMSIG(status))
            return answer_of_death(task, code=os.WEXITSTATUS(status))
        how = "is gone" if by_itself else "had closed its connection to the run, and was killed"
        now = time.time()
        detail = f"task {task!r} left no answer: its process {how}"
        return Answer(FAILED, "", "", (), ERROR, detail, now, now)

    def is_dead(self) -> bool:
        """Whether the process has ended; it can still be reaped."""
        try:
            how = os.WEXITED | os.WNOHANG | os.WNOWAIT
            return os.waitid(os.P_PID, self.pid, how) is not None
        except ChildProcessError:
            return True

    def reap(self) -> int | None:
        """Wait for the process and return its wait status; None where another has waited."""
        self.channel.close()
        try:
            return os.waitpid(self.pid, 0)[1]
        except ChildProcessError:
            return None


def _lead_group(pid: int) -> None:
    """Put a process into a group of its own, so that its task's processes end with it."""
    with contextlib.suppress(OSError):  # it leads one already, or is gone
        os.setpgid(pid, 0)


def _serve(channel: Connection, callers: Callers) -> None:
    """Answer elements until the other end closes: also when its process was killed."""
    import threading

    # Ctrl-C reaches every process of the terminal; the driver decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.1)
        os.killpg(0, signal.SIGKILL)

    # A task may compute for hours: of a driver that was killed nothing must go on.
    threading.Thread(target=watch, daemon=True).start()
    os.environ[WITHIN_TASK] = "1"
    commons: dict[str, Mapping[str, str]] = {}
    while True:
        try:
            new_commons, works = channel.recv()
        except (EOFError, OSError):
            return
        commons.update(new_commons)
        for work in works:
            answered = callers.call(work, commons.__getitem__)
            flush_output()
            try:
                channel.send(answered)
            except (BrokenPipeError, OSError):
                return


class ProcessPool:
    """Runs elements in up to `size` forked processes."""

    def __init__(self, callers: Callers, common: CommonTexts, size: int) -> None:
        self._callers = callers
        self._common = common
        self._size = size
        self._queue: deque[Work] = deque()
        self._processes: list[_Process] = []

    def add(self, works: Iterable[Work]) -> None:
        """Take elements in hand and start as many as there are processes for."""
        self._queue.extend(works)
        self._feed()

    @property
    def busy(self) -> bool:
        """Whether anything is in hand."""
        return bool(self._queue) or any(process.pending for process in self._processes)

    def _feed(self) -> None:
        for process in list(self._processes):
            if not process.pending and self._queue:
                self._hand_out(process)
        while self._queue and len(self._processes) < self._size:
            process = _Process(self._callers, [other.channel for other in self._processes])
            self._processes.append(process)
            self._hand_out(process)

    def _hand_out(self, process: _Process) -> None:
        if not self._queue:
            return
        # As many as take a moment, by the pace so far; never more than a fair share.
        share = -(-len(self._queue) // self._size)
        fast = int(_CHUNK_SECONDS / process.pace) if process.pace else 1
        works = [self._queue.popleft() for _ in range(max(1, min(share, fast, 500)))]
        commons: dict[str, Mapping[str, str]] = {}
        for work in works:
            if work.task not in process.prepared:
                process.prepared.add(work.task)
                commons[work.task] = self._common(work.task)
        process.pending.extend(works)
        try:
            process.channel.send((commons, works))
        except OSError:
            # It died with nothing in hand: no element is to blame.
            self._processes.remove(process)
            process.kill()
            self._queue.extendleft(reversed(works))

    def results(self, seconds: float) -> list[Answered]:
        """Wait up to so long for answers and return those that have come."""
        self._feed()
        by_channel = {process.channel: process for process in self._processes if process.pending}
        answers: list[Answered] = []
        for channel in wait(list(by_channel), timeout=seconds) if by_channel else ():
            answers += self._receive(by_channel[channel])  # type: ignore[index]
        if not answers:
            # What a task has started may keep the pipe of a dead process open.
            for process in list(self._processes):
                if process.pending and process.is_dead() and not process.channel.poll():
                    answers += self._bury(process)
        self._feed()
        return answers

    def _receive(self, process: _Process) -> list[Answered]:
        """Return the answers that a process has sent, or the one of its death."""
        answers: list[Answered] = []
        try:
            while process.pending and process.channel.poll():
                answer: Answer
                answer, changed = process.channel.recv()
                answers.append((process.pending.popleft(), answer, changed))
                took = max(answer.ended - answer.started, 2e-5)
                process.pace = took if not process.pace else (process.pace + took) / 2
        except (EOFError, OSError):
            answers += self._bury(process)
        return answers

    def _bury(self, process: _Process) -> list[Answered]:
        self._processes.remove(process)
        if not process.pending:
            process.kill()
            return []
        # Elements are answered in order: it died of the first without an answer.
        culprit = process.pending.popleft()
        self._queue.extendleft(reversed(process.pending))
        return [(culprit, process.bury(culprit.task), None)]

    def drop(self, tasks: frozenset[str] | None, *, running: bool = True) -> list[Work]:
        """Give up elements of some tasks or (None) of all; return them.

        With `running` their processes are killed; otherwise those go on.
        """
        dropped = _take_out(self._queue, tasks)
        for process in list(self._processes) if running else ():
            if any(_is_of(work, tasks) for work in process.pending):
                self._processes.remove(process)
                process.kill()
                dropped += _take_out(process.pending, tasks)
                # What it had in hand of other tasks has left no answer, and runs elsewhere.
                self._queue.extend(process.pending)
        return dropped

    def close(self) -> None:
        """End all processes."""
        for process in self._processes:
            process.kill() if process.pending else process.reap()
        self._processes = []
