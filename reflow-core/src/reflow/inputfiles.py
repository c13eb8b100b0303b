"""What stands under the paths among a run's parameters, as part of what its tasks are given.

A path's text says which file is meant; whether older results may be used depends on what is in
it. It is looked at once, when the run is submitted.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from attrs import evolve

from .adoption import hashes_of_user
from .codec import codec_for
from .errors import ParameterError
from .filehashes import FileHashes
from .fileprint import full_print, quick_print
from .flow import TaskDefinition
from .identity import digest
from .plain import dump
from .signature import PARAM
from .spec import Constant, TaskSpec, WorkflowSpec


def with_input_files(
    spec: WorkflowSpec, tasks: Mapping[str, TaskDefinition], directory: str
) -> WorkflowSpec:
    """Return the workflow with the hashes of the files that its parameters name.

    Relative paths start at `directory`. Raises `ParameterError` for a file that is there and
    cannot be read.
    """
    hashes = hashes_of_user()
    found = [_with_files(one, tasks[one.name], directory, hashes) for one in spec.tasks]
    hashes.save()
    return evolve(spec, tasks=tuple(found))


def _with_files(
    spec: TaskSpec, task: TaskDefinition, directory: str, hashes: FileHashes
) -> TaskSpec:
    if spec.files == "path":
        return spec
    types = {
        one.name: one.annotation for one in task.signature().parameters if one.kind == PARAM
    }
    constants = []
    for constant in spec.constants:
        if constant.parameter in types:
            constant = _looked_at(constant, types, spec, directory, hashes)
        constants.append(constant)
    return evolve(spec, constants=tuple(constants))


def _looked_at(
    constant: Constant,
    types: Mapping[str, object],
    spec: TaskSpec,
    directory: str,
    hashes: FileHashes,
) -> Constant:
    codec = codec_for(types[constant.parameter])
    if not codec.has_paths:
        return constant
    prints = []
    for path in codec.paths(codec.decode(constant.text)):
        try:
            there = _print(os.path.join(directory, path), spec.files, hashes)
        except OSError as error:
            raise ParameterError(
                f"parameter {constant.parameter!r} of task {spec.name!r}: {path} cannot be read "
                f"({error.strerror}), so nobody can tell whether it has changed; "
                'with files="path" in job() the path alone counts'
            ) from error
        if there:
            prints.append([path, there])
    return evolve(constant, files=digest(dump(prints))) if prints else constant


def _print(path: str, how: str, hashes: FileHashes) -> str:
    """Return what tells the content of a path from others; "" where only the path counts."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return ""
    folder = stat.S_ISDIR(found.st_mode)
    if not folder and not stat.S_ISREG(found.st_mode):
        return ""
    if how == "stat":
        return quick_print(path).quick
    if not folder:
        return hashes.digest(path, found)
    return f"d:{full_print(path).content}" if how == "content" else ""
