"""Facts about Torque 6.1, each checked on a real one; there is no simulated Torque.

It is used where REFLOW_LIVE_TORQUE=1 says that there is one (see `live.sites`); as root, jobs are
submitted as REFLOW_LIVE_USER. What reflow makes of an answer is in `tests/backends/pbs`.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from live.sites import SCHEDULERS, USER, as_user

from .test_pbs_facts import Site as PBSSite

REFUSED = "qsub: submit error "


class Site(PBSSite):
    """Commands of a Torque, and a folder that its jobs can write."""

    def submit(self, *arguments, job="true", **options):
        """Submit a job, whose script qsub reads, and return its id."""
        done = self.qsub(*arguments, job=job, **options)
        assert (done.returncode, done.stderr) == (0, ""), (arguments, done.stderr)
        self.submitted.append(done.stdout.strip())
        return self.submitted[-1]

    def qsub(self, *arguments, job="true", **options):
        logs = [] if {"-o", "-k", "-j"} & set(arguments) else ["-j", "oe", "-o", "/dev/null"]
        name = [] if "-N" in arguments else ["-N", self.name]
        return self.run("qsub", *name, *logs, *arguments, stdin=f"{job}\n", **options)

    def refusal(self, *arguments, job="true"):
        """Return exit code and message of a refused submission."""
        done = self.qsub(*arguments, job=job)
        assert done.stdout == "", self.submitted.append(done.stdout.strip())
        return done.returncode, done.stderr.splitlines()[0].removeprefix(REFUSED)

    def full(self, job, *options):
        """Return the attributes of each job that qstat shows, by id."""
        jobs = {}
        output = self.run("qstat", "-f", *(options or ("-t",)), job).stdout.replace("\n\t", "")
        for block in output.split("Job Id: ")[1:]:
            name, _, body = block.partition("\n")
            jobs[name] = dict(
                line.strip().partition(" = ")[::2] for line in body.splitlines() if " = " in line
            )
        return jobs

    def elements(self, array, count=0):
        """Return the attributes of an array's elements once all of them have ended."""
        def ended():
            elements = self.full(array)
            over = [element["job_state"] == "C" for element in elements.values()]
            return all(over) and len(over) >= max(1, count) and elements

        return self.until(ended)

    def ended(self, job):
        attributes = self.wait(job, "C")
        return attributes.get("exit_status")

    def clean(self):
        for job in self.submitted:
            self.run("qdel", job)


@pytest.fixture
def site(scheduler):
    folder = Path(tempfile.mkdtemp(prefix="facts", dir="/var/tmp"))
    folder.chmod(0o755)
    user = USER or pwd.getpwuid(os.getuid()).pw_name
    shutil.chown(folder, user)
    new_site = Site(folder, as_user(), scheduler.path, user)
    yield new_site
    new_site.clean()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def scheduler():
    torque = SCHEDULERS["torque"]
    torque.need()
    return torque


# Submission


def version_output(site):
    for command in ("qsub", "qstat"):
        done = site.run(command, "--version")
        assert re.match(r"Version: [0-9]+\.[0-9.]+", done.stdout + done.stderr)
    assert site.run("qselect", "--version").returncode == 2


def the_id_and_nothing_else_is_printed(site):
    assert re.fullmatch(r"[0-9]+\.[A-Za-z0-9.-]+", site.submit("-h"))
    assert re.fullmatch(r"[0-9]+\[\]\.[A-Za-z0-9.-]+", site.submit("-h", "-t", "0-1"))


def forms_of_arrays(site):
    for text, places in {"0-3": [0, 1, 2, 3], "0-3%2": [0, 1, 2, 3], "5": [5], "0": [0],
                         "1,3,7-8": [1, 3, 7, 8]}.items():  # fmt: skip
        array = site.submit("-h", "-t", text)
        site.until(lambda array=array, places=places: len(site.full(array)) == len(places))
        assert list(site.full(array)) == [array.replace("[]", f"[{at}]") for at in places]
    assert site.refusal("-h", "-t", "0-9:2") == (235, "(Bad Job Array Request)")
    assert site.run("qsub", "-J", "0-3").returncode == 2


def an_array_is_made_element_by_element(site):
    array = site.submit("-h", "-t", "0-299")
    first = len(site.full(array))
    assert 0 < first <= 300
    site.until(lambda: len(site.full(array)) == 300)
    assert " -t 0-299 " in f"{next(iter(site.full(array).values()))['submit_args']} "


