"""The arguments of qsub, as golden files, and what is refused."""

from __future__ import annotations

import shlex
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.errors import SubmissionRefusedError
from reflow.executors.base import JobRequest
from reflow.model.spec import Resources
from reflow_sge.executor import SGEExecutor
from reflow_sge.render import RESERVED, arguments, job_name, memory, native

GOLDEN = Path(__file__).parent / "golden"
NOW = datetime(2026, 11, 25, 23, 59, 1, 5000).timestamp()


def request(**fields: Any) -> JobRequest:
    defaults: dict[str, Any] = {
        "tag": "flow-20260401-7c2k9q4mx1.1.3.w",
        "name": "flow-20260401-7c2k9q4mx1.step",
        "script": "/run/jobs/3.sh",
        "directory": "/home/me",
        "log": "/run/logs/3.{position}.log",
    }
    return JobRequest(**{**defaults, **fields})


def rendered(executor: SGEExecutor | None = None, **fields: Any) -> list[str]:
    return arguments(request(**fields), executor or SGEExecutor(), NOW)


CASES = {
    "plain": (request(), SGEExecutor()),
    "everything": (
        request(
            size=200, throttle=20, after=("12", "13"), after_each="11", begin=59.2,
            resources=Resources(
                cpus=4, time=90061, mem=8 * 1024**3 + 1, gpus=2, queue="gpu.q", account="climate",
                native={"p": "-10", "-notify": "", "l": "arch=lx-amd64", "m": "ea",
                        "M": "me@site.org", "v": "A=1"},
            ),
        ),
        SGEExecutor(
            queue="all.q", account="default", project="sea", pe="threads", gpu_resource="ngpus"
        ),
    ),
    "precedence": (
        request(
            resources=Resources(
                cpus=2, mem=1024**3, queue="mine.q", time=600,
                native={"q": "native.q", "l": "h_rt=5,exclusive", "pe": "mpi 16"},
            )
        ),
        SGEExecutor(
            queue="field.q", account="field",
            options={"q": "options.q", "A": "options", "pe": "other 3", "l": "h_vmem=1G,ssd=1",
                     "P": "sea"},
        ),
    ),
    "nodes": (
        request(resources=Resources(nodes=3, cpus=8, mem=16 * 1024**3)),
        SGEExecutor(nodes_pe="mpi8", mem_resource="mem_free", mem_per_slot=False),
    ),
    "hostile": (
        request(
            tag="9 näme, with 'all'\n\"of|it\"*@:/.1.1.w", size=2,
            name="it's,\n\"ünï|code\" `x`" + "z" * 400, after_each="7",
            log="/r 1:0%/%j{position}.log", directory="/tmp/a 'b'\\:%d",
        ),
        SGEExecutor(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    text = "".join(f"{word}\n" for word in arguments(*CASES[name], NOW))
    assert text == (GOLDEN / f"{name}.txt").read_text()


def test_every_golden_file_is_of_a_case() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)


def after(argv: list[str], option: str) -> str:
    return argv[argv.index(option) + 1]


@pytest.mark.parametrize(
    ("size", "slots", "text"),
    [(0, 1, "1K"), (1, 1, "1K"), (1024, 1, "1K"), (1025, 1, "2K"), (2**30, 1, "1G"),
     (2**30, 3, "349526K"), (3 * 2**30, 2, "1536M"), (2**50, 1, "1048576G")],
)  # fmt: skip
def test_memory_is_for_each_slot_rounded_up_and_never_zero(
    size: int, slots: int, text: str
) -> None:
    assert memory(size, slots) == text
    argv = rendered(resources=Resources(mem=size, cpus=slots))
    assert after(argv, "-l") == f"h_vmem={text}"


def test_no_time_limit_is_ever_zero_which_is_none() -> None:
    assert after(rendered(resources=Resources(time=0)), "-l") == "h_rt=1"


def test_one_cpu_needs_no_parallel_environment() -> None:
    assert "-pe" not in rendered()


def test_nodes_need_a_parallel_environment_of_the_site() -> None:
    with pytest.raises(SubmissionRefusedError, match=r"asks for 2 nodes: set nodes_pe in \["):
        rendered(resources=Resources(nodes=2))


def test_one_element_is_a_plain_job() -> None:
    argv = rendered(size=1, throttle=5)
    assert not {"-t", "-tc"} & set(argv)
    assert after(argv, "-o") == "/run/logs/3.0.log"


@pytest.mark.parametrize(
    ("begin", "text"),
    [(0.01, "202611252359.03"), (1, "202611252359.03"), (59.5, "202611260000.01")],
)
def test_a_delay_is_a_point_in_time_and_never_too_early(begin: float, text: str) -> None:
    assert after(rendered(begin=begin), "-a") == text


@pytest.mark.parametrize("field", ["directory", "log"])
@pytest.mark.parametrize("text", ["/a,b", "/a/$USER", "/a\nb"])
def test_a_path_that_grid_engine_would_take_apart_is_refused(field: str, text: str) -> None:
    with pytest.raises(SubmissionRefusedError, match="use another run directory"):
        rendered(**{field: text})


@pytest.mark.parametrize("option", sorted(RESERVED))
@pytest.mark.parametrize("dashes", ["", "-"])
def test_an_option_that_reflow_sets_is_refused(option: str, dashes: str) -> None:
    for executor, options in ((SGEExecutor(options={f"{dashes}{option}": "x"}), {}),
                         (SGEExecutor(), {f"{dashes}{option}": "x"})):  # fmt: skip
        with pytest.raises(SubmissionRefusedError, match="set by reflow itself"):
            rendered(executor, resources=Resources(native=options))


@pytest.mark.parametrize(
    ("name", "value"), [("no option", "1"), ("q", "a\nb"), ("pe", "'open"), ("", ""), ("q", "\0")]
)
def test_what_is_no_option_is_refused(name: str, value: str) -> None:
    with pytest.raises(SubmissionRefusedError, match="is not an option of qsub"):
        native({name: value})


@given(st.text(min_size=1, max_size=600))
def test_every_tag_makes_a_name_that_qsub_takes(tag: str) -> None:
    name = job_name(tag)
    assert name.isascii()
    assert name[0].isalpha() or name[0] == "_"
    assert not set(name) & set(" /:@*\\?\n\"'")
    assert job_name(name) == name


@given(
    st.dictionaries(
        st.sampled_from(["pe", "q", "v", "M"]),
        st.lists(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1)),
    )
)
def test_the_words_of_an_option_reach_qsub_as_they_are(options: dict[str, list[str]]) -> None:
    printable = {
        name: words for name, words in options.items() if all(map(str.isprintable, words))
    }
    parsed = native({name: shlex.join(words) for name, words in printable.items()})
    assert parsed == printable


@given(st.builds(
    Resources, cpus=st.integers(1, 512), time=st.none() | st.integers(0, 10**9),
    mem=st.none() | st.integers(0, 2**60), gpus=st.integers(0, 16),
    native=st.dictionaries(st.sampled_from(["p", "notify", "m", "q", "l"]), st.just("a=1")),
), st.integers(1, 10**6), st.sampled_from(["/a b/c'd", "/\xe9/x:y", "/plain"]))  # fmt: skip
def test_the_script_is_last_and_each_option_is_given_once(
    resources: Resources, size: int, folder: str
) -> None:
    argv = rendered(resources=resources, size=size, directory=folder, log=f"{folder}/{{position}}")
    assert argv[-1] == "/run/jobs/3.sh"
    assert argv == rendered(
        resources=resources, size=size, directory=folder, log=f"{folder}/{{position}}"
    )
    for option in ("-l", "-t", "-q", "-N", "-o", "-pe", "-wd", "-terse"):
        assert argv.count(option) <= 1
    assert after(argv, "-wd") == folder
