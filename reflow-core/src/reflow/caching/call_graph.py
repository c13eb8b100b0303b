"""What a task reaches of the user's own modules: the fingerprint of ``code="deep"``.

From the function on: what its code names in its module, of its closure and as attributes of
modules, transitively. Imported only where a task asks for it.
"""

from __future__ import annotations

import dis
import enum
import functools
import importlib.util
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from hashlib import sha256
from importlib.machinery import PathFinder
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
)
from typing import TYPE_CHECKING, Any, NamedTuple

from ..model.first_paths import FIRST
from ..model.flow import innermost
from ..model.signature import RUN_DIR
from ..values.hashing import sha256_hex
from .code_fingerprint import SIMPLE, file_of, fingerprint_alone, module_text

if TYPE_CHECKING:
    from ..model.flow import TaskDefinition

_STDLIB = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
# Their repr says all that they are, and is the same in every version of Python.
_BY_REPR = frozenset({"datetime", "decimal", "fractions", "uuid", "pathlib", "ipaddress"})
# Dotted names in annotations that are texts.
_WORDS = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
# What Python, dataclasses and attrs add to a class: made of what counts anyway, or only where its
# text stands. Which of them there are differs between versions.
_NOT_CODE = frozenset(
    {
        "__module__", "__doc__", "__dict__", "__weakref__", "__qualname__", "__firstlineno__",
        "__static_attributes__", "__annotations__", "__annotate__", "__annotate_func__",
        "__annotations_cache__", "__dataclass_fields__", "__dataclass_params__",
        "__attrs_attrs__", "__attrs_props__", "__attrs_own_setattr__", "__abstractmethods__",
        "_abc_impl", "__parameters__", "__orig_bases__", "__match_args__", "__slots__",
    }
)  # fmt: skip
# The names of instructions differ between the versions of Python: 3.10 to 3.14.
_LOAD_GLOBAL = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_LOAD_FREE = frozenset({"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"})
# Slots and the like, which say nothing that the names of the attributes do not.
_DESCRIPTORS = frozenset({"member_descriptor", "getset_descriptor", "_tuplegetter"})
_DATACLASS = ("init", "repr", "eq", "order", "unsafe_hash", "frozen")
"""What every version of Python knows of a dataclass; fields have the rest of their own."""
_MISSING = object()

Chain = tuple[str, ...]
"""A name and the attributes that are read from it: ("global", "helpers", "scale"); or what a
function imports: ("import", module, level)."""


