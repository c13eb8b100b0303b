"""Configuration: precedence, origins, error messages, and the template."""

from __future__ import annotations

import os
import runpy
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import ClassVar, Literal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reflow
from reflow import (
    Config,
    ConfigError,
    config_path,
    ensure_config_exists,
    load_config,
    write_example_config,
)
from reflow.config import PluginSettings, RunSettings, StoreSettings
from reflow.config.toml import key_lines, toml_text
from reflow.model.units import parse_memory
from reflow.plugins.lookup import executor_from

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [variable for variable in os.environ if variable.startswith("REFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "conf"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", f"{tmp_path / 'site'}:{tmp_path / 'site2'}")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "work" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work" / "sub")
    return tmp_path


def write(text: str, path: Path | None = None) -> Path:
    path = path or config_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def problem(path: Path | None = None, **options: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, **options)
    assert isinstance(caught.value, ValueError)
    return str(caught.value)


# Defaults and places


def test_no_file_is_all_defaults(home: Path) -> None:
    config = load_config()
    assert config == Config()
    assert config.run.executor == "local"
    assert config.run.observers == ()
    assert config.store_path == home / "state" / "reflow" / "reflow.sqlite"
    assert config.store_location == str(config.store_path)


def test_xdg_defaults_and_relative_values(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("XDG_STATE_HOME", "relative/is/ignored")
    assert config_path() == home / ".config" / "reflow" / "config.toml"
    assert Config().store_path == home / ".local" / "state" / "reflow" / "reflow.sqlite"
    monkeypatch.setenv("XDG_CONFIG_DIRS", "also/ignored")
    assert [file.kind for file in load_config().files] == ["user"]


def test_no_file_costs_no_parser_and_no_plugins() -> None:
    code = (
        "import sys; from reflow import load_config; load_config()\n"
        "print([one for one in ('tomllib', 'tomli', 'pluggy', 'click', 'cattrs')"
        " if one in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_user_file_named_by_variable(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFLOW_CONFIG", "~/mine.toml")
    assert config_path() == home / "mine.toml"
    assert "REFLOW_CONFIG: no configuration file" in problem()
    write('[run]\nexecutor = "pbs"\n')
    assert load_config().run.executor == "pbs"
    monkeypatch.setenv("REFLOW_CONFIG", "/dev/null")
    assert load_config() == Config()


def test_paths_count_from_their_place(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write('[store]\npath = "runs.sqlite"\n')
    assert load_config().store_path == path.parent / "runs.sqlite"
    write('[store]\npath = "~/runs.sqlite"\n')
    assert load_config().store_path == home / "runs.sqlite"
    write('[store]\npath = "$HOME/../x/runs.sqlite"\n')
    assert load_config().store_path == path.parent / "x" / "runs.sqlite"
    monkeypatch.setenv("REFLOW_STORE_PATH", "runs.sqlite")
    assert load_config().store_path == home / "work" / "sub" / "runs.sqlite"
    code = Config(store=StoreSettings(path=Path("here.sqlite")))
    assert code.store_path == home / "work" / "sub" / "here.sqlite"


def test_explicit_path_stands_for_all_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write('[run]\nexecutor = "user"\nobservers = ["mail"]\n')
    path = write('[run]\nexecutor = "mine"\n', home / "mine.toml")
    assert load_config("~/mine.toml").run == RunSettings(executor="mine")
    assert [(file.path, file.kind) for file in load_config(path).files] == [(path, "given")]
    monkeypatch.setenv("REFLOW_RUN_EXECUTOR", "env")
    assert load_config(path).run == RunSettings(executor="env")


# The project's file


def test_project_file_is_the_nearest(home: Path) -> None:
    top = write('[run]\nexecutor = "top"\n', home / "reflow.toml")
    assert load_config().origin("run", "executor").file == top
    shared = home / "work" / "pyproject.toml"
    write('[project]\nname = "x"\n[tool.other]\nreflow = 1\n', shared)
    assert load_config().run.executor == "top"
    write('[tool]\nother = "reflow"\n', shared)
    assert load_config().run.executor == "top"
    write('x = 1\n[tool.reflow.run]\nexecutor = "near"\n', shared)
    assert load_config().run.executor == "near"
    assert str(load_config().origin("run", "executor")) == f"{shared}:3"
    write("tool = { reflow = { run = { executor = 'inline' } } }\n", shared)
    assert load_config().run.executor == "inline"
    write('[run]\nexecutor = "own"\n', home / "work" / "reflow.toml")
    assert load_config().run.executor == "own"


def test_foreign_pyproject_is_left_alone(home: Path) -> None:
    write("this is [ no TOML\n", home / "work" / "pyproject.toml")
    assert load_config() == Config()
    write("[tool.reflow\n", home / "work" / "pyproject.toml")
    assert "pyproject.toml:1: not valid TOML" in problem()
    write("[tool]\nreflow = 3\n", home / "work" / "pyproject.toml")
    assert "pyproject.toml:2: tool.reflow = 3: must be a table" in problem()


def test_nothing_above_home_is_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write('[run]\nexecutor = "above"\n', home / "reflow.toml")
    monkeypatch.setenv("HOME", str(home / "work"))
    assert load_config().run.executor == "local"
    monkeypatch.setenv("HOME", str(home / "work" / "other"))
    assert load_config().run.executor == "above"


def test_strangers_file_in_a_public_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write('[executor.slurm]\nsbatch = "/tmp/evil"\n', home / "work" / "reflow.toml")
    if os.getuid() == 0:
        os.chown(path, 12345, 12345)
    else:
        monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert load_config().executor == {"slurm": {"sbatch": "/tmp/evil"}}
    path.parent.chmod(0o1777)
    config = load_config()
    assert config.executor == {}
    assert [file.state for file in config.files if file.path == path] == ["ignored"]


def test_deleted_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = home / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    write('[run]\nexecutor = "pbs"\n')
    assert load_config().run.executor == "pbs"


# Precedence

LAYERS = ["site2", "site", "user", "project", "site profile", "user profile", "project profile",
          "environment"]  # fmt: skip


def fill(home: Path, monkeypatch: pytest.MonkeyPatch, layers: list[str]) -> None:
    places = {
        "site2": home / "site2" / "reflow" / "config.toml",
        "site": home / "site" / "reflow" / "config.toml",
        "user": config_path(),
        "project": home / "work" / "reflow.toml",
    }
    texts: dict[Path, str] = {}
    for layer in layers:
        if layer == "environment":
            monkeypatch.setenv("REFLOW_RUN_EXECUTOR", layer)
            monkeypatch.setenv("REFLOW_PLUGINS_PIN", f"same={layer},environment=yes")
            monkeypatch.setenv("REFLOW_EXECUTOR_SLURM_SBATCH", layer)
            continue
        file, _, profile = layer.partition(" ")
        table = "profile.big." if profile else ""
        place = places[file]
        texts[place] = texts.get(place, "") + (
            f'[{table}run]\nexecutor = "{layer}"\n'
            f'[{table}plugins.pin]\nsame = "{layer}"\n"{layer}" = "yes"\n'
            f'[{table}executor.slurm]\nsbatch = "{layer}"\n'
        )
    for place, text in texts.items():
        write(text, place)
    monkeypatch.setenv(
        "REFLOW_PROFILE", "big" if any("profile" in layer for layer in layers) else ""
    )


@pytest.mark.parametrize(
    ("low", "high"),
    [(low, high) for at, low in enumerate(LAYERS) for high in LAYERS[at + 1 :]],
)
def test_precedence(low: str, high: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(home, monkeypatch, [low, high])
    config = load_config()
    assert config.run.executor == high
    assert config.plugins.pin == {"same": high, low: "yes", high: "yes"}
    assert executor_from("slurm", config).sbatch == high  # type: ignore[attr-defined]
    origin = config.origin("run", "executor")
    if high == "environment":
        assert str(origin) == "REFLOW_RUN_EXECUTOR"
    else:
        assert origin.kind == "file"
        assert origin.profile == ("big" if "profile" in high else None)
        assert origin.file is not None
        assert origin.file.read_text().splitlines()[(origin.line or 0) - 1].endswith(f'"{high}"')


def test_code_beats_all(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(home, monkeypatch, LAYERS)
    config = load_config()
    executor = reflow.LocalExecutor(max_workers=3)
    assert executor_from(executor, config) is executor
    config = Config(run=RunSettings(executor="pbs"), executor={"slurm": {"sbatch": "mine"}})
    assert reflow.Workflow("w", config=config).config is config
    assert executor_from("slurm", config).sbatch == "mine"  # type: ignore[attr-defined]
    assert str(config.origin("run", "executor")) == "code"
    assert str(config.origin("executor", "slurm", "sbatch")) == "code"
    assert str(config.origin("run", "observers")) == "default"


def test_path_and_url_replace_each_other(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write('[store]\npath = "/site.sqlite"\n', home / "site" / "reflow" / "config.toml")
    write('[store]\nurl = "other://host/name"\n')
    assert load_config().store == StoreSettings(url="other://host/name")
    assert load_config().store_location == "other://host/name"
    monkeypatch.setenv("REFLOW_STORE_PATH", "/env.sqlite")
    assert load_config().store_location == "/env.sqlite"
    monkeypatch.setenv("REFLOW_STORE_URL", "other://host/name")
    assert "REFLOW_STORE_PATH: [store]: path and url are both given" in problem()


def test_lists_replace_and_empty_tables_change_nothing(home: Path) -> None:
    write('[run]\nobservers = ["a", "b"]\n[executor.slurm]\nsbatch = "x"\n'
          '[executor.pbs]\nqsub = { a = 1 }\n[executor.lsf]\nbsub = "y"\n')  # fmt: skip
    write('[run]\nobservers = ["c"]\n[executor.slurm]\n[executor.pbs]\nqsub = "q"\n'
          "[executor.lsf]\nbsub = { b = 2 }\n", home / "reflow.toml")  # fmt: skip
    config = load_config()
    assert config.run.observers == ("c",)
    assert config.executor == {
        "slurm": {"sbatch": "x"}, "pbs": {"qsub": "q"}, "lsf": {"bsub": {"b": 2}}
    }  # fmt: skip


# Profiles


def test_profiles(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write('[run]\nexecutor = "a"\n[profile.big.run]\nexecutor = "b"\n[profile.empty]\n')
    write('[profile."odd name".store]\npath = "odd"\n', home / "reflow.toml")
    assert load_config().run.executor == "a"
    assert load_config(profile="big").run.executor == "b"
    assert load_config(profile="big").profile == "big"
    assert load_config(profile="empty").run.executor == "a"
    assert load_config(profile="odd name").store_path == home / "odd"
    monkeypatch.setenv("REFLOW_PROFILE", "big")
    assert load_config().run.executor == "b"
    assert load_config(profile="").run.executor == "a"
    assert load_config(profile="empty").run.executor == "a"


def test_unknown_profile(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no profile named 'big' (profiles: none;" in problem(profile="big")
    path = write("[profile.big.run]\n[profile.small.run]\n")
    message = problem(profile="bgi")
    assert f"no profile named 'bgi': did you mean 'big'? (profiles: big in {path}, small" in message
    monkeypatch.setenv("REFLOW_PROFILE", "bgi")
    assert problem().startswith("REFLOW_PROFILE: no profile named 'bgi'")


# Error messages


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[run\n", ":1: not valid TOML: "),
        ("\n\n[run]\nexecutor = \n", ":4: not valid TOML: "),
        ("[run]\nexecutor = 'a'\nexecutor = 'b'\n", ":3: not valid TOML: "),
        ("x = " + "[" * 100_000, "not valid TOML: "),
        ("x = " + "9" * 10_000, "not valid TOML: "),
        ("[run]\n[rnu]\n", ":2: unknown table 'rnu': did you mean 'run'? "
                           "(tables: executor, plugins, profile, run, store)"),
        ("\n[run]\nexecuter = 'x'\n", ":3: unknown key 'run.executer': did you mean 'executor'? "
                                      "(keys: executor, files, observers)"),
        ("run.executer = 'x'\n", ":1: unknown key 'run.executer'"),
        ("run = { executor = 'x',  'executer' = 'x' }\n", ":1: unknown key 'run.executer'"),
        ('[run]\n"odd key" = 1\n', ":2: unknown key 'run.\"odd key\"'"),
        ("[run]\nexecutor = 3\n", ":2: run.executor = 3: expected str, got int 3"),
        ("[run]\nobservers = 'mail'\n", ":2: run.observers = 'mail': expected tuple[str, ...]"),
        ("[run]\nobservers = ['a',\n 3]\n", ":2: run.observers = ['a', 3]: "),
        ("[run.executor]\nname = 'x'\n", ":2: run.executor = {'name': 'x'}: expected str"),
        ("[store]\npath = true\n", ":2: store.path = True: expected"),
        ("[store]\npath = '~nobody-of-that-name/x'\n", ":2: store.path = "),
        ("[store]\npath = 'other://x/y'\n", ":2: store.path = 'other://x/y': this is a URL"),
        ("[store]\nurl = '/a/path'\n", ":2: store.url = '/a/path': not a URL"),
        ("[store]\npath = '/x'\nurl = 'o://x'\n", "[store]: path and url are both given"),
        ("[plugins.pin]\nnpy = 1\n", ":2: plugins.pin = {'npy': 1}: "),
        ("run = 'local'\n", ":1: run = 'local': must be a table, [run], not str"),
        ("executor = 'slurm'\n", ":1: executor = 'slurm': must be a table, [executor], not str; "
                                 "the key 'executor' belongs in [run]"),
        ("observers = []\n", ":1: unknown key 'observers': it belongs in [run]"),
        ("[run]\npath = 'x'\n", ":2: unknown key 'run.path': it belongs in [store]"),
        ("[executor]\nslurm = 3\n", ":2: executor.slurm = 3: must be a table, [executor.slurm]"),
        ("profile = 'big'\n", ":1: profile = 'big': must be a table, [profile], not str; choose"),
        ("[profile]\nbig = 1\n", ":2: profile.big = 1: must be a table"),
        ("[profile.big.rnu]\n", ":1: unknown table 'profile.big.rnu': did you mean 'run'? "
                                "(tables: executor, plugins, run, store)"),
        ("[profile.big.run]\nexecuter = 1\n", ":2: unknown key 'profile.big.run.executer'"),
        ("[profile.a.profile.b.run]\n", ":1: unknown table 'profile.a.profile'"),
    ],
)  # fmt: skip
def test_bad(text: str, message: str) -> None:
    path = write(text)
    error = problem()
    assert error.startswith(str(path))
    assert message in error
    assert error.count("\n") == 0


def test_bad_with_bom_and_windows_line_ends() -> None:
    config_path().parent.mkdir(parents=True)
    config_path().write_bytes(b'\xef\xbb\xbf# x\r\n[run]\r\nexecutor = "a"\r\nx = 1\r\n')
    assert f"{config_path()}:4: unknown key 'run.x'" in problem()
    config_path().write_bytes(b'\xef\xbb\xbf# x\r\n[run]\r\nexecutor = "a"\r\n')
    assert load_config().run.executor == "a"


def test_all_problems_at_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = write('[run]\nexecutor = 3\nx = 1\n[profile.big.store]\nurl = "x"\n')
    project = write("[sotre]\n", home / "work" / "reflow.toml")
    write("[run\n", home / "site" / "reflow" / "config.toml")
    monkeypatch.setenv("REFLOW_RUN_OBSERVERS", "fine")
    lines = problem(profile="bgi").splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        f"{home / 'site' / 'reflow' / 'config.toml'}:1",
        f"{user}:2", f"{user}:3", f"{user}:5", f"{project}:1", "no profile named 'bgi'",
    ]  # fmt: skip


def test_unreadable(home: Path) -> None:
    assert "no configuration file" in problem(home / "gone.toml")
    assert "it is a folder" in problem(home)
    (home / "reflow.toml").mkdir()
    assert f"cannot read {home / 'reflow.toml'}: it is a folder" in problem()
    (home / "reflow.toml").rmdir()
    config_path().parent.mkdir(parents=True)
    config_path().write_bytes(b'[run]\nexecutor = "\xff"\n')
    assert f"{config_path()}:2: not UTF-8 text" in problem()


def test_permission_denied(home: Path) -> None:
    path = write("[run]\n")
    path.chmod(0)
    # Root may read everything, so another user reads here.
    code = (
        "import os, sys\n"
        "from reflow import ConfigError, load_config\n"
        "import reflow.config.loading, reflow.errors\n"
        "if os.getuid() == 0: os.setgroups([]); os.setgid(12345); os.setuid(12345)\n"
        "try: load_config(sys.argv[1])\n"
        "except ConfigError as error: print(error)"
    )
    for folder in [path.parent, *path.parents]:
        if folder != Path(folder.anchor) and os.stat(folder).st_uid == os.getuid():
            folder.chmod(folder.stat().st_mode | 0o755)
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == f"cannot read {path}: Permission denied", done.stderr


# The environment


class Colour(Enum):
    RED = 1


@attrs.frozen(kw_only=True)
class Inner:
    depth: int = 1


@attrs.frozen(kw_only=True)
class Own:
    """An executor's settings, with a field of every kind."""

    name: ClassVar[str] = "own"

    flag: bool = False
    count: int | None = attrs.field(default=None, validator=attrs.validators.optional(
        attrs.validators.ge(1)))  # fmt: skip
    share: float = 0.5
    words: tuple[str, ...] = ()
    numbers: frozenset[int] = frozenset()
    folder: Path | None = None
    options: Mapping[str, str] = attrs.field(factory=dict)
    memory: int = attrs.field(default=1024, converter=parse_memory)
    mode: Literal["a", "b"] = "a"
    colour: Colour = Colour.RED
    either: str | int = 0
    inner: Inner = Inner()
    text: str = ""
    _hidden: str = ""


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("FLAG", "true", Own(flag=True)),
        ("FLAG", "1", Own(flag=True)),
        ("FLAG", "False", Own()),
        ("FLAG", "", Own()),
        ("COUNT", "7", Own(count=7)),
        ("SHARE", "0.25", Own(share=0.25)),
        ("SHARE", "2", Own(share=2.0)),
        ("WORDS", "a, b,,c", Own(words=("a", "b", "c"))),
        ("WORDS", "", Own(words=())),
        ("NUMBERS", "1,2", Own(numbers=frozenset({1, 2}))),
        ("OPTIONS", "a=1,b = x=y", Own(options={"a": "1", "b": "x=y"})),
        ("MEMORY", "8G", Own(memory="8G")),
        ("MODE", "b", Own(mode="b")),
        ("COLOUR", "RED", Own(colour=Colour.RED)),
        ("EITHER", "12", Own(either=12)),
        ("EITHER", "12h", Own(either="12h")),
        ("INNER_DEPTH", "3", Own(inner=Inner(depth=3))),
        ("TEXT", "007", Own(text="007")),
        ("HIDDEN", "x", Own(hidden="x")),
    ],
)
def test_variables_by_type(
    variable: str, text: str, expected: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"REFLOW_EXECUTOR_OWN_{variable}", text)
    settings = load_config().executor_settings("own", Own)
    assert settings == expected
    assert type(getattr(settings, "either")) is type(expected.either)  # noqa: B009


def test_variable_path_counts_from_here(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFLOW_EXECUTOR_MY_CLUSTER_FOLDER", "x")
    settings = load_config().executor_settings("my-cluster", Own)
    assert settings.folder == home / "work" / "sub" / "x"
    write('[executor.my-cluster]\nfolder = "../y"\n')
    monkeypatch.delenv("REFLOW_EXECUTOR_MY_CLUSTER_FOLDER")
    assert load_config().executor_settings("my-cluster", Own).folder == home / "conf" / "y"


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("FLAG", "maybe", "own.flag = 'maybe': expected bool"),
        ("COUNT", "many", "own.count = 'many': expected int"),
        ("COUNT", "0", "own.count = 0: 'count' must be >= 1"),
        ("NUMBERS", "1,x", "own.numbers = [1, 'x']: "),
        ("OPTIONS", "a", "own.options = 'a': expected Mapping"),
        ("MEMORY", "8", "own.memory = '8': mem='8' has no unit"),
        ("MODE", "c", "own.mode = 'c': expected Literal['a', 'b']"),
        ("COLOUR", "GREEN", "own.colour = 'GREEN': "),
        ("INNER_DEPTH", "x", "own.inner.depth = 'x': expected int"),
    ],
)
def test_bad_variables(
    variable: str, text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"REFLOW_EXECUTOR_OWN_{variable}", text)
    with pytest.raises(ConfigError) as caught:
        load_config().executor_settings("own", Own)
    assert f"REFLOW_EXECUTOR_OWN_{variable}: executor.{message}" in str(caught.value)


def test_variables_of_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    write('[plugins]\nenabled = ["x"]\n[run]\nobservers = ["x"]\n')
    monkeypatch.setenv("REFLOW_PLUGINS", "a,b")
    monkeypatch.setenv("REFLOW_RUN_OBSERVERS", "")
    config = load_config()
    assert config.plugins == PluginSettings(enabled=("a", "b"))
    assert config.run.observers == ()
    monkeypatch.setenv("REFLOW_STORE_URL", "no-url")
    assert problem().startswith("REFLOW_STORE_URL: store.url = 'no-url': not a URL")


# Executors' tables


def test_executor_table_is_checked_when_used() -> None:
    path = write('[executor.slurm]\nsbatc = "x"\nmax_array_size = "many"\n'
                 "[executor.not-installed-here]\nanything = 1\n")  # fmt: skip
    config = load_config()
    with pytest.raises(ConfigError) as caught:
        executor_from("slurm", config)
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"{path}:2: unknown key 'executor.slurm.sbatc': did you mean 'sbatch'?")
    assert second.startswith(f"{path}:3: executor.slurm.max_array_size = 'many': expected int")
    assert executor_from("local", config) == reflow.LocalExecutor()


@attrs.frozen(kw_only=True)
class Needy:
    queue: str
    inner: Inner = Inner()

    def __attrs_post_init__(self) -> None:
        if self.queue == "closed":
            raise KeyError("closed")


def test_executor_table_with_required_and_inner_keys() -> None:
    with pytest.raises(ConfigError, match=r"^\[executor.needy\]: key 'queue' is required$"):
        Config().executor_settings("needy", Needy)
    path = write('[executor.needy]\nqueue = "x"\ninner.depth = 2\n')
    settings = load_config().executor_settings("needy", Needy)
    assert settings == Needy(queue="x", inner=Inner(depth=2))
    write('[executor.needy]\nqueue = "x"\n[executor.needy.inner]\n')
    assert load_config().executor_settings("needy", Needy) == Needy(queue="x")
    write('[executor.needy]\nqueue = "closed"\ninner = 3\n')
    with pytest.raises(ConfigError, match=f"{path}:3: executor.needy.inner = 3: must be a table"):
        load_config().executor_settings("needy", Needy)
    write('[executor.needy]\nqueue = "closed"\n')
    with pytest.raises(ConfigError, match=f"{path}:2: executor.needy.queue = 'closed': closed"):
        load_config().executor_settings("needy", Needy)
    with pytest.raises(ConfigError, match=r"\[executor.x\]: int has no settings"):
        Config(executor={"x": {"a": 1}}).executor_settings("x", int)


# Lines of keys

names = st.one_of(
    st.from_regex(r"[A-Za-z0-9_-]{1,6}", fullmatch=True), st.text("ab. #[]='{}\"\t\\é", max_size=5)
)
scalars = st.one_of(
    st.integers(), st.booleans(), st.floats(allow_nan=False), st.dates(), st.datetimes(),
    st.text("ab#[]={}\n'\"\\, é", max_size=12),
)  # fmt: skip
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)
)


class Writer:
    """Writes TOML in all its forms and notes the line of each key."""

    def __init__(self, draw: Callable[..., object]) -> None:
        self.draw, self.text = draw, ""
        self.lines: dict[tuple[str, ...], int] = {}

    def noise(self) -> None:
        forms = ["", "\n", "# x = [1\n", "\r\n", "  \n# [a]\n"]
        self.text += str(self.draw(st.sampled_from(forms)))

    def name(self, name: str, at: tuple[str, ...]) -> str:
        if name and all(char.isascii() and (char.isalnum() or char in "-_") for char in name):
            forms = [name, f'"{name}"', f"'{name}'"]
        else:
            forms = [str(toml_text(name))] + ([f"'{name}'"] if "'" not in name else [])
        form = str(self.draw(st.sampled_from(forms)))
        self.lines.setdefault((*at, name), self.text.count("\n") + 1)
        return form

    def value(self, value: object, at: tuple[str, ...]) -> None:
        if isinstance(value, dict):
            self.text += "{"
            for number, (name, element) in enumerate(value.items()):
                self.text += ", " if number else " "
                self.text += self.name(name, at) + " = "
                self.value(element, (*at, name))
            self.text += " }"
        elif isinstance(value, list):
            lines_before = dict(self.lines)
            self.text += "["
            for element in value:
                self.noise()
                self.value(element, (*at, "?"))
                self.text += ","
            self.text += "]"
            self.lines = lines_before  # Keys inside arrays have no single line.
        elif isinstance(value, str) and "\\" not in value and self.draw(st.booleans()):
            quotes = "'''" if "'" not in value else '"""' if '"' not in value else ""
            self.text += f"{quotes}\n{value}{quotes}" if quotes else str(toml_text(value))
        else:
            self.text += str(toml_text(value))

    def pairs(self, table: dict[str, object], at: tuple[str, ...]) -> None:
        for name, value in table.items():
            self.noise()
            self.text += self.name(name, at) + " ="
            self.value(value, (*at, name))
            self.text += "\n"


@given(st.data(), st.dictionaries(names, values, max_size=3),
       st.dictionaries(names, st.dictionaries(names, values, max_size=3), max_size=3))  # fmt: skip
def test_key_lines(data: st.DataObject, top: dict[str, object], tables: dict[str, object]) -> None:
    writer = Writer(data.draw)
    writer.pairs(top, ())
    for name, table in tables.items():
        assert isinstance(table, dict)
        if name in top:
            continue
        writer.noise()
        deeper = data.draw(st.sampled_from([(), ("inner",)]))
        line = writer.text.count("\n") + 1
        writer.text += f"[ {'.'.join([writer.name(name, ()), *deeper])} ]\n"
        for end in range(len(deeper)):
            writer.lines.setdefault((name, *deeper[: end + 1]), line)
        writer.pairs(table, (name, *deeper))
    tomllib.loads(writer.text)
    lines = key_lines(writer.text)
    escaped = {key for key in writer.lines for part in key if str(toml_text(part))[1:-1] != part}
    assert {**writer.lines, **lines} == writer.lines
    assert set(writer.lines) - set(lines) <= escaped


@given(st.text("ab.=[]{}'\"#\n\\, 1", max_size=40))
def test_key_lines_of_anything(text: str) -> None:
    lines = key_lines(text)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())


