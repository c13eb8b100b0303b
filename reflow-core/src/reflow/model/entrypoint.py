"""How a later process gets at a workflow's functions again.

A script is loaded under another name than ``__main__``, so what is under its
main guard does not run; and whatever it calls at top level, `submit` and its like
end the loading instead of starting anything: a job never submits its own workflow.
"""

from __future__ import annotations

import marshal
import os
import sys
from types import CodeType, ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..errors import DefinitionError, RecordError
from ..values.hashing import sha256
from ..values.type_text import SCRIPT_MODULE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .flow import Flow, TaskDefinition
    from .spec import Entrypoint

FILE, MODULE, PICKLE, NONE = "file", "module", "pickle", "none"


class Loaded(BaseException):
    """Raised out of a script that is being loaded, once it has all its tasks."""


class _Loading:
    """The load under way in this process, if any."""

    workflow: str | None = None
    created: list[Flow] = []  # noqa: RUF012 (one per process on purpose)


def note_workflow(workflow: Flow) -> None:
    """Remember a workflow that is made while a script is being loaded."""
    if _Loading.workflow is not None:
        _Loading.created.append(workflow)


def stop_if_loading(workflow: Flow) -> None:
    """End the loading of a script at the point where it would start its workflow."""
    if _Loading.workflow is not None:
        if workflow.name == _Loading.workflow:
            raise Loaded
        raise DefinitionError(
            f"this script starts workflow {workflow.name!r} before workflow "
            f"{_Loading.workflow!r} is defined, so a job of the latter cannot load it; "
            "start workflows under `if __name__ == '__main__':`"
        )


def describe_entrypoint(
    workflow: Flow, module: str, at_top_level: bool, *, needed: bool = True
) -> tuple[Entrypoint, bytes | None]:
    """Return where a later process finds a workflow, and what the record must keep.

    `module` is the name of the module that made the workflow, `at_top_level`
    whether no function was around it. The bytes are the source (of ``python -c``) or
    the pickle to be kept as the entrypoint's target, which is then relative. Where
    no later process can load the workflow that is an error if one is `needed`, and
    else kept as the reason that such a process gives.
    """
    from .spec import Entrypoint

    # '' means the working directory of a process; a job's is another.
    search = tuple(os.path.abspath(entry) for entry in sys.path)
    holder = module if at_top_level else _module_with(workflow, module, "__main__")
    kind, target, source, kept = _locate(holder)
    if kind == PICKLE:
        try:
            kept = _pickle(workflow, holder or module, search)
        except DefinitionError as error:
            if needed:
                raise
            kind, target = NONE, str(error)
    entrypoint = Entrypoint(
        kind=kind,
        target=target,
        workflow=workflow.name,
        directory=os.getcwd(),
        search_path=search,
        source=source,
        arguments=tuple(sys.argv),
    )
    return entrypoint, kept


def _module_with(workflow: Flow, *names: str) -> str:
    """Return the first module that has a workflow among its variables, "" for none."""
    for name in names:
        module = sys.modules.get(name)
        if module is not None and any(value is workflow for value in vars(module).values()):
            return name
    return ""


def _locate(name: str) -> tuple[str, str, str, bytes | None]:
    """Return (kind, target, source, kept) of the entrypoint of a loaded module."""
    module = sys.modules.get(name)
    is_main = name == "__main__"
    pickled = PICKLE, "entry.pickle", "", None
    if module is None or (is_main and hasattr(module, "get_ipython")):
        return pickled  # Not that of IPython: its cells are in no file.
    spec, file = getattr(module, "__spec__", None), getattr(module, "__file__", None)
    # With python -m the spec of __main__ has the name of the module.
    if spec is not None and (is_main or spec.name == name):
        return MODULE, spec.name, os.path.abspath(file) if file else "", None
    if file and os.path.isfile(file):
        return FILE, os.path.abspath(file), "", None
    text = _command_text() if is_main and sys.argv[:1] == ["-c"] else None
    if text is None:
        return pickled
    return FILE, "entry.py", "", text.encode("utf-8", "surrogateescape")


def is_editable(entry: Entrypoint) -> bool:
    """Whether a workflow's code may change after its submission, as files of the user's may."""
    return entry.kind == MODULE or (entry.kind == FILE and os.path.isabs(entry.target))


def _command_text() -> str | None:
    """Return the text given to ``python -c``; None if the arguments were changed since."""
    words = sys.orig_argv
    position = len(words) - len(sys.argv)
    if position < 1 or words[position + 1 :] != sys.argv[1:]:
        return None
    option = words[position - 1]
    if option.startswith("-") and option.endswith("c") and position > 1:
        return words[position]
    return words[position].partition("c")[2]  # As in -c'print(1)', without a space.


