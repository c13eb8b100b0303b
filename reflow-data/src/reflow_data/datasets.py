"""The serializer "xarray": datasets in Zarr stores, each in one zip file.

The format is Zarr 2 (https://zarr-specs.readthedocs.io, "Zarr Storage Specification
Version 2") as xarray reads it: each variable is one uncompressed chunk, and its
dimensions stand in the attribute ``_ARRAY_DIMENSIONS``. What Zarr has no place for
stands in ``.zattrs`` of the whole under ``reflow``. The zip file has no time stamps.
"""

from __future__ import annotations

import json
import mmap
import struct
import zipfile
from pathlib import Path
from typing import Any, ClassVar

from reflow.serializers.base import LAZY_BYTES, Serializer

from .arrays import plain
from .libraries import library, type_name

np = library("numpy", "xarray")
xr = library("xarray", "xarray")

_ALIGNED = 64


class DatasetSerializer(Serializer):
    """Writes datasets and data arrays; large ones are mapped when read.

    What belongs to the files that a value came from (`encoding`) is not kept. Numbers and
    arrays of numpy in attributes come back as numbers and lists.
    """

    suffix: ClassVar[str] = ".zarr.zip"
    lazy: ClassVar[bool] = True

    def dump(self, value: Any, path: Path) -> None:
        """Write a dataset or data array.

        Raises `TypeError` for anything else, and for variables, indexes and attributes
        that would not come back as they are.
        """
        if type(value) is xr.Dataset:
            dataset, kind, name = value, "Dataset", None
        elif type(value) is xr.DataArray:
            dataset, kind, name = _of_array(value), "DataArray", value.name
            if name is not None and not isinstance(name, str):
                raise TypeError(f"the name of a data array is a text or None, not {name!r}")
        else:
            raise TypeError(
                f"an xarray.Dataset or xarray.DataArray is needed, not a {type_name(value)}"
            )
        _check_indexes(dataset)
        entries: list[tuple[str, Any]] = []
        objects = []
        for key, variable in dataset.variables.items():
            array = _array(key, variable)
            if variable.dtype.hasobject:
                objects.append(key)
            entries += _entries(str(key), variable, array)
        metadata = {
            "kind": kind, "name": name, "variables": [str(key) for key in dataset.variables],
            "coordinates": list(map(str, dataset.coords)), "objects": sorted(map(str, objects)),
        }  # fmt: skip
        attributes = _attributes("the dataset", dataset.attrs)
        beside = sorted(str(name) for name in dataset.coords if name not in dataset.dims)
        if beside and not any(" " in name for name in beside):
            attributes.setdefault("coordinates", " ".join(beside))  # where xarray looks for them
        head = [
            (".zgroup", _text({"zarr_format": 2})),
            (".zattrs", _text({**attributes, "reflow": metadata | {"attrs": list(dataset.attrs)}})),
        ]
        _write_zip([*head, *entries], path)

    def load(self, path: Path) -> object:
        """Read a dataset or data array; raises `ValueError` for a file that is damaged."""
        mapped = path.stat().st_size >= LAZY_BYTES
        try:
            with zipfile.ZipFile(path) as archive:
                return _read(archive, path if mapped else None)
        except (zipfile.BadZipFile, KeyError, EOFError, struct.error) as error:
            raise ValueError(f"{path} holds no dataset: {error!r}") from error


_ONLY = "__xarray_dataarray_variable__"
"""What xarray itself calls the variable of a data array in a file."""


def _of_array(array: Any) -> Any:
    dataset = array.drop_vars(list(array.coords)).rename(None).to_dataset(name=_ONLY)
    return dataset.assign_coords(array.coords)


def _check_indexes(dataset: Any) -> None:
    for name, index in dataset.xindexes.items():
        if type(index) is not xr.indexes.PandasIndex:
            raise TypeError(
                f"the index of {name!r} is a {type(index).__name__}, which cannot be written: "
                "reset_index() makes coordinates of it"
            )
    for name in dataset.dims:
        if name in dataset.coords and name not in dataset.xindexes:
            raise TypeError(f"the coordinate {name!r} has no index, but would have one when read")


def _array(key: object, variable: Any) -> Any:
    """Return the values of a variable as an array that can be written."""
    _check_names(key, variable)
    data = variable.data
    if not isinstance(data, np.ndarray) and type(data).__module__.partition(".")[0] != "dask":
        raise TypeError(
            f"the variable {key!r} holds a {type_name(data)}, which cannot be written: convert it "
            "to an array of numpy"
        )
    array = np.asarray(variable.values)
    if array.dtype.hasobject:
        array = _texts(key, array)
    try:
        array = plain(array)
    except TypeError as error:
        raise TypeError(f"the variable {key!r}: {error}") from None
    if array.dtype.names is not None or array.dtype.kind == "V":
        raise TypeError(f"the variable {key!r} holds records, which xarray does not read back")
    return array


def _check_names(key: object, variable: Any) -> None:
    # Names are folders of the zip file, and dots begin those of Zarr's own files.
    if not isinstance(key, str) or not key or "/" in key or key.startswith("."):
        raise TypeError(f"{key!r} cannot be the name of a variable in a file")
    if not all(isinstance(dimension, str) for dimension in variable.dims):
        raise TypeError(f"the dimensions of {key!r} have names that are not texts")


