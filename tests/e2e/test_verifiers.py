"""Verifiers, by name and as functions, decide whether an older result still stands."""

import os
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Annotated, Any

import pytest

from reflow import Result, RunDir, ValidationError, Workflow


def make_workflow(tmp_path: Path, verify: Any, files: Any = "auto") -> Any:
    wf = Workflow("verified", store=tmp_path / "runs.sqlite")

    @wf.job(verify=verify, files=files)
    def write(where: RunDir) -> Path:
        file = Path(where) / "file.txt"
        file.write_text("full")
        return file

    def state() -> str:
        run = wf.run_local(tmp_path / "out")
        (name,) = run.status(as_dict=True)["summary"]["write"]
        return str(name)

    return wf, state


def test_by_name(tmp_path: Path) -> None:
    _, state = make_workflow(tmp_path, "nonempty")
    file = tmp_path / "out" / "file.txt"
    assert [state(), state()] == ["SUCCESS", "CACHED"]
    file.write_text("")
    assert [state(), state()] == ["SUCCESS", "CACHED"]
    file.unlink()
    assert state() == "SUCCESS"
    _, lax = make_workflow(tmp_path, "exists")
    file.write_text("")
    assert lax() == "CACHED"
    file.unlink()
    assert lax() == "SUCCESS"


def test_all_of_a_list_must_agree(tmp_path: Path) -> None:
    values: list[Any] = []

    def is_full(value: Any) -> bool:
        values.append(value)
        return value.read_text() == "full"

    _, state = make_workflow(tmp_path, ["nonempty", is_full])
    file = tmp_path / "out" / "file.txt"
    assert [state(), state()] == ["SUCCESS", "CACHED"]
    assert values == [file]
    file.write_text("other")
    assert state() == "SUCCESS"
    file.write_text("")
    assert state() == "SUCCESS"
    assert values == [file, file]  # the first that says no is enough


def test_verifier_that_raises_is_reported_and_the_task_runs_again(tmp_path: Path) -> None:
    def broken(value: Any) -> bool:
        raise RuntimeError("no idea")

    wf, state = make_workflow(tmp_path, broken)
    assert [state(), state()] == ["SUCCESS", "SUCCESS"]
    notes = wf.run(wf.store.list_runs()[0].run_id).status(as_dict=True)["notes"]
    assert notes == ["the verifier of 'write' raised RuntimeError('no idea'): run anew"]


def test_verifier_that_exits_ends_no_run_and_is_reported_once(tmp_path: Path) -> None:
    wf = Workflow("exits", store=tmp_path / "runs.sqlite")

    @wf.job()
    def numbers() -> list[int]:
        return [1, 2, 3]

    @wf.job(array=True, verify=lambda value: sys.exit(5))
    def keep(number: Annotated[int, Result(step="numbers")]) -> int:
        return number

    wf.run_local(tmp_path / "out")
    status = wf.run_local(tmp_path / "out").status(as_dict=True)
    assert status["summary"]["keep"] == {"SUCCESS": 3}
    assert status["notes"] == ["the verifier of 'keep' raised SystemExit(5): run anew"]


def test_unknown_verifiers_are_reported_before_anything_runs(tmp_path: Path) -> None:
    wf, _ = make_workflow(tmp_path, "noempty")
    with pytest.raises(
        ValidationError, match=r"task 'write': no verifier named 'noempty'.*'nonempty'"
    ):
        wf.run_local(tmp_path / "out")


PLUGIN = textwrap.dedent(
    """
    from reflow.hookspecs import VerifierEntry, hookimpl
    from reflow.verifiers.base import Verifier

    class Even(Verifier):
        def verify(self, output):
            return output.value % 2 == 0

    @hookimpl
    def reflow_register_verifiers():
        return [VerifierEntry(name="even", target="parity:Even"),
                VerifierEntry(name="unthere", target="no_such_module:Thing")]
    """
)


