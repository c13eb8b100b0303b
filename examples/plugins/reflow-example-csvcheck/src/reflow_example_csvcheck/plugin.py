"""What reflow learns at start."""

from __future__ import annotations

from collections.abc import Iterable

from reflow.hookspecs import VerifierEntry, hookimpl


@hookimpl
def reflow_register_verifiers() -> Iterable[VerifierEntry]:
    """Register the verifier "csvcheck", for tasks that ask for it."""
    return [
        VerifierEntry(name="csvcheck", target="reflow_example_csvcheck.verifier:CsvVerifier")
    ]
