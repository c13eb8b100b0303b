"""A worker that was queued ahead computes the same identity as a dispatch pass."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reflow import Result, Workflow
from reflow.caching.identity import identity_parts
from reflow.engine.deferred_inputs import Inputs
from reflow.engine.inputs import TaskInputs
from reflow.engine.lookahead import awaited, position_items
from reflow.engine.planner import Progress
from reflow.engine.worker import _identity
from reflow.runs.resolve import build_spec
from reflow.storage.blobs import Values
from reflow.storage.claims import make_folders, publish
from reflow.storage.filesystem import Files
from reflow.storage.outcome import Outcome
from reflow.values.hashing import digest

wf = Workflow("agree")


@wf.job()
def count() -> list[int]:
    return [1, 2]


@wf.job(array=True)
def write(x: Annotated[int, Result(step="count")]) -> list[Path]:
    return []


@wf.job()
def single() -> dict[str, Path]:
    return {}


@wf.job(array=True)
def chained(
    files: Annotated[list[Path], Result(step="write")],
    beside: Annotated[dict[str, Path], Result(step="single")],
    n: int = 3,
) -> int:
    return 1


@wf.job()
def gathered(
    files: Annotated[list[list[Path]], Result(step="write")],
    both: Annotated[dict[str, Path], Result(step="single")],
) -> int:
    return 1


PRINTS = st.sampled_from(["", "f:1:2 00", "f:1:3 01", "f:1:3"])
FILES = ("/a", "/b")


def outcome(task: str, index: int, native: Any, paths: tuple[str, ...], prints: Any) -> Outcome:
    text = json.dumps(native, separators=(",", ":"))
    taken = tuple(prints) if any(prints) else ()
    return Outcome(task, index, 1, "SUCCESS", "", digest(text), text, paths, prints=taken)


@settings(max_examples=60)
@given(
    prints=st.lists(st.tuples(PRINTS, PRINTS), min_size=3, max_size=3),
    ingested=st.sets(st.sampled_from([("write", 0), ("write", 1), ("single", 0)])),
)
def test_identities_agree_whatever_is_ingested_when_the_element_is_queued(
    prints: list[tuple[str, str]], ingested: set[tuple[str, int]]
) -> None:
    spec = build_spec(wf.name, wf.tasks, {}, "/run")
    outcomes = [
        outcome("write", 0, list(FILES), FILES, prints[0]),
        outcome("write", 1, list(FILES), FILES, prints[1]),
        outcome("single", 0, {"x": "/a", "y": "/b"}, FILES, prints[2]),
    ]
    with tempfile.TemporaryDirectory() as folder:
        files = Files()
        values = Values(files, f"{folder}/values")
        before, after = Progress(spec), Progress(spec)
        for progress in (before, after):
            progress.record(outcome("count", 0, [1, 2], (), ()))
            progress.resize("write", 2)
        for result in outcomes:
            make_folders(files, folder, result.task)
            before.launch(result.task, result.index, 1, "tag")
            after.record(result)
            if (result.task, result.index) in ingested:
                before.record(result)
            else:
                publish(files, folder, result)
        for name in ("chained", "gathered"):
            state = before.tasks[name]
            now = TaskInputs(after, values, after.tasks[name])
            shared = json.loads(json.dumps(awaited(before, values, state)))
            parts = identity_parts(state.spec)
            order = [(wire.parameter, wire.each) for wire in state.spec.wires]
            for index in range(2 if name == "chained" else 1):
                items = json.loads(json.dumps(position_items(before, values, state, index)))
                inputs = Inputs(files, folder, shared, items, 0.0)
                assert {**inputs.common, **inputs.texts} == {**now.common, **now.texts(index)}
                assert inputs.stamps == {**now.common_stamps, **now.stamps(index)}
                identity = _identity(order, parts, inputs.common, inputs.texts, inputs.stamps)
                assert identity == now.identity(index)
                new = {
                    (result.task, result.index) for result in outcomes if result.made_files
                } - ingested
                received = {("write", index), ("single", 0)} if name == "chained" else {
                    ("write", 0), ("write", 1), ("single", 0)
                }  # fmt: skip
                assert inputs.new_files == bool(new & received)
