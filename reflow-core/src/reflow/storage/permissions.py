"""Gives a group its rights on what is made in a folder that is shared with it.

In a folder with the setgid bit (``chmod g+s``) new files and folders belong to the folder's group,
which should have the rights on them that it has on the folder. A umask such as 077 takes those
rights away, so they are set again here. Other folders are left alone, and nothing gets a right
that its folder does not have. Workers import this: no attrs.
"""

from __future__ import annotations

import contextlib
import os

_SETGID = 0o2000
_rights_of: dict[str, int] = {}


def group_rights(folder: str) -> int:
    """Return the rights, of 0o070, that a folder hands on to its group; 0 without setgid."""
    rights = _rights_of.get(folder)
    if rights is None:
        try:
            mode = os.stat(folder).st_mode
        except OSError:
            return 0
        rights = _rights_of[folder] = mode & 0o070 if mode & _SETGID else 0
    return rights


def let_read(handle: int, path: str) -> None:
    """Let the group of a shared folder read a new file, and run it if its owner can."""
    if group_rights(os.path.dirname(path)) & 0o040:
        with contextlib.suppress(OSError):  # a file system without such rights
            mode = os.fstat(handle).st_mode & 0o7777
            shared = mode | 0o040 | (0o010 if mode & 0o100 else 0)
            if shared != mode:
                os.fchmod(handle, shared)


def let_only_read(handle: int, path: str) -> None:
    """Let nobody but its owner write to a value's file, and the group of a shared folder read it.

    So the owner is who has written it, and a pickle of another user can be refused.
    """
    with contextlib.suppress(OSError):
        mode = os.fstat(handle).st_mode & 0o7777
        if mode & 0o022:
            os.fchmod(handle, mode & ~0o022)
    let_read(handle, path)


def make_folders(path: str, *, common: bool = False) -> None:
    """Make a folder and those above it, unless they exist.

    The group of a shared folder may look into the new ones, and with `common` make files in them.
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
