"""Write the options in docs/reference/json from the classes: `make json-schemas`.

Only what is not there yet is made from the fields' types; a property that is there keeps its
description and whatever else was written by hand.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attrs import Attribute, fields, has, resolve_types

from reflow.model.spec import Resources
from reflow.runs.describe import TaskDescription
from reflow.storage.run_directory import RunOptions

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference" / "json"
# What a task's description has besides its fields, and fields that it shows in another form.
DERIVED, HIDDEN = ("inputs", "upstreams"), ("wires",)
SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean"}

Schema = dict[str, Any]


def with_options(name: str, schema: Schema) -> Schema:
    """Return the schema of that name with all options that a description tells.

    `name` is "describe", of a workflow, or "describe-run".
    """
    task = schema["properties"]["tasks"]["items"]
    _complete(task, [item for item in fields(TaskDescription) if item.name not in HIDDEN], DERIVED)
    _complete(task["properties"]["resources"], fields(Resources))
    if name == "describe-run":
        _complete(schema["properties"]["run"]["properties"]["options"], fields(RunOptions))
    return schema


def _complete(
    schema: Schema, attributes: Iterable[Attribute[Any]], more: Iterable[str] = ()
) -> None:
    """Have an object's schema name just these properties, each required."""
    old = schema["properties"]
    types_by_name = {item.name: item.type for item in attributes} | dict.fromkeys(more)
    kept = [name for name in old if name in types_by_name]
    names = kept + [name for name in types_by_name if name not in old]
    schema["properties"] = {
        name: old[name] if name in old else schema_of(types_by_name[name]) for name in names
    }
    schema["required"] = names


def schema_of(annotation: Any) -> Schema:
    """Return the schema of what descriptions have of a field of that type."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in SIMPLE:
        return {"type": SIMPLE[annotation]}
    if origin in (typing.Union, types.UnionType):
        (member,) = [argument for argument in arguments if argument is not type(None)]
        schema = schema_of(member)
        return {**schema, "type": [schema["type"], "null"]}
    if origin is tuple:
        return {"type": "array", "items": schema_of(arguments[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema_of(arguments[1])}
    if has(annotation):
        schema = {"type": "object", "properties": {}, "additionalProperties": False}
        _complete(schema, fields(resolve_types(annotation)))
        return schema
    raise SystemExit(f"no schema for fields of type {annotation}: add one to {__file__}")


for cls in (TaskDescription, Resources, RunOptions):
    resolve_types(cls)

if __name__ == "__main__":
    for name in ("describe", "describe-run"):
        path = FOLDER / f"{name}.schema.json"
        schema = with_options(name, json.loads(path.read_text(encoding="utf-8")))
        path.write_text(json.dumps(schema, indent=2) + "\n", encoding="utf-8")
