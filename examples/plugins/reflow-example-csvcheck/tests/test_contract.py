from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reflow.testing import VerifierContract, output
from reflow.verifiers.base import Output


def csv_file(content: bytes) -> Callable[[Path], Output]:
    """Return what makes the output of a task that wrote a CSV file."""

    def make(folder: Path) -> Output:
        path = folder / "table.csv"
        path.write_bytes(content)
        return output(path, [path])

    return make


def missing(folder: Path) -> Output:
    return output(folder / "table.csv", [folder / "table.csv"])


def a_folder(folder: Path) -> Output:
    path = folder / "table.csv"
    path.mkdir()
    return output(path, [path])


def a_table_and_a_figure(folder: Path) -> Output:
    paths = [folder / "table.csv", folder / "figure.png"]
    for path in paths:
        path.write_text("a,b\n1,2\n")
    return output({"table": paths[0], "figure": paths[1]}, paths)


class TestCsvcheck(VerifierContract):
    entry = "csvcheck"
    good = (
        csv_file(b"a,b\n1,2\n"),
        csv_file(b'a,b\r\n"1\n2",\xc3\xa4\r\n'),
        csv_file(b"only a header"),
        a_table_and_a_figure,
    )
    bad = (
        missing,
        a_folder,
        csv_file(b""),
        csv_file(b"a,b\n1,2\n1"),
        csv_file(b'a,b\n1,"cut'),
        csv_file(b"a,b\n1,\xff\n"),
    )
