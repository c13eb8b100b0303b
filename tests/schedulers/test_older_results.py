"""A plan, a worker, a dispatch pass and `accept` decide alike about an older result."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from .person import Person, elements_of

FLOW = """
    from pathlib import Path
    from typing import Annotated
    from reflow import Result, Workflow

    wf = Workflow("flow")
    FOLDER = Path(__file__).parent / "made"
    Y = Annotated[int, Result(step="a")]

    def write(name, y):
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / name).write_text(str(y))
        return FOLDER / name

    @wf.job()
    def a(x: int) -> int:
        return x // 10

    @wf.job()
    def kept(y: Y) -> Path:
        return write("kept", y)

    @wf.job()
    def gone(y: Y) -> Path:
        return write("gone", y)

    @wf.job()
    def altered(y: Y) -> Path:
        return write("altered", y)

    @wf.job(verify=lambda path: path.read_text() != "refuse")
    def refused(y: Y) -> Path:
        return write("refused", y)

    @wf.job(serializer="pickle")
    def pickled(y: Y) -> object:
        return {y}

    @wf.job(files="path")
    def without_fingerprint(y: Y) -> Path:
        return write("without", y)

    @wf.job()
    def below(path: Annotated[Path, Result(step="without_fingerprint")]) -> str:
        return path.read_text()

    @wf.job()
    def failing(y: Y) -> int:
        raise OSError("so no run of this workflow succeeds")

    if __name__ == "__main__":
        wf.cli()
    """

STANDS = {
    "kept": True,
    "gone": False,
    "altered": False,
    "refused": False,
    "pickled": os.geteuid() != 0,  # only root can make them another user's
    "without_fingerprint": True,
    # Its own result is whole, and may be of older files than those that its input names.
    "below": False,
}


@pytest.fixture
def person(tmp_path: Path, slurm_simulator: Any) -> Person:
    return Person(tmp_path, slurm_simulator, "slurm")


def damage(person: Person) -> None:
    results = person.folder / "made"
    (results / "gone").unlink()
    (results / "altered").write_text("something else")
    (results / "refused").write_text("refuse")
    if os.geteuid() == 0:
        for path in person.folder.rglob("*.pickle"):
            os.chown(path, 65534, 65534)


def run_locally(person: Person, x: int) -> dict[str, Any]:
    script = f"from flow import wf; print(wf.run_local('out', x={x}, on_error='continue').run_id)"
    return person.status(person.run("-c", script).split()[-1])


def planned(person: Person) -> tuple[dict[str, bool], dict[str, str]]:
    script = "import json; from flow import wf; print(json.dumps(wf.plan('out', x=10).to_dict()))"
    tasks = json.loads(person.run("-c", script))["tasks"]
    return (
        {task["name"]: bool(task["hits"]) for task in tasks if task["name"] in STANDS},
        {task["name"]: task["reasons"][0]["text"] for task in tasks if task["reasons"]},
    )


def reused(status: dict[str, Any]) -> dict[str, bool]:
    return {task: elements_of(status, task)[0]["state"] == "CACHED" for task in STANDS}


def test_a_plan_a_worker_and_a_pass_agree(person: Person) -> None:
    person.write(FLOW)
    run_locally(person, 10)
    damage(person)
    stands, reasons = planned(person)
    assert stands == STANDS
    assert reasons["gone"].endswith("/gone is gone")
    assert reasons["altered"].endswith("/altered was changed since it was made")
    assert reasons["refused"] == "a verifier refused the older result"
    if os.geteuid() == 0:
        assert "reading a pickle runs code" in reasons["pickled"]
    # Another parameter, the same value: elements queued ahead find the older results.
    status = person.ended(person.submit("--x", "11", code=None))
    assert reused(status) == STANDS
    damage(person)
    local = run_locally(person, 10)
    assert reused(local) == STANDS
    for notes in (status["notes"], local["notes"]):
        assert [note for note in notes if "reading a pickle runs code" in note] or os.geteuid()


def test_accepted_results_are_reused_alike_everywhere(person: Person) -> None:
    person.write(FLOW)
    first = run_locally(person, 10)["run"]["run_id"]
    damage(person)
    person.write(FLOW.replace("return write(", "return 0 or write(").replace("{y}", "{y, y}"))
    accepted = person.status(person.reflow("accept", first).split()[0])
    # `accept` declares the files right; that does not run another user's code.
    assert reused(accepted) == {**dict.fromkeys(STANDS, True), "pickled": STANDS["pickled"]}
    if os.geteuid() == 0:
        assert "reading a pickle runs code" in elements_of(accepted, "pickled")[0]["error_text"]
    assert planned(person)[0] == STANDS
