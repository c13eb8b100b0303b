"""Seeded fault runs of the engine: crashes, torn writes, late visibility, rivals.

Everything outside the engine is a double here: the files (a server, and machines that
cache what they saw of it), the clock, the pool, the processes. A process may die before,
in the middle of, or after any effect; it may stall for minutes and wake up overtaken;
its whole machine may go down. The engine (`Dispatch` and the loop of `drive`) is the
real one. REFLOW_SIM_RUNS says how many seeds run, REFLOW_SIM_FIRST which is the first;
a failure names its seed and prints the trace of what happened.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import threading
import zlib
from collections import Counter
from types import SimpleNamespace

import pytest

import reflow.engine.local_driver
import reflow.engine.record_writer
import reflow.storage.blobs
from reflow.engine.dispatcher import Dispatch, ask
from reflow.engine.local_driver import _Driver
from reflow.engine.replay import Replay
from reflow.engine.task_call import Answer, Work
from reflow.errors import LeaseHeldError, LeaseLostError
from reflow.model.spec import Constant, Source, TaskSpec, Wire, WorkflowSpec
from reflow.states import CANCELLED, DONE, FAILED, SKIPPED, SUCCESS
from reflow.storage.events import Epoch, Finished, Opened, decode_all
from reflow.storage.journal import LEASE_SECONDS, JournalReader
from reflow.storage.outcome import Outcome
from reflow.storage.run_directory import RunOptions, RunRecord
from reflow.values.hashing import digest
from reflow.values.json_codec import dump

RUNS = int(os.environ.get("REFLOW_SIM_RUNS", "5000"))
FIRST = int(os.environ.get("REFLOW_SIM_FIRST", "0"))
CHUNK = 250
LAG = 5.0
TRACE = int(os.environ.get("REFLOW_SIM_TRACE", "150"))
"""How long a machine may go on with what it saw before; far below the lease."""


class Crash(BaseException):
    """The process has died."""


# The server, the machines, and time


class Node:
    """A file: `data` as its writer's machine has it, of which the server has `flushed` bytes."""

    def __init__(self, data: bytes, machine: str, now: float) -> None:
        self.data = bytearray(data)
        self.flushed = len(data)
        self.flush_at: float | None = None
        self.machine = machine
        self.mtime = now
        self.expired = False  # its writer was silent for as long as a lease lasts


class Proc:
    """A process, run by a thread that advances only while it holds the baton."""

    def __init__(self, world: World, name: str, machine: str, body) -> None:
        self.world, self.name, self.machine = world, name, machine
        self.boot = world.boots[machine]
        self.body = body
        self.baton = threading.Semaphore(0)
        self.wake = world.now
        self.alive = True
        self.doomed = False
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def owner(self) -> str:
        return f"{self.machine}/{self.boot}/{self.name}"

    def _run(self) -> None:
        self.baton.acquire()
        try:
            if not self.doomed:
                self.body(self)
        except Crash:
            pass
        except BaseException as error:
            self.error = error
        self.alive = False
        self.world.note(f"{self.name} is over")
        self.world.main.release()

    def pause(self, seconds: float) -> None:
        self.wake = self.world.now + seconds
        self.world.main.release()
        self.baton.acquire()
        if self.doomed:
            raise Crash


