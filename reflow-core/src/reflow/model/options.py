"""The options of a task: the one list of them, each with its default and its check.

A new option is a field of `TaskOptions` with its check in `CHECKS`, an argument of `Flow.job`
(for type checkers and editors), and a field of what runs record: `spec.Resources` if it goes to
the scheduler, else `spec.ResolvedTask`. Descriptions and JSON schemas follow from these, and
tests compare them.

Workers import this, so annotations are not texts here (see `reflow.storage.outcome`).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import DefinitionError, nearest
from .units import parse_memory, parse_time

if TYPE_CHECKING:
    from .retry import Retry
else:
    Retry = object  # Few scripts use it, and each worker would pay for its import.

FILE_POLICIES = ("auto", "content", "stat", "path")
"""How files that parameters and results name may count."""

Check = Callable[[str, Any], Any]
"""Returns the value of the option of that name as it is kept, or raises `DefinitionError`."""


def _at_least(least: int) -> Check:
    def check(option: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise DefinitionError(f"{option}={value!r}: give a whole number from {least} up")
        return value

    return check


def _one_of(*allowed: str) -> Check:
    def check(option: str, value: Any) -> Any:
        if value not in allowed:
            listed = f"{', '.join(map(repr, allowed[:-1]))} or {allowed[-1]!r}"
            raise DefinitionError(f"{option}={value!r}: {option} is {listed}")
        return value

    return check


def _optional(check: Check) -> Check:
    return lambda option, value: None if value is None else check(option, value)


def _flag(option: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise DefinitionError(f"{option}={value!r}: give True or False")
    return value


def _name(option: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise DefinitionError(f"{option}={value!r}: give a name")
    return value


def _version(option: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise DefinitionError(f"{option}={value!r}: a version is a text, such as '2'")
    return value


def _references(option: str, value: Any) -> tuple[Any, ...]:
    references = (value,) if _is_reference(value) else value
    if not isinstance(references, (list, tuple)):
        raise DefinitionError(f"{option}={value!r}: give a task or a list of tasks")
    if not all(map(_is_reference, references)):
        raise DefinitionError(
            f"{option}={value!r}: a task is given by its name or by its function"
        )
    return tuple(references)


def _verifiers(option: str, value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    verifiers = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if not all(map(_is_reference, verifiers)):
        raise DefinitionError(
            f"{option}={value!r}: give a function that takes the cached value and "
            "returns whether it still stands, the name of a verifier, or a list of these"
        )
    return verifiers


def _is_reference(value: object) -> bool:
    return bool(value) if isinstance(value, str) else callable(value)


def _retry(_: str, value: Any) -> Retry | None:
    from .retry import retry_of

    return retry_of(value)


class TaskOptions(NamedTuple):
    """The options of `Flow.job`, as they are kept once they were checked.

    `time` is in seconds and `mem` in bytes; None leaves it to the site's default. `native`
    are options that only the scheduler knows; one without a value (a flag) is the empty text.
    `after` and `verify` may hold functions; a `files` of None is the configuration's.
    """

    # The first eight in this order: pickles in records of 0.1.0 give them by position.
    cpus: int = 1
    time: int | None = None
    mem: int | None = None
    gpus: int = 0
    nodes: int = 1
    queue: str | None = None
    account: str | None = None
    native: dict[str, str] = {}  # noqa: RUF012 (never changed)
    array: bool = False
    array_parallelism: int | None = None
    after: tuple[Any, ...] = ()
    cache: bool = True
    version: str = "1"
    verify: tuple[Any, ...] = ()
    code: str = "function"
    files: str | None = None
    serializer: str | None = None
    retry: Retry | None = None


# Not as `Annotated` beside the fields, which each worker's start would pay for; and not `native`,
# which gathers what has no check here. A test compares the names with the fields.
CHECKS: dict[str, Check] = {
    "cpus": _at_least(1),
    "time": _optional(lambda _, value: parse_time(value)),
    "mem": _optional(lambda _, value: parse_memory(value)),
    "gpus": _at_least(0),
    "nodes": _at_least(1),
    "queue": _optional(_name),
    "account": _optional(_name),
    "array": _flag,
    "array_parallelism": _optional(_at_least(1)),
    "after": _references,
    "cache": _flag,
    "version": _version,
    "verify": _verifiers,
    "code": _one_of("function", "deep", "off"),
    "files": _optional(_one_of(*FILE_POLICIES)),
    "serializer": _optional(_name),
    "retry": _optional(_retry),
}
ALIASES = {"partition": "queue"}
"""Other names under which `Flow.job` takes an option."""
# What users of other systems write; anything else unknown is a scheduler's own option.
_MISNAMED = {
    "cpu": "cpus", "ncpus": "cpus", "cores": "cpus", "cpus_per_task": "cpus", "memory": "mem",
    "walltime": "time", "timelimit": "time", "time_limit": "time", "gpu": "gpus", "ngpus": "gpus",
    "node": "nodes", "parallelism": "array_parallelism", "depends": "after", "depends_on": "after",
    "retries": "retry", "max_retries": "retry",
}  # fmt: skip


def check_options(arguments: dict[str, Any]) -> TaskOptions:
    """Return the options that a decorator was called with, checked, as `TaskOptions`.

    They come from outside, whatever the decorator's annotations say. Raises `DefinitionError`.
    """
    checked: dict[str, Any] = {}
    native: dict[str, str] = {}
    _resolve_aliases(arguments)
    for option, value in arguments.items():
        check = CHECKS.get(option)
        if check is not None:
            checked[option] = check(option, value)
        elif (text := _native_text(option, value)) is not None:
            native[option] = text
    options = TaskOptions(**checked, native=native)
    if options.array_parallelism is not None and not options.array:
        raise DefinitionError(f"array_parallelism={options.array_parallelism} needs array=True")
    return options


def _resolve_aliases(arguments: dict[str, Any]) -> None:
    for alias, option in ALIASES.items():
        value = arguments.pop(alias, None)
        if value is None:
            continue
        other = arguments.get(option)
        if other is not None and other != value:
            raise DefinitionError(
                f"{option}={other!r} and {alias}={value!r} are one option: give one of them"
            )
        arguments[option] = CHECKS[option](alias, value)


def _native_text(option: str, value: Any) -> str | None:
    """Return an option for the scheduler as text, None where it is left out."""
    intended = _MISNAMED.get(option) or _misspelt(option)
    if intended is not None:
        raise DefinitionError(f"no option named {option!r}: did you mean {intended!r}?")
    if value is None or value is False:
        return None
    if not isinstance(value, (str, int, float)):
        raise DefinitionError(
            f"{option}={value!r}: an option for the scheduler is a text, a number or True"
        )
    return "" if value is True else str(value)


def _misspelt(option: str) -> str | None:
    """Return the option that is meant where letters are swapped, or an "s" too many or too few.

    No more than that: a scheduler's own options may look much like ours.
    """
    letters = sorted(option.rstrip("s"))
    names = ("name", *CHECKS, *ALIASES)
    alike = [name for name in names if sorted(name.rstrip("s")) == letters]
    # Only then: it loads difflib, and workers come by with each option of a scheduler's own.
    return nearest(option, alike) if alike else None