def _importable(module: str, search: tuple[str, ...]) -> bool:
    """Whether a later process finds a loaded module by its name."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if not file:
        return True
    path = os.path.abspath(file)
    if os.path.basename(path) == "__init__.py":
        path = os.path.dirname(path)
    return os.path.splitext(path)[0] in {
        os.path.join(root, *module.split(".")) for root in search
    }


def _pickle(workflow: Flow, module: str, search: tuple[str, ...]) -> bytes:
    try:
        import cloudpickle
    except ImportError as error:
        raise DefinitionError(
            f"workflow {workflow.name!r} is defined where no later process can load it from (a "
            "notebook, standard input, or inside a function); put it into a file, or "
            "pip install 'reflow-core[pickle]' to have its functions pickled"
        ) from error
    by_value = None
    if module != "__main__" and module in sys.modules and not _importable(module, search):
        by_value = sys.modules[module]  # such as a test module
        cloudpickle.register_pickle_by_value(by_value)
    try:
        # What annotations mean is pickled too: their texts may use names that no code does.
        for task in workflow.tasks.values():
            task.signature()
        return bytes(cloudpickle.dumps(dict(workflow.tasks)))
    except DefinitionError:
        raise
    except Exception as error:
        raise DefinitionError(
            f"workflow {workflow.name!r} is defined where no later process can load it from, and "
            f"its functions cannot be pickled: {error}; put it into a file, at top level, or have "
            "its tasks make what they cannot be given"
        ) from error
    finally:
        if by_value is not None:
            cloudpickle.unregister_pickle_by_value(by_value)


def load_tasks(entry: Entrypoint | SimpleNamespace, record: str) -> Mapping[str, TaskDefinition]:
    """Return a run's tasks by name, loading the user's code; once a process."""
    if entry.kind == NONE:
        raise RecordError(entry.target)
    # As at submission: this process has its working directory in front instead.
    own_path = [path for path in sys.path if os.path.abspath(path) != entry.directory]
    sys.path[:] = dict.fromkeys([*entry.search_path, *own_path])
    if entry.arguments:
        sys.argv[:] = entry.arguments  # a script may read them before it submits
    if entry.kind == PICKLE:
        return _unpickle(os.path.join(record, entry.target))
    _Loading.workflow, _Loading.created = entry.workflow, []
    reason = ""
    try:
        # The second time for workflows that are made under the main guard.
        for name in (SCRIPT_MODULE if entry.kind == FILE else entry.target, "__main__"):
            reason = _load_as(name, entry, record) or reason
            for workflow in reversed(_Loading.created):
                if workflow.name == entry.workflow:
                    return workflow.tasks
    finally:
        _Loading.workflow = None
    raise RecordError(
        f"{entry.target} defines no workflow {entry.workflow!r} when it is loaded{reason}"
    )


def _load_as(name: str, entry: Entrypoint | SimpleNamespace, record: str) -> str:
    """Load a script or module under a name; return what ended that too early, "" for nothing."""
    try:
        if entry.kind == FILE:
            _run_file(os.path.join(record, entry.target), name, record)
        elif name != "__main__":
            _import_module(name, entry.source, record)
        elif entry.source:
            _run_file(entry.source, name, record, entry.target.rpartition(".")[0])
    except Loaded:
        pass  # The script came to where it starts its workflow: all tasks are there.
    except SystemExit as error:  # it would end this process without a word
        return f": it called sys.exit({error.code!r})"
    return ""


def _unpickle(path: str) -> Mapping[str, TaskDefinition]:
    import pickle

    from .first_paths import MOVED

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            return super().find_class(MOVED.get(module, module), name)

    with open(path, "rb") as file:
        tasks: Mapping[str, TaskDefinition] = Unpickler(file).load()
    return tasks


def _import_module(name: str, source: str, record: str) -> None:
    import importlib

    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Loaded by other means than the search path, as pytest does with tests.
        missing = error.name is not None and f"{name}.".startswith(f"{error.name}.")
        if not missing or not os.path.isfile(source):
            raise
        _run_file(source, name, record, name.rpartition(".")[0])


def _run_file(path: str, name: str, record: str, package: str = "") -> None:
    """Run a file as a module of that name; its code may have been kept in the folder `record`."""
    module = ModuleType(name)
    if package:
        module.__package__ = package
    module.__file__ = path
    sys.modules[name] = module
    if name == SCRIPT_MODULE:
        # Classes and functions of the script say where they are from by this name.
        sys.modules["__main__"] = module
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        raise RecordError(
            f"cannot read the workflow's script {path}: {error.strerror}; put it back, or "
            "submit the run again from where it is now"
        ) from error
    exec(code_of(source, path, record), vars(module))


def code_of(source: bytes, path: str, record: str) -> CodeType:
    """Return the code of the script at `path` with this source.

    The code that `keep_code` left in the folder `record` if it is of this very text, else compiled.
    """
    try:
        with open(_compiled_path(source, path, record), "rb") as file:
            code = marshal.loads(file.read())
        if isinstance(code, CodeType):
            return code
    except (OSError, ValueError, EOFError, TypeError):  # none is there, or it is damaged
        pass
    return _compile(source, path)


def keep_code(
    write: Callable[[str, bytes], object], source: bytes, path: str, record: str
) -> None:
    """Keep the code of a script in the folder `record`; nothing if it cannot be compiled."""
    try:
        code = _compile(source, path)
    except (SyntaxError, ValueError):
        return  # it was changed since it was loaded
    write(_compiled_path(source, path, record), marshal.dumps(code))


def _compile(source: bytes, path: str) -> CodeType:
    # With the `__future__` imports of the script, not with those of this module.
    return compile(source, path, "exec", dont_inherit=True)


def _compiled_path(source: bytes, path: str, record: str) -> str:
    # Compiled code is that of one version of Python, and holds the script's path.
    python = f"{sys.implementation.cache_tag}.{sys.hexversion:x}.{sys.flags.optimize}"
    digest = sha256(path.encode("utf-8", "surrogateescape") + b"\0" + source).hexdigest()
    return f"{record}/compiled-{digest[:32]}.{python}"
