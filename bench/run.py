"""What each path costs, measured against the real processes: `python -m bench [path …] [--seconds N]`.

Saturated: a closed loop keeps a window of operations under way on each of many pairs of people. Half load and
calm: paced at half of that rate, and at 200 a second. Every operation is counted at its receiver; one that is
lost or comes twice fails the run. CPU is that of each server process, by the kernel's scheduler statistics.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.budgets import PATHS
from bench.generator import Generator, Silent, generator
from tests.support.processes import cpu_seconds
from tests.support.stage import Stage, open_stage
from tests.support.tandem import DOMAIN, Tandem

PAIRS = 20
SETTINGS = {"SIP__NOTIFY_INTERVAL": "0", "LOG__LEVEL": "warning"}
CALM = 200.0


class Mismatch(Exception):
    """What arrived is not what was sent: the figures mean nothing."""


async def measure(stage: Stage, path: str, seconds: float) -> list[dict[str, Any]]:
    """All phases of one path."""
    pairs = []
    for _ in range(PAIRS):
        one, other = await stage.friends("one", "other")
        pairs.append([[one.address, one.password], [other.address, other.password]])
    tandem = stage.tandem
    async with generator(
        "bench.paths", path=path, host=stage.host, domain=DOMAIN, xmpp=tandem.xmpp_port, sip=tandem.sip_port,
        window=PATHS[path].window, pairs=pairs,
    ) as load:  # fmt: skip
        await _phase(stage, load, path, "warm-up", min(2.0, seconds), 0)
        saturated = await _phase(stage, load, path, "saturated", seconds, 0)
        half = await _phase(stage, load, path, "half load", seconds, saturated["ops"] / 2)
        calm = await _phase(stage, load, path, "calm", seconds, CALM)
        return [saturated, half, calm]


async def _phase(
    stage: Stage, load: Generator, path: str, phase: str, seconds: float, rate: float
) -> dict[str, Any]:
    pids = stage.tandem.pids()
    await load.begin(seconds, rate)
    before = {role: cpu_seconds(pid) for role, pid in pids.items()}
    result = await load.end()
    after = {role: cpu_seconds(pid) for role, pid in pids.items()}
    if result["lost"] or result["duplicates"] or result["refused"] or not result["done"]:
        raise Mismatch(f"{path}, {phase}: {json.dumps(result)}\n{stage.tandem.logged(20)}")
    done = result["done"]
    cpu = {role: 1e6 * (after[role] - before[role]) / done for role in sorted(pids)}
    return result | {
        "path": path,
        "phase": phase,
        "ops": done / result["seconds"],
        "cpu": cpu,
        "cpu_total": sum(cpu.values()),
    }


def table(results: list[dict[str, Any]]) -> str:
    """For people."""
    roles = sorted({role for result in results for role in result["cpu"]})
    head = [
        "path",
        "phase",
        "ops/s",
        "p50 ms",
        "p99 ms",
        *(f"{role} µs" for role in roles),
        "CPU µs/op",
        "budget",
    ]
    rows = [head]
    for result in results:
        path = PATHS[result["path"]]
        budget = {"saturated": path.saturated, "calm": path.calm}.get(result["phase"])
        told = "" if budget is None else f"≤ {budget:g}{'' if result['cpu_total'] <= budget else '  over'}"
        if result["phase"] == "half load" and path.p99 is not None:
            told = f"p99 ≤ {path.p99:g} ms{'' if result['p99'] <= path.p99 else '  over'}"
        rows.append(
            [
                path.title, result["phase"],
                f"{result['ops']:.0f}", f"{result['p50']:.1f}", f"{result['p99']:.1f}",
                *(f"{result['cpu'].get(role, 0):.0f}" for role in roles), f"{result['cpu_total']:.0f}", told,
            ]
        )  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column in (0, 1, len(head) - 1) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(lines)


async def run(paths: list[str], seconds: float) -> list[dict[str, Any]]:
    """Start a gateway, measure, stop it."""
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="tandem-bench-") as directory:
        async with open_stage(Tandem(Path(directory), **SETTINGS), "127.0.0.1") as stage:
            for path in paths:
                print(f"measuring {PATHS[path].title} …", file=sys.stderr, flush=True)
                results += await measure(stage, path, seconds)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="What each path through Tandem costs."
    )
    parser.add_argument("path", nargs="*", help=f"of {', '.join(PATHS)}; all by default")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each phase (default: 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    unknown = [path for path in arguments.path if path not in PATHS]
    if unknown:
        parser.error(f"no path {', '.join(unknown)}; there are {', '.join(PATHS)}")
    try:
        results = asyncio.run(run(arguments.path or list(PATHS), arguments.seconds))
    except (Mismatch, Silent) as error:
        sys.exit(f"MISMATCH: {error}")
    print(table(results))
    print(f"\nPython {platform.python_version()} of {sys.base_prefix}, {os.cpu_count()} processors")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
