"""The arguments of sbatch, as golden files, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reflow.errors import SubmissionRefusedError
from reflow.executors.base import JobRequest
from reflow.executors.options import job_name
from reflow.model.spec import Resources
from reflow_slurm.executor import SlurmExecutor
from reflow_slurm.render import arguments, log_pattern, native, time_limit

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


CASES = {
    "plain": (request(), SlurmExecutor()),
    "everything": (
        request(
            size=200, throttle=20, after=("12", "13"), after_each="11", begin=59.2,
            resources=Resources(
                cpus=4, time=90061, mem=8 * 1024**3 + 1, gpus=2, nodes=3, queue="gpu",
                account="climate",
                native={
                    "ntasks": "6", "ntasks_per_node": "2", "C": "a100&nvlink", "q": "high",
                    "reservation": "school", "mail-type": "END,FAIL", "mail-user": "me@site.org",
                    "exclusive": "",
                },
            ),
        ),
        SlurmExecutor(queue="batch", account="default", cluster="big"),
    ),
    "precedence": (
        request(
            resources=Resources(
                cpus=2, mem=1024**3, queue="mine",
                native={"partition": "native", "mem-per-cpu": "2G", "time": "5"}, time=600,
            )
        ),
        SlurmExecutor(
            queue="field", account="field",
            options={"p": "options", "A": "options", "c": "16", "mem": "64G", "nice": "100"},
        ),
    ),
    "defaults_stand": (
        request(),
        SlurmExecutor(queue="field", account="field",
                 options={"cpus-per-task": "16", "mem": "64G", "gres": "gpu:a100:1,scratch:10G"}),
    ),
    "gpus_join_other_gres": (
        request(resources=Resources(gpus=2)),
        SlurmExecutor(options={"gres": "gpu:a100:1,scratch:10G"}),
    ),
    "native_gpus_win": (
        request(resources=Resources(gpus=2, native={"gpus-per-task": "a100:1"})), SlurmExecutor()
    ),
    "native_gres_wins": (
        request(resources=Resources(gpus=2, native={"gres": "gpu:a100:4"})),
        SlurmExecutor(options={"G": "1"}),
    ),
    "hostile": (
        request(
            tag="näme, with 'all'\n\"of|it\".1.1.w",
            name="it's,\n\"ünï|code\" `x` $(y) " + "z" * 400,
            log="/r 100%/%j{position}.log", directory="/tmp/a b", size=2,
        ),
        SlurmExecutor(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    rendered = "".join(f"{word}\n" for word in arguments(*CASES[name]))
    assert rendered == (GOLDEN / f"{name}.txt").read_text()


def test_every_golden_file_is_of_a_case() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0-00:00:01"), (59, "0-00:00:59"), (86400, "1-00:00:00"), (10**9, "11574-01:46:40")],
)
def test_no_time_limit_is_ever_zero_which_slurm_takes_as_none(seconds: int, text: str) -> None:
    assert time_limit(seconds) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [(1, "1K"), (1024, "1K"), (1025, "2K"), (0, "1K"), (2**50, "1099511627776K")],
)
def test_memory_is_rounded_up_and_never_zero_which_slurm_takes_as_all(
    amount: int, text: str
) -> None:
    argv = arguments(request(resources=Resources(mem=amount)), SlurmExecutor())
    assert f"--mem={text}" in argv


def test_one_element_is_a_plain_job() -> None:
    argv = arguments(request(size=1, throttle=5), SlurmExecutor())
    assert not [word for word in argv if word.startswith("--array")]
    assert "--output=/run/logs/3.0.log" in argv


@pytest.mark.parametrize(("begin", "text"), [(0.01, "now+1"), (1, "now+1"), (3599.5, "now+3600")])
def test_begin_is_never_early(begin: float, text: str) -> None:
    assert f"--begin={text}" in arguments(request(begin=begin), SlurmExecutor())


def test_many_dependencies_stay_in_what_slurmctld_takes_of_a_job() -> None:
    most = SlurmExecutor().capabilities.max_dependencies
    assert most is not None
    argv = arguments(request(after=("67043328",) * most), SlurmExecutor())
    assert max(map(len, argv)) < 128 * 1024


@pytest.mark.parametrize(
    "option",
    ["array", "a", "job-name", "J", "job_name", "--output", "o", "requeue", "wrap", "wait", "W",
     "dependency", "d", "parsable", "hold", "H", "test-only", "clusters", "M"],
)  # fmt: skip
@pytest.mark.parametrize("where", ["task", "executor"])
def test_options_that_reflow_sets_are_refused(option: str, where: str) -> None:
    options = {option: "1"}
    refused = request(resources=Resources(native=options if where == "task" else {}))
    with pytest.raises(SubmissionRefusedError, match=option):
        arguments(refused, SlurmExecutor(options=options if where == "executor" else {}))


@pytest.mark.parametrize(
    "options", [{"": "x"}, {"qos": "a\nb"}, {"q o s": "1"}, {"qos": "a\0b"}, {"comment\n": "1"}]
)
def test_what_can_be_no_option_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(SubmissionRefusedError, match="not an option of sbatch"):
        native(options)


def test_a_users_export_stands() -> None:
    argv = arguments(request(resources=Resources(native={"export": "NONE"})), SlurmExecutor())
    assert [word for word in argv if "export" in word] == ["--export=NONE"]


def test_a_backslash_in_the_log_is_refused() -> None:
    # sbatch removes the backslash and then keeps %a as text: all elements would share one log.
    with pytest.raises(SubmissionRefusedError, match="backslash"):
        log_pattern(request(log="/a\\b/{position}.log"))


def test_a_tag_of_the_engine_is_its_own_job_name() -> None:
    assert job_name("my_flow-20260401-7c2k9q4mx1.12.3.w") == "my_flow-20260401-7c2k9q4mx1.12.3.w"
