"""What reflow learns at start: a description, and no NumPy."""

from __future__ import annotations

from collections.abc import Iterable

from reflow.hookspecs import SerializerEntry, hookimpl


@hookimpl
def reflow_register_serializers() -> Iterable[SerializerEntry]:
    """Register the serializer "npy" for arrays."""
    return [
        SerializerEntry(
            name="npy",
            target="reflow_example_npy.serializer:NpySerializer",
            types=("numpy.ndarray",),
        )
    ]
