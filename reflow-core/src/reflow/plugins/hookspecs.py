"""The contract between reflow and its plugins.

A plugin is a module named by an entry point in the group ``reflow``, whose key is
the plugin's short name::

    [project.entry-points.reflow]
    pbs = "reflow_pbs.plugin"

Registration hooks are called once, when the plugin is loaded, and return
descriptions: names and where to import from, so that loading a plugin imports
nothing heavy. Lifecycle hooks observe and never steer: they are called for the
plugins that the configuration names as observers (``[run] observers = ["mail"]``),
and what they raise is noted on the run and changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeAlias

import pluggy
from attrs import field, frozen, validators

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = "reflow"
"""pluggy's project name and the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function of a plugin as the implementation of the hook of that name."""

_NAME = validators.matches_re(r"[A-Za-z0-9][\w.+-]*", re.ASCII)
_TARGET = validators.matches_re(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_TYPES = validators.deep_iterable(
    validators.matches_re(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+"), validators.instance_of(tuple)
)


@frozen(kw_only=True)
class ExecutorEntry:
    """An executor that a plugin brings.

    `name` is what users write (``executor="pbs"``), `target` where its class is,
    as ``"module:Class"``, and `aliases` are further names for it.
    """

    name: str = field(validator=_NAME)
    target: str = field(validator=_TARGET)
    aliases: tuple[str, ...] = field(
        default=(), validator=validators.deep_iterable(_NAME, validators.instance_of(tuple))
    )


@frozen(kw_only=True)
class StoreEntry:
    """A store that a plugin brings.

    `scheme` is the URL scheme it serves (``"postgresql"`` for
    ``postgresql://host/name``), `target` its class, a `reflow.stores.base.Store`, as
    ``"module:Class"``.
    """

    scheme: str = field(validator=_NAME)
    target: str = field(validator=_TARGET)


@frozen(kw_only=True)
class SerializerEntry:
    """A serializer that a plugin brings.

    `name` is what users write (``@wf.job(serializer="npy")``), `target` its class, a
    `reflow.serializers.base.Serializer`, as ``"module:Class"``. `types` are the classes
    whose values it takes without being named, as users import them
    (``"numpy.ndarray"``); subclasses count. None of them is imported for that.
    """

    name: str = field(validator=_NAME)
    target: str = field(validator=_TARGET)
    types: tuple[str, ...] = field(default=(), validator=_TYPES)


@frozen(kw_only=True)
class VerifierEntry:
    """A verifier that a plugin brings.

    `name` is what users write (``@wf.job(verify="nonempty")``), `target` its class, a
    `reflow.verifiers.base.Verifier`, as ``"module:Class"``. `types` are the classes
    whose values it judges without being named, as for `SerializerEntry`: those that a
    task's return annotation is or contains. `fingerprints`: it judges by the fingerprints that
    are taken when the task ends; then they are taken of all files that a value names, whatever
    ``job(files=)`` says.
    """

    name: str = field(validator=_NAME)
    target: str = field(validator=_TARGET)
    types: tuple[str, ...] = field(default=(), validator=_TYPES)
    fingerprints: bool = field(default=False, validator=validators.instance_of(bool))


Entry: TypeAlias = ExecutorEntry | StoreEntry | SerializerEntry | VerifierEntry
"""What the registration hooks return."""


@hookspec
def reflow_register_executors() -> Iterable[ExecutorEntry]:  # type: ignore[empty-body]
    """Describe the executors this plugin brings."""


@hookspec
def reflow_register_stores() -> Iterable[StoreEntry]:  # type: ignore[empty-body]
    """Describe the stores this plugin brings."""


@hookspec
def reflow_register_serializers() -> Iterable[SerializerEntry]:  # type: ignore[empty-body]
    """Describe the serializers this plugin brings."""


@hookspec
def reflow_register_verifiers() -> Iterable[VerifierEntry]:  # type: ignore[empty-body]
    """Describe the verifiers this plugin brings."""


@hookspec
def reflow_run_finished(run_id: str, run_dir: Path, state: str) -> None:
    """Observe that a run reached the terminal `state`, at most once for each time it does.

    Called in the process that carried the run to its end, after that is on record.
    """


@hookspec
def reflow_task_failed(run_id: str, task: str, index: int | None, cause: str) -> None:
    """Observe that an element failed; `index` is None for a task that is not an array.

    `cause` is one of `reflow.states.CAUSES`. Called after the failure is on record, at
    most once for each.
    """
