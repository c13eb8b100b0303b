"""Fixtures that tests of several folders use."""

import sys
from pathlib import Path

# What is shared is a package: tests themselves do not import each other.
sys.path.insert(0, str(Path(__file__).parent))

pytest_plugins = ["schedulers.plugin"]
