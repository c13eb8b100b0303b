"""A task's code as a hash that only changes when what it does may change."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from types import CodeType
from typing import TYPE_CHECKING, Any

from ..model.flow import LOADED, innermost
from ..values.hashing import sha256, sha256_hex

if TYPE_CHECKING:
    from ..model.flow import TaskDefinition

_ONLY_AST = 0x400  # ast.PyCF_ONLY_AST; the parser is built in, the module `ast` takes long
# Of how a name is used, how a text is written, and what only some versions of Python have.
_SKIPPED = frozenset({"ctx", "kind", "type_comment", "type_params"})
_DOCUMENTED = frozenset({"FunctionDef", "AsyncFunctionDef", "ClassDef"})
SIMPLE = (type(None), bool, int, float, complex, str, bytes)
"""Types of constants whose values count."""

_Nodes = dict[tuple[int, str], Any]
"""The functions of a file, by first line and name."""

Source = tuple[str, int, int]
"""A file and how it looked: path, mtime in ns, size."""

_modules: dict[Source, tuple[str, set[tuple[str, int]]]] = {}
_files: dict[Source, tuple[_Nodes, bool]] = {}
# By the code object itself: equal ones may differ in their annotations.
_hashes: dict[int, tuple[CodeType, str]] = {}


def fingerprint(function: Any) -> str:
    """Return the sha256 (hex) of the function's own code.

    Of its syntax tree: comments, formatting, docstrings, its decorators, default
    values (they count as parameters) and the markers in its annotations change nothing.
    Variables of an enclosing function count where they are plain constants. What the
    function calls does not count. Without a source file, its bytecode is taken.
    """
    return fingerprint_alone(innermost(function))


def fingerprint_alone(function: Any) -> str:
    """Return what `fingerprint` does, of a wrapper itself and not of what it wraps."""
    code: CodeType = function.__code__
    if id(code) not in _hashes:
        node = _find(function, code)
        # For code without source, the version of Python is part of what the bytecode is.
        text = "".join(_code_text(code)) if node is None else "".join(_task_text(node))
        _hashes[id(code)] = (code, sha256_hex(text))
    digest = _hashes[id(code)][1]
    constants = _enclosed(function, code)
    return sha256_hex(f"{digest} {constants}") if constants else digest


def code_of(task: TaskDefinition) -> tuple[str, tuple[Source, ...]]:
    """Return the fingerprint of a task as it asks for it, and the files it was read from.

    "" where its code does not count. While the files stay as they are, so does the fingerprint.
    There are none where no files alone say what it is.
    """
    if task.options.code == "off":
        return "", ()
    if task.options.code == "deep":
        from .call_graph import reach_task

        reached = reach_task(task)
        return reached.code, _sources(reached.files)
    return fingerprint(task.function), _sources([file_of(innermost(task.function))])


def _sources(files: Iterable[str]) -> tuple[Source, ...]:
    sources = []
    for path in files:
        source = _source(os.path.abspath(path) if path else "")
        if source is None or _is_edited(source):
            return ()
        sources.append(source)
    return tuple(sources)


def _source(path: str) -> Source | None:
    """Return how a file looks, None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (path, status.st_mtime_ns, status.st_size)


def _is_edited(source: Source) -> bool:
    """Whether a file was edited after this process had loaded it."""
    return source[1] / 1e9 >= LOADED


def is_unchanged(sources: Sequence[Sequence[Any]]) -> bool:
    """Whether files are as they were for `code_of`; of a record, they are lists."""
    return bool(sources) and all(_source(source[0]) == tuple(source) for source in sources)


def changed(task: TaskDefinition, code: str, sources: Sequence[Sequence[Any]] = ()) -> str:
    """Return a task's fingerprint where it is no longer `code`, else "".

    `sources` are the files that `code_of` returned: while they stay nothing is read.
    """
    if not code or is_unchanged(sources):
        return ""
    now, _ = code_of(task)
    return "" if now == code else now


def module_text(path: str) -> tuple[str, set[tuple[str, int]]]:
    """Return what counts of a whole file of code, and the (module, level) that it imports."""
    source = _source(path)
    if source is None:
        return "", set()
    if source not in _modules:
        _modules[source] = _read_module(_read(path))
    return _modules[source]


def _read_module(source: bytes) -> tuple[str, set[tuple[str, int]]]:
    tree = _tree(source)
    if tree is None:
        return sha256(source).hexdigest(), set()  # a library of compiled code
    imports: set[tuple[str, int]] = set()
    for node in _walk(tree):
        kind = type(node).__name__
        if kind == "Import":
            imports.update((alias.name, 0) for alias in node.names)
        elif kind == "ImportFrom":
            module = node.module or ""
            imports.add((module, node.level))
            prefix = f"{module}." if module else ""
            imports.update((f"{prefix}{alias.name}", node.level) for alias in node.names)
    return "".join(_body(tree)), imports


def file_of(function: Any) -> str:
    """Return the path of the file that a function stands in, which may be none."""
    code: CodeType = function.__code__
    filename = code.co_filename
    if not os.path.isabs(filename):
        # As it was written on the command line; the working directory may be another now.
        module = function.__globals__.get("__file__") or ""
        if os.path.basename(module) == os.path.basename(filename):
            return str(module)
    return filename


