"""What a queued job does: one position of its array, from claim to outcome.

The hot path of a cluster: its cost does not grow with the array, and neither attrs,
cattrs, click, pluggy nor a database is imported, and annotations are no texts (see
`reflow.storage.outcome`).
"""

import contextlib
import errno
import os
import sys
import time
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..errors import RecordError
from ..model.entrypoint import load_tasks
from ..states import CACHED, ERROR, FAILED, OOM, SKIPPED, SUCCESS
from ..storage.attachments import AttachmentFolder
from ..storage.blobs import Values
from ..storage.claims import (
    JobHeader,
    Position,
    begin,
    claim,
    latest_request,
    publish,
    read_header,
    read_position,
)
from ..storage.filesystem import Files
from ..storage.outcome import CODE_EDITED, Outcome
from ..values.hashing import digest
from .task_call import (
    WITHIN_TASK,
    Answer,
    TaskCaller,
    answer_of_death,
    edited_code_text,
    enable_collector,
    fail_unloadable,
    flush_output,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..caching.hash_cache import FileHashes
    from ..caching.input_files import Changed, InputFiles
    from ..model.flow import TaskDefinition

PATIENCE = 3.0
"""Seconds in which an outcome that its job has published must have become visible."""

ROOM_PAUSES = (5.0, 15.0, 30.0, 60.0, 120.0, 240.0)
"""Seconds after which what came out is written again where there was no room for it."""

TERM_SECONDS = 15.0
"""So long after SIGTERM a job that still lives was not ended by its scheduler. PBS and LSF send
SIGKILL after 10 s ($kill_delay of qmgr(8B), JOB_TERMINATE_INTERVAL of lsb.params(5))."""


class Element:
    """One element that a worker has claimed, with the texts of its inputs.

    `stamps` stand for the files that are named in them, as `caching.file_fingerprint` has it.
    """

    def __init__(
        self,
        header: JobHeader,
        position: Position,
        identity: str,
        common: dict[str, str],
        texts: dict[str, str],
        stamps: dict[str, str],
    ) -> None:
        self.header = header
        self.task, self.index, self.attempt = header.task, position.index, position.attempt
        self.identity = identity
        self.common, self.texts, self.stamps = common, texts, stamps


def take_position(
    folder: str,
    tag: str,
    position: int,
    *,
    mark: str,
    files: Files,
    patience: float = PATIENCE,
) -> Element | None:
    """Claim what a position of a job has to run; None where there is nothing to run.

    That is so of an attempt that is another's, of a run that was cancelled since, and of an
    element whose inputs are not there: then it is SKIPPED if they never will be, and left
    to the next dispatch pass if they may. `patience` is how many seconds an outcome has to
    become visible here.
    """
    jobs = f"{folder}/jobs"
    header = read_header(files, jobs, tag)
    task = header.task
    # Before the claim: an attempt that nobody has claimed is the pass's to end.
    if _is_cancelled(files, folder, task, header.epoch):
        return None
    place = read_position(files, jobs, tag, position)
    common, texts, identity = header.common, place.texts, place.identity
    stamps = {**header.stamps, **place.stamps}
    state, cause, detail = "", "", ""
    if header.awaited is not None:
        from .deferred_inputs import Culprit, Deferred, Inputs

        if latest_request(files, folder) > header.epoch:
            return None  # what it awaits may be running again
        try:
            inputs = Inputs(files, folder, header.awaited, place.items, patience)
            common, texts, stamps = inputs.common, inputs.texts, inputs.stamps
            if inputs.new_files:
                header = header.changed(known="")  # older results are of older files
            identity = _identity(header.order, header.identity, common, texts, stamps)
        except Deferred as error:
            print(f"reflow: not run: {error}", file=sys.stderr)
            return None
        except Culprit as error:
            state, detail = SKIPPED, f"{error} did not succeed"
        except RecordError as error:  # a value that is gone, or no list
            state, cause, detail = FAILED, ERROR, str(error)
    # Only now: an attempt that was claimed must come to an outcome.
    if not begin(files, folder, task, place.index, place.attempt, mark):
        return None
    if state:
        ended = Outcome(
            task, place.index, place.attempt, state, cause=cause, detail=detail, job=tag,
            ended=time.time(),
        )  # fmt: skip
        publish(files, folder, ended)
        return None
    return Element(header, place, identity, common, texts, stamps)


def run_position(folder: str, tag: str, position: int, *, mark: str) -> str:
    """Run one position of a job; return the state that was published, "" for none.

    `folder` is the run's record and `mark` names the job to the scheduler: the same
    job may claim an attempt again.
    """
    files = Files()
    element = take_position(folder, tag, position, mark=mark, files=files)
    if element is None:
        return ""
    now = time.time()
    os.environ[WITHIN_TASK] = "1"
    worker = _Worker(files, folder, element)
    try:
        answer, identity = worker.run()
    except Exception as error:
        answer, identity = fail_unloadable(error, now), element.identity
    flush_output()  # who sees the outcome finds the whole log
    if isinstance(answer, Outcome):
        cached = answer._replace(
            job=tag, started=now, ended=time.time(), edited=tuple(worker.edited)
        )
        return _with_room(lambda: CACHED if publish(files, folder, cached) else "")
    if worker.edited:
        answer = answer._replace(edited=tuple(worker.edited))
    if answer.state == FAILED and _met_memory_limit():
        # Of a program that the task had started; the task itself has only seen it die.
        detail = f"{answer.detail} (a process of its job was killed: it met its memory limit)"
        answer = answer._replace(cause=OOM, detail=detail)
    return _with_room(
        lambda: publish_answer(files, folder, element.task, element.index, element.attempt,
                               identity, tag, answer)
    )  # fmt: skip


def _with_room(write: "Callable[[], str]") -> str:
    """Write what came out; where there is no room, again after growing pauses.

    It may have taken days to compute, and somebody else's files are deleted in minutes.
    """
    for pause in ROOM_PAUSES:
        try:
            return write()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            with contextlib.suppress(OSError, ValueError):  # the log may be as full
                print(
                    f"reflow: what came out cannot be written yet, again in {pause:g} s: {error}",
                    file=sys.stderr, flush=True,
                )  # fmt: skip
        time.sleep(pause)
    return write()


class _Worker:
    """One element on its way to an answer, or to the result of an older run."""

    def __init__(self, files: Files, folder: str, element: Element) -> None:
        self._files, self._folder, self._element = files, folder, element
        self._values = f"{folder}/values"
        self._header = element.header
        self._task: TaskDefinition | None = None
        self._notes: list[str] = []  # what has changed since the submission
        self._notices: list[str] = []  # why older results do not stand
        self.edited: list[str] = []
        """What was changed since the submission, as `Outcome.edited` has it."""

    def run(self) -> "tuple[Answer | Outcome, str]":
        """Return what came out, or the outcome of an older result that stands; and the identity."""
        element, header = self._element, self._header
        if header.entrypoint["directory"]:
            os.chdir(header.entrypoint["directory"])
        code = self._changed_code()
        if code and header.on_code_change == "fail":
            return _refusal(element.task), element.identity
        inputs = self._input_files() if header.stood else None
        changed = inputs.begin() if inputs else None
        identity = self._identity_now(code, changed)
        if identity and header.known:
            cached = self._cached(identity, (*self._notes, *(changed.notes if changed else ())))
            if cached is not None:
                return cached, identity
        return self._call(identity, inputs, changed)

    def _identity_now(self, code: str, changed: "Changed | None") -> str:
        """Return the identity of what the task is going to run with; "" where nobody can tell.

        `code` is the fingerprint of its code, and `changed` are the files of its parameters, where
        these are others than at submission.
        """
        element, header = self._element, self._header
        parts = header.identity
        if not (code or changed):
            return element.identity
        if code:
            parts = {**parts, "code": code}
            self.edited.append(CODE_EDITED)
            self._notes.append(f"{edited_code_text(element.task)}: the new code counts")
        if changed:
            if changed.files is None:
                return ""
            from ..caching.identity import with_files

            parts = with_files(parts, changed.files)
            self.edited.extend(changed.files)
        return _identity(header.order, parts, element.common, element.texts, element.stamps)

    def _call(
        self, identity: str, inputs: "InputFiles | None", changed: "Changed | None"
    ) -> "tuple[Answer, str]":
        """Run the task; `changed` are the files of its parameters that changed before."""
        element, header = self._element, self._header
        files = header.result_files or header.files
        caller = TaskCaller(self._load(), element.common, self._attachments, files)
        # Loading makes much and leaves no garbage; what a task makes is another matter.
        enable_collector()
        answer = caller.call(element.texts)
        if inputs:
            changed = inputs.end(changed)
        if changed:
            self._notes.extend(changed.notes)
            answer = answer.with_notes(changed.notes)
            identity = identity if changed.files is not None else ""
        if answer.state == SUCCESS:
            answer = answer._replace(detail="; ".join([*self._notes, *self._notices]))
        return answer, identity

    def _input_files(self) -> "InputFiles":
        from ..caching.input_files import InputFiles

        header = self._header
        return InputFiles(
            self._element.task, header.stood, header.files, self._files, self._values,
            _hashes,
        )  # fmt: skip

    def _load(self) -> "TaskDefinition":
        if self._task is None:
            entry = self._header.entrypoint
            self._task = load_tasks(SimpleNamespace(**entry), self._folder)[self._element.task]
        return self._task

    @cached_property
    def _attachments(self) -> AttachmentFolder:
        serializers = [SimpleNamespace(**spec) for spec in self._header.serializers]
        return AttachmentFolder(self._files, self._values, serializers)

    def _changed_code(self) -> str:
        """Return the fingerprint of the task's code, if it is another than at submission."""
        code, sources = self._header.identity["code"], self._header.sources
        if not code or not self._header.editable:
            return ""
        from ..caching.code_fingerprint import changed, is_unchanged

        return "" if is_unchanged(sources) else changed(self._load(), code)

    def _cached(self, identity: str, notes: "Sequence[str]") -> Outcome | None:
        """Return the outcome of this element if an older result stands for it."""
        from ..caching.prior_results import find_prior_result

        result = find_prior_result(self._files, f"{self._folder}/{self._header.known}", identity)
        if result is None:
            return None
        from ..caching.reuse import Checks, Reuse  # most workers find nothing

        check = self._header.check
        reuse = Reuse(
            self._element.task,
            self._files,
            [SimpleNamespace(**spec) for spec in self._header.serializers],
            self._load,
            lambda result: not result.unsettled,
            checks=None if check is None else Checks(**check),
            values=self._values,
        )
        decision = reuse.decide(result)
        if decision.notice:
            self._notices.append(decision.notice)
        element = self._element
        if not decision.stands:
            return None
        return reuse.outcome(result, identity, element.index, element.attempt, notes)


def _refusal(task: str) -> Answer:
    """Return the answer of a task whose code was edited in a run that must not have that."""
    now = time.time()
    detail = (
        f"{edited_code_text(task)}, and the run was told to fail then (on_code_change): submit "
        "it anew"
    )
    return Answer(FAILED, "", "", (), ERROR, detail, now, now)


def _hashes() -> "FileHashes":
    from ..caching.hash_cache import FileHashes  # for the few that meet a file that is another

    return FileHashes()


def _identity(
    order: "Sequence[tuple[str, bool]]",
    parts: dict[str, Any],
    common: dict[str, str],
    texts: dict[str, str],
    stamps: dict[str, str],
) -> str:
    """Return the identity of an element that receives these texts.

    `order` and `parts` (`identity`) are those of its job's header.
    """
    digests = {name: digest((texts if each else common)[name]) for name, each in order}
    if stamps:
        from ..caching.file_marks import digest_with_marks

        digests = {
            name: digest_with_marks(text, stamps.get(name, "")) for name, text in digests.items()
        }
    from ..caching.identity import identity_of  # most workers have theirs from the pass

    return identity_of(
        parts,
        [(name, digests[name]) for name, each in order if not each],
        [(name, digests[name]) for name, each in order if each],
    )


def publish_death(folder: str, tag: str, position: int, *, mark: str, code: int) -> str:
    """Publish that the worker of a position died; return the state, "" if it had published.

    `code` is the exit code as the job's shell, which outlives the interpreter, has it:
    128 and more for a signal. `mark` is that of `run_position`.
    """
    import signal  # which no other worker needs

    if code == 128 + signal.SIGTERM:
        # So a scheduler ends a job that was cancelled or is over its time: it kills what is left
        # of it soon (this process, too), and knows why.
        time.sleep(TERM_SECONDS)
    files = Files()
    header = read_header(files, f"{folder}/jobs", tag)
    place = read_position(files, f"{folder}/jobs", tag, position)
    if not claim(files, folder, header.task, place.index, place.attempt, mark):
        return ""
    number = code - 128 if code > 128 else 0
    over_limit = number == signal.SIGKILL and _met_memory_limit()
    answer = answer_of_death(header.task, code=code, signal=number, over_limit=over_limit)
    return publish_answer(files, folder, header.task, place.index, place.attempt,
                          place.identity, tag, answer)  # fmt: skip


def _met_memory_limit() -> bool:
    """Whether the kernel has killed a process in this job's cgroup, or in those around it.

    Source: "memory.events" of cgroup v2, "memory.oom_control" of the v1 memory controller.
    """
    with contextlib.suppress(OSError):
        with open("/proc/self/cgroup") as file:
            groups = [line.rstrip("\n").split(":", 2) for line in file]
        for _, controllers, path in groups:
            if controllers == "":
                base, name = "/sys/fs/cgroup", "memory.events"
            elif "memory" in controllers.split(","):
                base, name = "/sys/fs/cgroup/memory", "memory.oom_control"
            else:
                continue
            while "job" in path:  # those of the scheduler's job, not those of the machine
                with contextlib.suppress(OSError), open(f"{base}{path}/{name}") as file:
                    for line in file:
                        if line.startswith("oom_kill ") and int(line.split()[1]):
                            return True
                path = path.rpartition("/")[0]
    return False


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
        answer.cause, answer.detail, "", tag, answer.started, answer.ended, answer.prints,
        suspected=answer.suspected, edited=answer.edited,
    )  # fmt: skip
    return answer.state if publish(files, folder, outcome) else ""


def _is_cancelled(files: Files, folder: str, task: str, epoch: int) -> bool:
    """Whether the run, or this task of it, was cancelled after the job was submitted."""
    if latest_request(files, folder) <= epoch:
        return False
    from ..storage.requests import read_requests  # which few workers meet

    return any(
        request.kind == "cancel" and (not request.tasks or task in request.tasks)
        for request in read_requests(files, folder, epoch)
    )
