"""Base of the executors that drive a scheduler through its own commands.

A backend adds its settings, its capabilities and, as pure functions, how to
render a request and how to read what the commands print. Running those commands
is the business of this class alone: as argument lists, never by a shell, with a
time limit, and again where asking again can do no harm.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from attrs import evolve, field, frozen, validators

from ..errors import (
    CommandMissingError,
    ExecutorError,
    SchedulerUnreachableError,
    SubmissionForbiddenError,
    SubmissionLimitError,
    SubmissionRefusedError,
)
from ..model.spec import Resources
from ..model.units import parse_memory, parse_time
from .base import Capabilities, Executor, JobRequest
from .parsing import only_id
from .settings import command as command
from .settings import command_names, quantity, setting

Self = TypeVar("Self", bound="CommandExecutor")

calls: Counter[str] = Counter()
"""How often this process has called each command, by the command's file name."""

_SEARCHED = re.compile(r"(?:[A-Z][A-Z0-9_]*)?PATH")
"""Names of variables that are lists of folders to look through, such as LD_LIBRARY_PATH."""

_PAUSES = (0.5, 2.0)
"""Seconds before a command that only asks is tried again."""

SUBMISSIONS = 4
"""How often one job is submitted at most, each time behind fewer jobs."""


@frozen(kw_only=True)
class Completed:
    """How a command ended: exit code, and what it printed as text."""

    arguments: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """What the command said of its failure, on one line."""
        return "; ".join(_lines(self.err or self.out)) or f"exit code {self.code}"

    told = message
    """The name of `message` in version 0.1.0, for backends that were written for it."""

    def says_only(self, pattern: re.Pattern[str], *, out: bool = False) -> bool:
        """Whether `pattern` is found in every line of its errors (with `out`, of all output)."""
        lines = _lines(f"{self.out}\n{self.err}" if out else self.err)
        return bool(lines) and all(map(pattern.search, lines))


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _each_once(folders: str) -> str:
    """Return a search path that names each folder once, where it was named first.

    >>> _each_once("/opt/a:/usr/bin:/opt/a:/bin")
    '/opt/a:/usr/bin:/bin'
    """
    return os.pathsep.join(dict.fromkeys(folders.split(os.pathsep)))


