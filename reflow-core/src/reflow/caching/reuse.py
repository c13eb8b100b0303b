"""Decides whether the result of an older run may stand for an element of this one.

A dispatch pass, a worker that was queued ahead, a plan and `accept` all ask `Reuse.decide`, so
that they agree. Workers import this: no attrs, no store, and annotations are no texts (see
`reflow.storage.outcome`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from ..states import CACHED, SUCCESS
from ..storage.attachments import AttachmentFolder, may_run_code, stranger_of
from ..storage.blobs import Values
from ..storage.filesystem import Files
from ..storage.outcome import UNSETTLED_DETAIL, Outcome, lacks_prints
from ..values.references import current, files_in, is_file_name
from .file_fingerprint import HashFile
from .output_files import find_damage

if TYPE_CHECKING:
    from ..model.flow import TaskDefinition
    from ..model.spec import TaskSpec, WorkflowSpec
    from ..storage.stores.base import CachedResult, Store
    from ..values.references import Named
    from .prior_results import PriorResult
    from .verifiers.base import Output

    Verify = Callable[[Output], object]

    Result = CachedResult | PriorResult


MOST_COPIES = 5
"""In so many runs a result is looked for at most, if those before cannot give it."""


class Checks(NamedTuple):
    """What is checked of a task's older results.

    The files that they name must be there, and be `as_left` by the task. `verifiers` are the
    plugins to be asked, as (name, ``"module:Class"``); `own` says that the task brings functions
    of its own.
    """

    as_left: bool
    verifiers: Sequence[tuple[str, str]]
    own: bool


def checks_of(workflow: "WorkflowSpec", task: "TaskSpec") -> Checks:
    """Return what is checked of the older results of a task."""
    return Checks(task.as_left, workflow.verifiers_of(task), task.verify)


class Decision(NamedTuple):
    """Whether an older result stands, and if it does not, for what `reason`.

    `final`: nor can the copy of it in another run. `about_files`: because of a file that it
    names. `notice` is what a person should be told who has not asked for reasons.
    """

    stands: bool
    reason: str = ""
    final: bool = False
    about_files: bool = False
    notice: str = ""


_DAMAGED = Decision(False, "the value of the older result is gone or damaged")


class Reuse:
    """Decides about the older results of one task in one run.

    With a folder `values`, the files of a value that stands are shared with it, so that
    cleaning up the older run cannot break this one; without, they are only looked at. Only
    `serializers` may have written them. `checks` is None where a result stands unchecked.
    `succeeded` says whether the run of a result has succeeded; `hash_file` returns hashes of
    files that may have been read before. `load_task` gives the user's functions; it is called
    only where a verifier needs them.
    """

    def __init__(
        self,
        task: str,
        files: Files,
        serializers: "Iterable[Named]",
        load_task: "Callable[[], TaskDefinition]",
        succeeded: "Callable[[Any], bool]",
        *,
        checks: Checks | None,
        values: str | None = None,
        hash_file: HashFile | None = None,
    ) -> None:
        self._task = task
        self._files = files
        self._serializers = {serializer.name: serializer for serializer in serializers}
        self._load_task = load_task
        self._succeeded = succeeded
        self._checks = checks
        self._values = values
        self._hash_file = hash_file

    def decide(self, result: "Result") -> Decision:
        """Decide about one result, of another run or of another user.

        Raises what loading the user's code raises.
        """
        # The cheapest first; and a verifier reads the value, so that has to be there before.
        return (
            self._check_paths(result)
            or self._take_value(result)
            or self._verify(result)
            or Decision(True)
        )

    def outcome(
        self,
        result: "Result",
        identity: str,
        index: int,
        attempt: int = 0,
        notes: Sequence[str] = (),
    ) -> Outcome:
        """Return the outcome of an element for which a result stands; `notes` are for people."""
        # A run that has not come to its end may have written files that nobody has looked
        # into, and nothing that was made of them yet: what is on record below is of older ones.
        unsettled = lacks_prints(result.paths, result.prints) and not self._succeeded(result)
        if unsettled:
            notes = (UNSETTLED_DETAIL, *notes)
        return Outcome(
            self._task, index, attempt, CACHED, identity, result.digest, result.value,
            result.paths, detail="; ".join(notes), origin=result.run_id, prints=result.prints,
            unsettled=unsettled,
        )  # fmt: skip

    def _check_paths(self, result: "Result") -> Decision | None:
        """Refuse a result whose files are not as its task left them."""
        if self._checks is None:
            return None
        prints = result.prints if self._checks.as_left else ()
        damage = find_damage(result.paths, prints, self._hash_file)
        if damage is None:
            return None
        notice = _not_used(result, "not all files that they name can be read")
        return Decision(
            False, damage.reason, True, about_files=True, notice=notice if damage.no_access else ""
        )

    # The value

    def _take_value(self, result: "Result") -> Decision | None:
        """Share the files of a value, or look at them; refuse a value that is not whole."""
        try:
            text = self._value_text(result)
            return _DAMAGED if text is None else self._take_attachments(result, text)
        except PermissionError:
            reason = "its files may not be read by this user"
            return Decision(False, f"{_DAMAGED.reason}: {reason}", notice=_not_used(result, reason))
        except OSError:
            return _DAMAGED

    def _value_text(self, result: "Result") -> str | None:
        if result.value is not None:
            return result.value
        from hashlib import sha256  # few values are large; loading it takes long

        data = self._files.read(f"{result.record}/values/{result.digest}.json")
        if sha256(data).hexdigest() != result.digest:
            return None
        if self._values is not None:
            # Written and not linked: what was checked above is what stays.
            self._files.make_folder(self._values)
            self._files.create(f"{self._values}/{result.digest}.json", data)
        return data.decode("utf-8", "surrogatepass")

    def _take_attachments(self, result: "Result", text: str) -> Decision | None:
        attachments = files_in(text)
        if attachments and self._values is not None:
            self._files.make_folder(self._values)
        for serializer, name in attachments:
            # The text is another run's: it must name neither foreign code nor a path.
            if serializer not in self._serializers or not is_file_name(name):
                return _DAMAGED
            path = f"{result.record}/values/{name}"
            stranger = stranger_of(path)  # raises where it is not there
            if stranger and may_run_code(serializer):
                reason = f"they belong to {stranger}, and reading a {serializer} runs code"
                return Decision(
                    False, f"the files of its value are not read: {reason}",
                    notice=_not_used(result, reason),
                )  # fmt: skip
            if self._values is not None:
                self._files.share(path, f"{self._values}/{name}")
        return None

    # Verifiers

    def _verify(self, result: "Result") -> Decision | None:
        """Refuse a result to which a verifier says no, or at which it raises."""
        if not self._verifiers:
            return None
        folder = self._values or f"{result.record}/values"
        serializers = self._serializers.values()
        before = current.set(AttachmentFolder(self._files, folder, serializers))
        try:
            output = self._output(result, Values(self._files, folder))
            if all(verify(output) for verify in self._verifiers):
                return None
        except (Exception, SystemExit) as error:  # nor may a verifier end this process
            notice = f"the verifier of {self._task!r} raised {error!r}: run anew"
            return Decision(False, f"a verifier raised {error!r}", final=True, notice=notice)
        finally:
            current.reset(before)
        return Decision(False, "a verifier refused the older result", final=True)

    @cached_property
    def _verifiers(self) -> "list[Verify]":
        if self._checks is None:
            return []
        verifiers = [_verify_by_plugin(*named) for named in self._checks.verifiers]
        if self._checks.own:
            functions = filter(callable, self._load_task().options.verify)
            verifiers.extend(map(_verify_by_function, functions))
        return verifiers

    def _output(self, result: "Result", values: Values) -> "Output":
        from pathlib import Path

        from .verifiers.base import Output

        def read() -> object:
            from ..values.codec import codec_for

            outcome = Outcome("", 0, 0, CACHED, digest=result.digest, value=result.value)
            return codec_for(self._load_task().signature().returns).decode(values.text(outcome))

        def fingerprints() -> Mapping[str, str]:
            pairs = zip(result.paths, result.prints)  # noqa: B905 (equal, or there are none)
            return {path: text for path, text in pairs if text}

        return Output(tuple(map(Path, result.paths)), read, fingerprints)


def _not_used(result: "Result", reason: str) -> str:
    return f"results in {result.record} are not used but made again: {reason}"


def _verify_by_plugin(name: str, target: str) -> "Verify":
    made: list[Any] = []

    def verify(output: "Output") -> object:
        if not made:
            from ..plugins.kinds import load_target

            made.append(load_target("verifier", name, target)())
        return made[0].verify(output)

    return verify


def _verify_by_function(function: Callable[..., object]) -> "Verify":
    return lambda output: function(output.value)


def success_by_store(store: "Store") -> "Callable[[Result], bool]":
    """Return what says whether the run of a result has succeeded, as the store has it.

    A run is looked up once. One that is not in the store has not.
    """
    from ..errors import StoreError, UnknownRunError

    @cache
    def has_succeeded(run_id: str) -> bool:
        try:
            return store.run(run_id).status == SUCCESS
        except (StoreError, UnknownRunError):
            return False

    return lambda result: has_succeeded(result.run_id)


class Matches(NamedTuple):
    """The results that stand, by identity, and the decision on the newest of the others."""

    good: "dict[str, CachedResult]"
    refused: dict[str, Decision]


def find_results(
    store: "Store",
    identities: Iterable[str],
    decide: "Callable[[CachedResult], Decision]",
) -> Matches:
    """Look identities up: the newest result stands, in whichever run `decide` lets it stand.

    A person may have deleted the directory of a run, or another user's may not be read: the
    index does not know, and whoever took the result over from there has it too. The very same
    result: one of an older run that came out otherwise was replaced, perhaps for good reason.
    Raises `StoreError`.
    """
    matches = Matches({}, {})
    digests: dict[str, str] = {}
    pending, tried = list(dict.fromkeys(identities)), set[str]()
    for _ in range(MOST_COPIES):
        results = store.lookup(pending, newest=True, besides=tried)
        # In their own order, whatever the store's is: people are told of them.
        copies = [(one, results[one]) for one in pending if one in results]
        pending = []
        for identity, result in copies:
            same = digests.setdefault(identity, result.digest) == result.digest
            decision = decide(result) if same else matches.refused[identity]
            if decision.stands:
                matches.good[identity] = result
                matches.refused.pop(identity, None)
                continue
            matches.refused.setdefault(identity, decision)
            if not decision.final:
                tried.add(result.run_id)
                pending.append(identity)
        if not pending:
            break
    return matches
