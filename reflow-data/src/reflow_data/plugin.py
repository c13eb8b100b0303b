"""What reflow learns at start: names and types, and none of the libraries."""

from __future__ import annotations

from collections.abc import Iterable

from reflow.hookspecs import SerializerEntry, hookimpl


@hookimpl
def reflow_register_serializers() -> Iterable[SerializerEntry]:
    """Register the serializers "numpy", "arrow", "pandas", "polars" and "xarray"."""
    return [
        SerializerEntry(
            name="numpy",
            target="reflow_data.arrays:ArraySerializer",
            types=("numpy.ndarray",),
        ),
        SerializerEntry(
            name="arrow",
            target="reflow_data.tables:TableSerializer",
            types=("pyarrow.Table",),
        ),
        SerializerEntry(
            name="pandas",
            target="reflow_data.frames:FrameSerializer",
            types=("pandas.DataFrame", "pandas.Series"),
        ),
        SerializerEntry(
            name="polars",
            target="reflow_data.columns:PolarsSerializer",
            types=("polars.DataFrame",),
        ),
        SerializerEntry(
            name="xarray",
            target="reflow_data.datasets:DatasetSerializer",
            types=("xarray.Dataset", "xarray.DataArray"),
        ),
    ]
