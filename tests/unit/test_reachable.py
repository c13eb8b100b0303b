"""Which code counts for a task, by ``code="function"`` and by ``code="deep"``."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from reflow.caching.call_graph import reach, reach_task
from reflow.caching.code_fingerprint import changed, code_of
from reflow.model.flow import TaskDefinition
from reflow.model.options import TaskOptions

FLOW = """
import functools, json
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated
import own.shapes
import own.numbers as n
from own import shapes
from own.numbers import scale as scaled, FACTOR
from own.wrapping import traced
from reflow import Param, Result

LIMITS = {"low": 1, "high": [2, 3]}
OPERATIONS = {"add": lambda a, b: a + b, "double": n.double}
UNUSED = 1

def first(x):
    return second(x) if x > 3 else x  # each the other

def second(x):
    return first(x - 1)

@functools.lru_cache(maxsize=None)
def remembered(x):
    return x + 10

@traced(2)
def told(x, y=1, *, z=(1, 2)):
    return x + y

class Base:
    def base(self):
        return 1

class Mode(Enum):
    FAST = "fast"
    SLOW = "slow"

@dataclass
class Point(Base):
    x: int = 0
    more: list = field(default_factory=list)

    def norm(self) -> int:
        "How far."
        return abs(self.x)

    @property
    def twice(self):
        return n.double(self.x)

def cyclic(x):
    return first(x)

def by_alias(x):
    return scaled(x)

def by_module(x):
    return n.scale(x)

def by_package(x):
    return own.shapes.area(x)

def by_constant(x):
    return x * FACTOR + LIMITS["low"]

def by_module_constant(x):
    return x * n.FACTOR

def by_table(x):
    return OPERATIONS["double"](x)

def by_class(x):
    return Point(x).norm()

def by_enum(x):
    return Mode.FAST

def by_decorated(x):
    return told(x) + remembered(x)

def by_import(x):
    from own import late
    return late.later(x)

def by_closure(x):
    def inner(y):
        return [scaled(one) for one in y]
    return (lambda z: inner(z))(x)

def by_annotation(p: Point) -> int:
    return p.x

def by_library(x):
    return json.dumps(x)

def upstream() -> int:
    return 1

def by_marker(x: Annotated[int, Result(step=upstream)]) -> int:
    return x

def by_partial(x):
    return PART(x)

PART = functools.partial(n.double, x=3)
"""
OWN = {
    "own/__init__.py": "",
    "own/numbers.py": """
        FACTOR = 2
        OTHER = 7
        def double(x):
            return x + x
        def scale(x):
            return x * FACTOR
        """,
    "own/shapes.py": """
        from .numbers import scale
        def area(x):
            return scale(x) ** 2
        def unrelated(x):
            return 1
        """,
    "own/wrapping.py": """
        import functools
        def traced(times):
            def decorate(function):
                @functools.wraps(function)
                def wrapper(*args, **more):
                    for _ in range(times):
                        result = function(*args, **more)
                    return result
                return wrapper
            return decorate
        """,
    "own/late.py": """
        from . import later_still
        def later(x):
            return later_still.go(x)
        """,
    "own/later_still.py": "def go(x):\n    return x\n",
}


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Write the modules, with texts replaced in some files, and load them afresh."""
    count = 0

    def load_all(changes: Mapping[str, tuple[str, str]] | None = None) -> Any:
        nonlocal count
        count += 1
        forget()
        # The same paths each time: they must not count, and a test must not depend on that.
        for name, text in {**OWN, "flow.py": FLOW}.items():
            file = tmp_path / name
            file.parent.mkdir(exist_ok=True)
            text = textwrap.dedent(text)
            old, new = (changes or {}).get(name, ("", ""))
            assert old in text
            file.write_text(text.replace(old, new) if old else text)
            os.utime(file, (count, count))
        importlib.invalidate_caches()
        sys.path.insert(0, str(tmp_path))
        sys.dont_write_bytecode = True
        try:
            return importlib.import_module("flow")
        finally:
            sys.path.remove(str(tmp_path))
            sys.dont_write_bytecode = False

    def forget() -> None:
        for name in [
            module for module in sys.modules if module.partition(".")[0] in ("own", "flow")
        ]:
            del sys.modules[name]

    monkeypath = list(sys.path)
    sys.path.insert(0, str(tmp_path))
    yield load_all
    sys.path[:] = monkeypath
    forget()


