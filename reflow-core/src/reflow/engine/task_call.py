"""The worker: calls a task's function with its inputs and says how it came out.

The same few lines run in the caller's process, in a pool of processes and in a job
on a cluster. Nothing here imports attrs, cattrs or a database, or has annotations as texts
(see `reflow.storage.outcome`).
"""

import gc
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import SerializationError
from ..states import ERROR, FAILED, MEMORY_SUSPECTED, OOM, SUCCESS
from ..values.hashing import digest
from ..values.references import current

if TYPE_CHECKING:
    from ..model.flow import TaskDefinition
    from ..values.references import Attachments


LONGEST_TRACEBACK = 60_000
"""Characters of one that are kept: each pass of the run holds those of all its failures."""


class Work(NamedTuple):
    """One element to run: `texts` are its own inputs, the task's `common` come beside.

    `stamps` stand for the files that are named in the texts, see `caching.file_fingerprint`.
    """

    task: str
    index: int  # type: ignore[assignment]  # a field, not tuple.index
    attempt: int
    identity: str
    texts: dict[str, str]
    stamps: dict[str, str] = {}  # noqa: RUF012 (never changed)


class Answer(NamedTuple):
    """What became of one call: a value's text and digest, or a cause and a traceback.

    `paths`, `prints`, `suspected` and `edited` are those of `reflow.storage.outcome.Outcome`.
    """

    state: str
    text: str
    digest: str
    paths: tuple[str, ...]
    cause: str
    detail: str
    started: float
    ended: float
    prints: tuple[str, ...] = ()
    suspected: str = ""
    edited: tuple[str, ...] = ()

    def with_notes(self, notes: Iterable[str]) -> "Answer":
        """Return a failure with what may be its reason in its detail; a success as it is."""
        if self.state == SUCCESS:
            return self
        return self._replace(detail="\n".join([self.detail, *notes]))


ALL_FILES = "all"
"""Stands for ``job(files=)`` where a verifier needs a fingerprint of every file of a result."""

WITHIN_TASK = "REFLOW_WITHIN_TASK"
"""The variable by which a run that a task begins knows that it may not wait for other runs: the
task's own run, or one that waits for that, may be among them."""


def edited_code_text(task: str) -> str:
    """Return the sentence on a task whose code was edited after it was submitted."""
    return f"the code of task {task!r} has changed since it was submitted"


@contextmanager
def within_task() -> Iterator[None]:
    """Run tasks in here."""
    before = os.environ.get(WITHIN_TASK)
    os.environ[WITHIN_TASK] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[WITHIN_TASK]


