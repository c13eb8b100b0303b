"""Values that JSON cannot hold go through serializers: by type, by name, and cached."""

import textwrap
from pathlib import Path
from typing import Annotated, Any

import pytest

from reflow import Param, Result, RunFailedError, ValidationError, Workflow
from reflow.errors import PluginError, RecordError, SerializationError
from reflow.model.spec import SerializerSpec
from reflow.storage.attachments import AttachmentFolder
from reflow.storage.claims import JobHeader, make_folders, published, write_job
from reflow.storage.filesystem import Files
from reflow.storage.journal import JournalReader
from reflow.storage.outcome import Outcome
from reflow.storage.run_directory import RunRecord
from reflow.values.codec import unstructure
from reflow.values.references import KEY

GRIDS = textwrap.dedent(
    '''
    """A type, and the plugin that keeps its values in files."""
    from reflow.hookspecs import SerializerEntry, VerifierEntry, hookimpl
    from reflow.serializers.base import Serializer
    from reflow.verifiers.base import Verifier

    class Grid:
        def __init__(self, cells):
            self.cells = list(cells)

        def __eq__(self, other):
            return isinstance(other, Grid) and self.cells == other.cells

    class Fine(Grid):
        pass

    class GridSerializer(Serializer):
        suffix = ".grid"

        def dump(self, value, path):
            if 13 in value.cells:
                raise ValueError("13 brings bad luck")
            if 14 in value.cells:
                return
            if 15 in value.cells:
                path.mkdir()
                return (path / "cells").write_text("15")
            path.write_text(" ".join(map(str, value.cells)))

        def load(self, path):
            return Grid(map(int, path.read_text().split()))

    class GridVerifier(Verifier):
        def verify(self, output):
            return 99 not in output.value.cells

    @hookimpl
    def reflow_register_serializers():
        return [SerializerEntry(name="grid", target="grids:GridSerializer", types=("grids.Grid",))]

    @hookimpl
    def reflow_register_verifiers():
        return [VerifierEntry(name="grid-check", target="grids:GridVerifier",
                              types=("grids.Grid",))]
    '''
)

PIPELINE = textwrap.dedent(
    """
    import sys
    from dataclasses import dataclass
    from typing import Annotated, Any, Optional
    from grids import Fine, Grid
    from reflow import Param, Result, Workflow

    wf = Workflow("grids")

    @dataclass
    class Report:
        name: str
        grid: Grid

    @wf.job()
    def make(n: Annotated[int, Param()] = 3) -> list[Grid]:
        return [Grid(range(k + 1)) for k in range(n)]

    @wf.job(array=True)
    def grow(grid: Annotated[Grid, Result(step="make")]) -> Grid:
        grid.cells.append(7)
        return grid

    @wf.job(array=True)
    def shrink(grid: Annotated[Grid, Result(step="grow")]) -> Optional[Grid]:
        return Grid(grid.cells[1:]) if len(grid.cells) > 2 else None

    @wf.job(array=True)
    def shared(grid: Annotated[Grid, Result(step="grow")],
               every: Annotated[list[Grid], Result(step="make", broadcast=True)]) -> int:
        every[0].cells.append(1)
        return len(every[0].cells)

    @wf.job()
    def report(grids: Annotated[list[Optional[Grid]], Result(step="shrink")]) -> Report:
        return Report("last", grids[-1])

    @wf.job()
    def end(report: Annotated[Report, Result(step="report")],
            anything: Annotated[Any, Result(step="one")]) -> dict[str, Grid]:
        assert anything.cells == [5], anything
        return {"last": report.grid}

    @wf.job()
    def one() -> Grid:
        return Fine([5])
    """
)


