"""A job's environment, however many jobs lie between it and the submission."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

import reflow
import reflow_slurm

from .person import Person, elements_of

HOPS = """
    import os
    from typing import Annotated
    from reflow import Result, Workflow

    wf = Workflow("hops")

    @wf.job()
    def first() -> list[int]:
        return [1]

    @wf.job(array=True)
    def each(x: Annotated[int, Result(step="first")]) -> int:
        return x

    @wf.job()
    def second(xs: Annotated[list[int], Result(step="each")]) -> list[int]:
        return xs

    @wf.job(array=True)
    def last(x: Annotated[int, Result(step="second")]) -> dict[str, str | None]:
        return {name: os.environ.get(name) for name in ("PATH", "PYTHONPATH", "LC_ALL")}

    if __name__ == "__main__":
        wf.cli()
    """


@pytest.fixture
def person(tmp_path: Path, slurm_simulator: Any) -> Person:
    new_person = Person(tmp_path, slurm_simulator, "slurm")
    new_person.write(HOPS)
    return new_person


def test_the_search_path_is_the_submitter_s(person: Person) -> None:
    """If each job added a folder, the path would one day be too long to start a process."""
    sources = [str(Path(package.__file__).parents[1]) for package in (reflow, reflow_slurm)]
    person.environment["PYTHONPATH"] = ":".join(sources)
    (last,) = elements_of(person.ended(person.submit()), "last")
    assert last["output"]["PYTHONPATH"] == person.environment["PYTHONPATH"]


FURTHER = HOPS.replace(
    """
    @wf.job(array=True)
    def last(x: Annotated[int, Result(step="second")])""",
    """
    @wf.job(array=True)
    def more(x: Annotated[int, Result(step="second")]) -> int:
        return x

    @wf.job()
    def third(xs: Annotated[list[int], Result(step="more")]) -> list[int]:
        return xs

    @wf.job(array=True)
    def last(x: Annotated[int, Result(step="third")])""",
)


def test_a_search_path_grows_by_a_prologue_but_once(person: Person) -> None:
    """A job's own prologue comes before the inherited path, which has each folder once."""
    person.write(FURTHER)
    person.configure(prologue="export PATH=/opt/mine:$PATH")
    person.environment["PATH"] += ":/opt/last"
    (last,) = elements_of(person.ended(person.submit()), "last")
    folders = last["output"]["PATH"].split(":")
    assert (folders[0], folders[-1]) == ("/opt/mine", "/opt/last")
    assert folders.count("/opt/mine") == 2


@pytest.mark.parametrize("locale", ["C.UTF-8", None])
def test_the_locale_is_the_submitter_s(person: Person, locale: str | None) -> None:
    person.environment.pop("LC_ALL", None)
    if locale is not None:
        person.environment["LC_ALL"] = locale
    (last,) = elements_of(person.ended(person.submit()), "last")
    assert last["output"]["LC_ALL"] == locale


def test_site_packages_do_not_come_before_the_standard_library(person: Person) -> None:
    """An old backport in site-packages, such as typing's, must not shadow `import typing`."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "venv"],
                   cwd=person.folder, check=True)  # fmt: skip
    (site,) = person.folder.glob("venv/lib/python3*/site-packages")
    for path in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if path.suffix != ".pth" and not (site / path.name).exists():
            (site / path.name).symlink_to(path)
    for package in (reflow, reflow_slurm):
        folder = Path(package.__file__).parent
        if not (site / folder.name).exists():
            (site / folder.name).symlink_to(folder)
    (site / "typing.py").write_text("raise ImportError('a backport')\n")
    person.environment.pop("PYTHONPATH", None)
    python = str(person.folder / "venv" / "bin" / "python")
    submit = [python, "flow.py", "submit", "--executor", "slurm", "--run-dir", "out"]
    out = subprocess.run(submit, cwd=person.folder, env=person.environment, check=True,
                         capture_output=True, text=True)  # fmt: skip
    status = person.ended(out.stdout.split()[-1])
    assert status["run"]["status"] == "SUCCESS", status
