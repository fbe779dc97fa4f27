"""XEP-0280 Message Carbons: what another client, or a phone, of the same user sends and receives.

The bus names the clients a message was not addressed to, in whichever process they are; those that want
carbons get one. Which messages are copied is decided where they come in (`xmpp.message.read_message`).

Errors are copied as the messages they are about: those of the bus, which is told by the message; those of
clients, unless what they give back of it says that it was none of a conversation. What is refused at once,
before anybody has it, is copied to nobody, nor is its error: so urn:xmpp:carbons:rules:0 is not advertised.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from presence.messages import InstantMessage, Kind
from xmpp.element import CLIENT_NS, Element
from xmpp.extensions import Extension, Hint, Iq, Request, Status, Target
from xmpp.jid import JID
from xmpp.message import forward, write_forwarded
from xmpp.relay import Carried, envelope
from xmpp.serialiser import escape_attribute, serialise

if TYPE_CHECKING:
    from xmpp.router import XmppRouter
    from xmpp.session import Session

NS = "urn:xmpp:carbons:2"
SENT, RECEIVED = "sent", "received"


def write_carbon(message: InstantMessage, session: Session, *, sent: bool) -> bytes:
    """§7, §8: for one client, from its own account."""
    type_ = "" if message.kind is Kind.NORMAL else message.kind.value
    return _wrap(write_forwarded(message, session.address), session, SENT if sent else RECEIVED, type_)


def _wrap(forwarded: bytes, session: Session, name: str, type_: str) -> bytes:
    kind = f" type='{escape_attribute(type_)}'" if type_ else ""
    to = escape_attribute(session.jid.full)
    head = f"' to='{to}'{kind}><{name} xmlns='{NS}'>".encode()
    return b"<message from='" + session.escaped + head + forwarded + f"</{name}></message>".encode()


def _copied(session: Session, message: InstantMessage, sent: bool) -> None:
    if NS in session.extra:
        _send(session, write_carbon(message, session, sent=sent))


def _send(session: Session, carbon: bytes) -> None:
    session.router.metrics.count("xmpp_carbons_out_total")
    session.send(carbon, "message")


# --- what does not come by the bus -------------------------------------------------------------------


def _failed(session: Session, error: bytes) -> None:
    if NS in session.extra:
        _send(session, _wrap(forward(error), session, RECEIVED, "error"))


async def _bounced(session: Session, stanza: Element, to: JID) -> None:
    """§6.1, §9.3."""
    router = session.router
    if not _of_a_conversation(stanza, router):
        return
    await share(router, stanza, session.jid, session.jid, [JID.of(session.address)], SENT)
    theirs = router.service.serves(to.domain) and to.bare != session.address
    if theirs and not await router.service.blocking.blocks(to.bare, session.address, session.jid.resource):
        await share(router, stanza, session.jid, to, [JID.of(to.bare)], RECEIVED)


def _of_a_conversation(error: Element, router: XmppRouter) -> bool:
    """As far as can be known: an error need not have anything of the message (RFC 6120 §8.3.1)."""
    rules = router.registry
    told = [child for child in error.elements if (child.ns, child.name) != (CLIENT_NS, "error")]
    if any(rules.hints.get((child.ns, child.name)) is Hint.NO_COPY for child in told):
        return False
    return not told or any(child.ns in rules.conversational or child.name == "body" for child in told)


async def share(
    router: XmppRouter, stanza: Element, sender: JID, has: JID, to: Iterable[JID], name: str
) -> None:
    """To the clients of an account, or to some of them, but for the one that `has` the message. Raises
    `Unavailable`."""
    attrs = {**stanza.attrs, "from": sender.full}
    data = serialise(Element("message", CLIENT_NS, attrs, stanza.children), CLIENT_NS).encode()
    for each in to:
        word = Carried(NS, name, has.full, each.full, stanza.get("type"), data)
        await router.service.relay(envelope(word, each))


def _heard(router: XmppRouter, carried: Carried, to: JID) -> None:
    for session in router.sessions_of(to.bare):
        wanted = to.resource in ("", session.jid.resource) and session.jid.full != carried.sender
        if wanted and NS in session.extra and not session.congested:
            _send(session, _wrap(forward(carried.stanza), session, carried.type, carried.id))


# --- whether a client wants them -----------------------------------------------------------------------


async def _enable(request: Request) -> Element | None:
    request.session.extra[NS] = True
    return None


async def _disable(request: Request) -> Element | None:
    request.session.extra.pop(NS, None)
    return None


def _at_binding(session: Session, element: Element) -> None:
    if element.name == "enable":
        session.extra[NS] = True


def _iq(name: str) -> Iq:
    handle = _enable if name == "enable" else _disable
    return Iq(type="set", ns=NS, name=name, targets=frozenset({Target.ACCOUNT}), handle=handle)


EXTENSION = Extension(
    spec="XEP-0280",
    name="Message Carbons",
    version="1.0.1",
    status=Status.COMPLETE,
    notes="Of phones' messages, too. What is refused at once is copied to nobody, nor is its error.",
    features=(NS,),
    account_features=(NS,),
    at_binding={NS: _at_binding},
    iq=(_iq("enable"), _iq("disable")),
    transient=frozenset({(NS, "private")}),
    hints={(NS, "private"): Hint.NO_COPY},
    conversational=frozenset({"jabber:x:conference", "http://jabber.org/protocol/muc#user"}),
    marks=(NS,),
    copied=_copied,
    failed=_failed,
    bounced=_bounced,
    words={NS: _heard},
)
