"""The serializer port: values that JSON cannot hold, each in a file of its own.

A serializer is named by a `reflow.hookspecs.SerializerEntry`. The file is named after
the sha256 of its content, which is what downstream identities are made of: so `dump`
should write equal values as equal bytes (no time stamps). A serializer that cannot is
still right; it only costs reruns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar


class Serializer(ABC):
    """Writes values of some types to a file and reads them back.

    Made without arguments, once in each process that needs it. `suffix` is the ending
    of its files, such as ".npy".
    """

    suffix: ClassVar[str] = ""

    @abstractmethod
    def dump(self, value: object, path: Path) -> None:
        """Write the value to a new file at `path`, whose name ends in `suffix`.

        Raises `TypeError` or `ValueError` for a value that it cannot write: the task
        that returned it fails with that message.
        """

    @abstractmethod
    def load(self, path: Path) -> object:
        """Return the value that `dump` wrote to `path`, without changing the file."""
