"""Running a scheduler's commands: time limits, retries, environment, odd output."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import ClassVar

import pytest
from attrs import frozen

from reflow.errors import ExecutorError, SchedulerUnreachableError
from reflow.executors import command
from reflow.executors.base import Capabilities, JobRequest, JobStatus
from reflow.executors.command import CommandExecutor, Completed

Program = Callable[[str], str]


@frozen(kw_only=True)
class Driven(CommandExecutor):
    name: ClassVar[str] = "driven"
    scrubbed: ClassVar[tuple[str, ...]] = ("OUTER_",)
    kept: ClassVar[tuple[str, ...]] = ("OUTER_CONF",)
    fixed: ClassVar = {"WIDTH": "0"}

    sub: str = command.command("sub", "submits")
    history: str = command.command("history", "tells", needed=False)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    def unreachable(self, done: Completed) -> bool:
        return "DOWN" in done.err

    def submit(self, request: JobRequest) -> str:
        return self.call([self.sub]).out

    def poll(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
        return {}

    def find(self, tags: Collection[str]) -> Mapping[str, str]:
        return {}

    def cancel(self, jobs: Collection[str]) -> None:
        pass


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_PAUSES", (0.0, 0.0))


@pytest.fixture
def program(tmp_path: Path) -> Program:
    def make(body: str) -> str:
        path = tmp_path / "sub"
        path.write_text(f'#!/bin/sh\necho x >> "$0.calls"\n{body}\n')
        path.chmod(0o755)
        return str(path)

    return make


def times_called(path: str) -> int:
    return len(Path(f"{path}.calls").read_text().split())


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_how_a_command_ended(program: Program) -> None:
    done = Driven().call([program('printf "%s|" "$@"; echo bad >&2; exit 3'), "a b", "$HOME", "*"])
    assert (done.code, done.out, done.err) == (3, "a b|$HOME|*|", "bad\n")
    assert done.message == done.told == "bad"


@pytest.mark.usefixtures("limit_from_first_word")
def test_a_time_limit_kills_all_that_the_command_started(program: Program, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    path = program(f'echo $$ > {pids}; sleep 300 & echo $! >> {pids}; echo half; wait')
    with pytest.raises(SchedulerUnreachableError, match=r"no answer within 0\.5 s .*half"):
        Driven(command_timeout=0.5).call([path])
    started = [int(word) for word in pids.read_text().split()]
    assert len(started) == 2
    deadline = time.monotonic() + 30
    while any(map(alive, started)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(alive, started))


def test_an_interrupt_kills_the_command_too(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes: list[subprocess.Popen[bytes]] = []

    def interrupted(self: subprocess.Popen[bytes], **_: object) -> tuple[bytes, bytes]:
        processes.append(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Driven().call([program("exec sleep 300")])
    assert processes[0].returncode == -9


def test_only_queries_are_repeated(program: Program) -> None:
    path = program("echo DOWN >&2; exit 1")
    with pytest.raises(SchedulerUnreachableError, match="sub: DOWN"):
        Driven().call([path])
    assert times_called(path) == 1
    with pytest.raises(SchedulerUnreachableError):
        Driven().call([path], asks=True)
    assert times_called(path) == 1 + 3


def test_a_transient_failure_passes(program: Program) -> None:
    path = program('[ $(wc -l < "$0.calls") -ge 3 ] || { echo DOWN >&2; exit 1; }; echo up')
    assert Driven().call([path], asks=True).out == "up\n"
    assert times_called(path) == 3


def test_calls_are_counted_by_command(program: Program) -> None:
    path = program("exit 0")
    before = command.calls["sub"]
    Driven().call([path])
    Driven().call([path], asks=True)
    assert command.calls["sub"] - before == 2


def test_the_environment(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OUTER_ID", "OUTER_CONF", "WIDTH", "LC_ALL", "MINE"):
        monkeypatch.setenv(name, "given")
    lines = Driven().call([program("env")]).out.splitlines()
    environment = dict(line.split("=", 1) for line in lines if "=" in line)
    expected = {"OUTER_CONF": "given", "WIDTH": "0", "LC_ALL": "C", "MINE": "given"}
    assert {name: environment.get(name) for name in expected} == expected
    assert "OUTER_ID" not in environment
    assert os.environ["OUTER_ID"] == "given"


def test_nothing_is_read_from_our_own_input(program: Program) -> None:
    assert Driven(command_timeout=30).call([program("cat")]).out == ""


def test_megabytes_on_both_sides(program: Program) -> None:
    zeros = "head -c 3000000 /dev/zero | tr '\\0'"
    path = program(f"{zeros} a; {zeros} b >&2")
    done = Driven().call([path])
    assert (len(done.out), len(done.err)) == (3_000_000, 3_000_000)


def test_output_that_is_no_utf8(program: Program) -> None:
    assert Driven().call([program("printf 'caf\\351 12\\n'")]).out == "caf\ufffd 12\n"


def test_a_command_that_cannot_be_executed(program: Program) -> None:
    path = program("exit 0")
    Path(path).chmod(0o644)
    with pytest.raises(ExecutorError, match=r"Permission denied.*\[executor\.driven\]") as caught:
        Driven().call([path], asks=True)
    assert not isinstance(caught.value, SchedulerUnreachableError)
    with pytest.raises(ExecutorError, match="there is no command"):
        Driven(sub=path).check()


def test_a_command_that_is_no_program(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "odd"
    path.write_bytes(b"\0\0")
    path.chmod(0o755)
    with pytest.raises(ExecutorError, match="Exec format error"):
        Driven().call([str(path)])


def test_command_that_vanishes_after_it_was_located(program: Program) -> None:
    path = program("exit 0")
    executor = Driven(sub=path).located()
    executor.check()
    Path(path).unlink()
    with pytest.raises(ExecutorError, match="No such file"):
        executor.submit(JobRequest(tag="t", name="n", script="s", directory="/", log="l"))


def test_arguments_that_no_command_can_take(program: Program) -> None:
    path = program("exit 0")
    with pytest.raises(ExecutorError, match="cannot run"):
        Driven().call([path, "a\0b"])
    with pytest.raises(ExecutorError, match="Argument list too long"):
        Driven().call([path, "a" * 200_000])


def test_a_machine_that_is_full_for_a_moment(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real, refused = program("echo up"), subprocess.Popen, []

    def full(*arguments: object, **options: object) -> object:
        if len(refused) < 2:
            refused.append(1)
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return real(*arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", full)
    assert Driven().call([path], asks=True).out == "up\n"
    refused.clear()
    with pytest.raises(SchedulerUnreachableError, match="cannot be started now"):
        Driven().call([path])


def test_located_replaces_names_of_commands_by_paths(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = program("exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))
    executor = Driven().located()
    assert (executor.sub, executor.history) == (path, "history")
    monkeypatch.chdir(tmp_path)
    assert Driven(sub="./sub").located().sub == path
    assert executor.located() == executor


def test_check(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExecutorError, match=r"no command 'sub' on PATH.*set sub in \[executor"):
        Driven().check()
    program("exit 0")
    Driven().check()


def test_backend_must_be_able_to_poll_and_cancel() -> None:
    @frozen(kw_only=True)
    class Mute(CommandExecutor):
        name: ClassVar[str] = "mute"

        @property
        def capabilities(self) -> Capabilities:
            return Capabilities()

    with pytest.raises(TypeError, match=r"cancel.*find.*poll"):
        Mute()  # type: ignore[abstract]


@pytest.mark.parametrize(
    ("body", "problem"),
    [("exit 0", ""), ("echo 1: gone >&2; exit 1", ""), ("echo 1: gone; exit 1", "1: gone"),
     ("echo 1: gone >&2; echo 2: odd >&2; exit 1", "1: gone; 2: odd"), ("exit 3", "exit code 3")],
)  # fmt: skip
def test_harmless_failures_are_ignored(program: Program, body: str, problem: str) -> None:
    arguments, harmless = [program(body)], re.compile("gone")
    if not problem:
        Driven().settle(arguments, harmless)
        return
    with pytest.raises(ExecutorError, match=f"^sub: {problem}$"):
        Driven().settle(arguments, harmless)


def test_harmless_message_may_be_in_the_output(program: Program) -> None:
    path = program("echo 1: gone; exit 1")
    Driven().settle([path], re.compile("gone"), out=True)


def test_missing_setting_is_learned_from_the_command(program: Program) -> None:
    path = program("echo small")
    read = {"queue": lambda done: done.out.strip(), "account": lambda done: "never"}
    executor = Driven(account="mine").learned([path], **read)
    assert (executor.queue, executor.account) == ("small", "mine")
    assert executor.learned([path], **read) is executor
    assert times_called(path) == 1


def test_setting_stays_open_if_the_command_fails(program: Program) -> None:
    path = program("echo DOWN >&2; exit 1")
    assert Driven().learned([path], queue=lambda done: "x").queue is None
