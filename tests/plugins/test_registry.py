"""Finding plugins by name: lazily, and with an error that says what to do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import reflow
from reflow.errors import ConfigError, ExecutorError, PluginError, UnknownPluginError
from reflow.hookspecs import (
    ExecutorEntry,
    SerializerEntry,
    StoreEntry,
    VerifierEntry,
    hookimpl,
)
from reflow.plugins import kinds, lookup
from reflow.plugins.discovery import Distribution, EntryPoint, Installed
from reflow.plugins.loader import call
from reflow.plugins.registry import Registry
from reflow.plugins.selection import Selection
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
BACKEND = Distribution("a-backend", "0")
NEWER = f"it needs a newer reflow-core than {reflow.__version__}"


def executors(*names: str, aliases: tuple[str, ...] = (), target: str = "") -> str:
    """Return the source of a plugin that registers these executors."""
    return (
        "@hookimpl\n"
        "def reflow_register_executors():\n"
        f"    return [ExecutorEntry(name=name, aliases={aliases!r},\n"
        f"            target={target!r} or 'from_' + __name__ + ':Executor') for name in {names!r}]"
    )


def message(registry: Registry, name: str, kind: str = "executor") -> str:
    """Return the error of a lookup that must fail."""
    with pytest.raises(PluginError) as caught:
        registry.find(kind, name)
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("executor", "local"),
        ("executor", "dry-run"),
        ("store", "sqlite"),
        ("serializer", "pickle"),
        ("verifier", "exists"),
        ("verifier", "nonempty"),
    ],
)
def test_built_in_needs_neither_discovery_nor_configuration(kind: str, name: str) -> None:
    class Never(Installed):
        def __getattribute__(self, attribute: str) -> Any:
            raise AssertionError(f"asked for {attribute}")

    def never() -> Any:
        raise AssertionError("the configuration was read")

    registered = Registry(installed=Never("reflow"), read_selection=never).find(kind, name)
    assert registered.names[0] == name
    assert str(registered.distribution) == f"reflow-core {reflow.__version__}"
    assert kinds.load_target(kind, name, registered.entry.target)


def test_name_loads_its_entry_point_only(site: Any) -> None:
    site.install("dist-mine", mine=executors("mine"))
    site.install("dist-other", other=executors("other"))
    registered = site.registry().find("executor", "mine")
    assert str(registered.distribution) == "dist-mine 1.2"
    assert site.is_loaded("dist-mine", "mine")
    assert not site.is_loaded("dist-other", "other")


def test_alias_is_found_on_a_miss(site: Any) -> None:
    site.install("dist", torque=executors("pbs-torque", aliases=("torque6",)))
    assert site.registry().find("executor", "torque6").names == ("pbs-torque", "torque6")


def test_missing_names_what_to_install(site: Any) -> None:
    site.install("reflow-slurm", slurm=executors("slurm"))
    with pytest.raises(UnknownPluginError) as caught:
        site.registry().find("executor", "pbs")
    assert str(caught.value) == (
        "no executor named 'pbs' is installed (installed: dry-run, local, slurm); "
        "try: pip install reflow-pbs"
    )
    assert isinstance(caught.value, ImportError)


def test_a_plugin_of_that_name_that_brings_something_else(site: Any) -> None:
    observer = "@hookimpl\ndef reflow_task_failed(): pass"
    site.install("dist", torque=executors("pbs-torque"), mail=observer)
    registry = site.registry()
    assert message(registry, "torque") == (
        "no executor named 'torque' is installed: did you mean 'pbs-torque'? "
        "(installed: dry-run, local, pbs-torque)"
    )
    assert message(registry, "mail") == (
        "no executor named 'mail' is installed (installed: dry-run, local, pbs-torque); "
        "plugin 'mail' of dist 1.2 does not implement reflow_register_executors"
    )


def test_missing_of_other_kinds(site: Any) -> None:
    registry = site.registry()
    assert message(registry, "postgresql", "store") == (
        "no store named 'postgresql' is installed (installed: sqlite); "
        "try: pip install reflow-postgres"
    )
    assert message(registry, "mariadb", "store") == (
        "no store named 'mariadb' is installed (installed: sqlite)"
    )
    assert message(registry, "picle", "serializer") == (
        "no serializer named 'picle' is installed: did you mean 'pickle'? (installed: pickle)"
    )
    assert message(registry, "pbs", "verifier") == (
        "no verifier named 'pbs' is installed (installed: exists, fingerprint, nonempty)"
    )


def test_misspelt_names_the_nearest(site: Any) -> None:
    site.install("reflow-slurm", slurm=executors("slurm"))
    assert message(site.registry(), "slrum") == (
        "no executor named 'slrum' is installed: did you mean 'slurm'? "
        "(installed: dry-run, local, slurm)"
    )


def test_misspelt_and_missing_names_both(site: Any) -> None:
    assert message(site.registry(), "fluxx") == (
        "no executor named 'fluxx' is installed: did you mean 'flux'? "
        "(installed: dry-run, local); try: pip install reflow-flux"
    )


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import a_module_that_is_gone", "ModuleNotFoundError: No module named 'a_module_that_i"),
        ("raise RuntimeError('boom')", "RuntimeError: boom"),
        ("import sys; sys.exit('leaving')", "SystemExit: leaving"),
        ("def broken(:", "SyntaxError: invalid syntax"),
        ("@hookimpl\ndef reflow_register_executors():\n    return 1 / 0", "ZeroDivisionError: div"),
        ("@hookimpl\ndef reflow_register_executors():\n    exit(3)", "SystemExit: 3"),
        (
            "@hookimpl\ndef reflow_register_stores():\n    return ['pbs']",
            "PluginError: reflow_register_stores returns StoreEntry objects, not str",
        ),
        (
            "@hookimpl\ndef reflow_register_verifiers():\n"
            "    return [SerializerEntry(name='x', target='a:B')]",
            "PluginError: reflow_register_verifiers returns VerifierEntry objects, not Seria",
        ),
        (
            "@hookimpl\ndef reflow_register_executors():\n"
            "    return [ExecutorEntry(name='x', target='no colon')]",
            "ValueError: ",
        ),
        ("@hookimpl\ndef reflow_register_executors():\n    return 3", "TypeError: 'int' object"),
    ],
)
def test_broken_names_distribution_version_and_cause(site: Any, source: str, cause: str) -> None:
    site.install("dist-bad", "3.4", bad=source)
    site.install("dist-good", good=executors("good"))
    registry = site.registry()
    assert registry.find("executor", "good").names == ("good",)
    assert not site.is_loaded("dist-bad", "bad")
    for _ in range(2):  # the same error when asked again
        with pytest.raises(PluginError) as caught:
            registry.find("executor", "bad")
        assert not isinstance(caught.value, UnknownPluginError)
        text = str(caught.value)
        assert text.startswith(f"plugin 'bad' of dist-bad 3.4 is broken: {cause}")
        assert type(caught.value.__cause__).__name__ == cause.partition(":")[0]
    # A look-up of a missing name mentions the failure; a look-up of another does not fail.
    assert message(registry, "other").endswith(f"(installed: dry-run, good, local); {text}")
    assert registry.find("executor", "good").names == ("good",)
    assert registry.find("executor", "local").names == ("local",)
    assert registry.find("serializer", "pickle").names == ("pickle",)


def test_interrupt_while_loading_is_no_broken_plugin(site: Any) -> None:
    site.install("dist", x="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        site.registry().find("executor", "x")


def test_plugin_that_looks_for_plugins_when_it_is_imported(
    site: Any, use: Callable[..., Registry]
) -> None:
    site.install("dist", x="from reflow.plugins import lookup\nlookup.serializer_entry('other')")
    site.install("dist-other", other=executors("other"))
    registry = use()
    assert "UnknownPluginError: no serializer named 'other'" in message(registry, "x")
    assert registry.find("executor", "other").names == ("other",)


class TestClash:
    """Two distributions with one name."""

    @pytest.fixture
    def two(self, site: Any) -> Any:
        site.install("first", x=executors("x"))
        site.install("second", "2.0", x=executors("x"), y=executors("y"))
        return site

    def test_names_both_and_how_to_pin(self, two: Any) -> None:
        registry = two.registry()
        assert message(registry, "x") == (
            "plugins of first 1.2 and second 2.0 both register an executor named 'x'; "
            'pin one: [plugins.pin] x = "first" in config.toml, or uninstall one'
        )
        assert registry.find("executor", "y").names == ("y",)

    @pytest.mark.parametrize("pinned", ["first", "second", "Second"])
    def test_a_pin_resolves_it(self, two: Any, pinned: str) -> None:
        registered = two.registry(pin={"x": pinned}).find("executor", "x")
        assert registered.distribution.name == pinned.lower()

    def test_a_pin_to_what_is_not_installed(self, two: Any) -> None:
        registry = two.registry(pin={"x": "frist"})
        assert message(registry, "x") == (
            '[plugins.pin] x = "frist" in config.toml names a distribution that is not installed '
            "or has no plugins: did you mean 'first'? (with plugins: first, second)"
        )
        assert registry.find("executor", "y").names == ("y",)

    def test_a_pin_to_what_is_broken(self, two: Any) -> None:
        two.install("third", x="raise RuntimeError('boom')")
        assert message(two.registry(pin={"x": "third"}), "x") == (
            "plugin 'x' of third 1.2 is broken: RuntimeError: boom"
        )

    def test_a_pin_to_what_is_left_out(self, two: Any) -> None:
        two.install("third", z=executors("x"))
        registry = two.registry(pin={"x": "third"}, enabled=("x",))
        assert message(registry, "x").startswith("plugin 'z' of third 1.2 is disabled")

    def test_a_pin_holds_for_the_kind_that_the_distribution_brings(self, two: Any) -> None:
        two.install("third", z=(
            "@hookimpl\ndef reflow_register_serializers():\n"
            "    return [SerializerEntry(name='x', target='a:B')]"
        ))  # fmt: skip
        registry = two.registry(pin={"x": "second"})
        assert registry.find("serializer", "x").distribution.name == "third"

    def test_clash_message_says_that_the_configuration_cannot_be_read(self, two: Any) -> None:
        registry = two.registry(problem="config.toml: not valid TOML")
        assert message(registry, "x").endswith(
            "(the configuration could not be read: config.toml: not valid TOML)"
        )

    def test_within_one_distribution(self, site: Any) -> None:
        site.install("dist", a=executors("x"), b=executors("x"))
        assert message(site.registry(), "x") == (
            "dist 1.2 clashes with itself: its plugins register an executor named 'x' "
            "more than once"
        )

    def test_the_same_class_is_no_clash(self, site: Any) -> None:
        site.install("first", x=executors("x", target="a:B"))
        site.install("second", x=executors("x", target="a:B"))
        assert site.registry().find("executor", "x").entry.target == "a:B"

    def test_two_entry_points_of_one_module(self, site: Any) -> None:
        site.install("dist", x=executors("x", "y"))
        with (site.folder / "dist-1.2.dist-info/entry_points.txt").open("a") as file:
            file.write(f"[reflow]\ny = {site.modules['dist', 'x']}\n")
        registry = site.registry()
        assert registry.find("executor", "x").names == ("x",)
        assert registry.find("executor", "y").names == ("y",)

    def test_name_resolves_alike_whatever_was_loaded_before(self, two: Any) -> None:
        two.install("fourth", z=executors("z", "slurm"))
        two.install("reflow-slurm", slurm=executors("slurm"))
        registry = two.registry()
        registry.find("executor", "z")
        assert str(registry.find("executor", "slurm").distribution) == "reflow-slurm 1.2"
        pinned = two.registry(pin={"slurm": "fourth"})
        assert str(pinned.find("executor", "slurm").distribution) == "fourth 1.2"

    def test_built_in_wins(self, site: Any) -> None:
        site.install("dist", local=executors("local"))
        registry = site.registry(pin={"local": "dist"})
        registry.load(registry.installed.points)
        assert str(registry.find("executor", "local").distribution).startswith("reflow-core ")


class TestIncompatible:
    """Plugins that were made for another reflow-core."""

    @pytest.mark.parametrize(
        ("requirement", "why"),
        [
            ("reflow-core>=99", f"it requires reflow-core>=99; {NEWER}"),
            ("reflow_core (>=99.1)", f"it requires reflow-core>=99.1; {NEWER}"),
            ("Reflow.Core[pickle] ~= 99.0", f"it requires reflow-core~=99.0; {NEWER}"),
            ("reflow-core==99.*; python_version > '3'", f"it requires reflow-core==99.*; {NEWER}"),
            (
                "reflow-core<0.0.2",
                f"it requires reflow-core<0.0.2 and {reflow.__version__} is installed; "
                "try: pip install --upgrade dist",
            ),
        ],
    )
    def test_requirement(self, site: Any, requirement: str, why: str) -> None:
        # Its import would fail too; the requirement is the better message.
        site.install("dist", requires=("attrs", requirement), x="import reflow.not_there_yet")
        site.install("good", good=executors("good"))
        registry = site.registry()
        assert message(registry, "x") == f"plugin 'x' of dist 1.2 is incompatible: {why}"
        assert not site.is_loaded("dist", "x")
        assert registry.find("executor", "good").names == ("good",)

    @pytest.mark.parametrize(
        "requirement",
        [
            f"reflow-core=={reflow.__version__}",
            "reflow-core",
            "reflow-core>=0.0.1",
            "reflow-core>=99; extra == 'later'",
            "reflow-core>=99; python_version < '3'",
            "reflow-core-extras>=99",
            "reflow-core @@ nonsense",
        ],
    )
    def test_requirement_that_is_met(self, site: Any, requirement: str) -> None:
        site.install("dist", requires=(requirement,), x=executors("x"))
        assert site.registry().find("executor", "x").names == ("x",)

    @pytest.mark.parametrize(
        ("source", "why"),
        [
            (
                "@hookimpl\ndef reflow_on_the_moon():\n    pass",
                "it implements the hook 'reflow_on_the_moon', which this version does not have",
            ),
            (
                "@hookimpl\ndef reflow_register_store():\n    pass",
                "it implements the hook 'reflow_register_store', which this version does not have "
                "(did you mean 'reflow_register_stores'?)",
            ),
            (
                "@hookimpl\ndef reflow_run_finished(run_id, duration):\n    pass",
                "its hook reflow_run_finished asks for 'duration', which this version does not "
                "pass",
            ),
        ],
    )
    def test_hook(self, site: Any, source: str, why: str) -> None:
        site.install("dist", x=f"{source}\n{executors('x', 'y')}")
        site.install("good", good=executors("good"))
        registry = site.registry()
        expected = f"plugin 'x' of dist 1.2 is incompatible: {why}; {NEWER}"
        assert message(registry, "x") == expected
        assert message(registry, "y").endswith(f"(installed: dry-run, good, local); {expected}")
        assert registry.find("executor", "good").names == ("good",)

    def test_older_signature_works(self, site: Any) -> None:
        site.install("dist", x=(
            "failed_runs = []\n"
            "@hookimpl\ndef reflow_task_failed(run_id):\n    failed_runs.append(run_id)\n"
            "@hookimpl(optionalhook=True)\ndef reflow_of_the_future(anything):\n    pass\n"
        ))  # fmt: skip
        registry = site.registry()
        plugin: Any = registry.plugins[registry.find("observer", "x").point]
        arguments = {"run_id": "r", "task": "t", "index": None, "cause": "OOM"}
        call(registry.manager, plugin, "reflow_task_failed", **arguments)
        assert plugin.failed_runs == ["r"]


class TestEnabled:
    """`REFLOW_PLUGINS` and `[plugins] enabled`."""

    @pytest.fixture
    def three(self, site: Any) -> Any:
        for name in ("a", "b", "c"):
            site.install(f"dist-{name}", **{name: executors(name)})
        return site

    def test_only_enabled_plugins_are_loaded(self, three: Any) -> None:
        registry = three.registry(enabled=("a", "c"))
        assert registry.find("executor", "a").names == ("a",)
        assert message(registry, "b") == (
            "plugin 'b' of dist-b 1.2 is disabled: REFLOW_PLUGINS leaves it out (enabled: a, c)"
        )
        assert message(registry, "alias").endswith("; REFLOW_PLUGINS leaves out: b")
        assert three.is_loaded("dist-c", "c")
        assert not three.is_loaded("dist-b", "b")

    def test_none(self, three: Any) -> None:
        registry = three.registry(enabled=(), enabled_by="[plugins] enabled in config.toml")
        assert message(registry, "a") == (
            "plugin 'a' of dist-a 1.2 is disabled: [plugins] enabled in config.toml leaves it out "
            "(enabled: none)"
        )
        assert registry.find("executor", "local").names == ("local",)


def selection_of_this_process() -> Selection:
    lookup.registry.cache_clear()
    return lookup.registry().selection


@pytest.fixture
def fresh() -> Iterator[None]:
    """Forget the registry of this process at the end."""
    yield
    lookup.registry.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_settings_come_from_environment_and_configuration(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CONFIG_DIRS"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REFLOW_PLUGINS", raising=False)
    assert selection_of_this_process().enabled is None
    with monkeypatch.context() as alone:
        alone.setenv("REFLOW_PLUGINS_PIN", "slurm=mine")
        assert dict(selection_of_this_process().pin) == {"slurm": "mine"}
    file = tmp_path / "reflow" / "config.toml"
    file.parent.mkdir()
    file.write_text('[plugins]\nenabled = ["mail"]\n[plugins.pin]\nslurm = "mine"\n')
    registry = selection_of_this_process()
    assert (registry.enabled, dict(registry.pin)) == (("mail",), {"slurm": "mine"})
    assert registry.enabled_by == f"[plugins] enabled in {file}:2"
    assert registry.file == str(file)
    for text, enabled in (("a, b,", ("a", "b")), ("", ())):
        monkeypatch.setenv("REFLOW_PLUGINS", text)
        registry = selection_of_this_process()
        assert (registry.enabled, registry.enabled_by) == (enabled, "REFLOW_PLUGINS")
        assert dict(registry.pin) == {"slurm": "mine"}
    file.write_text("[plugins\n")
    registry = selection_of_this_process()
    assert str(file) in registry.problem
    assert registry.enabled == ()
    file.unlink()
    (tmp_path / "reflow.toml").write_text('[plugins]\nenabled = ["a"]\n')
    monkeypatch.delenv("REFLOW_PLUGINS")
    assert selection_of_this_process().enabled == ("a",)


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("reflow_nowhere.executor:Executor", "ModuleNotFoundError: No module named 'reflow_nowh"),
        ("reflow_pbs.executor:Missing", "AttributeError: .* has no attribute 'Missing'"),
        (
            "reflow.model.spec:Resources",
            "reflow.model.spec:Resources is not a subclass of reflow.executors.base",
        ),
        ("os:sep", "os:sep is not a subclass of reflow.executors.base.Executor"),
    ],
)
def test_broken_target(
    site: Any, use: Callable[..., Registry], target: str, why: str
) -> None:
    site.install("dist-x", x=executors("x", target=target))
    use()
    with pytest.raises(PluginError, match=rf"^executor 'x' of dist-x 1\.2 is broken: {why}"):
        lookup.executor_class("x")


def test_target_that_exits(site: Any) -> None:
    module = site.module("exits", "raise SystemExit('gone')")
    with pytest.raises(PluginError, match=r"^store 's' is broken: SystemExit: gone$") as caught:
        kinds.load_target("store", "s", f"{module}:Store")
    assert isinstance(caught.value.__cause__, SystemExit)


def test_load_target_imports_little() -> None:
    """A worker loads its serializer only through this function."""
    import subprocess

    code = (
        "import sys\n"
        "from reflow.plugins.kinds import load_target\n"
        "load_target('serializer', 'pickle', 'reflow.values.serializers.pickle:PickleSerializer')\n"
        "load_target('verifier', 'exists', 'reflow.caching.verifiers.exists:ExistsVerifier')\n"
        "print([m for m in ('attr', 'pluggy', 'click', 'cattrs', 'reflow.config')"
        " if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The five backends by their entry points, whether installed or not."""
    from importlib import import_module

    registry = Registry(installed=Installed("reflow", []))
    for name in BACKENDS:
        value = f"reflow_{name}.plugin"
        registry.register(import_module(value), EntryPoint(name, value, BACKEND))
    monkeypatch.setattr(lookup, "registry", lambda: registry)


