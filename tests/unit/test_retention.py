"""Which runs may be removed: a table of cases, and properties of all runs and policies."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reflow.runs.retention import (
    AGE,
    ASKED,
    SIZE,
    SUPERSEDED,
    Batch,
    FileSize,
    Policy,
    ResultPolicy,
    StoredRun,
    freed,
    leaving,
    outdated,
    total_size,
)

NOW = 1000.0


def run(
    number: int, ended_at: float, files: dict[int, tuple[int, int]], ended: bool = True,
    graph: str = "flow",
) -> StoredRun:  # fmt: skip
    return StoredRun(
        run_id=f"{graph}-{number}", graph_name=graph, created_at=f"2026-04-{number + 1:02d}",
        ended=ended, ended_at=ended_at,
        files={(1, inode): FileSize(size, links) for inode, (size, links) in files.items()},
    )  # fmt: skip


OLD = run(0, 100, {1: (50, 1), 2: (500, 2)})
MIDDLE = run(1, 500, {2: (500, 2), 3: (30, 1)})
NEW = run(2, 900, {4: (20, 1)})
ALL = [NEW, OLD, MIDDLE]


def test_by_age() -> None:
    assert leaving(ALL, Policy(older_than=600), NOW) == {"flow-0": AGE}
    assert leaving(ALL, Policy(older_than=0), NOW) == {"flow-0": AGE, "flow-1": AGE}
    assert leaving(ALL, Policy(older_than=0, keep=0), NOW).keys() == {"flow-0", "flow-1", "flow-2"}
    assert leaving(ALL, Policy(older_than=0, keep=3), NOW) == {}
    assert leaving(ALL, Policy(), NOW) == {}


def test_by_size_the_oldest_go_until_the_others_fit() -> None:
    assert total_size(stored.files for stored in ALL) == 600
    assert leaving(ALL, Policy(max_size=600), NOW) == {}
    # A file that two runs share is freed with the second of them.
    assert leaving(ALL, Policy(max_size=550), NOW) == {"flow-0": SIZE}
    assert leaving(ALL, Policy(max_size=549), NOW) == {"flow-0": SIZE, "flow-1": SIZE}
    assert leaving(ALL, Policy(max_size=0), NOW).keys() == {"flow-0", "flow-1"}, "one is kept"


def test_by_both() -> None:
    policy = Policy(older_than=600, max_size=100)
    assert leaving(ALL, policy, NOW) == {"flow-0": AGE, "flow-1": SIZE}


def test_runs_that_have_not_ended_stay_and_do_not_count_as_kept() -> None:
    going_on = run(0, 0, {1: (50, 1)}, ended=False)
    assert leaving([going_on, MIDDLE, NEW], Policy(older_than=0), NOW) == {"flow-1": AGE}
    other = run(0, 0, {}, graph="other")
    assert leaving([other, MIDDLE, NEW], Policy(older_than=0), NOW) == {"flow-1": AGE}


def test_freed_size() -> None:
    assert freed([OLD.files]) == 50, "the other run has the shared file"
    assert freed([OLD.files, MIDDLE.files]) == 580
    assert freed([run(0, 0, {7: (70, 2)}).files]) == 0, "somebody else has it, whoever that is"


_runs = st.lists(
    st.builds(
        run,
        st.integers(0, 20),
        st.floats(0, NOW),
        st.dictionaries(st.integers(0, 9), st.just((10, 1)), max_size=4),
        st.booleans(),
        st.sampled_from(["a", "b"]),
    ),
    max_size=12,
    unique_by=lambda stored: stored.run_id,
)
_policies = st.builds(
    Policy,
    older_than=st.none() | st.floats(0, NOW),
    max_size=st.none() | st.integers(0, 100),
    keep=st.integers(0, 3),
)


@given(_runs, _policies)
def test_every_policy_keeps_the_newest_and_removes_no_more_than_needed(
    runs: list[StoredRun], policy: Policy
) -> None:
    gone = leaving(runs, policy, NOW)
    kept_runs = [run for run in runs if run.run_id not in gone]
    assert all(run.ended for run in runs if run.run_id in gone)
    for graph in ("a", "b"):
        newest_first = sorted((run for run in runs if run.graph_name == graph), reverse=True,
                       key=lambda run: (run.created_at, run.run_id))  # fmt: skip
        assert not {run.run_id for run in newest_first[: policy.keep]} & gone.keys()
    removable = leaving(runs, Policy(older_than=-1, keep=policy.keep), NOW)
    if policy.max_size is not None and total_size(run.files for run in kept_runs) > policy.max_size:
        assert gone.keys() == removable.keys(), "nothing is left that may go"
    if policy.older_than is not None:
        late = {run.run_id for run in kept_runs if NOW - run.ended_at > policy.older_than}
        assert not late & removable.keys()
    if policy.older_than is None and policy.max_size is None:
        assert gone == {}


def batch(
    used_at: float, files: dict[int, int], *, kept: bool = False, superseded: bool = False
) -> Batch:
    return Batch(
        run_id=f"flow-{used_at}", graph_name="flow", task="t", used_at=used_at, results=1,
        kept=kept, superseded=superseded,
        files={(1, inode): FileSize(size, 1) for inode, size in files.items()},
    )  # fmt: skip


BATCHES = [
    batch(900, {4: 20}, kept=True),
    batch(500, {2: 500, 3: 30}),
    batch(300, {}),
    batch(100, {1: 50, 2: 500}, superseded=True),
]


def test_results_by_age() -> None:
    assert outdated(BATCHES, ResultPolicy(older_than=600), NOW) == {3: AGE, 2: AGE}
    assert outdated(BATCHES, ResultPolicy(older_than=0), NOW) == {3: AGE, 2: AGE, 1: AGE}


def test_without_limits_all_results_go() -> None:
    assert outdated(BATCHES, ResultPolicy(), NOW) == {3: ASKED, 2: ASKED, 1: ASKED}


def test_superseded_results() -> None:
    assert outdated(BATCHES, ResultPolicy(superseded=True), NOW) == {3: SUPERSEDED}
    assert outdated(BATCHES, ResultPolicy(superseded=True, older_than=950), NOW) == {}
    assert outdated(BATCHES, ResultPolicy(superseded=True, max_size=0), NOW) == {3: SIZE}


def test_results_by_size_the_longest_unused_go_until_the_others_fit() -> None:
    assert outdated(BATCHES, ResultPolicy(max_size=600), NOW) == {}
    # A shared file is freed with the second result; a result without files frees nothing.
    assert outdated(BATCHES, ResultPolicy(max_size=550), NOW) == {3: SIZE}
    assert outdated(BATCHES, ResultPolicy(max_size=0), NOW) == {3: SIZE, 1: SIZE}
    both = ResultPolicy(older_than=600, max_size=540)
    assert outdated(BATCHES, both, NOW) == {3: AGE, 2: AGE, 1: SIZE}


@given(
    st.lists(
        st.builds(
            batch, st.integers(0, 900), st.dictionaries(st.integers(1, 6), st.just(10)),
            kept=st.booleans(), superseded=st.booleans(),
        ),
        max_size=8,
    ),
    st.none() | st.integers(0, 1000),
    st.none() | st.integers(0, 80),
    st.booleans(),
)  # fmt: skip
def test_every_policy_of_results(
    batches: list[Batch], older_than: int | None, max_size: int | None, superseded: bool
) -> None:
    policy = ResultPolicy(older_than=older_than, max_size=max_size, superseded=superseded)
    gone = outdated(batches, policy, NOW)
    assert not any(batches[number].kept for number in gone)
    assert all(batches[number].superseded for number in gone) or not superseded
    kept = [result for number, result in enumerate(batches) if number not in gone]
    may_go = [
        result for result in kept if not result.kept and (result.superseded or not superseded)
    ]
    if older_than is not None:
        assert all(NOW - result.used_at <= older_than for result in may_go)
    if (
        max_size is not None
        and len({key for result in kept for key in result.files}) * 10 > max_size
    ):
        assert not any(result.files for result in may_go)


def test_freed_results_are_those_with_no_other_name() -> None:
    twice, once = FileSize(500, 2), FileSize(30, 1)
    assert freed([{(1, 1): twice}, {(1, 2): once}]) == 30
    assert freed([{(1, 1): twice}, {(1, 1): twice, (1, 2): once}]) == 530
    assert freed([]) == 0
