"""Requests to cancel or retry a run: numbered files, each taken up once by the lease's holder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .claims import latest_request, request_numbers
from .filesystem import Files


class Request(NamedTuple):
    """A person asks to cancel or retry a run, or some `tasks` of it (none: all).

    A retry may name another `executor`, with its `settings` as JSON.
    """

    number: int
    kind: str
    tasks: tuple[str, ...]
    executor: str = ""
    settings: str = ""


def read_requests(files: Files, folder: str, after: int = 0) -> list[Request]:
    """Return the requests with higher numbers than `after`, in order."""
    numbers = sorted(number for number in request_numbers(files, folder) if number > after)
    return [_read_request(files, folder, number) for number in numbers]


def newest_first(files: Files, folder: str) -> Iterator[Request]:
    """Yield the requests, the newest first; each is read when it is its turn."""
    for number in sorted(request_numbers(files, folder), reverse=True):
        yield _read_request(files, folder, number)


def _read_request(files: Files, folder: str, number: int) -> Request:
    native = json.loads(files.read(_request_path(folder, number)))
    place = native.get("executor", ""), native.get("settings", "")
    return Request(number, native["kind"], tuple(native["tasks"]), *place)


def leave_request(
    files: Files,
    folder: str,
    kind: str,
    tasks: Sequence[str],
    executor: str = "",
    settings: str = "",
) -> int:
    """Leave a request; return its number."""
    native: dict[str, object] = {"kind": kind, "tasks": tasks}
    if executor:
        native.update(executor=executor, settings=settings)
    text = json.dumps(native).encode()
    number = latest_request(files, folder)
    while True:
        # On from a name that is taken, not listed again: the listing may be of a while ago.
        number += 1
        # The name says nothing of the kind: a cancel and a retry must not share a number.
        if files.create(_request_path(folder, number), text):
            return number


def _request_path(folder: str, number: int) -> str:
    return f"{folder}/epochs/{number:06d}.json"
