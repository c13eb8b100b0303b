"""Fixtures that tests of several folders use."""

import sys
from pathlib import Path

import pytest
from hypothesis import settings

# What is shared is a package: tests themselves do not import each other.
sys.path.insert(0, str(Path(__file__).parent))

# Its helpers are used beside the contract suites; before they are imported.
pytest.register_assert_rewrite("reflow.testing.stores")

pytest_plugins = ["schedulers.plugin"]

# How long an example takes says nothing of it where others compute on the same machine.
settings.register_profile("reflow", deadline=None)
settings.load_profile("reflow")