class Part(NamedTuple):
    """Something that a task reaches: its name, and the sha256 of its own text.

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
    walk.begin(function, types)
    walk.follow_imports()
    parts: dict[str, Part] = {}
    for name, text, value in zip(walk.names, walk.texts, walk.values, strict=True):
        # A number depends on what was met before; a part is compared by names.
        named = re.sub(r"#(\d+)", lambda match: walk.name_of(int(match[1])), text)
        parts.setdefault(name, Part(name, sha256_hex(named), value))
    for name, constant in walk.constants.items():
        parts.setdefault(name, Part(name, sha256_hex(constant), constant))
    code = sha256_hex("deep " + "\n".join(walk.texts))
    return Reached(code, tuple(sorted(walk.files)), tuple(parts.values()))


def reach_task(task: TaskDefinition) -> Reached:
    """Return what a task reaches, by its function and its annotations."""
    signature = task.signature()
    types = [
        parameter.annotation for parameter in signature.parameters if parameter.kind != RUN_DIR
    ]
    return reach(task.function, [*types, signature.returns])


class _Walk:
    """One walk from a task; functions, classes and modules get numbers as they are met.

    Each has a text, in which "#<number>" stands for others: so what refers to itself ends. The
    order in which things are met is part of the fingerprint. It must stay as it is, and with it
    the order of calls to `refer`.
    """

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

    def begin(self, function: Any, types: Iterable[object]) -> None:
        """Begin with a task: its default values count as its parameters."""
        self._task = innermost(function)
        while not isinstance(function, FunctionType):
            function = function.__wrapped__  # it was wrapped in a cache or the like
        self._number(function, _name(function), lambda: self._function(function))
        self.texts[0] += " " + " ".join(map(self._type, types))

    def _number(self, value: Any, name: str, describe: Callable[[], str]) -> str:
        number = len(self.texts)
        self._numbers[id(value)] = number
        self.texts.append("")
        self.names.append(name)
        self.values.append(value)  # keeps it alive, so that its id stays its own
        self.texts[number] = describe()
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
        for types, describe in _REFERENCES.items():
            if isinstance(value, types):
                return describe(self, value)
        return self._inside(value, lambda: self._instance(value))

    def _refer_to_function(self, value: FunctionType) -> str:
        if _is_own_function(value):
            return self._number(value, _name(value), lambda: self._function(value))
        if not hasattr(value, "__wrapped__"):
            return _named(value)
        # It goes by the name of what it wraps.
        module = str(value.__globals__.get("__name__", ""))
        name = f"{module}.{value.__code__.co_name} {_version(module.partition('.')[0])}"
        return self._inside(value, lambda: f"{name} {self._closure(value)}")

    def _refer_to_class(self, value: type) -> str:
        if is_own(_module_file(value.__module__), value.__module__):
            return self._number(value, _name(value), lambda: self._class(value))
        return _named(value)

    def _refer_to_method(self, value: MethodType) -> str:
        owner = self._inside(value, lambda: self.refer(value.__self__))
        return f"{self.refer(value.__func__)} of {owner}"

    def _inside(self, value: Any, describe: Callable[[], str]) -> str:
        """Describe what is in a value, once where it contains itself."""
        if id(value) in self._open:
            return "itself"
        self._open.add(id(value))
        try:
            return describe()
        finally:
            self._open.discard(id(value))

    def _all(self, values: Iterable[Any]) -> str:
        return ",".join(map(self.refer, values))

    def _pairs(self, pairs: Iterable[tuple[Any, Any]]) -> str:
        return ",".join(f"{self.refer(key)}:{self.refer(value)}" for key, value in pairs)

    def _instance(self, value: Any) -> str:
        kind = self.refer(type(value))
        for types, describe in _CONTENTS.items():
            if isinstance(value, types):
                return kind + describe(self, value)
        top = type(value).__module__.partition(".")[0]
        if top in _BY_REPR or isinstance(value, (range, slice, bytearray)):
            return repr(value)
        if type(value) in (deque, MappingProxyType):  # what is derived from these may hold more
            items = enumerate(value) if isinstance(value, deque) else value.items()
            return f"{kind}{{{self._pairs(items)}}}"
        if top == "numpy" and not getattr(getattr(value, "dtype", None), "hasobject", True):
            content = sha256(value.tobytes()).hexdigest()
            return f"{kind}({value.dtype.str},{value.shape},{content})"
        return self._object(value, kind)

    def _dict(self, value: Any) -> str:
        factory = getattr(value, "default_factory", None)
        return f"{{{self._pairs(value.items())}}}{self.refer(factory)}"

    def _descriptor(self, value: Any) -> str:
        names = ("fget", "fset", "fdel", "func", "__func__")
        functions = [getattr(value, name, None) for name in names]
        return f"({self._all(function for function in functions if function is not None)})"

    def _partial(self, value: Any) -> str:
        keywords = self._pairs(sorted(value.keywords.items()))
        return f"({self.refer(value.func)},{self._all(value.args)},{keywords})"

    def _object(self, value: Any, kind: str) -> str:
        """Describe an object by its attributes; of a library's only what is code."""
        simple = next((simple for simple in SIMPLE if isinstance(value, simple)), None)
        if simple is not None:
            kind += f" {simple.__repr__(value)}"  # type: ignore[call-arg]
        state = _state(value)
        module = type(value).__module__
        if not is_own(_module_file(module), module):
            state = [(name, held) for name, held in state if isinstance(held, (FunctionType, type))]
        return f"{kind}({self._pairs(state)})"

    # Functions

    def _function(self, function: Any) -> str:
        package = str(function.__globals__.get("__package__") or "")
        module = str(function.__globals__.get("__name__", ""))
        self._note(file_of(function), package)
        texts = [fingerprint_alone(function)]
        # A task's own default values are values of its parameters, which identities have anyway.
        if function is not self._task:
            texts.append(self._all(function.__defaults__ or ()))
            texts.append(self._pairs(sorted((function.__kwdefaults__ or {}).items())))
        free = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        followed: set[str] = set()
        # Sorted: the order of instructions is no part of what a function does.
        for chain in sorted(set(_chains(function.__code__))):
            kind, name = chain[:2]
            if kind == "import":
                texts.append(f"{name}={self._imported(name, int(chain[2]), package)}")
            elif kind == "free":
                followed.add(name)
                texts.append(self._chain(chain, _content(free.get(name)), ""))
            elif name in function.__globals__:  # or it is a builtin, or will be an error
                texts.append(self._chain(chain, function.__globals__[name], module))
        texts.append(self._closure(function, followed))
        return " ".join(texts)

    def _closure(self, function: Any, followed: Container[str] = ()) -> str:
        """Describe what a function holds: the one that it wraps is there, too."""
        names = function.__code__.co_freevars
        texts = [
            f"{name}={self.refer(_content(cell))}"
            for name, cell in zip(names, function.__closure__ or (), strict=True)
            if name not in followed
        ]
        wrapped = getattr(function, "__wrapped__", None)
        if wrapped is not None:
            texts.append(f"wrapped={self.refer(wrapped)}")
        return " ".join(texts)

    def _chain(self, chain: Chain, value: Any, module: str) -> str:
        """Describe what a name stands for; attributes are followed through own modules only."""
        path, attributes = [chain[1]], list(chain[2:])
        while attributes and isinstance(value, ModuleType) and _is_own_module(value):
            module = value.__name__
            self._note(getattr(value, "__file__", None) or "", value.__package__ or "")
            path.append(attributes.pop(0))
            value = getattr(value, path[-1], _MISSING)
        text = "missing" if value is _MISSING else self.refer(value)
        # What has a number, or is another's, is no constant: it has a text of its own, or a name.
        if not text.startswith("#") and not isinstance(value, (ModuleType, *_NAMED)):
            self.constants[_short(module, path[-1])] = text
        return f"{'.'.join(path)}={text}"

    # Classes

    def _class(self, cls: type) -> str:
        module = sys.modules.get(cls.__module__)
        self._note(_module_file(cls.__module__), getattr(module, "__package__", None) or "")
        texts = [cls.__name__, self._all(base for base in cls.__bases__ if base is not object)]
        if type(cls) is not type:
            texts.append(self.refer(type(cls)))
        names = vars(module) if module is not None else {}
        for name, annotation in _annotations(cls):
            texts.append(f"{name}:{self._type(annotation, names)}")
        members = getattr(cls, "__members__", {}) if hasattr(cls, "_member_map_") else {}
        texts.extend(f"{name}={self.refer(member.value)}" for name, member in members.items())
        for name, value in _attributes(cls, members):
            texts.append(f"{name}={self.refer(value)}")
        texts.extend(self._fields(cls))
        return " ".join(texts)

    def _fields(self, cls: type) -> Iterator[str]:
        """Describe what the decorators of dataclasses and attrs were told of a class."""
        params = cls.__dict__.get("__dataclass_params__")
        if params is not None:
            yield repr([getattr(params, name) for name in _DATACLASS])
        for field in cls.__dict__.get("__dataclass_fields__", {}).values():
            flags = (field.init, field.repr, field.hash, field.compare)
            keyword_only = getattr(field, "kw_only", False)
            values = self._all((field.default, field.default_factory))
            yield f"{field.name}={values}{(*flags, keyword_only)}"
        for field in cls.__dict__.get("__attrs_attrs__", ()):
            default = getattr(field.default, "factory", field.default)
            values = self._all((default, field.validator, field.converter))
            yield f"{field.name}={values}{(field.init, field.repr, field.eq, field.kw_only)}"

    def _type(self, value: Any, names: Mapping[str, Any] | None = None) -> str:
        """Describe a type as annotations have it, and the user's own classes in it."""
        if isinstance(value, str):
            classes = [_looked_up(word, names or {}) for word in _WORDS.findall(value)]
            own = [self.refer(cls) for cls in classes if isinstance(cls, type)]
            return f"{value!r} {' '.join(own)}"
        arguments = getattr(value, "__args__", None)
        if isinstance(arguments, tuple):
            origin = getattr(value, "__origin__", type(value))
            described = " ".join(self._type(argument, names) for argument in arguments)
            return f"[{self._type(origin, names)} {described}]"
        if isinstance(value, type) or type(value) in SIMPLE:
            return self.refer(value)
        return repr(value)

    # Modules

    def _module(self, module: ModuleType) -> str:
        if _is_own_module(module):
            return self._file(getattr(module, "__file__", None) or "", module.__name__, module)
        return _version(module.__name__.partition(".")[0]) or module.__name__

    def _imported(self, name: str, level: int, package: str) -> str:
        """Describe a module that a function imports, without importing it."""
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
        # A file may be met as a module and as a path, and has one number all the same.
        key = self._modules.setdefault(path, key)
        number = self._numbers.get(id(key))
        if number is not None:
            return f"#{number}"
        return self._number(key, _short("", name), lambda: self._whole(path, name))

    def _whole(self, path: str, name: str) -> str:
        text, imports = module_text(path)
        package = _package(path, name)
        self._note(path, package)
        texts = [sha256_hex(text)]
        for module, level in sorted(imports):
            texts.append(f"{module}={self._imported_whole(module, level, package)}")
        return " ".join(texts)

    def _imported_whole(self, module: str, level: int, package: str) -> str:
        text = self._imported(module, level, package)
        # `from package import name`: the name may be a module or something in it.
        if text.startswith("missing") and "." in module:
            return self._imported(module.rpartition(".")[0], level, package)
        return text

    def _note(self, path: str, package: str) -> None:
        self.files.setdefault(os.path.abspath(path) if os.path.isfile(path) else "", package)

    def follow_imports(self) -> None:
        """Note the files whose names are imported: a constant does not say where it is from."""
        pending = list(self.files.items())
        while pending:
            path, package = pending.pop()
            for module, level in module_text(path)[1]:
                name = _absolute(module, level, package)
                imported = _module_path(name)
                if imported and imported not in self.files and is_own(imported, name):
                    inside = _package(imported, name)
                    self._note(imported, inside)
                    pending.append((imported, inside))


