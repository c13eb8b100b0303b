"""Facts about Flux, each checked on the simulator and on a real Flux.

With REFLOW_LIVE_FLUX=1 every row runs against the Flux that FLUX_URI says, or this machine's, as
well; as an ordinary user, see `live.sites`. That Flux has one node of eight cores, no GPU and no
queues, keeps ended jobs, and is nobody else's: one fact has it forget them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from live.sites import SCHEDULERS, USER, as_user

LIVE = os.environ.get("REFLOW_LIVE_FLUX") == "1"
UNKNOWN = "f1234567"
ID = re.compile(r"f[1-9A-HJ-NP-Za-km-z]+")
IDS = re.compile(r"(f[1-9A-HJ-NP-Za-km-z]+\n?)+")
SUBMIT = "usage: flux submit [OPTIONS...] COMMAND [ARGS...]\nflux submit: error: "
SHOWN = "{name} {state} {result} {returncode}|{exception.type}|{exception.note}"


class Site:
    """The command `flux`, and a folder that its jobs can write."""

    def __init__(self, folder, prefix, environment, *, live):
        self.folder, self._prefix, self.live = folder, prefix, live
        self._environment = environment
        self.submitted = []

    def run(self, *arguments, **variables):
        return subprocess.run(
            [*self._prefix, "flux", *arguments],
            cwd=self.folder,
            env={**self._environment, "LC_ALL": "C.UTF-8", "FLUX_F58_FORCE_ASCII": "1",
                 **variables},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def ask(self, *arguments, **variables):
        """Run a command that must succeed and return its lines."""
        done = self.run(*arguments, **variables)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        lines = done.stdout.splitlines()
        if arguments[0] in ("submit", "bulksubmit"):
            self.submitted += lines
        return lines

    def submit(self, *arguments, **variables):
        [job] = self.ask("submit", "-n1", *arguments, **variables)
        return job

    def shown(self, form, *jobs):
        return sorted(self.ask("jobs", "-n", "-o", form, *jobs))

    def ended(self, *jobs, form=SHOWN):
        """Wait until jobs have ended, and return what Flux shows of them."""
        self.until(lambda: set(self.shown("{state}", *jobs)) == {"INACTIVE"})
        return self.shown(form, *jobs)

    def until(self, condition, seconds=0):
        end = time.monotonic() + (seconds or 90)
        while not (result := condition()):
            assert time.monotonic() < end, "it did not come about in time"
            time.sleep(0.2 if self.live else 0.02)
        return result

    def wait(self, job, state):
        self.until(lambda: self.shown("{state}", job) == [state])

    def read(self, name):
        """Return a log once it is not empty, without the messages of the job's shell."""
        path = self.folder / name
        self.until(lambda: path.exists() and path.read_text())
        return "".join(
            f"{line}\n" for line in path.read_text().splitlines() if "flux-shell" not in line
        )

    def clean(self):
        for start in range(0, len(self.submitted), 200):
            self.run("cancel", *self.submitted[start : start + 200])


def _live(folder):
    real = SCHEDULERS["flux"]
    real.need()
    if USER:
        shutil.chown(folder, USER)
    return Site(folder, as_user("env"), {**real.environment, "HOME": str(folder)}, live=True)


@pytest.fixture(
    params=[
        "simulator",
        *([pytest.param("live", marks=[pytest.mark.live, pytest.mark.slow])] if LIVE else []),
    ]
)
def flux(request):
    folder = Path(tempfile.mkdtemp(prefix="facts", dir="/var/tmp"))
    folder.chmod(0o755)
    if request.param == "live":
        site = _live(folder)
    else:
        simulator = request.getfixturevalue("simulators")("flux")
        path = f"{simulator.path}{os.pathsep}{os.environ['PATH']}"
        site = Site(folder, [], {"PATH": path, "HOME": str(folder)}, live=False)
    yield site
    site.clean()
    shutil.rmtree(folder, ignore_errors=True)


