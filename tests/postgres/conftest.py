"""One server for all tests of a worker, with the owner's password in the environment."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from postgres.server import PASSWORD, Server, new_server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server for these tests alone."""
    started = new_server()
    try:
        yield started
    finally:
        started.stop()
        shutil.rmtree(started.folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the password in the environment, as people do, and not in any URL."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
