"""What others may have put among the results is refused: code, classes, foreign files."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reflow import attached
from reflow.attached import AttachmentFolder
from reflow.attachments import KEY, reference
from reflow.codec import codec_for
from reflow.errors import RecordError, SerializationError
from reflow.files import Files
from reflow.plain import dump
from reflow.serializers.base import Serializer
from reflow.spec import SerializerSpec

PICKLE = SerializerSpec(name="pickle", target="reflow.serializers.pickle:PickleSerializer")
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
    """Have a file belong to another user."""

    def give(path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
        else:  # seen from another user it is a stranger's
            monkeypatch.setattr(attached.os, "geteuid", lambda: os.stat(path).st_uid + 1)

    return give


@pytest.fixture
def folder(tmp_path: Path) -> AttachmentFolder:
    attached.known.pop("text", None)
    made = AttachmentFolder(Files(), str(tmp_path / "mine"), [PICKLE, TEXT])
    made._made["text"] = TextSerializer()
    return made


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
    found = poison(tmp_path / "mine", pickle.dumps(Bomb()), ".pickle")
    give_away(tmp_path / "mine" / found["file"])
    with pytest.raises(RecordError, match=r"belongs to .*, and reading what 'pickle' wrote runs"):
        folder.load(found)


def test_a_link_to_the_pickle_of_another_user_is_no_way_round(
    tmp_path: Path, folder: AttachmentFolder, give_away: Any
) -> None:
    found = poison(tmp_path / "theirs", pickle.dumps(Bomb()), ".pickle")
    give_away(tmp_path / "theirs" / found["file"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / found["file"]).symlink_to(tmp_path / "theirs" / found["file"])
    with pytest.raises(RecordError, match="belongs to"):
        folder.load(found)


def test_a_pickle_that_was_changed_is_never_loaded(tmp_path: Path) -> None:
    folder = AttachmentFolder(Files(), str(tmp_path), [PICKLE])
    found = folder.keep("pickle", {1, 2})
    assert folder.load(found) == {1, 2}
    (tmp_path / found["file"]).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(RecordError, match="does not match its checksum"):
        AttachmentFolder(Files(), str(tmp_path), [PICKLE]).load(found)


def test_the_results_of_others_are_taken_over_but_for_pickles(
    tmp_path: Path, folder: AttachmentFolder, give_away: Any
) -> None:
    theirs = tmp_path / "theirs"
    bomb = poison(theirs, pickle.dumps(Bomb()), ".pickle")
    text = poison(theirs, b"a text", ".txt")
    assert folder.adopt(str(theirs), dump([bomb])) == "", "my own"
    (tmp_path / "mine" / bomb["file"]).unlink()
    for one in (bomb, text):
        give_away(theirs / one["file"])
    assert folder.adopt(str(theirs), dump({"a": [text]})) == ""
    assert folder.load(text) == "a text"
    why = folder.adopt(str(theirs), dump([text, bomb]))
    assert "belongs to" in why
    assert "runs code" in why
    assert not (tmp_path / "mine" / bomb["file"]).exists()


@pytest.mark.parametrize(
    ("native", "why"),
    [
        (reference("text", "../../../etc/passwd"), "does not use"),
        (reference("text", "/etc/passwd"), "does not use"),
        (reference("text", f"{'0' * 64}/../x"), "does not use"),
        (reference("os.system", f"{'0' * 64}.txt"), "does not use"),
    ],
)
def test_nothing_is_taken_over_from_outside_of_a_run(
    tmp_path: Path, folder: AttachmentFolder, native: dict[str, str], why: str
) -> None:
    assert why in folder.adopt(str(tmp_path), dump(native))
    with pytest.raises((RecordError, SerializationError)):
        folder.load(native)


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
