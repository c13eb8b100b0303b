"""What is said of a run by its journal: one replay, with its elements or without them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from reflow.engine.replay import NOT_TAKEN, UNSEEN, Replay
from reflow.engine.run_view import RunView
from reflow.model.spec import Source, TaskSpec, Wire, WorkflowSpec
from reflow.states import CANCELLED, FAILED, PENDING, RUNNING, SUCCESS, WAITING
from reflow.storage.claims import latest_request
from reflow.storage.clock import Clock
from reflow.storage.events import (
    Barred,
    Called,
    Ended,
    Epoch,
    Finished,
    Intent,
    Missing,
    Note,
    Record,
    Retried,
    Sized,
    Submitted,
    Waiting,
)
from reflow.storage.journal import JournalReader, take_lease
from reflow.storage.outcome import Outcome
from reflow.storage.process_id import this_process
from reflow.storage.requests import leave_request, read_requests
from reflow.storage.run_directory import RunRecord

PARTS = Wire(
    parameter="part", mode="fan-out", sources=(Source(task="split", flatten=True),), each=True
)
SPEC = WorkflowSpec(
    name="w", tasks=(TaskSpec(name="split"), TaskSpec(name="work", array=True, wires=(PARTS,)))
)

SPLIT = Outcome("split", 0, 1, SUCCESS, value="[1,2]")
SIZE = Sized("work", 2)
RETRY = Epoch(1, "retry", (), 9.0)
CANCEL = Epoch(1, "cancel", (), 9.0)
END = Finished(FAILED, 8.0)


def worker(tag: str, *indices: int, attempt: int = 1) -> Intent:
    return Intent(tag, "worker", "work", indices, (attempt,) * len(indices), 1.0)


@pytest.fixture
def record(tmp_path) -> RunRecord:
    record = RunRecord(str(tmp_path))
    for folder in (record.segments, record.epochs, record.jobs):
        record.files.make_folder(folder)
    return record


Write = Callable[..., None]


@pytest.fixture
def write(record) -> Write:
    """Write records into the run's journal, as one holder who has let go (or holds on)."""

    def write(records: Iterable[Record], *, hold: bool = False) -> None:
        reader = JournalReader(record.files, record.segments)
        lease, _ = take_lease(record.files, Clock(), reader, this_process())
        for event in records:
            lease.append(event)
        if not hold:
            lease.release()

    return write


def guard(tag: str) -> Intent:
    return Intent(tag, "guard", "", (), (), 1.0)


DRIVER = Intent("d", "driver", "", (), (), 1.0)
LIVING, DEAD = this_process(), this_process().rpartition("/")[0] + "/0"


@pytest.mark.parametrize(
    ("records", "state"),
    [
        # a driver carries it on
        ([DRIVER], WAITING),
        ([DRIVER, Submitted("d", LIVING, 1.0)], PENDING),
        ([DRIVER, Submitted("d", LIVING, 1.0), SPLIT], RUNNING),
        ([DRIVER, Submitted("d", DEAD, 1.0), SPLIT], WAITING),
        # jobs do
        ([guard("g")], WAITING),  # it may not be there
        ([guard("g"), Submitted("g", "7", 1.0)], PENDING),
        ([guard("g"), Submitted("g", "7", 1.0), SPLIT], RUNNING),
        ([guard("g"), Submitted("g", "7", 1.0), Ended("g", "ENDED", 2.0)], WAITING),
        # they live, but may not submit what comes next
        ([guard("g"), Submitted("g", "7", 1.0), Waiting("", "refused", 2.0)], WAITING),
        ([guard("g"), worker("t", 0), Submitted("t", "8", 1.0), Waiting("", "no", 2.0)], PENDING),
        # it has ended, until a person retries it
        ([SPLIT, END], FAILED),
        ([SPLIT, END, RETRY], WAITING),
        ([SPLIT, END, RETRY, Finished(SUCCESS, 10.0)], SUCCESS),
        ([CANCEL, Finished(CANCELLED, 10.0)], CANCELLED),
    ],
)
@pytest.mark.parametrize("spec", [None, SPEC], ids=["without elements", "with elements"])
def test_state_of_a_run(record, write, records, state, spec) -> None:
    write(records)
    assert RunView(record, spec).state == state


def test_state_of_a_run_that_a_process_holds(record, write) -> None:
    write([SPLIT], hold=True)
    view = RunView(record)
    assert (view.held, view.state) == (True, RUNNING)


