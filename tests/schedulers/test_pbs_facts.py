"""Facts about OpenPBS 23.06, each checked on the simulator and on a real PBS.

The real one is used where REFLOW_LIVE_PBS=1 says that there is one, whose commands are first on
PATH; as root, jobs are submitted as REFLOW_LIVE_USER. One after the other: many facts are about
what other jobs would change.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from .gate import Gate

LIVE = os.environ.get("REFLOW_LIVE_PBS") == "1"


class Site(Gate):
    """Commands of a PBS, and a folder that its jobs can write."""

    def __init__(self, folder, prefix, path, user, simulator=None):
        self.folder, self._prefix, self._path, self.user = folder, prefix, path, user
        self.simulator, self.live = simulator, simulator is None
        self.name = f"facts-{os.getpid()}-{time.monotonic_ns()}"
        self.submitted = []
        self.home = pwd.getpwnam(user).pw_dir

    def run(self, *arguments, stdin="", **variables):
        return subprocess.run(
            [*self._prefix, *arguments], cwd=self.folder, input=stdin,
            env={"PATH": self._path, "LC_ALL": "C", "HOME": str(self.folder), **variables},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def ask(self, *arguments):
        done = self.run(*arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout.splitlines()

    def refused(self, *arguments, stdin=""):
        """Return exit code and first line of a call that fails."""
        done = self.run(*arguments, stdin=stdin)
        assert done.stdout == ""
        return done.returncode, done.stderr.splitlines()[0]

    def submit(self, *arguments, job=("--", "/bin/true"), **options):
        """Submit a job under this test's own name and return its id."""
        logs = [] if {"-o", "-k", "-j"} & set(arguments) else ["-o", "/dev/null", "-e", "/dev/null"]
        done = self.run("qsub", "-N", self.name, *logs, *arguments, *job, **options)
        assert (done.returncode, done.stderr) == (0, ""), (arguments, done.stderr)
        self.submitted.append(done.stdout.strip())
        return self.submitted[-1]

    @staticmethod
    def shell(code):
        """Return a job that is shell code."""
        return ("--", "/bin/sh", "-c", code)

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)
        return name

    def read(self, name):
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def until(self, condition, seconds=0.0):
        """Wait until a condition holds and return its value; a real scheduler takes its time."""
        end = time.monotonic() + (seconds or 60)
        while not (result := condition()):
            assert time.monotonic() < end, "it did not come about in time"
            time.sleep(0.3 if self.live else 0.02)
        return result

    def full(self, job, *options):
        """Return the fields of each job that qstat shows, by id."""
        done = self.run("qstat", "-x", "-f", "-w", *options, job)
        jobs = {}
        for block in done.stdout.split("Job Id: ")[1:]:
            name, _, body = block.partition("\n")
            jobs[name] = dict(
                line.strip().partition(" = ")[::2] for line in body.splitlines() if " = " in line
            )
        return jobs

    def fields_of(self, job, *names):
        fields = self.full(job).get(job, {})
        return tuple(fields.get(name) for name in names)

    def wait(self, job, *states):
        """Wait until a job is in one of these states; return its fields."""
        return self.until(
            lambda: (
                (fields := self.full(job).get(job, {}))
                and fields.get("job_state") in states
                and fields
            )
        )

    def ended(self, job):
        fields = self.wait(job, "F")
        return tuple(fields.get(name) for name in ("substate", "Exit_status"))

    def history(self, on):
        if self.live:
            subprocess.run(
                ["qmgr", "-c", f"set server job_history_enable={on}"], check=True,
                env={"PATH": self._path},
            )  # fmt: skip
        else:
            self.simulator.inject("accounting_up" if on else "accounting_off")

    def clean(self):
        # Those that are there, one by one: a server that is to delete several jobs, some of which
        # it does not know, may die.
        for job in self.run("qselect", "-u", self.user).stdout.split():
            if job in self.submitted:
                self.run("qdel", "-W", "force", job)


@pytest.fixture(
    params=[
        "simulator",
        *([pytest.param("live", marks=[pytest.mark.live, pytest.mark.slow])] if LIVE else []),
    ]
)
def site(request):
    # Below /var/tmp, where another user may go.
    folder = Path(tempfile.mkdtemp(prefix="facts", dir="/var/tmp"))
    folder.chmod(0o755)
    if request.param == "live":
        user = os.environ.get("REFLOW_LIVE_USER") or pwd.getpwuid(os.getuid()).pw_name
        prefix = []
        if os.getuid() == 0:
            shutil.chown(folder, user)
            prefix = ["runuser", "-u", user, "--"]
        new_site = Site(folder, prefix, os.environ["PATH"], user)
        version = new_site.ask("qstat", "--version")[0]
        assert "pbs_version" in version, "REFLOW_LIVE_PBS=1, but no PBS"
    else:
        simulator = request.getfixturevalue("pbs_simulator")
        path = f"{simulator.path}{os.pathsep}{os.environ['PATH']}"
        new_site = Site(folder, [], path, pwd.getpwuid(os.getuid()).pw_name, simulator)
    yield new_site
    new_site.clean()
    shutil.rmtree(folder, ignore_errors=True)


