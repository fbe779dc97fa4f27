"""xmpp.extensions: one registration each, and what follows from it."""

from __future__ import annotations

import pkgutil
import re
from dataclasses import replace

from presence.address import Address
from presence.errors import Unavailable
from presence.memory import MemoryBus
from presence.model import Snapshot
from presence.ports import Committed, Update
from tests.xmpp.scene import Client, Scene
from xmpp import extensions
from xmpp.element import CLIENT_NS, E, Element
from xmpp.extensions import EVERYWHERE, Extension, Iq, Registry, Request, Status, registry

INFO = "http://jabber.org/protocol/disco#info"


def test_every_file_is_one_specification_named_after_it() -> None:
    names = [module.name for module in pkgutil.iter_modules(extensions.__path__)]
    for name, extension in zip(sorted(names), registry().extensions, strict=True):
        kind, number, _ = name.split("_", 2)
        assert extension.spec == f"{kind.upper()}-{number}" if kind == "xep" else f"RFC {number}"
        assert re.fullmatch(r"[0-9.]+", extension.version)


def test_no_two_extensions_answer_the_same_request() -> None:
    handlers = [
        (target, iq.type, iq.ns, iq.name)
        for extension in registry().extensions
        for iq in extension.iq
        for target in iq.targets
    ]
    assert len(set(handlers)) == len(handlers)


def test_an_extension_is_used_wherever_it_registers() -> None:
    async def handle(request: Request) -> None:
        """Never called."""

    made = Extension(
        spec="XEP-9999",
        name="Nothing",
        version="0.1",
        status=Status.PARTIAL,
        features=("urn:nothing",),
        stream_features=(lambda: E("nothing", "urn:nothing"),),
        iq=(Iq(type="get", ns="urn:nothing", name="q", targets=EVERYWHERE, handle=handle),),
    )
    index = Registry((made,))
    assert index.features == ("urn:nothing",)
    assert [make() for make in index.stream_features] == [E("nothing", "urn:nothing")]
    assert len(index.iq) == len(EVERYWHERE)
    assert index.owner["urn:nothing", "q"] == "XEP-9999"


def test_what_two_extensions_do_with_a_stanza_together_is_done_once() -> None:
    made = Extension(
        spec="XEP-9999", name="", version="1", status=Status.PARTIAL, incoming=lambda _, stanza: stanza
    )
    together = Registry((made, replace(made, spec="XEP-9998"))).incoming
    assert {name: len(hooks) for name, hooks in together.items()} == {"message": 1, "presence": 1, "iq": 1}


def test_an_extension_is_shown_only_the_stanzas_it_wants_to_hear() -> None:
    def swallow(session: object, stanza: Element) -> None: ...

    names = frozenset({"presence"})
    made = Extension(
        spec="XEP-9999", name="", version="1", status=Status.PARTIAL, incoming=swallow, hears=names
    )
    assert Registry((made,)).incoming == {"message": (), "presence": (swallow,), "iq": ()}


async def test_service_discovery_tells_what_is_registered(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.connect("alice")
    for to, features in (("example.org", registry().features), ("", registry().account_features)):
        answer = await alice.ask("get", E("query", INFO), to=to)
        told = [f.get("var") for f in answer.elements[0].findall("feature")]
        assert told == list(features)


async def test_stream_features_are_optional_extras_of_old_and_the_rosters(xmpp: Scene) -> None:
    router = await xmpp.node("xmpp-1")
    assert [(f.name, f.ns) for f in router.features()] == [
        ("session", "urn:ietf:params:xml:ns:xmpp-session"),
        ("ver", "urn:xmpp:features:rosterver"),
        ("sub", "urn:xmpp:features:pre-approval"),
        ("sm", "urn:xmpp:sm:3"),
        ("csi", "urn:xmpp:csi:0"),
        ("c", "http://jabber.org/protocol/caps"),
        ("c", "urn:xmpp:caps"),
    ]


# --- XEP-0199 ------------------------------------------------------------------------------------------


def dropped(client: Client) -> str:
    """The condition its stream was ended with."""
    return client.ended.condition if client.ended is not None else ""


async def test_a_silent_client_is_pinged_and_then_dropped(xmpp: Scene) -> None:
    await xmpp.people("alice")
    await xmpp.node("xmpp-1", ping_interval=300, ping_timeout=60)
    alice = await xmpp.connect("alice")
    await xmpp.wait(301)
    (ping,) = alice.heard("iq")
    assert (ping.get("type"), ping.get("to")) == ("get", alice.jid)
    assert ping.elements == [E("ping", "urn:xmpp:ping")]
    assert dropped(alice) == ""
    await xmpp.wait(61)
    assert dropped(alice) == "connection-timeout"


async def test_a_client_that_says_anything_is_not_dropped(xmpp: Scene) -> None:
    await xmpp.people("alice")
    await xmpp.node("xmpp-1", ping_interval=300, ping_timeout=60)
    alice = await xmpp.connect("alice")
    await xmpp.wait(299)
    await alice.here()
    await xmpp.wait(2)
    assert alice.heard("iq") == []
    await xmpp.wait(300)
    (ping,) = alice.heard("iq")
    await alice.say(E("iq", CLIENT_NS, {"type": "result", "id": ping.get("id"), "to": "example.org"}))
    await xmpp.wait(61)
    assert dropped(alice) == ""


async def test_a_session_that_ended_is_not_pinged(xmpp: Scene) -> None:
    await xmpp.people("alice")
    await xmpp.node("xmpp-1", ping_interval=300)
    alice = await xmpp.connect("alice")
    await alice.gone()
    await xmpp.wait(10_000)
    assert alice.heard() == []


# --- outages -------------------------------------------------------------------------------------------


class Moody(MemoryBus):
    """A bus that cannot be reached now and then."""

    outage = 0

    async def commit(self, address: Address, update: Update, now: float, trace: str = "") -> Committed:
        if self.outage:
            self.outage -= 1
            raise Unavailable("no bus")
        return await super().commit(address, update, now, trace)

    async def watch(self, node: str, addresses: object, now: float) -> list[Snapshot]:
        if self.outage:
            self.outage -= 1
            raise Unavailable("no bus")
        return await super().watch(node, addresses, now)  # type: ignore[arg-type]


async def test_presence_gets_through_when_the_bus_is_back(xmpp: Scene) -> None:
    xmpp.bus = bus = Moody(clock=xmpp.clock)
    await xmpp.friends("alice", "bob")
    alice = await xmpp.online("alice")
    bus.outage = 5
    bob = await xmpp.connect("bob")
    await bob.here()
    bus.outage = 3
    await bob.here(E("show", CLIENT_NS, {}, "away"))
    assert [p.get("from") for p in alice.heard("presence")][-1] == bob.jid
    assert {p.get("from") for p in bob.heard("presence")} == {bob.jid, alice.jid}
