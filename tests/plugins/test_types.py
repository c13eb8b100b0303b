"""Serializers and verifiers found by the class of a value."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path, PurePath, PurePosixPath
from types import ModuleType
from typing import Any

import pytest

from reflow.errors import PluginError
from reflow.plugins import lookup
from reflow.plugins.registry import Registry

SHAPES = """\
class Frame: pass
class Wide(Frame): pass
class Outer:
    class Inner: pass
"""


def serializer(name: str, *types: str, kind: str = "serializer") -> str:
    """Return the source of a plugin that registers a serializer (or verifier) for types."""
    return (
        f"@hookimpl\ndef reflow_register_{kind}s():\n"
        f"    return [{kind.title()}Entry(name={name!r}, target='a:B', types={types!r})]\n"
    )


@pytest.fixture
def shapes(site: Any) -> ModuleType:
    """A package whose classes are exported from where they were not defined."""
    from importlib import import_module

    inner = site.module("inner", SHAPES)
    module = site.module("shapes", f"from {inner} import *\n")
    return import_module(module)


def serializer_of(cls: type) -> str | None:
    entry = lookup.serializer_entry_for(cls)
    return None if entry is None else entry.name


def test_by_the_name_users_import_and_by_the_name_it_was_defined_as(
    site: Any, use: Callable[..., Registry], shapes: ModuleType
) -> None:
    site.install("dist", x=serializer("mine", f"{shapes.__name__}.Frame"))
    use()
    assert serializer_of(shapes.Frame) == "mine"
    assert serializer_of(shapes.Wide) == "mine"
    assert serializer_of(shapes.Outer) is None
    site.install("other", y=serializer("inner", f"{shapes.Outer.Inner.__module__}.Outer.Inner"))
    use()
    assert serializer_of(shapes.Outer.Inner) == "inner"


def test_nothing_is_imported_to_find_out(site: Any, use: Callable[..., Registry]) -> None:
    module = site.module("never", "raise RuntimeError('imported')")
    lazy = ModuleType("lazy_" + module)
    lazy.__getattr__ = lambda name: pytest.fail(f"asked for {name}")  # type: ignore[method-assign]
    sys.modules[lazy.__name__] = lazy
    try:
        site.install("dist", x=serializer("x", f"{module}.Frame", f"{lazy.__name__}.Frame"))
        use()
        assert serializer_of(dict) is None
    finally:
        del sys.modules[lazy.__name__]
    assert module not in sys.modules


def test_the_most_specific_class_wins(
    site: Any, use: Callable[..., Registry], shapes: ModuleType
) -> None:
    site.install("wide", wide=serializer("wide", f"{shapes.__name__}.Wide"))
    site.install("frame", frame=serializer("frame", f"{shapes.__name__}.Frame"))
    site.install("all", all=serializer("all", "builtins.object"))
    registry = use()
    registry.find("serializer", "frame")  # what is loaded already is not preferred
    names = [serializer_of(cls) for cls in (shapes.Wide, shapes.Frame, int)]
    assert names == ["wide", "frame", "all"]


def test_two_for_one_class(site: Any, use: Callable[..., Registry], shapes: ModuleType) -> None:
    key = f"{shapes.__name__}.Frame"
    inner = f"{shapes.Frame.__module__}.Frame"
    site.install("first", a=serializer("a", key))
    site.install("second", b=serializer("b", inner))
    use()
    with pytest.raises(PluginError) as caught:
        serializer_of(shapes.Wide)
    assert str(caught.value) == (
        f"plugins of first 1.2 and second 1.2 both register a serializer for "
        f"{shapes.Wide.__module__}.Wide; pin one: [plugins.pin] \"{key}\" = \"first\" or "
        f"\"{inner}\" = \"first\" in config.toml, or uninstall one"
    )
    assert lookup.serializer_entry("a").name == "a"  # both are found by name
    use(pin={key: "second"})
    assert serializer_of(shapes.Wide) == "b"
    use(pin={inner: "first"})
    assert serializer_of(shapes.Frame) == "a"
    use(pin={key: "frist"})
    with pytest.raises(PluginError, match=r"names a distribution that is not installed.*'first'"):
        serializer_of(shapes.Frame)


def test_serializer_counts_only_if_its_name_leads_to_it(
    site: Any, use: Callable[..., Registry], shapes: ModuleType
) -> None:
    """Later processes look up by name, so a shadowed or clashing name does not count."""
    key = f"{shapes.__name__}.Frame"
    site.install("dist", x=serializer("pickle", key))
    use()
    assert serializer_of(shapes.Frame) is None
    site.install("first", a=serializer("frames", key))
    site.install("second", b=serializer("frames", "no.where"))
    use()
    with pytest.raises(PluginError, match="both register a serializer named 'frames'"):
        serializer_of(shapes.Frame)
    use(pin={"frames": "first"})
    assert serializer_of(shapes.Frame) == "frames"
    use(pin={"frames": "second"})
    assert serializer_of(shapes.Frame) is None


def test_broken_plugins_are_passed_over(
    site: Any, use: Callable[..., Registry], shapes: ModuleType
) -> None:
    site.install("bad", bad="raise SystemExit(3)")
    site.install("dist", x=serializer("mine", f"{shapes.__name__}.Frame"))
    registry = use()
    assert serializer_of(shapes.Frame) == "mine"
    assert serializer_of(int) is None
    assert [failure.point.name for failure in registry.failures] == ["bad"]


def test_verifiers_all_count_of_the_most_specific_class(
    site: Any, use: Callable[..., Registry], shapes: ModuleType
) -> None:
    site.install("a", a=serializer("a", f"{shapes.__name__}.Frame", kind="verifier"))
    site.install("b", b=serializer("b", f"{shapes.__name__}.Frame", kind="verifier"))
    site.install("c", c=serializer("c", "builtins.object", kind="verifier"))
    use()

    def names(cls: type) -> list[str]:
        return [entry.name for entry in lookup.verifier_entries_for(cls)]

    assert names(shapes.Wide) == ["a", "b"]
    assert names(int) == ["c"]


@pytest.mark.parametrize("cls", [PurePath, PurePosixPath, Path, type(Path())])
def test_paths_need_no_discovery(site: Any, use: Callable[..., Registry], cls: type) -> None:
    site.install("dist", x=serializer("x", f"{cls.__module__}.{cls.__name__}", kind="verifier"))
    use()
    assert [entry.name for entry in lookup.verifier_entries_for(cls)] == ["exists"]
    assert not site.is_loaded("dist", "x")


class Remote(PurePosixPath):
    """A user's own path class, for files elsewhere."""


def test_own_subclass_of_path_can_have_its_own_verifier(
    site: Any, use: Callable[..., Registry]
) -> None:
    use()
    assert [entry.name for entry in lookup.verifier_entries_for(Remote)] == ["exists"]
    site.install("dist", x=serializer("remote", f"{__name__}.Remote", kind="verifier"))
    use()
    assert [entry.name for entry in lookup.verifier_entries_for(Remote)] == ["remote"]


def test_type_without_a_plugin_has_no_entry(site: Any, use: Callable[..., Registry]) -> None:
    use()
    assert lookup.serializer_entry_for(int) is None
    assert lookup.verifier_entries_for(int) == []
