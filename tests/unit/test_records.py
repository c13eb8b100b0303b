"""Records come back from their lines as they were."""

from __future__ import annotations

from zlib import crc32

import pytest

from reflow.storage.events import decode, encode
from reflow.storage.outcome import Outcome

ONE = Outcome("task", 3, 1, "SUCCESS", "ab", "cd", '"/a"', ("/a", "/b"), ended=2.5)


@pytest.mark.parametrize("prints", [(), ("f:1:2 00ff", ""), ("", "-")])
def test_an_outcome_comes_back(prints: tuple[str, ...]) -> None:
    one = ONE._replace(prints=prints)
    assert decode(encode(one).rstrip(b"\n")) == one


def test_a_line_without_fingerprints_is_read() -> None:
    line = encode(ONE).rstrip(b"\n")
    assert line.endswith(b",2.5]"), "nothing is written where there are none"
    assert decode(line) == ONE
    assert decode(encode(Outcome("task", 0, 1, "FAILED")).rstrip(b"\n")) == Outcome(
        "task", 0, 1, "FAILED"
    )


@pytest.mark.parametrize("more", ["1", '["",""],1'])
def test_a_line_with_more_or_other_fields_is_damaged(more: str) -> None:
    body = encode(ONE).rstrip(b"\n")[9:-1] + f",{more}]".encode()
    assert decode(b"%08x %s" % (crc32(body), body)) is None
