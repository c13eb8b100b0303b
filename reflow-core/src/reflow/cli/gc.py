"""The command `store gc`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .access import Access, profile_option
from .actions import confirm
from .amounts import read_size, read_time, size_text, tell_what_went
from .terminal import table

if TYPE_CHECKING:
    from ..runs.gc import Cleaning


def gc_command(access: Access) -> click.Command:
    """Make the command `store gc`."""

    @click.command("gc", short_help="Take old runs and orphaned values away.")
    @click.option("--older-than", metavar="TIME", callback=read_time,
                  help="Runs that ended longer ago than this, such as 90d.")  # fmt: skip
    @click.option("--max-size", metavar="SIZE", callback=read_size,
                  help="The oldest runs, until the rest takes no more than this, such as 50G.")
    @click.option("--keep", type=click.IntRange(min=0), default=1, show_default=True,
                  help="So many of the newest runs of each workflow stay in any case.")
    @click.option("--workflow", metavar="NAME", help="Of this workflow only.")
    @click.option("--missing", is_flag=True,
                  help="Forget the runs, too, whose directories are gone.")
    @click.option("--dry-run", is_flag=True, help="Say what would go, and leave it.")
    @click.option("--yes", is_flag=True, help="Do not ask.")
    @click.option("--json", "as_json", is_flag=True, help="Print what went as JSON.")
    @profile_option(access)
    def gc(
        older_than: int | None,
        max_size: int | None,
        keep: int,
        workflow: str | None,
        missing: bool,
        dry_run: bool,
        yes: bool,
        as_json: bool,
    ) -> None:
        """Take away the records of old runs, and values that nothing refers to any more.

        Goes: what a run kept for itself in .reflow. Stays: what its tasks wrote elsewhere, runs
        that have not ended, everything that a run that stays has taken over, and what is
        another user's. Without --older-than and --max-size no run goes.
        """
        from ..runs.gc import carry_out, plan_cleaning
        from ..runs.retention import Policy

        policy = Policy(older_than=older_than, max_size=max_size, keep=keep)
        store = access.store()
        plan = plan_cleaning(store, policy, graph_name=workflow)
        something = plan.runs or plan.orphans or plan.missing
        if not dry_run and something:
            if not yes and (plan.runs or plan.orphans or missing):
                if not as_json:
                    click.echo(_text(plan, "goes", missing), err=True)
                confirm(f"take away {_counted(plan)}", "nothing taken away")
            plan = carry_out(store, plan, forget_missing=missing)
        goes = "would go" if dry_run else "went"
        told = _native(plan, dry_run) if as_json else _text(plan, goes, missing or not dry_run)
        tell_what_went(told, plan.problems)

    return gc


def _counted(plan: Cleaning) -> str:
    runs, orphans = len(plan.runs), len(plan.orphans)
    return f"{runs} run{'s' * (runs != 1)} and {orphans} orphaned value{'s' * (orphans != 1)}"


def _text(plan: Cleaning, goes: str, missing: bool) -> str:
    lines = []
    if plan.runs:
        cells = [
            (run.run_id, plan.reasons[run.run_id], plan.rows[run.run_id].created_at[:19],
             size_text(sum(one.size for one in run.files.values())), plan.rows[run.run_id].run_dir)
            for run in plan.runs
        ]  # fmt: skip
        lines.append(table(("RUN", "BECAUSE OF", "CREATED", "SIZE", "DIRECTORY"), cells))
    lines.extend(f"{one.path}  {size_text(one.size)}" for one in plan.orphans)
    lines.append(f"{_counted(plan)} {goes}: {size_text(plan.freed)} of {size_text(plan.size)}")
    lines.append(f"{plan.kept} run{'s' * (plan.kept != 1)} kept")
    if plan.others:
        lines.append(f"{plan.others} of other users left alone")
    if plan.missing:
        what = "forgotten" if missing else "listed (--missing forgets them)"
        lines.append(f"{len(plan.missing)} whose directories are gone: {what}")
    return "\n".join(lines)


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
                "size": sum(one.size for one in run.files.values()),
            }
            for run in plan.runs
        ],
        "orphans": [
            {"run_id": one.run_id, "path": one.path, "size": one.size} for one in plan.orphans
        ],
        "missing": list(plan.missing),
        "kept": plan.kept,
        "others": plan.others,
        "size": plan.size,
        "freed": plan.freed,
        "problems": list(plan.problems),
    }

