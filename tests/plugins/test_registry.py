"""Finding executors by name: lazily, and with an error that says what to do."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

import reflow
from reflow import plugins
from reflow.errors import ConfigError, ExecutorError, PluginError, UnknownPluginError
from reflow.executors.base import JobRequest
from reflow.hookspecs import ExecutorEntry, hookimpl
from reflow.plugins import Registry
from reflow_flux.executor import FluxExecutor
from reflow_lsf.executor import LSFExecutor
from reflow_pbs.executor import PBSExecutor
from reflow_sge.executor import SGEExecutor
from reflow_slurm.executor import SlurmExecutor

BACKENDS = {
    "slurm": SlurmExecutor,
    "pbs": PBSExecutor,
    "lsf": LSFExecutor,
    "sge": SGEExecutor,
    "flux": FluxExecutor,
}


def plugin(*entries: object) -> object:
    """Return a plugin object that registers these executors."""

    class Plugin:
        @hookimpl
        def reflow_register_executors(self) -> list[object]:
            return list(entries)

    return Plugin()


class Point:
    """An installed entry point, and whether it was loaded."""

    def __init__(self, name: str, loads: object, distribution: str = "") -> None:
        self.name = name
        self.loads = loads
        self.dist = SimpleNamespace(name=distribution or f"dist-{name}", version="1.2")
        self.loaded = 0

    def load(self) -> object:
        self.loaded += 1
        if isinstance(self.loads, Exception):
            raise self.loads
        return self.loads


def entry(name: str, *aliases: str, target: str = "reflow_pbs.executor:PBSExecutor") -> Any:
    return ExecutorEntry(name=name, target=target, aliases=aliases)


def registry(*points: Point) -> Registry:
    return Registry(discover=lambda: points)  # type: ignore[arg-type, return-value]


def use(monkeypatch: pytest.MonkeyPatch, *points: Point) -> None:
    found = registry(*points)
    monkeypatch.setattr(plugins, "registry", lambda: found)


@pytest.mark.parametrize("name", ["local", "dry-run"])
def test_built_in_needs_no_discovery(name: str) -> None:
    def discover() -> Any:
        raise AssertionError("discovery")

    assert Registry(discover=discover).executor(name).entry.name == name


def test_name_loads_its_entry_point_only() -> None:
    mine, other = Point("mine", plugin(entry("mine"))), Point("other", plugin(entry("other")))
    found = registry(other, mine).executor("mine")
    assert found.provider == "dist-mine 1.2"
    assert (mine.loaded, other.loaded) == (1, 0)


def test_alias_is_found_on_a_miss() -> None:
    known = registry(Point("torque", plugin(entry("pbs-torque", "torque6"))))
    assert known.executor("torque6").entry.name == "pbs-torque"


def test_missing_names_what_to_install() -> None:
    with pytest.raises(UnknownPluginError) as caught:
        registry(Point("slurm", plugin(entry("slurm")))).executor("pbs")
    assert str(caught.value) == (
        "no executor named 'pbs' is installed (installed: dry-run, local, slurm); "
        "try: pip install reflow-pbs"
    )
    assert isinstance(caught.value, ImportError)


def test_misspelt_names_the_nearest() -> None:
    known = registry(Point("slurm", plugin(entry("slurm"))))
    with pytest.raises(UnknownPluginError, match=r"named 'slrum' is installed: did you mean 'slu"):
        known.executor("slrum")


def test_misspelt_and_missing_names_both() -> None:
    with pytest.raises(UnknownPluginError, match=r"mean 'flux'\?.*pip install reflow-flux"):
        registry().executor("fluxx")


def test_broken_at_import_names_distribution_and_cause() -> None:
    known = registry(Point("pbs", ModuleNotFoundError("No module named 'gone'"), "reflow-pbs"))
    for _ in range(2):  # the same error when asked again
        with pytest.raises(
            PluginError, match=r"'pbs' of reflow-pbs 1\.2 is broken.*No module named 'gone'"
        ) as caught:
            known.executor("pbs")
        assert not isinstance(caught.value, UnknownPluginError)


def test_broken_plugin_leaves_others_alone() -> None:
    broken = Point("bad", RuntimeError("boom"))
    known = registry(broken, Point("good", plugin(entry("good"))))
    assert known.executor("good").entry.name == "good"
    assert known.executor("local").entry.name == "local"
    assert broken.loaded == 0
    with pytest.raises(UnknownPluginError, match=r"named 'other'.*'bad' of dist-bad 1\.2.*boom"):
        known.executor("other")


def test_hook_that_raises_or_returns_nonsense_is_broken() -> None:
    class Raises:
        @hookimpl
        def reflow_register_executors(self) -> list[ExecutorEntry]:
            raise ZeroDivisionError("oops")

    known = registry(Point("raises", Raises()), Point("nonsense", plugin("pbs")))
    with pytest.raises(PluginError, match=r"'raises' of dist-raises 1\.2.*ZeroDivisionError: oops"):
        known.executor("raises")
    with pytest.raises(PluginError, match="ExecutorEntry objects, not str"):
        known.executor("nonsense")


def test_two_plugins_of_one_name_clash() -> None:
    known = registry(
        Point("x", plugin(entry("x")), "first"),
        Point("x", plugin(entry("x", target="other:Executor")), "second"),
        Point("y", plugin(entry("y"))),
    )
    with pytest.raises(PluginError, match=r"named 'x': first 1\.2 and second 1\.2"):
        known.executor("x")
    assert known.executor("y").entry.name == "y"


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("reflow_nowhere.executor:Executor", "ModuleNotFoundError"),
        ("reflow_pbs.executor:Missing", "has no attribute 'Missing'"),
        ("reflow.spec:Resources", "is no subclass"),
    ],
)
def test_broken_target(monkeypatch: pytest.MonkeyPatch, target: str, why: str) -> None:
    use(monkeypatch, Point("x", plugin(entry("x", target=target))))
    with pytest.raises(PluginError, match=rf"'x' of dist-x 1\.2 is broken: .*{why}"):
        plugins.executor_class("x")


def test_entry_target_must_be_importable_by_form() -> None:
    with pytest.raises(ValueError, match="target"):
        ExecutorEntry(name="x", target="no colon")


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The five backends, as their entry points say, whether installed or not."""
    from importlib import import_module

    points = [Point(name, import_module(f"reflow_{name}.plugin")) for name in BACKENDS]
    use(monkeypatch, *points)


