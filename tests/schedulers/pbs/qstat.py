"""qstat: what the server shows of jobs and of itself."""

from __future__ import annotations

import getopt
import json
import textwrap
import time
from collections import Counter
from typing import Any

from ..engine import model
from ..engine.cluster import Cluster
from ..engine.model import Job
from ..engine.server import Answer, Call
from . import ids, jobs, words

USAGE = """\
usage: 
qstat [-f] [-J] [-p] [-t] [-x] [-E] [-F format | -w] [-D delim] [ job_identifier... | destination... ]
qstat [-a|-i|-r|-H|-T] [-J] [-t] [-u user] [-n] [-s] [-G|-M] [-1] [-w]
	[ job_identifier... | destination... ]
qstat -Q [-f] [-F format] [-D delim] [ destination... ]
qstat -q [-G|-M] [ destination... ]
qstat -B [-f] [-F format] [-D delim] [ server_name... ]
qstat --version
"""  # noqa: E501
Attributes = dict[str, Any]


def qstat(cluster: Cluster, call: Call, fault: dict[str, Any] | None) -> Answer:
    if call.arguments == ["--version"]:
        return Answer(out=f"pbs_version = {words.VERSION}\n")
    try:
        options, targets = getopt.gnu_getopt(call.arguments, "aBfF:D:HiJ1nNpqQrstu:wxEGMT")
    except getopt.GetoptError as error:
        return Answer(2, err=f"qstat: invalid option -- '{error.opt[:1]}'\n{USAGE}")
    flags = dict(options)
    if "-u" in flags and "-F" in flags:
        return Answer(2, err=f"qstat: conflicting options.\n{USAGE}")
    head = {"timestamp": int(time.time()), "pbs_version": words.VERSION,
            "pbs_server": words.SERVER}  # fmt: skip
    as_json = flags.get("-F", "").lower() == "json"
    settings = cluster.settings
    if settings.controller == "down" or fault:
        answer = words.down("qstat", settings)
        if fault and fault["how"] != "down":
            answer = words.silent("qstat", settings)
        answer.out = _json(head) if as_json else ""
        return answer
    if "-B" in flags:
        return Answer(out=_server(cluster))
    history = "-x" in flags
    if history and settings.accounting == "off":
        return Answer(err="".join(f"qstat: {words.HISTORY} {ids.full(word) or word}\n"
                                  for word in targets or [""]))  # fmt: skip
    code, complaints, chosen = 0, "", []
    for word in targets:
        if not word[:1].isdigit():
            code, complaints = 170, f"{complaints}qstat: Unknown queue destination {word}\n"
            continue
        full = ids.full(word)
        if full is None:
            code = 1
            complaints += f"qstat: illegally formed job identifier: {word}\n"
            continue
        target = ids.find(cluster, word)
        if target is None:
            code, complaints = 153, f"{complaints}qstat: Unknown Job Id {full}\n"
        elif target.over and not history:
            code = 35
            complaints += (
                f"qstat: {full} Job has finished, use -x or -H to obtain historical job "
                "information\n"
            )
        else:
            chosen.append(target)
    if not targets:
        for group in cluster.jobs.values():
            every = ids.find(cluster, ids.id_of(group[0], whole=True))
            if every is not None and (history or not every.over):
                chosen.append(every)
    shown: dict[str, Attributes] = {}
    for target in chosen:
        if target.whole:
            shown[ids.id_of(target.group[0], whole=True)] = _attributes(target.group, None)
        if not target.whole or ("-t" in flags and target.array):
            for job in target.jobs:
                shown[ids.id_of(job)] = _attributes(target.group, job)
        if as_json and targets:
            break  # of several ids only the first is shown
    if as_json:
        return Answer(code, _json({**head, "Jobs": shown} if shown else head), complaints)
    if "-f" in flags:
        return Answer(code, _full(shown, wide="-w" in flags), complaints)
    return Answer(code, _table(shown), complaints)


def _json(attributes: Attributes) -> str:
    return json.dumps(attributes, indent="\t", separators=(",", ":\t")) + "\n"


def _full(shown: dict[str, Attributes], *, wide: bool) -> str:
    lines = []
    for name, attributes in shown.items():
        lines.append(f"Job Id: {name}")
        for key, value in _flat(attributes):
            line = f"    {key} = {value}"
            lines += [line] if wide else _wrapped(line)
        lines.append("")
    return "".join(f"{line}\n" for line in lines)