class World:
    """One simulated site, driven by one seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.seed = seed
        self.now = 1000.0
        self.trace: list[str] = []
        self.main = threading.Semaphore(0)
        self.procs: list[Proc] = []
        self.current: Proc | None = None
        self.boots = dict.fromkeys(("m1", "m2", "m3"), 0)
        self.nodes: dict[str, Node] = {}
        self.listed: dict[tuple[str, str], tuple[float, list[str]]] = {}
        self.stats: dict[tuple[str, str], tuple[float, int, float]] = {}
        self.absent: dict[tuple[str, str], float] = {}
        self.promised: list[tuple[str, bytes]] = []
        self.effects = 0
        self.silent = False
        self.counts: Counter[str] = Counter()
        self.crashes = self.rng.choice((0, 1, 2, 4, 8))
        self.crash_rate = self.rng.choice((0.005, 0.02, 0.06, 0.15))
        self.stalls = self.rng.choice((0, 0, 2, 4))
        self.switch_rate = self.rng.choice((0.05, 0.3, 0.8))
        self.lag = self.rng.choice((0.0, LAG))
        self._draw_crash()

    def _draw_crash(self) -> None:
        self.next_crash = self.effects + 1 + int(self.rng.expovariate(self.crash_rate))

    def note(self, text: str) -> None:
        self.trace.append(f"{self.now:10.3f} {text}")

    # Processes

    def spawn(self, name: str, machine: str, body) -> Proc:
        proc = Proc(self, name, machine, body)
        self.procs.append(proc)
        return proc

    def step(self) -> bool:
        """Let one process go on; return False if there is none."""
        living = [proc for proc in self.procs if proc.alive]
        if not living:
            return False
        due = [proc for proc in living if proc.wake <= self.now]
        if not due:
            self.now = min(proc.wake for proc in living)
            due = [proc for proc in living if proc.wake <= self.now]
        proc = self.rng.choice(due)
        self.current = proc
        proc.baton.release()
        self.main.acquire()
        self.current = None
        return True

    def kill(self, proc: Proc) -> None:
        proc.doomed = True
        proc.wake = self.now
        while proc.alive:
            proc.baton.release()
            self.main.acquire()

    def effect(self, what: str) -> str:
        """Called around each effect: returns "", "before", "torn" or "after"."""
        self.effects += 1
        assert self.effects < 30_000, "the run does not come to an end"
        proc = self.current
        assert proc is not None
        self.now += self.rng.random() * 0.01
        if self.stalls and self.rng.random() < 0.03:
            self.stalls -= 1
            self.counts["stall"] += 1
            seconds = self.rng.uniform(20, 200)
            self.silent = True
            self.note(f"{proc.name} stalls {seconds:.0f} s before {what}")
            proc.pause(seconds)
        elif self.rng.random() < self.switch_rate and sum(p.alive for p in self.procs) > 1:
            proc.pause(0)
        self.note(f"{proc.name}@{proc.machine} {what}")
        if self.crashes and self.effects >= self.next_crash:
            self.crashes -= 1
            self._draw_crash()
            return self.rng.choice(("before", "torn", "after"))
        return ""

    def crash(self, when: str) -> None:
        proc = self.current
        assert proc is not None
        if self.rng.random() < 0.4:
            self.counts["machine crash"] += 1
            self.note(f"CRASH of machine {proc.machine} ({when})")
            self._machine_down(proc)
        else:
            self.counts["process crash"] += 1
            self.note(f"CRASH of {proc.name} ({when})")
        raise Crash

    def _machine_down(self, last: Proc) -> None:
        machine = last.machine
        self.boots[machine] += 1
        for node in self.nodes.values():
            if node.machine == machine:
                self.settle(node)
                kept = self.rng.randint(node.flushed, len(node.data))
                lost = len(node.data) - kept
                del node.data[kept:]
                if lost and self.rng.random() < 0.3:
                    node.data += bytes(self.rng.randint(1, lost))  # length arrived, data did not
                node.flushed = len(node.data)
                node.flush_at = None
        for cache in (self.listed, self.stats, self.absent):
            for key in [key for key in cache if key[0] == machine]:
                del cache[key]
        for proc in self.procs:
            if proc is not last and proc.alive and proc.machine == machine:
                proc.doomed = True
                proc.wake = self.now

    # Files at the server

    def settle(self, node: Node) -> None:
        """Write back what the writer's machine should have written by now."""
        if node.flush_at is not None and node.flush_at <= self.now:
            self.flush(node)

    def flush(self, node: Node) -> None:
        if node.flushed < len(node.data):
            node.mtime = self.now if node.flush_at is None else min(self.now, node.flush_at)
        node.flushed = len(node.data)
        node.flush_at = None

    def sealed(self, folder: str) -> list:
        """Read the record as the server has it, by other code than the engine's."""
        names = sorted(n for n in self.nodes if n.startswith(folder) and n.endswith(".seg"))
        datas = []
        for number, name in enumerate(names, 1):
            assert name == f"{folder}/{number:06d}.seg"
            datas.append(bytes(self.nodes[name].data))
        batches = []
        for position, data in enumerate(datas):
            if position + 1 < len(datas):
                line = datas[position + 1].partition(b"\n")[0] + b"\n"
                (opened,), _ = decode_all(line)
                assert opened.sealed <= len(data), "sealed bytes are gone"
                data = data[: opened.sealed]
                records, size = decode_all(data)
                assert size == len(data), "a seal cuts a record"
            else:
                records, _ = decode_all(data)
            assert isinstance(records[0], Opened)
            assert records[0].number == position + 1
            batches.append(records)
        return batches


