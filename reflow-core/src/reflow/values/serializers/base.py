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

LAZY_BYTES = 16 * 2**20
"""From this size on a lazy serializer need not read a file to load it."""


class Serializer(ABC):
    """Writes values of some types to a file and reads them back.

    Made without arguments, once in each process that needs it. `suffix` is the ending
    of its files, such as ".npy".

    `lazy` says that `load` may leave the content of a file of `LAZY_BYTES` or more unread
    until it is touched, by mapping it into memory for one. Such a file is not checked
    against its name first, so `load` must notice by itself that it was cut.

    `runs_code` says that reading a file runs code that is named in it. Files that belong to
    another user are then refused.
    """

    suffix: ClassVar[str] = ""
    lazy: ClassVar[bool] = False
    runs_code: ClassVar[bool] = False

    @abstractmethod
    def dump(self, value: object, path: Path) -> None:
        """Write the value to a new file at `path`, whose name ends in `suffix`.

        Raises `TypeError` or `ValueError` for a value that it cannot write: the task
        that returned it fails with that message.
        """

    @abstractmethod
    def load(self, path: Path) -> object:
        """Return the value that `dump` wrote to `path`, without changing the file."""
