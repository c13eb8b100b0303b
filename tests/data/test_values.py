"""Arrays, tables and datasets as files: by content, unread until touched, never a pickle."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis.extra import numpy as strategies

from reflow import Result, RunFailedError, Workflow
from reflow.errors import RecordError
from reflow.model.spec import SerializerSpec
from reflow.storage.attachments import AttachmentFolder
from reflow.storage.filesystem import Files
from reflow.values.serializers import base
from reflow_data import arrays, columns, datasets, frames, tables

SERIALIZERS = {
    "numpy": arrays.ArraySerializer,
    "arrow": tables.TableSerializer,
    "pandas": frames.FrameSerializer,
    "polars": columns.PolarsSerializer,
    "xarray": datasets.DatasetSerializer,
}
LAZY = {
    "numpy": np.arange(500.0),
    "arrow": pa.table({"a": np.arange(500.0), "b": [str(number) for number in range(500)]}),
    "polars": pl.DataFrame({"a": np.arange(500.0), "b": ["x"] * 500}),
    "xarray": xr.Dataset({"a": ("x", np.arange(500.0)), "b": ("y", [1, 2])}, {"x": range(500)}),
}


def written(name: str, value: object, folder: Path) -> bytes:
    path = folder / f"value{SERIALIZERS[name].suffix}"
    SERIALIZERS[name]().dump(value, path)
    return path.read_bytes()


@pytest.fixture
def lazily(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat small files as large ones."""
    for module in (base, arrays, columns, tables, datasets):
        monkeypatch.setattr(module, "LAZY_BYTES", 1)


def spec(name: str) -> SerializerSpec:
    return SerializerSpec(name=name, target=f"{SERIALIZERS[name].__module__}:"
                          f"{SERIALIZERS[name].__qualname__}")  # fmt: skip


# The same content is the same file


@settings(max_examples=60)
@given(array=strategies.arrays(
    strategies.scalar_dtypes() | strategies.nested_dtypes(),
    strategies.array_shapes(min_dims=0, min_side=0, max_side=4),
))  # fmt: skip
def test_any_array_comes_back(tmp_path_factory: pytest.TempPathFactory, array: Any) -> None:
    folder = tmp_path_factory.getbasetemp()
    first = written("numpy", array, folder)
    back: Any = arrays.ArraySerializer().load(folder / "value.npy")
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes() or array.dtype.kind == "V"
    assert written("numpy", back, folder) == first
    assert written("numpy", np.asfortranarray(array).reshape(array.shape), folder) == first


def test_padding_between_fields_does_not_count(tmp_path: Path) -> None:
    kind = np.dtype({"names": ["a", "b"], "formats": ["i1", [("c", "i2"), ("d", "i1")]],
                     "offsets": [0, 8], "itemsize": 16})  # fmt: skip
    clean = np.zeros(3, kind)
    dirty = np.frombuffer(b"\xff" * 48, kind).copy()
    dirty["a"], dirty["b"]["c"], dirty["b"]["d"] = 0, 0, 0
    assert dirty.tobytes() != clean.tobytes()
    assert written("numpy", dirty, tmp_path) == written("numpy", clean, tmp_path)


def test_how_an_arrow_table_was_made_does_not_count(tmp_path: Path) -> None:
    numbers = pa.array([1.5, None, 3.0])
    hidden = pa.Array.from_buffers(
        pa.float64(), 3, [numbers.buffers()[0], pa.py_buffer(np.array([1.5, 99.0, 3.0]))]
    )
    texts = ["x", "yy", None]
    plain = pa.table({"n": numbers, "t": texts, "b": [True, None, False]})
    longer = pa.table({"n": [9, 1.5, None, 3.0, 9], "t": ["q", *texts, "q"],
                       "b": [None, True, None, False, True]})  # fmt: skip
    chunked = pa.concat_tables([plain.slice(0, 1), plain.slice(1)])
    same = [plain, plain.set_column(0, "n", hidden), longer.slice(1, 3), chunked]
    assert len({written("arrow", table, tmp_path) for table in same}) == 1
    renamed = plain.rename_columns(["n", "t", "other"])
    assert written("arrow", renamed, tmp_path) != written("arrow", plain, tmp_path)


def test_library_that_made_a_table_does_not_count(tmp_path: Path) -> None:
    table = pa.Table.from_pandas(pd.DataFrame({"a": [1, 2]}))
    described = json.loads(table.schema.metadata[b"pandas"])
    described["creator"] = {"version": "0.1", "library": "another"}
    described["pandas_version"] = "0.9"
    other = table.replace_schema_metadata({"pandas": json.dumps(described)})
    assert written("arrow", table, tmp_path) == written("arrow", other, tmp_path)
    for version in (b"creator", pd.__version__.encode(), pa.__version__.encode()):
        assert version not in written("pandas", pd.DataFrame({"a": [1, 2]}), tmp_path)


