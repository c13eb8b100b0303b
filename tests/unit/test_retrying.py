"""When a failure leads to another attempt, and the resources of that attempt."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow import DefinitionError, Retry, Scale, Workflow
from reflow.model.retry import retry_of
from reflow.model.spec import Resources, RetryRule, RetrySpec
from reflow.runs.resolve import build_spec
from reflow.states import CAUSES, ERROR, HELD, LOST, NODE_FAIL, OOM, PREEMPTED, TIMEOUT

GIB = 1024**3


def spec_of(retry: Any, **options: Any) -> Any:
    wf = Workflow("w")

    @wf.job(retry=retry, **options)
    def t() -> int:
        return 1

    return build_spec("w", wf.tasks, {}, "/").tasks[0]


def again(task: Any, *causes: str) -> bool:
    """Return whether the last of these failures, after the others, leads to another attempt."""
    answer: bool = task.retry.again(task.resources, causes[:-1], causes[-1])
    return answer


def test_default_retries_causes_that_are_not_the_fault_of_the_task() -> None:
    task = spec_of(Retry(2), mem="1G", time="10m")
    assert {cause for cause in CAUSES if again(task, cause)} == {
        OOM, TIMEOUT, NODE_FAIL, PREEMPTED, LOST
    }  # fmt: skip


def test_number_retries_every_cause() -> None:
    task = spec_of(2, mem="1G", time="10m")
    assert again(task, ERROR)
    assert again(task, ERROR, OOM)
    assert not again(task, ERROR, OOM, ERROR)
    assert not again(task, HELD)
    assert spec_of(0).retry is None


def test_memory_and_time_grow_and_are_capped() -> None:
    retry = Retry(9, oom=Scale(mem=2, max_mem="3G"), timeout=Scale(time=1.5))
    task = spec_of(retry, mem="1G", time=100)
    grown = [task.retry.resources(task.resources, [OOM] * n).mem for n in range(4)]
    assert grown == [GIB, 2 * GIB, 3 * GIB, 3 * GIB]
    assert task.retry.resources(task.resources, [OOM, TIMEOUT]).time == 150
    assert again(task, OOM, OOM)
    assert not again(task, OOM, OOM, OOM), "at the most there is nothing more to give"


def test_no_retry_if_the_resource_cannot_grow() -> None:
    assert not again(spec_of(Retry(3)), OOM)
    assert again(spec_of(Retry(3, oom=True)), OOM)


@pytest.mark.parametrize(
    "bad",
    [
        "3", -1, 1.5, True, [3],
        lambda: Retry(-1), lambda: Retry(True), lambda: Retry(2, oom=2), lambda: Scale(mem=0.5),
        lambda: Scale(time=True), lambda: Scale(mem="2"), lambda: Scale(max_mem="lots"),
    ],
)  # fmt: skip
def test_bad_values_are_refused(bad: Any) -> None:
    with pytest.raises(DefinitionError):
        retry_of(bad() if callable(bad) else bad)


def test_retry_options_of_other_systems_are_not_native_options() -> None:
    with pytest.raises(DefinitionError, match="did you mean 'retry'"):
        spec_of(None, retries=3)


@given(
    st.lists(st.sampled_from([OOM, TIMEOUT, ERROR]), max_size=8),
    st.floats(1, 4), st.integers(1, 10**12), st.one_of(st.none(), st.integers(1, 10**13)),
)  # fmt: skip
def test_memory_of_attempts_never_shrinks_nor_exceeds_the_maximum(
    causes: list[str], factor: float, mem: int, most: int | None
) -> None:
    retry = RetrySpec(times=8, rules=(RetryRule(cause=OOM, mem=factor, max_mem=most),))
    first = Resources(mem=mem)
    sizes = [retry.resources(first, causes[:n]).mem or 0 for n in range(len(causes) + 1)]
    assert sizes == sorted(sizes)
    assert most is None or max(sizes) <= max(mem, most)