@pytest.mark.usefixtures("backends")
@pytest.mark.parametrize("name", list(BACKENDS))
def test_backends(name: str) -> None:
    cls = BACKENDS[name]
    assert lookup.executor_class(name) is cls
    executor = lookup.executor_from(name)
    assert type(executor) is cls
    assert executor.name == name
    assert executor.capabilities.array_variable


@pytest.mark.usefixtures("backends")
def test_settings_round_trip() -> None:
    executor = PBSExecutor(qsub="/opt/pbs/bin/qsub", max_array_size=50)
    name, settings = lookup.executor_reference(executor)
    assert name == "pbs"
    assert settings["qsub"] == "/opt/pbs/bin/qsub"
    again = lookup.executor_from_reference(name, settings)
    assert again == executor
    assert again.capabilities.max_array_size == 50


@pytest.mark.usefixtures("backends")
def test_settings_that_do_not_fit() -> None:
    with pytest.raises(PluginError, match="settings of executor 'pbs' on record do not fit"):
        lookup.executor_from_reference("pbs", {"qusb": "x"})


@pytest.mark.usefixtures("backends")
def test_class_no_plugin_registers_has_no_reference() -> None:
    class Mine(PBSExecutor):
        pass

    with pytest.raises(PluginError, match="register it by the hook reflow_register_executors"):
        lookup.executor_reference(Mine())


