"""The seven distributions: what their files say, and that they build and install."""

from __future__ import annotations

import re
import subprocess
import sys
import venv
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest

import reflow

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
BACKENDS = ("slurm", "pbs", "lsf", "sge", "flux")
PLUGINS = (*BACKENDS, "data")
DISTRIBUTIONS = ("core", *PLUGINS, "postgres")


def project(short: str) -> dict[str, Any]:
    text = (ROOT / f"reflow-{short}" / "pyproject.toml").read_text()
    table: dict[str, Any] = tomllib.loads(text)["project"]
    return table


def package(short: str) -> str:
    return "reflow" if short == "core" else f"reflow_{short}"


@pytest.mark.parametrize("short", DISTRIBUTIONS)
def test_files(short: str) -> None:
    folder = ROOT / f"reflow-{short}"
    table = project(short)
    assert table["name"] == folder.name
    assert table["requires-python"] == ">=3.10"
    assert table["license"] == "MIT"
    assert (folder / "README.md").read_text().startswith(f"# {folder.name}\n")
    assert (folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert (folder / "src" / package(short) / "py.typed").exists()


@pytest.mark.parametrize("short", PLUGINS)
def test_one_version_and_core_alone(short: str) -> None:
    table = project(short)
    assert table["version"] == reflow.__version__
    assert table["dependencies"] == [f"reflow-core=={reflow.__version__}"]
    assert table["entry-points"] == {"reflow": {short: f"reflow_{short}.plugin"}}


def test_the_store_has_the_same_version_and_needs_psycopg() -> None:
    table = project("postgres")
    assert table["version"] == reflow.__version__
    own, other = table["dependencies"]
    assert own == f"reflow-core=={reflow.__version__}"
    assert other.startswith("psycopg[binary]>=3")
    assert table["entry-points"] == {"reflow": {"postgresql": "reflow_postgres.plugin"}}


def test_core_dependencies() -> None:
    names = {re.match(r"[\w-]+", line)[0] for line in project("core")["dependencies"]}  # type: ignore[index]
    assert names == {
        "attrs", "cattrs", "click", "importlib-metadata", "packaging", "pluggy", "tomli"
    }  # fmt: skip


def test_no_address_of_this_machine() -> None:
    for short in DISTRIBUTIONS:
        text = (ROOT / f"reflow-{short}" / "pyproject.toml").read_text()
        assert "index-url" not in text
        assert "file://" not in text
        assert str(ROOT) not in text


def run(*command: object) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT.anchor, check=False)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


# What builds and installs runs once, on one worker.
pytestmark = pytest.mark.xdist_group("packaging")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All seven wheels, built from the checkout with the build backend that is installed here."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheels")
    sources = [ROOT / f"reflow-{short}" for short in DISTRIBUTIONS]
    pip = (sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation")
    run(*pip, "-w", folder, *sources)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("short", DISTRIBUTIONS)
def test_wheel(wheels: Path, short: str) -> None:
    (path,) = wheels.glob(f"reflow_{short}-*.whl")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        (metadata,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        head = Parser().parsestr(archive.read(metadata).decode())
    assert head["Version"] == reflow.__version__
    assert f"{package(short)}/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {package(short)}
    if short == "core":  # what authors of plugins run
        assert {f"reflow/testing/{name}.py" for name in ("serializers", "verifiers", "stores")} <= {
            *names
        }


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment with core and one backend, from the checkout."""
    folder = tmp_path_factory.mktemp("fresh") / "env"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", ROOT / "reflow-core", ROOT / "reflow-pbs")
    return python


@pytest.mark.slow
def test_install_from_checkout(installed: Path) -> None:
    code = (
        "import sys, reflow\n"
        "from reflow import PBSExecutor\n"
        "from reflow.plugins.lookup import executor_from\n"
        "assert executor_from('pbs') == PBSExecutor(), executor_from('pbs')\n"
        "print(reflow.__version__, 'reflow_slurm' in sys.modules)\n"
    )
    assert run(installed, "-c", code) == f"{reflow.__version__} False"


@pytest.mark.slow
def test_installed_without_the_backend(installed: Path) -> None:
    code = (
        "from reflow import *\n"
        "try:\n"
        "    from reflow import SlurmExecutor\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    assert run(installed, "-c", code) == (
        "no executor named 'slurm' is installed (installed: dry-run, local, pbs); "
        "try: pip install reflow-slurm"
    )


@pytest.mark.slow
def test_installed_broken_plugin(installed: Path, tmp_path: Path) -> None:
    """A distribution whose plugin cannot be imported breaks its own name only."""
    source = tmp_path / "broken"
    source.mkdir()
    (source / "reflow_broken.py").write_text("import a_module_that_is_not_there\n")
    info = source / "reflow_broken-3.4.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: reflow-broken\nVersion: 3.4\n")
    (info / "entry_points.txt").write_text("[reflow]\nbroken = reflow_broken\n")
    code = (
        f"import sys; sys.path.insert(0, {str(source)!r})\n"
        "from reflow.errors import PluginError\n"
        "from reflow.plugins.lookup import executor_class\n"
        "executor_class('pbs')\n"
        "assert 'reflow_broken' not in sys.modules\n"
        "try:\n"
        "    executor_class('broken')\n"
        "except PluginError as error:\n"
        "    print(error)\n"
    )
    assert run(installed, "-c", code) == (
        "plugin 'broken' of reflow-broken 3.4 is broken: "
        "ModuleNotFoundError: No module named 'a_module_that_is_not_there'"
    )


@pytest.mark.slow
def test_command_is_installed(installed: Path) -> None:
    assert "Usage:" in run(installed.parent / "reflow", "--help")
