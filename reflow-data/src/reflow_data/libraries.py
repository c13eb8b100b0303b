"""The libraries that the extras bring, imported by name."""

from __future__ import annotations

import importlib
from typing import Any


def library(name: str, extra: str) -> Any:
    """Import a library. Raises `ImportError` that says which extra brings it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"the serializer {extra!r} needs {name}, which cannot be imported here ({error}); "
            f"try: pip install 'reflow-data[{extra}]'"
        ) from error


def type_name(value: object) -> str:
    """Return the dotted name of a value's class, for messages."""
    return f"{type(value).__module__}.{type(value).__qualname__}"
