"""Every hook has a section in the reference, and the example there is installed and called."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pluggy
import pytest

from reflow import hookspecs

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/hooks.md"
HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("reflow_"))
ENTRIES = hookspecs.Entry.__args__

# The installed plugins of the group that implement the hook, according to pluggy.
IMPLEMENTS = """
import sys
from importlib.metadata import entry_points
import pluggy
from reflow import hookspecs
manager = pluggy.PluginManager(hookspecs.PROJECT)
manager.add_hookspecs(hookspecs)
for point in entry_points(group=hookspecs.PROJECT):
    manager.register(point.load(), name=point.name)
manager.check_pending()
for implementation in getattr(manager.hook, sys.argv[1]).get_hookimpls():
    print(implementation.plugin_name)
"""


def section(hook: str) -> str:
    """Return the part of the page under the heading of that hook."""
    parts = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    sections = [part for part in parts if part.startswith(f"`{hook}` {{ #{hook} }}\n")]
    assert len(sections) == 1, (
        f"docs/reference/hooks.md needs one section ## `{hook}` {{ #{hook} }}"
    )
    return sections[0]


def test_every_hook_has_a_section() -> None:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    assert [name for name in HOOKS if not hasattr(manager.hook, name)] == []
    assert set(HOOKS) == {name for name in vars(manager.hook) if not name.startswith("_")}
    headings = re.findall(r"^## `(reflow_\w+)`", PAGE.read_text(), flags=re.MULTILINE)
    assert sorted(headings) == HOOKS


def test_every_entry_class_is_described() -> None:
    named = {name for name in vars(hookspecs) if re.fullmatch(r"[A-Z]\w+Entry", name)}
    assert {entry.__name__ for entry in ENTRIES} == named
    for entry in ENTRIES:
        assert f"::: reflow.hookspecs.{entry.__name__}\n" in PAGE.read_text()


def test_blocks_outside_of_sections_are_well_formed(
    reader: Any, blocks: Callable[[str, str], list[Any]]
) -> None:
    text = PAGE.read_text()
    for hook in HOOKS:
        text = text.replace(section(hook), "")
    for block in blocks(text, "hooks.md"):
        reader.read(block)


@pytest.mark.slow
@pytest.mark.parametrize("hook", HOOKS)
def test_example(hook: str, reader: Any, blocks: Callable[[str, str], list[Any]]) -> None:
    text = section(hook)
    assert f"::: reflow.hookspecs.{hook}\n" in text
    for block in blocks(text, f"hooks.md, {hook}"):
        reader.read(block)
    # It ran as a plugin that is installed and implements this hook ...
    installed = [
        command for command in reader.outputs if command.startswith("pip install ./reflow-")
    ]
    assert len(installed) == 1
    done = subprocess.run(
        [sys.executable, "-c", IMPLEMENTS, hook],
        env=reader.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert installed[0].removeprefix("pip install ./reflow-") in done.stdout.split()
    # ... and the page shows some effect of it.
    assert len(reader.outputs) > 1
    # Its arguments are those of the hook.
    arguments = list(inspect.signature(getattr(hookspecs, hook)).parameters)
    for signature in re.findall(rf"def {hook}\(([^)]*)\)", text):
        names = [
            argument.split(":")[0].strip() for argument in signature.split(",") if argument.strip()
        ]
        assert set(names) <= set(arguments)
