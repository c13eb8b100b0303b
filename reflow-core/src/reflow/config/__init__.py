"""The configuration: defaults that a workflow's own code overrides.

It comes from files of the site, the user and the project, from profiles in them, and
from the environment; `load_config` says in which order. Each executor owns the table
``[executor.<name>]``: its keys are the fields of that executor's class. A run keeps on
record what it took from here, so later processes of a run never read a configuration.

`settings` has the tables as attrs classes, `loading` says which layer wins, `paths` where the
files are, `structure` makes tables into classes, `provenance` says where a value came from, and
`toml` reads and writes TOML with line numbers.
"""

from __future__ import annotations

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

_SETTINGS = ("Config", "PluginSettings", "RunSettings", "StoreSettings")


def __getattr__(name: str) -> object:
    # Who only asks whether anything is configured does not wait for what reads it.
    value: object
    if name == "load_config":
        from .loading import load_config as value
    elif name in _SETTINGS:
        from . import settings

        value = getattr(settings, name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value
