"""The executor port: what the engine asks of a scheduler, in neutral words.

Units are bytes and seconds, arrays are dense (positions ``0..size-1``), and no
scheduler's dialect appears here: a backend renders a `JobRequest` into its own.
"""

from __future__ import annotations

import signal as signals
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, ClassVar, TypeVar

from attrs import evolve, field, frozen

from ..model.spec import Resources as Resources
from ..states import ERROR, HELD, OOM

Self = TypeVar("Self", bound="Executor")

LIVE = "LIVE"
"""The scheduler has the job: queued, held or running."""
ENDED = "ENDED"
"""The scheduler says that the job is over."""


@frozen(kw_only=True)
class Capabilities:
    """What a backend's scheduler can do, for the planner.

    `array_variable` is the environment variable that holds the position in an array job, and
    `first_index` the position it counts from. `job_variable` differs for any two jobs or
    positions of an array. `max_array_size` is the most positions of one job, `max_dependencies`
    how many jobs one job may wait for (None: no limit; 0: none). `throttle`: an array can be told
    how many positions run at the same time. `elementwise`: each position of an array can wait for
    the same position of another. `begin`: a job can be told not to start before some time.
    `min_poll_interval` is the least number of seconds between two polls of a process that waits
    for a run. `inline`: elements run on this machine, inside the only job of a run.
    """

    array_variable: str = ""
    job_variable: str = ""
    first_index: int = 0
    max_array_size: int | None = None
    max_dependencies: int | None = None
    throttle: bool = False
    elementwise: bool = False
    begin: bool = False
    min_poll_interval: float = 0.0
    inline: bool = False


@frozen(kw_only=True)
class JobRequest:
    """One job to submit.

    `tag` is unique to the request and lands in the job's name or comment, so that
    a job whose submission ended in doubt can be found again. `script` is the path
    of an executable shell script; position p of an array of `size` runs it with
    the array variable set, and goes to `directory` itself, where the job may or may not start.
    `after` are job ids that must have *ended*, in any
    way, before this one starts; `after_each` an array job of the same size whose
    position p must have ended before position p starts (asked for only where the
    capability `elementwise` is there; where position p was lost, ours may be taken out of
    the queue). `begin` is a delay in seconds. `auxiliary`: it runs a dispatch pass and no
    task. `log` is the path of the log, in which ``{position}`` stands for the array
    position as the scheduler counts it (`Capabilities.first_index` onwards), or 0 in a job
    that is no array.
    """

    tag: str
    name: str
    script: str
    directory: str
    log: str
    size: int = 1
    resources: Resources = Resources()
    after: tuple[str, ...] = ()
    after_each: str = ""
    begin: float = 0.0
    auxiliary: bool = False
    throttle: int | None = None

    def behind(self, jobs: Collection[str]) -> JobRequest:
        """Return the request such that it waits for no other jobs than these."""
        after = tuple(job for job in self.after if job in jobs)
        each = self.after_each if self.after_each in jobs else ""
        return evolve(self, after=after, after_each=each)


@frozen(kw_only=True)
class JobStatus:
    """What the scheduler says of one job or one position of it.

    `state` is `LIVE` or `ENDED`; `running` whether it has started; `cause` one of
    `reflow.states.CAUSES` or "" where the job ended well or lives; `positions`
    answers for single positions of an array, where the scheduler tells. `suspected` is a cause
    that the scheduler does not report but that is likely: if not given, OOM of an ERROR with
    `signal` 9, for that is how memory runs out where nobody says so.
    """

    state: str
    running: bool = False
    cause: str = ""
    exit_code: int | None = None
    signal: int | None = None
    nodes: tuple[str, ...] = ()
    started: float | None = None
    ended: float | None = None
    reason: str = ""
    raw: str = ""
    positions: Mapping[int, JobStatus] = field(factory=dict)
    suspected: str = field()

    @suspected.default
    def _suspect(self) -> str:
        return OOM if self.cause == ERROR and self.signal == signals.SIGKILL else ""

    @property
    def hold(self) -> str:
        """Why a job that the scheduler has will not start before a person acts; "" if it may."""
        for status in (self, *self.positions.values()):
            if status.state == LIVE and status.cause == HELD:
                return status.reason or HELD
        return ""


class Executor(ABC):
    """Base of all executors: a frozen attrs class whose fields are its settings.

    An executor round-trips through its settings (`reflow.values.codec`), so that an
    instance a user made by hand is the same in every later job of the run.
    """

    name: ClassVar[str]

    runs_nothing: ClassVar[bool] = False
    """Whether `Workflow.submit` only shows what would run, and hands in no job."""

    if TYPE_CHECKING:

        @property
        def prologue(self) -> str:
            """Lines of shell that every job runs first; "" for none."""
            return ""

        @property
        def environment(self) -> Mapping[str, str]:
            """Variables that every job gets."""
            return {}

        @property
        def workers(self) -> int:
            """How many elements run at the same time, where `Capabilities.inline` is set."""
            return 1

    else:  # no properties at run time: a subclass may have fields of these names, in any way
        prologue, environment, workers = "", {}, 1

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What the scheduler behind this executor can do."""

    def check(self) -> None:  # noqa: B027 (most need nothing)
        """Raise `ExecutorError` where this executor cannot be used here and now."""

    def located(self: Self) -> Self:
        """Return the executor as the later jobs of a run are to have it on record.

        They may run where a relative path or PATH leads elsewhere.
        """
        return self

    @abstractmethod
    def submit(self, request: JobRequest) -> str:
        """Submit a job and return its id.

        Never submits twice: the engine asks `find` for the tag before it calls this again. Raises
        `SubmissionRefusedError` (the scheduler never takes it), `SubmissionForbiddenError` (not
        from this host), `SubmissionLimitError` (not now) or `SchedulerUnreachableError` (whether
        it was taken is not known).
        """

    @abstractmethod
    def poll(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
        """Return what the scheduler says of these jobs; a job that it does not know is left out.

        The number of calls to the scheduler does not grow with that of array positions. Raises
        `SchedulerUnreachableError` where it does not answer: an unanswered question says nothing.
        """

    @abstractmethod
    def find(self, tags: Collection[str]) -> Mapping[str, str]:
        """Return the ids of the jobs, live or ended, that carry these tags."""

    @abstractmethod
    def cancel(self, jobs: Collection[str]) -> None:
        """Take jobs out of the queue; unknown and ended jobs are no error."""
