"""Facts about Grid Engine, each checked on the simulator and on a real Grid Engine.

With REFLOW_LIVE_SGE=1 every row runs against the Grid Engine of this machine as well; as root
by way of the user REFLOW_LIVE_USER. It must be the one of tools/clusters/sge.sh.
"""

import os
import re
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from .sge.site import Site

UNKNOWN = "9999998"
NUMBER = re.compile(r"\d+")
LIVE = os.environ.get("REFLOW_LIVE_SGE") == "1"


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
        if shutil.which("qsub") is None:
            pytest.fail("REFLOW_LIVE_SGE=1, but there is no qsub")
        new_site = Site(folder)
    else:
        new_site = Site(folder, request.getfixturevalue("simulators")("sge"))
    yield new_site
    new_site.clean()
    shutil.rmtree(folder, ignore_errors=True)


def rejected(text):
    return f"Unable to run job: {text}\nExiting."


def bad_time(resource="h_rt"):
    return rejected(f'attribute "{resource}" is not a time value')


def bad_memory(resource="h_vmem"):
    return rejected(f'attribute "{resource}" is not a memory value')


def array(tasks):
    return re.compile(rf"\d+\.{re.escape(tasks)}")


LONG = "x" * 513
NOT_READ = rejected("Error reading answer list from qmaster")

