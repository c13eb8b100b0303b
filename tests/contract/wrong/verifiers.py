"""Verifiers that are wrong in one way each; `case` is what must catch it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from reflow.testing import VerifierContract, output
from reflow.verifiers.base import Output, Verifier


class Right(Verifier):
    def verify(self, output: Output) -> bool:
        return all(path.read_text() == "whole" for path in output.paths)


def whole(folder: Path) -> Output:
    (folder / "a").write_text("whole")
    return output(folder / "a", [folder / "a"])


def cut(folder: Path) -> Output:
    (folder / "a").write_text("who")
    return output(folder / "a", [folder / "a"])


class Contract(VerifierContract):
    verifier = Right
    good = (whole,)
    bad = (cut,)


class TestRight(Contract):
    pass


class TestTruthy(Contract):
    case = "test_what_is_good_stands"

    class verifier(Right):
        def verify(self, output: Output) -> bool:
            return output.paths if super().verify(output) else ()  # type: ignore[return-value]


class TestTakesEverything(Contract):
    case = "test_what_is_bad_is_done_again"

    class verifier(Right):
        def verify(self, output: Output) -> bool:
            return True


class TestTakesWhatIsGone(Contract):
    case = "test_what_was_good_and_is_gone_is_done_again"

    class verifier(Right):
        def verify(self, output: Output) -> bool:
            return all(not p.exists() or p.read_text() == "whole" for p in output.paths)


class TestTouches(Contract):
    case = "test_judging_changes_no_file"

    class verifier(Right):
        def verify(self, output: Output) -> bool:
            for path in output.paths:
                path.touch()
            return super().verify(output)


class TestLeavesANote(Contract):
    case = "test_judging_changes_no_file"

    class verifier(Right):
        def verify(self, output: Output) -> bool:
            for path in output.paths:
                path.with_suffix(".checked").touch()
            return super().verify(output)


class TestMoody(Contract):
    case = "test_the_same_is_judged_the_same"

    class verifier(Right):
        calls = 0

        def verify(self, output: Output) -> bool:
            type(self).calls += 1
            return super().verify(output) and self.calls % 2 == 1


class TestSticksToItsFirstVerdict(Contract):
    case = "test_samples_do_not_depend_on_each_other"

    class verifier(Right):
        first: bool | None = None

        def verify(self, output: Output) -> bool:
            if self.first is None:
                self.first = super().verify(output)
            return self.first


class TestTakesAValueThatCannotBeRead(Contract):
    case = "test_a_value_that_cannot_be_read_does_not_stand"

    class verifier(Right):
        def verify(self, output: Output) -> bool:
            with contextlib.suppress(ValueError):
                return output.value is not None and super().verify(output)
            return True


class TestNeedsArguments(Contract):
    case = "test_it_is_a_verifier_made_without_arguments"

    class verifier(Right):
        def __init__(self, strict: bool) -> None:
            self.strict = strict


class TestNameLeadsElsewhere(Contract):
    case = "test_the_name_leads_to_the_class"
    entry = "exists"


class TestTypesDoNotMatch(VerifierContract):
    case = "test_the_types_of_the_values_are_those_registered"
    entry = "exists"
    bad = (lambda folder: output(folder / "none", [folder / "none"]),)

    @staticmethod
    def number(folder: Path) -> Output:
        return output(1)

    good = (number.__func__,)  # type: ignore[attr-defined]


class TestHasNoSamples(Contract):
    case = "test_samples_are_given"
    bad = ()
