"""What dispatch does around the jobs: cache look-up, changed code, retry, barred hosts, waiting."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from .engine.processes import session
from .person import Person, elements_of, states

CHAIN = """
    from pathlib import Path
    from typing import Annotated
    from reflow import Param, Result, RunDir, Workflow

    wf = Workflow("chain")

    def ran(task):
        with open(Path(__file__).parent / "ran", "a") as file:
            print(task, file=file)

    @wf.job()
    def a(x: Annotated[int, Param()]) -> int:
        ran("a")
        return x // 10

    @wf.job()
    def b(y: Annotated[int, Result(step="a")]) -> int:
        ran("b")
        return y + 1

    @wf.job()
    def c(z: Annotated[int, Result(step="b")]) -> str:
        ran("c")
        return "x" * 70_000 + str(z)

    if __name__ == "__main__":
        wf.cli()
    """


@pytest.fixture
def person(tmp_path: Path, slurm_simulator: Any) -> Person:
    return Person(tmp_path, slurm_simulator, "slurm")


def ran(person: Person) -> list[str]:
    file = person.folder / "ran"
    lines = file.read_text().split() if file.exists() else []
    file.unlink(missing_ok=True)
    return lines


def test_an_unchanged_value_stops_the_wave(person: Person) -> None:
    person.write(CHAIN)
    person.ended(person.submit("--x", "10"))
    assert ran(person) == ["a", "b", "c"]
    # Another parameter, the same value: what was queued ahead finds its older result.
    status = person.ended(person.submit("--x", "11", run_dir="second"))
    assert ran(person) == ["a"]
    assert [states(status, task) for task in "abc"] == [["SUCCESS"], ["CACHED"], ["CACHED"]]
    assert elements_of(status, "b")[0]["output"] == 2
    assert elements_of(status, "b")[0]["cached_from"]
    # And the reused results, large values too, stay readable though the first run is gone.
    third = person.submit("--x", "12", run_dir="third")
    assert person.ended(third)["run"]["status"] == "SUCCESS"
    assert ran(person) == ["a"]
    script = f"from flow import wf; print(wf.run({third!r}).result('c')[-2:])"
    assert person.run("-c", script).strip() == "x2"


PICKLED = """
    from typing import Annotated
    from reflow import Result, Workflow

    wf = Workflow("pickled")

    @wf.job()
    def a(x: int) -> int:
        return x // 10

    @wf.job(serializer="pickle")
    def b(y: Annotated[int, Result(step="a")]) -> object:
        return {y}

    if __name__ == "__main__":
        wf.cli()
    """


@pytest.mark.skipif(os.geteuid() != 0, reason="needs files of another user")
def test_job_queued_ahead_does_not_read_another_users_pickle(person: Person) -> None:
    person.write(PICKLED)
    first = person.ended(person.submit("--x", "10"))
    folder = Path(first["run"]["run_dir"], ".reflow", first["run"]["run_id"], "values")
    (pickled,) = folder.glob("*.pickle")
    os.chown(pickled, 65534, 65534)
    status = person.ended(person.submit("--x", "11", run_dir="second"))
    assert [states(status, task) for task in "ab"] == [["SUCCESS"], ["SUCCESS"]]
    (note,) = status["notes"]
    assert "are not used but made again: they belong to the user" in note


def test_force_and_other_values_run_everything(person: Person) -> None:
    person.write(CHAIN)
    person.ended(person.submit("--x", "10"))
    person.ended(person.submit("--x", "10", "--force"))
    person.ended(person.submit("--x", "11", "--force-task", "c"))
    person.ended(person.submit("--x", "20"))
    assert ran(person) == [*"abc", *"abc", *"ac", *"abc"]


CHANGING = CHAIN.replace("return y + 1", "return y + 1  # here")


@pytest.fixture
def held(person: Person) -> Person:
    """Somebody whose jobs wait until `release`."""
    person.simulator.inject("partition_down", partition="compute")
    return person


def release(person: Person) -> None:
    person.simulator.inject("partition_up", partition="compute")


def test_code_changed_in_the_queue_is_recorded_as_it_ran(held: Person) -> None:
    person = held
    person.write(CHANGING)
    run = person.submit("--x", "10")
    person.write(CHANGING.replace("y + 1  # here", "y + 2"))
    release(person)
    status = person.ended(run)
    assert elements_of(status, "b")[0]["output"] == 3
    assert [note for note in status["notes"] if "'b' has changed" in note]
    assert not elements_of(status, "b")[0]["error_text"]
    ran(person)
    # The new code's result is reused by the new code, not by the old.
    status = person.ended(person.submit("--x", "10"))
    assert (states(status, "b"), elements_of(status, "b")[0]["output"]) == (["CACHED"], 3)
    person.write(CHANGING)
    status = person.ended(person.submit("--x", "10"))
    assert (states(status, "b"), elements_of(status, "b")[0]["output"]) == (["SUCCESS"], 2)


def test_a_comment_is_no_change(held: Person) -> None:
    held.write(CHANGING)
    run = held.submit("--x", "10", "--on-code-change", "fail")
    held.write(CHANGING.replace("# here", "# there"))
    release(held)
    status = held.ended(run)
    assert status["run"]["status"] == "SUCCESS"
    assert not status["notes"]


def test_code_that_must_not_change_fails(held: Person) -> None:
    held.write(CHANGING)
    run = held.submit("--x", "10", "--on-code-change", "fail")
    held.write(CHANGING.replace("y + 1", "y + 2"))
    release(held)
    status = held.ended(run)
    assert states(status, "a") == ["SUCCESS"]
    assert "'b' has changed since it was submitted" in elements_of(status, "b")[0]["error_text"]
    assert states(status, "c") == ["SKIPPED"]


DEEP = CHANGING.replace("return y + 1  # here", "return helper.more(y)").replace(
    '@wf.job()\n    def b', '@wf.job(code="deep")\n    def b'
).replace("from pathlib", "import helper\n    from pathlib")


def test_helper_changed_in_the_queue_counts_with_deep_code(held: Person) -> None:
    helper = held.folder / "helper.py"
    helper.write_text("def more(y):\n    return y + 1\n")
    held.write(DEEP)
    run = held.submit("--x", "10")
    helper.write_text("def more(y):\n    return y + 22\n")
    release(held)
    status = held.ended(run)
    assert elements_of(status, "b")[0]["output"] == 23
    assert [note for note in status["notes"] if "'b' has changed" in note]
    ran(held)
    status = held.ended(held.submit("--x", "10"))
    assert (states(status, "b"), ran(held)) == (["CACHED"], [])
    helper.write_text("def more(y):\n    # the first again\n    return y + 1\n")
    status = held.ended(held.submit("--x", "10"))
    assert (states(status, "b"), elements_of(status, "b")[0]["output"]) == (["SUCCESS"], 2)


HUNGRY = """
    import os, time
    from typing import Annotated
    from reflow import Result, Retry, Scale, Workflow

    wf = Workflow("hungry")

    @wf.job()
    def sizes() -> list[int]:
        return [1, 250, 1, 900]

    @wf.job(array=True, mem="200M", retry=Retry(3, oom=Scale(mem=2, max_mem="600M")))
    def eat(x: Annotated[int, Result(step="sizes")]) -> int:
        eaten = b"x" * (x * 1024 * 1024)
        while x > int(os.environ["SLURM_MEM_PER_NODE"]):  # until it is killed for that
            time.sleep(0.1)
        return len(eaten) // 1024 // 1024

    @wf.job(array=True)
    def then(x: Annotated[int, Result(step="eat")]) -> int:
        return x + 1

    if __name__ == "__main__":
        wf.cli()
    """


def test_element_out_of_memory_is_retried_with_more(person: Person) -> None:
    person.write(HUNGRY)
    run = person.submit()
    status = person.ended(run)
    assert states(status, "eat") == ["SUCCESS", "SUCCESS", "SUCCESS", "FAILED"]
    # 200M, 400M; and for the last one 600M, the most.
    assert [element["attempt"] for element in elements_of(status, "eat")] == [1, 2, 1, 3]
    assert elements_of(status, "eat")[3]["error_text"].endswith("memory suspected")
    assert states(status, "then") == ["SUCCESS", "SUCCESS", "SUCCESS", "SKIPPED"]
    output = person.reflow("status", run, "--verbose")
    assert "Tried again      eat OOM 3" in output


KILLED_ONCE = """
    import os, signal
    from pathlib import Path
    from reflow import Retry, Scale, Workflow

    wf = Workflow("killed_once")

    @wf.job(mem="100M", retry=Retry(2, oom=Scale(mem=2), lost=False))
    def eat() -> int:
        tried = Path(__file__).parent / "tried"
        if not tried.exists():
            tried.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return int(os.environ["SLURM_MEM_PER_NODE"])

    if __name__ == "__main__":
        wf.cli()
    """


def test_memory_is_suspected_of_what_was_killed(person: Person) -> None:
    """As on one machine: see tests/e2e/test_retry_by_cause.py."""
    person.write(KILLED_ONCE)
    (element,) = person.ended(person.submit())["instances"]
    assert (element["state"], element["attempt"], element["output"]) == ("SUCCESS", 2, 200)


JOB_KILLED = """
    import os, signal
    from typing import Annotated
    from reflow import Result, Workflow

    wf = Workflow("job_killed")

    @wf.job()
    def numbers() -> list[int]:
        return [1, 2]

    @wf.job(array=True)
    def each(x: Annotated[int, Result(step="numbers")]) -> int:
        if x == 2:
            os.kill(os.getppid(), signal.SIGKILL)  # the job's shell, which could say how it died
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    if __name__ == "__main__":
        wf.cli()
    """


def test_status_shows_what_the_scheduler_said_of_a_failed_element(person: Person) -> None:
    person.write(JOB_KILLED)
    run = person.submit()
    well, failed = elements_of(person.ended(run), "each")
    assert (well["state"], failed["state"]) == ("SUCCESS", "FAILED")
    report = failed["scheduler"]
    assert (len(report["nodes"]), report["signal"]) == (1, 9)
    assert report["started_at"] <= report["ended_at"] <= time.time()
    assert well["scheduler"]["exit_code"] == 0
    lines = person.reflow("status", run, "--task", "each").splitlines()
    (line,) = [line for line in lines if line.startswith("  each[1]  FAILED")]
    assert line.endswith(f"on {report['nodes'][0]}  signal 9")
    # It is kept: neither the index nor the scheduler need know of it.
    person.reflow("store", "rebuild", ".")
    assert elements_of(person.status(run), "each")[1]["scheduler"] == report


TAILS = """
    import os, signal
    from typing import Annotated
    from reflow import Param, Result, Workflow

    wf = Workflow("tails")

    @wf.job(MEM)
    def sizes(how: Annotated[str, Param()]) -> list[int]:
        print("pids", os.getppid(), flush=True)
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "exits":
            os._exit(0)
        if how == "raises":
            raise OSError("no")
        return [1, 2]

    @wf.job(array=True)
    def each(x: Annotated[int, Result(step="sizes")]) -> int:
        return x + 1

    if __name__ == "__main__":
        wf.cli()
    """


@pytest.mark.parametrize("mem", ["", 'mem="500M"'])
@pytest.mark.parametrize("how", ["returns", "killed", "exits", "raises"])
def test_job_script_carries_the_run_on_however_its_worker_ends(
    person: Person, mem: str, how: str
) -> None:
    person.write(TAILS.replace("MEM", mem))
    status = person.ended(person.submit("--how", how))
    (first,) = elements_of(status, "sizes")
    if how == "returns":
        assert first["state"] == "SUCCESS"
        assert [element["output"] for element in elements_of(status, "each")] == [2, 3]
    else:
        assert first["state"] == "FAILED"
        assert status["run"]["status"] == "FAILED"
        reasons = {"killed": "SIGKILL", "raises": "OSError: no", "exits": "with exit code 0"}
        assert reasons[how] in first["error_text"], first
    # The second interpreter runs only where there is memory for it.
    (script,) = (person.folder / "out").glob(".reflow/*/jobs/*.1.2.w.sh")
    assert ('"$mark" tail ||' in script.read_text()) is not bool(mem)


WRITES = """
    from pathlib import Path
    from typing import Annotated
    from reflow import Param, Result, RunDir, Workflow

    wf = Workflow("writes")

    @wf.job()
    def write(x: Annotated[int, Param()], run_dir: RunDir) -> Path:
        (run_dir / "made").write_text(str(x))
        return run_dir / "made"

    @wf.job()
    def read(path: Annotated[Path, Result(step="write")]) -> int:
        return int(path.read_text())

    if __name__ == "__main__":
        wf.cli()
    """


def test_job_queued_behind_a_new_file_reuses_nothing(person: Person) -> None:
    person.write(WRITES)
    assert elements_of(person.ended(person.submit("--x", "1")), "read")[0]["output"] == 1
    status = person.ended(person.submit("--x", "2"))  # the path is the same
    (element,) = elements_of(status, "read")
    assert (element["state"], element["output"]) == ("SUCCESS", 2)
    status = person.ended(person.submit("--x", "2"))
    assert [element["state"] for element in status["instances"]] == ["CACHED", "CACHED"]


def test_job_queued_behind_a_recreated_file_reuses_its_older_result(person: Person) -> None:
    person.write(WRITES)
    assert elements_of(person.ended(person.submit("--x", "1")), "read")[0]["output"] == 1
    path = person.folder / "out" / "made"
    path.unlink()  # it has to be written again, with the same content
    status = person.ended(person.submit("--x", "1"))
    states = {element["task_name"]: element["state"] for element in status["instances"]}
    assert states == {"write": "SUCCESS", "read": "CACHED"}
    assert elements_of(status, "read")[0]["job_id"], "found by the worker that was queued ahead"
    path.write_text("3")
    status = person.ended(person.submit("--x", "1"))
    assert [element["output"] for element in elements_of(status, "read")] == [1]
    assert [element["state"] for element in elements_of(status, "write")] == ["SUCCESS"]


def test_status_counts_the_scheduler_calls_of_a_run(person: Person) -> None:
    person.write(CHAIN)
    run = person.submit("--x", "10")
    person.ended(run)
    counts = person.status(run)["scheduler_calls"]  # with those of the pass that saw the end
    real = person.simulator.calls
    # All but what the pass that wrote the last count called afterwards.
    assert counts["sbatch"] == real["sbatch"]
    assert 0 <= sum(real.values()) - sum(counts.values()) <= 1
    total = sum(counts.values())
    assert f"Scheduler calls  {total} (" in person.reflow("status", run, "--verbose")


BRANCHES = """
    from typing import Annotated
    from reflow import Result, Workflow

    wf = Workflow("branches")

    @wf.job()
    def items() -> list[int]:
        return [1, 2, 3]

    @wf.job(array=True)
    def each(x: Annotated[int, Result(step="items")]) -> int:
        return x

    @wf.job()
    def total(xs: Annotated[list[int], Result(step="each")]) -> int:
        return sum(xs)

    if __name__ == "__main__":
        wf.cli()
    """


@pytest.mark.parametrize(
    "refusal",
    [
        "echo 'sbatch: error: Batch job submission failed: Access/permission denied' >&2; exit 1",
        "",
    ],
    ids=["refused", "missing"],
)
def test_hosts_that_may_not_submit(person: Person, refusal: str) -> None:
    gate = person.folder / "gate"
    waits = f"import os, time\n\n        while not os.path.exists({str(gate)!r}): time.sleep(0.1)"
    person.write(BRANCHES.replace("return [1, 2, 3]", f"{waits}\n        return [1, 2, 3]"))
    # A process with ON_NODE set is in a job: the job's prologue sets it.
    names = ["sbatch"] if refusal else ["sbatch", "squeue"]
    wrappers = [person.folder / name for name in names]
    for wrapper in wrappers:
        real = f"{person.simulator.path}/{wrapper.name}"
        wrapper.write_text(
            f'#!/bin/sh\n[ -z "$ON_NODE" ] || {{ {refusal or ":"}\n}}\nexec {real} "$@"\n'
        )
        wrapper.chmod(0o755)
    config = person.folder / "config" / "reflow"
    config.mkdir(parents=True)
    (config / "config.toml").write_text(
        "[executor.slurm]\nprologue = 'export ON_NODE=1'\n"
        + "".join(f"{wrapper.name} = '{wrapper}'\n" for wrapper in wrappers)
    )

    def take_away() -> None:
        for wrapper in wrappers:
            if not refusal:
                wrapper.rename(f"{wrapper}.away")

    def put_back() -> None:
        for wrapper in wrappers:
            if not refusal:
                Path(f"{wrapper}.away").rename(wrapper)

    run = person.submit()
    take_away()
    gate.touch()
    turns, end = 0, time.monotonic() + 240
    while (status := person.status(run))["run"]["status"] != "SUCCESS":
        assert time.monotonic() < end, status
        if status["run"]["status"] == "WAITING":
            (note,) = [text for text in status["notes"] if "may not submit" in text]
            assert f"reflow status {run} --refresh" in note
            put_back()
            person.reflow("status", run, "--refresh")
            take_away()
            turns += 1
        time.sleep(0.3)
    assert turns >= 1
    assert elements_of(status, "total")[0]["output"] == 6


def test_an_array_above_a_limit_of_the_site_goes_in_parts(person: Person) -> None:
    """Whole, it would never be taken: that account may have five jobs."""
    source = BRANCHES.replace("[1, 2, 3]", "list(range(12))")
    person.write(source.replace("array=True", "array=True, account='limited'"))
    run = person.submit()
    (total,) = elements_of(person.ended(run), "total")
    assert total["output"] == sum(range(12))


def test_limit_that_keeps_a_task_out_is_reported(person: Person) -> None:
    person.simulator.inject("submit_limit", account="limited", limit=0)
    person.write(BRANCHES.replace("array=True", "array=True, account='limited'"))
    run = person.submit()
    status = person.until(run, lambda status: status["notes"])
    (note,) = status["notes"]
    assert "each could be submitted yet: sbatch: sbatch: error: AssocMaxSubmitJobLimit" in note
    person.simulator.inject("submit_limit", account="limited", limit=None)
    status = person.ended(run)
    assert (status["run"]["status"], status["notes"]) == ("SUCCESS", [])


def test_submission_that_came_to_nothing_is_reported(person: Person) -> None:
    """No job is sure to carry the run on: a submission in doubt may have failed."""
    person.write(BRANCHES)
    person.simulator.inject("down")
    run = person.submit()
    person.simulator.inject("up")
    status = person.status(run)
    assert status["run"]["status"] == "WAITING"
    assert "Unable to contact slurm controller" in status["notes"][0]
    assert f"reflow retry {run}" in status["notes"][1]
    person.simulator.inject("partition_down", partition="compute")
    person.reflow("retry", run)
    assert person.status(run)["run"]["status"] == "PENDING"


def test_a_site_that_refuses_the_jobs_that_carry_a_run_on(person: Person) -> None:
    """As on a site where jobs must set a time limit."""
    person.write(BRANCHES.replace("job(", "job(time='10h', ").replace("', )", "')"))
    sbatch = person.folder / "sbatch"
    sbatch.write_text(
        '#!/bin/sh\ncase "$*" in *--time=*) ;; *) echo "sbatch: error: say --time" >&2; exit 1;;\n'
        f'esac\nexec {person.simulator.path}/sbatch "$@"\n'
    )
    sbatch.chmod(0o755)
    person.configure(sbatch=str(sbatch))
    run = person.submit()
    notes = "".join(person.status(run)["notes"])
    assert "say --time" in notes
    assert "dispatch_time" in notes
    person.configure(sbatch=str(sbatch), dispatch_time="5h")
    assert person.ended(person.submit("--force"))["notes"] == []


def test_a_folder_of_submission_that_is_gone(person: Person) -> None:
    """No job can start there; the auxiliary jobs do, and say so."""
    gone = person.folder / "gone"
    gone.mkdir()
    person.write(f"import os\nos.chdir({str(gone)!r})\n" + textwrap.dedent(BRANCHES))
    person.simulator.inject("partition_down", partition="compute")
    run = person.submit(run_dir=str(person.folder / "out"))
    gone.rmdir()
    person.simulator.inject("partition_up", partition="compute")
    (element,) = elements_of(person.ended(run), "items")
    assert "working directory is missing" in element["error_text"]


def test_status_says_that_no_pass_has_run_for_hours(person: Person) -> None:
    """Whatever killed all its jobs: only a query of the scheduler would show it."""
    person.write(BRANCHES)
    person.simulator.inject("partition_down", partition="compute")
    run = person.submit()
    assert person.status(run)["notes"] == []
    for segment in person.folder.glob("out/.reflow/*/segments/*.seg"):
        os.utime(segment, (time.time() - 3 * 3600,) * 2)
    (note,) = person.status(run)["notes"]
    assert "for 3 hours" in note
    assert f"reflow status {run} --refresh" in note


STARTING = """
    from reflow import Workflow

    wf = Workflow("starting")

    @wf.job(time="10-00:00:00", queue="short")
    def long() -> int:
        return 1

    @wf.job()
    def quick() -> int:
        return 2

    if __name__ == "__main__":
        wf.cli()
    """


def test_job_that_can_never_start_is_reported(person: Person) -> None:
    person.write(STARTING)
    run = person.submit()
    person.until(run, lambda status: status["summary"]["quick"] == {"SUCCESS": 1})
    person.reflow("status", run, "--refresh")
    (note,) = person.status(run)["notes"]
    assert "(long) does not start: PartitionTimeLimit" in note
    person.reflow("cancel", run, "--yes")
    assert person.ended(run)["notes"] == []


FLAKY = """
    from pathlib import Path
    from typing import Annotated
    from reflow import Result, Workflow

    wf = Workflow("flaky")

    @wf.job()
    def items() -> list[int]:
        return [1, 2, 3]

    @wf.job(array=True)
    def each(x: Annotated[int, Result(step="items")]) -> int:
        with open(Path(__file__).parent / "ran", "a") as file:
            print(x, file=file)
        if x == 2 and not (Path(__file__).parent / "mended").exists():
            raise ValueError(x)
        return x

    if __name__ == "__main__":
        wf.cli()
    """


@pytest.mark.parametrize(("first", "second"), [("slurm", "local"), ("local", "slurm")])
def test_retry_with_another_executor(person: Person, first: str, second: str) -> None:
    person.write(FLAKY)
    person.executor = first
    run = person.submit()
    assert person.ended(run)["run"]["status"] == "FAILED"
    (person.folder / "mended").touch()
    before = person.simulator.calls["sbatch"]
    person.reflow("retry", run, "--executor", second)
    status = person.ended(run)
    assert (status["run"]["status"], status["run"]["executor"]) == ("SUCCESS", second)
    assert sorted(ran(person)) == ["1", "2", "2", "3"]
    assert (person.simulator.calls["sbatch"] > before) == (second == "slurm")
    # The log of every attempt is still found.
    assert person.reflow("logs", run, "each[1]") is not None


def test_jobs_and_local_processes_do_not_mix(person: Person) -> None:
    person.write(FLAKY)
    person.simulator.inject("partition_down", partition="compute")
    run = person.submit()
    person.reflow("retry", run, "--executor", "local", code=2)
    person.simulator.inject("partition_up", partition="compute")
    person.ended(run)


TERMINATED = """
    import os, signal, time
    from pathlib import Path
    from reflow import Workflow

    wf = Workflow("terminated")
    HERE = Path(__file__).parent

    @wf.job()
    def task() -> None:
        (HERE / "new").write_text(str(os.getpid()))
        (HERE / "new").rename(HERE / "began")
        while not (HERE / "go").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    if __name__ == "__main__":
        wf.cli()
    """


def test_cause_of_a_terminated_worker_comes_from_the_scheduler(person: Person) -> None:
    """The job itself may be ending, and the worker may be dead only because of that."""
    person.write(TERMINATED)
    run = person.submit()
    status = person.until(run, lambda _: (person.folder / "began").exists())
    job = next(entry["job_id"] for entry in status["jobs"] if entry["task_name"] == "task")
    worker = int((person.folder / "began").read_text())
    (person.folder / "go").touch()
    end = time.monotonic() + 60
    while session(worker):  # its job's shell waits a while for the scheduler
        assert time.monotonic() < end
        time.sleep(0.05)
    assert person.simulator.call("scancel", job).returncode == 0
    assert elements_of(person.ended(run), "task")[0]["cause"] == "CANCELLED"
    # Nothing else has ended this worker.
    run = person.submit()
    assert elements_of(person.ended(run), "task")[0]["cause"] == "ERROR"


def test_waiting_command_notices_that_every_job_is_gone(person: Person) -> None:
    """However short the single waits are: the command line shows progress in between."""
    person.write(BRANCHES)
    person.configure(min_poll_interval=0.1)
    person.simulator.inject("partition_down", partition="compute")
    run = person.submit()
    for job in person.status(run)["jobs"]:
        person.simulator.call("scancel", job["job_id"])
    person.run("-c", f"""