# Refusals and answers: arguments, exit code, standard output, standard error.
ROWS = {
    "no command": (["submit"], 1, "", "flux-submit: ERROR: job command and arguments are missing"),
    "unknown option": (["submit", "--nosuchopt", "true"], 2, "",
                       f"{SUBMIT}unrecognized arguments: --nosuchopt"),
    "no option for memory": (["submit", "--mem=1G", "true"], 2, "",
                             f"{SUBMIT}unrecognized arguments: --mem=1G"),
    "a clock is no duration": (["submit", "-t", "00:30:00", "true"], 1, "",
                               "flux-submit: ERROR: invalid Flux standard duration"),
    "two units are no duration": (["submit", "-t", "1h30m", "true"], 1, "",
                                  "flux-submit: ERROR: invalid Flux standard duration"),
    "infinity is no duration": (["submit", "-t", "inf", "true"], 1, "",
                                "flux-submit: ERROR: duration must be a normal, finite value"),
    "cores of tasks and of all": (
        ["submit", "--cores", "3", "-n1", "true"], 1, "",
        "flux-submit: ERROR: Per-resource options can't be used with per-task options. "
        "(See --help for details)"),
    "more nodes than tasks": (
        ["submit", "-N2", "-n1", "true"], 1, "",
        "flux-submit: ERROR: node count must not be greater than task count"),
    "queue where there is none": (["submit", "-q", "batch", "true"], 1, "",
                                  "[Errno 22] 'batch' is not a valid queue"),
    "empty queue": (["submit", "--queue=", "true"], 1, "", "[Errno 22] '' is not a valid queue"),
    "bank": (["submit", "-B", "proj", "true"], 0, ID, ""),
    "urgency": (["submit", "--urgency=99", "true"], 1, "",
                "[Errno 22] urgency range is [0:31]"),
    "idset backwards": (["submit", "--cc=3-1", "true"], 1, "",
                        "flux-submit: ERROR: IDset(): Invalid argument: 3-1"),
    "idset that does not ascend": (["submit", "--cc=7,3,1", "true"], 1, "",
                                   "flux-submit: ERROR: IDset(): Invalid argument: 7,3,1"),
    "range of one": (["submit", "--cc=0-0", "true"], 1, "",
                     "flux-submit: ERROR: IDset(): Invalid argument: 0-0"),
    "idset with a throttle": (["submit", "--cc=0-9%3", "true"], 1, "",
                              "flux-submit: ERROR: IDset(): Invalid argument: 0-9%3"),
    "idset of one": (["submit", "--cc=5", "true"], 0, ID, ""),
    "empty idset": (["submit", "--cc=", "true"], 0, ID, ""),
    "copies": (["submit", "--cc=0-2", "true"], 0, IDS, ""),
    "more than there is": (["submit", "-n1", "-c99", "true"], 0, ID, ""),
    "no such program": (["submit", "-n1", "/no/such/program"], 0, ID, ""),
    "two ids in a dependency": (
        ["submit", f"--dependency=afterany:{UNKNOWN},{UNKNOWN}", "true"], 1, "",
        f'[Errno 22] dependency: afterany: "{UNKNOWN},{UNKNOWN}" is not a valid jobid'),
    "dependency on an unknown job": (
        ["submit", f"--dependency=afterany:{UNKNOWN}", "true"], 1, "",
        f"[Errno 22] dependency: afterany: id {UNKNOWN}: job not found"),
    "dependency on a word": (["submit", "--dependency=afterok:xyz0", "true"], 1, "",
                             '[Errno 22] dependency: afterok: "xyz0" is not a valid jobid'),
    "unknown scheme": (["submit", f"--dependency=nosuch:{UNKNOWN}", "true"], 1, "",
                       '[Errno 22] dependency scheme "nosuch" not supported'),
    "begin time of a dependency": (["submit", "--dependency=begin-time:+3s", "true"], 1, "",
                                   "[Errno 22] Invalid begin-time=+3s"),
    "a begin time that has passed": (["submit", "--dependency=begin-time:1", "true"], 0, ID, ""),
    "jobs: unknown id": (["jobs", "-no", "{id}", UNKNOWN], 1, "", f"JobID {UNKNOWN} unknown"),
    "jobs: no id": (["jobs", "-no", "{id}", "xyz0"], 2, "", re.compile(
        r"(?s)usage: flux-jobs .*flux-jobs: error: argument JOBID: invalid JobID value: 'xyz0'")),
    "jobs: unknown field": (
        ["jobs", "-no", "{nosuchfield}"], 1, "",
        "flux-jobs: ERROR: Error in user format: Unknown format field: nosuchfield"),
    "jobs: of the future": (["jobs", "--since=99999999999"], 1, "",
                            "flux-jobs: ERROR: --since=99999999999 appears to be in the future"),
    "jobs: no such name": (["jobs", "-a", "-no", "{id}", "--name=nosuchname"], 0, "", ""),
    "cancel: unknown id": (["cancel", UNKNOWN], 1, "",
                           "flux-cancel: ERROR: f234567: unknown job id"),
    "cancel: no id": (["cancel", "xyz0"], 2, "", re.compile(
        r"(?s)usage: flux cancel .*flux-cancel: error: argument JOBID...: "
        r"invalid JobID value: 'xyz0'")),
    "cancel: nothing": (["cancel"], 1, "", "flux-cancel: ERROR: No target jobs were provided"),
    "ids in other forms": (["job", "id", "--to=f58plain", "0xa000000"], 0, ID, ""),
}  # fmt: skip


