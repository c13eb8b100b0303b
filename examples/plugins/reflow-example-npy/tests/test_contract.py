from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from reflow_example_npy.serializer import NpySerializer

from reflow.testing import SerializerContract


class TestNpy(SerializerContract):
    entry = "npy"
    values = (
        np.arange(3),
        np.zeros((0, 4)),
        np.array(1.5),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(20)[::3],
        np.array(["ä", "longer"]),
        np.array([("a", 1)], dtype=[("name", "U3"), ("count", ">i4")]),
        np.array(["2026-04-01"], dtype="datetime64[D]"),
        np.random.default_rng(1).normal(size=100_000),
        np.array([np.nan, np.inf]),
    )
    refused = (
        [1, 2],
        np.array([object()]),
        np.ma.masked_array([1, 2], mask=[True, False]),
    )

    def same(self, a: Any, b: Any) -> bool:
        if type(a) is not type(b) or a.dtype != b.dtype:
            return False
        return bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))


def test_the_order_in_memory_does_not_show(tmp_path: Path) -> None:
    rows = np.arange(6).reshape(2, 3)
    for name, array in (("c", rows), ("f", np.asfortranarray(rows))):
        NpySerializer().dump(array, tmp_path / name)
    assert (tmp_path / "c").read_bytes() == (tmp_path / "f").read_bytes()
