"""Whether the files that run parameters name are what they were when the run was submitted.

They are looked at once at submission, and again when an element begins and when it ends: by
size and times, and by content where these differ. What an element has read is part of its
identity; what changed under its hands has none. Workers import this, where a task has such
files: no attrs.
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
from .file_fingerprint import GONE, full_print, quick_print

if TYPE_CHECKING:
    from ..storage.filesystem import Files
    from .hash_cache import FileHashes

_FOLDER, _OTHER = "d", "o"


class Look(NamedTuple):
    """What was seen of one path: `quick` by one `os.stat`, `counted` what is part of identities.

    `counted` is "" where the path counts alone, and None where nobody can tell what it is.
    """

    path: str
    quick: str
    counted: str | None


def glance(path: str, how: str) -> str:
    """Return the quick part of a look, unread; that of a folder says what is in it if it counts.

    `how` is as in ``job(files=)``. What cannot be looked at has one, too.
    """
    try:
        found = os.stat(path)
        if stat.S_ISREG(found.st_mode):
            # The time of the last change of the inode, too: nobody can set it back.
            return f"f:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"
        if not stat.S_ISDIR(found.st_mode):
            return _OTHER
        return _FOLDER if how == "auto" else quick_print(path).quick
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return GONE
    except OSError as error:
        return f"?{error.errno}"


def count(path: str, how: str, hashes: FileHashes) -> str:
    """Return what tells the content of a path from others; "" where only the path counts.

    Raises `OSError` for what is there and cannot be read.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return ""
    folder = stat.S_ISDIR(found.st_mode)
    if not folder and not stat.S_ISREG(found.st_mode):
        return ""
    if how == "stat":
        return quick_print(path).quick
    if not folder:
        return hashes.digest(path, found)
    return f"d:{full_print(path).content}" if how == "content" else ""


def files_hash(looks: Iterable[Look]) -> str:
    """Return the hash of what stands under the paths in a parameter, "" where nothing counts."""
    prints = [[one.path, one.counted] for one in looks if one.counted]
    return digest(dump(prints)) if prints else ""


def looks_text(directory: str, looks: Iterable[Look]) -> str:
    """Return as text what was seen of a parameter's files; relative paths start at `directory`."""
    return dump([directory, [list(one) for one in looks]])


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
    folder `values`. `hashes` gives what was read before; it is asked for where something differs.
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
        self._hashes = hashes
        self._known: FileHashes | None = None
        self._parameters = [
            _Parameter(name, *_parsed(stood_text(files, values, text)))
            for name, text in stood.items()
        ]

    def begin(self) -> Changed | None:
        """Look at the files before an element runs; None where all is as it was submitted."""
        self._look()
        changed: dict[str, str] = {}
        notes, sure = [], True
        for one in self._parameters:
            differ = one.different()
            if not differ:
                continue
            lost = [at for at in differ if one.now[at].counted is None]
            if lost:
                sure = False
                notes.append(one.told(lost, f"cannot be read ({one.reason})", _THIS_RUN))
            else:
                changed[one.name] = files_hash(one.now)
                first = differ[0]
                notes.append(one.told(differ, *_how_changed(one.before[first], one.now[first])))
        return Changed(changed if sure else None, tuple(notes)) if notes else None

    def end(self, changed: Changed | None) -> Changed | None:
        """Look once more, after the call; `changed` is what `begin` has returned."""
        told = f"was changed while task {self._task!r} ran"
        so = f'{_THIS_RUN} (files="path" is for what a task writes)'
        notes = [one.told(moved, told, so) for one, moved in self._look()]
        if not notes:
            return changed
        return Changed(None, (*(changed.notes if changed else ()), *notes))

    def _look(self) -> list[tuple[_Parameter, list[int]]]:
        """Look at all files; return those that are others than when they were last looked at."""
        found = []
        for one in self._parameters:
            moved = one.look(self._how, self._hash_of)
            if moved:
                found.append((one, moved))
        if self._known is not None:
            self._known.save()
        return found

    def _hash_of(self, path: str) -> str:
        if self._known is None:
            self._known = self._hashes()
        return count(path, self._how, self._known)


_THIS_RUN = "its result counts for this run alone"


class _Parameter:
    """The files of one parameter: as submitted, and as last seen."""

    def __init__(self, name: str, directory: str, looks: list[Look]) -> None:
        self.name = name
        self.before, self.now = looks, list(looks)
        self.reason = ""
        self._paths = [os.path.join(directory, one.path) for one in looks]
        self._moved = False

    def look(self, how: str, hash_of: Callable[[str], str]) -> list[int]:
        """Look at each file; return which are others than before."""
        moved = []
        for at, path in enumerate(self._paths):
            seen = self.now[at]
            quick = glance(path, how)
            if quick == seen.quick:
                continue
            try:
                counted: str | None = hash_of(path)
            except OSError as error:
                counted, self.reason = None, error.strerror or str(error)
            self.now[at] = Look(seen.path, quick, counted)
            if counted is None or counted != seen.counted:
                moved.append(at)
        self._moved = self._moved or bool(moved)
        return moved

    def different(self) -> list[int]:
        """Return which files are others than at submission."""
        if not self._moved:
            return []
        return [
            at
            for at, (one, other) in enumerate(zip(self.before, self.now, strict=True))
            if one.counted != other.counted
        ]

    def told(self, which: list[int], what: str, so: str) -> str:
        more = f" (and {len(which) - 1} more)" if len(which) > 1 else ""
        return f"parameter {self.name!r} names {self.now[which[0]].path}{more}, which {what}: {so}"


def _how_changed(before: Look, now: Look) -> tuple[str, str]:
    if now.quick == GONE:
        return "is gone since the run was submitted", "the task found nothing there"
    if before.quick == GONE:
        return "was not there when the run was submitted", "what is there now was read"
    return "was changed since the run was submitted", "the new content was read"


def _parsed(text: str) -> tuple[str, list[Look]]:
    directory, looks = json.loads(text)
    return directory, [Look(*one) for one in looks]
