"""Facts about Slurm, each checked on the simulator and on a real Slurm.

With REFLOW_LIVE_SLURM=1 every row runs against the Slurm of this machine as well; as root by
way of the user REFLOW_LIVE_USER. That Slurm must be the one of tools/clusters/slurm.sh.
"""

import os
import re
import shutil
import time

import pytest

UNKNOWN = "99999999"
FAILED = "sbatch: error: Batch job submission failed: "
ARRAY = f"{FAILED}Invalid job array specification"
DEPENDENCY = f"{FAILED}Job dependency problem"
HELP = 'Try "sbatch --help" for more information'
LIMIT = (
    f"sbatch: error: AssocMaxSubmitJobLimit\n{FAILED}Job violates accounting/QOS policy "
    "(job submit limit, user's size and/or time limits)"
)
NO_SHEBANG = (
    "sbatch: error: This does not look like a batch script.  The first\n"
    "sbatch: error: line must start with #! followed by the path to an interpreter.\n"
    "sbatch: error: For instance: #!/bin/sh"
)
DOS = (
    "sbatch: error: Batch script contains DOS line breaks (\\r\\n)\n"
    "sbatch: error: instead of expected UNIX line breaks (\\n)."
)
HEADER = "             JOBID PARTITION     NAME     USER ST       TIME  NODES NODELIST(REASON)"
NUMBER = re.compile(r"\d+")


def numeric(option, value):
    return f'sbatch: error: Invalid numeric value "{value}" for --{option}.'


def invalid(option):
    return f"sbatch: error: Invalid --{option} specification"


