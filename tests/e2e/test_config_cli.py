"""`reflow config`, and that a run keeps the configuration that it was submitted with."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from reflow.cli.commands import reflow_command
from reflow.states import SUCCESS


@pytest.fixture(autouse=True)
def site(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [variable for variable in os.environ if variable.startswith("REFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(home / "site"))
    (home / "project").mkdir()
    monkeypatch.chdir(home / "project")
    return home / "site" / "reflow" / "config.toml"


def reflow(*arguments: str) -> Result:
    return CliRunner().invoke(reflow_command(), arguments)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def shown(*arguments: str) -> dict[str, Any]:
    result = reflow("config", "show", "--json", *arguments)
    assert result.exit_code == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def values(answer: dict[str, Any]) -> dict[str, Any]:
    return {setting["key"]: setting["value"] for setting in answer["settings"]}


def origins(answer: dict[str, Any]) -> dict[str, Any]:
    return {setting["key"]: setting["from"] for setting in answer["settings"]}


def test_path_and_init(home: Path) -> None:
    path = home / "config" / "reflow" / "config.toml"
    assert reflow("config", "path").stdout.strip() == str(path)
    assert not path.exists()
    assert reflow("config", "init").stdout.strip() == f"written: {path}"
    path.write_text("[run]\n")
    again = reflow("config", "init")
    assert (again.exit_code, path.read_text()) == (2, "[run]\n")
    assert again.stderr.startswith(f"error: {path} exists already")
    assert reflow("config", "init", "--force").exit_code == 0
    assert "[executor.slurm]" in path.read_text()


def test_show_says_where_values_come_from(
    home: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(site, '[run]\nexecutor = "slurm"\n[executor.slurm]\nsbatch = "/opt/sbatch"\n')
    project = write(home / "project" / "reflow.toml",
                    '[profile.big.run]\nexecutor = "pbs"\n[plugins.pin]\nnpy = "reflow-npy"\n'
                    "[executor.elsewhere]\nx = 1\n")  # fmt: skip
    monkeypatch.setenv("REFLOW_EXECUTOR_LOCAL_MAX_WORKERS", "3")
    answer = shown("--profile", "big")
    setting, origin = values(answer), origins(answer)
    assert answer["profile"] == "big"
    assert setting["run.executor"] == "pbs"
    assert origin["run.executor"] == {
        "kind": "file", "file": str(project), "line": 2, "profile": "big", "variable": None
    }  # fmt: skip
    assert (setting["executor.slurm.sbatch"], origin["executor.slurm.sbatch"]["line"]) == (
        "/opt/sbatch", 4
    )  # fmt: skip
    assert setting["executor.local.max_workers"] == 3
    assert origin["executor.local.max_workers"]["variable"] == "REFLOW_EXECUTOR_LOCAL_MAX_WORKERS"
    assert (setting["executor.pbs.qsub"], origin["executor.pbs.qsub"]["kind"]) == (
        "qsub",
        "default",
    )
    assert setting["plugins.pin.npy"] == "reflow-npy"
    assert setting["executor.elsewhere.x"] == 1
    assert [(file["kind"], file["state"]) for file in answer["files"]] == [
        ("project", "read"), ("user", "missing"), ("site", "read")
    ]  # fmt: skip
    assert answer["problems"] == []
    assert ["[executor.elsewhere]: no executor" in note for note in answer["notes"]] == [True]

    text = reflow("config", "show", "--check")
    assert text.exit_code == 0
    lines = [line.split() for line in text.stdout.splitlines()]
    assert ["run.executor", '"slurm"', f"{site}:2"] in lines
    assert ["store.path", "-", "default"] in lines
    assert ["missing", "user", str(home / "config" / "reflow" / "config.toml")] in lines


def test_show_tells_what_is_wrong(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(home / "project" / "reflow.toml",
                 '[run]\nexecutor = "slrum"\nobservers = ["nobody"]\n'
                 '[executor.slurm]\nsbatc = "x"\n[executor.slrum]\nsbatch = "x"\n')  # fmt: skip
    monkeypatch.setenv("REFLOW_RUN_EXECUTER", "x")
    monkeypatch.setenv("REFLOW_EXECUTOR_PBS_QSBU", "x")
    result = reflow("config", "show")
    assert result.exit_code == 0
    for message in (
        f"{path}:5: unknown key 'executor.slurm.sbatc': did you mean 'sbatch'?",
        f"{path}:7: [executor.slrum]: no executor of that name is installed: did you mean 'slurm'?",
        f"{path}:2: run.executor: no executor named 'slrum'",
        f"{path}:3: run.observers: no observer named 'nobody'",
        "REFLOW_RUN_EXECUTER: no variable of that name means anything to reflow: did you mean "
        "REFLOW_RUN_EXECUTOR?",
        "REFLOW_EXECUTOR_PBS_QSBU: no variable of that name means anything to reflow: did you mean "
        "REFLOW_EXECUTOR_PBS_QSUB?",
    ):
        assert f"warning: {message}" in result.stderr
    checked = reflow("config", "show", "--check")
    assert checked.exit_code == 2
    assert checked.stderr.count("error: ") == 6
    assert len(shown()["problems"]) == 6


def test_show_hides_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFLOW_STORE_URL", "postgresql://me:secret@host/runs")
    answer = shown()
    assert answer["store"] == values(answer)["store.url"] == "postgresql://me:***@host/runs"
    assert "secret" not in reflow("config", "show").output
    monkeypatch.setenv("REFLOW_STORE_URL", "postgresql://me@host/runs?password=secret&schema=x")
    answer = shown()
    assert answer["store"] == "postgresql://me@host/runs?password=***&schema=x"
    assert "secret" not in reflow("config", "show").output


@pytest.mark.parametrize("command", [("config", "show"), ("runs",)])
def test_bad_configuration_is_an_error(command: tuple[str, ...], home: Path) -> None:
    path = write(home / "project" / "reflow.toml", '[run]\nexector = "x"\nobserver = 1\n')
    result = reflow(*command)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {path}:2: unknown key 'run.exector': did you mean")
    assert f"\n{path}:3: unknown key 'run.observer'" in result.stderr


def test_unknown_profile(home: Path) -> None:
    write(home / "project" / "reflow.toml", "[profile.big.run]\n")
    result = reflow("config", "show", "--profile", "bgi")
    assert result.exit_code == 2
    assert "no profile named 'bgi': did you mean 'big'?" in result.stderr


def test_broken_plugin_disturbs_neither_show_nor_init(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reflow.plugins import lookup

    metadata = home / "broken" / "bad_plugin-1.0.dist-info"
    write(metadata / "METADATA", "Metadata-Version: 2.1\nName: bad-plugin\nVersion: 1.0\n")
    write(metadata / "entry_points.txt", "[reflow]\nbad = bad_plugin_module\n")
    write(home / "broken" / "bad_plugin_module.py", "raise RuntimeError('no licence')\n")
    monkeypatch.syspath_prepend(str(home / "broken"))
    lookup.registry.cache_clear()
    try:
        assert any("bad" in note and "no licence" in note for note in shown()["notes"])
        assert reflow("config", "init").exit_code == 0
    finally:
        lookup.registry.cache_clear()
    text = " ".join((home / "config" / "reflow" / "config.toml").read_text().split())
    assert "[executor.bad] is left out" in text
    assert "no licence" in text.replace("# ", "")


def test_runs_go_on_without_the_configuration(
    home: Path, load: Callable[[str], ModuleType]
) -> None:
    project = write(
        home / "project" / "reflow.toml",
        '[store]\npath = "mine.sqlite"\n[executor.local]\nmax_workers = 1\n',
    )
    module = load(
        "import os, time\nfrom typing import Annotated\nfrom reflow import Result, Workflow\n"
        "wf = Workflow('kept')\n"
        f"GO = {str(home / 'go')!r}\n"
        "@wf.job()\n"
        "def first() -> list[int]:\n"
        "    while not os.path.exists(GO): time.sleep(0.01)\n"
        "    return [1, 2]\n"
        "@wf.job(array=True)\n"
        "def second(x: Annotated[int, Result(step='first')]) -> int:\n"
        "    return x\n"
    )
    run = module.wf.submit(home / "run")
    project.write_text("this is no TOML any more")
    (home / "go").touch()
    assert run.wait() == SUCCESS
    assert (home / "project" / "mine.sqlite").exists()
