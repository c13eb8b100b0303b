"""The verifier port: judges whether a result of an older run may be used again.

A verifier is named by a `reflow.hookspecs.VerifierEntry`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path


class Output:
    """A result of an older run: its value, and the files and folders named in it.

    `value` is read when it is first asked for, as that may take the user's code;
    `paths` are at hand. So are `fingerprints`, by path, as texts of `caching.file_fingerprint`:
    taken when the task had ended, of what counts by its ``files=``, or of all that is there
    where a verifier of the task needs them (`VerifierEntry.fingerprints`).
    """

    __slots__ = ("_fingerprints", "_read", "_value", "paths")

    def __init__(
        self,
        paths: tuple[Path, ...],
        read: Callable[[], object],
        fingerprints: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self.paths = paths
        self._read: Callable[[], object] | None = read
        self._value: object = None
        self._fingerprints = fingerprints

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """The fingerprints that were taken when the task had ended, by path."""
        return self._fingerprints()

    @property
    def value(self) -> object:
        """The value as the task returned it. Raises what reading it raises."""
        if self._read is not None:
            self._value = self._read()
            self._read = None
        return self._value


class Verifier(ABC):
    """Judges results of older runs. Made without arguments, once in each process."""

    @abstractmethod
    def verify(self, output: Output) -> bool:
        """Whether what the output stands for is still there and whole.

        False, or any exception, means that the work is done again.
        """
