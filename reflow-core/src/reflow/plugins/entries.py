"""What plugins can register, and who registered what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import field, frozen

from .discovery import Distribution
from .hookspecs import Entry, ExecutorEntry, SerializerEntry, StoreEntry, VerifierEntry

KINDS: Mapping[str, type[Entry]] = {
    "executor": ExecutorEntry,
    "store": StoreEntry,
    "serializer": SerializerEntry,
    "verifier": VerifierEntry,
}
"""Kinds of what plugins register; the hook of each is ``reflow_register_<kind>s``."""

LIFECYCLE = ("reflow_run_finished", "reflow_task_failed")
"""The hooks of observers."""


@frozen(kw_only=True)
class Settings:
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


@frozen(kw_only=True)
class Provider:
    """Who registers something: a plugin, by its entry point's name, of a distribution.

    `plugin` is "" for reflow itself.
    """

    plugin: str
    distribution: Distribution

    def __str__(self) -> str:
        return str(self.distribution)


@frozen(kw_only=True)
class Registered:
    """An entry of a kind, and who registered it."""

    kind: str
    entry: Entry
    provider: Provider

    @property
    def names(self) -> tuple[str, ...]:
        """What it can be asked for by: its name and aliases, or its URL scheme."""
        if isinstance(self.entry, StoreEntry):
            return (self.entry.scheme,)
        if isinstance(self.entry, ExecutorEntry):
            return (self.entry.name, *self.entry.aliases)
        return (self.entry.name,)

    @property
    def types(self) -> tuple[str, ...]:
        """The classes it claims, as dotted names."""
        if isinstance(self.entry, SerializerEntry | VerifierEntry):
            return self.entry.types
        return ()


@frozen(kw_only=True)
class Failure:
    """A plugin that cannot be used: `state` is "broken" or "incompatible"."""

    provider: Provider
    target: str
    state: str
    reason: str
    cause: BaseException | None = None

    def __str__(self) -> str:
        return f"plugin {self.provider.plugin!r} of {self.provider} is {self.state}: {self.reason}"


def clash_text(
    what: str, who: Iterable[Distribution], keys: Iterable[str], settings: Settings
) -> str:
    """Say that several distributions do the same, and how to pin one under one of `keys`."""
    listed = list(dict.fromkeys(who))
    names = " and ".join(map(str, listed))
    if len(listed) == 1:
        return f"{names} clashes with itself: its plugins {what} more than once"
    pins = " or ".join(f'{_toml(key)} = "{listed[0].name}"' for key in dict.fromkeys(keys))
    text = (
        f"plugins of {names} both {what}; pin one: [plugins.pin] {pins} in {settings.file}, "
        "or uninstall one"
    )
    if settings.problem:
        text += f" (the configuration could not be read: {settings.problem})"
    return text


def pin_text(key: str, pinned: str, settings: Settings) -> str:
    """Return a pin as it stands in the configuration."""
    return f'[plugins.pin] {_toml(key)} = "{pinned}" in {settings.file}'


def _toml(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").isalnum() else f'"{key}"'
