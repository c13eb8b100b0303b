"""The values of outcomes: small ones are in the record, large ones in files of their own.

Workers import this: no attrs.
"""

from __future__ import annotations

from ..errors import RecordError
from ..values.hashing import digest
from .filesystem import Files
from .outcome import Outcome

SPILL_BYTES = 64 * 1024
"""A value longer than this is in a file of its own."""


class Values:
    """Reads and keeps the values of outcomes; the large ones are in `folder`."""

    def __init__(self, files: Files, folder: str) -> None:
        self._files = files
        self._folder = folder

    def text(self, outcome: Outcome) -> str:
        """Return the canonical JSON text of a value."""
        if outcome.value is not None:
            return outcome.value
        path = f"{self._folder}/{outcome.digest}.json"
        try:
            text = self._files.read(path).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise RecordError(f"the value in {path} is damaged: {error}") from error
        except FileNotFoundError as error:
            raise RecordError(
                f"the value of {outcome.task}[{outcome.index}] is gone: {path} is missing"
            ) from error
        if digest(text) != outcome.digest:
            raise RecordError(f"the value in {path} is damaged: it does not match its checksum")
        return text

    def keep(self, text: str, text_digest: str) -> str | None:
        """Put a large value into its file and return None, or return a small one."""
        if len(text) < SPILL_BYTES:
            return text
        self._files.make_folder(self._folder)
        self._files.create(
            f"{self._folder}/{text_digest}.json", text.encode("utf-8", "surrogatepass")
        )
        return None
