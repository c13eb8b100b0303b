"""A store in one file of JSON lines, each a change.

Every call reads the file from its beginning; a change is appended under a lock, whole or
not at all. So there is no state to share between threads, processes and forks, and a
killed process leaves the file right.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from attrs import asdict, define, evolve, field, frozen

from reflow.errors import StoreError, UnknownRunError, UnknownTaskError, unknown_name
from reflow.states import CACHED, INSTANCE_STATES, PENDING, RUN_STATES, SUCCESS, TERMINAL
from reflow.stores.base import (
    WHOLE_TASK,
    CachedResult,
    InstanceRow,
    Outcome,
    Position,
    QueryError,
    RunRow,
    Store,
    TaskRow,
)  # fmt: skip


@define
class Indexed:
    """What the file says of one run."""

    row: RunRow
    tasks: dict[str, TaskRow]
    position: Position = field(factory=Position)
    outcomes: dict[tuple[str, int], Outcome] = field(factory=dict)

    def task(self, name: str) -> TaskRow:
        if name not in self.tasks:
            raise UnknownTaskError(
                f"run {self.row.run_id}: {unknown_name('task', name, self.tasks)}"
            )
        return self.tasks[name]


@frozen
class Opened:
    """The file, locked; its whole lines are `length` bytes and say `runs`."""

    file: int
    length: int
    runs: dict[str, Indexed]

    def run(self, run_id: str) -> Indexed:
        if run_id not in self.runs:
            raise UnknownRunError(unknown_name("run", run_id, [*self.runs][-3:]))
        return self.runs[run_id]

    def append(self, *change: object) -> None:
        line = json.dumps(change, separators=(",", ":")).encode() + b"\n"
        try:
            os.ftruncate(self.file, self.length)  # what a killed writer left
            written = 0
            while written < len(line):
                written += os.pwrite(self.file, line[written:], self.length + written)
            os.fsync(self.file)
        except OSError:
            os.ftruncate(self.file, self.length)
            raise


class JsonLinesStore(Store):
    """The store in the file at `path`, which is made if it is not there; its folder must be."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()

    @property
    def url(self) -> str:
        return f"jsonl:///{quote(os.fsencode(self.path))}"

    @classmethod
    def from_url(cls, url: str) -> JsonLinesStore:
        scheme, _, place = url.partition(":///")
        if scheme != "jsonl" or not place:
            raise StoreError(f"cannot open the store {url!r}: write jsonl:////absolute/path")
        return cls(os.fsdecode(unquote_to_bytes(os.fsencode(place))))

    def close(self) -> None:
        """Nothing is kept open."""

    @contextmanager
    def _opened(self, lock: int = fcntl.LOCK_SH) -> Iterator[Opened]:
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(file, lock)
                data = self.path.read_bytes()
                length = data.rfind(b"\n") + 1
                yield Opened(file, length, self._replayed(data[:length]))
            finally:
                os.close(file)
        except OSError as error:
            raise StoreError(
                f"store {self.path}: {error.strerror}; name a file in a folder that is there, "
                "that you may write to and that has room"
            ) from error

    def _replayed(self, lines: bytes) -> dict[str, Indexed]:
        runs: dict[str, Indexed] = {}
        try:
            for line in lines.splitlines():
                kind, *arguments = json.loads(line)
                CHANGES[kind](runs, *arguments)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"store {self.path} is no file of this store, or damaged ({error}); move it away "
                "and rebuild the store from the run directories"
            ) from error
        return runs

    def add_run(self, run: RunRow, tasks: Sequence[tuple[str, bool]]) -> None:
        check_states([run.status], RUN_STATES)
        moment("created_at", run.created_at)
        with self._opened(fcntl.LOCK_EX) as opened:
            opened.append("add", asdict(run), list(tasks))

    def drop_run(self, run_id: str) -> None:
        with self._opened(fcntl.LOCK_EX) as opened:
            opened.append("drop", run_id)

    def set_status(self, run_id: str, status: str) -> None:
        check_states([status], RUN_STATES)
        with self._opened(fcntl.LOCK_EX) as opened:
            opened.run(run_id)
            opened.append("status", run_id, status)

    def apply(
        self, run_id: str, changes: Sequence[Outcome], sizes: Mapping[str, int],
        status: str | None, position: Position, live: Sequence[Outcome] | None = None,
    ) -> bool:  # fmt: skip
        check_states([status or PENDING], RUN_STATES)
        with self._opened(fcntl.LOCK_EX) as opened:
            run = opened.run(run_id)
            for task in (*sizes, *(outcome.task for outcome in (*changes, *(live or ())))):
                run.task(task)
            if position < run.position:
                return False
            place = (position.segment, position.offset)
            opened.append("apply", run_id, changes, dict(sizes), status, place, live)
            return True

    def position(self, run_id: str) -> Position:
        with self._opened() as opened:
            return opened.run(run_id).position

    def lookup(
        self, identities: Sequence[bytes | str], *, newest: bool = False,
        besides: Collection[str] = (),
    ) -> dict[str, CachedResult]:  # fmt: skip
        hexadecimal = {key.hex() if isinstance(key, bytes) else key for key in identities}
        hits: dict[str, CachedResult] = {}
        with self._opened() as opened:
            runs = {name: run for name, run in opened.runs.items() if name not in besides}
        for run in runs.values():
            for outcome in run.outcomes.values():
                # A run that took a result over stands for the run it is from, once that has gone.
                stands = outcome.state == CACHED and outcome.origin not in runs
                is_hit = outcome.identity in hexadecimal and (stands or outcome.state == SUCCESS)
                if is_hit and (newest or outcome.identity not in hits):
                    hits[outcome.identity] = cached_result(run.row, outcome)
        return hits

    def list_runs(
        self, graph_name: str | None = None, limit: int | None = None, since: str | None = None,
        until: str | None = None, status: str | None = None,
    ) -> list[RunRow]:  # fmt: skip
        check_states([status or PENDING], RUN_STATES)
        if limit is not None and (not isinstance(limit, int) or limit < 0):
            raise QueryError(f"limit must be a whole number from 0 on, or None, not {limit!r}")
        start, end = moment("since", since or "0001-01-02"), moment("until", until or "9999-12-30")
        with self._opened() as opened:
            rows = [(moment("created_at", run.row.created_at), run.row)
                    for run in opened.runs.values()]  # fmt: skip
        rows.sort(key=lambda pair: pair[0], reverse=True)
        return [
            row for when, row in rows
            if start <= when < end and graph_name in (None, row.graph_name)
            and status in (None, row.status)
        ][:limit]  # fmt: skip

    def run(self, run_id: str) -> RunRow:
        with self._opened() as opened:
            names = [name for name in opened.runs if run_id and name.startswith(run_id)]
            if len(names) > 1 and run_id not in names:
                raise UnknownRunError(f"several runs begin with {run_id!r}: {', '.join(names[:5])}")
            return opened.run(names[0] if len(names) == 1 else run_id).row

    def tasks(self, run_id: str) -> list[TaskRow]:
        with self._opened() as opened:
            return list(opened.run(run_id).tasks.values())

    def summary(self, run_id: str) -> dict[str, dict[str, int]]:
        with self._opened() as opened:
            run = opened.run(run_id)
        counts: dict[str, dict[str, int]] = {name: {} for name in run.tasks}
        for outcome in run.outcomes.values():
            states = counts[outcome.task]
            states[outcome.state] = states.get(outcome.state, 0) + 1
        for name, states in counts.items():
            pending = (run.tasks[name].size or 0) - sum(states.values())
            if pending > 0:
                states[PENDING] = states.get(PENDING, 0) + pending
        return counts

    def instances(
        self, run_id: str, task: str | None = None, states: Iterable[str] | None = None
    ) -> list[InstanceRow]:
        allowed = INSTANCE_STATES if states is None else tuple(states)
        check_states(allowed, INSTANCE_STATES)
        with self._opened() as opened:
            run = opened.run(run_id)
        names = [run.task(task).name] if task is not None else list(run.tasks)
        outcomes = [o for o in run.outcomes.values() if o.task in names and o.state in allowed]
        outcomes.sort(key=lambda o: (names.index(o.task), o.index))
        return [
            InstanceRow(
                o.task, o.index if run.tasks[o.task].array and o.index != WHOLE_TASK else None,
                o.state, o.attempt, o.identity, o.digest, o.value,
                o.value is None and o.digest != "", o.cause, o.detail, o.origin, o.job,
                o.started, o.ended, o.paths, o.prints,
            )
            for o in outcomes
        ]  # fmt: skip


