"""The contract of executors."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
from attrs import evolve

from ..errors import (
    ExecutorError,
    SchedulerUnreachableError,
    SubmissionForbiddenError,
    SubmissionLimitError,
    SubmissionRefusedError,
)
from ..executors.base import ENDED, LIVE, Executor, JobRequest, JobStatus
from ..executors.command import CommandExecutor
from ..executors.command import calls as called
from ..model.spec import Resources
from ..states import CANCELLED, CAUSES, ERROR, TIMEOUT
from ..values.codec import structure, unstructure
from .jobs import Job, Jobs, in_environment, most_at_once, new_tag
from .processes import reference, run_fresh
from .registration import not_promised

ODD = {
    "spaces": "two  words",
    "quotes": "it's \"so\"",
    "percent": "100% %j %A_%a %",
    "braces": "{0} {x} {",
    "dollar": "$HOME $(id) `id`",
    "unicode": "grün 数 ☃",
    "shell": "a;b&c|d>e!(f)",
    "glob": "*?[1]~",
    "comma": "a,b=c",
    "colon": "a:b@c",
    "hash": "#x",
    "caret": "^array_index^",
    "dash": "-x",
    "newline": "a\nb",
    "tab": "a\tb",
    "backslash": "a\\b",
    "long": "x" * 200,
}
"""Texts that something between here and a job may take for more than text."""

_RENDERED = """
from reflow.values.codec import structure
from reflow.executors.base import JobRequest
from reflow.testing.processes import referenced
where, settings, request, suite = arguments
executor = structure(settings, referenced(where))
print(json.dumps(referenced(suite)().rendered(executor, structure(request, JobRequest))))
"""


class ExecutorContract:
    """What every executor must do. Derive a class named ``Test…`` and set:

    * `entry`, the registered name, or `executor`, the class; or both.
    * `unknown_job`, a method that returns ids as the scheduler makes them, of no job.
    * `settings`, with which the executor reaches the scheduler of the test, where its
      defaults do not; `samples`, other settings that users may write in their configuration.
    * `scheduler`, a fixture, where a scheduler must be started first and stopped after.
      It may set `self.settings`, and put commands on PATH by `monkeypatch`.
    * `refused`, what of a request the scheduler refuses, and `refusal`, a pattern of its words.
    * `native`, options of the scheduler that a task may give; `own`, one that it may not,
      because the executor sets it itself.

    Jobs run shell scripts in `folder`, a fixture: override it where jobs cannot reach
    pytest's `tmp_path`. `do` calls the executor: override it where that must happen in
    another process, such as one of another user.

    Faults are hooks to override: `break_down` and `repair`, `forget`, `beyond_limit`, `forbid`,
    `replaced`. A case whose fault, capability (of `Executor.capabilities`) or flag below is
    not there is reported as skipped, "not promised: …".
    """

    entry: ClassVar[str] = ""
    executor: ClassVar[type[Executor] | None] = None
    settings: Mapping[str, object] = {}
    samples: ClassVar[Sequence[Mapping[str, object]]] = ()
    refused: ClassVar[Mapping[str, Any] | None] = {
        "resources": Resources(queue="no-such-queue")
    }
    refusal: ClassVar[str] = ""
    native: ClassVar[Mapping[str, str]] = {}
    own: ClassVar[Mapping[str, str]] = {}
    outer: ClassVar[Mapping[str, str]] = {}
    """Variables of a job, or of a user's shell, that must not change what is submitted."""

    patience: ClassVar[float] = 60.0
    """Seconds in which the scheduler has done what a case waits for, on the slowest machine."""
    speed: ClassVar[float] = 1.0
    """How much faster than ours the scheduler's clock is, as that of a simulated one."""
    delay: ClassVar[float] = 2.0
    """Seconds by which jobs are put off, of the scheduler's clock."""
    time_limit: ClassVar[int | None] = 60
    """A time limit in seconds that is worth waiting for; None where there are none."""
    slots: ClassVar[int] = 16
    """How many jobs the scheduler runs at once, at least: 4 or more."""
    many: ClassVar[int] = 1000
    """Positions of a large array."""
    most_calls: ClassVar[int] = 8
    """Calls of the scheduler's commands with which it asks for, or cancels, 500 jobs."""

    tells: ClassVar[Collection[str]] = (
        "exit_code", "signal", "timeout", "cancelled", "positions"
    )  # fmt: skip
    """What the scheduler tells of how a job ended. Without "exit_code" it does not even tell
    whether it ended well, and the engine has only the record to go by."""
    remembers: ClassVar[bool] = True
    """The scheduler tells of jobs for some time after they have ended."""
    finds: ClassVar[bool] = True
    """Jobs are found by their tags."""
    starts_in_directory: ClassVar[bool] = True
    """Jobs start in the request's directory; else their scripts, as reflow writes them, go."""
    refused_paths: ClassVar[Collection[str]] = ()
    """Names in `ODD` of what may not be in a path: such a request is refused."""

    # What to override

    def unknown_job(self, number: int) -> str:
        """Return an id of the right form that no job has; another one for each number."""
        raise NotImplementedError("define `unknown_job`, see ExecutorContract")

    @pytest.fixture
    def scheduler(self) -> Any:
        """Start the scheduler, and stop it: by default it is there."""
        return None

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """A folder that jobs can reach and write."""
        made = tmp_path / "jobs"
        made.mkdir()
        return made

    def do(self, function: Callable[..., Any], *arguments: object) -> Any:
        """Call a function with arguments where the executor may be used."""
        return function(*arguments)

    def calls(self) -> int | None:
        """Return how often the scheduler was called so far; None where that is not counted."""
        count: int | None = self.do(_called)
        return count if issubclass(self.cls, CommandExecutor) else None

    def rendered(self, executor: Executor, request: JobRequest) -> object:
        """Return what would be handed to the scheduler, JSON-able; None where nothing shows it."""
        if isinstance(executor, CommandExecutor):
            return executor.arguments(evolve(request, resources=executor.resources_of(request)))
        return None

    def replaced(self, executor: Executor, folder: Path, body: str) -> Executor:
        """Return an executor whose scheduler does what shell code says.

        In it, ``"$real" "$@"`` is what a command really does.
        """
        if not isinstance(executor, CommandExecutor):
            not_promised("its scheduler does something else (override `replaced`)")
        scripts = {}
        for name in _commands(executor):
            program = getattr(executor, name)
            real = shutil.which(program) or program
            script = folder / f"replaced-{new_tag()}-{name}"
            script.write_text(f"#!/bin/sh\nreal={shlex.quote(real)}\n{body}\n")
            script.chmod(0o755)
            scripts[name] = str(script)
        made: Executor = changed(executor, **scripts)
        return made

    def break_down(self) -> None:
        """Have the scheduler answer nobody, until `repair`; jobs run on."""
        not_promised("the scheduler is down (override `break_down` and `repair`)")

    def repair(self) -> None:
        """Have the scheduler answer again."""

    def forget(self, job: str) -> None:
        """Have the scheduler lose a job without a trace."""
        not_promised("the scheduler loses jobs (override `forget`)")

    def beyond_limit(self) -> Mapping[str, Any]:
        """Return what of a request is too much now, by a limit of the site on jobs in the queue."""
        not_promised("the site has limits (override `beyond_limit`)")

    def forbid(self) -> None:
        """Have this machine be one that jobs may not be submitted from."""
        not_promised("some machines may not submit (override `forbid`)")

    # What it consists of

    @cached_property
    def cls(self) -> type[Executor]:
        """The class under test."""
        if self.executor is not None:
            return self.executor
        from ..plugins.lookup import executor_class

        assert self.entry, "set `entry` to the registered name, or `executor` to the class"
        return executor_class(self.entry)

    @pytest.fixture
    def new(self, scheduler: object, monkeypatch: pytest.MonkeyPatch) -> Executor:
        """The executor as a user's configuration makes it."""
        # What is asked again waits in between; nothing here gets better by waiting.
        monkeypatch.setattr("reflow.executors.command._PAUSES", (0.0, 0.0))
        return self.cls(**self.settings)

    @pytest.fixture
    def made(self, new: Executor) -> Executor:
        """The executor as it is used in a run."""
        located: Executor = self.do(new.located)
        return located

    @pytest.fixture
    def jobs(self, made: Executor, folder: Path) -> Iterator[Jobs]:
        """Jobs of one case; they are cancelled at its end."""
        jobs = Jobs(folder, made, self.do, self.patience)
        yield jobs
        jobs.clean()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run cases once for each odd text, and for each sample of settings."""
        if "odd" in metafunc.fixturenames:
            metafunc.parametrize("odd", list(ODD))
        if "sample" in metafunc.fixturenames:
            samples = [{}, *_samples(self.cls), *self.samples]
            metafunc.parametrize("sample", samples, ids=list(map(str, range(len(samples)))))

    def _arrays(self, made: Executor, size: int = 2) -> None:
        """Report where there are no arrays of that size."""
        if not made.capabilities.array_variable:
            not_promised("job arrays (`array_variable`)")
        most = made.capabilities.max_array_size
        if most is not None and most < size:
            not_promised(f"arrays of {size} (`max_array_size` is {most})")

    def _told(self, what: str) -> None:
        """Report where the scheduler does not tell something of a job's end."""
        if what not in self.tells:
            not_promised(f"{what} (`tells`)")

    def _counted(self) -> int:
        number = self.calls()
        if number is None:
            not_promised("calls are counted (override `calls`)")
        return number

    # What it is

    def test_it_is_a_frozen_attrs_class_with_a_name(self, new: Executor) -> None:
        assert isinstance(new, Executor)
        cls: Any = self.cls
        assert attrs.has(self.cls), "make it an attrs class: `@frozen(kw_only=True)`"
        assert isinstance(cls.name, str)
        assert cls.name
        assert new == cls(**self.settings), "equal settings make equal executors"
        for attribute in attrs.fields(cls):
            with pytest.raises(attrs.exceptions.FrozenInstanceError):
                setattr(new, attribute.name, None)

    def test_the_name_leads_to_the_class(self) -> None:
        from ..plugins.lookup import executor_class

        if not self.entry:
            not_promised("no `entry`, so no registered name")
        assert executor_class(self.entry) is self.cls
        assert executor_class(self.cls.name) is self.cls, "its `name` is not the registered one"

    def test_settings_survive_on_record(self, sample: Mapping[str, object]) -> None:
        from ..plugins.lookup import executor_from_reference, executor_reference

        executor = self.cls(**sample)
        text = json.dumps(unstructure(executor))
        assert structure(json.loads(text), self.cls) == executor
        if self.entry:
            name, settings = executor_reference(executor)
            again = executor_from_reference(name, json.loads(json.dumps(settings)))
            assert again == executor
            assert type(again) is self.cls

    def test_settings_come_from_the_configuration(
        self, sample: Mapping[str, object], tmp_path: Path
    ) -> None:
        from ..config import load_config
        from ..plugins.lookup import executor_from

        if not self.entry:
            not_promised("no `entry`, so no registered name")
        lines = [f"{key} = {_toml(value)}" for key, value in sample.items()]
        path = tmp_path / "config.toml"
        path.write_text("\n".join([f"[executor.{self.entry}]", *lines, ""]))
        assert executor_from(self.entry, load_config(path, profile="")) == self.cls(**sample)

    def test_capabilities_fit_together(self, made: Executor) -> None:
        can = made.capabilities
        assert can == made.capabilities
        assert can.first_index >= 0
        assert can.min_poll_interval >= 0
        for most in (can.max_array_size, can.max_dependencies):
            assert most is None or most >= 1
        if not can.array_variable:
            assert (can.throttle, can.elementwise) == (False, False), "there are no arrays"
        for variable in (can.array_variable, can.job_variable):
            assert not variable or variable.isidentifier(), f"{variable!r} cannot be a variable"

    def test_what_it_adds_to_jobs_fits(self, new: Executor) -> None:
        assert not new.runs_nothing, "for what only shows what would run there are no jobs to test"
        assert isinstance(new.prologue, str)
        for name, value in new.environment.items():
            assert name.isidentifier(), f"environment: {name!r} cannot be a variable"
            assert isinstance(value, str), f"environment: {name} is {value!r}, not a text"
        assert isinstance(new.workers, int)
        assert new.workers >= 1

    def test_located_it_stays_what_it_is(self, new: Executor) -> None:
        located = self.do(new.located)
        assert type(located) is type(new)
        assert self.do(located.located) == located, "located twice it is another executor"
        assert structure(json.loads(json.dumps(unstructure(located))), self.cls) == located

    def test_it_can_be_used_here(self, new: Executor) -> None:
        self.do(new.check)

    def test_a_command_that_is_missing_is_named(self, new: Executor) -> None:
        if not isinstance(new, CommandExecutor):
            not_promised("commands")
        for name in _commands(new, needed=True):
            with pytest.raises(ExecutorError, match="no-such-command"):
                self.do(changed(new, **{name: "no-such-command"}).check)

    def test_located_it_needs_no_path(self, new: Executor, made: Executor, folder: Path) -> None:
        if not isinstance(made, CommandExecutor):
            not_promised("commands")
        for name in _commands(new, needed=True):
            assert os.path.isabs(getattr(made, name)), f"{name} is {getattr(made, name)!r}"
        assert self.do(made.located) == made
        jobs = Jobs(folder, made, self.do, self.patience)
        elsewhere = {"PATH": str(folder)}
        try:
            job = jobs.hand_in(jobs.request("exit 0"), variables=elsewhere)
            self.do(in_environment, elsewhere, made.poll, [job.id])
            self.do(in_environment, elsewhere, made.find, [job.request.tag])
            self.do(in_environment, elsewhere, made.cancel, [job.id])
        finally:
            jobs.clean()

    def test_rendering_is_deterministic(self, made: Executor) -> None:
        request = JobRequest(
            tag="t-1.1.w", name="t-1.task", script="/r/1.sh", directory="/r", log="/r/1.log",
            resources=Resources(cpus=2, time=600, mem=2**30, native=dict(self.native)),
        )  # fmt: skip
        once = json.loads(json.dumps(self.rendered(made, request)))
        if once is None:
            not_promised("what is submitted shows (override `rendered`)")
        where, suite = reference(type(made)), reference(type(self))
        arguments = (where, unstructure(made), unstructure(request), suite)
        for seed in ("1", "2"):
            text = in_environment({"PYTHONHASHSEED": seed}, run_fresh, _RENDERED, *arguments)
            assert json.loads(text) == once

    # A job

    def test_a_job_runs_to_its_end(self, jobs: Jobs) -> None:
        job = jobs.submit('echo to stdout; echo to stderr >&2; note ran "$position"')
        assert job.id == job.id.strip()
        assert len(job.id.splitlines()) == 1
        jobs.until_lines("ran")
        if self.remembers:
            status = jobs.ended(job)
            assert (status.cause, status.signal or 0, status.exit_code or 0) == ("", 0, 0)
            assert not status.running
            assert dict(status.positions) == {}, "a job of size 1 is not an array"
        else:
            jobs.gone(job)
        jobs.until(job.log().exists, f"log {job.log()}")
        jobs.until(lambda: "stderr" in job.log().read_text(), "whole log")
        assert "to stdout" in job.log().read_text()
        assert jobs.lines("ran") == ["0"]

    def test_waiting_running_and_ended_are_told_apart(self, jobs: Jobs) -> None:
        job = jobs.submit("note ran x; await go")
        jobs.until_lines("ran")
        status = jobs.running(job)
        assert status.cause == ""
        behind = jobs.submit("note ran y", after=(job.id,))
        jobs.pass_by()
        waiting = jobs.poll(behind)[behind.id]
        assert (waiting.state, waiting.running, waiting.cause) == (LIVE, False, "")
        jobs.make("go")
        jobs.until_lines("ran", 2)
        jobs.gone(behind)
        if self.remembers:
            status = jobs.ended(job)
            if status.started is not None and status.ended is not None:
                assert status.started <= status.ended
            for moment in (status.started, status.ended):
                # Hours would be a time zone's.
                assert moment is None or abs(moment - time.time()) < 1800

    def test_a_job_has_what_its_script_needs(self, jobs: Jobs) -> None:
        """A shell, the usual commands, a home, and nothing to read."""
        job = jobs.submit(
            'cat > "$here/read"; note home "$HOME"\n'
            'uname -n | tr a-z A-Z > /dev/null && sleep 0 && note commands found'
        )
        jobs.until_lines("commands")
        jobs.gone(job)
        assert jobs.lines("read") == []
        assert os.path.isdir(jobs.lines("home")[0])

    def test_a_job_starts_in_its_directory(self, jobs: Jobs, folder: Path) -> None:
        if not self.starts_in_directory:
            not_promised("jobs start in their directory (`starts_in_directory`)")
        place = folder / "some where"
        place.mkdir()
        place.chmod(0o777)
        jobs.submit('note where "$(pwd -P)"', directory=str(place))
        assert jobs.until_lines("where") == [os.path.realpath(place)]

    def test_odd_paths_are_taken_as_they_are(self, jobs: Jobs, folder: Path, odd: str) -> None:
        """Of script, directory and log; or they are refused, and never are another path."""
        place = folder / ODD[odd]
        place.mkdir()
        place.chmod(0o777)
        body = 'pwd -P >> "$here/where"; echo "logged $position"'
        sizes = [1, 2] if jobs.executor.capabilities.array_variable else [1]
        if odd in self.refused_paths:
            for size in sizes:
                with pytest.raises(SubmissionRefusedError):
                    jobs.submit(body, folder=place, size=size)
            not_promised(f"{odd} in paths (`refused_paths`)")
        for size in sizes:
            job = jobs.submit(body, folder=place, size=size)
            for position in range(size):
                jobs.until_logged(job, f"logged {position}", position)
        if self.starts_in_directory:
            folders = (folder / "where").read_text()
            assert folders == f"{os.path.realpath(place)}\n" * sum(sizes)

    def test_odd_names_do_no_harm(self, jobs: Jobs, odd: str) -> None:
        job = jobs.submit("note ran x", name=f"run-1.{ODD[odd]}")
        jobs.until_lines("ran")
        jobs.gone(job)
        assert jobs.lines("ran") == ["x"]

    def test_odd_variables_of_the_shell_do_no_harm(self, jobs: Jobs) -> None:
        variables = {f"CONTRACT_{name.upper()}": text for name, text in ODD.items()}
        variables["BASH_FUNC_module%%"] = "() {  echo called\n}"
        job = jobs.hand_in(jobs.request("note ran x"), variables=variables)
        jobs.until_lines("ran")
        jobs.gone(job)

    def test_variables_of_an_outer_job_do_not_reach_another(self, jobs: Jobs) -> None:
        """A job submits jobs; what it is told of itself must not be told to them."""
        can = jobs.executor.capabilities
        names = [name for name in (can.array_variable, can.job_variable) if name]
        variables = {**dict.fromkeys(names, "77"), "REFLOW_JOB_TAG": "77", **self.outer}
        values = " ".join(f"${{{name}:-}}" for name in variables)
        job = jobs.hand_in(
            jobs.request(f'note values "{values}"; note ran "$position"'), variables=variables
        )
        jobs.until_lines("ran")
        jobs.gone(job)
        assert "77" not in jobs.lines("values")[0].split()
        assert jobs.lines("ran") == ["0"]

    def test_a_log_that_is_there_is_kept(self, jobs: Jobs) -> None:
        request = jobs.request("echo second")
        log = Job("", request).log()
        log.write_text("first\n")
        log.chmod(0o666)
        jobs.hand_in(request)
        jobs.until(lambda: "second" in log.read_text(), "log")
        assert log.read_text().splitlines()[0] == "first"

    # Arrays

    def test_each_position_of_an_array_is_told_which(self, jobs: Jobs) -> None:
        self._arrays(jobs.executor)
        variable = jobs.executor.capabilities.job_variable
        body = f'echo "log of $position"; note ran "$position ${{{variable or "x"}:-}}"'
        job = jobs.submit(body, size=2)
        ran = [line.split() for line in jobs.until_lines("ran", 2)]
        assert sorted(words[0] for words in ran) == ["0", "1"]
        if variable:
            assert len({tuple(words[1:]) for words in ran}) == 2, f"{variable} is shared"
        for position in range(2):
            logged = jobs.until_logged(job, f"log of {position}", position)
            assert f"log of {1 - position}" not in logged
        jobs.gone(job)
        if "positions" in self.tells and self.remembers:
            status = jobs.until_status(
                job, lambda status: set(status.positions) == {0, 1}, "of two positions"
            )
            assert {position.state for position in status.positions.values()} == {ENDED}
            assert {position.cause for position in status.positions.values()} == {""}

    def test_an_array_of_many_runs_whole(self, jobs: Jobs) -> None:
        size = min(100, self.many, jobs.executor.capabilities.max_array_size or 100)
        self._arrays(jobs.executor, size)
        job = jobs.submit('note ran "$position"', size=size)
        ran = jobs.until_lines("ran", size)
        jobs.gone(job)
        assert sorted(map(int, ran)) == [*range(size)]

    def test_a_large_array_is_one_job(self, jobs: Jobs) -> None:
        """It is asked for and cancelled like any other, in the same number of calls."""
        size = min(self.many, jobs.executor.capabilities.max_array_size or self.many)
        self._arrays(jobs.executor, size)
        blocker = jobs.submit("await go")
        job = jobs.submit("note ran x", size=size, after=(blocker.id,))
        before = self.calls()
        status = jobs.poll(job)[job.id]
        assert (status.state, status.running, status.cause) == (LIVE, False, "")
        assert len(status.positions) in (0, size)
        jobs.cancel(job)
        if before is not None:
            assert self._counted() - before <= 2 * self.most_calls
        jobs.gone(job)
        jobs.make("go")
        jobs.gone(blocker)
        assert jobs.lines("ran") == []

    def test_an_array_above_the_limit_is_refused_or_whole(self, jobs: Jobs) -> None:
        most = jobs.executor.capabilities.max_array_size
        self._arrays(jobs.executor)
        if most is None:
            not_promised("a limit of arrays (`max_array_size`)")
        blocker = jobs.submit("await go")
        try:
            job = jobs.submit("true", size=most + 1, after=(blocker.id,))
        except (SubmissionRefusedError, SubmissionLimitError):
            return
        if "positions" not in self.tells:
            not_promised("positions (`tells`), and it was taken")
        status = jobs.poll(job)[job.id]
        assert len(status.positions) == most + 1, "some of it was left out without a word"

    def test_a_throttle_holds_positions_back(self, jobs: Jobs) -> None:
        if not jobs.executor.capabilities.throttle:
            not_promised("a throttle (`throttle`)")
        self._arrays(jobs.executor, 6)
        job = jobs.submit("note at +; sleep 0.3; note at -", size=6, throttle=2)
        lines = jobs.until_lines("at", 12)
        assert most_at_once(lines) <= 2
        jobs.gone(job)

    def test_positions_are_told_apart(self, jobs: Jobs) -> None:
        self._told("positions")
        self._arrays(jobs.executor, 4)
        body = 'note ran x; case $position in 0) await go;; 1) exit 0;; *) exit "$position";; esac'
        job = jobs.submit(body, size=4)
        jobs.until_lines("ran", 4)

        def all_ended(status: JobStatus) -> bool:
            over = [status.positions.get(at) for at in (1, 2, 3)]
            return all(position is not None and position.state == ENDED for position in over)

        if self.remembers:
            status = jobs.until_status(job, all_ended, "of three that have ended")
            assert status.state == LIVE
            assert status.positions[0].state == LIVE
            assert status.positions[0].running
            if "exit_code" in self.tells:
                causes = {at: position.cause for at, position in status.positions.items()}
                assert causes == {0: "", 1: "", 2: ERROR, 3: ERROR}
        jobs.make("go")
        jobs.gone(job)

    # What a job waits for

    def test_it_waits_for_one_that_runs(self, jobs: Jobs) -> None:
        parent = jobs.submit("note ran x; await go; note ended x")
        jobs.until_lines("ran")
        self._behind(jobs, parent, release="go")

    def test_it_waits_for_one_that_waits(self, jobs: Jobs) -> None:
        first = jobs.submit("await go")
        parent = jobs.submit("note ended x", after=(first.id,))
        self._behind(jobs, parent, release="go")

    def test_it_waits_for_all_of_several(self, jobs: Jobs) -> None:
        count = min(20, self.slots - 1, jobs.executor.capabilities.max_dependencies or 20)
        parents = [jobs.submit(f"await go{at}; note ended x") for at in range(count)]
        child = jobs.submit(
            'note child "$(grep -c x "$here/ended")"', after=tuple(parent.id for parent in parents)
        )
        last = count // 2  # neither the first nor the last in the list
        jobs.make(*(f"go{at}" for at in range(count) if at != last))
        jobs.until_lines("ended", count - 1)
        jobs.pass_by()
        assert jobs.poll(child)[child.id].state == LIVE
        jobs.make(f"go{last}")
        assert jobs.until_lines("child") == [str(count)]

    def test_it_waits_for_a_whole_array(self, jobs: Jobs) -> None:
        self._arrays(jobs.executor, 3)
        parent = jobs.submit(
            '[ "$position" = 1 ] && exit 1; [ "$position" = 2 ] && await go; note ended x', size=3
        )
        jobs.until_lines("ended")
        child = jobs.submit('note child "$(grep -c x "$here/ended")"', after=(parent.id,))
        jobs.pass_by()
        assert jobs.poll(child)[child.id].state == LIVE
        jobs.make("go")
        assert jobs.until_lines("child") == ["2"]
        jobs.gone(child)

    def test_an_array_waits(self, jobs: Jobs) -> None:
        self._arrays(jobs.executor)
        parent = jobs.submit("await go; note ended x")
        child = jobs.submit('note child "$(grep -c x "$here/ended")"', size=2, after=(parent.id,))
        jobs.pass_by()
        assert not jobs.poll(child)[child.id].running
        jobs.make("go")
        assert jobs.until_lines("child", 2) == ["1", "1"]

    def test_it_waits_for_one_that_fails(self, jobs: Jobs) -> None:
        parent = jobs.submit("await go; note ended x; exit 3")
        self._behind(jobs, parent, release="go")

    @pytest.mark.parametrize("how", ["exit 0", "exit 3", "kill -9 $$"])
    def test_behind_one_that_has_ended_it_runs(self, jobs: Jobs, how: str) -> None:
        parent = jobs.submit(f"note ended x; {how}")
        jobs.until_lines("ended")
        jobs.gone(parent)
        self._behind(jobs, parent)

    def test_behind_one_that_is_cancelled_it_runs(self, jobs: Jobs) -> None:
        parent = jobs.submit("note ran x; await never")
        jobs.until_lines("ran")
        child = jobs.submit("note child x", after=(parent.id,))
        jobs.cancel(parent)
        jobs.until_lines("child")
        late = jobs.submit("note late x", after=(parent.id,))
        jobs.until_lines("late")
        for job in (child, late):
            jobs.gone(job)

    def test_behind_one_that_is_cancelled_before_it_began_it_runs(self, jobs: Jobs) -> None:
        first = jobs.submit("await go")
        parent = jobs.submit("note parent x", after=(first.id,))
        jobs.submit("note child x", after=(parent.id,))
        jobs.cancel(parent)
        jobs.until_lines("child")
        assert jobs.lines("parent") == []

    def test_behind_one_that_nobody_knows_it_runs(self, jobs: Jobs) -> None:
        parent = jobs.submit("await go; note ended x")
        child = jobs.submit("note alone x", after=(self.unknown_job(1),))
        jobs.until_lines("alone")
        jobs.gone(child)
        both = jobs.submit(
            'note child "$(cat "$here/ended")"', after=(self.unknown_job(2), parent.id)
        )
        jobs.pass_by()
        assert jobs.poll(both)[both.id].state == LIVE
        jobs.make("go")
        assert jobs.until_lines("child") == ["x"]

    def test_behind_one_that_the_scheduler_has_lost_it_runs(self, jobs: Jobs) -> None:
        parent = jobs.submit("note ran x; await never")
        jobs.until_lines("ran")
        self.forget(parent.id)
        jobs.submit("note child x", after=(parent.id,))
        jobs.until_lines("child")

    def test_position_by_position(self, jobs: Jobs) -> None:
        if not jobs.executor.capabilities.elementwise:
            not_promised("dependencies position by position (`elementwise`)")
        self._arrays(jobs.executor, 3)
        parent = jobs.submit(
            'await "go$position"; note ended "$position"; [ "$position" != 2 ]', size=3
        )
        child = jobs.submit(
            'grep -qx "$position" "$here/ended" && note child "$position" || note early x',
            size=3, after_each=parent.id,
        )  # fmt: skip
        jobs.pass_by()
        jobs.make("go1")
        assert jobs.until_lines("child") == ["1"]
        assert jobs.lines("ended") == ["1"]
        jobs.make("go0", "go2")
        # Position 2 failed: ours runs, or is taken out of the queue; it does not wait for ever.
        jobs.gone(child)
        assert {"0", "1"} <= set(jobs.lines("child")) <= {"0", "1", "2"}
        assert jobs.lines("early") == []

    def test_it_does_not_start_before_its_time(self, jobs: Jobs) -> None:
        if not jobs.executor.capabilities.begin:
            not_promised("jobs begin later (`begin`)")
        delay = self.delay * self.speed
        begun = time.time()
        job = jobs.submit('note at "$(date +%s)"', begin=delay)
        status = jobs.poll(job)[job.id]
        assert (status.state, status.cause) == (LIVE, "")
        (at,) = jobs.until_lines("at")
        assert int(at) + 1 >= begun + delay / self.speed - 1  # of whole seconds, cut and rounded
        jobs.gone(job)

    def _behind(self, jobs: Jobs, parent: Job, release: str = "") -> None:
        """What waits for a job that writes "ended" at its end runs after it, and does run."""
        child = jobs.submit('note child "$(cat "$here/ended")"', after=(parent.id,))
        if release:
            jobs.pass_by()
            waiting = jobs.poll(child)[child.id]
            assert (waiting.state, waiting.running) == (LIVE, False)
            jobs.make(release)
        assert jobs.until_lines("child") == ["x"]
        jobs.gone(child)

    # Asking

    def test_asking_for_nothing_asks_nobody(self, jobs: Jobs) -> None:
        before = self.calls()
        assert dict(jobs.poll()) == {}
        assert dict(jobs.find()) == {}
        jobs.cancel()
        assert self.calls() == before

    def test_what_nobody_knows_is_absent(self, jobs: Jobs) -> None:
        assert dict(jobs.poll(self.unknown_job(1))) == {}
        assert dict(jobs.poll(self.unknown_job(1), self.unknown_job(2))) == {}

    @pytest.mark.parametrize("count", [1, 500])
    def test_many_are_asked_for_in_a_few_calls(self, jobs: Jobs, count: int) -> None:
        """What nobody knows, among them, says nothing of the rest."""
        living = jobs.submit("await go")
        existing = [living]
        if count > 1:
            over = jobs.submit("exit 0")
            jobs.gone(over)
            existing += [over, jobs.submit("true", after=(living.id,))]
        unknown = [self.unknown_job(number) for number in range(count - len(existing))]
        before = self._counted()
        statuses = jobs.poll(*unknown, *existing)
        assert self._counted() - before <= self.most_calls
        assert not set(statuses) & set(unknown)
        assert {job.id: statuses[job.id].state for job in existing if job.id in statuses} == {
            job.id: ENDED if number == 1 else LIVE
            for number, job in enumerate(existing)
            if number != 1 or job.id in statuses
        }
        if self.remembers and count > 1:
            jobs.until(lambda: over.id in jobs.poll(*unknown, over), "status of one that ended")

    def test_any_collection_of_ids_will_do(self, jobs: Jobs) -> None:
        job = jobs.submit("await go")
        for ids in ({job.id}, (job.id,), {job.id: 1}.keys(), frozenset({job.id})):
            collection = ids if not hasattr(ids, "mapping") else list(ids)
            assert set(self.do(jobs.executor.poll, collection)) == {job.id}
        self.do(jobs.executor.cancel, {job.id})
        jobs.gone(job)

    def test_jobs_are_found_by_their_tags(self, jobs: Jobs) -> None:
        if not self.finds:
            not_promised("jobs are found by their tags (`finds`)")
        living = jobs.submit("await go")
        # One is the beginning of the other.
        other = jobs.submit("await go", tag=f"{living.request.tag}x")
        expected = {living.request.tag: living.id}
        jobs.until(lambda: jobs.find(living.request.tag) == expected, f"job of tag {expected}")
        tags = [living.request.tag, other.request.tag, new_tag()]
        expected[other.request.tag] = other.id
        jobs.until(lambda: jobs.find(*tags) == expected, f"jobs of tags {expected}")
        if jobs.executor.capabilities.array_variable:
            array = jobs.submit("await go", size=2, after=(living.id,))
            all_three = {**expected, array.request.tag: array.id}
            jobs.until(lambda: jobs.find(*all_three, tags[-1]) == all_three, f"tags {all_three}")
        jobs.make("go")
        jobs.gone(living)
        if self.remembers:
            tag = living.request.tag
            jobs.until(lambda: jobs.find(tag) == {tag: living.id}, "job that has ended")

    def test_a_long_tag_is_found(self, jobs: Jobs) -> None:
        """A workflow's name may be long, and is the beginning of the tags."""
        if not self.finds:
            not_promised("jobs are found by their tags (`finds`)")
        tag = f"{'a_workflow-with.a_name' * 5}-{new_tag()}"
        job = jobs.submit("await go", tag=tag)
        jobs.until(lambda: jobs.find(tag) == {tag: job.id}, "job of the long tag")

    def test_many_tags_are_looked_for_in_a_few_calls(self, jobs: Jobs) -> None:
        if not self.finds:
            not_promised("jobs are found by their tags (`finds`)")
        before = self._counted()
        assert dict(jobs.find(*(new_tag() for _ in range(500)))) == {}
        assert self._counted() - before <= self.most_calls

    # How jobs end

    def test_an_exit_code_is_told(self, jobs: Jobs) -> None:
        self._remembered("exit_code")
        job = jobs.submit("exit 7")
        status = jobs.until_status(
            job,
            lambda status: status.state == ENDED and status.exit_code is not None,
            "with an exit code",
        )
        assert (status.cause, status.exit_code) == (ERROR, 7)

    @pytest.mark.parametrize("number", [9, 11])
    def test_a_signal_is_told(self, jobs: Jobs, number: int) -> None:
        self._remembered("signal")
        job = jobs.submit(f"kill -{number} $$")
        status = jobs.until_status(
            job, lambda status: status.state == ENDED and bool(status.signal), "with a signal"
        )
        assert status.signal == number
        assert status.cause in CAUSES

    def test_a_time_limit_is_told(self, jobs: Jobs) -> None:
        self._remembered("timeout")
        if self.time_limit is None:
            not_promised("time limits (`time_limit`)")
        # A slow machine may take longer than that to start it: then once more, with more time.
        for limit in (self.time_limit, 15 * self.time_limit):
            job = jobs.submit(
                "note ran x; await never; note survived x", resources=Resources(time=limit)
            )
            assert jobs.ended(job).cause == TIMEOUT
            if jobs.lines("ran"):
                break
        assert jobs.lines("ran") == ["x"]
        assert jobs.lines("survived") == []

    def test_a_script_that_cannot_start_is_no_success(self, jobs: Jobs, folder: Path) -> None:
        self._remembered("exit_code")
        try:
            job = jobs.hand_in(evolve(jobs.request(""), script=str(folder / "none.sh")))
        except SubmissionRefusedError:
            return
        assert jobs.ended(job).cause in CAUSES

    def _remembered(self, what: str) -> None:
        self._told(what)
        if not self.remembers:
            not_promised("jobs that have ended are told of (`remembers`)")

    # Cancelling

    def test_one_that_runs_is_cancelled(self, jobs: Jobs) -> None:
        job = jobs.submit('note ran x; while :; do note alive x; sleep 0.1; done')
        jobs.until_lines("alive")
        jobs.cancel(job)
        jobs.gone(job)
        self._cancelled(jobs, job)
        jobs.until(lambda: _still(jobs), "end of its process")

    def test_one_that_waits_is_cancelled_and_never_runs(self, jobs: Jobs) -> None:
        parent = jobs.submit("note ran x; await go")
        job = jobs.submit("note child x", after=(parent.id,))
        jobs.submit("note behind x", after=(parent.id,))
        jobs.cancel(job)
        jobs.gone(job)
        self._cancelled(jobs, job)
        jobs.make("go")
        jobs.until_lines("behind")
        assert jobs.lines("child") == []

    def test_an_array_is_cancelled(self, jobs: Jobs) -> None:
        self._arrays(jobs.executor, 30)
        job = jobs.submit("note ran x; await never", size=30)
        jobs.until_lines("ran")
        jobs.cancel(job)
        jobs.gone(job)
        self._cancelled(jobs, job)

    def test_to_cancel_again_is_no_error(self, jobs: Jobs) -> None:
        job = jobs.submit("note ran x; await never")
        jobs.until_lines("ran")
        jobs.cancel(job)
        jobs.cancel(job)
        jobs.gone(job)
        jobs.cancel(job)

    def test_to_cancel_what_is_over_or_unknown_is_no_error(self, jobs: Jobs) -> None:
        """And what lives is cancelled all the same."""
        over, living = jobs.submit("exit 0"), jobs.submit("await never")
        jobs.gone(over)
        jobs.cancel(self.unknown_job(1))
        jobs.cancel(over)
        jobs.cancel(self.unknown_job(1), over, living, self.unknown_job(2))
        jobs.gone(living)
        self._cancelled(jobs, living)
        if self.remembers and "exit_code" in self.tells:
            assert jobs.ended(over).cause == ""

    def test_many_are_cancelled_in_a_few_calls(self, jobs: Jobs) -> None:
        job = jobs.submit("await never")
        before = self._counted()
        jobs.cancel(*(self.unknown_job(number) for number in range(499)), job)
        assert self._counted() - before <= self.most_calls
        jobs.gone(job)

    def _cancelled(self, jobs: Jobs, job: Job) -> None:
        if self.remembers and "cancelled" in self.tells:
            jobs.until_status(job, lambda status: status.cause == CANCELLED, CANCELLED)

    # What goes wrong

    def test_a_scheduler_that_is_down_is_told_from_jobs_that_are_gone(self, jobs: Jobs) -> None:
        job = jobs.submit("note ran x; await go")
        jobs.until_lines("ran")
        request = jobs.request("note doubtful x")
        self.break_down()
        try:
            calls: list[tuple[Callable[..., Any], object]] = [
                (jobs.executor.submit, request),
                (jobs.executor.poll, [job.id]),
                (jobs.executor.poll, [self.unknown_job(1)]),
                (jobs.executor.cancel, [job.id]),
                (jobs.executor.find, [request.tag]),
            ]
            for function, argument in calls if self.finds else calls[:-1]:
                with pytest.raises(SchedulerUnreachableError):
                    self.do(function, argument)
        finally:
            self.repair()
        assert jobs.running(job)
        if self.finds:
            assert dict(jobs.find(request.tag)) == {}
        jobs.make("go")
        jobs.gone(job)
        if self.remembers and "exit_code" in self.tells:
            assert jobs.ended(job).cause == ""

    @pytest.mark.parametrize(
        "body",
        ["exit 0", "echo; echo", "echo something else; echo and more | tr a-z A-Z", "exit 1",
         "printf '\\377\\376 \\0 | |'; exit 0", "echo 'Segmentation fault' >&2; exit 139"],
        ids=["nothing", "empty lines", "other words", "a failure", "bytes", "a crash"],
    )  # fmt: skip
    def test_what_is_no_answer_is_no_end(self, jobs: Jobs, folder: Path, body: str) -> None:
        """Whatever the commands print, no job is taken for submitted, or for well ended."""
        job = jobs.submit("note ran x; await go")
        jobs.until_lines("ran")
        odd = self.replaced(jobs.executor, folder, body)
        try:
            status = self.do(odd.poll, [job.id]).get(job.id)
        except ExecutorError:
            status = None
        assert status is None or status.state == LIVE or status.cause, f"it says {status}"
        with contextlib.suppress(ExecutorError):
            assert dict(self.do(odd.find, [job.request.tag])) == {}
        with pytest.raises(ExecutorError):
            self.do(odd.submit, jobs.request("note doubtful x"))

    def test_no_answer_to_a_submission_leaves_it_in_doubt(self, jobs: Jobs, folder: Path) -> None:
        mute = self.replaced(jobs.executor, folder, "exit 0")
        with pytest.raises(SchedulerUnreachableError):
            self.do(mute.submit, jobs.request("true"))

    @pytest.mark.parametrize("size", [1, 2])
    def test_a_submission_in_doubt_is_found_and_not_doubled(
        self, jobs: Jobs, folder: Path, size: int
    ) -> None:
        """The scheduler takes the job, and its answer is lost."""
        if size > 1:
            self._arrays(jobs.executor)
        self._doubt(jobs, folder, '"$real" "$@" > /dev/null 2>&1; exit 0', size=size)

    def test_a_submission_that_takes_too_long_is_found_and_not_doubled(
        self, jobs: Jobs, folder: Path
    ) -> None:
        # In a session of its own it arrives, however soon the command that takes long is killed.
        body = 'exec 3<&0; setsid "$real" "$@" <&3 > /dev/null 2>&1 & exec sleep 100'
        self._doubt(jobs, folder, body, command_timeout=1.0)

    def _doubt(
        self, jobs: Jobs, folder: Path, body: str, *, size: int = 1, **settings: Any
    ) -> None:
        if not self.finds:
            not_promised("jobs are found by their tags (`finds`)")
        request = jobs.request('note ran "$position"', size=size)
        lossy = changed(self.replaced(jobs.executor, folder, body), **settings)
        with pytest.raises(SchedulerUnreachableError):
            self.do(lossy.submit, request)
        job_id = jobs.until(lambda: jobs.find(request.tag).get(request.tag), "job by its tag")
        job = Job(str(job_id), request)
        jobs.adopt(job.id)
        jobs.gone(job)
        jobs.until_lines("ran", size)
        jobs.pass_by()  # another one of it would have run, too
        assert sorted(jobs.lines("ran")) == [str(at) for at in range(size)]
        assert jobs.find(request.tag).get(request.tag, job.id) == job.id

    def test_a_submission_that_never_arrived_can_be_repeated(
        self, jobs: Jobs, folder: Path
    ) -> None:
        request = jobs.request("note ran x")
        deaf = self.replaced(jobs.executor, folder, "exec sleep 100")
        with pytest.raises(SchedulerUnreachableError):
            self.do(changed(deaf, command_timeout=1.0).submit, request)
        assert dict(jobs.find(request.tag)) == {}
        job = jobs.hand_in(request)
        jobs.until_lines("ran")
        jobs.gone(job)
        assert jobs.lines("ran") == ["x"]

    def test_what_is_refused_says_why(self, jobs: Jobs) -> None:
        if self.refused is None:
            not_promised("anything is refused (`refused`)")
        with pytest.raises(SubmissionRefusedError, match=self.refusal or None) as caught:
            jobs.submit("note ran x", **self.refused)
        assert not isinstance(caught.value, SubmissionForbiddenError)

    def test_a_limit_of_the_site_is_not_for_good(self, jobs: Jobs) -> None:
        with pytest.raises(SubmissionLimitError):
            jobs.submit("true", **self.beyond_limit())

    def test_a_machine_that_may_not_submit_is_told_from_a_job_that_is_refused(
        self, jobs: Jobs
    ) -> None:
        self.forbid()
        with pytest.raises(SubmissionForbiddenError):
            jobs.submit("true")

    def test_max_submit_jobs(self, jobs: Jobs) -> None:
        count = getattr(jobs.executor, "queued", None)
        already: int | None = count and self.do(count)
        if already is None:
            not_promised("jobs in the queue are counted (`queued`)")
        # The user may have other jobs, which come and go: these stay, and are enough.
        most = 4
        bounded = changed(jobs.executor, max_submit_jobs=most)
        roomy = changed(jobs.executor, max_submit_jobs=already + 1000)
        first = jobs.submit("await go", executor=roomy)
        for _ in range(most - 1):
            jobs.submit("true", executor=roomy, after=(first.id,))
        jobs.until(lambda: count and self.do(count) >= most, f"count of {most} jobs in the queue")
        with pytest.raises(SubmissionLimitError, match="max_submit_jobs"):
            jobs.submit("note ran x", executor=bounded)
        jobs.submit("note carried x", executor=bounded, auxiliary=True)
        jobs.until_lines("carried")
        assert jobs.lines("ran") == []

    def test_options_of_the_scheduler_are_taken(self, jobs: Jobs) -> None:
        if not self.native:
            not_promised("options of the scheduler (`native`)")
        resources = Resources(native=dict(self.native))
        job = jobs.submit("note ran x", resources=resources)
        jobs.until_lines("ran")
        plain = self.rendered(jobs.executor, job.request)
        with_none = self.rendered(jobs.executor, evolve(job.request, resources=Resources()))
        assert plain is None or plain != with_none, "they are not handed to the scheduler"

    def test_options_that_it_sets_itself_are_refused(self, jobs: Jobs) -> None:
        if not self.own:
            not_promised("options that it sets itself (`own`)")
        for name, value in self.own.items():
            with pytest.raises(SubmissionRefusedError, match=name.lstrip("-")):
                jobs.submit("true", resources=Resources(native={name: value}))

    def test_a_request_for_resources_is_taken(self, jobs: Jobs) -> None:
        wants = Resources(cpus=2, time=self.time_limit and self.time_limit * 10, mem=50 * 2**20)
        jobs.submit("note ran x", resources=wants)
        jobs.until_lines("ran")


