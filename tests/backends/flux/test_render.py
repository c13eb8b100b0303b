"""The arguments of flux, as golden files, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.errors import SubmissionRefusedError
from reflow.executors.base import JobRequest
from reflow.executors.options import job_name
from reflow.model.spec import Resources
from reflow_flux.executor import FluxExecutor
from reflow_flux.render import arguments, native

GOLDEN = Path(__file__).parent / "golden"


def request(**fields: Any) -> JobRequest:
    defaults: dict[str, Any] = {
        "tag": "flow-20260401-7c2k9q4mx1.1.3.w",
        "name": "flow-20260401-7c2k9q4mx1.step",
        "script": "/run/jobs/3.sh",
        "directory": "/home/me",
        "log": "/run/logs/3.{position}.log",
    }
    return JobRequest(**{**defaults, **fields})


PLAIN = FluxExecutor()
CASES: dict[str, tuple[Any, ...]] = {
    "plain": (request(), PLAIN),
    "array": (request(size=3), PLAIN),
    "everything": (
        request(
            size=2, after=("f12", "f13"), begin=59.2,
            resources=Resources(
                cpus=4, time=90061, mem=8 * 1024**3, gpus=2, queue="gpu", account="climate",
                native={"requires": "host:a|host:b", "x": "", "urgency": "20", "o": "pty"},
            ),
        ),
        FluxExecutor(queue="batch", account="default"), ("f14", ""),
    ),
    "precedence": (
        request(
            resources=Resources(
                cpus=2, queue="mine", time=600, native={"queue": "native", "time_limit": "5m"},
            )
        ),
        FluxExecutor(
            queue="field", account="field", options={"q": "options", "B": "options", "c": "16"}
        ),
    ),
    "defaults_stand": (
        request(),
        FluxExecutor(
            queue="field", account="field", options={"cores-per-task": "16", "exclusive": ""}
        ),
    ),
    "several_nodes_run_the_script_once": (
        request(size=2, resources=Resources(nodes=3, cpus=4)), PLAIN,
    ),
    "hostile": (
        request(
            tag="näme, with 'all'\n\"of|it\".1[1].w", log="/r {0} {{/%j{position}}.{log",
            directory="/tmp/{cc} a=b", script="/tmp/{cc}/it's {x}.sh", size=2,
            resources=Resources(native={"env": "A={x},{y}"}),
        ),
        PLAIN,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    rendered = "".join(f"{word}\n" for word in arguments(*CASES[name]))
    assert rendered == (GOLDEN / f"{name}.txt").read_text()


def test_every_golden_file_is_of_a_case() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)


@pytest.mark.parametrize(("seconds", "text"), [(0, "1s"), (30, "30s"), (10**9, "1000000000s")])
def test_a_time_limit_is_never_zero_which_is_none_nor_bare_which_is_minutes(
    seconds: int, text: str
) -> None:
    argv = arguments(request(resources=Resources(time=seconds)), PLAIN)
    assert f"--time-limit={text}" in argv


@pytest.mark.parametrize(("begin", "text"), [(0.01, "+1s"), (1, "+1s"), (3599.5, "+3600s")])
def test_begin_is_never_early(begin: float, text: str) -> None:
    assert f"--begin-time={text}" in arguments(request(begin=begin), PLAIN)


def test_cpus_always_belong_to_one_task() -> None:
    """``--cores`` alone would run the script once on every core."""
    argv = arguments(request(resources=Resources(cpus=8)), PLAIN)
    assert {"--ntasks=1", "--cores-per-task=8"} < set(argv)


def test_memory_is_passed_over() -> None:
    wants = request(resources=Resources(mem=2**30))
    assert arguments(wants, PLAIN) == arguments(request(), PLAIN)


def test_one_dependency_an_option() -> None:
    argv = arguments(request(after=("f1", "f2")), PLAIN)
    assert [word for word in argv if "depend" in word] == [
        "--dependency=afterany:f1", "--dependency=afterany:f2"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "option",
    ["cc", "bcc", "job-name", "job_name", "--output", "error", "n", "ntasks", "cores", "wait",
     "dependency", "begin-time", "cwd", "dry-run", "quiet", "tasks-per-node", "watch", "log"],
)  # fmt: skip
@pytest.mark.parametrize("where", ["task", "executor"])
def test_options_that_reflow_sets_are_refused(option: str, where: str) -> None:
    options = {option: "1"}
    refused = request(resources=Resources(native=options if where == "task" else {}))
    with pytest.raises(SubmissionRefusedError, match=option):
        arguments(refused, FluxExecutor(options=options if where == "executor" else {}))


@pytest.mark.parametrize(
    "options", [{"": "x"}, {"requires": "a\nb"}, {"re quires": "1"}, {"bank": "a\0b"}, {"ä": "1"}]
)
def test_what_can_be_no_option_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(SubmissionRefusedError, match="not an option of flux submit"):
        native(options)


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("log", ["/a {{id}}/{position}.log", "/{{\n}}/{position}"])
def test_double_braces_in_the_log_are_refused(log: str, size: int) -> None:
    with pytest.raises(SubmissionRefusedError, match="double braces"):
        arguments(request(log=log, size=size), PLAIN)


def test_a_tag_of_the_engine_is_its_own_job_name() -> None:
    assert job_name("my_flow-20260401-7c2k9q4mx1.12.3.w") == "my_flow-20260401-7c2k9q4mx1.12.3.w"


def put_in(argv: list[str], position: int) -> list[str]:
    """Return the arguments of one position as flux bulksubmit makes them: by `str.format`."""
    at = argv.index(":::")
    before, lists = argv[1:at], [[]]
    for word in argv[at + 1 :]:
        if word == ":::+":
            lists.append([])
        else:
            lists[-1].append(word)
    inputs = [values[position % len(values)] for values in lists]
    kept = [word.replace("{{", "\1").replace("}}", "\2") for word in before]
    return [word.format(*inputs).replace("\1", "{{").replace("\2", "}}") for word in kept]


@given(
    words=st.lists(st.text("ab{}=% é", max_size=8), min_size=4, max_size=4),
    size=st.integers(2, 5),
)
def test_inputs_of_a_position_equal_the_arguments_of_a_single_job(
    words: list[str], size: int
) -> None:
    directory, script, value, log = words
    if "{{" in log and "}}" in log:
        return
    fields = {"size": size, "directory": f"/{directory}", "script": f"/{script}",
             "log": f"/{log}/{{position}}.x",
             "resources": Resources(native={"env": f"A{value}"})}  # fmt: skip
    single = arguments(request(**{**fields, "size": 1}), PLAIN)
    many = arguments(request(**fields), PLAIN)
    for position in range(size):
        argv = put_in(many, position)
        expected = [word.replace(f"/{log}/0.x", f"/{log}/{position}.x") for word in single[1:-4]]
        name = job_name(request().tag)
        expected[expected.index(f"--job-name={name}")] = f"--job-name={name}[{position}]"
        # Before the shell's four words: sh -c … script
        assert argv == [*expected, f"--env=FLUX_JOB_CC={position}", *single[-4:]]
