"""Scratch environments with exactly what a fresh installation has, made offline."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import venv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]

# One process builds all wheels by the build backend itself: pip needs a second for each.
BUILD = """
import os, sys
from hatchling.build import build_wheel
for folder in sys.argv[2:]:
    os.chdir(folder)
    build_wheel(sys.argv[1])
"""


def check(*command: object) -> None:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"


@dataclass(frozen=True)
class Home:
    """A user of an environment: their files, and the commands that they type."""

    bin: Path
    folder: Path
    variables: Mapping[str, str]

    def run(
        self, *command: object, code: int = 0, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run ``python …`` or ``reflow …``; it must end with that exit code."""
        name, *arguments = (str(word) for word in command)
        done = subprocess.run(
            [str(self.bin / name), *arguments], cwd=self.folder, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=60, check=False,
            env={**self.variables, **variables},
        )  # fmt: skip
        assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def write(self, name: str, text: str) -> Path:
        """Write a file in the working directory."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def configure(self, text: str) -> Path:
        """Write the user's configuration file."""
        return self.write("config/reflow/config.toml", text)


@dataclass(frozen=True)
class Environment:
    """A Python environment of its own."""

    folder: Path

    @property
    def site(self) -> Path:
        """The folder of its distributions."""
        (folder,) = self.folder.glob("lib/python3.*/site-packages")
        return folder

    def home(self, folder: Path) -> Home:
        """Return a user with an empty home."""
        return Home(
            self.folder / "bin",
            folder,
            {
                "HOME": str(folder),
                "XDG_CONFIG_HOME": str(folder / "config"),
                "XDG_STATE_HOME": str(folder / "state"),
                "XDG_CONFIG_DIRS": str(folder / "etc"),
                "PATH": f"{self.folder}/bin:/usr/bin:/bin",
                "COLUMNS": "200",
            },
        )

    def install(self, wheels: Iterable[Path]) -> None:
        """Install wheels; their dependencies must be there."""
        check(sys.executable, "-m", "pip", "--python", self.folder / "bin" / "python", "install",
              "-q", "--disable-pip-version-check", "--no-index", "--no-deps", *wheels)  # fmt: skip


def link_dependencies(requires: Iterable[str], site: Path, linked: set[str]) -> None:
    """Link into `site` what these requirements need, from the distributions installed here."""
    for requirement in map(Requirement, requires):
        other, marker = requirement.name, requirement.marker
        if other in linked or (marker is not None and not marker.evaluate({"extra": ""})):
            continue
        linked.add(other)
        installed = distribution(other)
        for top in {path.parts[0] for path in installed.files or ()} - {"..", "__pycache__"}:
            source = Path(str(installed.locate_file(top)))
            if source.exists() and not (site / top).exists():
                (site / top).symlink_to(source)
        link_dependencies(installed.requires or (), site, linked)


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Iterable[Path]], list[Path]]:
    """Build wheels of source folders with the build backend that is installed here."""

    def build_all(folders: Iterable[Path]) -> list[Path]:
        out = tmp_path_factory.mktemp("wheels")
        check(sys.executable, "-c", BUILD, out, *folders)
        return sorted(out.glob("*.whl"))

    return build_all


@pytest.fixture(scope="session")
def own_wheels(build: Callable[[Iterable[Path]], list[Path]]) -> dict[str, Path]:
    """The wheels of the seven distributions, by name."""
    built = build(sorted(path.parent for path in ROOT.glob("reflow-*/pyproject.toml")))
    return {path.name.partition("-")[0].replace("_", "-"): path for path in built}


@pytest.fixture(scope="session")
def environment(
    tmp_path_factory: pytest.TempPathFactory, own_wheels: dict[str, Path]
) -> Callable[..., Environment]:
    """Make an environment with reflow-core, its dependencies, and these of our backends."""

    def make(*backends: str, more: Iterable[Path] = ()) -> Environment:
        folder = tmp_path_factory.mktemp("environment")
        venv.create(folder, with_pip=False, symlinks=True)
        environment = Environment(folder)
        environment.install(
            [own_wheels["reflow-core"], *(own_wheels[backend] for backend in backends), *more]
        )
        (info,) = environment.site.glob("reflow_core-*.dist-info")
        link_dependencies(Distribution.at(info).requires or (), environment.site, set())
        return environment

    return make


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write the source of a tiny distribution and return its folder.

    `plugins` and `commands` are its entry points; `files` its modules, by name.
    """
    def write(
        name: str,
        files: Mapping[str, str],
        *,
        plugins: Mapping[str, str] = {},
        commands: Mapping[str, str] = {},
        version: str = "1.2",
        requires: str = "reflow-core",
    ) -> Path:
        folder = tmp_path_factory.mktemp(name)
        for file, text in files.items():
            (folder / file).write_text(textwrap.dedent(text))
        lines = [
            "[build-system]", 'requires = ["hatchling"]', 'build-backend = "hatchling.build"',
            "[project]", f'name = "{name}"', f'version = "{version}"',
            f'dependencies = ["{requires}"]',
            "[project.entry-points.reflow]", *(f'{k} = "{v}"' for k, v in plugins.items()),
            '[project.entry-points."reflow.commands"]',
            *(f'{k} = "{v}"' for k, v in commands.items()),
            "[tool.hatch.build.targets.wheel]", f"include = {[*files]}",
        ]  # fmt: skip
        (folder / "pyproject.toml").write_text("\n".join(lines) + "\n")
        return folder

    return write
