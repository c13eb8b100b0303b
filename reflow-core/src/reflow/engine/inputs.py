"""From outcomes to arguments: what each element of a task receives, as JSON texts.

Everything here works on canonical texts: a list is split into its items and items
are joined into a list without knowing the user's types, so a dispatch pass never
loads the user's code.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from ..caching.file_marks import (
    Mark,
    digest_of_marks,
    digest_with_files,
    digest_with_marks,
    marks_in,
    marks_of,
)
from ..caching.identity import element_identity, identity_parts, task_hash, with_files
from ..errors import RecordError
from ..model.spec import Wire
from ..storage.blobs import Values
from ..storage.outcome import Outcome
from ..values.hashing import digest
from ..values.json_codec import dump
from .planner import Progress, TaskState

if TYPE_CHECKING:
    from hashlib import _Hash


class SizeError(RecordError):
    """The elements of an array cannot be counted: the reason, for the outcome."""


def _items(name: str, wire: Wire, text: str) -> list[object]:
    items = json.loads(text)
    if not isinstance(items, list):
        raise SizeError(
            f"task {name!r} gets one element for each item of {wire.parameter!r}, but "
            f"{wire.sources[0].task!r} returned {type(items).__name__}, not a list"
        )
    return items


def _contributions(
    progress: Progress, values: Values, name: str, wire: Wire
) -> Iterator[tuple[str, Iterable[Mark]]]:
    """Yield, in order, the text and the marks of each item that a wire's sources contribute."""
    for source in wire.sources:
        above = progress.tasks[source.task]
        for outcome in above.outcomes:
            if outcome is None:
                raise RecordError(f"task {name!r} was planned before {source.task!r} had ended")
            text, marks = values.text(outcome), marks_of(outcome)
            if source.flatten:
                for item in _items(name, wire, text):
                    yield dump(item), marks_in(item, marks)
            else:
                yield text, marks.items()


class _Each(NamedTuple):
    """What differs by element over one wire: items and their stamps, or an array's outcomes."""

    parameter: str
    items: list[str]
    stamps: list[str]
    above: TaskState | None = None


class TaskInputs:
    """What the elements of one task receive, prepared once for all of them.

    `common` are the texts that every element receives, by parameter, `common_stamps` what
    stands for the files that are named in them, and `hashed` the (parameter, digest) of those
    that come from other tasks. The rest differs by element and is read off with `texts`,
    `stamps`, `digests` and `identity`.
    """

    def __init__(self, progress: Progress, values: Values, state: TaskState) -> None:
        self.spec = state.spec
        self._values = values
        self.common: dict[str, str] = {
            constant.parameter: constant.text for constant in state.spec.constants
        }
        self.common_stamps: dict[str, str] = {}
        self._each: list[_Each] = []
        self._shared_new_files = False  # paths that every element receives
        self.hashed: list[tuple[str, str]] = []
        for wire in state.spec.wires:
            self._receive(progress, wire)
        # Elements share all but the last part of what is hashed: it is hashed once and copied.
        self._bases: dict[tuple[tuple[str, str], ...], _Hash] = {}
        self._base = self._base_of({})

    def _receive(self, progress: Progress, wire: Wire) -> None:
        """Prepare what comes over one wire."""
        above = progress.tasks[wire.sources[0].task]
        if wire.chained:
            self._each.append(_Each(wire.parameter, [], [], above))
            return
        # Of a chain each element has its own files: see `new_files`.
        if any(progress.tasks[source.task].made_files() for source in wire.sources):
            self._shared_new_files = True
        if not (wire.each or wire.listed):
            outcome = _supplied(above, 0)
            text, marks_there = self._values.text(outcome), marks_of(outcome).items()
            self._share(wire.parameter, text, outcome.digest, marks_there)
            return
        items: list[str] = []
        item_marks: list[Iterable[Mark]] = []
        for text, marks in _contributions(progress, self._values, self.spec.name, wire):
            items.append(text)
            item_marks.append(marks)
        if wire.each:
            self._each.append(_Each(wire.parameter, items, list(map(digest_of_marks, item_marks))))
        else:
            text = f"[{','.join(items)}]"
            self._share(wire.parameter, text, digest(text), chain.from_iterable(item_marks))

    def _base_of(self, files: Mapping[str, str]) -> _Hash:
        """Return the hash that all elements share, which was made before if it was asked for."""
        key = tuple(sorted(files.items()))
        if key not in self._bases:
            parts = with_files(identity_parts(self.spec), files)
            each = [wire.parameter for wire in self._each]
            self._bases[key] = task_hash(parts, self.hashed, each)
        return self._bases[key]

    def _share(self, parameter: str, text: str, value_digest: str, marks: Iterable[Mark]) -> None:
        stamp = digest_of_marks(marks)
        self.common[parameter] = text
        self.hashed.append((parameter, digest_with_marks(value_digest, stamp)))
        if stamp:
            self.common_stamps[parameter] = stamp

    def size(self) -> int:
        """Return the number of elements, or raise `SizeError` if the inputs disagree."""
        sizes: dict[str, int] = {}
        for parameter, items, _, above in self._each:
            sizes[parameter] = len(items) if above is None else len(above.outcomes)
        if len(set(sizes.values())) > 1:
            lengths = ", ".join(f"{parameter} has {size}" for parameter, size in sizes.items())
            raise SizeError(
                f"the inputs of array task {self.spec.name!r} differ in length: {lengths}; they "
                "are paired item by item and must be equally long"
            )
        return next(iter(sizes.values()))

    def texts(self, index: int) -> dict[str, str]:
        """Return what differs for element `index`: its texts, by parameter."""
        return {
            parameter: items[index]
            if above is None
            else self._values.text(_supplied(above, index))
            for parameter, items, _, above in self._each
        }

    def stamps(self, index: int) -> dict[str, str]:
        """Return what stands for the files in the texts of element `index`, where there are any."""
        by_parameter: dict[str, str] = {}
        for parameter, _, stamps, above in self._each:
            stamp = (
                stamps[index]
                if above is None
                else digest_of_marks(marks_of(_supplied(above, index)).items())
            )
            if stamp:
                by_parameter[parameter] = stamp
        return by_parameter

    def identity(self, index: int, files: Mapping[str, str] | None = None) -> str:
        """Return the identity of element `index`.

        `files` are the hashes of what parameters name, by parameter, where that is not what it
        was at submission.
        """
        base = self._base_of(files) if files else self._base
        if not self._each:
            return base.hexdigest()
        return element_identity(base, self.digests(index))

    def new_files(self, index: int) -> bool:
        """Whether element `index` receives paths of files that this run made, and that have
        no fingerprint.

        Their text may be that of older ones, so no older result may stand for what is made of
        them.
        """
        return self._shared_new_files or any(
            each.above is not None and _supplied(each.above, index).made_files
            for each in self._each
        )

    def digests(self, index: int) -> list[str]:
        """Return the digests of what differs for element `index`, in the wires' order."""
        return [
            digest_with_marks(digest(items[index]), stamps[index])
            if above is None
            else digest_with_files(_supplied(above, index))
            for _, items, stamps, above in self._each
        ]


def _supplied(above: TaskState, index: int) -> Outcome:
    outcome = above.outcomes[index]
    assert outcome is not None
    return outcome
