"""Two XMPP processes on the same ports: a client that loses its connection again and again goes on wherever
it comes to, and hears everything once and in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.stage import Person, Stage, open_stage
from tests.support.tandem import Tandem
from tests.support.waiting import until
from tests.support.xmppwire import SASL, RawStream, StreamClosed

pytestmark = pytest.mark.journey

SM = "urn:xmpp:sm:3"
CLIENT = "{jabber:client}"
MOVES = 3
ATTEMPTS = 60
"Connections: the kernel chooses the process for each."


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    tandem = Tandem(tmp_path_factory.mktemp("processes"), PROCESSES__XMPP="2")
    async with open_stage(tandem, "127.0.0.1") as opened:
        yield opened


class Roamer:
    """A client with stream management that counts by itself."""

    def __init__(self, stage: Stage, person: Person) -> None:
        self.stage = stage
        self.person = person
        self.id = ""
        self.handled = 0
        self.heard: list[str] = []
        self.stream: RawStream | None = None
        self.reading: asyncio.Task[None] | None = None

    async def connect(self) -> RawStream:
        """Logged in, and no resource bound."""
        stream = await self.stage.raw().__aenter__()
        await stream.starttls()
        local = self.person.address.partition("@")[0]
        assert (await stream.authenticate(local, self.person.password)).tag == f"{SASL}success"
        await stream.open()
        self.stream = stream
        return stream

    async def log_in(self) -> None:
        stream = await self.connect()
        await stream.bind("roaming")
        stream.send(f"<enable xmlns='{SM}' resume='true'/>")
        enabled = await stream.element()
        self.id = enabled.attrib["id"]
        stream.send("<presence/>")
        self.reading = asyncio.create_task(self.read(stream))

    async def resume(self) -> None:
        stream = await self.connect()
        stream.send(f"<resume xmlns='{SM}' previd='{self.id}' h='{self.handled}'/>")
        answer = await stream.element()
        assert answer.tag == f"{{{SM}}}resumed", answer.tag
        self.reading = asyncio.create_task(self.read(stream))

    async def read(self, stream: RawStream) -> None:
        while True:
            try:
                element = await stream.element(600)
            except StreamClosed:
                return
            if element.tag == f"{{{SM}}}r":
                stream.send(f"<a xmlns='{SM}' h='{self.handled}'/>")
            elif element.tag.startswith(CLIENT):
                self.handled += 1
                body = element.findtext(f"{CLIENT}body")
                if body is not None:
                    self.heard.append(body)

    async def lose(self) -> None:
        """The connection, without a word."""
        assert self.stream is not None
        assert self.reading is not None
        self.reading.cancel()
        await asyncio.gather(self.reading, return_exceptions=True)
        self.stream.writer.transport.abort()

    async def node(self) -> str:
        """The process that has the session; there is one."""
        found: list[str] = []

        async def one() -> bool:
            answer = await self.stage.tandem.api("/api/sessions", address=self.person.address)
            found[:] = [s["node"] for s in answer["sessions"] if s.get("resource") == "roaming"]
            return len(found) == 1

        await until("one process has the session", one, 10)
        return found[0]


async def test_everything_is_heard_once_and_in_order_wherever_the_client_goes(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    roamer = Roamer(stage, alice)
    await roamer.log_in()
    said: list[str] = []
    async with stage.client(bob) as desk:

        async def talk() -> None:
            while True:
                said.append(f"line {len(said)}")
                desk.say(alice.address, said[-1])
                await asyncio.sleep(0.01)

        talking = asyncio.create_task(talk())
        places = [await roamer.node()]
        for _ in range(ATTEMPTS):
            await roamer.lose()
            await roamer.resume()
            here = await roamer.node()
            if here != places[-1]:
                places.append(here)
            if len(places) > MOVES:
                break
        talking.cancel()
        assert len(places) > MOVES, places
        await until("the last line is heard", lambda: roamer.heard[-1:] == said[-1:], 40)
        assert roamer.heard == said
    await roamer.lose()
