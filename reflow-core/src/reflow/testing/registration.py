"""The cases that registered plugins of every kind share: what naming one may import."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

import pytest

from .processes import run_fresh

# Looking for any plugin imports importlib.metadata, and with it pathlib.
_NAMED = """
import importlib.metadata
from reflow.plugins import lookup
before = set(sys.modules)
function, name = arguments
entry = getattr(lookup, function)(name)
after = set(sys.modules) - before
tops = {kind.partition(".")[0] for kind in entry.types} - {"reflow"}
print(json.dumps(sorted(tops & after)))
"""


def assert_named_without_its_types(function: str, name: str) -> None:
    """Naming a plugin imports none of the packages whose types it is for."""
    imported = run_fresh(_NAMED, function, name).strip()
    assert imported == "[]", (
        f"naming {name!r} imports {imported}, which everybody then waits for: the plugin module "
        "must only describe; import in the module of the class"
    )


def types_in(value: object) -> Iterable[type]:
    """Yield the class of a value and of what standard containers in it hold."""
    yield type(value)
    if isinstance(value, dict):
        for pair in value.items():
            yield from types_in(pair)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for part in value:
            yield from types_in(part)


def not_promised(what: str) -> NoReturn:
    """Report that a case does not apply to this plugin."""
    pytest.skip(f"not promised: {what}")
