"""Whether the files that run parameters name are what they were when the run was submitted.

They are looked at once at submission, and again when an element begins and when it ends: by
size and times, and by content where these differ. What an element has read is part of its
identity; an element whose files change while it runs has none. Workers import this, where a
task has such files: no attrs.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from ..errors import RecordError
from ..values.hashing import digest
from ..values.json_codec import dump
from .file_fingerprint import GONE, full_print, quick_print, strict_stamp

if TYPE_CHECKING:
    from ..storage.filesystem import Files
    from .hash_cache import FileHashes

_FOLDER, _OTHER = "d", "o"  # quick parts of folders that do not count, and of pipes and devices


class Look(NamedTuple):
    """How one path looked: `quick` by one `os.stat`, `counted` what is part of identities.

    `counted` is "" where the path counts alone, and None where nobody can tell what it is.
    """

    path: str
    quick: str
    counted: str | None


def quick_look(path: str, how: str) -> str:
    """Return the quick part of a look, unread; that of a folder says what is in it if it counts.

    `how` is as in ``job(files=)``. A path that cannot be looked at has one, too.
    """
    try:
        status = os.stat(path)
        if stat.S_ISREG(status.st_mode):
            return strict_stamp(status)
        if not stat.S_ISDIR(status.st_mode):
            return _OTHER
        return _FOLDER if how == "auto" else quick_print(path).quick
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return GONE
    except OSError as error:
        return f"?{error.errno}"


def content_of(path: str, how: str, hashes: FileHashes) -> str:
    """Return what tells the content of a path from others; "" where only the path counts.

    Raises `OSError` for what is there and cannot be read.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return ""
    is_folder = stat.S_ISDIR(status.st_mode)
    if not is_folder and not stat.S_ISREG(status.st_mode):
        return ""
    if how == "stat":
        return quick_print(path).quick
    if not is_folder:
        return hashes.digest(path, status)
    return f"d:{full_print(path).content}" if how == "content" else ""


def files_hash(looks: Iterable[Look]) -> str:
    """Return the hash of the files that a parameter names, "" where none counts."""
    counted = [[look.path, look.counted] for look in looks if look.counted]
    return digest(dump(counted)) if counted else ""


def looks_text(directory: str, looks: Iterable[Look]) -> str:
    """Return how a parameter's files looked, as text; relative paths start at `directory`."""
    return dump([directory, [list(look) for look in looks]])


def _parse_looks(text: str) -> tuple[str, list[Look]]:
    directory, looks = json.loads(text)
    return directory, [Look(*look) for look in looks]


def is_beside(stood: str) -> bool:
    """Whether `Constant.stood` is only the digest of its text, which is in a file of values."""
    return bool(stood) and not stood.startswith("[")


def stood_text(files: Files, values: str, stood: str) -> str:
    """Return the text of a `Constant.stood`. Raises `RecordError` where its file is gone."""
    if not is_beside(stood):
        return stood
    path = f"{values}/{stood}.json"
    try:
        return files.read(path).decode("utf-8", "surrogatepass")
    except FileNotFoundError as error:
        raise RecordError(
            f"the record is damaged: {path} is missing, which says how the files of the run's "
            "parameters stood; submit the run anew"
        ) from error


class Changed(NamedTuple):
    """What an element was made of besides what was submitted.

    `files` is what now counts of the parameters whose files have changed, as `files_hash` has
    it, or None where nobody can tell what the element has read. `notes` say it to people.
    """

    files: Mapping[str, str] | None
    notes: tuple[str, ...]


