"""Seeded fault runs of the dispatch pass over a simulated scheduler, in virtual time.

Passes and workers are the real code (`DispatchPass`, claims, `publish_answer`); files,
clock and scheduler are doubles. A process may crash before or after any effect, or stall
at one while the rest of the world goes on (and overtakes it). The scheduler loses,
doubles, kills and never starts jobs, answers late or not at all, and lags in what it
tells. REFLOW_SIM_RUNS says how many seeds run, REFLOW_SIM_FIRST which is the first; a
failure names its seed and prints the trace of what happened.
"""

from __future__ import annotations

import heapq
import json
import os
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from hashlib import sha256
from typing import Any

import pytest

from reflow.engine.batch.dispatch_pass import DispatchPass, PassReport
from reflow.engine.batch.reconcile import GRACE_SECONDS
from reflow.engine.dispatcher import Dispatch, ask
from reflow.engine.replay import Replay
from reflow.engine.task_call import Answer
from reflow.engine.worker import Element, publish_answer, take_position
from reflow.errors import (
    LeaseHeldError,
    LeaseLostError,
    SchedulerUnreachableError,
    SubmissionForbiddenError,
    SubmissionLimitError,
    SubmissionRefusedError,
)
from reflow.executors.base import ENDED, LIVE, Capabilities, Executor, JobRequest, JobStatus
from reflow.executors.job_script import PAUSES
from reflow.model.spec import (
    Entrypoint,
    RetryRule,
    RetrySpec,
    Source,
    TaskSpec,
    Wire,
    WorkflowSpec,
)
from reflow.states import (
    CANCELLED,
    DONE,
    ERROR,
    FAILED,
    LOST,
    NODE_FAIL,
    SKIPPED,
    SUCCESS,
    TIMEOUT,
)
from reflow.storage.events import Epoch, Finished, Intent, Retried, decode
from reflow.storage.journal import JournalReader
from reflow.storage.outcome import Outcome
from reflow.storage.run_directory import RunOptions, RunRecord, RunRequest
from reflow.values.hashing import digest

RUNS = int(os.environ.get("REFLOW_SIM_RUNS", "1500"))
FIRST = int(os.environ.get("REFLOW_SIM_FIRST", "0"))
CHUNK = 125
RETRY = RetrySpec(
    times=2, rules=tuple(RetryRule(cause=cause) for cause in (ERROR, LOST, NODE_FAIL, TIMEOUT))
)
LAG = 8.0
"""Longest lag of listings and of accounting; far below the grace."""
FOLDER = "/run"


class Crash(BaseException):
    """The process has died."""


# What the run computes


def compute(task: str, lists: bool, texts: Mapping[str, str]) -> str:
    """Return the value of one element, some deterministic function of its inputs."""
    seed = int(sha256(json.dumps([task, sorted(texts.items())]).encode()).hexdigest()[:8], 16)
    size = 3 + seed % 6 if not texts else seed % 6
    value: object = [seed % 97 + index for index in range(size)] if lists else seed % 1000
    return json.dumps(value, separators=(",", ":"))


