"""Marks of files, by text and by content, in any order and anywhere in a value."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reflow.caching.file_marks import (
    digest_of_marks,
    digest_with_files,
    digest_with_marks,
    marks_in,
    marks_of,
)
from reflow.storage.outcome import Outcome

ONE = Outcome("task", 0, 1, "SUCCESS", "ab", "cd", "[]", ("/a", "/b", "/c"))
PRINTS = ("f:1:2 00", "f:1:3", "")

paths = st.sampled_from(["/a", "/b", "/c"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("/abc", max_size=3) | paths,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(paths, inner, max_size=3),
    max_leaves=12,
)


def test_a_file_counts_by_its_content_else_by_size_and_times() -> None:
    assert marks_of(ONE._replace(prints=PRINTS)) == {"/a": "00", "/b": "f:1:3"}
    assert marks_of(ONE) == {}


def test_time_of_a_file_with_a_content_hash_does_not_count() -> None:
    original, touched = (ONE._replace(prints=(f"f:1:{time} 00", "", "")) for time in (1, 2))
    other = ONE._replace(prints=("f:1:1 01", "", ""))
    assert digest_with_files(original) == digest_with_files(touched)
    assert len({digest_with_files(original), digest_with_files(other), digest_with_files(ONE)}) == 3
    assert digest_with_files(ONE) == ONE.digest, "without marks it is the text"


@given(values)
def test_all_strings_that_are_paths_are_found(value: Any) -> None:
    marks = {"/a": "1", "/b": "2"}
    text = json.dumps(value)
    assert {path for path, _ in marks_in(value, marks)} == {
        path for path in marks if json.dumps(path) in text
    }
    assert marks_in(value, {}) == []


@given(st.lists(st.tuples(paths, st.sampled_from("12")), max_size=6), st.randoms())
def test_the_digest_of_marks_does_not_depend_on_their_order(marks: Any, random: Any) -> None:
    shuffled = [*marks, *marks[:1]]
    random.shuffle(shuffled)
    assert digest_of_marks(shuffled) == digest_of_marks(marks)
    assert (digest_of_marks(marks) == "") == (not marks)
    assert (digest_with_marks("cd", digest_of_marks(marks)) == "cd") == (not marks)
    more = [*marks, ("/d", "1")]
    assert digest_of_marks(more) != digest_of_marks(marks)
