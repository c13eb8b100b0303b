"""The states of elements and runs, and the causes of failures.

Plain strings: they go to disk and into every comparison of the engine's inner
loop, and importing this module costs nothing. Workers import this.
"""

from __future__ import annotations

from collections.abc import Iterable

PENDING = "PENDING"
"""Not started: waits for its inputs or for a place."""
SUBMITTED = "SUBMITTED"
"""In a scheduler's hands; no worker has claimed it yet."""
RUNNING = "RUNNING"
"""Claimed by a worker (an element), or carried on by a live job (a run)."""
WAITING = "WAITING"
"""A run with work left and no job that carries it on: someone must act."""
SUCCESS = "SUCCESS"
"""Ran here and returned."""
CACHED = "CACHED"
"""The result of an equal element of an older run stands for it."""
FAILED = "FAILED"
"""Ended without a result; the cause is on record."""
SKIPPED = "SKIPPED"
"""Did not run because something it needs has failed for good."""
CANCELLED = "CANCELLED"
"""Cancelled by a person."""

# The only list of states: what is terminal, what counts as done, what a retry takes up and the
# order in which `status` shows them are all derived from it. A state stands where it comes in the
# life of an element.
_ELEMENT, _RUN, _TERMINAL, _DONE, _RETRYABLE = range(1, 6)
_STATES = (
    #            element run    terminal done  retryable
    (PENDING,    True,   True,  False, False, False),
    (SUBMITTED,  True,   False, False, False, False),
    (RUNNING,    True,   True,  False, False, False),
    (WAITING,    False,  True,  False, False, False),
    (SUCCESS,    True,   True,  True,  True,  False),
    (CACHED,     True,   False, True,  True,  False),
    (FAILED,     True,   True,  True,  False, True),
    (SKIPPED,    True,   False, True,  False, True),
    (CANCELLED,  True,   True,  True,  False, True),
)  # fmt: skip

INSTANCE_STATES = tuple(row[0] for row in _STATES if row[_ELEMENT])
"""States of an element."""
RUN_STATES = tuple(row[0] for row in _STATES if row[_RUN])
"""States of a run."""
TERMINAL = frozenset(row[0] for row in _STATES if row[_TERMINAL])
"""States that change no more, except by a retry."""
DONE = frozenset(row[0] for row in _STATES if row[_DONE])
"""States in which an element has a value."""
RETRYABLE = frozenset(row[0] for row in _STATES if row[_RETRYABLE])
"""Terminal states that a retry takes up again."""
ENDED = TERMINAL.intersection(RUN_STATES)
"""States of a run that has ended."""
LIVE = tuple(state for state in INSTANCE_STATES if state not in TERMINAL)
"""States of an element that has not ended, in the order of its life."""

_SHOWN = (
    *(state for state in INSTANCE_STATES if state in DONE),
    *reversed(LIVE),
    *(state for state in INSTANCE_STATES if state in TERMINAL - DONE),
)


def in_order(states: Iterable[str]) -> list[str]:
    """Return states of elements as people read them, none left out.

    First what is done, then what goes on, the furthest first, then what ended without a value.
    """
    return sorted(states, key=lambda state: _SHOWN.index(state) if state in _SHOWN else len(_SHOWN))


# Causes: why an element or a job did not succeed.
ERROR = "ERROR"
"""The task raised, or its process ended with a non-zero code."""
OOM = "OOM"
MEMORY_SUSPECTED = "memory suspected"
"""What people read where OOM is suspected (`reflow.storage.outcome.Outcome.suspected`)."""
TIMEOUT = "TIMEOUT"
NODE_FAIL = "NODE_FAIL"
PREEMPTED = "PREEMPTED"
HELD = "HELD"
"""Needs a human: held by an administrator, or can never start as asked."""
LOST = "LOST"
"""The job vanished and left nothing behind."""
UNKNOWN = "UNKNOWN"
CAUSES = (ERROR, OOM, TIMEOUT, NODE_FAIL, PREEMPTED, CANCELLED, HELD, LOST, UNKNOWN)
