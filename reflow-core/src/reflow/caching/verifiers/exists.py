"""The verifier "exists": what a result names is still there."""

from __future__ import annotations

from .base import Output, Verifier


class ExistsVerifier(Verifier):
    """Demands that all files and folders named in the value exist."""

    def verify(self, output: Output) -> bool:
        """Whether each path exists; a broken link does not."""
        # stat and not exists(): a folder that cannot be searched is an error, not an answer.
        for path in output.paths:
            try:
                path.stat()
            except (FileNotFoundError, NotADirectoryError):
                return False
        return True
