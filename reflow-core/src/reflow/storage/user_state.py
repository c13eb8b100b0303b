"""Where what reflow keeps for a user lives: the index of runs, and hashes of files."""

from __future__ import annotations

import os
from pathlib import Path


def user_state_folder() -> Path:
    """Return the folder of this user's state, by the XDG base directory specification.

    Raises RuntimeError for a user without a home folder.
    """
    # The state folder, not the cache folder: the index is history, which nobody may clear away.
    state = os.environ.get("XDG_STATE_HOME", "")
    base = Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state"
    return base / "reflow"


def default_store_path() -> Path:
    """Return where the index of this user's runs is unless the configuration names a store."""
    return user_state_folder() / "reflow.sqlite"
