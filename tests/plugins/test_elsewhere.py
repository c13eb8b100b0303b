"""Plugins in no folder of ``sys.path``, which importlib_metadata finds."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reflow.errors import PluginError, UnknownPluginError
from reflow.plugins import lookup
from reflow.plugins.discovery import Installed
from reflow.plugins.registry import Registry

PLUGIN = """\
from reflow.hookspecs import ExecutorEntry, hookimpl

@hookimpl
def reflow_register_executors():
    return [ExecutorEntry(name={name!r}, target="reflow.executors.local:LocalExecutor")]
"""
OTHER_CLASS = PLUGIN.replace("executors.local:Local", "executors.dryrun:DryRun")

FINDER = """\
import importlib.metadata
import sys


class Kept(importlib.metadata.Distribution):
    def __init__(self, files):
        self.files_by_name = files

    def read_text(self, filename):
        return self.files_by_name.get(filename)

    def locate_file(self, path):
        raise NotImplementedError


class Finder:
    def __init__(self, *files):
        self.files = files

    def find_spec(self, fullname, path=None, target=None):
        return None

    def find_distributions(self, context):
        return map(Kept, self.files)
"""


def files(name: str, module: str, key: str = "", version: str = "1.2") -> dict[str, str]:
    """Return the metadata of a distribution with one plugin."""
    return {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "entry_points.txt": f"[reflow]\n{key or module} = {module}\n",
    }


@pytest.fixture
def finder(site: Any) -> Iterator[Callable[..., None]]:
    """Show distributions by a finder of our own, as some makers of editable installs do."""
    space: dict[str, Any] = {}
    exec(FINDER, space)
    added = []

    def show(*distributions: dict[str, str]) -> None:
        added.append(space["Finder"](*distributions))
        sys.meta_path.append(added[-1])

    yield show
    # Change the list in place: importlib_metadata adds a finder to it when it is imported.
    for finder in added:
        sys.meta_path.remove(finder)


def plugin(site: Any, name: str, source: str = PLUGIN) -> str:
    """Write a plugin's module, without metadata; return its name."""
    return site.module(name, source.format(name=name))


class TestFinder:
    """A meta-path finder of another maker that has `find_distributions`."""

    def test_resolves_by_name_and_by_alias_of_the_entry_point(
        self, site: Any, finder: Any
    ) -> None:
        finder(files("hidden-dist", plugin(site, "hidden"), "hidden"))
        registry = site.registry()
        registered = registry.find("executor", "hidden")
        assert str(registered.distribution) == "hidden-dist 1.2"
        finder(files("other-dist", plugin(site, "other"), "another-key"))
        assert str(site.registry().find("executor", "other").distribution) == "other-dist 1.2"

    def test_is_listed(self, site: Any, finder: Any, use: Callable[..., Registry]) -> None:
        finder(files("hidden-dist", plugin(site, "hidden"), "hidden", "3.1"))
        use()
        (row,) = [row for row in lookup.installed() if row.name == "hidden"]
        assert (row.kind, row.distribution, row.version, row.state) == (
            "executor", "hidden-dist", "3.1", "ok"
        )  # fmt: skip

    @pytest.mark.parametrize("listed_before", [False, True])
    def test_clashes_with_one_on_disk(
        self, site: Any, finder: Any, use: Callable[..., Registry], listed_before: bool
    ) -> None:
        site.install("disk-dist", twin=OTHER_CLASS.format(name="twin"))
        finder(files("hidden-dist", plugin(site, "twin"), "twin"))
        registry = use()
        if listed_before:
            lookup.installed()
        with pytest.raises(PluginError) as caught:
            registry.find("executor", "twin")
        assert str(caught.value).startswith(
            "plugins of disk-dist 1.2 and hidden-dist 1.2 both register an executor named 'twin'; "
        )
        states = {row.distribution: row.state for row in lookup.installed() if row.name == "twin"}
        assert states == {"disk-dist": "clashing", "hidden-dist": "clashing"}
        pinned = use(pin={"twin": "Hidden_Dist"})
        assert str(pinned.find("executor", "twin").distribution) == "hidden-dist 1.2"

    def test_one_distribution_that_both_ways_show_counts_once(
        self, site: Any, finder: Any, use: Callable[..., Registry]
    ) -> None:
        site.install("twin-dist", twin=PLUGIN.format(name="twin"))
        finder(
            files("Twin.Dist", plugin(site, "twin", OTHER_CLASS), "twin", "9"),
            files("hidden", plugin(site, "hidden"), "hidden"),
            files("hidden", plugin(site, "hidden", OTHER_CLASS), "hidden", "9"),
        )
        registry = use()
        assert str(registry.find("executor", "twin").distribution) == "twin-dist 1.2"
        assert str(registry.find("executor", "hidden").distribution) == "hidden 1.2"
        assert len([row for row in lookup.installed() if row.name in ("twin", "hidden")]) == 2

    def test_one_that_is_left_out(self, site: Any, finder: Any) -> None:
        finder(files("hidden-dist", plugin(site, "hidden"), "hidden"))
        with pytest.raises(PluginError, match=r"plugin 'hidden' .* is disabled"):
            site.registry(enabled=("other",)).find("executor", "hidden")

    def test_observers(self, site: Any, finder: Any, use: Callable[..., Registry]) -> None:
        source = "from reflow.hookspecs import hookimpl\n@hookimpl\ndef reflow_task_failed(): 1/0\n"
        finder(files("mail-dist", site.module("mail", source), "mail"))
        use()
        (error,) = lookup.observers(["mail"]).task_failed("r", "t", None, "ERROR")
        assert error.startswith("observer 'mail' of mail-dist 1.2: ")


