"""The states are defined in one table: an added state shows everywhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reflow import states

SCHEMAS = Path(__file__).parents[2] / "docs/reference/json"

# A state is added to the text of the table, and nothing else is touched.
ADDED = """
import importlib.util, pathlib, sys

spec = importlib.util.find_spec("reflow.states")
text = pathlib.Path(spec.origin).read_text()
row = '    (SKIPPED, '
assert text.count(row) == 1
text = text.replace(row, '    ("EXPIRED", True, False, True, False, True),' + chr(10) + row)
module = importlib.util.module_from_spec(spec)
exec(compile(text, spec.origin, "exec"), module.__dict__)
sys.modules["reflow.states"] = module
"""

RUN = """
import json, pathlib, sys
from typing import Annotated
from reflow import Result, Workflow
from reflow.cli.terminal import paint
from reflow.cli.progress import progress_line
from reflow.storage.clock import Clock
from reflow.storage.journal import JournalReader, take_lease
from reflow.storage.outcome import Outcome
from reflow.storage.process_id import this_process

wf = Workflow("added")

@wf.job()
def items() -> list[int]:
    return [1, 2, 3]

@wf.job(array=True)
def each(x: Annotated[int, Result(step="items")]) -> int:
    return x

run = wf.run_local(sys.argv[1])
record = run.record
reader = JournalReader(record.files, record.segments)
lease, _ = take_lease(record.files, Clock(), reader, this_process())
lease.append(Outcome("each", 1, 2, "EXPIRED", detail="too late"))
lease.release()
print(json.dumps({
    "text": run.status_text(task="each"),
    "dict": run.status(as_dict=True),
    "counts": run.counts(),
    "progress": progress_line("each", run.counts()["each"]),
    "listed": [row.index for row in run.store.instances(run.run_id, states=["EXPIRED"])],
    "painted": paint("EXPIRED") != "EXPIRED",
}))
"""


@pytest.fixture(scope="module")
def added(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("states")
    script = folder / "script.py"
    script.write_text(RUN.replace("import json", ADDED + "import json", 1))
    done = subprocess.run(
        [sys.executable, str(script), str(folder / "run")], capture_output=True, text=True,
        check=False, env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_status_text_shows_an_added_state(added: Any) -> None:
    assert "each  SUCCESS 2, EXPIRED 1" in added["text"]
    assert re.search(r"each\[1\] +EXPIRED +attempt 2", added["text"])


def test_json_shows_an_added_state(added: Any) -> None:
    assert added["dict"]["summary"]["each"] == {"SUCCESS": 2, "EXPIRED": 1}
    (expired,) = (row for row in added["dict"]["instances"] if row["state"] == "EXPIRED")
    assert (expired["array_index"], expired["error_text"]) == (1, "too late")


def test_counts_and_progress_show_an_added_state(added: Any) -> None:
    assert added["counts"]["each"] == {"SUCCESS": 2, "EXPIRED": 1}
    assert added["progress"] == "each: 2/3 done, 1 expired"
    assert added["listed"] == [1]
    assert added["painted"]


def test_a_state_that_is_not_listed_is_shown_last() -> None:
    assert states.in_order(["LATER", "FAILED", "SUCCESS"]) == ["SUCCESS", "FAILED", "LATER"]
    assert states.in_order(states.INSTANCE_STATES) == [
        "SUCCESS", "CACHED", "RUNNING", "SUBMITTED", "PENDING", "FAILED", "SKIPPED", "CANCELLED",
    ]  # fmt: skip


def enumerations(schema: Any) -> list[list[str]]:
    """Return all lists of states in a schema."""
    if isinstance(schema, dict):
        listed = [schema["enum"]] if "PENDING" in schema.get("enum", ()) else []
        return listed + [
            enumeration for value in schema.values() for enumeration in enumerations(value)
        ]
    if isinstance(schema, list):
        return [enumeration for value in schema for enumeration in enumerations(value)]
    return []


@pytest.mark.parametrize("name", ["runs", "status", "store-export"])
def test_schemas_list_the_states(name: str) -> None:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    lists = enumerations(schema)
    assert lists
    for listed_states in lists:
        assert set(listed_states) in (set(states.RUN_STATES), set(states.INSTANCE_STATES))