def text_of(value: Any) -> str:
    """Return the text of a function or class as its file has it; "" where that is not known."""
    import linecache
    from textwrap import dedent

    if isinstance(value, type):
        import inspect

        try:
            return dedent(inspect.getsource(value))
        except (OSError, TypeError):
            return ""
    function = innermost(value)
    code = getattr(function, "__code__", None)
    node = _find(function, code) if isinstance(code, CodeType) else None
    if node is None:
        return ""
    path = file_of(function)
    linecache.checkcache(path)
    return dedent("".join(linecache.getlines(path)[node.lineno - 1 : node.end_lineno]))


def _enclosed(function: Any, code: CodeType) -> list[tuple[str, str, str]]:
    """Return the plain constants among the variables of enclosing functions."""
    constants = []
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            value = cell.cell_contents
        except ValueError:  # A variable that has no value yet.
            continue
        if type(value) in SIMPLE:
            constants.append((name, type(value).__name__, repr(value)))
    return constants


def _find(function: Any, code: CodeType) -> Any:
    """Return the function's node in its file's syntax tree, or None."""
    filename = file_of(function)
    source = _source(filename)
    if source is None:
        import linecache  # Notebooks leave the text of their cells there.

        return _parse("".join(linecache.getlines(filename))).get(_key(code))
    if source not in _files:
        _files[source] = _parse(_read(filename)), _is_edited(source)
    nodes, is_edited = _files[source]
    if is_edited and not _contains(_compiled(_read(filename), filename), code):
        return None  # What runs is the older code.
    return nodes.get(_key(code))


def _key(code: CodeType) -> tuple[int, str]:
    return code.co_firstlineno, code.co_name


def _read(filename: str) -> bytes:
    try:
        with open(filename, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _compiled(source: bytes | str, filename: str, flags: int = 0) -> Any:
    """Return code, or with `_ONLY_AST` its syntax tree; None for what is no Python."""
    try:
        return compile(source, filename, "exec", flags, dont_inherit=True)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def _tree(source: bytes | str) -> Any:
    return _compiled(source, "<source>", _ONLY_AST)


def _contains(outer: CodeType | None, code: CodeType) -> bool:
    stack = [outer] if outer is not None else []
    while stack:
        candidate = stack.pop()
        if candidate == code:
            return True
        stack.extend(inner for inner in candidate.co_consts if isinstance(inner, CodeType))
    return False


def _parse(source: bytes | str) -> _Nodes:
    tree = _tree(source)
    nodes: _Nodes = {}
    for node in _walk(tree) if tree is not None else ():
        if type(node).__name__ in ("FunctionDef", "AsyncFunctionDef"):
            # As a code object counts its lines: from the first decorator on.
            first = node.decorator_list[0] if node.decorator_list else node
            nodes[first.lineno, node.name] = node
    return nodes


def _walk(tree: Any) -> Iterator[Any]:
    stack: list[Any] = [tree]
    while stack:
        node = stack.pop()
        yield node
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, list):
                stack.extend(child for child in value if hasattr(child, "_fields"))
            elif hasattr(value, "_fields"):
                stack.append(value)


def _task_text(node: Any) -> Iterator[str]:
    arguments = node.args
    for argument in (*arguments.args, *arguments.kwonlyargs):
        yield f"{argument.arg}:"
        yield from _text(_unmarked(argument.annotation))
        yield ";"
    yield "->"
    yield from _text(_unmarked(node.returns))
    yield from _body(node)


def _unmarked(annotation: Any) -> Any:
    """Take the type out of ``Annotated[type, ...]``."""
    if type(annotation).__name__ == "Subscript":
        base = annotation.value
        name = getattr(base, "id", None) or getattr(base, "attr", None)
        if name == "Annotated" and type(annotation.slice).__name__ == "Tuple":
            return annotation.slice.elts[0]
    return annotation


def _body(node: Any) -> Iterator[str]:
    statements = node.body
    first: Any = statements[0] if statements else None
    if (
        type(first).__name__ == "Expr"
        and type(first.value).__name__ == "Constant"
        and isinstance(first.value.value, str)
    ):
        statements = statements[1:]
    yield "{"
    for statement in statements:
        yield from _text(statement)
    yield "}"


def _text(node: Any) -> Iterator[str]:
    if not hasattr(node, "_fields"):
        yield f"{type(node).__name__} {node!r}"
        return
    kind = type(node).__name__
    yield f"({kind}"
    for name, value in _counted_fields(node, kind):
        yield f" {name}="
        if isinstance(value, list):
            yield "["
            for child in value:
                yield from _text(child)
                yield ","
            yield "]"
        else:
            yield from _text(value)
    if kind in _DOCUMENTED:
        yield from _body(node)
    yield ")"


def _counted_fields(node: Any, kind: str) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a node that count, but for the body of what may have a docstring."""
    for name in node._fields:
        if name in _SKIPPED or (name == "body" and kind in _DOCUMENTED):
            continue
        value = getattr(node, name, None)
        # Fields that are empty differ between the versions of Python.
        if value in (None, []) and not (kind == "Constant" and name == "value"):
            continue
        yield name, value


def _code_text(code: CodeType, depth: int = 0) -> Iterator[str]:
    if depth == 0:
        yield f"{sys.version_info[:2]} "
    yield f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {code.co_freevars} "
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code_text(constant, depth + 1)
        elif isinstance(constant, frozenset):  # Its order differs from process to process.
            yield f"frozenset {sorted(map(repr, constant))} "
        else:
            yield f"{type(constant).__name__} {constant!r} "