class Change(NamedTuple):
    file: str
    old: str
    new: str
    touched: str
    """The tasks whose deep fingerprint changes."""
    function: str = ""
    """Those whose own code changes."""


TASKS = [line[4:].split("(")[0] for line in FLOW.splitlines() if line.startswith("def by_")]
TASKS += ["cyclic"]
SCALE = "by_alias by_module by_package by_closure"
CHANGES = {
    "helper": Change("own/numbers.py", "x * FACTOR", "x * FACTOR + 0", SCALE),
    "helper of a helper": Change("own/shapes.py", "** 2", "** 3", "by_package"),
    "helper's comment": Change("own/numbers.py", "x * FACTOR", "x  *  FACTOR  # why", ""),
    "helper's docstring": Change(
        "own/numbers.py", "def scale(x):", 'def scale(x):\n    "Doc."', ""
    ),
    "constant": Change(
        "own/numbers.py", "FACTOR = 2", "FACTOR = 3",
        f"{SCALE} by_constant by_module_constant",
    ),
    "constant of another type": Change(
        "own/numbers.py", "FACTOR = 2", "FACTOR = 2.0",
        f"{SCALE} by_constant by_module_constant",
    ),
    "constant that is not used": Change("own/numbers.py", "OTHER = 7", "OTHER = 8", ""),
    "nested constant": Change("flow.py", "[2, 3]", "[2, 4]", "by_constant"),
    "table of functions": Change(
        "own/numbers.py", "x + x", "2 * x", "by_table by_class by_annotation by_partial"
    ),
    "lambda in a table": Change("flow.py", "a + b", "a - b", "by_table"),
    "argument of a partial": Change("flow.py", "x=3", "x=4", "by_partial"),
    "one of two in a cycle": Change("flow.py", "first(x - 1)", "first(x - 2)", "cyclic"),
    "method": Change("flow.py", "abs(self.x)", "-self.x", "by_class by_annotation"),
    "method's docstring": Change("flow.py", "How far.", "So far.", ""),
    "base class": Change(
        "flow.py", "def base(self):\n        return 1", "def base(self):\n        return 2",
        "by_class by_annotation",
    ),
    "field's default": Change("flow.py", "x: int = 0", "x: int = 1", "by_class by_annotation"),
    "field's type": Change("flow.py", "x: int = 0", "x: float = 0", "by_class by_annotation"),
    "dataclass option": Change(
        "flow.py", "@dataclass\n", "@dataclass(eq=False)\n", "by_class by_annotation"
    ),
    "enum": Change("flow.py", 'SLOW = "slow"', 'SLOW = "slowly"', "by_enum"),
    "decorated function": Change("flow.py", "return x + y", "return x - y", "by_decorated"),
    "cached function": Change("flow.py", "x + 10", "x + 11", "by_decorated"),
    "size of its cache": Change("flow.py", "maxsize=None", "maxsize=5", ""),
    "decorator": Change("own/wrapping.py", "return result", "return [result]", "by_decorated"),
    "decorator's argument": Change("flow.py", "@traced(2)", "@traced(3)", "by_decorated"),
    "helper's default": Change("flow.py", "y=1, *", "y=2, *", "by_decorated"),
    "helper's keyword default": Change("flow.py", "z=(1, 2)", "z=(1, 3)", "by_decorated"),
    "late import": Change("own/late.py", "go(x)", "go(x) + 0", "by_import"),
    "import of a late import": Change("own/later_still.py", "return x", "return -x", "by_import"),
    "upstream task in a marker": Change(
        "flow.py", "-> int:\n    return 1", "-> int:\n    return 2", ""
    ),
    "own code": Change(
        "flow.py", "return own.shapes.area(x)", "return own.shapes.area(x) + 1", "by_package",
        "by_package",
    ),
    "own comment": Change("flow.py", "# each the other", "# both", ""),
    "what nobody uses": Change("flow.py", "UNUSED = 1", "UNUSED = 2", ""),
    "unrelated function": Change("own/shapes.py", "return 1", "return 2", ""),
}  # fmt: skip


