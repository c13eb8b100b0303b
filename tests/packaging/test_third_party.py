"""Third parties: tiny real distributions, built and installed beside reflow-core.

One environment holds all of them, good and bad, and a hundred more: every test here also shows
that the bad ones disturb nobody.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

import reflow

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("third-party")]

DUMMIES = 100

EXECUTOR = """
    import os
    from typing import ClassVar
    from attrs import evolve, frozen
    from reflow.executors.local import LocalExecutor

    @frozen(kw_only=True)
    class GoodExecutor(LocalExecutor):
        name: ClassVar[str] = "good"
        mark: str = "plain"

        def submit(self, request):
            script = request.script + ".marked"
            with open(script, "w") as file:
                file.write(f"#!/bin/sh\\nMARK={self.mark} exec {request.script}\\n")
            os.chmod(script, 0o755)
            return super().submit(evolve(request, script=script))
"""


def registers(kind: str, *entries: str) -> str:
    """Return a plugin module that registers these entries of a kind."""
    return (
        f"from reflow.hookspecs import {kind}Entry, hookimpl\n@hookimpl\n"
        f"def reflow_register_{kind.lower()}s():\n    return [{', '.join(entries)}]\n"
    )


LOCAL = "target='reflow.executors.local:LocalExecutor'"


@pytest.fixture(scope="session")
def crowd(
    environment: Callable[..., Any],
    build: Callable[[Iterable[Path]], list[Path]],
    source: Callable[..., Path],
) -> Any:
    """The environment with all these distributions."""
    same = "name='twin', target='reflow.executors.local:LocalExecutor'"
    folders = [
        source("acme-good", {
            "acme_good.py": registers(
                "Executor",
                "ExecutorEntry(name='good', target='acme_good_executor:GoodExecutor', "
                "aliases=('fine',))",
            ),
            "acme_good_executor.py": EXECUTOR,
        }, plugins={"good": "acme_good"}),
        source("acme-broken", {"acme_broken.py": "import a_module_that_is_not_there\n"},
               plugins={"broken": "acme_broken"}, version="3.4"),
        source("acme-exits", {"acme_exits.py": "import sys\nsys.exit(3)\n"},
               plugins={"exits": "acme_exits"}),
        source("acme-dangling", {
            "acme_dangling.py": registers(
                "Executor", "ExecutorEntry(name='dangling', target='nowhere.at_all:Executor')")
        }, plugins={"dangling": "acme_dangling"}),
        source("acme-first", {
            "acme_first.py": registers("Executor", f"ExecutorEntry({same}, aliases=('a',))")
        }, plugins={"twin": "acme_first"}),
        source("acme-second", {
            "acme_second.py": registers("Executor", f"ExecutorEntry({same}, aliases=('b',))")
        }, plugins={"twin": "acme_second"}),
        source("acme-future", {
            "acme_future.py": """
                from reflow.hookspecs import hookimpl
                @hookimpl
                def reflow_register_clouds():
                    return []
            """
        }, plugins={"future": "acme_future"}),
        source("acme-older", {
            "acme_older.py": """
                from pathlib import Path
                from reflow.hookspecs import hookimpl
                @hookimpl
                def reflow_task_failed(task):
                    Path("older.txt").write_text(task)
            """
        }, plugins={"older": "acme_older"}),
        source("acme-newer", {
            "acme_newer.py": """
                from reflow.hookspecs import hookimpl
                @hookimpl
                def reflow_run_finished(run_id, weather):
                    raise AssertionError("called without its argument")
            """
        }, plugins={"newer": "acme_newer"}),
        source("acme-needy", {
            "acme_needy.py": registers("Executor", f"ExecutorEntry(name='needy', {LOCAL})")
        }, plugins={"needy": "acme_needy"}, requires="reflow-core>=99"),
        source("acme-observer", {
            "acme_observer.py": """
                from reflow.hookspecs import hookimpl
                @hookimpl
                def reflow_run_finished(run_id, run_dir, state):
                    (run_dir / "observed.txt").write_text(f"{run_id} {state}")
                    raise RuntimeError("boom")
            """
        }, plugins={"watch": "acme_observer"}),
        source("acme-serializer", {
            "acme_serializer.py": registers(
                "Serializer",
                "SerializerEntry(name='grid', target='acme_grid:GridSerializer', "
                "types=('acme_grid.Grid',))",
            ),
            "acme_grid.py": """
                from reflow.serializers.base import Serializer

                class Grid:
                    def __init__(self, cells):
                        self.cells = list(cells)

                class GridSerializer(Serializer):
                    suffix = ".grid"
                    def dump(self, value, path):
                        path.write_bytes(bytes(value.cells))
                    def load(self, path):
                        return Grid(path.read_bytes())
            """,
        }, plugins={"grid": "acme_serializer"}),
        source("acme-verifier", {
            "acme_verifier.py": registers(
                "Verifier", "VerifierEntry(name='short', target='acme_short:ShortVerifier')"
            ),
            "acme_short.py": """
                from reflow.verifiers.base import Verifier

                class ShortVerifier(Verifier):
                    def verify(self, output):
                        return all(path.stat().st_size < 100 for path in output.paths)
            """,
        }, plugins={"short": "acme_verifier"}),
        source("acme-store", {
            "acme_store.py": registers(
                "Store", "StoreEntry(scheme='acme', target='acme_file:AcmeStore')"
            ),
            "acme_file.py": """
                from reflow.storage.stores.sqlite.store import SqliteStore

                class AcmeStore(SqliteStore):
                    @property
                    def url(self):
                        return f"acme://{self.path}"
                    @classmethod
                    def from_url(cls, url):
                        return cls(url.removeprefix("acme://"))
            """,
        }, plugins={"acme": "acme_store"}),
        source("acme-command", {
            "acme_command.py": """
                import click
                from reflow.errors import ReflowError

                @click.command()
                @click.argument("name")
                def hello(name):
                    if name == "nobody":
                        raise ReflowError("there is nobody")
                    click.echo(f"hello {name}")
            """
        }, commands={name: f"{module}:hello" for name, module in (
            ("hello", "acme_command"), ("lost", "acme_lost"), ("runs", "acme_command")
        )}),
    ]  # fmt: skip
    crowded = environment("reflow-pbs", more=build(folders))
    for number in range(DUMMIES):
        name = f"dummy_{number:03}"
        module = registers("Executor", f"ExecutorEntry(name='dummy-{number}', {LOCAL})")
        (crowded.site / f"{name}.py").write_text(module)
        info = crowded.site / f"{name}-0.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
        (info / "entry_points.txt").write_text(f"[reflow]\ndummy-{number} = {name}\n")
    return crowded


@pytest.fixture
def home(crowd: Any, tmp_path: Path) -> Any:
    """A user of that environment with an empty home."""
    return crowd.home(tmp_path)


def error_of(home: Any, name: str, **variables: str) -> str:
    """Return the text of the PluginError that asking for an executor raises."""
    code = (
        "from reflow.errors import PluginError\nfrom reflow.plugins.lookup import executor_class\n"
        f"try:\n    executor_class({name!r})\n"
        "except PluginError as error:\n    print(error)\n"
        "else:\n    raise SystemExit('no error')\n"
    )
    return str(home.run("python", "-c", code, **variables).stdout).strip()


# Bad plugins disturb nobody


def test_unrelated_commands_work(home: Any) -> None:
    """Nothing installed is imported by them: dummies and broken ones alike."""
    home.run("reflow", "--version")
    assert "status" in home.run("reflow", "--help").stdout
    assert home.run("reflow", "runs").stderr == "No runs.\n"
    code = (
        "import sys\nfrom reflow.plugins.lookup import executor_class\n"
        "executor_class('local'); executor_class('pbs')\n"
        "from reflow import *\n"
        "print([one for one in sys.modules if one.startswith(('acme', 'dummy'))])\n"
    )
    assert home.run("python", "-c", code).stdout == "[]\n"


def test_help_imports_no_plugin(home: Any) -> None:
    code = (
        "import sys\nfrom reflow.cli import main\nsys.argv = ['reflow', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([one for one in sys.modules if one.startswith(('acme', 'dummy', 'reflow_'))])\n"
    )
    assert home.run("python", "-c", code).stdout.splitlines()[-1] == "[]"


WORKFLOW = """
    import os
    from typing import Annotated
    from reflow import Result, Workflow

    wf = Workflow("demo")

    @wf.job()
    def mark() -> str:
        return os.environ.get("MARK", "none")

    @wf.job()
    def shout(text: Annotated[str, Result(step="mark")]) -> str:
        return text.upper()

    if __name__ == "__main__":
        wf.cli()
