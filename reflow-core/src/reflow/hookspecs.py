"""The contract between reflow and its plugins.

A plugin is a module named by an entry point in the group ``reflow``, whose key is
the plugin's short name::

    [project.entry-points.reflow]
    pbs = "reflow_pbs.plugin"

Registration hooks are called once, when the plugin is loaded, and return
descriptions: names and where to import from, so that loading a plugin imports
nothing heavy. Lifecycle hooks observe and never steer: what they raise is logged
and changes no run.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy
from attrs import field, frozen, validators

if TYPE_CHECKING:
    from pathlib import Path

    from .serializers.base import Serializer
    from .verifiers.base import Verifier

PROJECT = "reflow"
"""pluggy's project name and the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function of a plugin as the implementation of the hook of that name."""

_TARGET = validators.matches_re(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@frozen(kw_only=True)
class ExecutorEntry:
    """An executor that a plugin brings.

    `name` is what users write (``executor="pbs"``), `target` where its class is,
    as ``"module:Class"``, and `aliases` are further names for it.
    """

    name: str
    target: str = field(validator=_TARGET)
    aliases: tuple[str, ...] = ()


@frozen(kw_only=True)
class StoreEntry:
    """A store that a plugin brings: the URL `scheme` it serves and its class."""

    scheme: str
    target: str = field(validator=_TARGET)


@hookspec
def reflow_register_executors() -> Iterable[ExecutorEntry]:  # type: ignore[empty-body]
    """Describe the executors this plugin brings."""


@hookspec
def reflow_register_stores() -> Iterable[StoreEntry]:  # type: ignore[empty-body]
    """Describe the stores this plugin brings."""


@hookspec
def reflow_register_serializers() -> Iterable[Serializer]:  # type: ignore[empty-body]
    """Return the serializers this plugin brings."""


@hookspec
def reflow_register_verifiers() -> Iterable[Verifier]:  # type: ignore[empty-body]
    """Return the verifiers this plugin brings."""


@hookspec
def reflow_run_finished(run_id: str, run_dir: Path, state: str) -> None:
    """Observe that a run reached the terminal `state`."""


@hookspec
def reflow_task_failed(run_id: str, task: str, index: int | None, cause: str) -> None:
    """Observe that an instance failed for good; `index` is None for a task that is no array."""
