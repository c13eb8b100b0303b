from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.errors import ValidationError
from reflow.model.wiring import order


@st.composite
def acyclic(draw: st.DrawFn) -> dict[str, list[str]]:
    size = draw(st.integers(0, 12))
    names = draw(st.permutations([f"t{i}" for i in range(size)]))
    rank = {name: i for i, name in enumerate(draw(st.permutations(names)))}
    return {
        name: draw(
            st.lists(st.sampled_from([n for n in names if rank[n] < rank[name]]), max_size=4)
            if rank[name]
            else st.just([])
        )
        for name in names
    }


@given(acyclic())
def test_every_task_comes_once_and_behind_what_it_needs(edges: dict[str, list[str]]) -> None:
    result = order(edges)
    assert sorted(result) == sorted(edges)
    place = {name: i for i, name in enumerate(result)}
    assert all(place[need] < place[name] for name in edges for need in edges[name])
    assert order({name: edges[name] for name in result}) == result


@given(acyclic(), st.data())
def test_path_of_a_cycle_is_a_cycle(
    edges: dict[str, list[str]], data: st.DataObject
) -> None:
    result = order(edges)
    if not result:
        return
    start = data.draw(st.sampled_from(result))
    loop = [start]
    while edges[loop[-1]] and data.draw(st.booleans()):
        loop.append(data.draw(st.sampled_from(edges[loop[-1]])))
    broken = {name: list(needs) for name, needs in edges.items()}
    broken[loop[-1]].append(start)
    with pytest.raises(ValidationError, match="cycle") as caught:
        order(broken)
    path = str(caught.value).partition(": ")[2].partition(" (")[0].split(" -> ")
    assert path[0] == path[-1]
    assert all(before in broken[after] for before, after in itertools.pairwise(path))


def test_a_cycle_names_its_path_along_the_data() -> None:
    with pytest.raises(ValidationError, match="cycle: b -> c -> b"):
        order({"a": [], "b": ["a", "c"], "c": ["b"]})
    with pytest.raises(ValidationError, match="cycle: a -> a"):
        order({"a": ["a"]})


def test_unknown_task() -> None:
    with pytest.raises(ValidationError, match=r"'b' needs 'lod'.*did you mean 'load'"):
        order({"load": [], "b": ["lod"]})


def test_a_long_chain_defined_backwards() -> None:
    looked_up: list[str] = []

    class Counting(dict[str, list[str]]):
        def __getitem__(self, task: str) -> list[str]:
            looked_up.append(task)
            return super().__getitem__(task)

    edges = Counting({f"t{i}": [f"t{i + 1}"] if i < 20000 else [] for i in range(20001)})
    assert order(edges)[0] == "t20000"
    assert len(looked_up) == len(edges), "each task's needs are looked at once"
