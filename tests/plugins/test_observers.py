"""Observers: each is notified of runs and failures on its own, and is found by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reflow.errors import PluginError, UnknownPluginError
from reflow.plugins import lookup
from reflow.plugins.registry import Registry

FINISHED = """
@hookimpl
def reflow_run_finished(run_id, run_dir, state):
    with open(run_dir / "told.txt", "a") as file:
        print({name!r}, run_id, state, file=file)
"""
FAILED = """
@hookimpl
def reflow_task_failed(run_id, task, index, cause):
    raise {raised}
"""


def test_every_observer_is_called_whatever_another_raises(
    site: Any, use: Callable[..., Registry], tmp_path: Path
) -> None:
    site.install("mail", mail=FINISHED.format(name="mail"))
    site.install("worse", worse="@hookimpl\ndef reflow_run_finished():\n    exit(3)")
    failing = FAILED.format(raised="RuntimeError((task, index, cause))")
    failing += "@hookimpl\ndef reflow_run_finished(run_id): raise ValueError(run_id)"
    site.install("bad", "0.1", bad=failing)
    site.install("chat", chat=FINISHED.format(name="chat"))
    site.install("unnamed", unnamed=FINISHED.format(name="unnamed"))
    use()
    observers = lookup.observers(["bad", "worse", "mail", "chat", "mail"])
    assert observers.run_finished("r-1", tmp_path, "FAILED") == [
        "observer 'bad' of bad 0.1: reflow_run_finished: ValueError: r-1",
        "observer 'worse' of worse 1.2: reflow_run_finished: SystemExit: 3",
    ]
    assert (tmp_path / "told.txt").read_text() == "mail r-1 FAILED\nchat r-1 FAILED\n"
    assert observers.task_failed("r-1", "t", 4, "OOM") == [
        "observer 'bad' of bad 0.1: reflow_task_failed: RuntimeError: ('t', 4, 'OOM')"
    ]
    assert not site.is_loaded("unnamed", "unnamed")


def test_nobody_observes(site: Any, use: Callable[..., Registry], tmp_path: Path) -> None:
    use()
    observers = lookup.observers([])
    assert observers.run_finished("r", tmp_path, "SUCCESS") == []
    assert observers.task_failed("r", "t", None, "") == []


def test_missing(site: Any, use: Callable[..., Registry]) -> None:
    site.install("mail", mail=FINISHED.format(name="mail"))
    use()
    with pytest.raises(UnknownPluginError) as caught:
        lookup.observers(["mial"])
    assert str(caught.value) == (
        "no observer named 'mial' is installed: did you mean 'mail'? (installed: mail)"
    )


def test_broken(site: Any, use: Callable[..., Registry]) -> None:
    site.install("mail", mail="raise RuntimeError('boom')")
    use()
    with pytest.raises(PluginError, match=r"^plugin 'mail' of mail 1\.2 is broken: RuntimeErr"):
        lookup.observers(["mail"])


def test_no_observer(site: Any, use: Callable[..., Registry]) -> None:
    site.install("mail", mail="")
    use()
    with pytest.raises(PluginError) as caught:
        lookup.observers(["mail"])
    assert str(caught.value) == (
        "no observer named 'mail' is installed (installed: none); plugin 'mail' of mail 1.2 does "
        "not implement reflow_run_finished or reflow_task_failed"
    )


def test_left_out(site: Any, use: Callable[..., Registry]) -> None:
    site.install("mail", mail=FINISHED)
    use(enabled=("chat",))
    with pytest.raises(PluginError, match=r"disabled: REFLOW_PLUGINS leaves it out \(enabled: ch"):
        lookup.observers(["mail"])


def test_clash(site: Any, use: Callable[..., Registry], tmp_path: Path) -> None:
    site.install("first", mail=FINISHED.format(name="first"))
    site.install("second", mail=FINISHED.format(name="second"))
    use()
    with pytest.raises(PluginError) as caught:
        lookup.observers(["mail"])
    assert str(caught.value) == (
        "plugins of first 1.2 and second 1.2 both register an observer named 'mail'; "
        'pin one: [plugins.pin] mail = "first" in config.toml, or uninstall one'
    )
    use(pin={"mail": "second"})
    assert lookup.observers(["mail"]).run_finished("r", tmp_path, "SUCCESS") == []
    assert (tmp_path / "told.txt").read_text() == "second r SUCCESS\n"
    use(pin={"mail": "third"})
    with pytest.raises(PluginError, match="names a distribution that is not installed"):
        lookup.observers(["mail"])
