"""The engine: takes jobs, starts them when they may start, ends them, reports to accounting."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from . import processes
from .model import (
    BEGIN,
    CANCELLED,
    COMPLETING,
    DEPENDENCY,
    DONE,
    ENDED,
    EXIT_CODE,
    FAILED,
    HELD,
    IN_ERROR,
    LAUNCH,
    MEMORY,
    MISSING_FOLDER,
    NEVER,
    NO_MEMORY,
    NODE,
    NODE_DOWN,
    NONE,
    PARTITION_DOWN,
    PARTITION_SIZE,
    PARTITION_TIME,
    PENDING,
    PREEMPTED,
    PRIORITY,
    REQUEUED,
    RESOURCES,
    RUNNING,
    THROTTLE,
    TIME_LIMIT,
    TIMEOUT,
    Account,
    Dependency,
    Job,
    Node,
    Partition,
    Request,
    Row,
    Settings,
)


class Cluster:
    """One simulated cluster. All methods are called from one thread.

    `environment` gives a job's own variables, `log_path` the path of its output or error,
    `says` the line that the node's daemon writes into a log when it kills a job. `verdict`, if
    given, judges each start of a job that has ended: "" (that was the job), "again" (it goes
    back into the queue), or why it waits in the queue for a person. `signals` are sent, by the
    outcome for which a job is ended, one after the other before it is killed.
    """

    def __init__(
        self,
        folder: str,
        settings: Settings,
        environment: Callable[[Cluster, Job], dict[str, str]],
        log_path: Callable[[Job, str], str],
        says: Callable[[Job, str], str],
        verdict: Callable[[Job], str] | None = None,
        signals: Callable[[str], tuple[int, ...]] = lambda outcome: (signal.SIGTERM,),
    ) -> None:
        self.folder, self.settings = folder, settings
        self.nodes = {node[0]: Node(*node) for node in settings.nodes}
        self.partitions = {partition[0]: Partition(*partition) for partition in settings.partitions}
        self.accounts = {account[0]: Account(*account) for account in settings.accounts}
        self.jobs: dict[int, list[Job]] = {}
        self.by_number: dict[int, Job] = {}
        self.rows: list[Row] = []
        self.next_number = 1
        self.running: dict[int, Job] = {}  # by pid
        self.timers: list[tuple[float, int, Callable[[], None]]] = []
        self.on_end: list[Callable[[Job], None]] = []
        self._environment, self._log_path, self._says = environment, log_path, says
        self._verdict = verdict or (lambda job: "")
        self._signals = signals
        self._parted = 0
        self._pending: dict[int, list[Job]] = {}
        self._count = 0
        self._polled = 0.0
        self._pass_needed = True

    # Time

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Call a function some real seconds from now."""
        import heapq

        self._count += 1
        heapq.heappush(self.timers, (time.monotonic() + seconds, self._count, action))

    def wait(self) -> float:
        """Return how many seconds nothing is due."""
        poll = self.settings.memory_poll if self.running else 60.0
        due = self.timers[0][0] - time.monotonic() if self.timers else 60.0
        return max(0.0, min(poll, due))

    def tick(self) -> None:
        """Do what is due."""
        import heapq

        while self.timers and self.timers[0][0] <= time.monotonic():
            heapq.heappop(self.timers)[2]()
        if self.running and time.monotonic() - self._polled >= self.settings.memory_poll:
            self._polled = time.monotonic()
            self._check_memory()
        if self._pass_needed:
            self.schedule()

    # Submission

    def submit(self, request: Request, script: bytes) -> int:
        """Accept a job; its script is kept from now on."""
        base = self.next_number
        self.next_number += 1
        folder = f"{self.folder}/job{base:05}"
        os.makedirs(folder)
        request.script = f"{folder}/slurm_script"
        with open(request.script, "wb", opener=_executable) as file:
            file.write(script)
        now = time.time()
        due = time.monotonic() + max(0.0, request.begin - now) / self.settings.speed
        delayed = request.begin > now
        jobs = [
            Job(
                request, base, index, now, held=request.held, limit=request.limit,
                memory=request.memory, begin=request.begin if delayed else 0.0,
                begin_due=due if delayed else 0.0,
            )
            for index in (request.indices if request.indices is not None else (None,))
        ]  # fmt: skip
        dependencies = [
            dependency for dependency in request.dependencies if self._still_exists(dependency)
        ]
        for job in jobs:
            job.dependencies = [
                replace(
                    dependency,
                    array=dependency.job in self.jobs
                    and self.jobs[dependency.job][0].index is not None,
                )
                for dependency in dependencies
            ]
        self.jobs[base] = self._pending[base] = jobs
        if jobs[0].index is None:
            jobs[0].number = base
        self.by_number[base] = jobs[-1]
        if delayed:
            self.after(due - time.monotonic(), self._soon)
        if any(dependency.kind == "corr" for dependency in dependencies):
            for job in jobs:
                self.part(job)
        elif jobs[0].index is not None:
            self.rows.append(row := Row(jobs[0]))
            for job in jobs:
                job.row = row
            self._tell(jobs[0], group=True)
        if jobs[0].row is None:
            for job in jobs:
                self._new_row(job)
        self._soon()
        self._set_first_reason(jobs)
        return base

    def _set_first_reason(self, jobs: list[Job]) -> None:
        for job in jobs:
            job.reason = (
                HELD if job.held
                else BEGIN if job.begin_due > time.monotonic()
                else DEPENDENCY if job.dependencies
                else NONE
            )  # fmt: skip

    def _still_exists(self, dependency: Dependency) -> bool:
        """Whether the job of a dependency is remembered; a condition on a forgotten job holds."""
        if dependency.kind == "singleton":
            return True
        jobs = self.jobs.get(dependency.job, [])
        if not jobs and dependency.job in self.by_number:
            jobs = [self.by_number[dependency.job]]
        return any(
            not job.purged and (dependency.index is None or job.index == dependency.index)
            for job in jobs
        )

    def part(self, job: Job) -> None:
        """Give a position of an array an id of its own; the last one has the array's."""
        if job.number:
            return
        if all(other.number for other in self.jobs[job.base] if other is not job):
            job.number = job.base
        elif self.settings.position_numbers:
            job.number = self.next_number
            self.next_number += 1
        else:
            self._parted -= 1
            job.number = self._parted  # an id that no job has
        self.by_number[job.number] = job
        if job.number != job.base or job.row is None:
            self._new_row(job)
        elif job.row is not None:
            job.row.job = job

    def submitted_by(self, user: str, account: str) -> int:
        """Return how many jobs of a user an account has in the queue, positions counted."""
        return sum(
            job.live
            for jobs in self.jobs.values()
            if jobs[0].request.account == account and jobs[0].request.user == user
            for job in jobs
        )

    # Finding

    def find(self, number: int, index: int | None = None) -> list[Job]:
        """Return a job, the positions of an array, or one of them; forgotten ones too."""
        if number in self.jobs:
            return [job for job in self.jobs[number] if index is None or job.index == index]
        job = self.by_number.get(number)
        return [job] if job is not None and index is None else []

    def remembered(self) -> Iterator[Job]:
        """Yield all jobs that the scheduler has not forgotten."""
        for jobs in self.jobs.values():
            yield from (job for job in jobs if not job.purged)

    # Scheduling

    def _soon(self) -> None:
        self._pass_needed = True

    def schedule(self) -> None:
        """Start what may start."""
        self._pass_needed = False
        short = False
        for base in list(self._pending):
            jobs = [job for job in self._pending[base] if job.state == PENDING]
            if not jobs:
                del self._pending[base]
                continue
            self._pending[base] = jobs
            room = jobs[0].request.throttle or len(jobs)
            room -= (
                sum(job.state in (RUNNING, COMPLETING) for job in self.jobs[base])
                if jobs[0].request.throttle
                else 0
            )
            for job in jobs:
                reason = self._obstacle(job)
                if reason == NEVER and job.request.kill_on_never:
                    self.drop(job)
                    continue
                if reason == NONE and room <= 0:
                    reason = THROTTLE
                if reason == NONE:
                    nodes = self._place(job)
                    if nodes:
                        room -= 1
                        self._start(job, nodes)
                        continue
                    reason = PRIORITY if short else RESOURCES
                    short = True
                job.reason = reason
                if reason in (RESOURCES, PRIORITY, THROTTLE):
                    for other in jobs:
                        if other.state == PENDING and other.reason == NONE:
                            other.reason = reason
                    break

    def _obstacle(self, job: Job) -> str:
        request = job.request
        if job.held:
            return HELD
        if job.error:
            return IN_ERROR
        if job.begin_due > time.monotonic():
            return BEGIN
        if job.dependencies:
            outcome = self._test(job)
            if outcome != NONE:
                return outcome
        if not job.eligible:
            job.eligible = time.time()
        if request.refused_reason:
            return request.refused_reason
        partition = self.partitions[request.partition]
        if not partition.up:
            return PARTITION_DOWN
        if request.nodes > len(partition.nodes) or request.cpus * request.tasks > sum(
            self.nodes[name].cpus for name in partition.nodes
        ):
            return PARTITION_SIZE
        if job.limit > partition.limit:
            return PARTITION_TIME
        return NONE

    def _test(self, job: Job) -> str:
        """Return the state of a job's dependencies; drop those that are fulfilled for good."""
        for dependency in job.dependencies:
            dependency.state = self._dependency_state(job, dependency)
        states = [dependency.state for dependency in job.dependencies]
        if (any if job.request.any_of else all)(state == "fulfilled" for state in states):
            job.dependencies = []
            return NONE
        if (all if job.request.any_of else any)(state == "failed" for state in states):
            return NEVER
        if not job.request.any_of:
            job.dependencies = [
                dependency for dependency in job.dependencies if dependency.state != "fulfilled"
            ]
        return DEPENDENCY

    def _dependency_state(self, job: Job, dependency: Dependency) -> str:
        if dependency.kind == "singleton":
            # Among jobs of one name the older goes first.
            others = (
                other
                for other in self.remembered()
                if other.request.name == job.request.name
                and other.request.user == job.request.user
                and (other.base, other.index or 0) < (job.base, job.index or 0)
            )
            return "unfulfilled" if any(other.live for other in others) else "fulfilled"
        jobs = [other for other in self.find(dependency.job, dependency.index) if not other.purged]
        if dependency.kind in ("corr", "each") and job.index is not None:
            # An element without a twin waits for the whole array.
            jobs = [other for other in jobs if other.index == job.index] or jobs
        if dependency.kind == "after":
            now = time.time()
            ready = all(
                (other.started or not other.live)
                and now >= (other.started or other.ended) + dependency.delay / self.settings.speed
                for other in jobs
            )
            if not ready and dependency.delay:
                self.after(0.05, self._soon)
            return "fulfilled" if ready else "unfulfilled"
        if self.settings.strict_dependencies and jobs:
            if any(
                not other.live
                and (other.reason == NEVER or (other.dependencies and not dependency.array))
                for other in jobs
            ):
                return "failed"
            if not dependency.array and all(
                other.outcome == CANCELLED and not other.started for other in jobs
            ):
                return "unfulfilled"
        if any(other.live for other in jobs):
            return "unfulfilled"
        well = all(other.outcome == DONE for other in jobs)
        if self.settings.strict_dependencies and jobs:
            well = max(jobs, key=lambda other: other.ended).outcome == DONE
        good = (
            dependency.kind in ("any", "each") or not jobs or well == (dependency.kind != "notok")
        )
        return "fulfilled" if good else "failed"

    def _place(self, job: Job) -> list[Node]:
        request = job.request
        cpus = -(-request.cpus * request.tasks // request.nodes)
        fitting = [
            node
            for name in self.partitions[request.partition].nodes
            if (node := self.nodes[name]).up
            and node.free_cpus >= cpus
            and node.free_memory >= job.memory
        ]
        if len(fitting) < request.nodes:
            return []
        chosen = fitting[: request.nodes]
        for node in chosen:
            node.free_cpus -= cpus
            node.free_memory -= job.memory
        return chosen

    def _start(self, job: Job, nodes: list[Node]) -> None:
        self.part(job)
        request = job.request
        job.waited, job.reason = job.reason, NONE
        job.nodes, job.state, job.started = nodes, RUNNING, time.time()
        job.status, job.out_of_memory, job.peak, job.ending = None, False, 0, ""
        job.ended = 0.0
        self._tell(job)
        job.log = self._log_path(job, request.output)
        error = self._log_path(job, request.error) if request.error else job.log
        streams: list[int] = []
        try:
            streams.append(os.open(request.input, os.O_RDONLY))
            how = os.O_APPEND if request.append or job.restarts else os.O_TRUNC | os.O_APPEND
            streams.append(os.open(job.log, os.O_WRONLY | os.O_CREAT | how, 0o644))
            streams.append(
                os.dup(streams[1]) if error == job.log
                else os.open(error, os.O_WRONLY | os.O_CREAT | how, 0o644)
            )  # fmt: skip
            if not os.path.isdir(request.directory):
                raise NotADirectoryError(request.directory)
            environment = self._environment(self, job)
            environment[processes.MARK] = self._mark(job)
            job.pid = processes.start(
                [*request.shell, request.script, *request.arguments], request.directory,
                environment, (streams[0], streams[1], streams[2]), request.address_space,
            )  # fmt: skip
        except OSError:
            job.status = MISSING_FOLDER
        finally:
            for stream in streams:
                os.close(stream)
        if job.status == MISSING_FOLDER:
            self._finish(job)
            return
        self.running[job.pid] = job
        self._limit(job)

    def _mark(self, job: Job) -> str:
        return f"{self.folder}:{job.number}.{job.index}:"

    def _limit(self, job: Job) -> None:
        if job.limit:
            incarnation, limit = job.restarts, job.limit
            passed = time.time() - job.started

            def over() -> None:
                if job.state == RUNNING and (job.restarts, job.limit) == (incarnation, limit):
                    self.kill(job, TIMEOUT)

            self.after(max(0.0, limit / self.settings.speed - passed), over)

    # Endings

    def kill(self, job: Job, outcome: str, by: int | None = None, *, at_once: bool = False) -> None:
        """End a job that runs: SIGTERM to all of it, SIGKILL some time later."""
        if job.state != RUNNING:
            return
        job.state, job.ending, job.cancelled_by = COMPLETING, outcome, by
        job.ended = time.time()
        line = self._says(job, outcome)
        if line:
            try:
                with open(job.log, "a") as file:
                    file.write(line)
            except OSError:
                pass
        self._signal_next(job, () if at_once or self.settings.kill_at_once
                          else self._signals(outcome))  # fmt: skip

    def _signal_next(self, job: Job, numbers: tuple[int, ...]) -> None:
        """Send the first of these signals, the others some time later, and last SIGKILL."""
        if not numbers:
            self._kill_rest(job)
        elif job.state == COMPLETING:
            everyone = processes.members(self._mark(job), job.pid)
            processes.send(everyone, numbers[0])
            processes.send(everyone, signal.SIGCONT)
            self.after(self.settings.kill_wait, lambda: self._signal_next(job, numbers[1:]))

    def _kill_rest(self, job: Job) -> None:
        if job.state == COMPLETING:
            processes.send(processes.members(self._mark(job), job.pid), signal.SIGKILL)

    def child_ended(self, pid: int, status: int) -> None:
        """A process has ended; if it was a job's first process, the job has ended too."""
        job = self.running.pop(pid, None)
        if job is not None:
            job.status = status
            processes.send(processes.members(self._mark(job), pid), signal.SIGKILL)
            self._finish(job)

    def _finish(self, job: Job) -> None:
        for node in job.nodes:
            cpus = -(-job.request.cpus * job.request.tasks // job.request.nodes)
            node.free_cpus += cpus
            node.free_memory += job.memory
        if job.ending:
            job.outcome = job.ending
        elif job.out_of_memory:
            job.outcome, job.reason = MEMORY, NO_MEMORY
            self._append(job, self._says(job, MEMORY))
        elif job.status == 0:
            job.outcome = DONE
        else:
            job.outcome = FAILED
            assert job.status is not None
            exited = job.status >= 0 and os.WIFEXITED(job.status)
            job.reason = EXIT_CODE if exited else LAUNCH
        if job.outcome in (TIMEOUT, NODE):
            job.reason = TIME_LIMIT if job.outcome == TIMEOUT else NODE_DOWN
        job.ended = job.ended or time.time()
        job.state, job.pid = ENDED, 0
        self._tell(job)
        if job.outcome in (REQUEUED, NODE, PREEMPTED) and (
            job.outcome == REQUEUED or job.request.requeue
        ):
            self._again(job)
            return
        verdict = "" if job.ending else self._verdict(job)
        if verdict:
            job.error = "" if verdict == "again" else verdict
            self._again(job)
            return
        self._over(job)

    def _append(self, job: Job, text: str) -> None:
        try:
            with open(job.log, "a") as file:
                file.write(text)
        except OSError:
            pass

    def _over(self, job: Job) -> None:
        def forget() -> None:
            if job.state == ENDED:
                job.purged = True

        self.after(self.settings.min_job_age, forget)
        for action in list(self.on_end):
            action(job)
        self._soon()

    def _again(self, job: Job) -> None:
        job.restarts += 1
        job.state, job.outcome, job.reason, job.ending = PENDING, "", BEGIN, ""
        job.begin = time.time() + self.settings.requeue_pause
        pause = self.settings.requeue_pause / self.settings.speed
        job.begin_due = time.monotonic() + pause
        job.started = job.ended = 0.0
        job.nodes, job.dependencies, job.purged, job.cancelled_by = [], [], False, None
        self._new_row(job)
        self._pending.setdefault(job.base, []).append(job)
        self.after(pause, self._soon)

    def _finish_pending(self, job: Job, outcome: str, by: int | None) -> None:
        job.state, job.outcome, job.cancelled_by = ENDED, outcome, by
        job.ended = time.time()
        self._tell(job, group=not job.number)
        self._over(job)

    def drop(self, job: Job) -> None:
        """Take a job out of the queue because of a job that it depends on."""
        job.reason = NEVER
        self._finish_pending(job, CANCELLED, None)

    def fail(self, job: Job, reason: str) -> None:
        """End a job that waits as failed: it will never run."""
        job.reason = reason
        self._finish_pending(job, FAILED, None)

    def cancel(self, jobs: Iterable[Job], by: int) -> None:
        """Take jobs out of the queue, and end those that run."""
        chosen = list(jobs)
        together = {id(job) for job in chosen}
        split = {
            base
            for base in {job.base for job in chosen}
            if any(
                job.live and not job.number and id(job) not in together for job in self.jobs[base]
            )
        }
        for job in chosen:
            if job.state == PENDING:
                if job.base in split:
                    self.part(job)  # the rest of its array stays together
                self._finish_pending(job, CANCELLED, by)
            elif job.state == RUNNING:
                self.kill(job, CANCELLED, by)

    def hold(self, job: Job) -> None:
        job.held = True
        if job.live:
            job.reason = HELD

    def release(self, job: Job) -> None:
        job.held = False
        if job.state == PENDING:
            job.reason = NONE
        self._soon()

    def mend(self, job: Job) -> None:
        """Clear the error of a job, as a person does once the cause is mended."""
        job.error = ""
        self._soon()

    def requeue(self, job: Job) -> None:
        """Put a running or ended job into the queue again."""
        if job.state == RUNNING:
            self.kill(job, REQUEUED)
        elif job.state == ENDED:
            self._tell(job, outcome=REQUEUED)
            self._again(job)

    def set_limit(self, job: Job, seconds: int) -> None:
        job.limit = seconds
        if job.state == RUNNING:
            self._limit(job)
        self._soon()

    def signal(self, job: Job, number: int, *, script: bool, rest: bool) -> None:
        """Send a signal to the script of a job, to what it started, or both."""
        for pid in processes.members(self._mark(job), job.pid):
            if (pid == job.pid and script) or (pid != job.pid and rest):
                processes.send([pid], number)

    def preempt(self, job: Job) -> None:
        self.kill(job, PREEMPTED)

    def overdue(self, job: Job) -> None:
        """Let the time limit of a job pass now."""
        self.kill(job, TIMEOUT)

    def kill_node(self, name: str) -> None:
        """Take a node down with all that runs on it."""
        self.nodes[name].up = False
        for job in list(self.running.values()):
            if any(node.name == name for node in job.nodes):
                self.kill(job, NODE, at_once=True)

    def restore_node(self, name: str) -> None:
        self.nodes[name].up = True
        self._soon()

    def lose(self, job: Job) -> None:
        """Make a job vanish without a trace, its processes with it."""
        if job.pid:
            self.running.pop(job.pid, None)
            processes.send(processes.members(self._mark(job), job.pid), signal.SIGKILL)
            for node in job.nodes:
                node.free_cpus += -(-job.request.cpus * job.request.tasks // job.request.nodes)
                node.free_memory += job.memory
        job.state = ENDED
        self.rows = [row for row in self.rows if row.job is not job]
        self.jobs[job.base].remove(job)
        if not self.jobs[job.base]:
            del self.jobs[job.base]
            self._pending.pop(job.base, None)
        if self.by_number.get(job.own) is job:
            del self.by_number[job.own]
        self._soon()

    def stop(self) -> None:
        """End every process of every job, at once."""
        processes.send(list(self.running), signal.SIGKILL)  # some may not carry the mark yet
        while members := processes.members(f"{self.folder}:"):
            processes.send(members, signal.SIGKILL)
            time.sleep(0.005)
        try:
            while True:  # all that is left has been killed
                os.waitpid(-1, 0)
        except ChildProcessError:
            return

    def _check_memory(self) -> None:
        for leader, sizes in processes.memory(self.running).items():
            job = self.running[leader]
            total = sum(sizes.values())
            job.peak = max(job.peak, total)
            if 0 < job.memory * 1024 < total and job.state == RUNNING:
                job.out_of_memory = True
                processes.send([max(sizes, key=lambda pid: sizes[pid])], signal.SIGKILL)

    # Accounting

    def _new_row(self, job: Job) -> None:
        job.row = Row(job)
        self.rows.append(job.row)
        self._tell(job)

    def _tell(self, job: Job, *, group: bool = False, **changes: object) -> None:
        assert job.row is not None
        report: dict[str, object] = {
            "state": job.state, "outcome": job.outcome,
            "reason": job.waited if job.started else job.reason,
            "status": job.status, "submitted": job.submitted, "started": job.started,
            "ended": job.ended, "limit": job.limit, "peak": job.peak,
            "nodes": [node.name for node in job.nodes], "by": job.cancelled_by,
            "eligible": job.eligible, "group": group,
        }  # fmt: skip
        job.row.reports.append((time.time(), {**report, **changes}))

    def accounted(self) -> Iterator[tuple[Row, dict[str, object]]]:
        """Yield what accounting says now of each incarnation of each job."""
        now = time.time()
        for row in self.rows:
            visible = None
            for when, report in row.reports:
                lag = self.settings.accounting_lag
                if report["state"] == PENDING:
                    lag = max(lag, self.settings.pending_lag)
                if when + lag <= now:
                    visible = report
            if visible is not None:
                yield row, visible


def _executable(path: str, flags: int) -> int:
    return os.open(path, flags, 0o755)
