"""The load generator: one process that speaks for all the people, does things over and over, and counts what
arrives. Started by `bench.generator`; its task comes as JSON on standard input, and a JSON line on standard
output says when it is ready, and when each phase begins and ends.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bench.phone import LoadPhone
from tests.support.xmppwire import RawStream

MARK = re.compile(rb"#(\d{9})#")
ANSWER = re.compile(rb"<iq [^>]*\bid=['\"]ask(\d+)['\"][^>]*>")
STANZA = re.compile(rb"<(?:message|presence|iq)[ >]")
SM = "urn:xmpp:sm:3"
TICK = 0.001
"Seconds between looks at the clock; loops take shorter sleeps for none, and turn on the spot."
PATIENCE = 20.0
"Seconds until what is under way counts as lost."

Task = dict[str, Any]
"Where the server is (`host`, `xmpp`, `sip`, `domain`), and what else the module that prepares it must know."
Heard = Callable[[int], None]
Sender = Callable[[int, str], None]
"Sends the operation with that number, whose mark must arrive at the other end."


class Load:
    """What is done over and over, and its books."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.done = self.duplicates = self.lost = 0
        self.latencies: list[float] = []
        "Seconds, of each operation done."

    async def run(self, seconds: float, rate: float) -> None:
        """As fast as it goes when `rate` is 0, else so many operations a second."""
        raise NotImplementedError

    def report(self, took: float) -> dict[str, Any]:
        """Latencies in milliseconds."""
        found = sorted(self.latencies) or [0.0]
        p50, p99, worst = (
            1000 * found[min(len(found) - 1, int(share * len(found)))] for share in (0.5, 0.99, 1)
        )
        return {
            "seconds": took, "done": self.done, "lost": self.lost, "duplicates": self.duplicates,
            "refused": sum(phone.refused for phone in phones), "p50": p50, "p99": p99, "worst": worst,
        }  # fmt: skip


class Books(Load):
    """Operations under way, and how long each took until all who were to hear of it had."""

    def __init__(self, window: int, ears: int = 1) -> None:
        super().__init__()
        self.window = window
        "How many are under way from each sender at most."
        self.ears = ears
        "How many hear of one operation."
        self.senders: list[Sender] = []
        self._open: dict[int, list[Any]] = {}
        "Number → when it began, its sender, how many are still to hear of it."
        self._under_way: list[int] = []
        self._number = 0
        self._flowing = False
        "Whether each that is done lets its sender send again."

    def heard(self, number: int) -> None:
        entry = self._open.get(number)
        if entry is None:
            self.duplicates += 1
            return
        entry[2] -= 1
        if entry[2]:
            return
        del self._open[number]
        self._under_way[entry[1]] -= 1
        self.done += 1
        self.latencies.append(time.perf_counter() - entry[0])
        if self._flowing:
            self._send(entry[1])

    def _send(self, sender: int) -> None:
        self._number += 1
        self._under_way[sender] += 1
        self._open[self._number] = [time.perf_counter(), sender, self.ears]
        self.senders[sender](self._number, f"#{self._number:09d}#")

    async def run(self, seconds: float, rate: float = 0) -> None:
        self._under_way = [0] * len(self.senders)
        if rate:
            await self._paced(seconds, rate)
        else:
            self._flowing = True
            for sender in range(len(self.senders)):
                for _ in range(self.window):
                    self._send(sender)
            await asyncio.sleep(seconds)
            self._flowing = False
        deadline = time.perf_counter() + PATIENCE
        while self._open and time.perf_counter() < deadline:  # noqa: ASYNC110 - an event would cost what is measured
            await asyncio.sleep(0.002)
        self.lost = len(self._open)
        self._open.clear()

    async def _paced(self, seconds: float, rate: float) -> None:
        """Senders take turns; one whose window is full is passed over, or a state would be overtaken."""
        began = time.perf_counter()
        done = turn = 0
        while (passed := time.perf_counter() - began) < seconds:
            tried = 0
            while done < passed * rate and tried < len(self.senders):
                turn = (turn + 1) % len(self.senders)
                tried += 1
                if self._under_way[turn] < self.window:
                    self._send(turn)
                    done += 1
                    tried = 0
            await asyncio.sleep(max(TICK, 1 / rate))


class Repeated(Load):
    """Operations with an answer: so many at once, each again as soon as it is done."""

    def __init__(self, operations: list[Callable[[], Awaitable[None]]]) -> None:
        super().__init__()
        self.operations = operations

    async def run(self, seconds: float, rate: float = 0) -> None:
        assert not rate, "it knows no pace"
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
        self, task: Task, name: str, password: str, heard: Heard, *, answered: Heard | None = None
    ) -> None:
        self.name = name
        self.password = password
        self.heard = heard
        self.answered = answered
        self._received = 0
        self._managed = False
        self.raw = RawStream((task["host"], task["xmpp"]), task["domain"])

    async def open(self, *, managed: bool = False) -> Stream:
        """Log in, switch on stream management and carbons where it is `managed`, be available."""
        await self.raw.__aenter__()
        await self.raw.login(self.name, self.password, "load")
        if managed:
            self.raw.send("<iq type='set' id='carbons'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
            self.raw.send(f"<enable xmlns='{SM}' resume='true'/>")
            while (await self.raw.element()).tag != f"{{{SM}}}enabled":
                pass
            self._managed = True
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


phones: list[LoadPhone] = []


async def phone(task: Task, address: str, password: str, heard: Heard, *, register: bool = True) -> LoadPhone:
    """A UDP phone; every mark in a request it gets is heard."""

    def cut(request: bytes) -> None:
        for mark in set(MARK.findall(request)):
            heard(int(mark))

    _, made = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: LoadPhone(address, password, cut), remote_addr=(task["host"], task["sip"])
    )
    phones.append(made)
    if register:
        await made.ask("REGISTER", f"sip:{made.domain}", f"Contact: {made.contact}\r\nExpires: 3600\r\n")
    return made


def chat(to: str, number: int, mark: str) -> str:
    """A short line."""
    return f"<message to='{to}' type='chat' id='m{number}'><body>Shall we say {mark} then?</body></message>"


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
    task = json.loads(sys.stdin.readline())
    repeat = asyncio.create_task(_retransmit())
    load: Load = await importlib.import_module(task["module"]).prepare(task)
    tell(mark="ready")
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        load.clear()
        tell(mark="begin")
        began = time.perf_counter()
        await load.run(order["seconds"], order["rate"])
        tell(mark="end", **load.report(time.perf_counter() - began))
    repeat.cancel()


def serve() -> None:
    """All the process does."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())