# Refusals and answers: command line, exit code, standard output, standard error.
# An accepted submission prints a number; it is held unless a row says otherwise.
ROWS = {
    "partition": (
        "sbatch -p nosuch --wrap true", 1, "",
        "sbatch: error: invalid partition specified: nosuch\n"
        f"{FAILED}Invalid partition name specified"),
    "account": ("sbatch -A nosuch --wrap true", 1, "",
                f"{FAILED}Invalid account or account/partition combination specified"),
    "qos is taken": ("sbatch -H --parsable -q nosuch --wrap true", 0, NUMBER, ""),
    "array too high": ("sbatch --array=0-1001 --wrap true", 1, "", ARRAY),
    "array index too high": ("sbatch --array=1001 --wrap true", 1, "", ARRAY),
    "array of the highest index": (
        "sbatch -H --parsable --array=0-1000 --wrap true", 0, NUMBER, ""),
    "array backwards": ("sbatch --array=5-1 --wrap true", 1, "", ARRAY),
    "array of letters": ("sbatch --array=a-b --wrap true", 1, "", ARRAY),
    "array of step 0": ("sbatch --array=1-3:0 --wrap true", 1, "", ARRAY),
    "array with a comma at its end": ("sbatch -H --parsable --array=1, --wrap true", 0, NUMBER, ""),
    "array of throttle 0": ("sbatch -H --parsable --array=1-3%0 --wrap true", 0, NUMBER, ""),
    "array of throttle x": ("sbatch -H --parsable --array=1-3%x --wrap true", 0, NUMBER, ""),
    "array index twice": ("sbatch -H --parsable --array=1,1 --wrap true", 0, NUMBER, ""),
    "empty array is none": ("sbatch -H --parsable --array= --wrap true", 0, NUMBER, ""),
    "time": ("sbatch --time=bogus --wrap true", 255, "", invalid("time")),
    "memory": ("sbatch --mem=bogus --wrap true", 255, "", invalid("mem")),
    "memory for each cpu": (
        "sbatch --mem-per-cpu=bogus --wrap true", 255, "", invalid("mem-per-cpu")),
    "memory that no node has": (
        "sbatch --mem=999G --wrap true", 1, "",
        "sbatch: error: Memory specification can not be satisfied\n"
        f"{FAILED}Requested node configuration is not available"),
    "cpus that no node has": (
        "sbatch -c 9 --wrap true", 1, "",
        "sbatch: error: CPU count per node can not be satisfied\n"
        f"{FAILED}Requested node configuration is not available"),
    "cpus no number": ("sbatch -c x --wrap true", 1, "", numeric("cpus-per-task", "x")),
    "cpus zero": ("sbatch -c 0 --wrap true", 1, "", numeric("cpus-per-task", "0")),
    "tasks zero": ("sbatch -n 0 --wrap true", 1, "", numeric("ntasks", "0")),
    "nodes no number": ("sbatch -N x --wrap true", 255, "",
                        'sbatch: error: "x" is not a valid node count'),
    "gres": ("sbatch --gres=gpu:1 --wrap true", 1, "",
             "sbatch: error: Invalid generic resource (gres) specification"),
    "gpus": ("sbatch --gpus=1 --wrap true", 1, "",
             "sbatch: error: Invalid generic resource (gres) specification"),
    "constraint": ("sbatch -C nosuch --wrap true", 1, "", f"{FAILED}Invalid feature specification"),
    "reservation": ("sbatch --reservation=nosuch --wrap true", 1, "",
                    f"{FAILED}Requested reservation is invalid"),
    "node": ("sbatch -w n9 --wrap true", 1, "", f"{FAILED}Invalid node name specified"),
    "licence": ("sbatch --licenses=x --wrap true", 1, "", f"{FAILED}Invalid license specification"),
    "cluster": (
        "sbatch -M nosuch --wrap true", 1, "",
        "sbatch: error: No cluster 'nosuch' known by database.\nsbatch: error: 'nosuch' can't be "
        "reached now, or it is an invalid entry for --cluster.  Use 'sacctmgr list clusters' to "
        "see available clusters."),
    "dependency of a kind that is none": ("sbatch -d bogus:1 --wrap true", 1, "", DEPENDENCY),
    "dependency on no job": ("sbatch -d afterok: --wrap true", 1, "", DEPENDENCY),
    "dependency without jobs": ("sbatch -d afterok --wrap true", 1, "", DEPENDENCY),
    "dependency on a word": ("sbatch -d afterok:x --wrap true", 1, "", DEPENDENCY),
    "no such file": ("sbatch /nonexistent/script.sh", 1, "",
                     "sbatch: error: Unable to open file /nonexistent/script.sh"),
    "a folder": ("sbatch .", 1, "", "sbatch: error: Batch script is empty!"),
    "no interpreter": ("sbatch bare.sh", 1, "", NO_SHEBANG),
    "empty script": ("sbatch empty.sh", 1, "", "sbatch: error: Batch script is empty!"),
    "DOS lines": ("sbatch dos.sh", 1, "", DOS),
    "unknown option in a script": ("sbatch option.sh", 255, "",
                                   f"sbatch: unrecognized option '--nosuch'\n{HELP}"),
    "bad time in a script": ("sbatch time.sh", 255, "", invalid("time")),
    "arguments with --wrap": ("sbatch --wrap true script.sh", 1, "",
                              "sbatch: error: Script arguments not permitted with --wrap option"),
    "unknown option": ("sbatch --nosuchoption --wrap true", 255, "",
                       f"sbatch: unrecognized option '--nosuchoption'\n{HELP}"),
    "unknown letter": ("sbatch -Z --wrap true", 255, "", f"sbatch: invalid option -- 'Z'\n{HELP}"),
    "option without its value": ("sbatch --array", 255, "",
                                 f"sbatch: option '--array' requires an argument\n{HELP}"),
    "letter without its value": ("sbatch -o", 255, "",
                                 f"sbatch: option requires an argument -- 'o'\n{HELP}"),
    "option cut short": ("sbatch -H --pars --wrap true", 0, NUMBER, ""),
    "kill-on-invalid-dep": ("sbatch --kill-on-invalid-dep=maybe --wrap true", 255, "",
                            invalid("kill-on-invalid-dep")),
    "begin": ("sbatch --begin=bogus --wrap true", 255, "",
              f"Invalid time specification (pos=0): bogus\n{invalid('begin')}"),
    "signal": ("sbatch --signal=bogus --wrap true", 255, "", invalid("signal")),
    "mail-type": ("sbatch --mail-type=bogus --wrap true", 255, "", invalid("mail-type")),
    "open-mode": ("sbatch --open-mode=bogus --wrap true", 255, "", invalid("open-mode")),
    "more than the account may submit": (
        "sbatch -H -A limited --array=0-9 --wrap true", 1, "", LIMIT),
    "without --parsable": ("sbatch -H --wrap true", 0, re.compile(r"Submitted batch job \d+"), ""),
    "squeue of one unknown job": (f"squeue -j {UNKNOWN}", 1, "",
                                  "slurm_load_jobs error: Invalid job id specified"),
    "squeue of two unknown jobs": (f"squeue -j 99999998,{UNKNOWN}", 0, HEADER, ""),
    "squeue of a word": ("squeue -j abc", 1, "", "squeue: error: Invalid job id: abc"),
    "squeue unknown option": (
        "squeue --bogus", 1, "",
        "squeue: unrecognized option '--bogus'\nTry \"squeue --help\" for more information"),
    "squeue unknown state": ("squeue -t bogus", 1, "", re.compile(
        r"squeue: error: Invalid job state specified: bogus\nsqueue: error: Valid job states "
        r"include: PENDING,RUNNING,.*")),
    "squeue unknown user": ("squeue -u nosuchuser", 0, HEADER,
                            "squeue: error: Invalid user: nosuchuser"),
    "squeue -o and -O": ("squeue -o %i -O JobID", 1, "",
                         "squeue: error: -O (--Format) is incompatible with -o (--format)"),
    "squeue -O unknown": ("squeue -h -O bogus", 0, "",
                          "squeue: error: Invalid job format specification: bogus"),
    "sacct of an unknown job": (f"sacct -P -j {UNKNOWN}", 0,
                                "JobID|JobName|Partition|Account|AllocCPUS|State|ExitCode", ""),
    "sacct of a word": ("sacct -j abc", 1, "", "sacct: fatal: Bad job/step specified: abc"),
    "sacct unknown option": ("sacct --bogus", 1, "", "sacct: unrecognized option '--bogus'"),
    "sacct unknown field": ("sacct --format=bogus", 1, "",
                            'sacct: error: Invalid field requested: "bogus"'),
    "sacct bad time": ("sacct -S bogus", 1, "", "Invalid time specification (pos=0): bogus"),
    "sacct unknown state": ("sacct -s bogus", 1, "",
                            "sacct: fatal: unrecognized job state value 'bogus'"),
    "scancel of an unknown job": (f"scancel {UNKNOWN}", 0, "", ""),
    "scancel -v of an unknown job": (
        f"scancel -v {UNKNOWN}", 0, "", f"scancel: Terminating job {UNKNOWN}\n"
        f"scancel: error: Kill job error on job id {UNKNOWN}: Invalid job id specified"),
    "scancel of a word": ("scancel abc", 1, "", "scancel: error: Invalid job id abc"),
    "scancel of a bad element": ("scancel 1_x", 1, "", "scancel: error: Invalid job id 1_x"),
    "scancel of nothing": ("scancel", 1, "", "scancel: error: No job identification provided"),
    "scancel of an unknown name": ("scancel --name nosuchname", 0, "", ""),
    "scancel unknown signal": ("scancel -s BOGUS 1", 1, "", "Unknown job signal: BOGUS"),
    "scancel unknown option": (
        "scancel --bogus", 1, "",
        "scancel: unrecognized option '--bogus'\nTry \"scancel --help\" for more information"),
    "scancel unknown user": ("scancel --user=nosuchuser", 1, "",
                             "scancel: error: Invalid user name: nosuchuser"),
    "scancel unknown state": (
        "scancel --state=bogus", 1, "", "Invalid job state specified: bogus\n"
        "Valid job states are PENDING, RUNNING, and SUSPENDED"),
    "scontrol of a bad word": ("scontrol bogus", 1, "", "invalid keyword: bogus"),
    "scontrol show of a bad word": ("scontrol show bogus", 1, "",
                                    "invalid entity:bogus for keyword:show"),
    "scontrol show of an unknown job": (f"scontrol show job {UNKNOWN}", 1, "",
                                        "slurm_load_jobs error: Invalid job id specified"),
    "scontrol show of a word": ("scontrol show job abc", 1, "",
                                "scontrol_print_job error: Invalid job id specified"),
    "scontrol requeue of an unknown job": (f"scontrol requeue {UNKNOWN}", 1, "",
                                           f"Invalid job id specified for job {UNKNOWN}"),
    "scontrol hold of an unknown job": (
        f"scontrol hold {UNKNOWN}", 1, "", f"Invalid job id specified for job {UNKNOWN}\n"
        "slurm_suspend error: Invalid job id specified"),
    "scontrol release of an unknown job": (
        f"scontrol release {UNKNOWN}", 1, "", f"Invalid job id specified for job {UNKNOWN}\n"
        "slurm_suspend error: Invalid job id specified"),
    "scontrol update of an unknown job": (f"scontrol update jobid={UNKNOWN} timelimit=5", 1, "",
                                          f"Invalid job id specified for job {UNKNOWN}"),
    "scontrol ping": ("scontrol ping", 0, re.compile(r"Slurmctld\(primary\) at \S+ is UP"), ""),
    "scontrol show config": ("scontrol show config", 0,
                             re.compile(r"(?s).*^MaxArraySize +=\s1001$.*", re.M), ""),
    "version": ("squeue --version", 0, re.compile(r"slurm\S* \d+\.\d+\.\d+"), ""),
}  # fmt: skip


