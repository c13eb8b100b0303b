"""The command line of `reflow.job`: which words each role takes."""

from __future__ import annotations

from typing import Any

import pytest

from reflow import job


@pytest.mark.parametrize(
    "words",
    [
        "",
        "sleep record",
        "drive",
        "drive record more",
        "work record tag",
        "work record tag 0 mark head",
        "work record tag 0 mark tail more",
        "died record tag 0 mark",
        "pass",
        "pass record tag more",
        "tail record",
    ],
)
def test_wrong_words_print_the_usage(words: str, capsys: Any) -> None:
    assert job.main(words.split()) == 2
    assert capsys.readouterr().err == f"{job.USAGE}\n"