def test_by_type_through_every_wire(install: Any, script: Any) -> None:
    site = install("grids", GRIDS)
    out = script(
        PIPELINE
        + textwrap.dedent(
            """
            if __name__ == "__main__":
                wf.validate()
                states = []
                for workers in (1, 2):
                    for n in (3, 4):
                        run = wf.run_local("out", max_workers=workers, n=n)
                        assert run.result("end")["last"].cells == [*range(1, n), 7]
                        assert run.result("report").grid == run.result("end")["last"]
                        assert run.result("shrink")[0] is None
                        assert run.result("shared") == [2] * n
                        states.append(run.status(as_dict=True)["summary"]["grow"])
                run = wf.submit("out", executor="local", n=5)
                assert run.wait(60) == "SUCCESS", run.status(errors=True)
                states.append(run.status(as_dict=True)["summary"]["grow"])
                assert run.result("end")["last"].cells == [1, 2, 3, 4, 7]
                print(states)
            """
        ),
        site,
    )
    assert out.splitlines()[-1] == str(
        [
            {"SUCCESS": 3},
            {"CACHED": 3, "SUCCESS": 1},
            {"CACHED": 3},
            {"CACHED": 4},
            {"CACHED": 4, "SUCCESS": 1},
        ]
    )


def test_a_cached_value_outlives_the_run_it_is_from(install: Any, script: Any) -> None:
    site = install("grids", GRIDS)
    script(
        PIPELINE
        + textwrap.dedent(
            """
            if __name__ == "__main__":
                import os, shutil
                first, second = wf.run_local("first"), wf.run_local("second")
                shutil.rmtree("first")
                assert second.result("end")["last"].cells == [1, 2, 7]
                # A value that is gone is made again; what is made of it is the same.
                for name in os.listdir(f"second/.reflow/{second.run_id}/values"):
                    os.unlink(f"second/.reflow/{second.run_id}/values/{name}")
                summary = wf.run_local("third").status(as_dict=True)["summary"]
                assert (summary["make"], summary["grow"]) == ({"SUCCESS": 1}, {"SUCCESS": 3})
                assert summary["shared"] == {"CACHED": 3}, summary
            """
        ),
        site,
    )


def test_a_verifier_of_the_type_is_asked(install: Any, script: Any) -> None:
    site = install("grids", GRIDS)
    source = """
        from typing import Annotated
        from grids import Grid
        from reflow import Param, Workflow

        wf = Workflow("verified")

        @wf.job()
        def make(cell: Annotated[int, Param()]) -> Grid:
            return Grid([cell])

        if __name__ == "__main__":
            for cell in (1, 99):
                wf.run_local("out", cell=cell)
                print(wf.run_local("out", cell=cell).status(as_dict=True)["summary"]["make"])
        """
    assert script(textwrap.dedent(source), site) == "{'CACHED': 1}\n{'SUCCESS': 1}\n"


@pytest.mark.parametrize("order", ["base, derived", "derived, base", "named, derived"])
def test_serializer_follows_the_type_and_not_earlier_lookups(
    install: Any, script: Any, order: str
) -> None:
    fine = """
        from reflow.hookspecs import SerializerEntry, hookimpl
        import grids

        class FineSerializer(grids.GridSerializer):
            suffix = ".fine"

            def load(self, path):
                return grids.Fine(super().load(path).cells)

        @hookimpl
        def reflow_register_serializers():
            return [
                SerializerEntry(name="fine", target="fine:FineSerializer", types=("grids.Fine",)),
            ]
        """
    install("grids", GRIDS)
    site = install("fine", textwrap.dedent(fine))
    source = f"""
        from typing import Annotated
        from grids import Fine, Grid
        from reflow import Result, Workflow

        def base() -> Grid:
            return Grid([1])

        def derived() -> Fine:
            return Fine([2])

        def named() -> Fine:
            return Fine([3])

        wf = Workflow("order")
        for task in ({order},):
            wf.job(serializer="grid" if task is named else None)(task)

        @wf.job()
        def end(fine: Annotated[Fine, Result(step="derived")]) -> str:
            return type(fine).__name__

        if __name__ == "__main__":
            run = wf.run_local("out")
            for row in run.status(as_dict=True)["instances"]:
                kept = row["output"]
                print(row["task_name"], kept if kept == "Fine" else kept["$attachment"])
        """
    serializers = dict(line.split() for line in script(textwrap.dedent(source), site).splitlines())
    expected = {"base": "grid", "derived": "fine", "named": "grid", "end": "Fine"}
    assert serializers == {name: expected[name] for name in (*order.split(", "), "end")}