"""


def test_local_run_works(home: Any) -> None:
    home.write("demo.py", WORKFLOW)
    out = home.run("python", "demo.py", "submit", "--run-dir", "r", "--executor", "local", "--wait")
    assert "Status    SUCCESS" in out.stdout
    assert "SUCCESS" in home.run("reflow", "runs").stdout


def test_list_names_every_plugin(home: Any) -> None:
    rows = json.loads(home.run("reflow", "plugins", "--json", "--check", code=1).stdout)
    rows = rows["plugins"] if isinstance(rows, dict) else rows
    states = {(row["distribution"], row["state"]) for row in rows}
    assert states >= {
        ("acme-good", "ok"), ("acme-broken", "broken"), ("acme-exits", "broken"),
        ("acme-dangling", "broken"), ("acme-first", "clashing"), ("acme-second", "clashing"),
        ("acme-future", "incompatible"), ("acme-older", "ok"), ("acme-newer", "incompatible"),
        ("acme-needy", "incompatible"), ("acme-serializer", "ok"), ("acme-verifier", "ok"),
        ("acme-store", "ok"), ("acme-command", "ok"), ("reflow-pbs", "ok"), ("reflow-core", "ok"),
    }  # fmt: skip
    assert sum(row["distribution"].startswith("dummy") for row in rows) == DUMMIES
    assert "acme-broken" in home.run("reflow", "plugins").stdout


# Each bad plugin and its error


def test_broken_at_import(home: Any) -> None:
    assert error_of(home, "broken") == (
        "plugin 'broken' of acme-broken 3.4 is broken: "
        "ModuleNotFoundError: No module named 'a_module_that_is_not_there'"
    )


def test_exits_at_import(home: Any) -> None:
    assert error_of(home, "exits") == "plugin 'exits' of acme-exits 1.2 is broken: SystemExit: 3"


def test_target_is_not_there(home: Any) -> None:
    assert error_of(home, "dangling") == (
        "executor 'dangling' of acme-dangling 1.2 is broken: "
        "ModuleNotFoundError: No module named 'nowhere'"
    )


def test_unknown_hook(home: Any) -> None:
    error = error_of(home, "future")
    assert "plugin 'future' of acme-future 1.2 is incompatible" in error
    assert "'reflow_register_clouds'" in error
    assert f"newer reflow-core than {reflow.__version__}" in error


def test_needs_a_newer_core(home: Any) -> None:
    error = error_of(home, "needy")
    assert error == (
        "plugin 'needy' of acme-needy 1.2 is incompatible: it requires reflow-core>=99; "
        f"it needs a newer reflow-core than {reflow.__version__}"
    )


def test_missing_and_misspelt(home: Any) -> None:
    assert "try: pip install reflow-slurm" in error_of(home, "slurm")
    assert "did you mean 'good'?" in error_of(home, "goood")


def test_error_on_the_command_line(home: Any) -> None:
    home.write("demo.py", WORKFLOW)
    done = home.run(
        "python", "demo.py", "submit", "--run-dir", "r", "--executor", "broken", code=2
    )
    assert done.stderr.startswith("error: plugin 'broken' of acme-broken 3.4 is broken: ")
    assert "Traceback" not in done.stderr


def test_clash_and_pin(home: Any) -> None:
    error = error_of(home, "twin")
    assert error.startswith(
        "plugins of acme-first 1.2 and acme-second 1.2 both register an executor named 'twin'; "
        "pin one: [plugins.pin] twin = "
    )
    code = (
        "from reflow.plugins.lookup import executor_class, registry\nexecutor_class('twin')\n"
        "print(registry().find('executor', 'twin').distribution)\n"
    )
    for chosen in ("acme-first", "acme-second"):
        home.configure(f'[plugins.pin]\ntwin = "{chosen}"\n')
        assert home.run("python", "-c", code).stdout == f"{chosen} 1.2\n"
    home.configure('[plugins.pin]\ntwin = "acme-frist"\n')
    assert "did you mean 'acme-first'?" in error_of(home, "twin")


def test_only_enabled_plugins_are_used(home: Any) -> None:
    error = error_of(home, "good", REFLOW_PLUGINS="pbs")
    assert "REFLOW_PLUGINS leaves it out (enabled: pbs)" in error
    home.run("python", "-c", "from reflow import PBSExecutor", REFLOW_PLUGINS="pbs")
    home.configure('[plugins]\nenabled = ["good"]\n')
    assert "[plugins] enabled in" in error_of(home, "pbs")
    code = "from reflow.plugins.lookup import executor_class; executor_class('good')"
    home.run("python", "-c", code)


def test_reflow_hpc_may_be_installed_beside_reflow(home: Any) -> None:
    home.write(
        "beside/reflow_hpc-2604.4.0.dist-info/METADATA",
        "Metadata-Version: 2.1\nName: reflow-hpc\nVersion: 2604.4.0\n",
    )
    warning = (
        "reflow-hpc 2604.4.0 is installed beside reflow-core and both own the import name 'reflow'"
    )
    beside = str(home.folder / "beside")
    assert warning in error_of(home, "slurm", PYTHONPATH=beside)
    done = home.run("reflow", "runs", PYTHONPATH=beside)
    assert done.stderr.startswith(f"warning: {warning}")
    assert "reflow-hpc" not in home.run("reflow", "runs").stderr


# Each good plugin, used end to end


def test_executor(home: Any) -> None:
    home.write("demo.py", WORKFLOW)
    home.configure('[executor.good]\nmark = "seen"\n')
    home.write(
        "drive.py",
        """
        import sys
        from demo import wf
        run = wf.submit(sys.argv[1], executor=sys.argv[2], wait=True)
        print(run.state, run.result("shout"))
        """,
    )
    assert home.run("python", "drive.py", "r1", "good").stdout == "SUCCESS SEEN\n"
    # Also by its alias; its settings come from its own table.
    home.configure('[executor.good]\nmark = "seen"\nmrak = "x"\n')
    done = home.run("python", "drive.py", "r2", "fine", code=1)
    assert "executor.good.mrak" in done.stderr
    assert "did you mean 'mark'?" in done.stderr


def test_serializer(home: Any) -> None:
    home.write(
        "grids.py",
        """
        from typing import Annotated
        from acme_grid import Grid
        from reflow import Result, Workflow

        wf = Workflow("grids")

        @wf.job()
        def make() -> list[Grid]:
            return [Grid([1, 2]), Grid([3])]

        @wf.job(array=True)
        def size(grid: Annotated[Grid, Result(step="make")]) -> int:
            return len(grid.cells)

        if __name__ == "__main__":
            run = wf.run_local("r")
            print(run.result("size"), run.result("make")[1].cells)
        """,
    )
    for _ in range(2):
        assert home.run("python", "grids.py").stdout == "[2, 1] [3]\n"
    assert list(home.folder.glob("r/.reflow/**/*.grid"))
    # The value of an element is the digest of its file: the second run reused both.
    rows = json.loads(home.run("reflow", "status", newest(home), "--json").stdout)
    assert rows["summary"] == {"make": {"CACHED": 1}, "size": {"CACHED": 2}}


def newest(home: Any) -> str:
    return str(home.run("reflow", "runs").stdout).splitlines()[1].split()[0]


def test_verifier(home: Any) -> None:
    home.write(
        "files.py",
        """
        from pathlib import Path
        from reflow import RunDir, Workflow

        wf = Workflow("files")

        @wf.job(verify="short")
        def make(run_dir: RunDir) -> Path:
            path = run_dir / "out.txt"
            path.write_text("short")
            return path

        if __name__ == "__main__":
            print(wf.run_local("r").status(as_dict=True)["summary"])
        """,
    )
    assert home.run("python", "files.py").stdout == "{'make': {'SUCCESS': 1}}\n"
    assert home.run("python", "files.py").stdout == "{'make': {'CACHED': 1}}\n"
    home.write("r/out.txt", "long" * 100)
    assert home.run("python", "files.py").stdout == "{'make': {'SUCCESS': 1}}\n"


def test_store(home: Any) -> None:
    home.write("demo.py", WORKFLOW)
    home.configure(f'[store]\nurl = "acme://{home.folder}/runs.acme"\n')
    out = home.run("python", "demo.py", "submit", "--run-dir", "r", "--wait").stdout
    assert "Status    SUCCESS" in out
    assert (home.folder / "runs.acme").stat().st_size > 0
    assert not (home.folder / "state").exists()
    assert "SUCCESS" in home.run("reflow", "runs").stdout


def test_unknown_store(home: Any) -> None:
    home.configure('[store]\nurl = "acmee://x"\n')
    done = home.run("reflow", "runs", code=2)
    error = "error: no store named 'acmee' is installed: did you mean 'acme'?"
    assert done.stderr.startswith(error)


def test_command(home: Any) -> None:
    listed = home.run("reflow", "--help").stdout
    assert "hello" in listed
    assert home.run("reflow", "hello", "world").stdout == "hello world\n"
    done = home.run("reflow", "hello", "nobody", code=2)
    assert done.stderr == "error: there is nobody\n"


def test_broken_command(home: Any) -> None:
    done = home.run("reflow", "lost", code=2)
    assert done.stderr == (
        "error: command 'lost' of acme-command 1.2 is broken: "
        "ModuleNotFoundError: No module named 'acme_lost'\n"
    )


def test_command_does_not_replace_ours(home: Any) -> None:
    assert home.run("reflow", "runs").stderr == "No runs.\n"


FAILS = """
    from reflow import Workflow

    wf = Workflow("fails")

    @wf.job()
    def bad() -> int:
        raise ValueError("no luck")

    if __name__ == "__main__":
        wf.cli()