# Submission


def the_id_and_nothing_else_is_printed(site):
    done = site.run("qsub", "-h", "-N", site.name, "--", "/bin/true")
    site.submitted.append(done.stdout.strip())
    assert re.fullmatch(r"[0-9]+\.[a-z0-9.-]+\n", done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"[0-9]+\[\]\.[a-z0-9.-]+", site.submit("-h", "-J", "0-1"))


def short_and_full_ids_mean_the_same_job(site):
    job, array = site.submit("-h"), site.submit("-h", "-J", "0-3")
    for job_id in (job, job.partition(".")[0]):
        assert list(site.full(job_id)) == [job]
    for job_id in (array, array.partition(".")[0]):
        assert list(site.full(job_id)) == [array]
    number = array.partition("[")[0]
    assert list(site.full(f"{number}[2]")) == [array.replace("[]", "[2]")]
    assert site.refused("qstat", number) == (
        153, f"qstat: Unknown Job Id {number}.{array.partition('.')[2]}"
    )  # fmt: skip


def a_script_takes_no_arguments(site):
    site.write("job.sh", "#!/bin/sh\ntrue\n")
    code, text = site.refused("qsub", "job.sh", "a")
    assert (code, text[:11]) == (2, "usage: qsub")


def script_from_standard_input(site):
    done = site.run("qsub", "-j", "oe", "-o", f"{site.folder}/log", stdin="echo hello\n")
    site.submitted.append(done.stdout.strip())
    fields = site.wait(site.submitted[-1], "F")
    assert fields["Job_Name"] == "STDIN"
    site.until(lambda: site.read("log").endswith("hello\n"))


def arguments_are_passed_on_unchanged(site):
    words = ["two words", "$HOME", "a*b", "it's"]
    job = site.submit("-j", "oe", "-o", f"{site.folder}/log", job=("--", "/bin/echo", *words))
    site.wait(job, "F")
    assert site.until(lambda: site.read("log")) == "two words $HOME a*b it's\n"


def a_program_is_not_looked_up(site):
    assert site.ended(site.submit(job=("--", "echo", "hello"))) == ("93", "254")


def jobs_start_in_the_home_folder(site):
    job = site.submit("-j", "oe", "-o", f"{site.folder}/log", job=("--", "/bin/pwd"))
    site.wait(job, "F")
    assert site.until(lambda: site.read("log")) == f"{site.home}\n"


def a_shebang_counts(site):
    site.write("job.py", "#!/usr/bin/env python3\nimport os\nprint(os.getppid() > 0)\n")
    job = site.submit("-j", "oe", "-o", f"{site.folder}/log", job=("job.py",))
    site.wait(job, "F")
    assert site.until(lambda: site.read("log")) == "True\n"


def resources_of_both_kinds_do_not_mix(site):
    assert site.refused("qsub", "-l", "select=1:ncpus=1", "-l", "ncpus=2", "--", "/bin/true") == (
        5, 'qsub: "-lresource=" cannot be used with "select" or "place", resource is: ncpus'
    )  # fmt: skip


def units_of_memory(site):
    for text in ("4gb", "4G", "100mb", "4", "1kb"):
        site.submit("-h", "-l", f"select=1:mem={text}")
    code, text = site.refused("qsub", "-h", "-l", "mem=4Gi", "--", "/bin/true")
    assert (code, text) == (166, "qsub: Illegal attribute or resource value Resource_List.mem")


def time_limits(site):
    for text, shown in {"00:10:00": "00:10:00", "10:00": "00:10:00", "90": "00:01:30",
                        "25:01:01": "25:01:01"}.items():  # fmt: skip
        job = site.submit("-h", "-l", f"walltime={text}")
        assert site.fields_of(job, "Resource_List.walltime") == (shown,)
    code, text = site.refused("qsub", "-h", "-l", "walltime=1-00:00:00", "--", "/bin/true")
    assert (code, text) == (
        166, "qsub: Illegal attribute or resource value Resource_List.walltime"
    )  # fmt: skip


def job_larger_than_the_cluster_waits_for_ever(site):
    job = site.submit("-l", "select=1:ncpus=999")
    shown = site.until(lambda: (shown := site.fields_of(job, "job_state", "comment"))[1] and shown)
    assert shown[0] == "Q"
    assert shown[1].startswith("Can Never Run")