@pytest.mark.usefixtures("backends")
def test_executor_from() -> None:
    executor = PBSExecutor(qsub="mine")
    config = reflow.Config(executor={"pbs": {"qsub": "configured"}})
    assert lookup.executor_from(executor, config) is executor
    assert lookup.executor_from("pbs", config) == PBSExecutor(qsub="configured")
    assert lookup.executor_from("slurm", config) == SlurmExecutor()
    with pytest.raises(ConfigError, match=r"executor\.pbs\.qusb.*did you mean 'qsub'"):
        lookup.executor_from("pbs", reflow.Config(executor={"pbs": {"qusb": "x"}}))
    with pytest.raises(ConfigError, match=r"executor\.pbs\.qsub = 3"):
        lookup.executor_from("pbs", reflow.Config(executor={"pbs": {"qsub": 3}}))
    with pytest.raises(ExecutorError, match="not int"):
        lookup.executor_from(3)  # type: ignore[arg-type]


@pytest.mark.usefixtures("backends")
def test_backend_classes_from_reflow(monkeypatch: pytest.MonkeyPatch) -> None:
    for cls in BACKENDS.values():
        monkeypatch.delitem(vars(reflow), cls.__name__, raising=False)
        assert getattr(reflow, cls.__name__) is cls
        assert cls.__name__ not in reflow.__all__


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", "no executor named 'pbs' is installed .*; try: pip install reflow-pbs$"),
        ("raise RuntimeError('boom')", "plugin 'pbs' of dist 1.2 is broken: RuntimeError: boom$"),
        (executors("pbs", target="a_gone:B"), "executor 'pbs' of dist 1.2 is broken: Module"),
    ],
)
def test_backend_that_is_not_there_is_an_import_error(
    site: Any,
    use: Callable[..., Registry],
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    words: str,
) -> None:
    monkeypatch.delitem(vars(reflow), "PBSExecutor", raising=False)
    site.install("dist", **({"pbs": source} if source else {}))
    use()
    with pytest.raises(ImportError, match=words):
        from reflow import PBSExecutor  # noqa: F401


