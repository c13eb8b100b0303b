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
    found: dict[str, InstalledExecutor] = {}
    for row in installed(False):
        if row.kind == "executor" and row.name not in found:
            try:
                cls = executor_class(row.name)
                if table_keys(cls):
                    found[row.name] = InstalledExecutor(name=row.name, cls=cls)
            except PluginError as error:
                found[row.name] = InstalledExecutor(name=row.name, problem=str(error))
        elif row.kind == "plugin" and row.state != "ok":
            what = f"plugin {row.name!r} of {row.distribution} {row.version} is {row.state}"
            found[row.name] = InstalledExecutor(
                name=row.name, problem=f"{what}: {row.detail}" if row.detail else what
            )
    return [found[name] for name in sorted(found)]
