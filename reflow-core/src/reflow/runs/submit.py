"""Starts runs: checks everything, writes the record, and runs it or hands it over."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from attrs import asdict

from ..caching.code_text import keep, texts_of
from ..caching.input_files_at_submission import with_input_files
from ..engine.dispatcher import Dispatch
from ..engine.local_driver import drive
from ..errors import (
    LeaseLostError,
    RunDirectoryError,
    UnknownTaskError,
    unknown_name,
)
from ..executors.base import Executor
from ..model.entrypoint import describe_entrypoint
from ..model.flow import Flow, TaskDefinition
from ..model.signature import PARAM
from ..model.spec import TaskSpec, WorkflowSpec
from ..model.units import format_memory, format_time
from ..plugins.lookup import executor_reference, observers
from ..states import PENDING
from ..storage.events import FORMAT
from ..storage.ids import new_run_id
from ..storage.indexing import run_row, task_list
from ..storage.run_directory import FOLDER, INLINE, RunOptions, RunRecord, RunRequest
from ..storage.stores.base import Store
from .resolve import RUN_DIR_TYPE, build_spec, full_name


def prepare(
    workflow: Flow,
    origin: tuple[str, bool],
    store: Store,
    *,
    run_dir: str | os.PathLike[str],
    parameters: Mapping[str, object],
    options: RunOptions,
    executor: Executor | None,
) -> tuple[RunRecord, RunRequest]:
    """Check a run and write its record; nothing is created if anything is wrong.

    `executor` None stands for the calling process.
    """
    _check_directory()
    folder = os.path.abspath(os.fspath(run_dir))
    spec = specify(workflow, parameters, folder, options)
    if options.observers:
        observers(options.observers)  # a missing one is an error before anything starts
    if executor is None:
        name, settings = INLINE, dict[str, object]()
    else:
        executor.check()
        name, settings = executor_reference(executor.located())
    entrypoint, code = describe_entrypoint(workflow, *origin, needed=executor is not None)
    directory = entrypoint.directory or os.getcwd()
    spec, file_texts = with_input_files(spec, workflow.tasks, directory)
    run_id = new_run_id(workflow.name)
    request = RunRequest(
        format=FORMAT,
        run_id=run_id,
        user=_user(),
        created_at=datetime.now(timezone.utc).isoformat(),
        run_dir=folder,
        parameters=dict(_run_parameters(workflow, spec)),
        options=options,
        executor=name,
        executor_settings=settings,
        store=store.url,
        entrypoint=entrypoint,
        python=sys.executable,
        spec=spec,
    )
    record = RunRecord(f"{folder}/{FOLDER}/{run_id}")
    store.list_runs(limit=0)  # an unusable store is an error before anything is written
    enter(record, request, code, store, workflow.tasks, file_texts)
    return record, request


def _check_directory() -> None:
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise RunDirectoryError(
            error.errno, "the current directory was deleted: change to one that exists"
        ) from error


def _run_parameters(workflow: Flow, spec: WorkflowSpec) -> Iterator[tuple[str, object]]:
    """Yield the parameters of a run by name, in the types of JSON."""
    for task in spec.tasks:
        names = {
            parameter.name: full_name(task.name, parameter)
            for parameter in workflow.tasks[task.name].signature().parameters
            if parameter.kind == PARAM
        }
        for constant in task.constants:
            if constant.type != RUN_DIR_TYPE:
                yield names[constant.parameter], json.loads(constant.text)


def specify(
    workflow: Flow, parameters: Mapping[str, object], folder: str, options: RunOptions
) -> WorkflowSpec:
    """Return a checked workflow, bound to its parameters. Raises the error of a wrong one."""
    spec = build_spec(workflow.name, workflow.tasks, parameters, folder, files=options.files)
    for name in options.force_tasks:
        if name not in workflow.tasks:
            raise UnknownTaskError("force_tasks: " + unknown_name("task", name, workflow.tasks))
    return spec


def enter(
    record: RunRecord,
    request: RunRequest,
    code: bytes | None,
    store: Store,
    tasks: Mapping[str, TaskDefinition],
    file_texts: Mapping[str, str],
) -> None:
    """Write the record of a new run, and enter it into the store; an error leaves nothing.

    `code` is the copy of the script or the pickle, if one is kept. `file_texts` are the large
    texts, by digest, of how the files of its parameters looked.
    """
    try:
        record.create(request, code, file_texts)
        with contextlib.suppress(OSError):  # then no later run can show what has changed
            keep(record, texts_of(tasks.values()))
        store.add_run(run_row(request, record.folder, PENDING), task_list(request))
    except BaseException:
        record.discard()
        raise


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no passwd entry, as in some containers
        return str(os.getuid())


def run_here(
    workflow: Flow,
    record: RunRecord,
    request: RunRequest,
    store: Store,
) -> str:
    """Run a prepared run to its end in this process; return the state it ended in."""
    dispatch = Dispatch(record, request, store, lambda: workflow.tasks)
    try:
        state = drive(
            dispatch,
            workflow.tasks,
            max_workers=request.options.max_workers,
            isolate=False,
        )
        record.check_there()
        return state
    except LeaseLostError:
        record.check_there()  # an error that says that the record is gone says more
        raise
    finally:
        dispatch.release()


def dry_run_text(
    workflow: Flow, run_dir: str | os.PathLike[str], parameters: Mapping[str, object]
) -> str:
    """Return what would be submitted, for people; nothing is created."""
    spec = build_spec(
        workflow.name, workflow.tasks, parameters, os.path.abspath(os.fspath(run_dir))
    )
    lines = [f"Workflow {workflow.name}, in {Path(run_dir).absolute()}: would submit"]
    for task in spec.tasks:
        lines.append(f"  {task.name}{' (array)' if task.array else ''}  {_resources(task)}")
        for wire in task.wires:
            sources = ", ".join(source.task for source in wire.sources)
            lines.append(f"      {wire.parameter} <- {sources} ({wire.mode})")
        lines.extend(
            f"      {constant.parameter} = {constant.text}" for constant in task.constants
        )
        if task.after:
            lines.append(f"      after {', '.join(task.after)}")
    return "\n".join(lines)


def _resources(task: TaskSpec) -> str:
    """Return what a task asks for; what it leaves to the scheduler is left out."""
    formats: dict[str, Callable[[Any], str]] = {"time": format_time, "mem": format_memory}
    options = asdict(task.resources)
    native = options.pop("native")
    texts = [
        f"{name}={formats.get(name, str)(value)}"
        for name, value in options.items()
        if value and (name, value) != ("nodes", 1)
    ]
    return " ".join([*texts, *(f"{name}={text}" for name, text in native.items())])
