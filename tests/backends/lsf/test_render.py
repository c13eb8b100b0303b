"""The arguments of bsub, as golden files, and what is refused."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reflow.errors import SubmissionRefusedError
from reflow.executors.base import LIVE, JobRequest, JobStatus
from reflow.executors.parsing import Report
from reflow.model.spec import Resources
from reflow_lsf.executor import LSFExecutor
from reflow_lsf.render import (
    NAME_LENGTH,
    arguments,
    begin_time,
    command_line,
    elements,
    job_name,
    native,
)

GOLDEN = Path(__file__).parent / "golden"
NOON = time.mktime((2026, 4, 1, 12, 0, 0, 0, 0, -1))
OPENLAVA = LSFExecutor(dialect="openlava")


def request(**fields: Any) -> JobRequest:
    defaults: dict[str, Any] = {
        "tag": "flow-20260401-7c2k9q4mx1.1.3.w",
        "name": "flow-20260401-7c2k9q4mx1.step",
        "script": "/run/jobs/3.sh",
        "directory": "/home/me",
        "log": "/run/logs/3.{position}.log",
    }
    return JobRequest(**{**defaults, **fields})


def render(job_request: JobRequest, executor: LSFExecutor = OPENLAVA) -> list[str]:
    return arguments(job_request, executor, NOON)


CASES = {
    "plain": (request(), OPENLAVA),
    "plain_ibm": (request(), LSFExecutor()),
    "everything": (
        request(
            size=200, throttle=20, after=("12", "13"), after_each="11", begin=59.2,
            resources=Resources(
                cpus=4, time=90061, mem=8 * 1024**3 + 1, gpus=2, nodes=3, queue="gpu",
                account="climate",
                native={"app": "big", "-sla": "night", "x": "", "N": "", "u": "me@site.org",
                        "R": "select[tmp>100] order[ut]"},
            ),
        ),
        LSFExecutor(queue="batch", account="default", memory_unit="MB"),
    ),
    "precedence": (
        request(
            resources=Resources(
                cpus=2, mem=1024**3, queue="mine", time=600,
                native={"q": "native", "M": "7", "R": "rusage[mem=7:tmp=9]"},
            )
        ),
        LSFExecutor(queue="field", account="field", dialect="openlava",
                 options={"q": "options", "P": "options", "sp": "10", "R": "span[ptile=1]"}),
    ),
    "defaults_stand": (
        request(),
        LSFExecutor(queue="field", account="field", dialect="openlava",
                 options={"n": "16", "W": "5", "R": "type==any"}),
    ),
    "alternatives_are_taken_whole": (
        request(resources=Resources(cpus=2, native={"R": "{span[hosts=1]} || {span[ptile=1]}"})),
        LSFExecutor(options={"R": "select[big]"}),
    ),
    "element_wise_of_one": (request(after_each="11", after=("12",)), OPENLAVA),
    "hostile": (
        request(
            tag="näme, with 'all'\n\"of|it\"[1-3]%2*.1.1.w", name="it's\n`x` $(y)",
            script="/r 100%s/it's $HOME.sh", log="/r 100%/%J'\"$x{position}.log",
            directory="/tmp/a b\nc", size=2,
        ),
        OPENLAVA,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    text = "".join(f"{word}\n" for word in render(*CASES[name]))
    assert text == (GOLDEN / f"{name}.txt").read_text()


def test_every_golden_file_is_of_a_case() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)


@pytest.mark.parametrize(
    ("seconds", "minutes"), [(0, "1"), (1, "1"), (60, "1"), (61, "2"), (5400, "90")]
)
def test_a_time_limit_is_in_minutes_and_never_zero_which_is_none(
    seconds: int, minutes: str
) -> None:
    argv = render(request(resources=Resources(time=seconds)))
    assert argv[argv.index("-W") + 1] == minutes


@pytest.mark.parametrize(
    ("amount", "unit", "limit", "reserved"),
    [(1, "", "1", "1"), (2**20, "", "1024", "1"), (2**20 + 1, "", "1025", "2"),
     (4 * 2**30, "MB", "4096", "4096"), (4 * 2**30, "GB", "4", "4"), (2**20, "GB", "1", "1"),
     (2**40 + 1, "TB", "2", "2"), (0, "KB", "1", "1")],
)  # fmt: skip
def test_memory_is_in_the_sites_unit(amount: int, unit: str, limit: str, reserved: str) -> None:
    executor = LSFExecutor(dialect="openlava", memory_unit=unit)
    argv = render(request(resources=Resources(mem=amount)), executor)
    assert argv[argv.index("-M") + 1] == limit
    assert argv[argv.index("-R") + 1] == f"rusage[mem={reserved}]"


def test_one_element_is_a_plain_job_whose_index_is_zero() -> None:
    argv = render(request(size=1, throttle=5))
    assert argv[argv.index("-J") + 1] == "flow-20260401-7c2k9q4mx1.1.3.w"
    assert argv[-1].endswith(">>/run/logs/3.0.log 2>&1")


@pytest.mark.parametrize("begin", [0.01, 1.0, 19.0, 59.9, 60.0, 3600.0])
@pytest.mark.parametrize("second", [0.0, 0.5, 29.0, 59.99])
def test_a_begin_time_is_never_early_nor_past_when_bsub_reads_it(
    begin: float, second: float
) -> None:
    # bsub takes a minute that has passed for one of the next year.
    argv = arguments(request(begin=begin), OPENLAVA, NOON + second)
    month, day, hour, minute = map(int, argv[argv.index("-b") + 1].split(":"))
    when = time.mktime((2026, month, day, hour, minute, 0, 0, 0, -1))
    assert max(begin, 20) <= when - NOON - second < max(begin, 20) + 60


def test_begin_time_over_midnight_and_the_year() -> None:
    when = time.mktime((2026, 12, 31, 23, 59, 1, 0, 0, -1))
    assert begin_time(when) == "01:01:00:00"


@pytest.mark.parametrize(
    "option",
    ["J", "-J", "o", "oo", "e", "eo", "w", "b", "H", "K", "I", "Is", "r", "rn", "L", "outdir",
     "json", "h", "V", "k"],
)  # fmt: skip
@pytest.mark.parametrize("where", ["task", "executor"])
@pytest.mark.parametrize("openlava", [True, False])
def test_options_that_reflow_sets_are_refused(option: str, where: str, openlava: bool) -> None:
    native_options = {option: "1"}
    refused = request(resources=Resources(native=native_options if where == "task" else {}))
    options = native_options if where == "executor" else {}
    with pytest.raises(SubmissionRefusedError, match=f"'{option}'.*set by reflow"):
        render(refused, LSFExecutor(options=options, dialect="openlava" if openlava else None))


@pytest.mark.parametrize(
    "options", [{"": "x"}, {"q": "a\nb"}, {"q o": "1"}, {"q": "a\0b"}, {"R\n": "1"}, {"-": "1"}]
)
def test_what_can_be_no_option_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(SubmissionRefusedError, match="not an option of bsub"):
        native(options)


@pytest.mark.parametrize("option", ["app", "cwd", "gpu", "sla", "-We", "env"])
def test_long_options_that_openlava_would_misread_are_refused(option: str) -> None:
    # -cwd X is -c wd there, and -app X ends its master daemon.
    with pytest.raises(SubmissionRefusedError, match="misread"):
        native({option: "1"}, openlava=True)
    assert native({option: "1"}) == {option.lstrip("-"): "1"}


def test_gpus_are_refused_where_there_is_no_option_for_them() -> None:
    with pytest.raises(SubmissionRefusedError, match="2 GPUs, but OpenLava"):
        render(request(resources=Resources(gpus=2)))


def test_a_long_tag_keeps_the_end_that_tells_it_from_others() -> None:
    names = [job_name("x" * 500 + f".{at}.w") for at in range(3)]
    assert len(set(names)) == 3
    assert {len(name) for name in names} == {NAME_LENGTH}


def test_a_tag_of_the_engine_is_its_own_job_name() -> None:
    assert job_name("my_flow-20260401-7c2k9q4mx1.12.3.w") == "my_flow-20260401-7c2k9q4mx1.12.3.w"


def test_many_dependencies_stay_in_what_openlava_was_seen_to_take() -> None:
    most = LSFExecutor().capabilities.max_dependencies
    assert most is not None
    argv = render(request(after=("1234567890",) * most))
    assert len(argv[argv.index("-w") + 1]) < 4096


def reports(jobs: Mapping[str, Iterable[int]]) -> list[Report]:
    places = [(job, index) for job, indices in jobs.items() for index in [*indices] or [0]]
    lives = JobStatus(state=LIVE)
    return [
        Report(job=job, positions=(index - 1,) if index else None, status=lives)
        for job, index in places
    ]


@pytest.mark.parametrize(
    ("element_lists", "ranges"),
    [({}, []), ({"5": [1]}, ["5[1]"]), ({"5": [3, 2, 1, 7, 9, 8]}, ["5[1-3,7-9]"]),
     ({"5": [], "6": [2]}, ["5", "6[2]"])],
)  # fmt: skip
def test_elements(element_lists: dict[str, list[int]], ranges: list[str]) -> None:
    assert elements(reports(element_lists)) == ranges


def test_no_argument_is_longer_than_what_openlava_reads() -> None:
    sparse = elements(reports({"1234567": range(1, 2_000_000, 3)}))
    assert max(map(len, sparse)) < 4096


PATHS = st.text(
    st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=12
).filter(lambda word: word not in (".", "..") and "{position}" not in word)


@settings(max_examples=40)
@given(folder=PATHS, log=PATHS, index=st.none() | st.integers(1, 20))
def test_any_path_reaches_the_shell_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, folder: str, log: str, index: int | None
) -> None:
    place = tmp_path_factory.mktemp("p", numbered=True) / folder
    place.mkdir()
    script = place / "it's a $(script)\n.sh"
    script.write_text('#!/bin/sh\npwd -P\necho "no" >&2\n')
    script.chmod(0o755)
    line = command_line(
        request(script=str(script), directory=str(place), size=1 if index is None else 20,
                log=f"{place}/{log}{{position}}")
    )  # fmt: skip
    # LSF writes it into a file for sh.
    subprocess.run(
        ["/bin/sh", "-c", line], check=True, env={**os.environ, "LSB_JOBINDEX": str(index or 0)}
    )
    expected = f"{place.resolve()}\nno\n".encode()
    assert (place / f"{log}{index or 0}").read_bytes() == expected


@pytest.mark.parametrize("gone", ["directory", "script"])
def test_log_names_the_missing_script_or_folder(tmp_path: Path, gone: str) -> None:
    job_request = request(
        script="/bin/true" if gone == "directory" else "/no/such/script",
        directory="/no/such/folder" if gone == "directory" else "/", log=f"{tmp_path}/log",
    )  # fmt: skip
    done = subprocess.run(["/bin/sh", "-c", command_line(job_request)], check=False)
    assert done.returncode != 0
    assert "/no/such" in (tmp_path / "log").read_text()
