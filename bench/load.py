"""The load generator: one process that speaks for all the people, sends, and counts what arrives.

Started by `bench.run`, its task as JSON on standard input; writes a JSON line when a phase begins and ends.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from bench.phone import LoadPhone, header
from tests.support.pidf import pidf
from tests.support.xmppwire import RawStream

MARK = re.compile(rb"#(\d{9})#")
PATIENCE = 15.0
"Seconds until what is under way counts as lost."

Heard = Callable[[int], None]


class Person:
    """One end of a pair: a stream or a phone."""

    def __init__(self, task: dict[str, Any], address: str, password: str) -> None:
        self.task = task
        self.address = address
        self.password = password

    async def stream(self, heard: Heard) -> RawStream:
        """Log in with XMPP; every mark that arrives is heard."""
        stream = RawStream((self.task["host"], self.task["xmpp"]), self.task["domain"])
        await stream.__aenter__()
        await stream.login(self.address.partition("@")[0], self.password, "load")
        stream.send("<presence/>")
        self.reading = asyncio.create_task(_listen(stream, heard))
        return stream

    async def phone(self, heard: Heard, *, register: bool = True) -> LoadPhone:
        def cut(request: bytes) -> None:
            for mark in set(MARK.findall(request)):
                heard(int(mark))

        _, phone = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: LoadPhone(self.address, self.password, cut),
            remote_addr=(self.task["host"], self.task["sip"]),
        )
        phones.append(phone)
        if register:
            await phone.ask(
                "REGISTER", f"sip:{phone.domain}", f"Contact: {phone.contact}\r\nExpires: 3600\r\n"
            )
        return phone


phones: list[LoadPhone] = []


async def _listen(stream: RawStream, heard: Heard) -> None:
    rest = b""
    while data := await stream.reader.read(262144):
        rest += data
        end = 0
        for found in MARK.finditer(rest):
            heard(int(found[1]))
            end = found.end()
        rest = rest[max(end, len(rest) - 10) :]


Sender = Callable[[int, str], None]
"Sends the operation with that number, whose mark must arrive at the other end."


def chat(to: str, number: int, mark: str) -> str:
    """A short line."""
    return f"<message to='{to}' type='chat' id='m{number}'><body>Shall we say {mark} then?</body></message>"


async def sip_xmpp(one: Person, other: Person, heard: Heard) -> Sender:
    await other.stream(heard)
    phone = await one.phone(_ignore, register=False)
    await phone.ask("OPTIONS", f"sip:{phone.domain}", "")

    def send(number: int, mark: str) -> None:
        phone.send(
            "MESSAGE",
            f"sip:{other.address}",
            "Content-Type: text/plain\r\n",
            f"Shall we say {mark} then?",
            _nothing,
        )

    return send


async def xmpp_sip(one: Person, other: Person, heard: Heard) -> Sender:
    await other.phone(heard)
    stream = await one.stream(_ignore)

    def send(number: int, mark: str) -> None:
        stream.send(chat(other.address, number, mark))

    return send


async def xmpp_xmpp(one: Person, other: Person, heard: Heard) -> Sender:
    await other.stream(heard)
    stream = await one.stream(_ignore)

    def send(number: int, mark: str) -> None:
        stream.send(chat(other.address, number, mark))

    return send


async def publish_presence(one: Person, other: Person, heard: Heard) -> Sender:
    await other.stream(heard)
    phone = await one.phone(_ignore)
    own = f"sip:{one.address}"
    headers = "Event: presence\r\nExpires: 3600\r\nContent-Type: application/pidf+xml\r\n"
    tag = header(await phone.ask("PUBLISH", own, headers, pidf(one.address, note="first")), b"SIP-ETag")
    tags = {"now": tag}
    body = pidf(one.address, note="%s")

    def published(response: bytes) -> None:
        tags["now"] = header(response, b"SIP-ETag")
        for waiting in list(held):
            held.remove(waiting)
            publish(waiting)

    held: list[str] = []

    def publish(mark: str) -> None:
        tag = tags.pop("now")
        phone.send("PUBLISH", own, f"{headers}SIP-If-Match: {tag}\r\n", body.replace("%s", mark), published)

    def send(number: int, mark: str) -> None:
        if "now" in tags:
            publish(mark)
        else:  # the presence was faster than the 200: the entity-tag is still to come
            held.append(mark)

    return send


async def presence_notify(one: Person, other: Person, heard: Heard) -> Sender:
    stream = await one.stream(_ignore)
    phone = await other.phone(heard)
    headers = (
        f"Event: presence\r\nExpires: 3600\r\nAccept: application/pidf+xml\r\nContact: {phone.contact}\r\n"
    )
    await phone.ask("SUBSCRIBE", f"sip:{one.address}", headers, call_id=f"watch-{one.address}")

    def send(number: int, mark: str) -> None:
        stream.send(f"<presence><show>away</show><status>{mark}</status></presence>")

    return send


def _ignore(number: int) -> None:
    """Marks that come back to their sender are not counted."""


def _nothing(response: bytes) -> None:
    """The answer's arrival is what counts."""


