"""Finds what is installed: entry points, and the distributions that declare them.

There are two ways to look. The quick one reads the folders of ``sys.path`` as the core metadata
specification lays them out (``*.dist-info`` and ``*.egg-info``), which takes a millisecond. The
other asks `importlib_metadata`: it takes some 40 ms to import, and also shows what is in zip files
and eggs and what finders of other makers bring. It is asked where the path has such things, for
names that the quick way does not find, and for lists of everything.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

CORE = "reflow-core"
CLASHING = "reflow-hpc"
"""A distribution that installs a package called ``reflow`` as well."""

_FOLDER_FINDERS = ("_frozen_importlib_external", "importlib_metadata")
"""Modules of the finders that show what is on ``sys.path`` and nothing else."""


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
    """One entry point of a distribution: `value` is ``"module"`` or ``"module:attribute"``."""

    name: str
    value: str
    distribution: Distribution


class Problem(NamedTuple):
    """A distribution, or a finder of distributions, that could not be read, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} cannot be read: {self.reason}"


class Installed:
    """The entry points of one group, in the order of `path` (None: ``sys.path``).

    Of a distribution that is there more than once only the first counts: it is what is imported.
    `problems` says, after all were asked for, what could not be read.
    """

    def __init__(self, group: str, path: Sequence[str] | None = None) -> None:
        self.group = group
        self._path = path
        self.problems: list[Problem] = []

    @property
    def path(self) -> Sequence[str]:
        """The folders and files that are looked at."""
        return sys.path if self._path is None else self._path

    def named(self, name: str) -> list[EntryPoint]:
        """Return the entry points of that name, by the quick way where that shows them all."""
        if self._folders_are_all:
            return self._in_folders(name)
        return [point for point in self.points if point.name == name]

    @cached_property
    def points(self) -> list[EntryPoint]:
        """All entry points. Looking for them raises nothing: see `problems`."""
        return [*self._in_folders(), *self._elsewhere()]

    @cached_property
    def quick_points(self) -> list[EntryPoint]:
        """All entry points, by the quick way where that shows them all."""
        return self._in_folders() if self._folders_are_all else self.points

    @cached_property
    def _folders(self) -> dict[str, list[tuple[str, str, str]]]:
        """Name, value and metadata folder of entry points, by the name of their distribution."""
        folders: dict[str, list[tuple[str, str, str]]] = {}
        for name, folder in _metadata_folders(self.path):
            if name not in folders:
                folders[name] = [(*point, folder) for point in _declared(folder, self.group)]
        return folders

    def _in_folders(self, name: str | None = None) -> list[EntryPoint]:
        # Other metadata is read only of distributions that count: there may be hundreds.
        return [
            EntryPoint(key, value, read_distribution(folder))
            for key, value, folder in chain.from_iterable(self._folders.values())
            if name in (None, key)
        ]

    @cached_property
    def _folders_are_all(self) -> bool:
        """Whether nothing on the path needs `importlib_metadata` to be read.

        If something does, it is asked even for a name that a folder has: whether a plugin in a
        folder clashes with one in a zip file must not depend on what was looked up before.
        """
        foreign = (
            finder
            for finder in sys.meta_path
            if getattr(finder, "__module__", "") not in _FOLDER_FINDERS
        )
        return not any(hasattr(finder, "find_distributions") for finder in foreign) and not any(
            entry.endswith(".egg") or os.path.isfile(entry) for entry in self.path
        )

    def _elsewhere(self) -> Iterator[EntryPoint]:
        """Yield the entry points of distributions that are in no folder of the path."""
        seen = set(self._folders)
        for distribution in self._distributions():
            try:
                points = [item for item in distribution.entry_points if item.group == self.group]
                if not points:
                    continue  # its other metadata is not worth parsing
                name, version = distribution.metadata["Name"], distribution.version
                owner = Distribution(name, version, tuple(distribution.requires or ()))
                key = normal(name)
            except Exception as error:  # of a foreign finder, or of metadata without a name
                self.problems.append(Problem(_called(distribution), because(error)))
                continue
            if key not in seen:
                seen.add(key)
                for point in points:
                    yield EntryPoint(point.name, _plain(point.value), owner)

    def _distributions(self) -> Iterator[Any]:
        """Yield what each finder shows; one that raises does not hide what others show."""
        try:
            import importlib_metadata
        except ImportError as error:
            self.problems.append(Problem("importlib-metadata", because(error)))
            return
        # Finder by finder, since `importlib_metadata.distributions` ends at the first that raises.
        make_context: Any = importlib_metadata.DistributionFinder.Context
        context = make_context(path=list(self.path))
        for finder in list(sys.meta_path):
            find: Any = getattr(finder, "find_distributions", None)
            try:
                yield from find(context) if find else ()
            except Exception as error:
                self.problems.append(Problem(f"finder {type(finder).__name__}", because(error)))


