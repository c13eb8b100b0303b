"""A background run finds its workflow again, wherever that was made."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Annotated

import pytest

from reflow import Param, Result, RunDir, Workflow
from reflow.errors import DefinitionError, RecordError

TASKS = textwrap.dedent(
    """
    import os
    from typing import Annotated
    from reflow import Param, Result, RunDir, Workflow

    wf = Workflow("places")

    @wf.job()
    def make(n: Annotated[int, Param(help="how many")] = 2) -> list[str]:
        return [f"i{k}" for k in range(n)]

    @wf.job(array=True)
    def shout(item: Annotated[str, Result(step="make")], run_dir: RunDir) -> str:
        (run_dir / f"{item}.txt").write_text(item)
        return item.upper()

    @wf.job()
    def join(items: Annotated[list[str], Result(step=shout)]) -> list[str]:
        return [*items, os.getcwd()]
    """
)
SUBMIT = textwrap.dedent(
    """
    run = wf.submit("out", executor="local", n=3)
    print("submitted", run.run_id)
    """
)
CHECK = textwrap.dedent(
    """
    assert run.wait(60) == "SUCCESS", run.status(errors=True)
    assert run.result("join") == ["I0", "I1", "I2", os.getcwd()], run.result("join")
    assert sorted(p.name for p in run.run_dir.glob("*.txt")) == ["i0.txt", "i1.txt", "i2.txt"]
    assert run.run_dir == __import__("pathlib").Path(os.getcwd(), "out")
    print("runs", len(wf.store.list_runs()))
    """
)


@pytest.fixture
def place(tmp_path):
    """A working directory to start Python in."""
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


def python(place, *arguments, text=None, environment=None):
    """Run Python there and return what it printed; a failure fails the test."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=place,
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **(environment or {})},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def guarded(body):
    return "if __name__ == '__main__':\n" + textwrap.indent(body, "    ")


@pytest.mark.parametrize("guard", [True, False])
def test_script(place, guard):
    body = SUBMIT + CHECK
    (place / "script.py").write_text(TASKS + (guarded(body) if guard else body))
    out = python(place, "script.py")
    assert out.count("submitted") == 1
    assert "runs 1" in out


def test_script_somewhere_else_with_its_own_modules(place, tmp_path):
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / "beside.py").write_text("WORD = 'beside'\n")
    # A module of the same name in the working directory is not the script's.
    (place / "beside.py").write_text("raise RuntimeError('the wrong one')\n")
    (folder / "script.py").write_text("import beside\n" + TASKS + SUBMIT + CHECK)
    assert "runs 1" in python(place, str(folder / "script.py"))


def test_rooms_of_reflow_are_not_importable_by_their_bare_names(place):
    names = ("storage", "values", "config", "engine", "errors", "run")
    (place / "script.py").write_text(
        textwrap.dedent(
            f"""
            import importlib.util
            from reflow import Workflow

            wf = Workflow("names")

            @wf.job()
            def importable() -> list[str]:
                return [name for name in {names} if importlib.util.find_spec(name)]

            run = wf.submit("out", executor="local")
            assert run.wait(60) == "SUCCESS", run.status(errors=True)
            print("importable:", run.result("importable"))
            """
        )
    )
    assert "importable: []" in python(place, "script.py")


def test_script_that_reads_its_arguments_at_top_level(place):
    body = SUBMIT.replace('"out"', "sys.argv[1]").replace("n=3", "n=int(sys.argv[2])")
    (place / "script.py").write_text("import sys\n" + TASKS + body + CHECK)
    assert "runs 1" in python(place, "script.py", "out", "3")


def test_script_whose_workflow_stands_under_the_guard(place):
    (place / "script.py").write_text(guarded(TASKS + SUBMIT + CHECK))
    assert "runs 1" in python(place, "script.py")


