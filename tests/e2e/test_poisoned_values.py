"""Code, classes and files that others may have put among the results are refused."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reflow.caching.reuse import Decision, Reuse
from reflow.errors import RecordError, SerializationError
from reflow.model.spec import SerializerSpec
from reflow.serializers.base import Serializer
from reflow.storage import attachments
from reflow.storage.attachments import AttachmentFolder
from reflow.storage.filesystem import Files
from reflow.storage.stores.base import CachedResult
from reflow.values.codec import codec_for
from reflow.values.hashing import digest
from reflow.values.json_codec import dump
from reflow.values.references import KEY, reference

PICKLE = SerializerSpec(name="pickle", target="reflow.values.serializers.pickle:PickleSerializer")
NOBODY = 65534
ran: list[str] = []


class TextSerializer(Serializer):
    """Reads a text, and runs nothing."""

    suffix = ".txt"

    def dump(self, value: object, path: Path) -> None:
        path.write_text(str(value))

    def load(self, path: Path) -> object:
        return path.read_text()


TEXT = SerializerSpec(name="text", target=f"{__name__}:TextSerializer")


class Bomb:
    def __reduce__(self) -> Any:
        return ran.append, ("a stranger's code",)


@dataclass
class Point:
    x: float


@pytest.fixture(autouse=True)
def nothing_ran() -> Any:
    ran.clear()
    yield
    assert ran == []


@pytest.fixture
def give_away(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a file to another user."""

    def give(path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
        else:  # from another user's point of view it belongs to a stranger
            monkeypatch.setattr(attachments.os, "geteuid", lambda: os.stat(path).st_uid + 1)

    return give


@pytest.fixture
def folder(tmp_path: Path) -> AttachmentFolder:
    attachments.learned.pop("text", None)
    attachment_folder = AttachmentFolder(Files(), str(tmp_path / "mine"), [PICKLE, TEXT])
    attachment_folder._loaded["text"] = TextSerializer()
    return attachment_folder


def poison(folder: Path, content: bytes, suffix: str) -> dict[str, str]:
    """Put a file under the right name for its content; return the reference to it."""
    folder.mkdir(exist_ok=True)
    scratch = folder / "scratch"
    scratch.write_bytes(content)
    name = f"{Files().digest(str(scratch))}{suffix}"
    scratch.rename(folder / name)
    return reference("pickle" if suffix == ".pickle" else "text", name)


def test_the_pickle_of_another_user_is_never_loaded(
    tmp_path: Path, folder: AttachmentFolder, give_away: Any
) -> None:
    stored = poison(tmp_path / "mine", pickle.dumps(Bomb()), ".pickle")
    give_away(tmp_path / "mine" / stored["file"])
    with pytest.raises(RecordError, match=r"belongs to .*, and reading what 'pickle' wrote runs"):
        folder.load(stored)


def test_link_to_the_pickle_of_another_user_is_not_loaded(
    tmp_path: Path, folder: AttachmentFolder, give_away: Any
) -> None:
    stored = poison(tmp_path / "theirs", pickle.dumps(Bomb()), ".pickle")
    give_away(tmp_path / "theirs" / stored["file"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / stored["file"]).symlink_to(tmp_path / "theirs" / stored["file"])
    with pytest.raises(RecordError, match="belongs to"):
        folder.load(stored)


def test_a_pickle_that_was_changed_is_never_loaded(tmp_path: Path) -> None:
    folder = AttachmentFolder(Files(), str(tmp_path), [PICKLE])
    stored = folder.keep("pickle", {1, 2})
    assert folder.load(stored) == {1, 2}
    (tmp_path / stored["file"]).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(RecordError, match="does not match its checksum"):
        AttachmentFolder(Files(), str(tmp_path), [PICKLE]).load(stored)


def decide(folder: AttachmentFolder, theirs: Path, native: object) -> Decision:
    text = dump(native)
    result = CachedResult("older", str(theirs), "task", 0, "", digest(text), text, (), ())
    reuse = Reuse(
        "task", Files(), [PICKLE, TEXT], pytest.fail, pytest.fail, checks=None,
        values=str(folder._folder),
    )  # fmt: skip
    return reuse.decide(result)


def test_results_of_other_users_are_reused_but_for_pickles(
    tmp_path: Path, folder: AttachmentFolder, give_away: Any
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    bomb = poison(theirs / "values", pickle.dumps(Bomb()), ".pickle")
    text = poison(theirs / "values", b"a text", ".txt")
    assert decide(folder, theirs, [bomb]).stands, "my own"
    (tmp_path / "mine" / bomb["file"]).unlink()
    for stored in (bomb, text):
        give_away(theirs / "values" / stored["file"])
    assert decide(folder, theirs, {"a": [text]}) == Decision(True)
    assert folder.load(text) == "a text"
    for native in ([text, bomb], [bomb]):
        decision = decide(folder, theirs, native)
        assert not decision.stands
        assert "are not used but made again: they belong to " in decision.notice
        assert "and reading a pickle runs code" in decision.reason
    assert not (tmp_path / "mine" / bomb["file"]).exists()
    attachments.learned.pop("text")
    assert not decide(folder, theirs, [text]).stands, "who knows what an unknown one would run"


@pytest.mark.parametrize(
    "native",
    [
        reference("text", "../../../etc/passwd"),
        reference("text", "/etc/passwd"),
        reference("text", f"{'0' * 64}/../x"),
        reference("os.system", f"{'0' * 64}.txt"),
    ],
)
def test_files_outside_of_a_run_are_not_reused(
    tmp_path: Path, folder: AttachmentFolder, native: dict[str, str]
) -> None:
    assert not decide(folder, tmp_path, native).stands
    with pytest.raises((RecordError, SerializationError)):
        folder.load(native)


PICKLED = """
import os, sys
from array import array
from reflow import Workflow

wf = Workflow("shared")

@wf.job(serializer="pickle")
def make() -> array:
    return array("i", [1])

if __name__ == "__main__":
    run = wf.run_local(sys.argv[1])
    print(run.status(as_dict=True)["summary"]["make"])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_pickles_of_another_user_in_a_shared_cache_are_made_again(
    script: Any, tmp_path: Path
) -> None:
    start = PICKLED.replace("sys.argv[1]", "'one'")
    assert script(start) == "{'SUCCESS': 1}\n"
    assert script(start) == "{'CACHED': 1}\n"
    for path in tmp_path.rglob("*.pickle"):
        os.chown(path, NOBODY, NOBODY)
    assert script(PICKLED.replace("sys.argv[1]", "'two'")) == "{'SUCCESS': 1}\n"


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (Point, '{"x":1.0,"__class__":"subprocess.Popen"}'),
        (Point, '{"$type":"os.system","x":1.0}'),
        (Point | Path, '{"type":"os.PathLike","value":"x"}'),
        (Point | Path, '{"type":"PosixPath","value":"x"}'),
        (list[Point], '[{"py/object":"os.system"}]'),
        (Point, dump({KEY: "pickle", "file": f"{'0' * 64}.pickle"})),
        (Path, dump({KEY: "pickle", "file": f"{'0' * 64}.pickle"})),
    ],
)
def test_json_that_names_a_class_is_no_value(annotation: Any, text: str) -> None:
    with pytest.raises(SerializationError):
        codec_for(annotation).decode(text)
