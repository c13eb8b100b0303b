"""Numbered files as a lease: whoever creates the next one holds it.

Locks of a network file system may be missing, may hold on one machine alone, or may outlive
their holder. So to take a lease *is* to create the next of a row of numbered files, exclusively.
The file with the highest number holds, until it says that it is free or its holder is dead. A
holder on this machine is judged by whether its process lives, one elsewhere by the age of its
file. Both times are of the file server's clock, so no two clocks need to agree.

The journal of a run and the lease of a store are such rows.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import LeaseLostError
from .filesystem import Files

LEASE_SECONDS = 60.0
"""A holder on another machine is given up when its file has not changed for so long."""


class NumberedFiles:
    """The files in `folder` that are named by a number of so many `digits`, and `suffix`."""

    def __init__(self, files: Files, folder: str, digits: int, suffix: str = "") -> None:
        self.files = files
        self.folder = folder
        self._digits = digits
        self._suffix = suffix

    def path(self, number: int) -> str:
        """Return the path of a file."""
        return f"{self.folder}/{number:0{self._digits}d}{self._suffix}"

    def numbers(self) -> list[int]:
        """Return the numbers of the files that are there, in order."""
        suffix = self._suffix
        stems = (
            name.removesuffix(suffix)
            for name in self.files.list(self.folder)
            if name.endswith(suffix)
        )
        return sorted(int(stem) for stem in stems if stem.isdigit())

    def newest(self) -> int:
        """Return the highest number, 0 if there is none."""
        return max(self.numbers(), default=0)

    def check(self, number: int, message: str) -> None:
        """Raise `LeaseLostError` unless this number, the caller's, is the highest still."""
        if self.newest() != number:
            raise LeaseLostError(message)

    def renew(self, number: int) -> None:
        """Show that the holder of a number lives."""
        self.files.touch(self.path(number))

    def last_sign(self, number: int) -> float:
        """Return when the holder last showed a sign of life; 0 if it gave the lease up."""
        return self.files.modified(self.path(number))

    def holder_lives(
        self, number: int, owner: str, seconds: float, alive: Callable[[str], bool | None]
    ) -> bool:
        """Whether the process `owner`, which created a number, lives as far as can be told.

        Where `alive` cannot tell, it counts as dead once it has shown no sign of life for so many
        seconds, against a file touched just now.
        """
        living = alive(owner)
        if living is not None:
            return living
        probe = self.files.scratch(self.folder, "")
        try:
            return self.files.touch(probe) - self.last_sign(number) < seconds
        except FileNotFoundError:
            return True  # newer files have come, and this one has gone
        finally:
            self.files.discard(probe)