# Refusals and answers: command line, exit code, standard output, standard error.
# What is submitted is held.
ROWS = {
    "a job": ("qsub -terse -h script.sh", 0, NUMBER, ""),
    "without -terse": (
        "qsub -h -N n script.sh", 0, re.compile(r'Your job \d+ \("n"\) has been submitted'), ""),
    "an array": ("qsub -terse -h -t 1-10 script.sh", 0, array("1-10:1"), ""),
    "an array without -terse": (
        "qsub -h -N n -t 1-10 script.sh", 0,
        re.compile(r'Your job-array \d+\.1-10:1 \("n"\) has been submitted'), ""),
    "an array of one": ("qsub -terse -h -t 1 script.sh", 0, array("1-1:1"), ""),
    "an array of one, not the first": ("qsub -terse -h -t 5-5 script.sh", 0, array("5-5:1"), ""),
    "an array in steps": ("qsub -terse -h -t 2-10:3 script.sh", 0, array("2-10:3"), ""),
    "an array backwards": ("qsub -terse -h -t 10-1 script.sh", 0, array("1-10:1"), ""),
    "an array of high tasks": ("qsub -terse -h -t 100000-100001 script.sh", 0,
                               array("100000-100001:1"), ""),
    "an array from 0": ("qsub -terse -t 0-9 script.sh", 1, "",
                        rejected("job rejected: 0 is an invalid task id")),
    "an array that is a list": ("qsub -terse -t 1,3,7 script.sh", 7, "",
                                "qsub: -t option only allows one range specification"),
    "an array with Slurm's throttle": (
        "qsub -terse -t 1-10%3 script.sh", 7, "",
        'qsub: Range specifier "10%3" has unknown trailer "%3"'),
    "an array of letters": (
        "qsub -terse -t 1-n script.sh", 7, "", "qsub: Numerical value invalid!\n"
        'The initial portion of string "n" contains no decimal number'),
    "the largest array": ("qsub -terse -h -t 1-75000 script.sh", 0, array("1-75000:1"), ""),
    "an array too large": (
        "qsub -terse -h -t 1-75001 script.sh", 1, "",
        rejected("job rejected: you tried to submit a job with more than 75000 tasks")),
    "a throttle": ("qsub -terse -h -t 1-3 -tc 2 script.sh", 0, array("1-3:1"), ""),
    "name that begins with a digit": (
        "qsub -terse -N 1abc script.sh", 1, "",
        rejected('denied: "1abc" is not a valid object name (cannot start with a digit)')),
    "script whose name begins with a digit": (
        "qsub -terse 9s.sh", 1, "",
        rejected('denied: "9s.sh" is not a valid object name (cannot start with a digit)')),
    "name with a colon": ("qsub -N a:b script.sh", 1, "",
                          rejected("Colon (':') not allowed in objectname")),
    "name with an at": ("qsub -N a@b script.sh", 1, "",
                        rejected("At ('@') not allowed in objectname")),
    "name with an asterisk": ("qsub -N a*b script.sh", 1, "",
                              rejected("Asterisk ('*') not allowed in objectname")),
    "name with a slash": ("qsub -N a/b script.sh", 2, "",
                          "qsub: argument to -N option must not contain /"),
    "name in other letters": ("qsub -N \xe9 script.sh", 1, "", NOT_READ),
    "name with what passes": ("qsub -terse -h -N a.b-c_d[1],e script.sh", 0, NUMBER, ""),
    "name too long": (
        f"qsub -N {LONG} script.sh", 1, "",
        rejected("job name too long, maximum allowed length is 512 characters")),
    "queue": ("qsub -q nope.q script.sh", 1, "",
              rejected('Job was rejected because job requests unknown queue "nope.q"')),
    "queues": ("qsub -terse -h -q main.q,second.q script.sh", 0, NUMBER, ""),
    "parallel environment": (
        "qsub -pe nope 2 script.sh", 1, "",
        rejected('job rejected: the requested parallel environment "nope" does not exist')),
    "more slots than there are": ("qsub -terse -h -pe smp 500 script.sh", 0, NUMBER, ""),
    "no slots": ("qsub -pe smp 0 script.sh", 1, "",
                 rejected('"job" rejected: pe range must be greater than zero')),
    "any account": ("qsub -terse -h -A whatever script.sh", 0, NUMBER, ""),
    "project": ("qsub -P noproj script.sh", 1, "",
                rejected('job rejected: the requested project "noproj" does not exist')),
    "resource": ("qsub -l gpu=1 script.sh", 1, "", rejected('unknown resource "gpu"')),
    "time in seconds": ("qsub -terse -h -l h_rt=90 script.sh", 0, NUMBER, ""),
    "time in hours": ("qsub -terse -h -l h_rt=100:00:00 script.sh", 0, NUMBER, ""),
    "time in minutes": ("qsub -l h_rt=10:00 script.sh", 1, "", bad_time()),
    "time with days": ("qsub -l h_rt=1-00:00:00 script.sh", 1, "", bad_time()),
    "time that is none": ("qsub -l h_rt=abc script.sh", 1, "", bad_time()),
    "memory in K, M, G": ("qsub -terse -h -l h_vmem=1.5G,mem_free=1k script.sh", 0, NUMBER, ""),
    "memory in GB": ("qsub -l h_vmem=1GB script.sh", 1, "", bad_memory()),
    "memory in MB": ("qsub -l h_vmem=512MB script.sh", 1, "", bad_memory()),
    "more memory than there is": ("qsub -terse -h -l h_vmem=900G script.sh", 0, NUMBER, ""),
    "priority": (
        "qsub -p 10 script.sh", 1, "",
        rejected("job rejected: positive submission priority requires operator privileges")),
    "lower priority": ("qsub -terse -h -p -10 script.sh", 0, NUMBER, ""),
    "begin": ("qsub -terse -h -a 203001010000.30 script.sh", 0, NUMBER, ""),
    "hold for nobody": ("qsub -hold_jid , script.sh", 7, "", re.compile(
        "qsub: Wrong jid_hold list format .*")),
    "hold for tasks": (f"qsub -hold_jid {UNKNOWN}.1-3:1 script.sh", 1, "",
                       rejected(f'denied: job "{UNKNOWN}.1-3:1" not found')),
    "hold for an unknown job": (f"qsub -terse -h -hold_jid {UNKNOWN} script.sh", 0, NUMBER, ""),
    "hold task by task for an unknown job": (
        f"qsub -terse -h -t 1-3 -hold_jid_ad {UNKNOWN} script.sh", 0, array("1-3:1"), ""),
    "unknown option": ("qsub --partition x script.sh", 2, "",
                       'qsub: invalid option argument "--partition"'),
    "no script": (
        "qsub nonexist.sh", 14, "", "Unable to read script file because of error: error opening "
        "nonexist.sh: No such file or directory"),
    "log of another host": ("qsub -o nosuchhost:/tmp/x script.sh", 1, "",
                            rejected('can\'t resolve hostname "nosuchhost"')),
    "log path with a colon": ("qsub -terse -h -o :/tmp/a:b/x script.sh", 0, NUMBER, ""),
    "log path with a comma": ("qsub -o /tmp/a,b/x script.sh", 1, "",
                              rejected("ERROR! two files are specified for the same host")),
    "options that reflow gives": (
        "qsub -terse -h -b n -sync n -r n -V -wd /tmp -j y -S /bin/sh -o /dev/null script.sh", 0,
        NUMBER, ""),
    "qstat -j of an unknown job": (
        f"qstat -j {UNKNOWN}", 1, "", f"Following jobs do not exist: \n{UNKNOWN}"),
    "qstat -j -xml of an unknown job": (
        f"qstat -j {UNKNOWN} -xml", 0, re.compile(rf"(?s).*<ST_name>{UNKNOWN}</ST_name>.*"), ""),
    "qstat -xml of nobody": (
        "qstat -u nosuchuser -xml", 0, re.compile(
            r"(?s)<\?xml version='1.0'\?>\n<job_info  xmlns:xsd=.*<queue_info>\s*</queue_info>\s*"
            r"<job_info>\s*</job_info>\s*</job_info>"), ""),
    "qstat of nobody": ("qstat -u nosuchuser", 0, "", ""),
    "qacct of an unknown job": (f"qacct -j {UNKNOWN}", 1, "", f"error: job id {UNKNOWN} not found"),
    "qacct of an unknown name": ("qacct -j nosuchname", 1, "",
                                 "error: job name nosuchname not found"),
    "qacct takes the first of two": (f"qacct -j {UNKNOWN},1", 1, "",
                                     f"error: job id {UNKNOWN} not found"),
    "qdel of an unknown job": (f"qdel {UNKNOWN}", 1, f'denied: job "{UNKNOWN}" does not exist', ""),
    "qdel of unknown jobs": (
        f"qdel {UNKNOWN} 9999997", 1,
        f'denied: job "{UNKNOWN}" does not exist\ndenied: job "9999997" does not exist', ""),
    "qdel of an unknown name": (
        "qdel nosuchname", 1,
        re.compile(r"The job nosuchname of user\(s\) \S+ does not exist"), ""),
    "qhold of an unknown job": (
        f"qhold {UNKNOWN}", 3, f'denied: job "{UNKNOWN}" does not exist', ""),
    "qrls of an unknown job": (f"qrls {UNKNOWN}", 3, f'denied: job "{UNKNOWN}" does not exist', ""),
    "qmod of an unknown job": (f"qmod -cj {UNKNOWN}", 1, f'invalid queue or job "{UNKNOWN}"', ""),
    "qconf -sconf": ("qconf -sconf", 0, re.compile(
        r"(?ms)(?=.*^max_aj_tasks +75000$)(?=.*\bflush_time=00:00:0\d ).*"), ""),
}  # fmt: skip


