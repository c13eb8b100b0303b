"""Options of the command line, made from a workflow's run parameters."""

from __future__ import annotations

import collections.abc as abc
import datetime
import enum
import json
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any

import click
from attrs import frozen
from click.core import ParameterSource

from ..errors import DefinitionError, SerializationError
from ..model.units import parse_time
from ..runs.describe import ParameterDescription
from ..values.codec import codec_for
from .terminal import Problems

_SCALARS: dict[Any, Any] = {int: click.INT, float: click.FLOAT, str: click.STRING}
_CONTAINERS: dict[Any, Callable[[Any], Any]] = {
    list: list,
    set: set,
    frozenset: frozenset,
    abc.Sequence: list,
    abc.Iterable: list,
    abc.Collection: list,
}


def _same(value: Any) -> Any:
    return value


@frozen(kw_only=True)
class Form:
    """How values of one annotation are written on a command line.

    `type` is what click converts a text with, `convert` what makes the task's value of
    that (of all of them together where `multiple`).
    """

    type: Any = None
    metavar: str | None = None
    convert: Callable[[Any], Any] = _same
    flag: bool = False
    multiple: bool = False


@frozen
class ParameterOption:
    """A run parameter, its option, and how the task's value is made."""

    parameter: ParameterDescription
    option: click.Option
    form: Form


def form_of(annotation: Any) -> Form:
    """Return how a parameter of this annotation is written."""
    annotation = _bare(annotation)
    if annotation is bool:
        return Form(flag=True)
    items = _items(annotation)
    if items is None:
        return _single(annotation)
    make, item_annotation = items
    item = _single(_bare(item_annotation))
    return Form(
        type=item.type,
        metavar=item.metavar,
        convert=lambda values: make(item.convert(value) for value in values),
        multiple=True,
    )


def _bare(annotation: Any) -> Any:
    """Strip what does not matter for writing a value: Annotated, NewType, Optional."""
    while True:
        origin = typing.get_origin(annotation)
        if origin is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif origin in (typing.Union, types.UnionType):
            members = [arg for arg in typing.get_args(annotation) if arg is not type(None)]
            if len(members) != 1:
                return annotation
            annotation = members[0]
        else:
            return annotation


def _items(annotation: Any) -> tuple[Callable[[Any], Any], Any] | None:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is tuple:
        return (tuple, arguments[0]) if arguments[1:] == (Ellipsis,) else None
    if origin in _CONTAINERS:
        return _CONTAINERS[origin], arguments[0]
    return (_CONTAINERS[annotation], Any) if annotation in (list, set, frozenset) else None


def _single(annotation: Any) -> Form:
    if annotation is bool:
        return Form(type=click.BOOL)
    if isinstance(annotation, type) and annotation in _SCALARS:
        return Form(type=_SCALARS[annotation])
    choices = _choices(annotation)
    if choices:
        return Form(type=click.Choice(list(choices)), convert=choices.__getitem__)
    if annotation is datetime.timedelta:
        return Form(type=_reader(_duration, "a length of time"), metavar="DURATION")
    codec = codec_for(annotation)
    kind = codec.text.rpartition(".")[2]
    if codec.kinds == {"str"}:
        return Form(type=_reader(codec.decode_native, kind), metavar=kind.upper())

    def read_json(text: str) -> Any:
        if text.startswith("@") and "str" not in codec.kinds:
            text = _content(text[1:])
        try:
            native = json.loads(text)
        except ValueError as error:
            if "str" not in codec.kinds:
                raise SerializationError(
                    f"it is not JSON ({error}); give JSON, or @FILE to read it from a file"
                ) from None
            native = text
        return codec.decode_native(native)

    return Form(type=_reader(read_json, codec.text), metavar="JSON")


def _duration(text: str) -> datetime.timedelta:
    try:
        return datetime.timedelta(seconds=parse_time(text))
    except DefinitionError:
        raise SerializationError(
            "give 90s, 30m, 2h, 1d or 1h30m, or MM:SS, HH:MM:SS or D-HH:MM:SS"
        ) from None


