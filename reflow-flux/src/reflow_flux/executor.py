"""The executor for Flux."""

from __future__ import annotations

from typing import ClassVar

from attrs import frozen

from reflow.executors.base import Capabilities
from reflow.executors.command import CommandExecutor


@frozen(kw_only=True)
class FluxExecutor(CommandExecutor):
    """Runs jobs on Flux.

    `flux` is the command to use: a name on PATH or a path.
    Flux has no arrays: an array is that many jobs, so no limit applies.
    """

    name: ClassVar[str] = "flux"

    flux: str = "flux"

    @property
    def capabilities(self) -> Capabilities:
        """What Flux can do."""
        return Capabilities(
            array_variable="FLUX_JOB_CC",
            begin=True,
        )