def environment_of_an_element(site):
    array = site.submit("-t", "3-4", job=f'env > "{site.folder}/$PBS_ARRAYID"')
    site.elements(array, 2)
    for index in (3, 4):
        lines = site.until(lambda index=index: site.read(str(index))).splitlines()
        variables = dict(line.partition("=")[::2] for line in lines)
        assert (variables["PBS_ARRAYID"], variables["PBS_JOBID"], variables["PBS_JOBNAME"]) == (
            str(index), array.replace("[]", f"[{index}]"), f"{site.name}-{index}"
        )  # fmt: skip
        assert variables["PBS_VERSION"].startswith("TORQUE-")


def elements_of_a_throttled_array_are_held(site):
    array = site.submit("-t", "0-2%1", job=site.until_go())
    elements = site.until(
        lambda: (
            (elements := list(site.full(array).values()))
            and elements[0]["job_state"] == "R" and len(elements) == 3 and elements
        )
    )  # fmt: skip
    assert [element["job_state"] for element in elements] == ["R", "H", "H"]
    assert elements[2]["Hold_Types"] == "l"
    site.go()
    site.elements(array, 3)


def jobs_start_in_the_home_folder_or_that_of_option_d(site):
    for option, folder in (((), site.home), (("-d", "/usr"), "/usr")):
        site.ended(site.submit(*option, job=f"pwd > {site.folder}/where"))
        assert site.until(lambda: site.read("where")) == f"{folder}\n"
        (site.folder / "where").unlink()


def job_names(site):
    for name in ("1a.b-c_d+e", "x" * 230):
        assert site.fields_of(site.submit("-h", "-N", name), "Job_Name") == (name,)
        array = site.submit("-h", "-t", "0", "-N", name)
        assert site.fields_of(array.replace("[]", "[0]"), "Job_Name") == (f"{name}-0",)
    for name in ("a b", "x" * 300):
        assert site.refusal("-N", name) == (2, "[qsub: illegal -N value]")


def refusals(site):
    unknown = "(Unknown queue MSG=requested queue not found)"
    assert site.refusal("-q", "nosuch") == (172, unknown)
    assert site.refusal("-l", "nosuch=1") == (189, "(Unknown resource type  Resource_List.nosuch)")
    value = "(Illegal attribute or resource value for Resource_List."
    assert site.refusal("-h", "-l", "mem=4Gi") == (168, f"{value}mem)")
    assert site.refusal("-h", "-l", "walltime=1-00:00:00") == (168, f"{value}walltime)")
    assert site.refusal("-l", "nodes=1:ppn=9999")[0] == 190
    assert site.refusal("-k", "oed") == (2, "[qsub: illegal -k value]")
    assert site.run("qsub", "-f", "-J", "0-1").returncode == 2


def time_and_memory(site):
    job = site.submit("-h", "-l", "nodes=1:ppn=2,mem=100kb,walltime=25:01:01")
    names = ("Resource_List.nodes", "Resource_List.mem", "Resource_List.walltime")
    assert site.fields_of(job, *names) == (
        "1:ppn=2", "100kb", "25:01:01"
    )  # fmt: skip


def begin_times(site):
    later = time.strftime("%Y%m%d%H%M.%S", time.localtime(time.time() + 3600))
    assert site.wait(site.submit("-a", later), "W")["Hold_Types"] == "n"
    soon = time.time() + 3
    job = site.submit("-a", time.strftime("%Y%m%d%H%M.%S", time.localtime(soon)))
    assert site.ended(job) == "0"
    assert time.time() > int(soon)
    assert site.refusal("-a", "now+60") == (2, "[qsub: illegal -a value]")


def the_logs_of_elements_have_their_number_appended(site):
    array = site.submit("-t", "0-1", "-j", "oe", "-o", f"{site.folder}/log.$PBS_ARRAYID",
                        job="echo x")  # fmt: skip
    site.elements(array, 2)
    names = {"log.0-0", "log.1-1"}
    site.until(lambda: {path.name for path in site.folder.iterdir()} == names)


def logs_come_when_the_job_has_ended(site):
    job = site.submit("-j", "oe", "-o", f"{site.folder}/late",
                      job=f"echo x; touch {site.folder}/began; {site.until_go()}")  # fmt: skip
    site.until(lambda: (site.folder / "began").exists())
    assert site.read("late") == ""
    site.go()
    site.ended(job)
    site.until(lambda: site.read("late") == "x\n")


