"""Finds older results that can stand: where one run's copy cannot, another run may have one.

A person may have deleted the directory of a run, or another user's may not be read: the
index does not know, and whoever took the result over from there has it too. The very same
result: one of an older run that came out otherwise was replaced, perhaps for good reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..storage.stores.base import CachedResult, Store

MOST_ASKED = 5
"""So often another run is looked for that has a result."""


class Refusal(NamedTuple):
    """Why a result cannot stand; `final`: nor can another run's copy of it."""

    why: str
    final: bool = False


class Finding(NamedTuple):
    """The results that stand, by identity, and why the newest of the others do not."""

    good: dict[str, CachedResult]
    refused: dict[str, Refusal]


def find_results(
    store: Store,
    identities: Iterable[str],
    judge: Callable[[CachedResult], Refusal | None],
) -> Finding:
    """Look identities up: the newest result stands, in whichever run `judge` lets it stand.

    Raises `StoreError`.
    """
    good: dict[str, CachedResult] = {}
    refused: dict[str, Refusal] = {}
    digests: dict[str, str] = {}
    wanted, besides = list(dict.fromkeys(identities)), set[str]()
    for _ in range(MOST_ASKED):
        again: dict[str, list[str]] = defaultdict(list)
        found = store.lookup(wanted, newest=True, besides=besides)
        for identity in wanted:  # in their order, whatever the store's is: it is told of
            hit = found.get(identity)
            if hit is None or identity in good:
                continue
            same = digests.setdefault(identity, hit.digest) == hit.digest
            refusal = judge(hit) if same else refused[identity]
            if refusal is None:
                good[identity] = hit
                refused.pop(identity, None)
            else:
                refused.setdefault(identity, refusal)
                if not refusal.final:
                    again[hit.run_id].append(identity)
        if not again:
            break
        besides.update(again)
        wanted = [one for identities in again.values() for one in identities]
    return Finding(good, refused)
