"""What a worker of RQ does for a job: run its script, and note how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import time

from rq import get_current_job

CANCEL = "reflow:cancel:{}"
"""The key in Redis that says that a job is to end."""


def run(script: str, directory: str, log: str, seconds: int | None) -> None:
    """Run a job's script until it ends, is cancelled, or has passed its time limit.

    It never raises: to RQ every job ends well, so that what waits for one goes on after any end.
    How it really ended is in the job's `meta`: exit code (or minus the signal) and cause.
    """
    job = get_current_job()
    begun, process, cause = time.monotonic(), None, ""
    try:
        with open(log, "ab") as output:
            process = subprocess.Popen(
                [script], cwd=directory, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, "RQ_JOB_ID": job.id},
            )  # fmt: skip
        while process.poll() is None and not cause:
            if job.connection.exists(CANCEL.format(job.id)):
                cause = "CANCELLED"
            elif seconds is not None and time.monotonic() - begun > seconds:
                cause = "TIMEOUT"
            else:
                time.sleep(0.05)
        if cause:
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    except OSError as error:
        code, cause = 127, f"ERROR {error}"
    job.meta["ended"] = [code, cause or ("ERROR" if code else "")]
    job.save_meta()
