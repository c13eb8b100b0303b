"""Fixtures that tests of several folders use."""

import sys
from pathlib import Path

import pytest

# What is shared is a package: tests themselves do not import each other.
sys.path.insert(0, str(Path(__file__).parent))

# Its helpers are used beside the contract suites; before they are imported.
pytest.register_assert_rewrite("reflow.testing.stores")

pytest_plugins = ["schedulers.plugin"]
