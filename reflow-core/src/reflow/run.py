"""The handle of a run: its state, waiting, results, cancelling and retrying."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn

from .errors import ReflowError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .executors.base import Executor
    from .model.flow import Flow
    from .runs.lifecycle import Watch
    from .runs.why import Why
    from .storage.run_directory import RunRecord, RunRequest
    from .storage.stores.base import RunRow, Store


class Run:
    """A run that was submitted, or run here.

    `workflow` gives `result` the types of the values; it is None for a run that is
    looked at without its script.
    """

    def __init__(
        self, record: RunRecord, row: RunRow, store: Store, workflow: Flow | None = None
    ) -> None:
        self._record = record
        self._row = row
        self.store = store
        self.workflow = workflow
        self._watch: Watch | None = None

    @property
    def _request(self) -> RunRequest:
        """What was submitted, in full. Read late: who only looks at a run need not wait for it."""
        return self._record.request()

    @property
    def run_id(self) -> str:
        """The id, such as ``my_pipeline-20260401-7c2k9q4mx1``."""
        return self._row.run_id

    @property
    def run_dir(self) -> Path:
        """The working directory of the run, absolute."""
        from pathlib import Path

        return Path(self._row.run_dir)

    @property
    def record(self) -> RunRecord:
        """The run's record: the truth about it, in its run directory."""
        return self._record

    @property
    def state(self) -> str:
        """The state of the run, one of `reflow.states.RUN_STATES`, read from its record."""
        from .engine.run_view import RunView

        self._check_there()
        return RunView(self._record).state

    def __repr__(self) -> str:
        return f"<Run {self.run_id} in {self._row.run_dir}>"

    def _check_there(self) -> None:
        """Raise `RecordError` if the run directory was deleted or moved."""
        if "run.json" not in self._record.files.list(self._record.folder):
            self._record.check()

    def status(
        self,
        *,
        errors: bool = False,
        as_dict: bool = False,
        task: str | None = None,
        verbose: bool = False,
    ) -> dict[str, Any] | None:
        """Print where the run stands, or return it.

        With `errors` the tracebacks of failed elements are printed too; with `verbose` the
        jobs that a scheduler has, and how often its commands were called; with
        `as_dict` nothing is printed and the keys "run", "summary", "instances",
        "failed_instances" and "notes" are returned; with `task` it is about that task
        alone. Raises `RecordError` where the run directory is gone, `UnknownTaskError`
        for a task that the run does not have.
        """
        from .runs.status import status_dict

        if as_dict:
            self._check_there()
            return status_dict(self.store, self._record, self._row, task=task)
        text = self.status_text(errors=errors, task=task, verbose=verbose)
        sys.stdout.write(text + "\n")
        return None

    def status_text(
        self,
        *,
        errors: bool = False,
        task: str | None = None,
        verbose: bool = False,
        paint: Callable[[str], str] | None = None,
    ) -> str:
        """Return what `status` prints; `paint` may add colour to a state."""
        from .runs.status import status_text

        self._check_there()
        return status_text(
            self.store,
            self._record,
            self._row,
            errors=errors,
            task=task,
            verbose=verbose,
            paint=paint or str,
        )

    def counts(self) -> dict[str, dict[str, int]]:
        """Return by task, in order, how many elements are in which state, as of now."""
        from .runs.status import counts

        self._check_there()
        return counts(self.store, self._record, self._row)

    def notes(self) -> list[str]:
        """Return what a person should read of the run, such as why a job of it does not start.

        As of the last dispatch pass: the scheduler is not asked.
        """
        from .engine.run_view import RunView
        from .runs.status import notes_of

        self._check_there()
        return notes_of(RunView(self._record))

    def wait(self, timeout: float | None = None) -> str:
        """Wait until the run has ended and return its state; carry it on if no other process does.

        Raises `WaitTimeoutError` after `timeout` seconds. Ctrl-C only stops waiting.
        """
        from .errors import ReflowError, WaitTimeoutError
        from .runs.lifecycle import Watch, wait_for_end

        self._check_there()
        if self._watch is None:
            self._watch = Watch()
        try:
            state = wait_for_end(
                self._record, self._request, self.store, timeout, self._watch
            )
        except (OSError, ReflowError):
            self._check_there()  # an error that the directory has gone meanwhile says more
            raise
        if state is None:
            raise WaitTimeoutError(
                f"run {self.run_id} has not ended after {timeout} s; it goes on"
            )
        return state

    def result(self, task: Any) -> Any:
        """Return the value of a task (its name or function): a list for an array.

        The run need not have ended, the task must have. Raises `RunFailedError`, with
        the cause, where it has no value.
        """
        from .runs.results import read_result

        self._check_there()
        return read_result(self, self._record, self._request, task)

    def why(self, task: str, index: int | None = None) -> Why:
        """Return why an element ran, or did not: what differs from the nearest earlier one.

        `index` says which element of an array. The newest runs of the workflow are compared.
        Raises `UnknownTaskError` for a task or an element that the run does not have,
        `ParameterError` for an array without `index`.
        """
        from .runs.why import explain

        self._check_there()
        return explain(self._record, self._request, self.store, task, index)

    def accept(self, task: str | None = None) -> Run:
        """Let the results of this run count for the present code of its tasks, or of one.

        This is for a change of code that does not matter. The results are recorded as cached in a
        run of their own, which is returned; the next submission finds them. Raises
        `UnknownTaskError` for a task that the run does not have, and `ParameterError` where
        there is nothing to accept, or a task's version has changed.
        """
        from .model.entrypoint import load_tasks
        from .runs.accept import accept

        self._check_there()
        request = self._request
        tasks = (
            load_tasks(request.entrypoint, self._record.folder)
            if self.workflow is None
            else self.workflow.tasks
        )
        record, made = accept(self._record, request, self.store, tasks, task)
        return Run(record, self.store.run(made.run_id), self.store, self.workflow)

    def cancel(self, task: str | None = None) -> None:
        """Cancel what has not ended, of the run or of one task.

        On return nothing of it runs any more. A run that has ended stays as it is.
        """
        from .runs.cancel_retry import cancel

        self._check_there()
        cancel(self._record, self._request, self.store, task)

    def retry(self, task: str | None = None, *, executor: str | Executor | None = None) -> None:
        """Run again what failed, was skipped or cancelled, of the run or of one task.

        Goes on in the background; what succeeded is kept. An `executor` (its name, or an
        instance) takes the place of the one that the run was submitted with, for all that is
        submitted from now on; what is under way stays where it is.
        """
        from .plugins.lookup import executor_from
        from .runs.cancel_retry import retry

        self._check_there()
        chosen = None
        if executor is not None:
            config = None if self.workflow is None else getattr(self.workflow, "config", None)
            if config is None:
                from .config import load_config

                config = load_config()
            chosen = executor_from(executor, config)
        retry(self._record, self._request, self.store, task, chosen)

    def refresh(self) -> str:
        """Carry the run on by one step, here and now, and return its state.

        Asks the scheduler for the state of the jobs, records their outcomes, and submits what
        can run: the run's own jobs do this by themselves where they may submit jobs. What prevents
        it, such as a scheduler that does not answer, is printed on stderr.
        """
        from .errors import LeaseHeldError, LeaseLostError
        from .runs.lifecycle import carry_on, is_queued, run_pass, tell

        self._check_there()
        request = self._request
        if is_queued(self._record, request):
            try:
                tell(request, run_pass(self._record, request, self.store))
            except (LeaseHeldError, LeaseLostError):
                return self.state  # another process carries it on
            return self.state
        return carry_on(self._record, request, self.store).state


def open_run(run_id: str, store: Store, workflow: Flow | None = None) -> Run:
    """Return the handle of a run that the store knows.

    `run_id` may be the beginning of one id. Raises `UnknownRunError` for a run that the store
    does not have and `RecordError` where its directory is gone.
    """
    from .storage.run_directory import RunRecord

    row = store.run(run_id)
    record = RunRecord(row.record)
    record.check()
    return Run(record, row, store, workflow)


class DryRun(Run):
    """What `submit(executor="dry-run")` returns: whatever is asked of it raises `ReflowError`."""

    def __init__(self, workflow: Flow) -> None:
        self.workflow = workflow

    def __repr__(self) -> str:
        return "<dry run: nothing was submitted>"

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__") or name == "workflow":
            return super().__getattribute__(name)
        return _refuse(name)


def _refuse(name: str) -> NoReturn:
    raise ReflowError(f"this was a dry run: nothing was submitted, so it has no {name!r}")
