"""The serializer "numpy": arrays in .npy files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from reflow.serializers.base import LAZY_BYTES, Serializer

from .libraries import library, type_name

np = library("numpy", "numpy")


class ArraySerializer(Serializer):
    """Writes arrays of numbers, texts, dates or records; large ones are mapped when read."""

    suffix: ClassVar[str] = ".npy"
    lazy: ClassVar[bool] = True

    def dump(self, value: Any, path: Path) -> None:
        """Write an array; raises `TypeError` for anything else and for arrays of objects."""
        # A subclass may hold more than .npy keeps, such as the mask of a masked array.
        if type(value) is not np.ndarray:
            raise TypeError(
                f"a numpy.ndarray is needed, not a {type_name(value)}: convert it with "
                "numpy.asarray, or name another serializer"
            )
        array = plain(value)
        with path.open("wb") as file:
            np.lib.format.write_array(file, array, allow_pickle=False)

    def load(self, path: Path) -> object:
        """Read an array; raises `ValueError` for a file that is damaged.

        The array may be changed; the file stays as it is.
        """
        if path.stat().st_size >= LAZY_BYTES:
            mapped = np.lib.format.open_memmap(path, mode="c")
            return np.asarray(mapped)
        with path.open("rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)


def plain(array: Any) -> Any:
    """Return an array as it is written: in one order, so that equal ones give equal bytes.

    Raises `TypeError` for what a file without pickles cannot hold.
    """
    dtype = array.dtype
    if dtype.hasobject or dtype.kind == "T":
        raise TypeError(
            f"an array of Python objects (dtype {dtype}) cannot be written: convert it to a dtype "
            "of numbers, dates or texts of fixed length (.astype(str))"
        )
    if dtype.names is None:
        return np.asarray(array, order="C")
    clean = np.zeros(array.shape, dtype)
    _fill(clean, array)
    return clean


def _fill(target: Any, source: Any) -> None:
    """Copy a record array field by field: what lies between them may be anything."""
    for name in target.dtype.names:
        if target[name].dtype.names is None:
            target[name][...] = source[name]
        else:
            _fill(target[name], source[name])
