"""sha256 without loading OpenSSL, which takes a good part of a small task's time.

The interpreter has a sha256 of its own, as slow on large data as OpenSSL is to load. The
standard library's `random` goes the same way, for the same reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LARGE", "digest", "sha256", "sha256_hex"]

LARGE = 100_000
"""Bytes from which on OpenSSL is the quicker one, its loading included."""

try:
    from _sha2 import sha256  # type: ignore[import-not-found,unused-ignore]  # from 3.12 on
except ImportError:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found,unused-ignore]
    except ImportError:  # An interpreter that was built without its own.
        from hashlib import sha256


def sha256_hex(text: str) -> str:
    """Return the sha256, in hex, of a text in UTF-8; lone surrogates count as they are."""
    data = text.encode("utf-8", "surrogatepass")
    make: Callable[[bytes], Any] = sha256
    if len(data) >= LARGE:
        from hashlib import sha256 as make
    return str(make(data).hexdigest())


digest = sha256_hex
"""The digest of a value: the sha256, in hex, of its canonical JSON text."""