class Plan:
    """A random workflow, and its values by plain evaluation."""

    def __init__(self, rng: random.Random) -> None:
        self.lists: dict[str, bool] = {}
        self.values: dict[str, list[str]] = {}
        tasks: list[TaskSpec] = []
        # Half can be queued ahead as a whole: list -> fan-out -> chains -> gather.
        self.deep = rng.random() < 0.5
        modes = ("", "fan-out", "chain", "chain", "gather", "direct")
        for number in range(len(modes) if self.deep else rng.randint(1, 7)):
            name = f"t{number}"
            self.lists[name] = number == 0 if self.deep else rng.random() < 0.6
            above = rng.choice(tasks[-3:]) if tasks and rng.random() < 0.85 else None
            wires: tuple[Wire, ...] = ()
            if self.deep and number:
                wires = (self._wire(rng, tasks[-1], modes[number]),)
            elif above is not None:
                wires = (self._wire(rng, above),)
            after = (tasks[0].name,) if tasks and not self.deep and rng.random() < 0.1 else ()
            spec = TaskSpec(
                name=name, array=any(wire.each for wire in wires), wires=wires, after=after,
                retry=rng.choice((None, None, RETRY)),
            )  # fmt: skip
            tasks.append(spec)
            self.values[name] = self._evaluate(spec)
        self.spec = WorkflowSpec(name="sim", tasks=tuple(tasks))
        self.elements = sum(map(len, self.values.values()))

    def _wire(self, rng: random.Random, above: TaskSpec, mode: str = "") -> Wire:
        name, lists = above.name, self.lists[above.name]
        choices = [
            Wire(
                parameter="x", mode="gather" if above.array else "direct",
                sources=(Source(task=name, array=above.array),), listed=above.array,
            )
        ]  # fmt: skip
        if lists:
            source = (Source(task=name, array=above.array, flatten=True),)
            choices += [Wire(parameter="x", mode="fan-out", sources=source, each=True)] * 2
        if above.array:
            source = (Source(task=name, array=True),)
            choices += [Wire(parameter="x", mode="chain", sources=source, each=True)] * 2
        return rng.choice([choice for choice in choices if mode in ("", choice.mode)])

    def _evaluate(self, spec: TaskSpec) -> list[str]:
        name, lists = spec.name, self.lists[spec.name]
        if not spec.wires:
            return [compute(name, lists, {})]
        (wire,) = spec.wires
        texts = self.values[wire.sources[0].task]
        if wire.sources[0].flatten:
            texts = [json.dumps(item) for text in texts for item in json.loads(text)]
        if wire.each:
            return [compute(name, lists, {"x": text}) for text in texts]
        return [compute(name, lists, {"x": f"[{','.join(texts)}]" if wire.listed else texts[0]})]


# The world


class Node:
    def __init__(self, data: bytes, now: float) -> None:
        self.data, self.born, self.modified = bytearray(data), now, now


class Process:
    def __init__(self, name: str, remote: bool, skew: float, job: Job | None = None) -> None:
        self.name, self.remote, self.skew, self.job = name, remote, skew, job
        self.alive = True
        self.created: set[str] = set()


class Job:
    def __init__(self, job: str, request: JobRequest, role: str) -> None:
        self.id, self.request, self.role = job, request, role
        self.fate = "good"
        self.visible_from = 0.0
        self.lag_until = 0.0
        self.glitch = (0.0, 0.0)
        self.state = "queued"  # running, ended, vanished
        self.ended_at = 0.0
        self.remaining: Counter[int] = Counter()
        self.over: set[int] = set()
        self.waits: set[str] = set()
        self.begin_at = 0.0
        self.leads_on = False  # its script ends with a dispatch pass
        self.repeats = False  # which it runs again if that pass leaves no successor
        self.twin: Job | None = None
        self.begun: set[int] = set()
        self.dropped: set[int] = set()

    @property
    def live(self) -> bool:
        return self.state in ("queued", "running")


