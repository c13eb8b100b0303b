"""Files among the parameters that change between submission and an element, or while it runs.

Through `run_local` and the local driver.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Annotated

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reflow import Result, Run, RunFailedError, Workflow
from reflow.storage.stores.sqlite.store import SqliteStore
from reflow.stores.base import Store
from reflow.values.json_codec import dump

from .test_input_files import (
    delete,
    into_folder,
    nothing,
    other_size,
    replace_by_copy,
    same_size,
    settle,
    touch,
)

Change = Callable[[Path], None]

WAYS = ("auto", "content", "stat", "path")
NOTICED: dict[Change, dict[str, bool]] = {
    nothing: dict.fromkeys(WAYS, False),
    touch: {**dict.fromkeys(WAYS, False), "stat": True},
    replace_by_copy: {**dict.fromkeys(WAYS, False), "stat": True},
    same_size: {"auto": True, "content": True, "stat": False, "path": False},
    other_size: {**dict.fromkeys(WAYS, True), "path": False},
    delete: {**dict.fromkeys(WAYS, True), "path": False},
    into_folder: {**dict.fromkeys(WAYS, True), "path": False},
}
CASES = [(change, how) for change in NOTICED for how in WAYS]


def content_of(path: Path) -> str:
    """Return what a task reads at a path."""
    return path.read_text() if path.is_file() else "a folder" if path.is_dir() else "nothing"


class Project:
    """A task that reads a file, behind one in which a test changes it."""

    def __init__(
        self, folder: Path, how: str = "auto", workers: int = 1, store: Store | None = None
    ) -> None:
        self.folder, self.workers = folder, workers
        self.file = folder / "in.txt"
        self.ran = folder / "ran"
        self.wf = Workflow("edited", store=store)
        self.before: Change = nothing
        self.during: Change = nothing

        @self.wf.job(cache=False)
        def first() -> list[int]:
            self.before(self.file)
            return [1, 2]

        @self.wf.job(files=how)
        def read(file: Path, x: Annotated[list[int], Result(step=first)]) -> str:
            self.note("read")
            text = content_of(file)
            self.during(self.file)
            return text

        @self.wf.job(array=True, files=how)
        def each(several: list[Path], x: Annotated[int, Result(step=first)]) -> str:
            self.note("each")
            return f"{x} {content_of(several[0])}"

    def note(self, task: str) -> None:
        with self.ran.open("a") as file:
            print(task, file=file)

    def write(self, text: str) -> None:
        """Write the file as it is at submission, with a time whose stamp is trusted."""
        if self.file.is_dir():
            self.file.rmdir()
        self.file.write_text(text)
        settle(self.file)

    def run(self, before: Change = nothing, during: Change = nothing) -> tuple[Run, list[str]]:
        """Run it with changes in between; return the run, and which tasks ran."""
        self.before, self.during = before, during
        self.ran.write_text("")
        run = self.wf.run_local(
            self.folder / "out", file=self.file, several=[self.file], max_workers=self.workers
        )
        return run, sorted(self.ran.read_text().split())


def notes(run: Run) -> list[str]:
    texts: list[str] = run.status(as_dict=True)["notes"]
    return texts



ALL = ["each", "each", "read"]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("change", "how"), CASES)
def test_file_changed_before_an_element_begins(
    tmp_path: Path, change: Change, how: str, workers: int
) -> None:
    project = Project(tmp_path, how, workers)
    project.write("one")
    run, ran = project.run(before=change)
    after = content_of(project.file)
    assert ran == ALL
    assert (run.result("read"), run.result("each")) == (after, [f"1 {after}", f"2 {after}"])
    texts = notes(run)
    if NOTICED[change][how]:
        change_text = "is gone since" if change is delete else "was changed since"
        assert [text.split(":")[0] for text in sorted(texts)] == [
            f"parameter {name!r} names {project.file}, which {change_text} the run was submitted"
            for name in ("file", "several")
        ]
    else:
        assert texts == []
    # A run that is submitted with what was read reuses the result ...
    if NOTICED[change][how] and how != "stat":
        again, ran = project.run()
        assert ran == []
        assert again.result("read") == after
    # ... and no run that is submitted with what was there at submission does.
    project.write("one")
    again, ran = project.run()
    results = (again.result("read"), again.result("each")[1])
    if how == "path" or (how == "stat" and not NOTICED[change][how]):
        return  # by this policy the content does not count
    assert results == ("one", "2 one")
    assert (ran == ALL) is (NOTICED[change][how] or how == "stat")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("change", "how"), CASES)
def test_file_changed_while_an_element_runs(
    tmp_path: Path, change: Change, how: str, workers: int
) -> None:
    project = Project(tmp_path, how, workers)
    project.write("one")
    run, _ = project.run(during=change)
    assert run.result("read") == "one"
    texts = [
        note for note in notes(run) if "while task 'read' ran: its result counts for this" in note
    ]
    noticed = NOTICED[change][how]
    assert len(texts) == noticed
    if noticed:
        assert "in.txt" in texts[0]
        assert 'files="path" is for what a task writes' in texts[0]
        (row,) = (
            element for element in project.wf.store.instances(run.run_id) if element.task == "read"
        )
        assert (row.state, row.identity) == ("SUCCESS", "")
        # Neither the old nor the new content was read for certain.
        _, ran = project.run()
        assert "read" in ran
    project.write("one")
    _, ran = project.run()
    if how in ("auto", "content"):
        assert ("read" in ran) is noticed


CONTENTS = st.sampled_from(["nothing", "a", "bb", "cc"])


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(CONTENTS, st.none() | CONTENTS, st.none() | CONTENTS), min_size=1, max_size=6
    )
)
def test_no_run_gets_a_result_of_content_that_was_not_read(
    runs: list[tuple[str, str | None, str | None]],
) -> None:
    """A model of which contents have a result. A run consists of the content at submission, the
    content when its element begins, and the content when it ends."""
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "store")
        project = Project(Path(folder), store=store)
        ages, contents_with_result = iter(range(10**6)), set[str]()

        def becomes(content: str | None) -> Change:
            def change(path: Path) -> None:
                if content == "nothing":
                    path.unlink(missing_ok=True)
                elif content is not None:
                    path.write_text(content)
                    settle(path, 100 + next(ages))  # a new time, even within one tick of the clock

            return change

        for submitted, before, during in runs:
            becomes(submitted)(project.file)
            run, ran = project.run(becomes(before), becomes(during))
            begun = before or submitted
            if submitted in contents_with_result:
                assert (run.result("read"), "read" in ran) == (submitted, False)
                continue
            assert (run.result("read"), "read" in ran) == (begun, True)
            if (during or begun) == begun:
                contents_with_result.add(begun)
        store.close()


def test_file_created_after_the_submission_counts_by_its_content(tmp_path: Path) -> None:
    project = Project(tmp_path)
    run, _ = project.run(before=lambda path: project.write("one"))
    assert run.result("read") == "one"
    assert "which was not there when the run was submitted: what is there now" in notes(run)[0]
    _, ran = project.run()
    assert ran == []
    project.file.unlink()
    run, ran = project.run()
    assert (run.result("read"), ran) == ("nothing", ALL)


def test_identity_of_each_element_follows_what_it_read(tmp_path: Path) -> None:
    wf = Workflow("steps")
    file, moving = tmp_path / "in.txt", tmp_path / "moving"

    @wf.job()
    def numbers() -> list[int]:
        return [0, 1, 2, 3]

    @wf.job(array=True)
    def read(file: Path, x: Annotated[int, Result(step=numbers)]) -> str:
        text = file.read_text()
        if moving.exists() and x < 3:
            file.write_text(f"text {x + 1}")
            settle(file, 10 - x)
        return f"{x}: {text}"

    def states() -> list[tuple[str, bool]]:
        return [
            (element.state, bool(element.identity))
            for element in wf.store.instances(run.run_id, "read")
        ]

    moving.touch()
    file.write_text("text 0")
    run = wf.run_local(tmp_path / "out", file=file)
    assert run.result("read") == [f"{x}: text {x}" for x in range(4)]
    assert states() == [*[("SUCCESS", False)] * 3, ("SUCCESS", True)]
    assert len(notes(run)) == 2
    moving.unlink()
    file.write_text("text 0")
    run = wf.run_local(tmp_path / "out", file=file)
    assert run.result("read") == [f"{x}: text 0" for x in range(4)]
    file.write_text("text 3")
    run = wf.run_local(tmp_path / "out", file=file)
    assert states() == [*[("SUCCESS", True)] * 3, ("CACHED", True)]


@pytest.mark.parametrize(
    ("how", "edited", "touched"),
    [("auto", False, False), ("content", True, False), ("stat", True, True)],
)
def test_changes_inside_a_folder(tmp_path: Path, how: str, edited: bool, touched: bool) -> None:
    def changes(before: Change = nothing, during: Change = nothing) -> list[str]:
        """Return which changes of the folder the notes of a first run report."""
        project = Project(Path(tempfile.mkdtemp(dir=tmp_path)), how)
        inside = project.file / "deep" / "a.txt"
        inside.parent.mkdir(parents=True)
        inside.write_text("one")
        settle(inside)
        run, _ = project.run(lambda _: before(inside), lambda _: during(inside))
        texts = [note for note in notes(run) if note.startswith("parameter 'file' names")]
        return [text.split(", which ")[1].split(":")[0] for text in texts]

    since = ["was changed since the run was submitted"]
    meanwhile = ["was changed while task 'read' ran"]
    assert changes(before=touch) == since * touched
    assert changes(before=other_size) == since * edited
    assert changes(during=touch) == meanwhile * touched
    assert changes(during=other_size) == meanwhile * edited
    assert changes(other_size, delete) == [*since * edited, *meanwhile * edited]


def test_ten_thousand_files_are_recorded_apart_and_reported_in_one_line(tmp_path: Path) -> None:
    many = [tmp_path / "many" / f"{number:05}.txt" for number in range(10_000)]
    many[0].parent.mkdir()
    for file in many:
        file.write_text("one")
    wf = Workflow("many")

    @wf.job(cache=False)
    def first() -> int:
        for file in (many[5], many[9]):
            file.write_text("other")
        return 1

    @wf.job()
    def count(files: list[Path], x: Annotated[int, Result(step=first)]) -> int:
        return sum(file.read_text() == "one" for file in files)

    run = wf.run_local(tmp_path / "out", files=many)
    assert run.result("count") == 9_998
    (note,) = notes(run)
    assert note.startswith(f"parameter 'files' names {many[5]} (and 1 more), which was changed")
    folder = Path(run.record.folder)
    assert len(list((folder / "values").iterdir())) == 1
    # It has the paths twice, as parameters, but not the stamp of each file.
    assert (folder / "run.json").stat().st_size < 2.5 * len(dump([str(file) for file in many]))


def test_record_without_its_attachment_is_an_error(tmp_path: Path) -> None:
    many = [tmp_path / f"{number:04}.txt" for number in range(1_000)]
    for file in many:
        file.write_text("one")
    wf = Workflow("many")
    beside = tmp_path / "out" / ".reflow"

    @wf.job()
    def first() -> int:
        for file in beside.glob("*/values/*.json"):
            file.unlink()
        return 1

    @wf.job()
    def count(files: list[Path], x: Annotated[int, Result(step=first)]) -> int:
        return 1

    with pytest.raises(RunFailedError) as failed:
        wf.run_local(tmp_path / "out", files=many)
    assert failed.value.run is not None
    (row,) = (element for element in failed.value.run.status(as_dict=True)["instances"][1:])
    assert "how the files of the run's parameters stood; submit the run anew" in row["error_text"]


def test_error_of_a_missing_file_says_since_when_it_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_text("one")
    wf = Workflow("missing")

    @wf.job()
    def first() -> int:
        file.unlink()
        return 1

    @wf.job()
    def read(file: Path, x: Annotated[int, Result(step=first)]) -> str:
        return file.read_text()

    with pytest.raises(RunFailedError) as failed:
        wf.run_local(tmp_path / "out", file=file)
    run = failed.value.run
    assert run is not None
    error = run.status(as_dict=True)["instances"][1]["error_text"]
    assert "FileNotFoundError" in error
    assert error.endswith(
        f"parameter 'file' names {file}, which is gone since the run was submitted: "
        "the task found nothing there"
    )
    # A retry after the file was put back reads what was submitted.
    file.write_text("one")
    run.retry()
    assert run.wait() == "SUCCESS"


def test_element_has_no_identity_if_its_file_cannot_be_examined(tmp_path: Path) -> None:
    def loop(path: Path) -> None:
        path.unlink()
        path.symlink_to(path)

    project = Project(tmp_path)
    project.write("one")
    run, _ = project.run(before=loop)
    assert run.result("read") == "nothing"
    assert {element.identity for element in project.wf.store.instances(run.run_id, "read")} == {""}
    assert "which cannot be read (" in notes(run)[0]
    assert "its result counts for this run alone" in notes(run)[0]


def test_accept_refuses_results_of_edited_files(
    load: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    source = (
        "from pathlib import Path\nfrom typing import Annotated\n"
        "from reflow import Result, Workflow\nwf = Workflow('w')\nedit = None\n"
        "@wf.job(cache=False)\ndef first() -> int:\n    edit and edit()\n    return 1\n"
        "@wf.job()\n"
        "def read(data: Path, x: Annotated[int, Result(step='first')]) -> str:\n"
        "    return data.read_text()\n"
        "@wf.job()\ndef other(data: Path) -> str:\n    return data.read_text()\n"
    )
    data = tmp_path / "data"
    data.write_text("one")
    module = load(source)
    module.edit = lambda: other_size(data)
    run = module.wf.run_local(tmp_path / "out", data=data)
    assert (run.result("read"), len(notes(run))) == ("three", 1)
    renewed = load(source.replace("data.read_text()", "data.read_text() + ''")).wf
    accepted = renewed.run(run.run_id).accept()
    states = {element.task: element.state for element in renewed.store.instances(accepted.run_id)}
    assert states["read"] == "CANCELLED"
    data.write_text("one")
    assert renewed.run_local(tmp_path / "out", data=data).result("read") == "one"


def test_why_and_plan_report_edited_files(
    load: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    source = (
        "from pathlib import Path\nfrom typing import Annotated\n"
        "from reflow import Result, Workflow\nwf = Workflow('w')\nedit = during = None\n"
        "@wf.job(cache=False)\ndef first() -> int:\n    edit and edit()\n    return 1\n"
        "@wf.job()\n"
        "def read(data: Path, x: Annotated[int, Result(step='first')]) -> str:\n"
        "    during and during()\n    return data.read_text()\n"
    )
    data = tmp_path / "data"
    data.write_text("one")
    module = load(source)
    module.edit = lambda: other_size(data)
    first = module.wf.run_local(tmp_path / "out", data=data)
    module.edit = None
    data.write_text("one")
    run = module.wf.run_local(tmp_path / "out", data=data)
    text = "what stands there was changed after the submission"
    assert [difference.after for difference in run.why("read").differences] == [text]
    assert run.why("read").compared_with.startswith(first.run_id)
    data.write_text("two")
    module.during = lambda: other_size(data)
    module.wf.run_local(tmp_path / "out", data=data)
    module.during = None
    data.write_text("two")
    run = module.wf.run_local(tmp_path / "out", data=data)
    assert run.result("read") == "two"
    (reason,) = run.why("read").reasons
    assert "counts for no other run: a file that it read was changed while it ran" in reason


def test_why_names_the_changes_of_this_element_alone(
    load: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    source = (
        "from pathlib import Path\nfrom typing import Annotated\n"
        "from reflow import Result, Workflow\nwf = Workflow('w')\nedit = None\n"
        "@wf.job(cache=False)\ndef first() -> int:\n    edit and edit('one')\n    return 1\n"
        "@wf.job()\n"
        "def read(one: Path, two: Path, x: Annotated[int, Result(step='first')]) -> int:\n"
        "    return len(one.read_text() + two.read_text())\n"
        "@wf.job(cache=False)\ndef second(x: Annotated[int, Result(step='read')]) -> int:\n"
        "    edit and edit('two')\n    return 2\n"
        "@wf.job()\n"
        "def later(two: Path, x: Annotated[int, Result(step='second')]) -> int:\n"
        "    return len(two.read_text())\n"
    )
    paths = {name: tmp_path / name for name in ("one", "two")}
    module = load(source)
    for path in paths.values():
        path.write_text("1")
    module.edit = lambda name: other_size(paths[name])
    module.wf.run_local(tmp_path / "out", **paths)
    module.edit = None
    for path in paths.values():
        path.write_text("1")
    run = module.wf.run_local(tmp_path / "out", **paths)
    assert [difference.name for difference in run.why("read").differences] == ["one"]
    assert [difference.name for difference in run.why("later").differences] == ["two"]
