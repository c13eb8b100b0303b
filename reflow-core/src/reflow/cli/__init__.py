"""The command lines: `reflow`, and what `Workflow.cli` makes of a script."""

from __future__ import annotations


def main() -> None:
    """Run the command `reflow`: everything that needs a run's id and not its script."""
    try:
        from .commands import reflow_command

        reflow_command().main(prog_name="reflow")
    except KeyboardInterrupt:  # during the imports: a traceback would not help
        raise SystemExit(130) from None
