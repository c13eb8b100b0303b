"""What stands in a folder, to tell whether something changed it."""

from __future__ import annotations

from pathlib import Path

Snapshot = dict[str, tuple[int, int, bytes]]


def snapshot(folder: Path) -> Snapshot:
    """Return mode, time of change in nanoseconds and content of all below `folder`, by path."""
    content_of: Snapshot = {}
    for path in sorted(folder.rglob("*")):
        stat = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        content_of[str(path.relative_to(folder))] = (stat.st_mode, stat.st_mtime_ns, content)
    return content_of
