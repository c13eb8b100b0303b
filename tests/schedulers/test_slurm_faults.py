"""Faults injected into the simulator, which no test may cause in a real Slurm."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

DOWN = "Unable to contact slurm controller (connect failure)"
TIMED_OUT = "Socket timed out on send/recv operation"


def submit(simulator, *arguments, wrap="true"):
    done = simulator.call("sbatch", "--parsable", "-o", "/dev/null", *arguments, "--wrap", wrap)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)
    return result


def states(simulator, number):
    return sorted(job["outcome"] or job["state"] for job in simulator.jobs() if job["id"] == number)


def accounted(simulator, number, *more):
    done = simulator.call("sacct", "-nXP", "-j", str(number), "--format=JobID,State", *more)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_refused(slurm_simulator):
    slurm_simulator.inject("refuse", text="Requested node configuration is not available", times=2)
    for _ in range(2):
        done = slurm_simulator.call("sbatch", "--wrap", "true")
        assert (done.returncode, done.stderr) == (
            1,
            "sbatch: error: Batch job submission failed: "
            "Requested node configuration is not available\n",
        )
    submit(slurm_simulator)


@pytest.mark.parametrize(("fault", "taken"), [("timeout_before", 0), ("timeout_after", 1)])
def test_submission_times_out(slurm_simulator, fault, taken):
    slurm_simulator.inject(fault)
    done = slurm_simulator.call("sbatch", "--wrap", "true", "-o", "/dev/null")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"sbatch: error: Batch job submission failed: {TIMED_OUT}\n"
    assert len(slurm_simulator.jobs()) == taken
    assert slurm_simulator.calls == {"sbatch": 1}


def test_controller_down(slurm_simulators):
    simulator = slurm_simulators(message_timeout=0.2)
    running = submit(simulator, wrap="sleep 0.3")
    simulator.inject("down")
    for arguments, code, text in (
        (("sbatch", "--wrap", "true"), 1, f"sbatch: error: Batch job submission failed: {DOWN}"),
        (("squeue", "-h"), 1, f"slurm_load_jobs error: {DOWN}"),
        (("scancel", "1"), 8, f"scancel: error: Kill job error on job id 1: {DOWN}"),
        (("scontrol", "show", "job", "1"), 1, f"slurm_load_jobs error: {DOWN}"),
    ):
        begun = time.monotonic()
        done = simulator.call(*arguments)
        assert (done.returncode, done.stdout, done.stderr.strip()) == (code, "", text)
        assert time.monotonic() - begun >= 0.2
    # What sbatch itself refuses needs no controller, and jobs and accounting go on.
    assert simulator.call("sbatch", "--time=bogus", "--wrap", "true").returncode == 255
    until(lambda: accounted(simulator, running) == [f"{running}|COMPLETED"])
    simulator.inject("up")
    submit(simulator)


def test_accounting_down_and_off(slurm_simulator):
    number = submit(slurm_simulator)
    until(lambda: states(slurm_simulator, number) == ["done"])
    slurm_simulator.inject("accounting_down")
    done = slurm_simulator.call("sacct", "-j", str(number))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == (
        "sacct: error: Problem talking to the database: Connection refused"
    )
    assert slurm_simulator.call("squeue", "-h", "-t", "all", "-o", "%T").stdout == "COMPLETED\n"
    slurm_simulator.inject("accounting_off")
    done = slurm_simulator.call("sacct", "-j", str(number))
    assert (done.returncode, done.stderr) == (1, "Slurm accounting storage is disabled\n")
    slurm_simulator.inject("accounting_up")
    assert accounted(slurm_simulator, number) == [f"{number}|COMPLETED"]


def test_accounting_lags(slurm_simulator):
    slurm_simulator.inject("accounting_lag", seconds=3600)
    number = submit(slurm_simulator)
    until(lambda: states(slurm_simulator, number) == ["done"])
    assert accounted(slurm_simulator, number) == []
    slurm_simulator.inject("accounting_lag", seconds=0)
    assert accounted(slurm_simulator, number) == [f"{number}|COMPLETED"]


def test_accounting_knows_neither_names_nor_positions_at_first(slurm_simulator):
    slurm_simulator.inject("array_lag", seconds=3600)
    number = submit(slurm_simulator, "--array=0-2", wrap="[ $SLURM_ARRAY_TASK_ID != 0 ]")
    until(lambda: states(slurm_simulator, number) == ["done", "done", "failed"])
    assert accounted(slurm_simulator, number) == [f"{number}|COMPLETED"]
    done = slurm_simulator.call("sacct", "-nXP", "-j", str(number), "--format=JobName")
    assert done.stdout == "allocation\n"
    slurm_simulator.inject("array_lag", seconds=0)
    assert accounted(slurm_simulator, number) == [
        f"{number}_0|FAILED", f"{number}_1|COMPLETED", f"{number}_2|COMPLETED"
    ]  # fmt: skip


def test_lost_without_a_trace(slurm_simulator):
    number, other = submit(slurm_simulator, wrap="sleep 60"), submit(slurm_simulator, "-H")
    [pid] = until(lambda: [job["pid"] for job in slurm_simulator.jobs() if job["pid"]])
    slurm_simulator.inject("lose", job=number)
    assert [job["id"] for job in slurm_simulator.jobs()] == [other]
    assert accounted(slurm_simulator, number) == []
    until(lambda: not Path(f"/proc/{pid}").exists())
    assert slurm_simulator.call("squeue", "-j", str(number)).returncode == 1


def test_node_dies(slurm_simulator):
    kept = submit(slurm_simulator, "--no-requeue", wrap="sleep 60")
    again = submit(slurm_simulator, wrap="sleep 60")
    until(lambda: states(slurm_simulator, again) == states(slurm_simulator, kept) == ["running"])
    slurm_simulator.inject("kill_node", node="n1")
    until(lambda: states(slurm_simulator, kept) == ["node"])
    assert accounted(slurm_simulator, kept) == [f"{kept}|NODE_FAIL"]
    # The other job begins again on the remaining node.
    [job] = until(lambda: [
        job for job in slurm_simulator.jobs() if job["id"] == again and job["state"] == "running"
    ])  # fmt: skip
    assert (job["nodes"], job["restarts"]) == (["n2"], 1)
    assert accounted(slurm_simulator, again, "-D") == [f"{again}|NODE_FAIL", f"{again}|RUNNING"]


def test_preempted(slurm_simulator):
    number = submit(slurm_simulator, "--no-requeue", wrap="sleep 60")
    until(lambda: states(slurm_simulator, number) == ["running"])
    slurm_simulator.inject("preempt", job=number)
    until(lambda: accounted(slurm_simulator, number) == [f"{number}|PREEMPTED"])


def test_limits(slurm_simulator):
    slurm_simulator.inject("submit_limit", limit=2)
    done = slurm_simulator.call("sbatch", "--array=0-2", "--wrap", "true")
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        1, "sbatch: error: AssocMaxSubmitJobLimit"
    )  # fmt: skip
    slurm_simulator.inject("submit_limit", limit=None)
    slurm_simulator.inject("array_limit", limit=3)
    done = slurm_simulator.call("sbatch", "--array=0-3", "--wrap", "true")
    assert done.stderr.endswith("Invalid job array specification\n")
    assert (
        "MaxArraySize            = 3\n" in slurm_simulator.call("scontrol", "show", "config").stdout
    )


def test_partition_goes_down(slurm_simulator):
    slurm_simulator.inject("partition_down", partition="compute")
    number = submit(slurm_simulator)
    until(lambda: [job["reason"] for job in slurm_simulator.jobs()] == ["partition-down"])
    slurm_simulator.inject("partition_up", partition="compute")
    until(lambda: states(slurm_simulator, number) == ["done"])


def test_forgotten_after_a_while(slurm_simulators):
    simulator = slurm_simulators(min_job_age=0.1)
    number = submit(simulator)
    until(lambda: simulator.call("squeue", "-j", str(number)).returncode == 1)
    assert accounted(simulator, number) == [f"{number}|COMPLETED"]
    # A dependency on a forgotten job is fulfilled.
    later = submit(simulator, "-d", f"afternotok:{number}")
    until(lambda: accounted(simulator, later) == [f"{later}|COMPLETED"])


def test_nothing_is_left(slurm_simulators, tmp_path):
    simulator = slurm_simulators()
    script = f"setsid sh -c 'echo $$ > {tmp_path}/pid; exec sleep 4321' & trap '' TERM; sleep 4322"
    submit(simulator, wrap=script)
    pid = int(until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    assert simulator.stop() == ""
    assert not Path(f"/proc/{pid}").exists()
    assert not os.path.exists(simulator.folder)


def test_ends_with_whoever_started_it(tmp_path):
    """A test that is killed leaves no daemon and no job behind."""
    script = tmp_path / "start.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from schedulers.plugin import start\n"
        "import os, signal\n"
        "made = start('slurm')\n"
        "made.call('sbatch', '-o', '/dev/null', '--wrap', 'sleep 4323')\n"
        "print(made._daemon.pid, made.folder, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    pid, folder = done.stdout.split()
    stat = Path(f"/proc/{pid}/stat")
    until(lambda: not stat.exists() or " Z " in stat.read_text())
    assert not os.path.exists(folder)


def test_many_positions(slurm_simulator):
    slurm_simulator.inject("array_limit", limit=5001)
    number = submit(slurm_simulator, "-H", "--array=0-4999")
    row = f"{number}_[0-4999]\n"
    assert slurm_simulator.call("squeue", "-h", "-o", "%i").stdout == row
    slurm_simulator.call("scancel", str(number))
    assert slurm_simulator.call("squeue", "-h", "-o", "%i").stdout == ""


def test_unknown_faults_and_settings(slurm_simulator):
    with pytest.raises(ValueError, match="no fault 'bogus'"):
        slurm_simulator.inject("bogus")
    with pytest.raises(ValueError, match="no such setting: bogus"):
        slurm_simulator.set(bogus=1)
