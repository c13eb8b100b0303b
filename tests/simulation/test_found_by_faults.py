"""Regression tests for what the fault runs revealed, each as small as possible."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
from attrs import evolve

from reflow.engine import worker
from reflow.engine.batch.dispatch_pass import DispatchPass
from reflow.engine.batch.reconcile import GRACE_SECONDS, MAX_STARTS
from reflow.engine.dispatcher import Dispatch, ask
from reflow.engine.lookahead import ahead
from reflow.engine.planner import Progress
from reflow.engine.replay import Replay
from reflow.engine.task_call import WITHIN_TASK
from reflow.errors import (
    CommandMissingError,
    LeaseHeldError,
    RecordError,
    SchedulerUnreachableError,
    SubmissionLimitError,
)
from reflow.executors.base import ENDED, LIVE, Capabilities, Executor, JobRequest, JobStatus
from reflow.model.spec import (
    Entrypoint,
    Resources,
    RetryRule,
    RetrySpec,
    Source,
    TaskSpec,
    Wire,
    WorkflowSpec,
)
from reflow.states import CANCELLED, ERROR, FAILED, OOM, SKIPPED, SUCCESS
from reflow.storage.claims import claim, publish, read_outcome
from reflow.storage.clock import Clock
from reflow.storage.events import Barred, Note, Opened, encode
from reflow.storage.filesystem import Files
from reflow.storage.journal import JournalReader, SignOfLife, take_lease
from reflow.storage.outcome import WHOLE_TASK, Outcome
from reflow.storage.run_directory import RunOptions, RunRecord, RunRequest


def each(parameter: str, task: str, *, array: bool, flatten: bool) -> Wire:
    source = Source(task=task, array=array, flatten=flatten)
    return Wire(parameter=parameter, mode="chain", sources=(source,), each=True)


def spec(*tasks: TaskSpec) -> WorkflowSpec:
    return WorkflowSpec(name="w", tasks=tasks)


LIST = TaskSpec(name="list")
ITEMS = TaskSpec(
    name="items", array=True, wires=(each("x", "list", array=False, flatten=True),)
)


def success(task: str, index: int = 0, value: str = "1") -> Outcome:
    return Outcome(task, index, 1, SUCCESS, value=value)


@pytest.fixture
def record(tmp_path):
    record = RunRecord(str(tmp_path))
    for folder in (record.segments, record.epochs, record.jobs):
        record.files.make_folder(folder)
    return record


def request_of(workflow: WorkflowSpec) -> SimpleNamespace:
    return SimpleNamespace(spec=workflow, options=RunOptions(), run_id="r", user="u")


def test_array_over_values_and_a_chain_waits_for_the_size_of_the_chain() -> None:
    chained = (
        each("a", "late", array=True, flatten=False),
        each("b", "list", array=False, flatten=True),
    )
    late = TaskSpec(name="late", array=True, wires=ITEMS.wires, after=("slow",))
    progress = Progress(
        spec(LIST, TaskSpec(name="slow"), late, TaskSpec(name="both", array=True, wires=chained))
    )
    progress.record(success("list", value="[1,2]"))
    assert [state.spec.name for state in progress.take_unsized()] == []
    progress.record(success("slow"))
    assert [state.spec.name for state in progress.take_unsized()] == ["late"]
    progress.resize("late", 2)
    assert [state.spec.name for state in progress.take_unsized()] == ["both"]


def test_array_whose_barrier_failed_is_not_sized() -> None:
    both = TaskSpec(
        name="both",
        array=True,
        wires=(
            each("a", "items", array=True, flatten=False),
            each("b", "bad", array=False, flatten=True),
        ),
    )
    progress = Progress(spec(LIST, TaskSpec(name="bad"), ITEMS, both))
    progress.record(Outcome("bad", 0, 1, FAILED))
    progress.record(success("list", value="[]"))
    progress.take_unsized()
    progress.resize("items", 0)
    assert progress.take_unsized() == []
    assert {skip.task for skip in progress.take_skips()} == {"both"}


def test_retry_leaves_an_empty_array_alone() -> None:
    progress = Progress(spec(LIST, ITEMS))
    progress.record(success("list", value="[]"))
    progress.resize("items", 0)
    assert progress.finished
    progress.reopen(("list", "items"))
    assert progress.finished


def test_cancel_and_retry_never_share_a_number(record) -> None:
    request = request_of(spec(LIST))
    stale = ["nothing yet"]

    class Stale(Files):
        def list(self, path: str) -> list[str]:
            return [] if stale and stale.pop() else super().list(path)

    assert ask(record, request, "cancel", None) == 1
    assert ask(RunRecord(record.folder, Stale()), request, "retry", None) == 2


def test_retry_behind_a_cancel_finds_the_cancelled(record) -> None:
    request = request_of(spec(LIST))
    ask(record, request, "cancel", None)
    ask(record, request, "retry", None)
    dispatch = Dispatch(record, request, None, dict)
    for kind in ("cancel", "retry"):
        (epoch,) = dispatch.take_requests()
        assert epoch.kind == kind
        if kind == "cancel":
            dispatch.mark_cancelled(epoch.tasks)
    assert [work.task for work in dispatch.plan()] == ["list"]


def test_cancel_outlives_the_process_that_took_it_up(record) -> None:
    request = request_of(spec(LIST))
    ask(record, request, "cancel", None)
    first = Dispatch(record, request, None, dict)
    first.take_requests()
    first.sync()  # and dies before it records the consequences
    second = Dispatch(record, request, None, dict, alive=lambda owner: False)
    assert second.plan() == []
    second.sync()
    replay = Replay(request.spec)
    replay.fold(JournalReader(Files(), record.segments).read())
    assert replay.finished == CANCELLED


def test_records_written_while_the_holder_is_checked_count(record) -> None:
    files, clock = record.files, Clock()
    first, _ = take_lease(files, clock, JournalReader(files, record.segments), "a/1/1")

    def dies_now(owner: str) -> bool:
        first.append(Note("last words", 0.0))
        first.sync()
        return False

    reader = JournalReader(files, record.segments)
    _, records = take_lease(files, clock, reader, "a/2/2", alive=dies_now)
    assert Note("last words", 0.0) in records
    assert Note("last words", 0.0) in JournalReader(files, record.segments).read()


def test_process_that_is_overtaken_while_it_checks_the_holder_gets_no_lease(record) -> None:
    files, clock = record.files, Clock()
    take_lease(files, clock, JournalReader(files, record.segments), "a/1/1")

    def overtaken(owner: str) -> bool:
        other = JournalReader(files, record.segments)
        take_lease(files, clock, other, "a/3/3", alive=lambda owner: False)
        return False

    with pytest.raises(LeaseHeldError):
        take_lease(
            files, clock, JournalReader(files, record.segments), "a/2/2", alive=overtaken
        )


def test_segment_is_on_disk_before_a_seal_counts_on_it(record) -> None:
    synced: list[str] = []

    class Watched(Files):
        def open_append(self, path: str):
            real = super().open_append(path)
            sync = real.sync
            real.sync = lambda: (synced.append(path[-10:]), sync())  # type: ignore
            return real

        def create(self, path: str, data: bytes) -> bool:
            synced.append(f"create {path[-10:]}")
            return super().create(path, data)

    files, clock = Watched(), Clock()
    lease, _ = take_lease(files, clock, JournalReader(files, record.segments), "a/1/1")
    lease.append(Note("in memory", 0.0))
    take_lease(
        files, clock, JournalReader(files, record.segments), "a/2/2", alive=lambda owner: False
    )
    assert synced == ["create 000001.seg", "000001.seg", "create 000002.seg"]


def test_reader_waits_for_the_rest_of_a_sealed_segment(record) -> None:
    files = record.files
    first = encode(Opened(1, 1, 0, "a/1/1", 0.0))
    tail = encode(Note("late", 0.0))
    files.create(f"{record.segments}/000001.seg", first)
    second = Opened(1, 2, len(first) + len(tail), "a/2/2", 0.0)
    files.create(f"{record.segments}/000002.seg", encode(second))
    reader = JournalReader(files, record.segments)
    assert len(reader.read()) == 1
    assert reader.behind
    appender = files.open_append(f"{record.segments}/000001.seg")
    appender.append(tail)
    appender.close()
    assert reader.read() == [Note("late", 0.0), second]
    assert not reader.behind


def test_segment_shorter_than_its_seal_is_damage(record) -> None:
    class Quick(Clock):
        def sleep(self, seconds: float) -> None:
            pass

    files = record.files
    files.create(f"{record.segments}/000001.seg", encode(Opened(1, 1, 0, "a/1/1", 0.0)))
    files.create(f"{record.segments}/000002.seg", encode(Opened(1, 2, 999, "a/2/2", 0.0)))
    with pytest.raises(RecordError, match="ends before"):
        take_lease(files, Quick(), JournalReader(files, record.segments), "a/3/3")


CHAINED = TaskSpec(
    name="chained", array=True, wires=(each("x", "items", array=True, flatten=False),)
)


LAST = TaskSpec(
    name="last", array=True, wires=(each("x", "chained", array=True, flatten=False),)
)


def test_starts_are_counted_from_zero_after_an_outcome() -> None:
    progress = Progress(spec(LIST))
    for attempt in range(1, 6):
        progress.launch("list", 0, attempt, "job")
    assert progress.tasks["list"].starts(0) == 5
    progress.record(Outcome("list", 0, 5, FAILED))
    progress.reopen(("list",))
    progress.launch("list", 0, 6, "job")
    assert progress.tasks["list"].starts(0) == 1


def test_task_whose_inputs_are_missing_is_not_queued_ahead_for_ever() -> None:
    progress = Progress(spec(LIST, TaskSpec(name="last", after=("list",))))
    progress.launch("list", 0, 1, "job")
    for attempt in (1, 2):
        assert [planned.state.spec.name for planned in ahead(progress, {}, elementwise=True)] == [
            "last"
        ]
        progress.launch("last", 0, attempt, "other")
        progress.land("last", 0)
    assert not list(ahead(progress, {}, elementwise=True))


def test_retry_beside_what_is_queued_ahead_skips_no_whole_array() -> None:
    barred = TaskSpec(name="barred", array=True, wires=ITEMS.wires, after=("bad",))
    progress = Progress(spec(TaskSpec(name="bad"), TaskSpec(name="other"), LIST, barred))
    progress.record(success("list", value="[1,2]"))
    progress.resize("barred", 2)
    for index in range(2):
        progress.launch("barred", index, 1, "job")
    progress.record(Outcome("bad", 0, 1, FAILED))
    progress.record(Outcome("other", 0, 1, FAILED))
    progress.reopen(("other",))
    assert not [skip for skip in progress.take_skips() if skip.index == WHOLE_TASK]


def test_retry_behind_a_chain_that_was_cancelled_before_it_was_counted() -> None:
    progress = Progress(spec(LIST, ITEMS, CHAINED, LAST))
    progress.record(Outcome("chained", WHOLE_TASK, 0, CANCELLED))
    progress.record(success("list", value="[1]"))
    progress.resize("items", 1)
    progress.record(success("items"))
    for skip in progress.take_skips():
        progress.record(Outcome(skip.task, skip.index, 0, SKIPPED))
    assert progress.finished
    progress.reopen(("last",))
    assert [skip.task for skip in progress.take_skips()] == ["last"]


def chain_with_job_above(state: str) -> Progress:
    progress = Progress(spec(LIST, ITEMS, CHAINED))
    progress.record(success("list", value="[1]"))
    progress.resize("items", 1)
    progress.launch("items", 0, 1, "above")
    progress.launch("chained", 0, 1, "job")
    if state == "lost":
        progress.land("items", 0)
    elif state:
        progress.record(Outcome("items", 0, 1, state, value="1"))
    return progress


@pytest.mark.parametrize(
    ("state", "answers"),
    [
        ("", (False, False, False)),
        ("lost", (False, False, True)),
        (FAILED, (True, False, True)),
        (SUCCESS, (False, True, False)),
    ],
)
def test_inputs_of_a_task_queued_ahead_are_blocked_supplied_or_stranded(state, answers) -> None:
    progress = chain_with_job_above(state)
    predicates = (progress.blocked, progress.supplied, progress.stranded)
    assert tuple(predicate("chained", 0) for predicate in predicates) == answers


def test_lease_is_renewed_while_a_pass_waits_for_its_scheduler(record) -> None:
    lease, _ = take_lease(record.files, Clock(), JournalReader(Files(), record.segments), "a/1/1")
    renewed = threading.Event()

    class Waiting(Files):
        def touch(self, path: str) -> float:
            renewed.set()
            return super().touch(path)

    lease._segments.files = Waiting()
    with SignOfLife(lease, seconds=0.01):
        assert renewed.wait(60)


class Scheduler(Executor):
    """A scheduler that accepts or refuses jobs, and reports `statuses`."""

    name = "scheduler"

    def __init__(self, *, begin: bool = True) -> None:
        self.down = False
        self.can = Capabilities(array_variable="N", begin=begin, elementwise=True)
        self.taken: list[JobRequest] = []
        self.statuses: dict[str, JobStatus] = {}
        self.cancelling = lambda: None

    @property
    def capabilities(self) -> Capabilities:
        return self.can

    def _reach(self) -> None:
        if self.down:
            raise SchedulerUnreachableError("down")

    def submit(self, request: JobRequest) -> str:
        self._reach()
        self.taken.append(request)
        return str(len(self.taken))

    def poll(self, jobs):
        self._reach()
        return {job: self.statuses.get(job, JobStatus(state=LIVE)) for job in jobs}

    def find(self, tags):
        self._reach()
        return {}

    def cancel(self, jobs) -> None:
        self._reach()
        self.cancelling()

    def job(self, name: str) -> str:
        """Return the id of the newest job of that name."""
        return str(max(n for n, request in enumerate(self.taken, 1) if request.name.endswith(name)))


def queued_request(*tasks: TaskSpec) -> RunRequest:
    return RunRequest(
        format=1, run_id="r", user="", created_at="", run_dir="/", parameters={},
        options=RunOptions(), executor="scheduler", executor_settings={}, store="",
        entrypoint=Entrypoint(kind="none", target="", workflow="", directory="/", search_path=()),
        python="python", spec=spec(*tasks),
    )  # fmt: skip


def run_pass(
    record,
    request: RunRequest,
    scheduler: Scheduler,
    other: Scheduler | None = None,
    *,
    grace: float = GRACE_SECONDS,
    own_tag: str = "",
):
    dispatch = Dispatch(record, request, None, dict)
    try:
        return DispatchPass(
            dispatch, scheduler, make=lambda place: other, grace=grace, own_tag=own_tag
        ).run()
    finally:
        dispatch.release()


def outcomes(record) -> dict[tuple[str, int], str]:
    records = JournalReader(Files(), record.segments).read()
    return {
        (outcome.task, outcome.attempt): outcome.state
        for outcome in records
        if isinstance(outcome, Outcome)
    }


def begin_and_publish(
    record, task: str, attempt: int, state: str, value: str = "1"
) -> None:
    claim(record.files, record.folder, task, 0, attempt, "worker")
    outcome = Outcome(task, 0, attempt, state, value=value, digest="d")
    publish(record.files, record.folder, outcome)


TWO = (TaskSpec(name="first"), TaskSpec(name="second", after=("first",)))


def test_pass_that_meets_a_scheduler_that_is_down_is_run_again(record) -> None:
    scheduler, request = Scheduler(), queued_request(LIST)
    assert not run_pass(record, request, scheduler).again
    scheduler.down = True
    assert run_pass(record, request, scheduler).again
    scripts = [Path(request.script).read_text() for request in scheduler.taken if request.auxiliary]
    assert len(scripts) == 2
    assert all("&& break" in script for script in scripts)


def test_jobs_get_what_any_executor_adds_to_them(record) -> None:
    class Site(Scheduler):
        environment: ClassVar = {"GREETING": "it's"}

        @property
        def prologue(self) -> str:
            return "module load python\n"

    scheduler = Site()
    run_pass(record, queued_request(LIST), scheduler)
    assert len(scheduler.taken) == 3
    for request in scheduler.taken:
        before, _, _ = Path(request.script).read_text().partition("reflow() {")
        assert before.endswith("export GREETING='it'\"'\"'s'\nmodule load python\n")


def test_job_that_cannot_begin_later_sleeps(record) -> None:
    scheduler, request = Scheduler(begin=False), queued_request(LIST)
    run_pass(record, request, scheduler)
    scheduler.poll = lambda jobs: {}  # perhaps gone: the next pass looks again
    run_pass(record, request, scheduler)
    late = scheduler.taken[-1]
    assert late.begin
    assert f"\nsleep {late.begin:.0f}\n" in Path(late.script).read_text()


def test_last_words_of_a_job_do_not_turn_a_cancel_into_a_failure(record) -> None:
    scheduler, request = Scheduler(), queued_request(LIST)
    run_pass(record, request, scheduler)
    ask(record, request, "cancel", None)
    scheduler.cancelling = lambda: begin_and_publish(record, "list", 1, FAILED)
    assert run_pass(record, request, scheduler).finished == CANCELLED


def test_cancel_that_could_not_be_carried_out_says_so(record) -> None:
    scheduler, request = Scheduler(), queued_request(LIST, TaskSpec(name="other"))
    run_pass(record, request, scheduler)
    ask(record, request, "cancel", "other")
    scheduler.cancelling = scheduler._reach
    scheduler.poll = lambda jobs: setattr(scheduler, "down", True) or {
        job: JobStatus(state=LIVE) for job in jobs
    }
    assert not run_pass(record, request, scheduler).carried_out


def test_skip_behind_a_failure_that_is_being_retried_does_not_stand(record) -> None:
    scheduler, request = Scheduler(), queued_request(*TWO)
    run_pass(record, request, scheduler)
    begin_and_publish(record, "first", 1, FAILED)
    scheduler.statuses[scheduler.job(".first")] = JobStatus(state=ENDED)
    ask(record, request, "retry", None)
    run_pass(record, request, scheduler)
    begin_and_publish(record, "second", 1, SKIPPED)  # it read the record before the retry
    scheduler.statuses["3"] = JobStatus(state=ENDED)
    run_pass(record, request, scheduler)
    assert ("second", 1) not in outcomes(record)


def test_job_that_the_scheduler_removed_behind_a_lost_job_runs_again(record) -> None:
    scheduler, request = Scheduler(), queued_request(*TWO)
    run_pass(record, request, scheduler)
    first, second = scheduler.job(".first"), scheduler.job(".second")
    scheduler.statuses[second] = JobStatus(state=ENDED, cause=CANCELLED)
    run_pass(record, request, scheduler)  # the first job may be lost, or this one cancelled by hand
    assert outcomes(record) == {}
    scheduler.statuses[first] = JobStatus(state=ENDED, cause="NODE_FAIL")
    run_pass(record, request, scheduler)
    assert outcomes(record) == {}
    assert scheduler.job(".second") != second


def test_job_that_a_person_cancelled_is_not_run_again(record) -> None:
    scheduler, request = Scheduler(), queued_request(*TWO)
    run_pass(record, request, scheduler)
    begin_and_publish(record, "first", 1, SUCCESS)
    scheduler.statuses[scheduler.job(".second")] = JobStatus(state=ENDED, cause=CANCELLED)
    run_pass(record, request, scheduler)
    assert outcomes(record) == {("first", 1): SUCCESS, ("second", 1): FAILED}


def test_job_removed_behind_a_lost_attempt_runs_behind_the_next_attempt(record) -> None:
    scheduler, request = Scheduler(), queued_request(*TWO)
    run_pass(record, request, scheduler)
    second = scheduler.job(".second")
    scheduler.statuses[scheduler.job(".first")] = JobStatus(state=ENDED, cause="NODE_FAIL")
    run_pass(record, request, scheduler)
    begin_and_publish(record, "first", 2, SUCCESS)
    scheduler.statuses[second] = JobStatus(state=ENDED, cause=CANCELLED)
    run_pass(record, request, scheduler)
    assert outcomes(record) == {("first", 2): SUCCESS}
    assert scheduler.job(".second") != second


def test_submissions_in_doubt_are_no_attempts_that_vanished(record) -> None:
    """While slurmctld is busy or full, sbatch waits but squeue answers."""
    scheduler, request = Scheduler(), queued_request(TaskSpec(name="one"))
    submit = scheduler.submit

    def silent(request: JobRequest) -> str:
        if request.auxiliary:
            return submit(request)
        raise SchedulerUnreachableError("sbatch: no answer within 60 s")

    scheduler.submit = silent
    for _ in range(4 * MAX_STARTS):
        assert run_pass(record, request, scheduler, grace=0).finished is None
    scheduler.submit = submit
    for _ in range(3):
        run_pass(record, request, scheduler, grace=0)
    assert scheduler.job(".one")


def test_all_jobs_of_a_task_together_keep_to_its_parallelism(record) -> None:
    """A large array is several jobs, and its failed elements are retried beside them."""
    wide = evolve(ITEMS, array_parallelism=4)
    scheduler, request = Scheduler(), queued_request(LIST, wide)
    scheduler.can = evolve(scheduler.can, throttle=True, max_array_size=10)
    run_pass(record, request, scheduler)
    begin_and_publish(record, "list", 1, SUCCESS, value=json.dumps(list(range(21))))
    run_pass(record, request, scheduler)
    parts = {
        str(n): request
        for n, request in enumerate(scheduler.taken, 1)
        if request.name.endswith(".items")
    }
    first, second, _ = parts
    assert [part.size for part in parts.values()] == [10, 10, 1]
    assert [part.after for part in parts.values()] == [(), (first,), (first, second)]
    assert parts[first].throttle == 4


def limited(scheduler: Scheduler, room: int, largest: int = 1000) -> list[int]:
    """Let a scheduler take so many elements more, in jobs of so many at most; return the sizes
    that are asked of it."""
    submit, sizes, room_left = scheduler.submit, list[int](), [room]

    def take(request: JobRequest) -> str:
        if not request.auxiliary:
            sizes.append(request.size)
            if request.size > min(room_left[0], largest):
                raise SubmissionLimitError("no more")
            room_left[0] -= request.size
        return submit(request)

    scheduler.submit = take  # type: ignore[method-assign]
    return sizes


def test_one_pass_fills_the_room_that_a_limit_leaves(record) -> None:
    scheduler, request = Scheduler(), queued_request(LIST, ITEMS)
    scheduler.can = evolve(scheduler.can, max_array_size=16)
    run_pass(record, request, scheduler)
    begin_and_publish(record, "list", 1, SUCCESS, value=json.dumps(list(range(16))))
    sizes = limited(scheduler, 11)
    report = run_pass(record, request, scheduler)
    assert sizes == [16, 8, 8, 4, 2, 4, 2, 1, 2, 1]
    assert report.waits_for == "the scheduler takes no more jobs of this user for now"


def test_parts_that_found_room_leave_nothing_to_wait_for(record) -> None:
    scheduler, request = Scheduler(), queued_request(LIST, ITEMS)
    run_pass(record, request, scheduler)
    begin_and_publish(record, "list", 1, SUCCESS, value=json.dumps(list(range(16))))
    scheduler.can = evolve(scheduler.can, max_array_size=16)
    sizes = limited(scheduler, 16, largest=8)
    assert run_pass(record, request, scheduler).waits_for == ""
    assert sizes == [16, 8, 8]


def test_a_limit_that_lets_nothing_in_is_asked_ever_less_often(record) -> None:
    scheduler, request = Scheduler(), queued_request(TaskSpec(name="one"))
    sizes = limited(scheduler, 0)
    for _ in range(7):
        run_pass(record, request, scheduler)
        sentinels = [
            n for n, request in enumerate(scheduler.taken, 1) if "sentinel" in request.name
        ]
        scheduler.statuses[str(sentinels[-1])] = JobStatus(state=ENDED)
    begins = [request.begin for request in scheduler.taken if "sentinel" in request.name]
    assert begins == [30, 60, 120, 240, 300, 300, 300]
    assert sizes == [1] * 7


@pytest.mark.parametrize(("met", "cause"), [(True, OOM), (False, ERROR)])
def test_child_of_a_task_may_be_what_ran_out_of_memory(record, monkeypatch, met, cause) -> None:
    monkeypatch.setattr(worker, "_met_memory_limit", lambda: met)
    monkeypatch.setenv(WITHIN_TASK, "")  # restored afterwards, as other tests share this process
    scheduler, request = Scheduler(), queued_request(TaskSpec(name="one"))
    run_pass(record, request, scheduler)
    (tag,) = {request.tag for request in scheduler.taken if not request.auxiliary}
    assert worker.run_position(record.folder, tag, 0, mark="1") == FAILED
    outcome = read_outcome(record.files, record.folder, "one", 0, 1)
    assert outcome is not None
    assert (outcome.cause, "met its memory limit" in outcome.detail) == (cause, met)


@pytest.mark.parametrize(("status", "mem"), [
    (JobStatus(state=ENDED, cause=ERROR, signal=9), 200),
    (JobStatus(state=ENDED, cause=OOM), 200),
    (JobStatus(state=ENDED, cause=ERROR, signal=9, suspected=""), 100),
    (JobStatus(state=ENDED, cause=ERROR, signal=15), 100),
])  # fmt: skip
def test_memory_is_suspected_where_a_scheduler_says_sigkill(record, status, mem) -> None:
    rules = (RetryRule(cause=OOM, mem=2), RetryRule(cause=ERROR))
    task = TaskSpec(
        name="one", resources=Resources(mem=100), retry=RetrySpec(times=1, rules=rules)
    )
    scheduler, request = Scheduler(), queued_request(task)
    run_pass(record, request, scheduler)
    claim(record.files, record.folder, "one", 0, 1, "worker")
    scheduler.statuses[scheduler.job(".one")] = status
    run_pass(record, request, scheduler)
    again = [request.resources.mem for request in scheduler.taken if request.name.endswith(".one")]
    assert again == [100, mem]


def retried_elsewhere(record) -> tuple[RunRequest, Scheduler, Scheduler]:
    """Return a run that has a job on one scheduler and continues on another."""
    request, first, second = queued_request(*TWO, TaskSpec(name="beside")), Scheduler(), Scheduler()
    run_pass(record, request, first)
    begin_and_publish(record, "beside", 1, FAILED)
    first.statuses[first.job(".beside")] = JobStatus(state=ENDED)
    run_pass(record, request, first)
    ask(record, request, "retry", None, ("scheduler", "{}"))
    return request, first, second


def names(scheduler: Scheduler) -> list[str]:
    return sorted(request.name.removeprefix("r.") for request in scheduler.taken)


def test_run_that_continues_on_another_executor_has_its_guard_there(record) -> None:
    request, first, second = retried_elsewhere(record)
    run_pass(record, request, first, second)
    assert names(second) == ["beside", "guard", "sentinel"]


def test_a_run_goes_on_with_another_executor_where_the_first_is_silent(record) -> None:
    """The first scheduler may be why the run was retried; its jobs are left alone."""
    request, first, second = retried_elsewhere(record)
    first.down = True
    for _ in range(3):
        report = run_pass(record, request, first, second, grace=0)
    assert names(second) == ["beside", "guard", "sentinel"]
    assert not report.again
    begin_and_publish(record, "beside", 2, SUCCESS)
    begin_and_publish(record, "first", 1, SUCCESS)
    begin_and_publish(record, "second", 1, SUCCESS)
    cancelled: list[str] = []
    second.cancelling = lambda: cancelled.append("second")
    assert run_pass(record, request, first, second).finished == SUCCESS
    assert cancelled


def test_a_job_of_the_executor_before_bars_no_job_of_the_one_now(record) -> None:
    """The node of that job may lack the other scheduler's commands."""
    request, first, second = retried_elsewhere(record)
    run_pass(record, request, first, second)
    (tag,) = [request.tag for request in first.taken if request.name == "r.guard"]

    def missing(*arguments: object) -> None:
        raise CommandMissingError("cannot run 'sbatch': No such file or directory")

    second.poll = second.submit = missing
    run_pass(record, request, first, second, own_tag=tag)
    records = JournalReader(Files(), record.segments).read()
    assert not [barred for barred in records if isinstance(barred, Barred)]


def test_a_job_that_is_started_once_more_after_its_outcome_runs_nothing(
    record, monkeypatch
) -> None:
    """As Slurm does when an operator requeues an ended job."""
    monkeypatch.setenv(WITHIN_TASK, "")
    scheduler, request = Scheduler(), queued_request(TaskSpec(name="one"))
    run_pass(record, request, scheduler)
    (tag,) = {request.tag for request in scheduler.taken if not request.auxiliary}
    begun = [
        worker.take_position(record.folder, tag, 0, mark="7", files=record.files) for _ in "ab"
    ]
    # It was killed before its end.
    first, again = begun
    assert first is not None
    assert again is not None
    fields = ("task", "index", "attempt", "identity", "common", "texts", "stamps")
    for field in fields:
        assert getattr(first, field) == getattr(again, field), field
    assert [(element.task, element.index, element.attempt) for element in begun if element] == [
        ("one", 0, 1)
    ] * 2
    assert worker.run_position(record.folder, tag, 0, mark="7") == FAILED
    assert worker.take_position(record.folder, tag, 0, mark="7", files=record.files) is None
