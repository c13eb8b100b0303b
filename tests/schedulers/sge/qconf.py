"""qconf -sconf: the settings of the cell."""

from __future__ import annotations

from typing import Any

from ..engine.cluster import Cluster
from ..engine.server import Answer, Call


def qconf(cluster: Cluster, call: Call, fault: dict[str, Any] | None) -> Answer:
    if call.arguments not in (["-sconf"], ["-sconf", "global"]):
        return Answer(1, err="error: the simulator knows -sconf only\n")
    settings = cluster.settings
    limit = cluster.accounts["science"].max_submit or 0
    lag = int(settings.accounting_lag)
    reporting = (
        f"accounting=true reporting=false \\\n{'':<29}flush_time=00:00:{lag:02} joblog=false "
        "sharelog=00:00:00"
    )
    fields = {
        "execd_spool_dir": "/var/spool/gridengine/execd", "min_uid": 0, "max_u_jobs": limit,
        "max_jobs": 0, "max_aj_instances": 2000, "max_aj_tasks": settings.max_array_size,
        "reporting_params": reporting,
    }  # fmt: skip
    lines = "".join(f"{name:<29}{value}\n" for name, value in fields.items())
    return Answer(out=f"#global:\n{lines}")
