"""The commands `config show`, `config path` and `config init`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from .terminal import BAD_USE, table

if TYPE_CHECKING:
    from ..config import Config
    from ..plugins.config_overview import Overview, Row


@click.group("config", short_help="Show and write the configuration.")
def config_command() -> None:
    """Show and write the configuration."""


@config_command.command("path")
def _path() -> None:
    """Print where your configuration file is, or would be."""
    from ..config import config_path

    click.echo(config_path())


@config_command.command("init")
@click.option("--force", is_flag=True, help="Write it anew if there is one.")
def _init(force: bool) -> None:
    """Write a configuration file with every key in it, commented out."""
    from ..plugins.config_template import write_example_config

    click.echo(f"written: {write_example_config(overwrite=force)}")


@config_command.command("show")
@click.option("--profile", metavar="NAME", help="With this profile.  [default: $REFLOW_PROFILE]")
@click.option("--check", is_flag=True, help="End with exit code 2 if anything is wrong.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def _show(profile: str | None, check: bool, as_json: bool) -> None:
    """Print every key, its value and where that comes from.

    The last column is a file and line, a variable of the environment, or "default".
    """
    from ..config import load_config
    from ..plugins.config_overview import overview

    config = load_config(profile=profile)
    seen = overview(config)
    if as_json:
        click.echo(json.dumps(_as_json(config, seen), indent=2, default=str))
    else:
        _print(config, seen)
        for note in seen.notes:
            click.echo(f"note: {note}", err=True)
        for problem in seen.problems:
            click.echo(f"{'error' if check else 'warning'}: {problem}", err=True)
    if check and seen.problems:
        click.get_current_context().exit(BAD_USE)


def _print(config: Config, seen: Overview) -> None:
    from ..config.provenance import dotted

    rows = [(dotted(one.key), _text(one), _from(one)) for one in seen.rows]
    click.echo(table(("KEY", "VALUE", "FROM"), rows))
    click.echo(f"\nRuns are listed in {_store(config)}")
    if config.profile:
        click.echo(f"Profile: {config.profile}")
    click.echo("\nFiles, the first wins:")
    files = [(f"  {one.state}", one.kind, f"{one.path}{one.detail and f' ({one.detail})'}")
             for one in config.files]  # fmt: skip
    click.echo(table(("  STATE", "KIND", "FILE"), files))


def _text(row: Row) -> str:
    from ..config.toml import toml_text

    return "-" if row.value is None else toml_text(row.value) or str(row.value)


def _from(row: Row) -> str:
    return f"{row.origin} (profile {row.origin.profile})" if row.origin.profile else str(row.origin)


def _store(config: Config) -> object:
    from ..plugins.config_overview import without_password

    return without_password(config.store_location)


def _as_json(config: Config, seen: Overview) -> dict[str, Any]:
    from ..config.provenance import dotted

    return {
        "profile": config.profile,
        "store": _store(config),
        "settings": [
            {
                "key": dotted(one.key),
                "value": _native(one.value),
                "from": {
                    "kind": one.origin.kind,
                    "file": one.origin.file,
                    "line": one.origin.line,
                    "profile": one.origin.profile,
                    "variable": one.origin.variable,
                },
            }
            for one in seen.rows
        ],
        "files": [
            {"path": one.path, "kind": one.kind, "state": one.state, "detail": one.detail}
            for one in config.files
        ],
        "problems": list(seen.problems),
        "notes": list(seen.notes),
    }


def _native(value: object) -> object:
    return sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