@pytest.mark.usefixtures("backends")
@pytest.mark.parametrize("name", list(BACKENDS))
def test_backends(name: str) -> None:
    cls = BACKENDS[name]
    assert plugins.executor_class(name) is cls
    executor = plugins.executor_from(name)
    assert type(executor) is cls
    assert executor.name == name
    assert executor.capabilities.array_variable
    request = JobRequest(tag="t", name="n", script="s", directory="d", log="l")
    with pytest.raises(ExecutorError, match=f"reflow-{name} knows its settings but does not talk"):
        executor.submit(request)
    for call in (executor.poll, executor.find, executor.cancel):
        with pytest.raises(ExecutorError, match=name):
            call(["1"])


@pytest.mark.usefixtures("backends")
def test_settings_round_trip() -> None:
    mine = PBSExecutor(qsub="/opt/pbs/bin/qsub", max_array_size=50)
    name, settings = plugins.executor_reference(mine)
    assert name == "pbs"
    assert settings["qsub"] == "/opt/pbs/bin/qsub"
    again = plugins.executor_from_reference(name, settings)
    assert again == mine
    assert again.capabilities.max_array_size == 50


@pytest.mark.usefixtures("backends")
def test_settings_that_do_not_fit() -> None:
    with pytest.raises(PluginError, match="settings of executor 'pbs' on record do not fit"):
        plugins.executor_from_reference("pbs", {"qusb": "x"})


@pytest.mark.usefixtures("backends")
def test_class_no_plugin_registers_has_no_reference() -> None:
    class Mine(PBSExecutor):
        pass

    with pytest.raises(PluginError, match="register it by the hook reflow_register_executors"):
        plugins.executor_reference(Mine())


@pytest.mark.usefixtures("backends")
def test_executor_from() -> None:
    mine = PBSExecutor(qsub="mine")
    config = reflow.Config(executor={"pbs": {"qsub": "configured"}})
    assert plugins.executor_from(mine, config) is mine
    assert plugins.executor_from("pbs", config) == PBSExecutor(qsub="configured")
    assert plugins.executor_from("slurm", config) == SlurmExecutor()
    with pytest.raises(ConfigError, match=r"executor\.pbs\.qusb.*did you mean 'qsub'"):
        plugins.executor_from("pbs", reflow.Config(executor={"pbs": {"qusb": "x"}}))
    with pytest.raises(ConfigError, match=r"executor\.pbs\.qsub = 3"):
        plugins.executor_from("pbs", reflow.Config(executor={"pbs": {"qsub": 3}}))
    with pytest.raises(ExecutorError, match="not int"):
        plugins.executor_from(3)  # type: ignore[arg-type]


@pytest.mark.usefixtures("backends")
def test_backend_classes_from_reflow(monkeypatch: pytest.MonkeyPatch) -> None:
    for cls in BACKENDS.values():
        monkeypatch.delitem(vars(reflow), cls.__name__, raising=False)
        assert getattr(reflow, cls.__name__) is cls
        assert cls.__name__ not in reflow.__all__


def test_missing_backend_from_reflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(vars(reflow), "PBSExecutor", raising=False)
    use(monkeypatch)
    with pytest.raises(ImportError, match=r"no executor named 'pbs' .* pip install reflow-pbs"):
        from reflow import PBSExecutor  # noqa: F401


def test_plugin_modules_do_not_import_executors() -> None:
    code = (
        "import sys\n"
        "import reflow_slurm.plugin, reflow_pbs.plugin, reflow_lsf.plugin\n"
        "import reflow_sge.plugin, reflow_flux.plugin\n"
        "print([m for m in sys.modules if m.endswith('.executor') or 'executors' in m])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