def _called() -> int:
    return sum(called.values())


def changed(executor: Any, **settings: Any) -> Any:
    """Return an executor with other settings."""
    return attrs.evolve(executor, **settings)


def _still(jobs: Jobs) -> bool:
    before = len(jobs.lines("alive"))
    time.sleep(0.5)
    return len(jobs.lines("alive")) == before


def _commands(executor: Any, *, needed: bool = False) -> list[str]:
    """Return the names of the fields that name the scheduler's commands."""
    return [
        attribute.name
        for attribute in attrs.fields(type(executor))
        if attribute.metadata.get("command") and (attribute.metadata.get("needed") or not needed)
    ]


def _samples(cls: type[Executor]) -> list[dict[str, object]]:
    """Return what users may write of the settings that all who run commands share."""
    if not issubclass(cls, CommandExecutor):
        return []
    commands = {
        attribute.name: f"/opt/some where/{attribute.name}"
        for attribute in attrs.fields(cls)
        if attribute.metadata.get("command")
    }
    return [
        dict(commands),
        {
            "queue": "q, \"é\"", "account": "a\\b", "options": {"an-option": "x y", "flag": ""},
            "max_submit_jobs": 40, "min_poll_interval": 2.5, "command_timeout": 7.0,
            "prologue": "module load x\necho 'y'", "environment": {"A": "$HOME", "B_C": "1,2"},
            "dispatch_queue": "d", "dispatch_account": "e", "dispatch_time": "5m",
            "dispatch_mem": "200M",
        },
    ]  # fmt: skip


def _toml(value: object) -> str:
    """Write a setting as TOML, of which JSON's texts and numbers are a part."""
    if isinstance(value, Mapping):
        inside = ", ".join(f"{json.dumps(key)} = {_toml(inner)}" for key, inner in value.items())
        return f"{{{inside}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)