def test_annotations_of_a_script_are_no_texts(place):
    """They were evaluated when the function was defined, not when it is called."""
    tasks = textwrap.dedent(
        """
        from reflow import Workflow

        wf = Workflow("kinds")

        def returning(value):
            def make() -> kind:
                return value
            return make

        for kind, value in ((int, 1), (str, "1")):
            wf.job(name=kind.__name__)(returning(value))
        """
    )
    submit = textwrap.dedent(
        """
        run = wf.submit("out", executor="local")
        assert run.wait(30) == "SUCCESS", run.status(errors=True)
        assert (run.result("int"), run.result("str")) == (1, "1")
        """
    )
    (place / "script.py").write_text(tasks + guarded(submit))
    python(place, "script.py")


@pytest.mark.parametrize("start", ["run_local(", "submit(executor='dry-run', run_dir="])
def test_loading_a_script_starts_nothing(place, start):
    """A job repeats nothing that the script does before or after it submits."""
    body = SUBMIT + CHECK + f"wf.{start}'second')\n"
    (place / "script.py").write_text(TASKS + body + "print('total', len(wf.store.list_runs()))")
    expected = 2 if start.startswith("run_local") else 1
    assert f"total {expected}" in python(place, "script.py")


def test_the_run_goes_on_after_the_script_has_ended(place):
    body = TASKS.replace("return item.upper()", "__import__('time').sleep(0.5); return 'late'")
    (place / "script.py").write_text(body + SUBMIT)
    run_id = python(place, "script.py").split()[-1]
    (place / "look.py").write_text(
        "from script2 import wf\n"
        f"run = wf.run({run_id!r})\n"
        "print(run.wait(60), run.result('join'))\n"
    )
    (place / "script2.py").write_text(body)
    assert "SUCCESS ['late', 'late', 'late'" in python(place, "look.py")


@pytest.mark.parametrize("guard", [True, False])
@pytest.mark.parametrize("module", ["package.module", "package"])
def test_module(place, module, guard):
    package = place / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "names.py").write_text("OUT = 'out'\n")
    body = SUBMIT.replace('"out"', "OUT") + CHECK
    name = "module.py" if module == "package.module" else "__main__.py"
    (package / name).write_text(
        "from .names import OUT\n" + TASKS + (guarded(body) if guard else body)
    )
    out = python(place, "-m", module)
    assert out.count("submitted") == 1
    assert "runs 1" in out


def test_module_whose_workflow_stands_under_the_guard(place):
    package = place / "package"
    package.mkdir()
    (package / "names.py").write_text("OUT = 'out'\n")
    body = TASKS + SUBMIT.replace('"out"', "OUT") + CHECK
    (package / "module.py").write_text("from .names import OUT\n" + guarded(body))
    assert "runs 1" in python(place, "-m", "package.module")


@pytest.mark.parametrize(
    "arguments", [["-c", "{}"], ["-c", "{}", "-c", "more"], ["-Bc", "{}"], ["-X", "utf8", "-c{}"]]
)
def test_command(place, arguments):
    text = TASKS + SUBMIT + CHECK + "print('ü')"
    out = python(place, *(argument.replace("{}", text) for argument in arguments))
    assert out.count("submitted") == 1
    assert "runs 1" in out


@pytest.mark.parametrize("arguments", [[], ["-"], ["-", "-c", "more"]])
def test_standard_input(place, arguments):
    out = python(place, *arguments, text=TASKS + SUBMIT + CHECK)
    assert out.count("submitted") == 1
    assert "runs 1" in out


def test_annotations_as_text_from_standard_input(place):
    python(place, "-", text="from __future__ import annotations\n" + TASKS + SUBMIT + CHECK)


def test_inside_a_function(place):
    tasks = textwrap.indent(TASKS, "    ")
    (place / "script.py").write_text(
        f"def make_it():\n    suffix = 'ignored'\n{tasks}\n    return wf\n"
        "def main():\n    import os\n    wf = make_it()\n"
        + textwrap.indent(SUBMIT + CHECK, "    ")
        + "\nmain()\n"
    )
    out = python(place, "script.py")
    assert out.count("submitted") == 1
    assert "runs 1" in out