def test_what_a_serializer_refuses_fails_the_task(install: Any, script: Any) -> None:
    site = install("grids", GRIDS)
    source = """
        from typing import Annotated
        from grids import Grid
        from reflow import Param, Workflow

        wf = Workflow("refused")

        @wf.job()
        def make(cell: Annotated[int, Param()]) -> Grid:
            return Grid([cell]) if cell else "no grid"

        if __name__ == "__main__":
            for cell in (13, 14, 15, 0):
                run = wf.run_local("out", cell=cell, on_error="continue")
                (failed,) = run.status(as_dict=True)["failed_instances"]
                print(failed["error_text"].splitlines()[-1])
        """
    refused, missing, folder, wrong = script(textwrap.dedent(source), site).splitlines()
    assert "the serializer 'grid' cannot write Grid: 13 brings bad luck" in refused
    assert "the serializer 'grid' has not written the one file" in missing
    assert "the serializer 'grid' has not written the one file" in folder
    assert [path for path in site.parent.rglob(".value.*") if "/values/" in str(path)] == []
    assert "expected Grid, got str 'no grid'" in wrong


def test_a_damaged_file_is_noticed(install: Any, script: Any) -> None:
    site = install("grids", GRIDS)
    source = """
        from pathlib import Path
        from typing import Annotated
        from grids import Grid
        from reflow import Result, RunDir, Workflow

        wf = Workflow("damaged")

        @wf.job()
        def make() -> Grid:
            return Grid([1, 2])

        @wf.job(after="make")
        def damage(where: RunDir) -> str:
            (file,) = Path(where).glob(".reflow/*/values/*.grid")
            file.write_text("1 3")
            return "changed"

        @wf.job(after=damage)
        def use(grid: Annotated[Grid, Result(step="make")]) -> int:
            return len(grid.cells)

        if __name__ == "__main__":
            run = wf.run_local("out", on_error="continue")
            print(run.status(as_dict=True)["failed_instances"][0]["error_text"].splitlines()[-1])
            (file,) = run.run_dir.glob(".reflow/*/values/*.grid")
            file.unlink()
            run.retry("use")
            run.wait(60)
            print(run.status(as_dict=True)["failed_instances"][0]["error_text"].splitlines()[-1])
        """
    damaged, gone = script(textwrap.dedent(source), site).splitlines()
    assert "is damaged: it does not match its checksum" in damaged
    assert ".grid is missing" in gone


SCRIPT = textwrap.dedent(
    """
    import threading
    from typing import Annotated, Any
    from reflow import Param, Result, Workflow

    wf = Workflow("pickled")

    class Model:
        def __init__(self, rate):
            self.rate = rate

        class Layer:
            depth = 3

    @wf.job(serializer="pickle")
    def models(n: Annotated[int, Param()] = 2) -> list[Model]:
        return [Model(k) for k in range(n)]

    @wf.job(array=True, serializer="pickle")
    def fit(model: Annotated[Model, Result(step=models)]) -> "dict[str, Model]":
        return {"fitted": Model(model.rate + 10)}

    @wf.job(serializer="pickle")
    def whatever(fits: Annotated[list[dict[str, Model]], Result(step=fit)]):
        return {1, 2}, Model.Layer(), fits[0]["fitted"].rate, len

    @wf.job()
    def last(values: Annotated[Any, Result(step=whatever)]) -> int:
        return values[2] + values[1].depth + values[3]("ab")
    """
)