PATHS = {
    "sip-xmpp": sip_xmpp,
    "xmpp-sip": xmpp_sip,
    "xmpp-xmpp": xmpp_xmpp,
    "publish-presence": publish_presence,
    "presence-notify": presence_notify,
}


class Load:
    """Sends on all pairs, saturated or paced, and keeps the books."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.senders: list[Sender] = []
        self.sent: dict[int, tuple[float, int]] = {}
        "Number → when, by which pair."
        self.open: Counter[int] = Counter()
        "Pair → operations under way."
        self.number = 0
        self.delivered = 0
        self.duplicates = 0
        self.latencies: list[float] = []
        self.flowing = False
        "Whether each delivery lets its pair send again."

    def heard(self, number: int) -> None:
        entry = self.sent.pop(number, None)
        if entry is None:
            self.duplicates += 1
            return
        self.delivered += 1
        self.open[entry[1]] -= 1
        self.latencies.append(time.perf_counter() - entry[0])
        if self.flowing:
            self.send(entry[1])

    def send(self, pair: int) -> None:
        self.number += 1
        self.open[pair] += 1
        self.sent[self.number] = (time.perf_counter(), pair)
        self.senders[pair](self.number, f"#{self.number:09d}#")

    async def phase(self, name: str, seconds: float, rate: float) -> None:
        """Saturated when `rate` is 0, else so many operations a second."""
        first, self.delivered, self.duplicates, self.latencies = self.number, 0, 0, []
        tell(mark="begin", phase=name)
        began = time.perf_counter()
        if rate:
            await self._paced(seconds, rate)
        else:
            self.flowing = True
            for pair in range(len(self.senders)):
                for _ in range(self.window):
                    self.send(pair)
            await asyncio.sleep(seconds)
            self.flowing = False
        deadline = time.perf_counter() + PATIENCE
        while self.sent and time.perf_counter() < deadline:  # noqa: ASYNC110 - an event would cost what is measured
            await asyncio.sleep(0.002)
        took = time.perf_counter() - began
        self.latencies.sort()
        lost = len(self.sent)
        self.sent.clear()
        self.open.clear()
        tell(
            mark="end", phase=name, sent=self.number - first, delivered=self.delivered, lost=lost,
            duplicates=self.duplicates, refused=sum(phone.refused for phone in phones), seconds=took,
            p50=self._at(0.50), p99=self._at(0.99), worst=self._at(1.0),
        )  # fmt: skip

    async def _paced(self, seconds: float, rate: float) -> None:
        """Pairs take turns; one whose window is full is passed over, or a state would be overtaken."""
        began = time.perf_counter()
        pairs = len(self.senders)
        done = turn = 0
        while (passed := time.perf_counter() - began) < seconds:
            tried = 0
            while done < passed * rate and tried < pairs:
                turn = (turn + 1) % pairs
                tried += 1
                if self.open[turn] < self.window:
                    self.send(turn)
                    done += 1
                    tried = 0
            await asyncio.sleep(min(0.002, 1 / rate))

    def _at(self, share: float) -> float:
        """Milliseconds."""
        if not self.latencies:
            return 0.0
        return 1000 * self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


def tell(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def _retransmit() -> None:
    while True:
        await asyncio.sleep(0.25)
        for phone in phones:
            phone.retransmit()


async def main() -> None:
    task = json.loads(sys.stdin.readline())
    load = Load(task["window"])
    repeat = asyncio.create_task(_retransmit())
    for one, other in task["pairs"]:
        load.senders.append(await PATHS[task["path"]](Person(task, *one), Person(task, *other), load.heard))
    tell(mark="ready")
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        await load.phase(order["phase"], order["seconds"], order["rate"])
    repeat.cancel()


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.run(main())
    except ImportError:
        asyncio.run(main())