def test_made_by_a_function_and_kept_at_top_level(place):
    tasks = textwrap.indent(TASKS, "    ")
    (place / "script.py").write_text(
        f"import os\ndef make_it():\n{tasks}\n    return wf\nwf = make_it()\n" + SUBMIT + CHECK
    )
    out = python(place, "script.py", environment={"NO_PICKLE": "1"})
    assert out.count("submitted") == 1


def test_imported_from_another_module(place):
    (place / "pipeline.py").write_text(TASKS)
    (place / "script.py").write_text("import os\nfrom pipeline import wf\n" + SUBMIT + CHECK)
    assert "runs 1" in python(place, "script.py")


def helper(text):
    return text * 2


def test_inside_a_test_function(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wf = Workflow("in_a_test")
    suffix = "!"

    @wf.job()
    def make(n: Annotated[int, Param(help="how many")]) -> list[str]:
        return [f"i{k}{suffix}" for k in range(n)]

    @wf.job(array=True)
    def twice(item: Annotated[str, Result(step=make)], run_dir: RunDir) -> Path:
        path = run_dir / item
        path.write_text(helper(item))
        return path

    run = wf.submit("out", executor="local", n=2)
    assert run.wait(60) == "SUCCESS", run.status(errors=True)
    assert run.result(twice) == [tmp_path / "out/i0!", tmp_path / "out/i1!"]
    assert (tmp_path / "out/i1!").read_text() == "i1!i1!"
    assert len(wf.store.list_runs()) == 1


TOP = Workflow("top_of_a_test_module")


@TOP.job()
def top_task(word: str = "top") -> str:
    return helper(word)


def test_at_the_top_of_a_test_module(tmp_path):
    run = TOP.submit(tmp_path, executor="local")
    assert run.wait(60) == "SUCCESS", run.status(errors=True)
    assert run.result(top_task) == "toptop"


def test_notebook(place, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))
    kernels = tmp_path / "data" / "kernels" / "this"
    kernels.mkdir(parents=True)
    arguments = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernels / "kernel.json").write_text(
        json.dumps({"argv": arguments, "display_name": "this", "language": "python"})
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "data"))
    book = nbformat.v4.new_notebook()
    cells = [TASKS, SUBMIT, CHECK, "[wf.run_local('here', n=1).result('shout'), wf.store.path]"]
    book.cells = [nbformat.v4.new_code_cell(text) for text in cells]
    nbclient.NotebookClient(
        book, timeout=60, kernel_name="this", resources={"metadata": {"path": str(place)}}
    ).execute()
    printed = "".join(out.get("text", "") for cell in book.cells for out in cell.outputs)
    assert printed.count("submitted") == 1
    assert "runs 1" in printed
    assert "['I0']" in book.cells[-1].outputs[0]["data"]["text/plain"]


@pytest.mark.parametrize("directly", [True, False])
def test_directories_mean_what_they_meant(place, directly):
    """A relative run_dir and the working directory of tasks hold later and in other folders."""
    start = 'run_local("out"' if directly else 'submit("out", executor="local"'
    (place / "script.py").write_text(
        TASKS
        + f"run = wf.{start}, n=1)\nbefore = os.getcwd()\nos.chdir('/')\n"
        + "assert run.run_dir == __import__('pathlib').Path(before, 'out')\n"
        + "assert run.wait(60) == 'SUCCESS'\nprint(run.result('join') == ['I0', before])\n"
    )
    assert "True" in python(place, "script.py")
    assert (place / "out" / "i0.txt").exists()


@pytest.fixture
def no_cloudpickle(monkeypatch):
    monkeypatch.setitem(sys.modules, "cloudpickle", None)


