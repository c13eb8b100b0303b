"""What the processes of a run execute: ``python -m reflow.job ROLE RECORD …``."""

from __future__ import annotations

import gc
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from .engine.batch.dispatch_pass import PassReport
    from .storage.run_directory import RunRecord

USAGE = """usage: python -m reflow.job drive RECORD
       python -m reflow.job work RECORD TAG POSITION [MARK [tail]]
       python -m reflow.job died RECORD TAG POSITION MARK CODE
       python -m reflow.job pass RECORD [TAG]
       python -m reflow.job tail RECORD TAG"""

TAIL_SECONDS = 20
"""How long a job may stay after its worker, to submit what the result has unblocked."""


class _Late(BaseException):
    """The time is over. What is under way is left in order, for the next pass.

    Not an `Exception`, which code on the way could catch.
    """


def _stop(number: int, frame: object) -> None:
    raise _Late


def main(arguments: list[str]) -> int:
    """Do one job of the run recorded in a folder; return the exit code.

    `drive` carries the run to its end on this machine; `work` runs one position of
    a job, and `died` records that this ended with an exit code (as the shell has it)
    before it could; `pass` runs one dispatch pass, and `tail` one that has little time and
    whose failure is not the job's, as `work … tail` does after its work. `MARK` tells the
    job from all others, and a second start of it from a rival. A task that fails does not fail
    the job: its outcome is on record. A pass that left nobody to run the next one ends with
    `os.EX_TEMPFAIL`: run it again later.

    Whoever starts a process with this turns its garbage collection off before: it is on again as
    soon as everything is loaded, the user's code included.
    """
    role, *words = arguments or [""]
    do = _ROLES.get((role, len(words)))
    if do is None:
        return _usage()
    folder, *details = words
    return do(os.path.abspath(folder), *details)


def _usage() -> int:
    print(USAGE, file=sys.stderr)
    return 2


def _drive(folder: str) -> int:
    from .engine.task_call import enable_collector
    from .runs.lifecycle import drive_recorded

    enable_collector()
    return _carry(lambda: drive_recorded(_record(folder)), os.EX_OK)


def _work(folder: str, tag: str, position: str, mark: str = "") -> int:
    from .engine.worker import run_position

    mark = mark or f"{os.uname().nodename}/{os.getppid()}"
    run_position(folder, tag, int(position), mark=mark)
    gc.freeze()  # or the interpreter searches all that is loaded for garbage at its end
    return 0


def _work_and_tail(folder: str, tag: str, position: str, mark: str, last: str) -> int:
    """Run a position in a process of its own, and the tail pass after it.

    Meanwhile this process loads what the pass needs: what the result unblocks does not wait
    for that. Returns the exit code of a worker that died, as a shell has it; then there was no
    pass.
    """
    if last != "tail":
        return _usage()
    worker = os.fork()
    if worker == 0:
        return _work(folder, tag, position, mark)
    try:
        run: Callable[[], Any] = _ready(folder, tag)
    except Exception as error:
        run = partial(_raise, error)  # the result comes first
    code = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    if code:
        return 128 - code if code < 0 else code
    try:
        _in_little_time(run)
    except Exception:
        import traceback

        traceback.print_exc()  # the worker did its work, and others run the next pass
    return 0


def _died(folder: str, tag: str, position: str, mark: str, code: str) -> int:
    from .engine.worker import publish_death

    publish_death(folder, tag, int(position), mark=mark, code=int(code))
    return 0


def _pass(folder: str, *tag: str) -> int:
    return _carry(lambda: _ready(folder, *tag)(), os.EX_TEMPFAIL)


def _tail(folder: str, tag: str) -> int:
    return _in_little_time(lambda: _ready(folder, tag)())


_ROLES: dict[tuple[str, int], Callable[..., int]] = {
    ("drive", 1): _drive,
    ("work", 3): _work,
    ("work", 4): _work,
    ("work", 5): _work_and_tail,
    ("died", 5): _died,
    ("pass", 1): _pass,
    ("pass", 2): _pass,
    ("tail", 2): _tail,
}
"""What is done, by the role and how many words follow it, as in `USAGE`."""


def _raise(error: Exception) -> None:
    raise error


def _record(folder: str) -> RunRecord:
    from .storage.run_directory import RunRecord

    return RunRecord(folder)


def _ready(folder: str, *tag: str) -> Callable[[], PassReport]:
    from .engine.task_call import enable_collector
    from .runs.lifecycle import ready_pass

    run = ready_pass(_record(folder), *tag)
    enable_collector()
    return run


def _in_little_time(run: Callable[[], Any]) -> int:
    """Run a pass that may take `TAIL_SECONDS`."""
    import signal

    signal.signal(signal.SIGALRM, _stop)
    signal.alarm(TAIL_SECONDS)
    try:
        return _carry(run, os.EX_TEMPFAIL)
    except _Late:
        print("reflow: left to the run's next dispatch pass", file=sys.stderr)
        return 0
    finally:
        signal.alarm(0)


def _carry(run: Callable[[], Any], held: int) -> int:
    """Carry a run on; return `held` where another process does it."""
    from .errors import LeaseHeldError, LeaseLostError

    try:
        report = run()
    except (LeaseHeldError, LeaseLostError) as error:
        # Another process carries the run on, which is fine unless it has died on its node.
        print(f"reflow: {error}", file=sys.stderr)
        return held
    if getattr(report, "again", False):
        print(f"reflow: {report.waits_for}", file=sys.stderr)
        return os.EX_TEMPFAIL
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
