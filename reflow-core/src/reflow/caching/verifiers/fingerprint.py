"""The verifier "fingerprint": what a result names is what the task left there."""

from __future__ import annotations

from ..file_fingerprint import is_same, parse
from .base import Output, Verifier


class FingerprintVerifier(Verifier):
    """Demands that all files and folders named in the value are as the task left them.

    By size and time; where only the time differs, by content. A result whose fingerprints
    were not taken does not stand.
    """

    def verify(self, output: Output) -> bool:
        """Whether each path has the content that it had when the task ended."""
        fingerprints = output.fingerprints
        return all(
            path in fingerprints and is_same(path, parse(fingerprints[path]))
            for path in map(str, output.paths)
        )
