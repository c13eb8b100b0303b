"""The executor for Slurm."""

from __future__ import annotations

from typing import ClassVar

from attrs import frozen

from reflow.executors.base import Capabilities
from reflow.executors.command import CommandExecutor


@frozen(kw_only=True)
class SlurmExecutor(CommandExecutor):
    """Runs jobs on Slurm.

    `sbatch`, `squeue`, `sacct`, `scancel` are the commands to use: a name on PATH or a path.
    `max_array_size` is the most elements of one job: the site's `MaxArraySize`.
    Larger arrays are split.
    """

    name: ClassVar[str] = "slurm"

    sbatch: str = "sbatch"
    squeue: str = "squeue"
    sacct: str = "sacct"
    scancel: str = "scancel"
    max_array_size: int = 1001

    @property
    def capabilities(self) -> Capabilities:
        """What Slurm can do."""
        return Capabilities(
            max_array_size=self.max_array_size,
            array_variable="SLURM_ARRAY_TASK_ID",
            throttle=True,
            elementwise=True,
            begin=True,
        )