def _called(distribution: Any) -> str:
    try:
        return str(distribution.metadata["Name"] or "a distribution without a name")
    except Exception:
        return f"a {type(distribution).__name__}"


def _metadata_folders(path: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the normal name of each distribution and its metadata folder."""
    for entry in dict.fromkeys(path):
        try:
            names = sorted(os.listdir(entry or os.curdir))
        except OSError:
            continue
        for name in names:
            # "my_dist-1.0.dist-info"; a development install has "my_dist.egg-info".
            if name.endswith((".dist-info", ".egg-info")):
                yield normal(name.rpartition(".")[0].partition("-")[0]), os.path.join(entry, name)


def _declared(folder: str, group: str) -> Iterator[tuple[str, str]]:
    """Yield name and value of the entry points of a group that a metadata folder declares."""
    try:
        with open(os.path.join(folder, "entry_points.txt"), encoding="utf-8") as stream:
            text = stream.read()
    except (OSError, UnicodeDecodeError):
        return
    header, inside = f"[{group}]", False
    # Most files have no such group, and are not taken apart.
    for line in map(str.strip, text.splitlines() if header in text else ()):
        if line.startswith("["):
            inside = line == header
        elif inside and line and line[0] not in "#;":
            name, _, value = line.partition("=")
            yield name.strip(), _plain(value)


def _plain(value: str) -> str:
    """Return an entry point's value without the extras that it may name."""
    return value.partition("[")[0].strip()


@lru_cache(maxsize=1024)
def read_distribution(folder: str) -> Distribution:
    """Read name, version and requirements; what the metadata lacks is taken from the path.

    No parser of mail is imported for it: the headers that count are one line each.
    """
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
    own = re.compile(r"reflow[-_.]+core(?![\w.-])", re.IGNORECASE)
    for text in filter(own.match, distribution.requires):
        # Our own backends require exactly our version; parsing that would cost them 20 ms.
        unmet = None if text.replace(" ", "") == f"{CORE}=={version}" else _unmet(text, version)
        if unmet and _is_above(unmet, version):
            return f"it requires {CORE}{unmet}; it needs a newer {CORE} than {version}"
        if unmet:
            advice = f"try: pip install --upgrade {distribution.name}"
            return f"it requires {CORE}{unmet} and {version} is installed; {advice}"
    return ""


def _unmet(requirement: str, version: str) -> SpecifierSet | None:
    """Return the versions that a requirement (PEP 508) asks for, None where `version` is one."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        parsed = Requirement(requirement)
    except InvalidRequirement:
        return None  # pip's to report: the plugin may work all the same
    if parsed.marker is not None and not parsed.marker.evaluate({"extra": ""}):
        return None
    return None if parsed.specifier.contains(version, prereleases=True) else parsed.specifier


def _is_above(versions: SpecifierSet, version: str) -> bool:
    """Whether `version` is too old for what is required, rather than too new."""
    from packaging.version import InvalidVersion, Version

    failing = next(rule for rule in versions if not rule.contains(version, prereleases=True))
    try:
        return Version(failing.version.removesuffix(".*")) > Version(version)
    except InvalidVersion:  # `===` takes any text for a version
        return True


def clash_of_import_name() -> str:
    """Say that reflow-hpc is installed too, which owns our import name; else return ""."""
    here = os.path.dirname(os.path.abspath(sys.modules["reflow"].__path__[0]))
    for name, folder in _metadata_folders([here, *sys.path]):
        if name == CLASHING:
            return (
                f"{CLASHING} {read_distribution(folder).version} is installed beside {CORE} and "
                f"both own the import name 'reflow': uninstall both, then pip install {CORE}"
            )
    return ""


def because(error: BaseException) -> str:
    """Return an error's class and text."""
    return f"{type(error).__name__}: {error}"


def and_import_name(message: str) -> str:
    """Add to an error that reflow-hpc is in the way, where it is."""
    clash = clash_of_import_name()
    return f"{message}; {clash}" if clash else message
