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
                found = path.stat()
                if stat.S_ISDIR(found.st_mode):
                    with os.scandir(path) as entries:
                        empty = next(entries, None) is None
                else:
                    empty = found.st_size == 0
            except (FileNotFoundError, NotADirectoryError):
                return False
            if empty:
                return False
        return True