def fits(expected, output):
    output = output.strip("\n").rstrip()
    return (
        output == expected if isinstance(expected, str) else expected.fullmatch(output) is not None
    )


@pytest.mark.parametrize("row", ROWS)
def test_answer(site, row):
    line, code, out, err = ROWS[row]
    site.write("script.sh", "#!/bin/sh\ntrue\n")
    site.write("9s.sh", "#!/bin/sh\ntrue\n")
    done = site.run(*line.split())
    if line.startswith("qsub") and (number := re.search(r"\d+", done.stdout)):
        site.submitted.append(number.group())
    assert done.returncode == code, done.stdout + done.stderr
    assert fits(out, done.stdout), done.stdout
    assert fits(err, done.stderr), done.stderr


# Facts about how jobs run, each a function


def script_on_standard_input(site):
    job = site.submit("-o", "log", script="echo $0 $1; echo $JOB_NAME")
    assert site.end(job) == ("0", "0")
    assert site.read("log").splitlines()[-1] == site.name


def script_with_arguments_and_options(site):
    site.write("s.sh", "#!/bin/sh\n#$ -t 1-2\necho \"$1|$2\"\n")
    done = site.run(
        "qsub", "-terse", "-cwd", "-S", "/bin/sh", "-j", "y", "-o", "log", "s.sh", "a b", "c"
    )
    assert done.stdout.strip().endswith(".1-2:1")
    site.submitted.append(done.stdout.split(".")[0])
    site.ended(site.submitted[-1], 2)
    assert site.read("log") == "a b|c\na b|c\n"
    # Without a prefix of options, there are none.
    done = site.run("qsub", "-terse", "-h", "-C", "", "s.sh")
    site.submitted.append(done.stdout.strip())
    assert done.stdout.strip().isdigit()


