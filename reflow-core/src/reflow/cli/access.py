"""How commands get at runs, and the arguments that name them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import RecordError, ReflowError, UnknownRunError
from ..run import Run, open_run
from .completion import run_ids, task_names

if TYPE_CHECKING:
    from ..storage.run_directory import RunRecord
    from ..storage.stores.base import Store
    from ..workflow import Workflow

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class Access:
    """How commands get at runs; nothing is opened before a command needs it.

    `workflow` is the script's own, None for the command `reflow`.
    """

    def __init__(self, workflow: Workflow | None = None) -> None:
        self.workflow = workflow
        self._profile: str | None = None
        self._store: Store | None = None

    def use_profile(self, name: str) -> None:
        """Take this profile's configuration from here on."""
        from ..config import load_config

        self._profile = name
        if self.workflow is not None:
            self.workflow._config = load_config(profile=name)

    @property
    def own_name(self) -> str | None:
        """The name of the script's workflow, None for `reflow`."""
        return None if self.workflow is None else self.workflow.name

    def store(self) -> Store:
        """Return the workflow's store, or the one that the configuration names."""
        if self.workflow is not None:
            return self.workflow.store
        if self._store is None:
            from ..config import load_config
            from ..plugins.open_store import open_store

            self._store = open_store(load_config(profile=self._profile).store_location)
        return self._store

    def run(self, text: str) -> Run:
        """Return the run that a text names: an id, the beginning of one, or a directory."""
        if os.sep in text or text in (".", ".."):
            return self._run_in(text)
        try:
            return open_run(text, self.store(), self.workflow)
        except UnknownRunError:
            if os.path.isdir(text):
                return self._run_in(text)
            raise

    def choose(self, text: str | None, last: bool) -> Run:
        """Return the run that a text names, or with `last` the newest one."""
        if last and text:
            raise click.UsageError(f"give a RUN or --last, not both: {text}")
        if last:
            rows = self.store().list_runs(graph_name=self.own_name, limit=1)
            if not rows:
                of = f" of workflow {self.own_name}" if self.own_name else ""
                raise UnknownRunError(f"there is no run{of} yet")
            text = rows[0].run_id
        if not text:
            raise click.UsageError(
                "give a RUN (its id, the beginning of its id, or its run directory) or --last"
            )
        return self.run(text)

    def choose_element(
        self, text: str | None, last: bool, place: str | None
    ) -> tuple[Run, str | None, int | None]:
        """Return a run, and the task and index that ``TASK`` or ``TASK[INDEX]`` names, if any."""
        if last and place is None:
            text, place = None, text  # behind --last the only argument is the place
        run = self.choose(text, last)
        if place is None:
            return run, None, None
        match = re.fullmatch(r"([^\[\]]+)(?:\[(\d+)\])?", place)
        if match is None:
            raise click.UsageError(f"{place!r} is neither TASK nor TASK[INDEX], such as align[3]")
        task, index = match.groups()
        return run, task, None if index is None else int(index)

    def _run_in(self, path: str) -> Run:
        from ..plugins.open_store import open_store
        from ..runs.status import bring_up_to_date
        from ..states import PENDING
        from ..storage.indexing import run_row

        record = _newest_record(os.path.abspath(os.path.expanduser(path)))
        request = record.request()
        try:
            # The run's own store, which a script may have chosen, if it is still there.
            store = open_store(request.store)
            store.list_runs(limit=0)
        except ReflowError:
            store = self.store()
        row = run_row(request, record.folder, PENDING)
        # Its caller may have died before it was listed, or the store may be a new one.
        bring_up_to_date(store, record, row)
        return Run(record, row, store, self.workflow)


def _newest_record(folder: str) -> RunRecord:
    from ..storage.filesystem import Files
    from ..storage.run_directory import FOLDER, RunRecord

    files = Files()
    if "run.json" in files.list(folder):
        return RunRecord(folder)
    base = f"{folder}/{FOLDER}"
    records: list[tuple[str, RunRecord]] = []
    damaged: RecordError | None = None
    for name in files.list(base):
        record = RunRecord(f"{base}/{name}")
        if "run.json" not in files.list(record.folder):
            continue
        try:
            native: Any = record.check()
            records.append((str(native.get("created_at", "")), record))
        except RecordError as error:
            damaged = error
    if not records:
        raise damaged or UnknownRunError(f"no run was started in the directory {folder}")
    return max(records, key=itemgetter(0))[1]


def run_argument(access: Access) -> Callable[[Decorated], Decorated]:
    """Let a command take one run: as the argument `run_id`, or by `last`."""

    def decorate(function: Decorated) -> Decorated:
        of = "" if access.workflow is None else " of this workflow"
        option = click.option("--last", is_flag=True, help=f"The newest run{of}.")
        argument = click.argument(
            "run_id", metavar="RUN", required=False, shell_complete=run_ids(access)
        )
        return profile_option(access)(argument(option(function)))

    return decorate


def task_option(access: Access, text: str) -> Callable[[Decorated], Decorated]:
    """Let a command take `--task`."""
    return click.option(
        "--task", metavar="TASK", shell_complete=task_names(access), help=text
    )


workflow_option = click.option("--workflow", metavar="NAME", help="Only this workflow.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def profile_option(access: Access) -> Callable[[Decorated], Decorated]:
    """Let a command take `--profile`; it is in force before anything else is read."""

    def use(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
        if value is not None and not ctx.resilient_parsing:
            access.use_profile(value)

    return click.option(
        "--profile", metavar="NAME", expose_value=False, is_eager=True, callback=use,
        help="Use this profile of the configuration.  [default: $REFLOW_PROFILE]",
    )  # fmt: skip
