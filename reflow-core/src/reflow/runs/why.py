"""Why an element ran, or did not: what differs from the nearest earlier one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from attrs import asdict, frozen

from ..caching.code_text import difference, kept
from ..engine.planner import TaskState
from ..errors import ParameterError
from ..states import DONE, FAILED, PENDING, SUCCESS
from ..storage.outcome import Outcome
from ..storage.run_directory import RunRecord, RunRequest
from ..storage.stores.base import Store
from .diff import (
    CODE,
    Difference,
    Nearest,
    Recorded,
    Side,
    besides,
    earlier_runs,
    edits,
    nearest,
)
from .instance_view import element_name
from .logs import Selection


@frozen(kw_only=True)
class Why:
    """Why an element ran or was taken over. Prints as text for people.

    `state` is the element's, PENDING where it has not ended. `taken_from` is the id of the run
    that a cached result is from, `compared_with` the nearest earlier element, such as
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
        lines = [f"{element_name(self.task, self.index)} of run {self.run_id}: {self.state}"]
        lines.extend(f"  {reason}" for reason in self.reasons)
        if self.compared_with:
            colon = ":" if self.differences else ""
            lines.append(f"  compared with {self.compared_with}{colon}")
        lines.extend(f"    {difference}" for difference in self.differences)
        lines.extend(f"      {line}" for line in self.diff.splitlines())
        return "\n".join(lines)


def explain(
    record: RunRecord, request: RunRequest, store: Store, task: str, index: int | None
) -> Why:
    """Compare an element with the earlier ones of its task, in the newest runs of the workflow.

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
    place = index or 0
    outcome = state.outcomes[place] if place < len(state.outcomes) else None
    why = partial(
        Why, run_id=request.run_id, task=task, index=index,
        state=PENDING if outcome is None else outcome.state,
    )  # fmt: skip
    if outcome is not None and outcome.state not in _RAN:
        return why(reasons=(_why_not_run(outcome),), taken_from=outcome.origin)
    reasons = _why_not_looked_up(request, cached=state.spec.cache, task=task)
    side = run.side(task, place) if state.size is not None else None
    if side is None:
        return why(reasons=(*reasons, _why_unknown(state)))
    near = _nearest(run, side, outcome, store)
    if near is None:
        return why(reasons=(*reasons, _NEVER_RUN))
    return why(
        reasons=reasons or (_DIFFERS if near.differences else _unused(near),),
        compared_with=f"{near.run.request.run_id} {near.name}",
        differences=tuple(near.differences),
        diff=_code_diff(near.run, run, task, near.differences),
    )


_RAN = (SUCCESS, FAILED)
_NEVER_RUN = "it has never run before, in the newest runs of this workflow"
_DIFFERS = "no earlier result has the same code and inputs"


def _nearest(run: Recorded, side: Side, outcome: Outcome | None, store: Store) -> Nearest | None:
    """Return the most similar earlier element, and what differs from what really ran."""
    request = run.request
    earlier = earlier_runs(store, request.spec.name, request.created_at, request.run_id)
    near = nearest(side, earlier)
    if near is None or outcome is None:
        return near
    return near._replace(differences=besides(near.differences, edits(side, outcome)))


def _why_not_run(outcome: Outcome) -> str:
    """Say why an element has ended without having run."""
    if outcome.state not in DONE:
        return f"it did not run: {outcome.detail}" if outcome.detail else "it did not run"
    if outcome.detail and not outcome.origin:
        return outcome.detail
    origin = f": {outcome.origin}" if outcome.origin else ""
    return f"an earlier run had the same code and inputs, so its result was taken over{origin}"


def _why_unknown(state: TaskState) -> str:
    waits_for = ", ".join(state.lacking())
    if waits_for:
        return f"what it receives is not known yet: it waits for {waits_for}"
    return "what it received cannot be compared any more: a value is gone"


def _why_not_looked_up(request: RunRequest, *, cached: bool, task: str) -> tuple[str, ...]:
    """Say why older results were not even looked at, if they were not."""
    if not cached:
        return ("its task has cache=False: it runs every time",)
    if request.options.forces(task):
        return ("it was forced: older results were not looked at",)
    return ()


def _unused(near: Nearest) -> str:
    """Return why the result of an equal element was not taken."""
    if near.outcome.state == FAILED:
        reason = "the earlier element failed"
    elif not near.outcome.identity:
        reason = (
            "the earlier result counts for no other run: a file that it read was changed while "
            "it ran, or it was taken out of the cache"
        )
    else:
        reason = (
            "the earlier result was not taken over: its value or one of its files was gone or "
            "changed, or a verifier refused it"
        )
    return f"neither its code nor its inputs have changed, but {reason}"


def _code_diff(
    old: Recorded, new: Recorded, task: str, differences: Sequence[Difference]
) -> str:
    if all(component.kind != CODE for component in differences):
        return ""
    return difference(kept(old.record, task), kept(new.record, task))
