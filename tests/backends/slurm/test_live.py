"""The executor on a real Slurm (``tools/clusters/slurm.sh up``), as an ordinary user.

They run where REFLOW_LIVE_SLURM=1 says that a Slurm is there; what is missing then is a
failure. As root they submit as REFLOW_LIVE_USER.
"""

from __future__ import annotations

import multiprocessing
import os
import pwd
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from reflow.errors import SubmissionLimitError, SubmissionRefusedError
from reflow.executors.base import ENDED, LIVE, JobRequest, JobStatus
from reflow.model.spec import Resources
from reflow_slurm.executor import SlurmExecutor

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(
        os.environ.get("REFLOW_LIVE_SLURM") != "1", reason="no live Slurm: try make live"
    ),
]
BASE = Path(os.environ.get("REFLOW_LIVE_BASE", "/var/tmp"))


def become(user: str) -> None:
    if os.getuid() == 0:
        entry = pwd.getpwnam(user)
        os.initgroups(user, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)


class Site:
    """Calls the executor in a process of the ordinary user."""

    def __init__(self, folder: Path, pool: ProcessPoolExecutor) -> None:
        self.folder = folder
        self.pool = pool
        self.executor = SlurmExecutor(queue="compute").located()
        self.executor.check()
        self.jobs: list[str] = []

    def do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self.pool.submit(function, *arguments).result(timeout=120)

    def submit(self, body: str, **fields: Any) -> tuple[str, str]:
        tag = f"live-{uuid.uuid4().hex[:10]}.1.1.w"
        script = self.folder / f"{tag}.sh"
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(0o755)
        request = JobRequest(**{
            "tag": tag, "name": "live, it's 100%", "script": str(script), "directory": "/",
            "log": str(self.folder / f"{tag}.{{position}}.log"), **fields,
        })  # fmt: skip
        job = self.do(self.executor.submit, request)
        self.jobs.append(job)
        return tag, job

    def until(self, job: str, condition: Callable[[JobStatus], bool]) -> JobStatus:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            status = self.do(self.executor.poll, [job]).get(job)
            if status is not None and condition(status):
                return status  # type: ignore[no-any-return]
            time.sleep(0.3)
        raise AssertionError(f"job {job}: {status}")


def over(status: JobStatus) -> bool:
    return status.state == ENDED and (status.cause == "" or status.exit_code is not None)


@pytest.fixture
def site() -> Iterator[Site]:
    user = os.environ.get("REFLOW_LIVE_USER", "reflow")
    folder = BASE / f"reflow live 100% {uuid.uuid4().hex[:8]}"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, context, become, (user,)) as pool:
        new_site = Site(folder, pool)
        yield new_site
        new_site.do(new_site.executor.cancel, new_site.jobs)
    shutil.rmtree(folder, ignore_errors=True)


def test_a_plain_job(site: Site) -> None:
    tag, job = site.submit('echo "$SLURM_ARRAY_TASK_ID$SLURM_JOB_ID"; exit 7')
    status = site.until(job, over)
    assert (status.cause, status.exit_code, status.nodes != ()) == ("ERROR", 7, True)
    assert (site.folder / f"{tag}.0.log").read_text() == f"{job}\n"
    assert site.do(site.executor.find, [tag, "live-nothing.1.1.w"]) == {tag: job}


def test_an_array(site: Site) -> None:
    tag, job = site.submit('echo $SLURM_ARRAY_TASK_ID; [ "$SLURM_ARRAY_TASK_ID" != 2 ]', size=4,
                           throttle=2)  # fmt: skip
    status = site.until(job, lambda status: over(status) and len(status.positions) == 4)
    assert {at: element.cause for at, element in status.positions.items()} == {
        0: "", 1: "", 2: "ERROR", 3: ""
    }  # fmt: skip
    for at in range(4):
        assert (site.folder / f"{tag}.{at}.log").read_text() == f"{at}\n"
    assert site.do(site.executor.find, [tag]) == {tag: job}


def test_cancel_of_a_waiting_array_and_of_unknown_ids(site: Site) -> None:
    _, job = site.submit("sleep 60", size=30, begin=300.0)
    waiting = site.until(job, lambda status: True)
    assert (waiting.state, waiting.running, len(waiting.positions)) == (LIVE, False, 30)
    site.do(site.executor.cancel, [job, "67000000"])
    assert site.until(job, lambda status: status.state == ENDED).cause == "CANCELLED"
    site.do(site.executor.cancel, [job])


def test_long_sparse_array_expression_is_reported_in_full(site: Site) -> None:
    _, job = site.submit("true", size=200, begin=300.0)
    odd = [f"{job}_{at}" for at in range(1, 200, 2)]
    site.do(site.executor.cancel, odd)
    status = site.until(
        job, lambda status: sum(each.state == LIVE for each in status.positions.values()) == 100
    )
    assert status.state == LIVE


def test_unknown_ids_are_absent(site: Site) -> None:
    assert site.do(site.executor.poll, ["67000000"]) == {}
    assert site.do(site.executor.poll, ["67000000", "67000001"]) == {}


def test_a_refused_option(site: Site) -> None:
    with pytest.raises(SubmissionRefusedError, match="nosuch"):
        site.submit("true", resources=Resources(native={"nosuch": "1"}))
    with pytest.raises(SubmissionRefusedError, match="invalid partition"):
        site.submit("true", resources=Resources(queue="nosuch"))


def test_the_account_with_a_submission_limit(site: Site) -> None:
    with pytest.raises(SubmissionLimitError, match="MaxSubmitJobLimit"):
        site.submit("true", size=9, resources=Resources(account="limited"))


def test_a_job_that_can_never_start_is_held(site: Site) -> None:
    _, job = site.submit("true", resources=Resources(queue="short", time=86400))
    status = site.until(job, lambda status: bool(status.cause))
    assert (status.state, status.cause) == (LIVE, "HELD")
    assert "partition" in status.reason


def test_max_submit_jobs(site: Site) -> None:
    site.submit("true", size=3, begin=300.0)
    bounded = SlurmExecutor(max_submit_jobs=4)
    with pytest.raises(SubmissionLimitError, match="max_submit_jobs = 4"):
        site.do(bounded.submit, JobRequest(
            tag="live-x.1.1.w", name="x", script="/bin/true", directory="/", log="/dev/null",
            size=2,
        ))  # fmt: skip


def test_variables_of_a_shell_do_not_change_what_is_submitted(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The pool's process is created at its first call and inherits these variables.
    for name, value in {"SBATCH_ARRAY_INX": "0-3", "SBATCH_WAIT": "1", "SLURM_JOB_ID": "1"}.items():
        monkeypatch.setenv(name, value)
    _, job = site.submit("sleep 1; true")
    assert site.until(job, over).positions == {}
