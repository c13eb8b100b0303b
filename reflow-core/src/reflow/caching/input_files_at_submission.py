"""What stands under the paths among a run's parameters, as part of what its tasks are given.

A path's text says which file is meant; whether older results may be used depends on what is in
it. It is looked at when the run is submitted; `reflow.caching.input_files` looks again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from attrs import evolve

from ..errors import ParameterError
from ..model.flow import TaskDefinition
from ..model.signature import PARAM
from ..model.spec import Constant, TaskSpec, WorkflowSpec
from ..storage.blobs import SPILL_BYTES
from ..values.codec import codec_for
from ..values.hashing import digest
from .hash_cache import FileHashes
from .input_files import Look, count, files_hash, glance, looks_text


def with_input_files(
    spec: WorkflowSpec, tasks: Mapping[str, TaskDefinition], directory: str
) -> tuple[WorkflowSpec, dict[str, str]]:
    """Return the workflow with what stands under the paths that its parameters name.

    With it come the texts, by digest, that belong into the record's folder of values. Relative
    paths start at `directory`. Raises `ParameterError` for a file that is there and cannot be
    read.
    """
    hashes, beside = FileHashes(), dict[str, str]()
    found = [_with_files(one, tasks[one.name], directory, hashes, beside) for one in spec.tasks]
    hashes.save()
    return evolve(spec, tasks=tuple(found)), beside


def _with_files(
    spec: TaskSpec,
    task: TaskDefinition,
    directory: str,
    hashes: FileHashes,
    beside: dict[str, str],
) -> TaskSpec:
    if spec.files == "path":
        return spec
    types = {
        one.name: one.annotation for one in task.signature().parameters if one.kind == PARAM
    }
    constants = []
    for constant in spec.constants:
        if constant.parameter in types:
            constant = _looked_at(constant, types, spec, directory, hashes, beside)
        constants.append(constant)
    return evolve(spec, constants=tuple(constants))


def _looked_at(
    constant: Constant,
    types: Mapping[str, object],
    spec: TaskSpec,
    directory: str,
    hashes: FileHashes,
    beside: dict[str, str],
) -> Constant:
    codec = codec_for(types[constant.parameter])
    if not codec.has_paths:
        return constant
    looks = []
    for path in codec.paths(codec.decode(constant.text)):
        place = os.path.join(directory, path)
        quick = glance(place, spec.files)  # first: what changes between the two is seen later
        try:
            looks.append(Look(path, quick, count(place, spec.files, hashes)))
        except OSError as error:
            raise ParameterError(
                f"parameter {constant.parameter!r} of task {spec.name!r}: {path} cannot be read "
                f"({error.strerror}), so nobody can tell whether it has changed; "
                'with files="path" in job() the path alone counts'
            ) from error
    if not looks:
        return constant
    stood = looks_text(directory, looks)
    if len(stood) >= SPILL_BYTES:
        name = digest(stood)
        beside[name], stood = stood, name
    return evolve(constant, files=files_hash(looks), stood=stood)