class TestWhatCannotBeRead:
    """A distribution, or a finder, that raises hides nothing else and is named."""

    def test_a_distribution(self, site: Any, finder: Any, use: Callable[..., Registry]) -> None:
        site.install("disk-dist", disk=PLUGIN.format(name="disk"))
        nameless = files("x", "x")
        del nameless["METADATA"]
        broken: Any = {"METADATA": "Name: broken-dist\n", "entry_points.txt": 3}
        finder(broken, nameless, files("hidden-dist", plugin(site, "hidden"), "hidden"))
        registry = use()
        assert registry.find("executor", "hidden").names == ("hidden",)
        assert registry.find("executor", "disk").names == ("disk",)
        with pytest.raises(UnknownPluginError, match="; broken-dist cannot be read: "):
            registry.find("executor", "nowhere")
        rows = {row.name: row for row in lookup.installed()}
        assert {"hidden", "disk", "broken-dist"} <= set(rows)
        assert (rows["broken-dist"].kind, rows["broken-dist"].state) == ("plugin", "broken")

    def test_a_finder(
        self, site: Any, finder: Any, use: Callable[..., Registry], request: Any
    ) -> None:
        space: dict[str, Any] = {}
        exec(FINDER, space)
        kept = space["Kept"]

        class Worse:
            def find_spec(self, *_: object) -> None:
                return None

            def find_distributions(self, context: object) -> Iterator[object]:
                yield kept(files("first-dist", "first_plugin"))
                raise RuntimeError("no more")

        sys.meta_path.insert(0, worse := Worse())
        request.addfinalizer(lambda: sys.meta_path.remove(worse))
        site.install("disk-dist", disk=PLUGIN.format(name="disk"))
        finder(files("hidden-dist", plugin(site, "hidden"), "hidden"))
        registry = use()
        assert registry.find("executor", "hidden").names == ("hidden",)
        assert registry.find("executor", "disk").names == ("disk",)
        first, row = [row for row in lookup.installed() if row.state == "broken"]
        assert (row.name, row.detail) == ("finder Worse", "RuntimeError: no more")
        assert first.distribution == "first-dist"  # the distributions yielded before it raised

    def test_importlib_metadata_itself(
        self, site: Any, use: Callable[..., Registry], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "importlib_metadata", None)
        site.install("disk-dist", disk=PLUGIN.format(name="disk"))
        registry = use()
        assert registry.find("executor", "disk").names == ("disk",)
        with pytest.raises(UnknownPluginError, match="; importlib-metadata cannot be read: Mod"):
            registry.find("executor", "nowhere")
        assert [row.name for row in lookup.installed() if row.state == "broken"] == [
            "importlib-metadata"
        ]


