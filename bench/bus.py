"""What the bus costs: submit, receive and settle, in a closed loop, with CPU per message of each process.

    python -m bench.bus [--messages 50000] [--users 200] [--parallel 64] [--durability everysec]

One process submits, one receives and settles, each with its own connection, as the two doors would.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from presence.address import Address
from presence.edge.embedded import EmbeddedValkey
from presence.edge.redis import RedisBus
from presence.messages import Delivery, InstantMessage
from presence.model import Text
from presence.ports import Deliver, Endpoint, EndpointKind, Lease, Update

NODE = "sip-1"
TICKS = os.sysconf("SC_CLK_TCK")


def person(number: int) -> Address:
    return Address(f"user{number}", "example.org")


def own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def run(main: Any) -> Any:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


async def receive_all(url: str, count: int, ready: Any) -> tuple[float, int]:
    """CPU seconds, and how many batches they came in."""
    bus = await RedisBus.connect(url, name="receiver")
    await bus.receive(NODE, 0.01)
    ready.set()
    got, batches, began = 0, 0, own_cpu()
    async with asyncio.TaskGroup() as group:
        while got < count:
            envelopes = await bus.receive(NODE, 5)
            batches += 1
            for envelope in envelopes:
                if isinstance(envelope, Deliver):
                    got += len(envelope.endpoints)
                    for endpoint in envelope.endpoints:
                        message = envelope.message
                        group.create_task(
                            bus.settle(
                                message.recipient, message.id, endpoint, Delivery.DELIVERED, time.time()
                            )
                        )
    used = own_cpu() - began
    await bus.close()
    return used, batches


def receiver(url: str, count: int, ready: Any, results: Any) -> None:
    results.put(run(receive_all(url, count, ready)))


async def submit_all(url: str, arguments: argparse.Namespace) -> tuple[float, list[float]]:
    bus = await RedisBus.connect(url, name="submitter")
    numbers = iter(range(arguments.messages))
    delays: list[float] = []
    text = Text("Hello, this is a message of a usual length, about so much. " * 2)

    async def one_by_one() -> None:
        for number in numbers:
            now = time.time()
            message = InstantMessage(
                id=f"m{number:08x}-{os.getpid()}",
                trace=f"t{number:08x}",
                sender=person(1),
                sender_endpoint="xmpp:laptop",
                recipient=person(number % arguments.users),
                bodies=(text,),
                created=now,
            )
            await bus.submit(message, now)
            delays.append(time.time() - now)

    began = own_cpu()
    await asyncio.gather(*(one_by_one() for _ in range(arguments.parallel)))
    used = own_cpu() - began
    await bus.close()
    return used, delays


async def prepare(url: str, users: int) -> None:
    async with RedisBus(url) as bus:
        for number in range(users):
            endpoint = Endpoint(
                id="sip:phone", kind=EndpointKind.SIP, node=NODE, lease=Lease(owner=f"{NODE}/1")
            )
            await bus.commit(person(number), Update(put_endpoints=(endpoint,)), time.time())


async def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--messages", type=int, default=50_000)
    options.add_argument("--users", type=int, default=200)
    options.add_argument("--parallel", type=int, default=64)
    options.add_argument("--durability", default="everysec")
    arguments = options.parse_args()
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedValkey(Path(folder), durability=arguments.durability)
        async with server as url:
            await prepare(url, arguments.users)
            ready, results = spawn.Event(), spawn.Queue()
            child = spawn.Process(target=receiver, args=(url, arguments.messages, ready, results))
            child.start()
            await asyncio.to_thread(ready.wait)
            assert server.pid is not None
            server_cpu, began = cpu_of(server.pid), time.time()
            submitting, delays = await submit_all(url, arguments)
            receiving, batches = await asyncio.to_thread(results.get)
            elapsed = time.time() - began
            serving = cpu_of(server.pid) - server_cpu
            await asyncio.to_thread(child.join)
    count = arguments.messages
    delays.sort()
    print(f"{count} messages, {arguments.parallel} at once, {arguments.durability}: {count / elapsed:,.0f}/s")
    print(f"submit: p50 {delays[count // 2] * 1e3:.2f} ms, p99 {delays[count * 99 // 100] * 1e3:.2f} ms")
    print(f"received in batches of {count / batches:.1f}")
    parts = {"submitter": submitting, "receiver": receiving, "valkey": serving}
    for name, seconds in {**parts, "together": sum(parts.values())}.items():
        print(f"{name:>10}: {seconds / count * 1e6:6.1f} µs CPU per message")


if __name__ == "__main__":
    run(main())
