"""The identity of an instance: what makes two pieces of work the same work.

sha256 over one canonical text of the task's name, version and code, the run
parameters it takes, and for each `Result` parameter the hash of exactly the value
that it receives. Nothing is truncated, nothing falls back to ``str``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

    from .spec import TaskSpec

SCHEME = "reflow-identity-1"
"""Part of every identity; changes when the way of hashing does."""


def digest(text: str) -> str:
    """Return the sha256, in hex, of a value's canonical JSON text."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def task_hash(
    task: TaskSpec, common: Iterable[tuple[str, str]], each: Sequence[str]
) -> _Hash:
    """Return the hash that all elements of a task share.

    `common` are the (parameter, digest) pairs that every element receives, `each`
    the parameters, in order, whose digests `element_identity` adds.
    """
    text = json.dumps(
        [
            SCHEME,
            task.name,
            task.version,
            task.code,
            [[constant.parameter, constant.type, constant.text] for constant in task.constants],
            [list(pair) for pair in common],
            list(each),
            *([task.serializer] if task.serializer else ()),
        ],
        ensure_ascii=False,
        separators=(",", ":"),
    )
    return sha256(text.encode("utf-8", "surrogatepass"))


def element_identity(base: _Hash, digests: Iterable[str]) -> str:
    """Return the identity of the element that receives values of these digests."""
    own = base.copy()
    for one in digests:
        own.update(one.encode("ascii"))
    return own.hexdigest()
