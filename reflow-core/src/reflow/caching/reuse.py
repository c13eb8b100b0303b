"""Takes results of older runs over: their files, and what judges whether they still stand.

Workers import this: no attrs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..states import CACHED
from ..storage.attachments import may_run_code, stranger_of
from ..storage.filesystem import Files
from ..storage.outcome import Outcome
from ..values.references import current, files_in, is_file_name

if TYPE_CHECKING:
    from ..model.flow import TaskDefinition
    from ..storage.blobs import Values
    from ..values.references import Attachments
    from .hash_cache import FileHashes
    from .prior_results import Result
    from .verifiers.base import Output

    Judge = Callable[[Output], object]


def adopt(
    files: Files,
    values: str | None,
    serializers: Container[str],
    found: Result,
    tell: Callable[[str], object] | None = None,
) -> bool:
    """Share the files of a result's value with the folder `values`; False if it is not whole.

    So that cleaning its run up cannot break this one. Without `values` it is only looked at.
    Only `serializers` may have written them, and for the current user where reading them runs
    code. `tell` hears why results of another user are not used, else this process's log does.
    """
    folder = f"{found.record}/values"
    try:
        text = found.value
        if text is None:
            from hashlib import sha256  # few values are large; loading it takes long

            data = files.read(f"{folder}/{found.digest}.json")
            if sha256(data).hexdigest() != found.digest:
                return False
            if values is not None:
                files.make_folder(values)
                files.create(f"{values}/{found.digest}.json", data)
            text = data.decode("utf-8", "surrogatepass")
        attached = files_in(text)
        if attached and values is not None:
            files.make_folder(values)
        for serializer, name in attached:
            if serializer not in serializers or not is_file_name(name):
                return False
            stranger = stranger_of(f"{folder}/{name}")
            if stranger and may_run_code(serializer):
                why = f"they belong to {stranger}, and reading a {serializer} runs code"
                (tell or _tell)(not_used(found.record, why))
                return False
            if values is not None:
                files.share(f"{folder}/{name}", f"{values}/{name}")
            else:
                files.modified(f"{folder}/{name}")  # an error where it is not there
    except OSError as error:
        if isinstance(error, PermissionError):
            (tell or _tell)(not_used(found.record, _NO_ACCESS))
        return False
    return True


_told: set[str] = set()


_NO_ACCESS = "its files may not be read by this user"


def not_used(record: str, why: str) -> str:
    """Return what a person is told of an older run whose results are of no use here."""
    return f"results in {record} are not used but made again: {why}"


def _tell(text: str) -> None:
    """Say it in this process's log, once."""
    if text not in _told:
        _told.add(text)
        print(f"reflow: {text}", file=sys.stderr)


def hashes_of_user() -> FileHashes:
    """Return the hashes of what this user's processes have read, kept beside the default store."""
    from ..storage.stores.sqlite.store import default_store_path
    from .hash_cache import FileHashes

    try:
        return FileHashes(str(default_store_path().parent / "filehashes.json"))
    except RuntimeError:  # a user without a home: nothing is remembered
        return FileHashes("")


def judges_of(
    verifiers: Iterable[tuple[str, str]], functions: Iterable[object]
) -> list[Judge]:
    """Return what judges the results of a task.

    `verifiers` are (name, ``"module:Class"``), made when they are first asked; `functions`
    are the task's own, called with the value.
    """
    judges: list[Judge] = [_verifier(name, target) for name, target in verifiers]
    judges.extend(_judging(one) for one in functions if callable(one))
    return judges


def still_stands(
    judges: Sequence[Judge],
    found: Result,
    values: Values,
    attachments: Attachments,
    task: Callable[[], TaskDefinition],
) -> bool:
    """Whether all judge an older result to be whole. Raises what they raise.

    Its value, of which `values` and `attachments` have what is in files, is read, and `task`
    asked for, where one of them asks for it.
    """
    from pathlib import Path

    from .verifiers.base import Output

    def read() -> object:
        from ..values.codec import codec_for

        outcome = Outcome("", 0, 0, CACHED, digest=found.digest, value=found.value)
        return codec_for(task().signature().returns).decode(values.text(outcome))

    def prints() -> Mapping[str, str]:
        known = zip(found.paths, found.prints)  # noqa: B905 (equal, or there are none)
        return {path: text for path, text in known if text}

    before = current.set(attachments)
    try:
        output = Output(tuple(map(Path, found.paths)), read, prints)
        return all(judge(output) for judge in judges)
    finally:
        current.reset(before)


def _verifier(name: str, target: str) -> Judge:
    made: list[Any] = []

    def judge(output: Output) -> object:
        if not made:
            from ..plugins.lookup import load_target

            made.append(load_target("verifier", name, target)())
        return made[0].verify(output)

    return judge


def _judging(function: Callable[..., object]) -> Judge:
    return lambda output: function(output.value)
