"""What stands under the paths that a result names: when its task ends, and when it is reused.

Fingerprints are taken by the worker and kept with the outcome (`Outcome`), in
the order of its paths: texts of `file_fingerprint`, "" for a path that counts alone. Workers
import this: no attrs.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from typing import TypeAlias

from .file_fingerprint import full_print, is_same, parse, quick_print

NO_ACCESS = "may not be read by this user"

Hashed: TypeAlias = Callable[[str, os.stat_result], str]


def take_prints(
    paths: Sequence[str], how: str, tell: Callable[[str, Exception], None]
) -> tuple[str, ...]:
    """Return the fingerprints of paths, () where there is none at all.

    `how` is as in ``job(files=)``. What cannot be read has none: `tell` is told why.
    """
    if how == "path":
        return ()
    prints = []
    for path in paths:
        try:
            prints.append(_taken(path, how))
        except (OSError, ValueError) as error:  # a path may have a NUL in it
            tell(path, error)
            prints.append("")
    return tuple(prints) if any(prints) else ()


def _taken(path: str, how: str) -> str:
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


def trouble(paths: Sequence[str], prints: Sequence[str], hashed: Hashed | None = None) -> str:
    """Say which path does not stand as the task left it, "" if all do.

    By fingerprint, where there is one: sizes and times, unread, and the content where only
    the times differ. Else the path must be there, and may be read: another user's may not.
    `hashed` returns the sha256 of a file's content, perhaps without reading it again: its path
    and what `os.stat` said are given.
    """
    if len(prints) != len(paths):
        prints = ("",) * len(paths)
    stat_of, me = os.stat, os.geteuid()  # asked for ten thousand files
    for path, known in zip(paths, prints):  # noqa: B905 (equal by make)
        try:
            found = stat_of(path)
            if found.st_uid != me and not os.access(path, os.R_OK):
                return f"its file {path} {NO_ACCESS}"
            if not known or known.partition(" ")[0] == (
                f"f:{found.st_size}:{found.st_mtime_ns}"
            ):
                continue
            if not _is_same(path, known, found, hashed):
                return f"its file {path} was changed since it was made"
        except (FileNotFoundError, NotADirectoryError):
            return f"its file {path} is gone"
        except PermissionError:
            return f"its file {path} {NO_ACCESS}"
        except OSError as error:
            return f"its file {path} cannot be read ({error.strerror})"
        except ValueError:  # a NUL in the path, or no fingerprint
            return f"its file {path} cannot be compared"
    return ""


def _is_same(path: str, known: str, found: os.stat_result, hashed: Hashed | None) -> bool:
    before = parse(known)
    size = before.quick.split(":")[1:2]
    if hashed is None or not before.content or not stat.S_ISREG(found.st_mode):
        return is_same(path, before)
    return (
        before.quick.startswith("f:")
        and size == [str(found.st_size)]
        and hashed(os.path.abspath(path), found) == before.content
    )