# What a line of the file does, by its first word.


def added(runs: dict[str, Indexed], described: dict[str, Any], tasks: list[Any]) -> None:
    row = RunRow(**described)
    rows = {n: TaskRow(name=n, array=array, size=None if array else 1) for n, array in tasks}
    old = runs.get(row.run_id)
    if old and [(t.name, t.array) for t in old.tasks.values()] == [(n, a) for n, a in tasks]:
        old.row = row
        return
    runs.pop(row.run_id, None)  # indexed anew, it counts as added last
    runs[row.run_id] = Indexed(row, rows)


def set_to(runs: dict[str, Indexed], run_id: str, status: str) -> None:
    runs[run_id].row = evolve(runs[run_id].row, status=status)


def applied(
    runs: dict[str, Indexed], run_id: str, changes: list[Any], sizes: dict[str, int],
    status: str | None, place: list[int], live: list[Any] | None,
) -> None:  # fmt: skip
    run = runs[run_id]
    for name, size in sizes.items():
        run.tasks[name] = evolve(run.tasks[name], size=size)
        run.outcomes.pop((name, WHOLE_TASK), None)
    if live is not None:
        run.outcomes = {key: o for key, o in run.outcomes.items() if o.state in TERMINAL}
    for values in (*changes, *(live or ())):
        outcome = Outcome(*values)
        run.outcomes[outcome.task, outcome.index] = outcome._replace(
            paths=tuple(outcome.paths), prints=tuple(outcome.prints)
        )
    run.row = evolve(run.row, status=status or run.row.status)
    run.position = Position(*place)


CHANGES: dict[str, Any] = {
    "add": added, "status": set_to, "apply": applied,
    "drop": lambda runs, run_id: runs.pop(run_id, None),
}  # fmt: skip


def cached_result(run: RunRow, outcome: Outcome) -> CachedResult:
    return CachedResult(
        run_id=run.run_id, record=run.record, task=outcome.task, index=outcome.index,
        identity=outcome.identity, digest=outcome.digest, value=outcome.value,
        paths=outcome.paths, prints=outcome.prints,
    )  # fmt: skip


def check_states(states: Iterable[str], allowed: Sequence[str]) -> None:
    for state in states:
        if state not in allowed:
            raise QueryError(unknown_name("state", state, allowed))


def moment(name: str, text: str) -> datetime:
    try:  # Python 3.10 does not read "Z"
        time = datetime.fromisoformat(text[:-1] + "+00:00" if text[-1:] in "Zz" else text)
    except (TypeError, ValueError):
        raise QueryError(f"{name} must be an ISO-8601 date or datetime, not {text!r}") from None
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)
