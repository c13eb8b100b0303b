"""The serializer "pandas": frames and series in Arrow IPC files."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any, ClassVar

from reflow.serializers.base import Serializer

from .libraries import library, type_name

pa = library("pyarrow", "pandas")
pd = library("pandas", "pandas")

_KEY = b"reflow"


class FrameSerializer(Serializer):
    """Writes frames and series, with their index, names, dtypes and attributes.

    Equal ones give equal files, whichever pandas writes them. Objects are written where
    Arrow has a type that gives them back: texts, dates, decimals; others are refused.
    """

    suffix: ClassVar[str] = ".arrow"

    def dump(self, value: Any, path: Path) -> None:
        """Write a frame or series; raises `TypeError` for what would come back otherwise."""
        from .tables import write

        if type(value) is pd.DataFrame:
            frame, kind = value, "frame"
        elif type(value) is pd.Series:
            # Without a name the only column is called 0.
            frame, kind = value.to_frame(), "series" if value.name is not None else "nameless"
            frame.attrs = {}
        else:
            raise TypeError(
                f"a pandas.DataFrame or pandas.Series is needed, not a {type_name(value)}"
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # what is dropped with a warning is dropped
                table = pa.Table.from_pandas(frame)
                attrs = json.dumps(value.attrs, sort_keys=True) if value.attrs else ""
        except Exception as error:
            raise TypeError(f"pandas and Arrow cannot write this {kind}: {error}") from error
        described = {
            "kind": kind,
            "attrs": attrs,
            "index": getattr(value.index, "freqstr", None) or "",
            "columns": getattr(frame.columns, "freqstr", None) or "",
        }
        metadata = {**table.schema.metadata, _KEY: json.dumps(described, sort_keys=True).encode()}
        table = table.replace_schema_metadata(metadata)
        _compare(value, _restored(table))
        write(table, path)

    def load(self, path: Path) -> object:
        """Read a frame or series; raises `ValueError` for a file that is damaged."""
        from .tables import read

        return _restored(read(path, mapped=False))


def _restored(table: Any) -> Any:
    described = json.loads((table.schema.metadata or {}).get(_KEY, b"null"))
    if described is None:
        raise ValueError("this table was not written by the serializer 'pandas'")
    # Never a view of Arrow's memory, which may not be changed.
    value = table.to_pandas().copy()
    for axis in ("index", "columns"):
        if described[axis] and hasattr(getattr(value, axis), "freq"):
            getattr(value, axis).freq = described[axis]
    if described["kind"] != "frame":
        value = value.iloc[:, 0]
        if described["kind"] == "nameless":
            value.name = None
    value.attrs = json.loads(described["attrs"]) if described["attrs"] else {}
    return value


def _compare(value: Any, restored: Any) -> None:
    """Refuse a value that comes back as another: objects above all."""
    equal = (
        pd.testing.assert_frame_equal if isinstance(value, pd.DataFrame)
        else pd.testing.assert_series_equal
    )  # fmt: skip
    try:
        equal(
            value, restored, check_exact=True, check_freq=True,
            check_index_type="equiv", check_flags=True,
        )  # fmt: skip
        _same_objects(value, restored)
    except (AssertionError, TypeError, ValueError) as error:
        raise TypeError(
            f"this {type(value).__name__} would not come back as it is: {error}; convert the "
            "columns that hold Python objects"
        ) from error


def _same_objects(value: Any, restored: Any) -> None:
    """Compare the classes of objects too: 1 equals 1.0, and a tuple may equal an array."""
    columns = [value] if isinstance(value, pd.Series) else [
        value.iloc[:, number] for number in range(value.shape[1])
    ]
    for number, column in enumerate(columns):
        if column.dtype != object:
            continue
        other = restored if isinstance(value, pd.Series) else restored.iloc[:, number]
        for one, two in zip(column, other, strict=True):
            if type(one) is not type(two):
                raise TypeError(f"{type_name(one)} would become {type_name(two)}")
    if value.attrs != restored.attrs:
        raise TypeError("its attrs hold what JSON has not")
