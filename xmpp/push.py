"""Push notifications as values (XEP-0357): registrations, what is published, which answers end them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from presence.address import Address
from presence.ports import Kept
from xmpp import forms, pubsub
from xmpp.element import CLIENT_NS, E, Element
from xmpp.errors import StanzaError, read_error
from xmpp.jid import JID, parse_jid
from xmpp.reader import parse_fragment
from xmpp.serialiser import serialise_children

NS = "urn:xmpp:push:0"
SUMMARY = "urn:xmpp:push:summary"
OPTIONS = f"{pubsub.NS}#publish-options"
ID = "push-"
MAX_NODE = 1023
MAX_OPTIONS = 8192


@dataclass(frozen=True, slots=True)
class Registration:
    """Where somebody's notifications go."""

    service: JID
    node: str
    options: bytes = b""
    "The form of publish options as it came, serialised."

    @property
    def name(self) -> str:
        """Names it among its owner's."""
        return f"{self.service.full} {self.node}"

    def id(self, owner: Address) -> str:
        """Of all requests made for it: an answer finds it, in any process."""
        return ID + hashlib.sha256(f"{owner} {self.name}".encode()).hexdigest()[:40]


def read_enable(payload: Element) -> Registration:
    """§5. Raises `StanzaError`, also through `InvalidAddress`."""
    node = payload.get("node")
    if not payload.get("jid") or len(node) > MAX_NODE:
        raise StanzaError("bad-request", text="jid names the service, node a node there")
    form = payload.find("x", forms.NS)
    if form is not None:
        forms.read_submission(payload, OPTIONS)
    options = serialise_children([form]) if form is not None else b""
    if len(options) > MAX_OPTIONS:
        raise StanzaError("not-acceptable", text="the publish options are too long")
    return Registration(parse_jid(payload.get("jid")), node, options)


def read_kept(kept: Kept) -> Registration:
    service, _, node = kept.name.partition(" ")
    return Registration(parse_jid(service), node, kept.data)


@dataclass(frozen=True, slots=True)
class News:
    """What a notification is about."""

    count: int
    sender: str = ""
    body: str = ""


def write_publish(owner: Address, registration: Registration, news: News) -> Element:
    """§7: in the name of the user's account."""
    fields = {"message-count": [str(news.count)]}
    if news.sender:
        fields["last-message-sender"] = [news.sender]
    if news.body:
        fields["last-message-body"] = [news.body]
    summary = forms.write_form("submit", SUMMARY, fields)
    item = E("item", pubsub.NS, {}, E("notification", NS, {}, summary))
    attrs = {"node": registration.node} if registration.node else {}
    published = E("pubsub", pubsub.NS, {}, E("publish", pubsub.NS, attrs, item))
    if registration.options:
        published.append(E("publish-options", pubsub.NS, {}, *parse_fragment(registration.options)))
    addressed = {
        "type": "set",
        "id": registration.id(owner),
        "from": str(owner),
        "to": registration.service.full,
    }
    return E("iq", CLIENT_NS, addressed, published)


def is_final(answer: Element) -> bool:
    """The service takes nothing from us any more (§7.1); what passes with time is no reason to give up."""
    return answer.get("type") == "error" and read_error(answer).type != "wait"