class SimAppender:
    def __init__(self, files: SimFiles, path: str) -> None:
        self.files, self.path = files, path
        self.node = files.world.nodes[path]
        self.unsynced: list[bytes] = []

    def append(self, data: bytes) -> None:
        world, node = self.files.world, self.node
        crash = world.effect(f"append {self.path[-10:]} {data!r}")
        if crash == "before":
            world.crash(crash)
        if crash == "torn":
            data = data[: world.rng.randrange(len(data))]
        world.settle(node)
        if world.now - node.mtime >= LEASE_SECONDS - 2 * LAG:
            node.expired = True
        node.data += data
        if node.flush_at is None:
            node.flush_at = world.now + world.rng.uniform(0, 30)
        if crash:
            world.crash(crash)
        self.unsynced.append(data)

    def sync(self) -> None:
        world, node = self.files.world, self.node
        crash = world.effect(f"sync {self.path[-10:]}")
        if crash in ("before", "torn"):
            world.crash(crash)
        world.settle(node)
        if node.machine != self.files.machine:
            return self.files._leave(crash)  # what another machine holds in memory stays there
        if self.unsynced and world.now - node.mtime >= LEASE_SECONDS - 2 * LAG:
            node.expired = True
        node.flush_at = None
        world.flush(node)
        folder = os.path.dirname(self.path)
        newest = max(name for name in world.nodes if name.startswith(folder + "/0"))
        if newest == self.path and not node.expired:
            for data in self.unsynced:
                world.promised.extend((self.path, line) for line in data.splitlines())
        self.unsynced = []
        if crash:
            world.crash(crash)

    def close(self) -> None:
        pass