def output_to_dev_null_is_written_nowhere(site):
    array = site.submit("-t", "0-1", job="echo x; readlink /proc/$$/fd/1 > "
                                         f"{site.folder}/where.$PBS_ARRAYID")  # fmt: skip
    elements = site.elements(array, 2)
    assert [element["Output_Path"].partition(":")[2] for element in elements.values()] == [
        "/dev/null-0", "/dev/null-1"
    ]  # fmt: skip
    assert not list(Path("/dev").glob("null-*"))
    # But the node keeps it, of elements only.
    assert site.until(lambda: site.read("where.0")).strip().endswith(".OU")
    site.ended(site.submit(job=f"readlink /proc/$$/fd/1 > {site.folder}/single"))
    assert site.until(lambda: site.read("single")).strip() == "/dev/null"


# Dependencies


def a_job_that_waits(site):
    first, array = site.submit("-h"), site.submit("-h", "-t", "0-1")
    later = site.submit("-W", f"depend=afterany:{first},afteranyarray:{array}")
    assert site.fields_of(later, "job_state", "Hold_Types", "depend") == (
        "H", "s", f"afterany:{first},afteranyarray:{array}"
    )  # fmt: skip
    site.ask("qrls", first, array)
    assert site.ended(later) == "0"


def job_with_afterany_on_an_array_waits_for_ever(site):
    array = site.submit("-t", "0-1")
    wrong = site.submit("-W", f"depend=afterany:{array}")
    right = site.submit("-W", f"depend=afteranyarray:{array}")
    assert site.ended(right) == "0"
    assert site.fields_of(wrong, "job_state", "Hold_Types") == ("H", "s")


def an_array_waits(site):
    first = site.submit("-h")
    array = site.submit("-t", "0-1", "-W", f"depend=afterany:{first}")
    site.ask("qrls", first)
    assert [element["exit_status"] for element in site.elements(array, 2).values()] == ["0", "0"]


def dependency_on_an_ended_or_unknown_job_is_refused(site):
    ended, held = site.submit(), site.submit("-h")
    site.ended(ended)
    server = ended.partition(".")[2]
    for waited in (f"afterany:{ended}", f"afterany:{held}:{ended}", f"afterany:9999999.{server}",
                   f"afteranyarray:9999999[].{server}", f"afteranyarray:{held}"):  # fmt: skip
        assert site.refusal("-W", f"depend={waited}") == (208, "(Invalid Job Dependency)")


def an_array_that_has_ended_can_be_waited_for(site):
    array = site.submit("-t", "0-1")
    site.elements(array, 2)
    assert site.ended(site.submit("-W", f"depend=afteranyarray:{array}")) == "0"


def job_behind_a_deleted_one_is_released(site):
    held, array = site.submit("-h"), site.submit("-h", "-t", "0-1")
    running = site.submit(job="sleep 60")
    later = [
        site.submit("-W", f"depend={dependency}")
        for dependency in (f"afterany:{held}", f"afteranyarray:{array}", f"afterany:{running}")
    ]
    site.wait(running, "R")
    site.ask("qdel", held, array, running)
    assert [site.ended(job) for job in later] == ["0", "0", "0"]


# Status


def qstat_shows_an_array_or_its_elements(site):
    array = site.submit("-h", "-t", "0-1")
    after = site.submit("-h")
    site.until(lambda: len(site.full(array)) == 2)
    assert list(site.full(array)) == [array.replace("[]", f"[{at}]") for at in (0, 1)]
    # Without -t qstat also lists other jobs.
    jobs = site.full(array, "-f")
    assert {array, after} <= set(jobs)
    assert jobs[array]["job_array_request"] == "0-1"


def unknown_ids(site):
    server = site.submit("-h").partition(".")[2]
    for job in (f"9999999.{server}", f"9999999[].{server}"):
        assert site.refused("qstat", "-f", job) == (153, f"qstat: Unknown Job Id Error {job}")
        assert site.refused("qdel", job) == (153, f"qdel: nonexistent job id: {job}")
    assert site.refused("qdel", "notanid") == (
        1, "qdel: illegally formed job identifier: notanid"
    )  # fmt: skip


def after_ten_unknown_ids_qstat_has_no_connection_left(site):
    held = site.submit("-h")
    server = held.partition(".")[2]
    unknown = [f"{9_900_000 + number}.{server}" for number in range(20)]
    done = site.run("qstat", "-f", *unknown[:8], held)
    assert f"Job Id: {held}\n" in done.stdout
    done = site.run("qstat", "-f", *unknown, held)
    assert "Job Id" not in done.stdout
    assert "Too many open connections." in done.stderr
    assert re.search(r"qstat: cannot connect to server \S+ \(errno=15\d{3}\)", done.stderr)


