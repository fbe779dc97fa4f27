"""Stories at the level of stanzas, as text anyone can read and add: `tests/plays/*.play`.

    # What the story shows

    [client] alice          a person's XMPP client; `alice/phone` is another client of hers
    [phone] bob             a person's SIP phone
    [friends] alice bob     who see each other from the start

    alice connects
    alice sends:
        <message to='{bob}' type='chat'><body>Hello</body></message>
    bob hears from alice: Hello

A client `connects`, `disconnects`, `vanishes`, `sends:` and `receives:` stanzas, and `is idle`: every answer
it has been sent so far was told of. A phone `registers`, `unregisters`, `vanishes`, `says to NAME: TEXT`,
`hears from NAME: TEXT`, `watches NAME`, `is notified of NAME: STATE`, `publishes: open|closed NOTE`.

In what is sent and expected, `{alice}` is her address, `{alice/desk}` her client's full JID, `{domain}` the
server's. In what is expected, `{any}` fits everything, `{keep NAME}` fits everything and is `{NAME}` from
then on. An expected stanza fits one that has at least its attributes, texts and children; `{none}` as an
attribute's value says that it is not there. Of what has come, the first that fits is taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, fromstring, tostring

from tests.support.inbox import PATIENCE, Inbox
from tests.support.pidf import pidf
from tests.support.sipclient import Phone, Watch
from tests.support.stage import Person, Stage
from tests.support.xmppwire import RawStream, StreamClosed

_CAST = re.compile(r"^\[(client|phone|friends)\] (.+)$")
_PLACE = re.compile(r"\{([a-z0-9/ _-]+)\}")


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happens."""

    number: int
    who: str
    what: str
    stanza: str = ""
    "The indented lines below it."


@dataclass(slots=True)
class Play:
    title: str = ""
    clients: list[str] = field(default_factory=list)
    phones: list[str] = field(default_factory=list)
    friends: list[list[str]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)


class BadPlay(ValueError):
    """The text is no play; says where."""


def read(text: str) -> Play:
    """Raises `BadPlay`."""
    play = Play()
    for number, line, below in _paragraphs(text):
        cast = _CAST.match(line)
        if line.startswith("#"):
            play.title = play.title or line.lstrip("# ")
        elif cast is not None:
            kind, names = cast[1], cast[2].split()
            if kind == "friends":
                play.friends.append(names)
            else:
                (play.clients if kind == "client" else play.phones).extend(names)
        else:
            who, _, what = line.partition(" ")
            if who not in (*play.clients, *play.phones):
                raise BadPlay(f"line {number}: who is {who}?")
            play.lines.append(Line(number, who, what, below))
    if not play.title or not play.lines:
        raise BadPlay("a play has a title (# …) and lines")
    return play


def _paragraphs(text: str) -> Iterator[tuple[int, str, str]]:
    """Lines with what is indented below each."""
    held: tuple[int, str] | None = None
    below: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line[:1].isspace() and held is not None:
            below.append(line.strip())
        elif line.strip():
            if held is not None:
                yield *held, "\n".join(below)
            held, below = (number, line.strip()), []
    if held is not None:
        yield *held, "\n".join(below)


