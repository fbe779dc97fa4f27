"""CPU per operation of Tandem and of the others, one after the other in the same run, and the ratios."""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.beside.contender import DOMAIN, PASSWORD, Contender
from bench.beside.ejabberd import Ejabberd
from bench.beside.kamailio import Kamailio
from bench.beside.prosody import Prosody
from bench.beside.scenes import SCENES, Scene, person
from bench.beside.tandem import TandemContender
from bench.generator import Generator, Silent, generator

CONTENDERS: dict[str, tuple[type[Contender], str, str]] = {
    "tandem": (TandemContender, "", "python3"),
    "prosody": (Prosody, "xmpp", "prosody"),
    "ejabberd": (Ejabberd, "xmpp", "ejabberdctl"),
    "kamailio": (Kamailio, "sip", "kamailio"),
}
"Name → class, the protocol it speaks (both: empty), the program it needs."


async def measure(kind: type[Contender], name: str, scene: Scene, seconds: float) -> dict[str, Any]:
    """One contender in one scene, fresh."""
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        contender = kind(Path(folder))
        await contender.start()
        try:
            await contender.add(person(n) for n in range(scene.people))
            for one, others in scene.friends.items():
                await contender.befriend(one, others)
            return await _load(contender, name, scene, seconds)
        finally:
            await contender.stop()


async def _load(contender: Contender, name: str, scene: Scene, seconds: float) -> dict[str, Any]:
    try:
        async with generator(
            "bench.beside.scenes", scene=name, host=contender.host, domain=DOMAIN, password=PASSWORD,
            xmpp=contender.xmpp, sip=contender.sip, per=scene.per, groups=len(scene.friends),
        ) as load:  # fmt: skip
            if scene.rest:
                return await _rest(contender, load, name, scene)
            await load.begin(min(2.0, seconds))  # to warm up
            await load.end()
            await load.begin(seconds)
            cpu = contender.cpu()
            result = await load.end()
            used = contender.cpu() - cpu
    except Silent as error:
        raise RuntimeError(f"{error}, {name} beside {contender.name}\n{contender.printed()}") from None
    done = result["done"] * scene.per
    if result["lost"] or result["duplicates"] or result["refused"] or not done:
        print(f"  {contender.name}: {json.dumps(result)}", file=sys.stderr)
    return result | {
        "contender": contender.name,
        "scene": name,
        "ops": done / result["seconds"],
        "cpu": 1e6 * used / done if done else float("nan"),
    }


async def _rest(contender: Contender, load: Generator, name: str, scene: Scene) -> dict[str, Any]:
    """Memory that one operation leaves behind, at first and in the end."""
    await asyncio.sleep(scene.rest)
    before = contender.memory()
    await load.begin(0)
    result = await load.end()
    first = contender.memory()
    await asyncio.sleep(scene.rest)
    last = contender.memory()
    return result | {
        "contender": contender.name,
        "scene": name,
        "first": (first - before) / result["done"],
        "memory": (last - before) / result["done"],
    }


def table(results: list[dict[str, Any]]) -> str:
    """For people: a row each, the ratio being the other's cost over ours."""
    ours = {r["scene"]: r for r in results if r["contender"] == TandemContender.name}
    rows = [["scene", "server", "ops/s", "p50 ms", "p99 ms", "CPU µs/op", "× ours"]]
    for result in results:
        what = "memory" if "memory" in result else "cpu"
        mine = ours.get(result["scene"])
        ratio = f"{result[what] / mine[what]:.2f}" if mine and mine is not result else ""
        if what == "memory":
            figures = ["", f"at first {result['first']:.0f} kB", "", f"{result['memory']:.0f} kB"]
        else:
            figures = [f"{result['ops']:.0f}", *(f"{result[key]:.1f}" for key in ("p50", "p99"))]
            figures.append(f"{result['cpu']:.0f}")
        rows.append([SCENES[result["scene"]].title, result["contender"], *figures, ratio])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            c.ljust(w) if n < 2 else c.rjust(w) for n, (c, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


async def run(scenes: list[str], beside: list[str], seconds: float) -> list[dict[str, Any]]:
    """Each scene with each contender that speaks its protocol."""
    results = []
    for name in scenes:
        scene = SCENES[name]
        for contender in ["tandem", *beside]:
            kind, protocol, program = CONTENDERS[contender]
            if protocol not in ("", scene.protocol):
                continue
            if shutil.which(program) is None:
                print(f"{kind.name} is not installed (apt install {kind.package})", file=sys.stderr)
                continue
            print(f"{scene.title}: {kind.name} …", file=sys.stderr, flush=True)
            try:
                results.append(await measure(kind, name, scene, seconds))
            except RuntimeError as failed:  # the others are worth knowing all the same
                print(failed, file=sys.stderr)
    return results


def allow_files(wanted: int = 8192) -> None:
    """A thousand clients are more than a process may have files open by default; servers inherit this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.beside", description=__doc__)
    parser.add_argument("scene", nargs="*", help=f"of {', '.join(SCENES)}; all by default")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement (default: 5)")
    parser.add_argument(
        "--beside", default="prosody,ejabberd,kamailio", help="default: prosody,ejabberd,kamailio"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    unknown = [each for each in arguments.scene if each not in SCENES]
    if unknown:
        parser.error(f"no scene {', '.join(unknown)}; there are {', '.join(SCENES)}")
    allow_files()
    beside = [each for each in arguments.beside.split(",") if each]
    results = asyncio.run(run(arguments.scene or list(SCENES), beside, arguments.seconds))
    print(table(results))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
