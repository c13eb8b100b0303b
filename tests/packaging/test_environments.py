"""Commands in fresh environments with more and more installed, and their output.

`pytest -s tests/packaging/test_environments.py` prints the table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import reflow

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("environments")]

BACKENDS = ("slurm", "pbs", "lsf", "sge", "flux")
INSTALLED = {
    "core": (),
    "core + pbs": ("pbs",),
    "core + all five": BACKENDS,
    "core + pbs + broken": ("pbs",),
}
CAUSE = "ModuleNotFoundError: No module named 'a_module_that_is_not_there'"
BROKEN = f"plugin 'broken' of acme-broken 3.4 is broken: {CAUSE}"
SCRIPT = """
from reflow import Workflow

wf = Workflow("demo")

@wf.job()
def one() -> int:
    return 1

if __name__ == "__main__":
    wf.cli()
"""


@pytest.fixture(scope="module")
def environments(
    environment: Callable[..., Any],
    build: Callable[[Iterable[Path]], list[Path]],
    source: Callable[..., Path],
) -> dict[str, Any]:
    broken = build([
        source("acme-broken", {"acme_broken.py": "import a_module_that_is_not_there\n"},
               plugins={"broken": "acme_broken"}, version="3.4"),
    ])  # fmt: skip
    return {
        name: environment(*(f"reflow-{backend}" for backend in backends),
                          more=broken if "broken" in name else ())
        for name, backends in INSTALLED.items()
    }  # fmt: skip


@pytest.fixture(scope="module")
def table() -> Iterator[list[tuple[str, str, int, str]]]:
    """Rows of environment, command, exit code and output; printed at the end."""
    rows: list[tuple[str, str, int, str]] = []
    yield rows
    print("\n\n| installed | command | exit | what it says |\n|---|---|---|---|")
    before = ""
    for name, command, code, output in rows:
        print(f"| {'' if name == before else name} | `{command}` | {code} | {output} |")
        before = name


class Typist:
    """Types commands, and notes their exit codes and output in the table."""

    def __init__(self, name: str, home: Any, rows: list[tuple[str, str, int, str]]) -> None:
        self.name, self.home, self.rows = name, home, rows

    def __call__(self, shown: str, *command: str, code: int = 0) -> str:
        done = self.home.run(*command, code=code)
        out: str = (done.stdout + done.stderr).strip()
        assert "Traceback" not in done.stdout
        lines = out.splitlines() or [""]
        if command[1] == "plugins":
            cells = [line.split() for line in lines[1:]]
            short = ", ".join(f"{name} {state}" for name, _, state, *_ in cells)
        elif code or len(lines) == 1:
            short = lines[-1]  # of a traceback, the error
        else:
            short = f"{' '.join(lines[0].split())} … ({len(lines)} lines)"
        self.rows.append((self.name, shown, code, short.replace("|", "\\|")))
        return out


@pytest.fixture(params=[*INSTALLED])
def typist(request: pytest.FixtureRequest, environments: Any, table: Any, tmp_path: Path) -> Typist:
    """A user of one of the environments, with a script in their home and nothing else."""
    home = environments[request.param].home(tmp_path)
    home.write("demo.py", SCRIPT)
    return Typist(request.param, home, table)


def test_every_command(typist: Typist) -> None:
    backends = INSTALLED[typist.name]
    names = ", ".join(sorted({"local", "dry-run", *backends}))
    pbs, broken = "pbs" in backends, "broken" in typist.name
    more = f"; {BROKEN}" if broken else ""
    missing = (
        f"no executor named 'pbs' is installed (installed: {names}); try: pip install reflow-pbs"
    )

    output = typist("reflow --version", "reflow", "--version")
    assert output == f"reflow {reflow.__version__}"

    output = typist("reflow --help", "reflow", "--help")
    assert "\n  runs " in output

    output = typist("reflow plugins", "reflow", "plugins")
    listed = json.loads(typist.home.run("reflow", "plugins", "--json").stdout)
    states = {(row["name"], row["kind"]): row["state"] for row in listed}
    expected = {(name, "executor"): "ok" for name in ("local", "dry-run", *backends)}
    assert expected.items() <= states.items()
    assert all(name in output for name, _ in states)
    assert ("broken" in output) == broken
    bad = [(row["name"], row["state"], row["detail"]) for row in listed if row["state"] != "ok"]
    assert bad == [("broken", "broken", CAUSE)] * broken
    typist("reflow plugins --check", "reflow", "plugins", "--check", code=int(broken))

    output = typist("reflow config show", "reflow", "config", "show")
    assert "executor" in output
    assert "local" in output

    assert typist("reflow runs", "reflow", "runs") == "No runs."

    code = "from reflow import PBSExecutor"
    output = typist(f"python -c '{code}'", "python", "-c", code, code=0 if pbs else 1)
    assert output.endswith("" if pbs else f"{missing}{more}")

    code = "from reflow import *"
    assert typist(f"python -c '{code}'", "python", "-c", f"{code}; Workflow") == ""

    submit = ("python", "demo.py", "submit", "--run-dir", "r", "--wait", "--executor")
    output = typist("demo.py submit --executor pbs", *submit, "pbs", code=2)
    if pbs:
        # Until it submits; no qsub is here anyway.
        assert output.startswith("error: ")
        assert "'pbs'" in output
        assert "no executor named" not in output
    else:
        assert output == f"error: {missing}{more}"
    output = typist("demo.py submit --executor pbbs", *submit, "pbbs", code=2)
    assert output.startswith("error: no executor named 'pbbs' is installed: did you mean 'pbs'?")
    assert ("; try: pip install reflow-pbs" in output) != pbs

    output = typist("demo.py submit --executor local", *submit, "local")
    assert "Status    SUCCESS" in output

    if broken:
        assert typist("demo.py submit --executor broken", *submit, "broken", code=2) == (
            f"error: {BROKEN}"
        )


def test_help_lists_every_command(environments: dict[str, Any], tmp_path: Path) -> None:
    output = environments["core"].home(tmp_path).run("reflow", "--help").stdout
    listed = [line.split()[0] for line in output.partition("Commands:\n")[2].splitlines()]
    expected = [
        "accept", "cache", "cancel", "completion", "config", "dag", "describe", "logs", "plugins",
        "retry", "runs", "status", "store", "why",
    ]  # fmt: skip
    assert listed == expected


def test_nothing_of_the_development_environment_is_there(environments: Any) -> None:
    """Otherwise an undeclared dependency would go unnoticed."""
    for name, environment in environments.items():
        infos = {path.name.partition("-")[0] for path in environment.site.glob("*.dist-info")}
        assert {"pytest", "hatchling"}.isdisjoint(infos)
        backends = {info.removeprefix("reflow_") for info in infos if info.startswith("reflow_")}
        assert backends == {"core", *INSTALLED[name]}
