"""Distributions with plugins, laid out in a folder as an installer does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path

import pytest
from attrs import field, frozen

from reflow.plugins import lookup
from reflow.plugins.discovery import Installed
from reflow.plugins.registry import Registry
from reflow.plugins.selection import Selection

_number = count()

HEAD = """\
from reflow.hookspecs import (
    ExecutorEntry, SerializerEntry, StoreEntry, VerifierEntry, hookimpl,
)
"""


@frozen
class Site:
    """A folder on ``sys.path`` into which distributions are installed."""

    folder: Path
    modules: dict[tuple[str, str], str] = field(factory=dict)

    def install(
        self,
        distribution: str,
        version: str = "1.2",
        requires: tuple[str, ...] = (),
        commands: Mapping[str, str] | None = None,
        **sources: str,
    ) -> None:
        """Install a distribution with a plugin or command for each source, by its name."""
        lines: dict[str, list[str]] = {"reflow": [], "reflow.commands": []}
        for group, texts in (("reflow", sources), ("reflow.commands", commands or {})):
            for name, source in texts.items():
                module = f"plugin_{next(_number)}"
                self.modules[distribution, name] = module
                head = HEAD if group == "reflow" else "import click\n"
                (self.folder / f"{module}.py").write_text(f"{head}{source}\n")
                value = module if group == "reflow" else f"{module}:command"
                lines[group].append(f"{name} = {value}")
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        heads = [
            "Metadata-Version: 2.1", f"Name: {distribution}", f"Version: {version}",
            *(f"Requires-Dist: {requirement}" for requirement in requires),
        ]  # fmt: skip
        (info / "METADATA").write_text("\n".join([*heads, "", "Version: not a header"]))
        (info / "entry_points.txt").write_text(
            "".join(f"[{group}]\n" + "\n".join([*text, "", ""]) for group, text in lines.items())
        )

    def module(self, name: str, source: str) -> str:
        """Write a module that plugins can name; return its name."""
        module = f"{name}_{next(_number)}"
        (self.folder / f"{module}.py").write_text(source)
        return module

    def is_loaded(self, distribution: str, name: str) -> bool:
        """Whether that plugin or command was imported."""
        return self.modules[distribution, name] in sys.modules

    def registry(self, **settings: object) -> Registry:
        """Return a registry of what is installed here and nothing else."""
        selection = Selection(**{"file": "config.toml", **settings})  # type: ignore[arg-type]
        return Registry(
            installed=Installed("reflow", [str(self.folder)]), read_selection=lambda: selection
        )


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An empty site; modules imported from it are forgotten at the end."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield Site(folder)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture
def use(site: Site, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Registry]:
    """Make the site's registry that of the process."""

    def use(**settings: object) -> Registry:
        registry = site.registry(**settings)
        monkeypatch.setattr(lookup, "registry", lambda: registry)
        return registry

    return use
