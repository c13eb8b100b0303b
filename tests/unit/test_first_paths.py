"""Classes of reflow's own that moved keep the names that records of 0.1.0 have for them."""

from __future__ import annotations

import importlib

import pytest

from reflow import Param, Retry, RunDir
from reflow.caching.call_graph import _named
from reflow.model.first_paths import FIRST, MOVED
from reflow.model.spec import VerifierSpec


@pytest.mark.parametrize("module", MOVED.values())
def test_a_moved_module_is_where_the_table_says(module: str) -> None:
    importlib.import_module(module)
    assert MOVED[FIRST[module]] == module


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (Param, "reflow.annotations.Param"),
        (RunDir, "reflow.annotations.RunDir"),
        (Retry, "reflow.retrying.Retry"),
    ],
)
def test_fingerprints_of_code_name_a_class_as_before_it_moved(cls: type, name: str) -> None:
    """Else every task with code="deep" that mentions one would run again after an upgrade."""
    assert _named(cls).split()[0] == name


def test_the_verifier_fingerprint_of_0_1_0_needs_fingerprints() -> None:
    first = "reflow.verifiers.fingerprint:FingerprintVerifier"
    assert VerifierSpec(name="fingerprint", target=first).fingerprints
    assert not VerifierSpec(name="exists", target="a:B").fingerprints
