"""Values of each annotation on a command line, and messages about bad ones."""

import enum
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NewType

import click
import pytest
from click.testing import CliRunner

from reflow.cli.options import CollectingCommand, given_parameters, parameter_options
from reflow.runs.describe import ParameterDescription


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclass
class Point:
    x: int
    y: int


Size = NewType("Size", int)


def read(annotation: Any, *arguments: str, name: str = "it", taken: tuple[str, ...] = ()) -> Any:
    """Return what an option of this annotation makes of a command line, or its output."""
    described = ParameterDescription(name=name, type="", required=False, annotation=annotation)
    options = parameter_options([described], {"--help", *taken})
    values_read: dict[str, Any] = {}

    def callback(**values: Any) -> None:
        values_read.update(given_parameters(options, click.get_current_context(), values))

    command = CollectingCommand(
        "c", params=[option.option for option in options], callback=callback
    )
    result = CliRunner().invoke(command, list(arguments))
    return values_read if result.exit_code == 0 else result.output


@pytest.mark.parametrize(
    ("annotation", "arguments", "value"),
    [
        (int, ["--it", "-3"], -3),
        (int, ["--it=-3"], -3),
        (float, ["--it", "-1e-3"], -0.001),
        (str, ["--it", "-x"], "-x"),
        (str, ["--it", "@name"], "@name"),
        (Size, ["--it", "4"], 4),
        (bool, ["--it"], True),
        (bool, ["--no-it"], False),
        (bool | None, ["--no-it"], False),
        (int | None, ["--it", "5"], 5),
        (list[int], ["--it", "1", "--it", "-2"], [1, -2]),
        (set[str], ["--it", "a", "--it", "a"], {"a"}),
        (frozenset[int], ["--it", "1"], frozenset({1})),
        (tuple[int, ...], ["--it", "1", "--it", "2"], (1, 2)),
        (tuple[int, str], ["--it", '[1, "a"]'], (1, "a")),
        (list[Colour], ["--it", "BLUE"], [Colour.BLUE]),
        (Path, ["--it", "a/b"], Path("a/b")),
        (datetime, ["--it", "2026-04-01T10:00:00"], datetime(2026, 4, 1, 10)),
        (date, ["--it", "2026-04-01"], date(2026, 4, 1)),
        (timedelta, ["--it", "1h30m"], timedelta(hours=1.5)),
        (timedelta, ["--it", "00:01:30"], timedelta(seconds=90)),
        (Decimal, ["--it", "-1.50"], Decimal("-1.50")),
        (Colour, ["--it", "RED"], Colour.RED),
        (Literal["a", 2, True], ["--it", "2"], 2),
        (Literal[1, "1"], ["--it", '"1"'], "1"),
        (Literal[1, "1"], ["--it", "1"], 1),
        (Point, ["--it", '{"x": 1, "y": 2}'], Point(1, 2)),
        (dict[str, int], ["--it", '{"a": 1}'], {"a": 1}),
        (Any, ["--it", "[1, null]"], [1, None]),
        (Any, ["--it", "just text"], "just text"),
        (list[int], [], None),
    ],
)
def test_a_value_arrives_as_the_annotation_says(
    annotation: Any, arguments: list[str], value: Any
) -> None:
    assert read(annotation, *arguments) == ({} if not arguments else {"it": value})


@pytest.mark.parametrize(
    ("annotation", "argument", "parts"),
    [
        (int, "many", ["'many'", "integer"]),
        (Colour, "GREEN", ["'GREEN'", "'RED'", "'BLUE'"]),
        (Literal["a", "b"], "c", ["'c'", "'a'", "'b'"]),
        (date, "someday", ["'someday'", "date"]),
        (Decimal, "1,5", ["'1,5'", "Decimal"]),
        (timedelta, "5", ["'5'", "90s", "HH:MM:SS"]),
        (Point, "{", ["'{'", "JSON", "@FILE"]),
        (Point, '{"x": 1}', ["Point", "'y'"]),
        (dict[str, int], "@/no/such", ["/no/such", "cannot read"]),
        (list[int], "x", ["'x'", "integer"]),
        (tuple[int, str], "[1]", ["[1]", "tuple[int, str]"]),
    ],
)
def test_an_error_names_the_option_the_value_and_what_is_allowed(
    annotation: Any, argument: str, parts: list[str]
) -> None:
    output = read(annotation, "--it", argument)
    assert isinstance(output, str)
    assert "--it" in output
    assert [part for part in parts if part not in output] == []


def test_json_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text('{"x": 3, "y": 4}')
    assert read(Point, "--it", f"@{tmp_path}/p.json") == {"it": Point(3, 4)}


def test_all_problems_are_reported_at_once() -> None:
    described = [
        ParameterDescription(name="a", type="", annotation=int),
        ParameterDescription(name="b", type="", annotation=float),
        ParameterDescription(name="c", type="", annotation=str),
    ]
    options = parameter_options(described, ())
    command = CollectingCommand(
        "c", params=[option.option for option in options], callback=lambda: None
    )
    output = CliRunner().invoke(command, ["--a", "x", "--b", "y"]).output
    assert "--a" in output
    assert "'y'" in output
    assert "Missing option '--c'" in output


def test_a_taken_name_gets_a_prefix_until_it_is_free() -> None:
    taken = ("--force", "--param-force")
    assert read(int, "--param-param-force", "1", name="force", taken=taken) == {"force": 1}
    # --no-x belongs to a flag as much as --x does.
    assert read(bool, "--param-it", taken=("--no-it",)) == {"it": True}
