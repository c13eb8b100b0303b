from __future__ import annotations

from typing import Any

import pytest

from reflow.errors import DefinitionError
from reflow.model.annotations import Param, Result, RunDir


def task() -> None: ...


def test_markers_compare_by_content() -> None:
    assert Param(help="x", short="-n") == Param("x", short="n")
    assert Param() != Param(namespace="local")
    assert Result(step="a") == Result("a") != Result(step="a", broadcast=True)
    assert Result(steps=["a", task]) == Result(steps=("a", task))
    assert RunDir() == RunDir()
    assert len({Param(), Param(), Result("a"), RunDir(), RunDir()}) == 3
    assert Param() != 3
    assert Result("a") != 3


def test_markers_show_how_they_were_made() -> None:
    assert repr(Param(help="x", short="n", namespace="local")) == (
        "Param(help='x', short='n', namespace='local')"
    )
    assert repr(Result(steps=["a", task], broadcast=True)) == (
        "Result(steps=['a', task], broadcast=True)"
    )
    assert repr(RunDir()) == "RunDir()"


def test_references() -> None:
    assert Result(task).references == (task,)
    assert Result(steps=["a", "b"]).references == ("a", "b")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"help": 3}, "help is a text"),
        ({"short": "no"}, "one letter"),
        ({"short": "1"}, "one letter"),
        ({"namespace": "lokal"}, "'global' or 'local'"),
    ],
)
def test_bad_param(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        Param(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "neither was given"),
        ({"step": "a", "steps": ["b"]}, "both were given"),
        ({"step": ["a"]}, "given as steps="),
        ({"step": 3}, "by its name or by its function"),
        ({"step": ""}, "by its name or by its function"),
        ({"steps": "a"}, "one task is given as step="),
        ({"steps": []}, "at least one"),
        ({"steps": ["a", 3]}, "by its name or by its function"),
        ({"step": "a", "broadcast": "yes"}, "True or False"),
    ],
)
def test_bad_result(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        Result(**arguments)
