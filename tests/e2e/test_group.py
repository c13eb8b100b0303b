"""Two users of one group share a store and its results, by permission, whatever their umask."""

from __future__ import annotations

import fcntl
import grp
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import reflow

ROOT = Path(reflow.__file__).parents[1]
GROUP, USERS = "reflowteam", ("reflowann", "reflowbob")

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make two users of a group"),
    pytest.mark.skipif(shutil.which("useradd") is None, reason="needs useradd"),
    pytest.mark.xdist_group("group"),
]

SOURCE = """
import os, sys
from pathlib import Path
from typing import Annotated
from reflow import Result, RunDir, Workflow
wf = Workflow("team")

def ran(what):
    with open(os.environ["RAN"], "a") as file:
        print(what, file=file)

@wf.job()
def numbers() -> list[int]:
    ran("numbers")
    return [1, 2, 3]

@wf.job(array=True)
def large(x: Annotated[int, Result(step="numbers")]) -> str:
    ran("large")
    return str(x) * 100_000

@wf.job(serializer="pickle")
def pickled(xs: Annotated[list[str], Result(step="large")]) -> object:
    ran("pickled")
    return {len(x) for x in xs}

@wf.job()
def written(n: int = 1) -> Path:
    ran("written")
    path = Path(os.environ["OUT"])
    path.write_text("here")
    path.chmod(int(os.environ["MODE"], 8))
    return path

if __name__ == "__main__":
    wf.cli()
"""


