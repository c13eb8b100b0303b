"""Which failures of an element are tried again automatically, and with how much more.

Workers of a script that uses it import this, so nothing here needs attrs.
"""

from __future__ import annotations

from ..errors import DefinitionError
from ..states import ERROR, LOST, NODE_FAIL, OOM, PREEMPTED, TIMEOUT
from .units import parse_memory, parse_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import timedelta


class Scale:
    """What another attempt asks for, as factors of what the attempt before it had.

    `mem` and `time` are factors from 1 on; `max_mem` ("64G" or bytes) and `max_time`
    ("12:00:00", seconds) the most that is ever asked for. Raises `DefinitionError` for
    anything else.
    """

    __slots__ = ("max_mem", "max_time", "mem", "time")

    def __init__(
        self,
        *,
        mem: float = 1.0,
        time: float = 1.0,
        max_mem: str | int | None = None,
        max_time: str | int | timedelta | None = None,
    ) -> None:
        for name, factor in (("mem", mem), ("time", time)):
            is_number = isinstance(factor, (int, float)) and not isinstance(factor, bool)
            if not is_number or not 1 <= factor <= 1000:
                raise DefinitionError(
                    f"Scale({name}={factor!r}): a factor is a number from 1 to 1000, such as 2"
                )
        self.mem = float(mem)
        self.time = float(time)
        self.max_mem = None if max_mem is None else parse_memory(max_mem)
        self.max_time = None if max_time is None else parse_time(max_time)

    def __repr__(self) -> str:
        arguments = [f"mem={self.mem:g}", f"time={self.time:g}"]
        arguments += [f"{name}={value}" for name in ("max_mem", "max_time")
                      if (value := getattr(self, name)) is not None]  # fmt: skip
        return f"Scale({', '.join(arguments)})"


class Retry:
    """How often an element that failed is tried again, by what it died of.

    `times` counts attempts after the first, of all causes together. Each cause is True
    (again, the same way), False (it has failed for good) or a `Scale`: an element that
    ran out of memory gets twice as much, one that ran out of time half as much more, one
    whose node failed or that was preempted or lost begins again as it was, and an error of
    the task's own is final. More memory or time is asked for only where the task says how
    much it had, and never above a `Scale`'s most: what cannot grow is not tried again.

    Raises `DefinitionError` for a bad value.
    """

    __slots__ = ("rules", "times")

    def __init__(
        self,
        times: int,
        *,
        error: bool | Scale = False,
        oom: bool | Scale = Scale(mem=2),  # noqa: B008 (it is never changed)
        timeout: bool | Scale = Scale(time=1.5),  # noqa: B008
        node_fail: bool | Scale = True,
        preempted: bool | Scale = True,
        lost: bool | Scale = True,
    ) -> None:
        if isinstance(times, bool) or not isinstance(times, int) or not 0 <= times <= 1000:
            raise DefinitionError(f"Retry({times!r}): give a whole number from 0 to 1000")
        self.times = times
        self.rules: dict[str, Scale] = {}
        for name, cause, rule in (
            ("error", ERROR, error), ("oom", OOM, oom), ("timeout", TIMEOUT, timeout),
            ("node_fail", NODE_FAIL, node_fail), ("preempted", PREEMPTED, preempted),
            ("lost", LOST, lost),
        ):  # fmt: skip
            if not isinstance(rule, (bool, Scale)):
                raise DefinitionError(f"Retry({name}={rule!r}): give True, False or a Scale")
            if rule is not False:
                self.rules[cause] = Scale() if rule is True else rule

    def __repr__(self) -> str:
        return f"Retry({self.times}, {', '.join(sorted(self.rules))})"


def retry_of(value: object) -> Retry | None:
    """Return what an option ``retry`` means: a `Retry`, or a number of attempts after any failure.

    Raises `DefinitionError` for anything else.
    """
    if isinstance(value, Retry):
        return value if value.times else None
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Retry(value, error=True) if value else None
    raise DefinitionError(
        f"retry={value!r}: give how often what failed is tried again, such as 3, or a "
        "Retry(3, oom=Scale(mem=2))"
    )
