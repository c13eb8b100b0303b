"""The store port: an index over runs, for finding them and for the cache.

The truth of a run is in its own directory; whatever a store knows can be rebuilt
from there. So a store may lag behind (`Store.position` says how far a run is
indexed), and losing it costs time and nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from attrs import field, frozen

from ...errors import StoreError, UnknownRunError
from ...states import SUCCESS
from ..outcome import WHOLE_TASK as WHOLE_TASK
from ..outcome import Outcome as Outcome

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self


class QueryError(StoreError, ValueError):
    """An argument of a question to a store makes no sense."""


@frozen(kw_only=True)
class RunRow:
    """One run as the store knows it.

    `created_at` is ISO-8601 in UTC; `record` the path of the directory that holds
    the run's segments; `status` one of `reflow.states.RUN_STATES`; `parameters`
    are JSON-able values by name.
    """

    run_id: str
    graph_name: str
    user_id: str
    created_at: str
    run_dir: str
    record: str
    status: str
    parameters: dict[str, object] = field(factory=dict)
    executor: str = ""


@frozen(kw_only=True)
class TaskRow:
    """One task of a run; `size` is None while an array's elements are unknown."""

    name: str
    array: bool
    size: int | None


class InstanceRow(NamedTuple):
    """How one instance stands: its latest outcome, or that it is under way.

    `index` is None for a task that is no array, and for what concerns an array as
    a whole. `spilled`: the value is in the file ``values/<digest>`` of the record and
    `value` is None. Times are seconds since the epoch, 0 where unknown. `paths` and `prints`
    are those of `Outcome`. A named tuple: one status makes ten thousand of them.
    """

    task: str
    index: int | None  # type: ignore[assignment]  # a field, not tuple.index
    state: str
    attempt: int
    identity: str
    digest: str
    value: str | None
    spilled: bool
    cause: str
    detail: str
    origin: str
    job: str
    started: float
    ended: float
    paths: tuple[str, ...]
    prints: tuple[str, ...] = ()


def instance_of(outcome: Outcome, array: bool) -> InstanceRow:
    """Return the row of an outcome; `array`: its task is one."""
    return InstanceRow(
        task=outcome.task,
        index=outcome.index if array and outcome.index != WHOLE_TASK else None,
        state=outcome.state,
        attempt=outcome.attempt,
        identity=outcome.identity,
        digest=outcome.digest,
        value=outcome.value,
        spilled=outcome.value is None and bool(outcome.digest),
        cause=outcome.cause,
        detail=outcome.detail,
        origin=outcome.origin,
        job=outcome.job,
        started=outcome.started,
        ended=outcome.ended,
        paths=outcome.paths,
        prints=outcome.prints,
    )


class CachedResult(NamedTuple):
    """A result that an instance of the same identity can take over.

    `record` is the record directory of the run it is from, `index` 0 for a task
    that is no array. `value` is None where it stands in ``values/<digest>`` there.
    `paths` and `prints` are those of `reflow.storage.outcome.Outcome`. A named tuple: one look-up
    makes ten thousand of them.
    """

    run_id: str
    record: str
    task: str
    index: int  # type: ignore[assignment]  # a field, not tuple.index
    identity: str
    digest: str
    value: str | None
    paths: tuple[str, ...]
    prints: tuple[str, ...] = ()


class Reservation(NamedTuple):
    """An instance that a run is about to compute: it asks that no other run does so, too.

    `identity` is what it is reserved under, `lineage` ("" for none) another name for it, under
    which whoever does not know its identity yet may have reserved it. Both names are in hex.
    A reservation of the run `over` gives way to this one; `anew`: results that are there do not
    count.
    """

    task: str
    index: int  # type: ignore[assignment]  # a field, not tuple.index
    identity: str
    lineage: str = ""
    over: str = ""
    anew: bool = False


class Underway(NamedTuple):
    """An instance that another run has in hand, or has the result of.

    `record` is that run's record directory.
    """

    run_id: str
    record: str
    task: str
    index: int  # type: ignore[assignment]  # a field, not tuple.index


@frozen(order=True)
class Position:
    """How far a run is indexed: `offset` bytes of segment number `segment`."""

    segment: int = 0
    offset: int = 0


