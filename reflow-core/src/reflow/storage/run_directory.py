"""A run's directory of records: what was asked, and where everything else is."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import Attribute, field, fields, frozen

from ..errors import (
    ParameterError,
    RecordError,
    RunDirectoryError,
    SerializationError,
)
from ..model.entrypoint import keep_code
from ..model.spec import Entrypoint, WorkflowSpec
from ..values.codec import structure, unstructure
from .events import check_format
from .filesystem import Files
from .permissions import make_folders

FOLDER = ".reflow"
"""The folder of a run directory that holds the records of its runs."""

_START = (
    "import gc, sys; gc.disable(); sys.path[:1] = filter(None, sys.path[:1]); "
    "{home!r} in sys.path or sys.path.insert(0, {home!r}); "
    "from reflow.job import main; sys.exit(main(sys.argv[1:]))"
)


def job_command(python: str) -> str:
    """Return the shell words that start `reflow.job`, its arguments to follow.

    They start the reflow that runs now, also where `python` has none installed. Not by PYTHONPATH:
    that would put all of site-packages before the standard library, reach every program that a
    task starts, and grow from job to job. Nor by ``-m reflow.job``: that would look for modules in
    the working directory first, where a user's file may have any name. The garbage collector is
    off until `reflow.job.main` turns it on.
    """
    # The folder that holds the package `reflow`. The package's own folder must never be on the
    # path: its rooms would be importable as `storage`, `values`, `config` …
    home = os.path.dirname(os.path.abspath(sys.modules["reflow"].__path__[0]))
    return f"{shlex.quote(python)} -c {shlex.quote(_START.format(home=home))}"


INLINE = "inline"
"""Executor on record of `run_local`: the calling process itself."""


def _task_names(names: Sequence[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        raise ParameterError(f"force_tasks must be a list of task names, not {names!r}")
    return tuple(names)


def _one_of(*allowed: str) -> Callable[[Any, Attribute[str], str], None]:
    def check(_: object, option: Attribute[str], value: str) -> None:
        if value not in allowed:
            raise ParameterError(
                f"{option.name} must be {' or '.join(map(repr, allowed))}, not {value!r}"
            )

    return check


def _at_least_one(_: object, option: Attribute[int], value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ParameterError(f"{option.name} must be a whole number from 1 on, not {value!r}")


_CONFIGURED = {"configured": True}
"""Marks options that come from the configuration and not from whoever starts the run."""


@frozen(kw_only=True)
class RunOptions:
    """How a run is to be carried out: the one list of its options.

    `force` ignores results of older runs, `force_tasks` for these tasks only;
    `verify` checks that files named in an older result are as they were left; `on_error` is
    "stop" or "continue"; `on_code_change` is "run" or "fail", where a task's code is not
    what it was at submission; `files` is how files count, for tasks that do not say;
    `observers` are the plugins that are told of failures and of the run's end.
    Raises `ParameterError` for other values.
    """

    force: bool = False
    force_tasks: tuple[str, ...] = field(default=(), converter=_task_names)
    verify: bool = True
    on_error: str = field(default="continue", validator=_one_of("stop", "continue"))
    max_workers: int = field(default=1, validator=_at_least_one)
    on_code_change: str = field(default="run", validator=_one_of("run", "fail"))
    files: str = field(default="auto", metadata=_CONFIGURED)
    observers: tuple[str, ...] = field(default=(), metadata=_CONFIGURED)

    @classmethod
    def arguments(cls) -> tuple[str, ...]:
        """Return the options that whoever starts a run gives, by name."""
        return tuple(option.name for option in fields(cls) if not option.metadata)

    def forces(self, task: str) -> bool:
        """Whether results of older runs are not even looked at for a task."""
        return self.force or task in self.force_tasks


@frozen(kw_only=True)
class RunRequest:
    """What was asked: written once, before anything else, and never changed."""

    format: int
    run_id: str
    user: str
    created_at: str
    run_dir: str
    parameters: dict[str, Any]
    options: RunOptions
    executor: str
    executor_settings: dict[str, Any]
    store: str
    entrypoint: Entrypoint
    python: str
    spec: WorkflowSpec


@frozen
class RunRecord:
    """The places in the record of one run; `folder` is its absolute path."""

    folder: str
    files: Files = field(factory=Files, eq=False, repr=False)

    @property
    def segments(self) -> str:
        """Folder of the journal."""
        return f"{self.folder}/segments"

    @property
    def epochs(self) -> str:
        """Folder of the requests to cancel and retry."""
        return f"{self.folder}/epochs"

    @property
    def values(self) -> str:
        """Folder of the large values."""
        return f"{self.folder}/values"

    @property
    def jobs(self) -> str:
        """Folder of what jobs need: script, inputs and position map, by tag."""
        return f"{self.folder}/jobs"

    @property
    def logs(self) -> str:
        """Folder of what jobs print."""
        return f"{self.folder}/logs"

    def create(
        self, request: RunRequest, kept: bytes | None, texts: Mapping[str, str]
    ) -> None:
        """Write what was asked, and its large `texts` by their digests.

        `kept` is the code of an entrypoint that is no file, or is not to stay where it is.
        Raises `RunDirectoryError` if the record cannot be written.
        """
        try:
            make_folders(os.path.dirname(self.folder), common=True)
            for folder in (self.segments, self.epochs, self.jobs, self.logs):
                self.files.make_folder(folder)
            if request.entrypoint.kind == "file":
                self._keep_script(request.entrypoint.target, kept)
            elif kept is not None:
                self.files.write(f"{self.folder}/{request.entrypoint.target}", kept)
            for name, text in texts.items():
                self.files.make_folder(self.values)
                data = text.encode("utf-8", "surrogatepass")
                self.files.create(f"{self.values}/{name}.json", data)
            # The request comes last: a folder without run.json is no record of a run.
            text = json.dumps(unstructure(request), ensure_ascii=False, indent=1)
            self.files.write(f"{self.folder}/run.json", text.encode("utf-8", "surrogatepass"))
        except OSError as error:
            raise RunDirectoryError(
                error.errno,
                f"cannot write the run's record below {self.folder}: {error.strerror}; give a "
                "run_dir that you can write to and that has room",
            ) from error

    def check_there(self) -> None:
        """Raise `RecordError` if the record is gone."""
        if "run.json" not in self.files.list(self.folder):
            self.request()

    def discard(self) -> None:
        """Delete a record that no run has begun to use."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(self.folder))  # unless other runs are there

    def _keep_script(self, target: str, kept: bytes | None) -> None:
        """Write a script that is nowhere else (`kept`), or a copy for people, and its code."""
        copy = target
        if kept is None:
            copy = f"entry-{os.path.basename(target)}"
            try:
                kept = self.files.read(target)
            except OSError:
                return  # the run loads the original
        self.files.write(f"{self.folder}/{copy}", kept)
        keep_code(self.files.write, kept, os.path.join(self.folder, target), self.folder)

    def write_script(self, tag: str, text: str) -> str:
        """Write the script of a job; return its path."""
        path = f"{self.jobs}/{tag}.sh"
        # Names of files may be any bytes, of which Python makes lone surrogates.
        self.files.write(path, text.encode("utf-8", "surrogateescape"), executable=True)
        return path

    def request(self) -> RunRequest:
        """Read what was asked. Raises `RecordError` if the record is gone or damaged."""
        native = self.check()
        try:
            return structure(native, RunRequest)
        except SerializationError as error:
            path = f"{self.folder}/run.json"
            raise RecordError(f"the run's record {path} is damaged: {error}") from error

    def check(self) -> object:
        """Return the JSON form of what was asked, if it is there and of a known format.

        Raises `RecordError` if the record is gone or no JSON, `RecordVersionError` if a
        newer reflow wrote it.
        """
        path = f"{self.folder}/run.json"
        try:
            native = json.loads(self.files.read(path))
        except FileNotFoundError as error:
            raise RecordError(
                f"the record of the run is gone: {path} does not exist; was the run directory "
                "deleted or moved?"
            ) from error
        except (OSError, ValueError) as error:
            raise RecordError(f"cannot read the run's record {path}: {error}") from error
        written = native.get("format") if isinstance(native, dict) else None
        if isinstance(written, int):
            check_format(written, path)
        if not isinstance(written, int) or "run_id" not in native:
            raise RecordError(f"the run's record {path} is damaged: it does not describe a run")
        request: object = native
        return request
