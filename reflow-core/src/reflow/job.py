"""What the processes of a run execute: ``python -m reflow.job ROLE RECORD …``."""

from __future__ import annotations

import os
import sys

USAGE = """usage: python -m reflow.job drive RECORD
       python -m reflow.job work RECORD TAG POSITION
       python -m reflow.job pass RECORD [TAG]"""


def main(arguments: list[str]) -> int:
    """Do one job of the run recorded in a folder; return the exit code.

    `drive` carries the run to its end on this machine; `work` runs one position of
    a job; `pass` runs one dispatch pass. A task that fails is no failure of the job:
    its outcome is on record.
    """
    role, *rest = arguments or [""]
    folder = os.path.abspath(rest[0]) if rest else ""
    if role == "work" and len(rest) == 3:
        from .element import run_position

        run_position(folder, rest[1], int(rest[2]), mark=f"{os.uname().nodename}/{os.getppid()}")
        return 0
    if not (role == "drive" and len(rest) == 1) and not (role == "pass" and len(rest) in (1, 2)):
        print(USAGE, file=sys.stderr)
        return 2
    from .carrying import drive_recorded, pass_recorded
    from .errors import LeaseHeldError, LeaseLostError
    from .runrecord import RunRecord

    record = RunRecord(folder)
    try:
        if role == "drive":
            drive_recorded(record)
        else:
            pass_recorded(record, rest[1] if len(rest) == 2 else "")
    except (LeaseHeldError, LeaseLostError) as error:
        # Somebody else carries the run on: that is as good.
        print(f"reflow: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