class SimFiles:
    """`reflow.storage.filesystem.Files` as one machine sees the server."""

    def __init__(self, world: World, machine: str) -> None:
        self.world, self.machine = world, machine

    def _enter(self, what: str) -> str:
        crash = self.world.effect(what)
        if crash in ("before", "torn"):
            self.world.crash(crash)
        return crash

    def _leave(self, crash: str) -> None:
        if crash:
            self.world.crash(crash)

    def _node(self, path: str) -> Node:
        world, key = self.world, (self.machine, path)
        if world.absent.get(key, 0.0) > world.now or path not in world.nodes:
            if path not in world.nodes:
                world.absent[key] = world.now + world.rng.random() * world.lag
            raise FileNotFoundError(2, "No such file or directory", path)
        node = world.nodes[path]
        world.settle(node)
        return node

    def _view(self, path: str) -> tuple[int, float]:
        """Return the (length, time) of a file as this machine sees it."""
        world, node, key = self.world, self._node(path), (self.machine, path)
        if node.machine == self.machine:
            return len(node.data), node.mtime
        until, length, mtime = world.stats.get(key, (0.0, 0, 0.0))
        if until <= world.now:
            length, mtime = node.flushed, node.mtime
            world.stats[key] = (world.now + world.rng.random() * world.lag, length, mtime)
        return length, mtime

    def _invalidate(self, path: str) -> None:
        self.world.absent.pop((self.machine, path), None)
        self.world.stats.pop((self.machine, path), None)
        self.world.listed.pop((self.machine, os.path.dirname(path)), None)

    def make_folder(self, path: str) -> None:
        self._leave(self._enter(f"make_folder {path}"))

    def list(self, path: str) -> list[str]:
        crash = self._enter(f"list {path}")
        world, key = self.world, (self.machine, path)
        until, names = world.listed.get(key, (0.0, []))
        if until <= world.now:
            names = [
                os.path.basename(name) for name in world.nodes if os.path.dirname(name) == path
            ]
            world.listed[key] = (world.now + world.rng.random() * world.lag, names)
        self._leave(crash)
        names = list(names)
        world.rng.shuffle(names)
        return names

    def read(self, path: str, offset: int = 0) -> bytes:
        crash = self._enter(f"read {path} {offset}")
        length, _ = self._view(path)
        data = bytes(self.world.nodes[path].data[offset:length])
        self._leave(crash)
        return data

    def create(self, path: str, data: bytes) -> bool:
        crash = self._enter(f"create {path} {data!r}")
        created = path not in self.world.nodes
        if created:
            self.world.nodes[path] = Node(data, self.machine, self.world.now)
            self._invalidate(path)
        self._leave(crash)
        return created

    def write(self, path: str, data: bytes, *, executable: bool = False) -> None:
        crash = self._enter(f"write {path}")
        self.world.nodes[path] = Node(data, self.machine, self.world.now)
        self._invalidate(path)
        self._leave(crash)

    def open_append(self, path: str) -> SimAppender:
        crash = self._enter(f"open_append {path}")
        self._node(path)
        self._leave(crash)
        return SimAppender(self, path)

    def touch(self, path: str) -> float:
        crash = self._enter(f"touch {path}")
        world = self.world
        node = world.nodes.setdefault(path, Node(b"", self.machine, world.now))
        world.settle(node)
        if path.endswith(".seg") and world.now - node.mtime >= LEASE_SECONDS - 2 * LAG:
            node.expired = True
        node.mtime = world.now
        self._invalidate(path)
        self._leave(crash)
        return node.mtime

    def scratch(self, folder: str, suffix: str) -> str:
        return f"{folder}/.{self.machine}.{self.world.effects}{suffix}"

    def discard(self, path: str) -> None:
        self.world.nodes.pop(path, None)

    def modified(self, path: str) -> float:
        crash = self._enter(f"modified {path}")
        _, mtime = self._view(path)
        self._leave(crash)
        return mtime


class SimClock:
    def __init__(self, world: World) -> None:
        self.world = world

    def now(self) -> float:
        return self.world.now

    def sleep(self, seconds: float) -> None:
        assert self.world.current is not None
        self.world.current.pause(seconds)


class SimPool:
    """Evaluates elements, some of them long; renews the lease as the driver's thread does."""

    def __init__(self, world: World, plan: Plan, dispatch: Dispatch, slow: bool) -> None:
        self.world, self.plan, self.dispatch, self.slow = world, plan, dispatch, slow
        self.width = world.rng.choice((1, 1, 2, 5))
        self.queue: list[Work] = []
        self.renewed = world.now

    def add(self, works) -> None:
        self.queue.extend(works)

    @property
    def busy(self) -> bool:
        return bool(self.queue)

    def results(self, seconds: float):
        rng, world = self.world.rng, self.world
        proc = world.current
        assert proc is not None
        remaining = rng.uniform(0.01, 40) if self.slow and rng.random() < 0.1 else seconds
        while remaining > 0:
            proc.pause(min(remaining, 10.0))
            remaining -= 10.0
            if world.now - self.renewed >= LEASE_SECONDS / 6:
                self.renewed = world.now
                self.dispatch.lease.renew()
        results = []
        for _ in range(rng.randint(1, self.width)):
            if self.queue:
                # With several processes, any of the first few may answer first.
                work = self.queue.pop(rng.randrange(min(self.width, len(self.queue))))
                results.append((work, self._answer(work), None))
        return results

    def _answer(self, work: Work) -> Answer:
        now = self.world.now
        inputs = {**self.dispatch.common(work.task), **work.texts}
        self.world.note(f"run {work.task}[{work.index}] attempt {work.attempt}")
        if work.attempt <= self.plan.fails(work.task, work.index):
            return Answer(FAILED, "", "", (), "ERROR", "planned", now, now)
        text = self.plan.call(work.task, {k: json.loads(v) for k, v in inputs.items()})
        return Answer(SUCCESS, text, digest(text), (), "", "", now, now)

    def drop(self, tasks, *, running: bool = True) -> list[Work]:
        dropped = [work for work in self.queue if tasks is None or work.task in tasks]
        if not running:
            dropped = dropped[self.width :]
        self.queue = [work for work in self.queue if work not in dropped]
        return dropped