def fits(expected, output):
    output = output.strip("\n").rstrip()
    if isinstance(expected, str):
        return output == expected
    return expected.fullmatch(output) is not None


@pytest.mark.parametrize("row", ROWS)
def test_row(flux, row):
    arguments, code, out, err = ROWS[row]
    done = flux.run(*arguments)
    flux.submitted += done.stdout.split() if arguments[0] == "submit" else []
    assert (done.returncode, fits(out, done.stdout), fits(err, done.stderr)) == (
        code, True, True
    ), (done.stdout, done.stderr)  # fmt: skip


# How jobs end: options and command, and what Flux shows then.
ENDINGS = {
    "well": (["true"], "j INACTIVE COMPLETED 0||"),
    "exit code": (["sh", "-c", "exit 4"], "j INACTIVE FAILED 4||"),
    "signal 9": (["sh", "-c", "kill -9 $$"], "j INACTIVE FAILED 137||"),
    "signal 15": (["sh", "-c", "kill -15 $$"], "j INACTIVE FAILED 143||"),
    "abort": (["sh", "-c", "kill -6 $$"], "j INACTIVE FAILED 134||"),
    "no such program": (
        ["/no/such/program"],
        re.compile(r"j INACTIVE FAILED 127\|exec\|task 0 \(host \S+\): start failed: "
                   r"/no/such/program: No such file or directory")),
    "no program": (
        ["/etc/passwd"],
        re.compile(r"j INACTIVE FAILED 126\|exec\|task 0 \(host \S+\): start failed: "
                   r"/etc/passwd: Permission denied")),
    "no folder for the log": (
        ["--output=/nonexistent/dir/out", "true"],
        "j INACTIVE FAILED 1|exec|shell_init: No such file or directory"),
    "too many cores": (
        ["-c99", "true"],
        "j INACTIVE FAILED 1|alloc|unsatisfiable request: need 1 slot(s) of 99 core(s), only 0 "
        "such slot(s) available (total cores: 8)"),
    "too many GPUs": (
        ["-g9", "true"],
        "j INACTIVE FAILED 1|alloc|unsatisfiable request: need 1 slot(s) with 9 GPU(s) each, only "
        "0 available (total GPUs: 0)"),
    "time limit": (["-t", "1s", "sleep", "60"],
                   "j INACTIVE TIMEOUT 142|timeout|resource allocation expired"),
    "no folder to run in": (["--cwd=/nonexistent", "true"], "j INACTIVE COMPLETED 0||"),
}  # fmt: skip


@pytest.mark.parametrize("how", ENDINGS)
def test_ending(flux, how):
    arguments, expected = ENDINGS[how]
    [ending] = flux.ended(flux.submit("--job-name=j", *arguments))
    assert fits(expected, ending), ending


def test_a_time_limit_without_a_unit_is_of_minutes(flux):
    jobs = [flux.submit("--urgency=hold", "-t", text, "true") for text in ("90", "90s", "0.5h")]
    assert [flux.shown("{duration}", job) for job in jobs] == [["5400.0"], ["90.0"], ["1800.0"]]


def test_a_job_that_was_cancelled(flux):
    running, waiting = flux.submit("sleep", "60"), flux.submit("--urgency=hold", "true")
    flux.wait(running, "RUN")
    assert flux.shown("{state} {urgency}", waiting) == ["SCHED 0"]
    assert flux.ask("cancel", running, waiting) == []
    assert flux.ended(running, form=SHOWN) == ["sleep INACTIVE CANCELED 143|cancel|"]
    assert flux.ended(waiting, form=SHOWN + "|{t_run}") == [
        "true INACTIVE CANCELED -128|cancel||0.0"
    ]
    done = flux.run("cancel", running, UNKNOWN)
    assert (done.returncode, done.stderr) == (
        1, f"flux-cancel: ERROR: {running}: job is inactive\n"
        "flux-cancel: ERROR: f234567: unknown job id\n"
    )  # fmt: skip