class Store(ABC):
    """Base of all stores. Every method may raise `StoreError`.

    Methods that take a `run_id` raise `UnknownRunError` for one that is not there.
    """

    @property
    @abstractmethod
    def url(self) -> str:
        """What `from_url` opens this store by in another process, such as ``sqlite:///path``."""

    @classmethod
    @abstractmethod
    def from_url(cls, url: str) -> Self:
        """Return the store at a URL of the scheme that this class is registered for.

        Nothing need be opened yet. Raises `StoreError` for a URL that names no store.
        """

    @abstractmethod
    def add_run(self, run: RunRow, tasks: Sequence[tuple[str, bool]]) -> None:
        """Add a run with its tasks, ``(name, is_array)`` each, in order.

        Adding a run again updates its description and keeps what is indexed of
        it, unless its tasks differ: then it is indexed anew from `Position()`, as the run
        added last.
        """

    @abstractmethod
    def drop_run(self, run_id: str) -> None:
        """Forget a run and its results; one that is not there is no error.

        Results that other runs have taken over from it (CACHED, with its id as their
        origin) are found there from now on.
        """

    def replace_run(
        self,
        run: RunRow,
        tasks: Sequence[tuple[str, bool]],
        changes: Sequence[Outcome],
        sizes: Mapping[str, int],
        position: Position,
    ) -> bool:
        """Index a run anew: what was indexed of it is forgotten, its record says all of this.

        Returns False, and changes nothing, where it is indexed further than `position`.
        This one takes several steps; a store that can do it in one transaction does.
        """
        with suppress(UnknownRunError):
            if self.position(run.run_id) > position:
                return False
        self.drop_run(run.run_id)
        self.add_run(run, tasks)
        return self.apply(run.run_id, changes, sizes, run.status, position)

    def check(self) -> list[str]:
        """Return what is wrong with the store itself, a sentence each; [] where all is well."""
        self.list_runs(limit=1)
        return []

    @abstractmethod
    def set_status(self, run_id: str, status: str) -> None:
        """Set a run's status, one of `reflow.states.RUN_STATES`; `QueryError` for another."""

    @abstractmethod
    def position(self, run_id: str) -> Position:
        """Return how far the run's segments are indexed."""

    @abstractmethod
    def apply(
        self,
        run_id: str,
        changes: Sequence[Outcome],
        sizes: Mapping[str, int],
        status: str | None,
        position: Position,
        live: Sequence[Outcome] | None = None,
    ) -> bool:
        """Index, in one transaction, what the record says up to `position`.

        `changes` are outcomes in the record's order (of one instance the last
        counts) and `sizes` the element counts that became known: what was indexed of an
        array as a whole (`reflow.storage.outcome.WHOLE_TASK`) gives way to them. `live`, where
        given, is every instance under way after `changes`: these take the place
        of all rows in a state that is not terminal. What `changes` name, and all of a run with
        a final status, is reserved no more. Applying the same again is
        harmless. Returns False, and changes nothing, where the run is indexed
        further than `position` already: another process was quicker.
        """

    @abstractmethod
    def lookup(
        self,
        identities: Sequence[bytes | str],
        *,
        newest: bool = False,
        besides: Collection[str] = (),
    ) -> dict[str, CachedResult]:
        """Return the successful results of these identities, keyed in hex; hits only.

        A result that a run took over (CACHED) counts where it has no origin, or one that is not
        in the store.
        Of several runs that have it the one added first stands, or with `newest`
        the one added last (so that what replaced a result that failed its
        verification is found). The runs `besides`, such as those whose records are gone,
        count as not in the store: what another run has is found, or took over from one of them.
        """

    def reserve(self, run_id: str, wanted: Sequence[Reservation]) -> dict[str, Underway]:
        """Reserve instances for a run; return, by identity, those that another run has.

        It has reserved them, or (what may have happened since they were looked up) their results
        are there. In one transaction: of two runs that ask for the same at the same time one has
        it. A reservation ends with the outcome of its instance, with its run, or where it gives
        way. A store that keeps none, such as this one, lets each run compute for itself.
        """
        return {}

    @abstractmethod
    def list_runs(
        self,
        graph_name: str | None = None,
        limit: int | None = None,
        since: str | None = None,
        until: str | None = None,
        status: str | None = None,
    ) -> list[RunRow]:
        """Return runs, newest first, created in ``since <= created_at < until``.

        `since` and `until` are ISO-8601 dates or datetimes; without a zone they
        are UTC. Raises `QueryError` for an unknown status, a limit below 0 or a
        malformed date.
        """

    @abstractmethod
    def run(self, run_id: str) -> RunRow:
        """Return the run of that id, or of that unambiguous beginning of an id.

        Only here the beginning is enough.
        """

    @abstractmethod
    def tasks(self, run_id: str) -> list[TaskRow]:
        """Return the run's tasks in order."""

    @abstractmethod
    def summary(self, run_id: str) -> dict[str, dict[str, int]]:
        """Return by task, in order, how many instances are in which state.

        Elements of known size of which nothing is indexed count as PENDING.
        """

    @abstractmethod
    def instances(
        self, run_id: str, task: str | None = None, states: Iterable[str] | None = None
    ) -> list[InstanceRow]:
        """Return the instances of which something is indexed, in order of task and index.

        Raises `UnknownTaskError` or, for an unknown state, `QueryError`.
        """

    def out_of_cache(self, run_id: str) -> dict[str, int]:
        """Return by task how many successes have no identity, so that no look-up finds them.

        They were pruned, or count for their run alone. Tasks without any are left out. A store
        that can count need not return rows for it.
        """
        rows = self.instances(run_id, states=(SUCCESS,))
        return dict(Counter(row.task for row in rows if not row.identity))

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections; the next call opens them again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