# Random workflows, and their results when nothing goes wrong


class Plan:
    """A random workflow, its functions, which elements fail, and all values."""

    def __init__(self, rng: random.Random) -> None:
        self.salt = rng.random()
        self.fail_rate = rng.choice((0.0, 0.0, 0.05, 0.3))
        self.lists: dict[str, bool] = {}
        self.array: dict[str, bool] = {}
        self.most = rng.choice((2, 4, 9))
        tasks: list[TaskSpec] = []
        for number in range(rng.randint(1, 8)):
            name = f"t{number}"
            wires, array = self._wires(rng, tasks)
            after = ()
            if tasks and rng.random() < 0.2:
                after = (rng.choice(tasks).name,)
            tasks.append(
                TaskSpec(
                    name=name,
                    array=array,
                    wires=wires,
                    after=after,
                    constants=(Constant(parameter="c", type="int", text=str(number)),),
                )
            )
            self.lists[name] = rng.random() < 0.55
            self.array[name] = array
        self.spec = WorkflowSpec(name="w", tasks=tuple(tasks))
        self.by_name = {task.name: task for task in tasks}
        self.values: dict[str, list[str] | None] = {}
        for task in tasks:
            self.values[task.name] = self._evaluate(task)

    def _wires(self, rng: random.Random, tasks: list[TaskSpec]) -> tuple[tuple[Wire, ...], bool]:
        names = [task.name for task in tasks]
        singles = [name for name in names if not self.array[name]]
        arrays = [name for name in names if self.array[name]]
        whole: list[Wire] = []
        each: list[Wire] = []

        def whole_wire(parameter: str, array: bool) -> Wire | None:
            kinds = []
            if singles:
                kinds.append("direct")
            if arrays:
                kinds.append("gather")
            if any(self.lists[name] for name in arrays):
                kinds.append("gather-flatten")
            if not kinds:
                return None
            kind = rng.choice(kinds)
            mode = "broadcast" if array else kind
            if kind == "direct":
                return Wire(parameter=parameter, mode=mode,
                            sources=(Source(task=rng.choice(singles)),))
            flat = kind == "gather-flatten"
            pool = [name for name in arrays if self.lists[name] or not flat]
            chosen = rng.sample(pool, min(len(pool), rng.choice((1, 1, 2))))
            return Wire(parameter=parameter, mode=mode, listed=True, sources=tuple(
                Source(task=name, array=True, flatten=flat) for name in chosen))

        def each_wire(parameter: str) -> Wire | None:
            kinds = []
            if arrays:
                kinds += ["chain", "chain"]
            if any(self.lists[name] for name in arrays):
                kinds.append("chain-flatten")
            if any(self.lists[name] for name in singles):
                kinds += ["fan-out", "fan-out"]
            if not kinds:
                return None
            kind = rng.choice(kinds)
            if kind == "chain":
                return Wire(parameter=parameter, mode=kind, each=True,
                            sources=(Source(task=rng.choice(arrays), array=True),))
            of = arrays if kind == "chain-flatten" else singles
            pool = [name for name in of if self.lists[name]]
            chosen = rng.sample(pool, min(len(pool), rng.choice((1, 1, 1, 2))))
            return Wire(parameter=parameter, mode=kind, each=True, sources=tuple(
                Source(task=name, array=of is arrays, flatten=True) for name in chosen))

        array = bool(tasks) and rng.random() < 0.65
        if array:
            for number in range(rng.choice((1, 1, 1, 2))):
                wire = each_wire(f"e{number}")
                if wire is not None:
                    each.append(wire)
                if number == 0 and each and each[0].chained and rng.random() < 0.5:
                    break
        array = bool(each)
        for number in range(rng.choice((0, 1) if array else (0, 1, 1, 2))):
            wire = whole_wire(f"w{number}", array)
            if wire is not None:
                whole.append(wire)
        return (*each, *whole), array

    def fails(self, task: str, index: int) -> int:
        """Return how many attempts of an element fail."""
        draw = random.Random(f"{self.salt}{task}{index}")
        return draw.choice((1, 1, 2, 99)) if draw.random() < self.fail_rate else 0

    def call(self, task: str, inputs: dict[str, object]) -> str:
        number = zlib.crc32(json.dumps([task, sorted(inputs.items())]).encode())
        if not self.lists[task]:
            return dump(number)
        return dump([(number >> i) % 50 for i in range(number % (self.most + 1))])

    def _evaluate(self, task: TaskSpec) -> list[str] | None:
        """Return the text of each element's value; None if the task has no known elements."""
        if any(self.values[name] is None for name in task.upstreams):
            return None
        common: dict[str, object] = {c.parameter: json.loads(c.text) for c in task.constants}
        each: dict[str, list[object]] = {}
        for wire in task.wires:
            items: list[object] = []
            for source in wire.sources:
                for text in self.values[source.task] or ():
                    value = json.loads(text)
                    items.extend(value) if source.flatten else items.append(value)
            if wire.each:
                each[wire.parameter] = items
            else:
                common[wire.parameter] = items if wire.listed else items[0]
        if not task.array:
            return [self.call(task.name, common)]
        if len({len(items) for items in each.values()}) > 1:
            return None
        size = len(next(iter(each.values())))
        return [
            self.call(task.name, {**common, **{p: items[i] for p, items in each.items()}})
            for i in range(size)
        ]


