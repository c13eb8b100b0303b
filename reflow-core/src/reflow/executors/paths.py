"""Paths as schedulers take them; pure."""

from __future__ import annotations

import re

from ..errors import SubmissionRefusedError
from .base import JobRequest


def log_path(request: JobRequest, element: str) -> str:
    """Return the path of the log, of an array with the scheduler's word for its element."""
    return request.log.replace("{position}", element if request.size > 1 else "0")


def refuse(pattern: str, what: str, path: str, why: str) -> None:
    """Raise `SubmissionRefusedError` for a path that the scheduler would not take as it is."""
    if re.search(pattern, path, re.DOTALL):
        raise SubmissionRefusedError(f"the {what} {path!r} has {why}: use another run directory")
