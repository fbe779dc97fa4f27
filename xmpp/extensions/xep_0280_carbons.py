"""XEP-0280 Message Carbons: what another client, or a phone, of the same user sends and receives.

The bus names the clients a message was not addressed to, in whichever process they are; those that want
carbons get one. Which messages are copied is decided where they come in (`xmpp.message.read_message`).

GAP XEP-0280 §6.1: errors are told to the client whose message failed only; so urn:xmpp:carbons:rules:0 is not
advertised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from presence.messages import InstantMessage, Kind
from xmpp.element import Element
from xmpp.extensions import Extension, Hint, Iq, Request, Status, Target
from xmpp.message import write_forwarded
from xmpp.serialiser import escape_attribute

if TYPE_CHECKING:
    from xmpp.session import Session

NS = "urn:xmpp:carbons:2"


def write_carbon(message: InstantMessage, session: Session, *, sent: bool) -> bytes:
    """§7, §8: for one client, from its own account."""
    kind = "" if message.kind is Kind.NORMAL else f" type='{message.kind.value}'"
    name = "sent" if sent else "received"
    to = escape_attribute(session.jid.full)
    head = f"' to='{to}'{kind}><{name} xmlns='{NS}'>".encode()
    forwarded = write_forwarded(message, session.address)
    return b"<message from='" + session.escaped + head + forwarded + f"</{name}></message>".encode()


def _copied(session: Session, message: InstantMessage, sent: bool) -> None:
    if NS in session.extra:
        session.router.metrics.count("xmpp_carbons_out_total")
        session.send(write_carbon(message, session, sent=sent), "message")


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
    status=Status.PARTIAL,
    notes="Of phones' messages, too. Errors are told to the client whose message failed only.",
    features=(NS,),
    account_features=(NS,),
    at_binding={NS: _at_binding},
    iq=(_iq("enable"), _iq("disable")),
    transient=frozenset({(NS, "private")}),
    hints={(NS, "private"): Hint.NO_COPY},
    conversational=frozenset({"jabber:x:conference", "http://jabber.org/protocol/muc#user"}),
    marks=(NS,),
    copied=_copied,
)