def test_job_that_is_gone_does_not_stop_the_cancel_of_others(flux):
    over, running = flux.submit("true"), flux.submit("sleep", "60")
    flux.ended(over)
    assert flux.run("cancel", over, running, UNKNOWN).returncode == 1
    assert flux.ended(running, form="{result}") == ["CANCELED"]


def test_a_job_that_ignores_sigterm_is_killed(flux):
    script = "trap '' TERM; echo on; while :; do sleep 1; done"
    job = flux.submit("--output=log", "sh", "-c", script)
    flux.until(lambda: "on" in flux.read("log"))
    flux.ask("cancel", job)
    assert flux.ended(job, form="{result} {returncode}") == ["CANCELED 137"]


def test_a_held_job_is_let_go(flux):
    job = flux.submit("--urgency=hold", "true")
    assert flux.shown("{state} {urgency}", job) == ["SCHED 0"]
    flux.ask("job", "urgency", job, "default")
    assert flux.ended(job, form="{result} {urgency}") == ["COMPLETED 16"]


def test_the_environment_goes_on_to_the_job(flux):
    # Also a position in the submitter's environment.
    script = 'echo "$FLUX_JOB_CC $FLUX_JOB_ID $FLUX_TASK_RANK"'
    job = flux.submit("--output=log", "sh", "-c", script, FLUX_JOB_CC="3")
    assert flux.read("log") == f"3 {job} 0\n"


def test_the_folder_of_the_submitter_is_that_of_the_job(flux):
    # A log without a folder lands in the job's folder, too.
    flux.submit("--output=here", "pwd")
    flux.submit(f"--output={flux.folder}/there", "--cwd=/usr", "pwd")
    flux.submit(f"--output={flux.folder}/nowhere", "--cwd=/nonexistent", "pwd")
    (flux.folder / "below").mkdir()
    (flux.folder / "below").chmod(0o777)
    flux.submit("--output=log", f"--cwd={flux.folder}/below", "pwd")
    assert flux.read("below/log") == f"{flux.folder}/below\n"
    assert flux.read("here") == f"{flux.folder}\n"
    assert flux.read("there") == "/usr\n"
    flux.until(lambda: flux.read("nowhere") == "/tmp\n")


def test_output_takes_errors_too(flux):
    flux.submit("--output=both", "sh", "-c", "echo out; echo err >&2")
    flux.until(lambda: sorted(flux.read("both").split()) == ["err", "out"])
    job = flux.submit("--output=both", "true")
    flux.ended(job)
    assert "out" not in (flux.folder / "both").read_text()


def test_job_without_standard_input_never_sees_its_end(flux):
    waits, ends = flux.submit("cat"), flux.submit("--input=/dev/null", "cat")
    assert flux.ended(ends, form="{result}") == ["COMPLETED"]
    flux.wait(waits, "RUN")
    time.sleep(1)
    assert flux.shown("{state}", waits) == ["RUN"]


def test_a_log_may_be_added_to(flux):
    for word in ("first", "second"):
        flux.ended(flux.submit("--output=log", "-o", "output.mode=append", "echo", word))
    flux.until(lambda: flux.read("log") == "first\nsecond\n")


def test_templates_of_logs(flux):
    job = flux.submit("--output=a.{{id.f58plain}}.{{id.dec}}.{cc}.{{cc}}.%j", "echo", "{cc}")
    number = flux.ask("job", "id", "--to=dec", job)[0]
    assert flux.read(f"a.{job}.{number}.{{cc}}.{{{{cc}}}}.%j") == "{cc}\n"


def test_copies_are_jobs_of_their_own(flux):
    jobs = flux.ask("submit", "--cc=1,3-4", "-n1", "--job-name=x-{cc}", "--output=log.{cc}", "sh",
                    "-c", 'echo "$FLUX_JOB_CC $0"; exit $FLUX_JOB_CC', "{cc}")  # fmt: skip
    assert len(set(jobs)) == 3
    assert flux.ended(*jobs, form="{name} {returncode}") == ["x-1 1", "x-3 3", "x-4 4"]
    assert flux.read("log.3") == "3 3\n"


