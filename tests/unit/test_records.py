"""Records come back from their lines as they were."""

from __future__ import annotations

from zlib import crc32

import pytest

from reflow.storage.events import decode, encode
from reflow.storage.outcome import Outcome, decode_outcome, encode_line

ONE = Outcome("task", 3, 1, "SUCCESS", "ab", "cd", '"/a"', ("/a", "/b"), ended=2.5)


@pytest.mark.parametrize("prints", [(), ("f:1:2 00ff", ""), ("", "-")])
def test_an_outcome_comes_back(prints: tuple[str, ...]) -> None:
    outcome = ONE._replace(prints=prints)
    assert decode(encode(outcome).rstrip(b"\n")) == outcome


def test_a_line_without_fingerprints_is_read() -> None:
    line = encode(ONE).rstrip(b"\n")
    assert line.endswith(b",2.5]"), "nothing is written where there are none"
    assert decode(line) == ONE
    assert decode(encode(Outcome("task", 0, 1, "FAILED")).rstrip(b"\n")) == Outcome(
        "task", 0, 1, "FAILED"
    )


def test_a_result_that_may_still_change_comes_back() -> None:
    outcome = ONE._replace(state="CACHED", origin="run-1", unsettled=True)
    decoded = decode(encode(outcome).rstrip(b"\n"))
    assert decoded == outcome
    assert outcome.made_files
    assert not outcome._replace(unsettled=False).made_files


def test_the_detail_of_earlier_versions_is_understood() -> None:
    """Only the text of the detail said that the files of a result may still change."""
    words = "its run had not succeeded: its files may be newer than what was made of older ones"
    earlier = ONE._replace(state="CACHED", detail=words, origin="run-1")
    line = encode_line("out", earlier[:-3]).rstrip(b"\n")
    assert decode(line) == decode_outcome(line) == earlier._replace(unsettled=True)
    failed = encode_line("out", earlier._replace(state="FAILED")[:-3]).rstrip(b"\n")
    assert decode(failed) == earlier._replace(state="FAILED"), "a task may raise these words"


@pytest.mark.parametrize("prints", [(), ("-",)])
def test_a_suspicion_comes_back(prints: tuple[str, ...]) -> None:
    killed = ONE._replace(state="FAILED", cause="ERROR", prints=prints, suspected="OOM")
    assert decode(encode(killed).rstrip(b"\n")) == killed


def test_a_suspicion_is_read_that_earlier_versions_wrote_into_the_detail() -> None:
    """Version 0.1.0 wrote it; a task's own error with that ending was misread as one, too."""
    detail = "task 'a' left no answer: its process was killed by signal SIGKILL: memory suspected"
    killed = Outcome("a", 0, 1, "FAILED", cause="ERROR", detail=detail)
    line = encode(killed).rstrip(b"\n")
    assert b'"ERROR"' in line
    assert b"OOM" not in line
    assert decode(line) == killed._replace(suspected="OOM")
    assert decode_outcome(line) == killed._replace(suspected="OOM")


@pytest.mark.parametrize("fields", ["1", '["",""],1', '["",""],true,1', '["",""],true,"OOM",1'])
def test_a_line_with_more_or_other_fields_is_damaged(fields: str) -> None:
    body = encode(ONE).rstrip(b"\n")[9:-1] + f",{fields}]".encode()
    assert decode(b"%08x %s" % (crc32(body), body)) is None