_Describe = Callable[[_Walk, Any], str]

_REFERENCES: dict[type, _Describe] = {
    ModuleType: _Walk._module,
    FunctionType: _Walk._refer_to_function,
    type: _Walk._refer_to_class,
    MethodType: _Walk._refer_to_method,
    BuiltinFunctionType: lambda walk, value: _named(value),
}
"""How values are referred to that have a name of their own; the first that fits."""

_CONTENTS: dict[type | tuple[type, ...], _Describe] = {
    enum.Enum: lambda walk, value: f".{value.name}",
    (list, tuple): lambda walk, value: f"[{walk._all(value)}]",
    (set, frozenset): lambda walk, value: f"{{{','.join(sorted(map(walk.refer, value)))}}}",
    dict: _Walk._dict,
    (property, functools.cached_property, staticmethod, classmethod): _Walk._descriptor,
    (functools.partial, functools.partialmethod): _Walk._partial,
    re.Pattern: lambda walk, value: f"({value.pattern!r},{value.flags})",
}
"""What an instance of a type contains, behind its type; the first that fits."""


def _state(value: Any) -> list[tuple[str, Any]]:
    """Return the attributes of an object, those in slots as well, by name."""
    attributes = dict(getattr(value, "__dict__", None) or {})
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__weakref__", "__dict__"):
                attributes[name] = getattr(value, name, None)
    return sorted(attributes.items())