def test_braces_of_copies_cannot_be_written(flux):
    done = flux.run("submit", "--cc=0-1", "-n1", "echo", "{x}")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Invalid replacement string in command: '{x}'" in done.stderr


def test_ids_are_not_in_the_order_of_the_copies(flux):
    # Up to fifty ids are in order; a small machine may keep more in order.
    for size in (400, 800, 1600):
        last = size - 1
        jobs = flux.ask("submit", f"--cc=0-{last}", "--urgency=hold", "--job-name=y-{cc}", "true")
        rows = dict(line.split() for line in flux.shown("{id.f58plain} {name}", *jobs))
        assert {*rows.values()} == {f"y-{at}" for at in range(size)}
        if [rows[job] for job in jobs] != [f"y-{at}" for at in range(size)]:
            return
    pytest.fail("they were in order")


def test_inputs_of_bulksubmit_stay_as_they_are(flux):
    jobs = flux.ask(
        "bulksubmit", "-n1", "--job-name=z[{0}]", "--env=FLUX_JOB_CC={0}", "--output={1}{0}.log",
        "sh", "-c", "{2}", "{3}", ":::", "0", "1", "2", ":::+", "a {x} ", ":::+",
        "echo $FLUX_JOB_CC $0", ":::+", "{cc} {{0}}",
    )  # fmt: skip
    assert len(jobs) == 3
    assert flux.ended(*jobs, form="{name} {result}") == [f"z[{at}] COMPLETED" for at in range(3)]
    assert flux.read("a {x} 1.log") == "1 {cc} {{0}}\n"


def test_elements_of_bulksubmit_wait_for_their_twins(flux):
    ups = [flux.submit("--urgency=hold", "true") for _ in range(2)]
    waits = [f"afterany:{up}" for up in ups]
    downs = flux.ask("bulksubmit", "-n1", "--job-name=d[{0}]", "--dependency={1}", "true", ":::",
                     "0", "1", "2", ":::+", *waits, "begin-time:1")  # fmt: skip
    rows = dict(line.split() for line in flux.shown("{name} {id.f58plain}", *downs))
    flux.ended(rows["d[2]"])
    assert flux.shown("{state}", rows["d[0]"], rows["d[1]"]) == ["DEPEND", "DEPEND"]
    flux.ask("cancel", ups[1])
    flux.ended(rows["d[1]"])
    assert flux.shown("{state}", rows["d[0]"]) == ["DEPEND"]


def test_copies_are_accepted_in_part_when_some_are_refused(flux):
    over = flux.submit("--job-name=0", "false")
    flux.ended(over)
    good = flux.submit("--urgency=hold", "true")
    done = flux.run("bulksubmit", "-n1", "--dependency={0}", "true", ":::", f"afterok:{over}",
                    f"afterok:{good}")  # fmt: skip
    flux.submitted += done.stdout.split()
    assert (done.returncode, len(done.stdout.split())) == (1, 1)
    assert f"dependency: afterok: job {over} failed or was canceled" in done.stderr


def test_dependencies(flux):
    bad = flux.submit("--urgency=hold", "false")
    good = flux.submit("--urgency=hold", "true")
    kinds = {
        "any": [f"afterany:{bad}", f"afterany:{good}"], "ok": [f"afterok:{good}"],
        "notok": [f"afternotok:{bad}"], "never": [f"afterok:{bad}"],
    }  # fmt: skip
    jobs = {
        kind: flux.submit(
            f"--job-name={kind}",
            *(f"--dependency={dependency}" for dependency in dependencies),
            "true",
        )
        for kind, dependencies in kinds.items()
    }
    assert flux.shown("{state}", *jobs.values()) == ["DEPEND"] * 4
    assert flux.shown("{dependencies}", jobs["ok"]) == [f"after-success={good}"]
    flux.ask("job", "urgency", bad, "default")
    flux.ended(bad, jobs["notok"], jobs["never"])
    assert flux.shown("{state}", jobs["any"], jobs["ok"]) == ["DEPEND", "DEPEND"]
    flux.ask("job", "urgency", good, "default")
    endings = flux.ended(*jobs.values())
    assert endings[0] == "any INACTIVE COMPLETED 0||"
    assert endings[1] == (
        f"never INACTIVE FAILED 1|dependency|dependency after-success={bad} can never be satisfied"
    )
    assert endings[2:] == ["notok INACTIVE COMPLETED 0||", "ok INACTIVE COMPLETED 0||"]


