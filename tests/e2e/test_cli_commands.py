"""Each command on real runs, in its own process: output and exit code."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from reflow.storage.clock import Clock
from reflow.storage.events import Intent
from reflow.storage.journal import JournalReader, take_lease
from reflow.storage.process_id import this_process
from reflow.storage.run_directory import FOLDER, RunRecord

SCHEMAS = Path(__file__).parents[2] / "docs/reference/json"

SCRIPT = """
#!/usr/bin/env python
import time
from pathlib import Path
from typing import Annotated, Literal
from reflow import Param, Result, Workflow

wf = Workflow("demo")

@wf.job()
def make(
    count: Annotated[int, Param(help="How many", short="n")],
    mode: Literal["fast", "slow"] = "fast",
    scale: float = 1.0,
) -> list[int]:
    '''Make the numbers.

    At length.
    '''
    print("making", count, "h\\u00e9")
    return list(range(count))

@wf.job(array=True)
def double(
    item: Annotated[int, Result(step="make")],
    bad: Annotated[int, Param(namespace="local", help="Fail at this one")] = -1,
    pause: Annotated[float, Param(namespace="local")] = 0.0,
    scale: float = 1.0,
) -> int:
    print("doubling", item)
    time.sleep(pause)
    if item == bad and not Path("mended").exists():
        raise ValueError(f"bad item {item} \\u00e9")
    return 2 * item

@wf.job()
def total(items: Annotated[list[int], Result(step="double")]) -> int:
    return sum(items)

if __name__ == "__main__":
    wf.cli()
""".lstrip()

HELP = """\
Usage: demo.py submit [OPTIONS]

  Start a run in the background, and print its id.

Parameters of make:
  Make the numbers.

  -n, --count INTEGER  How many  [required]
  --mode [fast|slow]   [default: fast]

Parameters of double:
  --double-bad INTEGER  Fail at this one  [default: -1]
  --double-pause FLOAT  [default: 0.0]

Parameters of several tasks:
  --scale FLOAT  [default: 1.0]

Run:
  --run-dir PATH               The run's working directory; it is created if
                               necessary.  [required]
  --executor NAME              Where to run, such as local or slurm; dry-run
                               shows what would be submitted.  [default: the
                               configured executor, else local]
  --on-code-change [run|fail]  If the code of a task has changed when a job
                               starts: run the new code, or fail.  [default:
                               run]
  --wait                       Wait until the run has ended, and show its
                               progress.
  --plan                       Only show what would run, what is cached, and
                               why.
  --json                       With --plan: print JSON instead of text.
  --force                      Ignore results of older runs.
  --force-task TASK            Ignore older results of this task; can be given
                               several times.
  --verify / --no-verify       Check that the files of older results are
                               unchanged.  [default: verify]
  --profile NAME               Use this profile of the configuration.
                               [default: $REFLOW_PROFILE]
  --help                       Show this message and exit.