def test_pickle_by_name_for_classes_of_the_script(script: Any) -> None:
    out = script(
        SCRIPT
        + textwrap.dedent(
            """
            if __name__ == "__main__":
                here = wf.run_local("here")
                assert here.result("last") == 15
                there = wf.submit("there", executor="local", n=3)
                assert there.wait(60) == "SUCCESS", there.status(errors=True)
                assert [model.rate for model in there.result("models")] == [0, 1, 2]
                assert type(there.result("models")[0]) is Model
                assert there.result("whatever")[2] == 10
                # What the script wrote as __main__ and a job wrote is the same work.
                print(there.status(as_dict=True)["summary"]["fit"])
                print(wf.run_local("again", n=3).status(as_dict=True)["summary"]["fit"])
            """
        )
    )
    assert out == "{'CACHED': 2, 'SUCCESS': 1}\n{'CACHED': 3}\n"


def test_another_serializer_is_other_work(tmp_path: Path) -> None:
    def summary(serializer: str | None) -> Any:
        wf = Workflow("w", store=tmp_path / "runs.sqlite")

        @wf.job(serializer=serializer)
        def numbers() -> list[int]:
            return [1, 2]

        run = wf.run_local(tmp_path / "out")
        assert run.result("numbers") == [1, 2]
        return run.status(as_dict=True)["summary"]["numbers"]

    assert summary("pickle") == {"SUCCESS": 1}
    assert summary("pickle") == {"CACHED": 1}
    assert summary(None) == {"SUCCESS": 1}


class Opaque:
    pass


def test_what_validate_says() -> None:
    wf = Workflow("w")

    @wf.job(serializer="pickel")
    def a() -> Opaque:
        return Opaque()

    with pytest.raises(ValidationError, match=r"task 'a': no serializer named 'pickel'.*'pickle'"):
        wf.validate()

    wf = Workflow("w")

    @wf.job()
    def b() -> Opaque:
        return Opaque()

    with pytest.raises(ValidationError, match=r"'b', return value: Opaque .*serializer=\"pickle\""):
        wf.validate()

    wf = Workflow("w")

    @wf.job(serializer="pickle")
    def whole() -> list[int]:
        return [1]

    @wf.job(array=True)
    def each(x: Annotated[int, Result(step="whole")]) -> int:
        return x

    with pytest.raises(ValidationError, match=r"'x' gets the items .* kept in one file"):
        wf.validate()

    wf = Workflow("w")

    @wf.job(serializer="pickle")
    def c(x: Annotated[Opaque, Param()]) -> Opaque:
        return x

    with pytest.raises(ValidationError, match="parameter 'x': Opaque cannot be written as JSON"):
        wf.validate()

    wf = Workflow("w")

    @wf.job()
    def plain() -> Any:
        return 1

    @wf.job()
    def d(x: Annotated[Opaque, Result(step="plain")]) -> int:
        return 1

    with pytest.raises(ValidationError, match="parameter 'x': Opaque cannot be written as JSON"):
        wf.validate()


@pytest.mark.parametrize(("array", "announced"), [(False, int), (True, list[int])])
def test_what_json_could_hold_is_read_as_any(tmp_path: Path, array: bool, announced: Any) -> None:
    wf = Workflow("w", store=tmp_path / "runs.sqlite")

    @wf.job()
    def items() -> list[int]:
        return [1]

    @wf.job(serializer="pickle", array=array)
    def whole(x: Annotated[int | list[int], Result(step="items")]) -> int:
        return 1

    @wf.job()
    def use(x: Annotated[Any, Result(step="whole")]) -> Any:
        return x

    assert wf.run_local(tmp_path / "out").result("use") == ([1] if array else 1)
    use.__annotations__["x"] = Annotated[announced, Result(step="whole")]
    wf.tasks["use"] = wf.tasks["use"].renamed("use", {})
    wf.tasks["use"]._signature = None
    with pytest.raises(ValidationError, match="is kept in a file by the serializer"):
        wf.validate()


def test_the_key_of_references_is_reserved(tmp_path: Path) -> None:
    wf = Workflow("w")

    @wf.job()
    def forged() -> dict[str, Any]:
        return {"a": [{KEY: "pickle", "file": "0" * 64}]}

    with pytest.raises(RunFailedError, match=r"a dict without the key '\$attachment'"):
        wf.run_local(tmp_path / "out")


