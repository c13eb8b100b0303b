"""The commands `config show`, `config path` and `config init`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from .access import json_option
from .terminal import BAD_USE, table

if TYPE_CHECKING:
    from ..config import Config
    from ..plugins.config_overview import Overview, Row


@click.group("config", short_help="Show and write the configuration.")
def config_command() -> None:
    """Show and write the configuration."""


@config_command.command("path")
def _path() -> None:
    """Print the path of your configuration file, whether or not it exists."""
    from ..config import config_path

    click.echo(config_path())


@config_command.command("init")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def _init(force: bool) -> None:
    """Write a configuration file in which every key is listed, commented out."""
    from ..plugins.config_template import write_example_config

    click.echo(f"written: {write_example_config(overwrite=force)}")


@config_command.command("show")
@click.option("--profile", metavar="NAME", help="Use this profile.  [default: $REFLOW_PROFILE]")
@click.option("--check", is_flag=True, help="Exit with 2 if anything is wrong.")
@json_option
def _show(profile: str | None, check: bool, as_json: bool) -> None:
    """Print every key, its value and where the value comes from.

    The last column is a file and line, an environment variable, or "default".
    """
    from ..config import load_config
    from ..plugins.config_overview import overview

    config = load_config(profile=profile)
    shown = overview(config)
    if as_json:
        click.echo(json.dumps(_as_json(config, shown), indent=2, default=str))
    else:
        _print(config, shown)
        for note in shown.notes:
            click.echo(f"note: {note}", err=True)
        for problem in shown.problems:
            click.echo(f"{'error' if check else 'warning'}: {problem}", err=True)
    if check and shown.problems:
        click.get_current_context().exit(BAD_USE)


def _print(config: Config, shown: Overview) -> None:
    from ..config.provenance import dotted

    rows = [(dotted(row.key), _text(row), _from(row)) for row in shown.rows]
    click.echo(table(("KEY", "VALUE", "FROM"), rows))
    click.echo(f"\nRuns are listed in {_store(config)}")
    if config.profile:
        click.echo(f"Profile: {config.profile}")
    click.echo("\nFiles, the first wins:")
    files = [(f"  {file.state}", file.kind, f"{file.path}{file.detail and f' ({file.detail})'}")
             for file in config.files]  # fmt: skip
    click.echo(table(("  STATE", "KIND", "FILE"), files))


def _text(row: Row) -> str:
    from ..config.toml import toml_text

    return "-" if row.value is None else toml_text(row.value) or str(row.value)


def _from(row: Row) -> str:
    return f"{row.origin} (profile {row.origin.profile})" if row.origin.profile else str(row.origin)


def _store(config: Config) -> object:
    from ..plugins.config_overview import without_password

    return without_password(config.store_location)


def _as_json(config: Config, shown: Overview) -> dict[str, Any]:
    from ..config.provenance import dotted

    return {
        "profile": config.profile,
        "store": _store(config),
        "settings": [
            {
                "key": dotted(row.key),
                "value": _native(row.value),
                "from": {
                    "kind": row.origin.kind,
                    "file": row.origin.file,
                    "line": row.origin.line,
                    "profile": row.origin.profile,
                    "variable": row.origin.variable,
                },
            }
            for row in shown.rows
        ],
        "files": [
            {"path": file.path, "kind": file.kind, "state": file.state, "detail": file.detail}
            for file in config.files
        ],
        "problems": list(shown.problems),
        "notes": list(shown.notes),
    }


def _native(value: object) -> object:
    return sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
