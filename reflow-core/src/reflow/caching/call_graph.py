"""What a task reaches of the user's own modules: the fingerprint of ``code="deep"``.

From the function on: what its code names in its module, of its closure and as attributes of
modules, transitively. Imported only where a task asks for it.
"""

from __future__ import annotations

import dis
import functools
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from importlib.machinery import PathFinder
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from ..model.flow import innermost
from ..model.signature import RUN_DIR
from ..values.hashing import sha256_hex
from .code_fingerprint import SIMPLE, file_of, fingerprint_alone, module_text

if TYPE_CHECKING:
    from ..model.flow import TaskDefinition

_STDLIB = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_BY_REPR = frozenset({"datetime", "decimal", "fractions", "uuid", "pathlib", "ipaddress"})
_WORDS = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_NOT_CODE = frozenset(
    {
        "__module__", "__doc__", "__dict__", "__weakref__", "__qualname__", "__firstlineno__",
        "__static_attributes__", "__annotations__", "__annotate__", "__annotate_func__",
        "__annotations_cache__", "__dataclass_fields__", "__dataclass_params__",
        "__attrs_attrs__", "__attrs_props__", "__attrs_own_setattr__", "__abstractmethods__",
        "_abc_impl", "__parameters__", "__orig_bases__", "__match_args__", "__slots__",
    }
)  # fmt: skip
_DESCRIPTORS = frozenset({"member_descriptor", "getset_descriptor", "_tuplegetter"})
_DATACLASS = ("init", "repr", "eq", "order", "unsafe_hash", "frozen")
"""What every version of Python knows of a dataclass; fields have the rest of their own."""
_MISSING = object()

Chain = tuple[str, ...]
"""A name and the attributes that are read off it: ("global", "helpers", "scale"); or what a
function imports: ("import", module, level)."""


class Part(NamedTuple):
    """Something that a task reaches: its name, and the sha256 of what it says itself.

    `value` is the function or class, or the text of a constant.
    """

    name: str
    digest: str
    value: Any


class Reached(NamedTuple):
    """What a task reaches. `files` are absolute paths, "" for what stands in no file."""

    code: str
    files: tuple[str, ...]
    parts: tuple[Part, ...]


def reach(function: Any, types: Iterable[object] = ()) -> Reached:
    """Return the fingerprint of a function and of all that it reaches of the user's modules.

    Functions by their own code (see `code_fingerprint`) and their default values; classes by
    their methods, bases and attributes; constants by value; a module that is imported inside a
    function, or used otherwise than by its attributes, whole, with those it imports. What belongs
    to an installed distribution counts by its version, the standard library and reflow by
    nothing. `types` are what the values it takes and returns are made of.
    """
    walk = _Walk()
    walk.task(function, types)
    walk.follow_imports()
    text = "\n".join(walk.texts)
    parts: dict[str, Part] = {}
    for name, own, value in zip(walk.names, walk.texts, walk.values, strict=True):
        told = re.sub(r"#(\d+)", lambda found: walk.name_of(int(found[1])), own)
        parts.setdefault(name, Part(name, sha256_hex(told), value))
    for name, constant in walk.constants.items():
        parts.setdefault(name, Part(name, sha256_hex(constant), constant))
    return Reached(sha256_hex(f"deep {text}"), tuple(sorted(walk.files)), tuple(parts.values()))


def reach_task(task: TaskDefinition) -> Reached:
    """Return what a task reaches, by its function and its annotations."""
    signature = task.signature()
    types = [one.annotation for one in signature.parameters if one.kind != RUN_DIR]
    return reach(task.function, [*types, signature.returns])