def fits(expected, output):
    output = output.strip("\n").rstrip()
    return (
        output == expected if isinstance(expected, str) else expected.fullmatch(output) is not None
    )


@pytest.mark.parametrize("row", ROWS)
def test_answer(site, row):
    line, code, out, err = ROWS[row]
    site.write("bare.sh", "echo hi\n")
    site.write("empty.sh", "")
    site.write("dos.sh", "#!/bin/sh\r\necho\r\n")
    site.write("option.sh", "#!/bin/sh\n#SBATCH --nosuch\ntrue\n")
    site.write("time.sh", "#!/bin/sh\n#SBATCH --time=bogus\ntrue\n")
    done = site.run(*line.split())
    if number := re.search(r"\d+$", done.stdout.strip()) if line.startswith("sbatch") else None:
        site.submitted.append(number.group())
    assert done.returncode == code, done.stdout + done.stderr
    assert fits(out, done.stdout), done.stdout
    assert fits(err, done.stderr), done.stderr


# Facts about how jobs run, each a function


def held_array_is_one_row(site):
    job = site.submit("-H", "--array=0-9%3")
    assert site.ask("squeue", "-h", "-j", job, "-o", "%i|%F|%K|%T|%t|%r|%E|%u|%S|%N|%P|%M|%D") == [
        f"{job}_[0-9%3]|{job}|0-9%3|PENDING|PD|JobHeldUser|(null)|{site.user}|N/A||compute|0:00|1"
    ]
    assert sorted(site.ask("squeue", "-h", "-r", "-j", job, "-o", "%i|%r")) == [
        f"{job}_{index}|JobHeldUser" for index in range(10)
    ]


def array_in_steps(site):
    job = site.submit("-H", "--array=1,3,5-9:2%2")
    assert site.ask("squeue", "-h", "-j", job, "-o", "%i") == [f"{job}_[1,3,5,7,9%2]"]


def throttled_array(site):
    job = site.submit("--array=0-5%2", wrap="sleep 60")
    site.until(lambda: site.queue(job, "%T").count("RUNNING") == 2)
    assert site.until(
        lambda: [
            row for row in site.queue(job, "%i|%r") if row == f"{job}_[2-5%2]|JobArrayTaskLimit"
        ]
    )


def array_in_accounting(site):
    job = site.submit("--array=0-4", wrap="[ $SLURM_ARRAY_TASK_ID != 3 ] || exit 3")
    site.wait(job, "COMPLETED", "FAILED")
    rows = site.until(
        lambda: (
            len(rows := site.accounted(job, "JobID,JobIDRaw,State,ExitCode", "-X")) == 5 and rows
        )
    )
    split = [row.split("|") for row in sorted(rows)]
    assert [row[0] for row in split] == [f"{job}_{index}" for index in range(5)]
    assert [row[2:] for row in split] == [
        ["FAILED", "3:0"] if index == 3 else ["COMPLETED", "0:0"] for index in range(5)
    ]
    # All but the last to part have an id of their own, by which they are found, too.
    assert sum(row[1] == job for row in split) == 1
    other = next(row for row in split if row[1] != job)
    assert site.accounted(other[1], "JobID", "-X") == [other[0]]
    assert site.accounted(f"{job}_3", "JobID,State", "-X") == [f"{job}_3|FAILED"]


def killed_payload(site):
    job = site.submit(wrap="sh -c 'kill -9 $$'")
    site.wait(job, "FAILED")
    assert ended(site, job, "FAILED|9:0|FAILED|9:0")


def killed_script(site):
    job = site.submit(wrap="kill -9 $$")
    site.wait(job, "FAILED")
    assert ended(site, job, "FAILED|0:9|CANCELLED|0:9")


def exit_codes(site):
    seven, high = site.submit(wrap="exit 7"), site.submit(wrap="exit 255")
    site.wait(seven, "FAILED")
    assert ended(site, seven, "FAILED|7:0|FAILED|7:0")
    site.wait(high, "FAILED")
    assert ended(site, high, "FAILED|127:0|FAILED|127:0")