import time
from flow import wf
from reflow.runs import lifecycle
from reflow.errors import WaitTimeoutError
lifecycle.LOOK_SECONDS = 0.5
run = wf.run({run!r})
end = time.monotonic() + 60
while True:
    try:
        assert run.wait(timeout=0.1) == "FAILED"
        break
    except WaitTimeoutError:
        assert time.monotonic() < end, run.status(as_dict=True)
""")
    assert "cancelled by hand" in elements_of(person.status(run), "items")[0]["error_text"]


REFUSED = "Invalid partition name specified"


def start(person: Person, *arguments: str) -> tuple[int, str, str]:
    """Run Python; return its exit code and what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=person.folder, env=person.environment,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_submit_and_retry_report_refused_jobs(person: Person) -> None:
    person.write(BRANCHES)
    wrapper = person.folder / "sbatch"
    wrapper.write_text(
        f"#!/bin/sh\n[ -e {person.folder}/open ] || {{ echo '{REFUSED}' >&2\nexit 1\n}}\n"
        f'exec {person.simulator.path}/sbatch "$@"\n'
    )
    wrapper.chmod(0o755)
    person.configure(sbatch=str(wrapper))
    submit = ["flow.py", "submit", "--executor", "slurm", "--run-dir", "out"]
    code, out, err = start(person, *submit)
    run = out.strip()
    assert (code, person.status(run)["run"]["status"]) == (1, "FAILED")
    assert f"run {run}: task 'items': " in err
    assert REFUSED in err
    assert f"run {run} has failed already" in err
    code, out, err = start(person, "flow.py", "retry", run)
    assert (code, out) == (1, f"{run}\n")
    assert REFUSED in err
    (person.folder / "open").touch()
    code, _, err = start(person, "flow.py", "retry", run)
    assert (code, err) == (0, "")
    assert person.ended(run)["run"]["status"] == "SUCCESS"