class _Walk:
    """One walk from a task; functions, classes and modules get numbers as they are met."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.names: list[str] = []
        self.values: list[Any] = []
        self.files: dict[str, str] = {}
        self.constants: dict[str, str] = {}
        self._numbers: dict[int, int] = {}
        self._open: set[int] = set()
        self._task: object = None
        self._modules: dict[str, Any] = {}

    def name_of(self, number: int) -> str:
        return self.names[number] if number < len(self.names) else str(number)

    def task(self, function: Any, types: Iterable[object]) -> None:
        """Begin with a task: its default values count as its parameters."""
        self._task = innermost(function)
        while not isinstance(function, FunctionType):
            function = function.__wrapped__  # by what gives it a cache, or the like
        self._enter(function, _name(function), lambda: self._function(function))
        self.texts[0] += " " + " ".join(map(self._type, types))

    def _enter(self, value: Any, name: str, tell: Callable[[], str]) -> str:
        number = len(self.texts)
        self._numbers[id(value)] = number
        self.texts.append("")
        self.names.append(name)
        self.values.append(value)  # keeps it alive, so that its id stays its own
        self.texts[number] = tell()
        return f"#{number}"

    # Values

    def refer(self, value: Any) -> str:
        """Return what stands for a value: its number, or all that it is."""
        kind = type(value)
        if kind in SIMPLE:
            return f"{kind.__name__} {value!r}"
        number = self._numbers.get(id(value))
        if number is not None:
            return f"#{number}"
        if isinstance(value, ModuleType):
            return self._module(value)
        if isinstance(value, FunctionType):
            if _is_own_function(value):
                return self._enter(value, _name(value), lambda: self._function(value))
            if not hasattr(value, "__wrapped__"):
                return _named(value)
            # It goes by the name of what it wraps.
            module = str(value.__globals__.get("__name__", ""))
            told = f"{module}.{value.__code__.co_name} {_version(module.partition('.')[0])}"
            return self._inside(value, lambda: f"{told} {self._closure(value)}")
        if isinstance(value, type):
            if is_own(_module_file(value.__module__), value.__module__):
                return self._enter(value, _name(value), lambda: self._class(value))
            return _named(value)
        if isinstance(value, MethodType):
            owner = self._inside(value, lambda: self.refer(value.__self__))
            return f"{self.refer(value.__func__)} of {owner}"
        if isinstance(value, BuiltinFunctionType):
            return _named(value)
        return self._inside(value, lambda: self._instance(value))

    def _inside(self, value: Any, tell: Callable[[], str]) -> str:
        """Tell what is in a value, once where it is in itself."""
        if id(value) in self._open:
            return "itself"
        self._open.add(id(value))
        try:
            return tell()
        finally:
            self._open.discard(id(value))

    def _all(self, values: Iterable[Any]) -> str:
        return ",".join(map(self.refer, values))

    def _pairs(self, pairs: Iterable[tuple[Any, Any]]) -> str:
        return ",".join(f"{self.refer(key)}:{self.refer(one)}" for key, one in pairs)

    def _instance(self, value: Any) -> str:
        kind = type(value)
        made = self.refer(kind)
        enum = sys.modules.get("enum")
        if enum is not None and isinstance(value, enum.Enum):
            return f"{made}.{value.name}"
        if isinstance(value, (list, tuple)):
            return f"{made}[{self._all(value)}]"
        if isinstance(value, (set, frozenset)):
            return f"{made}{{{','.join(sorted(map(self.refer, value)))}}}"
        if isinstance(value, dict):
            factory = getattr(value, "default_factory", None)
            return f"{made}{{{self._pairs(value.items())}}}{self.refer(factory)}"
        if isinstance(value, (property, functools.cached_property, staticmethod, classmethod)):
            names = ("fget", "fset", "fdel", "func", "__func__")
            found = [getattr(value, name, None) for name in names]
            return f"{made}({self._all(one for one in found if one is not None)})"
        if isinstance(value, (functools.partial, functools.partialmethod)):
            kept = self._pairs(sorted(value.keywords.items()))
            return f"{made}({self.refer(value.func)},{self._all(value.args)},{kept})"
        if isinstance(value, re.Pattern):
            return f"{made}({value.pattern!r},{value.flags})"
        top = kind.__module__.partition(".")[0]
        if top in _BY_REPR or isinstance(value, (range, slice, bytearray)):
            return repr(value)
        if top in ("collections", "builtins") and kind.__name__ in ("deque", "mappingproxy"):
            items = dict(value).items() if kind.__name__ == "mappingproxy" else enumerate(value)
            return f"{made}{{{self._pairs(items)}}}"
        dtype = getattr(value, "dtype", None)
        if top == "numpy" and dtype is not None and not getattr(dtype, "hasobject", True):
            data = sha256(value.tobytes()).hexdigest()
            return f"{made}({dtype.str},{value.shape},{data})"
        base = next((one for one in SIMPLE if isinstance(value, one)), None)
        if base is not None:
            made += f" {base.__repr__(value)}"  # type: ignore[call-arg]
        state = self._state(value)
        if is_own(_module_file(kind.__module__), kind.__module__):
            return f"{made}({self._pairs(state)})"
        held = [(name, one) for name, one in state if isinstance(one, (FunctionType, type))]
        return f"{made}({self._pairs(held)})"

    @staticmethod
    def _state(value: Any) -> list[tuple[str, Any]]:
        found = dict(getattr(value, "__dict__", None) or {})
        for kind in type(value).__mro__:
            slots = kind.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if name not in ("__weakref__", "__dict__"):
                    found[name] = getattr(value, name, None)
        return sorted(found.items())

    # Functions

    def _function(self, function: Any) -> str:
        package = str(function.__globals__.get("__package__") or "")
        self._note(file_of(function), package)
        told = [fingerprint_alone(function)]
        if function is not self._task:
            told.append(self._all(function.__defaults__ or ()))
            told.append(self._pairs(sorted((function.__kwdefaults__ or {}).items())))
        free = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        seen: set[str] = set()
        for chain in sorted(set(_chains(function.__code__))):
            if chain[0] == "import":
                told.append(f"{chain[1]}={self._imported(chain[1], int(chain[2]), package)}")
            elif chain[0] == "free":
                seen.add(chain[1])
                told.append(self._chain(chain, _content(free.get(chain[1])), ""))
            elif chain[1] in function.__globals__:
                module = str(function.__globals__.get("__name__", ""))
                told.append(self._chain(chain, function.__globals__[chain[1]], module))
        told.append(self._closure(function, seen))
        return " ".join(told)

    def _closure(self, function: Any, seen: Iterable[str] = ()) -> str:
        """Tell of what a function holds: the one that it wraps is there, too."""
        names = function.__code__.co_freevars
        told = [
            f"{name}={self.refer(_content(cell))}"
            for name, cell in zip(names, function.__closure__ or (), strict=True)
            if name not in seen
        ]
        wrapped = getattr(function, "__wrapped__", None)
        if wrapped is not None:
            told.append(f"wrapped={self.refer(wrapped)}")
        return " ".join(told)

    def _chain(self, chain: Chain, value: Any, module: str) -> str:
        """Tell of what a name stands for; attributes are followed through own modules only."""
        path, rest = [chain[1]], list(chain[2:])
        while rest and isinstance(value, ModuleType) and _is_own_module(value):
            module = value.__name__
            self._note(getattr(value, "__file__", None) or "", value.__package__ or "")
            path.append(rest.pop(0))
            value = getattr(value, path[-1], _MISSING)
        text = "missing" if value is _MISSING else self.refer(value)
        if not text.startswith("#") and not isinstance(value, (ModuleType, *_NAMED)):
            self.constants[_short(module, path[-1])] = text
        return f"{'.'.join(path)}={text}"

    # Classes

    def _class(self, cls: type) -> str:
        file = _module_file(cls.__module__)
        self._note(file, getattr(sys.modules.get(cls.__module__), "__package__", None) or "")
        told = [cls.__name__, self._all(one for one in cls.__bases__ if one is not object)]
        if type(cls) is not type:
            told.append(self.refer(type(cls)))
        try:
            annotations = dict(cls.__annotations__)
        except Exception:  # evaluated only now by Python 3.14, and of the user's names
            annotations = {}
        space = vars(sys.modules.get(cls.__module__)) if cls.__module__ in sys.modules else {}
        told.extend(f"{name}:{self._type(one, space)}" for name, one in sorted(annotations.items()))
        members = getattr(cls, "__members__", {}) if hasattr(cls, "_member_map_") else {}
        told.extend(f"{name}={self.refer(one.value)}" for name, one in members.items())
        for name, value in sorted(vars(cls).items()):
            if name in _NOT_CODE or name in members or (members and name.startswith("_")):
                continue
            if type(value).__name__ in _DESCRIPTORS or (os.path.exists(file) and _is_made(value)):
                continue
            if name == "__replace__" and not _is_own_function(value):
                continue  # Python 3.13 adds it
            told.append(f"{name}={self.refer(value)}")
        params = cls.__dict__.get("__dataclass_params__")
        if params is not None:
            told.append(repr([getattr(params, name) for name in _DATACLASS]))
        for one in cls.__dict__.get("__dataclass_fields__", {}).values():
            flags = (one.init, one.repr, one.hash, one.compare, getattr(one, "kw_only", False))
            made = self._all((one.default, one.default_factory))
            told.append(f"{one.name}={made}{flags}")
        for one in cls.__dict__.get("__attrs_attrs__", ()):
            default = getattr(one.default, "factory", one.default)
            made = self._all((default, one.validator, one.converter))
            told.append(f"{one.name}={made}{(one.init, one.repr, one.eq, one.kw_only)}")
        return " ".join(told)

    def _type(self, value: Any, space: dict[str, Any] | None = None) -> str:
        """Tell of a type as annotations have them, and of the own classes in it."""
        if isinstance(value, str):
            found = []
            for word in _WORDS.findall(value):
                first, *rest = word.split(".")
                one = (space or {}).get(first)
                for name in rest:
                    one = getattr(one, name, None)
                if isinstance(one, type):
                    found.append(self.refer(one))
            return f"{value!r} {' '.join(found)}"
        arguments = getattr(value, "__args__", None)
        if isinstance(arguments, tuple):
            origin = getattr(value, "__origin__", type(value))
            parts = " ".join(self._type(one, space) for one in arguments)
            return f"[{self._type(origin, space)} {parts}]"
        if isinstance(value, type) or type(value) in SIMPLE:
            return self.refer(value)
        return repr(value)

    # Modules

    def _module(self, module: ModuleType) -> str:
        if _is_own_module(module):
            return self._file(getattr(module, "__file__", None) or "", module.__name__, module)
        return _version(module.__name__.partition(".")[0]) or module.__name__

    def _imported(self, name: str, level: int, package: str) -> str:
        """Tell of a module that a function imports, without importing it."""
        name = _absolute(name, level, package)
        path = _module_path(name)
        if path is None:
            return f"missing {name}"
        if not is_own(path, name):
            return _version(name.partition(".")[0]) or name
        return self._file(path, name, path)

    def _file(self, path: str, name: str, key: Any) -> str:
        if not path:
            return name  # a package without a file of its own
        key = self._modules.setdefault(path, key)
        number = self._numbers.get(id(key))
        if number is not None:
            return f"#{number}"
        return self._enter(key, _short("", name), lambda: self._whole(path, name))

    def _whole(self, path: str, name: str) -> str:
        text, imports = module_text(path)
        inside = _package(path, name)
        self._note(path, inside)
        told = [sha256_hex(text)]
        for module, level in sorted(imports):
            told.append(f"{module}={self._imported_whole(module, level, inside)}")
        return " ".join(told)

    def _note(self, path: str, package: str) -> None:
        self.files.setdefault(os.path.abspath(path) if os.path.isfile(path) else "", package)

    def follow_imports(self) -> None:
        """Note the files whose names are imported: a constant does not say where it is from."""
        left = list(self.files.items())
        while left:
            path, package = left.pop()
            for module, level in module_text(path)[1]:
                name = _absolute(module, level, package)
                found = _module_path(name)
                if found and found not in self.files and is_own(found, name):
                    inside = _package(found, name)
                    self._note(found, inside)
                    left.append((found, inside))

    def _imported_whole(self, module: str, level: int, package: str) -> str:
        found = self._imported(module, level, package)
        # `from package import name`: the name may be a module or something in it.
        if found.startswith("missing") and "." in module:
            return self._imported(module.rpartition(".")[0], level, package)
        return found


def _package(path: str, module: str) -> str:
    """Return the package that a module's relative imports start from."""
    is_package = os.path.basename(path) == "__init__.py"
    return module if is_package else module.rpartition(".")[0]


