"""Why an instance ran, or did not: what differs from the nearest earlier one."""

from __future__ import annotations

from typing import Any

from attrs import asdict, frozen

from ..caching.code_text import difference, kept
from ..errors import ParameterError
from ..states import CACHED, CANCELLED, FAILED, PENDING, SKIPPED
from ..storage.outcome import Outcome
from ..storage.run_directory import RunRecord, RunRequest
from ..storage.stores.base import Store
from .diff import (
    CODE,
    Difference,
    Recorded,
    Side,
    besides,
    earlier_runs,
    edits,
    instance_name,
    nearest,
)
from .logs import Selection


@frozen(kw_only=True)
class Why:
    """Why an instance ran or was taken over. Prints as text for people.

    `state` is the instance's, PENDING where it has not ended. `taken_from` is the id of the run
    that a cached result is from, `compared_with` the nearest earlier instance, such as
    "demo-20260401-7c2k9q4mx1 align[3]"; both are "" where there is none. `differences` are the
    components of the identity that differ from it, `diff` is what changed in the code, as a
    unified diff where its text is on record. `reasons` are sentences that say all of it.
    """

    run_id: str
    task: str
    index: int | None
    state: str
    reasons: tuple[str, ...]
    taken_from: str = ""
    compared_with: str = ""
    differences: tuple[Difference, ...] = ()
    diff: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-safe values; docs/reference/json has the schema."""
        return asdict(self)

    def __str__(self) -> str:
        name = self.task if self.index is None else f"{self.task}[{self.index}]"
        lines = [f"{name} of run {self.run_id}: {self.state}"]
        lines.extend(f"  {one}" for one in self.reasons)
        if self.compared_with:
            lines.append(f"  compared with {self.compared_with}:")
        lines.extend(f"    {one}" for one in self.differences)
        lines.extend(f"      {line}" for line in self.diff.splitlines())
        return "\n".join(lines)


def explain(
    record: RunRecord, request: RunRequest, store: Store, task: str, index: int | None
) -> Why:
    """Compare an instance with the earlier ones of its task, in the newest runs of the workflow.

    Raises `UnknownTaskError` for a task or an element that the run does not have, and
    `ParameterError` for an array without its index.
    """
    Selection(record, request, task, index)  # checks the names
    run = Recorded(record, request)
    state = run.progress.tasks[task]
    if state.spec.array and index is None:
        raise ParameterError(
            f"task {task!r} is an array: say which of its elements, such as {task}[0]"
        )
    at = index or 0
    known = state.outcomes[at] if state.size is not None and at < state.size else None
    told = _Told(request, task, index, known)
    if known is not None and known.state in (SKIPPED, CANCELLED):
        return told.why(f"it did not run{f': {known.detail}' if known.detail else ''}")
    if known is not None and known.state == CACHED:
        origin = known.origin
        if known.detail and not origin:
            return told.why(known.detail)
        return told.why(
            "it is made of the same as in an earlier run, so that result was taken over"
            + (f": {origin}" if origin else ""), taken_from=origin,
        )  # fmt: skip
    reasons = _asked(request, state.spec.cache, task)
    side = run.side(task, at) if state.size is not None else None
    if side is None:
        waits = ", ".join(state.lacking())
        reasons += [f"what it receives is not known: it waits for {waits}" if waits else
                    "what it received cannot be told any more: a value is gone"]  # fmt: skip
        return told.why(*reasons)
    return _compared(told, run, side, reasons, store)


def _asked(request: RunRequest, cached: bool, task: str) -> list[str]:
    """Return what made it run whatever is in the cache."""
    if not cached:
        return ["its task has cache=False: it runs every time"]
    if request.options.forces(task):
        return ["it was forced: older results were not looked at"]
    return []


def _compared(
    told: _Told, run: Recorded, side: Side, reasons: list[str], store: Store
) -> Why:
    request = run.request
    earlier = earlier_runs(store, request.spec.name, request.created_at, request.run_id)
    found = nearest(side, earlier)
    if found is None:
        return told.why(*reasons, "it has never run before, in the newest runs of this workflow")
    differences = found.differences
    if told.outcome is not None:
        differences = besides(differences, edits(run, side, told.outcome))
    name = instance_name(found.run.progress.tasks[told.task].spec, found.index)
    if not differences and not reasons:
        reasons.append(
            "nothing that it is made of has changed; the result of then "
            + ("was a failure" if found.outcome.state == FAILED else
               "counts for no other run: a file that it read was changed while it ran, or it was "
               "taken out of the cache" if not found.outcome.identity else
               "was not taken: its value or a file of it was gone or changed, or a verifier "
               "refused it")
        )  # fmt: skip
    elif differences and not reasons:
        reasons.append("no earlier result is of the same")
    diff = ""
    if any(one.kind == CODE for one in differences):
        diff = difference(kept(found.run.record, told.task), kept(run.record, told.task))
    return told.why(
        *reasons, compared_with=f"{found.run.request.run_id} {name}",
        differences=tuple(differences), diff=diff,
    )  # fmt: skip


@frozen
class _Told:
    """The instance that is asked about."""

    request: RunRequest
    task: str
    index: int | None
    outcome: Outcome | None

    def why(self, *reasons: str, **more: Any) -> Why:
        return Why(
            run_id=self.request.run_id, task=self.task, index=self.index,
            state=PENDING if self.outcome is None else self.outcome.state,
            reasons=reasons, **more,
        )  # fmt: skip
