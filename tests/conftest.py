"""Fixtures that tests of several folders use."""

import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# What is shared is a package: tests themselves do not import each other.
sys.path.insert(0, str(Path(__file__).parent))

# Its helpers are used beside the contract suites; before they are imported.
pytest.register_assert_rewrite("reflow.testing.stores")

pytest_plugins = ["schedulers.plugin"]

# How long an example takes says nothing of it where others compute on the same machine.
settings.register_profile(
    "reflow", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("reflow")


@pytest.fixture
def limit_from_first_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the time limit of a command begin when it has said something.

    However long a machine takes to start it: what it did before that is done.
    """
    communicate = subprocess.Popen.communicate

    def patient(self: "subprocess.Popen[bytes]", *given: object, **more: object) -> object:
        select.select([self.stdout, self.stderr], [], [])
        return communicate(self, *given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(subprocess.Popen, "communicate", patient)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Have what a test starts end by Ctrl-C, also where the tests run in the background.

    A shell has those ignore it, and whoever they start does as they do.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