class World:
    """One simulated site, driven by one seed."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.seed = seed
        self.plan = Plan(rng)
        self.now = 1_000_000.0
        self.trace: list[str] = []
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.count = 0
        self.nodes: dict[str, Node] = {}
        self.processes: dict[str, Process] = {}
        self.jobs: dict[str, Job] = {}
        self.tags: dict[str, str] = {}
        self.depth = self.effects = 0
        self.faults = True
        self.crash_rate = rng.choice((0.0, 0.0, 0.002, 0.01))
        self.stall_rate = rng.choice((0.0, 0.0, 0.003, 0.01))
        self.fate_rate = rng.choice((0.0, 0.05, 0.3))
        self.submit_rate = rng.choice((0.0, 0.0, 0.05, 0.2))
        self.error_rate = rng.choice((0.0, 0.0, 0.1))
        self.skew = rng.choice((0.0, 0.0, 45.0))
        self.limit = rng.choice((10_000, 10_000, 6))
        self.lag = rng.choice((0.0, LAG))
        self.elementwise = rng.random() < 0.5
        self.barred = rng.random() < 0.08  # jobs may not submit others
        self.down: list[tuple[float, float]] = []
        if rng.random() < 0.3:
            start = self.now + rng.uniform(0, 300)
            self.down.append((start, start + rng.uniform(1, 200)))
        self.capabilities = Capabilities(
            array_variable="POSITION",
            max_array_size=rng.choice((None, None, 1, 2, 3)),
            max_dependencies=rng.choice((None, 1, 3)),
            begin=True,
            elementwise=self.elementwise,
        )
        self.last: PassReport | None = None
        self.last_request = 0
        self.passes = 0
        self.unlost: list[str] = []

    def note(self, text: str) -> None:
        self.trace.append(f"{self.now - 1_000_000:9.1f} {'  ' * self.depth}{text}")

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.queue, (self.now + seconds, self.count, action))

    def advance(self, until: float, stop: Callable[[], bool] = lambda: False) -> None:
        while self.queue and self.queue[0][0] <= until and not stop():
            assert len(self.jobs) < 600, "a storm of jobs"
            when, _, action = heapq.heappop(self.queue)
            self.now = max(self.now, when)
            action()
        if not stop():
            self.now = max(self.now, until)

    def chance(self, rate: float) -> bool:
        return self.faults and self.rng.random() < rate

    def effect(self, process: Process, what: str) -> None:
        """Called before and after each effect, where a process may die or stall."""
        self.effects += 1
        assert self.effects < 200_000, "the run does not come to an end"
        if self.chance(self.crash_rate):
            self.note(f"{process.name} CRASHES at {what}")
            raise Crash
        if self.depth < 3 and self.chance(self.stall_rate):
            seconds = self.rng.choice((1.0, 20.0, 70.0, 150.0))
            self.note(f"{process.name} STALLS {seconds:.0f} s at {what}")
            self.depth += 1
            self.advance(self.now + seconds)
            self.depth -= 1
            self.note(f"{process.name} goes on")
        if process.job is not None and not process.job.live:
            self.note(f"{process.name} was killed at {what}")
            raise Crash

    # Processes

    def start(self, name: str, job: Job | None = None) -> Process:
        self.count += 1
        process = Process(
            f"{name}~{self.count}",
            self.rng.random() < 0.5,
            self.rng.uniform(-self.skew, self.skew),
            job,
        )
        self.processes[process.name] = process
        return process

    def alive(self, owner: str) -> bool | None:
        process = self.processes[owner]
        return None if process.remote else process.alive

    def run_pass(self, name: str, own_tag: str = "", job: Job | None = None) -> bool:
        """Run a pass; return whether its process ends well, with a successor for the next pass."""
        process = self.start(name, job)
        record = RunRecord(FOLDER, SimFiles(self, process))
        self.passes += 1
        well = False
        try:
            dispatch = Dispatch(
                record, request_of(self.plan), None, dict, clock=SimClock(self, process),  # type: ignore[arg-type]
                owner=process.name, alive=self.alive,
            )  # fmt: skip
            self.note(f"{process.name} takes lease {dispatch.lease.number}")
            try:
                self.last = DispatchPass(
                    dispatch, SimExecutor(self, process), own_tag=own_tag
                ).run()
                well = not self.last.again
                self.note(f"{process.name} {self.last}")
            finally:
                if not process_dies():
                    dispatch.release()
        except Crash:
            pass
        except (LeaseHeldError, LeaseLostError) as error:
            self.note(f"{process.name} leaves: {error}")
        process.alive = False
        return well

    # Jobs

    def accept(self, request: JobRequest) -> str:
        if request.tag in self.tags:
            return self.tags[request.tag]
        rng = self.rng
        roles = {"w": "worker", "s": "sentinel", "g": "guard", "d": "dispatch"}
        role = roles[request.tag.rpartition(".")[2]]
        job = Job(str(len(self.jobs) + 1), request, role)
        script = self.nodes[request.script].data
        job.leads_on = b"reflow pass" in script or b"reflow tail" in script
        job.repeats = b"&& break" in script
        if request.after_each:
            job.twin = self.jobs[request.after_each]
            assert job.twin.request.size == request.size
        self.jobs[job.id] = job
        self.tags[request.tag] = job.id
        job.visible_from = self.now + rng.uniform(0, self.lag)
        fates = ["vanish", "vanish-running", "double", "kill", "kill-position", "kill-position",
                 "eager"]  # fmt: skip
        if role != "guard":  # one of sentinel and guard may fail: let it be the sentinel
            fates.append("never")
            if self.chance(self.fate_rate):
                job.fate = rng.choice(fates)
        if self.chance(0.1):
            # One absence per job: two with no pass between them would look like one long absence.
            job.visible_from = self.now
            begin = self.now + rng.uniform(5, 60)
            job.glitch = (begin, begin + rng.uniform(1, LAG))
        if job.fate != "eager":  # the scheduler has forgotten the job's dependency
            job.waits = {dependency for dependency in request.after if self.jobs[dependency].live}
        job.begin_at = self.now + max(request.begin, rng.choice((0.1, 1.0, 10.0)))
        self.note(f"job {job.id} {request.tag} size {request.size} {job.fate} "
                  f"after {sorted(job.waits)} begin {request.begin:.0f}")  # fmt: skip
        if job.fate == "vanish":
            self.later(rng.uniform(0, 30), lambda: self.end(job, "vanished"))
        self.later(job.begin_at - self.now, lambda: self.try_start(job))
        return job.id

    def try_start(self, job: Job) -> None:
        if job.state != "queued" or job.waits or self.now < job.begin_at or job.fate == "never":
            return
        job.state = "running"
        self.note(f"job {job.id} starts")
        rng = self.rng
        if job.fate in ("vanish-running", "kill"):
            end = "vanished" if job.fate == "vanish-running" else "ended"
            self.later(rng.uniform(0, 20), lambda: self.end(job, end))
        for position in range(job.request.size):
            if job.twin is None or job.fate == "eager" or position in job.twin.over:
                self.begin_position(job, position)
            elif not job.twin.live:
                self.drop_position(job, position)

    def begin_position(self, job: Job, position: int) -> None:
        if job.state != "running" or position in job.begun:
            return
        job.begun.add(position)
        for _ in range(2 if job.fate == "double" else 1):
            job.remaining[position] += 1
            if job.role == "worker":
                self.later(self.rng.uniform(0, 5), partial(self.begin, job, position))
            else:
                self.later(0.1, partial(self.tail, job, position))

    def drop_position(self, job: Job, position: int) -> None:
        """Handle a lost twin: some schedulers remove the waiting element, others start it."""
        if self.rng.random() < 0.3:
            self.begin_position(job, position)
        elif job.state == "running" and position not in job.begun:
            self.note(f"job {job.id}[{position}] is taken out of the queue")
            job.begun.add(position)
            job.dropped.add(position)
            job.remaining[position] = 1
            self.done(job, position)

    def begin(self, job: Job, position: int) -> None:
        """Begin a worker: all that `run_position` does up to the call of the function."""
        if not job.live:
            return
        if job.fate == "kill-position" and self.rng.random() < 0.3:
            self.note(f"job {job.id}[{position}] is killed before it begins")
            self.done(job, position)
            return
        process = self.start(f"work {job.id}[{position}]", job)
        files: Any = SimFiles(self, process)
        try:
            element = take_position(
                FOLDER, job.request.tag, position, mark=process.name, files=files, patience=0.0
            )
        except Crash:
            self.done(job, position)
            return
        if not job.live:
            return
        taken = element and (element.task, element.index, element.attempt)
        self.note(f"{process.name} took {taken}")
        if element is None:
            self.tail(job, position)
        elif job.fate == "kill-position" and self.rng.random() < 0.3:
            self.note(f"{process.name} is killed")
            self.done(job, position)
        else:
            seconds = self.rng.choice((0.0, 5.0, 40.0, 100.0))
            self.later(seconds, lambda: self.finish(job, position, process, element))

    def finish(self, job: Job, position: int, process: Process, element: Element) -> None:
        if not job.live:
            return
        task, index, attempt = element.task, element.index, element.attempt
        identity = element.identity
        text = compute(task, self.plan.lists[task], {**element.common, **element.texts})
        answer = Answer(SUCCESS, text, digest(text), (), "", "", self.now, self.now)
        if self.chance(self.error_rate):
            answer = Answer(FAILED, "", "", (), ERROR, "it raised", self.now, self.now)
        files: Any = SimFiles(self, process)
        try:
            state = publish_answer(
                files, FOLDER, task, index, attempt, identity, job.request.tag, answer,
            )  # fmt: skip
        except Crash:
            self.done(job, position)
            return
        self.note(f"{process.name} {task}[{index}].{attempt} published {state!r}")
        if not state and not self.last_request and job.live:
            self.unlost.append(f"{task}[{index}].{attempt} was given up as it ran")
        self.tail(job, position)

    def tail(self, job: Job, position: int, turn: int = 0) -> None:
        if not job.live:
            return
        well = not job.leads_on or self.run_pass(f"{job.role} {job.id}", job.request.tag, job)
        if not well and job.repeats and job.live and turn < len(PAUSES):
            self.later(PAUSES[turn], partial(self.tail, job, position, turn + 1))
        else:
            self.done(job, position)

    def done(self, job: Job, position: int) -> None:
        job.remaining[position] -= 1
        if not job.remaining[position]:
            job.over.add(position)
            for other in list(self.jobs.values()):
                if other.twin is job:
                    self.begin_position(other, position)
        if job.live and len(job.over) == job.request.size:
            self.end(job, "ended")

    def end(self, job: Job, state: str) -> None:
        if not job.live:
            return
        self.note(f"job {job.id} {state}")
        job.state, job.ended_at = state, self.now
        job.lag_until = self.now + self.rng.uniform(0, self.lag)
        for other in list(self.jobs.values()):
            if other.twin is job and other.state == "running":
                for position in set(range(job.request.size)) - job.over:
                    self.drop_position(other, position)
            if job.id in other.waits and not (state == "vanished" and self.chance(0.2)):
                other.waits.discard(job.id)
                self.later(max(0.1, other.begin_at - self.now), partial(self.try_start, other))

    # The end

    def finished(self) -> bool:
        """Whether the record says that the run is over, with every request taken up."""
        if self.last is None or self.last.finished is None:
            return False
        ends = [record for record in self.records() if isinstance(record, (Finished, Epoch))]
        taken = max((end.number for end in ends if isinstance(end, Epoch)), default=0)
        kept = [end for end in ends if isinstance(end, Finished) or end.kind == "retry"]
        return bool(kept) and isinstance(kept[-1], Finished) and taken >= self.last_request

    def records(self) -> list[Any]:
        saved = self.faults
        self.faults = False
        files: Any = SimFiles(self, Process("reader", False, 0.0))
        records = JournalReader(files, f"{FOLDER}/segments").read()
        self.faults = saved
        return records

    def request(self, kind: str, task: str | None) -> None:
        files: Any = SimFiles(self, self.start("person"))
        try:
            self.last_request = max(
                self.last_request, ask(RunRecord(FOLDER, files), request_of(self.plan), kind, task)
            )
        except Crash:
            self.last_request = sum(path.startswith(f"{FOLDER}/epochs/") for path in self.nodes)
        self.note(f"a person asks to {kind} {task or 'all'}")
        self.later(self.rng.uniform(0, 5), partial(self.follow, kind, self.last_request))

    def follow(self, kind: str, number: int, turns: int = 3) -> None:
        """Run passes, as the requesting command does, until one has taken the request up."""
        self.run_pass(kind)
        taken = [record.number for record in self.records() if isinstance(record, Epoch)]
        if turns and max(taken, default=0) < number:
            self.later(LAG, partial(self.follow, kind, number, turns - 1))

    def simulate(self) -> None:
        rng = self.rng
        self.later(0.0, lambda: self.run_pass("submit"))
        for _ in range(rng.choice((0, 0, 0, 1, 2, 6))):
            kind = rng.choice(("cancel", "retry", "retry"))
            task = rng.choice([None, *self.plan.lists])
            self.later(rng.uniform(0, 400), partial(self.request, kind, task))
        for _ in range(12):
            self.advance(self.now + 900)
            if not self.queue or self.passes > 2000:
                break
            if self.finished() and not any(job.live for job in self.jobs.values()):
                break
        guarded = any(job.role == "guard" for job in self.jobs.values()) and not self.barred
        if not self.last_request and guarded:
            ended = any(isinstance(record, Finished) for record in self.records())
            assert ended or any(
                job.live and job.fate != "never" for job in self.jobs.values()
            ), "nobody carries it on"
        # The remaining work waits for a person: one last time, without new faults.
        self.faults = False
        for turn in range(12):
            if self.finished():
                break
            if turn == 6:
                self.request("cancel", None)  # jobs that never start
            self.run_pass("person")
            self.advance(self.now + 300)

    def check(self) -> None:
        records = self.records()
        assert not self.unlost, self.unlost
        assert self.last is not None
        assert self.finished(), f"not finished: {self.last}"
        recorded: Counter[tuple[str, int, int]] = Counter()
        done: Counter[tuple[str, int]] = Counter()
        again: Counter[tuple[str, int]] = Counter()
        specs = {task.name: task for task in self.plan.spec.tasks}
        for record in records:
            if isinstance(record, Retried):
                recorded[record.task, record.index, record.attempt] += 1
                again[record.task, record.index] += 1
                assert specs[record.task].retry is not None
            if not isinstance(record, Outcome):
                continue
            if record.attempt:
                recorded[record.task, record.index, record.attempt] += 1
            if record.state in DONE:
                done[record.task, record.index] += 1
                assert record.value == self.plan.values[record.task][record.index]
        assert all(count == 1 for count in recorded.values()), recorded
        assert self.last_request or all(count <= RETRY.times for count in again.values()), again
        assert all(count == 1 for count in done.values()), done
        for path, node in self.nodes.items():
            if path.startswith(f"{FOLDER}/outcomes/"):
                outcome = decode(bytes(node.data).rstrip(b"\n"))
                assert isinstance(outcome, Outcome)
                if outcome.state == SUCCESS:
                    assert done[outcome.task, outcome.index] == 1, f"{path} is lost"
        replay = Replay(request_of(self.plan).spec)
        replay.fold(records)
        for state in replay.progress.tasks.values():
            for outcome in state.outcomes:
                if outcome is not None and outcome.state == SKIPPED:
                    above = (*state.chains, *state.barriers)
                    assert not all(outcome.succeeded() for outcome in above), (
                        f"{outcome} for nothing"
                    )
        if not self.last_request and not self.stall_rate:
            # Otherwise a job may be killed after it has published: jobs behind it are then taken
            # out of the queue, and that looks as if a person had done it.
            failures = [
                record
                for record in records
                if isinstance(record, Outcome) and record.state == FAILED
            ]
            assert not [failure for failure in failures if failure.cause == CANCELLED]
        if self.last.finished == SUCCESS:
            assert sum(done.values()) == self.plan.elements
        intents = {record.tag: record for record in records if isinstance(record, Intent)}
        ids = [self.jobs[self.tags[tag]] for tag in intents if tag in self.tags]
        self.advance(self.now + 60)
        still = [job.id for job in ids if job.role == "worker" and job.live and job.fate != "never"]
        assert not still, f"jobs {still} live on"
        bound = 30 + 6 * self.plan.elements + 6 * self.last_request
        assert len(self.jobs) < bound, f"{len(self.jobs)} jobs for {self.plan.elements} elements"
        if not self.last_request and not (
            self.fate_rate or self.crash_rate or self.stall_rate or self.submit_rate
            or self.error_rate
        ):  # fmt: skip
            assert self.last.finished == SUCCESS
            lost = [
                record for record in records if isinstance(record, Outcome) and record.cause == LOST
            ]
            assert not lost
        assert self.last.finished in (SUCCESS, FAILED, CANCELLED)


def process_dies() -> bool:
    """Whether a `Crash` is being raised: a dead process releases nothing."""
    import sys

    return isinstance(sys.exc_info()[1], Crash)


def request_of(plan: Plan) -> RunRequest:
    return RunRequest(
        format=1, run_id="sim-1", user="", created_at="", run_dir="/", parameters={},
        options=RunOptions(), executor="sim", executor_settings={}, store="",
        entrypoint=Entrypoint(
            kind="none", target="", workflow="", directory="/", search_path=()
        ),
        python="python", spec=plan.spec,
    )  # fmt: skip


class SimClock:
    def __init__(self, world: World, process: Process) -> None:
        self.world, self.process = world, process

    def now(self) -> float:
        return self.world.now + self.process.skew

    def sleep(self, seconds: float) -> None:
        raise AssertionError("a pass does not wait")


class SimAppender:
    def __init__(self, files: SimFiles, path: str) -> None:
        self.files, self.path = files, path

    def append(self, data: bytes) -> None:
        world = self.files.world
        world.effect(self.files.process, f"append {data[:60]!r}")
        node = world.nodes[self.path]
        if world.chance(world.crash_rate):
            node.data += data[: world.rng.randrange(len(data))]
            node.modified = world.now
            world.note(f"{self.files.process.name} CRASHES in append: torn")
            raise Crash
        node.data += data
        node.modified = world.now
        world.effect(self.files.process, "append done")

    def sync(self) -> None:
        self.files.world.effect(self.files.process, "sync")

    def close(self) -> None:
        pass


class SimFiles:
    """`reflow.storage.filesystem.Files`, as one process sees the server."""

    def __init__(self, world: World, process: Process) -> None:
        self.world, self.process = world, process
        self.behind = world.rng.uniform(0, world.lag)

    def make_folder(self, path: str) -> None:
        self.world.effect(self.process, f"make_folder {path}")

    def list(self, path: str) -> list[str]:
        # A listing is a snapshot from a little while ago, own names included.
        world, lag = self.world, 0.0
        if path.startswith((f"{FOLDER}/outcomes", f"{FOLDER}/epochs")):
            lag = self.behind
        names = [
            entry.rpartition("/")[2]
            for entry, node in world.nodes.items()
            if entry.rpartition("/")[0] == path
            and (node.born <= world.now - lag or entry in self.process.created)
        ]
        world.rng.shuffle(names)
        return names

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        node = self.world.nodes.get(path)
        if node is None:
            raise FileNotFoundError(2, "No such file or directory", path)
        return bytes(node.data[offset:] if size < 0 else node.data[offset : offset + size])

    def create(self, path: str, data: bytes) -> bool:
        self.world.effect(self.process, f"create {path}")
        created = path not in self.world.nodes
        if created:
            self.world.nodes[path] = Node(data, self.world.now)
            self.process.created.add(path)
        self.world.effect(self.process, f"created {path}")
        return created

    def write(self, path: str, data: bytes, *, executable: bool = False) -> None:
        self.world.effect(self.process, f"write {path}")
        self.world.nodes[path] = Node(data, self.world.now)
        self.world.effect(self.process, f"wrote {path}")

    def open_append(self, path: str) -> SimAppender:
        assert path in self.world.nodes
        return SimAppender(self, path)

    def touch(self, path: str) -> float:
        self.world.effect(self.process, f"touch {path}")
        node = self.world.nodes.setdefault(path, Node(b"", self.world.now))
        node.modified = self.world.now
        return node.modified

    def scratch(self, folder: str, suffix: str) -> str:
        return f"{folder}/.{id(self.process)}{suffix}"

    def discard(self, path: str) -> None:
        self.world.nodes.pop(path, None)

    def modified(self, path: str) -> float:
        return self.world.nodes[path].modified


class SimExecutor(Executor):
    """A scheduler as one process reaches it."""

    name = "sim"

    def __init__(self, world: World, process: Process) -> None:
        self.world, self.process = world, process

    @property
    def capabilities(self) -> Capabilities:
        return self.world.capabilities

    def _reach(self, what: str) -> None:
        world = self.world
        world.effect(self.process, what)
        if world.faults and any(start <= world.now < end for start, end in world.down):
            raise SchedulerUnreachableError(f"the scheduler is down ({what})")

    def submit(self, request: JobRequest) -> str:
        world = self.world
        self._reach("submit")
        if world.barred and self.process.job is not None:
            raise SubmissionForbiddenError("this host may not submit")
        if world.chance(world.submit_rate):
            raise SchedulerUnreachableError("submit timed out")  # not accepted
        if request.tag not in world.tags:
            live = sum(job.live for job in world.jobs.values())
            if (world.faults and live >= world.limit) or world.chance(world.submit_rate / 2):
                raise SubmissionLimitError("too many jobs")
            if request.tag.endswith(".w") and world.chance(world.submit_rate / 4):
                raise SubmissionRefusedError("no such queue")
        job = world.accept(request)
        world.effect(self.process, "submitted")
        if world.chance(world.submit_rate):
            raise SchedulerUnreachableError("submit timed out")  # accepted all the same
        return job

    def poll(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
        self._reach("poll")
        statuses = {}
        for job in jobs:
            status = self._status(self.world.jobs[job])
            if status is not None:
                statuses[job] = status
        self.world.effect(self.process, "polled")
        return statuses

    def _status(self, job: Job) -> JobStatus | None:
        now = self.world.now
        if job.state == "vanished" or now < job.visible_from:
            return None
        if self.world.faults and job.glitch[0] <= now < job.glitch[1]:
            return None
        positions = {
            position: JobStatus(
                state=ENDED,
                cause=CANCELLED if position in job.dropped
                else "NODE_FAIL" if job.fate.startswith("kill") else "",
            )
            for position in job.over
        } if self.world.elementwise else {}  # fmt: skip
        if job.live:
            return JobStatus(state=LIVE, running=job.state == "running", positions=positions)
        if now < job.lag_until:
            return JobStatus(state=LIVE) if int(job.id) % 2 else None
        if now > job.ended_at + 300:
            return None  # purged
        return JobStatus(
            state=ENDED, cause="TIMEOUT" if job.fate == "kill" else "", positions=positions
        )

    def find(self, tags: Collection[str]) -> Mapping[str, str]:
        self._reach("find")
        return {
            tag: self.world.tags[tag]
            for tag in tags
            if tag in self.world.tags
            and self.world.jobs[self.world.tags[tag]].visible_from <= self.world.now
            and self.world.jobs[self.world.tags[tag]].state != "vanished"
        }

    def cancel(self, jobs: Iterable[str]) -> None:
        self._reach("cancel")
        for job in jobs:
            self.world.end(self.world.jobs[job], "ended")
        self.world.effect(self.process, "cancelled")


def run_seed(seed: int) -> World:
    world = World(seed)
    try:
        world.simulate()
        world.check()
    except BaseException:
        print(f"seed {seed}; the last of the trace:")
        print("\n".join(world.trace[-int(os.environ.get("REFLOW_SIM_TRACE", "150")) :]))
        raise
    return world


def test_lags_are_shorter_than_the_grace_period() -> None:
    assert 2 * LAG < GRACE_SECONDS


@pytest.mark.parametrize("first", range(FIRST, FIRST + RUNS, CHUNK))
def test_runs_survive_faults(first: int) -> None:
    for seed in range(first, min(first + CHUNK, FIRST + RUNS)):
        try:
            run_seed(seed)
        except Exception as error:
            pytest.fail(f"seed {seed}: {error!r} (REFLOW_SIM_FIRST={seed} REFLOW_SIM_RUNS=1)")