def user_name() -> str | None:
    """Return the name of the user who runs this; None for a user without a name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return None


def chunks(items: Iterable[str], size: int) -> list[list[str]]:
    """Return `items`, sorted, in lists of at most `size`, as one command line takes them.

    >>> chunks(["3", "1", "2"], 2)
    [['1', '2'], ['3']]
    """
    in_order = sorted(items)
    return [in_order[start : start + size] for start in range(0, len(in_order), size)]


@frozen(kw_only=True)
class CommandExecutor(Executor):
    """An executor that runs a scheduler's commands.

    `queue`, `account` and `options` (any other option of the command that submits, such as
    ``{"qos": "high"}``) hold for tasks that say nothing else. `max_submit_jobs` is how many
    jobs of the user, array elements counted, may be in the queue; more are submitted later.
    `min_poll_interval` is how many seconds lie between two questions at least.
    `command_timeout` is how many seconds a command may take before the scheduler counts
    as unreachable. `prologue` are lines of shell that every job runs first, such as
    ``module load python``; `environment` are variables that every job gets. The jobs that
    carry a run on (sentinel, guard, dispatch) ask for `dispatch_queue`, `dispatch_account`,
    `dispatch_time` and `dispatch_mem`, where these are set.

    A backend has fields made by `command` and supplies `can`, `arguments`, `printed_id`, `limits`
    and `silent`, from which `submit` follows, `queued` where it can count the user's
    jobs, and `poll`, `find` and `cancel`.
    """

    queue: str | None = setting(None, "The queue of tasks that name none.")
    account: str | None = setting(None, "The account of tasks that name none.")
    options: dict[str, str] = field(
        factory=dict,
        metadata={"help": "Any other options of the command that submits, for all tasks."},
    )
    max_submit_jobs: int | None = setting(
        None,
        "Most jobs of yours in the queue, array elements counted (4 or more).",
        validators.ge(4),
    )
    min_poll_interval: float = field(
        default=10.0,
        validator=validators.ge(0),
        metadata={"help": "Seconds between two questions to the scheduler at least."},
    )
    command_timeout: float = field(
        default=60.0,
        validator=validators.gt(0),
        metadata={"help": "Seconds after which a command counts as not answered."},
    )
    prologue: str = setting("", "Lines of shell that every job runs first.")
    environment: dict[str, str] = field(
        factory=dict, metadata={"help": "Variables that every job gets."}
    )
    dispatch_queue: str | None = setting(
        None, "The queue of the jobs that carry a run on; compute nodes of it may submit."
    )
    dispatch_account: str | None = setting(None, "The account of the jobs that carry a run on.")
    dispatch_time: str | None = setting(
        None, "The time limit of the jobs that carry a run on.", quantity(parse_time)
    )
    dispatch_mem: str | None = setting(
        None, "The memory of the jobs that carry a run on.", quantity(parse_memory)
    )

    can: ClassVar[Capabilities] = Capabilities()
    """What the scheduler can do, as it comes: a site and its settings may lower it."""
    scrubbed: ClassVar[tuple[str, ...]] = ("REFLOW_JOB_",)
    """Beginnings of the variables that no command gets: those of the job that this process may run
    in, which must not go on to the jobs it submits, and those that change what a command does."""
    kept: ClassVar[tuple[str, ...]] = ()
    """Names of variables that commands get in spite of `scrubbed`."""
    fixed: ClassVar[Mapping[str, str]] = {}
    """Variables that every command gets with these values."""

    @property
    def capabilities(self) -> Capabilities:
        """What the scheduler `can` do, with the largest array and the poll interval set here."""
        most = getattr(self, "max_array_size", None) or self.can.max_array_size
        return evolve(
            self.can,
            max_array_size=None if most is None else self.array_limit(most),
            min_poll_interval=self.min_poll_interval,
        )

    def resources_of(self, request: JobRequest) -> Resources:
        """Return what a job asks for: what its task does, or what is set for dispatch jobs."""
        if not request.auxiliary:
            return request.resources
        return Resources(
            queue=self.dispatch_queue,
            account=self.dispatch_account,
            time=None if self.dispatch_time is None else parse_time(self.dispatch_time),
            mem=None if self.dispatch_mem is None else parse_memory(self.dispatch_mem),
        )

    def submit(self, request: JobRequest) -> str:
        """Submit a job by the scheduler's command, and return its id.

        It is submitted again where it was refused for nothing but jobs that it waits for and that
        the scheduler has forgotten: see `without_forgotten`.
        """
        self.keep_within_limit(request)
        request = evolve(request, resources=self.resources_of(request))
        for _ in range(SUBMISSIONS):
            done = self.call(self.arguments(request), text=self.read(request))
            shorter = self.without_forgotten(request, done) if done.code else None
            if shorter is None:
                return self.submitted_id(request, done)
            request = shorter
        # Jobs end faster than they are left out: nothing is wrong with this one.
        what = os.path.basename(done.arguments[0])
        behind = ", ".join([*request.after, request.after_each]).rstrip(", ")
        raise SchedulerUnreachableError(f"{what} takes no job behind {behind}: {done.message}")

    def without_forgotten(self, request: JobRequest, done: Completed) -> JobRequest | None:
        """Return a request that was refused, without the forgotten jobs that it waits for.

        None where it was refused for anything else. Most schedulers take such a request.
        """
        return None

    def submitted_id(self, request: JobRequest, done: Completed) -> str:
        """Return the id of the job that a command submitted, or raise why it did not."""
        what = os.path.basename(done.arguments[0])
        if done.code == 0:
            try:
                return self.read_job_id(done)
            except ValueError as error:  # whether the job was taken is not known
                raise SchedulerUnreachableError(f"{what}: {error}") from error
        if self.forbidden is not None and self.forbidden.search(f"{done.err}\n{done.out}"):
            raise SubmissionForbiddenError(
                f"{self.name} takes no jobs from {os.uname().nodename}: {done.message}"
            )
        if self.limits is not None and self.limits.search(f"{done.err}\n{done.out}"):
            raise SubmissionLimitError(f"{what}: {done.message}")
        raise SubmissionRefusedError(f"{self.name} refused job {request.name!r}: {done.message}")

    asked, taken = resources_of, submitted_id
    """Their names in version 0.1.0, for backends that were written for it."""

    limits: ClassVar[re.Pattern[str] | None] = None
    """What the command that submits says where the job could be taken later."""

    forbidden: ClassVar[re.Pattern[str] | None] = None
    """What it says where this machine may not submit, and another may."""

    silent: ClassVar[re.Pattern[str] | None] = None
    """What any of the commands says where the scheduler itself did not answer."""

    waiting: ClassVar[re.Pattern[str] | None] = None
    """What it prints while it waits for room in the queue by itself, perhaps for ever."""

    def arguments(self, request: JobRequest) -> list[str]:
        """Return the command line that submits a job; pure. Raises `SubmissionRefusedError`."""
        raise NotImplementedError

    def read(self, request: JobRequest) -> str:
        """Return what that command reads; most read a file or nothing."""
        return ""

    printed_id: ClassVar[re.Pattern[str] | None] = None
    """How it prints the id of the job that it has taken: the pattern's only group."""

    def read_job_id(self, done: Completed) -> str:
        """Return the job's id from what that command printed; `ValueError` if it is not there."""
        ids = [] if self.printed_id is None else self.printed_id.findall(done.out)
        return only_id(os.path.basename(done.arguments[0]), done.out, ids)

    def queued(self) -> int | None:
        """Return how many jobs of this user are in the queue, array elements counted.

        None where that cannot be told: then `max_submit_jobs` holds nothing back.
        """
        return None

    def keep_within_limit(self, request: JobRequest) -> None:
        """Raise `SubmissionLimitError` where a job would pass `max_submit_jobs`."""
        # Jobs that carry the run on are never held back: without them it would stand still.
        if self.max_submit_jobs is None or request.auxiliary:
            return
        queued = self.queued()
        if queued is not None and queued + request.size > self.max_submit_jobs:
            raise SubmissionLimitError(
                f"{queued} jobs are in the queue, and {request.size} more would pass "
                f"max_submit_jobs = {self.max_submit_jobs}"
            )

    def array_limit(self, most: int) -> int:
        """Return the most positions of one job, where the scheduler takes `most`."""
        if self.max_submit_jobs is None:
            return most
        # An array that needs the whole limit for itself might never be taken.
        return min(most, self.max_submit_jobs // 2)

    def answer(
        self, arguments: Sequence[str], unknown: re.Pattern[str], *, strict: bool = True
    ) -> str:
        """Return what a command that asks for jobs prints.

        Where it fails, it may do so since it does not know a job: then `unknown` matches every line
        of its errors (not `strict`: any). Raises `SchedulerUnreachableError` for another failure:
        a job that nobody could ask for is not gone.
        """
        done = self.call(arguments, asks=True)
        understood = done.says_only(unknown) if strict else unknown.search(done.err) is not None
        if done.code != 0 and not understood:
            raise SchedulerUnreachableError(f"{os.path.basename(arguments[0])}: {done.message}")
        return done.out

    def settle(
        self, arguments: Sequence[str], harmless: re.Pattern[str], *, out: bool = False
    ) -> None:
        """Run a command that can be repeated, and raise `ExecutorError` where it fails.

        It has not failed where all that it says is `harmless` (see `Completed.says_only`).
        """
        done = self.call(arguments, asks=True)
        if done.code != 0 and not done.says_only(harmless, out=out):
            raise ExecutorError(f"{os.path.basename(arguments[0])}: {done.message}")

    def check(self) -> None:
        """Raise `ExecutorError` where the scheduler's commands are not to be found."""
        for name in command_names(type(self), needed=True):
            program = getattr(self, name)
            if shutil.which(program) is None:
                raise ExecutorError(
                    f"executor {self.name!r}: there is no command {program!r} on PATH: run this "
                    f"where {self.name} is installed, or set {name} in "
                    f"[executor.{self.name}] of the configuration"
                )

    def located(self: Self) -> Self:
        """Return the executor with its commands as absolute paths, where they are found.

        A job may have another PATH than the shell that submitted it, and one machine may
        have several schedulers whose commands share their names.
        """
        paths = {name: shutil.which(getattr(self, name)) for name in command_names(type(self))}
        return evolve(self, **{name: os.path.abspath(path) for name, path in paths.items() if path})

    def learned(self: Self, arguments: Sequence[str], **read: Callable[[Completed], Any]) -> Self:
        """Return the executor with settings that were None read from what a command prints.

        `read` has a function for each setting. Where all are set, or there is no answer, the
        executor stays as it is.
        """
        missing = [name for name in read if getattr(self, name) is None]
        if not missing:
            return self
        done = self.attempt(arguments)
        return evolve(self, **{name: read[name](done) for name in missing}) if done else self

    def call(self, arguments: Sequence[str], *, asks: bool = False, text: str = "") -> Completed:
        """Run a command and return how it ended, whatever its exit code.

        `text` is what it reads. One that only `asks` is tried again where the scheduler cannot
        be reached. Raises `SchedulerUnreachableError` then, and where the command takes too
        long (whether it had its effect is unknown), and `CommandMissingError` where it cannot
        be started.
        """
        for pause in (*(_PAUSES if asks else ()), None):
            try:
                done = self._call(arguments, text)
                if not self.unreachable(done):
                    return done
                problem = done.message
            except _NoAnswerError as error:
                problem = str(error)
            if pause is not None:
                time.sleep(pause)
        raise SchedulerUnreachableError(f"{os.path.basename(arguments[0])}: {problem}")

    def attempt(self, arguments: Sequence[str]) -> Completed | None:
        """Run a command that is not needed; None where it is not there or has no answer."""
        try:
            return self.call(arguments)
        except ExecutorError:
            return None

    def unreachable(self, done: Completed) -> bool:
        """Whether a command failed because the scheduler itself did not answer (see `silent`)."""
        # Some clients end well where they have printed nothing but such a message.
        failed = done.code != 0 or not done.out.strip()
        return failed and self.silent is not None and self.silent.search(done.err) is not None

    def _environment(self) -> dict[str, str]:
        inherited = {
            # From job to job a prologue puts its folders in front of the same folders.
            name: _each_once(value) if _SEARCHED.fullmatch(name) else value
            for name, value in os.environ.items()
            if name in self.kept or not name.startswith(tuple(self.scrubbed))
        }
        return {**inherited, **self.fixed, **self.variables(), "LC_ALL": "C"}

    def variables(self) -> Mapping[str, str]:
        """Return other variables that every command gets, by the settings of this executor."""
        return {}

    def _call(self, arguments: Sequence[str], text: str) -> Completed:
        calls[os.path.basename(arguments[0])] += 1
        with self._start(arguments, has_input=bool(text)) as process:
            try:
                out, err = process.communicate(
                    input=text.encode() or None, timeout=self.command_timeout
                )
            except subprocess.TimeoutExpired as error:
                _kill(process)
                done = _completed(arguments, 0, error.stdout or b"", error.stderr or b"")
                raise self._no_answer(done) from None
            except BaseException:
                _kill(process)
                raise
        return _completed(arguments, process.returncode, out, err)

    def _start(self, arguments: Sequence[str], *, has_input: bool) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                list(arguments),
                stdin=subprocess.PIPE if has_input else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environment(),
                # A group of its own: it is killed whole, and Ctrl-C in a terminal, which only
                # detaches, does not cut a submission in two.
                start_new_session=True,
            )
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ENOMEM):  # a full login node: it will pass
                raise _NoAnswerError(f"cannot be started now: {error.strerror}") from error
            kind = ExecutorError if error.errno == errno.E2BIG else CommandMissingError
            raise kind(
                f"cannot run {arguments[0]!r}: {error.strerror}; is {self.name} installed here, "
                f"and on PATH? A path can be set in the configuration, [executor.{self.name}]"
            ) from error
        except ValueError as error:
            raise ExecutorError(f"cannot run {arguments[0]!r}: {error}") from error

    def _no_answer(self, done: Completed) -> Exception:
        """Return the error for a command that took too long, by what it had printed till then."""
        printed = f"{done.err}\n{done.out}".strip()
        problem = f"no answer within {self.command_timeout:g} s"
        if printed:
            problem += f" (it said: {done.message})"
        if self.waiting is not None and self.waiting.search(printed):
            return SubmissionLimitError(f"{os.path.basename(done.arguments[0])}: {problem}")
        return _NoAnswerError(problem)


class _NoAnswerError(Exception):
    """A command did not run to its end."""


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a command and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _completed(arguments: Sequence[str], code: int, out: bytes, err: bytes) -> Completed:
    return Completed(
        arguments=tuple(arguments),
        code=code,
        out=out.decode("utf-8", "replace"),
        err=err.decode("utf-8", "replace"),
    )
