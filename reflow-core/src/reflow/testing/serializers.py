"""The contract of serializers."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ..values.serializers.base import Serializer
from .folders import snapshot
from .processes import reference, run_fresh
from .registration import assert_named_without_its_types, not_promised

_PREPARE = """
from pathlib import Path
from reflow.testing.processes import referenced
where, pairs = arguments
made = referenced(where)()
"""
_AGAIN = f"""{_PREPARE}
for source, target in pairs:
    made.dump(made.load(Path(source)), Path(target))
"""
_FULL = f"""{_PREPARE}
import os, resource
results = []
most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
for source, target in pairs:
    value = made.load(Path(source))
    room = os.path.getsize(source) // 2
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, most))
    try:
        made.dump(value, Path(target))
    except OSError:
        results.append("OSError")
    except BaseException as error:
        results.append(type(error).__name__)
    else:
        results.append("no error")
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
print(json.dumps(results))
"""


class SerializerContract:
    """What every serializer must do. Derive a class named ``Test…`` and set:

    * `entry`, the registered name, or `serializer`, the class; or both.
    * `values`, samples that it writes and reads; empty and odd ones among them.
    * `refused`, samples that it must refuse with `TypeError` or `ValueError`.
    * `same`, where ``==`` does not say whether two values are equal.

    And where it promises less: `deterministic` (equal values write equal bytes, so that
    downstream results are found again), `lazy` True (a loaded value may still need its file),
    `detects_damage` (`load` raises for a cut, empty or foreign file: formats without a
    beginning, a length or an end, such as plain text, cannot).
    """

    entry: ClassVar[str] = ""
    serializer: ClassVar[type[Serializer] | None] = None
    values: ClassVar[Sequence[Any]] = ()
    refused: ClassVar[Sequence[Any]] = ()
    deterministic: ClassVar[bool] = True
    lazy: ClassVar[bool] = False
    detects_damage: ClassVar[bool] = True

    def same(self, a: Any, b: Any) -> bool:
        """Whether a loaded value `b` is as good as the written `a`."""
        return type(a) is type(b) and bool(a == b)

    @cached_property
    def cls(self) -> type[Serializer]:
        """The class under test."""
        if self.serializer is not None:
            return self.serializer
        from ..plugins import kinds, lookup

        assert self.entry, "set `entry` to the registered name, or `serializer` to the class"
        entry = lookup.serializer_entry(self.entry)
        cls = kinds.load_target("serializer", entry.name, entry.target)
        assert issubclass(cls, Serializer)
        return cls

    @pytest.fixture
    def made(self) -> Serializer:
        """One object of the class, as reflow makes it."""
        return self.cls()

    @pytest.fixture
    def path(self, made: Serializer, tmp_path: Path) -> Path:
        """A new file, the only one in its folder, named as in a run."""
        folder = tmp_path / "values"
        folder.mkdir()
        return folder / f"{'5e' * 32}{made.suffix}"

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run the cases that take a `value` once for each sample."""
        if "value" in metafunc.fixturenames:
            ids = [f"{number}-{type(value).__name__}" for number, value in enumerate(self.values)]
            metafunc.parametrize("value", list(self.values), ids=ids)

    def _written(self, made: Serializer, folder: Path) -> list[tuple[str, str]]:
        """Write all samples; return their files, each with the name of one to write."""
        pairs = []
        for number, value in enumerate(self.values):
            source = folder / f"{number}-source{made.suffix}"
            made.dump(value, source)
            pairs.append((str(source), str(folder / f"{number}-target{made.suffix}")))
        return pairs

    def test_samples_are_given(self) -> None:
        assert len(self.values) > 0, "set `values` to samples: without them nothing is tested"

    # What it is

    def test_it_is_a_serializer_made_without_arguments(self) -> None:
        assert isinstance(self.cls(), Serializer)

    def test_suffix_is_empty_or_begins_with_a_dot(self, made: Serializer) -> None:
        suffix = made.suffix
        assert isinstance(suffix, str)
        assert re.fullmatch(r"(\.\w[\w.-]{0,31})?", suffix), "such as '.npy', or empty"

    def test_the_name_leads_to_the_class(self) -> None:
        from ..plugins import kinds, lookup

        if not self.entry:
            not_promised("no `entry`, so no registered name")
        entry = lookup.serializer_entry(self.entry)
        assert entry.name == self.entry
        assert kinds.load_target("serializer", entry.name, entry.target) is self.cls

    def test_the_types_of_the_values_are_those_registered(self) -> None:
        from ..plugins import lookup

        if not self.entry:
            not_promised("no `entry`, so no registered types")
        entry = lookup.serializer_entry(self.entry)
        for value in self.values:
            chosen = lookup.serializer_entry_for(type(value))
            if entry.types:
                assert chosen == entry, f"{entry.types} do not match {type(value)}"
            else:
                assert chosen != entry, "it registers no types, so only its name may choose it"

    def test_naming_it_imports_nothing_heavy(self) -> None:
        if not self.entry:
            not_promised("no `entry`, so no registered name")
        assert_named_without_its_types("serializer_entry", self.entry)

    # Writing and reading

    def test_a_value_comes_back(self, made: Serializer, path: Path, value: Any) -> None:
        made.dump(value, path)
        assert self.same(value, made.load(path))
        assert self.same(value, self.cls().load(path)), "another object must read it too"

    def test_writing_does_not_change_the_value(
        self, made: Serializer, path: Path, value: Any
    ) -> None:
        before = copy.deepcopy(value)
        made.dump(value, path)
        assert self.same(before, value)

    def test_it_writes_one_file_and_nothing_beside_it(
        self, made: Serializer, path: Path, value: Any
    ) -> None:
        before = snapshot(path.parent.parent).keys()
        made.dump(value, path)
        assert snapshot(path.parent.parent).keys() - before == {f"values/{path.name}"}
        assert path.is_file()
        assert not path.is_symlink()

    def test_the_file_is_complete_when_dump_returns(
        self, made: Serializer, path: Path, value: Any
    ) -> None:
        made.dump(value, path)
        content = path.read_bytes()
        del made
        assert path.read_bytes() == content
        copied = path.with_name(f"copy{self.cls.suffix}")
        copied.write_bytes(content)
        assert self.same(value, self.cls().load(copied)), "the file alone must be enough"

    def test_loading_does_not_change_the_file(
        self, made: Serializer, path: Path, value: Any
    ) -> None:
        made.dump(value, path)
        before = snapshot(path.parent)
        for _ in range(2):
            assert self.same(value, made.load(path))
        assert snapshot(path.parent) == before

    def test_equal_values_write_equal_bytes(
        self, made: Serializer, path: Path, value: Any
    ) -> None:
        if not self.deterministic:
            not_promised("`deterministic` is False, so what takes such a value may run again")
        made.dump(value, path)
        again = path.with_name(f"again{made.suffix}")
        self.cls().dump(copy.deepcopy(value), again)
        assert again.read_bytes() == path.read_bytes()
        loaded = path.with_name(f"loaded{made.suffix}")
        made.dump(made.load(path), loaded)
        assert loaded.read_bytes() == path.read_bytes(), "the loaded value is equal too"

    def test_a_loaded_value_needs_its_file_no_more(
        self, made: Serializer, path: Path, value: Any
    ) -> None:
        if self.lazy:
            not_promised("`lazy` is True, so a value may need its file as long as it lives")
        made.dump(value, path)
        loaded = made.load(path)
        # In place first: a file that is mapped into memory outlives its name.
        with path.open("r+b") as file:
            file.write(bytes(path.stat().st_size))
        shutil.rmtree(path.parent)
        assert self.same(value, loaded)

    @pytest.mark.parametrize(
        "name", ["with spaces", "ünïcode-値", "%41&quoted'", "n" * 200], ids=lambda name: name[:12]
    )
    def test_any_path_will_do(self, made: Serializer, tmp_path: Path, name: str) -> None:
        folder = tmp_path / name
        folder.mkdir()
        path = folder / f"{name}{made.suffix}"
        value = self.values[0]
        made.dump(value, path)
        assert [entry.name for entry in folder.iterdir()] == [path.name]
        assert self.same(value, made.load(path))

    def test_a_fresh_process_reads_and_writes_the_same(
        self, made: Serializer, path: Path
    ) -> None:
        pairs = self._written(made, path.parent)
        run_fresh(_AGAIN, reference(self.cls), pairs)
        for value, (source, target) in zip(self.values, pairs, strict=True):
            assert self.same(value, made.load(Path(target)))
            if self.deterministic:
                assert Path(target).read_bytes() == Path(source).read_bytes()

    # What must fail

    def test_it_refuses_what_it_cannot_write(self, made: Serializer, path: Path) -> None:
        if not self.refused:
            not_promised("`refused` names no value that it does not take")
        for value in self.refused:
            with pytest.raises((TypeError, ValueError)) as caught:
                made.dump(value, path)
            assert str(caught.value), "say what was given and what is allowed"
            path.unlink(missing_ok=True)

    def test_a_folder_that_is_missing_is_an_error(
        self, made: Serializer, path: Path
    ) -> None:
        for folder in (path.parent / "missing", path.parent / "file"):
            if folder.name == "file":
                folder.write_text("no folder")
            before = snapshot(path.parent)
            with pytest.raises(OSError):  # noqa: PT011  # which one depends on the system
                made.dump(self.values[0], folder / path.name)
            assert snapshot(path.parent) == before, "it must make no folder of its own"

    def test_a_full_disk_is_an_error(self, made: Serializer, path: Path) -> None:
        # A limit on the size of files is how a process meets a full disk without one.
        pairs = [pair for pair in self._written(made, path.parent) if Path(pair[0]).stat().st_size]
        results = json.loads(run_fresh(_FULL, reference(self.cls), pairs))
        assert results == ["OSError"] * len(pairs)

    def test_a_file_that_is_not_there_is_an_error(self, made: Serializer, path: Path) -> None:
        with pytest.raises(OSError):  # noqa: PT011
            made.load(path)

    @pytest.mark.parametrize("damage", ["cut in half", "last byte gone", "empty", "foreign"])
    def test_a_damaged_file_is_no_value(
        self, made: Serializer, path: Path, value: Any, damage: str
    ) -> None:
        if not self.detects_damage:
            not_promised("`detects_damage` is False, so a damaged file may be read")
        made.dump(value, path)
        content = path.read_bytes()
        path.write_bytes(
            {
                "cut in half": content[: len(content) // 2],
                "last byte gone": content[:-1],
                "empty": b"",
                "foreign": b"\xffno such format\x00\n" * 16,
            }[damage]
        )
        try:
            loaded = made.load(path)
            right = self.same(value, loaded)  # what is read lazily may fail only here
        except Exception:
            return
        assert right, f"{damage}: load returned {loaded!r} and raised nothing"
