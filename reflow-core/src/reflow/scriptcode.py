"""The compiled code of a run's script: kept with its record, so that no worker compiles it anew.

Python keeps the compiled code of modules that are imported, and of no script.
"""

from __future__ import annotations

import marshal
import sys
from types import CodeType
from typing import TYPE_CHECKING

from .hashing import sha256

if TYPE_CHECKING:
    from .files import Files


def code_of(source: bytes, path: str, record: str) -> CodeType:
    """Return the code of the script at `path` that reads so.

    That which was kept in the folder `record` where it is of this very text, else compiled.
    """
    try:
        with open(_place(source, path, record), "rb") as file:
            code = marshal.loads(file.read())
        if isinstance(code, CodeType):
            return code
    except (OSError, ValueError, EOFError, TypeError):  # none is there, or it is damaged
        pass
    return _compile(source, path)


def keep_code(files: Files, source: bytes, path: str, record: str) -> None:
    """Keep the code of a script in the folder `record`; of one that has none, nothing."""
    try:
        code = _compile(source, path)
    except (SyntaxError, ValueError):
        return  # it was changed since it was loaded
    files.write(_place(source, path, record), marshal.dumps(code))


def _compile(source: bytes, path: str) -> CodeType:
    # With the `__future__` imports of the script, not with those of this module.
    return compile(source, path, "exec", dont_inherit=True)


def _place(source: bytes, path: str, record: str) -> str:
    python = f"{sys.implementation.cache_tag}.{sys.hexversion:x}.{sys.flags.optimize}"
    digest = sha256(path.encode("utf-8", "surrogateescape") + b"\0" + source).hexdigest()
    return f"{record}/compiled-{digest[:32]}.{python}"
