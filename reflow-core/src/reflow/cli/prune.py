"""The command `cache prune`."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import click

from . import cleanup_options
from .access import Access, json_option, profile_option, workflow_option
from .actions import confirm
from .terminal import counted, table

if TYPE_CHECKING:
    from ..runs.cache_prune import Pruning
    from ..runs.retention import Batch


def prune_command(access: Access) -> click.Command:
    """Make the command `cache prune`."""

    @click.command("prune", short_help="Remove older results from the cache.")
    @workflow_option
    @click.option("--task", metavar="TASK", help="Only this task.")
    @click.option("--superseded", is_flag=True,
                  help="Only results that no run can take over any more, because the newest run "
                       "of the workflow has another code or version of the task.")  # fmt: skip
    @cleanup_options.older_than_option(
        "Remove results last computed or taken over longer ago than this, such as 90d."
    )
    @cleanup_options.max_size_option(
        "Remove the results unused for longest until the rest takes at most this, such as 50G."
    )
    @cleanup_options.keep_option(
        "Keep all results of this many of the newest runs of each workflow."
    )
    @cleanup_options.dry_run_option
    @cleanup_options.yes_option
    @json_option
    @profile_option(access)
    def prune(
        workflow: str | None, task: str | None, superseded: bool, older_than: int | None,
        max_size: int | None, keep: int, dry_run: bool, yes: bool, as_json: bool,
    ) -> None:  # fmt: skip
        """Remove older results from the cache, so that no later run takes them over.

        The runs stay, with their status, logs and small values; `reflow store gc` deletes whole
        runs. Files of large values are deleted, except those that a run needs which may
        be retried. Results of the newest runs, of runs that have not ended and of other users'
        runs always stay.
        """
        from ..runs.cache_prune import carry_out, plan_pruning
        from ..runs.retention import ResultPolicy

        if task is None and older_than is None and max_size is None and not superseded:
            raise click.UsageError(
                "say which results to remove: --older-than, --superseded, --max-size or --task"
            )
        policy = ResultPolicy(older_than=older_than, max_size=max_size, superseded=superseded)
        store = access.store()
        plan = plan_pruning(store, policy, graph_name=workflow, task=task, keep=keep)
        if not dry_run and plan.results:
            if not yes:
                if not as_json:
                    click.echo(_text(plan, "to remove"), err=True)
                confirm(f"remove {_counted(plan)} from the cache", "nothing was removed")
            plan = carry_out(store, plan)
        done = "would be removed" if dry_run else "removed"
        cleanup_options.report(
            _native(plan, dry_run) if as_json else _text(plan, done), plan.problems
        )

    return prune


def _counted(plan: Pruning) -> str:
    return f"{counted(plan.results, 'result')} of {counted(len(plan.runs), 'run')}"


def _by_task(plan: Pruning) -> list[dict[str, Any]]:
    from ..runs.retention import total_size

    groups: dict[tuple[str, str, str], list[Batch]] = defaultdict(list)
    for batch, reason in zip(plan.batches, plan.reasons, strict=True):
        groups[batch.graph_name, batch.task, reason].append(batch)
    return [
        {
            "graph_name": graph_name,
            "task": task,
            "reason": reason,
            "results": sum(batch.results for batch in batches),
            "last_used": _moment(max(batch.used_at for batch in batches)),
            "size": total_size(batch.files for batch in batches),
        }
        for (graph_name, task, reason), batches in groups.items()
    ]


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")


def _text(plan: Pruning, done: str) -> str:
    lines = []
    if plan.batches:
        heads = ("WORKFLOW", "TASK", "RESULTS", "BECAUSE OF", "LAST USED", "SIZE")
        cells = [
            (group["graph_name"], group["task"], str(group["results"]), group["reason"],
             group["last_used"][:19], cleanup_options.size_text(group["size"]))
            for group in _by_task(plan)
        ]  # fmt: skip
        lines.append(table(heads, cells))
    lines.append(f"{_counted(plan)} {done}: {cleanup_options.freed_text(plan.freed, plan.size)}")
    lines.append(f"{counted(plan.kept, 'result')} kept")
    if plan.others:
        lines.append(f"{counted(plan.others, 'run')} of other users left alone")
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
