"""The interpreter's own sha256 and OpenSSL's are the same function."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.values.hashing import LARGE, sha256, sha256_hex


@given(st.text(max_size=200))
def test_texts(text: str) -> None:
    data = text.encode()
    assert sha256_hex(text) == sha256(data).hexdigest() == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("size", [LARGE - 1, LARGE, LARGE + 1])
def test_large_texts(size: int) -> None:
    assert sha256_hex("x" * size) == hashlib.sha256(b"x" * size).hexdigest()


def test_lone_surrogates() -> None:
    assert sha256_hex("\ud800") == hashlib.sha256(b"\xed\xa0\x80").hexdigest()


def test_an_interpreter_without_its_own() -> None:
    script = (
        "import sys\n"
        "sys.modules['_sha2'] = sys.modules['_sha256'] = None\n"
        "from reflow.values.hashing import sha256_hex\n"
        "print(sha256_hex('x'))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == hashlib.sha256(b"x").hexdigest(), done.stderr


def test_a_worker_does_not_load_openssl() -> None:
    script = (
        "import sys\n"
        "import reflow.job, reflow.engine.worker, reflow.values.codec\n"
        "from reflow import Workflow\n"
        "wf = Workflow('w')\n"
        "wf.job()(reflow.job.main)\n"
        "print('_hashlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
