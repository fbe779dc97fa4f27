"""What is done to each contender: who is there, and what one operation is."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha1
from itertools import count
from typing import Any

from bench import load
from bench.load import SM, Books, Heard, Load, Repeated, Stream, Task, ignore
from bench.phone import LoadPhone, header
from tests.support.pidf import pidf
from tests.support.xmppwire import RawStream


@dataclass(frozen=True, slots=True)
class Scene:
    """One row of the comparison."""

    title: str
    protocol: str
    "`xmpp` or `sip`."
    prepare: Callable[[Task], Awaitable[Load]]
    people: int
    friends: dict[str, list[str]] = field(default_factory=dict)
    per: int = 1
    "Deliveries of one operation; what is told is the cost of one delivery."
    rest: float = 0.0
    """Where it is memory that counts: it is looked at when all has been quiet for so many seconds, when the
    operations are done, and so many seconds later."""


async def prepare(task: Task) -> Load:
    return await SCENES[task["scene"]].prepare(task)


def person(number: int) -> str:
    return f"u{number:04d}"


def stream(task: Task, name: str, heard: Heard, **options: Any) -> Stream:
    return Stream(task, name, task["password"], heard, **options)


async def phone(task: Task, name: str, heard: Heard) -> LoadPhone:
    return await load.phone(task, f"{name}@{task['domain']}", task["password"], heard)


# --- XMPP -------------------------------------------------------------------------------------------------


async def chat(task: Task) -> Load:
    """1:1 messages with archive, stream management and carbons; each is acknowledged on both sides."""
    books = Books(window=8)
    for pair in range(PAIRS):
        one, other = person(2 * pair), person(2 * pair + 1)
        await stream(task, other, books.heard).open(managed=True)
        sender = await stream(task, one, ignore).open(managed=True)
        to = f"{other}@{task['domain']}"
        books.senders.append(partial(_say, sender, to))
    return books


def _say(stream: Stream, to: str, number: int, mark: str) -> None:
    stream.send(f"{load.chat(to, number, mark)}<r xmlns='{SM}'/>")


async def fan_out(task: Task) -> Load:
    """Presence of one person to all who see them."""
    watchers = task["per"]
    books = Books(window=1, ears=watchers)
    for group in range(task["groups"]):
        first = group * (watchers + 1)
        await asyncio.gather(
            *(stream(task, person(first + n), books.heard).open() for n in range(1, watchers + 1))
        )
        shown = await stream(task, person(first), ignore).open()
        books.senders.append(partial(_show, shown))
    await asyncio.sleep(1)
    return books


def _show(stream: Stream, number: int, mark: str) -> None:
    stream.send(f"<presence><show>away</show><status>{mark}</status></presence>")


async def log_in(task: Task) -> Load:
    """A whole login: TCP, STARTTLS, SASL PLAIN, binding; and the goodbye."""

    async def once(name: str) -> None:
        async with RawStream((task["host"], task["xmpp"]), task["domain"]) as stream:
            await stream.login(name, task["password"], "load")
            stream.send("</stream:stream>")
            await stream.ended()

    return Repeated([partial(once, person(n)) for n in range(PAIRS)])


async def query(task: Task) -> Load:
    """The last 50 messages of one's archive (XEP-0313)."""
    asked: dict[int, asyncio.Future[None]] = {}
    numbers = count(1)

    def answered(number: int) -> None:
        if number in asked:
            asked.pop(number).set_result(None)

    async def once(stream: Stream) -> None:
        number = next(numbers)
        asked[number] = asyncio.get_running_loop().create_future()
        stream.send(
            f"<iq type='set' id='ask{number}'><query xmlns='urn:xmpp:mam:2'>"
            "<set xmlns='http://jabber.org/protocol/rsm'><max>50</max><before/></set></query></iq>"
        )
        async with asyncio.timeout(20):
            await asked[number]

    filled = Books(window=4)
    streams: list[Stream] = []
    for pair in range(PAIRS):
        one, other = person(2 * pair), person(2 * pair + 1)
        streams.append(await stream(task, other, filled.heard, answered=answered).open())
        sender = await stream(task, one, ignore).open()
        filled.senders.append(partial(_say_plainly, sender, f"{other}@{task['domain']}"))
    while filled.done < 100 * PAIRS:
        await filled.run(0.5)
    await asyncio.sleep(1)
    return Repeated([partial(once, stream) for stream in streams])