def test_ended_run_continues_on_request(record, write) -> None:
    write([SPLIT, END])
    assert RunView(record).ended == FAILED
    leave_request(record.files, record.folder, "retry", [])
    view = RunView(record)
    assert (view.is_asked, view.ended, view.state) == (True, None, WAITING)
    write([RETRY, Finished(SUCCESS, 10.0)])
    view = RunView(record)
    assert (view.is_asked, view.ended, view.replay.finished_at) == (False, SUCCESS, 10.0)


def test_requests_are_numbered_and_keep_their_arguments(record) -> None:
    files, folder = record.files, record.folder
    assert latest_request(files, folder) == 0
    assert leave_request(files, folder, "cancel", ["work"]) == 1
    assert leave_request(files, folder, "retry", [], "slurm", "{}") == 2
    assert latest_request(files, folder) == 2
    assert read_requests(files, folder) == [
        (1, "cancel", ("work",), "", ""),
        (2, "retry", (), "slurm", "{}"),
    ]
    assert [request.number for request in read_requests(files, folder, after=1)] == [2]


def replay_of(*records: Record, spec: WorkflowSpec | None = SPEC) -> Replay:
    replay = Replay(spec)
    replay.fold(records)
    return replay


def flying(replay: Replay) -> dict[int, str]:
    return replay.progress.tasks["work"].flying


def test_job_holds_its_elements_until_they_end_or_it_ends() -> None:
    replay = replay_of(SPLIT, SIZE, worker("t", 0, 1), Submitted("t", "7", 1.0))
    assert flying(replay) == {0: "t", 1: "t"}
    replay.fold([Outcome("work", 0, 1, SUCCESS)])
    assert flying(replay) == {1: "t"}
    (job,) = replay.queued()
    assert (job.job, job.intent.tag) == ("7", "t")
    replay.fold([Ended("t", "ENDED", 2.0)])
    assert flying(replay) == {}
    assert replay.queued() == []
    assert replay.submitted() == [job]


@pytest.mark.parametrize(
    ("how", "tries", "starts"),
    [
        ("ENDED", 1, 1),
        (NOT_TAKEN, 0, 0),  # a full queue: there was no attempt
        (UNSEEN, 1, 0),  # a scheduler that does not answer: there may have been one
    ],
)
def test_attempts_of_an_ended_job(how, tries, starts) -> None:
    replay = replay_of(SPLIT, SIZE, worker("t", 0), Ended("t", how, 2.0))
    work = replay.progress.tasks["work"]
    assert (work.tries[0], work.starts(0)) == (tries, starts)
    assert replay.jobs["t"].not_taken is (how == NOT_TAKEN)


def test_retry_with_another_executor_uses_its_jobs() -> None:
    there = Epoch(1, "retry", (), 9.0, "slurm", "{}")
    records = [guard("g"), Barred("guard", "no", 1.0), END, there, guard("h")]
    replay = replay_of(*records)
    assert [job.place for job in replay.jobs.values()] == [("", ""), ("slurm", "{}")]
    assert replay.barred == {}


def test_replay_has_notes_calls_and_retries() -> None:
    replay = replay_of(
        DRIVER, DRIVER._replace(tag="e"), Retried("split", 0, 1, "OOM", "", "", 2.0),
        Note("first", 1.0), Note("second", 1.0), Note("first", 2.0),
        Called((("squeue", 2),), 1.0), Called((("squeue", 1), ("sbatch", 1)), 2.0),
        guard("g"), Waiting("g", "held", 1.0), Waiting("work", "limit", 1.0), Missing("g", 3.0),
        spec=None,
    )  # fmt: skip
    assert list(replay.notes) == ["first", "second"]
    assert replay.calls == {"squeue": 3, "sbatch": 1}
    assert replay.retried == {("split", "OOM"): 1}
    assert replay.fruitless == 2
    assert (replay.jobs["g"].waiting, replay.jobs["g"].missing) == ("held", 3.0)
    assert replay.held_back == {"work": "limit"}
    replay.fold([Submitted("g", "7", 4.0), SPLIT, RETRY])
    assert (replay.jobs["g"].missing, replay.fruitless, replay.held_back) == (None, 0, {})


def test_replay_with_and_without_elements_agree_on_the_run() -> None:
    records = [
        SPLIT, SIZE, worker("t", 0, 1), Submitted("t", "7", 1.0), Outcome("work", 0, 1, FAILED),
        Ended("t", "ENDED", 2.0), END, RETRY, worker("u", 0, attempt=2),
    ]  # fmt: skip
    full, light = replay_of(*records), replay_of(*records, spec=None)
    for name in ("epoch", "finished", "reopened", "retries", "sizes", "progressed", "fruitless"):
        assert getattr(full, name) == getattr(light, name), name
    assert [job.intent for job in light.queued()] == [job.intent for job in full.queued()]
    assert light.progress.tasks == {}
