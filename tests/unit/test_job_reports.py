"""Reports of schedulers on jobs are kept beside the journal, where damage does no harm."""

from __future__ import annotations

from pathlib import Path

from reflow.storage.filesystem import Files
from reflow.storage.job_reports import JobReport, read_reports, write_reports

FIRST = JobReport("each", 0, 1, ("n1", "n2"), 137, None, 1.0, 2.5)
AGAIN = JobReport("each", 0, 2, (), None, 9, None, None)


def test_reports_come_back_by_element_and_attempt(tmp_path: Path) -> None:
    assert read_reports(Files(), str(tmp_path)) == {}
    write_reports(Files(), str(tmp_path), 3, [FIRST])
    write_reports(Files(), str(tmp_path), 4, [AGAIN])
    assert read_reports(Files(), str(tmp_path)) == {("each", 0, 1): FIRST, ("each", 0, 2): AGAIN}


def test_a_damaged_file_costs_its_own_reports_only(tmp_path: Path) -> None:
    write_reports(Files(), str(tmp_path), 3, [FIRST])
    for name, text in (("000001.json", '[["each",'), ("000002.json", "[1]"), ("000004.json", "x")):
        (tmp_path / "reports" / name).write_text(text)
    assert read_reports(Files(), str(tmp_path)) == {("each", 0, 1): FIRST}


def test_reports_that_cannot_be_written_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("no folder")
    write_reports(Files(), str(tmp_path), 3, [FIRST])
    assert read_reports(Files(), str(tmp_path)) == {}


def test_a_report_that_says_nothing_is_empty() -> None:
    assert JobReport("each", 0, 1).is_empty
    assert not any(report.is_empty for report in (FIRST, AGAIN))
    assert not JobReport("each", 0, 1, exit_code=0).is_empty