def test_dependencies_on_what_has_ended(flux):
    good, bad = flux.submit("true"), flux.submit("false")
    flux.ended(good, bad)
    fulfilled = (f"afterany:{bad}", f"afterany:{good}", f"afterok:{good}")
    taken = [flux.submit(f"--dependency={dependency}", "true") for dependency in fulfilled]
    flux.ended(*taken)
    done = flux.run("submit", f"--dependency=afterok:{bad}", "true")
    assert (done.returncode, done.stderr) == (
        1, f"[Errno 22] dependency: afterok: job {bad} failed or was canceled\n"
    )  # fmt: skip


def test_a_warning_is_an_exception_of_a_job_that_ends_well(flux):
    other = flux.submit("true")
    done = flux.run("submit", "-n1", f"--dependency=after:{other}", "true")
    warning = "dependency scheme 'after' is deprecated, use 'afterstart'"
    assert (done.returncode, done.stderr.strip()) == (0, warning)
    form = "{result}|{exception.severity}|{exception.type}|{exception.note}"
    assert flux.ended(done.stdout.strip(), form=form) == [f"COMPLETED|3|dependency|{warning}"]


def test_many_dependencies(flux):
    jobs = flux.ask("submit", "--cc=0-499", "--urgency=hold", "true")
    after = flux.submit(*(f"--dependency=afterany:{job}" for job in jobs), "true")
    assert flux.shown("{state}", after) == ["DEPEND"]
    for start in range(0, 500, 100):
        flux.ask("cancel", *jobs[start : start + 100])
    assert flux.ended(after, form="{result}") == ["COMPLETED"]


def test_a_begin_time(flux):
    job = flux.submit(f"--begin-time=+{20 if flux.live else 120}s", "true")
    assert flux.shown("{state}", job) == ["DEPEND"]
    flux.ended(job)
    submitted, began = map(float, flux.shown("{t_submit} {t_run}", job)[0].split())
    assert began - submitted >= 1.9


def test_jobs_lists_known_ids_despite_an_unknown_one(flux):
    job = flux.submit("true")
    done = flux.run("jobs", "-no", "{id.f58plain}", UNKNOWN, job)
    assert (done.returncode, done.stdout, done.stderr) == (
        0, f"{job}\n", f"JobID {UNKNOWN} unknown\n"
    )  # fmt: skip


def test_jobs_lists_living_and_recently_ended_jobs(flux):
    name = f"s{time.monotonic_ns()}"
    over, running = flux.submit(f"--job-name={name}", "true"), flux.submit(
        f"--job-name={name}", "sleep", "60")  # fmt: skip
    flux.ended(over)
    ended = float(flux.shown("{t_inactive}", over)[0])
    form = ["-no", "{id.f58plain}", f"--name={name}"]
    assert flux.ask("jobs", *form) == [running]
    assert sorted(flux.ask("jobs", "-a", *form)) == sorted([over, running])
    assert sorted(flux.ask("jobs", f"--since={ended - 1}", *form)) == sorted([over, running])
    assert flux.ask("jobs", f"--since={ended}", *form) == [running]
    # Without a header nothing says that there are more.
    done = flux.run("jobs", "-a", *form, "--count=1")
    assert (done.stdout.splitlines(), done.stderr) == ([running], "")
    done = flux.run("jobs", "-a", "-o", "{id.f58plain}", f"--name={name}", "--count=1")
    assert "warning: output truncated at 1 jobs." in done.stderr
    assert len(flux.ask("jobs", "-a", *form, "--count=0")) == 2
    done = flux.run("jobs", "-no", "{id.f58plain}", "--count=0", over)
    assert (done.returncode, done.stdout) == (0, f"{over}\n")
    assert done.stderr == "flux-jobs: WARNING: Filtering options ignored with jobid list\n"


def test_ids_have_many_forms(flux):
    job = flux.submit("true", FLUX_F58_FORCE_ASCII="")
    plain, number = flux.shown("{id.f58plain} {id.dec}", job)[0].split()
    assert {"f" + job[1:], "ƒ" + job[1:]} == {plain, "ƒ" + plain[1:]}
    for form in (plain, "ƒ" + plain[1:], number, hex(int(number))):
        assert flux.shown("{id.dec}", form) == [number]
    job = flux.submit("true", LC_ALL="C", FLUX_F58_FORCE_ASCII="")
    assert job.startswith("f")


