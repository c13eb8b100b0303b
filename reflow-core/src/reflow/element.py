"""What a queued job does: one position of its array, from claim to outcome.

The hot path of a cluster: its cost does not grow with the array, and neither attrs,
cattrs, click, pluggy nor a database is imported.
"""

from __future__ import annotations

import json
import os
import time
from types import SimpleNamespace

from .claims import claim, publish, read_header, read_position
from .entrypoint import load_tasks
from .files import Files
from .records import Outcome
from .states import SUCCESS
from .values import Values
from .worker import Answer, TaskCaller, fail_unloadable, flush_output


def run_position(
    folder: str, tag: str, position: int, *, mark: str, files: Files | None = None
) -> str:
    """Run one position of a job; return the state that was published, "" for none.

    `folder` is the run's record and `mark` names the job to the scheduler: the same
    job may claim an attempt again. Nothing runs for an attempt that is another's, or
    of a run that was cancelled since.
    """
    files = files or Files()
    jobs = f"{folder}/jobs"
    header = read_header(files, jobs, tag)
    task = header["task"]
    if _cancelled(files, folder, task, header["epoch"]):
        return ""
    place = read_position(files, jobs, tag, position)
    if not claim(files, folder, task, place.index, place.attempt, mark):
        return ""
    now = time.time()
    try:
        entry = header["entrypoint"]
        if entry["directory"]:
            os.chdir(entry["directory"])
        tasks = load_tasks(SimpleNamespace(**entry), folder)
        answer = TaskCaller(tasks[task], header["common"]).call(place.texts)
    except Exception as error:
        answer = fail_unloadable(error, now)
    flush_output()
    return publish_answer(files, folder, task, place.index, place.attempt, place.identity, tag,
                          answer)  # fmt: skip


def publish_answer(
    files: Files,
    folder: str,
    task: str,
    index: int,
    attempt: int,
    identity: str,
    tag: str,
    answer: Answer,
) -> str:
    """Publish how an attempt came out; return its state, "" if it was given up meanwhile."""
    value: str | None = None
    if answer.state == SUCCESS:
        value = Values(files, f"{folder}/values").keep(answer.text, answer.digest)
    outcome = Outcome(
        task, index, attempt, answer.state, identity, answer.digest, value, answer.paths,
        answer.cause, answer.detail, "", tag, answer.started, answer.ended,
    )  # fmt: skip
    return answer.state if publish(files, folder, outcome) else ""


def _cancelled(files: Files, folder: str, task: str, epoch: int) -> bool:
    """Whether the run, or this task of it, was cancelled after the job was submitted."""
    for name in files.list(f"{folder}/epochs"):
        if int(name.partition(".")[0]) > epoch:
            asked = json.loads(files.read(f"{folder}/epochs/{name}"))
            if asked["kind"] == "cancel" and (not asked["tasks"] or task in asked["tasks"]):
                return True
    return False
