"""The command `why`."""

from __future__ import annotations

import click

from .access import Access, json_option, run_argument
from .completion import task_names
from .terminal import print_json


def why_command(access: Access) -> click.Command:
    """Make the command `why`."""

    @click.command("why", short_help="Explain why an element ran, or did not.")
    @run_argument(access)
    @click.argument("place", metavar="TASK[INDEX]", required=False,
                    shell_complete=task_names(access))  # fmt: skip
    @json_option
    def why(run_id: str | None, last: bool, place: str | None, as_json: bool) -> None:
        """Explain why an element of RUN ran, or did not.

        It is compared with the most similar element of earlier runs: the parameters, the values
        from other tasks, the code and the version.
        """
        run, task, index = access.choose_element(run_id, last, place)
        if task is None:
            raise click.UsageError("give a TASK or TASK[INDEX], such as align[3]")
        explanation = run.why(task, index)
        if as_json:
            print_json(explanation.to_dict())
        else:
            click.echo(str(explanation))

    return why