def test_purged_jobs_are_unknown(flux):
    job = flux.submit("true")
    flux.ended(job)
    assert flux.ask("job", "purge", "--force", "--num-limit=0")[0].startswith("purged ")
    done = flux.run("jobs", "-no", "{id}", job)
    assert (done.returncode, done.stderr) == (1, f"JobID {job} unknown\n")
    done = flux.run("submit", f"--dependency=afterany:{job}", "true")
    assert (done.returncode, done.stderr) == (
        1, f"[Errno 22] dependency: afterany: id {job}: job not found\n"
    )  # fmt: skip
    done = flux.run("cancel", job)
    assert (done.returncode, done.stderr) == (1, f"flux-cancel: ERROR: {job}: unknown job id\n")


def test_one_task_for_each_core_by_default(flux):
    [job] = flux.ask("submit", "--cores=3", "--output=log", "sh", "-c",
                     'echo "$FLUX_TASK_RANK of $FLUX_JOB_SIZE"')  # fmt: skip
    flux.ended(job)
    assert sorted(flux.read("log").splitlines()) == ["0 of 3", "1 of 3", "2 of 3"]
    job = flux.submit("-c3", "--output=one", "sh", "-c", 'echo "$FLUX_TASK_RANK of $FLUX_JOB_SIZE"')
    flux.ended(job)
    assert flux.read("one") == "0 of 1\n"


def test_cancel_of_a_thousand_may_abort_having_cancelled_them(flux):
    name = f"c{time.monotonic_ns()}"
    jobs = flux.ask("submit", "--cc=0-999", "--urgency=hold", f"--job-name={name}", "true")
    # With fewer jobs it does not abort; with more it does on some machines.
    assert flux.run("cancel", *jobs[:200]).returncode == 0
    more = flux.ask("submit", "--cc=0-399", "--urgency=hold", f"--job-name={name}", "true")
    assert flux.run("cancel", *jobs[200:], *more).returncode in (0, 134, -6)
    flux.until(lambda: not flux.ask("jobs", "-no", "{id}", "--count=0", f"--name={name}"))


# What only the simulator can be made to do.


def test_queues(simulators):
    simulator = simulators(
        "flux",
        partitions=[("batch", ("host",), 3600, 0, True), ("debug", ("host",), 7200, 0, False)],
    )
    for arguments, err in (
        ([], "[Errno 1] no queue specified\n"),
        (["-q", "nosuch"], "[Errno 1] Invalid queue 'nosuch' specified\n"),
        (["-q", "batch"], "[Errno 22] requested duration (unlimited) exceeds policy limit of 1h "
                          "for queue batch\n"),
        (["-q", "batch", "-t", "2h"], "[Errno 22] requested duration (2h) exceeds policy limit of "
                                      "1h for queue batch\n"),
        (["-q", "debug", "-t", "1h"], "[Errno 22] job submission to debug is disabled: down\n"),
        (["-q", "batch", "-t", "30m"], ""),
    ):  # fmt: skip
        done = simulator.call("flux", "submit", *arguments, "true")
        assert (done.returncode, done.stderr) == (1 if err else 0, err)


def test_faults(simulators):
    simulator = simulators("flux", message_timeout=0.1)
    simulator.inject("refuse", command="submit", text="[Errno 1] per-user max jobs limit")
    done = simulator.call("flux", "submit", "true")
    assert (done.returncode, done.stderr) == (1, "[Errno 1] per-user max jobs limit\n")
    for fault, taken in (("timeout_before", 0), ("timeout_after", 1)):
        simulator.inject(fault, command="submit")
        done = simulator.call("flux", "submit", "true")
        assert (done.returncode, done.stdout) == (1, "")
        assert "Connection timed out" in done.stderr
        assert len(simulator.jobs()) == taken
    simulator.inject("down")
    for command in (["submit", "true"], ["bulksubmit", "true", ":::", "1"], ["jobs"],
                    ["cancel", "f12"]):  # fmt: skip
        done = simulator.call("flux", *command)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            f"flux-{command[0]}: ERROR: Unable to connect to Flux: broker socket /run/flux/local "
            "was not found\n"
        )
    # What the command itself refuses needs no broker.
    assert simulator.call("flux", "submit", "-t", "x", "true").stderr.endswith("duration\n")
    assert simulator.calls["submit"] == 6
