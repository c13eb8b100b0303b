"""The verifier "csvcheck"."""

from __future__ import annotations

import csv
from pathlib import Path

from reflow.verifiers.base import Output, Verifier


class CsvVerifier(Verifier):
    """Demands that the files named in a result are there and the CSV files among them whole."""

    def verify(self, output: Output) -> bool:
        """Whether each CSV file has a header and, in each line, as many fields as that."""
        return all(
            _is_table(path) if path.suffix.lower() == ".csv" else path.exists()
            for path in output.paths
        )


def _is_table(path: Path) -> bool:
    if not path.is_file():
        return False
    # newline="": the csv module reads line ends itself. A wrong encoding raises, as it should.
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file, strict=True)
        header = next(rows, None)
        return bool(header) and all(len(row) == len(header) for row in rows)
