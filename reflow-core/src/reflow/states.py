"""The words for where an instance and a run stand.

Plain strings: they go to disk and into every comparison of the engine's inner
loop, and importing this module costs nothing.
"""

from __future__ import annotations

PENDING = "PENDING"
"""Not started: waits for its inputs or for a place."""
SUBMITTED = "SUBMITTED"
"""In a scheduler's hands; no worker has claimed it yet."""
RUNNING = "RUNNING"
"""Claimed by a worker (an instance), or carried on by a live job (a run)."""
SUCCESS = "SUCCESS"
"""Ran here and returned."""
CACHED = "CACHED"
"""The result of an equal instance of an older run stands for it."""
FAILED = "FAILED"
"""Ended without a result; the cause is on record."""
SKIPPED = "SKIPPED"
"""Did not run because something it needs has failed for good."""
CANCELLED = "CANCELLED"
"""Taken back by a person."""
WAITING = "WAITING"
"""A run with work left and no job that carries it on: someone must act."""

DONE = frozenset({SUCCESS, CACHED})
"""States in which an instance has a value."""
TERMINAL = frozenset({SUCCESS, CACHED, FAILED, SKIPPED, CANCELLED})
"""States that change no more, except by retry."""
RETRYABLE = frozenset({FAILED, SKIPPED, CANCELLED})
"""Terminal states that retry takes up again."""
RUN_STATES = (PENDING, RUNNING, WAITING, SUCCESS, FAILED, CANCELLED)
ENDED = frozenset({SUCCESS, FAILED, CANCELLED})
"""States of a run that has come to its end."""
INSTANCE_STATES = (
    PENDING, SUBMITTED, RUNNING, SUCCESS, CACHED, FAILED, SKIPPED, CANCELLED,
)

# Causes: why an instance or a job did not succeed.
ERROR = "ERROR"
"""The task raised, or its process ended with a non-zero code."""
SUSPECTED = "memory suspected"
"""How the detail of an ERROR ends where a process was killed and nobody knows by whom: where
no scheduler and no cgroup tells, that is how memory runs out."""
OOM = "OOM"
TIMEOUT = "TIMEOUT"
NODE_FAIL = "NODE_FAIL"
PREEMPTED = "PREEMPTED"
HELD = "HELD"
"""Needs a human: held by an administrator, or can never start as asked."""
LOST = "LOST"
"""The job vanished and left nothing behind."""
UNKNOWN = "UNKNOWN"
CAUSES = (ERROR, OOM, TIMEOUT, NODE_FAIL, PREEMPTED, CANCELLED, HELD, LOST, UNKNOWN)
