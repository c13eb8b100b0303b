"""A task's code as a hash that only changes when what it does may change."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from types import CodeType
from typing import Any

from .flow import LOADED, innermost
from .hashing import sha256_hex

_ONLY_AST = 0x400  # ast.PyCF_ONLY_AST; the parser is built in, the module `ast` takes long
_SKIPPED = frozenset({"ctx", "kind", "type_comment", "type_params"})
_SIMPLE = (type(None), bool, int, float, complex, str, bytes)

_Nodes = dict[tuple[int, str], Any]

_files: dict[tuple[str, int, int], tuple[_Nodes, bool]] = {}
# By the code object itself: equal ones may differ in their annotations.
_hashes: dict[int, tuple[CodeType, str]] = {}


def fingerprint(function: Any) -> str:
    """Return the sha256 (hex) of the function's own code.

    Of its syntax tree: comments, formatting, docstrings, its decorators, default
    values (they count as parameters) and the markers in its annotations change nothing.
    Variables of an enclosing function count where they are plain constants. What the
    function calls does not count. Without a source file, its bytecode is taken.
    """
    function = innermost(function)
    code: CodeType = function.__code__
    known = _hashes.get(id(code))
    if known is not None:
        digest = known[1]
    else:
        node = _find(function, code)
        # For code without source, the version of Python is part of what the bytecode is.
        text = "".join(_code_text(code)) if node is None else "".join(_task_text(node))
        digest = sha256_hex(text)
        _hashes[id(code)] = (code, digest)
    constants = _enclosed(function, code)
    return sha256_hex(f"{digest} {constants}") if constants else digest


def source_of(function: Any) -> tuple[str, int, int] | None:
    """Return (path, mtime in ns, size) of the file that a function's fingerprint was read off.

    While these stay, so does the fingerprint. None where no file alone says what it is.
    """
    code: CodeType = innermost(function).__code__  # type: ignore[attr-defined]
    path = os.path.abspath(_path(innermost(function), code))
    try:
        status = os.stat(path)
    except OSError:
        return None
    if status.st_mtime >= LOADED:
        return None  # it was edited after it was loaded
    return path, status.st_mtime_ns, status.st_size


def is_unchanged(source: Sequence[Any] | None) -> bool:
    """Whether a file is as `source_of` has found it."""
    if source is None:
        return False
    path, modified, size = source
    try:
        status = os.stat(path)
    except OSError:
        return False
    return bool((status.st_mtime_ns, status.st_size) == (modified, size))


def changed(function: Any, code: str, source: Sequence[Any] | None) -> str:
    """Return a function's fingerprint where it is no longer `code`, else "".

    `source` is what `source_of` told of it: while its file stays nothing is read.
    """
    if not code or is_unchanged(source):
        return ""
    found = fingerprint(function)
    return "" if found == code else found


def _path(function: Any, code: CodeType) -> str:
    filename = code.co_filename
    if not os.path.isabs(filename):
        # As it was written on the command line; the working directory may be another now.
        module = function.__globals__.get("__file__") or ""
        if os.path.basename(module) == os.path.basename(filename):
            return str(module)
    return filename


def _enclosed(function: Any, code: CodeType) -> list[tuple[str, str, str]]:
    found = []
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            value = cell.cell_contents
        except ValueError:  # A variable that has no value yet.
            continue
        if type(value) in _SIMPLE:
            found.append((name, type(value).__name__, repr(value)))
    return found


def _find(function: Any, code: CodeType) -> Any:
    """Return the function's node in its file's syntax tree, or None."""
    filename = _path(function, code)
    try:
        status = os.stat(filename)
    except OSError:
        import linecache  # Notebooks leave the text of their cells there.

        return _parse("".join(linecache.getlines(filename))).get(_key(code))
    key = (filename, status.st_mtime_ns, status.st_size)
    if key not in _files:
        source = _read(filename)
        changed = status.st_mtime >= LOADED
        _files[key] = _parse(source), changed
    nodes, changed = _files[key]
    if changed and not _contains(_compiled(_read(filename), filename), code):
        return None  # The file was edited after it was loaded: what runs is the older code.
    return nodes.get(_key(code))


def _key(code: CodeType) -> tuple[int, str]:
    return code.co_firstlineno, code.co_name


def _read(filename: str) -> bytes:
    try:
        with open(filename, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _compiled(source: bytes, filename: str) -> CodeType | None:
    try:
        return compile(source, filename, "exec", dont_inherit=True)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def _contains(outer: CodeType | None, code: CodeType) -> bool:
    stack = [outer] if outer is not None else []
    while stack:
        one = stack.pop()
        if one == code:
            return True
        stack.extend(part for part in one.co_consts if isinstance(part, CodeType))
    return False


def _parse(source: bytes | str) -> _Nodes:
    try:
        tree = compile(source, "<task>", "exec", _ONLY_AST, dont_inherit=True)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return {}
    found: _Nodes = {}
    stack: list[Any] = [tree]
    while stack:
        node = stack.pop()
        if type(node).__name__ in ("FunctionDef", "AsyncFunctionDef"):
            decorators = node.decorator_list
            line = decorators[0].lineno if decorators else node.lineno
            found[line, node.name] = node
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, list):
                stack.extend(one for one in value if hasattr(one, "_fields"))
            elif hasattr(value, "_fields"):
                stack.append(value)
    return found


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
    documented = kind in ("FunctionDef", "AsyncFunctionDef", "ClassDef")
    yield f"({kind}"
    for name in node._fields:
        if name in _SKIPPED or (documented and name == "body"):
            continue
        value = getattr(node, name, None)
        # Fields that are empty differ between the versions of Python.
        if value is None and not (kind == "Constant" and name == "value"):
            continue
        if isinstance(value, list):
            if value:
                yield f" {name}=["
                for one in value:
                    yield from _text(one)
                    yield ","
                yield "]"
            continue
        yield f" {name}="
        yield from _text(value)
    if documented:
        yield from _body(node)
    yield ")"


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