@pytest.mark.usefixtures("interruptible")
def test_interrupted_submission_says_which_run_has_begun(person: Person) -> None:
    person.write(BRANCHES)
    wrapper = person.folder / "sbatch"
    wrapper.write_text(f"#!/bin/sh\n{person.simulator.path}/sbatch \"$@\"\n"
                       f"touch {person.folder}/taken; exec sleep 60\n")  # fmt: skip
    wrapper.chmod(0o755)
    person.configure(sbatch=str(wrapper))
    process = subprocess.Popen(
        [sys.executable, "flow.py", "submit", "--executor", "slurm", "--run-dir", "out"],
        cwd=person.folder, env=person.environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    end = time.monotonic() + 60
    while not (person.folder / "taken").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    (run,) = [entry["run_id"] for entry in json.loads(person.reflow("runs", "--json"))]
    assert process.returncode == 130
    assert f"reflow cancel {run}" in err


def test_waiting_command_says_why_a_job_does_not_start(person: Person) -> None:
    person.write(STARTING)
    person.configure(min_poll_interval=0.1)
    wait = (
        "from reflow.runs import lifecycle; lifecycle.LOOK_SECONDS = 0.5; "
        "from flow import wf; wf.cli()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", wait, "submit", "--executor", "slurm", "--run-dir", "out", "--wait"],
        cwd=person.folder, env=person.environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    run = process.stdout.readline().strip()
    try:
        person.until(run, lambda status: status["notes"])
        time.sleep(3)  # longer than the pause between two looks
    finally:
        person.reflow("cancel", run, "--yes")
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    (note,) = [line for line in err.splitlines() if line.startswith("note: ")]
    assert "(long) does not start: PartitionTimeLimit" in note


STUMBLING = """
    from pathlib import Path
    from typing import Annotated
    from reflow import Result, Retry, Workflow

    wf = Workflow("stumbling")

    @wf.job()
    def items() -> list[int]:
        return [1, 2, 3]

    @wf.job(array=True, retry=Retry(1, error=True))
    def each(x: Annotated[int, Result(step="items")]) -> int:
        file = Path(__file__).with_name(f"tries-{x}")
        tries = len(file.read_text()) + 1 if file.exists() else 1
        file.write_text("x" * tries)
        if tries < x:
            raise ValueError(f"try {tries} of {x}")
        return x

    if __name__ == "__main__":
        wf.cli()
    """


def test_logs_show_the_errors_of_earlier_attempts(person: Person) -> None:
    person.write(STUMBLING)
    run = person.submit()
    assert states(person.ended(run), "each") == ["SUCCESS", "SUCCESS", "FAILED"]

    def log_lines(*place: str) -> list[str]:
        lines = person.reflow("logs", run, *place).splitlines()
        return [line for line in lines if line.startswith("ValueError") or "failed <==" in line]

    second = ["==> each[1], attempt 1 failed <==", "ValueError: try 1 of 2"]
    third = ["==> each[2], attempt 1 failed <==", "ValueError: try 1 of 3"]
    assert log_lines("each[0]") == []
    assert log_lines("each[1]") == second
    assert log_lines() == [*second, *third, "==> each[2] failed <==", "ValueError: try 2 of 3"]
    # A retry by hand makes the last attempt one of those before.
    person.reflow("retry", run)
    assert states(person.ended(run), "each") == ["SUCCESS"] * 3
    assert log_lines("each[2]") == [
        *third, "==> each[2], attempt 2 failed <==", "ValueError: try 2 of 3"
    ]  # fmt: skip


def test_job_that_ends_before_its_work_points_to_its_log(person: Person) -> None:
    person.write(BRANCHES)
    person.configure(prologue='case "$SLURM_JOB_NAME" in *.w) exit 0 ;; esac')
    (element,) = elements_of(person.ended(person.submit()), "items")
    assert element["error_text"].endswith("vanished before they began; see its log")


def test_retried_element_is_no_longer_shown_as_failed(person: Person) -> None:
    person.write(FLAKY)
    run = person.submit()
    assert person.ended(run)["summary"]["each"] == {"SUCCESS": 2, "FAILED": 1}
    person.simulator.inject("partition_down", partition="compute")
    person.reflow("retry", run)
    status = person.status(run)
    assert status["summary"]["each"] == {"SUCCESS": 2, "SUBMITTED": 1}
    assert status["failed_instances"] == []
    assert sorted(states(status, "each")) == ["SUBMITTED", "SUCCESS", "SUCCESS"]
    output = person.reflow("status", run, "--task", "each")
    assert "FAILED" not in output
    assert "ValueError" not in output
    (person.folder / "mended").touch()
    person.simulator.inject("partition_up", partition="compute")
    assert person.ended(run)["summary"]["each"] == {"SUCCESS": 3}


def test_a_retry_of_one_task_leaves_what_has_failed_beside_it(person: Person) -> None:
    person.write("""
        from typing import Annotated
        from reflow import Result, Workflow

        wf = Workflow("two")

        @wf.job()
        def one() -> list[int]:
            raise ValueError("one")

        @wf.job(array=True)
        def below(x: Annotated[int, Result(step="one")]) -> int:
            return x

        @wf.job()
        def other() -> int:
            raise ValueError("other")

        if __name__ == "__main__":
            wf.cli()
        """)
    run = person.submit()
    failed = {"one": {"FAILED": 1}, "below": {"SKIPPED": 1}, "other": {"FAILED": 1}}
    assert person.ended(run)["summary"] == failed
    person.simulator.inject("partition_down", partition="compute")
    person.reflow("retry", run, "--task", "one")
    summary = person.status(run)["summary"]
    assert summary == {"one": {"SUBMITTED": 1}, "below": {"PENDING": 1}, "other": {"FAILED": 1}}
    person.simulator.inject("partition_up", partition="compute")
    assert person.ended(run)["summary"] == failed


GATED = """
    import os, time
    from typing import Annotated
    from reflow import Result, RunDir, Workflow

    wf = Workflow("gated")

    @wf.job()
    def items() -> list[int]:
        return list(range(6))

    @wf.job(array=True, array_parallelism=3)
    def each(x: Annotated[int, Result(step="items")], run_dir: RunDir) -> int:
        if x == 1:
            raise ValueError("one")
        while x and not os.path.exists(run_dir / "go"):
            time.sleep(0.1)
        return x * x

    @wf.job()
    def total(xs: Annotated[list[int], Result(step="each")]) -> int:
        return sum(xs)

    if __name__ == "__main__":
        wf.cli()
    """


def test_status_shows_running_elements_before_a_dispatch_pass_records_them(person: Person) -> None:
    person.write(GATED)
    run = person.submit()
    stand = {"SUCCESS": 1, "FAILED": 1, "RUNNING": 3, "SUBMITTED": 1}
    status = person.until(run, lambda status: status["summary"]["each"] == stand)
    assert status["summary"] == {
        "items": {"SUCCESS": 1}, "each": stand, "total": {"SUBMITTED": 1}
    }  # fmt: skip
    assert [
        (element["array_index"], element["state"], element["output"])
        for element in elements_of(status, "each")
    ] == [
        (0, "SUCCESS", 0), (1, "FAILED", None), (2, "RUNNING", None), (3, "RUNNING", None),
        (4, "RUNNING", None), (5, "SUBMITTED", None),
    ]  # fmt: skip
    assert "ValueError: one" in status["failed_instances"][0]["error_text"]
    output = person.reflow("status", run)
    assert "  each   SUCCESS 1, RUNNING 3, SUBMITTED 1, FAILED 1\n" in output
    assert "  each[1] ERROR: ValueError: one\n" in output
    (job,) = {element["job_id"] for element in elements_of(status, "each")}
    assert job in {str(entry["id"]) for entry in person.simulator.jobs()}
    assert f"  each[2]  RUNNING    attempt 1  job {job}\n" in person.reflow(
        "status", run, "--task", "each"
    )
    # Only some of many outcomes that no pass has recorded are read.
    code = (
        "from reflow import cli; from reflow.runs import instance_view; "
        "instance_view.MOST_READ = 1; cli.main()"
    )
    few = json.loads(person.run("-c", code, "status", run, "--json"))["summary"]["each"]
    assert few in ({"SUCCESS": 1, "RUNNING": 4, "SUBMITTED": 1}, stand)
    (person.folder / "out" / "go").touch()
    status = person.ended(run)
    assert status["summary"] == {
        "items": {"SUCCESS": 1}, "each": {"SUCCESS": 5, "FAILED": 1}, "total": {"SKIPPED": 1}
    }  # fmt: skip
    assert [element["output"] for element in elements_of(status, "each")] == [0, None, 4, 9, 16, 25]


def test_failure_with_retries_left_is_not_reported_as_failed(person: Person) -> None:
    source = GATED.replace("array_parallelism=3", "retry=100")
    person.write(source.replace("x == 1:", 'x == 1 and not os.path.exists(run_dir / "go"):'))
    run = person.submit()
    published = person.folder / "out" / ".reflow" / run / "outcomes" / "each" / "1.1"
    status = person.until(run, lambda _: published.exists())
    assert "FAILED" not in status["summary"]["each"]
    assert status["failed_instances"] == []
    (person.folder / "out" / "go").touch()
    assert person.ended(run)["summary"]["each"] == {"SUCCESS": 6}


@pytest.mark.parametrize("log", ["", "/dev/full"])
def test_result_is_written_when_the_disk_has_room_again(person: Person, log: str) -> None:
    person.write("""
        import errno, sys
        from pathlib import Path
        from reflow import Workflow
        from reflow.engine import worker

        wf = Workflow("full")
        fill, left = worker.publish, [2]

        def publish(*what):
            if left[0]:
                left[0] -= 1
                raise OSError(errno.ENOSPC, "No space left on device", "outcome")
            return fill(*what)

        @wf.job()
        def days() -> int:
            with Path(__file__).with_name("ran").open("a") as file:
                print("days", file=file)
            worker.publish, worker.ROOM_PAUSES = publish, (0.1, 0.1, 0.1)
            if "LOG":
                sys.stderr = open("LOG", "w")
            return 7

        if __name__ == "__main__":
            wf.cli()
        """.replace("LOG", log))
    run = person.submit()
    status = person.ended(run)
    assert (status["run"]["status"], elements_of(status, "days")[0]["output"]) == ("SUCCESS", 7)
    assert ran(person) == ["days"]
    if not log:
        assert "cannot be written yet" in person.reflow("logs", run, "days")


def test_commands_say_that_the_scheduler_is_down(
    tmp_path: Path, slurm_simulators: Any
) -> None:
    person = Person(tmp_path, slurm_simulators(message_timeout=0.1), "slurm")
    person.write(BRANCHES)
    person.simulator.inject("partition_down", partition="compute")
    run = person.submit()
    person.simulator.inject("down")
    code, _, err = start(person, "flow.py", "status", run, "--refresh")
    assert code == 0
    assert "Unable to contact slurm controller" in err
    soon = (
        "from reflow.runs import cancel_retry; cancel_retry.PATIENCE = 0.1; "
        "from flow import wf; wf.cli()"
    )
    code, _, err = start(person, "-c", soon, "cancel", run, "--yes")
    assert code == 2
    assert "the request is on record" in err
    (note,) = person.status(run)["notes"]
    assert note.startswith("a cancel or retry was requested")
    code, out, err = start(
        person, "flow.py", "submit", "--executor", "slurm", "--run-dir", "second", "--force"
    )
    assert "Unable to contact slurm controller" in err
    assert f"`reflow retry {out.strip()}` submits what is missing" in err
    person.simulator.inject("up")
    person.reflow("status", run, "--refresh")
    assert person.status(run)["run"]["status"] == "CANCELLED"
    assert person.status(run)["notes"] == []
    person.run("-c", soon, "cancel", out.strip(), "--yes")


@pytest.mark.parametrize("executor", ["slurm", "local"])
def test_a_run_directory_whose_name_is_no_utf_8(person: Person, executor: str) -> None:
    person.write(BRANCHES)
    person.executor = executor
    where = os.fsdecode(b"of \xfc")
    run = person.submit(run_dir=where)
    assert person.ended(run)["run"]["status"] == "SUCCESS"
    assert (person.folder / where).is_dir()
