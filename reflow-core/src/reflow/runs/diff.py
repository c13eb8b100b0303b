"""What instances were made of, as records have it, and in what two of them differ."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from attrs import frozen

from ..caching.file_marks import counted
from ..engine.inputs import TaskInputs
from ..engine.planner import Progress, TaskState
from ..engine.replay import Ledger
from ..errors import RecordError, ReflowError
from ..model.spec import TaskSpec, Wire
from ..states import DONE, FAILED
from ..storage.blobs import Values
from ..storage.journal import JournalReader
from ..storage.outcome import Outcome
from ..storage.run_directory import RunRecord, RunRequest
from ..storage.stores.base import Store
from .resolve import RUN_DIR_TYPE

PARAMETER, UPSTREAM, CODE, VERSION, SERIALIZER = (
    "parameter", "upstream", "code", "version", "serializer"
)  # fmt: skip

COMPARED_RUNS = 10
"""So many earlier runs of a workflow are looked through, the newest first."""

_LONGEST = 60


@frozen(kw_only=True)
class Difference:
    """One component of an identity that differs between two instances.

    `kind` is "parameter", "upstream" (a value that a task hands on), "code", "version" or
    "serializer"; `name` the function's parameter, "" for the last three; `before` and `after`
    are short texts; `source` says from which tasks or elements an upstream value is.
    """

    kind: str
    name: str = ""
    before: str = ""
    after: str = ""
    source: str = ""

    def __str__(self) -> str:
        if self.kind == CODE:
            return f"code: {self.after}" if self.after else "its code has changed"
        what = f"{self.kind} {self.name}".rstrip()
        if self.kind == UPSTREAM:
            what = f"value of {self.name} from {self.source}"
        return f"{what}: {self.before} -> {self.after}" if self.before or self.after else what


class Recorded:
    """A run as its record has it: what its instances received, and what came out."""

    def __init__(self, record: RunRecord, request: RunRequest | None = None) -> None:
        """Read a run. Raises `RecordError` where its record is gone or damaged."""
        self.record = record
        self.request = request or record.request()
        ledger = Ledger(self.request)
        ledger.fold(JournalReader(record.files, record.segments).read())
        self.progress = ledger.progress
        self.notes = ledger.notes
        self.values = Values(record.files, record.values)
        self._inputs: dict[str, TaskInputs | None] = {}

    def inputs(self, name: str) -> TaskInputs | None:
        """Return what the elements of a task received, None where not all of it is there."""
        if name not in self._inputs:
            self._inputs[name] = None
            state = self.progress.tasks[name]
            if all(above.succeeded() for above in state.barriers):
                with contextlib.suppress(ReflowError):  # a value is gone
                    self._inputs[name] = TaskInputs(self.progress, self.values, state)
        return self._inputs[name]

    def side(self, name: str, index: int) -> Side | None:
        """Return what an element was made of, None where that cannot be told."""
        inputs = self.inputs(name)
        if inputs is None or not self.progress.supplied(name, index):
            return None
        return Side(self.progress.tasks[name], inputs, index, self.progress, self.values)


class Side(NamedTuple):
    """One of two instances that are compared."""

    state: TaskState
    inputs: TaskInputs
    index: int  # type: ignore[assignment]  # a field, not tuple.index
    progress: Progress
    values: Values

    @property
    def spec(self) -> TaskSpec:
        """The task, as it was asked for."""
        return self.state.spec


def earlier_runs(
    store: Store, workflow: str, before: str = "", but: str = ""
) -> Iterator[Recorded]:
    """Yield the newest runs of a workflow, created until `before`, but for the run `but`.

    Those whose record cannot be read are left out.
    """
    looked = 0
    for row in store.list_runs(graph_name=workflow):
        if row.run_id == but or (before and row.created_at > before):
            continue
        looked += 1
        if looked > COMPARED_RUNS:
            return
        try:
            yield Recorded(RunRecord(row.record))
        except RecordError:
            continue


def task_differences(old: Side, new: Side) -> list[Difference]:
    """Return in what two instances differ but for what each element receives on its own."""
    before, after = old.spec, new.spec
    found = [*_parameters(before, after)]
    was, now = dict(old.inputs.hashed), dict(new.inputs.hashed)
    for wire in after.wires:
        name = wire.parameter
        if not wire.each and name in now and now[name] != was.get(name):
            found.append(_upstream(wire, old, new))
    if before.code != after.code:
        found.append(Difference(kind=CODE))
    if before.version != after.version:
        found.append(Difference(kind=VERSION, before=before.version, after=after.version))
    if before.serializer != after.serializer:
        found.append(
            Difference(
                kind=SERIALIZER, before=before.serializer or "none",
                after=after.serializer or "none",
            )
        )  # fmt: skip
    return found


def element_differences(old: Side, new: Side) -> list[Difference]:
    """Return in what two instances differ of what each element receives on its own."""
    was = dict(zip(_each(old.spec), old.inputs.digests(old.index), strict=True))
    now = dict(zip(_each(new.spec), new.inputs.digests(new.index), strict=True))
    wires = {wire.parameter: wire for wire in new.spec.wires}
    return [
        _upstream(wires[name], old, new) for name, one in now.items() if was.get(name) != one
    ]


def _each(spec: TaskSpec) -> list[str]:
    return [wire.parameter for wire in spec.wires if wire.each]


def _parameters(before: TaskSpec, after: TaskSpec) -> Iterator[Difference]:
    was = {one.parameter: one for one in before.constants}
    now = {one.parameter: one for one in after.constants}
    wired = {wire.parameter: wire for wire in (*before.wires, *after.wires)}
    for name in dict.fromkeys([*now, *was]):
        if name not in now or name not in was:
            gone = "gone, and a task's value instead" if name in wired else "gone"
            yield Difference(
                kind=PARAMETER, name=name,
                before=short(was[name].text) if name in was else "not there",
                after=short(now[name].text) if name in now else gone,
            )  # fmt: skip
        elif was[name].text != now[name].text:
            called = "run_dir" if now[name].type == RUN_DIR_TYPE else name
            yield Difference(
                kind=PARAMETER, name=called, before=short(was[name].text),
                after=short(now[name].text),
            )  # fmt: skip
        elif was[name].type != now[name].type:
            yield Difference(
                kind=PARAMETER, name=name, before=was[name].type, after=now[name].type
            )
        elif was[name].files != now[name].files:
            yield Difference(
                kind=PARAMETER, name=name, before=short(was[name].text),
                after="what stands there has changed",
            )  # fmt: skip


def _upstream(wire: Wire, old: Side, new: Side) -> Difference:
    texts = []
    for side in (old, new):
        known = side.inputs.texts(side.index) if wire.each else side.inputs.common
        texts.append(known.get(wire.parameter))
    before, after = ("not there" if text is None else short(text) for text in texts)
    if texts[0] == texts[1]:
        after = "what stands there has changed"  # it names files
    return Difference(
        kind=UPSTREAM, name=wire.parameter, before=before, after=after,
        source=_source(wire, old, new),
    )  # fmt: skip


def _source(wire: Wire, old: Side, new: Side) -> str:
    """Name the tasks, or elements of tasks, that a differing value is from."""
    if wire.chained:
        return f"{wire.sources[0].task}[{new.index}]"
    if wire.each:
        return _item(wire, new)
    found: list[str] = []
    for source in wire.sources:
        now = new.progress.tasks[source.task]
        was = old.progress.tasks.get(source.task)
        for index, outcome in enumerate(now.outcomes):
            before = was.outcomes[index] if was and index < len(was.outcomes) else None
            if outcome is None or before is None or counted(outcome) != counted(before):
                found.append(instance_name(now.spec, index))
        if was is not None and len(was.outcomes) > len(now.outcomes):
            found.append(f"{source.task} (fewer elements)")
    if not found:
        return ", ".join(source.task for source in wire.sources)
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return ", ".join(found[:3]) + more


def _item(wire: Wire, side: Side) -> str:
    import json

    left = side.index
    for source in wire.sources:
        above = side.progress.tasks[source.task]
        for index, outcome in enumerate(above.outcomes):
            assert outcome is not None  # it was supplied
            size = len(json.loads(side.values.text(outcome))) if source.flatten else 1
            if left < size:
                name = instance_name(above.spec, index)
                return f"{name} (item {left})" if source.flatten else name
            left -= size
    return ", ".join(source.task for source in wire.sources)


def instance_name(spec: TaskSpec, index: int) -> str:
    """Return an instance as people write it, such as ``align[3]``."""
    return f"{spec.name}[{index}]" if spec.array else spec.name


def short(text: str) -> str:
    """Return a value's JSON in so few characters that a line holds two of them."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


