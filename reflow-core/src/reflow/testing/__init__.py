"""Contract suites: what every executor, serializer, verifier and store must do, as pytest classes.

An author derives from one, names the plugin and gives samples; pytest runs the rest::

    from reflow.testing import SerializerContract

    class TestNpy(SerializerContract):
        entry = "npy"
        values = [np.arange(3)]

What a plugin does not promise is a flag of the class (``deterministic = False``); its case is
then reported as skipped, with the reason "not promised: …". Needs the extra
``reflow-core[testing]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .executors import ExecutorContract
    from .serializers import SerializerContract
    from .stores import StoreContract
    from .verifiers import VerifierContract, output

__all__ = ["ExecutorContract", "SerializerContract", "StoreContract", "VerifierContract", "output"]

_MODULES = {
    "ExecutorContract": "executors",
    "SerializerContract": "serializers",
    "StoreContract": "stores",
    "VerifierContract": "verifiers",
    "output": "verifiers",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    import pytest

    module = f"{__name__}.{_MODULES[name]}"
    pytest.register_assert_rewrite(module)  # so that a failed case shows its values
    return getattr(import_module(module), name)
