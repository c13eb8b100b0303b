"""How the files that a run's parameters name look at submission, for the workflow's constants.

A path's text says which file is meant; whether older results may be used depends on its
content. `reflow.caching.input_files` compares when elements run. Apart from it, because this
reads values by their types: no worker does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from attrs import evolve

from ..errors import ParameterError
from ..model.flow import TaskDefinition
from ..model.signature import PARAM
from ..model.spec import Constant, TaskSpec, WorkflowSpec
from ..storage.blobs import SPILL_BYTES
from ..values.codec import codec_for
from ..values.hashing import digest
from .hash_cache import FileHashes
from .input_files import Look, content_of, files_hash, looks_text, quick_look


def with_input_files(
    spec: WorkflowSpec, tasks: Mapping[str, TaskDefinition], directory: str
) -> tuple[WorkflowSpec, dict[str, str]]:
    """Return the workflow whose constants say how the files that they name look.

    With it come the texts, by digest, that belong into the record's folder of values. Relative
    paths start at `directory`. Raises `ParameterError` for a file that is there and cannot be
    read.
    """
    hashes, beside = FileHashes(), dict[str, str]()
    specs = [_with_files(task, tasks[task.name], directory, hashes, beside) for task in spec.tasks]
    hashes.save()
    return evolve(spec, tasks=tuple(specs)), beside


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
        parameter.name: parameter.annotation
        for parameter in task.signature().parameters
        if parameter.kind == PARAM
    }
    constants = []
    for constant in spec.constants:
        if constant.parameter in types:
            paths = _paths(constant, types[constant.parameter])
            looks = [_look(path, directory, constant, spec, hashes) for path in paths]
            if looks:
                stood = _kept(looks_text(directory, looks), beside)
                constant = evolve(constant, files=files_hash(looks), stood=stood)
        constants.append(constant)
    return evolve(spec, constants=tuple(constants))


def _paths(constant: Constant, annotation: object) -> Iterable[str]:
    codec = codec_for(annotation)
    return codec.paths(codec.decode(constant.text)) if codec.has_paths else ()


def _look(
    path: str, directory: str, constant: Constant, spec: TaskSpec, hashes: FileHashes
) -> Look:
    absolute = os.path.join(directory, path)
    # Before the content: what changes between the two differs when an element looks.
    quick = quick_look(absolute, spec.files)
    try:
        return Look(path, quick, content_of(absolute, spec.files, hashes))
    except OSError as error:
        raise ParameterError(
            f"parameter {constant.parameter!r} of task {spec.name!r}: {path} cannot be read "
            f"({error.strerror}), so nobody can tell whether it has changed; "
            'with files="path" in job() the path alone counts'
        ) from error


def _kept(stood: str, beside: dict[str, str]) -> str:
    """Return a text, or the digest of one that is too large for the specification."""
    if len(stood) < SPILL_BYTES:
        return stood
    name = digest(stood)
    beside[name] = stood
    return name
