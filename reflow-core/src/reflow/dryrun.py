"""The handle of a dry run: there is no run behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from .errors import ReflowError
from .run import Run

if TYPE_CHECKING:
    from .flow import Flow


class DryRun(Run):
    """What `submit(executor="dry-run")` returns: every question is answered by an error."""

    def __init__(self, workflow: Flow) -> None:
        self.workflow = workflow

    def __repr__(self) -> str:
        return "<dry run: nothing was submitted>"

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__") or name == "workflow":
            return super().__getattribute__(name)
        return _refuse(name)


def _refuse(name: str) -> NoReturn:
    raise ReflowError(f"this was a dry run: nothing was submitted, so it has no {name!r}")