def _say_plainly(stream: Stream, to: str, number: int, mark: str) -> None:
    stream.send(load.chat(to, number, mark))


async def idle(task: Task) -> Load:
    """Clients over TLS that come as real ones do, and then say nothing more; what counts is the memory they
    take.

    Each enables carbons and stream management, asks for its roster, and is available with what it can do
    (XEP-0115), all of them the same; one in ten is there before the first look at the memory, so that what is
    made but once is no connection's.
    """
    kept: list[RestingClient] = []

    async def come(first: int, last: int) -> None:
        for start in range(first, last, 25):
            clients = [RestingClient(task, person(n)) for n in range(start, start + 25)]
            await asyncio.gather(*(client.come() for client in clients))
            kept.extend(clients)

    class Coming(Load):
        async def run(self, seconds: float, rate: float = 0) -> None:
            await come(EARLY, EARLY + IDLE)
            self.done = len(kept) - EARLY

    await come(0, EARLY)
    return Coming()


class RestingClient:
    """Comes, and answers what it is asked."""

    def __init__(self, task: Task, name: str) -> None:
        self._name = name
        self._password = task["password"]
        self._raw = RawStream((task["host"], task["xmpp"]), task["domain"])
        self._received = 0

    async def come(self) -> None:
        raw = self._raw
        await raw.__aenter__()
        await raw.login(self._name, self._password, "load")
        raw.send("<iq type='set' id='carbons'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
        raw.send(f"<enable xmlns='{SM}' resume='true'/>")
        while (await raw.element()).tag != f"{{{SM}}}enabled":
            pass
        raw.send("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>")
        raw.send(f"<presence><c xmlns='{CAPS}' hash='sha-1' node='{CLIENT}' ver='{VER}'/></presence>")
        here = asyncio.Event()
        self._living = asyncio.create_task(self._live(here))
        await here.wait()

    async def _live(self, here: asyncio.Event) -> None:
        """`here`: its own presence has come back to it."""
        raw = self._raw
        while True:
            element = await raw.element(patience=3600)
            kind = element.tag.rpartition("}")[2]
            if kind == "r":
                raw.send(f"<a xmlns='{SM}' h='{self._received}'/>")
                continue
            self._received += kind in ("message", "presence", "iq")
            if kind == "presence":
                here.set()
            query = element.find(f"{{{INFO}}}query")
            if query is not None and element.get("type") == "get":
                to = f" to='{element.get('from')}'" if element.get("from") else ""
                node = f" node='{query.get('node')}'" if query.get("node") else ""
                answer = f"<query xmlns='{INFO}'{node}>{ABILITIES}</query>"
                raw.send(f"<iq type='result' id='{element.get('id')}'{to}>{answer}</iq>")


CAPS, INFO = "http://jabber.org/protocol/caps", "http://jabber.org/protocol/disco#info"
CLIENT = "https://load.example"
FEATURES = sorted(
    [
        CAPS,
        INFO,
        "http://jabber.org/protocol/chatstates",
        "http://jabber.org/protocol/nick+notify",
        "urn:xmpp:avatar:metadata+notify",
        "urn:xmpp:bookmarks:1+notify",
        "urn:xmpp:ping",
        "urn:xmpp:receipts",
    ]
)
ABILITIES = "<identity category='client' type='pc' name='load'/>" + "".join(
    f"<feature var='{var}'/>" for var in FEATURES
)
VER = b64encode(sha1("<".join(["client/pc//load", *FEATURES, ""]).encode()).digest()).decode()
"XEP-0115 §5.1."


WANTED = "Event: presence\r\nAccept: application/pidf+xml\r\n"


# --- SIP --------------------------------------------------------------------------------------------------


async def register(task: Task) -> Load:
    """A refreshed registration, with digest."""

    async def once(each: LoadPhone) -> None:
        await each.ask(
            "REGISTER",
            f"sip:{each.domain}",
            f"Contact: {each.contact}\r\nExpires: 3600\r\n",
            call_id=each.aor,
        )

    return Repeated([partial(once, await phone(task, person(n), ignore)) for n in range(PAIRS)])


async def subscribe(task: Task) -> Load:
    """A new subscription to presence, and its first NOTIFY."""
    numbers = count(1)

    async def once(each: LoadPhone, whom: str) -> None:
        headers = (
            f"Event: presence\r\nExpires: 600\r\nAccept: application/pidf+xml\r\nContact: {each.contact}\r\n"
        )
        await each.ask("SUBSCRIBE", f"sip:{whom}@{each.domain}", headers, call_id=f"s{next(numbers)}")

    phones = [await phone(task, person(n), ignore) for n in range(PAIRS)]
    return Repeated([partial(once, each, person((n + 1) % PAIRS)) for n, each in enumerate(phones)])


async def notify(task: Task) -> Load:
    """A changed publication, notified to all watchers."""
    watchers = task["per"]
    books = Books(window=1, ears=watchers)
    for group in range(task["groups"]):
        first = group * (watchers + 1)
        shown = await phone(task, person(first), ignore)
        own = f"sip:{shown.aor}"
        headers = "Event: presence\r\nExpires: 3600\r\nContent-Type: application/pidf+xml\r\n"
        tag = header(await shown.ask("PUBLISH", own, headers, pidf(shown.aor, note="first")), b"SIP-ETag")
        for n in range(1, watchers + 1):
            each = await phone(task, person(first + n), books.heard)
            wanted = f"{WANTED}Expires: 3600\r\nContact: {each.contact}\r\n"
            await each.ask("SUBSCRIBE", own, wanted, call_id=f"w{first + n}")
        books.senders.append(_publisher(shown, own, headers, tag))
    return books


def _publisher(shown: LoadPhone, own: str, headers: str, tag: str) -> Callable[[int, str], None]:
    tags = {"now": tag}
    held: list[str] = []
    body = pidf(shown.aor, note="%s")

    def published(response: bytes) -> None:
        tags["now"] = header(response, b"SIP-ETag")
        while held and "now" in tags:
            publish(held.pop(0))

    def publish(mark: str) -> None:
        last = tags.pop("now")
        shown.send("PUBLISH", own, f"{headers}SIP-If-Match: {last}\r\n", body.replace("%s", mark), published)

    def send(number: int, mark: str) -> None:
        if "now" in tags:
            publish(mark)
        else:  # the NOTIFY was faster than the 200: the entity-tag is still to come
            held.append(mark)

    return send


async def message(task: Task) -> Load:
    """A MESSAGE from phone to phone."""
    books = Books(window=4)
    for pair in range(PAIRS):
        one = await phone(task, person(2 * pair), ignore)
        other = await phone(task, person(2 * pair + 1), books.heard)
        books.senders.append(partial(_page, one, f"sip:{other.aor}"))
    return books


def _page(one: LoadPhone, to: str, number: int, mark: str) -> None:
    one.send("MESSAGE", to, "Content-Type: text/plain\r\n", f"Shall we say {mark} then?", lambda _: None)


# --- all --------------------------------------------------------------------------------------------------

PAIRS = 20
EARLY, IDLE = 100, 1000


def _groups(groups: int, watchers: int) -> dict[str, list[str]]:
    return {
        person(first): [person(first + n) for n in range(1, watchers + 1)]
        for first in range(0, groups * (watchers + 1), watchers + 1)
    }


_PAIRED = {person(2 * n): [person(2 * n + 1)] for n in range(PAIRS)}

SCENES = {
    "login": Scene("XMPP login over STARTTLS", "xmpp", log_in, PAIRS),
    "chat": Scene("1:1 chat, archived, acknowledged, carbons on", "xmpp", chat, 2 * PAIRS, _PAIRED),
    "presence-10": Scene("XMPP presence to 10 contacts, each", "xmpp", fan_out, 110, _groups(10, 10), 10),
    "presence-100": Scene("XMPP presence to 100 contacts, each", "xmpp", fan_out, 303, _groups(3, 100), 100),
    "archive": Scene("the last 50 of the archive", "xmpp", query, 2 * PAIRS, _PAIRED),
    "idle": Scene("an idle XMPP connection over TLS", "xmpp", idle, EARLY + IDLE, rest=30.0),
    "register": Scene("SIP REGISTER", "sip", register, PAIRS),
    "subscribe": Scene("SIP SUBSCRIBE, with its first NOTIFY", "sip", subscribe, PAIRS,
                       {person(n): [person((n + 1) % PAIRS)] for n in range(PAIRS)}),
    "notify-1": Scene("SIP PUBLISH → NOTIFY, 1 watcher", "sip", notify, 40, _groups(20, 1), 1),
    "notify-100": Scene("SIP PUBLISH → NOTIFY, 100 watchers, each", "sip", notify, 303, _groups(3, 100), 100),
    "message": Scene("SIP MESSAGE → SIP", "sip", message, 2 * PAIRS, _PAIRED),
}  # fmt: skip
