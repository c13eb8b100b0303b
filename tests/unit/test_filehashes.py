"""The cache of file hashes: which hashes are kept, which files are in doubt."""

import json
import os
import time
from hashlib import sha256
from pathlib import Path

import pytest

from reflow.caching import hash_cache
from reflow.caching.file_fingerprint import full_print, is_same
from reflow.caching.hash_cache import FileHashes


def test_settled_files_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hash_cache, "DOUBT_SECONDS", -1.0)  # no file is in doubt
    file, memory = tmp_path / "a", tmp_path / "memory.json"
    file.write_bytes(b"one")
    first = FileHashes(str(memory))
    assert first.digest(str(file)) == sha256(b"one").hexdigest()
    first.save()
    written = memory.read_text()
    memory.write_text(written.replace(sha256(b"one").hexdigest(), "remembered"))
    assert FileHashes(str(memory)).digest(str(file)) == "remembered"
    before = file.stat()
    file.write_bytes(b"two")
    # Only the inode's time tells, and it advances in ticks: all of this may be within one tick.
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    while file.stat().st_ctime_ns == before.st_ctime_ns:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert FileHashes(str(memory)).digest(str(file)) == sha256(b"two").hexdigest()


def test_hashes_of_files_changed_just_now_or_in_the_future_are_not_kept(tmp_path: Path) -> None:
    file, memory = tmp_path / "a", tmp_path / "memory.json"
    for when in (time.time() - 1000, time.time(), time.time() + 1000):
        file.write_bytes(b"one")
        os.utime(file, (when, when))
        hashes = FileHashes(str(memory))
        hashes.digest(str(file))
        hashes.save()
        assert not memory.exists()


def test_unwritable_hash_cache_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hash_cache, "DOUBT_SECONDS", -1.0)
    (tmp_path / "file").write_bytes(b"")
    hashes = FileHashes(str(tmp_path / "file" / "memory.json"))
    assert hashes.digest(str(tmp_path / "file")) == sha256(b"").hexdigest()
    hashes.save()


def test_two_writers_at_the_same_time_both_keep_their_hashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hash_cache, "DOUBT_SECONDS", -1.0)
    memory = tmp_path / "memory.json"
    both = [FileHashes(str(memory)) for _ in range(2)]
    for number, hashes in enumerate(both):
        (tmp_path / str(number)).write_text(str(number))
        hashes.digest(
            str(tmp_path / str(number))
        )  # each has read the memory before the other wrote
    for hashes in both:
        hashes.save()
    assert {Path(path).name for path in json.loads(memory.read_text())[1]} == {"0", "1"}


def test_hash_cache_of_an_earlier_version_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hash_cache, "DOUBT_SECONDS", -1.0)
    file, memory = tmp_path / "a", tmp_path / "memory.json"
    file.write_bytes(b"one")
    status = file.stat()
    stamp = [status.st_dev, status.st_ino, 3, status.st_mtime_ns, status.st_ctime_ns]
    for format, row in (("reflow-filehashes-1", [*stamp, "wrong"]), ("reflow-filehashes-2", 5)):
        memory.write_text(json.dumps([format, {str(file): row}]))
        hashes = FileHashes(str(memory))
        assert hashes.digest(str(file)) == sha256(b"one").hexdigest()
        hashes.save()
        assert "wrong" not in memory.read_text()


def test_a_path_beyond_a_link_is_the_file_that_it_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real" / "folder").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real/folder")
    (tmp_path / "real" / "a").write_text("one")
    (tmp_path / "a").write_text("two")
    monkeypatch.chdir(tmp_path)
    before = full_print("link/../a")
    os.utime("real/a", (1, 1))
    assert is_same("link/../a", before, hash_file=FileHashes(str(tmp_path / "memory")).digest)
