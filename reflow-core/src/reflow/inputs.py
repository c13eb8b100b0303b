"""From outcomes to arguments: what each element of a task receives, as JSON texts.

Everything here works on canonical texts: a list is split into its items and items
are joined into a list without knowing the user's types, so a dispatch pass never
loads the user's code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from .errors import RecordError
from .identity import digest, element_identity, task_hash
from .plain import dump
from .planning import Progress, TaskState
from .spec import Wire
from .values import Values


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


def _contributions(progress: Progress, values: Values, name: str, wire: Wire) -> Iterator[str]:
    """Yield, in order, the text of each item that a wire's sources contribute."""
    for source in wire.sources:
        above = progress.tasks[source.task]
        for outcome in above.outcomes:
            if outcome is None:
                raise RecordError(f"task {name!r} was planned before {source.task!r} had ended")
            text = values.text(outcome)
            if source.flatten:
                yield from map(dump, _items(name, wire, text))
            else:
                yield text


class TaskInputs:
    """What the elements of one task receive, prepared once for all of them.

    `common` are the texts that every element receives, by parameter, and `hashed` the
    (parameter, digest) of those among them that come from other tasks. The rest differs by
    element and is read off with `texts`, `digests` and `identity`.
    """

    def __init__(self, progress: Progress, values: Values, state: TaskState) -> None:
        self.spec = state.spec
        self._values = values
        self.common: dict[str, str] = {
            constant.parameter: constant.text for constant in state.spec.constants
        }
        self._each: list[tuple[str, list[str] | None, TaskState | None]] = []
        self._anew = False
        self.hashed: list[tuple[str, str]] = []
        for wire in state.spec.wires:
            if wire.chained:
                self._each.append((wire.parameter, None, progress.tasks[wire.sources[0].task]))
                continue
            sources = [progress.tasks[source.task] for source in wire.sources]
            self._anew = self._anew or any(one.made_files() for one in sources)
            if wire.each:
                items = list(_contributions(progress, values, state.spec.name, wire))
                self._each.append((wire.parameter, items, None))
            else:
                if wire.listed:
                    parts = _contributions(progress, values, state.spec.name, wire)
                    text = f"[{','.join(parts)}]"
                    self.hashed.append((wire.parameter, digest(text)))
                else:
                    outcome = progress.tasks[wire.sources[0].task].outcomes[0]
                    assert outcome is not None
                    text = values.text(outcome)
                    self.hashed.append((wire.parameter, outcome.digest))
                self.common[wire.parameter] = text
        each = [parameter for parameter, _, _ in self._each]
        self._base = task_hash(state.spec, self.hashed, each)

    def size(self) -> int:
        """Return the number of elements, or raise `SizeError` if the inputs disagree."""
        sizes: dict[str, int] = {}
        for parameter, items, above in self._each:
            sizes[parameter] = (
                len(items) if items is not None else len(above.outcomes) if above else 0
            )
        if len(set(sizes.values())) > 1:
            told = ", ".join(f"{parameter} has {size}" for parameter, size in sizes.items())
            raise SizeError(
                f"the inputs of array task {self.spec.name!r} differ in length: {told}; they are "
                "paired item by item and must be equally long"
            )
        return next(iter(sizes.values()))

    def texts(self, index: int) -> dict[str, str]:
        """Return what differs for element `index`: its texts, by parameter."""
        found: dict[str, str] = {}
        for parameter, items, above in self._each:
            if items is not None:
                found[parameter] = items[index]
            elif above is not None:
                outcome = above.outcomes[index]
                assert outcome is not None
                found[parameter] = self._values.text(outcome)
        return found

    def identity(self, index: int) -> str:
        """Return the identity of element `index`."""
        if not self._each:
            return self._base.hexdigest()
        return element_identity(self._base, self.digests(index))

    def new_files(self, index: int) -> bool:
        """Whether element `index` receives paths of files that were made in this run.

        Their text may be that of older ones, so no older result may stand for what is made of
        them.
        """
        if self._anew:
            return True
        for _, _, above in self._each:
            outcome = None if above is None else above.outcomes[index]
            if outcome is not None and outcome.made_files:
                return True
        return False

    def digests(self, index: int) -> list[str]:
        """Return the digests of what differs for element `index`, in the wires' order."""
        digests: list[str] = []
        for _, items, above in self._each:
            if items is not None:
                digests.append(digest(items[index]))
            elif above is not None:
                outcome = above.outcomes[index]
                assert outcome is not None
                digests.append(outcome.digest)
        return digests
