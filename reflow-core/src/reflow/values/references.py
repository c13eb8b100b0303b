"""Values that JSON cannot hold: kept in files of their own, referred to in the JSON.

Where such a value stands, its JSON has a reference, the object
``{"$attachment": <serializer>, "file": "<sha256 of the content><suffix>"}``: so it can be
distinguished from any other value, goes through lists as any item does, and equal contents have
equal texts. Codecs write and read the values through the `Attachments` that are
current; workers import this: no attrs, and no annotations as texts (see `reflow.storage.outcome`).
"""

import re
import sys
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # making a Protocol takes a worker as long as its identity
    from typing import Protocol

    class Named(Protocol):
        """A serializer as `reflow.hookspecs.SerializerEntry` describes it."""

        @property
        def name(self) -> str:
            """What users and references call it."""

        @property
        def target(self) -> str:
            """Where its class is, ``"module:Class"``."""

        @property
        def types(self) -> tuple[str, ...]:
            """The dotted names of the classes that it takes unnamed."""

    class Attachments(Protocol):
        """Where values are kept that have files of their own."""

        def keep(self, serializer: str, value: object) -> dict[str, str]:
            """Write the value to a file and return the reference to it."""

        def load(self, reference: dict[str, Any]) -> Any:
            """Return the value that a reference refers to."""


KEY = "$attachment"

# Compiled when first used (by re, which keeps them): most workers never do.
_REFERENCE = r'\{"\$attachment":"([^"\\]+)","file":"([^"\\]+)"\}'
_FILE = r"[0-9a-f]{64}(\.\w[\w.-]{0,31})?"


class StoredAs(NamedTuple):
    """In ``Annotated[type, StoredAs(name)]``: kept in a file by the serializer `name`.

    An empty name is for reading only: by whichever serializer the reference names.
    """

    name: str


current: "ContextVar[Attachments | None]" = ContextVar("reflow-attachments", default=None)
"""Where the codecs of this thread keep such values, while values are written or read."""

learned: "dict[str, Named]" = {}
"""The serializers that this process has learned of, by name."""


def _nearest(cls: type) -> "Named | None":
    for base in cls.__mro__[:-1]:
        for serializer in learned.values():
            if any(is_called(base, name) for name in serializer.types):
                return serializer
    return None


# In a list: a module-level name would need `global` to be replaced.
_finders: "list[Callable[[type], Named | None]]" = [_nearest]


def find_with(finder: "Callable[[type], Named | None]") -> None:
    """Have `serializer_for` ask `finder` instead of what this process has learned so far.

    Whatever ran earlier in the process must not change what a workflow is checked against. A
    worker needs no finder: the run's record names its serializers.
    """
    _finders[0] = finder


def learn(serializers: "Iterable[Named]") -> None:
    """Learn of serializers, so that values of their types have codecs."""
    learned.update({serializer.name: serializer for serializer in serializers})


def serializer_for(cls: type) -> str | None:
    """Return the name of the serializer that takes values of a class, if there is one.

    Of several the one that names the nearest base class is chosen.
    """
    serializer = _finders[0](cls)
    if serializer is None:
        return None
    learned[serializer.name] = serializer
    return serializer.name


def is_called(cls: type, name: str) -> bool:
    """Whether a dotted name such as "pandas.DataFrame" is that of the class.

    Where a class is defined counts, and where users import it from. Imports nothing: a
    class exists only where its module was imported.
    """
    if name == f"{cls.__module__}.{cls.__qualname__}":
        return True
    module, _, attribute = name.rpartition(".")
    # Not getattr: a module may import more when it is asked for a name that it lacks.
    return getattr(sys.modules.get(module), "__dict__", {}).get(attribute) is cls


def reference(serializer: str, file: str) -> dict[str, str]:
    """Return the reference to a file."""
    return {KEY: serializer, "file": file}


def is_reference(native: object) -> bool:
    """Whether an object of JSON's own types is the reference to a file."""
    return type(native) is dict and native.keys() == {KEY, "file"}


def is_file_name(name: object) -> bool:
    """Whether this can be the name of such a file; never one with a folder in it."""
    return isinstance(name, str) and re.fullmatch(_FILE, name) is not None


def files_in(text: str) -> list[tuple[str, str]]:
    """Return (serializer, file) of each reference in a canonical JSON text."""
    # In a text's strings the quotes would be escaped, so nothing else looks like this.
    return re.findall(_REFERENCE, text) if KEY in text else []
