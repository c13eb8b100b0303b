"""What elements were made of, as records have it, and in what two of them differ."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from attrs import frozen

from ..caching.file_marks import digest_with_files
from ..engine.inputs import TaskInputs
from ..engine.planner import Progress, TaskState
from ..engine.run_view import RunView
from ..errors import RecordError, ReflowError
from ..model.spec import Constant, TaskSpec, Wire
from ..states import DONE, FAILED
from ..storage.blobs import Values
from ..storage.outcome import CODE_EDITED, Outcome
from ..storage.run_directory import RunRecord, RunRequest
from ..storage.stores.base import Store
from .instance_view import element_name
from .resolve import RUN_DIR_TYPE

PARAMETER, UPSTREAM, CODE, VERSION, SERIALIZER = (
    "parameter", "upstream", "code", "version", "serializer"
)  # fmt: skip

COMPARED_RUNS = 10
"""So many earlier runs of a workflow are looked through, the newest first."""

_LONGEST = 60
_CHANGED = "what stands there has changed"
"""What differs where two texts are equal: the files that they name."""


@frozen(kw_only=True)
class Difference:
    """One component of an identity that differs between two elements.

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
    """A run as its record has it: what its elements received, and what came out."""

    def __init__(self, record: RunRecord, request: RunRequest | None = None) -> None:
        """Read a run. Raises `RecordError` where its record is gone or damaged."""
        self.record = record
        self.request = request or record.request()
        self.progress = RunView(record, self.request.spec).progress
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
    """One of two elements that are compared."""

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
    rows = (
        row
        for row in store.list_runs(graph_name=workflow)
        if row.run_id != but and (not before or row.created_at <= before)
    )
    for row in islice(rows, COMPARED_RUNS):
        with contextlib.suppress(RecordError):
            yield Recorded(RunRecord(row.record))


def task_differences(old: Side, new: Side) -> list[Difference]:
    """Return in what two elements differ but for what each element receives on its own."""
    before, after = old.spec, new.spec
    differences = list(_parameters(before, after))
    digests_before, digests = dict(old.inputs.hashed), dict(new.inputs.hashed)
    for wire in after.wires:
        name = wire.parameter
        if not wire.each and name in digests and digests[name] != digests_before.get(name):
            differences.append(_upstream(wire, old, new))
    if before.code != after.code:
        differences.append(Difference(kind=CODE))
    if before.version != after.version:
        differences.append(Difference(kind=VERSION, before=before.version, after=after.version))
    if before.serializer != after.serializer:
        differences.append(
            Difference(
                kind=SERIALIZER, before=before.serializer or "none",
                after=after.serializer or "none",
            )
        )  # fmt: skip
    return differences


def element_differences(old: Side, new: Side) -> list[Difference]:
    """Return in what two elements differ of what each element receives on its own."""
    before = dict(zip(_each(old.spec), old.inputs.digests(old.index), strict=True))
    after = dict(zip(_each(new.spec), new.inputs.digests(new.index), strict=True))
    wires = {wire.parameter: wire for wire in new.spec.wires}
    return [
        _upstream(wires[name], old, new)
        for name, digest in after.items()
        if before.get(name) != digest
    ]


def _each(spec: TaskSpec) -> list[str]:
    return [wire.parameter for wire in spec.wires if wire.each]


def _parameters(before: TaskSpec, after: TaskSpec) -> Iterator[Difference]:
    old = {constant.parameter: constant for constant in before.constants}
    new = {constant.parameter: constant for constant in after.constants}
    wired = {wire.parameter for wire in (*before.wires, *after.wires)}
    for name in dict.fromkeys([*new, *old]):
        if name in new and name in old:
            yield from _parameter(name, old[name], new[name])
            continue
        gone = "gone, and a task's value instead" if name in wired else "gone"
        yield Difference(
            kind=PARAMETER, name=name,
            before=short(old[name].text) if name in old else "not there",
            after=short(new[name].text) if name in new else gone,
        )  # fmt: skip


def _parameter(name: str, old: Constant, new: Constant) -> Iterator[Difference]:
    """Yield in what a constant differs, if it does: its text, its type or its files."""
    text = short(old.text)
    if old.text != new.text:
        name = "run_dir" if new.type == RUN_DIR_TYPE else name
        yield Difference(kind=PARAMETER, name=name, before=text, after=short(new.text))
    elif old.type != new.type:
        yield Difference(kind=PARAMETER, name=name, before=old.type, after=new.type)
    elif old.files != new.files:
        yield Difference(kind=PARAMETER, name=name, before=text, after=_CHANGED)


def _upstream(wire: Wire, old: Side, new: Side) -> Difference:
    before, after = (
        (side.inputs.texts(side.index) if wire.each else side.inputs.common).get(wire.parameter)
        for side in (old, new)
    )
    return Difference(
        kind=UPSTREAM, name=wire.parameter, before=_shown(before),
        after=_CHANGED if before == after else _shown(after), source=_source(wire, old, new),
    )  # fmt: skip


def _shown(text: str | None) -> str:
    return "not there" if text is None else short(text)


