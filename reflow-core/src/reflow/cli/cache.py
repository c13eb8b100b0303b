"""The command `cache stats`; `prune` is in `reflow.cli.prune`."""

from __future__ import annotations

import click

from .access import Access, json_option, profile_option, workflow_option
from .prune import prune_command
from .terminal import print_json, table


def cache_command(access: Access) -> click.Group:
    """Make the group `cache`."""

    @click.group("cache", short_help="Show what the cache holds, and remove older results.")
    def cache() -> None:
        """Look after the cache: the results of all listed runs.

        `reflow store gc` deletes old runs, and their results with them.
        """

    for make in (stats_command, prune_command):
        cache.add_command(make(access))
    return cache


def stats_command(access: Access) -> click.Command:
    """Make the command `cache stats`."""

    @click.command("stats", short_help="Count the results and cache hits of each task.")
    @workflow_option
    @json_option
    @profile_option(access)
    def stats(workflow: str | None, as_json: bool) -> None:
        """Count, for each task, the results that runs computed and those that they took over.

        RESULTS were computed and can be taken over. OUT were computed and cannot: `cache prune`
        removed them, or a file of their task's parameters was changed while they were computed.
        HITS were taken over, and SHARE is their part of all values that were needed.
        """
        from attrs import asdict

        from ..runs.cache_stats import cache_stats

        tasks = cache_stats(access.store(), workflow)
        if as_json:
            print_json([{**asdict(task), "share": round(task.share, 4)} for task in tasks])
        elif tasks:
            heads = (
                "WORKFLOW", "TASK", "RUNS", "RESULTS", "OUT", "HITS", "SHARE", "FAILED", "LAST RUN",
            )  # fmt: skip
            cells = [
                (task.graph_name, task.task, str(task.runs), str(task.results),
                 str(task.out_of_cache), str(task.hits), f"{task.share:.0%}", str(task.failed),
                 task.last[:19])
                for task in tasks
            ]  # fmt: skip
            click.echo(table(heads, cells))
        else:
            click.echo("No runs.", err=True)

    return stats