@pytest.mark.parametrize(
    "reference",
    [
        {KEY: "pickle", "file": "../../etc/passwd"},
        {KEY: "pickle", "file": "0" * 64 + ".pickle/../x"},
        {KEY: "pickle", "file": 3},
        {KEY: "pickle"},
        {KEY: "pickle", "file": "0" * 64, "more": 1},
    ],
)
def test_a_reference_never_leads_out_of_the_run(tmp_path: Path, reference: Any) -> None:
    folder = AttachmentFolder(Files(), str(tmp_path), [])
    with pytest.raises(RecordError, match="refers to no file of this run"):
        folder.load(reference)


def test_only_the_serializers_of_the_run_are_used(tmp_path: Path) -> None:
    file = "0" * 64
    with pytest.raises(SerializationError, match="'unheard-of', which this run does not use"):
        AttachmentFolder(Files(), str(tmp_path), []).load({KEY: "unheard-of", "file": file})
    spec = SerializerSpec(name="unthere", target="no_such_module:Thing")
    with pytest.raises(PluginError, match=r"'unthere' \(no_such_module:Thing\) cannot be used"):
        AttachmentFolder(Files(), str(tmp_path), [spec]).load({KEY: "unthere", "file": file})


def test_a_full_disk_fails_the_task_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wf = Workflow("w")

    @wf.job(serializer="pickle")
    def big() -> Opaque:
        return Opaque()

    def full(self: Files, scratch: str, path: str) -> bool:
        raise OSError(28, "No space left on device", path)

    with monkeypatch.context() as patch:
        patch.setattr(Files, "publish", full)
        with pytest.raises(RunFailedError, match="No space left on device"):
            wf.run_local(tmp_path / "out")
    assert [*tmp_path.glob("out/.reflow/*/values/*")] == []
    assert isinstance(wf.run_local(tmp_path / "out").result("big"), Opaque)


def test_a_queued_worker_finds_the_serializer_without_any_plugin(
    install: Any, script: Any, tmp_path: Path
) -> None:
    site = install("grids", GRIDS)
    source = """
        import sys
        from typing import Annotated
        from grids import Grid
        from reflow import Result, Workflow

        wf = Workflow("queued")

        @wf.job()
        def make() -> Grid:
            return Grid([1, 2])

        @wf.job()
        def use(grid: Annotated[Grid, Result(step="make")]) -> Grid:
            print([name for name in ("reflow.plugins.lookup", "click") if name in sys.modules])
            return Grid([len(grid.cells)])

        if __name__ == "__main__":
            wf.submit("out", executor="local").wait(60)
        """
    script(textwrap.dedent(source), site)
    (folder,) = tmp_path.glob("out/.reflow/*")
    record = RunRecord(str(folder))
    request = record.request()
    make_folders(record.files, record.folder, "use")
    (upstream,) = [
        event
        for event in JournalReader(record.files, record.segments).read()
        if isinstance(event, Outcome) and event.task == "make"
    ]
    assert KEY in str(upstream.value)
    write_job(
        record.files,
        record.jobs,
        "tag",
        JobHeader(
            task="use",
            common={"grid": str(upstream.value)},
            epoch=0,
            entrypoint=unstructure(request.entrypoint),
            serializers=unstructure(request.spec.serializers),
            identity={"code": ""},
            order=[("grid", False)],
            editable=True,
            on_code_change="run",
            files="auto",
            check=None,
        ),
        [(0, 1, "identity", {})],
    )
    worker = f"""
        from reflow.engine.worker import run_position

        print(run_position({str(folder)!r}, "tag", 0, mark="m"))
        """
    out = script(textwrap.dedent(worker), site, name="worker.py")
    assert out == "[]\nSUCCESS\n"
    (outcome,) = published(record.files, record.folder, "use", {0: 1})
    assert "grid" in str(outcome.value)

