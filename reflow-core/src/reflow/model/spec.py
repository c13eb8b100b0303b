"""What a run directory keeps of a workflow: enough to plan without its code.

A `WorkflowSpec` is made once, when a run is submitted: every annotation is
resolved, every wire inferred, every run parameter bound and serialized. Dispatch
passes plan from it alone and never load the user's script.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from attrs import evolve, field, frozen


@frozen(kw_only=True)
class Source:
    """One upstream task of a wire and what it contributes.

    `array`: the upstream has many elements and each contributes its value.
    `flatten`: a contributed value is a list, and its items are contributed.
    """

    task: str
    array: bool = False
    flatten: bool = False


@frozen(kw_only=True)
class Wire:
    """How one `Result` parameter of a task gets its value.

    `mode` is one of the names in `MODES`. `each`: element i receives item i of
    what the sources contribute; otherwise every element receives the whole.
    `listed`: the whole is the list of all that the sources contribute, in order;
    otherwise it is the single value of the single source.
    """

    parameter: str
    mode: str
    sources: tuple[Source, ...]
    each: bool = False
    listed: bool = False

    @property
    def chained(self) -> bool:
        """Whether element i needs nothing but element i of one upstream array."""
        return (
            self.each
            and len(self.sources) == 1
            and self.sources[0].array
            and not self.sources[0].flatten
        )


MODES = (
    "direct",  # single -> single: the value
    "fan-out",  # single(s) returning lists -> array: one item an element
    "gather",  # array -> single: the list of all values, in order
    "gather-flatten",  # array of lists -> single: all items, in order
    "chain",  # array -> array: element i to element i
    "chain-flatten",  # array of lists -> array: one item an element
    "broadcast",  # the whole to every element of an array
)


@frozen(kw_only=True)
class Constant:
    """A run parameter (or the run directory) bound at submission.

    `text` is the value's canonical JSON; `type` the annotation as written, so
    that the path "1" and the string "1" are different work. `files` is the hash of
    the files at submission under the paths in the value, "" where they do not count;
    `stood` is how each of them looked then, a text of `caching.input_files` (of a long
    text only the digest: it is in the record's folder of values), "" for a value without paths.
    """

    parameter: str
    type: str
    text: str
    files: str = ""
    stood: str = ""

    def counted(self) -> list[str]:
        """Return the parts that count in an identity."""
        return [self.parameter, self.type, self.text, *([self.files] if self.files else ())]


@frozen(kw_only=True)
class Resources:
    """What a task asks of the scheduler, in neutral units; None: the site's default.

    `time` in seconds, `mem` in bytes (per node), `native` options as written by
    the user for their own scheduler.
    """

    cpus: int = 1
    time: int | None = None
    mem: int | None = None
    gpus: int = 0
    nodes: int = 1
    queue: str | None = None
    account: str | None = None
    native: dict[str, str] = field(factory=dict)


@frozen(kw_only=True)
class RetryRule:
    """What another attempt after one `cause` asks for: factors, and the most of each."""

    cause: str
    mem: float = 1.0
    time: float = 1.0
    max_mem: int | None = None
    max_time: int | None = None


@frozen(kw_only=True)
class RetrySpec:
    """When an element that failed is tried again: `times` at most, by a rule for each cause."""

    times: int
    rules: tuple[RetryRule, ...]

    def again(self, initial: Resources, causes: Sequence[str], cause: str) -> bool:
        """Whether an element that now failed for `cause` is tried again.

        `causes` are those for which it was tried again before, and `initial` is what its
        first attempt asked for.
        """
        rule = self._rule(cause)
        if rule is None or len(causes) >= self.times:
            return False
        if rule.mem == rule.time == 1.0:
            return True
        # Where more was needed and cannot be had, the same again would fail again.
        return self.resources(initial, [*causes, cause]) != self.resources(initial, causes)

    def resources(self, initial: Resources, causes: Sequence[str]) -> Resources:
        """Return what the attempt after failures for `causes` asks for."""
        mem, time = initial.mem, initial.time
        for rule in filter(None, map(self._rule, causes)):
            mem = _scaled(mem, rule.mem, rule.max_mem)
            time = _scaled(time, rule.time, rule.max_time)
        return evolve(initial, mem=mem, time=time)

    def _rule(self, cause: str) -> RetryRule | None:
        return next((rule for rule in self.rules if rule.cause == cause), None)


def _scaled(amount: int | None, factor: float, limit: int | None) -> int | None:
    if amount is None or factor == 1.0:
        return amount
    scaled = math.ceil(amount * factor)
    # Never less than before, even where the limit is lower.
    return scaled if limit is None else max(amount, min(scaled, limit))


@frozen(kw_only=True)
class SerializerSpec:
    """A serializer that a run uses: its class is at `target`, ``"module:Class"``.

    `types` are the dotted names of the classes that it takes unnamed.
    """

    name: str
    target: str
    types: tuple[str, ...] = ()


@frozen(kw_only=True)
class VerifierSpec:
    """A verifier that a run uses: its class is at `target`, ``"module:Class"``.

    `fingerprints`: it judges by the fingerprints of all files that a value names.
    """

    name: str
    target: str
    fingerprints: bool = field()

    @fingerprints.default
    def _of_0_1_0(self) -> bool:
        # Records of 0.1.0 do not say: there it was the verifier of this name alone.
        return self.target == "reflow.verifiers.fingerprint:FingerprintVerifier"


@frozen(kw_only=True)
class ResolvedTask:
    """A task with its options and wires resolved: other tasks by name, no functions.

    The fields are what `reflow.model.options.TaskOptions` has, those for the scheduler in
    `resources`. `returns` is the return annotation as text; `serializer` the one that the task
    names, "" for none; `verifiers` the names of those that judge a cached value, and `verify`
    whether the task brings a function of its own that does.
    """

    name: str
    array: bool = False
    wires: tuple[Wire, ...] = ()
    after: tuple[str, ...] = ()
    returns: str = "Any"
    resources: Resources = Resources()
    cache: bool = True
    version: str = "1"
    code: str = ""
    array_parallelism: int | None = None
    files: str = "auto"
    serializer: str = ""
    verifiers: tuple[str, ...] = ()
    verify: bool = False
    retry: RetrySpec | None = None

    @property
    def upstreams(self) -> tuple[str, ...]:
        """Every task that must come before this one, each once, in order."""
        names = [source.task for wire in self.wires for source in wire.sources]
        return tuple(dict.fromkeys([*names, *self.after]))


@frozen(kw_only=True)
class TaskSpec(ResolvedTask):
    """One task of a run.

    `code` is the fingerprint of the task's code ("" when it does not count) and `sources`
    the (path, mtime in ns, size) of the files it was read off, () where they do not say it.
    Where the task names no verifier and no function of its own, the files in an older value must
    be `as_left`: as the task left them.
    """

    constants: tuple[Constant, ...] = ()
    sources: tuple[tuple[str, int, int], ...] = ()
    as_left: bool = True

    @property
    def stood(self) -> dict[str, str]:
        """How the files looked that its parameters name: `Constant.stood`, by parameter."""
        return {
            constant.parameter: constant.stood for constant in self.constants if constant.stood
        }


@frozen(kw_only=True)
class WorkflowSpec:
    """All tasks of a run, upstream before downstream, and the plugins that its values need."""

    name: str
    tasks: tuple[TaskSpec, ...]
    serializers: tuple[SerializerSpec, ...] = ()
    verifiers: tuple[VerifierSpec, ...] = ()

    def needs_fingerprints(self, task: TaskSpec) -> bool:
        """Whether a verifier of a task judges by the fingerprints of all files of a result."""
        return any(
            verifier.fingerprints for verifier in self.verifiers if verifier.name in task.verifiers
        )

    def verifiers_of(self, task: TaskSpec) -> list[tuple[str, str]]:
        """Return (name, target) of the verifiers that judge a task's older results."""
        return [
            (verifier.name, verifier.target)
            for verifier in self.verifiers
            if verifier.name in task.verifiers
        ]


@frozen(kw_only=True)
class Entrypoint:
    """Where a run's functions are.

    `kind` is "file" (`target`: a path), "module" (`target`: its name) or "pickle"
    (`target`: a file of the record, made by cloudpickle). `directory` and
    `search_path` are the working directory and `sys.path` at submission, `arguments`
    `sys.argv`; `source` is the file of a module. Kind "none": it cannot be loaded, and
    `target` says why.
    """

    kind: str
    target: str
    workflow: str
    directory: str
    search_path: tuple[str, ...]
    source: str = ""
    arguments: tuple[str, ...] = ()