class InputFiles:
    """The files that the parameters of one task name.

    `stood` are its constants' `Constant.stood`, by parameter; texts that are beside are in the
    folder `values`. `hashes` gives what was read before; it is called where something differs.
    Elements come one after the other: `begin`, the call, `end`.
    """

    def __init__(
        self,
        task: str,
        stood: Mapping[str, str],
        how: str,
        files: Files,
        values: str,
        hashes: Callable[[], FileHashes],
    ) -> None:
        self._task = task
        self._how = how
        self._make_hashes = hashes
        self._hashes: FileHashes | None = None
        self._parameters = [
            _Parameter(name, *_parse_looks(stood_text(files, values, text)))
            for name, text in stood.items()
        ]

    def begin(self) -> Changed | None:
        """Look at the files before an element runs; None where all is as it was submitted."""
        self._look()
        changed: dict[str, str] = {}
        notes: list[str] = []
        is_known = True
        for parameter in self._parameters:
            positions = parameter.changed_since_submission()
            unreadable = [at for at in positions if parameter.now[at].counted is None]
            if unreadable:
                is_known = False
                what = f"cannot be read ({parameter.reason})"
                notes.append(parameter.note(unreadable, what, _THIS_RUN))
            elif positions:
                changed[parameter.name] = files_hash(parameter.now)
                at = positions[0]
                how = _how_changed(parameter.before[at], parameter.now[at])
                notes.append(parameter.note(positions, *how))
        return Changed(changed if is_known else None, tuple(notes)) if notes else None

    def end(self, changed: Changed | None) -> Changed | None:
        """Look once more, after the call; `changed` is what `begin` has returned."""
        what = f"was changed while task {self._task!r} ran"
        so = f'{_THIS_RUN} (files="path" is for what a task writes)'
        notes = [parameter.note(moved, what, so) for parameter, moved in self._look()]
        if not notes:
            return changed
        return Changed(None, (*(changed.notes if changed else ()), *notes))

    def _look(self) -> list[tuple[_Parameter, list[int]]]:
        """Look at all files; return those that are not as they were at the last look."""
        moved = []
        for parameter in self._parameters:
            positions = parameter.look(self._how, self._content_of)
            if positions:
                moved.append((parameter, positions))
        if self._hashes is not None:
            self._hashes.save()
        return moved

    def _content_of(self, path: str) -> str:
        if self._hashes is None:
            self._hashes = self._make_hashes()
        return content_of(path, self._how, self._hashes)


_THIS_RUN = "its result counts for this run alone"


class _Parameter:
    """The files of one parameter: as submitted (`before`), and as at the last look (`now`)."""

    def __init__(self, name: str, directory: str, looks: list[Look]) -> None:
        self.name = name
        self.before, self.now = looks, list(looks)
        self.reason = ""
        self._paths = [os.path.join(directory, look.path) for look in looks]
        self._moved = False

    def look(self, how: str, content_of: Callable[[str], str]) -> list[int]:
        """Look at each file; return the positions of those that have another content."""
        moved = []
        for at, path in enumerate(self._paths):
            last = self.now[at]
            # Before the content: what changes between the two differs at the next look.
            quick = quick_look(path, how)
            if quick == last.quick:
                continue
            try:
                counted: str | None = content_of(path)
            except OSError as error:
                counted, self.reason = None, error.strerror or str(error)
            self.now[at] = Look(last.path, quick, counted)
            if counted is None or counted != last.counted:
                moved.append(at)
        self._moved = self._moved or bool(moved)
        return moved

    def changed_since_submission(self) -> list[int]:
        """Return the positions of files whose content is not that of the submission."""
        if not self._moved:
            return []
        pairs = zip(self.before, self.now, strict=True)
        return [at for at, (then, now) in enumerate(pairs) if then.counted != now.counted]

    def note(self, positions: list[int], what: str, so: str) -> str:
        more = f" (and {len(positions) - 1} more)" if len(positions) > 1 else ""
        path = self.now[positions[0]].path
        return f"parameter {self.name!r} names {path}{more}, which {what}: {so}"


def _how_changed(before: Look, now: Look) -> tuple[str, str]:
    if now.quick == GONE:
        return "is gone since the run was submitted", "the task found nothing there"
    if before.quick == GONE:
        return "was not there when the run was submitted", "what is there now was read"
    return "was changed since the run was submitted", "the new content was read"
