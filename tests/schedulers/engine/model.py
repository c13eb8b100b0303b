"""The parts of a cluster, in words of no scheduler. Times are seconds of the real clock."""

from __future__ import annotations

from dataclasses import dataclass, field

PENDING, RUNNING, COMPLETING, ENDED = "pending", "running", "completing", "ended"

# How a job ended.
DONE, FAILED, CANCELLED, TIMEOUT = "done", "failed", "cancelled", "timeout"
MEMORY, NODE, PREEMPTED, REQUEUED = "memory", "node", "preempted", "requeued"

# Why a job has not started, or ended as it did.
NONE, HELD, BEGIN, DEPENDENCY, NEVER, THROTTLE, PRIORITY, RESOURCES = (
    "none", "held", "begin", "dependency", "never", "throttle", "priority", "resources",
)  # fmt: skip
IN_ERROR = "error"
PARTITION_DOWN, PARTITION_TIME, PARTITION_SIZE = "partition-down", "partition-time", "too-big"
LAUNCH, EXIT_CODE, NO_MEMORY, TIME_LIMIT, NODE_DOWN, UNKNOWN_QOS = (
    "launch", "exit-code", "no-memory", "time-limit", "node-down", "unknown-qos",
)  # fmt: skip

MISSING_FOLDER = -53
"""Instead of an exit status: the job could not be started for want of a folder."""


@dataclass(slots=True)
class Node:
    name: str
    cpus: int
    memory: int  # megabytes
    up: bool = True
    free_cpus: int = 0
    free_memory: int = 0

    def __post_init__(self) -> None:
        self.free_cpus, self.free_memory = self.cpus, self.memory


@dataclass(slots=True)
class Partition:
    name: str
    nodes: tuple[str, ...]
    limit: int  # seconds
    default_limit: int
    up: bool = True


@dataclass(slots=True)
class Account:
    name: str
    max_submit: int | None = None


@dataclass(slots=True)
class Dependency:
    """One condition on other jobs.

    `kind`: after (has started, `delay` seconds ago), any, ok, notok (have ended so),
    corr (the position of the same number ended well), each (it ended in any way), singleton
    (no other of this name).
    """

    kind: str
    job: int = 0
    index: int | None = None
    delay: float = 0.0
    array: bool = False
    state: str = "unfulfilled"  # fulfilled, failed


@dataclass(slots=True)
class Request:
    """A job to submit, options understood and checked."""

    name: str
    user: str
    uid: int
    gid: int
    account: str
    partition: str
    script: str  # path
    arguments: tuple[str, ...]
    directory: str
    environment: dict[str, str]
    output: str = ""
    error: str = ""
    input: str = "/dev/null"
    append: bool = False
    cpus: int = 1
    tasks: int = 1
    nodes: int = 1
    memory: int = 100  # megabytes for each node
    limit: int = 0  # seconds
    comment: str = ""
    indices: tuple[int, ...] | None = None
    throttle: int = 0
    position: int | None = None
    """Of a job that its user takes for a position of an array, though the cluster does not."""
    begin: float = 0.0
    held: bool = False
    requeue: bool = True
    kill_on_never: bool = False
    any_of: bool = False
    dependencies: list[Dependency] = field(default_factory=list)
    shell: tuple[str, ...] = ()
    """What runs the script; nothing: the script itself."""
    address_space: int = 0
    """Bytes that each process may map; 0: no limit."""
    refused_reason: str = ""
    """A reason with which it is taken, and never starts."""
    extra: dict[str, str] = field(default_factory=dict)
    """What only the face knows of."""


@dataclass(slots=True, eq=False)
class Job:
    """One job, or one position of an array.

    `number` is its own id: positions get theirs when they part from the array's record.
    """

    request: Request
    base: int
    index: int | None
    submitted: float
    number: int = 0
    state: str = PENDING
    outcome: str = ""
    reason: str = NONE
    waited: str = NONE  # why it had not started just before it did
    held: bool = False
    begin: float = 0.0  # shown
    begin_due: float = 0.0  # when it really is
    limit: int = 0
    started: float = 0.0
    ended: float = 0.0
    nodes: list[Node] = field(default_factory=list)
    memory: int = 0  # megabytes for each node; 0: no limit
    status: int | None = None  # as of waitpid, or MISSING_FOLDER
    pid: int = 0
    out_of_memory: bool = False
    peak: int = 0  # kilobytes
    restarts: int = 0
    error: str = ""
    """Why it waits until a person does something: its last start came to nothing."""
    log: str = ""
    ending: str = ""  # the outcome it will have once it is killed
    cancelled_by: int | None = None
    dependencies: list[Dependency] = field(default_factory=list)
    eligible: float = 0.0
    row: Row | None = None
    purged: bool = False

    @property
    def own(self) -> int:
        return self.number or self.base

    @property
    def live(self) -> bool:
        return self.state != ENDED


@dataclass(slots=True, eq=False)
class Row:
    """What accounting has of one incarnation of a job: what was reported, and when."""

    job: Job
    reports: list[tuple[float, dict[str, object]]] = field(default_factory=list)


@dataclass(slots=True)
class Settings:
    """The settings of a site, and what a test may change.

    `speed` divides what jobs wait for (begin times, time limits, the pause of a requeue);
    the other times are real seconds: of the answer of a daemon that is down, between
    SIGTERM and SIGKILL, until accounting tells, until an ended job is forgotten. For
    `array_lag` after its submission accounting knows neither a job's name nor its positions.
    `strict_dependencies`: one on a plain job that was deleted before it began holds for ever,
    one on an array judges the element that ended last, and who waits for a job that was
    dropped (`Cluster.drop`) is dropped too. Where `default_memory` is 0, so is what is enforced.
    `position_numbers`: the positions of an array get numbers of their own. `kill_at_once`: what
    is to end is killed without a warning.
    """

    speed: float = 60.0
    message_timeout: float = 0.3
    kill_wait: float = 0.5
    min_job_age: float = 300.0
    accounting_lag: float = 0.0
    pending_lag: float = 2.0
    array_lag: float = 0.0
    accounting: str = "up"  # down, off
    controller: str = "up"  # down
    max_array_size: int = 1001
    position_numbers: bool = True
    kill_at_once: bool = False
    requeue_pause: float = 120.0
    strict_dependencies: bool = False
    memory_poll: float = 0.1
    default_memory: int = 100  # megabytes for each cpu
    nodes: list[tuple[str, int, int]] = field(
        default_factory=lambda: [("n1", 8, 6000), ("n2", 8, 6000)]
    )
    partitions: list[tuple[str, tuple[str, ...], int, int, bool]] = field(
        default_factory=lambda: [
            ("compute", ("n1", "n2"), 86400, 1800, True),
            ("short", ("n1", "n2"), 600, 300, True),
            ("down", ("n2",), 600, 600, False),
        ]
    )
    accounts: list[tuple[str, int | None]] = field(
        default_factory=lambda: [("science", None), ("limited", 5)]
    )
