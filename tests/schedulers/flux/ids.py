"""Flux's job ids: the engine's numbers as 64-bit ids, and their ways of being written."""

from __future__ import annotations

import re
from collections.abc import Mapping

_DIGITS = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_FIRST = 5_000_000


def id_of(number: int) -> int:
    """Return the id of a job: milliseconds, and a few jobs within each."""
    return (_FIRST + number // 4 * 3 << 24) | number % 4


def number(job_id: int) -> int:
    """Return the engine's number of an id; 0 if there is none."""
    moment, within = (job_id >> 24) - _FIRST, job_id & 0xFFFFFF
    return moment // 3 * 4 + within if moment >= 0 and moment % 3 == 0 and within < 4 else 0


def f58(job_id: int, *, letter: str = "f") -> str:
    """Write an id in base 58."""
    text = ""
    while job_id or not text:
        job_id, digit = divmod(job_id, 58)
        text = _DIGITS[digit] + text
    return letter + text


def read(text: str) -> int | None:
    """Return the id that a text means, in any of its forms; None if it is not an id."""
    if re.fullmatch(f"[fƒ][{_DIGITS}]{{1,11}}", text):
        value = 0
        for letter in text[1:]:
            value = value * 58 + _DIGITS.index(letter)
        return value
    if re.fullmatch("0x[0-9a-fA-F]+", text):
        return int(text, 16)
    return int(text) if re.fullmatch("[0-9]+", text) else None


def letter(environment: Mapping[str, str]) -> str:
    """Return the prefix of ids under these environment variables."""
    locale = environment.get("LC_ALL") or environment.get("LANG") or "C"
    ascii_only = environment.get("FLUX_F58_FORCE_ASCII") or not re.search("utf-?8", locale, re.I)
    return "f" if ascii_only else "ƒ"
