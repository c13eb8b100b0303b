"""Write the keys in docs/reference/configuration.md from the classes: `make config-reference`.

All backends must be installed, as they are in the development environment.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from reflow.config.provenance import Key, dotted
from reflow.config.settings import TABLES
from reflow.config.structure import is_table, table_keys, type_name, variable_of
from reflow.plugins.config_template import default_text, example_text
from reflow.plugins.installed_executors import installed_executors

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "configuration.md"

MARKS = ("<!-- keys: written from the classes by `make config-reference` -->\n",
         "<!-- end of keys -->")  # fmt: skip


def with_keys(text: str) -> str:
    """Return the page's text with all keys between its two marks.

    Raises SystemExit where a backend cannot be had.
    """
    before, _, rest = text.partition(MARKS[0])
    _, found, after = rest.partition(MARKS[1])
    if not found:
        raise SystemExit(f"{PAGE}: the marks {MARKS} are not there")
    tables = {(name,): cls for name, cls in TABLES.items()}
    for one in installed_executors():
        if one.cls is None:
            raise SystemExit(one.problem)
        if one.cls.__module__.startswith("reflow"):
            tables["executor", one.name] = one.cls
    sections = [
        f"\n### `[{dotted(at)}]`\n\n" + "\n".join(rows(cls, at)) + "\n"
        for at, cls in tables.items()
    ]
    return before + MARKS[0] + "".join(sections) + "\n" + MARKS[1] + after


def rows(cls: type, at: Key) -> Iterator[str]:
    """Yield a table of keys."""
    yield "| key | what it is | type | default | variable |"
    yield "|---|---|---|---|---|"
    yield from _rows(cls, at, at)


def _rows(cls: type, at: Key, top: Key) -> Iterator[str]:
    for one in table_keys(cls).values():
        key = (*at, one.name)
        if is_table(one.annotation):
            yield from _rows(one.annotation, key, top)
            continue
        default = default_text(one).removeprefix("default ")
        default = default if one.required or one.default is None else f"`{default}`"
        example = example_text(one)
        shown = f" Example: `{example}`" if example and f"`{example}`" != default else ""
        cells = [f"`{dotted(key[len(top):])}`", f"{one.help}{shown}".strip(),
                 type_name(one.annotation), default,
                 f"`{one.variable or variable_of(key)}`"]  # fmt: skip
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    PAGE.write_text(with_keys(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