def prints(module: Any, code: str) -> dict[str, str]:
    options = TaskOptions(code=code)
    return {
        name: code_of(TaskDefinition(name, getattr(module, name), options))[0] for name in TASKS
    }


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_fingerprint_covers_the_code_that_a_task_reaches(
    load: Callable[..., Any], change: Change
) -> None:
    module = load()
    deep, function = prints(module, "deep"), prints(module, "function")
    edited = load({change.file: (change.old, change.new)})
    now = prints(edited, "deep")
    assert {name for name in TASKS if now[name] != deep[name]} == set(change.touched.split())
    now = prints(edited, "function")
    assert {task for task in TASKS if now[task] != function[task]} == set(change.function.split())


def test_other_texts_give_the_same_again(load: Callable[..., Any]) -> None:
    deep = prints(load(), "deep")
    assert prints(load(), "deep") == deep
    assert len(set(deep.values())) == len(TASKS)
    lines = {"flow.py": ("import functools, json", "# moved\n\n\nimport functools, json")}
    assert prints(load(lines), "deep") == deep


def test_off_counts_nothing(load: Callable[..., Any]) -> None:
    assert set(prints(load(), "off").values()) == {""}


def test_swapped_helpers_are_other_code(load: Callable[..., Any]) -> None:
    def swapped(first: str, second: str) -> str:
        space: dict[str, Any] = {}
        text = f"def a(): return {first}\ndef b(): return {second}\ndef task(): return a() - b()\n"
        exec(compile(text, "<nowhere>", "exec"), space)
        return reach(space["task"]).code

    assert swapped("1", "2") == swapped("1", "2") != swapped("2", "1")


def test_unresolved_names_are_no_error() -> None:
    space: dict[str, Any] = {}
    text = """
def task(x):
    import not_there.at_all
    from .nowhere import other
    if x:
        global made
        made = 1
    return undefined(x).attribute + made + made.more
"""
    exec(compile(text, "<nowhere>", "exec"), space)
    before = reach(space["task"]).code
    assert reach(space["task"]).code == before
    space["undefined"] = abs
    assert reach(space["task"]).code != before


def test_values_that_hold_themselves_and_odd_ones() -> None:
    import datetime
    import logging
    import re
    import threading
    from decimal import Decimal

    class Odd:
        __slots__ = ("inner", "unset")

    odd = Odd()
    odd.inner = odd
    loop: list[Any] = [1]
    loop.append(loop)
    values: list[Any] = [
        loop, odd, re.compile("a" * 300), logging.getLogger("x"), threading.Lock(),
        Path("x"), datetime.date(2026, 1, 2), Decimal("1.0"), {1, 2}, {"a": {2: {3}}}, object(),
        b"x", float("nan"), range(3), [].append, type, int.__add__, iter([1]), NotImplemented,
    ]  # fmt: skip

    def of(values: list[Any]) -> str:
        space = {"VALUES": values}
        exec(compile("def task(): return VALUES", "<nowhere>", "exec"), space)
        return reach(space["task"]).code

    assert of(values) == of(list(values))
    for place, other in [
        (2, re.compile("a" * 301)), (5, Path("y")), (6, datetime.date(2026, 1, 3)),
        (7, Decimal("1.00")), (8, {1, 3}), (9, {"a": {2: {4}}}), (11, b"y"), (13, range(4)),
    ]:  # fmt: skip
        edited = list(values)
        edited[place] = other
        assert of(edited) != of(values), place


