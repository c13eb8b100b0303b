"""The executor for PBS Professional and OpenPBS."""

from __future__ import annotations

from typing import ClassVar

from attrs import frozen

from reflow.executors.base import Capabilities
from reflow.executors.command import CommandExecutor


@frozen(kw_only=True)
class PBSExecutor(CommandExecutor):
    """Runs jobs on PBS Professional and OpenPBS.

    `qsub`, `qstat`, `qdel` are the commands to use: a name on PATH or a path.
    `max_array_size` is the most elements of one job: the server's or queue's `max_array_size`.
    Larger arrays are split.
    """

    name: ClassVar[str] = "pbs"

    qsub: str = "qsub"
    qstat: str = "qstat"
    qdel: str = "qdel"
    max_array_size: int = 10000

    @property
    def capabilities(self) -> Capabilities:
        """What PBS Professional and OpenPBS can do."""
        return Capabilities(
            max_array_size=self.max_array_size,
            array_variable="PBS_ARRAY_INDEX",
            begin=True,
        )