def run(path: Path, *words: str) -> str:
    """Run Python with a path in front of ``sys.path``; return what it prints."""
    done = subprocess.run(
        [sys.executable, *words], env={"PYTHONPATH": str(path), "HOME": str(path.parent)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


FIND = "from reflow.plugins.lookup import executor_class\nprint(executor_class('mine').__name__)\n"
LIST = "from reflow.cli import main\nimport sys\nsys.argv = ['reflow', 'plugins', *{!r}]\nmain()"


def check_found_everywhere(path: Path) -> None:
    """Check that executor "mine" of my-dist is found by name and listed."""
    assert run(path, "-c", FIND) == "LocalExecutor\n"
    line = next(row for row in run(path, "-c", LIST.format([])).splitlines() if "my-dist" in row)
    assert line.split()[:5] == ["mine", "executor", "ok", "my-dist", "1.2"]
    rows = json.loads(run(path, "-c", LIST.format(["--json"])))
    assert [row["distribution"] for row in rows if row["name"] == "mine"] == ["my-dist"]
    complete = (
        "from reflow.cli.completion import executor_names\n"
        "print(executor_names()(None, None, 'mi'))"
    )
    assert run(path, "-c", complete) == "['mine']\n"


def test_in_a_zip_file(tmp_path: Path) -> None:
    archive = tmp_path / "application.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("my_plugin.py", PLUGIN.format(name="mine"))
        for file, text in files("my-dist", "my_plugin", "mine").items():
            zipped.writestr(f"my_dist-1.2.dist-info/{file}", text)
    check_found_everywhere(archive)


def test_in_an_egg(tmp_path: Path) -> None:
    egg = tmp_path / "my_dist-1.2-py3.egg"
    (egg / "EGG-INFO").mkdir(parents=True)
    (egg / "my_plugin.py").write_text(PLUGIN.format(name="mine"))
    metadata = files("my-dist", "my_plugin", "mine")
    (egg / "EGG-INFO" / "PKG-INFO").write_text(metadata["METADATA"])
    (egg / "EGG-INFO" / "entry_points.txt").write_text(metadata["entry_points.txt"])
    check_found_everywhere(egg)


def test_in_the_egg_info_of_a_development_install(tmp_path: Path) -> None:
    """``setup.py develop`` puts the checkout on the path, and an .egg-link beside that."""
    checkout = tmp_path / "checkout"
    info = checkout / "my_dist.egg-info"
    info.mkdir(parents=True)
    (tmp_path / "my-dist.egg-link").write_text(f"{checkout}\n.")
    (checkout / "my_plugin.py").write_text(PLUGIN.format(name="mine"))
    metadata = files("my-dist", "my_plugin", "mine")
    (info / "PKG-INFO").write_text(metadata["METADATA"])
    (info / "entry_points.txt").write_text(metadata["entry_points.txt"])
    check_found_everywhere(checkout)


def test_by_a_finder_in_a_process_of_its_own(tmp_path: Path) -> None:
    """As an editable install does it: a .pth file imports what adds the finder."""
    (tmp_path / "my_plugin.py").write_text(PLUGIN.format(name="mine"))
    metadata = files("my-dist", "my_plugin", "mine")
    (tmp_path / "sitecustomize.py").write_text(
        f"{FINDER}\nsys.meta_path.append(Finder({metadata!r}))\n"
    )
    check_found_everywhere(tmp_path)


@pytest.mark.parametrize(
    ("code", "imported"),
    [
        ("from reflow.plugins.lookup import executor_class as f; f('slurm')", False),
        ("from reflow.plugins.lookup import executor_class as f; f('local')", False),
        ("from reflow import PBSExecutor", False),
        ("from reflow.plugins.lookup import serializer_entry as f; f('numpy')", False),
        ("from reflow.cli import main; import sys; sys.argv = ['reflow', 'runs']; main()", False),
        ("import reflow.engine.worker, reflow.job", False),
        ("from reflow.plugins.lookup import executor_class as f; f('nowhere')", True),
        ("from reflow.plugins.lookup import installed as f; f()", True),
        ("from reflow.cli import main; import sys; sys.argv = ['reflow', '--help']; main()", False),
    ],
)
def test_a_name_that_the_folders_have_does_not_wait_for_importlib_metadata(
    tmp_path: Path, code: str, imported: bool
) -> None:
    ask = (
        f"import atexit, sys\n"
        f"atexit.register(lambda: print('importlib_metadata' in sys.modules))\n"
        f"try:\n    exec({code!r})\nexcept (Exception, SystemExit):\n    pass\n"
    )
    folder = tmp_path / "none"
    folder.mkdir()
    assert run(folder, "-c", ask).splitlines()[-1] == str(imported)


def test_looking_twice_looks_once(site: Any) -> None:
    site.install("dist", mine=PLUGIN.format(name="mine"))
    installed = Installed("reflow", [str(site.folder)])
    assert installed.named("mine") == installed.points
    assert installed.points is installed.points
