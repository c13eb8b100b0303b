"""The files that a result names: their fingerprints when its task ends, and whether they stand.

Fingerprints are taken by the worker and kept with the outcome (`Outcome`), in
the order of its paths: texts of `file_fingerprint`, "" for a path that counts alone. Workers
import this: no attrs.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .file_fingerprint import HashFile, file_stamp, full_print, is_same, parse, quick_print


def take_prints(
    paths: Sequence[str], how: str, report: Callable[[str, Exception], None]
) -> tuple[str, ...]:
    """Return the fingerprints of paths, () where there is none at all.

    `how` is as in ``job(files=)``. What cannot be read has none: `report` is called with its path
    and the error.
    """
    if how == "path":
        return ()
    prints = []
    for path in paths:
        try:
            prints.append(_fingerprint(path, how))
        except (OSError, ValueError) as error:  # a path may have a NUL in it
            report(path, error)
            prints.append("")
    return tuple(prints) if any(prints) else ()


def _fingerprint(path: str, how: str) -> str:
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return ""  # it may be there later, and is another one then
    if stat.S_ISDIR(mode):
        # A folder is often made by one task for others to fill: that does not change its result.
        if how == "auto":
            return ""
    elif not stat.S_ISREG(mode):
        return ""  # reading a pipe waits for somebody to write
    return str(quick_print(path) if how == "stat" else full_print(path))


class Damage(NamedTuple):
    """Why the files of a result do not stand; `no_access`: this user may not read one."""

    reason: str
    no_access: bool = False


def find_damage(
    paths: Sequence[str], prints: Sequence[str], hash_file: HashFile | None = None
) -> Damage | None:
    """Return why the first path that does not stand as the task left it does not, None if all do.

    By fingerprint, where there is one: sizes and times, unread, and the content where only
    the times differ. Else the path must be there, and may be read: another user's may not.
    """
    if len(prints) != len(paths):
        prints = ("",) * len(paths)
    stat_of, me = os.stat, os.geteuid()  # asked for ten thousand files
    for path, fingerprint in zip(paths, prints):  # noqa: B905 (equal by make)
        try:
            status = stat_of(path)
            if status.st_uid != me and not os.access(path, os.R_OK):
                return _damage(path, PermissionError())
            # Only the few whose text differs are worth a comparison.
            as_left = not fingerprint or fingerprint.partition(" ")[0] == file_stamp(status)
            if not as_left and not is_same(path, parse(fingerprint), hash_file=hash_file):
                return Damage(f"its file {path} was changed since it was made")
        except (OSError, ValueError) as error:
            return _damage(path, error)
    return None


def _damage(path: str, error: OSError | ValueError) -> Damage:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return Damage(f"its file {path} is gone")
    if isinstance(error, PermissionError):
        return Damage(f"its file {path} may not be read by this user", no_access=True)
    if isinstance(error, OSError):
        return Damage(f"its file {path} cannot be read ({error.strerror})")
    # A NUL in the path, or no fingerprint.
    return Damage(f"its file {path} cannot be compared")