def ended(site, job, expected):
    """Wait until accounting shows the expected states of job and batch step."""
    return site.until(lambda: "|".join(site.accounted(job, "State,ExitCode")) == expected)


def time_limit(site):
    job = site.submit(
        # Simulated minutes last a second: enough of them for the shell to start.
        "-t", "1" if site.live else "5", "-o", "log",
        wrap="trap 'echo got TERM' TERM; sleep 300 & wait; sleep 300",
    )
    site.until(lambda: site.queue(job, "%T") == ["TIMEOUT"], 150)
    # Of the batch step: by the signal that it died of.
    assert site.until(
        lambda: re.fullmatch(
            r"TIMEOUT\|0:0\|CANCELLED\|0:(9|15)", "|".join(site.accounted(job, "State,ExitCode"))
        )
    )
    assert "got TERM" in site.read("log")
    assert re.search(rf"error: \*\*\* JOB {job} ON n\d CANCELLED AT \S+ DUE TO TIME LIMIT \*\*\*",
                     site.read("log"))  # fmt: skip


def cancelled(site):
    job = site.submit("-o", "log", wrap="sleep 60")
    site.wait(job, "RUNNING")
    site.until(lambda: (site.folder / "log").exists())
    assert site.ask("scancel", job) == []
    site.wait(job, "CANCELLED")
    assert ended(site, job, f"CANCELLED by {site.uid}|0:0|CANCELLED|0:15")
    assert site.until(
        lambda: re.search(
            rf"error: \*\*\* JOB {job} ON n\d CANCELLED AT \S+ \*\*\*", site.read("log")
        )
    )


def cancelled_before_its_start(site):
    job = site.submit("-H")
    site.ask("scancel", job)
    site.wait(job, "CANCELLED")
    # Its start is that of its cancellation where accounting had not heard of it before.
    assert site.until(
        lambda: re.fullmatch(
            rf"CANCELLED by {site.uid}\|0:0\|None assigned\|(None|20\d\d-\S+)",
            "".join(site.accounted(job, "State,ExitCode,NodeList,Start")),
        )
    )


def missing_folder_of_the_log(site):
    job = site.submit("-o", "/nonexistent/dir/x.out")
    site.wait(job, "FAILED")
    assert ended(site, job, "FAILED|0:53|CANCELLED|0:53")
    assert list(site.folder.iterdir()) == []


def missing_working_directory(site):
    job = site.submit("-D", "/nonexistent")
    site.wait(job, "FAILED")
    assert ended(site, job, "FAILED|0:53|CANCELLED|0:53")


def cancelling_what_has_ended(site):
    job = site.submit()
    site.wait(job, "COMPLETED")
    assert site.ask("scancel", job) == []
    done = site.run("scancel", "-v", job)
    assert (done.returncode, done.stderr) == (
        0,
        (
            f"scancel: Terminating job {job}\nscancel: error: Kill job error on job id {job}: "
            "Job/step already completing or completed\n"
        ),
    )
    assert site.queue(job, "%T") == ["COMPLETED"]


def queue_of_what_has_ended(site):
    job = site.submit()
    site.wait(job, "COMPLETED")
    assert site.ask("squeue", "-h", "-j", job) == []
    assert site.ask("squeue", "-h", "-j", f"{job},{UNKNOWN}", "--states=all", "-o", "%i|%T|%r") == [
        f"{job}|COMPLETED|None"
    ]
    assert site.ask("squeue", "-h", f"--name={site.name}", "--states=all", "-o", "%F|%j") == [
        f"{job}|{site.name}"
    ]


def queue_of_a_failure(site):
    job = site.submit(wrap="exit 1")
    site.wait(job, "FAILED")
    assert site.queue(job, "%T|%t|%r") == ["FAILED|F|NonZeroExitCode"]


def requeue_of_what_has_ended(site):
    job = site.submit()
    site.wait(job, "COMPLETED")
    assert site.ask("scontrol", "requeue", job) == []
    assert site.queue(job, "%T") == ["PENDING"]
    assert site.until(lambda: site.queue(job, "%T|%r") == ["PENDING|BeginTime"])
    done = site.run("scontrol", "requeue", job)
    assert (done.returncode, done.stderr) == (1, f"Job is pending execution for job {job}\n")
    assert site.until(
        lambda: site.accounted(job, "State", "-X", "-D") in (["REQUEUED"], ["REQUEUED", "PENDING"])
    )


def requeue_of_what_runs(site):
    job = site.submit("-o", "log", wrap="sleep 60")
    site.wait(job, "RUNNING")
    site.until(lambda: (site.folder / "log").exists())
    assert site.ask("scontrol", "requeue", job) == []
    site.until(lambda: site.queue(job, "%T|%r") == ["PENDING|BeginTime"])
    assert "DUE TO JOB REQUEUE" in site.read("log")
    site.ask("scancel", job)
    assert site.until(
        lambda: site.accounted(job, "State", "-X", "-D") == ["REQUEUED", f"CANCELLED by {site.uid}"]
    )
    assert site.accounted(job, "State", "-X") == [f"CANCELLED by {site.uid}"]


def requeue_refused(site):
    job = site.submit("--no-requeue", wrap="sleep 60")
    site.wait(job, "RUNNING")
    done = site.run("scontrol", "requeue", job)
    assert (done.returncode, done.stderr) == (
        1, f"Requested operation is presently disabled for job {job}\n"
    )  # fmt: skip


def dependency_on_what_has_ended(site):
    first = site.submit()
    site.wait(first, "COMPLETED")
    site.wait(site.submit("-d", f"afterok:{first}"), "COMPLETED")


def dependency_on_the_unknown(site):
    array = site.submit("-H", "--array=0-1")
    site.wait(site.submit("-d", f"afterok:{UNKNOWN}"), "COMPLETED")
    site.wait(site.submit("-d", f"afternotok:{UNKNOWN}"), "COMPLETED")
    site.wait(site.submit("-d", f"afterok:{array}_9"), "COMPLETED")


