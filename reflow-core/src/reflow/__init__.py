"""Typed Python functions as workflows, on a laptop or an HPC cluster.

Public names are imported when they are first used, so that a script pays for
what it uses. The executors of backends (`SlurmExecutor`, `PBSExecutor`,
`LSFExecutor`, `SGEExecutor`, `FluxExecutor`) can be imported from here as well
where the backend is installed.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    # A type checker without a backend takes its executor for Any, and reports nothing.
    from reflow_flux.executor import (  # type: ignore[import-not-found, unused-ignore]
        FluxExecutor as FluxExecutor,
    )
    from reflow_lsf.executor import (  # type: ignore[import-not-found, unused-ignore]
        LSFExecutor as LSFExecutor,
    )
    from reflow_pbs.executor import (  # type: ignore[import-not-found, unused-ignore]
        PBSExecutor as PBSExecutor,
    )
    from reflow_sge.executor import (  # type: ignore[import-not-found, unused-ignore]
        SGEExecutor as SGEExecutor,
    )
    from reflow_slurm.executor import (  # type: ignore[import-not-found, unused-ignore]
        SlurmExecutor as SlurmExecutor,
    )

    from .config import Config, config_path, load_config
    from .errors import (
        CommandMissingError,
        ConfigError,
        DefinitionError,
        ExecutorError,
        LeaseHeldError,
        LeaseLostError,
        ParameterError,
        PluginError,
        RecordError,
        RecordVersionError,
        ReflowError,
        RunDirectoryError,
        RunFailedError,
        SchedulerUnreachableError,
        SerializationError,
        StoreError,
        StoreVersionError,
        SubmissionForbiddenError,
        SubmissionLimitError,
        SubmissionRefusedError,
        UnknownPluginError,
        UnknownRunError,
        UnknownTaskError,
        ValidationError,
        WaitTimeoutError,
    )
    from .executors.local import LocalExecutor
    from .model.annotations import Param, Result, RunDir
    from .model.flow import Flow
    from .model.retry import Retry, Scale
    from .plugins.config_template import ensure_config_exists, write_example_config
    from .run import Run
    from .workflow import Workflow

__all__ = [
    "Workflow",
    "Flow",
    "Run",
    "Param",
    "Result",
    "RunDir",
    "Retry",
    "Scale",
    "Config",
    "load_config",
    "ensure_config_exists",
    "write_example_config",
    "config_path",
    "LocalExecutor",
    "ReflowError",
    "CommandMissingError",
    "ConfigError",
    "DefinitionError",
    "ExecutorError",
    "LeaseHeldError",
    "LeaseLostError",
    "ParameterError",
    "PluginError",
    "RecordError",
    "RecordVersionError",
    "RunDirectoryError",
    "RunFailedError",
    "SchedulerUnreachableError",
    "SerializationError",
    "StoreError",
    "StoreVersionError",
    "SubmissionForbiddenError",
    "SubmissionLimitError",
    "SubmissionRefusedError",
    "UnknownPluginError",
    "UnknownRunError",
    "UnknownTaskError",
    "ValidationError",
    "WaitTimeoutError",
    "__version__",
]

_MODULES = {
    "Workflow": "workflow",
    "Flow": "model.flow",
    "Run": "run",
    "Param": "model.annotations",
    "Result": "model.annotations",
    "RunDir": "model.annotations",
    "Retry": "model.retry",
    "Scale": "model.retry",
    "Config": "config",
    "load_config": "config",
    "ensure_config_exists": "plugins.config_template",
    "write_example_config": "plugins.config_template",
    "config_path": "config",
    "LocalExecutor": "executors.local",
}
"""The module of each name in `__all__`; errors are in `errors`."""


def __getattr__(name: str) -> object:
    value: object = None
    if name in __all__:
        # __import__, because importlib.import_module costs an import of its own.
        module = __import__(f"{__name__}.{_MODULES.get(name, 'errors')}", fromlist=[name])
        value = getattr(module, name)
    elif name.endswith("Executor"):
        # Backends are not in __all__: `import *` must not fail for one that is not installed.
        value = _backend_class(name)
    if value is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def _backend_class(name: str) -> object:
    from .errors import PluginError
    from .plugins.lookup import backend_class

    try:
        return backend_class(name)
    except PluginError as error:
        if isinstance(error, ImportError):
            raise
        raise ImportError(str(error)) from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