"""

REFLOW = [sys.executable, "-c", "from reflow.cli import main; main()"]


class Shell:
    """Runs the two command lines with a home of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.script = folder / "demo.py"
        self.script.write_text(SCRIPT, encoding="utf-8")
        self.environment = {
            **{name: text for name, text in os.environ.items() if not name.startswith("REFLOW_")},
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_CONFIG_DIRS": str(folder / "site"),
            "COLUMNS": "80",
        }
        for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"):
            self.environment.pop(name, None)

    def call(
        self, arguments: list[str], code: int = 0, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            arguments, env={**self.environment, **environment}, cwd=self.folder,
            capture_output=True, encoding="utf-8", timeout=60, stdin=subprocess.DEVNULL,
            check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def demo(self, *words: str, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        return self.call([sys.executable, str(self.script), *words], code, **env)

    def reflow(self, *words: str, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        return self.call([*REFLOW, *words], code, **env)

    def record(self, run_dir: str = "r") -> RunRecord:
        """Return the record of the only run in a run directory."""
        (folder,) = (self.folder / run_dir / FOLDER).iterdir()
        return RunRecord(str(folder))


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def failed(shell: Shell) -> Shell:
    """A shell in which a run by the local executor has failed at double[1]."""
    shell.demo("submit", "--run-dir", "r", "-n", "3", "--double-bad", "1", "--wait", code=1)
    return shell


def in_terminal(shell: Shell, arguments: list[str], **environment: str) -> str:
    """Run a command whose output is a terminal of 80 columns; return what appears there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        arguments, env={**shell.environment, "TERM": "xterm", **environment}, cwd=shell.folder,
        stdout=theirs, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(theirs)
    parts = []
    while True:
        try:
            data = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        parts.append(data)
    os.close(ours)
    assert process.wait(timeout=60) == 0
    return b"".join(parts).decode()


def test_help_is_grouped_by_task(shell: Shell) -> None:
    assert shell.demo("submit", "--help").stdout == HELP


def test_without_arguments_the_help_is_on_stderr(shell: Shell) -> None:
    done = shell.reflow(code=2)
    assert done.stdout == ""
    assert "Commands:" in done.stderr


def test_help_imports_no_plugin_and_no_database(shell: Shell) -> None:
    code = (
        "import sys; from reflow.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit: print(sorted({'sqlite3', 'pluggy', 'cattrs'} & set(sys.modules)))"
    )
    out = shell.call([sys.executable, "-c", code, "--help"]).stdout
    assert out.splitlines()[-1] == "[]"


def test_a_run_is_named_in_many_ways(failed: Shell) -> None:
    run_id = failed.reflow("runs").stdout.splitlines()[1].split()[0]
    record = failed.record().folder
    for words in ([run_id], [run_id[:-3]], ["r"], ["./r"], [record], ["--last"]):
        for ask in (failed.demo, failed.reflow):
            assert run_id in ask("status", *words).stdout, words
    failed.demo("run", "--run-dir", "r", "-n", "1")
    # The newest run of a directory.
    assert "SUCCESS" in failed.reflow("status", "r").stdout.splitlines()[2]
    assert "several runs begin with" in failed.reflow("status", "demo-", code=2).stderr
    (failed.folder / "empty").mkdir()
    assert "no run was started" in failed.reflow("status", "empty", code=2).stderr
    assert "--last" in failed.reflow("status", code=2).stderr
    assert "not both" in failed.reflow("status", run_id, "--last", code=2).stderr


def test_last_without_any_run(shell: Shell) -> None:
    assert shell.reflow("logs", "--last", code=2).stderr == "error: there is no run yet\n"
    assert "of workflow demo" in shell.demo("status", "--last", code=2).stderr


def test_run_missing_in_the_store_is_named_by_its_directory(failed: Shell) -> None:
    shutil.rmtree(failed.folder / "state/reflow")
    assert "FAILED" in failed.reflow("status", "r").stdout


def test_status_of_a_task_and_exit_codes(failed: Shell) -> None:
    out = failed.reflow("status", "--last", "--task", "double").stdout
    assert "SUCCESS 2, FAILED 1" in out
    assert re.search(r"double\[1\] +FAILED +attempt 1", out)
    assert "make" not in out
    status = json.loads(failed.reflow("status", "r", "--task", "make", "--json").stdout)
    assert list(status["summary"]) == ["make"]
    assert {element["task_name"] for element in status["instances"]} == {"make"}
    done = failed.reflow("status", "r", "--task", "dubble", code=2)
    assert "did you mean 'double'" in done.stderr
    failed.reflow("status", "r")
    failed.reflow("status", "r", "--exit-code", code=1)
    failed.demo("run", "--run-dir", "good", "-n", "1")
    failed.reflow("status", "good", "--exit-code")


def test_runs_are_filtered(shell: Shell) -> None:
    shell.demo("run", "--run-dir", "a", "-n", "1")
    shell.demo("run", "--run-dir", "b", "-n", "2", "--double-bad", "0", code=1)
    other = shell.folder / "other.py"
    other.write_text(SCRIPT.replace('Workflow("demo")', 'Workflow("other")'), encoding="utf-8")
    shell.call([sys.executable, str(other), "run", "--run-dir", "c", "-n", "1"])

    def folders(ask: Callable[..., Any], *words: str) -> list[str]:
        listed = json.loads(ask("runs", "--json", *words).stdout)
        return [Path(row["run_dir"]).name for row in listed]

    assert folders(shell.reflow) == ["c", "b", "a"]
    assert folders(shell.demo) == ["b", "a"]
    assert folders(shell.demo, "--all") == ["c", "b", "a"]
    assert folders(shell.reflow, "--last") == ["c"]
    assert folders(shell.demo, "--last") == ["b"]
    assert folders(shell.reflow, "--workflow", "other") == ["c"]
    assert folders(shell.reflow, "--status", "failed") == ["b"]
    assert folders(shell.reflow, "--limit", "2") == ["c", "b"]
    assert folders(shell.reflow, "--until", "2020-01-01") == []
    assert "goes with neither" in shell.reflow("runs", "--last", "--all", code=2).stderr
    assert "sometime" in shell.reflow("runs", "--since", "sometime", code=2).stderr
    assert "'ODD'" in shell.reflow("runs", "--status", "ODD", code=2).stderr
    assert all(len(line) <= 80 for line in in_terminal(shell, [*REFLOW, "runs"]).splitlines()
               if "\x1b" not in line)  # fmt: skip


def test_json_is_as_its_schema_says(failed: Shell) -> None:
    def check(name: str, text: str) -> Any:
        assert text.isascii()
        value = json.loads(text)
        schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.Draft202012Validator(schema).validate(value)
        return value

    assert check("status", failed.reflow("status", "r", "--json").stdout)["failed_instances"]
    check("status", failed.reflow("status", "r", "--json", "--task", "total").stdout)
    assert len(check("runs", failed.reflow("runs", "--json").stdout)) == 1
    assert check("runs", failed.reflow("runs", "--json", "--until", "2000-01-01").stdout) == []
    check("describe", failed.demo("describe").stdout)
    described = check("describe-run", failed.reflow("describe", "r").stdout)
    names = {task["name"]: task["parameters"] for task in described["tasks"]}
    assert names["double"] == ["double_bad", "double_pause", "scale"]
    assert described == check("describe-run", failed.demo("describe", "--last").stdout)
    for words in (["dag", "r"], ["dag", "--last"]):
        drawn = check("dag", failed.reflow(*words, "--format", "json").stdout)
        assert drawn == check("dag", failed.demo("dag", "--format", "json").stdout)
    assert {"source": "make", "target": "double", "mode": "fan-out"} in drawn["edges"]
    submit = ["submit", "--run-dir", "other", "-n", "3", "--plan"]
    plan = check("plan", failed.demo(*submit, "--json").stdout)
    assert {task["name"]: task["hits"] for task in plan["tasks"]} == {
        "make": 1, "double": 0, "total": 0,
    }  # fmt: skip
    assert failed.demo(*submit).stdout.splitlines()[1].split()[:3] == ["TASK", "ELEMENTS", "CACHED"]
    assert "--json goes with --plan" in failed.demo(*submit[:-1], "--json", code=2).stderr
    assert not (failed.folder / "other").exists()
    assert len(check("runs", failed.reflow("runs", "--json").stdout)) == 1


def test_retry_waits_and_says_what_changes(failed: Shell) -> None:
    (failed.folder / "mended").touch()
    done = failed.reflow("retry", "--last", "--wait")
    assert done.stdout.splitlines()[0].startswith("demo-")
    assert "Status    SUCCESS" in done.stdout
    assert "double: 3/3 done" in done.stderr
    assert "no task named" in failed.reflow("retry", "r", "--task", "x", code=2).stderr


def test_cancel_many_looks_all_up_first(shell: Shell) -> None:
    ids = [
        shell.demo(
            "submit", "--run-dir", run_dir, "-n", "1", "--double-pause", "60"
        ).stdout.strip()
        for run_dir in "ab"
    ]
    assert "nope" in shell.reflow("cancel", *ids, "nope", "--yes", code=2).stderr
    assert "give --yes" in shell.reflow("cancel", *ids, code=2).stderr
    shell.reflow("status", "a", "--exit-code", code=3)
    out = shell.reflow("cancel", ids[0], ids[1], ids[1], "--yes").stdout
    assert out.splitlines() == [f"{job_id} CANCELLED" for job_id in ids]


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_only_ends_the_waiting(shell: Shell) -> None:
    process = subprocess.Popen(
        [sys.executable, str(shell.script), "submit", "--run-dir", "r", "-n", "1",
         "--double-pause", "60", "--wait"],
        env=shell.environment, cwd=shell.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    run_id = process.stdout.readline().strip()
    assert process.stderr.readline().startswith("make: ")  # it waits
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert f"reflow status {run_id}" in errors
    shell.reflow("status", run_id, "--exit-code", code=3)
    shell.reflow("cancel", run_id, "--yes")


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_cancels_a_run_of_this_process(shell: Shell) -> None:
    process = subprocess.Popen(
        [sys.executable, "-u", str(shell.script), "run", "--run-dir", "r", "-n", "1",
         "--double-pause", "60"],
        env=shell.environment, cwd=shell.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        encoding="utf-8",
    )  # fmt: skip
    assert process.stdout is not None
    while not process.stdout.readline().startswith("doubling"):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "interrupted\n")
    assert "CANCELLED" in shell.reflow("status", "r").stdout


def test_logs_of_the_local_executor_are_the_drivers(failed: Shell) -> None:
    everything = failed.reflow("logs", "r").stdout
    assert "==> driver-1.log <==" in everything
    assert "making 3 h\u00e9" in everything
    assert "==> double[1] failed <==" in everything
    assert "ValueError: bad item 1 \u00e9" in everything
    done = failed.reflow("logs", "--last", "double[1]")
    assert "not kept on its own" in done.stderr
    assert "raise ValueError" in done.stdout
    assert "raise ValueError" not in failed.reflow("logs", "r", "double[0]").stdout
    driver = failed.demo("logs", "--last", "--driver").stdout
    assert "==>" not in driver
    assert "doubling 2" in driver
    assert failed.reflow("logs", "r", "--driver", "--tail", "0").stdout == ""
    last = failed.reflow("logs", "r", "--driver", "--tail", "1").stdout
    assert last == driver.splitlines(keepends=True)[-1]
    assert "driver-1.log" in failed.reflow("logs", "r", "--list").stdout
    for place, message in (
        ("dubble", "did you mean 'double'"),
        ("double[7]", "elements: 0 to 2"),
        ("make[0]", "is not an array"),
        ("double[x]", "neither TASK nor TASK[INDEX]"),
    ):
        assert message in failed.reflow("logs", "r", place, code=2).stderr


def test_a_run_of_a_terminal_keeps_no_logs(shell: Shell) -> None:
    shell.demo("run", "--run-dir", "r", "-n", "2", "--double-bad", "1", code=1)
    done = shell.reflow("logs", "r")
    assert "its output is not kept" in done.stderr
    assert "bad item 1" in done.stdout


def test_jobs_of_a_scheduler_have_a_log_each(failed: Shell) -> None:
    record = failed.record()
    lease, _ = take_lease(
        record.files, Clock(), JournalReader(record.files, record.segments), this_process()
    )
    lease.append(Intent("j.1.w", "worker", "double", (2, 0), (1, 2), 0.0))
    lease.append(Intent("j.2.w", "worker", "total", (0,), (1,), 0.0))
    lease.append(Intent("j.3.g", "guard", "", (), (), 0.0))
    lease.sync()
    lease.release()
    for name in ("j.1.w.0", "j.1.w.1", "j.2.w.0", "j.3.g.0"):
        Path(record.logs, f"{name}.log").write_bytes(f"of {name}\xff\n".encode("latin-1"))
    own = subprocess.run(
        [*REFLOW, "logs", "r", "double[0]"], env=failed.environment, cwd=failed.folder,
        capture_output=True, check=True,
    )  # fmt: skip
    assert own.stdout == b"of j.1.w.1\xff\n"
    listed = failed.reflow("logs", "r", "--list").stdout
    assert re.search(r"double\[2\] +1 +\S+/j\.1\.w\.0\.log", listed)
    assert re.search(r"double\[0\] +2 +\S+/j\.1\.w\.1\.log", listed)
    assert re.search(r"total +1 +\S+/j\.2\.w\.0\.log", listed)
    assert re.search(r"- +- +\S+/j\.3\.g\.0\.log", listed)


def test_follow_goes_on_until_the_run_has_ended(shell: Shell) -> None:
    shell.demo("submit", "--run-dir", "r", "-n", "2", "--double-pause", "0.5")
    out = shell.reflow("logs", "r", "-f", "--driver").stdout
    assert [line for line in out.splitlines() if line.startswith("doubling")] != []
    shell.reflow("status", "r", "--exit-code")
    assert sorted(out.splitlines())[:2] == ["doubling 0", "doubling 1"]


def test_profiles_choose_the_store(shell: Shell) -> None:
    (shell.folder / "config/reflow").mkdir(parents=True)
    (shell.folder / "config/reflow/config.toml").write_text(
        f'[profile.far.store]\npath = "{shell.folder}/far.sqlite"\n'
    )
    shell.demo("run", "--run-dir", "r", "-n", "1", "--profile", "far")
    assert (shell.folder / "far.sqlite").exists()
    assert "No runs." in shell.reflow("runs").stderr
    assert "demo-" in shell.reflow("runs", "--profile", "far").stdout
    done = shell.demo("submit", "--run-dir", "x", "-n", "1", "--profile", "fra", code=2)
    assert done.stderr.startswith("error: no profile named 'fra'")


def test_colours_are_for_terminals(failed: Shell) -> None:
    for words in (["status", "r"], ["runs"]):
        assert "\x1b[31mFAILED" in in_terminal(failed, [*REFLOW, *words])
        assert "\x1b" not in in_terminal(failed, [*REFLOW, *words], NO_COLOR="1")
        assert "\x1b" not in in_terminal(failed, [*REFLOW, *words], TERM="dumb")
        assert "\x1b" not in failed.reflow(*words).stdout
    assert "\x1b" not in in_terminal(failed, [*REFLOW, "status", "r", "--json"])


@pytest.mark.parametrize("setting", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}])
def test_any_encoding_will_do(failed: Shell, setting: dict[str, str]) -> None:
    assert "bad item 1" in failed.reflow("status", "r", "--errors", **setting).stdout
    failed.reflow("logs", "r", **setting)


def test_closed_pipe_is_no_error(failed: Shell) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [*REFLOW, "runs"], env=failed.environment, stdout=theirs, stderr=subprocess.PIPE,
        cwd=failed.folder, check=False,
    )  # fmt: skip
    os.close(theirs)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    "words",
    [
        ["runs"],
        ["runs", "--json"],
        *([command, "x"] for command in ("status", "cancel", "retry", "logs", "dag", "describe")),
    ],
)
def test_a_broken_store_is_an_error(shell: Shell, words: list[str]) -> None:
    (shell.folder / "state/reflow").mkdir(parents=True)
    (shell.folder / "state/reflow/reflow.sqlite").write_text("this is no database")
    for ask in (shell.demo, shell.reflow):
        done = ask(*words, code=2)
        assert done.stderr.startswith("error: store ")
        assert done.stdout == ""
    shell.reflow("--help")
    # A shell that asks for run ids gets none, and no noise.
    assert completed(shell, "status", "") == []


def test_a_damaged_record_is_an_error(failed: Shell) -> None:
    Path(failed.record().folder, "run.json").write_text("{")
    for command in ("status", "retry", "logs", "dag", "describe", "cancel"):
        assert failed.reflow(command, "r", code=2).stderr.startswith("error: ")


def test_a_record_that_may_not_be_read_is_an_error(failed: Shell) -> None:
    log = Path(failed.record().logs, "driver-1.log")
    log.unlink()
    log.symlink_to("/proc/1/mem" if os.geteuid() == 0 else "/proc/1/environ")
    assert failed.reflow("logs", "r", "--driver", code=2).stderr.startswith("error: ")


def test_a_workflow_without_tasks_is_an_error_for_every_command(shell: Shell) -> None:
    shell.script.write_text("from reflow import Workflow\nWorkflow('empty').cli()\n")
    for words in (["--help"], ["run", "--help"], ["runs"]):
        assert "has no tasks" in shell.demo(*words, code=2).stderr


def test_unexpected_error_keeps_its_traceback(shell: Shell) -> None:
    code = (
        "from reflow.cli import commands\n"
        "group = commands.reflow_command()\n"
        "def callback(**_): raise RuntimeError('a defect')\n"
        "group.commands['runs'].callback = callback\n"
        "group.main(['runs'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=shell.environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert "RuntimeError: a defect" in done.stderr
    assert "Traceback" in done.stderr


def completed(shell: Shell, *words: str, program: str = "reflow") -> list[str]:
    """Return the completions that bash gets for the last word."""
    variable = f"_{program.replace('.', '_')}_COMPLETE".upper()
    command = REFLOW if program == "reflow" else [sys.executable, str(shell.script)]
    done = shell.call(
        command,
        **{
            variable: "bash_complete",
            "COMP_WORDS": " ".join([program, *words]),
            "COMP_CWORD": str(len(words)),
        },
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_shells_complete(failed: Shell) -> None:
    run_id = json.loads(failed.reflow("runs", "--json").stdout)[0]["run_id"]
    assert completed(failed, "can") == ["cancel"]
    assert "--errors" in completed(failed, "status", "--e")
    assert completed(failed, "status", "demo") == [run_id]
    assert completed(failed, "cancel", "demo") == [run_id]
    assert completed(failed, "dag", "--format", "m") == ["mermaid"]
    assert completed(failed, "retry", run_id, "--task", "") == ["make", "double", "total"]
    assert completed(failed, "logs", run_id, "to") == ["total"]
    script = "demo.py"
    assert completed(failed, "submit", "--mode", "", program=script) == ["fast", "slow"]
    assert completed(failed, "submit", "--force-task", "d", program=script) == ["double"]
    assert "local" in completed(failed, "submit", "--executor", "", program=script)
    assert completed(failed, "status", "demo", program=script) == [run_id]


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: Shell, name: str) -> None:
    assert "_REFLOW_COMPLETE=" in shell.reflow("completion", name).stdout
    assert "_DEMO_PY_COMPLETE=" in shell.demo("completion", name).stdout


def test_bash_takes_the_script(shell: Shell) -> None:
    text = shell.reflow("completion", "bash").stdout
    done = subprocess.run(
        ["bash", "-c", text + "\ncomplete -p reflow"], capture_output=True, text=True, check=True
    )
    assert "_reflow_completion" in done.stdout


def test_an_ended_run_is_not_waited_for(failed: Shell) -> None:
    assert "making 3" in failed.reflow("logs", "r", "-f").stdout
