"""Claims and outcomes of queued workers, and requests to a run: names that are taken only once.

A worker claims (element, attempt) before it runs and publishes what came out under
a name that nobody can take twice. A dispatch pass that gives an attempt up does so
under the same two names; so there is never more than one outcome of an attempt, and
an attempt that the pass has claimed never begins. Workers import this: no attrs, and no
annotations as texts (see `reflow.storage.outcome`).
"""

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import RecordError
from .filesystem import Files
from .outcome import Outcome, decode_outcome, encode_outcome

_HEAD = struct.Struct("<Q")


def _attempt_path(folder: str, kind: str, task: str, index: int, attempt: int) -> str:
    return f"{folder}/{kind}/{task}/{index}.{attempt}"


def make_folders(files: Files, folder: str, task: str) -> None:
    """Make the folders that the workers of a task claim and publish in."""
    files.make_folder(f"{folder}/claims/{task}")
    files.make_folder(f"{folder}/outcomes/{task}")


def claim(
    files: Files, folder: str, task: str, index: int, attempt: int, mark: str
) -> bool:
    """Take an attempt for the process or job called `mark`; False if another has it.

    The same mark may claim again: a job that the scheduler has requeued goes on with the attempt
    that it had begun.
    """
    path = _attempt_path(folder, "claims", task, index, attempt)
    if files.create(path, mark.encode()):
        return True
    return files.read(path).decode() == mark


def begin(
    files: Files, folder: str, task: str, index: int, attempt: int, mark: str
) -> bool:
    """Claim an attempt to run it; False, too, if it has ended.

    A scheduler may start a job again that had published its outcome.
    """
    path = _attempt_path(folder, "claims", task, index, attempt)
    if files.create(path, mark.encode()):
        return True
    is_own = files.read(path).decode() == mark
    return is_own and read_outcome(files, folder, task, index, attempt) is None


def publish(files: Files, folder: str, outcome: Outcome) -> bool:
    """Publish how an attempt came out; False if its outcome is on record already."""
    path = _attempt_path(folder, "outcomes", outcome.task, outcome.index, outcome.attempt)
    return files.create(path, encode_outcome(outcome))


def published(
    files: Files, folder: str, task: str, attempts: Mapping[int, int]
) -> list[Outcome]:
    """Return the outcomes that are published of these attempts (by index).

    The folder is listed, never a name looked up: a reader on a network file system
    would remember that the name was not there.
    """
    outcomes = (
        read_outcome(files, folder, task, index, attempt)
        for index, attempt in ended(files, folder, task)
        if attempts.get(index) == attempt
    )
    return [outcome for outcome in outcomes if outcome is not None]


def begun(files: Files, folder: str, task: str) -> list[tuple[int, int]]:
    """Return the (index, attempt) of a task that are claimed, by workers or given up by a pass."""
    return _listed(files, f"{folder}/claims/{task}")


def ended(files: Files, folder: str, task: str) -> list[tuple[int, int]]:
    """Return the (index, attempt) of a task whose outcomes are published."""
    return _listed(files, f"{folder}/outcomes/{task}")


def _listed(files: Files, folder: str) -> list[tuple[int, int]]:
    pairs = (name.partition(".") for name in files.list(folder))
    return [(int(index), int(attempt)) for index, _, attempt in pairs]


def read_outcome(
    files: Files, folder: str, task: str, index: int, attempt: int
) -> Outcome | None:
    """Return the outcome of an attempt that must have one; None if it cannot be seen yet."""
    try:
        data = files.read(_attempt_path(folder, "outcomes", task, index, attempt))
    except FileNotFoundError:  # a network file system remembers that it was not there
        return None
    return decode_outcome(data.rstrip(b"\n"))


