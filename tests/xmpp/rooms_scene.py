"""What tests of rooms say and read."""

from __future__ import annotations

from dataclasses import dataclass

from tests.xmpp.scene import Client, Scene
from xmpp.element import CLIENT_NS, E, Element
from xmpp.forms import write_form
from xmpp.rooms.names import ADMIN_NS, CONFIG_NS, MUC_NS, OWNER_NS, USER_NS

ROOMS = "rooms.example.org"
TEA = f"tea@{ROOMS}"


def joining(*children: Element) -> Element:
    return E("x", MUC_NS, {}, *children)


async def join(client: Client, nick: str, *children: Element, room: str = TEA) -> list[Element]:
    """Enter a room; what it says to that."""
    await client.here(joining(*children), to=f"{room}/{nick}")
    return client.heard()


async def opened(client: Client, nick: str, room: str = TEA, **config: str | list[str]) -> None:
    """A new room with its owner inside, configured, and everything about it heard."""
    await join(client, nick, room=room)
    await configure(client, room, **config)
    client.heard()


async def configure(client: Client, room: str = TEA, **config: str | list[str]) -> Element:
    """`membersonly="1"` sets muc#roomconfig_membersonly."""
    names = {"history": "muc#maxhistoryfetch"}
    fields = {
        names.get(key, f"muc#roomconfig_{key}"): [value] if isinstance(value, str) else value
        for key, value in config.items()
    }
    form = write_form("submit", CONFIG_NS, fields)
    return await client.ask("set", E("query", OWNER_NS, {}, form), room)


async def say(client: Client, text: str, *children: Element, room: str = TEA, **attrs: str) -> None:
    await client.message(room, text, *children, type="groupchat", **attrs)


async def administer(client: Client, *items: Element, room: str = TEA) -> Element:
    return await client.ask("set", E("query", ADMIN_NS, {}, *items), room)


def item(reason: str = "", **attrs: str) -> Element:
    made = E("item", ADMIN_NS, attrs)
    if reason:
        made.child("reason", text=reason)
    return made


@dataclass(frozen=True, slots=True)
class Presence:
    """What matters of an occupant's presence."""

    nick: str
    type: str
    affiliation: str
    role: str
    jid: str
    statuses: tuple[int, ...]
    new_nick: str = ""


def presence(stanza: Element) -> Presence:
    assert stanza.name == "presence", stanza.name
    (user,) = stanza.findall("x", USER_NS)
    (shown,) = user.findall("item")
    return Presence(
        nick=stanza.get("from").partition("/")[2],
        type=stanza.get("type"),
        affiliation=shown.get("affiliation"),
        role=shown.get("role"),
        jid=shown.get("jid"),
        statuses=tuple(sorted(int(s.get("code")) for s in user.findall("status"))),
        new_nick=shown.get("nick"),
    )


def summary(stanza: Element) -> str:
    """One word of each kind: `presence ali`, `message bob hello`, `subject`."""
    nick = stanza.get("from").partition("/")[2]
    body, subject = stanza.find("body"), stanza.find("subject")
    if stanza.name == "message" and subject is not None and body is None:
        return f"subject {nick} {subject.text}".strip()
    said = body.text if body is not None else ""
    kind = stanza.name if not stanza.get("type") else f"{stanza.name}-{stanza.get('type')}"
    return f"{kind} {nick} {said}".strip()


def condition(stanza: Element) -> str:
    assert stanza.get("type") == "error", stanza
    (error,) = stanza.findall("error", CLIENT_NS)
    return error.elements[0].name


async def three(xmpp: Scene) -> tuple[Client, Client, Client]:
    """Alice owns a room; Bob is in it, at another process; Carol, at a third, is not yet."""
    await xmpp.people("alice", "bob", "carol")
    alice = await xmpp.online("alice")
    bob = await xmpp.online("bob", node="xmpp-2")
    carol = await xmpp.online("carol", node="xmpp-3")
    await opened(alice, "ali")
    await join(bob, "bob")
    alice.heard()
    return alice, bob, carol
