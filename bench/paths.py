"""What is sent on each path through Tandem, between people in pairs (`bench.run`)."""

from __future__ import annotations

from typing import Any

from bench import load
from bench.load import Books, Heard, Sender, Stream, Task, chat, ignore
from bench.phone import LoadPhone, header
from tests.support.pidf import pidf


async def prepare(task: Task) -> Books:
    """`pairs`: address and password of one and of the other, of each; `window`: operations under way each."""
    books = Books(task["window"])
    for one, other in task["pairs"]:
        books.senders.append(await PATHS[task["path"]](Person(task, *one), Person(task, *other), books.heard))
    return books


class Person:
    """One end of a pair: a stream or a phone."""

    def __init__(self, task: Task, address: str, password: str) -> None:
        self.task = task
        self.address = address
        self.password = password

    async def stream(self, heard: Heard) -> Stream:
        """Log in with XMPP; every mark that arrives is heard."""
        return await Stream(self.task, self.address.partition("@")[0], self.password, heard).open()

    async def phone(self, heard: Heard, **options: Any) -> LoadPhone:
        return await load.phone(self.task, self.address, self.password, heard, **options)


async def sip_xmpp(one: Person, other: Person, heard: Heard) -> Sender:
    await other.stream(heard)
    phone = await one.phone(ignore, register=False)
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
    stream = await one.stream(ignore)

    def send(number: int, mark: str) -> None:
        stream.send(chat(other.address, number, mark))

    return send


async def xmpp_xmpp(one: Person, other: Person, heard: Heard) -> Sender:
    await other.stream(heard)
    stream = await one.stream(ignore)

    def send(number: int, mark: str) -> None:
        stream.send(chat(other.address, number, mark))

    return send


async def publish_presence(one: Person, other: Person, heard: Heard) -> Sender:
    await other.stream(heard)
    phone = await one.phone(ignore)
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
    stream = await one.stream(ignore)
    phone = await other.phone(heard)
    headers = (
        f"Event: presence\r\nExpires: 3600\r\nAccept: application/pidf+xml\r\nContact: {phone.contact}\r\n"
    )
    await phone.ask("SUBSCRIBE", f"sip:{one.address}", headers, call_id=f"watch-{one.address}")

    def send(number: int, mark: str) -> None:
        stream.send(f"<presence><show>away</show><status>{mark}</status></presence>")

    return send


def _nothing(response: bytes) -> None:
    """The answer's arrival is what counts."""


PATHS = {
    "sip-xmpp": sip_xmpp,
    "xmpp-sip": xmpp_sip,
    "xmpp-xmpp": xmpp_xmpp,
    "publish-presence": publish_presence,
    "presence-notify": presence_notify,
}
