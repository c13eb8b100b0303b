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


def type_text(annotation: Any) -> str:
    """Write a type as a person would: ``list[str]``, ``Path | None``.

    Modules are left out: a class moves between ``__main__`` and its module's name as
    its script is run or imported, and stays the same class. The members of a union are
    sorted: Python takes two orders for the same type, and gives back either.
    """
    if is_class(annotation):
        return "None" if annotation is type(None) else annotation.__qualname__
    if annotation is Any:
        return "Any"
    if annotation is None or annotation is Ellipsis:
        return "None" if annotation is None else "..."
    if isinstance(annotation, str):
        return annotation
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_text(arguments[0])
    if origin is typing.Literal:
        return f"Literal[{', '.join(sorted(map(repr, arguments)))}]"
    if origin is typing.Union or type(annotation).__name__ == "UnionType":
        texts = sorted(type_text(one) for one in arguments if one is not type(None))
        return " | ".join([*texts, "None"] if type(None) in arguments else texts)
    if isinstance(annotation, list):  # the arguments of a Callable
        return f"[{', '.join(map(type_text, annotation))}]"
    if origin is not None:
        base = getattr(origin, "__qualname__", None) or str(origin).replace("typing.", "")
        if not arguments:
            return f"{base}[()]" if origin is tuple and annotation is not typing.Tuple else base  # noqa: UP006
        return f"{base}[{', '.join(map(type_text, arguments))}]"
    if isinstance(annotation, typing.ForwardRef):
        return annotation.__forward_arg__
    name = getattr(annotation, "__name__", None)
    return str(name) if name else repr(annotation).replace("typing.", "")