class Person(NamedTuple):
    """A user, who runs commands with a umask."""

    name: str
    folder: Path
    python: str

    @property
    def home(self) -> Path:
        return self.folder / f"home-{self.name}"

    def do(self, *words: str, umask: int = 0o077, code: int = 0, **more: str) -> str:
        entry = pwd.getpwnam(self.name)
        done = subprocess.run(
            [self.python, *words], cwd=self.home, user=entry.pw_uid, group=entry.pw_gid,
            extra_groups=[grp.getgrnam(GROUP).gr_gid], umask=umask, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=120, check=False,
            env={
                "HOME": str(self.home), "PATH": os.environ["PATH"], "RAN": str(self.home / "ran"),
                "PYTHONPATH": paths(), "OUT": str(self.folder / "team" / "out.txt"),
                "MODE": "640", "REFLOW_STORE_PATH": str(self.folder / "team" / "store.sqlite"),
                "PYTHONDONTWRITEBYTECODE": "1", **more,
            },
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout if code == 0 else done.stderr

    def run(self, where: str, **more: Any) -> dict[str, Any]:
        """Run the workflow in a folder of the team; return what `status` says."""
        self.do(str(self.folder / "flow.py"), "run", "--run-dir",
                str(self.folder / "team" / where), **more)  # fmt: skip
        status: dict[str, Any] = json.loads(self.reflow("status", "--last", "--json"))
        return status

    def reflow(self, *words: str, **more: Any) -> str:
        return self.do("-c", "from reflow.cli import main; main()", *words, **more)

    def ran(self) -> list[str]:
        """Return the tasks that ran since the last call."""
        file = self.home / "ran"
        lines = file.read_text().split() if file.exists() else []
        file.unlink(missing_ok=True)
        return sorted(set(lines))


def paths() -> str:
    return os.pathsep.join([str(ROOT), *(path for path in sys.path if path.endswith("-packages"))])


def usable_python(name: str) -> str:
    """Return a Python that a user can run reflow with, "" for none."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, shutil.which(version, path=os.defpath)):
        entry = pwd.getpwnam(name)
        try:
            done = subprocess.run(
                [python or "", "-c", "import attrs, cattrs, click, reflow.workflow"],
                user=entry.pw_uid, group=entry.pw_gid, extra_groups=[], cwd="/", check=False,
                capture_output=True, env={"PYTHONPATH": paths(), "PATH": os.defpath},
            )  # fmt: skip
        except OSError:
            continue
        if python and done.returncode == 0:
            return python
    return ""


@pytest.fixture(scope="module")
def accounts() -> Iterator[str]:
    """Two users and their group, while these tests run; return the Python that they can use.

    Tests of another checkout, which would have the same users, wait.
    """
    lock = open(Path(tempfile.gettempdir()) / f"{GROUP}.lock", "w")  # noqa: SIM115
    fcntl.flock(lock, fcntl.LOCK_EX)
    undo: list[list[str]] = []

    def make(*command: str, back: list[str]) -> None:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        undo.insert(0, back)
        if done.returncode not in (0, 9):  # 9: it is there already
            pytest.skip(f"cannot make the users: {done.stderr.strip()}")

    try:
        make("groupadd", "--system", "--force", GROUP, back=["groupdel", GROUP])
        for name in USERS:
            make("useradd", "--system", "--user-group", "--groups", GROUP, "--no-create-home", name,
                 back=["userdel", name])  # fmt: skip
        python = usable_python(USERS[0])
        if not python:
            pytest.skip("no Python that an ordinary user can run has what reflow needs")
        yield python
    finally:
        for command in undo:
            subprocess.run(command, check=False, capture_output=True)
        lock.close()


@pytest.fixture
def people(accounts: str) -> Iterator[list[Person]]:
    """Ann and Bob, and a folder `team` that their group may write to, with the setgid bit."""
    folder = Path(tempfile.mkdtemp(prefix="reflow-group-", dir="/var/tmp"))
    folder.chmod(0o755)
    (folder / "flow.py").write_text(SOURCE)
    (folder / "flow.py").chmod(0o644)  # whatever the umask of who runs the tests
    (folder / "team").mkdir()
    os.chown(folder / "team", 0, grp.getgrnam(GROUP).gr_gid)
    (folder / "team").chmod(0o2770)
    people = [Person(name, folder, accounts) for name in USERS]
    for person in people:
        person.home.mkdir()
        os.chown(person.home, pwd.getpwnam(person.name).pw_uid, pwd.getpwnam(person.name).pw_gid)
    yield people
    shutil.rmtree(folder)


def states(status: dict[str, Any]) -> dict[str, str]:
    return {task: "+".join(counts) for task, counts in status["summary"].items()}


def test_one_user_reuses_the_results_of_another(people: list[Person]) -> None:
    ann, bob = people
    assert set(states(ann.run("ann")).values()) == {"SUCCESS"}
    assert ann.ran() == ["large", "numbers", "pickled", "written"]
    status = bob.run("bob")
    assert bob.ran() == ["pickled"], "what another user has pickled is not read"
    assert states(status) == {
        "numbers": "CACHED", "large": "CACHED", "pickled": "SUCCESS", "written": "CACHED"
    }  # fmt: skip
    (note,) = status["notes"]
    assert "team/ann" in note
    assert "belong to the user 'reflowann', and reading a pickle runs code" in note
    # All files of the run that reused them belong to its own user.
    uid = pwd.getpwnam(bob.name).pw_uid
    folder = ann.folder / "team" / "bob"
    assert {path.lstat().st_uid for path in folder.rglob("*")} == {uid}
    assert states(bob.run("more", umask=0o022))["pickled"] == "CACHED"
    # The two users do not compute theirs again in turns.
    status = ann.run("again")
    assert (states(status)["pickled"], status["notes"]) == ("CACHED", [])
    # Each sees the other's runs, and the store takes both in turns.
    runs = json.loads(ann.reflow("runs", "--all", "--json"))
    assert {row["user_id"] for row in runs} == set(USERS)
    for run in runs:
        status = json.loads(ann.reflow("status", run["run_id"], "--json"))["run"]
        assert status["user_id"] == run["user_id"]
        ann.reflow("logs", run["run_id"])
    assert "nothing is wrong" in ann.reflow("store", "check")
    first = next(row["run_id"] for row in runs if row["user_id"] == ann.name)
    assert "Permission denied" in bob.reflow("retry", first, code=2)


def test_permissions_are_those_of_the_folder(people: list[Person]) -> None:
    ann, bob = people
    ann.run("deep/ann")
    bob.run("deep/bob")
    team, gid = ann.folder / "team", grp.getgrnam(GROUP).gr_gid
    for path in team.rglob("*"):
        stat = path.lstat()
        assert stat.st_gid == gid, path
        assert stat.st_mode & 0o007 == 0 or "-lease" in str(path), path
        common = path.name in ("deep", "ann", "bob", ".reflow")
        if ".reflow" in path.parts[:-1]:
            # A record belongs to its owner: whoever may write there can make the owner run code.
            expected = 0o050 if path.is_dir() or stat.st_mode & 0o100 else 0o040
        elif path.is_dir():
            expected = 0o070 if common else stat.st_mode & 0o070
        elif path.name == "out.txt":
            expected = 0o040
        else:
            expected = stat.st_mode & 0o070 | 0o040
        assert stat.st_mode & 0o070 == expected, (oct(stat.st_mode), path)
    assert (team / "store.sqlite").stat().st_mode & 0o777 == 0o660
    # Both may put runs into one run directory.
    assert set(states(bob.run("deep/ann")).values()) == {"CACHED"}


def test_other_folders_are_as_private_as_the_umask_says(people: list[Person]) -> None:
    ann = people[0]
    ann.home.joinpath("plain").mkdir(mode=0o775)
    os.chown(ann.home / "plain", pwd.getpwnam(ann.name).pw_uid, grp.getgrnam(GROUP).gr_gid)
    (ann.home / "plain").chmod(0o770)
    ann.do(str(ann.folder / "flow.py"), "run", "--run-dir", str(ann.home / "plain" / "run"))
    paths_below = list((ann.home / "plain" / "run").rglob("*"))
    assert len(paths_below) > 10
    assert {path.lstat().st_mode & 0o077 for path in paths_below} == {0}


def test_unreadable_results_are_computed_again_with_a_note(people: list[Person]) -> None:
    ann, bob = people
    ann.run("ann")
    private = ann.folder / "team" / "ann"
    private.chmod(0o2700)
    status = bob.run("bob")
    assert states(status) == {
        # A small value is in the store, which both may read.
        "numbers": "CACHED", "large": "SUCCESS", "pickled": "SUCCESS", "written": "CACHED"
    }  # fmt: skip
    assert sum("may not be read by this user" in note for note in status["notes"]) == 1
    assert str(private) in str(status["notes"])
    bob.reflow("runs", "--all")
    (own,) = [row for row in json.loads(bob.reflow("runs", "--all", "--json"))
              if row["user_id"] == ann.name]  # fmt: skip
    assert "Permission denied" in bob.reflow("status", own["run_id"], code=2)
    assert "1 run of other users left alone" in bob.reflow("store", "gc", "--older-than", "0s")
    assert "1 run of other users left" in bob.reflow("cache", "prune", "--older-than", "0s")


def test_results_with_unreadable_files_are_computed_again_with_a_note(people: list[Person]) -> None:
    ann, bob = people
    ann.run("ann", MODE="600")
    status = bob.run("bob", OUT=str(bob.home / "own.txt"))
    assert states(status)["written"] == "SUCCESS"
    assert "not all files that they name can be read" in str(status["notes"])


def test_killed_writer_does_not_lock_other_users_out(people: list[Person]) -> None:
    """Its lease is free because its process is dead, and its journal is rolled back."""
    ann, bob = people
    store = str(ann.folder / "team" / "store.sqlite")
    killed = (
        "import os, sys\nfrom reflow.storage.stores.sqlite.store import SqliteStore\n"
        "from reflow.testing.stores import TASKS, run_row\n"
        "store = SqliteStore(sys.argv[1])\n"
        "store.add_run(run_row('a-1'), TASKS)\n"
        "with store._file.writing() as connection:\n"
        "    connection.execute('PRAGMA cache_size = 1')\n"
        "    connection.execute('PRAGMA cache_spill = 1')\n"
        "    connection.executemany('INSERT INTO live VALUES (?)', ((n,) for n in range(99999)))\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    ann.do("-c", killed, store, code=-9)
    assert Path(f"{store}-journal").exists()
    listed = "import sys; from reflow.storage.stores.sqlite.store import SqliteStore as S; "
    listed += "s = S(sys.argv[1]); print(len(s.list_runs())); s.set_status('a-1', 'FAILED')"
    assert bob.do("-c", listed, store).strip() == "1"
    assert ann.do("-c", listed, store).strip() == "1"
