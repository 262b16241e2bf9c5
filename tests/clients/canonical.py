"""What two runs of one scenario may differ in, and nothing else: order, counters that move, times, task identifiers."""

import json
import re

# Fields whose value is a measurement or a time; what they are called in Go differs in case only. Strings under
# these names are settings and stay.
MOVING = {
    "avail", "blockstat", "cpu", "ctime", "diskread", "diskwrite", "endtime", "idle", "ksm", "loadavg", "mem",
    "memhost", "netin", "netout", "nics", "pid", "pstart", "starttime", "time", "uptime", "used", "used_fraction",
    "wait",
}  # fmt: skip
# The same, where they are objects: of a node. A guest has settings of these names.
MOVING_OBJECTS = {"memory", "rootfs", "swap"}
# A guest's digest is that of its file, and the times of its snapshots stand in that.
MOVING_TEXTS = {"digest"}

# UPID:node:pid:start in jiffies:start:type:id:user: - the three numbers move.
UPID = re.compile(r"UPID:([^:]+):[0-9A-F]{8}:[0-9A-F]{8,9}:[0-9A-F]{8}:")

# Metrics of the exporter whose value is a measurement.
MOVING_METRICS = re.compile(
    r"^pve_(cpu_usage_ratio|memory_usage_bytes|uptime_seconds|disk_usage_bytes"
    r"|(disk_read|disk_write|disk_written|network_receive|network_transmit)_bytes(_total)?)\b"
)
# This one is named after whatever the API lists first.
NAMED_AT_RANDOM = re.compile(r'^(pve_not_backed_up_total\{id=)"[^"]*"')


def canonical(value):
    """`value` with lists in one order and everything that moves replaced."""
    if isinstance(value, dict):
        return {key: "*" if moves(key.lower(), inner) else canonical(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return sorted((canonical(inner) for inner in value), key=lambda inner: json.dumps(inner, sort_keys=True))
    if isinstance(value, str):
        return UPID.sub(r"UPID:\1:*:*:*:", value)
    return value


def moves(key, value):
    """Whether a field may differ between two runs."""
    if key in MOVING_TEXTS:
        return True
    return key in MOVING and not isinstance(value, str) or key in MOVING_OBJECTS and isinstance(value, dict)


def metrics(text):
    """The lines of a Prometheus exposition in one order, without the values that move."""
    lines = [NAMED_AT_RANDOM.sub(r"\1*", line) for line in text.splitlines() if line and not line.startswith("#")]
    return sorted(line.rpartition(" ")[0] + " *" if MOVING_METRICS.match(line) else line for line in lines)