class Nearest(NamedTuple):
    """The earlier instance that most is equal with, and what differs."""

    run: Recorded
    index: int  # type: ignore[assignment]  # a field, not tuple.index
    outcome: Outcome
    differences: list[Difference]


def nearest(new: Side, runs: Iterable[Recorded]) -> Nearest | None:
    """Return the earlier instance with the fewest differences; of several the newest run's."""
    name, own = new.spec.name, new.inputs.digests(new.index)
    names = _each(new.spec)
    best: tuple[Any, Recorded, int, Outcome] | None = None
    for order, run in enumerate(runs):
        state = run.progress.tasks.get(name)
        inputs = run.inputs(name) if state is not None else None
        if state is None or inputs is None:
            continue
        level: int | None = None
        same = _each(state.spec) == names
        for index, outcome in enumerate(state.outcomes):
            if outcome is None or outcome.state not in (*DONE, FAILED):
                continue
            side = run.side(name, index)
            if side is None:
                continue
            if level is None:
                level = len(task_differences(side, new))
            if same:
                digests = inputs.digests(index)
                count = sum(one != other for one, other in zip(digests, own, strict=True))
            else:
                count = len(element_differences(side, new))
            key = (level + count, outcome.state == FAILED, order, abs(index - new.index))
            if best is None or key < best[0]:
                edited = int(ran_another(side, outcome))
                key = (key[0] + edited, *key[1:])
                if best is None or key < best[0]:
                    best = (key, run, index, outcome)
        if best is not None and best[0][:2] == (0, False):
            break
    if best is None:
        return None
    _, run, index, outcome = best
    old = run.side(name, index)
    assert old is not None
    found = [*task_differences(old, new), *element_differences(old, new)]
    return Nearest(run, index, outcome, besides(edits(run, old, outcome), found))


def ran_another(side: Side, outcome: Outcome) -> bool:
    """Whether what ran is not what was submitted, by the identity on record."""
    return bool(outcome.identity) and outcome.identity != side.inputs.identity(side.index)


def edits(run: Recorded, side: Side, outcome: Outcome) -> list[Difference]:
    """Return what was edited between the submission of a run and the start of an element."""
    if not ran_another(side, outcome):
        return []
    found = [
        Difference(
            kind=PARAMETER, name=one.parameter, before=short(one.text),
            after="what stands there was changed after the submission",
        )
        for one in side.spec.constants
        if one.stood and any(f"parameter {one.parameter!r} names " in note for note in run.notes)
    ]  # fmt: skip
    if not found or any(f"the code of task {side.spec.name!r}" in note for note in run.notes):
        found.append(Difference(kind=CODE, after="what ran was edited while it was queued"))
    return found


def besides(more: Sequence[Difference], found: Sequence[Difference]) -> list[Difference]:
    """Return what was found, and of more only what is of other components."""
    told = {(one.kind, one.name) for one in found}
    return [*found, *(one for one in more if (one.kind, one.name) not in told)]
