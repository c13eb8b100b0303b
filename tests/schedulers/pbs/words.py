"""PBS's names for the engine's states, and how PBS writes times and refusals."""

from __future__ import annotations

import time

from ..engine import model
from ..engine.model import Job
from ..engine.server import Answer

SERVER = "pbshost"
VERSION = "23.06.06"
HISTORY = "PBS is not configured to maintain job history"


def moment(seconds: float) -> str:
    return time.strftime("%a %b %d %H:%M:%S %Y", time.localtime(seconds))


def begun(seconds: float) -> str:
    return time.strftime("%a %b %d at %H:%M", time.localtime(seconds))


def span(seconds: float) -> str:
    total = int(seconds)
    return f"{total // 3600:02}:{total // 60 % 60:02}:{total % 60:02}"


def state(job: Job) -> tuple[str, int]:
    """Return state and substate of a job that is no array."""
    if job.state == model.PENDING:
        if job.held:
            return "H", 20
        if job.dependencies:
            return "H", 22
        return ("W", 30) if job.reason == model.BEGIN else ("Q", 10)
    if job.state == model.ENDED:
        return "F", ended(job)
    return "R", 42


def ended(job: Job) -> int:
    """Return the substate of a job that has ended."""
    if job.outcome == model.CANCELLED:
        return 92 if job.reason == model.NEVER else 91
    return 92 if job.outcome == model.DONE else 93


def down(command: str, settings: model.Settings) -> Answer:
    """What a client prints when the server does not answer."""
    message = f"{command}: cannot connect to server {SERVER} (errno=15010)"
    if command == "qdel":
        message = f"Couldn't connect to cluster: {SERVER}"
    code = 255 if command == "qstat" else 162
    return Answer(code, err=f"Connection refused\n{message}\n", pause=settings.message_timeout)


def silent(command: str, settings: model.Settings) -> Answer:
    """What a client prints when the server accepts the connection and then stays silent."""
    message = f"{command}: End of File\n"
    return Answer(255 if command == "qstat" else 162, err=message, pause=settings.message_timeout)
