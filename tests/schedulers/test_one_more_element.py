"""A thousand elements are cached, one is added in the middle: it alone runs, in each array."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from .person import Person, elements_of

SOURCE = """
    import json
    from pathlib import Path
    from typing import Annotated
    from reflow import Result, Workflow

    wf = Workflow("thousand")

    def ran(task, what=""):
        with open(Path(__file__).parent / "ran", "a") as file:
            print(task, what, file=file)

    @wf.job()
    def numbers(items: str) -> list[int]:
        ran("numbers")
        return json.loads(Path(items).read_text())

    @wf.job(array=True)
    def square(n: Annotated[int, Result(step="numbers")]) -> int:
        ran("square", n)
        return n * n

    @wf.job(array=True)
    def negate(n: Annotated[int, Result(step="square")]) -> int:
        ran("negate", n)
        return -n

    @wf.job(array=True)
    def double(n: Annotated[int, Result(step="negate")]) -> int:
        ran("double", n)
        return 2 * n

    @wf.job()
    def total(values: Annotated[list[int], Result(step="double")]) -> int:
        ran("total")
        return sum(values)

    if __name__ == "__main__":
        wf.cli()
    """
ARRAYS = ("square", "negate", "double")


@pytest.mark.parametrize("executor", ["slurm", "local"])
def test_only_the_new_one_of_a_thousand_and_one_elements_runs(
    tmp_path: Path, slurm_simulator: Any, executor: str
) -> None:
    first, then = (Person(tmp_path, slurm_simulator, name) for name in ("local", executor))
    first.write(SOURCE)
    items = list(range(1_000))
    (tmp_path / "before").write_text(str(items))
    (tmp_path / "after").write_text(str([*items[:500], 5_000, *items[500:]]))
    ran = tmp_path / "ran"

    status = first.ended(first.submit("--items", "before"))
    assert status["summary"]["square"] == {"SUCCESS": 1_000}
    assert Counter(ran.read_text().split())["double"] == 1_000
    ran.unlink()

    status = then.ended(then.submit("--items", "after", run_dir="second"))
    lines = ran.read_text().splitlines()
    counts = Counter(line.split()[0] for line in lines)
    print(f"of 1,001 elements an array, on {executor}, there ran: {dict(counts)}")
    print(f"calls of the scheduler: {status['scheduler_calls']}")
    assert counts == {"numbers": 1, "square": 1, "negate": 1, "double": 1, "total": 1}
    assert "square 5000" in lines
    for task in ARRAYS:
        assert status["summary"][task] == {"CACHED": 1_000, "SUCCESS": 1}
        fresh = [
            element["array_index"]
            for element in elements_of(status, task)
            if element["state"] == "SUCCESS"
        ]
        assert fresh == [500]
    assert elements_of(status, "total")[0]["output"] == -2 * sum(n * n for n in [*items, 5_000])