def job_names(site):
    for name in ("1a.b-c_d+e", "x" * 230):
        job = site.submit("-h", "-N", name)
        assert site.fields_of(job, "Job_Name") == (name,)
    code, text = site.refused("qsub", "-N", "x" * 231, "--", "/bin/true")
    assert (code, text.strip()) == (2, "qsub: Job name is too long")
    for name in ("a b", "a[b", "a/b", "a,b", "a:b", "a%b"):
        assert site.refused("qsub", "-N", name, "--", "/bin/true") == (
            2, "qsub: illegal -N value"
        )  # fmt: skip


def refusals(site):
    assert site.refused("qsub", "-q", "nosuch", "--", "/bin/true") == (170, "qsub: Unknown queue")
    assert site.refused("qsub", "-l", "nosuch=1", "--", "/bin/true")[0] == 187
    assert site.refused("qsub", "nosuch.sh")[0] == 1
    assert site.refused("qsub", "-t", "0-3", "--", "/bin/true") == (
        2, "qsub: invalid option -- 't'"
    )  # fmt: skip
    assert site.refused("qsub", "--output", "x", "--", "/bin/true")[0] == 2
    assert site.refused("qsub", "-k", "x", "--", "/bin/true") == (2, "qsub: illegal -k value")


def paths_are_ascii(site):
    assert site.refused("qsub", "-o", f"{site.folder}/gr\u00fcn", "--", "/bin/true") == (
        2, "qsub: illegal -o value"
    )  # fmt: skip
    for name in ("with space", "a:b", "50%,x", "it's"):
        job = site.submit("-j", "oe", "-k", "oed", "-o", f"{site.folder}/{name}",
                          job=("--", "/bin/echo", name))  # fmt: skip
        site.wait(job, "F")
        assert site.until(lambda name=name: site.read(name)) == f"{name}\n"


def options_may_come_twice(site):
    waited = site.submit("-h")
    job = site.submit("-W", f"depend=afterany:{waited}", "-W", "umask=027", "-l",
                      "select=1:ncpus=1", "-l", "place=free", "-l", "walltime=5:00")  # fmt: skip
    fields = site.full(job)[job]
    assert (fields["job_state"], fields["substate"], fields["Resource_List.place"]) == (
        "H", "22", "free"
    )  # fmt: skip


def nothing_of_qsub_is_left_behind(site):
    job = site.submit("-f", "-h")
    assert site.fields_of(job, "job_state") == ("H",)


def begin_times(site):
    later = time.strftime("%Y%m%d%H%M.%S", time.localtime(time.time() + 3600))
    fields = site.wait(site.submit("-a", later), "W")
    assert fields["substate"] == "30"
    past = time.strftime("%Y%m%d%H%M.%S", time.localtime(time.time() - 60))
    assert site.ended(site.submit("-a", past)) == ("92", "0")
    assert site.refused("qsub", "-a", "now+60", "--", "/bin/true") == (
        2, "qsub: illegal -a value"
    )  # fmt: skip


def begins_to_the_second(site):
    # The simulated cluster's clock runs faster.
    soon = time.strftime("%Y%m%d%H%M.%S", time.localtime(time.time() + 4))
    begun = time.time()
    assert site.ended(site.submit("-a", soon)) == ("92", "0")
    assert not site.live or time.time() - begun > 2.5


def environment_of_a_job(site):
    job = site.submit("-j", "oe", "-o", f"{site.folder}/log", "-v", "MINE=a b",
                      job=("--", "/usr/bin/env"), OTHER="x")  # fmt: skip
    site.wait(job, "F")
    site.until(lambda: site.read("log"))
    variables = dict(line.partition("=")[::2] for line in site.read("log").splitlines())
    assert {name: variables.get(name) for name in (
        "PBS_JOBID", "PBS_JOBNAME", "PBS_O_WORKDIR", "PBS_ENVIRONMENT", "MINE", "OTHER",
        "PBS_ARRAY_INDEX", "HOME",
    )} == {
        "PBS_JOBID": job, "PBS_JOBNAME": site.name, "PBS_O_WORKDIR": str(site.folder),
        "PBS_ENVIRONMENT": "PBS_BATCH", "MINE": "a b", "OTHER": None, "PBS_ARRAY_INDEX": None,
        "HOME": site.home,
    }  # fmt: skip


def whole_environment_is_passed_on_with_an_option(site):
    job = site.submit("-V", "-j", "oe", "-o", f"{site.folder}/log",
                      job=("--", "/usr/bin/printenv", "MINE"), MINE="a b,c\"d\nnext")  # fmt: skip
    site.wait(job, "F")
    assert site.until(lambda: site.read("log")) == 'a b,c"d\nnext\n'


# Arrays


