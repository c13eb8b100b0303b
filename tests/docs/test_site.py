"""What the site promises as a whole: `make docs` builds it, these read its sources."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import reflow

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
CONFIG = (ROOT / "mkdocs.yml").read_text()
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
PYTHON = (DOCS / "reference/python.md").read_text()
BACKENDS = ("SlurmExecutor", "PBSExecutor", "LSFExecutor", "SGEExecutor", "FluxExecutor")


def test_every_page_is_in_the_navigation() -> None:
    named = re.findall(r"^ +- (?:[^:\n]+: )?([\w/-]+\.md)$", CONFIG, flags=re.MULTILINE)
    assert sorted(named) == sorted({*named, *PAGES})


def test_every_public_name_is_in_the_reference() -> None:
    described = re.findall(r"^::: (reflow[\w.]*)$", PYTHON, flags=re.MULTILINE)
    names = {dotted.rpartition(".")[2] for dotted in described}
    public = set(reflow.__all__) - {"__version__"}
    # The errors are described as a module.
    errors = {name for name in public if getattr(reflow, name).__module__ == "reflow.errors"}
    assert "reflow.errors" in described
    assert public - errors - names == set()
    assert [name for name in BACKENDS if f"`{name}`" not in PYTHON] == []


@pytest.mark.parametrize("page", PAGES)
def test_described_names_can_be_imported(page: str) -> None:
    """Every name that mkdocstrings describes can be imported."""
    for dotted in re.findall(r"^::: (\S+)$", (DOCS / page).read_text(), flags=re.MULTILINE):
        module, target = dotted, None
        while target is None:
            try:
                target = __import__(module, fromlist=["_"])
            except ImportError:
                module = module.rpartition(".")[0]
                assert module, f"{dotted} is nothing that can be imported"
        for name in filter(None, dotted[len(module) :].split(".")):
            target = getattr(target, name)


def test_site_loads_nothing_from_other_hosts() -> None:
    """No fonts, scripts or counters of other hosts, and no address of this machine."""
    assert "font: false" in CONFIG
    assert re.findall(r"https?://", CONFIG) == []
    for page in PAGES:
        text = (DOCS / page).read_text()
        assert re.findall(r"<(?:script|img|iframe|link)\b|!\[[^\]]*\]\(http", text) == [], page
        assert str(ROOT) not in text, page
