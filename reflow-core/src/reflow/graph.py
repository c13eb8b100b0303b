"""The order of a workflow's tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .errors import ValidationError, unknown_name


def order(edges: Mapping[str, Sequence[str]]) -> list[str]:
    """Return all tasks, every one behind those it needs.

    `edges` maps each task to the tasks it needs. Where the mapping's own order
    already fits, it is kept. Takes time linear in tasks and edges. Raises
    `ValidationError` for a task that does not exist, and for a cycle, with its path.
    """
    done: dict[str, bool] = {}  # False: being visited, so meeting it again is a cycle
    result: list[str] = []
    for start in edges:
        if start in done:
            continue
        done[start] = False
        path = [start]
        # An explicit stack: a chain of tasks may be longer than Python's own allows.
        stack: list[Iterator[str]] = [iter(edges[start])]
        while stack:
            for needed in stack[-1]:
                state = done.get(needed)
                if state is None:
                    if needed not in edges:
                        raise ValidationError(
                            f"task {path[-1]!r} needs {needed!r}: "
                            + unknown_name("task", needed, edges)
                        )
                    done[needed] = False
                    path.append(needed)
                    stack.append(iter(edges[needed]))
                    break
                if not state:
                    raise ValidationError(_cycle(path, needed))
            else:
                stack.pop()
                finished = path.pop()
                done[finished] = True
                result.append(finished)
    return result


def _cycle(path: list[str], again: str) -> str:
    # The walk goes from a task to what it needs; data flows the other way.
    loop = [*path[path.index(again) :], again][::-1]
    return (
        f"the tasks form a cycle: {' -> '.join(loop)} "
        "(each needs the one before it; take one of these references out)"
    )
