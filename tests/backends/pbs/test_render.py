"""The arguments of qsub, as golden files, and what is refused."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.errors import SubmissionRefusedError
from reflow.executors.base import JobRequest
from reflow.model.spec import Resources
from reflow_pbs.render import arguments, job_name, log_pattern, native

GOLDEN = Path(__file__).parent / "golden"
NOW = time.mktime((2026, 11, 25, 3, 0, 0, 0, 0, -1))
SITE = {"k": "oed", "umask": "0022"}


def request(**fields: Any) -> JobRequest:
    defaults: dict[str, Any] = {
        "tag": "flow-20260401-7c2k9q4mx1.1.3.w",
        "name": "flow-20260401-7c2k9q4mx1.step",
        "script": "/run/jobs/3.sh",
        "directory": "/home/me",
        "log": "/run/logs/3.{position}.log",
    }
    return JobRequest(**{**defaults, **fields})


def asks(**fields: Any) -> JobRequest:
    return request(resources=Resources(**fields))


CASES = {
    "plain": (request(), (SITE,)),
    "everything": (
        request(
            size=200, throttle=20, after=("12.host", "13[].host"), begin=59.2,
            resources=Resources(
                cpus=4, time=90061, mem=8 * 1024**3 + 1, gpus=2, nodes=3, queue="gpu",
                account="climate",
                native={
                    "mpiprocs": "2", "P": "project", "m": "abe", "M": "me@site.org", "V": "",
                    "-W": "group_list=geo,sandbox=PRIVATE", "software": "fluent", "umask": "027",
                },
            ),
        ),
        ({**SITE, "q": "batch", "A": "default"}, {"p": "10"}),
    ),
    "precedence": (
        request(
            resources=Resources(
                cpus=2, mem=1024**3, queue="mine", time=600,
                native={"q": "native", "walltime": "5:00"},
            )
        ),
        ({**SITE, "q": "field", "A": "field"},
         {"q": "options", "A": "options", "ncpus": "16", "mem": "64gb", "walltime": "1:00"}),
    ),
    "defaults_stand": (
        request(),
        ({**SITE, "q": "field"}, {"select": "1:ncpus=16:mem=64gb", "place": "excl", "k": "oe"}),
    ),
    "what_a_task_asks_for_replaces_a_whole_select": (
        asks(cpus=2), (SITE, {"select": "1:ncpus=16:mem=64gb"})
    ),
    "native_select_wins": (
        asks(cpus=4, mem=1024**3, nodes=2,
             native={"l": "select=1:ncpus=2+2:ncpus=1:gpu_model=a100,place=scatter:excl"}),
        (SITE, {"mem": "2gb"}),
    ),
    "old_form": (asks(native={"nodes": "2:ppn=4"}), (SITE,)),
    "hostile": (
        request(
            tag="näme, with 'all'\n\"of|it\".1.1.w",
            name="it's,\n\"ünï|code\" `x` $(y) " + "z" * 400,
            log="/r 100%/%j:$HOME,'x'.{position}.log", directory="/tmp/a b", size=2,
        ),
        (SITE,),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    rendered = "".join(f"{word}\n" for word in arguments(*CASES[name], NOW))
    assert rendered == (GOLDEN / f"{name}.txt").read_text()


def test_every_golden_file_is_of_a_case() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "00:00:01"), (59, "00:00:59"), (86400, "24:00:00"), (10**9, "277777:46:40")],
)
def test_time_limits_have_no_days_and_are_never_zero(seconds: int, text: str) -> None:
    argv = arguments(asks(time=seconds), (), NOW)
    assert f"walltime={text}" in argv


@pytest.mark.parametrize(
    ("amount", "text"), [(1, "1kb"), (1024, "1kb"), (1025, "2kb"), (0, "1kb")]
)
def test_memory_has_a_unit_and_is_rounded_up(amount: int, text: str) -> None:
    assert f"select=1:ncpus=1:mem={text}" in arguments(asks(mem=amount), (), NOW)


def test_one_element_is_a_plain_job_that_never_starts_again() -> None:
    argv = arguments(request(size=1, throttle=5), (SITE,), NOW)
    assert "-J" not in argv
    assert argv[argv.index("-r") + 1] == "n"
    assert argv[argv.index("-o") + 1] == "/run/logs/3.0.log"


@pytest.mark.parametrize("size", [2, 3, 1000, 10000])
def test_arrays_begin_at_zero(size: int) -> None:
    argv = arguments(request(size=size), (SITE,), NOW)
    assert argv[argv.index("-J") + 1] == f"0-{size - 1}"
    assert "-r" not in argv, "qsub refuses it of an array"
    assert argv[argv.index("-o") + 1] == "/run/logs/3.^array_index^.log"


@pytest.mark.parametrize(
    ("begin", "text"),
    [(0.01, "202611250300.01"), (1, "202611250300.01"), (59.2, "202611250301.00"),
     (3600, "202611250400.00"), (21 * 3600, "202611260000.00")],
)  # fmt: skip
def test_begin_is_a_time_of_day_and_never_early(begin: float, text: str) -> None:
    argv = arguments(request(begin=begin), (), NOW)
    assert argv[argv.index("-a") + 1] == text


def test_as_many_dependencies_as_are_promised_fit_into_what_qsub_takes() -> None:
    from reflow_pbs.executor import PBSExecutor

    most = PBSExecutor().capabilities.max_dependencies
    assert most is not None
    server = "pbs-01.cluster.site.example.org"
    job = f"1234567[].{server}"
    # As qsub stores it: with the server's name once more.
    assert len(f"afterany:{':'.join([f'{job}@{server}'] * most)}") < 2040
    argv = arguments(request(after=(job,) * most), (), NOW)
    assert f"depend=afterany:{':'.join([job] * most)}" in argv


@pytest.mark.parametrize(
    "option",
    ["J", "N", "-o", "e", "j", "r", "a", "h", "I", "z", "f", "C", "t", "X", "R", "depend", "block",
     "max_run_subjobs", "interactive"],
)  # fmt: skip
@pytest.mark.parametrize("where", ["task", "executor"])
def test_options_that_reflow_sets_are_refused(option: str, where: str) -> None:
    refused = {option: "1"}
    with pytest.raises(SubmissionRefusedError, match=option):
        arguments(asks(native=refused if where == "task" else {}),
                  (SITE, refused if where == "executor" else {}), NOW)  # fmt: skip


@pytest.mark.parametrize(
    "options", [{"W": "umask=022,depend=afterany:1"}, {"W": "block=true"}, {"l": "depend=on:1"}]
)
def test_options_that_reflow_sets_are_refused_within_lists_too(options: dict[str, str]) -> None:
    with pytest.raises(SubmissionRefusedError, match="set by reflow itself"):
        native(options)


@pytest.mark.parametrize(
    "options",
    [{"": "x"}, {"q": "a\nb"}, {"q o s": "1"}, {"software": "a\0b"}, {"mem\n": "1"}, {"mem": ""},
     {"l": "walltime"}, {"W": ""}, {"1": "x"}],
)  # fmt: skip
def test_what_can_be_no_option_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(SubmissionRefusedError, match=r"not an option of qsub|needs a value"):
        native(options)


@pytest.mark.parametrize("log", ["/gr\u00fcn/{position}", "/a\nb/{position}", "/a\tb/{position}",
                                 "/^array_index^/{position}"])  # fmt: skip
def test_a_log_that_qsub_would_not_take_is_refused(log: str) -> None:
    with pytest.raises(SubmissionRefusedError, match="plain ASCII"):
        log_pattern(request(log=log))


def test_a_tag_of_the_engine_is_its_own_job_name() -> None:
    assert job_name("my_flow-20260401-7c2k9q4mx1.12.3.w") == "my_flow-20260401-7c2k9q4mx1.12.3.w"


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_job_name_is_one_that_qsub_takes(tag: str, other: str) -> None:
    name = job_name(tag * 40)
    assert len(name) <= 230
    assert name.isascii()
    assert not set(name) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-")
    if tag != other:
        long_tag = "x" * 300
        assert job_name(long_tag + tag) != job_name(long_tag + other)


@given(
    st.builds(
        Resources,
        cpus=st.integers(1, 512), time=st.none() | st.integers(1, 10**7),
        mem=st.none() | st.integers(1, 2**50), gpus=st.integers(0, 16), nodes=st.integers(1, 512),
    ),
    st.dictionaries(st.sampled_from(["ncpus", "mem", "ngpus", "mpiprocs"]), st.just("7")),
)  # fmt: skip
def test_resources_are_written_once_and_in_one_form(
    wants: Resources, options: dict[str, str]
) -> None:
    argv = arguments(request(resources=wants), (SITE, options), NOW)
    selects = [word for word in argv if word.startswith("select=")]
    assert len(selects) == 1
    assert not [word for word in argv if word.startswith(("ncpus=", "mem=", "ngpus=", "mpiprocs="))]
    chunk = selects[0].partition("=")[2].split(":")
    assert chunk[0] == str(wants.nodes)
    assert len({resource.partition("=")[0] for resource in chunk}) == len(chunk)
    cpus = str(wants.cpus) if wants.cpus != 1 else options.get("ncpus", "1")
    assert f"ncpus={cpus}" in chunk
