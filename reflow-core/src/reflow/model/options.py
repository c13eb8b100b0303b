"""What a task asks of the scheduler, as its decorator says it.

Workers import this, so annotations are no texts here (see `reflow.storage.outcome`).
"""

from typing import NamedTuple


class TaskOptions(NamedTuple):
    """What a task asks of the scheduler; the fields of `reflow.model.spec.Resources`.

    `time` in seconds, `mem` in bytes; None: the site's default. A `native` option
    without a value (a flag) is the empty text.
    """

    cpus: int = 1
    time: int | None = None
    mem: int | None = None
    gpus: int = 0
    nodes: int = 1
    queue: str | None = None
    account: str | None = None
    native: dict[str, str] = {}  # noqa: RUF012 (never changed)
