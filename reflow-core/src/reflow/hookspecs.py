"""The hooks and their descriptions, on the path that plugins import.

They are defined in `reflow.plugins.hookspecs`.
"""

from .plugins.hookspecs import (
    PROJECT,
    Entry,
    ExecutorEntry,
    SerializerEntry,
    StoreEntry,
    VerifierEntry,
    hookimpl,
    hookspec,
    reflow_register_executors,
    reflow_register_serializers,
    reflow_register_stores,
    reflow_register_verifiers,
    reflow_run_finished,
    reflow_task_failed,
)

__all__ = [
    "PROJECT",
    "Entry",
    "ExecutorEntry",
    "SerializerEntry",
    "StoreEntry",
    "VerifierEntry",
    "hookimpl",
    "hookspec",
    "reflow_register_executors",
    "reflow_register_serializers",
    "reflow_register_stores",
    "reflow_register_verifiers",
    "reflow_run_finished",
    "reflow_task_failed",
]
