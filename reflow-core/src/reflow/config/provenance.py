"""Where a value of the configuration came from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from attrs import frozen

Key: TypeAlias = "tuple[str, ...]"
"""Where a value stands: ``("executor", "slurm", "sbatch")``."""

DEFAULT = "default"
FILE = "file"
ENVIRONMENT = "environment"
CODE = "code"


@frozen(kw_only=True)
class Origin:
    """Where a value came from: `kind` is `DEFAULT`, `FILE`, `ENVIRONMENT` or `CODE`.

    Of a file there are its path, the line (None where it is not known) and the profile
    the value stands in; of the environment the variable.
    """

    kind: str
    file: Path | None = None
    line: int | None = None
    profile: str | None = None
    variable: str | None = None

    def __str__(self) -> str:
        if self.file is not None:
            return f"{self.file}:{self.line}" if self.line else str(self.file)
        return self.variable or self.kind

    @property
    def folder(self) -> Path:
        """What a relative path counts from: the file's folder, else the current one."""
        return Path.cwd() if self.file is None else self.file.parent


@frozen
class Setting:
    """A value as it was written (TOML's own types) and where."""

    value: object
    origin: Origin


Layer: TypeAlias = "Mapping[Key, Setting]"
"""What a file, a profile or the environment sets: values by key, tables taken apart.

A table without keys is one value, ``{}``.
"""


def taken_apart(table: Mapping[str, object], at: Key = ()) -> Iterator[tuple[Key, object]]:
    """Yield the values of a table, of those inside it too, each with its key."""
    for name, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from taken_apart(value, (*at, name))
        else:
            yield (*at, name), value


def overlay(merged: dict[Key, Setting], layer: Layer) -> None:
    """Put a layer over what there is, key by key: a value takes the place of a table too."""
    for key, setting in layer.items():
        inside = [other for other in merged if other[: len(key)] == key and other != key]
        if setting.value == {} and inside:
            continue  # a table without keys takes none away
        for other in [*inside, *(key[:end] for end in range(1, len(key)))]:
            merged.pop(other, None)
        merged[key] = setting


def below(settings: Layer, at: Key) -> dict[Key, Setting]:
    """Return what stands below a key, by the rest of the key."""
    size = len(at)
    return {key[size:]: setting for key, setting in settings.items() if key[:size] == at}


def names(layer: Layer) -> Iterable[str]:
    """Return the first parts of the keys, each once, in order."""
    return dict.fromkeys(key[0] for key in layer if key)


def dotted(key: Key) -> str:
    """Write a key as TOML does: ``executor.slurm.sbatch``, odd names in quotes."""
    return ".".join(
        name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{name}"' for name in key
    )
