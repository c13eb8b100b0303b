"""The contract of stores, on a real PostgreSQL server."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from postgres.server import Server
from reflow.testing import StoreContract

pytestmark = pytest.mark.xdist_group("postgres")


class TestPostgres(StoreContract):
    entry = "postgresql"

    @pytest.fixture(autouse=True)
    def use(self, server: Server) -> None:
        self.server = server

    def url(self, folder: Path) -> str:
        """A schema of its own for each folder."""
        name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
        return self.server.url(f"{folder.name}-{name}".encode(errors="replace").decode())

    def unopenable(self, tmp_path: Path) -> str:
        return f"postgresql://owner@/postgres?host={tmp_path}"