def dependencies_as_shown(site):
    first, array = site.submit("-H"), site.submit("-H", "--array=0-1")
    for dependency, shown in {
        f"afterok:{first}": f"afterok:{first}(unfulfilled)",
        f"afterany:{first}:{array}":
            f"afterany:{first}(unfulfilled),afterany:{array}_*(unfulfilled)",
        f"afterok:{first}?afternotok:{array}_1":
            f"afterok:{first}(unfulfilled)?afternotok:{array}_1(unfulfilled)",
        f"after:{first}+1": f"after:{first}+1(unfulfilled)",
    }.items():  # fmt: skip
        job = site.submit("-d", dependency)
        [row] = site.until(
            lambda job=job: [row for row in site.queue(job, "%T|%r|%E") if "|Dependency|" in row]
        )
        assert sorted(row.split("|")[2].split(",")) == sorted(shown.split(","))


def failed_dependency(site):
    array = site.submit("--array=0-2", wrap="[ $SLURM_ARRAY_TASK_ID != 1 ]")
    waits = site.submit("-d", f"afterok:{array}")
    killed = site.submit("-d", f"afterok:{array}", "--kill-on-invalid-dep=yes")
    any_end, not_well = (
        site.submit("-d", f"afterany:{array}"),
        site.submit("-d", f"afternotok:{array}"),
    )
    site.wait(any_end, "COMPLETED")
    site.wait(not_well, "COMPLETED")
    site.wait(killed, "CANCELLED")
    assert site.until(
        lambda: (
            site.queue(waits, "%T|%r|%E")
            == [f"PENDING|DependencyNeverSatisfied|afterok:{array}_*(failed)"]
        )
    )
    state, start, end = site.until(
        lambda: [row for row in site.accounted(killed, "State,Start,End") if "None" in row]
    )[0].split("|")
    assert (state, start) == ("CANCELLED", "None")
    assert end.startswith("20")


def twins(site):
    first = site.submit("--array=0-3", wrap="[ $SLURM_ARRAY_TASK_ID != 1 ]")
    second = site.submit("-d", f"aftercorr:{first}", "--array=0-3")
    third = site.submit("-d", f"afterany:{second}")
    assert site.until(lambda: site.queue(second, "%i|%T|%r") == [
        f"{second}_0|COMPLETED|None", f"{second}_1|PENDING|DependencyNeverSatisfied",
        f"{second}_2|COMPLETED|None", f"{second}_3|COMPLETED|None",
    ])  # fmt: skip
    assert site.queue(third, "%T|%r") == ["PENDING|Dependency"]


def twins_start_one_by_one(site):
    first = site.submit("--array=0-1", wrap="[ $SLURM_ARRAY_TASK_ID = 0 ] || sleep 60")
    second = site.submit("-d", f"aftercorr:{first}", "--array=0-1")
    site.until(lambda: f"{second}_0|COMPLETED" in site.queue(second, "%i|%T"))
    assert f"{first}_1|RUNNING" in site.queue(first, "%i|%T")


def twins_with_invalid_killed(site):
    first = site.submit("--array=0-3", wrap="[ $SLURM_ARRAY_TASK_ID != 1 ]")
    second = site.submit("-d", f"aftercorr:{first}", "--array=0-3", "--kill-on-invalid-dep=yes")
    third = site.submit("-d", f"afterany:{second}")
    site.wait(third, "COMPLETED")
    assert site.queue(second, "%i|%T") == [
        f"{second}_0|COMPLETED", f"{second}_1|CANCELLED", f"{second}_2|COMPLETED",
        f"{second}_3|COMPLETED",
    ]  # fmt: skip


def twins_of_unequal_arrays(site):
    first = site.submit("--array=0-1")
    second = site.submit("-d", f"aftercorr:{first}", "--array=0-3")
    site.until(lambda: site.queue(second, "%T") == ["COMPLETED"] * 4)


def singleton(site):
    first = site.submit("-d", "singleton", wrap=site.until_go())
    second = site.submit("-d", "singleton")
    site.wait(first, "RUNNING")
    assert site.until(
        lambda: site.queue(second, "%T|%r|%E") == ["PENDING|Dependency|singleton(unfulfilled)"]
    )
    site.go()
    site.wait(second, "COMPLETED")
    assert site.queue(first, "%T") == ["COMPLETED"]


def either_of_two(site):
    held = site.submit("-H")
    site.wait(site.submit("-d", f"afterok:{held}?afterok:{site.submit()}"), "COMPLETED")


def after_its_start(site):
    runs = site.submit(wrap="sleep 60")
    site.wait(site.submit("-d", f"after:{runs}"), "COMPLETED")
    assert site.queue(runs, "%T") == ["RUNNING"]


def behind_itself(site):
    site.write(
        "own.sh",
        f"#!/bin/sh\nsbatch --parsable -d afterany:$SLURM_JOB_ID --wrap true\n{site.until_go()}\n",
    )
    job = site.submit("-o", "log", "own.sh", wrap=None)
    follower = site.until(lambda: site.read("log").strip())
    site.submitted.append(follower)
    assert site.queue(follower, "%T") == ["PENDING"]
    site.go()
    site.wait(follower, "COMPLETED")
    assert site.queue(job, "%T") == ["COMPLETED"]


def begin_time(site):
    job = site.submit("--begin=now+1hour")
    [row] = site.until(lambda: [row for row in site.queue(job, "%T|%r|%S") if "BeginTime" in row])
    planned = time.mktime(time.strptime(row.split("|")[2], "%Y-%m-%dT%H:%M:%S"))
    assert 3000 < planned - time.time() <= 3601