def test_without_cloudpickle(tmp_path, no_cloudpickle):
    wf = Workflow("no_pickle")

    @wf.job()
    def task() -> int:
        return 1

    out = tmp_path / "out"
    with pytest.raises(DefinitionError, match=r"pip install 'reflow-core\[pickle\]'"):
        wf.submit(out, executor="local")
    assert not out.exists()
    assert wf.store.list_runs() == []


def test_run_local_needs_no_cloudpickle(tmp_path, no_cloudpickle):
    wf = Workflow("no_pickle")
    broken = [True]

    @wf.job()
    def task() -> int:
        if broken[0]:
            raise ValueError("broken")
        return 1

    run = wf.run_local(tmp_path, on_error="continue")
    assert run.state == "FAILED"
    run.retry()
    assert run.wait(60) == "FAILED"
    # The retry cannot load the function, and says so.
    (failed,) = run.status(as_dict=True)["failed_instances"]
    assert "reflow-core[pickle]" in failed["error_text"]


def test_what_cannot_be_pickled(tmp_path):
    import threading

    wf = Workflow("unpicklable")
    lock = threading.Lock()

    @wf.job()
    def task() -> int:
        with lock:
            return 1

    with pytest.raises(DefinitionError, match=r"'unpicklable'.*cannot be pickled"):
        wf.submit(tmp_path / "out", executor="local")
    assert not (tmp_path / "out").exists()
    assert wf.run_local(tmp_path).result("task") == 1


def test_a_script_that_is_gone(place):
    (place / "script.py").write_text(
        TASKS
        + "if __name__ == '__main__':\n"
        + "    from reflow.runs import lifecycle\n"
        + "    start = lifecycle.start_driver\n"
        + "    def later(*arguments):\n        os.unlink('script.py')\n        start(*arguments)\n"
        + "    lifecycle.start_driver = later\n"
        + "    run = wf.submit('out', executor='local')\n"
        + "    print(run.wait(60))\n    run.status(errors=True)\n"
    )
    out = python(place, "script.py")
    assert "FAILED" in out
    assert "cannot read the workflow's script" in out


def test_a_script_that_exits_when_a_job_loads_it(place):
    """Its exit code, even 0, is neither a success nor a silent death."""
    (place / "script.py").write_text(
        "import os, sys\nif os.path.exists('out'):\n    sys.exit(0)\n" + TASKS + SUBMIT
        + "print(run.wait(60))\nrun.status(errors=True)\n"
    )  # fmt: skip
    out = python(place, "script.py")
    assert "FAILED" in out
    assert "it called sys.exit(0)" in out


def test_a_script_that_exits_after_it_has_submitted(place):
    """Its own `except` may catch the exception that ends its loading."""
    body = "try:\n" + textwrap.indent(SUBMIT, "    ") + "except BaseException:\n    sys.exit(1)\n"
    (place / "script.py").write_text("import sys\n" + TASKS + body + CHECK)
    assert "runs 1" in python(place, "script.py")


def test_a_record_is_all_that_a_reader_needs(place):
    """Another process without the script reads the JSON forms."""
    (place / "script.py").write_text(TASKS + SUBMIT + CHECK)
    python(place, "script.py")
    (place / "script.py").unlink()
    out = python(
        place,
        "-c",
        "from reflow import Workflow\nfrom reflow.run import open_run\n"
        "store = Workflow('x').store\n"
        "run = open_run(store.list_runs()[0].run_id, store)\n"
        "print(run.state, run.result('shout'))",
    )
    assert "SUCCESS ['I0', 'I1', 'I2']" in out


def test_tasks_without_an_entrypoint_cannot_be_loaded():
    from reflow.model.entrypoint import NONE, load_tasks
    from reflow.model.spec import Entrypoint

    entry = Entrypoint(kind=NONE, target="why", workflow="w", directory="/", search_path=())
    with pytest.raises(RecordError, match="why"):
        load_tasks(entry, "/nowhere")
