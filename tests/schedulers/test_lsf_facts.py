"""Facts about LSF, each checked on the simulator and on a real OpenLava 4.0.

With REFLOW_LIVE_LSF=1 every row runs against the OpenLava whose commands are first on PATH as
well; as root by way of the user REFLOW_LIVE_USER, one after the other: many facts are about what
other jobs would change.
"""

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

LIVE = os.environ.get("REFLOW_LIVE_LSF") == "1"
UNKNOWN = "99999"
NUMBER = re.compile(r"Job <\d+> is submitted to default queue <normal>\.")
DOWN = re.compile(r"(?s).*(not responding|is down).*")
USAGE = re.compile(r"(?s)bjobs: invalid option -- 'o'\nUsage: bjobs .*")
NAME = "Bad job name. Job not submitted."
SYNTAX = "Dependency condition syntax error. Job not submitted."


class Site(Gate):
    """Commands of an LSF, and a folder that its jobs can write."""

    def __init__(self, folder, prefix, path, user, simulator=None):
        self.folder, self._prefix, self._path, self.user = folder, prefix, path, user
        self.simulator, self.live = simulator, simulator is None
        self.name = f"facts-{os.getpid()}-{time.monotonic_ns()}"
        self.submitted = []

    def run(self, *arguments, stdin="", **variables):
        handed = {name: value for name, value in os.environ.items() if name.startswith("LSF_")}
        return subprocess.run(
            [*self._prefix, *arguments], cwd=self.folder, input=stdin,
            env={"PATH": self._path, "LC_ALL": "C", "HOME": str(self.folder), **handed,
                 **variables},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def ask(self, *arguments):
        done = self.run(*arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout.splitlines()

    def refused(self, *arguments):
        done = self.run(*arguments)
        assert (done.returncode, done.stdout) == (255, ""), done.stdout
        return done.stderr.rstrip("\n")

    def submit(self, *arguments, job="true", array="", output="/dev/null", **options):
        """Submit a job under this test's own name and return its id."""
        done = self.run(
            "bsub", "-J", f"{self.name}{array}", "-o", output, *arguments, job, **options
        )
        assert done.returncode == 0, (arguments, done.stderr)
        self.submitted.append(re.match(r"Job <(\d+)>", done.stdout)[1])
        return self.submitted[-1]

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

    def states(self, job, *options):
        """Return STAT of each element by its name."""
        out = self.run("bjobs", "-a", "-w", "-noheader", *options, job).stdout
        rows = [line.split() for line in out.splitlines() if line[:1].isdigit()]
        return {row[6].removeprefix(self.name): row[2] for row in rows}

    def wait(self, job, *states):
        """Wait until all elements of a job are in one of these states; return their states."""
        return self.until(
            lambda: (
                (states_now := self.states(job))
                and set(states_now.values()) <= set(states)
                and states_now
            ),
            150,
        )

    def ending(self, job):
        """Wait for the end and return STAT and exit code."""
        [state] = set(self.wait(job, "DONE", "EXIT").values())
        code = re.search(r"(?:exit code|signal) (\d+)", self.unwrapped("bjobs", "-l", job))
        return state, int(code[1]) if code else None

    def unwrapped(self, *arguments):
        return re.sub(r"\n {21}", "", self.run(*arguments).stdout)

    def reason(self, job):
        lines = self.ask("bjobs", "-a", "-p", "-w", "-noheader", job)
        return lines[1] if len(lines) > 1 else ""

    def clean(self):
        if self.submitted:
            self.run("bkill", *(f"{job}" for job in self.submitted))
            self.run("bkill", "-J", self.name, "0")


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
        if shutil.which("bsub") is None:
            pytest.fail("REFLOW_LIVE_LSF=1, but there is no bsub")
        user = os.environ.get("REFLOW_LIVE_USER") or pwd.getpwuid(os.getuid()).pw_name
        prefix = []
        if os.getuid() == 0:
            shutil.chown(folder, user)
            prefix = ["runuser", "-u", user, "--"]
        new_site = Site(folder, prefix, os.environ["PATH"], user)
    else:
        simulator = request.getfixturevalue("lsf_simulator")
        own = pwd.getpwuid(os.getuid()).pw_name
        path = f"{simulator.path}{os.pathsep}{os.environ['PATH']}"
        new_site = Site(folder, [], path, own, simulator)
    yield new_site
    new_site.clean()
    shutil.rmtree(folder, ignore_errors=True)


# Refusals and answers: command line, exit code, standard output, standard error. What is taken
# is held.
ROWS = {
    "queue": ("bsub -q nosuch true", 255, "", "nosuch: No such queue. Job not submitted."),
    "default queue": ("bsub -H -o /dev/null true", 0, NUMBER, ""),
    "named queue": ("bsub -H -o /dev/null -q short true", 0,
                    re.compile(r"Job <\d+> is submitted to queue <short>\."), ""),
    "project and group are not checked": ("bsub -H -o /dev/null -P nosuch -G nosuch true", 0,
                                          NUMBER, ""),
    "limit in seconds": ("bsub -W 00:10:00 true", 255, "",
                         "00:10:00: Bad RUNLIMIT specification. Job not submitted."),
    "limit that is none": ("bsub -W bogus true", 255, "",
                           "bogus: Bad RUNLIMIT specification. Job not submitted."),
    "limit of half a minute": ("bsub -W 1.5 true", 255, "",
                               "1.5: Bad RUNLIMIT specification. Job not submitted."),
    "limit in minutes": ("bsub -H -o /dev/null -W 90 true", 0, NUMBER, ""),
    "limit in hours": ("bsub -H -o /dev/null -W 1:30 true", 0, NUMBER, ""),
    "limit over the queue's": ("bsub -q short -W 60 true", 255, "",
                               "RUNLIMIT: Cannot exceed queue's hard limit(s). Job not submitted."),
    "memory with a unit": ("bsub -M 4G true", 255, "",
                           "4G: MEMLIMT value should be a positive integer. Job not submitted."),
    "memory zero": ("bsub -M 0 true", 255, "",
                    "0: MEMLIMT value should be a positive integer. Job not submitted."),
    "memory": ("bsub -H -o /dev/null -M 4194304 -R rusage[mem=100] true", 0, NUMBER, ""),
    "more slots than there are": ("bsub -n 99 true", 255, "",
                                  "Too many processors requested. Job not submitted."),
    "no slots": ("bsub -n 0 true", 255, "",
                 "The number of processors must be a positive integer. Job not submitted."),
    "resource that is none": ("bsub -R select[nosuch] true", 255, "",
                              "Bad resource requirement syntax. Job not submitted."),
    "resource that is not closed": ("bsub -R rusage[ true", 255, "",
                                    "Bad resource requirement syntax. Job not submitted."),
    "selection, span and reservation": (
        "bsub -H -o /dev/null -n 2 -R select[type==any]_span[hosts=1]_rusage[mem=10] true", 0,
        NUMBER, ""),
    "selection without its name": ("bsub -H -o /dev/null -R type==any_span[hosts=1] true", 0,
                                   NUMBER, ""),
    "exclusive": ("bsub -x true", 255, "",
                  "normal: Queue does not accept EXCLUSIVE jobs. Job not submitted."),
    "option with more letters is misread": (
        "bsub -nosuch true", 255, "",
        "The number of processors must be a positive integer. Job not submitted."),
    "-cwd is -c wd": ("bsub -cwd /tmp true", 255, "",
                      "wd: Bad CPULIMIT specification. Job not submitted."),
    "-ti is -t i": ("bsub -ti true", 255, "", "i: Bad time specification. Job not submitted."),
    "begin that is none": ("bsub -b soon true", 255, "",
                           "soon: Bad time specification. Job not submitted."),
    "begin at no hour": ("bsub -b 25:00 true", 255, "",
                         "25:00: Bad time specification. Job not submitted."),
    "array from 0": ("bsub -J z[0-2] true", 255, "", NAME),
    "array of 0": ("bsub -J z[0] true", 255, "", NAME),
    "array with 0": ("bsub -J z[0,1] true", 255, "", NAME),
    "array backwards": ("bsub -J z[3-1] true", 255, "", NAME),
    "array of letters": ("bsub -J z[a] true", 255, "", NAME),
    "array of throttle x": ("bsub -J z[1-2]%a true", 255, "", NAME),
    "array too large": ("bsub -J z[1-1001] true", 255, "",
                        "Job array index too large. Job not submitted."),
    "array of one": ("bsub -H -o /dev/null -J z[1] true", 0, NUMBER, ""),
    "array as a list": ("bsub -H -o /dev/null -J z[1,3,5-7] true", 0, NUMBER, ""),
    "array in steps": ("bsub -H -o /dev/null -J z[1-9:2]%3 true", 0, NUMBER, ""),
    "a long name": (f"bsub -J {'x' * 300} true", 255, "", NAME),
    "a name of 200": (f"bsub -H -o /dev/null -J {'x' * 200} true", 0, NUMBER, ""),
    "dependency on the unknown": (
        f"bsub -w done({UNKNOWN}) true", 255, "",
        f"{UNKNOWN}: No matching job found. Job not submitted."),
    "any end of the unknown": (
        f"bsub -w ended({UNKNOWN}) true", 255, "",
        f"{UNKNOWN}: No matching job found. Job not submitted."),
    "elements of the unknown": (
        f"bsub -J z[1-2] -w ended({UNKNOWN}[*]) true", 255, "",
        f"{UNKNOWN}: No matching job found. Job not submitted."),
    "dependency of a kind that is none": ("bsub -w foo(1) true", 255, "",
                                          "foo: No matching job found. Job not submitted."),
    "no command": ("bsub", 255, "", "No command is specified. Job not submitted."),
    "version": ("bsub -V", 0, "", re.compile(r"OpenLava 4\.0\S*, .*")),
    "bjobs has no -o": ("bjobs -o stat", 255, "", USAGE),
    "bjobs has no -json": ("bjobs -o jobid -json", 255, "", USAGE),
    "bjobs of an unknown job": (f"bjobs {UNKNOWN}", 255, "", f"Job <{UNKNOWN}> is not found"),
    "bjobs of unknown elements": (f"bjobs {UNKNOWN}[2]", 255, "",
                                  f"Job <{UNKNOWN}[2]> is not found"),
    "bjobs of a word": ("bjobs abc", 255, "", "abc: Illegal job ID."),
    "bjobs of an unknown name": ("bjobs -a -J nosuch*", 255, "", "Job <nosuch*> is not found"),
    "bjobs takes one name": ("bjobs -J a -J b", 255, "", re.compile(r"(?s)Usage: bjobs .*")),
    "bkill of an unknown job": (f"bkill {UNKNOWN}", 255, "",
                                f"Job <{UNKNOWN}>: No matching job found"),
    "bkill of a word": ("bkill abc", 255, "", "abc: Illegal job ID."),
    "bkill of nothing": ("bkill", 255, "", re.compile(r"(?s)Job ID or one of .*Usage: bkill .*")),
    "bhist of an unknown job": (f"bhist {UNKNOWN}", 255, "No matching job found", ""),
    "bhist of an unknown job, at length": (f"bhist -l {UNKNOWN}", 255, "No matching job found", ""),
    "bparams": ("bparams -l", 0, re.compile(r"(?s).*MAX_JOB_ARRAY_SIZE = 1000\b.*"), ""),
}  # fmt: skip


def fits(expected, output):
    output = output.strip("\n").rstrip()
    return (
        output == expected if isinstance(expected, str) else expected.fullmatch(output) is not None
    )


@pytest.mark.parametrize("row", ROWS)
def test_answer(site, row):
    line, code, out, err = ROWS[row]
    # A requirement has blanks, and its brackets are no pattern.
    done = site.run(*(word.replace("]_", "] ").replace("any_", "any ") for word in line.split()))
    if number := re.match(r"Job <(\d+)>", done.stdout):
        site.submitted.append(number[1])
    assert done.returncode == code, done.stdout + done.stderr
    assert fits(out, done.stdout), done.stdout
    assert fits(err, done.stderr), done.stderr


# Facts about how jobs run, each a function


def quiet_prints_no_id(site):
    done = site.run("bsub", "-J", site.name, "-o", "/dev/null", "true", BSUB_QUIET="1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert site.until(lambda: site.states("-J" + site.name))


def a_refusal_burns_a_number(site):
    first = site.submit("-H")
    site.refused("bsub", "-q", "nosuch", "true")
    assert int(site.submit("-H")) == int(first) + 2
    site.refused("bsub", "-W", "bogus", "true")  # bsub itself
    assert int(site.submit("-H")) == int(first) + 3


def the_command_is_a_line_for_the_shell(site):
    site.wait(site.submit(job='echo "a  b" $((1+1)) "x;y" > out'), "DONE")
    assert site.read("out") == "a  b 2 x;y\n"
    # Words are joined, and quoted only for blanks and variables.
    done = site.run("bsub", "-J", site.name, "-o", "/dev/null", "sh", "-c", "echo a b>out2",
                    "x;pwd>out3")  # fmt: skip
    site.wait(re.search(r"\d+", done.stdout)[0], "DONE")
    assert (site.read("out2"), site.read("out3")) == ("a b\n", f"{site.folder}\n")


def a_command_of_more_lines(site):
    site.wait(site.submit(job="echo 'a\nb' > out"), "DONE")
    assert site.read("out") == "a\nb\n"


def a_script_on_standard_input(site):
    script = f"#BSUB -J {site.name}[1-2]\n#BSUB -o /dev/null\necho $LSB_JOBINDEX >> in\n"
    done = site.run("bsub", stdin=script)
    job = re.search(r"\d+", done.stdout)[0]
    assert set(site.wait(job, "DONE")) == {"[1]", "[2]"}
    assert sorted(site.read("in").split()) == ["1", "2"]


def environment_and_directory_are_carried(site):
    site.wait(site.submit(job='echo "$MINE $(pwd)" > out', MINE="fromsubmit"), "DONE")
    assert site.read("out") == f"fromsubmit {site.folder}\n"


def a_directory_that_is_gone(site):
    gone = site.folder / "gone"
    # Behind another job: it must not start while the folder is still there.
    first = site.run("bsub", "-J", site.name, "-o", "/dev/null", site.until_go()).stdout
    number = re.search(r"\d+", first)[0]
    wait = f"-w 'ended({number})'"
    line = f"bsub -J {site.name} {wait} -o /dev/null 'pwd > {site.folder}/out'"
    done = site.run("sh", "-c", f"mkdir {gone}; cd {gone}; {line}; cd ..; rmdir {gone}")
    site.go()
    job = re.search(r"\d+", done.stdout)[0]
    assert site.wait(job, "DONE")
    assert site.read("out") == "/tmp\n"


def variables_of_a_plain_job(site):
    job = site.submit(job='echo "$LSB_JOBID $LSB_JOBINDEX $LSB_QUEUE [$LSB_JOBINDEX_END]" > out')
    site.wait(job, "DONE")
    assert site.read("out") == f"{job} 0 normal []\n"


def variables_of_an_element(site):
    job = site.submit(array="[1-3]", job='echo "$LSB_JOBID $LSB_JOBINDEX_END" > out$LSB_JOBINDEX')
    site.wait(job, "DONE")
    assert [site.read(f"out{index}") for index in range(4)] == ["", *[f"{job} 3\n"] * 3]


def slots_are_granted_and_the_command_runs_once(site):
    job = site.submit("-n", "2", job="echo $LSB_DJOB_NUMPROC $LSB_HOSTS >> out")
    site.wait(job, "DONE")
    number, first, other = site.read("out").split()
    assert (number, first) == ("2", other)
    assert site.ask("bjobs", "-a", "-w", "-noheader", job)[0].split()[5] == f"{first}:{first}"


def output_begins_with_a_report(site):
    job = site.submit(output="log.%J.%I", array="[2]", job="echo out; echo err >&2; exit 7")
    site.wait(job, "EXIT")
    text = site.until(lambda: site.read(f"log.{job}.2"))
    assert text.startswith("Sender: OpenLava System <")
    assert "Exited with exit code 7." in text
    assert text.partition("The output (if any) follows:\n\n")[2].rstrip().endswith("out\nerr")


def output_is_appended(site):
    for _ in range(2):
        site.wait(site.submit(output="log", job="echo mine"), "DONE")
        time.sleep(1 if site.live else 0.1)
    assert site.read("log").count("Sender:") == 2


def output_in_a_folder_that_is_missing_is_lost(site):
    job = site.submit(output="/nonexistent/x.out", job="echo mine")
    assert site.ending(job) == ("DONE", None)


def a_name_with_any_letters(site):
    job = site.submit("-H")
    assert site.states(job) == {"": "PSUSP"}
    done = site.run("bsub", "-H", "-J", "name with blanks", "-o", "/dev/null", "true")
    site.submitted.append(re.search(r"\d+", done.stdout)[0])
    assert "name with blanks" in site.ask("bjobs", "-w", site.submitted[-1])[1]


def rows_of_an_array(site):
    job = site.submit("-H", array="[1,3,5-6]%2")
    assert site.states(job) == dict.fromkeys(["[1]", "[3]", "[5]", "[6]"], "PSUSP")
    assert set(site.states(f"{job}[3]")) == {"[3]"}
    assert set(site.states(f"{job}[3-5]")) == {"[3]", "[5]"}
    done = site.run("bjobs", "-w", "-noheader", f"{job}[2]")
    assert (done.returncode, done.stderr) == (255, f"Job <{job}[2]> is not found\n")


def the_table(site):
    job = site.submit("-H")
    header, row = site.ask("bjobs", "-w", job)
    assert header.split() == ["JOBID", "USER", "STAT", "QUEUE", "FROM_HOST", "EXEC_HOST",
                              "JOB_NAME", "SUBMIT_TIME"]  # fmt: skip
    assert re.fullmatch(
        rf"{job} +{site.user} +PSUSP normal +\S+ +- +{site.name} [A-Z][a-z]{{2}} [ \d]\d \d\d:\d\d",
        row,
    )
    # The narrow form cuts names short, and leaves the host empty.
    narrow = site.ask("bjobs", "-noheader", job)[0].split()
    assert narrow[5] == f"*{site.name[-9:]}"


def largest_array(site):
    job = site.submit("-H", array="[1-1000]")
    assert len(site.states(job)) == 1000
    assert site.ask("bjobs", "-A", job)[1].split()[3:] == [
        "1000", "0", "0", "0", "0", "0", "0", "1000"
    ]  # fmt: skip


def throttle(site):
    job = site.submit(array="[1-4]%2", job=site.until_go())
    site.until(lambda: list(site.states(job).values()).count("RUN") == 2)
    assert list(site.states(job).values()).count("PEND") == 2
    site.go()
    site.wait(job, "DONE")


def an_unknown_id_spoils_nothing(site):
    job = site.submit("-H")
    done = site.run("bjobs", "-a", "-w", "-noheader", UNKNOWN, job)
    assert (done.returncode, done.stderr) == (255, f"Job <{UNKNOWN}> is not found\n")
    assert done.stdout.startswith(job)


def ended_jobs_are_listed_by_id(site):
    job = site.submit()
    site.wait(job, "DONE")
    assert site.ask("bjobs", "-w", "-noheader", job)[0].split()[2] == "DONE"


def names_with_a_pattern(site):
    job = site.submit("-H", array="[1-2]")
    for name in (site.name, f"{site.name[:-2]}*"):
        rows = site.ask("bjobs", "-a", "-w", "-noheader", "-J", name)
        assert [row.split()[0] for row in rows] == [job, job]


def details_with_exit_codes(site):
    job = site.submit(array="[1-3]", job="[ $LSB_JOBINDEX = 2 ] || exit 3$LSB_JOBINDEX")
    site.wait(job, "DONE", "EXIT")
    text = site.unwrapped("bjobs", "-l", f"{job}[1-2,3]")
    blocks = re.findall(r"Job Id <(\d+\[\d\])>.*?Status <([A-Z]+)>", text)
    assert sorted(blocks) == [(f"{job}[1]", "EXIT"), (f"{job}[2]", "DONE"), (f"{job}[3]", "EXIT")]
    assert sorted(re.findall(r"Exited with exit code (\d+)", text)) == ["31", "33"]


def the_unformatted_form_takes_a_command_for_a_format(site):
    job = site.submit("-H", job="echo 100%s%s%s%n")
    done = site.run("bjobs", "-UF", job)
    # A segmentation fault, told by its number or by the shell's.
    assert done.returncode in (-11, 139)
    assert "100%s" in site.unwrapped("bjobs", "-l", job)
    assert "100%s" in site.unwrapped("bhist", "-l", job)


def exit_codes(site):
    assert site.ending(site.submit(job="exit 3")) == ("EXIT", 3)
    assert site.ending(site.submit(job="/no/such/prog")) == ("EXIT", 127)


def deaths_of_children(site):
    assert site.ending(site.submit(job="sh -c 'kill -9 $$'")) == ("EXIT", 137)
    assert site.ending(site.submit(job="sh -c 'kill -15 $$'")) == ("EXIT", 143)


def job_whose_shell_is_killed_counts_as_done(site):
    assert site.ending(site.submit(job="kill -9 $$"))[0] == "DONE"
    assert site.ending(site.submit(job="kill -15 $$"))[0] == "DONE"


def run_limit(site):
    job = site.submit("-W", "1", job="sleep 600")
    assert site.ending(job) in (("EXIT", 140), ("EXIT", 12))  # 128 + SIGUSR2, or that


def killed_by_bkill(site):
    job = site.submit(job="sleep 600")
    site.wait(job, "RUN")
    assert site.ask("bkill", job) == [f"Job <{job}> is being terminated"]
    assert site.ending(job) in (("EXIT", 130), ("EXIT", 2))  # 128 + SIGINT, or that
    text = site.unwrapped("bhist", "-l", job)
    assert f"Signal <KILL> requested by user or administrator <{site.user}>" in text


def signals_come_one_after_the_other(site):
    trap = "trap 'echo INT >> out' INT; trap 'echo TERM >> out; exit 5' TERM"
    job = site.submit(job=f"{trap}; echo up > up; while :; do sleep 0.2; done")
    site.until(lambda: site.read("up") == "up\n")
    site.ask("bkill", job)
    assert site.ending(job) == ("EXIT", 5)
    assert site.read("out").split()[:2] == ["INT", "TERM"]


def killed_before_its_start(site):
    job = site.submit("-H")
    site.ask("bkill", job)
    site.wait(job, "EXIT")
    text = site.unwrapped("bjobs", "-l", job)
    assert re.search(r": Exited\b", text)
    assert "exit code" not in text
    assert site.ask("bjobs", "-w", "-noheader", job)[0].split()[5] == "-"


def bkill_of_what_has_ended(site):
    job = site.submit()
    site.wait(job, "DONE")
    assert site.refused("bkill", job) == f"Job <{job}>: Job has already finished"
    other = site.submit("-H")
    done = site.run("bkill", job, other, UNKNOWN)
    assert (done.returncode, done.stdout) == (255, f"Job <{other}> is being terminated\n")


def bkill_of_a_whole_array_takes_its_time(site):
    job = site.submit(array="[1-4]", job="sleep 600")
    site.wait(job, "RUN")
    begun = time.monotonic()
    assert site.refused("bkill", job) == f"Job <{job}>: Operation is in progress"
    site.wait(job, "EXIT")
    assert time.monotonic() - begun > 2


def bkill_of_a_whole_array_that_waits(site):
    job = site.submit("-H", array="[1-300]")
    assert site.refused("bkill", job) == f"Job <{job}>: Operation is in progress"
    begun = time.monotonic()
    site.wait(job, "EXIT")
    assert time.monotonic() - begun < 20


def bkill_of_elements(site):
    job = site.submit(array="[1-4]", job="sleep 600")
    site.wait(job, "RUN")
    messages = site.ask("bkill", f"{job}[1-2,4]")
    assert messages == [f"Job <{job}[{index}]> is being terminated" for index in (1, 2, 4)]
    assert site.until(
        lambda: sorted(site.states(job).items()) == [
            ("[1]", "EXIT"), ("[2]", "EXIT"), ("[3]", "RUN"), ("[4]", "EXIT")
        ]
    )  # fmt: skip


def bkill_by_name(site):
    job = site.submit("-H", array="[1-3]")
    messages = site.ask("bkill", "-J", site.name, "0")
    assert sorted(messages) == [f"Job <{job}[{index}]> is being terminated" for index in (1, 2, 3)]


def dependencies_on_any_end(site):
    good = site.submit(job=site.until_go())
    bad = site.submit(job=f"{site.until_go()}; exit 4")
    after = site.submit("-w", f"ended({good}) && ended({bad})")
    assert site.states(after) == {"": "PEND"}
    assert site.reason(after).strip() == "Job dependency condition not satisfied: 1 host;"
    site.go()
    assert site.ending(after)[0] == "DONE"
    either = site.submit("-w", f"done({bad}) || exit({bad})")
    assert site.ending(either)[0] == "DONE"


def dependency_that_is_never_satisfied(site):
    bad = site.submit(job="exit 4")
    site.wait(bad, "EXIT")
    after = site.submit("-w", f"done({bad})")
    assert site.until(lambda: "invalid or never satisfied" in site.reason(after))
    assert site.states(after) == {"": "PEND"}


def dependency_on_what_has_ended_and_is_remembered(site):
    good, bad = site.submit(), site.submit(job="exit 4")
    site.wait(good, "DONE")
    site.wait(bad, "EXIT")
    for condition in (f"done({good})", f"ended({good})", f"ended({bad})", good):
        assert site.ending(site.submit("-w", condition))[0] == "DONE"


def dependency_on_what_was_killed_before_its_start(site):
    job = site.submit("-H", array="[1-3]")
    after = site.submit("-w", f"ended({job})")
    site.run("bkill", f"{job}[1-3]")
    assert site.ending(after)[0] == "DONE"


def dependency_on_a_whole_array(site):
    job = site.submit(array="[1-3]", job="sleep 1; [ $LSB_JOBINDEX != 2 ]")
    ended = site.submit("-w", f"ended({job})")
    done = site.submit("-w", f"done({job})")
    behind = site.submit("-w", f"done({job}[1])")
    assert site.ending(ended)[0] == "DONE"
    assert site.ending(behind)[0] == "DONE"
    assert site.until(lambda: "never satisfied" in site.reason(done))


def dependency_that_is_not_closed(site):
    job = site.submit("-H")
    assert site.refused("bsub", "-w", f"done({job}", "true") == f"done({job}: {SYNTAX}"


def dependency_by_name(site):
    site.submit(job="sleep 1")
    done = site.run("bsub", "-o", "/dev/null", "-J", f"{site.name}b", "-w",
                    f'ended("{site.name}")', "true")  # fmt: skip
    assert site.ending(re.search(r"\d+", done.stdout)[0])[0] == "DONE"
    assert site.refused("bsub", "-w", f'ended("{site.name}[1]")', "true").endswith(SYNTAX)


def twins(site):
    job = site.submit(array="[1-3]", job="[ $LSB_JOBINDEX != 2 ] || { sleep 2; exit 3; }")
    any_end = site.submit("-w", f"ended({job}[*])", array="[1-3]", job="echo $LSB_JOBINDEX >> out")
    well = site.submit("-w", f"done({job}[*])", array="[1-3]")
    site.wait(any_end, "DONE")
    assert sorted(site.read("out").split()) == ["1", "2", "3"]
    assert site.until(
        lambda: sorted(site.states(well).items()) == [
            ("[1]", "DONE"), ("[2]", "PEND"), ("[3]", "DONE")
        ]
    )  # fmt: skip


def twins_need_the_same_size(site):
    job = site.submit("-H", array="[1-3]")
    wrong = "Dependent arrays do not have the same size. Job not submitted."
    for array in ("[1-4]", ""):
        message = site.refused(
            "bsub", "-J", f"{site.name}{array}", "-w", f"ended({job}[*])", "true"
        )
        assert message == wrong
    plain = site.submit("-H")
    assert site.refused("bsub", "-J", f"{site.name}[1-3]", "-w", f"ended({plain}[*])", "true") == (
        f"{plain}: No matching job found. Job not submitted."
    )


def begin_time(site):
    when = time.localtime(time.time() + 3600)
    done = site.run("bsub", "-J", site.name, "-o", "/dev/null", "-b",
                    time.strftime("%m:%d:%H:%M", when), "true")  # fmt: skip
    assert (done.returncode, fits(NUMBER, done.stdout)) == (0, True)
    expected = time.strftime("Job will be scheduled after %a %b %e %H:%M:00 %Y\n", when)
    assert done.stderr == expected
    job = re.search(r"\d+", done.stdout)[0]
    site.submitted.append(job)
    assert site.until(lambda: "has a specified start time" in site.reason(job))


def begin_time_that_has_passed_is_of_next_year(site):
    when = time.localtime(time.time() - 180)
    done = site.run("bsub", "-J", site.name, "-o", "/dev/null", "-b",
                    time.strftime("%m:%d:%H:%M", when), "true")  # fmt: skip
    site.submitted.append(re.search(r"\d+", done.stdout)[0])
    assert done.stderr.rstrip().endswith(str(when.tm_year + 1))


def held_until_resumed(site):
    job = site.submit("-H")
    assert site.reason(job).strip() == "The job was suspended by the user while pending: 1 host;"
    assert site.states(job) == {"": "PSUSP"}


def history_of_an_array(site):
    job = site.submit(array="[1-2]")
    site.wait(job, "DONE")
    rows = site.until(lambda: (lines := site.run("bhist", job).stdout.splitlines())[3:] and lines)
    assert [row.split()[0] for row in rows[2:] if row] == [f"{job}[1]", f"{job}[2]"]
    text = site.unwrapped("bhist", "-l", f"{job}[2]")
    assert f"Job Id <{job}[2]>, Job Name <{site.name}[2]>, User <{site.user}>" in text
    assert site.until(
        lambda: "Done successfully." in site.unwrapped("bhist", "-l", f"{job}[2]")
    )


FACTS = [
    quiet_prints_no_id, a_refusal_burns_a_number, the_command_is_a_line_for_the_shell,
    a_command_of_more_lines, a_script_on_standard_input, environment_and_directory_are_carried,
    a_directory_that_is_gone, variables_of_a_plain_job, variables_of_an_element,
    slots_are_granted_and_the_command_runs_once, output_begins_with_a_report, output_is_appended,
    output_in_a_folder_that_is_missing_is_lost, a_name_with_any_letters, rows_of_an_array,
    the_table, largest_array, throttle, an_unknown_id_spoils_nothing,
    ended_jobs_are_listed_by_id, names_with_a_pattern, details_with_exit_codes,
    the_unformatted_form_takes_a_command_for_a_format, exit_codes, deaths_of_children,
    job_whose_shell_is_killed_counts_as_done, run_limit, killed_by_bkill,
    signals_come_one_after_the_other,
    killed_before_its_start, bkill_of_what_has_ended, bkill_of_a_whole_array_takes_its_time,
    bkill_of_a_whole_array_that_waits, bkill_of_elements, bkill_by_name, dependencies_on_any_end,
    dependency_that_is_never_satisfied, dependency_on_what_has_ended_and_is_remembered,
    dependency_on_what_was_killed_before_its_start, dependency_on_a_whole_array,
    dependency_that_is_not_closed, dependency_by_name, twins, twins_need_the_same_size, begin_time,
    begin_time_that_has_passed_is_of_next_year, held_until_resumed, history_of_an_array,
]  # fmt: skip


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)
def test_fact(site, fact):
    fact(site)


# What no test may do to a real LSF, as observed there


def test_daemons_that_are_down(lsf_simulator):
    lsf_simulator.inject("down")
    message = "Failed in an LSF library call: LIM is down; try later"
    for command in (("bjobs",), ("bkill", "1"), ("bparams", "-l"), ("bsub", "true")):
        done = lsf_simulator.call(*command, environment={"LSB_NTRIES": "1"})
        assert (done.returncode, done.stdout) == (255, "")
        assert done.stderr.startswith(message)
        # Without it, clients try for ever.
        with pytest.raises(subprocess.TimeoutExpired):
            lsf_simulator.call(*command, timeout=1)
    done = lsf_simulator.call("bhist", "1")
    assert (done.returncode, done.stderr) == (
        255, "ls_getclustername(): LIM is down; try later\n"
    )  # fmt: skip
    lsf_simulator.inject("up")
    assert lsf_simulator.call("bsub", "-o", "/dev/null", "true").returncode == 0


def test_jobs_are_forgotten_after_the_clean_period(simulators):
    simulator = simulators("lsf", min_job_age=0.2)
    done = simulator.call("bsub", "-o", "/dev/null", "true")
    job = re.search(r"\d+", done.stdout)[0]
    until = time.monotonic() + 60
    while simulator.call("bjobs", job).returncode == 0:
        assert time.monotonic() < until
    assert simulator.call("bjobs", "-a", job).stderr == f"Job <{job}> is not found\n"
    assert "Done successfully" in simulator.call("bhist", "-l", job).stdout
    assert simulator.call("bkill", job).stderr == f"Job <{job}>: No matching job found\n"
    for condition in (f"done({job})", f"ended({job})"):
        assert simulator.call("bsub", "-w", condition, "true").stderr == (
            f"{job}: No matching job found. Job not submitted.\n"
        )


@pytest.mark.parametrize(("fault", "taken"), [("timeout_before", 0), ("timeout_after", 1)])
def test_a_submission_in_doubt(lsf_simulator, fault, taken):
    lsf_simulator.inject(fault)
    done = lsf_simulator.call("bsub", "-o", "/dev/null", "true")
    assert (done.returncode, done.stdout) == (255, "")
    assert "Failed in an LSF library call" in done.stderr
    assert len(lsf_simulator.jobs()) == taken


def test_refused_by_a_limit(lsf_simulator):
    lsf_simulator.inject("refuse", text="The destination queue has reached its job limit")
    done = lsf_simulator.call("bsub", "-o", "/dev/null", "true")
    assert (done.returncode, done.stderr) == (
        255, "The destination queue has reached its job limit. Job not submitted.\n"
    )  # fmt: skip
