"""The load generator for one scene, a process of its own: told what to do on standard input, it says on
standard output when the load begins and ends (`bench.beside.scenes`)."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bench.phone import LoadPhone
from tests.support.xmppwire import RawStream

MARK = re.compile(rb"#(\d{9})#")
STANZA = re.compile(rb"<(?:message|presence|iq)[ >]")
SM = "urn:xmpp:sm:3"
PATIENCE = 20.0
"Seconds until what is under way counts as lost."

Heard = Callable[[int], None]
Sender = Callable[[int, str], None]


class Books:
    """Operations under way, and how long each took until all who were to hear of it had."""

    def __init__(self, window: int, ears: int = 1) -> None:
        self.window = window
        self.ears = ears
        "How many hear of one operation."
        self.senders: list[Sender] = []
        self.done = 0
        self.duplicates = 0
        self.latencies: list[float] = []
        self._open: dict[int, list[Any]] = {}
        self._number = 0
        self._flowing = False

    def heard(self, number: int) -> None:
        entry = self._open.get(number)
        if entry is None:
            self.duplicates += 1
            return
        entry[2] -= 1
        if entry[2]:
            return
        del self._open[number]
        self.done += 1
        self.latencies.append(time.perf_counter() - entry[0])
        if self._flowing:
            self._send(entry[1])

    def _send(self, sender: int) -> None:
        self._number += 1
        self._open[self._number] = [time.perf_counter(), sender, self.ears]
        self.senders[sender](self._number, f"#{self._number:09d}#")

    async def run(self, seconds: float) -> None:
        """Keep a window of operations under way from each sender."""
        self._flowing = True
        for sender in range(len(self.senders)):
            for _ in range(self.window):
                self._send(sender)
        await asyncio.sleep(seconds)
        self._flowing = False
        deadline = time.perf_counter() + PATIENCE
        while self._open and time.perf_counter() < deadline:  # noqa: ASYNC110 - an event would cost what is measured
            await asyncio.sleep(0.002)

    @property
    def lost(self) -> int:
        return len(self._open)


class Repeated:
    """Operations with an answer: so many at once, each again as soon as it is done."""

    def __init__(self, operations: list[Callable[[], Awaitable[None]]]) -> None:
        self.operations = operations
        self.done = self.duplicates = self.lost = 0
        self.latencies: list[float] = []

    async def run(self, seconds: float) -> None:
        end = time.perf_counter() + seconds

        async def over_and_over(operation: Callable[[], Awaitable[None]]) -> None:
            while (began := time.perf_counter()) < end:
                await operation()
                self.done += 1
                self.latencies.append(time.perf_counter() - began)

        await asyncio.gather(*map(over_and_over, self.operations))


class Stream:
    """A client that acknowledges what it gets where that is on, and reports the marks it hears."""

    def __init__(
        self, task: dict[str, Any], name: str, heard: Heard, *, answered: Heard | None = None
    ) -> None:
        self.task = task
        self.name = name
        self.heard = heard
        self.answered = answered
        self._received = 0
        self._managed = False
        self.raw = RawStream((task["host"], task["xmpp"]), task["domain"])

    async def open(self, *, managed: bool = False, presence: bool = True) -> Stream:
        """Log in, switch on stream management and carbons, be available."""
        await self.raw.__aenter__()
        await self.raw.login(self.name, self.task["password"], "load")
        if managed:
            self.raw.send("<iq type='set' id='carbons'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
            self.raw.send(f"<enable xmlns='{SM}' resume='true'/>")
            while (await self.raw.element()).tag != f"{{{SM}}}enabled":
                pass
            self._managed = True
        if presence:
            self.raw.send("<presence/>")
        self.listening = asyncio.create_task(self._listen())
        return self

    def send(self, data: str) -> None:
        self.raw.send(data)

    async def _listen(self) -> None:
        rest = b""
        while data := await self.raw.reader.read(262144):
            self._received += len(STANZA.findall(rest[-8:] + data)) if self._managed else 0
            if self._managed and b"<r " in rest[-40:] + data:
                self.raw.send(f"<a xmlns='{SM}' h='{self._received}'/>")
            rest += data
            end = 0
            for found in MARK.finditer(rest):
                self.heard(int(found[1]))
                end = found.end()
            if self.answered is not None:
                for found in ANSWER.finditer(rest):
                    self.answered(int(found[1]))
                    end = max(end, found.end())
            rest = rest[max(end, len(rest) - 40) :]


ANSWER = re.compile(rb"<iq [^>]*\bid=['\"]ask(\d+)['\"][^>]*>")

phones: list[LoadPhone] = []


async def phone(task: dict[str, Any], name: str, heard: Heard, *, register: bool = True) -> LoadPhone:
    """A UDP phone; every mark in a request it gets is heard."""

    def cut(request: bytes) -> None:
        for mark in set(MARK.findall(request)):
            heard(int(mark))

    _, made = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: LoadPhone(f"{name}@{task['domain']}", task["password"], cut),
        remote_addr=(task["host"], task["sip"]),
    )
    phones.append(made)
    if register:
        await made.ask("REGISTER", f"sip:{made.domain}", f"Contact: {made.contact}\r\nExpires: 3600\r\n")
    return made


def ignore(number: int) -> None:
    """Marks that come back to their sender are not counted."""


def tell(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def _retransmit() -> None:
    while True:
        await asyncio.sleep(0.25)
        for each in phones:
            each.retransmit()


async def main() -> None:
    from bench.beside.scenes import SCENES

    task = json.loads(sys.stdin.readline())
    repeat = asyncio.create_task(_retransmit())
    load = await SCENES[task["scene"]].prepare(task)
    tell(mark="ready")
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        load.done = load.duplicates = 0
        load.latencies = []
        tell(mark="begin")
        began = time.perf_counter()
        await load.run(order["seconds"])
        took = time.perf_counter() - began
        found = sorted(load.latencies) or [0.0]
        p50, p99 = (1000 * found[min(len(found) - 1, int(share * len(found)))] for share in (0.5, 0.99))
        tell(
            mark="end", seconds=took, done=load.done, lost=load.lost, duplicates=load.duplicates,
            refused=sum(each.refused for each in phones),
            p50=p50, p99=p99,
        )  # fmt: skip
    repeat.cancel()


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.run(main())
    except ImportError:
        asyncio.run(main())
