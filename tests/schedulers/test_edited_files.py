"""Files among the parameters that are edited while a run is queued, or while its jobs run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from reflow.storage.journal import JournalReader
from reflow.storage.outcome import CODE_EDITED, Outcome
from reflow.storage.run_directory import FOLDER, RunRecord

from .person import Person, elements_of, states

SOURCE = """
    import time
    from pathlib import Path
    from typing import Annotated
    from reflow import Result, Workflow

    wf = Workflow("edited")
    HERE = Path(__file__).parent

    def ran(task):
        with open(HERE / "ran", "a") as file:
            print(task, file=file)

    @wf.job(cache=False)
    def first() -> list[int]:
        while not (HERE / "go").exists():
            time.sleep(0.05)
        return [1, 2]

    @wf.job()
    def ahead(data: Path, x: Annotated[list[int], Result(step="first")]) -> str:
        ran("ahead")
        found = data.read_text()
        if (HERE / "meanwhile").exists():
            data.write_text((HERE / "meanwhile").read_text())
        return found

    @wf.job(array=True)
    def each(many: list[Path], x: Annotated[int, Result(step="first")]) -> str:
        ran("each")
        return str(x) + many[-1].read_text()

    if __name__ == "__main__":
        wf.cli()
    """


@pytest.fixture(params=["slurm", "local"])
def person(request: pytest.FixtureRequest, tmp_path: Path, slurm_simulator: Any) -> Person:
    new_person = Person(tmp_path, slurm_simulator, request.param)
    new_person.write(SOURCE)
    return new_person


def edited(person: Person, before: str, after: str | None, files: int = 1) -> dict[str, Any]:
    """Submit with one file content, go on with another; return the final status."""
    data, go = person.folder / "data", person.folder / "go"
    go.unlink(missing_ok=True)
    person.folder.joinpath("ran").unlink(missing_ok=True)
    data.write_text(before)
    many = [arg for _ in range(files) for arg in ("--many", str(data))]
    run = person.submit("--data", str(data), *many)
    if after is None:
        data.unlink()
    elif after != before:
        data.write_text(after)
    go.touch()
    return person.ended(run)


def ran(person: Person) -> list[str]:
    file = person.folder / "ran"
    return sorted(file.read_text().split()) if file.exists() else []


def outputs(status: dict[str, Any]) -> list[str]:
    return [
        element["output"] for task in ("ahead", "each") for element in elements_of(status, task)
    ]


ALL = ["ahead", "each", "each"]


def test_files_that_were_read_are_recorded(person: Person) -> None:
    status = edited(person, "old", "newer")
    assert outputs(status) == ["newer", "1newer", "2newer"]
    data = person.folder / "data"
    assert sorted(status["notes"]) == [
        f"parameter {name!r} names {data}, which was changed since the run was submitted: the new "
        "content was read"
        for name in ("data", "many")
    ]
    assert not [element["error_text"] for element in status["instances"] if element["error_text"]]
    assert "the new content was read" in person.reflow("status", status["run"]["run_id"])
    # Once the old content is back, the result of the other content is not reused.
    status = edited(person, "old", "old")
    assert (outputs(status), ran(person)) == (["old", "1old", "2old"], ALL)
    assert status["notes"] == []
    status = edited(person, "newer", "newer")
    assert (outputs(status), ran(person)) == (["newer", "1newer", "2newer"], [])


def test_job_queued_ahead_reuses_the_result_of_the_present_input(
    person: Person,
) -> None:
    edited(person, "newer", "newer")
    status = edited(person, "old", "newer")
    assert outputs(status) == ["newer", "1newer", "2newer"]
    if person.executor == "slurm":
        assert states(status, "ahead") == ["CACHED"]
        assert ran(person) == ["each", "each"]
    beginnings = ("parameter 'data' names", "parameter 'many' names")
    pairs = zip(sorted(status["notes"]), beginnings, strict=True)
    assert all(note.startswith(text) for note, text in pairs)
    assert not [element["error_text"] for element in status["instances"] if element["error_text"]]


def test_result_of_a_file_edited_while_read_counts_for_its_run_alone(person: Person) -> None:
    (person.folder / "meanwhile").write_text("newer")
    status = edited(person, "old", "old")
    assert outputs(status)[0] == "old"
    text = "while task 'ahead' ran: its result counts"
    notes = [note for note in status["notes"] if text in note]
    assert len(notes) == 1
    (person.folder / "meanwhile").unlink()
    for content in ("newer", "old"):
        status = edited(person, content, content)
        assert "ahead" in ran(person)
        assert outputs(status)[0] == content


def test_missing_input_file_is_named_with_the_error(person: Person) -> None:
    status = edited(person, "old", None)
    assert states(status, "ahead") == ["FAILED"]
    error = elements_of(status, "ahead")[0]["error_text"]
    assert "FileNotFoundError" in error
    assert "which is gone since the run was submitted: the task found nothing there" in error


def test_number_of_unchanged_files_is_kept_once(person: Person) -> None:
    """Otherwise ten thousand files would be in each job's header and in each pass's input."""
    person.write(SOURCE.replace("x: Annotated[list", "many: list[Path], x: Annotated[list"))
    places = []
    for number in range(1_500):
        places.append(person.folder / f"file{number}")
        places[-1].write_text("old")
    person.write(
        f"""
        import sys, time
        from pathlib import Path
        from flow import wf
        many = [Path({str(person.folder)!r}) / f"file{{n}}" for n in range(1_500)]
        run = wf.submit("out", executor=sys.argv[1], data=many[0], many=many)
        print(run.run_id)
        """,
        "start.py",
    )
    run = person.run("start.py", person.executor).split()[-1]
    places[-1].write_text("newer")
    (person.folder / "go").touch()
    status = person.ended(run)
    assert outputs(status) == ["old", "1newer", "2newer"]
    assert len(status["notes"]) == 1
    folder = person.folder / "out" / ".reflow" / run
    (beside,) = (folder / "values").iterdir()
    text = beside.read_text()
    names = len(str(places[0])) * len(places)
    assert len(text) > 2 * names
    for file in [folder / "run.json", *folder.glob("jobs/*.json")]:
        assert file.stat().st_size < 4 * names + 10_000, file
        assert text[200:400] not in file.read_text()


def test_code_and_file_may_both_be_edited(tmp_path: Path, slurm_simulator: Any) -> None:
    person = Person(tmp_path, slurm_simulator, "slurm")
    edits = SOURCE.replace("found = data.read_text()", "found = data.read_text() + '!'")
    person.write(SOURCE)
    data = person.folder / "data"
    data.write_text("old")
    run = person.submit("--data", str(data), "--many", str(data))
    person.write(edits)
    data.write_text("newer")
    (person.folder / "go").touch()
    status = person.ended(run)
    assert outputs(status) == ["newer!", "1newer", "2newer"]
    assert any("the new code counts; parameter 'data' names" in note for note in status["notes"])
    record = RunRecord(str(person.folder / "out" / FOLDER / run))
    records = JournalReader(record.files, record.segments).read()
    outcomes = [record for record in records if isinstance(record, Outcome)]
    assert {outcome.task: outcome.edited for outcome in outcomes} == {
        "first": (), "ahead": (CODE_EDITED, "data"), "each": ("many",)
    }  # fmt: skip
    for source, content, rerun in (
        (edits, "newer", []), (SOURCE, "newer", ["ahead"]), (edits, "old", ALL)
    ):  # fmt: skip
        person.write(source)
        edited(person, content, content)
        assert ran(person) == rerun


SHARED = """
    import time
    from pathlib import Path
    from reflow import Workflow

    wf = Workflow("shared")
    HERE = Path(__file__).parent

    @wf.job()
    def read(data: Path) -> str:
        found = data.read_text()
        (HERE / "begun").touch()
        while not (HERE / "go").exists():
            time.sleep(0.05)
        data.write_text("newer")
        return found

    if __name__ == "__main__":
        wf.cli()
    """


def test_waiting_run_does_not_reuse_a_result_of_an_edited_file(
    person: Person,
) -> None:
    person.write(SHARED)
    data = person.folder / "data"
    data.write_text("old")
    first = person.submit("--data", str(data))
    person.until(first, lambda _: (person.folder / "begun").exists())
    second = person.submit("--data", str(data), run_dir="second")
    person.until(second, lambda status: "is under way in run" in str(status["notes"]))
    (person.folder / "go").touch()
    assert [element["output"] for element in person.ended(first)["instances"]] == ["old"]
    (row,) = person.ended(second)["instances"]
    assert (row["state"], row["output"]) == ("SUCCESS", "newer")


def test_a_name_that_is_no_text(person: Person) -> None:
    """File names are bytes; Python reads those that are no UTF-8 with lone surrogates."""
    name = os.fsdecode(b"caf\xe9")
    data = person.folder / name
    data.write_text("old")
    run = person.submit("--data", str(data), "--many", str(data))
    data.write_text("newer")
    (person.folder / "go").touch()
    status = person.ended(run)
    assert outputs(status) == ["newer", "1newer", "2newer"]
    notes = " ".join(status["notes"]).encode("utf-8", "surrogateescape")
    assert b"caf\xe9, which was changed since the run was submitted" in notes
    assert "which was changed" in person.reflow("status", run)


def test_what_has_no_files_loads_nothing_for_them(
    tmp_path: Path, slurm_simulator: Any
) -> None:
    person = Person(tmp_path, slurm_simulator, "slurm")
    person.write(LOADS)
    (person.folder / "data").write_text("one")
    status = person.ended(person.submit("--data", "data"))
    loaded = {task: elements_of(status, task)[0]["output"] for task in ("without", "with_file")}
    assert loaded["without"] == []
    assert loaded["with_file"] == ["reflow.caching.file_fingerprint", "reflow.caching.input_files"]


LOADS = """
    import sys
    from pathlib import Path
    from reflow import Workflow

    wf = Workflow("loads")

    def loaded() -> list[str]:
        heavy = {f"reflow.caching.{name}" for name in
                 ("file_fingerprint", "input_files", "hash_cache", "reuse")}
        return sorted(heavy & set(sys.modules)) + [
            name for name in sys.modules if name.startswith("reflow.storage.stores.sqlite")
        ]

    @wf.job()
    def without(x: int = 1) -> list[str]:
        return loaded()

    @wf.job()
    def with_file(data: Path) -> list[str]:
        return loaded()

    if __name__ == "__main__":
        wf.cli()
    """