def forms_of_arrays(site):
    for text in ("0-9", "0-99:2", "0-9%3", "3-9:3", "0-1:2", "7-8:5"):
        site.submit("-h", "-J", text)
    for text in ("0-0", "0", "5-5:1", "1,3,5", "0-2,5", "3-1", "-1-3"):
        assert site.refused("qsub", "-h", "-J", text, "--", "/bin/true") == (
            2, "qsub: illegal -J value"
        ), text  # fmt: skip
    assert site.refused("qsub", "-J", "0-3", "-r", "n", "--", "/bin/true")[0] == 2
    assert site.refused("qsub", "-J", "0-3%2", "-W", "max_run_subjobs=3", "--", "/bin/true") == (
        2, "qsub: multiple max_run_subjobs values found"
    )  # fmt: skip


def an_array_may_be_too_large(site):
    [most] = [
        int(line.partition(" = ")[2])
        for line in site.ask("qstat", "-B", "-f")
        if line.strip().startswith("max_array_size")
    ]
    assert site.refused("qsub", "-h", "-J", f"0-{most}", "--", "/bin/true") == (
        3, "qsub: Array job exceeds server or queue size limit"
    )  # fmt: skip


def environment_of_an_element(site):
    site.write("job.sh", "#!/bin/sh\nenv\n")
    array = site.submit("-J", "3-9:3", "-j", "oe", "-o", f"{site.folder}/log.^array_index^",
                        job=("job.sh",))  # fmt: skip
    site.wait(array, "F")
    for index in (3, 6, 9):
        site.until(lambda index=index: "PBS_JOBID" in site.read(f"log.{index}"))
        lines = site.read(f"log.{index}").splitlines()
        variables = dict(line.partition("=")[::2] for line in lines)
        names = ("PBS_ARRAY_INDEX", "PBS_ARRAY_ID", "PBS_JOBID")
        assert [variables[name] for name in names] == [
            str(index), array, array.replace("[]", f"[{index}]")
        ]  # fmt: skip


def a_throttle_holds(site):
    array = site.submit("-J", "0-3%1", job=site.shell(f"{site.until_go()}; sleep 1"))

    def running():
        entries = site.full(array, "-t")
        return sum(entry["job_state"] == "R" for job, entry in entries.items() if "[]" not in job)

    most = 0
    while site.fields_of(array, "job_state") != ("F",):
        most = max(most, running())
        if most:
            site.go()
        time.sleep(0.1)
    assert most == 1


# Logs


def placeholders_of_logs(site):
    array = site.submit("-J", "0-1", "-j", "oe", "-o", f"{site.folder}/a-^array_index^.%j.%a",
                        job=("--", "/bin/echo", "x"))  # fmt: skip
    site.wait(array, "F")
    site.until(lambda: len(list(site.folder.iterdir())) == 2)
    assert sorted(path.name for path in site.folder.iterdir()) == ["a-0.%j.%a", "a-1.%j.%a"]


def logs_without_a_place(site):
    job = site.submit("-j", "n")
    array = site.submit("-j", "oe", "-J", "0-1")
    site.wait(job, "F")
    site.wait(array, "F")
    number, of_array = job.partition(".")[0], array.partition("[")[0]
    files = {f"{site.name}.o{number}", f"{site.name}.e{number}",
              f"{site.name}.o{of_array}.0", f"{site.name}.o{of_array}.1"}  # fmt: skip
    site.until(lambda: {path.name for path in site.folder.iterdir()} == files)


def logs_in_a_folder(site):
    job = site.submit("-j", "oe", "-o", f"{site.folder}/")
    site.wait(job, "F")
    site.until(lambda: [path.name for path in site.folder.iterdir()] == [f"{job}.OU"])


def logs_come_when_the_job_has_ended(site):
    script = site.shell(f"echo x; {site.until_go()}")
    job = site.submit("-j", "oe", "-o", f"{site.folder}/late", job=script)
    live = site.submit("-j", "oe", "-k", "oed", "-o", f"{site.folder}/live", job=script)
    site.until(lambda: site.read("live") == "x\n")
    assert not (site.folder / "late").exists()
    site.go()
    site.wait(job, "F")
    site.until(lambda: site.read("late") == "x\n")
    assert site.wait(live, "F")["Keep_Files"] == "oed"


def live_logs_of_arrays(site):
    array = site.submit("-J", "0-1", "-j", "oe", "-k", "oed", "-W", "umask=022", "-o",
                        f"{site.folder}/log.^array_index^",
                        job=("--", "/bin/sh", "-c", "echo $PBS_ARRAY_INDEX; echo err >&2"),
                        )  # fmt: skip
    site.wait(array, "F")
    assert [site.until(lambda at=at: site.read(f"log.{at}")) for at in (0, 1)] == [
        "0\nerr\n", "1\nerr\n"
    ]  # fmt: skip
    assert (site.folder / "log.0").stat().st_mode & 0o777 == 0o644