_NAMED = (FunctionType, BuiltinFunctionType, type)


def _name(value: Any) -> str:
    return _short(str(getattr(value, "__module__", "") or ""), getattr(value, "__qualname__", "?"))


def _short(module: str, name: str) -> str:
    """Return a name as people know it: a script has another module's name in each process."""
    return name if module in ("", "__main__", "__reflow_main__") else f"{module}.{name}"


def _is_made(value: Any) -> bool:
    """Whether a function has no source: a decorator or base made it of what is told anyway."""
    function = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
    if not isinstance(function, FunctionType):
        return False
    code: CodeType = innermost(function).__code__  # type: ignore[attr-defined]
    return code.co_filename.startswith("<")


def _is_own_function(value: Any) -> bool:
    return isinstance(value, FunctionType) and is_own(
        file_of(value), str(value.__globals__.get("__name__", ""))
    )


def _named(value: Any) -> str:
    module = str(getattr(value, "__module__", "") or "")
    if module.partition(".")[0] in sys.stdlib_module_names:
        # Where in the standard library it really is differs between the versions of Python.
        module = ".".join(part for part in module.split(".") if not part.startswith("_"))
    name = getattr(value, "__qualname__", type(value).__qualname__)
    return f"{module}.{name} {_version(module.partition('.')[0])}".rstrip()


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except (ValueError, AttributeError):
        return _MISSING


