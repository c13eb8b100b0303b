"""Every hook has an effect, shown here, and a place in the reference.

Each case installs a plugin that implements one hook, and shows its effect; and that there is
none with the same plugin where nothing marks the function as the hook's implementation.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reflow import hookspecs
from reflow.errors import PluginError
from reflow.plugins import lookup

HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("reflow_"))
ENTRIES = hookspecs.Entry.__args__
PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "hooks.md"


class Mine:
    """The type of the serializer and the verifier below."""


OWN = f"{__name__}.Mine"


def executor(_: Path) -> object:
    return lookup.executor_class("mine").__name__


def store(_: Path) -> object:
    return lookup.store_class("mine").__name__


def serializer(_: Path) -> object:
    return lookup.serializer_entry_for(Mine)


def verifier(_: Path) -> object:
    return lookup.verifier_entries_for(Mine)


def run_finished(folder: Path) -> object:
    assert lookup.observers(["mine"]).run_finished("r-1", folder, "SUCCESS") == []
    return (folder / "told.txt").read_text()


def task_failed(folder: Path) -> object:
    observers = lookup.observers(["mine"])
    return observers.task_failed("r-1", "t", 7, "OOM")


CASES: dict[str, tuple[str, Callable[[Path], object], object]] = {
    "reflow_register_executors": (
        "(): return [ExecutorEntry(name='mine', target='reflow.executors.local:LocalExecutor')]",
        executor,
        "LocalExecutor",
    ),
    "reflow_register_stores": (
        "(): return [StoreEntry(scheme='mine', "
        "target='reflow.storage.stores.sqlite.store:SqliteStore')]",
        store,
        "SqliteStore",
    ),
    "reflow_register_serializers": (
        f"(): return [SerializerEntry(name='mine', target='a:B', types=('{OWN}',))]",
        serializer,
        hookspecs.SerializerEntry(name="mine", target="a:B", types=(OWN,)),
    ),
    "reflow_register_verifiers": (
        f"(): return [VerifierEntry(name='mine', target='a:B', types=('{OWN}',))]",
        verifier,
        [hookspecs.VerifierEntry(name="mine", target="a:B", types=(OWN,))],
    ),
    "reflow_run_finished": (
        "(run_id, run_dir, state): (run_dir / 'told.txt').write_text(f'{run_id} {state}')",
        run_finished,
        "r-1 SUCCESS",
    ),
    "reflow_task_failed": (
        "(run_id, task, index, cause): raise ValueError((run_id, task, index, cause))",
        task_failed,
        ["observer 'mine' of dist 1.2: reflow_task_failed: ValueError: ('r-1', 't', 7, 'OOM')"],
    ),
}
"""By hook: the rest of its ``def``, how its effect is seen, and the effect."""


def effect_of(site: Any, use: Any, mark: str, hook: str, tmp_path: Path) -> object:
    text, effect, _ = CASES[hook]
    site.install("dist", mine=f"{mark}\ndef {hook}{text}\n")
    use()
    try:
        return effect(tmp_path)
    except PluginError as error:
        return error


@pytest.mark.parametrize("hook", HOOKS)
class TestHook:
    """One test class, so that a new hook without a case fails in each."""

    def test_has_an_effect(self, site: Any, use: Any, tmp_path: Path, hook: str) -> None:
        assert effect_of(site, use, "@hookimpl", hook, tmp_path) == CASES[hook][2]

    def test_has_no_effect_without_its_mark(
        self, site: Any, use: Any, tmp_path: Path, hook: str
    ) -> None:
        assert effect_of(site, use, "", hook, tmp_path) != CASES[hook][2]

    def test_hook_has_a_docstring(self, hook: str) -> None:
        assert getattr(hookspecs, hook).__doc__

    def test_has_a_heading_in_the_reference(self, hook: str) -> None:
        assert re.search(rf"^#+ .*\b{hook}\b", PAGE.read_text(), flags=re.MULTILINE)


def test_registration_hooks_and_entries_belong_together() -> None:
    from reflow.plugins.kinds import KINDS
    from reflow.plugins.loader import LIFECYCLE

    assert {*LIFECYCLE, *(f"reflow_register_{kind}s" for kind in KINDS)} == set(HOOKS)
    assert {kind.entry for kind in KINDS.values()} == {entry.__name__ for entry in ENTRIES}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.__name__)
def test_every_entry_class_is_in_the_reference(entry: type) -> None:
    """As a heading, or as an entry that the site's generator turns into one."""
    line = rf"^(#+ .*|::: reflow\.hookspecs\.){entry.__name__}\b"
    assert re.search(line, PAGE.read_text(), flags=re.MULTILINE)