def hold_and_release(site):
    job = site.submit("-H")
    assert site.queue(job, "%T|%r") == ["PENDING|JobHeldUser"]
    assert site.ask("scontrol", "release", job) == []
    site.wait(job, "COMPLETED")
    later = site.submit("--begin=now+1hour")
    assert site.ask("scontrol", "hold", later) == []
    assert site.queue(later, "%T|%r") == ["PENDING|JobHeldUser"]


def submission_limit(site):
    job = site.submit("-A", "limited", "-H", "--array=0-4")
    done = site.run("sbatch", "-A", "limited", "-H", "--wrap", "true")
    assert (done.returncode, done.stderr.strip()) == (1, LIMIT)
    site.ask("scancel", job)
    site.until(
        lambda: (
            site.run("sbatch", "-A", "limited", "-J", site.name, "--wrap", "true").returncode == 0
        )
    )


def never_starts(site):
    for options, reason in {
        ("-p", "down"): "PartitionDown", ("-p", "short", "--time=20:00"): "PartitionTimeLimit",
        ("-N", "50"): "PartitionConfig", ("-c", "999"): "PartitionConfig",
        ("--time=99-00:00:00",): "PartitionTimeLimit",
    }.items():  # fmt: skip
        job = site.submit(*options)
        assert site.until(
            lambda job=job, reason=reason: (
                site.queue(job, "%T|%r|%R") == [f"PENDING|{reason}|({reason})"]
            )
        )


def variables(site):
    job = site.submit("-o", "log", wrap="env")
    site.wait(job, "COMPLETED")
    variables = dict(line.partition("=")[::2] for line in site.read("log").splitlines())
    assert {name: variables.get(name) for name in (
        "SLURM_JOB_ID", "SLURM_JOBID", "SLURM_JOB_NAME", "SLURM_SUBMIT_DIR", "SLURM_JOB_PARTITION",
        "SLURM_JOB_ACCOUNT", "SLURM_JOB_USER", "SLURM_NNODES", "SLURM_CPUS_ON_NODE", "ENVIRONMENT",
        "SLURM_CLUSTER_NAME", "SLURM_PROCID",
    )} == {
        "SLURM_JOB_ID": job, "SLURM_JOBID": job, "SLURM_JOB_NAME": site.name,
        "SLURM_SUBMIT_DIR": str(site.folder), "SLURM_JOB_PARTITION": "compute",
        "SLURM_JOB_ACCOUNT": "science", "SLURM_JOB_USER": site.user, "SLURM_NNODES": "1",
        "SLURM_CPUS_ON_NODE": "1", "ENVIRONMENT": "BATCH", "SLURM_CLUSTER_NAME": "reflow",
        "SLURM_PROCID": "0",
    }  # fmt: skip
    assert variables["SLURMD_NODENAME"] == variables["SLURM_JOB_NODELIST"] in ("n1", "n2")
    assert "SLURM_ARRAY_JOB_ID" not in variables


def variables_of_a_position(site):
    job = site.submit("--array=1,3,5-9:2", "-o", "log.%a", wrap="env")
    site.until(lambda: site.queue(job, "%T") == ["COMPLETED"] * 5)
    own = set()
    for index in (1, 3, 5, 7, 9):
        lines = site.read(f"log.{index}").splitlines()
        variables = dict(line.partition("=")[::2] for line in lines)
        own.add(variables["SLURM_JOB_ID"])
        assert {name: value for name, value in variables.items() if "_ARRAY_" in name} == {
            "SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_ID": str(index),
            "SLURM_ARRAY_TASK_COUNT": "5", "SLURM_ARRAY_TASK_MIN": "1",
            "SLURM_ARRAY_TASK_MAX": "9", "SLURM_ARRAY_TASK_STEP": "2",
        }  # fmt: skip
    assert len(own) == 5
    assert job in own


def environment_passed_on(site):
    job = site.submit("-o", "all", wrap="echo $MINE", MINE="here")
    none = site.submit("-o", "nothing", "--export=NONE", wrap="echo :$MINE:", MINE="here")
    some = site.submit("-o", "some", "--export=ALL,OTHER=b", wrap="echo $MINE $OTHER", MINE="here")
    for submitted in (job, none, some):
        site.wait(submitted, "COMPLETED")
    assert site.until(
        lambda: (
            [site.read(name).strip() for name in ("all", "nothing", "some")]
            == ["here", "::", "here b"]
        )
    )


def log_names(site):
    job = site.submit("--array=3", "-o", "%A.%a.%x.%u.%%.%5j", wrap="echo hi")
    plain = site.submit("-o", "%j.%A")
    default, array = site.submit(), site.submit("--array=7")
    for submitted in (job, plain, default, array):
        site.wait(submitted, "COMPLETED")
    assert {path.name for path in site.folder.iterdir()} == {
        f"{job}.3.{site.name}.{site.user}.%.{int(job):05}", f"{plain}.{plain}",
        f"slurm-{default}.out", f"slurm-{array}_7.out",
    }  # fmt: skip


def log_called_none(site):
    site.wait(site.submit("-o", "none", wrap="echo hi"), "COMPLETED")
    assert list(site.folder.iterdir()) == []


def open_mode(site):
    site.write("append", "old\n")
    site.write("truncate", "old\n")
    if site.live and os.getuid() == 0:
        for name in ("append", "truncate"):
            shutil.chown(site.folder / name, site.user)
    site.wait(site.submit("-o", "append", "--open-mode=append", wrap="echo new"), "COMPLETED")
    site.wait(site.submit("-o", "truncate", wrap="echo new"), "COMPLETED")
    assert (site.read("append"), site.read("truncate")) == ("old\nnew\n", "new\n")


def errors_apart(site):
    site.wait(site.submit("-o", "out", "-e", "err", wrap="echo one; echo two >&2"), "COMPLETED")
    assert (site.read("out"), site.read("err")) == ("one\n", "two\n")


