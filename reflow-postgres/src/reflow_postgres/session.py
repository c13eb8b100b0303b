"""A process's connection to the server: opened on first use, and again when it was lost."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import sql

from reflow.errors import ReflowError, StoreError

from .address import Address
from .schema import grants_for, prepare

T = TypeVar("T")
Connection = psycopg.Connection[Any]

CONNECT_SECONDS = 5
"""How long to wait for the server to answer, unless the URL says otherwise."""

LOCK_SECONDS = 30
"""How long to wait for other transactions."""

RIVALS = 10
"""How often a transaction is done again that was in a deadlock with another."""

PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0)
"""After a connection failed, nobody tries again for so many seconds, the last for all further
ones: a run that goes on without its index must not wait for it again and again."""

# Connections that a fork inherited: to close them here would end the parent's sessions.
_inherited: list[Connection] = []


class Session:
    """The connection to the server at `address`; threads take turns, forks have their own."""

    def __init__(self, address: Address, password: Callable[[], str | None]) -> None:
        self.address = address
        self._find_password = password
        self._reset()

    def _reset(self) -> None:
        self._connection: Connection | None = None
        self._failure: StoreError | None = None
        self._failures = 0
        self._until = 0.0
        self._lock = threading.RLock()
        self._pid = os.getpid()

    def close(self) -> None:
        """Let the connection go; the next call makes another."""
        self._notice_fork()
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _notice_fork(self) -> None:
        if self._pid != os.getpid():
            if self._connection is not None:
                _inherited.append(self._connection)
            self._reset()

    def read(self, query: Callable[[Connection], T]) -> T:
        """Return what `query` returns; all its questions see one state."""
        return self._do("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", query)

    def write(self, change: Callable[[Connection], T]) -> T:
        """Return what `change` returns, once all that it did is there for everybody.

        It is done again if the connection breaks, so doing it twice must be harmless.
        """
        return self._do("BEGIN", change)

    def _do(self, begin: str, work: Callable[[Connection], T]) -> T:
        self._notice_fork()
        with self._lock, self._errors():
            for _ in range(RIVALS):
                was_open = self._connection is not None
                try:
                    return self._transact(begin, work)
                except psycopg.errors.DeadlockDetected:
                    continue  # the server let the rival's transaction through
                except psycopg.OperationalError:
                    # The server was started again, or a firewall forgot an idle connection.
                    if not was_open or self._connection is None or not self._connection.closed:
                        raise
                    self._connection = None
            return self._transact(begin, work)

    def _transact(self, begin: str, work: Callable[[Connection], T]) -> T:
        connection = self._connection or self._connect()
        try:
            connection.execute(begin)
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            if not connection.closed:
                try:
                    connection.execute("ROLLBACK")
                except psycopg.Error:
                    connection.close()
            raise
        return result

    def _connect(self) -> Connection:
        if self._failure is not None and time.monotonic() < self._until:
            raise self._failure
        try:
            with self._errors():
                connection = self._open()
        except StoreError as error:
            pause = PAUSES[min(self._failures, len(PAUSES) - 1)]
            self._failure, self._failures = error, self._failures + 1
            self._until = time.monotonic() + pause
            raise
        self._failure, self._failures, self._connection = None, 0, connection
        return connection

    def _open(self) -> Connection:
        arguments: dict[str, Any] = {}
        password = self.address.password or self._find_password()
        if password is not None:
            arguments["password"] = password
        if not ("connect_timeout" in self.address.connection or "PGCONNECT_TIMEOUT" in os.environ):
            arguments["connect_timeout"] = CONNECT_SECONDS
        connection = psycopg.connect(
            self.address.connection,
            autocommit=True,  # transactions are begun and ended here, in so many words
            application_name="reflow",
            **arguments,
        )
        try:
            connection.execute(
                sql.SQL("SET search_path TO {}").format(sql.Identifier(self.address.schema))
            )
            connection.execute(f"SET lock_timeout TO '{LOCK_SECONDS}s'")
            connection.execute("SET client_encoding TO 'UTF8'")
            connection.execute("BEGIN")
            prepare(connection, self.address.schema)
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        return connection

    # Errors

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise self._explained(error) from None
        except StoreError as error:
            where = self.address.described()
            if where in str(error):
                raise
            raise type(error)(f"{where}: {error}") from None

    def _explained(self, error: psycopg.Error) -> ReflowError:
        # The causes are left out of the chain: what they quote may have the password in it.
        message = self.address.without_password(" ".join(str(error).split()))
        schema = self.address.schema
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            user = self._user()
            advice = (
                f"have the owner of the schema {schema!r} say {grants_for(schema, user)} to make"
                " the schema itself, the database's owner says CREATE SCHEMA"
                f' "{schema}" AUTHORIZATION "{user}";'
            )
        elif isinstance(error, psycopg.errors.LockNotAvailable):
            advice = f"other transactions kept it locked for {LOCK_SECONDS} s; try again"
        elif isinstance(error, psycopg.errors.DiskFull):
            advice = "the server's disk is full: tell its administrator"
        elif isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
            advice = "this server takes no changes; name the primary server"
        elif isinstance(error, psycopg.OperationalError) and "password" in message:
            # By its text: libpq has no code for a password that it was not given.
            advice = (
                "put the password into ~/.pgpass (mode 600), or into the environment as PGPASSWORD"
            )
        elif isinstance(error, psycopg.OperationalError):
            advice = (
                "see that the server runs and can be reached from this machine, and that user and"
                " database are right; runs go on, and are indexed when it is there again"
            )
        elif isinstance(error, psycopg.ProgrammingError) and self._connection is None:
            advice = "check the store's URL: postgresql://user@host:5432/database?schema=reflow"
        else:
            advice = "`reflow store check` says whether the store is whole"
        return StoreError(f"{self.address.described()}: {message}: {advice}")

    def _user(self) -> str:
        if self._connection is not None and not self._connection.closed:
            return str(self._connection.info.user)
        try:
            user = psycopg.conninfo.conninfo_to_dict(self.address.connection).get("user")
        except psycopg.Error:
            user = None
        return str(user or os.environ.get("PGUSER") or os.environ.get("USER") or "you")
