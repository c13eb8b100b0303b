"""The serializer port: results that are more than typed JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Serializer(Protocol):
    """Writes values of some types to a file and reads them back."""

    name: str

    def accepts(self, annotation: object) -> bool:
        """Whether values annotated so are this serializer's business."""

    def dump(self, value: object, path: Path) -> None:
        """Write the value to a new file at `path`."""

    def load(self, path: Path) -> object:
        """Return the value that `dump` wrote to `path`."""
