"""Parsing the output of Slurm's commands, from transcripts/ of a real Slurm (22.05)."""

from __future__ import annotations

import string
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.executors.base import ENDED, LIVE
from reflow.executors.parsing import only_id
from reflow_slurm import parse

TRANSCRIPTS = Path(__file__).parent / "transcripts"


def read(name: str) -> str:
    return (TRANSCRIPTS / f"{name}.txt").read_text()


def local(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_squeue() -> None:
    statuses = parse.merge(parse.squeue(read("squeue"), 1001))
    causes = {job: status.cause for job, status in statuses.items() if status.cause}
    assert causes == dict.fromkeys(["7", "61", "59", "30", "80", "81", "82"], "HELD")
    assert {status.state for status in statuses.values()} == {LIVE}
    assert "90" not in statuses  # another user's job: the number was once ours
    assert statuses["12"].running, "the leader counts, not another component"
    five = statuses["5"]
    assert five.running
    assert sorted(five.positions) == list(range(10))
    assert {at for at, element in five.positions.items() if element.running} == {0, 2}
    assert {at for at, element in five.positions.items() if element.state == ENDED} == {1}
    assert sorted(statuses["35"].positions) == [1, 3, 5, 7, 9]
    assert statuses["30"].reason == "JobHeldUser: it is held by its user: scontrol release"
    assert statuses["31"].started is None, "what squeue prints of one that waits is a forecast"
    assert five.positions[0].started == local("2026-11-23T04:37:12")
    assert five.positions[0].nodes == ("n1",)


def test_sacct() -> None:
    statuses = parse.merge([], parse.sacct(read("sacct"), 1001))
    endings = {
        job: (status.state, status.cause, status.exit_code, status.signal)
        for job, status in statuses.items()
    }
    assert endings["4"] == (ENDED, "CANCELLED", 0, 0)
    assert endings["12"] == (ENDED, "ERROR", 7, 0)
    assert endings["13"] == endings["27"] == (ENDED, "ERROR", 0, 9)
    assert endings["26"] == (ENDED, "TIMEOUT", 0, 0)
    assert endings["31"] == (ENDED, "", 0, 0)
    assert endings["11694"] == (ENDED, "OOM", 0, 125)
    assert {at: element.cause for at, element in statuses["5"].positions.items()} == {
        0: "",
        4: "ERROR",
        9: "",
    }
    assert statuses["5"].cause == "ERROR"
    assert statuses["11695"].positions[1].cause == "OOM"
    assert "memory suspected" in statuses["13"].reason
    assert "folder of its log" in statuses["70"].reason
    assert "the job it waited for" in statuses["8"].reason
    assert statuses["8"].cause == "LOST", "nobody cancelled it"
    assert statuses["28"].cause == "CANCELLED"
    assert statuses["28"].reason == "Slurm says CANCELLED by 1001"
    assert (statuses["8"].started, statuses["8"].ended) == (None, local("2026-11-23T04:37:21"))
    assert statuses["8"].nodes == ()


def test_of_requeued_duplicates_the_newest_counts_whatever_the_order() -> None:
    lines = read("sacct_requeued").splitlines()
    for text in ("\n".join(lines), "\n".join(reversed(lines))):
        statuses = parse.merge([], parse.sacct(text, 1001))
        assert (statuses["31"].state, statuses["31"].cause) == (ENDED, "")
        assert statuses["31"].started == local("2026-11-23T04:39:16")
        assert statuses["5"].positions[1].cause == ""
        assert statuses["5"].positions[2].cause == "ERROR"


def test_job_alive_in_the_queue_is_alive_whatever_accounting_says() -> None:
    queue = parse.squeue("5_1|PENDING|BeginTime||N/A|2026-11-23T04:37:16|1001\n"
                         "31|PENDING|BeginTime||N/A|2026-11-23T04:37:16|1001\n")  # fmt: skip
    statuses = parse.merge(queue, parse.sacct(read("sacct_requeued")))
    assert statuses["31"].state == LIVE
    assert statuses["5"].state == statuses["5"].positions[1].state == LIVE
    assert statuses["5"].positions[2].state == ENDED


def test_a_row_that_accounting_has_not_filled_in_yet_is_not_taken_for_the_array() -> None:
    # As seen one second after an array's elements had ended.
    row = "935|COMPLETED|0:0|None|n1|2026-11-24T14:09:38|2026-11-24T14:09:38|2026-11-24T14:09:38|0"
    assert parse.merge([], parse.sacct(row, 1001)) == {}


@pytest.mark.parametrize(
    ("text", "cause"),
    [("CANCELLED|Dependency", "CANCELLED"), ("CANCELLED|DependencyNeverSatisfied", "LOST"),
     ("CANCELLED by 1001|Dependency|0:0", "CANCELLED"), ("CANCELLED|Dependency|0:0", "LOST")],
)  # fmt: skip
def test_whether_a_person_or_slurm_cancelled_what_waited(text: str, cause: str) -> None:
    """As reported by squeue and sacct of Slurm 22.05."""
    state, reason, code = (*text.split("|"), "")[:3]
    assert parse.status(state, reason=reason, code=code).cause == cause


def test_a_job_that_runs_on_another_cluster_of_a_federation_is_not_over() -> None:
    statuses = parse.merge(parse.squeue("67108868|REVOKED|None||N/A|2026-11-23T04:37:12|1\n"))
    assert (statuses["67108868"].state, statuses["67108868"].cause) == (LIVE, "")


def test_scontrol() -> None:
    statuses = parse.merge(parse.scontrol(read("scontrol")))
    assert {at: element.exit_code for at, element in statuses["935"].positions.items()} == {
        0: 0,
        1: 3,
        2: 0,
    }
    assert statuses["935"].cause == "ERROR"
    assert statuses["31"].state == LIVE
    assert sorted(statuses["5"].positions) == [3, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("word", [*parse.LIVE_STATES, *parse.ENDED_STATES])
def test_every_state_of_the_manual(word: str) -> None:
    status = parse.status(word)
    assert (status.state == LIVE) == (word in parse.LIVE_STATES)
    assert status.cause != "UNKNOWN"
    assert (status.state == ENDED and not status.cause) == (word == "COMPLETED")
    for compact, long in parse.COMPACT.items():
        if long == word:
            assert parse.status(compact) == status


def test_the_manuals_compact_codes_are_all_there() -> None:
    states = {*parse.LIVE_STATES, *parse.ENDED_STATES} - {"POWER_UP_NODE"}
    assert set(parse.COMPACT.values()) == states
    assert len(parse.COMPACT) == len(states)


@pytest.mark.parametrize(
    ("text", "cause"),
    [("OUT_OF_ME+", "OOM"), ("CANCELLED+", "CANCELLED"), ("NODE_FA+", "NODE_FAIL"),
     ("COMPLETED", ""), ("CANCELLED by 0", "CANCELLED"), ("CANCELLED by someone", "CANCELLED")],
)  # fmt: skip
def test_shortened_and_longer_forms(text: str, cause: str) -> None:
    status = parse.status(text)
    assert (status.state, status.cause) == (ENDED, cause)


@pytest.mark.parametrize(
    "text", ["", "COMPLETE", "C+", "COMPL+", "completed", "OK", "?", "COMPLETED_TWICE"]
)
def test_a_state_that_is_not_known_is_unknown_and_never_a_success(text: str) -> None:
    status = parse.status(text, code="0:0")
    assert (status.state, status.cause) == (LIVE, "UNKNOWN")


@pytest.mark.parametrize("reason", [
    "Resources", "Priority", "Dependency", "None", "BeginTime", "JobArrayTaskLimit", "Licenses",
    "AssocMaxJobsLimit", "QOSMaxJobsPerUserLimit", "AssocGrpCpuLimit", "QOSMaxCpuPerUserLimit",
    "ReqNodeNotAvail, UnavailableNodes:n[1-2]", "NodeDown", "Reservation", "Something new",
])  # fmt: skip
def test_reasons_that_pass_by_themselves(reason: str) -> None:
    assert parse.status("PENDING", reason=reason).cause == ""


@pytest.mark.parametrize("reason", [
    *parse.NEVER, "AssocMaxWallDurationPerJobLimit", "QOSMaxWallDurationPerJobLimit",
    "AssocMaxCpuPerJobLimit", "QOSMaxMemoryPerJob", "AssocMaxMemPerJob", "QOSMinGRES",
    "QOSMaxCpuPerNode", "AssocMaxNodePerJobLimit", "launch failed requeued held",
])  # fmt: skip
def test_reasons_that_need_a_person(reason: str) -> None:
    status = parse.status("PENDING", reason=reason)
    assert (status.state, status.cause) == (LIVE, "HELD")
    assert status.reason.partition(": ")[2]


def test_reason_of_a_hold_is_ignored_for_a_running_job() -> None:
    assert parse.status("RUNNING", reason="JobHeldUser").cause == ""


@pytest.mark.parametrize("text", ["5_[1,3-5,7-...", "5_[1,3-5,7", "5_[1,3-5,...]"])
def test_an_expression_cut_short_names_what_is_sure_and_keeps_the_job_alive(text: str) -> None:
    statuses = parse.merge(parse.squeue(f"{text}|PENDING|None||N/A|N/A|1001"))
    assert statuses["5"].state == LIVE
    assert sorted(statuses["5"].positions) == [1, 3, 4, 5]


def test_a_job_of_which_nothing_is_sure_lives_all_the_same() -> None:
    statuses = parse.merge(parse.squeue("5_[...]|PENDING|None||N/A|N/A|1001"))
    assert (statuses["5"].state, dict(statuses["5"].positions)) == (LIVE, {})


@pytest.mark.parametrize(
    "text", ["32\n", "32;tiny\n", "Welcome to tiny, 3 jobs\n\n  32\n", "32\nGood bye\n"]
)
def test_job_id(text: str) -> None:
    assert only_id("sbatch", text, parse.JOB_ID.findall(text)) == "32"


@pytest.mark.parametrize("text", ["", "\n", "Submitted batch job", "32\n33\n", "²", "-3", "3.5"])
def test_no_job_id(text: str) -> None:
    with pytest.raises(ValueError, match="no job id"):
        only_id("sbatch", text, parse.JOB_ID.findall(text))


def test_named() -> None:
    text = "hello\n12|a.1.w\n13_[0-3]|b.2.w\n14|c|d\n15.batch|a.1.w\n16+0|e\n"
    ids = parse.named(text, ["a.1.w", "b.2.w", "c|d", "e"])
    assert ids == {"a.1.w": "12", "b.2.w": "13", "c|d": "14", "e": "16"}


@pytest.mark.parametrize(
    ("text", "size"),
    [("MaxArraySize            = 1001\n", 1001), ("A = 1\nMaxArraySize = 0\n", 1), ("", None),
     ("MaxArraySize = many", None),
     ("MaxArraySize = 100001\nSchedulerParameters = defer,max_array_tasks=1000,x=1\n", 1000)],
)  # fmt: skip
def test_array_size(text: str, size: int | None) -> None:
    assert parse.array_size(text) == size


REFUSED = """Batch job submission failed: Invalid partition name specified
Batch job submission failed: Invalid account or account/partition combination specified
Batch job submission failed: Requested node configuration is not available
Invalid --time specification
Unable to open file /nonexistent/script.sh
Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)"""
LATER = """AssocMaxSubmitJobLimit
QOSMaxSubmitJobPerUserLimit
AssocGrpSubmitJobsLimit
Batch job submission failed: Resource temporarily unavailable"""
DOWN = """Batch job submission failed: Unable to contact slurm controller (connect failure)
Batch job submission failed: Socket timed out on send/recv operation
Sending PersistInit msg: Connection refused
Batch job submission failed: Zero Bytes were transmitted or received
Munge encode failed: Failed to access "/run/munge/munge.socket.2": No such file or directory
resolve_ctls_from_dns_srv: res_nsearch error: Could not establish a configuration source"""


def test_what_a_refusal_is() -> None:
    kinds = {"refused": REFUSED, "later": LATER, "down": DOWN}
    for kind, text in kinds.items():
        for line in text.splitlines():
            message = f"sbatch: error: {line}"
            assert (parse.LIMIT.search(message) is not None) == (kind == "later"), line
            assert (parse.UNREACHABLE.search(message) is not None) == (kind == "down"), line


PIECES = st.lists(
    st.one_of(
        st.sampled_from(["|", "_", "[", "]", "5", "-", ",", "%3", ":", "...", "\n", "PENDING", "+",
                         "COMPLETED", "0:0", "2026-11-23T04:37:12", "JobId=5", "JobState=", " "]),
        st.text(max_size=5),
    )
).map("".join)  # fmt: skip


@given(st.one_of(st.text(), PIECES))
def test_no_text_raises(text: str) -> None:
    row = "|".join([text] * 9)
    for output in (text, row, f"5|{row}", text.join(read("squeue").splitlines()[:3])):
        parse.merge(parse.squeue(output), [*parse.sacct(output), *parse.scontrol(output)])
        parse.named(output, [output])
    parse.status(text, code=text, reason=text, nodes=text, started=text, ended=text)


@given(st.text(string.ascii_uppercase + "_", min_size=1))
def test_only_completed_is_a_success(word: str) -> None:
    status = parse.status(word, code="0:0")
    assert (status.state == ENDED and not status.cause) == (word in ("COMPLETED", "CD"))


@given(
    job=st.integers(1, 2**26),
    places=st.none() | st.sets(st.integers(0, 5000), min_size=1),
    word=st.sampled_from(sorted(parse.ENDED_STATES)),
    code=st.tuples(st.integers(0, 255), st.integers(0, 64)),
)
def test_rows_come_back(
    job: int, places: set[int] | None, word: str, code: tuple[int, int]
) -> None:
    inside = "" if places is None else f"_[{','.join(map(str, sorted(places)))}]"
    if places is not None and len(places) == 1:
        inside = f"_{min(places)}"
    row = (f"{job}{inside}|{word}|{code[0]}:{code[1]}|None|n1|2026-11-23T04:37:12|"
           "2026-11-23T04:37:14|2026-11-23T04:37:11|1001")  # fmt: skip
    statuses = parse.merge([], parse.sacct(f"{row}\n{job}.batch|{word}|0:0||n1||||\n", 1001))
    status = statuses[str(job)]
    assert (status.state, status.cause) == (ENDED, parse.ENDED_STATES[word])
    assert (status.exit_code, status.signal) == code
    assert set(status.positions) == (places or set())
