"""What the cache holds, and how often it was of use: counted from the index of runs."""

from __future__ import annotations

from attrs import evolve, frozen

from ..states import CACHED, FAILED, SUCCESS
from ..storage.stores.base import Store


@frozen(kw_only=True)
class TaskCache:
    """One task of a workflow, over all listed runs.

    `results` were computed and can be taken over, `out_of_cache` were computed and cannot: those
    that `reflow cache prune` removed, and those that count for their run alone. `hits` were taken
    over, `failed` have no result. `last` is when the newest run with the task was created,
    ISO-8601 in UTC.
    """

    graph_name: str
    task: str
    runs: int
    results: int
    out_of_cache: int
    hits: int
    failed: int
    last: str

    @property
    def share(self) -> float:
        """The part of all needed values that was taken over, from 0 to 1."""
        needed = self.results + self.out_of_cache + self.hits
        return self.hits / needed if needed else 0.0


def cache_stats(store: Store, graph_name: str | None = None) -> list[TaskCache]:
    """Return the tasks of all workflows, or of one, by workflow and in the newest run's order."""
    tasks: dict[tuple[str, str], TaskCache] = {}
    for row in store.list_runs(graph_name=graph_name):  # the newest first
        out_of_cache = store.out_of_cache(row.run_id)
        for task, states in store.summary(row.run_id).items():
            out = out_of_cache.get(task, 0)
            key = (row.graph_name, task)
            newer = tasks.get(key) or TaskCache(
                graph_name=row.graph_name, task=task, runs=0, results=0, out_of_cache=0, hits=0,
                failed=0, last=row.created_at,
            )  # fmt: skip
            tasks[key] = evolve(
                newer,
                runs=newer.runs + 1,
                results=newer.results + states.get(SUCCESS, 0) - out,
                out_of_cache=newer.out_of_cache + out,
                hits=newer.hits + states.get(CACHED, 0),
                failed=newer.failed + states.get(FAILED, 0),
            )
    return sorted(tasks.values(), key=lambda task: task.graph_name)
