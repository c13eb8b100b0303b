"""Types as text, as a person would write them.

Workers import this, so it imports `typing` alone.
"""

import typing
from typing import Any

SCRIPT_MODULE = "__reflow_main__"
"""The name under which a job loads a script: its classes are in `__main__` where it was started."""


def is_class(annotation: Any) -> bool:
    """Whether this is a class itself, not ``list[int]``: that calls itself a type in 3.10."""
    return isinstance(annotation, type) and typing.get_origin(annotation) is None


def is_union(annotation: Any) -> bool:
    """Whether this is a union, in either spelling."""
    origin = typing.get_origin(annotation)
    return origin is typing.Union or type(annotation).__name__ == "UnionType"


def type_text(annotation: Any) -> str:
    """Write a type as a person would: ``list[str]``, ``Path | None``.

    Modules are left out: a class moves between ``__main__`` and its module's name as
    its script is run or imported, and stays the same class. The members of a union are
    sorted: Python takes two orders for the same type, and gives back either.
    """
    if is_class(annotation):
        return "None" if annotation is type(None) else annotation.__qualname__
    if typing.get_origin(annotation) is not None:
        return _generic_text(annotation)
    for special, text in _SPECIAL:
        if annotation is special:
            return text
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, list):  # the arguments of a Callable
        return f"[{', '.join(map(type_text, annotation))}]"
    if isinstance(annotation, typing.ForwardRef):
        return annotation.__forward_arg__
    name = getattr(annotation, "__name__", None)
    return str(name) if name else repr(annotation).replace("typing.", "")


_SPECIAL = ((Any, "Any"), (None, "None"), (Ellipsis, "..."))


def _generic_text(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_text(arguments[0])
    if origin is typing.Literal:
        return f"Literal[{', '.join(sorted(map(repr, arguments)))}]"
    if is_union(annotation):
        # None last, whatever the order.
        texts = sorted(map(type_text, arguments), key=lambda text: (text == "None", text))
        return " | ".join(texts)
    base = getattr(origin, "__qualname__", None) or str(origin).replace("typing.", "")
    if arguments:
        return f"{base}[{', '.join(map(type_text, arguments))}]"
    return f"{base}[()]" if origin is tuple and annotation is not typing.Tuple else base  # noqa: UP006
