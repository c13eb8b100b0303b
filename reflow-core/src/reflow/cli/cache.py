"""The command `cache stats`; `reflow.cli.prune` has `prune`."""

from __future__ import annotations

import json

import click

from .access import Access, profile_option
from .prune import prune_command
from .terminal import table


def cache_command(access: Access) -> click.Group:
    """Make the group `cache`."""

    @click.group("cache", short_help="See what the cache holds, and take older results out.")
    def cache() -> None:
        """Look after the cache: the results of all runs that are listed.

        `reflow store gc` takes old runs away, and their results with them.
        """

    for make in (stats_command, prune_command):
        cache.add_command(make(access))
    return cache


def stats_command(access: Access) -> click.Command:
    """Make the command `cache stats`."""

    @click.command("stats", short_help="Count results and hits of each task.")
    @click.option("--workflow", metavar="NAME", help="Of this workflow only.")
    @click.option("--json", "as_json", is_flag=True, help="Print a list of objects as JSON.")
    @profile_option(access)
    def stats(workflow: str | None, as_json: bool) -> None:
        """Count, for each task, the results that runs computed and those that they took over.

        OUT are those computed that no run takes over any more: `cache prune` took them out, or a
        file of their task's parameters was changed while they were computed. SHARE is that of
        HITS in all values that were needed.
        """
        from attrs import asdict

        from ..runs.cache_stats import cache_stats

        found = cache_stats(access.store(), workflow)
        if as_json:
            told = [{**asdict(one), "share": round(one.share, 4)} for one in found]
            click.echo(json.dumps(told, indent=2))
        elif found:
            heads = (
                "WORKFLOW", "TASK", "RUNS", "RESULTS", "OUT", "HITS", "SHARE", "FAILED", "LAST RUN",
            )  # fmt: skip
            cells = [
                (one.graph_name, one.task, str(one.runs), str(one.results),
                 str(one.out_of_cache), str(one.hits), f"{one.share:.0%}", str(one.failed),
                 one.last[:19])
                for one in found
            ]  # fmt: skip
            click.echo(table(heads, cells))
        else:
            click.echo("No runs.", err=True)

    return stats
