"""What reflow itself registers, through the hooks that every plugin uses."""

from __future__ import annotations

from collections.abc import Iterable

from .hookspecs import ExecutorEntry, SerializerEntry, StoreEntry, VerifierEntry, hookimpl
from .kinds import SQLITE, SQLITE_STORE


@hookimpl
def reflow_register_executors() -> Iterable[ExecutorEntry]:
    """Register "local" and "dry-run"."""
    return [
        ExecutorEntry(name="local", target="reflow.executors.local:LocalExecutor"),
        ExecutorEntry(name="dry-run", target="reflow.executors.dryrun:DryRunExecutor"),
    ]


@hookimpl
def reflow_register_stores() -> Iterable[StoreEntry]:
    """Register the SQLite index."""
    return [StoreEntry(scheme=SQLITE, target=SQLITE_STORE)]


@hookimpl
def reflow_register_serializers() -> Iterable[SerializerEntry]:
    """Register "pickle", for no type: reading a pickle runs code, so a task must name it."""
    target = "reflow.values.serializers.pickle:PickleSerializer"
    return [SerializerEntry(name="pickle", target=target)]


@hookimpl
def reflow_register_verifiers() -> Iterable[VerifierEntry]:
    """Register "exists", for every path, "nonempty" and "fingerprint"."""
    return [
        VerifierEntry(
            name="exists",
            target="reflow.caching.verifiers.exists:ExistsVerifier",
            types=("pathlib.PurePath",),
        ),
        VerifierEntry(name="nonempty", target="reflow.caching.verifiers.nonempty:NonemptyVerifier"),
        VerifierEntry(
            name="fingerprint",
            target="reflow.caching.verifiers.fingerprint:FingerprintVerifier",
            fingerprints=True,
        ),
    ]