def _flat(attributes: Attributes) -> list[tuple[str, Any]]:
    pairs = []
    for key, value in attributes.items():
        if key == "Variable_List":
            pairs.append((key, ",".join(f"{name}={entry}" for name, entry in value.items())))
        elif isinstance(value, dict):
            pairs += [(f"{key}.{name}", entry) for name, entry in value.items()]
        else:
            pairs.append((key, value))
    return pairs


def _wrapped(line: str) -> list[str]:
    """Fold a line of more than 79 columns; continuation lines begin with a tab."""
    first, *more_lines = textwrap.wrap(line, 78, drop_whitespace=False, break_on_hyphens=False) or [
        ""
    ]
    return [first, *(f"\t{line}" for line in more_lines)]


def _table(shown: dict[str, Attributes]) -> str:
    if not shown:
        return ""
    lines = ["Job id            Name             User              Time Use S Queue",
             "----------------  ---------------- ----------------  -------- - -----"]  # fmt: skip
    for name, attributes in shown.items():
        user = attributes["Job_Owner"].partition("@")[0]
        lines.append(
            f"{name:<19} {attributes['Job_Name'][:15]:<16} {user:<16} {'0':>8} "
            f"{attributes['job_state']} {attributes['queue']:<16}"
        )
    return "".join(f"{line}\n" for line in lines)


def _attributes(group: list[Job], job: Job | None) -> Attributes:
    """Return the attributes of a job, of an array (`job` is None) or of an element."""
    first = group[0]
    array = first.index is not None
    leader = job or first
    request = leader.request
    element = array and job is not None
    if array and not element:
        state, substate = _array_state(group)
    else:
        state, substate = words.state(leader)
        if element and state == "F" and any(other.live for other in group):
            state, substate = "X", 70 if not leader.started else substate
        if element and leader.state == model.PENDING:
            state, substate = "Q", 10
    attributes: Attributes = {
        "Job_Name": request.name, "Job_Owner": f"{request.user}@{words.SERVER}",
        "job_state": state, "queue": request.partition, "server": words.SERVER,
    }  # fmt: skip
    if request.extra["account"]:
        attributes["Account_Name"] = request.extra["account"]
    attributes |= {"Checkpoint": "u", "ctime": words.moment(leader.submitted)}
    waits = [] if element else _depends(group)
    if waits:
        attributes["depend"] = ",".join(waits)
    if leader.nodes and not (array and not element):
        attributes["exec_host"] = "+".join(f"{node.name}/0" for node in leader.nodes)
    held = "u" if leader.held else "s" if substate == 22 else "n"
    attributes |= {
        "Hold_Types": held, "Join_Path": request.extra["join"], "Keep_Files": request.extra["keep"],
        "mtime": words.moment(leader.ended or leader.started or leader.submitted), "Priority": 0,
        "qtime": words.moment(leader.submitted),
        "Rerunable": "True" if request.extra["rerun"] == "y" else "False",
        "Resource_List": {
            "ncpus": request.cpus * request.tasks, "nodect": request.tasks,
            "place": request.extra["place"],
            "select": request.extra["select"],
            **({"walltime": words.span(leader.limit)} if leader.limit else {}),
        },
    }  # fmt: skip
    began = min((other.started for other in group if other.started), default=0.0)
    started = leader.started if not (array and not element) else began
    if substate == 91 and element and not leader.started:
        started = began
    if started:
        attributes["stime"] = words.moment(started)
    if leader.ended and started and state in "FX":
        members = [leader] if element else group
        attributes["obittime"] = words.moment(max(other.ended for other in members))
    attributes["substate"] = substate
    attributes["Variable_List"] = {
        "PBS_O_HOME": request.extra["home"],
        "PBS_O_LOGNAME": request.user,
        **request.environment,
    }
    comment = _comment(group, leader, state, substate, element=element, array=array)
    if comment:
        attributes["comment"] = comment
    code = _exit_status(group, leader, state, element=element, array=array)
    if code is not None:
        attributes["Exit_status"] = code
    if array and not element:
        indices, counts = request.indices or (), Counter(other.state for other in group)
        attributes |= {
            "array": "True",
            "array_state_count": (
                f"Queued:{counts[model.PENDING]} Running:{counts[model.RUNNING]} "
                f"Exiting:{counts[model.COMPLETING]} Expired:{counts[model.ENDED]}"
            ),
            "array_indices_submitted": request.extra["range"].partition("%")[0],
            "array_indices_remaining": ",".join(
                str(other.index) for other in group if other.state == model.PENDING
            ) or "-",
        }  # fmt: skip
        if request.throttle:
            attributes["max_run_subjobs"] = request.throttle
        assert indices
    elif element:
        attributes |= {"array_id": ids.id_of(leader, whole=True), "array_index": leader.index}
    attributes["project"] = "_pbs_project_default"
    return attributes


