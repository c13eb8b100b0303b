"""Jobs that are queued behind others: which jobs hold which elements, and what follows."""

from __future__ import annotations

import pytest

from reflow.engine.lookahead import MAX_AHEAD, ahead
from reflow.engine.planner import Progress
from reflow.model.spec import Source, TaskSpec, Wire, WorkflowSpec
from reflow.states import FAILED, SUCCESS
from reflow.storage.outcome import Outcome


def wire(mode: str, task: str, *, array: bool = False, flatten: bool = False) -> Wire:
    source = Source(task=task, array=array, flatten=flatten)
    each = mode in ("fan-out", "chain")
    return Wire(parameter=task, mode=mode, sources=(source,), each=each, listed=array or flatten)


READ = TaskSpec(name="read", array=True, wires=(wire("fan-out", "files", flatten=True),))
PARSE = TaskSpec(name="parse", array=True, wires=(wire("chain", "read", array=True),))
COUNT = TaskSpec(name="count", wires=(wire("gather", "read", array=True),))
SPEC = WorkflowSpec(name="w", tasks=(TaskSpec(name="files"), READ, PARSE, COUNT))


def progress_of(jobs: dict[str, tuple[int, ...]], states: dict[int, str]) -> Progress:
    """Return a run with four elements of `read`, some held by jobs and some ended."""
    progress = Progress(SPEC)
    progress.record(Outcome("files", 0, 1, SUCCESS))
    progress.resize("read", 4)
    for tag, indices in jobs.items():
        for index in indices:
            progress.launch("read", index, 1, tag)
    for index, state in states.items():
        progress.record(Outcome("read", index, 1, state))
    return progress


def queued_ahead(
    progress: Progress, maps: dict[str, tuple[int, ...]], elementwise: bool = True
) -> list[tuple[str, tuple[int, ...], tuple[str, ...], str]]:
    return [
        (job.state.spec.name, job.indices, job.after, job.each)
        for job in ahead(progress, maps, elementwise=elementwise)
    ]


ALL = {"j": (0, 1, 2, 3)}


@pytest.mark.parametrize(
    ("jobs", "states", "expected"),
    [
        # nobody has anything in hand: what can run is submitted, not queued ahead
        ({}, {}, []),
        # one job has all: a chain waits element by element, a gather for the whole
        (ALL, {}, [("parse", (0, 1, 2, 3), (), "j"), ("count", (0,), ("j",), "")]),
        # in the order of that job's own positions
        (
            {"j": (3, 1, 0, 2)},
            {},
            [("parse", (3, 1, 0, 2), (), "j"), ("count", (0,), ("j",), "")],
        ),
        # several jobs: one job behind each; a single element is no array
        (
            {"j": (0, 1, 2), "k": (3,)},
            {},
            [
                ("parse", (0, 1, 2), (), "j"),
                ("parse", (3,), ("k",), ""),
                ("count", (0,), ("j", "k"), ""),
            ],
        ),
        # an element that has ended breaks the likeness of positions: behind the whole job
        (ALL, {1: SUCCESS}, [("parse", (0, 2, 3), ("j",), ""), ("count", (0,), ("j",), "")]),
        # below a failure nothing is queued, and no gather
        (ALL, {1: FAILED}, [("parse", (0, 2, 3), ("j",), "")]),
        # nor what needs an element that nobody has in hand
        ({"j": (0, 1)}, {}, [("parse", (0, 1), (), "j")]),
        # nor behind this very process
        ({"": (0, 1, 2, 3)}, {}, []),
    ],
)
def test_what_is_queued_behind_jobs(jobs, states, expected) -> None:
    assert queued_ahead(progress_of(jobs, states), jobs) == expected


def test_chain_waits_for_the_array_if_the_scheduler_cannot_wait_by_element() -> None:
    (chained, _) = queued_ahead(progress_of(ALL, {}), ALL, elementwise=False)
    assert chained == ("parse", (0, 1, 2, 3), ("j",), "")


def test_element_that_was_queued_in_vain_too_often_waits_for_its_values() -> None:
    progress = progress_of(ALL, {})
    for attempt in range(1, MAX_AHEAD + 1):
        progress.launch("parse", 0, attempt, "p")
        progress.land("parse", 0)
    chained = queued_ahead(progress, ALL)[0]
    assert chained == ("parse", (1, 2, 3), ("j",), "")