# One run


class Simulation:
    """One seed: a workflow that changing processes carry to its end."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        rng = self.world.rng
        self.plan = Plan(rng)
        self.options = RunOptions(on_error=rng.choice(("continue", "continue", "stop")))
        self.request = SimpleNamespace(
            spec=self.plan.spec, options=self.options, run_id="run", user="u"
        )
        self.clock = SimClock(self.world)
        self.user_requests: list[tuple[str, str | None]] = []
        self.launched = 0
        self.slow = rng.random() < 0.5
        self.rivals = rng.choice((0.0, 0.01, 0.1))

    def record(self, machine: str) -> RunRecord:
        return RunRecord("/run", SimFiles(self.world, machine))  # type: ignore[arg-type]

    def launch(self) -> None:
        self.launched += 1
        assert self.launched < 80, "too many recoveries"
        machine = self.world.rng.choice(sorted(self.world.boots))
        self.world.note(f"launch p{self.launched} on {machine}")
        proc = self.world.spawn(f"p{self.launched}", machine, self.drive)
        proc.wake = self.world.now + self.world.rng.choice((0, 0, 1, 30))

    def drive(self, proc: Proc) -> None:
        world = self.world

        def alive(owner: str) -> bool | None:
            machine, boot, name = owner.split("/")
            if (machine, int(boot)) != (proc.machine, proc.boot):
                return None
            other = next(candidate for candidate in world.procs if candidate.name == name)
            return other.alive and not other.doomed

        while True:
            try:
                dispatch = Dispatch(
                    self.record(proc.machine), self.request, None, dict,
                    clock=self.clock, owner=proc.owner(), alive=alive,
                )  # fmt: skip
                break
            except LeaseHeldError as error:
                world.note(f"{proc.name}: {error}")
                world.counts["held"] += 1
                if world.rng.random() < 0.2:
                    return
                proc.pause(world.rng.uniform(0.5, 20))
        world.note(f"{proc.name} holds segment {dispatch.lease.number}")
        pool = SimPool(world, self.plan, dispatch, self.slow)
        try:
            state = _Driver(dispatch, pool).run()  # type: ignore[arg-type]
            dispatch.release()
        except LeaseLostError as error:
            world.counts["lost"] += 1
            if "standstill" in str(error):
                raise AssertionError(str(error)) from error
            return
        world.note(f"{proc.name} finished: {state}")

    def user(self, kind: str, task: str | None):
        def body(proc: Proc) -> None:
            self.user_requests.append((kind, task))
            ask(self.record(proc.machine), self.request, kind, task)  # type: ignore[arg-type]

        return body

    def settled(self) -> bool:
        """Whether the record says that nothing is left to do."""
        replay = Replay(self.request.spec)
        for records in self.world.sealed("/run/segments"):
            replay.fold(records)
        epochs = [name for name in self.world.nodes if name.startswith("/run/epochs")]
        return replay.finished is not None and replay.epoch >= len(epochs)

    def run(self) -> Counter[str]:
        world, rng = self.world, self.world.rng
        names = [task.name for task in self.plan.spec.tasks]
        requests = rng.choice((0, 0, 1, 2, 3))
        for number in range(requests):
            kind = rng.choice(("cancel", "retry"))
            task = rng.choice((None, None, rng.choice(names)))
            machine = rng.choice(sorted(world.boots))
            user = world.spawn(f"u{number}", machine, self.user(kind, task))
            user.wake = world.now + rng.choice((rng.uniform(0, 2), rng.uniform(0, 100)))
        self.launch()
        steps = 0
        try:
            while True:
                steps += 1
                assert world.now < 1e5, "the run takes for ever"
                silent, world.silent = world.silent and rng.random() < 0.8, False
                if silent or (rng.random() < self.rivals and self.launched < 8):
                    self.launch()
                if not world.step():
                    if self.settled():
                        break
                    self.launch()
                for proc in world.procs:
                    if proc.error is not None:
                        raise proc.error
                    if proc.doomed and proc.alive:
                        world.kill(proc)
            self.judge()
        finally:
            for proc in world.procs:
                if proc.alive:
                    world.kill(proc)
        world.counts["effects"] += world.effects
        return world.counts

    # What must hold

    def judge(self) -> None:
        world, plan = self.world, self.plan
        segments = world.sealed("/run/segments")
        records = [record for segment in segments for record in segment]

        # Nothing durable is lost.
        lines = Counter(
            (f"/run/segments/{number:06d}.seg", line)
            for number, segment in enumerate(segments, 1)
            for line in bytes(
                world.nodes[f"/run/segments/{number:06d}.seg"].data
            ).splitlines()[: len(segment)]
        )
        for promise in world.promised:
            assert lines[promise], f"durable, and gone from the record: {promise}"

        # The engine's reader, on a machine with empty caches, reads the same.
        for node in world.nodes.values():
            world.flush(node)
        world.now += 1000
        proc = world.current = Proc(world, "judge", "m1", lambda _: None)
        world.kill(proc)
        world.crashes = world.stalls = 0
        files = SimFiles(world, "m1")
        assert JournalReader(files, "/run/segments").read() == records

        # Between retries each element has one outcome; what is done stays done.
        recorded: dict[tuple[str, int], Outcome] = {}
        done: set[tuple[str, int]] = set()
        replay = Replay(self.request.spec)
        cancelled: set[str] = set()
        for record in records:
            if isinstance(record, Outcome):
                key = (record.task, record.index)
                assert key not in done, f"recorded again after it was done: {record}"
                assert key not in recorded, f"recorded twice: {record}"
                recorded[key] = record
                if record.state in DONE:
                    done.add(key)
                if record.state == CANCELLED:
                    assert record.task in cancelled, f"cancelled by nobody: {record}"
            replay.fold([record])
            if isinstance(record, Epoch):
                if record.kind == "retry":
                    state = replay.progress.tasks
                    recorded = {
                        key: outcome
                        for key, outcome in recorded.items()
                        if outcome is state[outcome.task].whole
                        or outcome in state[outcome.task].outcomes
                    }
                else:
                    cancelled.update(record.tasks or plan.by_name)
        ends = [ending for ending in records if isinstance(ending, (Finished, Epoch))]
        for earlier, two in itertools.pairwise(ends):
            if isinstance(earlier, Finished) and isinstance(two, Finished):
                raise AssertionError("finished twice with no retry between")
        progress = replay.progress
        assert progress.finished
        assert replay.finished == progress.verdict
        # A recorded cancel holds until a retry.
        epochs = [end for end in ends if isinstance(end, Epoch)]
        if epochs and epochs[-1].kind == "cancel":
            at = records.index(epochs[-1])
            for record in records[at:]:
                if (
                    isinstance(record, Outcome)
                    and record.state in (SUCCESS, FAILED)
                    and record.task in (epochs[-1].tasks or plan.by_name)
                ):
                    raise AssertionError(f"ran although it was cancelled before: {record}")

        # Values, failures and skips are what the workflow says.
        states = progress.tasks
        values = reflow.storage.blobs.Values(files, "/run/values")  # type: ignore[arg-type]
        stop = self.options.on_error == "stop"

        def needs(task: TaskSpec, index: int):
            """Yield for each thing that an element needs whether it exists."""
            chained = [wire.sources[0].task for wire in task.wires if wire.chained]
            for name in chained:
                above = states[name]
                if above.whole is not None:
                    yield False
                elif index >= 0:
                    outcome = above.outcomes[index]
                    yield outcome is not None and outcome.state in DONE
            for above in states[task.name].barriers:
                yield above.succeeded()

        for task in plan.spec.tasks:
            state = states[task.name]
            plain = plan.values[task.name]
            outcomes = [
                outcome for outcome in (*state.outcomes, state.whole) if outcome is not None
            ]
            if state.whole is None:
                assert state.size == len(outcomes)
            for outcome in outcomes:
                there = all(needs(task, outcome.index))
                if outcome.state in DONE:
                    assert there, f"ran without its inputs: {outcome}"
                    assert outcome.attempt > plan.fails(outcome.task, outcome.index)
                    assert plain is not None
                    assert len(plain) == state.size
                    assert values.text(outcome) == plain[outcome.index], f"wrong value: {outcome}"
                elif outcome.state == FAILED:
                    assert there, f"failed without its inputs: {outcome}"
                    assert (
                        plain is None
                        if outcome.attempt == 0
                        else outcome.attempt <= plan.fails(outcome.task, outcome.index)
                    ), outcome
                elif outcome.state == SKIPPED:
                    assert stop or not there, f"skipped for nothing: {outcome}"


def simulate(seed: int) -> Counter[str]:
    """Run one seed; on failure, print the seed and its trace."""
    simulation = Simulation(seed)
    world = simulation.world
    shim = SimpleNamespace(monotonic=lambda: world.now, time=lambda: world.now)
    kept = reflow.storage.blobs.SPILL_BYTES
    times = reflow.engine.record_writer.time, reflow.engine.local_driver.time
    reflow.engine.record_writer.time = reflow.engine.local_driver.time = shim  # type: ignore[assignment]
    reflow.storage.blobs.SPILL_BYTES = 12
    try:
        return simulation.run()
    except Exception as error:
        trace = "\n".join(line[:300] for line in world.trace[-TRACE:])
        spec = "\n".join(map(str, simulation.plan.spec.tasks))
        raise AssertionError(
            f"seed {seed}: {type(error).__name__}: {error}\n{spec}\n{trace}\n"
            f"again: REFLOW_SIM_RUNS=1 REFLOW_SIM_FIRST={seed}"
        ) from error
    finally:
        reflow.engine.record_writer.time, reflow.engine.local_driver.time = times
        reflow.storage.blobs.SPILL_BYTES = kept


@pytest.mark.parametrize("first", range(FIRST, FIRST + RUNS, CHUNK))
def test_runs_survive_faults(first: int) -> None:
    counts: Counter[str] = Counter()
    for seed in range(first, min(first + CHUNK, FIRST + RUNS)):
        counts += simulate(seed)
    if RUNS >= CHUNK:
        # Faults did occur: a simulator that injects nothing proves nothing.
        for fault in ("process crash", "machine crash", "stall", "held", "lost"):
            assert counts[fault], counts
