"""The contract of verifiers."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import pytest

from ..caching.file_fingerprint import full_print
from ..caching.verifiers.base import Output, Verifier
from .folders import snapshot
from .registration import assert_named_without_its_types, not_promised, types_in

Sample = Callable[[Path], Output]
"""Makes an output, and its files below the folder that it is given."""


def output(value: object, paths: Iterable[Path] = ()) -> Output:
    """Return an output as reflow hands it to verifiers; `paths` are the files named in it.

    Their fingerprints are taken now, as when a task has ended.
    """
    paths = tuple(paths)
    taken: dict[str, str] = {}
    for path in paths:
        with contextlib.suppress(OSError):  # a link to itself, say
            taken[str(path)] = str(full_print(str(path)))
    return Output(paths, lambda: value, lambda: taken)


class VerifierContract:
    """What every verifier must do. Derive a class named ``Test…`` and set:

    * `entry`, the registered name, or `verifier`, the class; or both.
    * `good`, functions that take an empty folder and return an `Output` that stands.
    * `bad`, the same for outputs that must be done again: missing, cut, wrong.

    Where it does not look at the files of an output, `needs_files` is False.
    """

    entry: ClassVar[str] = ""
    verifier: ClassVar[type[Verifier] | None] = None
    good: ClassVar[Sequence[Sample]] = ()
    bad: ClassVar[Sequence[Sample]] = ()
    needs_files: ClassVar[bool] = True

    @cached_property
    def cls(self) -> type[Verifier]:
        """The class under test."""
        if self.verifier is not None:
            return self.verifier
        from ..plugins import kinds, lookup

        assert self.entry, "set `entry` to the registered name, or `verifier` to the class"
        entry = lookup.verifier_entry(self.entry)
        cls = kinds.load_target("verifier", entry.name, entry.target)
        assert issubclass(cls, Verifier)
        return cls

    @pytest.fixture
    def made(self) -> Verifier:
        """One object of the class, as reflow makes it."""
        return self.cls()

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """An empty folder for the files of a sample."""
        made = tmp_path / "output"
        made.mkdir()
        return made

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run the cases once for each sample."""
        for argument, samples in (("good_one", self.good), ("bad_one", self.bad)):
            if argument in metafunc.fixturenames:
                ids = [f"{number}-{_name(sample)}" for number, sample in enumerate(samples)]
                metafunc.parametrize(argument, list(samples), ids=ids)

    def test_samples_are_given(self) -> None:
        assert len(self.good) > 0, "set `good` to samples that stand"
        assert len(self.bad) > 0, "set `bad` to samples that do not"

    # What it is

    def test_it_is_a_verifier_made_without_arguments(self) -> None:
        assert isinstance(self.cls(), Verifier)

    def test_the_name_leads_to_the_class(self) -> None:
        from ..plugins import kinds, lookup

        if not self.entry:
            not_promised("no `entry`, so no registered name")
        entry = lookup.verifier_entry(self.entry)
        assert entry.name == self.entry
        assert kinds.load_target("verifier", entry.name, entry.target) is self.cls

    def test_the_types_of_the_values_are_those_registered(self, folder: Path) -> None:
        from ..plugins import lookup

        if not self.entry:
            not_promised("no `entry`, so no registered types")
        registered = lookup.verifier_entry(self.entry)
        for number, sample in enumerate(self.good):
            place = folder / str(number)
            place.mkdir()
            chosen = [
                entry
                for kind in types_in(sample(place).value)
                for entry in lookup.verifier_entries_for(kind)
            ]
            assert (registered in chosen) == bool(registered.types), (
                f"{registered.types} do not match the value of good sample {number}"
                if registered.types
                else "it registers no types, so only its name may choose it"
            )

    def test_naming_it_imports_nothing_heavy(self) -> None:
        if not self.entry:
            not_promised("no `entry`, so no registered name")
        assert_named_without_its_types("verifier_entry", self.entry)

    # Its verdicts

    def test_what_is_good_stands(self, made: Verifier, folder: Path, good_one: Sample) -> None:
        assert made.verify(good_one(folder)) is True

    def test_what_is_bad_is_done_again(
        self, made: Verifier, folder: Path, bad_one: Sample
    ) -> None:
        sample = bad_one(folder)
        try:
            verdict = made.verify(sample)
        except Exception:  # as good as False, and says more
            return
        assert verdict is False

    def test_what_was_good_and_is_gone_is_done_again(
        self, made: Verifier, folder: Path
    ) -> None:
        if not self.needs_files:
            not_promised("`needs_files` is False, so files may be gone")
        lost = 0
        for number, sample in enumerate(self.good):
            place = folder / str(number)
            place.mkdir()
            result = sample(place)
            for path in result.paths:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            lost += bool(result.paths)
            if result.paths:
                assert _stands(made, result) is False, f"good sample {number} without its files"
        assert lost, "no good sample names a file; set `needs_files` to False if that is so"

    def test_judging_changes_no_file(
        self, made: Verifier, folder: Path, tmp_path: Path
    ) -> None:
        for number, sample in enumerate([*self.good, *self.bad]):
            place = folder / str(number)
            place.mkdir()
            result = sample(place)
            before = snapshot(tmp_path)
            _stands(made, result)
            assert snapshot(tmp_path) == before, f"sample {number} was changed"

    def test_the_same_is_judged_the_same(self, made: Verifier, folder: Path) -> None:
        for number, sample in enumerate([*self.good, *self.bad]):
            place = folder / str(number)
            place.mkdir()
            result = sample(place)
            first = _stands(made, result)
            for judge in (made, made, self.cls()):
                fingerprints = result.fingerprints
                fresh = Output(
                    result.paths,
                    lambda result=result: result.value,  # type: ignore[misc]
                    lambda fingerprints=fingerprints: fingerprints,  # type: ignore[misc]
                )
                assert _stands(judge, fresh) is first, f"sample {number}"

    def test_samples_do_not_depend_on_each_other(self, made: Verifier, folder: Path) -> None:
        """One object judges many outputs: what it saw of one must not colour the next."""
        results = []
        for number, sample in enumerate([*self.bad, *self.good, *self.bad]):
            place = folder / str(number)
            place.mkdir()
            results.append(sample(place))
        bad, good = len(self.bad), len(self.good)
        expected = [False] * bad + [True] * good + [False] * bad
        assert [_stands(made, result) for result in results] == expected

    def test_a_value_that_cannot_be_read_does_not_stand(
        self, made: Verifier, folder: Path, good_one: Sample
    ) -> None:
        reads = []

        def broken() -> object:
            reads.append(1)
            raise ValueError("this value cannot be read")

        good = good_one(folder)
        stands = _stands(made, Output(good.paths, broken, lambda: good.fingerprints))
        # Who does not look at the value need not care.
        assert stands is not bool(reads)


def _name(sample: Sample) -> str:
    return getattr(sample, "__name__", "sample").strip("<>")


def _stands(made: Verifier, result: Output) -> bool:
    """Return the verdict as reflow takes it: what raises does not stand."""
    try:
        verdict = made.verify(result)
    except Exception:
        return False
    assert type(verdict) is bool, f"verify returned {verdict!r}, which is not a bool"
    return verdict
