"""The workflow: a flow that can be checked, described, run and submitted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .model.entrypoint import note_workflow, stop_if_loading
from .model.flow import Flow

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from .config import Config
    from .errors import RunFailedError
    from .executors.base import Executor
    from .run import Run
    from .runs.describe import WorkflowDescription
    from .runs.plan import Plan
    from .storage.run_directory import RunOptions, RunRequest
    from .storage.stores.base import Store


class Workflow(Flow):
    """Tasks that make up one pipeline, and the ways to run it.

    `config` takes the place of the configuration file; `store` that of the store
    it names (a `Store`, or the path of an SQLite file).
    """

    def __init__(
        self,
        name: str,
        *,
        config: Config | None = None,
        store: Store | str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(name)
        self._config = config
        self._store = store
        caller = sys._getframe(1)
        while caller.f_back is not None and caller.f_code.co_name == "__init__":
            caller = caller.f_back  # a subclass's constructor
        self._origin = (
            str(caller.f_globals.get("__name__", "__main__")),
            caller.f_code.co_name == "<module>",
        )
        note_workflow(self)

    @property
    def config(self) -> Config:
        """The configuration: that of the constructor, or what `load_config` reads, once."""
        if self._config is None:
            from .config import load_config

            self._config = load_config()
        return self._config

    @property
    def store(self) -> Store:
        """The store that this workflow's runs are listed in."""
        from .storage.stores.base import Store

        if not isinstance(self._store, Store):
            from .plugins.open_store import open_store

            self._store = open_store(self._store or self.config.store_location)
        return self._store

    # Looking at it

    def validate(self) -> None:
        """Raise `ValidationError` (a ValueError) unless all tasks fit together.

        Checks references, cycles, types, and that values can be serialized.
        """
        from .runs.resolve import check

        check(self)

    def describe(self) -> dict[str, Any]:
        """Return the structure of the workflow as a JSON-safe dict."""
        return self.describe_typed().to_dict()

    def describe_typed(self) -> WorkflowDescription:
        """Return the structure of the workflow."""
        from .runs.describe import describe

        return describe(self)

    # Running it

    def submit(
        self,
        run_dir: str | os.PathLike[str],
        *,
        executor: str | Executor | None = None,
        force: bool = False,
        force_tasks: Sequence[str] = (),
        verify: bool = True,
        on_code_change: str = "run",
        wait: bool = False,
        **parameters: Any,
    ) -> Run:
        """Start a run that goes on by itself, and return its handle at once.

        `run_dir` is the run's working directory; `parameters` are the tasks'
        parameters by name. `executor` is a name or an instance (default: the
        configured one, else "local"; "dry-run" prints what would be submitted).
        `force` ignores older results, `force_tasks` those of some tasks; `verify` checks
        that files named in an older result are as they were left. Where the code of a task
        has changed between submission and the moment a job runs it, `on_code_change` "run"
        runs the new code (and `status` says so), "fail" fails the element. With `wait` it
        returns when the run has ended. Raises `ValidationError`, `ParameterError`,
        `UnknownTaskError`, `RunDirectoryError`, `StoreError` before anything is
        started.
        """
        stop_if_loading(self)
        from .plugins.lookup import executor_from
        from .runs.lifecycle import start
        from .runs.submit import dry_run_text

        chosen = executor_from(executor or self.config.run.executor, self.config)
        if chosen.runs_nothing:
            return _show_dry_run(self, dry_run_text(self, run_dir, parameters))
        options = self._options(
            force=force, force_tasks=force_tasks, verify=verify, on_code_change=on_code_change
        )
        run, request = self._prepare(run_dir, parameters, options, chosen)
        start(run.record, request, self.store)
        if wait:
            run.wait()
        return run

    def plan(
        self,
        run_dir: str | os.PathLike[str],
        *,
        executor: str | Executor | None = None,
        force: bool = False,
        force_tasks: Sequence[str] = (),
        verify: bool = True,
        on_code_change: str = "run",
        wait: bool = False,
        **parameters: Any,
    ) -> Plan:
        """Return what `submit` with the same arguments would run, and why.

        Nothing is written, but for a store where there is none yet, and the hashes of files that
        parameters name. By task: how many elements are cached, how many would run, how many are
        not known before an upstream task has run. Results of older runs are verified, and their
        values followed downstream. `executor`, `on_code_change` and `wait` are taken as `submit`
        takes them and change nothing. Raises what `submit` raises before it starts anything.
        """
        stop_if_loading(self)
        from .runs.plan import preview

        options = self._options(force=force, force_tasks=force_tasks, verify=verify)
        return preview(self, self.store, run_dir, parameters, options)

    def run_local(
        self,
        run_dir: str | os.PathLike[str],
        *,
        max_workers: int = 1,
        on_error: str = "stop",
        force: bool = False,
        force_tasks: Sequence[str] = (),
        verify: bool = True,
        **parameters: Any,
    ) -> Run:
        """Run everything here and now, and return the handle of the ended run.

        With one worker tasks are called in this process; from two on, in as many
        processes, and one that dies fails only its own element. `on_error` "stop"
        starts nothing new after a failure and raises `RunFailedError` (its `run` is
        the handle); "continue" goes on with all that does not depend on it. The other
        arguments, and what is raised before anything starts, are as for `submit`.
        """
        stop_if_loading(self)
        from .runs.submit import run_here
        from .states import SUCCESS

        options = self._options(
            force=force, force_tasks=force_tasks, verify=verify, on_error=on_error,
            max_workers=max_workers,
        )  # fmt: skip
        run, request = self._prepare(run_dir, parameters, options, None)
        state = run_here(self, run.record, request, self.store)
        if state != SUCCESS and on_error == "stop":
            raise self._failure(run, state)
        return run

    def _prepare(
        self,
        run_dir: str | os.PathLike[str],
        parameters: dict[str, Any],
        options: RunOptions,
        executor: Executor | None,
    ) -> tuple[Run, RunRequest]:
        """Put a new run on record, without starting it."""
        from .run import Run
        from .runs.submit import prepare
        from .states import PENDING
        from .storage.indexing import run_row

        record, request = prepare(
            self,
            self._origin,
            self.store,
            run_dir=run_dir,
            parameters=parameters,
            options=options,
            executor=executor,
        )
        row = run_row(request, record.folder, PENDING)
        return Run(record, row, self.store, self), request

    def _failure(self, run: Run, state: str) -> RunFailedError:
        from .errors import RunFailedError
        from .states import FAILED

        details = [
            f"{row.task}{'' if row.index is None else f'[{row.index}]'}: {row.detail.rstrip()}"
            for row in self.store.instances(run.run_id, states=(FAILED,))[:3]
        ]
        return RunFailedError(f"run {run.run_id} ended {state}: {'; '.join(details)}", run)

    def _options(self, **arguments: Any) -> RunOptions:
        from .storage.run_directory import RunOptions

        run = self.config.run
        return RunOptions(**arguments, files=run.files, observers=run.observers)

    def cli(self, arguments: Sequence[str] | None = None) -> None:
        """Be a command line: options come from the parameters; see ``--help``."""
        stop_if_loading(self)
        from .cli.workflow import run_workflow_cli

        run_workflow_cli(self, arguments)

    # Runs

    def run(self, run_id: str) -> Run:
        """Return the handle of an earlier run; the beginning of its id is enough."""
        from .run import open_run

        return open_run(run_id, self.store, self)

    def cancel_runs(self, run_ids: Iterable[str], store: Store | None = None) -> None:
        """Cancel several runs. Raises `UnknownRunError` before any is cancelled."""
        from .run import open_run

        for run in [open_run(run_id, store or self.store, self) for run_id in run_ids]:
            run.cancel()


def _show_dry_run(workflow: Workflow, text: str) -> Run:
    from .run import DryRun

    sys.stdout.write(text + "\n")
    return DryRun(workflow)
