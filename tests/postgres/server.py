"""A PostgreSQL server for the tests, run by an ordinary user in a temporary folder."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

REQUIRED = "REFLOW_TEST_POSTGRES"
"""Where this is "required", as in continuous integration, a missing server is a failure."""

PASSWORD = "s3cret pass/word"


def programs() -> Path | None:
    """Return the folder of the server's programs, of the newest version that is installed."""
    initdb = shutil.which("initdb")
    if initdb:
        return Path(initdb).resolve().parent
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(folders, key=lambda path: int(path.parent.name), default=None)


class Server:
    """A server on a socket in `folder`; `start` and `stop` may come in any order."""

    def __init__(self, folder: Path, bin_folder: Path) -> None:
        self.folder = folder
        self._bin = bin_folder
        # The server refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name

    def make(self) -> None:
        """Create the server's files, with a user that has a password."""
        if os.geteuid() == 0:
            shutil.chown(self.folder, self._user)
        secret = self.folder / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run(
            "initdb", "-D", self.folder / "data", "-U", "owner", "--pwfile", secret, "-A",
            "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync",
        )  # fmt: skip
        with (self.folder / "data" / "postgresql.conf").open("a") as file:
            file.write(
                f"listen_addresses = ''\nunix_socket_directories = '{self.folder}'\n"
                "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n"
                "max_connections = 60\nshared_buffers = 64MB\n"
            )

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        self._run(
            "pg_ctl", "start", "-w", "-t", "60", "-D", self.folder / "data", "-l",
            self.folder / "log",
        )  # fmt: skip

    def stop(self) -> None:
        """Stop the server at once, as a crash of it would."""
        self._run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", self.folder / "data", code=None)

    def url(self, schema: str, user: str = "owner", password: str = "") -> str:
        """Return the URL of a store in a schema of the server's database."""
        who = f"{user}:{quote(password, safe='')}" if password else user
        return f"postgresql://{who}@/postgres?host={quote(str(self.folder))}&schema={quote(schema)}"

    def sql(self, text: str) -> str:
        """Carry out statements as the owner; return the first value of the last, as text."""
        with psycopg.connect(
            host=str(self.folder), user="owner", dbname="postgres", password=PASSWORD,
            autocommit=True,
        ) as connection:  # fmt: skip
            cursor = connection.execute(text)
            while cursor.nextset():
                pass
            row = cursor.fetchone() if cursor.description else None
        return str(row[0]) if row else ""

    def _run(self, program: str, *arguments: object, code: int | None = 0) -> None:
        words = [str(self._bin / program), *map(str, arguments)]
        if os.geteuid() == 0:
            words = ["setpriv", f"--reuid={self._user}", f"--regid={self._user}", "--init-groups",
                     *words]  # fmt: skip
        done = subprocess.run(
            words, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        assert code is None or done.returncode == code, f"{' '.join(words)}\n{done.stdout}"


def new_server() -> Server:
    """Create and start a server; skip the test, with the reason, if there is none."""
    bin_folder = programs()
    if bin_folder is None:
        missing = "no PostgreSQL server is installed here; try: tools/servers/postgres.sh"
        if os.environ.get(REQUIRED) == "required":
            pytest.fail(missing)
        pytest.skip(missing)
    # Not below pytest's own folder, which other users cannot enter; and short, for the socket.
    folder = Path(tempfile.mkdtemp(prefix="reflow-pg-", dir="/tmp"))
    folder.chmod(0o755)
    server = Server(folder, bin_folder)
    server.make()
    server.start()
    return server
