"""Counters and gauges of one process, and the Prometheus text of all of them.

A process only adds numbers to a dictionary; its heartbeat carries them to the bus, and the admin role renders
what all nodes carry. So no process but the admin needs a port for metrics.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable
from itertools import groupby

from presence.ports import NodeInfo

MAX_SERIES = 2000
"Bound on distinct (name, labels) of one process: labels that come from peers must not grow without limit."
PREFIX = "tandem_"

type_of = {True: "counter", False: "gauge"}
Key = str | tuple[str | tuple[str, str], ...]


class DictMetrics:
    """`presence.ports.Metrics` in a dictionary; `count` costs well under a microsecond."""

    def __init__(self) -> None:
        self._values: dict[Key, float] = {}

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        key: Key = (name, *labels.items()) if labels else name
        try:
            self._values[key] += amount
        except KeyError:
            self._first(key, amount)

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        key: Key = (name, *labels.items()) if labels else name
        if key in self._values:
            self._values[key] = value
        else:
            self._first(key, value)

    def _first(self, key: Key, value: float) -> None:
        if len(self._values) < MAX_SERIES:
            self._values[key] = value

    def samples(self) -> dict[str, float]:
        """Prometheus sample name with labels → value."""
        return {sample_name(key): value for key, value in self._values.items()}


def sample_name(key: Key) -> str:
    """`name{label="value"}`, by the text format's escaping rules."""
    if isinstance(key, str):
        return key
    name = str(key[0])
    labels = ",".join(
        f'{k}="{escape(str(v))}"' for k, v in (pair for pair in key[1:] if isinstance(pair, tuple))
    )
    return f"{name}{{{labels}}}"


def escape(value: str) -> str:
    """A label value in the text format."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def process_samples() -> dict[str, float]:
    """What the operating system says of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    with open("/proc/self/statm", encoding="ascii") as statm:
        pages = int(statm.read().split()[1])
    return {
        "process_cpu_seconds_total": usage.ru_utime + usage.ru_stime,
        "process_resident_memory_bytes": float(pages * os.sysconf("SC_PAGE_SIZE")),
        "process_open_fds": float(len(os.listdir("/proc/self/fd"))),
    }


def render(nodes: Iterable[NodeInfo], now: float) -> str:
    """The Prometheus text exposition (0.0.4) of every node's samples, labelled with node and role."""
    rows: list[tuple[str, str]] = []
    for node in nodes:
        own = {
            **node.metrics,
            "node_up": 1.0,
            "node_started_seconds": node.started,
            "node_beat_age_seconds": max(0.0, now - node.beat),
        }
        for sample, value in own.items():
            name, _, labels = sample.partition("{")
            merged = ",".join(
                part
                for part in (f'node="{escape(node.name)}",role="{escape(node.role)}"', labels.rstrip("}"))
                if part
            )
            rows.append((PREFIX + name, f"{PREFIX}{name}{{{merged}}} {number(value)}"))
    rows.sort()
    lines: list[str] = []
    for name, group in groupby(rows, key=lambda row: row[0]):
        lines.append(f"# TYPE {name} {type_of[name.endswith('_total')]}")
        lines.extend(line for _, line in group)
    return "\n".join(lines) + "\n"


def number(value: float) -> str:
    """Integers without a fraction."""
    return str(int(value)) if value == int(value) else repr(value)
