"""Every way to run random small workflows gives the results of plain Python."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from reflow import LocalExecutor

HEAD = """
from typing import Annotated
from reflow import Param, Result, Workflow

wf = Workflow("random")
"""


class Generated:
    """A workflow as the source of a module, with the result of each task by plain Python."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.seed = seed
        self.base = self.chance.randint(0, 9)
        self.parts = [HEAD]
        self.tasks: dict[str, tuple[bool, bool]] = {}  # name: (is an array, gives lists)
        self.expected: dict[str, Any] = {}
        for number in range(self.chance.randint(2, 7)):
            self.add(f"t{number}")
        self.source = "\n".join(self.parts)

    def add(self, name: str) -> None:
        chance = self.chance
        lists = chance.random() < 0.5
        listed = [task for task, (array, many) in self.tasks.items() if array or many]
        array = bool(listed) and chance.random() < 0.6
        if not self.tasks:
            lists = chance.random() < 0.8
        arguments: list[str] = []
        names: list[str] = []
        each: list[tuple[str, list[Any]]] = []
        common: dict[str, Any] = {}

        def take(annotation: str, above: str, more: str = "") -> str:
            argument = f"p{len(names)}"
            names.append(argument)
            arguments.append(f"{argument}: Annotated[{annotation}, Result(step={above!r}{more})]")
            return argument

        if array:
            above = chance.choice(listed)
            each.append(self.fan(take, above))
            size = len(each[0][1])
            partners = [task for task in listed if len(self.items(task, flat=True)) == size]
            if partners and chance.random() < 0.3:
                each.append(self.fan(take, chance.choice(partners), size=size))
        for above in chance.sample(sorted(self.tasks), chance.randint(0, min(2, len(self.tasks)))):
            argument, value = self.whole(take, above, array)
            common[argument] = value
        if chance.random() < 0.4:
            names.append("base")
            arguments.append("base: Annotated[int, Param(help='x')]")
            common["base"] = self.base
        after = chance.sample(sorted(self.tasks), 1) if self.tasks and chance.random() < 0.2 else []
        constant = chance.randint(0, 5)
        length = chance.choice([0, 1, 2, 3, 3, 4])
        gives = "list[int]" if lists else "int"
        total = " + ".join(["0", *(f"flat({name})" for name in names)])
        value = f"[{total} + {constant} + i for i in range({length})]" if lists else (
            f"{total} * 3 % 1000 + {constant}"
        )
        options = ", ".join(
            [*(["array=True"] if array else []), *([f"after={after!r}"] if after else [])]
        )
        if number_is_first(name):
            self.parts.append(FLAT)
        self.parts.append(
            f"\n@wf.job({options})\ndef {name}({', '.join(arguments)}) -> {gives}:\n"
            f"    return {value}\n"
        )
        space: dict[str, Any] = {}
        exec(FLAT + f"\ndef call({', '.join(names)}):\n    return {value}", space)
        if array:
            sizes = {len(items) for _, items in each}
            assert len(sizes) == 1
            self.expected[name] = [
                space["call"](**common, **{key: items[i] for key, items in each})
                for i in range(sizes.pop())
            ]
        else:
            self.expected[name] = space["call"](**common)
        self.tasks[name] = (array, lists)

    def items(self, above: str, *, flat: bool) -> list[Any]:
        """Return the items that a task gives to the elements of an array."""
        array, lists = self.tasks[above]
        value = self.expected[above]
        if array and lists and flat:
            return [item for part in value for item in part]
        return list(value)

    def fan(
        self, take: Callable[..., str], above: str, size: int | None = None
    ) -> tuple[str, list[Any]]:
        """Add an argument that gets one item: fan-out, chain or chain-flatten."""
        array, lists = self.tasks[above]
        flat = size is not None or self.chance.random() < 0.5
        items = self.items(above, flat=flat)
        # An array of lists is chained list by list, or item by item.
        annotation = "list[int]" if array and lists and not flat else "int"
        return take(annotation, above), items

    def whole(self, take: Callable[..., str], above: str, to_array: bool) -> tuple[str, Any]:
        """Add an argument that gets all: direct, gather, gather-flatten or broadcast."""
        array, lists = self.tasks[above]
        value = self.expected[above]
        annotation = "list[int]" if array or lists else "int"
        if array and lists:
            if self.chance.random() < 0.5:
                annotation = "list[list[int]]"
            else:
                value = [item for part in value for item in part]
        more = ", broadcast=True" if to_array else ""
        return take(annotation, above, more), value


FLAT = """
def flat(value):
    return sum(map(flat, value)) if isinstance(value, list) else value
"""


def number_is_first(name: str) -> bool:
    return name == "t0"


def parameters(case: Generated) -> dict[str, int]:
    return {"base": case.base} if "base: Annotated" in case.source else {}


def check(case: Generated, run: Any) -> None:
    assert run.state == "SUCCESS"
    got = {name: run.result(name) for name in case.expected}
    assert got == case.expected, f"seed {case.seed}\n{case.source}"


@pytest.mark.parametrize("chunk", range(5))
def test_run_local_gives_what_plain_python_gives(load, tmp_path, chunk):
    for seed in range(chunk * 30, chunk * 30 + 30):
        case = Generated(seed)
        wf = load(case.source).wf
        arguments = parameters(case)
        # One store for all: an element may be taken from another seed's workflow.
        check(case, wf.run_local(run_dir=tmp_path / "one", **arguments))
        check(case, wf.run_local(run_dir=tmp_path / "four", max_workers=4, force=True, **arguments))
        check(case, wf.run_local(run_dir=tmp_path / "cached", max_workers=4, **arguments))


@pytest.mark.parametrize("chunk", range(13))
def test_submit_gives_what_plain_python_gives(load, tmp_path, chunk):
    seeds = range(1000 + chunk * 12, 1000 + chunk * 12 + 12)
    runs = []
    for seed in seeds:
        case = Generated(seed)
        wf = load(case.source).wf
        executor = LocalExecutor(max_workers=1 + seed % 3)
        runs.append((case, wf.submit(tmp_path / "r", executor=executor, **parameters(case))))
    for case, run in runs:
        assert run.wait(120) == "SUCCESS"
        check(case, run)


def test_generated_workflows_have_every_mode(load):
    modes: set[str] = set()
    empty = 0
    for seed in range(150):
        case = Generated(seed)
        from reflow.runs.resolve import build_spec

        spec = build_spec("random", load(case.source).wf.tasks, parameters(case), "/r")
        modes |= {wire.mode for task in spec.tasks for wire in task.wires}
        empty += sum(case.tasks[name][0] and not case.expected[name] for name in case.tasks)
    assert modes >= {
        "direct", "fan-out", "gather", "gather-flatten", "chain", "chain-flatten", "broadcast"
    }  # fmt: skip
    assert empty > 10
