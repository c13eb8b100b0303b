"""Lineages: names for elements whose inputs are not there yet."""

from __future__ import annotations

import pytest
from attrs import evolve

from reflow.caching.lineage import element_lineage, task_lineages
from reflow.model.spec import Constant, Source, TaskSpec, Wire, WorkflowSpec


def chain(**changes: TaskSpec) -> WorkflowSpec:
    """Return three tasks in a row and one beside them; `changes` replace tasks by name."""
    tasks = [
        TaskSpec(name="a", constants=(Constant(parameter="x", type="int", text="1"),)),
        TaskSpec(name="b", array=True, wires=(wire("a", each=True, flatten=True),)),
        TaskSpec(name="c", array=True, wires=(wire("b", each=True, array=True),)),
        TaskSpec(name="d"),
    ]
    return WorkflowSpec(name="flow", tasks=tuple(changes.get(task.name, task) for task in tasks))


def wire(task: str, *, each: bool = False, **source: bool) -> Wire:
    return Wire(
        parameter="p", mode="chain", sources=(Source(task=task, **source),), each=each
    )


def lineages(**changes: TaskSpec) -> dict[str, str]:
    return task_lineages(chain(**changes), lambda task: task.cache)


def task(name: str) -> TaskSpec:
    return next(spec for spec in chain().tasks if spec.name == name)


@pytest.mark.parametrize(
    ("changed", "differ"),
    [
        (evolve(task("a"), constants=(Constant(parameter="x", type="int", text="2"),)), "abc"),
        (evolve(task("a"), version="2"), "abc"),
        (evolve(task("b"), code="0a"), "bc"),
        (evolve(task("b"), wires=(wire("a", each=True),)), "bc"),
        (evolve(task("c"), serializer="pickle"), "c"),
        (evolve(task("d"), version="2"), "d"),
        (evolve(task("a"), array_parallelism=3), ""),
    ],
)
def test_change_counts_for_the_task_and_all_below_it(changed: TaskSpec, differ: str) -> None:
    before, after = lineages(), lineages(**{changed.name: changed})
    assert {name for name in before if before[name] != after[name]} == {*differ}


def test_uncached_task_and_those_below_it_have_no_lineage() -> None:
    texts = lineages(b=evolve(task("b"), cache=False))
    assert {name for name, text in texts.items() if not text} == {"b", "c"}


def test_every_element_has_its_own_lineage() -> None:
    texts = lineages()
    names = {element_lineage(text, index) for text in texts.values() for index in range(1000)}
    assert len(names) == 4000
    assert len({name[:12] for name in names}) == 4000  # stores look them up by this prefix
    assert {len(bytes.fromhex(name)) for name in names} == {32}
    assert element_lineage("", 3) == ""
