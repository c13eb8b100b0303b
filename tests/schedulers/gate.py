"""Jobs that go on when a test lets them, however long its own commands take until then."""

from __future__ import annotations

from pathlib import Path


class Gate:
    """Has a folder that its jobs can read."""

    folder: Path

    def until_go(self) -> str:
        """Return shell code that waits for `go`."""
        return f"until [ -e {self.folder}/go ]; do sleep 0.1; done"

    def go(self) -> None:
        """Let all that waits go on."""
        (self.folder / "go").touch()
