"""Opens a store by what a person or a record calls it: a path, or a URL."""

from __future__ import annotations

import os
from typing import Any

from ..storage.stores.base import Store
from ..storage.user_state import default_store_path
from .kinds import SQLITE, SQLITE_STORE, load_target
from .lookup import store_class


def open_store(location: str | os.PathLike[str] | None = None) -> Store:
    """Return the store at `location`: a path of an SQLite file, or a URL; None: the default.

    The scheme of a URL names the plugin that brings the store. Raises what
    `reflow.plugins.store_class` and the store's own `from_url` raise.
    """
    text = "" if location is None else os.fspath(location)
    scheme, separator, _ = text.partition("://")
    if separator and scheme != SQLITE:
        return store_class(scheme).from_url(text)
    # Not by the registry: to load that takes longer than to list runs, and nearly everybody
    # uses this store.
    sqlite_store: Any = load_target("store", SQLITE, SQLITE_STORE)
    store: Store = (
        sqlite_store.from_url(text) if separator else sqlite_store(text or default_store_path())
    )
    return store
