"""Observers: plugins named in the configuration hear of failures and of the end."""

import os
import textwrap
from pathlib import Path
from typing import Any

import pytest

OBSERVER = textwrap.dedent(
    """
    import os
    from reflow.hookspecs import hookimpl

    def write(*words):
        with open(os.environ["REFLOW_TEST_SEEN"], "a") as file:
            print(*words, file=file)

    @hookimpl
    def reflow_run_finished(run_id, run_dir, state):
        write("finished", run_id, run_dir.name, state)

    @hookimpl
    def reflow_task_failed(task, index, cause):
        write("failed", task, index, cause)
        if index == 1:
            raise RuntimeError("the mail server is down")
    """
)
SOURCE = textwrap.dedent(
    """
    import sys
    from typing import Annotated
    from reflow import Result, RunDir, Workflow

    wf = Workflow("observed")

    @wf.job()
    def make() -> list[int]:
        return [0, 1, 2]

    @wf.job(array=True)
    def each(x: Annotated[int, Result(step="make")], where: RunDir) -> int:
        if x and not (where / "mended").exists():
            sys.exit(3)
        return x

    @wf.job()
    def alone() -> int:
        raise ValueError

    if __name__ == "__main__":
        if sys.argv[1:] == ["local"]:
            run = wf.run_local("out", on_error="continue")
        else:
            run = wf.submit("out", executor="local")
            run.wait(60)
        print(*run.status(as_dict=True)["notes"], sep="\\n")
        (run.run_dir / "mended").touch()
        run.retry("each")
        print(run.wait(60))
    """
)


@pytest.fixture
def events_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REFLOW_TEST_SEEN", str(tmp_path / "seen"))
    return tmp_path / "seen"


def configure(tmp_path: Path, names: str) -> None:
    (tmp_path / "config" / "reflow").mkdir(parents=True)
    (tmp_path / "config" / "reflow" / "config.toml").write_text(f"[run]\nobservers = {names}\n")


@pytest.mark.parametrize("how", ["local", "submit"])
def test_observers_hear_of_each_failure_and_each_end_once(
    install: Any,
    script: Any,
    events_file: Path,
    tmp_path: Path,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configure(tmp_path, '["mail"]')
    site = install("mail", OBSERVER)
    source = SOURCE.replace("sys.argv[1:]", repr([how]))
    notes = script(source, site).splitlines()
    assert notes == [
        "observer 'mail' of mail 1.0: reflow_task_failed: RuntimeError: the mail server is down",
        "FAILED",
    ]
    lines = events_file.read_text().splitlines()
    assert sorted(line for line in lines if line.startswith("failed")) == [
        "failed alone None ERROR",
        "failed each 1 ERROR",
        "failed each 2 ERROR",
    ]
    finished = [line.split() for line in lines if line.startswith("finished")]
    assert [line[2:] for line in finished] == [["out", "FAILED"], ["out", "FAILED"]]
    assert (tmp_path / "out" / ".reflow" / finished[0][1]).is_dir()


def test_observer_that_is_not_configured_is_not_called(
    install: Any, script: Any, events_file: Path
) -> None:
    script(SOURCE, install("mail", OBSERVER))
    assert not events_file.exists()


def test_unknown_observers_are_reported_before_anything_runs(script: Any, tmp_path: Path) -> None:
    configure(tmp_path, '["post"]')
    source = """
        from reflow import PluginError, Workflow
        wf = Workflow("w")
        @wf.job()
        def a() -> int:
            return 1
        if __name__ == "__main__":
            try:
                wf.run_local("out")
            except PluginError as error:
                print(error)
        """
    assert "no observer named 'post' is installed" in script(textwrap.dedent(source))
    assert not os.path.exists(tmp_path / "out")


def test_observer_that_breaks_later_leaves_a_note_and_changes_nothing(
    install: Any, script: Any, events_file: Path, tmp_path: Path
) -> None:
    configure(tmp_path, '["mail"]')
    site = install("mail", OBSERVER)
    source = """
        from pathlib import Path
        import mail
        from reflow import Workflow
        wf = Workflow("w")
        @wf.job()
        def a() -> int:
            return 1
        if __name__ == "__main__":
            Path(mail.__file__).write_text("1 / 0")  # this process has loaded it already
            run = wf.submit("out", executor="local")
            print(run.wait(60))
            print(*run.status(as_dict=True)["notes"])
        """
    state, note = script(textwrap.dedent(source).replace("import mail\n", MAIL), site).splitlines()
    assert state == "SUCCESS"
    assert "observer 'mail': plugin 'mail' of mail 1.0 is broken: ZeroDivisionError" in note


# Jobs load the script too, and then the plugin is already broken.
MAIL = """
try:
    import mail
except ZeroDivisionError:
    pass
"""
