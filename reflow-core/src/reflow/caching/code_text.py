"""The text of tasks' functions, kept with a run so that a later one can show what changed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..model.flow import innermost
from .code_fingerprint import text_of

if TYPE_CHECKING:
    from ..model.flow import TaskDefinition
    from ..storage.run_directory import RunRecord

FILE = "code.json"
"""Its place in the record of a run: by task, the texts of functions by name."""

MOST = 1_000_000
"""Characters that are kept of one run."""

Texts = Mapping[str, Mapping[str, str]]


def texts_of(tasks: Iterable[TaskDefinition]) -> dict[str, dict[str, str]]:
    """Return by task the texts of what its fingerprint counts: its function, or all it reaches.

    Texts beyond `MOST` characters are left out.
    """
    by_task: dict[str, dict[str, str]] = {}
    room = MOST
    for task in tasks:
        texts = by_task[task.name] = {}
        for name, text in _texts(task).items():
            room -= len(text)
            if text and room >= 0:
                texts[name] = text
    return by_task


def _texts(task: TaskDefinition) -> dict[str, str]:
    if task.options.code == "off":
        return {}
    if task.options.code != "deep":
        function: Any = innermost(task.function)
        return {f"{function.__module__}.{function.__qualname__}": text_of(function)}
    from .call_graph import reach_task

    return {
        part.name: part.value if isinstance(part.value, str) else text_of(part.value)
        for part in reach_task(task).parts
    }


def keep(record: RunRecord, texts: Texts) -> None:
    """Write the texts into a run's record. Raises `OSError`."""
    data = json.dumps(texts, ensure_ascii=False).encode("utf-8", "surrogatepass")
    record.files.write(f"{record.folder}/{FILE}", data)


def kept(record: RunRecord, task: str) -> dict[str, str]:
    """Return the texts of a task in a run's record, {} where it has none."""
    try:
        texts = json.loads(record.files.read(f"{record.folder}/{FILE}"))[task]
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    return {name: text for name, text in dict(texts).items() if isinstance(text, str)}


def difference(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Return what changed between the texts of two runs, as a unified diff; "" for nothing."""
    from difflib import unified_diff

    lines: list[str] = []
    for name in dict.fromkeys([*after, *before]):
        was, now = before.get(name, ""), after.get(name, "")
        lines += unified_diff(
            was.splitlines(), now.splitlines(), f"{name} (before)", f"{name} (now)", lineterm=""
        )
    return "\n".join(lines)