def test_plugin_modules_do_not_import_executors() -> None:
    import subprocess

    code = (
        "import sys\n"
        "import reflow_slurm.plugin, reflow_pbs.plugin, reflow_lsf.plugin\n"
        "import reflow_sge.plugin, reflow_flux.plugin\n"
        "print([m for m in sys.modules if m.endswith('.executor') or 'executors' in m])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_plugin_can_be_any_object() -> None:
    class Plugin:
        @hookimpl
        def reflow_register_serializers(self) -> list[SerializerEntry]:
            return [SerializerEntry(name="npy", target="a:B")]

    registry = Registry(installed=Installed("reflow", []))
    registry.register(Plugin(), EntryPoint("npy", "nowhere", BACKEND))
    assert registry.find("serializer", "npy").entry == SerializerEntry(name="npy", target="a:B")


def test_entry_target_must_be_importable_by_form() -> None:
    with pytest.raises(ValueError, match="target"):
        ExecutorEntry(name="x", target="no colon")


@pytest.mark.parametrize("name", [5, None, "", "two words", 'a"b', "../up", "-x"])
def test_entry_names_are_plain_words(name: Any) -> None:
    for make in (
        lambda: ExecutorEntry(name=name, target="a:B"),
        lambda: ExecutorEntry(name="x", target="a:B", aliases=(name,)),
        lambda: StoreEntry(scheme=name, target="a:B"),
        lambda: SerializerEntry(name=name, target="a:B"),
        lambda: VerifierEntry(name=name, target="a:B"),
    ):
        with pytest.raises((TypeError, ValueError)):
            make()
    with pytest.raises(TypeError, match="aliases"):
        ExecutorEntry(name="x", target="a:B", aliases="xy")  # type: ignore[arg-type]


def test_trace(site: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    site.install("dist", x=executors("x"))
    site.install("bad", y="raise RuntimeError")
    monkeypatch.setenv("REFLOW_TRACE_PLUGINS", "1")
    registry = site.registry()
    registry.load(registry.installed.points)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert "reflow plugins: hook reflow_register_executors() of builtin" in lines
    assert "reflow plugins: hook reflow_register_executors() of x" in lines
    assert any(line.startswith("reflow plugins: plugin x of dist 1.2: ok, ") for line in lines)
    assert any(line.startswith("reflow plugins: plugin y of bad 1.2: broken, ") for line in lines)
    assert all(line.endswith(" ms") for line in lines if " plugin " in line)
    monkeypatch.setenv("REFLOW_TRACE_PLUGINS", "0")
    again = site.registry()
    again.load(again.installed.points)
    assert capsys.readouterr() == ("", "")