def options_in_the_script(site):
    site.write(
        "job.sh",
        (
            "#!/bin/sh\n#SBATCH --comment='in the script' -H\n# a comment\n#SBATCH --time=7\n\n"
            "true\n#SBATCH --partition=nosuch\n"
        ),
    )
    job = site.submit("job.sh", wrap=None)
    assert site.queue(job, "%T|%r|%k|%l|%o") == [
        f"PENDING|JobHeldUser|in the script|7:00|{site.folder}/job.sh"
    ]
    other = site.submit("--time=3", "job.sh", wrap=None)
    assert site.queue(other, "%l") == ["3:00"]
    named = site.run("sbatch", "--parsable", "job.sh").stdout.strip()
    site.submitted.append(named)
    assert site.queue(named, "%j") == ["job.sh"]


def script_arguments(site):
    site.write("args.sh", '#!/bin/sh\necho "$1-$2"; pwd; cat\n')
    job = site.submit("-o", "log", "args.sh", "a", "b c", wrap=None)
    site.wait(job, "COMPLETED")
    assert site.read("log") == f"a-b c\n{site.folder}\n"


def script_from_standard_input(site):
    done = site.run("sbatch", "--parsable", "-o", "log", stdin="#!/bin/sh\necho hello\n")
    site.submitted.append(done.stdout.strip())
    site.wait(done.stdout.strip(), "COMPLETED")
    assert site.read("log") == "hello\n"


def working_directory(site):
    (site.folder / "there").mkdir(mode=0o777)
    (site.folder / "there").chmod(0o777)
    job = site.submit("-D", "there", "-o", "log", wrap="pwd; echo $SLURM_SUBMIT_DIR")
    site.wait(job, "COMPLETED")
    assert site.read("there/log") == f"{site.folder}/there\n{site.folder}\n"


def comment(site):
    job = site.submit("-H", "--comment", "c x")
    assert site.queue(job, "%k") == ["c x"]
    assert site.queue(site.submit("-H"), "%k") == ["(null)"]
    site.ask("scontrol", "release", job)
    site.wait(job, "COMPLETED")
    assert site.until(lambda: site.accounted(job, "Comment", "-X") == ["c x"])


def out_of_memory(site):
    job = site.submit(
        "--mem=30M",
        "-o",
        "log",
        wrap="python3 -c 'import time; x = b\"x\" * 300000000; time.sleep(9)'; exit 0",
    )
    site.wait(job, "OUT_OF_MEMORY")
    assert ended(site, job, "OUT_OF_MEMORY|0:125|OUT_OF_MEMORY|0:125")
    assert site.queue(job, "%r") == ["OutOfMemory"]
    assert site.until(
        lambda: f"Detected 1 oom-kill event(s) in StepId={job}.batch" in site.read("log")
    )


def waiting_submission(site):
    done = site.run("sbatch", "--parsable", "--wait", "-o", "/dev/null", "--wrap", "exit 3")
    assert done.returncode == 3
    assert done.stdout.strip().isdigit()


def cancelling_one_position(site):
    job = site.submit("-H", "--array=0-3%2")
    assert site.ask("scancel", f"{job}_1") == []
    assert site.ask("squeue", "-h", "-j", job, "-o", "%i") == [f"{job}_[0,2-3%2]"]
    assert site.ask("squeue", "-h", "-j", f"{job}_2", "-o", "%i|%T") == [f"{job}_2|PENDING"]
    assert site.ask("squeue", "-h", "-j", f"{job}_77", "-o", "%i|%T") == []
    assert site.ask("scancel", f"{job}_[2-3]", f"{job}_77") == []
    assert site.ask("squeue", "-h", "-j", job, "-o", "%i") == [f"{job}_[0%2]"]
    site.ask("scancel", job)
    assert site.ask("squeue", "-h", "-j", job) == []


def cancelling_a_running_position(site):
    job = site.submit("--array=0-1", wrap="sleep 60")
    site.until(lambda: site.queue(job, "%T") == ["RUNNING"] * 2)
    site.ask("scancel", f"{job}_0")
    assert site.until(
        lambda: site.queue(job, "%i|%T") == [f"{job}_0|CANCELLED", f"{job}_1|RUNNING"]
    )


def cancelling_by_name(site):
    first, second = site.submit("-H"), site.submit("-H")
    other = site.submit("-H", "-J", f"{site.name}-other")
    assert site.ask("scancel", f"--name={site.name}", "-u", site.user) == []
    site.wait(first, "CANCELLED")
    site.wait(second, "CANCELLED")
    assert site.queue(other, "%T") == ["PENDING"]


def signals(site):
    job = site.submit(
        "-o", "log", wrap=f"trap 'echo told' USR1; echo up; {site.until_go()}"
    )
    site.until(lambda: site.read("log") == "up\n")
    # Without --batch a signal goes to steps, and there are none.
    assert site.ask("scancel", "-s", "USR1", job) == []
    assert site.ask("scancel", "--batch", "-s", "USR1", job) == []
    site.until(lambda: "told" in site.read("log"))
    site.go()
    site.wait(job, "COMPLETED")
    assert site.read("log") == "up\ntold\n"


def term_is_handled(site):
    job = site.submit("-o", "log", wrap="trap 'echo TERM; exit 5' TERM; echo up; sleep 60 & wait")
    site.until(lambda: site.read("log") == "up\n")
    site.ask("scancel", job)
    assert site.until(lambda: "TERM" in site.read("log").splitlines())
    site.wait(job, "CANCELLED")


def nothing_outlives_its_job(site):
    job = site.submit("-o", "log", wrap="sleep 1234 & echo $!; setsid sleep 1235 & echo $!")
    site.wait(job, "COMPLETED")
    pids = site.read("log").split()
    assert len(pids) == 2
    assert site.until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))