def test_how_a_polars_frame_was_made_does_not_count(tmp_path: Path) -> None:
    plain = pl.DataFrame({"n": [1.5, None, 3.0], "t": ["x", "yy" * 20, None]})
    longer = pl.DataFrame({"n": [9.0, 1.5, 7.0, 3.0], "t": ["q", "x", "yy" * 20, "z"]})
    filtered = longer.slice(1).with_columns(
        n=pl.when(pl.col("n") < 7).then(pl.col("n")),
        t=pl.when(pl.col("t") != "z").then(pl.col("t")),
    )
    chunked = pl.concat([plain.slice(0, 1), plain.slice(1)], rechunk=False)
    assert filtered.equals(plain, null_equal=True)
    assert len({written("polars", frame, tmp_path) for frame in (plain, filtered, chunked)}) == 1


def test_files_that_a_dataset_came_from_do_not_count(tmp_path: Path) -> None:
    dataset = LAZY["xarray"]
    other = dataset.copy()
    other["a"].encoding = {"dtype": "i2", "scale_factor": 0.1, "chunksizes": (7,)}
    other.encoding = {"source": "/somewhere/else.nc"}
    assert written("xarray", dataset, tmp_path) == written("xarray", other, tmp_path)


# Unread until touched


@pytest.mark.usefixtures("lazily")
@pytest.mark.parametrize("name", LAZY)
def test_a_large_value_comes_back_and_its_file_stays(tmp_path: Path, name: str) -> None:
    serializer, value = SERIALIZERS[name](), LAZY[name]
    path = tmp_path / f"value{serializer.suffix}"
    serializer.dump(value, path)
    before = path.read_bytes()
    back: Any = serializer.load(path)
    assert type(back) is type(value)
    if name == "numpy":
        assert np.array_equal(back, value)
        back[0] = 99
    elif name in ("arrow", "polars"):
        assert back.equals(value)
    else:
        assert back.identical(value)
        back["a"][0] = 99
    assert path.read_bytes() == before
    again: Any = serializer.load(path)
    first = again[0] if name == "numpy" else again["a"][0]
    assert float(first.as_py() if name == "arrow" else first) == 0.0