def _texts(key: object, array: Any) -> Any:
    """Return texts that are held as Python objects as an array of texts, or refuse them."""
    if not all(type(item) is str for item in array.flat):
        raise TypeError(
            f"the variable {key!r} holds Python objects other than texts: convert it with .astype"
        )
    texts = array.astype(str)
    # numpy drops null characters at the end of a text.
    if any(item != text for item, text in zip(array.flat, texts.flat, strict=True)):
        raise TypeError(f"the variable {key!r} holds a text that ends in a null character")
    return texts


def _entries(name: str, variable: Any, array: Any) -> list[tuple[str, Any]]:
    described = {
        "zarr_format": 2,
        "shape": list(array.shape),
        "chunks": [max(length, 1) for length in array.shape],
        "dtype": array.dtype.str,
        "compressor": None,
        "fill_value": None,
        "order": "C",
        "filters": None,
    }
    attributes = _attributes(f"the variable {name!r}", variable.attrs)
    attributes["_ARRAY_DIMENSIONS"] = list(variable.dims)
    chunk = ".".join("0" * array.ndim) or "0"
    entries: list[tuple[str, Any]] = [
        (f"{name}/.zarray", _text(described)),
        (f"{name}/.zattrs", _text(attributes)),
    ]
    if array.size and array.dtype.itemsize:
        entries.append((f"{name}/{chunk}", memoryview(array.reshape(-1).view(np.uint8))))
    return entries


def _attributes(where: str, attributes: Any) -> dict[str, Any]:
    written = {}
    for key, value in attributes.items():
        if not isinstance(key, str) or key in ("_ARRAY_DIMENSIONS", "reflow"):
            raise TypeError(f"{where} has the attribute {key!r}, whose name cannot be written")
        written[key] = _plain_attribute(f"{where}, attribute {key!r}", value)
    return written


def _plain_attribute(where: str, value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)) and value.dtype.kind in "biufU":
        value = value.tolist()
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain_attribute(where, item) for item in value]
    if type(value) is dict and all(isinstance(key, str) for key in value):
        return {key: _plain_attribute(where, item) for key, item in value.items()}
    raise TypeError(f"{where}: a {type_name(value)} cannot be written; make it a text")


def _text(native: object) -> bytes:
    return json.dumps(native, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )


def _write_zip(entries: list[tuple[str, Any]], path: Path) -> None:
    """Write a zip file without compression or time stamps, each content at a round place."""
    with path.open("wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries:
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.external_attr = 0o644 << 16
            info.file_size = len(content)
            large = len(content) >= 0x7FFFFFFF  # zipfile then adds 20 bytes of its own
            start = file.tell() + 30 + len(name.encode()) + 4 + 20 * large
            # A field that nobody reads fills up to the next round place.
            filling = -start % _ALIGNED
            info.extra = struct.pack("<HH", 0x5246, filling) + bytes(filling)
            with archive.open(info, "w", force_zip64=large) as target:
                target.write(content)


def _read(archive: zipfile.ZipFile, mapped: Path | None) -> Any:
    attributes = json.loads(archive.read(".zattrs"))
    metadata = attributes.pop("reflow")
    shared = _map(mapped) if mapped is not None else None
    variables = {}
    for name in metadata["variables"]:
        own = json.loads(archive.read(f"{name}/.zattrs"))
        dimensions = own.pop("_ARRAY_DIMENSIONS")
        array = _read_array(archive, name, shared)
        if name in metadata["objects"]:
            array = array.astype(object)
        variables[name] = xr.Variable(dimensions, array, own)
    coordinates = {name: variables.pop(name) for name in metadata["coordinates"]}
    own = {key: attributes[key] for key in metadata["attrs"]}
    dataset = xr.Dataset(variables, coordinates, own)
    if metadata["kind"] == "Dataset":
        return dataset
    array = dataset[_ONLY]
    array.name = metadata["name"]
    return array


def _map(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def _read_array(archive: zipfile.ZipFile, name: str, shared: mmap.mmap | None) -> Any:
    described = json.loads(archive.read(f"{name}/.zarray"))
    shape, dtype = tuple(described["shape"]), np.dtype(described["dtype"])
    if dtype.hasobject or described["compressor"] or described["filters"]:
        raise ValueError(f"the variable {name!r} is written in a way that reflow does not use")
    chunk = f"{name}/{'.'.join('0' * len(shape)) or '0'}"
    count = int(np.prod(shape, dtype=np.int64))
    if not count or not dtype.itemsize:
        return np.zeros(shape, dtype)
    if shared is None:
        content: Any = bytearray(archive.read(chunk))
        if len(content) != count * dtype.itemsize:
            raise ValueError(f"the variable {name!r} is cut")
        return np.frombuffer(content, dtype).reshape(shape)
    info = archive.getinfo(chunk)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != count * dtype.itemsize:
        raise ValueError(f"the variable {name!r} is cut or compressed")
    words = struct.unpack("<HH", shared[info.header_offset + 26 : info.header_offset + 30])
    start = info.header_offset + 30 + sum(words)
    if start + info.file_size > len(shared):
        raise ValueError(f"the variable {name!r} is cut")
    return np.frombuffer(shared, dtype, count, start).reshape(shape)
