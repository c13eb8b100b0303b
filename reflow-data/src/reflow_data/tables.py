"""The serializer "arrow": tables in Arrow IPC files (also known as Feather)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from reflow.serializers.base import LAZY_BYTES, Serializer

from .libraries import library, type_name

pa = library("pyarrow", "arrow")
ipc = library("pyarrow.ipc", "arrow")


class TableSerializer(Serializer):
    """Writes Arrow tables; large ones are mapped when read.

    Equal tables give equal files, whatever chunks they are made of. Which version of pandas
    and pyarrow made a table does not count; all other metadata of its schema does.
    """

    suffix: ClassVar[str] = ".arrow"
    lazy: ClassVar[bool] = True

    def dump(self, value: Any, path: Path) -> None:
        """Write a table; raises `TypeError` for anything else."""
        if type(value) is not pa.Table:
            raise TypeError(f"a pyarrow.Table is needed, not a {type_name(value)}")
        write(value, path)

    def load(self, path: Path) -> object:
        """Read a table; raises `ValueError` for a file that is damaged."""
        return read(path, mapped=path.stat().st_size >= LAZY_BYTES)


def write(table: Any, path: Path) -> None:
    """Write a table in its canonical form. Raises `TypeError` for what Arrow cannot write."""
    options = ipc.IpcWriteOptions(compression=None, allow_64bit=True, use_threads=False)
    try:
        table = canonical(table)
        with path.open("wb") as file, ipc.new_file(file, table.schema, options=options) as writer:
            writer.write_table(table)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise TypeError(f"Arrow cannot write this table: {error}") from error


def read(path: Path, *, mapped: bool) -> Any:
    """Read a table; `mapped` leaves its columns in the file until they are touched."""
    source = pa.memory_map(str(path)) if mapped else pa.py_buffer(path.read_bytes())
    with ipc.open_file(source) as reader:
        table = reader.read_all()
    table.validate(full=not mapped)
    return table


def canonical(table: Any) -> Any:
    """Return an equal table of one chunk, with nothing left over from how it was made."""
    table = table.unify_dictionaries().combine_chunks()
    columns = [_clean(column) for column in table.columns]
    fields = [
        field.with_metadata(_sorted(field.metadata)) if field.metadata else field
        for field in table.schema
    ]
    return pa.table(columns, schema=pa.schema(fields, metadata=_sorted(table.schema.metadata)))


def _clean(column: Any) -> Any:
    """Drop what stands behind a null or outside of a slice: it may be anything."""
    kind = column.type
    if column.null_count == 0 and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return column
    return column.take(pa.array(range(len(column)), pa.int64()))


def _sorted(metadata: Any) -> dict[bytes, bytes] | None:
    if not metadata:
        return None
    found = {key: metadata[key] for key in sorted(metadata)}
    if b"pandas" in found:
        described = json.loads(found[b"pandas"])
        described.pop("creator", None)
        # Reading asks for one, to tell what wrote the file long ago.
        described["pandas_version"] = "2.0.0"
        found[b"pandas"] = json.dumps(described, sort_keys=True).encode()
    return found
