"""What the configuration says about plugins: which may be loaded, and which of two wins."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from attrs import field, frozen

from ..config.paths import config_path, is_configured
from ..config.provenance import dotted
from ..errors import ConfigError, PluginError

if TYPE_CHECKING:
    from .discovery import Distribution, EntryPoint


@frozen(kw_only=True)
class Selection:
    """What the configuration says about plugins.

    `enabled` are the entry-point names that may be loaded (None: all) and `enabled_by` is
    what says so; `pin` gives the distribution that wins a name or a type; `file` is where a
    pin is to be written. `problem` tells why the configuration could not be read, if so.
    """

    enabled: tuple[str, ...] | None = None
    enabled_by: str = "REFLOW_PLUGINS"
    pin: Mapping[str, str] = field(factory=dict)
    file: str = "the configuration file"
    problem: str = ""

    def allows(self, point: EntryPoint) -> bool:
        """Whether a plugin may be loaded."""
        return self.enabled is None or point.name in self.enabled

    def left_out(self, point: EntryPoint) -> PluginError:
        """Return the error for a plugin that may not be loaded."""
        return PluginError(
            f"plugin {point.name!r} of {point.distribution} is disabled: {self.enabled_by} "
            f"leaves it out (enabled: {', '.join(self.enabled or ()) or 'none'})"
        )

    def pin_text(self, *keys: str, distribution: str) -> str:
        """Return pins as they stand in the configuration."""
        pins = " or ".join(f'{dotted((key,))} = "{distribution}"' for key in dict.fromkeys(keys))
        return f"[plugins.pin] {pins} in {self.file}"

    def clash(self, what: str, rivals: Iterable[Distribution], *keys: str) -> PluginError:
        """Return the error for distributions that do the same; one can be pinned by `keys`."""
        distributions = list(dict.fromkeys(rivals))
        names = " and ".join(map(str, distributions))
        if len(distributions) == 1:
            return PluginError(f"{names} clashes with itself: its plugins {what} more than once")
        pin = self.pin_text(*keys, distribution=distributions[0].name)
        text = f"plugins of {names} both {what}; pin one: {pin}, or uninstall one"
        if self.problem:
            text += f" (the configuration could not be read: {self.problem})"
        return PluginError(text)


def read_selection() -> Selection:
    """Read what the configuration says about plugins.

    Raises nothing: that the configuration cannot be read is noted and added to errors that a
    pin could resolve. Who needs more of the configuration gets its own error.
    """
    variable = os.environ.get("REFLOW_PLUGINS")
    enabled = None
    if variable is not None:
        enabled = tuple(filter(None, map(str.strip, variable.split(","))))
    file = Selection().file
    try:
        file = str(config_path())
        # Most users have no configuration, and need not wait for what reads one.
        if not is_configured():
            return Selection(enabled=enabled, file=file)
        from ..config import load_config

        config = load_config()
    except ConfigError as error:
        return Selection(enabled=enabled, file=file, problem=str(error))
    enabled_by = "REFLOW_PLUGINS"
    if variable is None and config.plugins.enabled is not None:
        enabled = tuple(config.plugins.enabled)
        enabled_by = f"[plugins] enabled in {config.origin('plugins', 'enabled')}"
    return Selection(enabled=enabled, enabled_by=enabled_by, pin=config.plugins.pin, file=file)
