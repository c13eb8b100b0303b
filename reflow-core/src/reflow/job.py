"""What the processes of a run execute: ``python -m reflow.job ROLE RECORD …``."""

from __future__ import annotations

import os
import sys

USAGE = """usage: python -m reflow.job drive RECORD
       python -m reflow.job work RECORD TAG POSITION [MARK]
       python -m reflow.job died RECORD TAG POSITION MARK CODE
       python -m reflow.job pass RECORD [TAG]
       python -m reflow.job tail RECORD TAG"""

TAIL_SECONDS = 20
"""So long a job may stay after its worker, to submit what the result has unblocked."""


class _Late(BaseException):
    """The time is over; what is under way is left in order, for the next pass."""


def _stop(number: int, frame: object) -> None:
    raise _Late


def main(arguments: list[str]) -> int:
    """Do one job of the run recorded in a folder; return the exit code.

    `drive` carries the run to its end on this machine; `work` runs one position of
    a job, and `died` says that this ended with an exit code (as the shell has it)
    before it could; `pass` runs one dispatch pass, and `tail` one that has little time and
    whose end is no business of the job. `MARK` tells the job from all
    others, and a second start of it from a rival. A task that fails is no failure of the job:
    its outcome is on record. A pass that left nobody to run the next one ends with
    `os.EX_TEMPFAIL`: run it again later.
    """
    role, *rest = arguments or [""]
    folder = os.path.abspath(rest[0]) if rest else ""
    if role == "work" and len(rest) in (3, 4):
        from .element import run_position

        mark = rest[3] if len(rest) == 4 else f"{os.uname().nodename}/{os.getppid()}"
        run_position(folder, rest[1], int(rest[2]), mark=mark)
        return 0
    if role == "died" and len(rest) == 5:
        from .element import publish_death

        publish_death(folder, rest[1], int(rest[2]), mark=rest[3], code=int(rest[4]))
        return 0
    counts = {"drive": (1,), "pass": (1, 2), "tail": (2,)}
    if len(rest) not in counts.get(role, ()):
        print(USAGE, file=sys.stderr)
        return 2
    if role == "tail":
        import signal

        signal.signal(signal.SIGALRM, _stop)
        signal.alarm(TAIL_SECONDS)
    from .carrying import drive_recorded, pass_recorded
    from .errors import LeaseHeldError, LeaseLostError
    from .runrecord import RunRecord

    record = RunRecord(folder)
    try:
        if role == "drive":
            drive_recorded(record)
        else:
            report = pass_recorded(record, rest[1] if len(rest) == 2 else "")
            if report.again:
                print(f"reflow: {report.waits_for}", file=sys.stderr)
                return os.EX_TEMPFAIL
    except _Late:
        print("reflow: left to the run's next dispatch pass", file=sys.stderr)
    except (LeaseHeldError, LeaseLostError) as error:
        # Somebody else carries the run on: that is as good, unless it has died on its node.
        print(f"reflow: {error}", file=sys.stderr)
        return 0 if role == "drive" else os.EX_TEMPFAIL
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