class Client:
    """A stream whose stanzas are in an inbox."""

    def __init__(self, stage: Stage, person: Person, resource: str) -> None:
        self._stage = stage
        self._person = person
        self._resource = resource
        self._reading: asyncio.Task[None] | None = None
        self.stanzas: Inbox[Element] = Inbox(f"{person.address}/{resource}")
        self.ended = asyncio.Event()

    async def connect(self) -> None:
        self._stream = self._stage.raw()
        self.ended.clear()
        await self._stream.__aenter__()
        await self._stream.login(
            self._person.address.partition("@")[0], self._person.password, self._resource
        )
        self._reading = asyncio.create_task(self._read(self._stream))

    async def _read(self, stream: RawStream) -> None:
        with contextlib.suppress(StreamClosed):
            while True:
                self.stanzas.put(await stream.element(3600))
        self.ended.set()

    def send(self, text: str) -> None:
        self._stream.send(text)

    async def disconnect(self) -> None:
        self.send("</stream:stream>")
        async with asyncio.timeout(PATIENCE):
            await self.ended.wait()
        await self.vanish()

    async def vanish(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
            self._stream.writer.transport.abort()

    async def idle(self) -> None:
        """What the server had to say so far has come: it answers in order (RFC 6120 §10.1)."""
        self.send("<iq type='get' id='play-idle'><ping xmlns='urn:xmpp:ping'/></iq>")
        await self.stanzas.take("the answer to a ping", lambda s: s.get("id") == "play-idle")
        left = [tostring(each, "unicode") for each in self.stanzas.untaken()]
        assert not left, f"{self._person.address}/{self._resource} was sent more than the play tells: {left}"


class Company:
    """Those who play, on one stage."""

    def __init__(self, stage: Stage, patience: float = PATIENCE) -> None:
        """`patience`: seconds until a client was not sent what it should be."""
        self._stage = stage
        self._patience = patience
        self._people: dict[str, Person] = {}
        self._clients: dict[str, Client] = {}
        self._phones: dict[str, Phone] = {}
        self._watches: dict[tuple[str, str], Watch] = {}
        self._etags: dict[str, str] = {}
        self._kept: dict[str, str] = {"domain": stage.tandem.environment["TANDEM_DOMAINS"]}

    async def perform(self, play: Play) -> None:
        try:
            await self._cast(play)
            for line in play.lines:
                try:
                    await self._line(line)
                except (AssertionError, TimeoutError, OSError, BadPlay) as error:
                    error.add_note(f"line {line.number}: {line.who} {line.what}")
                    raise
        finally:
            for client in self._clients.values():
                await client.vanish()
            for phone in self._phones.values():
                phone.close()

    async def _cast(self, play: Play) -> None:
        for name in dict.fromkeys(each.partition("/")[0] for each in (*play.clients, *play.phones)):
            only_phone = not any(each.partition("/")[0] == name for each in play.clients)
            self._people[name] = await self._stage.person(name, phone_only=only_phone)
            self._kept[name] = self._people[name].address
        for name in play.clients:
            person, _, resource = name.partition("/")
            self._clients[name] = Client(self._stage, self._people[person], resource or "desk")
            self._kept[name if resource else f"{name}/desk"] = (
                f"{self._people[person].address}/{resource or 'desk'}"
            )
        for name in play.phones:
            self._phones[name] = self._stage.phone(self._people[name], "tcp")
        for group in play.friends:
            for index, one in enumerate(group):
                for other in group[index + 1 :]:
                    await self._stage.befriend(self._people[one], self._people[other])

    async def _line(self, line: Line) -> None:
        verbs = (_CLIENT if line.who in self._clients and _is_clients(line) else _PHONE).items()
        for pattern, act in verbs:
            found = re.fullmatch(pattern, line.what)
            if found is not None:
                await act(self, line, *found.groups())
                return
        raise BadPlay(f"line {line.number}: what is «{line.what}»?")

    def _filled(self, text: str) -> str:
        """With the names in it replaced; those that only an expectation has stay."""

        def value(found: re.Match[str]) -> str:
            return self._kept.get(found[1], found[0])

        return _PLACE.sub(value, text)

    # --- clients ------------------------------------------------------------------------------------------

    async def connects(self, line: Line) -> None:
        await self._clients[line.who].connect()

    async def disconnects(self, line: Line) -> None:
        await self._clients[line.who].disconnect()

    async def vanishes(self, line: Line) -> None:
        await self._clients[line.who].vanish()

    async def idles(self, line: Line) -> None:
        await self._clients[line.who].idle()

    async def sends(self, line: Line) -> None:
        self._clients[line.who].send(self._filled(line.stanza))

    async def receives(self, line: Line) -> None:
        text = self._filled(line.stanza)
        try:
            wanted = fromstring(f"<play xmlns='jabber:client'>{text}</play>")[0]
        except ParseError as error:
            raise BadPlay(f"line {line.number}: {error}") from error
        inbox = self._clients[line.who].stanzas
        try:
            stanza = await inbox.take(text, lambda each: fits(wanted, each) is not None, self._patience)
        except AssertionError as error:
            left = "\n".join(tostring(each, "unicode") for each in inbox.untaken())
            raise AssertionError(f"{line.who} was not sent\n{text}\nbut\n{left}") from error
        self._kept |= fits(wanted, stanza) or {}

    # --- phones -------------------------------------------------------------------------------------------

    async def registers(self, line: Line) -> None:
        phone = self._phones[line.who]
        if not phone.connected:
            await phone.connect()
        assert (await phone.register()).status == 200

    async def unregisters(self, line: Line) -> None:
        assert (await self._phones[line.who].unregister()).status == 200

    async def phone_vanishes(self, line: Line) -> None:
        self._phones[line.who].close()

    async def says(self, line: Line, whom: str, text: str) -> None:
        answer = await self._phones[line.who].message(self._people[whom].address, text)
        assert answer.status in (200, 202), answer.status

    async def hears(self, line: Line, whom: str, text: str) -> None:
        request = await self._phones[line.who].hears(text)
        assert self._people[whom].address in request["From"], request["From"]

    async def watches(self, line: Line, whom: str) -> None:
        watch = await self._phones[line.who].subscribe(self._people[whom].address)
        self._watches[line.who, whom] = watch

    async def notified(self, line: Line, whom: str, state: str) -> None:
        await self._watches[line.who, whom].state(state)

    async def publishes(self, line: Line, basic: str, note: str) -> None:
        phone = self._phones[line.who]
        body = pidf(self._people[line.who].address, basic=basic, note=note.strip())
        answer = await phone.publish(body, etag=self._etags.get(line.who, ""))
        assert answer.status == 200, answer.status
        self._etags[line.who] = answer["SIP-ETag"]


Act = Callable[..., Awaitable[None]]
_CLIENT: dict[str, Act] = {
    "connects": Company.connects,
    "disconnects": Company.disconnects,
    "vanishes": Company.vanishes,
    "is idle": Company.idles,
    "sends:": Company.sends,
    "receives:": Company.receives,
}
_PHONE: dict[str, Act] = {
    "registers": Company.registers,
    "unregisters": Company.unregisters,
    "vanishes": Company.phone_vanishes,
    r"says to (\S+): (.+)": Company.says,
    r"hears from (\S+): (.+)": Company.hears,
    r"watches (\S+)": Company.watches,
    r"is notified of (\S+): (\S+)": Company.notified,
    r"publishes: (open|closed)( .+)?": Company.publishes,
}


def _is_clients(line: Line) -> bool:
    return line.what in _CLIENT


def fits(wanted: Element, given: Element) -> dict[str, str] | None:
    """What `{keep …}` kept, when all that is wanted is there; else None."""
    kept: dict[str, str] = {}
    if wanted.tag != given.tag:
        return None
    for name, value in wanted.attrib.items():
        if value == "{none}":
            if name in given.attrib:
                return None
        elif name not in given.attrib or not _same(value, given.attrib[name], kept):
            return None
    text = (wanted.text or "").strip()
    if text and not _same(text, (given.text or "").strip(), kept):
        return None
    left = list(given)
    for child in wanted:
        for other in left:
            found = fits(child, other)
            if found is not None:
                kept |= found
                left.remove(other)
                break
        else:
            return None
    return kept


def _same(wanted: str, given: str, kept: dict[str, str]) -> bool:
    if wanted == "{any}":
        return True
    keep = re.fullmatch(r"\{keep ([a-z0-9_-]+)\}", wanted)
    if keep is not None:
        kept[keep[1]] = given
        return True
    return wanted == given


def plays() -> list[Path]:
    """All of them."""
    return sorted(Path(__file__).parent.glob("*.play"))
