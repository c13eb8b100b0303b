"""The store's lease: one writer at a time, whatever the locks of a file system are worth."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from reflow.errors import LeaseHeldError, LeaseLostError
from reflow.storage.process_id import this_process
from reflow.storage.stores.lease import KEPT, Sighting, StoreLease, described

ELSEWHERE = "node7/boot/ns/4711/99"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "index-lease"


def lease(folder: Path, seconds: float = 60.0) -> StoreLease:
    return StoreLease(str(folder), seconds=seconds)


def leave(folder: Path, number: int, owner: str, mark: str = "") -> Path:
    """Write the lease file that a process of another machine leaves behind."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{number:09d}"
    path.write_text(f"{owner}\n{mark}")
    return path


def test_one_process_holds_the_lease_at_a_time(folder: Path) -> None:
    first, second = lease(folder), lease(folder)
    assert first.look() == Sighting()
    with first.held(1):
        assert first.look() == Sighting(1, this_process(), False)
        holder = f"process {os.getpid()} on {os.uname().nodename}"
        with pytest.raises(LeaseHeldError, match=holder), second.held(0.02):
            pass
        first.check()
    assert second.look() == Sighting(1, this_process(), True)
    with second.held(0):
        assert second.look().number == 2


def test_many_threads_take_turns(folder: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        own = lease(folder)
        for _ in range(15):
            with own.held(60):
                inside.append(number)
                most.append(len(inside))
                time.sleep(0.0005)
                inside.remove(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 60


def test_lease_of_a_process_that_died_here_is_taken_at_once(folder: Path) -> None:
    child = os.fork()
    if child == 0:
        lease(folder)._take(1)
        os._exit(0)
    os.waitpid(child, 0)
    assert not lease(folder).look().free
    with lease(folder).held(0):
        pass


def test_lease_of_a_silent_process_elsewhere_is_taken_after_a_while(folder: Path) -> None:
    path = leave(folder, 5, ELSEWHERE)
    with pytest.raises(LeaseHeldError, match="process 4711 on node7"), lease(folder).held(0.01):
        pass
    # The file server's clock decides: the file's time against that of a file touched now.
    os.utime(path, (time.time() - 61, time.time() - 61))
    with lease(folder).held(0):
        assert lease(folder).look().number == 6


def test_old_holder_notices_that_its_lease_was_taken(folder: Path) -> None:
    slow = lease(folder)
    slow._take(1)
    leave(folder, 2, ELSEWHERE)
    with pytest.raises(LeaseLostError):
        slow.check()


def test_an_old_number_is_not_taken_twice(folder: Path) -> None:
    """A process with an old listing of the folder finds its number taken."""

    class Late(StoreLease):
        late = True

        def look(self) -> Sighting:
            if self.late:
                self.late = False
                return Sighting(3, ELSEWHERE, True)
            return super().look()

    leave(folder, 5, ELSEWHERE, "free\n")
    late = Late(str(folder))
    with late.held(1):
        assert late.look().number == 6
    assert not (folder / "000000004").exists()


def test_old_lease_files_are_removed(folder: Path) -> None:
    for _ in range(KEPT + 10):
        with lease(folder).held(0):
            pass
    assert len(list(folder.iterdir())) == KEPT


def test_written_since_notices_writers_elsewhere(folder: Path) -> None:
    own = lease(folder)
    before = own.look()
    with own.held(0):
        pass
    assert not own.written_since(before, also_here=False)
    assert own.written_since(before, also_here=True)
    free = own.look()
    assert not own.written_since(free, also_here=True)
    path = leave(folder, 2, ELSEWHERE)
    assert own.written_since(free, also_here=False)
    held = own.look()
    assert own.written_since(held, also_here=False), "it may still be writing"
    path.write_text(f"{ELSEWHERE}\nfree\n")
    assert own.written_since(held, also_here=False)
    assert not own.written_since(own.look(), also_here=False)


def test_a_full_disk_does_not_keep_it_held(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = lease(folder)
    own._take(1)

    def full(path: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(own._files, "open_append", full)
    own._release()
    assert lease(folder).look().free


def test_group_with_write_access_may_take_the_lease(tmp_path: Path) -> None:
    for mode in (0o755, 0o2775):  # also when the folder is opened to the group later
        tmp_path.chmod(mode)
        with lease(tmp_path / "index-lease").held(0):
            assert (tmp_path / "index-lease").stat().st_mode & 0o7777 == mode


def test_holders_are_named_for_people() -> None:
    assert described(ELSEWHERE) == "process 4711 on node7"
    assert described("") == "another process"
