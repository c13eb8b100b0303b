"""The verifier "nonempty": what a result names is still there, with something in it."""

from __future__ import annotations

import os
import stat

from .base import Output, Verifier


class NonemptyVerifier(Verifier):
    """Demands of each path in the value a file of at least one byte, or a folder with an entry."""

    def verify(self, output: Output) -> bool:
        """Whether nothing named in the output is missing or empty."""
        for path in output.paths:
            try:
                status = path.stat()
                if stat.S_ISDIR(status.st_mode):
                    with os.scandir(path) as entries:
                        is_empty = next(entries, None) is None
                else:
                    is_empty = status.st_size == 0
            except (FileNotFoundError, NotADirectoryError):
                return False
            if is_empty:
                return False
        return True
