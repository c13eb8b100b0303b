"""The contract of serializers over those of reflow-data."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import xarray as xr

from reflow.testing import SerializerContract

TIMES = pd.date_range("2026-04-01", periods=3, freq="h", tz="Europe/Berlin")


class TestNumpy(SerializerContract):
    entry = "numpy"
    values = (
        np.arange(3),
        np.zeros((0, 4)),
        np.array(1.5),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(20)[::3],
        np.array(["ä", "longer"]),
        np.array([b"a\x00b"]),
        np.array([("a", 1)], dtype=[("name", "U3"), ("count", ">i4")]),
        np.zeros(2, np.dtype({"names": ["a", "b"], "formats": ["i1", "f8"], "itemsize": 24})),
        np.array(["2026-04-01", "NaT"], dtype="datetime64[D]"),
        np.random.default_rng(1).normal(size=100_000),
        np.array([np.nan, np.inf, -0.0], np.float16),
        np.array([1 + 2j, np.nan], np.complex64),
        np.array([True, False]),
        np.array([1, 2], ">u2"),
    )
    refused = (
        [1, 2],
        np.float64(1.0),
        np.array([object()]),
        np.array(["a"], dtype=np.dtypes.StringDType()) if hasattr(np.dtypes, "StringDType") else [],
        np.zeros(1, [("a", "O")]),
        np.ma.masked_array([1, 2], mask=[True, False]),
        np.matrix([[1]]),
    )

    def same(self, a: Any, b: Any) -> bool:
        if type(a) is not type(b) or a.dtype != b.dtype:
            return False
        return bool(np.array_equal(a, b, equal_nan=a.dtype.kind in "fcM"))


class TestArrow(SerializerContract):
    entry = "arrow"
    values = (
        pa.table({"a": [1, 2], "b": ["x", None]}),
        pa.table({}),
        pa.table({"a": pa.array([], pa.float64())}),
        pa.table({"a": pa.chunked_array([[1, None], [], [3]])}),
        pa.table({"a": [[1, 2], None, [None]], "b": [{"x": 1}, None, {"x": None}]}),
        pa.table({"a": pa.chunked_array([["u", "v"], ["v", "w"]]).dictionary_encode()}),
        pa.table({"when": pa.array([dt.datetime(2026, 4, 1), None], pa.timestamp("ns", "UTC"))}),
        pa.table({"a": [Decimal("1.10"), None], "b": [b"\x00", b""]}),
        pa.table({"a": [1]}).replace_schema_metadata({"z": "1", "a": "2"}),
        pa.table({"n": np.arange(20_000.0)}),
    )
    refused = ([1], {"a": [1]}, pa.array([1]), pd.DataFrame({"a": [1]}))

    def same(self, a: Any, b: Any) -> bool:
        return type(a) is type(b) and a.equals(b, check_metadata=True)


class TestPandas(SerializerContract):
    entry = "pandas"
    values = (
        pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": [1.5, np.nan]}),
        pd.DataFrame(),
        pd.DataFrame({"a": pd.Series([], dtype="int8")}),
        pd.DataFrame({"a": [1, 2, 3]}, index=TIMES),
        pd.DataFrame({"a": [1, 2, 3]}, index=pd.RangeIndex(2, 8, 2, name="step")),
        pd.DataFrame([[1, 2], [3, 4]], columns=[10, 20]),
        pd.DataFrame(
            [[1, 2]],
            index=pd.MultiIndex.from_tuples([("a", 1)], names=["x", "y"]),
            columns=pd.MultiIndex.from_tuples([("u", "v"), ("u", "w")]),
        ),
        pd.DataFrame({"c": pd.Categorical(["a", "b", None], ["b", "a"], ordered=True)}),
        pd.DataFrame({"i": pd.array([1, None], "Int64"), "b": pd.array([True, None], "boolean")}),
        pd.DataFrame({"p": pd.period_range("2026-04", periods=2, freq="M")}),
        pd.DataFrame({"d": pd.to_timedelta([1, None], unit="s"), "t": TIMES[:2]}),
        pd.DataFrame({"x": [Decimal("1.10")], "day": [dt.date(2026, 4, 1)]}, dtype=object),
        pd.Series([1.5, 2.5], name="a"),
        pd.Series([1, 2], index=["x", "y"]),
        pd.Series(["a", None], name=("b", 1)),
        pd.Series(range(20_000)),
    )
    refused = (
        [1],
        pd.Index([1]),
        pd.DataFrame({"a": [object()]}),
        pd.DataFrame({"a": [1, "x"]}, dtype=object),
        pd.DataFrame({"a": [(1, 2)]}),
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        type("Mine", (pd.DataFrame,), {})({"a": [1]}),
    )

    def same(self, a: Any, b: Any) -> bool:
        if type(a) is not type(b):
            return False
        equal = (
            pd.testing.assert_frame_equal if isinstance(a, pd.DataFrame)
            else pd.testing.assert_series_equal
        )  # fmt: skip
        equal(a, b, check_exact=True)
        return bool(a.attrs == b.attrs)


class TestPolars(SerializerContract):
    entry = "polars"
    values = (
        pl.DataFrame({"a": [1, 2], "b": ["x", None]}),
        pl.DataFrame(),
        pl.DataFrame({"a": []}, schema={"a": pl.Float32}),
        pl.DataFrame({"a": [[1], None, []], "s": [{"x": 1}, None, {"x": None}]}),
        pl.concat([pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [2]})], rechunk=False),
        pl.DataFrame({"e": ["b", "a"]}, schema={"e": pl.Enum(["a", "b"])}),
        pl.DataFrame({"t": [dt.datetime(2026, 4, 1), None], "d": [dt.date(2026, 4, 1), None]}),
        pl.DataFrame({"l": [dt.timedelta(1)], "b": [b"\x00"], "x": [Decimal("1.10")]}),
        pl.DataFrame({"c": ["b", "a", None]}, schema={"c": pl.Categorical}),
        pl.DataFrame({"n": [None, None], "i": [1, None]}, schema={"n": pl.Null, "i": pl.UInt8}),
        pl.DataFrame({"a": np.arange(20_000.0)}),
    )
    refused = ([1], pl.Series([1]), pl.LazyFrame({"a": [1]}),
               pl.DataFrame({"a": pl.Series([object()], dtype=pl.Object)}))  # fmt: skip

    def same(self, a: Any, b: Any) -> bool:
        return type(a) is type(b) and a.schema == b.schema and a.equals(b, null_equal=True)


GRID = xr.Dataset(
    {
        "t": (("time", "x"), np.arange(6.0).reshape(3, 2), {"units": "K", "valid": [0, 400]}),
        "flag": ("x", np.array([True, False]), {"flag_masks": np.array([1, 2], "i1")}),
        "when": ("x", np.array(["2026-04-01", "NaT"], "datetime64[ns]")),
        "name": ("x", np.array(["ä", "longer"])),
        "lag": ("time", np.array([1, 2, 3], "timedelta64[s]")),
    },
    coords={
        "time": pd.date_range("2026-04-01", periods=3),
        "x": [10, 20],
        "lat": ("x", [1.5, 2.5], {"units": "degrees_north"}),
        "member": 7,
    },
    attrs={"title": "a grid", "history": ["made"], "scale": np.float32(0.5), "coordinates": "no"},
)


class TestXarray(SerializerContract):
    entry = "xarray"
    values = (
        GRID,
        GRID["t"],
        GRID["t"].rename(None),
        GRID["lat"],
        GRID["x"],
        xr.Dataset(),
        xr.Dataset({"empty": ("x", np.zeros(0, "i2"))}, attrs={"a": {"b": [None, 1.5]}}),
        xr.DataArray(np.array(1.5)),
        xr.DataArray(np.array(["a", "bc"], dtype=object), dims="n", name="texts"),
        xr.DataArray(np.arange(20_000.0)[::2], dims="n"),
        # By CF these would be times, packed numbers and gaps; here they are just numbers.
        xr.Dataset(
            {"n": ("x", [0, 1], {"units": "days since 2000-01-01", "scale_factor": 2.0,
                                 "_FillValue": 1, "coordinates": "x"})}
        ),
    )  # fmt: skip
    refused = (
        np.arange(3),
        xr.Dataset({"a": ("x", [object()])}),
        xr.Dataset({"a/b": ("x", [1])}),
        xr.Dataset({1: ("x", [1])}),
        xr.Dataset(attrs={"a": object()}),
        xr.Dataset(attrs={"reflow": 1}),
        xr.Dataset({"a": ("x", [1])}).stack(z=["x"]),
        xr.Dataset({"a": ("x", np.zeros(1, [("a", "f8")]))}),
    )

    def same(self, a: Any, b: Any) -> bool:
        if type(a) is not type(b) or not a.identical(b):
            return False
        first, second = (
            x.to_dataset(name="_") if isinstance(x, xr.DataArray) else x for x in (a, b)
        )
        return {k: v.dtype for k, v in first.variables.items()} == {
            k: v.dtype for k, v in second.variables.items()
        } and (list(first), list(first.coords)) == (list(second), list(second.coords))