def _source(wire: Wire, old: Side, new: Side) -> str:
    """Name the tasks, or elements of tasks, that a differing value is from."""
    if wire.chained:
        return element_name(wire.sources[0].task, new.index)
    if wire.each:
        return _item(wire, new)
    names = [name for source in wire.sources for name in _differing(source.task, old, new)]
    if not names:
        return ", ".join(source.task for source in wire.sources)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _differing(task: str, old: Side, new: Side) -> Iterator[str]:
    """Name the elements of a task whose outcomes differ between two runs."""
    state, state_before = new.progress.tasks[task], old.progress.tasks.get(task)
    outcomes = state_before.outcomes if state_before is not None else []
    for index, outcome in enumerate(state.outcomes):
        before = outcomes[index] if index < len(outcomes) else None
        if (
            outcome is None
            or before is None
            or digest_with_files(outcome) != digest_with_files(before)
        ):
            yield _name(state.spec, index)
    if len(outcomes) > len(state.outcomes):
        yield f"{task} (fewer elements)"


def _item(wire: Wire, side: Side) -> str:
    """Name the element of which this one receives the value, or an item of it."""
    import json

    position = side.index
    for source in wire.sources:
        above = side.progress.tasks[source.task]
        for index, outcome in enumerate(above.outcomes):
            assert outcome is not None  # it was supplied
            size = len(json.loads(side.values.text(outcome))) if source.flatten else 1
            if position < size:
                name = _name(above.spec, index)
                return f"{name} (item {position})" if source.flatten else name
            position -= size
    return ", ".join(source.task for source in wire.sources)


def _name(spec: TaskSpec, index: int) -> str:
    return element_name(spec.name, index if spec.array else None)


def short(text: str) -> str:
    """Return a value's JSON in so few characters that a line holds two of them."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


class Nearest(NamedTuple):
    """The earlier element that has the most in common, and what differs."""

    run: Recorded
    name: str
    outcome: Outcome
    differences: list[Difference]


class _Candidate(NamedTuple):
    """An earlier element, by which it compares: the smallest is the nearest."""

    differences: int
    failed: bool
    run_order: int
    distance: int


def nearest(new: Side, runs: Iterable[Recorded]) -> Nearest | None:
    """Return the earlier element with the fewest differences; of several the newest run's."""
    best: tuple[_Candidate, Recorded, Side, Outcome] | None = None
    for order, run in enumerate(runs):
        for candidate, old, outcome in _candidates(new, run, order):
            if best is not None and candidate >= best[0]:
                continue
            # Only now: an identity costs more than what it is compared with.
            candidate = candidate._replace(
                differences=candidate.differences + ran_another(old, outcome)
            )
            if best is None or candidate < best[0]:
                best = candidate, run, old, outcome
        if best is not None and best[0][:2] == (0, False):
            break  # no older run can be nearer
    if best is None:
        return None
    _, run, old, outcome = best
    differences = [*task_differences(old, new), *element_differences(old, new)]
    return Nearest(
        run, _name(old.spec, old.index), outcome, besides(edits(old, outcome), differences)
    )


def _candidates(
    new: Side, run: Recorded, order: int
) -> Iterator[tuple[_Candidate, Side, Outcome]]:
    """Yield the elements of an earlier run's task that ran, in order."""
    name, own = new.spec.name, new.inputs.digests(new.index)
    state = run.progress.tasks.get(name)
    inputs = run.inputs(name) if state is not None else None
    if state is None or inputs is None:
        return
    of_task: int | None = None  # the same for all elements
    same_wires = _each(state.spec) == _each(new.spec)
    for index, outcome in enumerate(state.outcomes):
        if outcome is None or outcome.state not in (*DONE, FAILED):
            continue
        old = run.side(name, index)
        if old is None:
            continue
        if of_task is None:
            of_task = len(task_differences(old, new))
        if same_wires:
            pairs = zip(inputs.digests(index), own, strict=True)
            of_element = sum(before != after for before, after in pairs)
        else:
            of_element = len(element_differences(old, new))
        yield (
            _Candidate(
                of_task + of_element, outcome.state == FAILED, order, abs(index - new.index)
            ),
            old, outcome,
        )  # fmt: skip


def ran_another(side: Side, outcome: Outcome) -> bool:
    """Whether what ran is not what was submitted, by the identity on record."""
    return bool(outcome.identity) and outcome.identity != side.inputs.identity(side.index)


def edits(side: Side, outcome: Outcome) -> list[Difference]:
    """Return what was edited between the submission of a run and the start of an element."""
    if not ran_another(side, outcome):
        return []
    texts = {constant.parameter: constant.text for constant in side.spec.constants}
    edited = [
        Difference(
            kind=PARAMETER, name=name, before=short(texts[name]),
            after="what stands there was changed after the submission",
        )
        for name in outcome.edited
        if name in texts
    ]  # fmt: skip
    # Records of earlier versions do not say what it was: mostly the code.
    if CODE_EDITED in outcome.edited or not edited:
        edited.append(Difference(kind=CODE, after="what ran was edited while it was queued"))
    return edited


def besides(more: Sequence[Difference], differences: Sequence[Difference]) -> list[Difference]:
    """Return the differences, and of `more` only what is of other components."""
    components = {(difference.kind, difference.name) for difference in differences}
    return [
        *differences,
        *(extra for extra in more if (extra.kind, extra.name) not in components),
    ]
