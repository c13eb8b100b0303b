"""What reflow-postgres registers; psycopg is imported when the store is used."""

from __future__ import annotations

from collections.abc import Iterable

from reflow.hookspecs import StoreEntry, hookimpl


@hookimpl
def reflow_register_stores() -> Iterable[StoreEntry]:
    """Register the store of ``postgresql://…`` and ``postgres://…`` URLs."""
    return [
        StoreEntry(scheme=scheme, target="reflow_postgres.store:PostgresStore")
        for scheme in ("postgresql", "postgres")
    ]