def _absolute(name: str, level: int, package: str) -> str:
    """Return the full name of a module that is imported in a package, relative or not."""
    if not level:
        return name
    base = package.rsplit(".", level - 1)[0] if level > 1 else package
    return f"{base}.{name}" if name else base


def _is_own_module(module: ModuleType) -> bool:
    return is_own(getattr(module, "__file__", None) or "", module.__name__)


def _module_file(name: str) -> str:
    return getattr(sys.modules.get(name), "__file__", None) or ""


def is_own(path: str, name: str) -> bool:
    """Whether code in a file, of the module of that name, is the user's own."""
    top = name.partition(".")[0]
    if top == "reflow" or path.startswith("<frozen"):
        return False
    if not path or path.startswith("<"):
        return top not in sys.stdlib_module_names
    parts = path.split(os.sep)
    if "site-packages" in parts or "dist-packages" in parts:
        return False
    return not os.path.abspath(path).startswith(_STDLIB)


@functools.cache
def _version(top: str) -> str:
    """Return the distributions that a module belongs to, as ``name==version``."""
    if not top or top in sys.stdlib_module_names or top in ("reflow", "__main__"):
        return ""
    from importlib import metadata

    try:
        return f"{top}=={metadata.version(top)}"
    except (metadata.PackageNotFoundError, ValueError):
        found = sorted(set(metadata.packages_distributions().get(top, ())))
        return ",".join(f"{name}=={metadata.version(name)}" for name in found)