def _content(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise SerializationError(f"cannot read the file: {error}") from None


def _choices(annotation: Any) -> dict[str, Any]:
    """Return the values of a Literal or an Enum by how they are written; {} for other types."""
    if typing.get_origin(annotation) is typing.Literal:
        values = [value for value in typing.get_args(annotation) if value is not None]
        choices = {_choice(value, str): value for value in values}
        if len(choices) == len(values):
            return choices
        # Two look the same, as 1 and "1" do.
        return {_choice(value, json.dumps): value for value in values}
    is_enum = isinstance(annotation, type) and issubclass(annotation, enum.Enum)
    if not is_enum or issubclass(annotation, enum.Flag):
        return {}
    return {member.name: member for member in annotation}


def _choice(value: Any, write: Callable[[Any], str]) -> str:
    name: str = value.name if isinstance(value, enum.Enum) else write(value)
    return name


def _reader(read: Callable[[str], Any], kind: str) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        try:
            return read(text)
        except SerializationError as error:
            # Of other errors click shows nothing but "invalid".
            shown = text if len(text) <= 80 else text[:77] + "..."
            raise click.BadParameter(f"{shown!r} is not {kind}: {error}") from None

    return convert


_PROBLEMS = "reflow.problems"


class CollectingOption(click.Option):
    """An option that keeps its error for later, so that all are reported: `CollectingCommand`."""

    def handle_parse_result(
        self, ctx: click.Context, opts: abc.Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        """Read the value; keep an error for later."""
        try:
            return super().handle_parse_result(ctx, opts, args)
        except click.UsageError as error:
            ctx.meta.setdefault(_PROBLEMS, []).append(error.format_message())
            return None, args


class CollectingCommand(click.Command):
    """A command that reports all errors of its options at once."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments. Raises `Problems` where any is bad."""
        remaining = super().parse_args(ctx, args)
        problems = ctx.meta.pop(_PROBLEMS, [])
        if problems and not ctx.resilient_parsing:
            raise Problems(problems, ctx)
        return remaining


def parameter_options(
    parameters: Iterable[ParameterDescription], taken: Iterable[str]
) -> list[ParameterOption]:
    """Make an option of each parameter.

    `taken` are the long options that the command has already, such as "--force": a
    parameter of that name gets "--param-force".
    """
    used = set(taken)
    options = []
    for parameter in parameters:
        form = form_of(parameter.annotation)
        name = parameter.name.replace("_", "-").strip("-") or parameter.name
        while used & _long(name, form):
            name = f"param-{name}"
        used |= _long(name, form)
        options.append(ParameterOption(parameter, _option(parameter, form, name), form))
    return options


def _long(name: str, form: Form) -> set[str]:
    return {f"--{name}", f"--no-{name}"} if form.flag else {f"--{name}"}


def _option(parameter: ParameterDescription, form: Form, name: str) -> click.Option:
    text = f"--{name}/--no-{name}" if form.flag else f"--{name}"
    declarations = [f"parameter_{parameter.name}", text]
    if parameter.short is not None:
        declarations.insert(1, f"-{parameter.short}")
    texts = [parameter.help] if parameter.help else []
    if form.multiple:
        texts.append("Give it once for each value.")
    default = _default(parameter, name)
    if default:
        texts.append(f"[default: {default}]")
    # The tasks have the defaults: click gets none, and what is not given is not passed on.
    kind: dict[str, Any] = {} if form.flag else {"type": form.type, "multiple": form.multiple}
    if not parameter.required:
        kind["default"] = None  # a required option would take it as a value
    return CollectingOption(
        declarations,
        required=parameter.required,
        help="  ".join(texts),
        metavar=form.metavar,
        **kind,
    )


def _default(parameter: ParameterDescription, name: str) -> str:
    value, annotation = parameter.default, _bare(parameter.annotation)
    if parameter.required or value is None:
        return ""
    if annotation is bool:
        return name if value else f"no-{name}"
    if annotation is datetime.timedelta:
        return f"{value / 1e6:g}s"  # kept in microseconds
    if isinstance(value, list) and form_of(annotation).multiple:
        return ", ".join(map(_text, value)) or "none"
    return _text(value) or '""'


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def given_parameters(
    options: Iterable[ParameterOption], context: click.Context, values: dict[str, Any]
) -> dict[str, Any]:
    """Take the parameters out of `values`; return those on the command line, by name."""
    arguments = {}
    for entry in options:
        key = f"parameter_{entry.parameter.name}"
        value = values.pop(key, None)
        if context.get_parameter_source(key) is ParameterSource.COMMANDLINE:
            arguments[entry.parameter.name] = entry.form.convert(value)
    return arguments
