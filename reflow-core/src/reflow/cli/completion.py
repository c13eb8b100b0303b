"""What a shell completes: run ids, tasks, executors; and the command that prints its script.

Whatever goes wrong while a shell asks, the answer is "nothing": there is no place for
an error between two keystrokes.
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


def _silent(found: Callable[[click.Context, str], list[Any]]) -> Completer:
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        try:
            return found(ctx, incomplete)
        except Exception:
            return []

    return complete


def run_ids(access: Access) -> Completer:
    """Offer the newest runs, of the script's workflow where there is one."""

    def found(ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        if incomplete.startswith((".", "/", "~")):
            return [CompletionItem(incomplete, type="dir")]
        rows = access.store().list_runs(graph_name=access.own_name, limit=NEWEST)
        return [
            CompletionItem(row.run_id, help=f"{row.status} {row.created_at[:16]}")
            for row in rows
            if row.run_id.startswith(incomplete)
        ]

    return _silent(found)


def _words(values: object) -> list[str]:
    return [one for one in values if isinstance(one, str)] if isinstance(values, tuple) else []


def task_names(access: Access) -> Completer:
    """Offer the tasks of the run that is named already, or of the script's workflow."""

    def found(ctx: click.Context, incomplete: str) -> list[Any]:
        named = ctx.params.get("run_id") or ctx.params.get("run_ids")
        # Behind an option that still lacks its value, arguments are not yet told apart.
        words = [named] if isinstance(named, str) else [*_words(named), *ctx.args]
        given = words[0] if words else None
        if given or (access.workflow is None and ctx.params.get("last")):
            run = access.choose(given, last=not given)
            names = [task.name for task in run.record.request().spec.tasks]
        else:
            names = list(access.workflow.tasks) if access.workflow is not None else []
        return [name for name in names if name.startswith(incomplete)]

    return _silent(found)


def executor_names() -> Completer:
    """Offer the names of installed executors; no plugin is imported for that."""

    def found(ctx: click.Context, incomplete: str) -> list[Any]:
        from ..plugins.discovery import Installed

        names = {"local", "dry-run", *(point.name for point in Installed("reflow").points)}
        return sorted(name for name in names if name.startswith(incomplete))

    return _silent(found)


@click.command("completion", short_help="Print a script that completes this command line.")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion_command(context: click.Context, shell: str) -> None:
    """Print the script that lets SHELL complete this command line.

    Load it where your shell starts, such as in ~/.bashrc: eval "$(reflow completion bash)".
    """
    from click.shell_completion import get_completion_class

    root = context.find_root()
    program = root.info_name or "reflow"
    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(root.command, {}, program, completion_variable(program)).source())
