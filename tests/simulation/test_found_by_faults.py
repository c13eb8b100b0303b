"""What the fault runs found, each as small as it can be said."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from reflow.clock import Clock
from reflow.dispatch import Dispatch, Ledger, ask
from reflow.errors import LeaseHeldError, RecordError
from reflow.files import Files
from reflow.journal import JournalReader, take_lease
from reflow.planning import Progress
from reflow.records import Note, Opened, Outcome, encode
from reflow.runrecord import RunOptions, RunRecord
from reflow.spec import Source, TaskSpec, Wire, WorkflowSpec
from reflow.states import CANCELLED, FAILED, SUCCESS


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
    for folder in (record.segments, record.epochs):
        record.files.make_folder(folder)
    return record


def request_of(workflow: WorkflowSpec) -> SimpleNamespace:
    return SimpleNamespace(spec=workflow, options=RunOptions(), run_id="r")


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
    first.sync()  # and dies before it records what that means
    second = Dispatch(record, request, None, dict, alive=lambda owner: False)
    assert second.plan() == []
    second.sync()
    ledger = Ledger(request)
    ledger.fold(JournalReader(Files(), record.segments).read())
    assert ledger.finished == CANCELLED


def test_what_a_holder_writes_while_it_is_judged_counts(record) -> None:
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


def test_who_is_overtaken_while_judging_does_not_take_the_lease(record) -> None:
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
    rest = encode(Note("late", 0.0))
    files.create(f"{record.segments}/000001.seg", first)
    second = Opened(1, 2, len(first) + len(rest), "a/2/2", 0.0)
    files.create(f"{record.segments}/000002.seg", encode(second))
    reader = JournalReader(files, record.segments)
    assert len(reader.read()) == 1
    assert reader.behind
    appender = files.open_append(f"{record.segments}/000001.seg")
    appender.append(rest)
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