def test_key_lines_of_arrays_of_tables() -> None:
    text = '[[a]]\nx = 1\n[[a]]\nx = 2\n[a.b]\ny = 1\n[c]\nx = """"a\n[d]"""\n[e]\nf.g = 1\n'
    assert key_lines(text) == {
        ("a",): 1, ("c",): 7, ("c", "x"): 8, ("e",): 10, ("e", "f"): 11, ("e", "f", "g"): 11,
    }  # fmt: skip


# The template


def uncommented(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert all(line.startswith(("#", "[")) or not line for line in lines)
    path.write_text("\n".join(
        line[1:] if line.startswith("#") and not line.startswith("# ") else line for line in lines
    ))  # fmt: skip


def test_template_changes_nothing_and_is_valid_when_uncommented(home: Path) -> None:
    path = write_example_config()
    assert path == config_path()
    config = load_config()
    assert (config.run, config.store, config.plugins) == (
        RunSettings(), StoreSettings(), PluginSettings()
    )  # fmt: skip
    assert executor_from("slurm", config) == reflow.SlurmExecutor()
    uncommented(path)
    config = load_config(profile="big")
    assert config.run.executor == "slurm"
    assert load_config().run == RunSettings(observers=("mail",))
    assert load_config().store_path == home / ".local" / "state" / "reflow" / "reflow.sqlite"
    assert sorted(config.executor) == ["flux", "local", "lsf", "pbs", "sge", "slurm"]
    assert executor_from("slurm", config) == reflow.SlurmExecutor()
    assert executor_from("local", config) == reflow.LocalExecutor(max_workers=4)


def test_template_has_every_key_with_type_and_default() -> None:
    text = write_example_config().read_text()
    for cls in (RunSettings, StoreSettings, PluginSettings, reflow.SlurmExecutor):
        for field in attrs.fields(cls):
            assert f"{field.name} = " in text
            assert " ".join(field.metadata.get("help", "").split()) in " ".join(
                line.removeprefix("# ") for line in text.splitlines()
            )
    prose = " ".join(line.removeprefix("# ") for line in text.splitlines())
    assert '(text, default "local"; REFLOW_RUN_EXECUTOR)' in prose


def test_ensure_config_exists_never_overwrites() -> None:
    path = ensure_config_exists()
    assert path == config_path()
    path.write_text('[run]\nexecutor = "pbs"\n')
    assert ensure_config_exists() == path
    assert load_config().run.executor == "pbs"
    with pytest.raises(ConfigError, match="exists already; overwrite it: reflow config init"):
        write_example_config()
    assert load_config().run.executor == "pbs"


def test_overwrite_keeps_mode_and_link(home: Path) -> None:
    real = write("[run]\n", home / "dotfiles" / "reflow.toml")
    real.chmod(0o640)
    config_path().parent.mkdir(parents=True)
    config_path().symlink_to(real)
    assert write_example_config(overwrite=True) == config_path()
    assert config_path().is_symlink()
    assert "[executor.slurm]" in real.read_text()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert os.listdir(real.parent) == ["reflow.toml"]


def test_new_file_has_the_usual_mode(home: Path) -> None:
    before = os.umask(0o027)
    try:
        path = write_example_config(home / "new" / "site.toml")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_cannot_write(home: Path) -> None:
    (home / "conf").write_text("a file where the folder should be")
    for make in (ensure_config_exists, write_example_config):
        with pytest.raises(ConfigError, match="cannot write"):
            make()
    (home / "folder").mkdir()
    with pytest.raises(ConfigError, match="it exists and is not a file"):
        write_example_config(home / "folder")
    with pytest.raises(ConfigError, match="cannot write"):
        write_example_config(home / "folder", overwrite=True)
    assert os.listdir(home / "folder") == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_full_disk_leaves_the_old_file(home: Path, overwrite: bool) -> None:
    path = home / "full" / "config.toml"
    path.parent.mkdir()
    if overwrite:
        path.write_text("[run]\n")
    code = (
        "import resource, sys\n"
        "from reflow import ConfigError, write_example_config\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        f"try: write_example_config(sys.argv[1], overwrite={overwrite})\n"
        "except ConfigError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert f"cannot write {path}: File too large" in done.stdout, done.stderr
    assert os.listdir(path.parent) == (["config.toml"] if overwrite else [])
    assert not overwrite or path.read_text() == "[run]\n"


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(ConfigError, match="there is no home folder"):
        ensure_config_exists()
    assert load_config().run == RunSettings()


# The reference page


def test_reference_page_is_fresh() -> None:
    written = runpy.run_path(str(ROOT / "tools" / "config_reference.py"))
    page = ROOT / "docs" / "reference" / "configuration.md"
    text = page.read_text(encoding="utf-8")
    assert written["with_keys"](text) == text, "run: make config-reference"
    assert "`REFLOW_EXECUTOR_SLURM_SBATCH`" in text
