"""The store port, on the path that plugins import.

It is defined in `reflow.storage.stores.base`, outcomes in `reflow.storage.outcome`.
"""

from ..storage.outcome import WHOLE_TASK, Outcome
from ..storage.stores.base import (
    CachedResult,
    InstanceRow,
    Position,
    QueryError,
    Reservation,
    RunRow,
    Store,
    TaskRow,
    Underway,
    instance_of,
)

__all__ = [
    "WHOLE_TASK", "CachedResult", "InstanceRow", "Outcome", "Position", "QueryError", "Reservation",
    "RunRow", "Store", "TaskRow", "Underway", "instance_of",
]  # fmt: skip
