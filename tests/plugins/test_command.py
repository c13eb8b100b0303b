"""`reflow plugins`, extra commands, and the warning about reflow-hpc, as typed in a shell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import reflow
from reflow.plugins import lookup
from reflow.plugins.listing import STATES, PluginRow

KEYS = ["name", "kind", "distribution", "version", "target", "state", "detail"]

GOOD = """
@click.command()
@click.argument("who")
def command(who):
    "Greet somebody."
    click.echo(f"hello {who}")
"""


def executors(*names: str, target: str = "reflow.executors.local:LocalExecutor") -> str:
    return (
        "@hookimpl\ndef reflow_register_executors():\n"
        f"    return [ExecutorEntry(name=name, target={target!r}) for name in {names!r}]"
    )


@pytest.fixture
def command(site: Any, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command line with the site on ``sys.path``."""

    def command(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        home = dict.fromkeys(
            ("HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "XDG_STATE_HOME"), str(tmp_path)
        )
        kept = {key: value for key, value in os.environ.items() if not key.startswith("REFLOW_")}
        return subprocess.run(
            [sys.executable, *(words or ("-c", ""))],
            env={**kept, **home, "PYTHONPATH": str(site.folder), **variables},
            capture_output=True, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip

    return command


@pytest.fixture
def run(command: Any) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `reflow`."""
    code = "import sys; from reflow.cli import main; main()"
    return lambda *words, **variables: command("-c", code, *words, **variables)


def by_name(rows: list[PluginRow], name: str) -> PluginRow:
    (row,) = [row for row in rows if row.name == name and row.distribution != "reflow-core"]
    return row


class TestInstalled:
    """The rows, by state."""

    @pytest.fixture
    def crowd(self, site: Any, use: Any) -> Any:
        site.install("good", good=executors("good"))
        site.install("dangling", dangling=executors("dangling", target="no_where:Executor"))
        site.install("bad", bad="raise RuntimeError('boom')")
        site.install("future", requires=("reflow-core>=99",), future="")
        site.install("one", twin=executors("twin"))
        site.install("two", twin=executors("twin", target="a:B"))
        site.install("own", local=executors("local", target="a:B"))
        site.install("mail", mail="@hookimpl\ndef reflow_task_failed(task): pass")
        site.install("empty", empty="")
        return use

    @pytest.mark.parametrize(
        ("name", "kind", "state", "checked", "detail"),
        [
            ("good", "executor", "ok", "ok", ""),
            ("dangling", "executor", "ok", "broken", "ModuleNotFoundError: No module named 'no_w"),
            ("bad", "plugin", "broken", "broken", "RuntimeError: boom"),
            ("future", "plugin", "incompatible", "incompatible", "it requires reflow-core>=99"),
            ("local", "executor", "shadowed", "shadowed", "'local' is taken from reflow-core"),
            ("mail", "observer", "ok", "ok", ""),
            ("empty", "plugin", "ok", "ok", "it registers nothing"),
        ],
    )
    def test_states(
        self, crowd: Any, name: str, kind: str, state: str, checked: str, detail: str
    ) -> None:
        for check, expected in ((False, state), (True, checked)):
            crowd()
            row = by_name(lookup.installed(check), name)
            assert (row.kind, row.state, row.version) == (kind, expected, "1.2")
            if expected == checked:
                assert detail in row.detail

    def test_reflow_itself_is_ok(self, crowd: Any) -> None:
        crowd()
        rows = [row for row in lookup.installed(True) if row.distribution == "reflow-core"]
        assert {row.name for row in rows} >= {"local", "sqlite", "pickle", "exists"}
        assert {(row.state, row.version) for row in rows} == {("ok", reflow.__version__)}

    def test_clash_and_pin(self, crowd: Any) -> None:
        def twins() -> dict[str, str]:
            rows = lookup.installed(False)
            return {row.distribution: row.state for row in rows if row.name == "twin"}

        crowd()
        assert twins() == {"one": "clashing", "two": "clashing"}
        crowd(pin={"twin": "two"})
        assert twins() == {"one": "shadowed", "two": "ok"}
        crowd(pin={"twin": "nobody"})
        assert twins() == {"one": "clashing", "two": "clashing"}

    def test_clash_of_types(self, site: Any, use: Any) -> None:
        for name in ("a", "b"):
            site.install(f"dist-{name}", **{name: (
                "@hookimpl\ndef reflow_register_serializers():\n"
                f"    return [SerializerEntry(name='{name}', target='x:Y', types=('n.array',))]"
            )})  # fmt: skip
        use()
        row = by_name(lookup.installed(False), "a")
        assert row.state == "clashing"
        assert "both register a serializer for n.array" in row.detail
        use(pin={"n.array": "dist-b"})
        row = by_name(lookup.installed(False), "a")
        assert (row.state, row.detail) == ("ok", "types: n.array")

    def test_left_out(self, crowd: Any, site: Any) -> None:
        crowd(enabled=("mail",))
        row = by_name(lookup.installed(False), "good")
        assert (row.kind, row.state, row.detail) == (
            "plugin", "disabled", "REFLOW_PLUGINS leaves it out"
        )  # fmt: skip
        assert not site.is_loaded("good", "good")
        assert {row.state for row in lookup.installed(False)} <= set(STATES)


class TestReflowPlugins:
    """The command."""

    def test_table_and_json(self, site: Any, run: Any) -> None:
        site.install("good", "3.1", good=executors("good"))
        site.install("bad", bad="raise SystemExit('gone')")
        done = run("plugins")
        assert (done.returncode, done.stderr) == (0, "")
        lines = done.stdout.splitlines()
        assert lines[0].split() == [
            "NAME", "KIND", "STATE", "DISTRIBUTION", "VERSION", "TARGET", "DETAIL"
        ]  # fmt: skip
        good = ["good", "executor", "ok", "good", "3.1", "reflow.executors.local:LocalExecutor"]
        assert good in [line.split() for line in lines]
        rows = json.loads(run("plugins", "--json").stdout)
        assert all(list(row) == KEYS for row in rows)
        (bad,) = [row for row in rows if row["name"] == "bad"]
        assert (bad["state"], bad["detail"]) == ("broken", "SystemExit: gone")
        assert [row["state"] for row in rows if row["name"] == "good"] == ["ok"]

    def test_check(self, site: Any, run: Any) -> None:
        site.install("good", good=executors("good"), commands={"greet": GOOD})
        assert run("plugins", "--check").returncode == 0
        site.install("bad", bad=executors("bad", target="no_where:Executor"))
        assert run("plugins").returncode == 0
        done = run("plugins", "--check", "--json")
        assert done.returncode == 1
        assert [row["name"] for row in json.loads(done.stdout) if row["state"] != "ok"] == ["bad"]

    def test_environment(self, site: Any, run: Any) -> None:
        site.install("good", good=executors("good"))
        rows = json.loads(run("plugins", "--json", REFLOW_PLUGINS="").stdout)
        states = {row["name"]: row["state"] for row in rows}
        assert (states["good"], states["slurm"], states["local"]) == ("disabled", "disabled", "ok")
        done = run("plugins", "--json", REFLOW_TRACE_PLUGINS="1")
        json.loads(done.stdout)
        assert "reflow plugins: plugin good of good 1.2: ok, " in done.stderr

    def test_broken_configuration(self, site: Any, run: Any, tmp_path: Path) -> None:
        file = tmp_path / "reflow" / "config.toml"
        file.parent.mkdir()
        file.write_text("[plugins\n")
        site.install("one", twin=executors("twin"))
        site.install("two", twin=executors("twin", target="a:B"))
        done = run("plugins", "--json")
        assert done.returncode == 0
        (row, _) = [row for row in json.loads(done.stdout) if row["name"] == "twin"]
        assert row["state"] == "clashing"
        assert f"(the configuration could not be read: {file}" in row["detail"]


class TestExtraCommands:
    """Commands of entry points in the group ``reflow.commands``."""

    def test_called(self, site: Any, run: Any) -> None:
        site.install("acme", commands={"greet": GOOD})
        done = run("greet", "you")
        assert (done.returncode, done.stdout, done.stderr) == (0, "hello you\n", "")
        assert "Greet somebody." in run("greet", "--help").stdout
        assert run("greet").returncode == 2

    def test_help_lists_and_imports_nothing(self, site: Any, run: Any, command: Any) -> None:
        site.install("acme", acme=executors("x"), commands={"greet": "raise RuntimeError"})
        done = run("--help")
        assert done.returncode == 0
        assert ["greet", "from", "acme"] in [line.split() for line in done.stdout.splitlines()]
        code = (
            "import sys\n"
            "from reflow.cli.commands import reflow_command\n"
            "reflow_command().main(['--help'], standalone_mode=False)\n"
            "names = [name for name in sys.modules if name.startswith(('plugin_', 'reflow_'))]\n"
            "print(names, 'pluggy' in sys.modules)\n"
        )
        assert command("-c", code).stdout.splitlines()[-1] == "[] False"

    @pytest.mark.parametrize(
        ("source", "cause"),
        [
            ("import gone_missing", "ModuleNotFoundError: No module named 'gone_missing'"),
            ("raise SystemExit(0)", "SystemExit: 0"),
            ("other = 1", "AttributeError: "),
            ("command = print", "is not a click command"),
        ],
    )
    def test_broken_plugin_affects_no_other(
        self, site: Any, run: Any, source: str, cause: str
    ) -> None:
        site.install("acme", commands={"bad": source, "greet": GOOD})
        done = run("bad")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: command 'bad' of acme 1.2 is broken: ")
        assert cause in done.stderr
        assert run("greet", "you").stdout == "hello you\n"
        rows = json.loads(run("plugins", "--json", "--check").stdout)
        states = {row["name"]: row["state"] for row in rows if row["kind"] == "command"}
        assert states == {"bad": "broken", "greet": "ok"}

    def test_incompatible(self, site: Any, run: Any) -> None:
        site.install("acme", requires=("reflow-core>=99",), commands={"greet": GOOD})
        done = run("greet", "you")
        assert done.returncode == 2
        assert done.stderr == (
            "error: command 'greet' of acme 1.2 is incompatible: it requires reflow-core>=99; "
            f"it needs a newer reflow-core than {reflow.__version__}\n"
        )
        rows = json.loads(run("plugins", "--json", "--check").stdout)
        assert [row["state"] for row in rows if row["name"] == "greet"] == ["incompatible"]

    def test_own_commands_come_first(self, site: Any, run: Any) -> None:
        site.install("acme", commands={"runs": GOOD})
        done = run("runs", "you")
        assert "hello" not in done.stdout
        assert "from acme" not in run("--help").stdout
        rows = json.loads(run("plugins", "--json").stdout)
        (row,) = [row for row in rows if row["kind"] == "command"]
        assert (row["name"], row["state"]) == ("runs", "shadowed")

    def test_clash_and_pin(self, site: Any, run: Any, tmp_path: Path) -> None:
        site.install("acme", commands={"greet": GOOD})
        site.install("other", commands={"greet": GOOD.replace("hello", "bye")})
        done = run("greet", "you")
        assert done.returncode == 2
        assert done.stderr.startswith(
            "error: plugins of acme 1.2 and other 1.2 both bring a command named 'greet'; "
            'pin one: [plugins.pin] greet = "acme" in '
        )
        assert run("--help").returncode == 0
        file = tmp_path / "reflow" / "config.toml"
        file.parent.mkdir()
        file.write_text('[plugins.pin]\ngreet = "other"\n')
        assert run("greet", "you").stdout == "bye you\n"
        rows = json.loads(run("plugins", "--json").stdout)
        states = {row["distribution"]: row["state"] for row in rows if row["name"] == "greet"}
        assert states == {"acme": "shadowed", "other": "ok"}

    def test_shell_completion(self, site: Any, run: Any) -> None:
        site.install("acme", commands={"greet": GOOD, "grave": "raise RuntimeError"})
        variables = {"_REFLOW_COMPLETE": "bash_complete", "COMP_CWORD": "1"}
        done = run(COMP_WORDS="reflow gr", **variables)
        assert done.stdout.split() == ["plain,grave", "plain,greet"]
        done = run(COMP_WORDS="reflow grave ", **{**variables, "COMP_CWORD": "2"})
        assert "Traceback" not in done.stderr

    def test_typo(self, site: Any, run: Any) -> None:
        done = run("greet")
        assert done.returncode == 2
        assert "No such command 'greet'" in done.stderr


CLASH = (
    "reflow-hpc 2604.4.0 is installed beside reflow-core and both own the import name 'reflow': "
    "uninstall both, then pip install reflow-core"
)


class TestReflowHpc:
    """A distribution of that name overwrites files of ours, or the other way round."""

    @pytest.fixture(autouse=True)
    def hpc(self, site: Any) -> None:
        (site.folder / "reflow_hpc-2604.4.0.dist-info").mkdir()

    def test_reflow_warns(self, run: Any) -> None:
        for words in (["--help"], ["runs"], ["plugins"]):
            done = run(*words)
            assert done.returncode == 0
            assert done.stderr.splitlines()[0] == f"warning: {CLASH}"
        rows = json.loads(run("plugins", "--json").stdout)
        assert (rows[-1]["state"], rows[-1]["detail"]) == ("clashing", CLASH)
        assert run("plugins", "--check").returncode == 1

    def test_a_scripts_command_line_warns(self, command: Any, tmp_path: Path) -> None:
        script = tmp_path / "script.py"
        script.write_text(
            "from reflow import Workflow\nwf = Workflow('w')\n"
            "@wf.job()\ndef one() -> int:\n    return 1\n"
            "if __name__ == '__main__':\n    wf.cli()\n"
        )
        done = command(str(script), "describe")
        assert (done.returncode, done.stderr) == (0, f"warning: {CLASH}\n")
        json.loads(done.stdout)

    def test_errors_say_it(self, site: Any, command: Any) -> None:
        site.install("bad", bad="raise RuntimeError('boom')")
        for name in ("bad", "nowhere"):
            code = f"from reflow.plugins.lookup import executor_class\nexecutor_class({name!r})"
            done = command("-c", code)
            assert done.stderr.rstrip().endswith(f"; {CLASH}")
        code = "from reflow.plugins import kinds\nkinds.load_target('store', 's', 'gone:Store')"
        assert command("-c", code).stderr.rstrip().endswith(f"; {CLASH}")
