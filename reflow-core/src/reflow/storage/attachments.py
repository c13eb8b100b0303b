"""Keeps the values that have files of their own in a folder of a run's record.

Workers import this: no attrs.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..errors import PluginError, RecordError, SerializationError
from ..values.references import KEY, is_file_name, is_reference, learn, learned, reference
from .filesystem import Files

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..values.references import Named
    from ..values.serializers.base import Serializer


class AttachmentFolder:
    """The files of values in `folder`, written and read by the serializers of one run.

    A serializer is loaded when it is first needed.
    """

    def __init__(self, files: Files, folder: str, serializers: Iterable[Named]) -> None:
        self._files = files
        self._folder = folder
        self._loaded: dict[str, Serializer] = {}
        self._checked: set[str] = set()
        learn(serializers)

    def keep(self, serializer: str, value: object) -> dict[str, str]:
        """Write the value to a file named after its content; return the reference to it.

        Raises `SerializationError` for a value that the serializer cannot write, and
        `OSError` where there is no room.
        """
        from pathlib import Path

        plugin = self._serializer(serializer)
        self._files.make_folder(self._folder)
        scratch = self._files.scratch(self._folder, plugin.suffix)
        try:
            try:
                plugin.dump(value, Path(scratch))
            except (TypeError, ValueError) as error:
                raise SerializationError(
                    f"the serializer {serializer!r} cannot write {type(value).__qualname__}: "
                    f"{error}"
                ) from error
            if not os.path.isfile(scratch):
                raise SerializationError(
                    f"the serializer {serializer!r} has not written the one file it was to write"
                )
            name = self._files.digest(scratch) + plugin.suffix
            if not is_file_name(name):
                raise SerializationError(
                    f"the serializer {serializer!r} has the suffix {plugin.suffix!r}: it must be "
                    "empty or like '.npy'"
                )
            # Another element may have published the same content: then its file is as good.
            self._files.publish(scratch, f"{self._folder}/{name}")
        finally:
            self._files.discard(scratch)
        return reference(serializer, name)

    def load(self, reference: dict[str, Any]) -> Any:
        """Return the value that a reference refers to.

        Raises `RecordError` where its file is gone or damaged.
        """
        from pathlib import Path

        name = reference.get("file")
        if not is_reference(reference) or not is_file_name(name):
            raise RecordError(f"{reference!r} refers to no file of this run")
        serializer = self._serializer(str(reference[KEY]))
        path = f"{self._folder}/{name}"
        try:
            if path not in self._checked:  # a value that all elements receive is checked once
                self._check(path, serializer, str(reference[KEY]))
                self._checked.add(path)
            return serializer.load(Path(path))
        except FileNotFoundError as error:
            raise RecordError(f"a value is gone: {path} is missing") from error

    def _check(self, path: str, serializer: Serializer, name: str) -> None:
        """Refuse a file that has changed, or that is dangerous because another user wrote it."""
        from ..values.serializers.base import LAZY_BYTES

        stranger = stranger_of(path) if serializer.runs_code else ""
        if stranger:
            raise RecordError(
                f"{path} belongs to {stranger}, and reading what {name!r} wrote runs code that is "
                "named in it: only your own files are read so; have the task that made it run "
                "again (force_tasks, --force-task)"
            )
        # A lazy serializer reads only the parts that are used: a check would read the whole file.
        if serializer.lazy and os.stat(path).st_size >= LAZY_BYTES:
            return
        # The name begins with the sha256 of the content.
        if self._files.digest(path) != os.path.basename(path)[:64]:
            raise RecordError(
                f"the value in {path} is damaged: it does not match its checksum; have the "
                "task that made it run again (force_tasks, --force-task)"
            )

    def _serializer(self, name: str) -> Serializer:
        serializer = self._loaded.get(name)
        if serializer is None:
            spec = learned.get(name)
            if spec is None:
                raise SerializationError(
                    f"the value was written by the serializer {name!r}, which this run does not "
                    f"use (it uses: {', '.join(sorted(learned)) or 'none'})"
                )
            serializer = self._loaded[name] = _load(spec)
        return serializer


def _load(spec: Named) -> Serializer:
    module, _, attribute = spec.target.partition(":")
    try:
        # __import__, because importlib.import_module costs an import of its own.
        serializer: Serializer = getattr(__import__(module, fromlist=[attribute]), attribute)()
    except Exception as error:
        raise PluginError(
            f"the serializer {spec.name!r} ({spec.target}) cannot be used here: "
            f"{type(error).__name__}: {error}"
        ) from error
    return serializer


def may_run_code(serializer: str) -> bool:
    """Whether reading a file of this serializer runs code; True if this run does not use it."""
    spec = learned.get(serializer)
    return spec is None or _load(spec).runs_code


def stranger_of(path: str) -> str:
    """Return in words the owner of a file, "" for this user and the administrator."""
    owner = os.stat(path).st_uid
    if owner in (os.geteuid(), 0):
        return ""
    try:
        import pwd

        return f"the user {pwd.getpwuid(owner).pw_name!r}"
    except (ImportError, KeyError):
        return f"the user with the number {owner}"
