"""The serializer "pickle": any value that pickle takes, where the user asks for it by name."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from types import FunctionType
from typing import Any, ClassVar

from ..type_text import SCRIPT_MODULE
from .base import Serializer

PROTOCOL = 5
"""What every Python that runs reflow writes and reads, so that a file does not depend on it."""

_SCRIPT = (SCRIPT_MODULE, "__main__")


class PickleSerializer(Serializer):
    """Writes values with pickle.

    Equal values need not give equal bytes (a set is written in its own order), and reading
    a file runs code that is named in it, so those of other users are refused. Classes are
    stored by name, so they must be importable by the later process; those of the
    workflow's own script are, as the script is loaded by then.
    """

    suffix: ClassVar[str] = ".pickle"
    runs_code: ClassVar[bool] = True

    def dump(self, value: object, path: Path) -> None:
        """Write the value; raises `TypeError` where pickle cannot."""
        with path.open("wb") as file:
            try:
                _Pickler(file, protocol=PROTOCOL).dump(value)
            # What pickle raises for a value depends on the value and on the Python.
            except (pickle.PicklingError, AttributeError, TypeError, RecursionError) as error:
                raise TypeError(
                    f"pickle cannot write this {type(value).__name__}: {error}; return what is "
                    "made of classes and functions at the top level of a module"
                ) from error

    def load(self, path: Path) -> object:
        """Return the value; raises what pickle raises for a file that is damaged."""
        with path.open("rb") as file:
            value: object = pickle.load(file)
            if file.read(1):
                raise pickle.UnpicklingError(f"{path}: there is more behind the value")
        return value


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        # The same script has one name where it was started and another where a job loads
        # it: the file must contain neither.
        if isinstance(value, (type, FunctionType)) and value.__module__ in _SCRIPT:
            module, name = sys.modules.get(value.__module__), value.__qualname__
            if _member(module, name) is value:
                return _of_script, (name,)
        return NotImplemented


def _member(module: object, name: str) -> object:
    member = module
    for part in name.split("."):
        member = getattr(member, part, None)
    return member


def _of_script(name: str) -> object:
    """Return a class or function of the workflow's script, whatever name that is loaded under."""
    for module in _SCRIPT:
        member = _member(sys.modules.get(module), name)
        if member is not None:
            return member
    raise AttributeError(f"the workflow's script has no {name!r} (any more)")


# The path that pickles of all versions name: equal values keep equal digests.
_of_script.__module__ = "reflow.serializers.pickle"