def _module_path(name: str) -> str | None:
    """Return the file of a module, "" for a built-in one, None where there is none.

    Nothing is imported for that: a library may be heavy, or not there on a login node.
    """
    if name in sys.modules:
        return getattr(sys.modules[name], "__file__", None) or ""
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
        full = top
        for one in rest:
            if spec is None or spec.submodule_search_locations is None:
                return None
            full = f"{full}.{one}"
            spec = PathFinder.find_spec(full, list(spec.submodule_search_locations))
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    return spec.origin if spec.has_location and spec.origin else ""


def _chains(code: CodeType) -> Iterator[Chain]:
    """Yield the names that code loads from outside, with attributes, and what it imports."""
    inner = [one for one in code.co_consts if isinstance(one, CodeType)]
    for one in inner:
        # What is free in there is a local here, or free here as well.
        for found in _chains(one):
            if found[0] != "free" or found[1] in code.co_freevars:
                yield found
    chain: list[str] = []
    constants: list[Any] = []
    for step in dis.get_instructions(code):
        kind = step.opname
        if chain and kind in ("LOAD_ATTR", "LOAD_METHOD"):
            chain.append(str(step.argval))
            continue
        if chain:
            yield tuple(chain)
            chain = []
        if kind in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
            chain = ["global", str(step.argval)]
        elif kind in ("LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"):
            if step.argval in code.co_freevars:
                chain = ["free", str(step.argval)]
        elif kind in ("LOAD_CONST", "LOAD_SMALL_INT"):
            constants.append(step.argval)
        elif kind == "IMPORT_NAME":
            level, names = constants[-2:]
            module = str(step.argval)
            yield ("import", module, str(level))
            for name in names or ():
                yield ("import", f"{module}.{name}" if module else name, str(level))
    if chain:
        yield tuple(chain)
