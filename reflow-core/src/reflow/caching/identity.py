"""The identity of an instance: what makes two pieces of work the same work.

sha256 over one canonical text of the task's name, version and code, the run
parameters it takes, and for each `Result` parameter the hash of exactly the value
that it receives. Nothing is truncated, nothing falls back to ``str``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..values.hashing import sha256

if TYPE_CHECKING:
    from hashlib import _Hash

    from ..model.spec import TaskSpec

SCHEME = "reflow-identity-1"
"""Part of every identity; changes when the way of hashing does."""


def identity_parts(task: TaskSpec) -> dict[str, Any]:
    """Return what of a task its identities are made of, JSON-safe: see `task_hash`."""
    return {
        "name": task.name,
        "version": task.version,
        "code": task.code,
        "serializer": task.serializer,
        "constants": [constant.counted() for constant in task.constants],
    }


def with_files(parts: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, Any]:
    """Return `identity_parts` with other hashes of the files that parameters name, by parameter."""
    constants = []
    for constant in parts["constants"]:
        name, kind, text, *_ = constant
        if name in files:
            # As `Constant.counted` has it: without a hash where no file counts.
            constant = [name, kind, text, *([files[name]] if files[name] else ())]
        constants.append(constant)
    return {**parts, "constants": constants}


def task_hash(
    parts: Mapping[str, Any], common: Iterable[tuple[str, str]], each: Iterable[str]
) -> _Hash:
    """Return the hash that all elements of a task share.

    `parts` are its `identity_parts`, `common` the (parameter, digest) pairs that every element
    receives, `each` the parameters, in order, whose digests `element_identity` adds.
    """
    text = json.dumps(
        [
            SCHEME,
            parts["name"],
            parts["version"],
            parts["code"],
            parts["constants"],
            [list(pair) for pair in common],
            list(each),
            *([parts["serializer"]] if parts["serializer"] else ()),
        ],
        ensure_ascii=False,
        separators=(",", ":"),
    )
    shared: _Hash = sha256(text.encode("utf-8", "surrogatepass"))
    return shared


def identity_of(
    parts: Mapping[str, Any],
    common: Iterable[tuple[str, str]],
    each: Sequence[tuple[str, str]],
) -> str:
    """Return the identity of an element.

    `parts` are a task's `identity_parts`; `common` and `each` the (parameter, digest) of the
    values it receives, of those that all elements receive and of its own.
    """
    base = task_hash(parts, common, [parameter for parameter, _ in each])
    return element_identity(base, [digest for _, digest in each])


def element_identity(base: _Hash, digests: Iterable[str]) -> str:
    """Return the identity of the element that receives values of these digests."""
    own = base.copy()
    for digest in digests:
        own.update(digest.encode("ascii"))
    return own.hexdigest()
