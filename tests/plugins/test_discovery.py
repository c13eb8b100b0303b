"""Entry points and distributions, read from folders as installers lay them out."""

from __future__ import annotations

import os
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

import reflow
from reflow.plugins.discovery import (
    Distribution,
    Installed,
    clash_of_import_name,
    read_distribution,
)
from reflow.plugins.kinds import import_object

LAYOUT = """\
# a comment
; another
[console_scripts]
reflow = not.this
[reflow]

pbs = reflow_pbs.plugin
  spaced   =  a.b:c.d [extra]
[reflow.commands]
hello = x:y
"""


def write(folder: Path, name: str, points: str = LAYOUT, **files: str) -> Path:
    info = folder / name
    info.mkdir(parents=True)
    (info / "entry_points.txt").write_text(points)
    for file, text in files.items():
        (info / file.replace("_", "-")).write_text(text)
    return info


def names(*path: Path, group: str = "reflow") -> list[tuple[str, str]]:
    installed = Installed(group, [str(folder) for folder in path])
    points = installed.points
    for point in points:  # the quick way and the thorough one agree
        assert point in installed.named(point.name)
    return [(point.name, point.value) for point in points]


def test_groups(tmp_path: Path) -> None:
    write(tmp_path, "one-1.0.dist-info")
    assert names(tmp_path) == [("pbs", "reflow_pbs.plugin"), ("spaced", "a.b:c.d")]
    assert names(tmp_path, group="reflow.commands") == [("hello", "x:y")]
    assert names(tmp_path, group="flow") == []


def test_of_a_distribution_that_is_there_twice_the_first_counts(tmp_path: Path) -> None:
    write(tmp_path / "a", "My_Dist-1.0.dist-info", "[reflow]\nx = first\n")
    write(tmp_path / "b", "my.dist-2.0.dist-info", "[reflow]\nx = second\n")
    a, b = tmp_path / "a", tmp_path / "b"
    assert names(a, b) == names(a, a, b) == [("x", "first")]
    assert names(b, a) == [("x", "second")]


def test_what_cannot_be_read_is_no_plugin(tmp_path: Path) -> None:
    write(tmp_path, "fine-1.0.dist-info", "[reflow]\nx = y\n")
    write(tmp_path, "odd-1.0.dist-info")
    (tmp_path / "odd-1.0.dist-info" / "entry_points.txt").write_bytes(b"[reflow]\n\xff = x\n")
    (tmp_path / "file-1.0.dist-info").write_text("no folder")
    (tmp_path / "none-1.0.dist-info").mkdir()
    archive = tmp_path / "python.zip"
    archive.write_bytes(b"PK")
    assert names(archive, tmp_path, tmp_path / "gone") == [("x", "y")]


def test_old_editable_installs(tmp_path: Path) -> None:
    info = write(tmp_path, "my_dist.egg-info", "[reflow]\nx = y\n")
    (info / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: my-dist\nVersion: 3\n\nVersion: 4")
    (point,) = Installed("reflow", [str(tmp_path)]).points
    assert str(point.distribution) == "my-dist 3"


def test_metadata_that_is_missing_is_read_from_the_path(tmp_path: Path) -> None:
    distribution = read_distribution(str(write(tmp_path, "my_dist-1.5.dist-info")))
    assert distribution == Distribution("my-dist", "1.5", ())
    distribution = read_distribution(str(write(tmp_path, "bare.egg-info")))
    assert str(distribution) == "bare of unknown version"


def test_discovery_finds_what_the_standard_library_finds() -> None:
    expected = {
        (point.group, point.name, point.value.partition("[")[0].strip(), owner.name, owner.version)
        for owner in distributions()
        for point in owner.entry_points
    }
    groups = {group for group, *_ in expected}
    assert len(groups) > 1
    points = {
        (group, point.name, point.value, point.distribution.name, point.distribution.version)
        for group in groups
        for point in Installed(group).points
    }
    assert points == expected


def test_editable_backends_of_this_environment_are_found() -> None:
    names = {point.name for point in Installed("reflow").points}
    assert names >= {"slurm", "pbs", "lsf", "sge", "flux"}


@pytest.mark.parametrize(
    ("value", "loaded"), [("sys", sys), ("sys:path", sys.path), ("os:path.sep", "/")]
)
def test_import_object(value: str, loaded: object) -> None:
    assert import_object(value) == loaded


def test_clash_of_import_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert clash_of_import_name() == ""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "reflow_hpc_tools-1.0.dist-info").mkdir()
    (tmp_path / "reflow_hpc-1.txt").write_text("")
    assert clash_of_import_name() == ""
    (tmp_path / "reflow_hpc-2604.4.0.dist-info").mkdir()
    assert clash_of_import_name() == (
        "reflow-hpc 2604.4.0 is installed beside reflow-core and both own the import name "
        "'reflow': uninstall both, then pip install reflow-core"
    )


def test_clash_in_the_folder_that_reflow_is_imported_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(Path(reflow.__file__).parents[1])
    monkeypatch.setattr(
        os, "listdir", lambda path: ["reflow_hpc-1.0.dist-info"] if path == folder else []
    )
    monkeypatch.setattr(sys, "path", [])
    assert clash_of_import_name().startswith("reflow-hpc 1.0 is installed")