class JobHeader:
    """What all workers of a job read: their task, and how to run and to judge it.

    `epoch` is that of the run when the job was submitted. `identity` are the parts of its identity
    (`caching.identity.identity_parts`), and `order` lists (parameter, each) of its wires.
    `entrypoint` and `serializers` are those of the run's request, JSON-safe; `on_code_change` is
    its option. `editable`: its code can change after submission. `sources`, `files` and `stood`
    are those of `model.spec.TaskSpec`. `check` says by what older results are judged; None: by
    nothing. `result_files` is how files count that results name (`engine.task_call.TaskCaller`);
    "": like others. `common` are the texts that every element receives, and `stamps` stand for the
    files that are named in them.

    A job that was queued ahead has neither: `awaited` says where its workers find their inputs
    (`engine.lookahead.awaited`), and `known` which file has the results of older runs, "" for none.
    """

    task: str
    epoch: int
    identity: dict[str, Any]
    order: list[tuple[str, bool]]
    entrypoint: dict[str, Any]
    serializers: list[dict[str, Any]]
    on_code_change: str
    editable: bool
    files: str
    check: dict[str, Any] | None
    common: dict[str, str]
    sources: Sequence[tuple[str, int, int]] = ()
    stood: dict[str, str] = {}  # noqa: RUF012 (never changed)
    stamps: dict[str, str] = {}  # noqa: RUF012
    awaited: dict[str, Any] | None = None
    known: str = ""
    result_files: str = ""

    # No named tuple: making one of so many fields would be a tenth of what a worker's start takes.
    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def changed(self, **fields: Any) -> "JobHeader":
        """Return a header that differs in these fields."""
        return JobHeader(**{**vars(self), **fields})


def latest_request(files: Files, folder: str) -> int:
    """Return the number of the last request to the run whose record is in `folder`; 0: none."""
    return max(request_numbers(files, folder), default=0)


def request_numbers(files: Files, folder: str) -> list[int]:
    """Return the numbers of the requests to cancel or retry a run, in no order."""
    return [int(name.partition(".")[0]) for name in files.list(f"{folder}/epochs")]


class Position(NamedTuple):
    """What one position of a job has to do.

    `items` are the inputs of one that was queued ahead: see `reflow.engine.lookahead`. `stamps` are
    those of `reflow.engine.task_call.Work`.
    """

    index: int  # type: ignore[assignment]  # a field, not tuple.index
    attempt: int
    identity: str
    texts: dict[str, str]
    items: dict[str, Any] = {}  # noqa: RUF012 (never changed)
    stamps: dict[str, str] = {}  # noqa: RUF012


def write_job(
    files: Files,
    jobs: str,
    tag: str,
    header: JobHeader,
    positions: Iterable[Sequence[Any]],
) -> None:
    """Write what a job's workers read: the header all share, and a map of positions.

    The map begins with a table of offsets, so that a worker reads its own line only,
    however large the array is.
    """
    lines = [_line(list(position)) for position in positions]
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line))
    table = struct.pack(f"<{len(offsets)}Q", *offsets)
    files.write(f"{jobs}/{tag}.map", _HEAD.pack(len(lines)) + table + b"".join(lines))
    defaults = vars(JobHeader)
    fields = {
        name: value
        for name, value in vars(header).items()
        if name not in defaults or value != defaults[name]
    }
    # The header comes last: where it can be read, the map is there.
    files.write(f"{jobs}/{tag}.json", _line(fields))


def _line(native: object) -> bytes:
    # A file's name may be any bytes, of which Python makes lone surrogates.
    return json.dumps(native, ensure_ascii=False).encode("utf-8", "surrogatepass")


def read_header(files: Files, jobs: str, tag: str) -> JobHeader:
    """Return what all workers of a job share, also of one that another version has submitted."""
    return JobHeader(**json.loads(files.read(f"{jobs}/{tag}.json")))


def read_position(files: Files, jobs: str, tag: str, position: int) -> Position:
    """Return what one position of a job has to do, reading nothing of the others."""
    path = f"{jobs}/{tag}.map"
    (count,) = _HEAD.unpack(files.read(path, 0, _HEAD.size))
    if not 0 <= position < count:
        raise RecordError(f"job {tag} has positions 0 to {count - 1}, not {position}")
    start, end = struct.unpack("<2Q", files.read(path, _HEAD.size * (1 + position), 16))
    base = _HEAD.size * (count + 2)
    return Position(*json.loads(files.read(path, base + start, end - start)))