def time_limits(site):
    job = site.submit("-H", "-t", "0:30")
    assert site.queue(job, "%l") == ["1:00"]
    for limit, shown in {"5": "5:00", "10": "10:00"}.items():
        assert site.ask("scontrol", "update", f"jobid={job}", f"timelimit={limit}") == []
        assert site.queue(job, "%l") == [shown]
    later = site.submit("--begin=now+1hour")
    done = site.run("scontrol", "update", f"jobid={later}", "timelimit=2-00:00:00")
    assert (done.returncode, done.stderr) == (1, f"Access/permission denied for job {later}\n")
    done = site.run("scontrol", "update", f"jobid={later}", "bogus=1")
    assert (done.returncode, done.stderr) == (
        1, "Update of this parameter is not supported: bogus=1\nRequest aborted\n"
    )  # fmt: skip


def sizes(site):
    assert site.queue(site.submit("-H", "--mem=10K"), "%m") == ["1M"]
    assert site.queue(site.submit("-H", "--mem=1G"), "%m") == ["1G"]
    assert site.queue(site.submit("-H"), "%m") == ["100M"]


def shown_by_scontrol(site):
    job = site.submit("-H", "--comment", "why")
    shown = "\n".join(site.ask("scontrol", "show", "job", job))
    assert shown.startswith(f"JobId={job} JobName={site.name}\n   UserId={site.user}({site.uid}) ")
    for part in (
        "JobState=PENDING Reason=JobHeldUser Dependency=(null)", "ExitCode=0:0", "Comment=why",
        "TimeLimit=00:30:00", "Partition=compute", f"WorkDir={site.folder}",
        f"StdOut={site.folder}/slurm-{job}.out", "StartTime=Unknown EndTime=Unknown",
    ):  # fmt: skip
        assert part in shown
    array = site.submit("-H", "--array=0-3%2")
    [line] = site.ask("scontrol", "-o", "show", "job", array)
    assert line.startswith(
        f"JobId={array} ArrayJobId={array} ArrayTaskId=0-3%2 ArrayTaskThrottle=2 JobName="
    )
    failed = site.submit("--array=2", wrap="exit 4")
    site.wait(failed, "FAILED")
    [line] = site.ask("scontrol", "-o", "show", "job", failed)
    assert "ArrayTaskId=2 " in line
    assert "JobState=FAILED Reason=NonZeroExitCode " in line
    assert "ExitCode=4:0" in line


def wide_format(site):
    job = site.submit("-H")
    assert site.ask("squeue", "-h", "-j", job, "-o", "%.8i|%10T|%3t|%Zz|%%") == [
        f"{job:>8}|PENDING   |PD |{site.folder}z|"
    ]
    assert site.ask("squeue", "-h", "-j", job, "-O", "JobID,State:9,ArrayJobID") == [
        f"{job:<20}PENDING  {job:<20}"
    ]
    [line] = site.ask("squeue", "-h", "-j", job)
    assert line == (
        f"{job:>18} {'compute':>9} {site.name[:8]:>8} {site.user[:8]:>8} PD       0:00      1 "
        "(JobHeldUser)"
    )


def tables_of_accounting(site):
    job = site.submit("-o", "/dev/null")
    site.wait(job, "COMPLETED")
    # For a moment accounting may call a job "allocation".
    site.until(
        lambda: (
            site.accounted(job, "State,JobName") == [f"COMPLETED|{site.name}", "COMPLETED|batch"]
        )
    )
    assert site.ask("sacct", "-X", "-p", "-j", job, "--format=JobID,State") == [
        "JobID|State|", f"{job}|COMPLETED|"
    ]  # fmt: skip
    assert site.ask("sacct", "-j", job, "--format=JobID,JobName%8,State") == [
        "JobID         JobName      State ", "------------ -------- ---------- ",
        f"{job:<12} {site.name[:7]}+  COMPLETED ", f"{job + '.batch':<12}    batch  COMPLETED ",
    ]  # fmt: skip
    assert site.ask("sacct", "-X", "-n", "-P", f"--name={site.name}", "-S", "now-7days",
                    "--format=JobID,JobName") == [f"{job}|{site.name}"]  # fmt: skip
    fields = "Timelimit,NodeList,ReqMem,AllocCPUS,Account,Partition,User,DerivedExitCode,Reason"
    row = site.accounted(job, fields, "-X")[0].split("|")
    node = row.pop(1)
    assert node in ("n1", "n2")
    assert row == ["00:30:00", "100M", "1", "science", "compute", site.user, "0:0", "None"]


def two_nodes(site):
    job = site.submit("-N", "2", "-o", "log", wrap="echo $SLURM_JOB_NODELIST $SLURM_TASKS_PER_NODE")
    site.wait(job, "COMPLETED")
    assert site.read("log") == "n[1-2] 1(x2)\n"
    assert site.queue(job, "%N|%D") == ["n[1-2]|2"]


FACTS = [
    held_array_is_one_row, array_in_steps, throttled_array, array_in_accounting, killed_payload,
    killed_script, exit_codes, time_limit, cancelled, cancelled_before_its_start,
    missing_folder_of_the_log, missing_working_directory, cancelling_what_has_ended,
    queue_of_what_has_ended, queue_of_a_failure, requeue_of_what_has_ended, requeue_of_what_runs,
    requeue_refused, dependency_on_what_has_ended, dependency_on_the_unknown,
    dependencies_as_shown, failed_dependency, twins, twins_start_one_by_one,
    twins_with_invalid_killed, twins_of_unequal_arrays, singleton, either_of_two, after_its_start,
    behind_itself, begin_time, hold_and_release, submission_limit, never_starts, variables,
    variables_of_a_position, environment_passed_on, log_names, log_called_none, open_mode,
    errors_apart,
    options_in_the_script, script_arguments, script_from_standard_input, working_directory, comment,
    out_of_memory, waiting_submission, cancelling_one_position, cancelling_a_running_position,
    cancelling_by_name, signals, term_is_handled, nothing_outlives_its_job, time_limits, sizes,
    shown_by_scontrol, wide_format, tables_of_accounting, two_nodes,
]  # fmt: skip


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)
def test_fact(site, fact):
    fact(site)
