"""The command `logs`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

import click

from ..run import Run
from ..states import ENDED, FAILED
from .access import Access, instance_named, run_argument
from .completion import task_names
from .terminal import table

if TYPE_CHECKING:
    from ..runs.logs import Log, Selection

_MANY = 20
"""So many logs are printed where no task is named; the others are only counted."""

_LOOK_SECONDS = 0.2


def logs_command(access: Access) -> click.Command:
    """Make the command `logs`."""

    @click.command("logs", short_help="Show what the tasks of a run printed.")
    @run_argument(access)
    @click.argument("place", metavar="[TASK[INDEX]]", required=False,
                    shell_complete=task_names(access))  # fmt: skip
    @click.option("--follow", "-f", is_flag=True, help="Go on with what is printed until the run "
                                                       "has ended.")  # fmt: skip
    @click.option("--tail", type=click.IntRange(min=0), metavar="N",
                  help="The last N lines of each log only.")  # fmt: skip
    @click.option("--driver", is_flag=True,
                  help="The logs of the processes that carry the run on.")  # fmt: skip
    @click.option("--list", "only_list", is_flag=True, help="Print where the logs are.")
    def logs(
        run_id: str | None,
        last: bool,
        place: str | None,
        follow: bool,
        tail: int | None,
        driver: bool,
        only_list: bool,
    ) -> None:
        """Show what the tasks of RUN printed, and the tracebacks of what failed.

        Also of attempts after which the element was tried again.

        TASK or TASK[INDEX] shows those instances only.
        """
        if last and run_id is not None and place is None:
            run_id, place = None, run_id
        run = access.choose(run_id, last)
        task, index = instance_named(place)
        if driver and task:
            raise click.UsageError("give a TASK or --driver, not both")
        from ..runs.logs import Selection

        chosen = Selection(run.record, run.record.request(), task, index, driver)
        found = chosen.logs()
        if only_list:
            rows = [(one.instance or "-", str(one.attempt or "-"), one.path) for one in found]
            click.echo(table(("INSTANCE", "ATTEMPT", "PATH"), rows))
            return
        for note in chosen.notes():
            click.echo(f"note: {note}", err=True)
        printer = _Printer(sys.stdout.buffer, tail)
        failures = [] if driver else _failures(run, task, index)
        if follow:
            _follow(run, chosen, printer)
            failures = [] if driver else _failures(run, task, index)
        else:
            if task is None and len(found) > _MANY:
                failed = {place for place, _, _ in failures}
                found.sort(key=lambda one: one.instance not in failed)
                click.echo(
                    f"note: {len(found) - _MANY} of {len(found)} logs are left out: "
                    "name a TASK or TASK[INDEX], or see --list",
                    err=True,
                )
                failures.sort(key=lambda one: bool(one[1]))  # what has failed for good
                found, failures = found[:_MANY], failures[:_MANY]
            printer.headers = len(found) + len(failures) > 1
            for one in found:
                printer.show(one)
        for place, attempt, detail in failures:
            printer.section(f"{place}{attempt} failed", (detail.rstrip() + "\n").encode())

    return logs


def _failures(run: Run, task: str | None, index: int | None) -> list[tuple[str, str, str]]:
    """Return (instance, attempt, traceback) of what failed, also where it was tried again.

    The attempt is "" where it was the last.
    """
    from ..runs.logs import earlier_failures

    earlier = [
        (one.instance, f", attempt {one.attempt}", detail)
        for one, detail in earlier_failures(run.record, run.record.request())
        if task in (None, one.task) and index in (None, one.index) and detail
    ]
    run.counts()  # brings the store up to the record
    rows = run.store.instances(run.run_id, task, states=(FAILED,))
    return earlier + [
        (row.task if row.index is None else f"{row.task}[{row.index}]", "", row.detail)
        for row in rows
        if index in (None, row.index) and row.detail
    ]


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


def _follow(run: Run, chosen: Selection, printer: _Printer) -> None:
    from ..runs.logs import last_lines, piece, size

    offsets: dict[str, int] = {}
    first = True
    while True:
        # Asked before the logs are read: what was printed before the end is then shown.
        over = run.state in ENDED
        found = chosen.logs()
        printer.headers = len(found) > 1
        for log in found:
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