class TaskCaller:
    """One task, ready to be called many times.

    Only this task's annotations are read. `common` are the texts that every element
    receives; `attachments` has the values that JSON cannot hold, and `files` says how files
    count that the result names: as in ``job(files=)``, or `ALL_FILES`.
    """

    def __init__(
        self,
        task: "TaskDefinition",
        common: Mapping[str, str],
        attachments: "Attachments",
        files: str,
    ) -> None:
        from ..model.signature import PARAM, RUN_DIR
        from ..values.codec import codec_for, codec_to_read

        self._attachments = attachments
        self._function = task.function
        self._name = task.name
        self._decoders: dict[str, Any] = {}
        self._fixed: dict[str, Any] = {}
        self._fresh: list[tuple[Any, str, str]] = []
        signature = task.signature()
        for parameter in signature.parameters:
            name = parameter.name
            if parameter.kind == RUN_DIR:
                decode = _decode_path
            else:
                codec = codec_for if parameter.kind == PARAM else codec_to_read
                decode = codec(parameter.annotation).decode
            if name not in common:
                self._decoders[name] = decode
            elif common[name][:1] in "[{":
                # A list may be changed by the function: each call gets its own. So does a
                # value in a file, which is read when it is needed.
                self._fresh.append((decode, name, common[name]))
            else:
                self._fixed[name] = decode(common[name])
        returns = codec_for(signature.returns)
        self._encode = returns.encode
        self._paths = returns.paths if returns.has_paths else None
        self._needs_prints = files == ALL_FILES
        self._files = "content" if files == ALL_FILES else files

    def call(self, texts: Mapping[str, str]) -> Answer:
        """Call the function; whatever it raises, `sys.exit` included, is its failure."""
        started = time.time()
        before = current.set(self._attachments)
        try:
            arguments = dict(self._fixed)
            for decode, name, text in self._fresh:
                arguments[name] = decode(text)
            for name, text in texts.items():
                arguments[name] = self._decoders[name](text)
            value = self._function(**arguments)
            try:
                text = self._encode(value)
            except SerializationError as error:
                raise SerializationError(f"task {self._name!r}, return value: {error}") from None
            paths = () if self._paths is None else self._paths(value)
            prints = self._prints(paths) if paths else ()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return Answer(
                FAILED, "", "", (), ERROR, _traceback(error, self._name), started, time.time()
            )
        finally:
            current.reset(before)
        return Answer(SUCCESS, text, digest(text), paths, "", "", started, time.time(), prints)

    def _prints(self, paths: tuple[str, ...]) -> tuple[str, ...]:
        from ..caching.output_files import take_prints

        return take_prints(paths, self._files, self._tell)

    def _tell(self, path: str, error: Exception) -> None:
        # The result is right; only nobody can tell later whether the file is what it was.
        then = "a later run makes it again" if self._needs_prints else "only its path counts"
        print(
            f"reflow: task {self._name!r}: no fingerprint of {path}, so {then}: {error}",
            file=sys.stderr,
        )


def _decode_path(text: str) -> Any:
    import json
    from pathlib import Path

    return Path(json.loads(text))


def _traceback(error: BaseException, task: str) -> str:
    """Return a traceback that begins where the user's code does."""
    import traceback

    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__") == __name__:
        frames = frames.tb_next
    text = "".join(traceback.format_exception(type(error), error, frames)).rstrip()
    if len(text) > LONGEST_TRACEBACK:
        half = LONGEST_TRACEBACK // 2
        left_out = len(text) - 2 * half
        text = f"{text[:half]}\n… {left_out} characters left out …\n{text[-half:]}"
    if isinstance(error, SystemExit):
        return f"{text}\ntask {task!r} called sys.exit({error.code!r})"
    return text


def fail_unloadable(error: BaseException, now: float) -> Answer:
    """Return the answer for elements whose task could not even be prepared."""
    return Answer(FAILED, "", "", (), ERROR, _traceback(error, "?"), now, now)


def answer_of_death(
    task: str, *, code: int = 0, signal: int = 0, over_limit: bool = False
) -> Answer:
    """Return the answer for an element whose process died, by `signal` or with exit code `code`.

    `over_limit`: the kernel has killed it at its memory limit. Without that, who sent a SIGKILL
    is not known, and memory is suspected; so this is not for processes that reflow has killed.
    """
    import signal as signals  # which no worker needs that lives

    cause, suspected, how = ERROR, "", f"ended with exit code {code}"
    if signal:
        known = signal in set(signals.Signals)
        how = f"was killed by signal {signals.Signals(signal).name if known else signal}"
    if signal == signals.SIGKILL and over_limit:
        cause, how = OOM, f"{how}: it met its memory limit"
    elif signal == signals.SIGKILL:
        suspected, how = OOM, f"{how}: {MEMORY_SUSPECTED}"
    now = time.time()
    detail = f"task {task!r} left no answer: its process {how}"
    return Answer(FAILED, "", "", (), cause, detail, now, now, suspected=suspected)


def flush_output() -> None:
    """Put out what the task has printed; a closed or full output is no failure."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue


def enable_collector() -> None:
    """Turn the collector on in a process that was started without it.

    Loading modules makes many objects and no garbage: what is there by now is never searched.
    """
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
