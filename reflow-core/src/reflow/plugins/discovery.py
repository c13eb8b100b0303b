"""Finds what is installed: entry points, and the distributions that declare them.

It reads the folders of ``sys.path`` as the core metadata specification lays them out
(``*.dist-info`` and ``*.egg-info``, so editable installs count) and parses no metadata
that nobody asked for. `importlib.metadata` would do the same, but importing it and letting
it parse costs more than finding a plugin may. What it does beyond this, distributions inside
zip files and finders of other makers, is left out.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib import import_module
from typing import NamedTuple

CORE = "reflow-core"
CLASHING = "reflow-hpc"
"""A distribution that installs a package called ``reflow`` as well."""


def normal(distribution: str) -> str:
    """Return the name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


# Plain tuples: every command line asks for clashes, and attrs would cost it 14 ms.
class Distribution(NamedTuple):
    """A distribution as its metadata names it; `requires` are its requirements (PEP 508)."""

    name: str
    version: str
    requires: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class EntryPoint(NamedTuple):
    """One declared entry point: `value` is ``"module"`` or ``"module:attribute"``."""

    name: str
    value: str
    folder: str
    """The metadata folder of the distribution that declares it."""

    @property
    def distribution(self) -> Distribution:
        """Who declares it."""
        return read_distribution(self.folder)

    def load(self) -> object:
        """Import and return what it names. Raises whatever that raises."""
        module, _, attribute = self.value.partition(":")
        found: object = import_module(module)
        for part in filter(None, attribute.split(".")):
            found = getattr(found, part)
        return found


def entry_points(group: str, path: Sequence[str] | None = None) -> list[EntryPoint]:
    """Return the entry points of a group, in the order of `path` (default: ``sys.path``).

    Of a distribution that is there twice, only the first counts: it is what is imported.
    """
    found: list[EntryPoint] = []
    header = f"[{group}]"
    seen = set()
    for name, folder in _metadata_folders(path):
        if name in seen:
            continue
        seen.add(name)
        try:
            with open(os.path.join(folder, "entry_points.txt"), encoding="utf-8") as stream:
                text = stream.read()
        except (OSError, UnicodeDecodeError):
            continue
        if header in text:
            found.extend(_parse(text, header, folder))
    return found


def _metadata_folders(path: Sequence[str] | None) -> Iterator[tuple[str, str]]:
    """Yield the normal name of each distribution and its metadata folder."""
    for entry in dict.fromkeys(sys.path if path is None else path):
        try:
            names = sorted(os.listdir(entry or os.curdir))
        except OSError:
            continue
        for name in names:
            if name.endswith((".dist-info", ".egg-info")):
                yield normal(name.rpartition(".")[0].partition("-")[0]), os.path.join(entry, name)


def _parse(text: str, header: str, folder: str) -> Iterator[EntryPoint]:
    inside = False
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            inside = line == header
        elif inside and line and line[0] not in "#;":
            name, _, value = line.partition("=")
            yield EntryPoint(name=name.strip(), value=value.partition("[")[0].strip(),
                             folder=folder)  # fmt: skip


@lru_cache(maxsize=1024)
def read_distribution(folder: str) -> Distribution:
    """Read name, version and requirements; what the metadata lacks is taken from the path."""
    heads: dict[str, list[str]] = {}
    for file in ("METADATA", "PKG-INFO"):
        try:
            with open(os.path.join(folder, file), encoding="utf-8", errors="replace") as stream:
                for line in stream:
                    if not line.strip():
                        break
                    key, _, value = line.partition(":")
                    heads.setdefault(key.lower(), []).append(value.strip())
        except OSError:
            continue
        break
    name, _, version = os.path.basename(folder).rpartition(".")[0].partition("-")
    return Distribution(
        name=heads.get("name", [normal(name)])[0],
        version=heads.get("version", [version or "of unknown version"])[0],
        requires=tuple(heads.get("requires-dist", ())),
    )


def unmet_requirement(distribution: Distribution, version: str) -> str:
    """Say which requirement on reflow-core its `version` does not meet; else return ""."""
    for text in distribution.requires:
        if normal(re.match(r"[\w.-]*", text)[0]) != CORE:  # type: ignore[index]  # matches all
            continue
        # The form that our own backends have: nobody waits for a parser to read that.
        if text.replace(" ", "") == f"{CORE}=={version}":
            continue
        from packaging.requirements import InvalidRequirement, Requirement
        from packaging.version import InvalidVersion, Version

        try:
            needed = Requirement(text)
        except InvalidRequirement:
            continue  # for pip to say; it keeps nothing from working
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        for one in needed.specifier:
            if one.contains(version, prereleases=True):
                continue
            try:
                newer = Version(one.version.removesuffix(".*")) > Version(version)
            except InvalidVersion:
                newer = True
            if newer:
                return (
                    f"it requires {CORE}{needed.specifier}; "
                    f"it needs a newer {CORE} than {version}"
                )
            return (
                f"it requires {CORE}{needed.specifier} and {version} is installed; "
                f"try: pip install --upgrade {distribution.name}"
            )
    return ""


def clash_of_import_name() -> str:
    """Say that reflow-hpc is installed too, which owns our import name; else return ""."""
    package = os.path.abspath(sys.modules["reflow"].__path__[0])
    prefix = CLASHING.replace("-", "_") + "-"
    for entry in dict.fromkeys([os.path.dirname(package), *sys.path]):
        try:
            names = os.listdir(entry or os.curdir)
        except OSError:
            continue
        for name in names:
            if name.startswith(prefix) and name.endswith(".dist-info"):
                version = name[len(prefix) : -len(".dist-info")]
                return (
                    f"{CLASHING} {version} is installed beside reflow-core and both own the "
                    "import name 'reflow': uninstall both, then pip install reflow-core"
                )
    return ""


def because(error: BaseException) -> str:
    """Return an error's class and text."""
    return f"{type(error).__name__}: {error}"


def and_import_name(message: str) -> str:
    """Add to an error that reflow-hpc is in the way, where it is."""
    clash = clash_of_import_name()
    return f"{message}; {clash}" if clash else message
