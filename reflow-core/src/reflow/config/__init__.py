"""The configuration: defaults that a workflow's own code overrides.

It comes from files of the site, the user and the project, from profiles in them, and
from the environment; `load_config` says in which order. Each executor owns the table
``[executor.<name>]``: its keys are the fields of that executor's class. A run keeps on
record what it took from here, so later processes of a run never read a configuration.

settings: the tables as attrs classes; layers: what wins; places: where files are;
reading: tables made into classes; keylines: line numbers; origins: where a value came
from; template, overview: told to people.
"""

from __future__ import annotations

import os
from pathlib import Path

from .places import config_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .layers import load_config
    from .settings import Config, PluginSettings, RunSettings, StoreSettings


def ensure_config_exists() -> Path:
    """Write a commented configuration file unless the user has one; return its path.

    Nothing that is there is changed. Raises `ConfigError` where it cannot be written.
    """
    from .template import write_template

    return write_template(config_path(), keep=True)


def write_example_config(
    path: str | os.PathLike[str] | None = None, *, overwrite: bool = False
) -> Path:
    """Write a configuration file that has every key, commented out; return its path.

    `path` is by default the user's file. Keys come with description, type and default,
    those of installed backends too. The file appears whole or not at all. Raises
    `ConfigError` where it cannot be written, or is there and `overwrite` is not set.
    """
    from .template import write_template

    target = config_path() if path is None else Path(path).expanduser().absolute()
    return write_template(target, overwrite=overwrite)


__all__ = [
    "Config",
    "PluginSettings",
    "RunSettings",
    "StoreSettings",
    "config_path",
    "ensure_config_exists",
    "load_config",
    "write_example_config",
]

_SETTINGS = ("Config", "PluginSettings", "RunSettings", "StoreSettings")


def __getattr__(name: str) -> object:
    # Who only asks whether anything is configured does not wait for what reads it.
    value: object
    if name == "load_config":
        from .layers import load_config as value
    elif name in _SETTINGS:
        from . import settings

        value = getattr(settings, name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value