def test_from_a_plugin_also_in_a_background_run(install: Any, script: Any) -> None:
    source = """
        from typing import Annotated
        from reflow import Param, Workflow

        wf = Workflow("parity")

        @wf.job(verify="even")
        def number(n: Annotated[int, Param()]) -> int:
            return n

        @wf.job(verify="unthere")
        def other() -> int:
            return 1

        if __name__ == "__main__":
            for n in (1, 2, 1, 2):
                run = wf.submit("out", executor="local", n=n)
                run.wait(60)
                status = run.status(as_dict=True)
                print(*status["summary"]["number"], *status["summary"]["other"])
            print(*status["notes"])
        """
    *states, note = script(textwrap.dedent(source), install("parity", PLUGIN)).splitlines()
    assert states == ["SUCCESS SUCCESS"] * 3 + ["CACHED SUCCESS"]
    assert "verifier 'unthere' is broken: ModuleNotFoundError" in note


def later(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def test_fingerprint_makes_changed_files_again_and_no_others(tmp_path: Path) -> None:
    wf = Workflow("prints", store=tmp_path / "runs.sqlite")

    @wf.job()
    def names() -> list[str]:
        return ["a", "b", "c"]

    @wf.job(array=True, verify="fingerprint")
    def write(name: Annotated[str, Result(step="names")], where: RunDir) -> dict[str, Path]:
        folder = Path(where) / name
        folder.mkdir(exist_ok=True)
        (folder / "text").write_text(name)
        return {"folder": folder, "text": folder / "text"}

    def state() -> Any:
        return wf.run_local(tmp_path / "out").status(as_dict=True)["summary"]["write"]

    text = tmp_path / "out" / "b" / "text"
    assert state() == {"SUCCESS": 3}
    assert state() == {"CACHED": 3}
    later(text)
    assert state() == {"CACHED": 3}, "touched, but the same"
    text.write_text("B")
    later(text)
    assert state() == {"CACHED": 2, "SUCCESS": 1}
    assert text.read_text() == "b"
    (tmp_path / "out" / "c" / "more").write_text("")
    assert state() == {"CACHED": 2, "SUCCESS": 1}
    assert state() == {"CACHED": 3}, "so the task has left it now"
    (tmp_path / "out" / "c" / "more").unlink()
    text.unlink()
    assert state() == {"CACHED": 1, "SUCCESS": 2}
    # The last run does not even need the first one.
    assert state() == {"CACHED": 3}


def test_fingerprint_makes_files_without_a_fingerprint_again(tmp_path: Path) -> None:
    _, lax = make_workflow(tmp_path, None, files="path")
    assert lax() == "SUCCESS"
    _, state = make_workflow(tmp_path, "fingerprint", files="path")
    assert [state(), state()] == ["SUCCESS", "CACHED"]


def test_fingerprints_outlive_the_run_that_took_them(tmp_path: Path) -> None:
    _, state = make_workflow(tmp_path, ["fingerprint", "nonempty"])
    assert state() == "SUCCESS"
    (first,) = (tmp_path / "out" / ".reflow").iterdir()
    assert state() == "CACHED"
    shutil.rmtree(first)
    assert state() == "CACHED"
    (tmp_path / "out" / "file.txt").write_text("FULL")
    later(tmp_path / "out" / "file.txt")
    assert state() == "SUCCESS"


def test_a_fingerprint_that_cannot_be_taken_fails_no_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: str) -> None:
        raise OSError(28, "No space left on device", path)

    with monkeypatch.context() as patch:
        patch.setattr("reflow.caching.output_files.full_print", full)
        _, state = make_workflow(tmp_path, "fingerprint")
        assert state() == "SUCCESS"
    errors = capsys.readouterr().err
    assert f"no fingerprint of {tmp_path}/out/file.txt, so a later run makes it again" in errors
    assert [state(), state()] == ["SUCCESS", "CACHED"]
