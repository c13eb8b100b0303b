"""The configuration: defaults that a workflow's own code overrides.

It comes from files of the site, the user and the project, from profiles in them, and
from the environment; `load_config` says in which order. Each executor owns the table
``[executor.<name>]``: its keys are the fields of that executor's class. A run keeps on
record what it took from here, so later processes of a run never read a configuration.

`settings` has the tables as attrs classes, `loading` says which layer wins, `paths` finds the
files, `structure` makes instances of the classes out of tables, `provenance` says where a value
came from, and `toml` reads TOML with line numbers and writes it.
"""

from __future__ import annotations

from importlib import import_module

from .paths import config_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .loading import load_config
    from .settings import Config, PluginSettings, RunSettings, StoreSettings


__all__ = [
    "Config",
    "PluginSettings",
    "RunSettings",
    "StoreSettings",
    "config_path",
    "load_config",
]

def __getattr__(name: str) -> object:
    # Who only asks whether anything is configured does not wait for what reads it.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(".loading" if name == "load_config" else ".settings", __name__)
    globals()[name] = value = getattr(module, name)
    return value
