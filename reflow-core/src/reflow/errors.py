"""Every error that reflow raises on purpose.

All derive from `ReflowError`. Where Python has a fitting built-in class, the
error derives from it too, so ``except ValueError`` around `Workflow.validate`
works as a reader expects. A message says what it is about, what is allowed, and
what to do.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .run import Run


class ReflowError(Exception):
    """Base of all errors that reflow raises on purpose. A dry run's handle raises it itself."""


# Definitions and parameters


class DefinitionError(ReflowError, ValueError):
    """A workflow, flow, task or option is not well formed.

    Raised where it is defined: by the `job` decorator, `Workflow`, `Param`, `Result`, `Retry`.
    """


class ValidationError(DefinitionError):
    """The tasks of a workflow do not fit together.

    Raised by `Workflow.validate`, and by `submit`, `run_local` and `plan` before they start.
    """


class ParameterError(ReflowError, ValueError):
    """A run parameter, or an argument of a call, is missing, unknown or of the wrong type.

    Raised before anything is started.
    """


class UnknownTaskError(ReflowError, ValueError):
    """The workflow or the run has no task of that name, or the task no such element."""


class UnknownRunError(ReflowError, LookupError):
    """The store has no run of that id, or several whose ids begin so."""


class SerializationError(ReflowError, TypeError):
    """A value cannot be written as its annotation says, or read back."""


# Runs and their records


class RunFailedError(ReflowError, RuntimeError):
    """A run ended without success, or a task has no result; `run` is the handle of the run.

    Raised by `Workflow.run_local` with ``on_error="stop"`` and by `Run.result`.
    """

    def __init__(self, message: str, run: Run | None = None) -> None:
        super().__init__(message)
        self.run = run


class WaitTimeoutError(ReflowError, TimeoutError):
    """The time limit of `Run.wait` is over and the run has not ended; it goes on."""


class RecordError(ReflowError):
    """The record of a run, in its run directory, is missing, unreadable or damaged."""


class RecordVersionError(RecordError):
    """The record of a run was written by a newer reflow: upgrade to read it."""


class RunDirectoryError(ReflowError, OSError):
    """A run directory cannot be created or written. Raised when a run is submitted."""


class StoreError(ReflowError):
    """The store cannot be opened, read or written."""


class StoreVersionError(StoreError):
    """The store was written by a newer reflow: upgrade to read it."""


class LeaseHeldError(ReflowError):
    """Another process is carrying this run on, so this one may not."""


class LeaseLostError(ReflowError):
    """Another process has taken this run over, so this one must stop carrying it on."""


# Executors


class ExecutorError(ReflowError):
    """An executor could not do what it was asked for."""


class CommandMissingError(ExecutorError):
    """A command of the scheduler cannot be started on this machine."""


class SubmissionRefusedError(ExecutorError):
    """The scheduler refused a job for good, such as for a bad option or an unknown queue."""


class SubmissionForbiddenError(SubmissionRefusedError):
    """Jobs may not be submitted from this machine. From another they may."""


class SubmissionLimitError(ExecutorError):
    """The scheduler takes no more jobs for now: submit again later."""


class SchedulerUnreachableError(ExecutorError):
    """The scheduler does not answer, so nothing is known about any job."""


# Plugins and the configuration


class PluginError(ReflowError):
    """A plugin is broken, incompatible, disabled, or clashes with another.

    Raised when something that it brings is used.
    """


class UnknownPluginError(PluginError, ImportError):
    """No installed plugin brings anything of that name."""


class ConfigError(ReflowError, ValueError):
    """The configuration is malformed or cannot be read; one line for each problem."""


# Parts of messages


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
