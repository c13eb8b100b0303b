"""The page on the architecture names rooms, modules and functions that exist."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/explanation/architecture.md").read_text()
SOURCE = ROOT / "reflow-core/src/reflow"
ROOMS = (
    "values", "model", "storage", "executors", "config",
    "plugins", "caching", "engine", "runs", "cli",
)  # fmt: skip
NAMES = sorted(set(re.findall(rf"`((?:{'|'.join(ROOMS)}|job)\.[A-Za-z_.]+)`", PAGE)))


@pytest.mark.parametrize("name", NAMES)
def test_what_the_page_names_exists(name: str) -> None:
    module_name, attributes = f"reflow.{name}", list[str]()
    while True:
        try:
            thing: object = importlib.import_module(module_name)
            break
        except ModuleNotFoundError:
            module_name, _, attribute = module_name.rpartition(".")
            attributes.insert(0, attribute)
    for attribute in attributes:
        thing = getattr(thing, attribute)


def test_every_room_is_in_the_picture_and_in_the_table() -> None:
    picture = PAGE.partition("```mermaid")[2].partition("```")[0]
    table = set(re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE))
    assert [room for room in ROOMS if f'{room}["{room}<br/>' not in picture] == []
    assert table == set(ROOMS)


def test_the_folders_are_the_rooms_and_the_published_paths() -> None:
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert folders == {*ROOMS, "testing", "stores", "serializers", "verifiers"}
    modules = {path.stem for path in SOURCE.glob("*.py")} - {"__init__"}
    assert modules == {"workflow", "run", "errors", "states", "job", "hookspecs"}


def test_no_room_has_more_than_five_thousand_lines() -> None:
    lines = {
        room: sum(len(path.read_text().splitlines()) for path in (SOURCE / room).rglob("*.py"))
        for room in ROOMS
    }
    assert {room: count for room, count in lines.items() if count > 5000} == {}
