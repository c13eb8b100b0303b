"""Every block of every page does what the page says; conftest.py has the rules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
# These have their own, stricter tests.
ELSEWHERE = {
    "docs/reference/hooks.md": "test_hooks.py",
    "docs/how-to/write-a-serializer.md": "test_howto_plugins.py",
    "docs/how-to/write-a-verifier.md": "test_howto_plugins.py",
    "docs/how-to/write-a-store.md": "test_howto_plugins.py",
    "docs/how-to/write-a-backend.md": "test_howto_plugins.py",
}
PAGES = [
    path.relative_to(ROOT).as_posix()
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if page not in ELSEWHERE])
def test_page(page: str, reader: Any, blocks: Callable[[str, str], list[Any]]) -> None:
    for block in blocks((ROOT / page).read_text(), page):
        reader.read(block)


def test_every_page_is_run_somewhere() -> None:
    for page, test in ELSEWHERE.items():
        assert page in PAGES
        assert (Path(__file__).parent / test).exists()


def test_reader_notices(reader: Any, blocks: Callable[[str, str], list[Any]]) -> None:
    """A mistake on a page is an error: the tests of pages can fail."""
    wrong = {
        "```python\nraise SystemExit(3)\n```\n": "exit code 3",
        "```python title=\"a.py\"\nimport nothing_there\n```\n": "nothing_there",
        "```sh\nfalse\ntrue\n```\n": "exit code 1",
        "```console\n$ false\n$ true\n```\n": "exit code 1",
        "```console\n$ echo one two\none three\n```\n": "no line",
        "```console\n$ printf 'a\\nb\\n'\nb\na\n```\n": "no line",
        "```console\n$ echo demo-20260401-7c2k9q4mx1\n```\n": "no output has shown",
        "```\nplain\n```\n": "say what this block is",
        "```ruby\n1\n```\n": "cannot run",
    }
    for text, message in wrong.items():
        (block,) = blocks(text, "page")
        with pytest.raises(AssertionError, match=message):
            reader.read(block)


def test_reader_follows(reader: Any, blocks: Callable[[str, str], list[Any]]) -> None:
    text = (
        "```console\n$ mkdir sub; cd sub; export WORD=yes\n$ echo $WORD   $(basename $PWD)\n"
        "yes sub\n$ (exit 4)\n$ echo $?\n4\n"
        "$ echo run demo-$(date +20%y%m%d)-abcdefghij at 2026-01-01T00:00:00\n"
        "run demo-20260401-7c2k9q4mx1 at 2025-10-10T11:11:11\n```\n"
        "   ```console\n   $ echo demo-20260401-7c2k9q4mx1 > id\n   $ grep -c abcdefghij id\n   1\n"
        "   ```\n"
    )
    for block in blocks(text, "page"):
        reader.read(block)
    assert "abcdefghij" in reader.ids["demo-20260401-7c2k9q4mx1"]
