"""Torque's dialect: arguments and output of its commands, as a real one (6.1.3) had them."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from reflow.errors import SubmissionRefusedError
from reflow.executors.base import ENDED, LIVE, JobRequest, JobStatus
from reflow.model.spec import Resources
from reflow_pbs import parse, torque
from reflow_pbs.render import arguments

HERE = Path(__file__).parent
GOLDEN = HERE / "golden_torque"
NOW = time.mktime((2026, 11, 25, 3, 0, 0, 0, 0, -1))
REQUEST = JobRequest(
    tag="flow-7c2k9q4mx1.1.3.w", name="flow-7c2k9q4mx1.step", script="/run/jobs/3.sh",
    directory="/home/me", log="/run/logs/3.{position}.log",
)  # fmt: skip


CASES = {
    "plain": (REQUEST, ()),
    "everything": (
        evolve(
            REQUEST, size=200, throttle=20, after=("12.host", "13[].host", "14.host"), begin=59.2,
            resources=Resources(
                cpus=4, time=90061, mem=8 * 1024**3 + 1, gpus=2, nodes=3, queue="gpu",
                account="climate", native={"m": "abe", "-W": "group_list=geo", "V": ""},
            ),
        ),
        ({"q": "batch", "A": "default"}, {"p": "10"}),
    ),
    "defaults_stand": (REQUEST, ({"ncpus": "16", "mem": "64gb", "q": "field"},)),
    "native_nodes_win": (
        evolve(
            REQUEST,
            resources=Resources(cpus=2, nodes=2, native={"l": "nodes=1:ppn=4+2:ppn=1"}),
        ),
        ({"walltime": "5:00"},),
    ),
    "hostile": (
        evolve(
            REQUEST, tag="näme, with 'all'\n\"of|it\".1.1.w", script="/r 'x'/$(id)/1.sh",
            log="/r 100%/%j:$HOME,'x'.{position}.log", size=2,
        ),
        (),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    job_request, layers = CASES[name]
    rendered = "".join(f"{word}\n" for word in arguments(job_request, layers, NOW, on_torque=True))
    rendered += f"<\n{torque.script(job_request, '0022')}"
    assert rendered == (GOLDEN / f"{name}.txt").read_text()


def test_every_golden_file_is_of_a_case() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)


@pytest.mark.parametrize("option", ["t", "N", "o", "J", "depend", "r"])
def test_options_that_reflow_sets_are_refused(option: str) -> None:
    wants = Resources(native={option: "1"})
    with pytest.raises(SubmissionRefusedError, match=option):
        arguments(evolve(REQUEST, resources=wants), (), NOW, on_torque=True)



@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_the_script_runs_the_jobs_and_keeps_what_the_log_has(tmp_path: Path, shell: str) -> None:
    for name in ("x", "a b", "it's", "$HOME `id`", "100%\\n", "a\nb", "grün", "-x", "a;b&c|d>e"):
        for size in (1, 2):
            place = tmp_path / f"{size}{name}"
            place.mkdir()
            (place / "job.sh").write_text("umask; echo err >&2; cat\n")
            log = place / "log.1.x" if size > 1 else place / "log.0.x"
            log.write_text("first\n")
            job_request = evolve(
                REQUEST, script=f"{place}/job.sh", log=f"{place}/log.{{position}}.x", size=size
            )
            done = subprocess.run(
                [shell], input=torque.script(job_request, "0027"), text=True, capture_output=True,
                check=False,
                    env={**os.environ, **({"PBS_ARRAYID": "1"} if size > 1 else {})},
            )  # fmt: skip
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
            assert log.read_text() == "first\n0027\nerr\n"


def test_the_file_of_an_element_in_the_spool_is_removed(tmp_path: Path) -> None:
    (tmp_path / "job.sh").write_text("exit 3\n")
    log = f"{tmp_path}/{{position}}.log"
    job_request = evolve(REQUEST, script=f"{tmp_path}/job.sh", log=log, size=2)
    for name, stays in (("1-0.host.OU", False), ("other", True)):
        spooled = tmp_path / name
        with spooled.open("w") as file:
            done = subprocess.run(
                ["sh"], input=torque.script(job_request, "022"), text=True, stdout=file,
                check=False, env={**os.environ, "PBS_ARRAYID": "0"},
            )  # fmt: skip
        assert done.returncode == 3
        assert spooled.exists() == stays


# What qstat prints


def read(name: str) -> str:
    return (HERE / "transcripts" / f"{name}.txt").read_text()


def block(**attributes: str) -> str:
    lines = "".join(f"    {name} = {value}\n" for name, value in attributes.items())
    return f"1.pbshost\n{lines}\n"


def status(text: str) -> JobStatus:
    return parse.status(torque.translated(text))


def test_how_jobs_stand() -> None:
    jobs = parse.jobs(torque.translated(read("torque")), "reflow")
    stand = {
        int(job.partition(".")[0]): (
            entry.status.state, entry.status.running, entry.status.cause, entry.status.exit_code
        )
        for job, entry in jobs.items()
        if "[]" not in job
    }  # fmt: skip
    assert stand == {
        654: (ENDED, False, "", 0),
        655: (ENDED, False, "ERROR", 7),
        656: (ENDED, False, "ERROR", 137),
        657: (ENDED, False, "TIMEOUT", None),
        658: (ENDED, False, "CANCELLED", None),
        659: (LIVE, False, "HELD", None),
        660: (ENDED, False, "CANCELLED", None),
        662: (LIVE, False, "", None),
        663: (LIVE, False, "", None),
        664: (LIVE, True, "", None),
    }
    assert jobs["656.pbshost"].status.signal == 9
    assert jobs["655.pbshost"].status.started is not None
    assert jobs["655.pbshost"].status.ended is not None
    assert jobs["658.pbshost"].status.reason == "it was deleted"
    assert jobs["664.pbshost"].status.nodes == ("pbshost",)


def test_an_array_is_what_its_elements_are() -> None:
    array = parse.jobs(torque.translated(read("torque")), "reflow")["661[].pbshost"].status
    assert (array.state, array.running, array.cause) == (LIVE, True, "")
    assert {at: (element.state, element.exit_code) for at, element in array.positions.items()} == {
        0: (LIVE, None), 1: (ENDED, 0), 2: (ENDED, 1), 3: (LIVE, None), 4: (ENDED, 3),
        5: (ENDED, 4),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("ended", "state", "cause"),
    [("exit_status = 0\n    start_time = x", LIVE, ""), ("x = y", ENDED, "CANCELLED")],
)
def test_elements_that_are_not_made_yet_live_unless_it_was_deleted(
    ended: str, state: str, cause: str
) -> None:
    text = read("torque_partly").replace("job_state = H", f"job_state = C\n    {ended}")
    (array,) = (entry.status for entry in parse.jobs(torque.translated(text)).values())
    assert set(array.positions) == set(range(300))
    assert array.positions[0].state == ENDED
    assert (array.positions[299].state, array.positions[299].cause) == (state, cause)
    assert (array.state, array.cause) == (state, cause)


def test_jobs_are_found_by_their_names_among_all() -> None:
    jobs = parse.named(read("torque_heads"), "reflow")
    assert jobs["array"] == "661[].pbshost"
    assert jobs["running"] == "664.pbshost"
    assert parse.named(read("torque_heads"), "somebody") == {}


def test_jobs_of_others_are_not_ours() -> None:
    assert parse.jobs(torque.translated(read("torque")), "somebody") == {}


@pytest.mark.parametrize(
    ("code", "cause"),
    [("0", ""), ("1", "ERROR"), ("265", "ERROR"), ("271", "CANCELLED"), ("-11", "TIMEOUT"),
     ("-12", "TIMEOUT"), ("-10", "OOM"), ("-4", "NODE_FAIL"), ("-1", "ERROR"), ("-8", "ERROR"),
     ("what", "UNKNOWN"), ("", "UNKNOWN")],
)  # fmt: skip
def test_exit_codes(code: str, cause: str) -> None:
    fields = {"job_state": "C", "start_time": "Wed Nov 25 03:42:31 2026"}
    result = status(block(**fields, **({"exit_status": code} if code else {})))
    assert (result.state, result.cause) == (ENDED, cause)
    assert bool(result.reason) == bool(cause)


@pytest.mark.parametrize(
    ("holds", "depend", "cause"),
    [("u", "", "HELD"), ("s", "afterany:1.h", ""), ("s", "afteranyarray:1[].h", ""),
     ("us", "afterany:1.h", "HELD"), ("l", "", ""), ("o", "", "HELD"), ("s", "", "HELD"),
     ("s", "beforeany:2.h", "HELD")],
)  # fmt: skip
def test_holds(holds: str, depend: str, cause: str) -> None:
    result = status(block(job_state="H", Hold_Types=holds, depend=depend))
    assert (result.state, result.cause) == (LIVE, cause)


@pytest.mark.parametrize("state", ["", "Z", "c", "CR", "finished"])
def test_a_state_that_is_not_known_is_unknown_and_never_a_success(state: str) -> None:
    result = status(block(job_state=state, exit_status="0", start_time="x"))
    assert (result.state, result.cause) == (LIVE, "UNKNOWN")


PIECES = st.lists(
    st.one_of(
        st.sampled_from(["Job Id: ", "5.h", "5[].h", "5[3].h", "\n    job_state = ", "C", "R", "H",
                         "\n    exit_status = ", "-11", "271", "\n", "\n\t", "\n    depend = after",
                         "\n    submit_args = -t 0-", "99999999", "7", "\n    start_time = "]),
        st.text(max_size=5),
    )
).map("".join)  # fmt: skip


@given(st.one_of(st.text(), PIECES))
def test_no_text_raises(text: str) -> None:
    for output in (text, f"Job Id: 5[1].h\n{text}"):
        parse.jobs(torque.translated(output))
        parse.jobs(torque.translated(output), "reflow")
    status(text)


@given(state=st.text(max_size=3), code=st.text(max_size=4))
def test_only_a_job_that_has_ended_with_code_zero_is_a_success(state: str, code: str) -> None:
    result = status(block(job_state=state, exit_status=code, start_time="x"))
    if result.state == ENDED and not result.cause:
        assert state.strip() in ("C", "F", "X")
        assert int(code) == 0
