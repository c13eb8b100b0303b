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

    Raises SystemExit where a backend cannot be imported.
    """
    before, _, below = text.partition(MARKS[0])
    _, end, after = below.partition(MARKS[1])
    if not end:
        raise SystemExit(f"{PAGE} has no marks {MARKS}")
    tables = {(name,): cls for name, cls in TABLES.items()}
    for executor in installed_executors():
        if executor.cls is None:
            raise SystemExit(executor.problem)
        if executor.cls.__module__.startswith("reflow"):
            tables["executor", executor.name] = executor.cls
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
    for table_key in table_keys(cls).values():
        key = (*at, table_key.name)
        if is_table(table_key.annotation):
            yield from _rows(table_key.annotation, key, top)
            continue
        default = default_text(table_key).removeprefix("default ")
        has_value = not table_key.required and table_key.default is not None
        default = f"`{default}`" if has_value else default
        example = example_text(table_key)
        shown = f" Example: `{example}`" if example and f"`{example}`" != default else ""
        cells = [f"`{dotted(key[len(top):])}`", f"{table_key.help}{shown}".strip(),
                 type_name(table_key.annotation), default,
                 f"`{table_key.variable or variable_of(key)}`"]  # fmt: skip
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    PAGE.write_text(with_keys(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