def a_missing_folder_of_the_log_is_no_failure(site):
    job = site.submit("-j", "oe", "-o", f"{site.folder}/nosuch/log")
    exit_status = site.until(lambda: site.fields_of(job, "Exit_status")[0], 90)
    assert exit_status == "0"


# Dependencies


def a_job_that_waits(site):
    first = site.submit("-h")
    later = site.submit("-W", f"depend=afterany:{first}")
    fields = site.full(later)[later]
    server = first.partition(".")[2]
    assert (fields["job_state"], fields["substate"], fields["Hold_Types"], fields["depend"]) == (
        "H", "22", "s", f"afterany:{first}@{server}"
    )  # fmt: skip
    site.ask("qrls", first)
    assert site.ended(later) == ("92", "0")
    assert site.fields_of(later, "depend") == (None,)


def a_job_that_waits_for_an_array(site):
    array = site.submit("-J", "0-3", job=site.shell(
        f"{site.until_go()}; sleep $PBS_ARRAY_INDEX; exit 1"
    ))  # fmt: skip
    later = site.submit("-W", f"depend=afterany:{array}")
    assert site.fields_of(later, "job_state") == ("H",)
    site.go()
    assert site.ended(later) == ("92", "0")
    assert site.fields_of(array, "job_state") == ("F",)


def job_behind_an_unknown_id_is_deleted_silently(site):
    array = site.submit("-h", "-J", "0-1")
    number = array.partition("[")[0]
    existing = site.submit("-h")
    for waited in ("9999999", "9999999[]", number, f"{existing}:9999999"):
        job = site.submit("-W", f"depend=afterany:{waited}")
        fields = site.wait(job, "F")
        assert [fields.get(name) for name in ("substate", "Exit_status", "stime", "comment")] == [
            "92", None, None, None
        ]  # fmt: skip


def a_dropped_job_is_gone_at_once(site):
    for _ in range(20):
        job = site.submit("-f", "-W", "depend=afterany:9999999")
        assert job not in site.ask("qselect", "-u", site.user)


def the_end_of_a_job_without_history_drops_those_behind_it(site):
    site.history(False)
    try:
        first = site.submit()
        site.until(lambda: site.run("qstat", first).returncode == 153)
        later = site.submit("-W", f"depend=afterany:{first}")
        assert later not in site.ask("qselect", "-u", site.user)
        assert site.run("qstat", later).returncode == 153
        # A query for history shows not even living jobs, and exits with 0.
        held, array = site.submit("-h"), site.submit("-J", "0-9%5", job=("--", "/bin/sleep", "3"))
        done = site.run("qstat", "-x", "-f", held)
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr == f"qstat: PBS is not configured to maintain job history {held}\n"
        done = site.run("qselect", "-x", "-u", site.user)
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr.startswith("qselect: PBS is not configured to maintain job history")

        def elements():
            output = site.run("qstat", "-t", "-f", "-w", array).stdout
            return re.findall(r"job_state = (.)\n[^J]*?substate = (\d+)", output)

        assert site.until(lambda: any(state == "X" for state, _ in elements()) or not elements())
        site.until(lambda: site.run("qstat", array).returncode == 153)
    finally:
        site.history(True)


def a_dependency_on_an_element_is_refused(site):
    array = site.submit("-h", "-J", "0-3")
    for text in (array.replace("[]", "[1]"), "", "abc"):
        assert site.refused("qsub", "-W", f"depend=afterany:{text}", "--", "/bin/true") == (
            2, "qsub: illegal -W value"
        )  # fmt: skip


def job_with_an_impossible_dependency_is_deleted_with_all_behind_it(site):
    first = site.submit("-h", job=("--", "/bin/false"))
    good = site.submit("-W", f"depend=afterok:{first}")
    behind = site.submit("-W", f"depend=afterany:{good}")
    anyway = site.submit("-W", f"depend=afterany:{first}")
    site.ask("qrls", first)
    assert site.ended(anyway) == ("92", "0")
    assert site.ended(good) == site.ended(behind) == ("92", None)


def with_history_the_end_of_a_job_counts(site):
    first = site.submit(job=("--", "/bin/false"))
    assert site.ended(first) == ("93", "1")
    assert site.ended(site.submit("-W", f"depend=afterany:{first}")) == ("92", "0")
    assert site.ended(site.submit("-W", f"depend=afterok:{first}")) == ("92", None)


def job_behind_one_deleted_before_its_start_waits_for_ever(site):
    first = site.submit("-h")
    later = site.submit("-W", f"depend=afterany:{first}")
    site.ask("qdel", first)
    assert site.ended(first) == ("91", None)
    time.sleep(3 if site.live else 0.3)
    assert site.fields_of(later, "job_state", "substate") == ("H", "22")
    # Until the server is told again of that one, which it knows to have ended by now.
    assert site.refused("qalter", "-W", "depend=", later) == (2, "qalter: illegal -W value")
    assert site.ask("qalter", "-W", f"depend=afterany:{first}", later) == []
    assert site.ended(later) == ("92", "0")


