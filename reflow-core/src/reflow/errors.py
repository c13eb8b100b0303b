"""Every error that reflow raises on purpose.

All derive from `ReflowError`. Where Python has a fitting built-in class, the
error derives from it too, so ``except ValueError`` around `Workflow.validate`
works as a reader expects. Messages say what was given, what is allowed, and
what to do.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .run import Run


class ReflowError(Exception):
    """Base of all errors raised by reflow."""


class DefinitionError(ReflowError, ValueError):
    """A workflow, flow, task or option is not well formed."""


class ValidationError(DefinitionError):
    """`Workflow.validate` found that the tasks do not fit together."""


class ParameterError(ReflowError, ValueError):
    """A run parameter is missing, unknown or of the wrong type."""


class UnknownTaskError(ReflowError, ValueError):
    """A task name does not exist in the workflow or the run."""


class UnknownRunError(ReflowError, LookupError):
    """No run of that id is known to the store."""


class SerializationError(ReflowError, TypeError):
    """A value cannot be written as its annotation says, or read back."""


class RunFailedError(ReflowError, RuntimeError):
    """A run ended without success; `run` is its handle."""

    def __init__(self, message: str, run: Run | None = None) -> None:
        super().__init__(message)
        self.run = run


class WaitTimeoutError(ReflowError, TimeoutError):
    """`Run.wait` reached its time limit while the run was still active."""


class RecordError(ReflowError):
    """A run's directory is missing, unreadable or damaged."""


class RecordVersionError(RecordError):
    """A run's directory was written by a newer reflow."""


class RunDirectoryError(ReflowError, OSError):
    """The run directory cannot be created or written."""


class StoreError(ReflowError):
    """The store cannot be opened, read or written."""


class StoreVersionError(StoreError):
    """The store's schema was written by a newer reflow."""


class LeaseHeldError(ReflowError):
    """Another process is carrying this run on."""


class LeaseLostError(ReflowError):
    """This process was overtaken: a newer holder carries the run on."""


class ExecutorError(ReflowError):
    """An executor could not do what it was asked."""


class CommandMissingError(ExecutorError):
    """A command of the scheduler cannot be started on this machine."""


class SubmissionRefusedError(ExecutorError):
    """The scheduler refused a job for good (bad option, unknown queue …)."""


class SubmissionForbiddenError(SubmissionRefusedError):
    """Jobs may not be submitted from this machine; from another they may."""


class SubmissionLimitError(ExecutorError):
    """The scheduler takes no more jobs for now; submit again later."""


class SchedulerUnreachableError(ExecutorError):
    """The scheduler does not answer: nothing is known about any job."""


class PluginError(ReflowError):
    """A plugin is missing, broken, clashing or incompatible."""


class UnknownPluginError(PluginError, ImportError):
    """No plugin of that name is installed."""


class ConfigError(ReflowError, ValueError):
    """The configuration is malformed."""


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """Return the allowed name most like `name`, or None when none is close."""
    import difflib

    return next(iter(difflib.get_close_matches(name, list(allowed), n=1)), None)


def did_you_mean(name: str, allowed: Iterable[str], hint: str = ": did you mean {!r}?") -> str:
    """Return `hint` with the allowed name most like `name` put in, or "" when none is close."""
    close = nearest(name, allowed)
    return hint.format(close) if close else ""


def unknown_name(kind: str, name: str, allowed: Iterable[str]) -> str:
    """Say that there is no `kind` called `name`, which there are, and which was probably meant.

    >>> unknown_name("task", "stpe", ["step", "other"])
    "no task named 'stpe': did you mean 'step'? (tasks: other, step)"
    """
    names = sorted(allowed)
    listed = ", ".join(names) or "none"
    return f"no {kind} named {name!r}{did_you_mean(name, names)} ({kind}s: {listed})"
