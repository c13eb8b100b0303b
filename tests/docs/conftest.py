"""Runs the blocks of a page of the documentation as a reader would, in order, in one folder.

What a fence says of its block:

* ``python title="name.py"``, ``toml title="name.toml"`` and the like: a file of that name (``~`` is
  the reader's home). Python must load, but is not run for that; toml and json must be well formed.
* ``python``: a script of its own, run.
* ``sh``: a script, run with ``bash -e``.
* ``console``: commands after ``$ ``, each with the output that follows. Every line that is shown
  must come, in that order; others may come between. ``…`` stands for anything, the blanks between
  words and dates do not count, and run ids are other ones each time: the id in a later command is
  translated. A command may fail only where ``$ echo $?`` follows it.
* ``text``, ``mermaid``: for the reader alone.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
READ_ONLY = ("text", "mermaid")
RUN_ID = re.compile(r"\b[A-Za-z_][\w.-]*-20\d{6}-[0-9a-z]{10}\b")
MOMENT = re.compile(r"20\d\d-\d\d-\d\d(T[\d:.]+(\+\d\d:\d\d)?)?")
FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>```+)(?P<info>[^\n]*)\n(?P<text>.*?)^(?P=indent)(?P=fence) *$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file it is (if any), its text and its place."""

    language: str
    title: str | None
    text: str
    place: str


def blocks_of(text: str, name: str) -> list[Block]:
    """Return the fenced blocks of a page's text."""
    blocks = []
    for match in FENCE.finditer(text):
        language, _, options = match["info"].strip().partition(" ")
        title = re.search(r'title="([^"]+)"', options)
        place = f"{name}:{text.count(chr(10), 0, match.start()) + 1}"
        body = textwrap.dedent(match["text"])
        blocks.append(Block(language, title[1] if title else None, body, place))
    return blocks