def _array_state(group: list[Job]) -> tuple[str, int]:
    if not any(job.live for job in group):
        if any(job.outcome == model.CANCELLED for job in group):
            return "F", 92 if group[0].reason == model.NEVER else 91
        return "F", 92 if all(job.outcome == model.DONE for job in group) else 93
    if any(job.started for job in group):
        return "B", 70
    return words.state(next(job for job in group if job.live))


def state(target: ids.Found) -> str:
    """Return the state of a job or of an array."""
    if target.array:
        return _array_state(target.group)[0]
    return words.state(target.group[0])[0]


def _depends(group: list[Job]) -> list[str]:
    names = {"any": "afterany", "ok": "afterok", "notok": "afternotok", "after": "after"}
    leader = next((job for job in group if job.live), group[0])
    kinds: dict[str, list[str]] = {}
    for each in leader.dependencies:
        job = f"{each.job}{'[]' if each.array else ''}.{words.SERVER}@{words.SERVER}"
        kinds.setdefault(names[each.kind], []).append(job)
    return [":".join([kind, *jobs_waited]) for kind, jobs_waited in kinds.items()]


def _comment(
    group: list[Job], leader: Job, state: str, substate: int, *, element: bool, array: bool
) -> str:
    cpus = leader.request.cpus
    if state == "Q" and leader.reason == model.PARTITION_SIZE:
        return (
            "Can Never Run: Insufficient amount of resource: ncpus "
            f"(R: {cpus} A: 8 T: 8)"
        )
    ends = {91: "terminated", 92: "finished", 93: "failed"}
    began = min((other.started for other in group if other.started), default=0.0)
    if array and not element:
        text = f"Job Array Began at {words.begun(began)}" if began else ""
        return f"{text} and {ends[substate]}" if text and state == "F" else text
    if not leader.started:
        return "Subjob finished" if element and state in "FX" else ""
    text = f"Job run at {words.begun(leader.started)} on (pbshost:ncpus={cpus})"
    if leader.outcome in (model.TIMEOUT, model.MEMORY):
        return f"{text} and exceeded resource " + (
            "walltime" if leader.outcome == model.TIMEOUT else "mem"
        )
    if state in "FX":
        if substate == 91 or leader.outcome == model.CANCELLED:
            return f"{text} and terminated by {leader.request.user}@{words.SERVER}"
        return f"{text} and {ends[substate]}"
    return text


def _exit_status(
    group: list[Job], leader: Job, state: str, *, element: bool, array: bool
) -> int | None:
    if state not in "FX":
        return None
    if not array or element:
        if leader.started:
            return jobs.exit_status(leader)
        # In a deleted array that had begun, elements that never ran get the array's end time.
        return 1 if state == "F" and element and any(job.started for job in group) else None
    if not any(job.started for job in group):
        return None
    code = jobs.exit_status(max(group, key=lambda job: job.ended))
    return 1 if code > 0 else 2 if code < 0 else 0


def _server(cluster: Cluster) -> str:
    return (
        f"Server: {words.SERVER}\n    server_state = Active\n    server_host = {words.SERVER}\n"
        "    scheduling = True\n    default_queue = workq\n    log_events = 511\n"
        f"    max_array_size = {cluster.settings.max_array_size}\n"
        f"    pbs_version = {words.VERSION}\n"
        f"    job_history_enable = {cluster.settings.accounting != 'off'}\n"
        "    max_job_sequence_id = 9999999\n\n"
    )
