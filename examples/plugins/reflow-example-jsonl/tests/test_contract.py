from __future__ import annotations

from pathlib import Path

import pytest
from reflow_example_jsonl.store import JsonLinesStore

from reflow.errors import StoreError
from reflow.testing import StoreContract


class TestJsonLines(StoreContract):
    entry = "jsonl"


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "index"
    path.write_text('no store\n["add"]\n')
    with pytest.raises(StoreError, match="no file of this store"):
        JsonLinesStore(path).list_runs()
    assert path.read_text() == 'no store\n["add"]\n'