def environment_of_a_job(site):
    job = site.submit("-V", "-o", "log", script="env", MULTI="a b,c=d;$x\ny", JOB_ID="old")
    site.ended(job)
    lines = site.read("log").splitlines()
    for expected in (
        f"JOB_ID={job}", f"JOB_NAME={site.name}", "SGE_TASK_ID=undefined", "NSLOTS=1",
        "SGE_TASK_FIRST=undefined", "RESTARTED=0", "SGE_CELL=default", "ENVIRONMENT=BATCH",
        "MULTI=a b,c=d;$x", "y", f"PWD={site.folder}",
    ):  # fmt: skip
        assert expected in lines, expected


def environment_of_a_task(site):
    job = site.submit(
        "-t", "4-8:2", "-o", "$JOB_NAME-$JOB_ID-$TASK_ID.out",
        script="echo $SGE_TASK_ID $SGE_TASK_FIRST $SGE_TASK_LAST $SGE_TASK_STEPSIZE",
    )  # fmt: skip
    site.ended(job, 3)
    assert site.read(f"{site.name}-{job}-6.out") == "6 4 8 2\n"


def slots(site):
    job = site.submit("-pe", "smp", "2", "-o", "log", script="echo $NSLOTS $PE")
    assert site.ended(job)[0]["slots"] == "2"
    assert site.read("log") == "2 smp\n"


def log_of_a_plain_job(site):
    job = site.submit("-o", "$JOB_ID.$TASK_ID.%j.$SGE_TASK_ID.out", script="echo one")
    site.ended(job)
    assert site.read(f"{job}.0.%j.$SGE_TASK_ID.out") == "one\n"


def log_is_added_to(site):
    site.ended(site.submit("-t", "1-2", "-o", "log", script="echo one"), 2)
    assert site.read("log") == "one\none\n"


def log_in_a_folder(site):
    (site.folder / "logs").mkdir()
    (site.folder / "logs").chmod(0o777)
    job = site.submit("-t", "1-2", "-o", "logs", script="echo one")
    site.ended(job, 2)
    assert site.read(f"logs/{site.name}.o{job}.2") == "one\n"


def log_path_with_strange_letters(site):
    folder = site.folder / "it's :\xe9 %d"
    folder.mkdir()
    folder.chmod(0o777)
    site.ended(site.submit("-wd", str(folder), "-o", f":{folder}/log", script="pwd"))
    assert (folder / "log").read_text() == f"{folder}\n"


def exit_codes(site):
    assert site.end(site.submit(script="exit 3")) == ("0", "3")
    assert site.end(site.submit(script="exec /nonexistent/cmd")) == ("0", "127")
    assert site.end(site.submit(script="exit 137")) == ("0", "137")


def killed_by_itself(site):
    assert site.end(site.submit(script="kill -9 $$")) == ("100", "137")
    assert site.end(site.submit(script="kill -15 $$")) == ("100", "143")


def time_limit(site):
    limit = 3 if site.live else 60
    job = site.submit("-l", f"h_rt={limit}", "-o", "log", script="trap 'echo TERM' TERM; sleep 99")
    record = site.ended(job)[0]
    assert record["failed"] == "37  : qmaster enforced h_rt, h_cpu, or h_vmem limit"
    assert record["exit_status"].split() == ["137", "(Killed)"]
    assert float(record["ru_wallclock"].rstrip("s")) >= limit
    assert record["category"] == f"-l h_rt={limit}"
    assert site.read("log") == ""


