"""What a shell completes: run ids, tasks, executors; and the command that prints its script.

Whatever goes wrong during completion, nothing is offered: an error has no place between two
keystrokes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import click

if TYPE_CHECKING:
    from .access import Access

Completer: TypeAlias = Callable[[click.Context, click.Parameter, str], list[Any]]

NEWEST = 50
"""So many run ids are offered."""

SHELLS = ("bash", "zsh", "fish")


def completion_variable(program: str) -> str:
    """Return the variable by which a shell asks `program` for completions."""
    return f"_{re.sub(r'[^0-9A-Za-z]', '_', program)}_COMPLETE".upper()


def _silent(offer: Callable[[click.Context, str], list[Any]]) -> Completer:
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        try:
            return offer(ctx, incomplete)
        except Exception:
            return []

    return complete


def run_ids(access: Access) -> Completer:
    """Offer the newest runs, of the script's workflow where there is one."""

    def offer(ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        if incomplete.startswith((".", "/", "~")):
            return [CompletionItem(incomplete, type="dir")]
        rows = access.store().list_runs(graph_name=access.own_name, limit=NEWEST)
        return [
            CompletionItem(row.run_id, help=f"{row.status} {row.created_at[:16]}")
            for row in rows
            if row.run_id.startswith(incomplete)
        ]

    return _silent(offer)


def _words(values: object) -> list[str]:
    return [word for word in values if isinstance(word, str)] if isinstance(values, tuple) else []


def task_names(access: Access) -> Completer:
    """Offer the tasks of the run that was given before, or of the script's workflow."""

    def offer(ctx: click.Context, incomplete: str) -> list[Any]:
        named = ctx.params.get("run_id") or ctx.params.get("run_ids")
        # Behind an option that still lacks its value, click has not sorted the arguments yet.
        words = [named] if isinstance(named, str) else [*_words(named), *ctx.args]
        run_id = words[0] if words else None
        if run_id or (access.workflow is None and ctx.params.get("last")):
            run = access.choose(run_id, last=not run_id)
            names = [task.name for task in run.record.request().spec.tasks]
        else:
            names = list(access.workflow.tasks) if access.workflow is not None else []
        return [name for name in names if name.startswith(incomplete)]

    return _silent(offer)


def executor_names() -> Completer:
    """Offer the names of installed executors; no plugin is imported."""

    def offer(ctx: click.Context, incomplete: str) -> list[Any]:
        from ..plugins.discovery import Installed

        names = {"local", "dry-run", *(point.name for point in Installed("reflow").points)}
        return sorted(name for name in names if name.startswith(incomplete))

    return _silent(offer)


@click.command("completion", short_help="Print the script for completion in a shell.")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion_command(context: click.Context, shell: str) -> None:
    """Print the script that lets a shell complete this command line.

    Load it in the start-up file of your shell, such as ~/.bashrc: eval "$(reflow completion bash)".
    """
    from click.shell_completion import get_completion_class

    root = context.find_root()
    program = root.info_name or "reflow"
    completion = get_completion_class(shell)
    assert completion is not None
    click.echo(completion(root.command, {}, program, completion_variable(program)).source())
