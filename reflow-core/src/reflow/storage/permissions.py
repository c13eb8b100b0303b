"""What a group may do with what is made in a folder that is shared by permission.

A folder with the setgid bit (``chmod g+s``) has all that is made in it belong to its group; which
of the group's rights it has itself is what the group is to have there. A umask such as 077
would take them away again, so they are given after all. Nothing is given in other folders, and
never a right that the folder does not give. Workers import this: no attrs.
"""

from __future__ import annotations

import contextlib
import os

_SETGID = 0o2000
_known: dict[str, int] = {}


def group_rights(folder: str) -> int:
    """Return the rights of its group, of 0o070, that a folder hands on; 0 without setgid."""
    found = _known.get(folder)
    if found is None:
        try:
            mode = os.stat(folder).st_mode
        except OSError:
            return 0
        found = _known[folder] = mode & 0o070 if mode & _SETGID else 0
    return found


def let_read(handle: int, path: str) -> None:
    """Let the group read a file that is being made, or run it if it can be run, if so asked."""
    if group_rights(os.path.dirname(path)) & 0o040:
        with contextlib.suppress(OSError):  # a file system without such rights
            mode = os.fstat(handle).st_mode & 0o7777
            wanted = mode | 0o040 | (0o010 if mode & 0o100 else 0)
            if wanted != mode:
                os.fchmod(handle, wanted)


def let_only_read(handle: int, path: str) -> None:
    """Let nobody else write to a file of a value, and the group read it if so asked.

    The owner's name on it says who has written it.
    """
    with contextlib.suppress(OSError):
        mode = os.fstat(handle).st_mode & 0o7777
        if mode & 0o022:
            os.fchmod(handle, mode & ~0o022)
    let_read(handle, path)


def make_folders(path: str, *, common: bool = False) -> None:
    """Make a folder and those above it; one that is there is fine.

    If so asked, the group may look into those that are made, and with `common` make files in them
    too.
    """
    missing = []
    while path and not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        os.makedirs(folder, exist_ok=True)
        rights = group_rights(os.path.dirname(folder)) & (0o070 if common else 0o050)
        if rights:
            with contextlib.suppress(OSError):
                mode = os.stat(folder).st_mode & 0o7777
                # Not every file system hands the bit on; to set it again takes nothing away.
                if mode | rights | _SETGID != mode:
                    os.chmod(folder, mode | rights | _SETGID)
