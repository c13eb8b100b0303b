"""The serializer "polars": frames in Arrow IPC files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from reflow.serializers.base import LAZY_BYTES, Serializer

from .libraries import library, type_name

pl = library("polars", "polars")
pa = library("pyarrow", "polars")


class PolarsSerializer(Serializer):
    """Writes polars frames; large ones are mapped when read.

    Equal frames give equal files, however they were made.
    """

    suffix: ClassVar[str] = ".arrow"
    lazy: ClassVar[bool] = True

    def dump(self, value: Any, path: Path) -> None:
        """Write a frame; raises `TypeError` for anything else and for columns of objects."""
        from .tables import write

        if type(value) is not pl.DataFrame:
            hint = ": return what its collect() gives" if isinstance(value, pl.LazyFrame) else ""
            raise TypeError(f"a polars.DataFrame is needed, not a {type_name(value)}{hint}")
        try:
            # The layout of texts that Arrow has had from the beginning.
            table = value.to_arrow(compat_level=pl.CompatLevel.oldest())
            back = pl.from_arrow(table).schema
        except (pl.exceptions.PolarsError, pa.ArrowException, TypeError, ValueError) as error:
            raise TypeError(f"polars cannot write this frame: {error}") from error
        changed = [name for name, kind in value.schema.items() if back.get(name) != kind]
        if changed:
            raise TypeError(
                "these columns cannot be written, or would come back with another type: "
                f"{', '.join(changed)}; cast them"
            )
        write(table, path)

    def load(self, path: Path) -> object:
        """Read a frame; raises `ValueError` for a file that is damaged."""
        from .tables import read

        return pl.from_arrow(read(path, mapped=path.stat().st_size >= LAZY_BYTES))
