"""The command `store gc`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from . import cleanup_options
from .access import Access, json_option, profile_option, workflow_option
from .actions import confirm
from .terminal import counted, table

if TYPE_CHECKING:
    from ..runs.gc import Cleaning
    from ..runs.retention import StoredRun


def gc_command(access: Access) -> click.Command:
    """Make the command `store gc`."""

    @click.command("gc", short_help="Delete the records of old runs, and orphaned values.")
    @cleanup_options.older_than_option("Delete runs that ended longer ago than this, such as 90d.")
    @cleanup_options.max_size_option(
        "Delete the oldest runs until the rest takes at most SIZE, as 50G."
    )
    @cleanup_options.keep_option("Always keep this many of the newest runs of each workflow.")
    @workflow_option
    @click.option("--missing", is_flag=True,
                  help="Also forget runs whose directories are gone.")
    @cleanup_options.dry_run_option
    @cleanup_options.yes_option
    @json_option
    @profile_option(access)
    def gc(
        older_than: int | None, max_size: int | None, keep: int, workflow: str | None,
        missing: bool, dry_run: bool, yes: bool, as_json: bool,
    ) -> None:  # fmt: skip
        """Delete the records of old runs, and values that nothing refers to any more.

        This deletes what reflow keeps of a run in .reflow. It keeps the files that tasks wrote
        elsewhere, runs that have not ended, results that a kept run has taken over, and runs
        of other users. Without --older-than and --max-size no run is deleted.
        """
        from ..runs.gc import carry_out, plan_cleaning
        from ..runs.retention import Policy

        policy = Policy(older_than=older_than, max_size=max_size, keep=keep)
        store = access.store()
        plan = plan_cleaning(store, policy, graph_name=workflow)
        if not dry_run and (plan.runs or plan.orphans or plan.missing):
            if not yes and (plan.runs or plan.orphans or missing):
                if not as_json:
                    click.echo(_text(plan, "to delete", missing), err=True)
                confirm(f"delete {_counted(plan)}", "nothing was deleted")
            plan = carry_out(store, plan, forget_missing=missing)
        done = "would be deleted" if dry_run else "deleted"
        cleanup_options.report(
            _native(plan, dry_run) if as_json else _text(plan, done, missing or not dry_run),
            plan.problems,
        )

    return gc


def _counted(plan: Cleaning) -> str:
    return f"{counted(len(plan.runs), 'run')} and {counted(len(plan.orphans), 'orphaned value')}"


def _text(plan: Cleaning, done: str, missing: bool) -> str:
    lines = []
    if plan.runs:
        cells = [
            (run.run_id, plan.reasons[run.run_id], plan.rows[run.run_id].created_at[:19],
             cleanup_options.size_text(_size(run)), plan.rows[run.run_id].run_dir)
            for run in plan.runs
        ]  # fmt: skip
        lines.append(table(("RUN", "BECAUSE OF", "CREATED", "SIZE", "DIRECTORY"), cells))
    lines.extend(
        f"{orphan.path}  {cleanup_options.size_text(orphan.size)}" for orphan in plan.orphans
    )
    lines.append(f"{_counted(plan)} {done}: {cleanup_options.freed_text(plan.freed, plan.size)}")
    lines.append(f"{counted(plan.kept, 'run')} kept")
    if plan.others:
        lines.append(f"{counted(plan.others, 'run')} of other users left alone")
    if plan.missing:
        what = "forgotten" if missing else "still listed (--missing forgets them)"
        lines.append(f"{counted(len(plan.missing), 'run')} whose directories are gone: {what}")
    return "\n".join(lines)


def _size(run: StoredRun) -> int:
    return sum(file.size for file in run.files.values())


def _native(plan: Cleaning, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "runs": [
            {
                "run_id": run.run_id,
                "graph_name": run.graph_name,
                "reason": plan.reasons[run.run_id],
                "created_at": run.created_at,
                "ended_at": run.ended_at,
                "record": plan.rows[run.run_id].record,
                "size": _size(run),
            }
            for run in plan.runs
        ],
        "orphans": [
            {"run_id": orphan.run_id, "path": orphan.path, "size": orphan.size}
            for orphan in plan.orphans
        ],
        "missing": list(plan.missing),
        "kept": plan.kept,
        "others": plan.others,
        "size": plan.size,
        "freed": plan.freed,
        "problems": list(plan.problems),
    }