def memory_limit(site):
    script = "/usr/bin/python3 -c 'x = bytearray(800000000)'"
    job = site.submit("-l", "h_vmem=200M", "-o", "log", script=script)
    assert site.end(job) == ("0", "1")
    assert "MemoryError" in site.read("log")


def exit_99_runs_again(site):
    job = site.submit("-r", "n", script="exit 99")
    record = site.ended(job)[0]
    assert record["failed"].startswith("25 ")
    assert site.until(lambda: site.states(job) in ({"": "Rq"}, {"": "Rr"}))


def exit_100_is_an_error(site):
    job = site.submit("-t", "1-3", script="exit $((SGE_TASK_ID == 2 ? 100 : 0))")
    assert site.until(lambda: site.states(job) == {"2": "Eqw"})
    assert any(
        re.match(r"error reason +2: .*: exit_status of job start = 100", line)
        for line in site.ask("qstat", "-j", job)
    )
    site.until(lambda: len(site.records(job)) >= 3)
    messages = site.ask("qmod", "-cj", job, code=1)
    assert re.fullmatch(rf"\S+ cleared error state of job-array task {job}\.2", messages[-1])


def missing_folder_of_the_log(site):
    job = site.submit("-o", "/nonexistent/dir/x.out")
    assert site.until(lambda: site.states(job) == {"": "Eqw"})
    assert any(
        re.match(
            r"error reason +1: .*\]: error: can't open output file \"/nonexistent/dir/x.out\": "
            "No such file or directory", line
        )
        for line in site.ask("qstat", "-j", f"{job},{UNKNOWN}")
    )  # fmt: skip
    # A record exists although the job is in the queue, and its exit status is 0.
    record = site.ended(job)[0]
    assert record["failed"] == "26  : opening input/output file"
    assert (record["exit_status"], record["start_time"]) == ("0", "-/-")
    assert site.ask("qdel", job) == [f"{site.user} has deleted job {job}"]
    assert site.end(job) == ("26", "0")
    # Records are picked by their start, and this one has none.
    done = site.run("qacct", "-o", site.user, "-d", "1", "-j")
    assert not re.search(rf"^jobnumber +{job} *$", done.stdout, re.MULTILINE)


def missing_working_directory(site):
    job = site.submit("-wd", "/nonexistent")
    assert site.until(lambda: site.states(job) == {"": "Eqw"})
    lines = site.ask("qstat", "-j", job)
    assert any("can't chdir to /nonexistent: No such" in line for line in lines)


def variables_in_the_working_directory(site):
    (site.folder / "d$USER").mkdir()
    job = site.submit("-wd", f"{site.folder}/d$USER")
    assert site.until(lambda: site.states(job) == {"": "Eqw"})
    lines = site.ask("qstat", "-j", job)
    assert any(f"can't chdir to {site.folder}/d{site.user}: " in line for line in lines)


