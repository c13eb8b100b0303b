"""The executors that are installed here, as far as their classes can be had."""

from __future__ import annotations

from attrs import frozen

from ..config.structure import table_keys
from ..errors import PluginError
from .lookup import executor_class, installed


@frozen(kw_only=True)
class InstalledExecutor:
    """An executor by its name; `cls` is None where `problem` says that it is broken."""

    name: str
    cls: type | None = None
    problem: str = ""


def installed_executors() -> list[InstalledExecutor]:
    """Return the executors that have settings or are broken, by name. Raises nothing."""
    executors: dict[str, InstalledExecutor] = {}
    for row in installed():
        name = row.name
        if row.kind == "executor" and name not in executors:
            try:
                cls = executor_class(name)
                if table_keys(cls):
                    executors[name] = InstalledExecutor(name=name, cls=cls)
            except PluginError as error:
                executors[name] = InstalledExecutor(name=name, problem=str(error))
        elif row.kind == "plugin" and row.state != "ok":
            owner = f" of {row.distribution} {row.version}" if row.distribution else ""
            problem = f"plugin {name!r}{owner} is {row.state}: {row.detail}"
            executors[name] = InstalledExecutor(name=name, problem=problem)
    return [executors[name] for name in sorted(executors)]
