"""The executor for LSF."""

from __future__ import annotations

from typing import ClassVar

from attrs import frozen

from reflow.executors.base import Capabilities
from reflow.executors.command import CommandExecutor


@frozen(kw_only=True)
class LSFExecutor(CommandExecutor):
    """Runs jobs on LSF.

    `bsub`, `bjobs`, `bkill` are the commands to use: a name on PATH or a path.
    `max_array_size` is the most elements of one job: the site's `MAX_JOB_ARRAY_SIZE`.
    Larger arrays are split.
    """

    name: ClassVar[str] = "lsf"

    bsub: str = "bsub"
    bjobs: str = "bjobs"
    bkill: str = "bkill"
    max_array_size: int = 999

    @property
    def capabilities(self) -> Capabilities:
        """What LSF can do."""
        return Capabilities(
            max_array_size=self.max_array_size,
            array_variable="LSB_JOBINDEX",
            first_index=1,
            throttle=True,
            elementwise=True,
            begin=True,
        )
