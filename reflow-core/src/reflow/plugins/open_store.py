"""Opens a store by what a person or a record calls it: a path, or a URL."""

from __future__ import annotations

import os

from ..storage.stores.base import Store


def open_store(location: str | os.PathLike[str] | None = None) -> Store:
    """Return the store at `location`: a path of an SQLite file, or a URL; None: the default.

    The scheme of a URL names the plugin that brings the store. Raises what
    `reflow.plugins.store_class` and the store's own `from_url` raise.
    """
    text = "" if location is None else os.fspath(location)
    scheme, separator, _ = text.partition("://")
    if separator and scheme != "sqlite":
        from .lookup import store_class

        return store_class(scheme).from_url(text)
    # Nobody waits for plugins to get at the store that nearly everybody uses.
    from ..storage.stores.sqlite.store import SqliteStore, default_store_path

    return SqliteStore.from_url(text) if separator else SqliteStore(text or default_store_path())
