"""One measurement, in a process of its own; prints one line of JSON.

Runs under either interpreter: it uses only what reflow and reflow-hpc share, but for the way a
fresh process gets the handle of an older run (`reload`).

    python workload.py array  RUN_DIR COUNT      run_local of a list task and an array task
    python workload.py chain  RUN_DIR COUNT      run_local of COUNT tasks, one after the other
    python workload.py status RUN_DIR RUN_ID     status(as_dict=True) of a run of `array`
    python workload.py status-text RUN_DIR RUN_ID    its status() as text, thrown away
"""

import contextlib
import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Annotated, Any

from reflow import Param, Result, Run, Workflow

wf = Workflow("bench_array")


@wf.job()
def items(count: Annotated[int, Param(help="how many elements")]) -> list[int]:
    return list(range(count))


@wf.job(array=True)
def nothing(item: Annotated[int, Result(step="items")]) -> int:
    return item


def array(run_dir: str, count: int) -> dict[str, object]:
    """Run the array; `states` says how many elements ran and how many were cached."""
    start = time.perf_counter()
    run = wf.run_local(run_dir=run_dir, count=count)
    seconds = time.perf_counter() - start
    peak = peak_memory()
    status = run.status(as_dict=True)
    outputs = {
        row["array_index"]: row["output"]
        for row in status["instances"]
        if row["task_name"] == "nothing"
    }
    if len(outputs) != count or any(index != value for index, value in outputs.items()):
        raise SystemExit(f"wrong outputs: {len(outputs)} of {count} elements")
    return {
        "seconds": seconds,
        "peak_bytes": peak,
        "run_id": run.run_id,
        "states": status["summary"]["nothing"],
    }


def chain(run_dir: str, count: int) -> dict[str, object]:
    """Import the module of `count` tasks that lies beside the run directory; time its run."""
    sys.path.insert(0, str(Path(run_dir).parent))
    workflow: Workflow = importlib.import_module("chain_of_tasks").wf
    start = time.perf_counter()
    run = workflow.run_local(run_dir=run_dir, start=0)
    seconds = time.perf_counter() - start
    status = run.status(as_dict=True)
    name = f"task_{count - 1}"
    last = [row["output"] for row in status["instances"] if row["task_name"] == name]
    if last != [count - 1]:
        raise SystemExit(f"wrong output of the last task: {last}")
    return {"seconds": seconds, "peak_bytes": peak_memory(), "run_id": run.run_id}


def status(run_dir: str, run_id: str, *, as_dict: bool) -> dict[str, object]:
    """Get the handle of an older run and ask for its status."""
    start = time.perf_counter()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        reload(run_dir, run_id).status(as_dict=as_dict)
    return {"seconds": time.perf_counter() - start}


def reload(run_dir: str, run_id: str) -> Any:
    if hasattr(wf, "run"):
        return wf.run(run_id)
    from reflow.stores.sqlite import SqliteStore  # reflow-hpc's store, where it keeps all runs

    return Run(wf, run_id, Path(run_dir), SqliteStore.default())


def peak_memory() -> int:
    """Return this process's peak resident memory in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    what, run_dir, argument = sys.argv[1:]
    if what == "array":
        answer = array(run_dir, int(argument))
    elif what == "chain":
        answer = chain(run_dir, int(argument))
    else:
        answer = status(run_dir, argument, as_dict=what == "status")
    print(json.dumps(answer))