def rows_of_an_array(site):
    job = site.submit("-t", "1-12", "-tc", "3", script="sleep 60")
    site.until(lambda: site.running(job) == 3)
    site.until(lambda: site.states(job) == {**dict.fromkeys("123", "r"), "4-12:1": "qw"})
    rows = site.rows(job)
    assert {row["JB_name"] for row in rows} == {site.name}  # whole, however long
    assert {row["kind"] for row in rows} == {"running", "pending"}
    assert rows[0]["queue_name"].startswith(("main.q@", "second.q@"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", rows[0]["JAT_start_time"])
    lines = site.ask("qstat", "-u", site.user)
    waiting = next(line for line in lines if f" {job} " in line and " qw " in line)
    assert waiting.split()[2] == site.name[:10]
    assert waiting.split()[-1] == "4-12:1"
    assert any("maximum concurrency:" in line for line in site.ask("qstat", "-j", job))


def throttle_holds(site):
    job = site.submit("-t", "1-6", "-tc", "2", script=f"{site.until_go()}; sleep 1")
    most = 0
    while (site.live and len(site.records(job)) < 6) or site.states(job):
        most = max(most, site.running(job))
        if most >= 2:
            site.go()
        time.sleep(0.1)
    assert most == 2


def throttle_after_qdel_of_a_waiting_task(site):
    job = site.submit("-t", "1-9", "-tc", "2", script="sleep 60")
    site.until(lambda: site.running(job) == 2)
    assert site.ask("qdel", job, "-t", "7") == [f"{site.user} has deleted job-array task {job}.7"]
    time.sleep(3 if site.live else 0.3)
    assert site.running(job) == 2
    assert site.ask("qdel", f"{job}.5", code=0) == [
        f"{site.user} has deleted job-array task {job}.5"
    ]
    (message,) = site.ask("qdel", job, "-t", "3-4")
    assert re.fullmatch(
        rf"{site.user} has deleted job-array tasks 3(,4|-4:1) of job {job}", message
    )


def throttle_after_qdel_of_a_running_task(site):
    job = site.submit("-t", "1-9", "-tc", "2", script="sleep 60")
    site.until(lambda: site.running(job) == 2)
    assert site.ask("qdel", job, "-t", "1") == [
        f"{site.user} has registered the job-array task {job}.1 for deletion"
    ]
    site.until(lambda: site.states(job).get("3") == "r")
    time.sleep(3 if site.live else 0.3)
    assert site.running(job) == 2


def throttle_is_lost_when_a_task_ends_after_qdel_of_a_waiting_one(site):
    job = site.submit("-t", "1-9", "-tc", "2", script="sleep 60")
    site.until(lambda: site.running(job) == 2)
    site.ask("qdel", job, "-t", "7")
    site.ask("qdel", job, "-t", "1")
    assert site.until(lambda: site.running(job) > 2)
    lines = site.ask("qstat", "-j", job)
    assert any(re.fullmatch(r"maximum concurrency: +2", line.strip()) for line in lines)


def hold_for_a_failure(site):
    first = site.submit(script=f"{site.until_go()}; exit 1")
    later = site.submit("-hold_jid", first, script="true")
    assert site.rows(later)[0]["predecessor_jobs"] == first
    assert site.states(later) == {"": "hqw"}
    site.go()
    assert site.end(later) == ("0", "0")


def hold_for_an_array(site):
    first = site.submit("-t", "1-3", script="sleep $SGE_TASK_ID; exit 1")
    later = site.submit("-hold_jid", first, "-o", "log", script=f"echo ran > {site.folder}/ran")
    assert site.end(later) == ("0", "0")
    assert not site.states(first)


def hold_for_two(site):
    first, second = site.submit(script="sleep 1"), site.submit("-h")
    later = site.submit("-hold_jid", f"{first},{second}")
    # Each of them is given up when it is over; the list as asked for stays.
    site.until(lambda: site.rows(later)[0]["predecessor_jobs"] == second)
    site.ask("qdel", second)
    assert site.end(later) == ("0", "0")


def hold_for_what_is_over(site):
    first = site.submit()
    site.ended(first)
    assert site.end(site.submit("-hold_jid", first)) == ("0", "0")
    assert site.end(site.submit("-hold_jid", f"{UNKNOWN},nosuchname")) == ("0", "0")
    job = site.submit("-t", "1-2", "-hold_jid_ad", first)
    site.ended(job, 2)


def hold_for_what_is_deleted(site):
    first = site.submit(script="sleep 60")
    later = site.submit("-hold_jid", first)
    site.until(lambda: site.running(first) == 1)
    site.ask("qdel", first)
    assert site.end(later) == ("0", "0")


def hold_for_what_is_deleted_before_it_ran(site):
    first = site.submit("-h")
    later = site.submit("-hold_jid", first)
    site.ask("qdel", first)
    assert site.end(later) == ("0", "0")


def hold_for_what_is_in_error(site):
    first = site.submit("-o", "/nonexistent/x")
    later = site.submit("-hold_jid", first)
    site.until(lambda: site.states(first) == {"": "Eqw"})
    time.sleep(2 if site.live else 0.2)
    assert site.states(later) == {"": "hqw"}
    site.ask("qdel", first)
    assert site.end(later) == ("0", "0")


def task_by_task(site):
    script = f"[ $SGE_TASK_ID != 1 ] || {{ {site.until_go()}; exit 0; }}; sleep 60"
    first = site.submit("-t", "1-4", script=script)
    later = site.submit("-t", "1-4", "-hold_jid_ad", first, script="sleep 60")
    assert site.rows(later)[0]["ad_predecessor_jobs"] == first
    site.go()
    site.until(lambda: set(site.states(later)) == {"1", "2-4:1"})
    assert site.states(later)["2-4:1"] == "hqw"
    # Whatever becomes of a task: killed while it runs, or deleted.
    site.ask("qdel", first, "-t", "2")
    site.until(lambda: set(site.states(later)) == {"1", "2", "3,4"})


def task_by_task_and_after_all_of_another(site):
    first = site.submit("-t", "1-3")
    other = site.submit("-h")
    later = site.submit("-t", "1-3", "-hold_jid_ad", first, "-hold_jid", other)
    site.ended(first, 3)
    time.sleep(2 if site.live else 0.2)
    assert site.states(later) == {"1-3:1": "hqw"}
    site.ask("qrls", other)
    site.ended(later, 3)


def task_by_task_needs_the_same_range(site):
    first = site.submit("-h", "-t", "1-4")
    for range_, message in (
        (["-t", "1-3"], "This array job must have the same range of sub-tasks as the dependent "
         "array job specified with -hold_jid_ad"),
        ([], 'Can only specify "-hold_jid_ad" option with an array job (using "-t" option)'),
    ):  # fmt: skip
        done = site.run("qsub", *range_, "-hold_jid_ad", first, stdin="true\n")
        assert (done.returncode, done.stderr.strip()) == (1, rejected(message))


def many_holds(site):
    listed = ",".join(str(9000000 + number) for number in range(1000))
    assert site.end(site.submit("-hold_jid", listed)) == ("0", "0")


def begin(site):
    seconds = 4 if site.live else 100
    at = time.strftime("%Y%m%d%H%M.%S", time.localtime(time.time() + seconds))
    job = site.submit("-a", at)
    assert site.states(job) == {"": "qw"}
    assert site.end(job) == ("0", "0")


def held_and_released(site):
    job = site.submit("-h")
    assert site.states(job) == {"": "hqw"}
    assert "predecessor_jobs" not in site.rows(job)[0]
    assert any(f" {job} " in line for line in site.ask("qstat", "-u", site.user, "-s", "hu"))
    assert site.ask("qrls", job) == [f"modified hold of job {job}"]
    site.ended(job)
    tasks = site.submit("-t", "1-3", "-h", script="sleep 60")
    assert site.ask("qrls", tasks, "-t", "2") == [f"modified hold of job-array task {tasks}.2"]
    site.until(lambda: site.running(tasks) == 1)
    assert set(site.states(tasks)) == {"2", "1,3"}


def deleted_while_it_runs(site):
    job = site.submit("-o", "log", script="trap 'echo TERM' TERM; sleep 60 & wait; sleep 60")
    site.until(lambda: site.states(job) == {"": "r"})
    assert site.ask("qdel", job) == [f"{site.user} has registered the job {job} for deletion"]
    # Like any SIGKILL, and at once.
    assert site.end(job) == ("100", "137")
    assert site.read("log") == ""
    assert site.ask("qdel", job, code=1) == [f'denied: job "{job}" does not exist']


def deleted_before_it_ran(site):
    job = site.submit("-h")
    assert site.ask("qdel", job) == [f"{site.user} has deleted job {job}"]
    time.sleep(3 if site.live else 0.3)
    assert site.records(job) == []
    assert any(f" {job} " in line for line in site.ask("qstat", "-u", site.user, "-s", "z"))
    assert site.ask("qstat", "-j", job, code=1) == []


def deleted_array(site):
    job = site.submit("-t", "1-20", script="sleep 60")
    site.until(lambda: site.running(job) > 2)
    messages = site.ask("qdel", f"{UNKNOWN}", job, code=1)
    assert messages[0] == f'denied: job "{UNKNOWN}" does not exist'
    assert f"{site.user} has registered the job-array task {job}.1 for deletion" in messages
    assert messages[-1] == f"{site.user} has deleted job {job}"
    site.until(lambda: not site.states(job))
    ran = {record["taskid"] for record in site.ended(job)}
    time.sleep(2 if site.live else 0.2)
    assert len(ran) < 20
    assert {record["failed"].split()[0] for record in site.records(job)} == {"100"}


def deleted_twice(site):
    job = site.submit("-t", "1-2", script="sleep 60")
    site.until(lambda: site.running(job) == 2)
    site.ask("qdel", f"{job}.1-2:1")
    done = site.run("qdel", job)
    assert re.fullmatch(
        rf'(job {job} is already in deletion\n)+|denied: job "{job}" does not exist\n', done.stdout
    )


def accounting_of_an_array(site):
    job = site.submit("-t", "1-3", script="exit $SGE_TASK_ID")
    records = site.ended(job, 3)
    assert sorted((record["taskid"], record["exit_status"]) for record in records) == [
        ("1", "1"), ("2", "2"), ("3", "3")
    ]  # fmt: skip
    assert {record["jobname"] for record in records} == {site.name}
    assert {record["owner"] for record in records} == {site.user}
    assert site.ask("qacct", "-j", job, "-t", "2")[-1] is not None
    plain = site.submit()
    assert site.ended(plain)[0]["taskid"] == "undefined"


def accounting_by_name_and_owner(site):
    jobs = [site.submit(), site.submit()]
    for job in jobs:
        site.ended(job)
    for targets in ([site.name], [f"{site.name[:-3]}*"]):
        lines = site.ask("qacct", "-o", site.user, "-j", *targets)
        numbers = [line.split()[1] for line in lines if line.startswith("jobnumber")]
        assert sorted(numbers) == sorted(jobs)
    lines = site.ask("qacct", "-o", site.user, "-d", "1", "-j")
    assert {line.split()[1] for line in lines if line.startswith("jobnumber")} >= set(jobs)


def limit_of_jobs(site):
    site.until(lambda: not site.ask("qstat", "-u", site.user))
    site.limit(3)
    try:
        # An array counts as one.
        for tasks in (["-t", "1-5"], [], []):
            site.submit("-h", *tasks)
        done = site.run("qsub", "-h", stdin="true\n")
    finally:
        site.limit(0)
    assert (done.returncode, done.stderr.strip()) == (25, rejected(
        "job rejected: only 3 jobs are allowed per user (current job count: 3)"
    ))  # fmt: skip


def large_script(site):
    job = site.submit(script=f"#{'x' * 1_000_000}\nexit 4")
    assert site.end(job) == ("0", "4")


def large_array_is_one_row(site):
    job = site.submit("-h", "-t", "1-75000")
    assert site.states(job) == {"1-75000:1": "hqw"}


FACTS = [
    script_on_standard_input, script_with_arguments_and_options, environment_of_a_job,
    environment_of_a_task, slots, log_of_a_plain_job, log_is_added_to, log_in_a_folder,
    log_path_with_strange_letters, exit_codes, killed_by_itself, time_limit,
    memory_limit, exit_99_runs_again, exit_100_is_an_error, missing_folder_of_the_log,
    missing_working_directory, variables_in_the_working_directory, rows_of_an_array,
    throttle_holds, throttle_after_qdel_of_a_waiting_task,
    throttle_after_qdel_of_a_running_task,
    throttle_is_lost_when_a_task_ends_after_qdel_of_a_waiting_one, hold_for_a_failure,
    hold_for_an_array,
    hold_for_two, hold_for_what_is_over, hold_for_what_is_deleted,
    hold_for_what_is_deleted_before_it_ran, hold_for_what_is_in_error, task_by_task,
    task_by_task_and_after_all_of_another, task_by_task_needs_the_same_range, many_holds, begin,
    held_and_released, deleted_while_it_runs, deleted_before_it_ran, deleted_array, deleted_twice,
    accounting_of_an_array, accounting_by_name_and_owner, limit_of_jobs, large_script,
    large_array_is_one_row,
]  # fmt: skip


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)
def test_fact(site, fact):
    fact(site)
