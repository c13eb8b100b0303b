"""The verifier port: judges whether a cached value may be used again."""

from __future__ import annotations

from typing import Protocol


class Verifier(Protocol):
    """Judges cached values of some types."""

    name: str

    def accepts(self, annotation: object) -> bool:
        """Whether values annotated so are this verifier's business."""

    def verify(self, value: object) -> bool:
        """Whether what the value stands for is still there and whole."""
