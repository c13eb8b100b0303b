"""The executor for Grid Engine."""

from __future__ import annotations

from typing import ClassVar

from attrs import frozen

from reflow.executors.base import Capabilities
from reflow.executors.command import CommandExecutor


@frozen(kw_only=True)
class SGEExecutor(CommandExecutor):
    """Runs jobs on Grid Engine.

    `qsub`, `qstat`, `qacct`, `qdel` are the commands to use: a name on PATH or a path.
    `max_array_size` is the most elements of one job: the cell's `max_aj_tasks`.
    Larger arrays are split.
    """

    name: ClassVar[str] = "sge"

    qsub: str = "qsub"
    qstat: str = "qstat"
    qacct: str = "qacct"
    qdel: str = "qdel"
    max_array_size: int = 75000

    @property
    def capabilities(self) -> Capabilities:
        """What Grid Engine can do."""
        return Capabilities(
            max_array_size=self.max_array_size,
            array_variable="SGE_TASK_ID",
            first_index=1,
            throttle=True,
            elementwise=True,
            begin=True,
        )
