"""Configuration files, good and bad."""

from __future__ import annotations

from pathlib import Path

import pytest

from reflow import Config, ConfigError, ensure_config_exists, load_config
from reflow.config import config_path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "conf"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def write(text: str) -> Path:
    path = config_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_no_file_is_all_defaults(home: Path) -> None:
    config = load_config()
    assert config == Config()
    assert config.run.executor == "local"
    assert config.store_path == home / "state" / "reflow" / "reflow.sqlite"


def test_xdg_defaults_and_relative_values(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("XDG_STATE_HOME", "relative/is/ignored")
    assert config_path() == home / ".config" / "reflow" / "config.toml"
    assert Config().store_path == home / ".local" / "state" / "reflow" / "reflow.sqlite"


def test_good(home: Path) -> None:
    path = write(
        '[run]\nexecutor = "slurm"\n'
        '[store]\npath = "~/runs.sqlite"\n'
        '[executor.slurm]\nsbatch = "/opt/slurm/bin/sbatch"\n'
        '[executor.not-installed-here]\nanything = 1\n'
    )
    config = load_config()
    assert config.path == path
    assert config.run.executor == "slurm"
    assert config.store_path == home / "runs.sqlite"
    assert config.executor["slurm"] == {"sbatch": "/opt/slurm/bin/sbatch"}


def test_relative_store_counts_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[store]\npath = "runs.sqlite"\n')
    assert load_config(path).store_path == tmp_path / "runs.sqlite"
    assert load_config(str(path)).path == path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[run\n", "not valid TOML.*line 1"),
        ("[rnu]\n", r"unknown table 'rnu': did you mean 'run'\? \(tables: executor, run, store\)"),
        ('[run]\nexecuter = "x"\n', r"unknown key 'run\.executer': did you mean 'executor'\?"),
        ("[run]\nexecutor = 3\n", r"run\.executor = 3"),
        ("[store]\npath = true\n", r"store\.path = True"),
        ('run = "local"\n', r"run = 'local': must be a table, \[run\], not str"),
        ("[executor]\nslurm = 3\n", r"executor\.slurm = 3: must be a table"),
    ],
)
def test_bad(text: str, message: str) -> None:
    path = write(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config()
    assert str(path) in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_not_utf8() -> None:
    config_path().parent.mkdir(parents=True)
    config_path().write_bytes(b'[run]\nexecutor = "\xff"\n')
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config()


def test_unreadable_and_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no configuration file .*gone\.toml"):
        load_config(tmp_path / "gone.toml")
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path)


def test_ensure_config_exists() -> None:
    path = ensure_config_exists()
    assert path == config_path()
    config = load_config()
    assert (config.run, config.store, config.executor) == (Config().run, Config().store, {})
    path.write_text('[run]\nexecutor = "pbs"\n')
    assert ensure_config_exists() == path
    assert load_config().run.executor == "pbs"


def test_template_is_valid_when_uncommented() -> None:
    path = ensure_config_exists()
    lines = [
        line[2:] if line.startswith("# ") and ("=" in line or line[2] == "[") else line
        for line in path.read_text().splitlines()
    ]
    path.write_text("\n".join(lines))
    assert load_config().executor["slurm"] == {"sbatch": "/opt/slurm/bin/sbatch"}


def test_ensure_config_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "conf").write_text("a file where the folder should be")
    with pytest.raises(ConfigError, match="cannot write"):
        ensure_config_exists()
