"""How a run goes on, by example: read from top to bottom, this is the engine's theory.

Each story is a small workflow and a table. The left column of the table says what happened,
the right column what the planner says then:

========================  ======================================================================
``ready a b[0]``          what can run now; each element is handed out once
``size b``                the inputs of array b are there: its size is to be read off their values
``skip c for a``          c can never run because of a; it counts once it is recorded ("c skipped")
``over SUCCESS``          the run has ended
``refused``               the element has an outcome already, which stands
========================  ======================================================================

``b[*]`` is array b as a whole, before anybody knows its elements.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reflow.engine.planner import Progress
from reflow.model.spec import (
    Resources,
    RetryRule,
    RetrySpec,
    Source,
    TaskSpec,
    Wire,
    WorkflowSpec,
)
from reflow.states import (
    CACHED,
    CANCELLED,
    DONE,
    ERROR,
    FAILED,
    NODE_FAIL,
    OOM,
    SKIPPED,
    SUCCESS,
    TIMEOUT,
)
from reflow.storage.events import Retried
from reflow.storage.outcome import WHOLE_TASK, Outcome

# The words of the stories.


def workflow(text: str) -> WorkflowSpec:
    """Return a workflow of lines such as ``scale[]: chain parts, broadcast factor``.

    An array has brackets. What a task receives is a mode of `reflow.model.spec.MODES` and the
    upstream task (or tasks, with a ``+`` between them), or ``after`` and a task.
    """
    tasks: dict[str, TaskSpec] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        head, _, inputs = line.partition(":")
        name, array = head.removesuffix("[]"), head.endswith("[]")
        wires: list[Wire] = []
        after: list[str] = []
        for mode, names in (part.split() for part in inputs.split(",") if part):
            if mode == "after":
                after.append(names)
                continue
            sources = tuple(
                Source(
                    task=source,
                    array=tasks[source].array,
                    flatten=mode == "fan-out" or mode.endswith("-flatten"),
                )
                for source in names.split("+")
            )
            wires.append(
                Wire(
                    parameter=f"p{len(wires)}",
                    mode=mode,
                    sources=sources,
                    each=mode in ("fan-out", "chain", "chain-flatten"),
                    listed=any(source.array or source.flatten for source in sources),
                )
            )
        tasks[name] = TaskSpec(name=name, array=array, wires=tuple(wires), after=tuple(after))
    return WorkflowSpec(name="example", tasks=tuple(tasks.values()))


STATES = {
    "succeeds": SUCCESS, "cached": CACHED, "fails": FAILED, "skipped": SKIPPED,
    "cancelled": CANCELLED,
}  # fmt: skip


def element(text: str) -> tuple[str, int]:
    """Return the task and index of ``task``, ``task[3]`` or ``task[*]``."""
    name, _, index = text.removesuffix("]").partition("[")
    return name, WHOLE_TASK if index == "*" else int(index or 0)


def happen(progress: Progress, event: str) -> bool:
    """Tell the planner what happened; return whether it took note of that."""
    event, _, number = event.partition(" in attempt ")
    if event.startswith("retry"):
        progress.reopen(event.split()[1:] or tuple(progress.tasks))
        return True
    if match := re.fullmatch(r"(\w+) has (\d+)", event):
        progress.resize(match[1], int(match[2]))
        return True
    who, what, *more = event.split()
    name, index = element(who)
    attempt = int(number or max(1, progress.tasks[name].tries.get(index, 0)))
    if what == "again":  # after a cause
        return progress.retry(Retried(name, index, attempt, more[-1], "", "", 0.0))
    if what == "launched":  # perhaps in a job
        progress.launch(name, index, attempt, more[-1] if more else "")
    elif what == "landed":
        progress.land(name, index)
    elif what == "unused":
        progress.put_back(name, index)
    else:
        return progress.record(Outcome(name, index, attempt, STATES[what]))
    return True


def answer(progress: Progress) -> list[str]:
    """Return what the planner says now."""

    def named(name: str, index: int) -> str:
        if index == WHOLE_TASK:
            return f"{name}[*]"
        return f"{name}[{index}]" if progress.tasks[name].spec.array else name

    answers = [f"size {state.spec.name}" for state in progress.take_unsized()]
    skips: dict[str, list[str]] = {}
    for name, index, culprit in progress.take_skips():
        skips.setdefault(culprit, []).append(named(name, index))
    answers += [f"skip {' '.join(who)} for {culprit}" for culprit, who in skips.items()]
    ready = [named(task.spec.name, i) for task, indices in progress.take_ready() for i in indices]
    if ready:
        answers.append(f"ready {' '.join(ready)}")
    if progress.finished:
        answers.append(f"over {progress.verdict}")
    return answers


class Story(NamedTuple):
    """A workflow, what happened to it, and what the planner said each time."""

    tasks: str
    steps: list[tuple[str, str]]


def tell(story: Story) -> Iterator[tuple[str, str]]:
    progress = Progress(workflow(story.tasks))
    yield "start", "; ".join(answer(progress))
    for event, _ in story.steps[1:]:
        refused = [] if happen(progress, event) else ["refused"]
        yield event, "; ".join([*refused, *answer(progress)])


STORIES: dict[str, Story] = {}

# One task: it waits for nothing, and its end is the end of the run.
STORIES["one task"] = Story(
    "load",
    [
        ("start", "ready load"),
        ("load succeeds", "over SUCCESS"),
    ],
)

# A barrier: a task that receives the value of another starts when that has succeeded.
STORIES["one after the other"] = Story(
    """
    load
    clean: direct load
    report: direct clean
    """,
    [
        ("start", "ready load"),
        ("load succeeds", "ready clean"),
        ("clean succeeds", "ready report"),
        ("report succeeds", "over SUCCESS"),
    ],
)

# A result of an older run is as good as a new one.
STORIES["cached"] = Story(
    """
    load
    clean: direct load
    """,
    [
        ("start", "ready load"),
        ("load cached", "ready clean"),
        ("clean cached", "over SUCCESS"),
    ],
)

# Several barriers: the last one counts. ``after`` is one that hands no value on.
STORIES["several upstream tasks"] = Story(
    """
    left
    right
    clean
    join: direct left, direct right, after clean
    """,
    [
        ("start", "ready left right clean"),
        ("right succeeds", ""),
        ("left succeeds", ""),
        ("clean succeeds", "ready join"),
        ("join succeeds", "over SUCCESS"),
    ],
)

# Fan-out: the size of an array is read off the list that it runs over, once that is there.
# Gather: a task that receives all values of an array starts when the last one is there.
STORIES["fan-out and gather"] = Story(
    """
    numbers
    square[]: fan-out numbers
    total: gather square
    """,
    [
        ("start", "ready numbers"),
        ("numbers succeeds", "size square"),
        ("square has 3", "ready square[0] square[1] square[2]"),
        ("square[2] succeeds", ""),
        ("square[0] succeeds", ""),
        ("square[1] succeeds", "ready total"),
        ("total succeeds", "over SUCCESS"),
    ],
)

# An empty list is a list: its array has succeeded at once, and the run goes on with no values.
STORIES["empty fan-out"] = Story(
    """
    numbers
    square[]: fan-out numbers
    root[]: chain square
    total: gather root
    """,
    [
        ("start", "ready numbers"),
        ("numbers succeeds", "size square"),
        ("square has 0", "ready total"),
        ("total succeeds", "over SUCCESS"),
    ],
)

# A list may be put together from several tasks: all of them are barriers.
STORIES["fan-out over two lists"] = Story(
    """
    old
    new
    check[]: fan-out old+new
    """,
    [
        ("start", "ready old new"),
        ("old succeeds", ""),
        ("new succeeds", "size check"),
        ("check has 1", "ready check[0]"),
        ("check[0] succeeds", "over SUCCESS"),
    ],
)

# Broadcast: every element needs the whole value, so no element starts before it is there.
STORIES["broadcast"] = Story(
    """
    numbers
    factor
    scale[]: fan-out numbers, broadcast factor
    """,
    [
        ("start", "ready numbers factor"),
        ("numbers succeeds", ""),
        ("factor succeeds", "size scale"),
        ("scale has 2", "ready scale[0] scale[1]"),
    ],
)

# A chain: element i of an array needs element i of another, and does not wait for the rest.
# The size is known as soon as that of the array above is.
STORIES["chained arrays"] = Story(
    """
    files
    read[]: fan-out files
    parse[]: chain read
    count: gather parse
    """,
    [
        ("start", "ready files"),
        ("files succeeds", "size read"),
        ("read has 2", "ready read[0] read[1]"),
        ("read[1] succeeds", "ready parse[1]"),
        ("parse[1] succeeds", ""),
        ("read[0] succeeds", "ready parse[0]"),
        ("parse[0] succeeds", "ready count"),
        ("count succeeds", "over SUCCESS"),
    ],
)

# A chained array may have barriers, too: when they are down, all that is there starts at once.
STORIES["chain behind a barrier"] = Story(
    """
    files
    model
    read[]: fan-out files
    apply[]: chain read, broadcast model
    """,
    [
        ("start", "ready files model"),
        ("files succeeds", "size read"),
        ("read has 3", "ready read[0] read[1] read[2]"),
        ("read[2] succeeds", ""),
        ("read[0] succeeds", ""),
        ("model succeeds", "ready apply[0] apply[2]"),
        ("read[1] succeeds", "ready apply[1]"),
    ],
)

# Two chains are paired element by element.
STORIES["two chains"] = Story(
    """
    files
    read[]: fan-out files
    stat[]: fan-out files
    merge[]: chain read, chain stat
    """,
    [
        ("start", "ready files"),
        ("files succeeds", "size read; size stat"),
        ("read has 2", "ready read[0] read[1]"),
        ("stat has 2", "ready stat[0] stat[1]"),
        ("read[0] succeeds", ""),
        ("stat[0] succeeds", "ready merge[0]"),
        ("stat[1] succeeds", ""),
        ("read[1] succeeds", "ready merge[1]"),
    ],
)

# Where their sizes differ, the dispatcher is asked for a size, and fails the array instead.
STORIES["two chains of different sizes"] = Story(
    """
    files
    read[]: fan-out files
    stat[]: fan-out files
    merge[]: chain read, chain stat
    count: gather merge
    """,
    [
        ("start", "ready files"),
        ("files succeeds", "size read; size stat"),
        ("read has 1", "ready read[0]"),
        ("stat has 2", "size merge; ready stat[0] stat[1]"),
        ("merge[*] fails", "skip count for merge"),
        ("count skipped", ""),
        ("read[0] succeeds", ""),
        ("stat[0] succeeds", ""),
        ("stat[1] succeeds", "over FAILED"),
    ],
)

# Elements that return lists can be flattened: into an array with one element for each item
# (chain-flatten), or into one list (gather-flatten). Either waits for all lists.
STORIES["flattened"] = Story(
    """
    files
    lines[]: fan-out files
    word[]: chain-flatten lines
    text: gather-flatten lines
    """,
    [
        ("start", "ready files"),
        ("files succeeds", "size lines"),
        ("lines has 2", "ready lines[0] lines[1]"),
        ("lines[0] succeeds", ""),
        ("lines[1] succeeds", "size word; ready text"),
        ("word has 3", "ready word[0] word[1] word[2]"),
    ],
)

# A failure: what needs it is skipped, step by step. Each skip is an outcome of its own.
STORIES["failure"] = Story(
    """
    load
    clean: direct load
    report: direct clean
    """,
    [
        ("start", "ready load"),
        ("load fails", "skip clean for load"),
        ("clean skipped", "skip report for clean"),
        ("report skipped", "over FAILED"),
    ],
)

# Independent branches go on.
STORIES["failure in one branch"] = Story(
    """
    load
    plot: direct load
    fit: direct load
    report: direct fit
    """,
    [
        ("start", "ready load"),
        ("load succeeds", "ready plot fit"),
        ("plot fails", ""),
        ("fit succeeds", "ready report"),
        ("report succeeds", "over FAILED"),
    ],
)

# A failure in an array: the other elements go on, the gather is skipped when all have ended.
STORIES["failure in an array"] = Story(
    """
    numbers
    square[]: fan-out numbers
    total: gather square
    """,
    [
        ("start", "ready numbers"),
        ("numbers succeeds", "size square"),
        ("square has 3", "ready square[0] square[1] square[2]"),
        ("square[1] fails", ""),
        ("square[0] succeeds", ""),
        ("square[2] succeeds", "skip total for square[1]"),
        ("total skipped", "over FAILED"),
    ],
)

# A failure in a chain: only the same element below is skipped, and at once.
STORIES["failure in a chain"] = Story(
    """
    files
    read[]: fan-out files
    parse[]: chain read
    """,
    [
        ("start", "ready files"),
        ("files succeeds", "size read"),
        ("read has 2", "ready read[0] read[1]"),
        ("read[0] fails", "skip parse[0] for read[0]"),
        ("parse[0] skipped", ""),
        ("read[1] succeeds", "ready parse[1]"),
        ("parse[1] succeeds", "over FAILED"),
    ],
)

# An array whose list never comes has no elements to skip: it is skipped as a whole.
STORIES["skipped as a whole"] = Story(
    """
    files
    read[]: fan-out files
    parse[]: chain read
    count: gather parse
    """,
    [
        ("start", "ready files"),
        ("files fails", "skip read[*] for files"),
        ("read[*] skipped", "skip parse[*] for read"),
        ("parse[*] skipped", "skip count for parse"),
        ("count skipped", "over FAILED"),
    ],
)

# Where the size is known already, its elements are skipped one by one.
STORIES["a barrier fails"] = Story(
    """
    files
    model
    read[]: fan-out files
    apply[]: chain read, broadcast model
    """,
    [
        ("start", "ready files model"),
        ("files succeeds", "size read"),
        ("read has 2", "ready read[0] read[1]"),
        ("model fails", "skip apply[0] apply[1] for model"),
        ("apply[0] skipped", ""),
        ("apply[1] skipped", ""),
        ("read[0] succeeds", ""),
        ("read[1] succeeds", "over FAILED"),
    ],
)

# In hand: what was launched is not handed out again, unless it lands without an outcome.
# What was handed out and not launched can be put back.
STORIES["launch, land and put back"] = Story(
    """
    files
    read[]: fan-out files
    """,
    [
        ("start", "ready files"),
        ("files unused", "ready files"),
        ("files launched", ""),
        ("files unused", ""),
        ("files succeeds", "size read"),
        ("read unused", ""),  # it has no elements yet
        ("read has 2", "ready read[0] read[1]"),
        ("read[0] launched in job-1", ""),
        ("read[1] launched in job-1", ""),
        ("read[1] landed", "ready read[1]"),
        ("read[1] landed", ""),  # it is in nobody's hands
        ("read[1] succeeds", ""),
        ("read[0] landed", "ready read[0]"),
        ("read[0] succeeds", "over SUCCESS"),
        ("read[0] unused", "over SUCCESS"),
    ],
)

# Queued ahead: a job may have an element in hand before its inputs are there, and leaves the
# element alone if they do not come. What it was queued behind decides what becomes of it.
STORIES["queued ahead"] = Story(
    """
    load
    clean: direct load
    """,
    [
        ("start", "ready load"),
        ("load launched in job-1", ""),
        ("clean launched in job-2", ""),
        ("clean landed", ""),  # too early: its barrier stands
        ("clean launched in job-3 in attempt 2", ""),
        ("load succeeds", ""),  # job-3 has it in hand
        ("clean landed", "ready clean"),
    ],
)
STORIES["queued ahead of a failure"] = Story(
    """
    load
    clean: direct load
    """,
    [
        ("start", "ready load"),
        ("load launched in job-1", ""),
        ("clean launched in job-2", ""),
        ("load fails", ""),  # job-2 may say so itself
        ("clean landed", "skip clean for load"),
        ("clean skipped", "over FAILED"),
    ],
)
STORIES["queued ahead in a chain"] = Story(
    """
    files
    read[]: fan-out files
    parse[]: chain read
    """,
    [
        ("start", "ready files"),
        ("files succeeds", "size read"),
        ("read has 2", "ready read[0] read[1]"),
        ("parse[0] launched in job-2", ""),
        ("parse[1] launched in job-2", ""),
        ("read[0] fails", ""),
        ("parse[0] landed", "skip parse[0] for read[0]"),
        ("parse[1] landed", ""),  # what it needs may still come
        ("read[1] succeeds", "ready parse[1]"),
    ],
)

# Tried again: a failure that is not final is no outcome. The element is free again, and nothing
# below moves.
STORIES["tried again"] = Story(
    """
    files
    read[]: fan-out files
    parse[]: chain read
    """,
    [
        ("start", "ready files"),
        ("files launched", ""),
        ("files again after OOM", "ready files"),
        ("files launched in attempt 2", ""),
        ("files succeeds", "size read"),
        ("files again after OOM", "refused"),
        ("read again after OOM", "refused"),  # it has no elements yet
        ("read has 1", "ready read[0]"),
        ("read[0] again after OOM", "ready read[0]"),
        ("read[0] fails in attempt 2", "skip parse[0] for read[0]"),
    ],
)

# The first outcome stands; a late one, of whatever attempt, changes nothing.
STORIES["late outcomes"] = Story(
    """
    files
    read[]: fan-out files
    count: gather read
    """,
    [
        ("start", "ready files"),
        ("files succeeds", "size read"),
        ("files fails in attempt 2", "refused"),
        ("read has 2", "ready read[0] read[1]"),
        ("read has 3", ""),  # the first size stands, too
        ("read[0] fails", ""),
        ("read[0] succeeds in attempt 2", "refused"),
        ("read[1] succeeds", "skip count for read[0]"),
        ("read[*] skipped", "refused"),
        ("count skipped", "over FAILED"),
        ("count succeeds", "refused; over FAILED"),
    ],
)

# Cancelled elements keep what is below from running, like failed ones; they name the end.
STORIES["cancelled"] = Story(
    """
    files
    read[]: fan-out files
    count: gather read
    """,
    [
        ("start", "ready files"),
        ("files succeeds", "size read"),
        ("read has 2", "ready read[0] read[1]"),
        ("read[0] fails", ""),
        ("read[1] cancelled", "skip count for read[0]"),
        ("count skipped", "over CANCELLED"),
    ],
)

# A person retries the run: what has a value keeps it, the rest runs again, with the same sizes.
STORIES["retry"] = Story(
    """
    files
    read[]: fan-out files
    count: gather read
    """,
    [
        ("start", "ready files"),
        ("files succeeds", "size read"),
        ("read has 3", "ready read[0] read[1] read[2]"),
        ("read[0] succeeds", ""),
        ("read[1] fails", ""),
        ("read[2] cancelled", "skip count for read[1]"),
        ("count skipped", "over CANCELLED"),
        ("retry", "ready read[1] read[2]"),
        ("read[1] succeeds in attempt 2", ""),
        ("read[2] succeeds in attempt 2", "ready count"),
        ("count succeeds", "over SUCCESS"),
    ],
)

# A person retries one task: of that all that failed, and below it what was skipped. Another
# failure stays, and so does what failed below on its own account.
STORIES["retry of one task"] = Story(
    """
    load
    plot: direct load
    fit: direct load
    check: direct fit
    report: direct fit, direct plot
    """,
    [
        ("start", "ready load"),
        ("load succeeds", "ready plot fit"),
        ("plot fails", ""),
        ("fit fails", "skip check report for fit"),
        ("check skipped", ""),
        ("report skipped", "over FAILED"),
        ("retry fit", "ready fit"),
        ("fit succeeds in attempt 2", "skip report for plot; ready check"),
        ("report skipped", ""),
        ("check fails", "over FAILED"),
        ("retry fit", "skip report for plot"),  # nothing of it is left to run: check stays
        ("report skipped", "over FAILED"),
        ("retry plot", "ready plot"),
        ("plot succeeds in attempt 2", "ready report"),
        ("report succeeds", "over FAILED"),
        ("retry check", "ready check"),
        ("check succeeds in attempt 2", "over SUCCESS"),
    ],
)

# An array that was skipped as a whole gets its elements when its list is there at last.
STORIES["retry of what was skipped as a whole"] = Story(
    """
    files
    read[]: fan-out files
    parse[]: chain read
    """,
    [
        ("start", "ready files"),
        ("files fails", "skip read[*] for files"),
        ("read[*] skipped", "skip parse[*] for read"),
        ("parse[*] skipped", "over FAILED"),
        ("retry files", "ready files"),
        ("files succeeds in attempt 2", "size read"),
        ("read has 1", "ready read[0]"),
        ("read[0] succeeds", "ready parse[0]"),
        ("parse[0] succeeds", "over SUCCESS"),
    ],
)

# A retry leaves what is in hand where it is.
STORIES["retry of a run that goes on"] = Story(
    """
    files
    read[]: fan-out files
    """,
    [
        ("start", "ready files"),
        ("files succeeds", "size read"),
        ("read has 2", "ready read[0] read[1]"),
        ("read[0] launched in job-1", ""),
        ("read[1] fails", ""),
        ("retry", "ready read[1]"),
        ("read[1] succeeds in attempt 2", ""),
        ("read[0] succeeds", "over SUCCESS"),
    ],
)


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_story(story: Story) -> None:
    assert list(tell(story)) == story.steps


# What is asked of single elements.


def after(tasks: str, events: str) -> Progress:
    """Return the planner after some events, separated by semicolons."""
    progress = Progress(workflow(tasks))
    for event in filter(None, map(str.strip, events.split(";"))):
        happen(progress, event)
    return progress


@pytest.mark.parametrize(
    ("events", "blocked", "supplied", "stranded"),
    [
        # nobody works on what it needs
        ("", False, False, True),
        # somebody does
        ("model launched; read[0] launched", False, False, False),
        ("model launched", False, False, True),
        ("model succeeds; read[0] launched", False, False, False),
        # all is there
        ("model succeeds; read[0] succeeds", False, True, False),
        # a failure is final
        ("model fails; read[0] launched", True, False, True),
        ("model launched; read[0] fails", True, False, True),
    ],
)
def test_inputs_of_an_element_are_there_or_may_still_come(
    events: str, blocked: bool, supplied: bool, stranded: bool
) -> None:
    progress = after(
        """
        files
        model
        read[]: fan-out files
        apply[]: chain read, broadcast model
        """,
        f"files succeeds; read has 2; {events}",
    )
    questions = [progress.blocked, progress.supplied, progress.stranded]
    assert [question("apply", 0) for question in questions] == [blocked, supplied, stranded]


def test_elements_below_an_array_that_failed_as_a_whole_are_blocked() -> None:
    tasks = "files\nread[]: fan-out files\nparse[]: chain read"
    progress = after(tasks, "files succeeds; read[*] fails")
    questions = [progress.blocked, progress.supplied, progress.stranded]
    assert [question("parse", 0) for question in questions] == [True, False, True]


def test_unfinished_elements_have_no_outcome_and_no_holder() -> None:
    tasks = "files\nread[]: fan-out files\nword[]: chain-flatten read\ncount: gather read"
    progress = after(tasks, "files succeeds; read has 3; read[0] succeeds; read[1] launched")
    assert progress.unfinished() == [("read", 2), ("word", WHOLE_TASK), ("count", 0)]
    assert progress.tasks["count"].lacking() == ["read"]


# Attempts.


def test_attempts_count_on_and_are_never_reused() -> None:
    progress = Progress(workflow("load"))
    load = progress.tasks["load"]
    for attempt, event in enumerate(
        ("load landed", "load again after OOM", "load fails", "load succeeds"), start=1
    ):
        assert load.tries.get(0, 0) == attempt - 1
        happen(progress, f"load launched in attempt {attempt}")
        happen(progress, event)
        progress.reopen(["load"])
    assert load.tries[0] == 4
    # A record that is read late does not turn the count back.
    happen(progress, "load fails in attempt 2")
    assert load.tries[0] == 4


def test_starts_are_the_attempts_since_the_last_end_of_an_element() -> None:
    progress = Progress(workflow("load"))
    load = progress.tasks["load"]
    for attempt in (1, 2, 3):
        happen(progress, f"load launched in attempt {attempt}")
        assert load.starts(0) == attempt
        happen(progress, "load landed")
    load.forgive(0)  # that there was no third start is not the element's fault
    assert load.starts(0) == 2
    happen(progress, "load again after OOM")
    assert load.starts(0) == 0
    happen(progress, "load launched in attempt 4")
    happen(progress, "load fails")
    assert load.starts(0) == 0


def with_retry(times: int) -> Progress:
    """Return a planner whose task is tried again: with more memory, with more time up to a
    limit, never for an error."""
    rules = (
        RetryRule(cause=OOM, mem=2.0),
        RetryRule(cause=TIMEOUT, time=2.0, max_time=100),
    )
    spec = TaskSpec(
        name="load",
        retry=RetrySpec(times=times, rules=rules),
        resources=Resources(mem=1 << 30, time=100),
    )
    return Progress(WorkflowSpec(name="example", tasks=(spec,)))


@pytest.mark.parametrize(
    ("cause", "suspected", "expected"),
    [
        (OOM, "", OOM),
        (ERROR, "", ""),
        # It has the most time already: the same once more would end the same way.
        (TIMEOUT, "", ""),
        # Killed by an unknown hand: most likely for its memory.
        (ERROR, OOM, OOM),
        # Of a cause that is suspected, the task says nothing: what was reported counts.
        (OOM, NODE_FAIL, OOM),
    ],
)
def test_a_failure_is_tried_again_by_its_cause(
    cause: str, suspected: str, expected: str
) -> None:
    progress = with_retry(times=2)
    progress.launch("load", 0, 1)
    outcome = Outcome("load", 0, 1, FAILED, cause=cause, suspected=suspected)
    assert progress.tasks["load"].tried_again(outcome) == expected


def test_number_of_retries_is_limited_and_reset_by_a_person() -> None:
    progress = with_retry(times=2)
    load = progress.tasks["load"]

    def fail(attempt: int) -> str:
        progress.launch("load", 0, attempt)
        outcome = Outcome("load", 0, attempt, FAILED, cause=OOM)
        cause = load.tried_again(outcome)
        if cause:
            progress.retry(Retried("load", 0, attempt, cause, "", "", 0.0))
        else:
            progress.record(outcome)
        return cause

    assert [fail(1), fail(2), fail(3)] == [OOM, OOM, ""]
    assert load.causes[0] == (OOM, OOM)
    progress.reopen(["load"])
    assert [fail(4), fail(5), fail(6)] == [OOM, OOM, ""]


def test_only_the_attempt_in_hand_is_tried_again() -> None:
    progress = with_retry(times=2)
    load = progress.tasks["load"]
    first, second = (Outcome("load", 0, attempt, FAILED, cause=OOM) for attempt in (1, 2))
    assert not load.tried_again(first)  # nobody has it in hand
    progress.launch("load", 0, 2)
    assert not load.tried_again(first)  # one that was given up
    assert load.tried_again(second)


# And all of it at once: whatever comes out, in whatever order, a run ends.

NAMES = "abcde"


@st.composite
def workflows(draw: st.DrawFn) -> str:
    """Draw a workflow of a few tasks, each with some of those before it upstream."""
    lines: list[str] = []
    arrays: dict[str, bool] = {}
    for name in NAMES[: draw(st.integers(1, len(NAMES)))]:
        inputs = []
        for above in draw(st.lists(st.sampled_from([*arrays]), max_size=3)) if arrays else ():
            modes = ["after", *(["gather", "gather-flatten"] if arrays[above] else ["direct"])]
            each = ["chain", "chain-flatten"] if arrays[above] else ["fan-out"]
            inputs.append((draw(st.sampled_from([*modes, "broadcast", *each])), above))
        arrays[name] = any(mode in ("fan-out", "chain", "chain-flatten") for mode, _ in inputs)
        wires = ", ".join(f"{mode} {above}" for mode, above in inputs)
        lines.append(f"{name}{'[]' if arrays[name] else ''}: {wires}")
    return "\n".join(lines)


class Run:
    """A run whose elements come out as they are drawn, in an order that is drawn."""

    def __init__(self, tasks: str, data: st.DataObject) -> None:
        self.spec = workflow(tasks)
        self.progress = Progress(self.spec)
        self.data = data
        self.in_hand: dict[tuple[str, int], int] = {}
        self.handed_out: set[tuple[str, int, int]] = set()
        self.records: list[Outcome | Retried | tuple[str, int]] = []

    def draw(self, *choices: str) -> str:
        return self.data.draw(st.sampled_from(choices))

    def go_on(self) -> None:
        """Do what the planner says, until it has nothing more to say."""
        progress = self.progress
        moved = True
        while moved:
            moved = False
            for state in progress.take_unsized():
                moved = True
                size = self.data.draw(st.integers(0, 3))
                if any(above.size != size for above in state.chains):
                    self.end(Outcome(state.spec.name, WHOLE_TASK, 0, FAILED))
                else:
                    self.records.append((state.spec.name, size))
                    progress.resize(state.spec.name, size)
            for name, index, culprit in progress.take_skips():
                moved = True
                above = progress.tasks[element(culprit)[0]]
                assert above.whole or not above.closed or above.done < len(above.outcomes)
                self.end(Outcome(name, index, 0, SKIPPED))
            for state, indices in progress.take_ready():
                moved = True
                for index in indices:
                    name, attempt = state.spec.name, state.tries.get(index, 0) + 1
                    assert progress.supplied(name, index)
                    assert (name, index, attempt) not in self.handed_out
                    assert (name, index) not in self.in_hand
                    self.handed_out.add((name, index, attempt))
                    self.in_hand[name, index] = attempt
                    progress.launch(name, index, attempt)

    def end(self, outcome: Outcome) -> None:
        if self.progress.record(outcome):
            self.records.append(outcome)

    def come_out(self) -> None:
        """End one element with some outcome, or none."""
        name, index = self.data.draw(st.sampled_from(sorted(self.in_hand)))
        attempt = self.in_hand.pop((name, index))
        state = self.draw(SUCCESS, SUCCESS, CACHED, FAILED, CANCELLED, "again", "landed")
        if state == "landed":
            self.progress.land(name, index)
        elif state == "again":
            retried = Retried(name, index, attempt, OOM, "", "", 0.0)
            assert self.progress.retry(retried)
            self.records.append(retried)
        else:
            outcome = Outcome(name, index, attempt, state)
            self.end(outcome)
            assert not self.progress.record(outcome)

    def to_the_end(self) -> None:
        self.go_on()
        while self.in_hand:
            self.come_out()
            self.go_on()


def states(progress: Progress) -> dict[str, list[str]]:
    """Return the states of all elements by task."""
    return {
        name: [outcome.state if outcome else "" for outcome in (*state.outcomes, state.whole)]
        for name, state in progress.tasks.items()
    }


@settings(max_examples=300)
@given(tasks=workflows(), data=st.data())
def test_every_run_ends_with_each_element_handed_out_once(tasks: str, data: st.DataObject) -> None:
    run = Run(tasks, data)
    run.to_the_end()
    progress = run.progress
    assert progress.finished
    assert progress.unfinished() == []
    for name, state in progress.tasks.items():
        for index, outcome in enumerate(state.outcomes):
            assert outcome is not None
            ran = any(key[:2] == (name, index) for key in run.handed_out)
            assert ran is (outcome.state != SKIPPED)
            assert (outcome.state == SKIPPED) is progress.blocked(name, index)
    bad = {state for task in states(progress).values() for state in task} - {"", *DONE}
    assert progress.verdict == (CANCELLED if CANCELLED in bad else FAILED if bad else SUCCESS)

    # The state is a fold of the records; to read one twice changes nothing.
    read = Progress(run.spec)
    for record in run.records:
        for _ in range(2):
            if isinstance(record, Retried):
                read.retry(record)
            elif isinstance(record, Outcome):
                read.record(record)
            else:
                read.resize(*record)
    assert states(read) == states(progress)

    # A retry takes up all that has no value, and ends again; what has a value keeps it.
    done = {
        (name, index): outcome
        for name, state in progress.tasks.items()
        for index, outcome in enumerate(state.outcomes)
        if outcome is not None and outcome.state in DONE
    }
    progress.reopen(tuple(progress.tasks))
    assert progress.finished is (not bad)
    run.to_the_end()
    assert progress.finished
    for (name, index), outcome in done.items():
        assert progress.tasks[name].outcomes[index] is outcome