def the_deletion_of_a_job_that_waits_deletes_those_behind_it(site):
    first = site.submit("-h")
    second = site.submit("-W", f"depend=afterany:{first}")
    third = site.submit("-W", f"depend=afterany:{second}")
    site.ask("qdel", second)
    assert site.ended(second) == ("91", None)
    assert site.ended(third) == ("92", None)


def the_deletion_of_an_array_is_an_end_even_before_it_began(site):
    first = site.submit("-h", "-J", "0-3")
    later = site.submit("-J", "0-1", "-W", f"depend=afterany:{first}")
    site.ask("qdel", first)
    assert site.ended(first) == ("91", None)
    assert site.ended(later) == ("92", "0")


def a_new_dependency_on_the_unknown_deletes_too(site):
    first = site.submit("-h")
    later = site.submit("-W", f"depend=afterany:{first}")
    assert site.ask("qalter", "-W", "depend=afterany:9999999", later) == []
    assert site.ended(later) == ("92", None)


def the_deletion_of_a_running_job_is_an_end(site):
    first = site.submit(job=("--", "/bin/sleep", "60"))
    later = site.submit("-W", f"depend=afterany:{first}")
    site.wait(first, "R")
    site.ask("qdel", first)
    assert site.ended(later) == ("92", "0")


# Status


def unknown_and_finished(site):
    job = site.submit()
    server = job.partition(".")[2]
    site.wait(job, "F")
    assert site.refused("qstat", job) == (
        35,
        f"qstat: {job} Job has finished, use -x or -H to obtain historical job information",
    )
    assert site.refused("qstat", "-x", "9999999") == (
        153, f"qstat: Unknown Job Id 9999999.{server}"
    )  # fmt: skip
    assert site.refused("qstat", "-x", "nonsense")[0] == 170
    assert site.refused("qstat", "-x", "1.otherhost") == (
        1, "qstat: illegally formed job identifier: 1.otherhost"
    )  # fmt: skip
    done = site.run("qstat", "-x", "-f", "9999999", job)
    assert done.returncode == 153
    assert done.stdout.startswith(f"Job Id: {job}\n")


def json_shows_the_first_of_several(site):
    jobs = [site.submit("-h"), site.submit("-h")]
    document = json.loads("\n".join(site.ask("qstat", "-x", "-f", "-F", "json", *jobs)))
    assert list(document["Jobs"]) == jobs[:1]
    lines = site.ask("qstat", "-x", "-f", *jobs)
    assert [line for line in lines if line.startswith("Job Id")] == [
        f"Job Id: {job}" for job in jobs
    ]  # fmt: skip
    done = site.run("qstat", "-x", "-f", "-F", "json", "9999999")
    assert done.returncode == 153
    assert "Jobs" not in json.loads(done.stdout)


def long_lines_are_folded(site):
    waited = [site.submit("-h") for _ in range(6)]
    job = site.submit("-W", f"depend=afterany:{':'.join(waited)}")
    lines = site.ask("qstat", "-f", job)
    assert max(map(len, lines)) <= 80
    unfolded = "\n".join(lines).replace("\n\t", "")
    depend = re.search("depend = (.*)", unfolded)[1]
    server = job.partition(".")[2]
    assert depend == f"afterany:{':'.join(f'{number}@{server}' for number in waited)}"


def options_of_qstat_that_conflict(site):
    code, text = site.refused("qstat", "-u", site.user, "-f", "-F", "json")
    assert (code, text) == (2, "qstat: conflicting options.")


def how_jobs_end(site):
    shell = ("--", "/bin/sh", "-c")
    cases = {
        ("exit 0",): ("92", "0", "finished"), ("exit 7",): ("93", "7", "failed"),
        ("kill -9 $$",): ("93", "265", "failed"), ("kill -15 $$",): ("93", "271", "failed"),
        ("sh -c 'kill -9 $$'; exit $?",): ("93", "137", "failed"),
        ("exit 255",): ("93", "255", "failed"),
    }  # fmt: skip
    jobs = {site.submit(job=(*shell, *script)): ending for script, ending in cases.items()}
    for job, ending in jobs.items():
        fields = site.wait(job, "F")
        assert (fields["substate"], fields["Exit_status"], fields["comment"].split()[-1]) == ending
        assert fields["stime"]
        assert fields["exec_host"]


def a_script_that_is_killed(site):
    site.write("job.sh", "#!/bin/sh\nkill -9 $$\n")
    assert site.ended(site.submit(job=("job.sh",))) == ("93", "137")