@dataclass
class Reader:
    """A user with a fresh home and a checkout who does what a page says."""

    home: Path
    ids: dict[str, str] = field(default_factory=dict)
    """Run ids as the page has them, and as they came out."""
    outputs: dict[str, str] = field(default_factory=dict)
    """What the commands of the page printed."""
    _ran: int = 0

    def __post_init__(self) -> None:
        self.folder = self.home / "work"
        self.folder.mkdir(parents=True)
        for source in ROOT.glob("reflow-*"):
            (self.folder / source.name).symlink_to(source)
        site = self.home / "site"
        keep = {key: os.environ[key] for key in ("LANG", "TMPDIR") if key in os.environ}
        # `pip install ./folder` builds for real, and installs into a folder of this reader.
        self.environment = keep | {
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "XDG_STATE_HOME": str(self.home / ".local/state"),
            "XDG_CONFIG_DIRS": str(self.home / "etc/xdg"),
            "PATH": os.pathsep.join(
                [str(site / "bin"), str(Path(sys.executable).parent), "/usr/bin", "/bin"]
            ),
            "PYTHONPATH": str(site),
            "PYTHONDONTWRITEBYTECODE": "1",
            "COLUMNS": "100",
            "PIP_TARGET": str(site),
            "PIP_UPGRADE": "1",
            "PIP_NO_DEPS": "1",
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # in pip's logic 0 switches the isolation off
            "PIP_QUIET": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    def path(self, title: str) -> Path:
        """Return the path of the file with that title."""
        if title.startswith("~/"):
            return self.home / title[2:]
        return self.folder / title

    def read(self, block: Block) -> None:
        """Do what one block says; an AssertionError says what differed."""
        language = block.language
        assert language, f"{block.place}: say what this block is, ```text for one that is not run"
        if language in READ_ONLY:
            return
        if language == "toml":
            tomllib.loads(block.text)
        elif language == "json":
            json.loads(block.text)
        if block.title is not None:
            self._write(block)
        elif language == "python":
            self._ran += 1
            script = self.folder / f"block_{self._ran}.py"
            script.write_text(block.text)
            self._succeed(block, [sys.executable, script.name])
        elif language == "sh":
            self._succeed(block, ["bash", "-e", "-c", block.text])
        elif language == "console":
            self._converse(block)
        else:
            assert language in ("toml", "json"), f"{block.place}: cannot run {language!r}"

    def _write(self, block: Block) -> None:
        assert block.title is not None
        path = self.path(block.title)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
        # Modules of a distribution are loaded when it is installed and used.
        if path.suffix == ".py" and not self._within_distribution(path):
            code = f"import runpy; runpy.run_path({str(path)!r}, run_name='page')"
            self._succeed(block, [sys.executable, "-c", code])

    def _within_distribution(self, path: Path) -> bool:
        folders = path.relative_to(self.folder).parents
        return any(
            (self.folder / parent / "pyproject.toml").exists() for parent in list(folders)[:-1]
        )

    def _run(self, command: list[str]) -> tuple[int, str]:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    def _succeed(self, block: Block, command: list[str]) -> None:
        code, output = self._run(command)
        assert code == 0, f"{block.place}: exit code {code}\n{output}"

    def _converse(self, block: Block) -> None:
        exchanges: list[tuple[str, list[str]]] = []
        for line in block.text.splitlines():
            if line.startswith("$ "):
                exchanges.append((line[2:], []))
            else:
                assert exchanges, f"{block.place}: console blocks begin with a command, `$ …`"
                exchanges[-1][1].append(line)
        code = 0
        for number, (command, shown) in enumerate(exchanges):
            place = f"{block.place}: $ {command}"
            code, output = self._command(command, code)
            self.outputs[command] = output
            later = exchanges[number + 1][0] if number + 1 < len(exchanges) else ""
            assert code == 0 or later == "echo $?", f"{place}\nexit code {code}\n{output}"
            self._compare(shown, output, place)

    def _command(self, command: str, before: int) -> tuple[int, str]:
        """Run a command after one that ended with code `before`; variables and folder stay."""
        def now(match: re.Match[str]) -> str:
            assert match[0] in self.ids, f"{command}: no output has shown {match[0]} yet"
            return self.ids[match[0]]

        state = self.home / "shell"
        script = (
            f"[ ! -e {state} ] || . {state}\n(exit {before})\n{RUN_ID.sub(now, command)}\ncode=$?\n"
            f"{{ export -p; echo cd $(printf %q \"$PWD\"); }} > {state}\nexit $code"
        )
        return self._run(["bash", "-c", script])

    def _compare(self, shown: list[str], output: str, place: str) -> None:
        lines = iter([" ".join(line.split()) for line in output.splitlines()])
        for line in shown:
            words = " ".join(line.split())
            if words in ("", "…"):
                continue
            pattern, names = self._pattern(words)
            for come in lines:
                match = re.fullmatch(pattern, come)
                if match is not None:
                    self.ids.update(zip(names, match.groups(), strict=True))
                    break
            else:
                raise AssertionError(f"{place}\nno line (from here on) {line!r} in\n{output}")

    def _pattern(self, words: str) -> tuple[str, list[str]]:
        names = []

        def replaced(match: re.Match[str]) -> str:
            text = match[0]
            if RUN_ID.fullmatch(text) is None:
                return r"20\S+" if MOMENT.fullmatch(text) else ".*"
            if text in self.ids:
                return re.escape(self.ids[text])
            names.append(text)
            return "(" + re.escape(text[: text.index("-20")]) + r"-20\d{6}-[0-9a-z]{10})"

        special = re.compile(f"{RUN_ID.pattern}|{MOMENT.pattern}|…")
        pieces, end = [], 0
        for match in special.finditer(words):
            pieces += [re.escape(words[end : match.start()]), replaced(match)]
            end = match.end()
        return "".join([*pieces, re.escape(words[end:])]), names


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """A reader with a fresh home."""
    return Reader(tmp_path / "home")


@pytest.fixture(scope="session")
def blocks() -> Callable[[str, str], list[Block]]:
    """Split a page's text into its blocks: `blocks(text, name)`."""
    return blocks_of
