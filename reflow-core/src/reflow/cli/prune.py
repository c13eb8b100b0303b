"""The command `cache prune`."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import click

from .access import Access, profile_option
from .actions import confirm
from .amounts import read_size, read_time, size_text, tell_what_went
from .terminal import table

if TYPE_CHECKING:
    from ..runs.cache_prune import Pruning


def prune_command(access: Access) -> click.Command:
    """Make the command `cache prune`."""

    @click.command("prune", short_help="Take older results out of the cache.")
    @click.option("--workflow", metavar="NAME", help="Of this workflow only.")
    @click.option("--task", metavar="TASK", help="Of this task only.")
    @click.option("--superseded", is_flag=True,
                  help="Only what no run can take over any more, because the code or version of "
                       "the task is another in the newest run of the workflow.")  # fmt: skip
    @click.option("--older-than", metavar="TIME", callback=read_time,
                  help="What was last computed or taken over longer ago than this, such as 90d.")
    @click.option("--max-size", metavar="SIZE", callback=read_size,
                  help="What was not used for longest, until the values of the rest take no more "
                       "than this, such as 50G.")  # fmt: skip
    @click.option("--keep", type=click.IntRange(min=0), default=1, show_default=True,
                  help="So many of the newest runs of each workflow keep their results.")
    @click.option("--dry-run", is_flag=True, help="Say what would go, and leave it.")
    @click.option("--yes", is_flag=True, help="Do not ask.")
    @click.option("--json", "as_json", is_flag=True, help="Print what went as JSON.")
    @profile_option(access)
    def prune(
        workflow: str | None,
        task: str | None,
        superseded: bool,
        older_than: int | None,
        max_size: int | None,
        keep: int,
        dry_run: bool,
        yes: bool,
        as_json: bool,
    ) -> None:
        """Take older results out of the cache: no run takes them over any more.

        The runs stay, with status, logs and small values; `reflow store gc` takes whole runs
        away. The files of large values go, but for those that a run needs which can be
        retried. Stays in any case: what one of the newest runs has, or one that goes on, and
        what another user's run has.
        """
        from ..runs.cache_prune import carry_out, plan_pruning
        from ..runs.retention import ResultPolicy

        if task is None and older_than is None and max_size is None and not superseded:
            raise click.UsageError(
                "say what may go: --older-than, --superseded, --max-size or --task"
            )
        policy = ResultPolicy(older_than=older_than, max_size=max_size, superseded=superseded)
        store = access.store()
        plan = plan_pruning(store, policy, graph_name=workflow, task=task, keep=keep)
        if not dry_run and plan.results:
            if not yes:
                if not as_json:
                    click.echo(_text(plan, "goes"), err=True)
                confirm(f"take {_counted(plan)} out of the cache", "nothing taken away")
            plan = carry_out(store, plan)
        told = _native(plan, dry_run) if as_json else _text(plan, "would go" if dry_run else "went")
        tell_what_went(told, plan.problems)

    return prune


def _counted(plan: Pruning) -> str:
    runs = len(plan.runs)
    return (
        f"{plan.results} result{'s' * (plan.results != 1)} of {runs} run{'s' * (runs != 1)}"
    )


def _by_task(plan: Pruning) -> list[dict[str, Any]]:
    from ..runs.retention import total_size

    found: dict[tuple[str, str, str], list[Any]] = defaultdict(list)
    for batch, reason in zip(plan.batches, plan.reasons, strict=True):
        found[batch.graph_name, batch.task, reason].append(batch)
    return [
        {
            "graph_name": graph_name,
            "task": task,
            "reason": reason,
            "results": sum(one.results for one in batches),
            "last_used": _moment(max(one.used_at for one in batches)),
            "size": total_size(batch.files for batch in batches),
        }
        for (graph_name, task, reason), batches in found.items()
    ]


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")


def _text(plan: Pruning, goes: str) -> str:
    lines = []
    if plan.batches:
        heads = ("WORKFLOW", "TASK", "RESULTS", "BECAUSE OF", "LAST USED", "SIZE")
        cells = [
            (one["graph_name"], one["task"], str(one["results"]), one["reason"],
             one["last_used"][:19], size_text(one["size"]))
            for one in _by_task(plan)
        ]  # fmt: skip
        lines.append(table(heads, cells))
    lines.append(f"{_counted(plan)} {goes}: {size_text(plan.freed)} of {size_text(plan.size)}")
    lines.append(f"{plan.kept} result{'s' * (plan.kept != 1)} kept")
    if plan.others:
        lines.append(f"{plan.others} run{'s' * (plan.others != 1)} of other users left alone")
    return "\n".join(lines)


def _native(plan: Pruning, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "tasks": _by_task(plan),
        "runs": list(plan.runs),
        "results": plan.results,
        "kept": plan.kept,
        "others": plan.others,
        "size": plan.size,
        "freed": plan.freed,
        "problems": list(plan.problems),
    }