def how_jobs_end(site):
    cases = {"exit 0": "0", "exit 7": "7", "exit 255": "255", "kill -9 $$": "137",
             "kill -15 $$": "143", "kill -9 $PPID $$": "265"}  # fmt: skip
    jobs = {site.submit(job=job): ending for job, ending in cases.items()}
    assert {job: site.ended(job) for job in jobs} == jobs


def the_time_limit(site):
    job = site.submit("-l", "walltime=00:00:03", job="sleep 100")
    attributes = site.until(
        lambda: (attributes := site.full(job)[job])["job_state"] == "C" and attributes, 120
    )
    assert attributes["exit_status"] == "-11"


def deletions(site):
    running, waiting = site.submit(job="sleep 60"), site.submit("-h")
    stubborn = site.submit(job="trap '' TERM; sleep 60")
    for job in (running, stubborn):
        site.wait(job, "R")
    site.ask("qdel", running, waiting, stubborn)
    assert [site.ended(job) for job in (running, waiting, stubborn)] == ["271", None, "271"]
    attributes = site.full(waiting)[waiting]
    assert not {"start_time", "comp_time"} & attributes.keys()
    assert {"start_time", "comp_time"} <= site.full(running)[running].keys()
    code, text = site.refused("qdel", running)
    assert code == 170
    assert text.startswith("qdel: Request invalid for state of job MSG=invalid state for job - ")


def qselect_lists_elements_and_ended_jobs(site):
    job, array, ended = site.submit("-h"), site.submit("-h", "-t", "0-1"), site.submit()
    site.ended(ended)
    site.until(lambda: len(site.full(array)) == 2)
    places = [array.replace("[]", f"[{at}]") for at in (0, 1)]
    assert {job, ended, *places} <= set(site.ask("qselect", "-u", site.user))
    queued = site.ask("qselect", "-u", site.user, "-s", "EHQRTW")
    assert {job, *places} <= set(queued)
    assert ended not in queued
    assert set(site.ask("qselect", "-u", site.user, "-N", site.name)) == {job, ended}
    assert site.run("qselect", "-x").returncode == 2


def holds(site):
    job = site.submit("-h")
    assert site.fields_of(job, "job_state", "Hold_Types") == ("H", "u")
    site.ask("qrls", job)
    assert site.ended(job) == "0"


# Limits, which only root can set


def limits(site):
    if os.getuid() != 0:
        pytest.skip("only root can set limits")

    def order(text):
        path = {"PATH": SCHEDULERS["torque"].path}
        subprocess.run(["qmgr", "-c", text], check=True, env=path)

    shown = "\n".join(site.ask("qstat", "-B", "-f"))
    queue = re.search(r"default_queue = (\S+)", shown)[1]
    assert "max_job_array_size" not in shown
    order("set server max_job_array_size=5")
    try:
        shown = "\n".join(site.ask("qstat", "-B", "-f"))
        assert re.search(r"^    max_job_array_size = 5$", shown, re.MULTILINE)
        assert site.refusal("-t", "0-5") == (
            235, "(Bad Job Array Request MSG=Requested array size too large, limit is 5)"
        )  # fmt: skip
        order(f"set queue {queue} max_user_queuable=1")
        code, text = site.refusal("-h", "-t", "0-3")
        assert (code, text[:46]) == (228, "(Maximum number of jobs already in queue for u")
    finally:
        order("unset server max_job_array_size")
        order(f"unset queue {queue} max_user_queuable")


FACTS = [
    version_output, the_id_and_nothing_else_is_printed, forms_of_arrays,
    an_array_is_made_element_by_element, environment_of_an_element,
    elements_of_a_throttled_array_are_held, jobs_start_in_the_home_folder_or_that_of_option_d,
    job_names, refusals, time_and_memory, begin_times,
    the_logs_of_elements_have_their_number_appended, logs_come_when_the_job_has_ended,
    output_to_dev_null_is_written_nowhere, a_job_that_waits,
    job_with_afterany_on_an_array_waits_for_ever, an_array_waits,
    dependency_on_an_ended_or_unknown_job_is_refused, an_array_that_has_ended_can_be_waited_for,
    job_behind_a_deleted_one_is_released, qstat_shows_an_array_or_its_elements,
    unknown_ids, after_ten_unknown_ids_qstat_has_no_connection_left, how_jobs_end,
    the_time_limit, deletions, qselect_lists_elements_and_ended_jobs, holds, limits,
]  # fmt: skip


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)
def test_fact(site, fact):
    fact(site)
