"""The command `logs`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

import click

from ..run import Run
from ..states import ENDED, FAILED
from .access import Access, run_argument
from .completion import task_names
from .terminal import table

if TYPE_CHECKING:
    from ..runs.logs import Failure, Log, Selection

_MANY = 20
"""At most this many logs are printed where no task is given; the others are only counted."""

_LOOK_SECONDS = 0.2


def logs_command(access: Access) -> click.Command:
    """Make the command `logs`."""

    @click.command("logs", short_help="Show the output of a run's tasks.")
    @run_argument(access)
    @click.argument("place", metavar="[TASK[INDEX]]", required=False,
                    shell_complete=task_names(access))  # fmt: skip
    @click.option("--follow", "-f", is_flag=True,
                  help="Keep printing new output until the run has ended.")  # fmt: skip
    @click.option("--tail", type=click.IntRange(min=0), metavar="N",
                  help="Show only the last N lines of each log.")  # fmt: skip
    @click.option("--driver", is_flag=True,
                  help="Show the logs of the processes that carry the run on.")  # fmt: skip
    @click.option("--list", "only_list", is_flag=True, help="Only list the files of the logs.")
    def logs(
        run_id: str | None, last: bool, place: str | None, follow: bool, tail: int | None,
        driver: bool, only_list: bool,
    ) -> None:  # fmt: skip
        """Show the output of RUN's tasks, and the tracebacks of what failed.

        This includes attempts after which the element was tried again. TASK or TASK[INDEX]
        shows only that task or element.
        """
        run, task, index = access.choose_element(run_id, last, place)
        if driver and task:
            raise click.UsageError("give a TASK or --driver, not both")
        from ..runs.logs import Selection

        selection = Selection(run.record, run.record.request(), task, index, driver)
        if only_list:
            rows = [
                (log.instance or "-", str(log.attempt or "-"), log.path)
                for log in selection.logs()
            ]
            click.echo(table(("ELEMENT", "ATTEMPT", "PATH"), rows))
            return
        for note in selection.notes():
            click.echo(f"note: {note}", err=True)
        printer = _Printer(sys.stdout.buffer, tail)
        if follow:
            _follow(run, selection, printer)
            failures = [] if driver else _failures(run, task, index)
        else:
            files = selection.logs()
            failures = [] if driver else _failures(run, task, index)
            if task is None and len(files) > _MANY:
                files, failures = _most_important(files, failures)
            printer.headers = len(files) + len(failures) > 1
            for log in files:
                printer.show(log)
        for failure in failures:
            printer.section(failure.title, (failure.detail.rstrip() + "\n").encode())

    return logs


def _failures(run: Run, task: str | None, index: int | None) -> list[Failure]:
    """Return what failed, also where it was tried again."""
    from ..runs.logs import Failure, earlier_failures

    failures = earlier_failures(run.record, run.record.request())
    run.counts()  # brings the store up to the record
    failures += [
        Failure(task=row.task, index=row.index, attempt=0, detail=row.detail)
        for row in run.store.instances(run.run_id, task, states=(FAILED,))
    ]
    return [
        failure
        for failure in failures
        if task in (None, failure.task) and index in (None, failure.index) and failure.detail
    ]


def _most_important(
    logs: list[Log], failures: list[Failure]
) -> tuple[list[Log], list[Failure]]:
    """Return a few of many logs and failures: those of what failed, and failed for good, first."""
    click.echo(
        f"note: {len(logs) - _MANY} of {len(logs)} logs are left out: "
        "give a TASK or TASK[INDEX], or use --list",
        err=True,
    )
    failed = {failure.instance for failure in failures}
    logs = sorted(logs, key=lambda log: log.instance not in failed)
    return logs[:_MANY], sorted(failures, key=lambda failure: bool(failure.attempt))[:_MANY]


class _Printer:
    """Prints logs as the bytes they are, each under a header where there are several."""

    def __init__(self, out: IO[bytes], tail: int | None) -> None:
        self.out = out
        self.tail = tail
        self.headers = False
        self._last = ""

    def show(self, log: Log) -> None:
        """Print a log from its beginning, or its last lines."""
        from ..runs.logs import last_lines, pieces

        parts: Iterator[bytes] = (
            pieces(log.path) if self.tail is None else iter([last_lines(log.path, self.tail)])
        )
        self._header(log.title)
        for part in parts:
            self.out.write(part)
        self.out.flush()

    def section(self, title: str, data: bytes) -> None:
        """Print more of what is called `title`."""
        if data:
            self._header(title)
            self.out.write(data)
            self.out.flush()

    def _header(self, title: str) -> None:
        if self.headers and title != self._last:
            blank = "\n" if self._last else ""
            self.out.write(f"{blank}==> {title} <==\n".encode(errors="backslashreplace"))
        self._last = title


def _follow(run: Run, selection: Selection, printer: _Printer) -> None:
    from ..runs.logs import last_lines, piece, size

    offsets: dict[str, int] = {}
    first = True
    while True:
        # Before the logs are read: so everything that was printed before the end is shown.
        over = run.state in ENDED
        files = selection.logs()
        printer.headers = len(files) > 1
        for log in files:
            if log.path not in offsets:
                offsets[log.path] = 0
                if first and printer.tail is not None:
                    offsets[log.path] = size(log.path)
                    printer.section(log.title, last_lines(log.path, printer.tail))
            while data := piece(log.path, offsets[log.path]):
                offsets[log.path] += len(data)
                printer.section(log.title, data)
        first = False
        if over:
            return
        time.sleep(_LOOK_SECONDS)