def the_time_limit(site):
    job = site.submit("-l", "walltime=00:00:03", "-j", "oe", "-k", "oed", "-o",
                      f"{site.folder}/log", job=("--", "/bin/sleep", "100"))  # fmt: skip
    fields = site.until(
        lambda: (fields := site.full(job)[job]) and fields["job_state"] == "F" and fields, 90
    )
    assert (fields["substate"], fields["Exit_status"]) == ("93", "-29")
    assert fields["comment"].endswith("and exceeded resource walltime")
    assert re.search(r"=>> PBS: job killed: walltime \d+ exceeded limit 3", site.read("log"))


def deletions(site):
    running, waiting = site.submit(job=("--", "/bin/sleep", "60")), site.submit("-h")
    site.wait(running, "R")
    assert site.ask("qdel", running, waiting) == []
    assert site.ended(running) == ("91", "271")
    assert f"terminated by {site.user}@" in site.fields_of(running, "comment")[0]
    assert site.ended(waiting) == ("91", None)
    assert site.fields_of(waiting, "stime") == (None,)


def deleting_what_is_gone(site):
    job, other = site.submit(), site.submit("-h")
    site.wait(job, "F")
    server = job.partition(".")[2]
    assert site.refused("qdel", job) == (35, f"qdel: Job has finished {job}")
    assert site.refused("qdel", "9999999") == (153, f"qdel: Unknown Job Id 9999999.{server}")
    done = site.run("qdel", job, "9999999", other)
    assert done.returncode in (35, 153)
    assert sorted(done.stderr.splitlines()) == [
        f"qdel: Job has finished {job}", f"qdel: Unknown Job Id 9999999.{server}"
    ]  # fmt: skip
    assert site.ended(other) == ("91", None)
    assert site.refused("qdel")[0] == 2
    assert site.refused("qdel", "notanid") == (
        1, "qdel: illegally formed job identifier: notanid"
    )  # fmt: skip


def deleting_what_is_being_deleted(site):
    if not site.live:
        site.simulator.set(kill_wait=60.0)
    job = site.submit("-j", "oe", "-k", "oed", "-o", f"{site.folder}/log",
                      job=("--", "/bin/sh", "-c", "trap '' TERM; echo up; sleep 60"))  # fmt: skip
    site.until(lambda: site.read("log") == "up\n")
    for _ in range(2):
        done = site.run("qdel", job)
        assert done.returncode == 0, done.stderr


def elements_in_one_question(site):
    array = site.submit("-J", "0-3", job=("--", "/bin/sh", "-c", "exit $((PBS_ARRAY_INDEX % 2))"))
    site.wait(array, "F")
    elements = site.full(array, "-t")
    assert list(elements) == [array, *(array.replace("[]", f"[{at}]") for at in range(4))]
    _, *members = elements.values()
    assert [member["Exit_status"] for member in members] == ["0", "1", "0", "1"]
    assert {member["array_id"] for member in members} == {array}
    assert elements[array]["array_state_count"].startswith("Queued:0 Running:0 Exiting:0 Expired:")
    assert elements[array]["substate"] == "93"


def elements_that_have_ended_while_their_array_lives(site):
    script = "[ $PBS_ARRAY_INDEX = 1 ] && sleep 60; exit 3"
    array = site.submit("-J", "0-1", job=("--", "/bin/sh", "-c", script))
    first = array.replace("[]", "[0]")
    fields = site.until(
        lambda: (
            (fields := site.full(array, "-t").get(first)) and fields["job_state"] == "X" and fields
        )
    )
    assert (fields["Exit_status"], fields["substate"]) == ("3", "93")
    assert site.fields_of(array, "job_state") == ("B",)


def elements_that_were_deleted_before_they_began(site):
    array = site.submit("-J", "0-3%1", job=("--", "/bin/sleep", "60"))
    site.wait(array, "B")
    third = array.replace("[]", "[2]")
    assert site.ask("qdel", array.replace("[]", "[2-3]")) == []
    fields = site.until(
        lambda: (
            (fields := site.full(array, "-t").get(third)) and fields["job_state"] == "X" and fields
        )
    )
    assert (fields.get("Exit_status"), fields["comment"]) == (None, "Subjob finished")
    site.ask("qdel", array)
    site.wait(array, "F")
    elements = site.full(array, "-t")
    deleted = elements[third]
    assert (deleted["Exit_status"], deleted["substate"], deleted["comment"]) == (
        "1", "91", "Subjob finished"
    )  # fmt: skip
    assert elements[array.replace("[]", "[0]")]["Exit_status"] == "271"


def the_code_of_an_array_is_that_of_the_last_to_end(site):
    script = f"[ $PBS_ARRAY_INDEX = 0 ] && exit 4; {site.until_go()}"
    array = site.submit("-J", "0-1", job=site.shell(script))
    later = site.submit("-W", f"depend=afterok:{array}")
    first = array.replace("[]", "[0]")
    site.until(lambda: site.full(array, "-t").get(first, {}).get("job_state") == "X")
    site.go()
    assert site.ended(array) == ("93", "0")
    assert site.ended(later) == ("92", "0")