"""


def test_observer_of_an_older_signature(home: Any) -> None:
    home.write("fails.py", FAILS)
    home.configure('[run]\nobservers = ["older"]\n')
    home.run("python", "fails.py", "run", "--run-dir", "r", code=1)
    assert (home.folder / "older.txt").read_text() == "bad"


def test_observer_that_raises(home: Any) -> None:
    home.write("demo.py", WORKFLOW)
    home.configure('[run]\nobservers = ["watch"]\n')
    out = home.run("python", "demo.py", "run", "--run-dir", "r").stdout
    assert "Status    SUCCESS" in out
    assert (home.folder / "r/observed.txt").read_text() == f"{newest(home)} SUCCESS"
    assert "observer 'watch' of acme-observer 1.2: reflow_run_finished: RuntimeError: boom" in (
        home.run("reflow", "status", newest(home)).stdout
    )


def test_observer_of_a_newer_signature(home: Any) -> None:
    """It is refused with a reason before anything runs."""
    home.write("demo.py", WORKFLOW)
    home.configure('[run]\nobservers = ["newer"]\n')
    done = home.run("python", "demo.py", "run", "--run-dir", "r", code=2)
    assert done.stderr == (
        "error: plugin 'newer' of acme-newer 1.2 is incompatible: its hook reflow_run_finished "
        "asks for 'weather', which this version does not pass; it needs a newer reflow-core than "
        f"{reflow.__version__}\n"
    )


def test_trace(home: Any) -> None:
    code = "from reflow import PBSExecutor"
    done = home.run("python", "-c", code, REFLOW_TRACE_PLUGINS="1")
    assert "reflow_register_executors" in done.stderr
    assert "reflow_pbs" in done.stderr or "reflow-pbs" in done.stderr
    assert home.run("python", "-c", code).stderr == ""