def _annotations(cls: type) -> list[tuple[str, Any]]:
    try:
        return sorted(cls.__annotations__.items())
    except Exception:  # evaluated only now by Python 3.14, and of the user's names
        return []


def _attributes(cls: type, members: Container[str]) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of a class that count, but for the `members` of an enumeration."""
    has_source = os.path.exists(_module_file(cls.__module__))
    for name, value in sorted(vars(cls).items()):
        if name in _NOT_CODE or name in members or (members and name.startswith("_")):
            continue
        # Python 3.13 adds __replace__ to dataclasses.
        if name == "__replace__" and not _is_own_function(value):
            continue
        if not _is_made(value, has_source):
            yield name, value


def _looked_up(dotted: str, names: Mapping[str, Any]) -> Any:
    """Return what a dotted name in an annotation stands for, None where it is not known."""
    first, *attributes = dotted.split(".")
    value = names.get(first)
    for attribute in attributes:
        value = getattr(value, attribute, None)
    return value


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


def _is_made(value: Any, has_source: bool) -> bool:
    """Whether a decorator or base made an attribute of a class, of what counts anyway.

    Functions that were made have no source, which tells nothing where the class has none either.
    """
    if type(value).__name__ in _DESCRIPTORS:
        return True
    function = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
    if not has_source or not isinstance(function, FunctionType):
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
    module = FIRST.get(module, module)  # a class of reflow's own that moved is the same class
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
    # Before the standard library, whose folder may have them inside.
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
        names = sorted(set(metadata.packages_distributions().get(top, ())))
        return ",".join(f"{name}=={metadata.version(name)}" for name in names)


def _module_path(name: str) -> str | None:
    """Return the file of a module, "" for a built-in one, None where there is none.

    Nothing is imported for that: a library may be heavy, or not there on a login node.
    """
    if name in sys.modules:
        return getattr(sys.modules[name], "__file__", None) or ""
    top, *submodules = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
        full = top
        for submodule in submodules:
            if spec is None or spec.submodule_search_locations is None:
                return None
            full = f"{full}.{submodule}"
            spec = PathFinder.find_spec(full, list(spec.submodule_search_locations))
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    return spec.origin if spec.has_location and spec.origin else ""


def _chains(code: CodeType) -> Iterator[Chain]:
    """Yield the names that code loads from outside, with attributes, and what it imports."""
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            # What is free in there is a local here, or free here as well.
            for chain in _chains(inner):
                if chain[0] != "free" or chain[1] in code.co_freevars:
                    yield chain
    steps = list(dis.get_instructions(code))
    yield from _loaded(steps, code.co_freevars)
    yield from _imports(steps)


def _loaded(steps: Iterable[dis.Instruction], free: Container[str]) -> Iterator[Chain]:
    chain: Chain = ()
    for step in steps:
        if chain and step.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            chain = (*chain, str(step.argval))
            continue
        if chain:
            yield chain
        chain = ()
        if step.opname in _LOAD_GLOBAL:
            chain = ("global", str(step.argval))
        elif step.opname in _LOAD_FREE and step.argval in free:
            chain = ("free", str(step.argval))
    if chain:
        yield chain


def _imports(steps: Iterable[dis.Instruction]) -> Iterator[Chain]:
    constants: list[Any] = []
    for step in steps:
        if step.opname in ("LOAD_CONST", "LOAD_SMALL_INT"):
            constants.append(step.argval)
        elif step.opname == "IMPORT_NAME":
            level, names = constants[-2:]  # the compiler puts them right before it
            module = str(step.argval)
            yield ("import", module, str(level))
            for name in names or ():
                yield ("import", f"{module}.{name}" if module else name, str(level))