@pytest.mark.usefixtures("lazily")
@pytest.mark.parametrize("damage", ["cut in half", "last byte gone", "empty", "foreign"])
@pytest.mark.parametrize("name", LAZY)
def test_a_large_file_that_is_damaged_is_no_value(tmp_path: Path, name: str, damage: str) -> None:
    serializer = SERIALIZERS[name]()
    path = tmp_path / f"value{serializer.suffix}"
    serializer.dump(LAZY[name], path)
    content = path.read_bytes()
    half, foreign = content[: len(content) // 2], b"\xffno such format\x00\n" * 16
    path.write_bytes(
        {"cut in half": half, "last byte gone": content[:-1], "empty": b"",
         "foreign": foreign}[damage]
    )  # fmt: skip
    with pytest.raises((ValueError, OSError)):
        serializer.load(path)


class Counting(Files):
    """Counts the files that were read whole to be checked."""

    checked = 0

    def digest(self, path: str) -> str:
        self.checked += 1
        return super().digest(path)


@pytest.mark.parametrize("name", LAZY)
def test_untouched_values_are_not_read(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (base, arrays, columns, tables, datasets):
        monkeypatch.setattr(module, "LAZY_BYTES", 2000)
    files = Counting()
    folder = AttachmentFolder(files, str(tmp_path), [spec(name)])
    large = folder.keep(name, LAZY[name])
    little = {"numpy": np.arange(2), "arrow": pa.table({"a": [1]}),
              "polars": pl.DataFrame({"a": [1]}), "xarray": xr.Dataset()}  # fmt: skip
    small = folder.keep(name, little[name])
    files.checked = 0
    folder.load(large)
    folder.load(large)
    assert files.checked == 0
    folder.load(small)
    folder.load(small)
    assert files.checked == 1
    (tmp_path / large["file"]).unlink()
    with pytest.raises(RecordError, match="is gone"):
        folder.load(large)


# In a workflow

FRAME = pd.DataFrame({"a": [1, 2]}, index=["x", "y"])


@pytest.mark.parametrize(
    ("kind", "value", "suffix"),
    [
        (np.ndarray, np.arange(3), ".npy"),
        (pa.Table, pa.table({"a": [1, 2]}), ".arrow"),
        (pd.DataFrame, FRAME, ".arrow"),
        (pd.Series, FRAME["a"], ".arrow"),
        (pl.DataFrame, pl.DataFrame({"a": [1, 2]}), ".arrow"),
        (xr.Dataset, LAZY["xarray"], ".zarr.zip"),
        (xr.DataArray, LAZY["xarray"]["a"], ".zarr.zip"),
    ],
)
def test_by_type_through_fan_out_gather_and_cache(
    tmp_path: Path, kind: Any, value: Any, suffix: str
) -> None:
    wf = Workflow("w", store=tmp_path / "runs.sqlite")

    @wf.job()
    def parts() -> list[kind]:  # type: ignore[valid-type]
        return [value, value]

    @wf.job(array=True)
    def each(part: Annotated[kind, Result(step="parts")]) -> kind | None:  # type: ignore[valid-type]
        assert type(part) is kind
        return part

    @wf.job()
    def whole(parts: Annotated[list[kind | None], Result(step="each")]) -> list[str]:  # type: ignore[valid-type]
        return [type(part).__name__ for part in parts]

    run = wf.run_local(tmp_path / "one")
    assert run.result("whole") == [kind.__name__] * 2
    files = list((tmp_path / "one").glob(f".reflow/*/values/*{suffix}"))
    assert len(files) == 1, "what is the same has one file"
    summary = wf.run_local(tmp_path / "two").status(as_dict=True)["summary"]
    assert summary == {"parts": {"CACHED": 1}, "each": {"CACHED": 2}, "whole": {"CACHED": 1}}


def test_refused_value_fails_the_task_with_the_reason(tmp_path: Path) -> None:
    wf = Workflow("w", store=tmp_path / "runs.sqlite")

    @wf.job()
    def make() -> np.ndarray:
        return np.array([object()])

    with pytest.raises(RunFailedError, match=r"cannot write ndarray: an array of Python objects"):
        wf.run_local(tmp_path / "out")


# Missing libraries and forbidden contents


@pytest.mark.parametrize(
    ("name", "missing"),
    [("numpy", "numpy"), ("arrow", "pyarrow"), ("pandas", "pandas"), ("pandas", "pyarrow"),
     ("polars", "polars"), ("polars", "pyarrow"), ("xarray", "xarray")],
)  # fmt: skip
def test_a_library_that_is_missing_is_named(tmp_path: Path, name: str, missing: str) -> None:
    code = (
        "import sys\n"
        f"sys.modules[{missing!r}] = None\n"
        "from reflow.storage.attachments import AttachmentFolder\n"
        "from reflow.values.references import reference\n"
        "from reflow.errors import PluginError\n"
        "from reflow.storage.filesystem import Files\n"
        "from reflow.model.spec import SerializerSpec\n"
        f"made = SerializerSpec(name={name!r}, target={spec(name).target!r})\n"
        f"folder = AttachmentFolder(Files(), {str(tmp_path)!r}, [made])\n"
        "try:\n"
        f"    folder.load(reference({name!r}, '0' * 64))\n"
        "except PluginError as error:\n"
        "    print(error)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"pip install 'reflow-data[{name}]'" in out.stdout
    assert missing in out.stdout


def test_describing_the_serializers_imports_no_library() -> None:
    code = (
        "import sys, reflow_data.plugin as plugin\n"
        "list(plugin.reflow_register_serializers())\n"
        "heavy = ('numpy', 'pandas', 'polars', 'pyarrow', 'xarray')\n"
        "print([one for one in heavy if one in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "[]\n"


class Bomb:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("a pickle was loaded",))


def test_no_pickle_is_ever_loaded(tmp_path: Path) -> None:
    path = tmp_path / "value"
    np.save(path.open("wb"), np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        arrays.ArraySerializer().load(path)
    written("xarray", xr.Dataset({"a": ("x", [1])}), tmp_path)
    source = zipfile.ZipFile(tmp_path / "value.zarr.zip")
    with zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content = source.read(name).replace(b'"<i8"', b'"|O"')
            target.writestr(name, pickle.dumps(Bomb()) if name == "a/0" else content)
    with pytest.raises(ValueError, match="in a way that reflow does not use"):
        datasets.DatasetSerializer().load(path)
    for serializer_class in SERIALIZERS.values():
        path.write_bytes(pickle.dumps(Bomb()))
        with pytest.raises((ValueError, OSError)):
            serializer_class().load(path)


def test_a_dataset_is_a_zarr_store(tmp_path: Path) -> None:
    """By the specification of Zarr 2, so that other programs can read it."""
    content = written("xarray", LAZY["xarray"], tmp_path)
    archive = zipfile.ZipFile(io.BytesIO(content))
    assert json.loads(archive.read(".zgroup")) == {"zarr_format": 2}
    described = json.loads(archive.read("a/.zarray"))
    assert described["shape"] == described["chunks"] == [500]
    assert json.loads(archive.read("a/.zattrs"))["_ARRAY_DIMENSIONS"] == ["x"]
    assert np.array_equal(np.frombuffer(archive.read("a/0"), described["dtype"]), np.arange(500.0))
    assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
