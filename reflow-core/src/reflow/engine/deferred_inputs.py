"""How a worker that was queued ahead finds its inputs once the jobs before it have ended.

Workers import this: no attrs. The form of what it reads is `reflow.engine.lookahead.awaited`.
"""

from __future__ import annotations

import json
import time
from typing import Any

from ..errors import RecordError
from ..states import DONE, FAILED
from ..storage.blobs import Values
from ..storage.claims import read_outcome
from ..storage.filesystem import Files
from ..storage.outcome import Outcome
from ..values.json_codec import dump


class Deferred(Exception):
    """Something that is needed has not run: a dispatch pass will see to it."""


class Culprit(Exception):
    """Something that is needed has failed for good: its name."""


class Inputs:
    """What one element receives: `common` and `texts`, as for any worker.

    `stamps` stand for the files that are named in them. `new_files`: among these are such as
    this run has made, without a fingerprint.
    """

    def __init__(
        self, files: Files, folder: str, awaited: Any, items: dict[str, Any], patience: float
    ) -> None:
        """Read it from the record, waiting up to `patience` seconds.

        Raises `Deferred` or `Culprit`.
        """
        self._files = files
        self._folder = folder
        self._values = Values(files, f"{folder}/values")
        self._until = time.monotonic() + patience
        self._again = frozenset(awaited["again"])
        self.common: dict[str, str] = dict(awaited["common"])
        self.texts: dict[str, str] = {}
        self.stamps: dict[str, str] = {}
        self.new_files = False
        for source in awaited["after"]:
            for item in source["items"]:
                self._outcome(source["task"], item)
        for wire in awaited["wires"]:
            parameter = wire["parameter"]
            marks: list[tuple[str, str]] = []
            if wire["each"]:
                self.texts[parameter] = self._text(wire["task"], items[parameter], marks)
            else:
                parts = [
                    part
                    for source in wire["sources"]
                    for part in self._parts(
                        source["task"], source["items"], source["flatten"], marks
                    )
                ]
                self.common[parameter] = f"[{','.join(parts)}]" if wire["listed"] else parts[0]
            if marks:
                from ..caching.file_marks import digest_of_marks

                self.stamps[parameter] = digest_of_marks(marks)

    def _parts(
        self, task: str, items: list[Any], flatten: bool, marks: list[tuple[str, str]]
    ) -> list[str]:
        texts = [self._text(task, item, marks) for item in items]
        if not flatten:
            return texts
        parts: list[str] = []
        for text in texts:
            listed = json.loads(text)
            if not isinstance(listed, list):
                raise RecordError(f"{task!r} returned {type(listed).__name__}, not a list")
            parts.extend(map(dump, listed))
        return parts

    def _text(self, task: str, item: Any, marks: list[tuple[str, str]]) -> str:
        """Return the text of an item, and add the marks of the files that it names."""
        if isinstance(item, str):
            return item
        if isinstance(item, dict):
            marks.extend(item["marks"].items())
            return str(item["text"])
        outcome = self._outcome(task, item)
        self.new_files = self.new_files or outcome.made_files
        if outcome.prints:
            from ..caching.file_marks import marks_of

            marks.extend(marks_of(outcome).items())
        return self._values.text(outcome)

    def _outcome(self, task: str, item: list[int]) -> Outcome:
        index, attempt = item
        while True:
            outcome = read_outcome(self._files, self._folder, task, index, attempt)
            if outcome is not None:
                break
            if time.monotonic() > self._until:
                raise Deferred(f"{task}[{index}] has left nothing in attempt {attempt}")
            time.sleep(0.1)
            # A network file system looks a name up anew once its folder was listed.
            self._files.list(f"{self._folder}/outcomes/{task}")
        if outcome.state not in DONE:
            if outcome.state == FAILED and task in self._again:
                raise Deferred(f"{task}[{index}] has failed and may be tried again")
            raise Culprit(f"{task}[{index}]" if index else task)
        return outcome
