"""Jobs that wait for the test to let them go on, however long its own commands take."""

from __future__ import annotations

from pathlib import Path


class Gate:
    """Has a folder that its jobs can read."""

    folder: Path

    def until_go(self) -> str:
        """Return shell code that waits for `go`."""
        return f"until [ -e {self.folder}/go ]; do sleep 0.1; done"

    def go(self) -> None:
        """Let all waiting jobs go on."""
        (self.folder / "go").touch()
