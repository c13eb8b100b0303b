"""Serializers that are wrong in one way each; `case` is what must catch it."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any, ClassVar

from reflow.serializers.base import Serializer
from reflow.testing import SerializerContract


class Right(Serializer):
    suffix: ClassVar[str] = ".json"

    def dump(self, value: Any, path: Path) -> None:
        path.write_text(json.dumps(value, sort_keys=True))

    def load(self, path: Path) -> Any:
        return json.loads(path.read_text())


class Contract(SerializerContract):
    serializer = Right
    values = ([3, 1, 2], {"b": [1.5, None], "a": "ä"}, "text", list(range(5000)))
    refused = (object(), {"deep": {1, 2}})


class TestRight(Contract):
    pass


class TestStamped(Contract):
    case = "test_equal_values_write_equal_bytes"

    class serializer(Right):
        def dump(self, value: Any, path: Path) -> None:
            super().dump({"at": time.time_ns(), "value": value}, path)

        def load(self, path: Path) -> Any:
            return super().load(path)["value"]


class TestLeavesAFileBeside(Contract):
    case = "test_it_writes_one_file_and_nothing_beside_it"

    class serializer(Right):
        def dump(self, value: Any, path: Path) -> None:
            super().dump(value, path.with_suffix(".tmp"))
            super().dump(value, path)


class TestWritesUnderAnotherName(Contract):
    case = "test_it_writes_one_file_and_nothing_beside_it"

    class serializer(Right):
        def dump(self, value: Any, path: Path) -> None:
            super().dump(value, Path(f"{path}.json"))

        def load(self, path: Path) -> Any:
            return super().load(Path(f"{path}.json"))


class TestSwallowsAFullDisk(Contract):
    case = "test_a_full_disk_is_an_error"

    class serializer(Right):
        def dump(self, value: Any, path: Path) -> None:
            text = json.dumps(value, sort_keys=True)
            file = path.open("w")
            with contextlib.suppress(OSError):
                file.write(text)
                file.close()


class TestMakesFolders(Contract):
    case = "test_a_folder_that_is_missing_is_an_error"

    class serializer(Right):
        def dump(self, value: Any, path: Path) -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            super().dump(value, path)


class TestReadsWhatIsLeft(Contract):
    case = "test_a_damaged_file_is_no_value"

    class serializer(Right):
        def load(self, path: Path) -> Any:
            with contextlib.suppress(ValueError):
                return super().load(path)
            return None


class TestLosesTypes(Contract):
    case = "test_a_value_comes_back"
    values = ((1, 2), [1, 2])


class TestRewritesOnLoad(Contract):
    case = "test_loading_does_not_change_the_file"

    class serializer(Right):
        def load(self, path: Path) -> Any:
            value = super().load(path)
            self.dump(value, path)
            return value


class TestRemembersInsteadOfReading(Contract):
    case = "test_a_fresh_process_reads_and_writes_the_same"

    class serializer(Right):
        memory: ClassVar[dict[str, Any]] = {}

        def dump(self, value: Any, path: Path) -> None:
            super().dump("elsewhere", path)
            self.memory[path.read_text()] = value

        def load(self, path: Path) -> Any:
            return self.memory.get(path.read_text(), "lost")


class TestNeedsArguments(Contract):
    case = "test_it_is_a_serializer_made_without_arguments"

    class serializer(Right):
        def __init__(self, level: int) -> None:
            self.level = level


class TestIsNoSerializer(Contract):
    case = "test_it_is_a_serializer_made_without_arguments"

    class serializer:
        suffix = ".json"
        dump, load = Right.dump, Right.load


class TestSuffixWithoutADot(Contract):
    case = "test_suffix_is_empty_or_begins_with_a_dot"

    class serializer(Right):
        suffix = "json"


class TestTakesEverything(Contract):
    case = "test_it_refuses_what_it_cannot_write"

    class serializer(Right):
        def dump(self, value: Any, path: Path) -> None:
            path.write_text(json.dumps(value, sort_keys=True, default=str))


class TestChangesTheValue(Contract):
    case = "test_writing_does_not_change_the_value"

    class serializer(Right):
        def dump(self, value: Any, path: Path) -> None:
            if isinstance(value, list):
                value.append(None)
            super().dump(value, path)


class Later:
    """A value that is read when it is looked at."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __eq__(self, other: object) -> bool:
        return bool(json.loads(self.path.read_text()) == other)

    __hash__ = None  # type: ignore[assignment]


class TestReadsLater(Contract):
    case = "test_a_loaded_value_needs_its_file_no_more"

    def same(self, a: Any, b: Any) -> bool:
        return bool(b == a)

    class serializer(Right):
        def dump(self, value: Any, path: Path) -> None:
            if isinstance(value, Later):
                value = json.loads(value.path.read_text())
            super().dump(value, path)

        def load(self, path: Path) -> Any:
            return Later(path)


class TestNameLeadsElsewhere(Contract):
    case = "test_the_name_leads_to_the_class"
    entry = "pickle"


class TestHasNoSamples(Contract):
    case = "test_samples_are_given"
    values = ()