def qselect_lists_ids(site):
    held, array = site.submit("-h"), site.submit("-h", "-J", "0-2")
    ended = site.submit()
    site.wait(ended, "F")
    ids = site.ask("qselect", "-u", site.user)
    assert {held, array} <= set(ids)
    assert ended not in ids
    assert site.ask("qselect", "-u", site.user, "-N", site.name) == [held, array]
    assert site.ask("qselect", "-u", site.user, "-N", site.name, "-x") == [held, array, ended]
    assert site.ask("qselect", "-u", site.user, "-N", "nosuch") == []
    assert site.ask("qselect", "-u", site.user, "-N", site.name, "-s", "H") == [held, array]
    assert site.ask("qselect", "-u", site.user, "-N", site.name, "-s", "QR") == []
    ended_ids = site.ask("qselect", "-u", site.user, "-N", site.name, "-T", "-s", "EHQRSTUW")
    assert sum("[]" not in job_id for job_id in ended_ids) == 4


# Control


def hold_and_release(site):
    job, array = site.submit("-h"), site.submit("-h", "-J", "0-3")
    assert site.fields_of(job, "job_state", "substate", "Hold_Types") == ("H", "20", "u")
    assert site.ask("qrls", job, array) == []
    assert site.ended(job) == ("92", "0")
    assert site.ended(array) == ("92", "0")
    later = site.submit("-a", time.strftime("%Y%m%d%H%M", time.localtime(time.time() + 3600)))
    assert site.ask("qhold", later) == []
    assert site.fields_of(later, "job_state") == ("H",)


def holding_what_runs_changes_nothing(site):
    job = site.submit(job=site.shell(site.until_go()))
    site.wait(job, "R")
    assert site.ask("qhold", job) == []
    site.go()
    assert site.ended(job) == ("92", "0")


def settings_shown_by_the_server(site):
    shown = "\n".join(site.ask("qstat", "-B", "-f"))
    assert re.search(r"^    max_array_size = [0-9]+$", shown, re.MULTILINE)
    assert re.search(r"^    job_history_enable = True$", shown, re.MULTILINE)
    assert site.ask("qsub", "--version") == site.ask("qstat", "--version")


FACTS = [
    the_id_and_nothing_else_is_printed, short_and_full_ids_mean_the_same_job,
    a_script_takes_no_arguments, script_from_standard_input, arguments_are_passed_on_unchanged,
    a_program_is_not_looked_up, jobs_start_in_the_home_folder, a_shebang_counts,
    resources_of_both_kinds_do_not_mix, units_of_memory, time_limits,
    job_larger_than_the_cluster_waits_for_ever, job_names, refusals, paths_are_ascii,
    options_may_come_twice, nothing_of_qsub_is_left_behind, begin_times, begins_to_the_second,
    environment_of_a_job, whole_environment_is_passed_on_with_an_option, forms_of_arrays,
    an_array_may_be_too_large, environment_of_an_element, a_throttle_holds, placeholders_of_logs,
    logs_without_a_place, logs_in_a_folder, logs_come_when_the_job_has_ended, live_logs_of_arrays,
    a_missing_folder_of_the_log_is_no_failure, a_job_that_waits, a_job_that_waits_for_an_array,
    job_behind_an_unknown_id_is_deleted_silently, a_dropped_job_is_gone_at_once,
    the_end_of_a_job_without_history_drops_those_behind_it,
    a_dependency_on_an_element_is_refused,
    job_with_an_impossible_dependency_is_deleted_with_all_behind_it,
    with_history_the_end_of_a_job_counts,
    job_behind_one_deleted_before_its_start_waits_for_ever,
    the_deletion_of_an_array_is_an_end_even_before_it_began,
    the_deletion_of_a_job_that_waits_deletes_those_behind_it, a_script_that_is_killed,
    a_new_dependency_on_the_unknown_deletes_too,
    the_deletion_of_a_running_job_is_an_end, unknown_and_finished,
    json_shows_the_first_of_several, long_lines_are_folded, options_of_qstat_that_conflict,
    how_jobs_end, the_time_limit, deletions, deleting_what_is_gone,
    deleting_what_is_being_deleted, elements_in_one_question,
    elements_that_have_ended_while_their_array_lives,
    elements_that_were_deleted_before_they_began, the_code_of_an_array_is_that_of_the_last_to_end,
    qselect_lists_ids, hold_and_release, holding_what_runs_changes_nothing,
    settings_shown_by_the_server,
]  # fmt: skip


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)
def test_fact(site, fact):
    fact(site)
