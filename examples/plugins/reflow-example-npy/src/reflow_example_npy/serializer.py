"""The serializer "npy"."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from reflow.serializers.base import Serializer


class NpySerializer(Serializer):
    """Writes NumPy arrays of numbers, texts, dates or records to .npy files."""

    suffix: ClassVar[str] = ".npy"

    def dump(self, value: object, path: Path) -> None:
        """Write an array; raises `TypeError` for anything else and for arrays of objects."""
        # A subclass may hold more than .npy keeps, such as the mask of a masked array.
        if type(value) is not np.ndarray:
            raise TypeError(
                f"npy writes numpy.ndarray, not {type(value).__module__}.{type(value).__name__}; "
                "convert it with numpy.asarray, or choose another serializer"
            )
        if value.dtype.hasobject:
            raise TypeError(f"npy writes no arrays of Python objects (dtype {value.dtype})")
        # In one order of the elements, so that equal arrays give equal bytes.
        with path.open("wb") as file:
            np.lib.format.write_array(file, np.asarray(value, order="C"), allow_pickle=False)

    def load(self, path: Path) -> object:
        """Read an array; raises `ValueError` for a damaged file."""
        with path.open("rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
