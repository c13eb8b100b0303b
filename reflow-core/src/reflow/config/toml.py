"""Writes single values as TOML."""

from __future__ import annotations

import datetime
import enum
import json
from collections.abc import Mapping, Sequence, Set
from pathlib import PurePath

from .origins import dotted


def toml(value: object) -> str | None:
    """Return a value as TOML writes it, None for what TOML has no form for."""
    if isinstance(value, enum.Enum):
        return toml(value.name)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (str, PurePath)):
        # JSON's strings are TOML's, but for DEL; lone surrogates have no form in TOML.
        text = json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
        return None if any("\ud800" <= one <= "\udfff" for one in text) else text
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (Sequence, Set)) and not isinstance(value, (bytes, bytearray)):
        items = [toml(one) for one in value]
        return None if None in items else f"[{', '.join(filter(None, items))}]"
    if isinstance(value, Mapping):
        pairs = [(dotted((str(key),)), toml(one)) for key, one in value.items()]
        if any(text is None for _, text in pairs):
            return None
        return f"{{ {', '.join(f'{key} = {text}' for key, text in pairs)} }}" if pairs else "{}"
    return None