def test_a_library_counts_by_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site-packages"
    metadata = site / "Some_Library-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "top_level.txt").write_text("some_module\n")
    (metadata / "RECORD").write_text("some_module.py,,\n")
    monkeypatch.syspath_prepend(str(site))
    program = (
        "import sys, some_module\nfrom some_module import VALUE, inner\n"
        "def by_module(): return some_module.inner()\n"
        "def by_name(): return inner()\n"
        "def late():\n    import some_module as s\n    return s.inner()\n"
        "from reflow.caching.call_graph import reach\n"
        "print([reach(one).code for one in (by_module, by_name, late)])\n"
        "print([len(reach(one).files) for one in (by_module, by_name, late)])\n"
    )
    script = tmp_path / "script.py"
    script.write_text(program)

    def printed(version: str, body: str) -> list[str]:
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: Some_Library\nVersion: {version}\n"
        )
        (site / "some_module.py").write_text(f"VALUE = 1\ndef inner(): return {body}\n")
        path = os.pathsep.join([str(site), *sys.path])
        environment = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(
            [sys.executable, str(script)], env=environment, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        return done.stdout.splitlines()

    first = printed("1.0", "1")
    assert first[1] == "[1, 1, 1]"
    assert printed("1.0", "2 + 2 + 2") == first
    other = printed("1.1", "1")
    assert all(a != b for a, b in zip(eval(first[0]), eval(other[0]), strict=True))


def test_files_that_the_code_was_read_from(load: Callable[..., Any], tmp_path: Path) -> None:
    module = load()
    reached = reach(module.by_constant)
    # FACTOR does not say that it is from numbers.py; all that is imported is watched.
    assert str(tmp_path / "own/numbers.py") in reached.files
    task = TaskDefinition("t", module.by_import, TaskOptions(code="deep"))
    code, sources = code_of(task)
    watched = {Path(path).name for path, _, _ in sources}
    assert watched >= {"flow.py", "late.py", "later_still.py"}
    assert changed(task, code, sources) == ""
    file = tmp_path / "own/later_still.py"
    file.write_text("def go(x):\n    return x + 1\n")
    assert changed(task, code, sources) not in ("", code)


def test_parts_have_readable_names(load: Callable[..., Any]) -> None:
    parts = {part.name: part.value for part in reach(load().by_package).parts}
    assert list(parts)[:3] == ["flow.by_package", "own.shapes.area", "own.numbers.scale"]
    assert parts["own.numbers.FACTOR"] == "int 2"


def test_the_same_in_every_process_and_as_a_script(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from dataclasses import dataclass\nfrom reflow.caching.call_graph import reach\n"
        "NAMES = {'a', 'b', 'c', 'd'}\n"
        "@dataclass\nclass P:\n    x: int = 1\n    q: 'P | None' = None\n"
        "def helper(): return [P(1), NAMES, 'x' in {'a', 'b', 'c'}]\n"
        "def task(p: P) -> P: return helper()\n"
        "print(reach(task, [P, list[P], P | None]).code)"
    )
    outputs = set()
    for seed, arguments in [
        ("1", [str(script)]), ("2", [str(script)]), ("3", ["-c", "import script"]),
        ("4", ["-c", "import runpy; runpy.run_path('script.py', run_name='__reflow_main__')"]),
    ]:  # fmt: skip
        path = os.pathsep.join(sys.path)
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
        outputs.add(
            subprocess.run(
                [sys.executable, *arguments], env=environment, cwd=tmp_path, text=True, check=True,
                capture_output=True,
            ).stdout
        )  # fmt: skip
    assert len(outputs) == 1


def test_a_task_that_takes_the_run_directory(load: Callable[..., Any]) -> None:
    from reflow import RunDir

    def task(run_dir: RunDir) -> int:
        return 1

    assert len(reach_task(TaskDefinition("task", task, names={"RunDir": RunDir})).code) == 64


def test_call_graph_is_not_imported_if_only_the_function_counts() -> None:
    program = (
        "import sys\nfrom reflow.caching.code_fingerprint import code_of\n"
        "from reflow.model.flow import TaskDefinition\n"
        "def task(): return 1\n"
        "code_of(TaskDefinition('task', task))\n"
        "heavy = ('reflow.caching.call_graph', 'dis', 'importlib.metadata')\n"
        "print([one for one in heavy if one in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
