"""Workflows on a real Slurm, end to end."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SQUARES = """
    import time
    from typing import Annotated
    from reflow import Param, Result, Workflow

    wf = Workflow("squares")

    @wf.job()
    def numbers(n: Annotated[int, Param(help="How many")] = 4) -> list[int]:
        return list(range(n))

    @wf.job(array=True, mem="100M", time="00:05:00")
    def square(x: Annotated[int, Result(step="numbers")]) -> int:
        print("squaring", x)
        return x * x

    @wf.job()
    def total(xs: Annotated[list[int], Result(step="square")]) -> int:
        return sum(xs)

    if __name__ == "__main__":
        wf.cli()
    """


def submit(site: Any, source: str, *arguments: str) -> str:
    """Submit a script's workflow and return the run's id."""
    out = site.python(source, "submit", "--executor", "slurm", "--run-dir", "out", *arguments)
    run_id: str = out.split()[-1]
    return run_id


def summary(status: dict[str, Any]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = status["summary"]
    return counts


def by_index(status: dict[str, Any], task: str) -> dict[int | None, dict[str, Any]]:
    return {
        element["array_index"]: element
        for element in status["instances"]
        if element["task_name"] == task
    }


@pytest.mark.cached
@pytest.mark.parametrize("size", [0, 1, 5, 60])
def test_the_pipeline_goes_on_with_nobody_there(site: Any, size: int) -> None:
    run_id = submit(site, SQUARES, "--n", str(size))
    status = site.ended(run_id)
    assert status["run"]["status"] == "SUCCESS"
    (total,) = by_index(status, "total").values()
    assert total["output"] == sum(x * x for x in range(size))
    again = submit(site, SQUARES, "--n", str(size))
    done = {task: counts for task, counts in summary(site.ended(again)).items() if size}
    assert all(set(counts) == {"CACHED"} for counts in done.values()), done


def test_one_more_element_is_one_more_element_to_run(site: Any) -> None:
    site.ended(submit(site, SQUARES, "--n", "3"))
    status = site.ended(submit(site, SQUARES, "--n", "4"))
    assert summary(status)["square"] == {"CACHED": 3, "SUCCESS": 1}


DEATHS = """
    import os, signal, sys, time
    from typing import Annotated
    from reflow import Result, Workflow

    wf = Workflow("deaths")

    @wf.job()
    def ways() -> list[str]:
        return ["fine", "kill", "_exit", "segfault", "sys.exit", "raise", "memory"]

    @wf.job(array=True, mem="100M")
    def die(how: Annotated[str, Result(step="ways")]) -> str:
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "_exit":
            os._exit(3)
        if how == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if how == "sys.exit":
            sys.exit(4)
        if how == "raise":
            raise ValueError(how)
        eaten = []
        while how == "memory":
            eaten.append(bytearray(10_000_000))
        return how

    @wf.job()
    def gather(hows: Annotated[list[str], Result(step="die")]) -> int:
        return len(hows)

    @wf.job()
    def alone() -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return 1

    @wf.job()
    def behind(x: Annotated[int, Result(step="alone")]) -> int:
        return x

    @wf.job()
    def beside() -> int:
        return 5

    if __name__ == "__main__":
        wf.cli()
    """


@pytest.mark.cached
def test_every_way_to_die_has_its_cause(site: Any) -> None:
    status = site.ended(submit(site, DEATHS))
    assert status["run"]["status"] == "FAILED"
    assert summary(status) == {
        "ways": {"SUCCESS": 1},
        "die": {"SUCCESS": 1, "FAILED": 6},
        "gather": {"SKIPPED": 1},
        "alone": {"FAILED": 1},
        "behind": {"SKIPPED": 1},
        "beside": {"SUCCESS": 1},
    }
    endings = {
        index: (element["cause"], element["error_text"].splitlines()[-1])
        for index, element in by_index(status, "die").items()
        if element["state"] == "FAILED"
    }
    assert endings[1][0] == "ERROR"
    assert endings[1][1].endswith("was killed by signal SIGKILL: memory suspected")
    assert endings[2][1].endswith("ended with exit code 3")
    assert endings[3][1].endswith("was killed by signal SIGSEGV")
    assert endings[4][1] == "task 'die' called sys.exit(4)"
    assert endings[5] == ("ERROR", "ValueError: raise")
    if Path("/sys/fs/cgroup/memory").is_dir():
        assert endings[6] == (
            "OOM",
            "task 'die' left no answer: its process was killed by signal SIGKILL: it met its "
            "memory limit",
        )
    else:
        assert endings[6][1].endswith("memory suspected")


SLEEPS = """
    import time
    from pathlib import Path
    from typing import Annotated
    from reflow import Param, Result, RunDir, Workflow

    wf = Workflow("sleeps")

    @wf.job(time="00:10:00")
    def nap(seconds: Annotated[int, Param()], where: RunDir) -> int:
        (where / "began").touch()
        for _ in range(seconds * 10):
            if (where / "wake").exists():
                break
            time.sleep(0.1)
        return seconds

    @wf.job()
    def after(x: Annotated[int, Result(step="nap")]) -> int:
        return x + 1

    @wf.job()
    def beside() -> list[int]:
        return [1, 2, 3]

    @wf.job(array=True)
    def each(x: Annotated[int, Result(step="beside")]) -> int:
        return x

    if __name__ == "__main__":
        wf.cli()
    """


def until(condition: Callable[[], Any], seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.2)
    return result


def test_the_time_limit(site: Any) -> None:
    source = SLEEPS.replace('time="00:10:00"', 'time="00:01:00"')
    status = site.ended(submit(site, source, "--seconds", "300"), seconds=200)
    (nap,) = by_index(status, "nap").values()
    assert (nap["state"], nap["cause"]) == ("FAILED", "TIMEOUT")
    assert summary(status)["after"] == {"SKIPPED": 1}
    assert summary(status)["each"] == {"SUCCESS": 3}


def running_job(site: Any, run_id: str, task: str) -> str:
    """Return the id of the job of a task that runs now."""
    lines = site.run("squeue", "-h", "-t", "R", "-o", "%i|%k").splitlines()
    job_ids = [line.partition("|")[0] for line in lines if line.endswith(f"{run_id}.{task}")]
    return job_ids[0] if job_ids else ""


def napping(site: Any, run_id: str) -> str:
    """Return the id of the job of `nap` once it has begun: one that dies earlier is restarted."""
    return running_job(site, run_id, "nap") if (site.folder / "out" / "began").exists() else ""


@pytest.mark.cached
def test_a_quick_branch_does_not_wait_for_a_slow_one(site: Any) -> None:
    run_id = submit(site, SLEEPS, "--seconds", "300")
    until(lambda: summary(site.status(run_id))["each"] == {"SUCCESS": 3})
    assert summary(site.status(run_id))["nap"] not in ({"SUCCESS": 1}, {"FAILED": 1})
    (site.folder / "out" / "wake").touch()
    assert site.ended(run_id)["run"]["status"] == "SUCCESS"


def test_a_job_that_is_cancelled_by_hand(site: Any) -> None:
    run_id = submit(site, SLEEPS, "--seconds", "500")
    site.run("scancel", until(lambda: napping(site, run_id)))
    status = site.ended(run_id)
    (nap,) = by_index(status, "nap").values()
    assert (nap["state"], nap["cause"]) == ("FAILED", "CANCELLED")
    assert summary(status)["after"] == {"SKIPPED": 1}
    (site.folder / "out" / "wake").touch()
    site.reflow("retry", run_id)
    assert site.ended(run_id)["run"]["status"] == "SUCCESS"


@pytest.mark.parametrize("role", ["s", "g"])
def test_without_its_sentinel_or_its_guard_a_run_goes_on(site: Any, role: str) -> None:
    run_id = submit(site, SLEEPS, "--seconds", "500")
    until(lambda: napping(site, run_id))
    jobs = site.ids(run_id, role)
    assert jobs
    site.run("scancel", *jobs)
    (site.folder / "out" / "wake").touch()
    assert site.ended(run_id)["run"]["status"] == "SUCCESS"


def test_with_every_job_deleted_status_says_so_and_retry_carries_on(site: Any) -> None:
    run_id = submit(site, SLEEPS, "--seconds", "500")
    until(lambda: napping(site, run_id))
    jobs = [job for role in "wsgd" for job in site.ids(run_id, role)]
    site.run("scancel", *jobs)
    until(lambda: not site.jobs(run_id))
    (site.folder / "out" / "wake").touch()
    site.reflow("retry", run_id)
    status = site.ended(run_id)
    assert status["run"]["status"] in ("SUCCESS", "FAILED")
    if status["run"]["status"] == "FAILED":
        site.reflow("retry", run_id)
        assert site.ended(run_id)["run"]["status"] == "SUCCESS"


@pytest.mark.cached
def test_cancel_takes_everything_out_of_the_queue(site: Any) -> None:
    run_id = submit(site, SLEEPS, "--seconds", "500")
    until(lambda: napping(site, run_id))
    site.reflow("cancel", run_id, "--yes")
    until(lambda: not site.jobs(run_id))
    status = site.ended(run_id)
    assert status["run"]["status"] == "CANCELLED"
    assert summary(status)["nap"] == {"CANCELLED": 1}
    (site.folder / "out" / "wake").touch()
    site.reflow("retry", run_id)
    assert site.ended(run_id)["run"]["status"] == "SUCCESS"


def test_cancel_of_one_task_leaves_the_rest(site: Any) -> None:
    run_id = submit(site, SLEEPS, "--seconds", "500")
    until(lambda: napping(site, run_id))
    site.reflow("cancel", run_id, "--task", "nap", "--yes")
    status = site.ended(run_id)
    assert summary(status)["nap"] == {"CANCELLED": 1}
    assert summary(status)["each"] == {"SUCCESS": 3}


FLAKY = """
    import os
    from pathlib import Path
    from typing import Annotated
    from reflow import Param, Result, RunDir, Workflow

    wf = Workflow("flaky")

    @wf.job()
    def numbers() -> list[int]:
        return list(range(12))

    @wf.job(array=True, array_parallelism=3)
    def each(x: Annotated[int, Result(step="numbers")], where: RunDir) -> int:
        with open(where / f"ran-{x}", "a") as file:
            file.write("x")
        if x % 5 == 2 and "mended" not in os.listdir(where):  # a listing is never of a cache
            raise ValueError(x)
        return x

    @wf.job(array=True)
    def then(x: Annotated[int, Result(step="each")]) -> int:
        return x * 10

    @wf.job()
    def total(xs: Annotated[list[int], Result(step="then")]) -> int:
        return sum(xs)

    if __name__ == "__main__":
        wf.cli()
    """


@pytest.mark.cached
def test_retry_runs_exactly_what_failed(site: Any) -> None:
    run_id = submit(site, FLAKY)
    status = site.ended(run_id)
    assert summary(status)["each"] == {"SUCCESS": 10, "FAILED": 2}
    assert summary(status)["then"] == {"SUCCESS": 10, "SKIPPED": 2}
    assert summary(status)["total"] == {"SKIPPED": 1}
    (site.folder / "out" / "mended").touch()
    site.reflow("retry", run_id)
    status = site.ended(run_id)
    assert status["run"]["status"] == "SUCCESS"
    (total,) = by_index(status, "total").values()
    assert total["output"] == sum(range(12)) * 10
    files = (site.folder / "out").glob("ran-*")
    ran = {int(file.name[4:]): len(file.read_text()) for file in files}
    assert ran == {x: 2 if x in (2, 7) else 1 for x in range(12)}


REFUSED = """
    from typing import Annotated
    from reflow import Result, Workflow

    wf = Workflow("refused")

    @wf.job({options})
    def bad() -> int:
        return 1

    @wf.job()
    def behind(x: Annotated[int, Result(step="bad")]) -> int:
        return x

    @wf.job()
    def good() -> int:
        return 1

    if __name__ == "__main__":
        wf.cli()
    """


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ('queue="nosuch"', "invalid partition specified: nosuch"),
        ('account="nosuch"', "Invalid account or account/partition combination"),
        ('mem="999G"', "Memory specification can not be satisfied"),
        ('made_up_option="x"', "unrecognized option"),
        ('array_inx="1"', "unrecognized option"),
        ('dependency="1"', "set by reflow itself"),
    ],
)
def test_element_that_slurm_refuses_fails_with_its_message(
    site: Any, options: str, says: str
) -> None:
    status = site.ended(submit(site, REFUSED.replace("{options}", options)))
    (bad,) = by_index(status, "bad").values()
    assert bad["state"] == "FAILED"
    assert says in bad["error_text"]
    assert summary(status)["behind"] == {"SKIPPED": 1}
    assert summary(status)["good"] == {"SUCCESS": 1}


def test_a_submission_limit_is_back_pressure(site: Any) -> None:
    source = SQUARES.replace('mem="100M"', 'mem="100M", account="limited"')
    run_id = submit(site, source, "--n", "12")  # more at once than the account allows
    assert site.ended(run_id)["run"]["status"] == "SUCCESS"


@pytest.mark.cached
def test_twelve_runs_at_once(site: Any) -> None:
    site.write(SQUARES)
    source = """
        from flow import wf
        runs = [wf.submit(f"out{k}", executor="slurm", n=k, force=True) for k in range(12)]
        print(*[run.run_id for run in runs])
        """
    ids = site.python(source, name="many.py").split()
    for number, run_id in enumerate(ids):
        status = site.ended(run_id, 200)
        (total,) = by_index(status, "total").values()
        assert total["output"] == sum(x * x for x in range(number))


def test_an_array_above_the_limit_is_split(site: Any) -> None:
    source = SQUARES + '\n'
    config = site.folder / "config" / "reflow"
    config.mkdir(parents=True)
    (config / "config.toml").write_text("[executor.slurm]\nmax_array_size = 7\n")
    run_id = submit(site, source, "--n", "30")
    status = site.ended(run_id)
    (total,) = by_index(status, "total").values()
    assert total["output"] == sum(x * x for x in range(30))


def test_from_standard_input_and_without_a_main_guard(site: Any) -> None:
    site.write(SQUARES.replace("wf.cli()", "wf.submit('out', executor='slurm')"))
    out = site.run("sh", "-c", f"{_python()} flow.py && ls -d out/.reflow/*/")
    run_id = Path(out.split()[-1]).name
    assert site.ended(run_id)["run"]["status"] == "SUCCESS"


def _python() -> str:
    import os
    import sys

    return os.environ.get("REFLOW_LIVE_PYTHON", sys.executable)


KILLED = """
    import os, sys
    from reflow.storage.filesystem import Files
    from reflow_slurm.executor import SlurmExecutor
    from flow import wf

    left = int(sys.argv[1])

    def counted(cls, name):
        method = getattr(cls, name)

        def call(*given, **named):
            global left
            answer = method(*given, **named)
            left -= 1
            if left == 0:
                os.kill(os.getpid(), 9)
            return answer

        setattr(cls, name, call)

    for name in ("create", "write", "make_folder", "open_append"):
        counted(Files, name)
    counted(SlurmExecutor, "submit")
    wf.submit(f"out{sys.argv[1]}", executor="slurm", n=3, force=True)
    print("survived")
    """


def test_a_caller_killed_after_any_effect_leaves_a_run_that_can_go_on(site: Any) -> None:
    site.write(SQUARES)
    site.write(KILLED, "killed.py")
    ids = []
    for effect in range(1, 100):
        if "survived" in site.run(_python(), "killed.py", str(effect), code=None):
            break
        folders = [*(site.folder / f"out{effect}" / ".reflow").glob("*/run.json")]
        ids.extend(folder.parent.name for folder in folders)
    assert len(ids) > 8, "the effects were not counted"
    # A run whose caller died before it was listed is found by its directory.
    for run_id in ids:
        (folder,) = site.folder.glob(f"out*/.reflow/{run_id}")
        site.reflow("retry", str(folder.parent.parent))
    for run_id in ids:
        status = site.ended(run_id, 200)
        assert status["run"]["status"] == "SUCCESS", status
        assert by_index(status, "total")[None]["output"] == 5


WAVE = """
    from typing import Annotated
    from reflow import Param, Result, Workflow

    wf = Workflow("wave")

    @wf.job()
    def a(x: Annotated[int, Param()]) -> int:
        return x // 10

    @wf.job()
    def b(y: Annotated[int, Result(step="a")]) -> int:
        return y + 1

    @wf.job()
    def c(z: Annotated[int, Result(step="b")]) -> int:
        return z + 1

    if __name__ == "__main__":
        wf.cli()
    """


@pytest.mark.cached
def test_the_same_value_stops_the_wave_and_runs_share_the_cache(site: Any) -> None:
    first = submit(site, WAVE, "--x", "10")
    second = submit(site, WAVE, "--x", "20")  # at the same time, over the same store
    assert {site.ended(run_id)["run"]["status"] for run_id in (first, second)} == {"SUCCESS"}
    status = site.ended(submit(site, WAVE, "--x", "11"))
    assert [summary(status)[task] for task in "abc"] == [
        {"SUCCESS": 1}, {"CACHED": 1}, {"CACHED": 1}
    ]  # fmt: skip
    assert by_index(status, "c")[None]["output"] == 3
    again = summary(site.ended(submit(site, WAVE, "--x", "20")))
    assert all(set(counts) == {"CACHED"} for counts in again.values())


def test_code_that_changes_in_the_queue_is_reported(site: Any) -> None:
    source = SLEEPS.replace("return x + 1", "return x + 2")
    run_id = submit(site, SLEEPS, "--seconds", "500")
    until(lambda: napping(site, run_id))
    site.write(source)
    (site.folder / "out" / "wake").touch()
    status = site.ended(run_id)
    assert by_index(status, "after")[None]["output"] == 502
    assert [note for note in status["notes"] if "'after' has changed" in note]


HUNGRY = """
    import subprocess, sys
    from reflow import Retry, Scale, Workflow

    wf = Workflow("hungry")

    @wf.job(mem="100M", retry=Retry(2, oom=Scale(mem=4)))
    def eat() -> int:
        return len(EATEN)

    if __name__ == "__main__":
        wf.cli()
    """


@pytest.mark.parametrize("eaten", [
    'b"x" * 250_000_000',
    'subprocess.check_output([sys.executable, "-c", "print(len(bytearray(250_000_000)))"])',
])  # fmt: skip
def test_more_memory_after_out_of_memory(site: Any, eaten: str) -> None:
    """Out of memory in the task itself, and in a program that it has started."""
    status = site.ended(submit(site, HUNGRY.replace("EATEN", eaten)))
    assert status["run"]["status"] == "SUCCESS"
    assert by_index(status, "eat")[None]["attempt"] == 2


def test_a_folder_of_logs_that_goes_away(site: Any) -> None:
    run_id = submit(site, SLEEPS, "--seconds", "500")
    until(lambda: napping(site, run_id))
    (logs,) = site.folder.glob(f"out/.reflow/{run_id}/logs")
    shutil.rmtree(logs)
    (site.folder / "out" / "wake").touch()
    status = site.ended(run_id, 200)
    assert status["run"]["status"] == "SUCCESS", status


def test_a_job_that_asks_for_more_than_its_partition_allows(site: Any) -> None:
    source = REFUSED.replace("{options}", 'queue="short", time="10-00:00:00"')
    run_id = submit(site, source)
    until(lambda: summary(site.status(run_id))["good"] == {"SUCCESS": 1})

    def notes() -> list[str]:
        site.reflow("status", run_id, "--refresh")
        return [note for note in site.status(run_id)["notes"] if "PartitionTimeLimit" in note]

    assert "(bad) does not start" in until(notes, 90)[0]
    site.reflow("cancel", run_id, "--yes")
    assert site.ended(run_id)["run"]["status"] == "CANCELLED"


def test_a_job_that_is_requeued_by_hand_is_not_run_twice(site: Any) -> None:
    run_id = submit(site, SLEEPS, "--seconds", "500")
    job = until(lambda: napping(site, run_id))
    site.run("scontrol", "requeue", job, code=None)
    (site.folder / "out" / "wake").touch()
    status = site.ended(run_id, 300)
    # Slurm may refuse, or end the job; no start is ever recorded twice.
    assert status["run"]["status"] in ("SUCCESS", "FAILED")
    assert by_index(status, "nap")[None]["attempt"] == 1


def test_retry_on_this_machine(site: Any) -> None:
    run_id = submit(site, FLAKY)
    assert site.ended(run_id)["run"]["status"] == "FAILED"
    (site.folder / "out" / "mended").touch()
    site.reflow("retry", run_id, "--executor", "local")
    status = site.ended(run_id)
    assert (status["run"]["status"], status["run"]["executor"]) == ("SUCCESS", "local")
    assert summary(status)["each"] == {"SUCCESS": 12}


def test_the_log_of_one_element(site: Any) -> None:
    run_id = submit(site, SQUARES, "--n", "60")
    site.ended(run_id)
    assert "squaring 47" in site.reflow("logs", run_id, "square[47]").splitlines()


def test_from_standard_input(site: Any) -> None:
    site.write(SQUARES)
    out = site.run("sh", "-c", f"{_python()} - submit --executor slurm --run-dir out < flow.py")
    assert site.ended(out.split()[-1])["run"]["status"] == "SUCCESS"


NOTEBOOK = """
    import nbclient, nbformat, json, os, pathlib, sys

    kernels = pathlib.Path("data/kernels/this")
    kernels.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernels / "kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": "this", "language": "python"})
    )
    os.environ["JUPYTER_PATH"] = os.path.abspath("data")
    source = open("flow.py").read().partition("if __name__")[0]
    book = nbformat.v4.new_notebook()
    cells = [source, "run = wf.submit('out', executor='slurm', n=4)", "print(run.run_id)"]
    book.cells = [nbformat.v4.new_code_cell(text) for text in cells]
    nbclient.NotebookClient(book, timeout=120, kernel_name="this").execute()
    print(book.cells[-1].outputs[0]["text"].strip())
    """


def test_from_a_notebook(site: Any) -> None:
    site.write(SQUARES)
    run_id = site.python(NOTEBOOK, name="notebook.py").split()[-1]
    status = site.ended(run_id)
    assert by_index(status, "total")[None]["output"] == 14


def test_wait_shows_progress_and_exits_with_the_outcome(site: Any) -> None:
    words = ("submit", "--executor", "slurm", "--run-dir", "out", "--wait")
    out = site.python(SQUARES, *words, "--n", "3")
    assert "square: 3/3 done" in out
    out = site.python(FLAKY, *words, code=1)
    assert "ValueError" in out


@pytest.mark.alone
def test_a_node_that_goes_down(site: Any, cluster: Any) -> None:
    run_id = submit(site, SLEEPS, "--seconds", "500")
    job = until(lambda: napping(site, run_id))
    (node,) = site.run("squeue", "-h", "-j", job, "-o", "%N").split()
    command = ["scontrol", "update", f"nodename={node}"]
    subprocess.run([*command, "state=down", "reason=test"], check=True)
    try:
        status = site.ended(run_id, 120)
        nap = by_index(status, "nap")[None]
        assert (nap["state"], nap["cause"]) == ("FAILED", "NODE_FAIL")
        assert summary(status)["each"] == {"SUCCESS": 3}
    finally:
        cluster("start", "slurmd")  # which brings its nodes up again


@pytest.mark.alone
@pytest.mark.parametrize("again", [False, True])
def test_a_job_that_is_preempted(site: Any, again: bool) -> None:
    options = 'queue="low", cpus=8, time="00:05:00"' + (", retry=Retry(2)" if again else "")
    source = SLEEPS.replace('time="00:10:00"', options)
    source = source.replace("import Param", "import Retry, Param")
    run_id = submit(site, source, "--seconds", "200")
    until(lambda: napping(site, run_id))
    # All processors of both nodes: jobs of lower priority are preempted.
    # The preempted job must not return before the test has seen that.
    script = f"until [ -e {site.folder}/out/wake ]; do sleep 0.2; done"
    site.run("sbatch", "-p", "high", "-N", "2", "-c", "8", "-o", "/dev/null", "--wrap", script)
    until(lambda: not napping(site, run_id))
    (site.folder / "out" / "wake").touch()
    status = site.ended(run_id, 200)
    nap = by_index(status, "nap")[None]
    if again:
        assert (status["run"]["status"], nap["attempt"]) == ("SUCCESS", 2)
    else:
        assert (nap["state"], nap["cause"]) == ("FAILED", "PREEMPTED")


@pytest.mark.alone
def test_where_jobs_may_not_submit(site: Any) -> None:
    # The list waits: its job must not submit the array before submissions are forbidden.
    wait = "while not os.path.exists('out/wake'): time.sleep(0.1)\n        return list(range(n))"
    source = SQUARES.replace("return list(range(n))", wait)
    source = source.replace("import time", "import os, time")
    run_id = submit(site, source, "--n", "4")
    until(lambda: running_job(site, run_id, "numbers"))
    partition = ["scontrol", "update", "PartitionName=compute"]
    subprocess.run([*partition, "AllocNodes=nowhere"], check=True)
    (site.folder / "out" / "wake").touch()
    try:
        status = until(lambda: (current := site.status(run_id))["run"]["status"] == "WAITING"
                       and current, 90)  # fmt: skip
        (note,) = [note_text for note_text in status["notes"] if "may not submit" in note_text]
        assert f"reflow status {run_id} --refresh" in note
    finally:
        subprocess.run([*partition, "AllocNodes=ALL"], check=True)
    site.reflow("status", run_id, "--refresh")
    assert site.ended(run_id)["run"]["status"] in ("SUCCESS", "WAITING")
    status = site.ended(run_id)
    assert by_index(status, "total")[None]["output"] == 14


@pytest.mark.alone
def test_slurmctld_down_in_the_middle_of_a_run(site: Any, cluster: Any) -> None:
    run_id = submit(site, SLEEPS, "--seconds", "500")
    until(lambda: napping(site, run_id))
    cluster("stop", "slurmctld")
    try:
        (site.folder / "out" / "wake").touch()
        time.sleep(30)
    finally:
        cluster("start", "slurmctld")
    status = site.ended(run_id, 200)
    assert status["run"]["status"] == "SUCCESS", status
    assert summary(status)["after"] == {"SUCCESS": 1}


@pytest.mark.alone
def test_slurmdbd_down_throughout(site: Any, cluster: Any) -> None:
    cluster("stop", "slurmdbd")
    try:
        status = site.ended(submit(site, DEATHS))
        assert summary(status)["die"] == {"SUCCESS": 1, "FAILED": 6}
        assert site.ended(submit(site, SQUARES, "--n", "5"))["run"]["status"] == "SUCCESS"
    finally:
        cluster("start", "slurmdbd")
