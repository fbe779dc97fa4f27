"""xmpp.hosted: services at domains of their own."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.xmpp.scene import Client, Scene
from xmpp.element import CLIENT_NS, E, Element
from xmpp.errors import StanzaError
from xmpp.extensions import Request, Target
from xmpp.hosted import INFO_NS, ITEMS_NS, PING_NS, Desk, beside
from xmpp.jid import JID
from xmpp.session import Session

ECHO = "echo.example.org"


@dataclass
class Parrot:
    """A service that keeps what it hears."""

    domain: str = ECHO
    beside: str = "example.org"
    name: str = "Parrot"
    heard: list[tuple[str, str, str]] = field(default_factory=list)

    async def receive(self, session: Session, stanza: Element, to: JID) -> None:
        self.heard.append((stanza.name, stanza.get("type"), to.full))
        if to.local == "grumpy":
            raise StanzaError("not-allowed")


async def told(request: Request) -> Element:
    assert request.target is Target.SERVICE
    return E("said", "urn:said", {"to": request.to.full, "by": request.session.jid.full})


def desk() -> Desk:
    return Desk(
        domain=ECHO,
        name="Echoes",
        beside="example.org",
        identity=("store", "file"),
        features=("urn:said",),
        forms=(E("x", "jabber:x:data", {"type": "result"}),),
        answers={("get", "urn:said", "say"): told},
    )


async def alice_and_parrot(xmpp: Scene) -> tuple[Client, Parrot]:
    await xmpp.people("alice")
    router = await xmpp.node("xmpp-1")
    parrot = Parrot()
    router.hosted[ECHO] = parrot
    return await xmpp.online("alice"), parrot


def condition(stanza: Element) -> str:
    return next(error.elements[0].name for error in stanza.elements if error.name == "error")


async def test_the_server_lists_its_services_and_a_service_says_who_it_is(xmpp: Scene) -> None:
    await xmpp.people("alice")
    router = await xmpp.node("xmpp-1")
    router.hosted[ECHO] = desk()
    alice = await xmpp.online("alice")
    items = (await alice.ask("get", E("query", ITEMS_NS), "example.org")).elements[0]
    assert E("item", ITEMS_NS, {"jid": ECHO, "name": "Echoes"}) in items.elements
    info = (await alice.ask("get", E("query", INFO_NS), ECHO)).elements[0]
    assert info.elements[0].attrs == {"category": "store", "type": "file", "name": "Echoes"}
    features = [each.get("var") for each in info.findall("feature")]
    assert features == sorted([INFO_NS, ITEMS_NS, PING_NS, "urn:said"])
    assert info.elements[-1].ns == "jabber:x:data"
    assert (await alice.ask("get", E("query", ITEMS_NS), ECHO)).elements[0].elements == []
    assert (await alice.ask("get", E("ping", PING_NS), ECHO)).get("type") == "result"


async def test_a_desk_answers_its_requests_and_refuses_the_others(xmpp: Scene) -> None:
    await xmpp.people("alice")
    router = await xmpp.node("xmpp-1")
    router.hosted[ECHO] = desk()
    alice = await xmpp.online("alice")
    answer = await alice.ask("get", E("say", "urn:said"), ECHO)
    assert answer.get("from") == ECHO
    assert answer.elements == [E("said", "urn:said", {"to": ECHO, "by": alice.jid})]
    for kind, payload, to in (
        ("set", E("say", "urn:said"), ECHO),
        ("get", E("say", "urn:said"), f"somebody@{ECHO}"),
        ("get", E("say", "urn:said"), f"{ECHO}/there"),
    ):
        assert condition(await alice.ask(kind, payload, to)) == "service-unavailable"
    answer = await alice.ask("get", E("query", INFO_NS, {"node": "n"}), ECHO)
    assert condition(answer) == "item-not-found"
    await alice.message(ECHO, "hello")
    (refused,) = alice.heard()
    assert condition(refused) == "service-unavailable"
    await alice.here(to=ECHO)
    assert alice.heard() == []


async def test_every_kind_of_stanza_reaches_a_service(xmpp: Scene) -> None:
    alice, parrot = await alice_and_parrot(xmpp)
    await alice.message(f"room@{ECHO}", "hello", type="groupchat")
    await alice.here(to=f"room@{ECHO}/ali")
    await alice.say(E("iq", CLIENT_NS, {"type": "result", "id": "1", "to": f"room@{ECHO}/bob"}))
    await alice.say(E("iq", CLIENT_NS, {"type": "get", "id": "2", "to": f"room@{ECHO}"}, E("q", "urn:q")))
    assert parrot.heard == [
        ("message", "groupchat", f"room@{ECHO}"),
        ("presence", "", f"room@{ECHO}/ali"),
        ("iq", "result", f"room@{ECHO}/bob"),
        ("iq", "get", f"room@{ECHO}"),
    ]
    assert alice.heard() == []


async def test_who_made_itself_known_to_a_service_is_heard_to_leave(xmpp: Scene) -> None:
    alice, parrot = await alice_and_parrot(xmpp)
    await alice.here(to=f"room@{ECHO}/ali")
    await alice.here(type="unavailable")
    assert parrot.heard[1:] == [("presence", "unavailable", f"room@{ECHO}/ali")]
    quiet = await xmpp.connect("alice", "phone")  # never available for anybody else
    await quiet.here(to=f"room@{ECHO}/ali")
    parrot.heard.clear()
    await quiet.gone()
    assert parrot.heard == [("presence", "unavailable", f"room@{ECHO}/ali")]


async def test_what_a_service_refuses_is_told_to_the_client(xmpp: Scene) -> None:
    alice, _ = await alice_and_parrot(xmpp)
    await alice.message(f"grumpy@{ECHO}", "hello")
    (refused,) = alice.heard()
    assert (refused.get("type"), condition(refused)) == ("error", "not-allowed")


async def test_whom_one_blocks_one_says_nothing_to(xmpp: Scene) -> None:
    alice, parrot = await alice_and_parrot(xmpp)
    block = E("block", "urn:xmpp:blocking", {}, E("item", "urn:xmpp:blocking", {"jid": f"room@{ECHO}"}))
    await alice.ask("set", block)
    alice.heard()
    await alice.message(f"room@{ECHO}", "hello")
    (refused,) = alice.heard()
    assert condition(refused) == "not-acceptable"
    assert parrot.heard == []


async def test_domains_beside_those_with_accounts() -> None:
    assert beside({"b.example", "a.example", "[::1]"}, "rooms") == [
        ("rooms.a.example", "a.example"),
        ("rooms.b.example", "b.example"),
    ]
