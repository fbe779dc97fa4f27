"""Messages: where they go (RFC 6121 §5, §8.5), `<message/>` ↔ `InstantMessage` (RFC 7572 §4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from presence.address import Address
from presence.errors import InvalidAddress
from presence.messages import Audience, Failure, InstantMessage, Kind
from presence.model import Text
from xmpp.element import CLIENT_NS, LANG, Element
from xmpp.errors import StanzaError, from_condition
from xmpp.extensions import Hint
from xmpp.jid import JID, parse_jid
from xmpp.notices import NOTHING, read_notices, write_notices
from xmpp.presence import DELAY_NS, OPAQUE
from xmpp.serialiser import escape_attribute, escape_text, serialise, serialise_children
from xmpp.timestamps import stamp

SID_NS = "urn:xmpp:sid:0"
FORWARD_NS = "urn:xmpp:forward:0"
_CORE = frozenset({"body", "subject", "thread"})


class MessageType(StrEnum):
    """RFC 6121 §5.2.2."""

    NORMAL = "normal"
    CHAT = "chat"
    GROUPCHAT = "groupchat"
    HEADLINE = "headline"
    ERROR = "error"


_TYPES = {t.value: t for t in MessageType}
_KINDS: dict[MessageType, Kind] = {
    type_: Kind(type_.value) for type_ in MessageType if type_ is not MessageType.ERROR
}


def without_ids(stanza: Element, ours: Callable[[str], bool]) -> Element:
    """A message without the ids that only we give: in the name of an account or a room of a domain that is
    `ours` (XEP-0359 §3 rules 2 and 5)."""
    if stanza.name != "message" or stanza.find("stanza-id", SID_NS) is None:
        return stanza

    def forged(child: Element) -> bool:
        if (child.name, child.ns) != ("stanza-id", SID_NS):
            return False
        try:
            return ours(parse_jid(child.get("by")).domain)
        except InvalidAddress:
            return True  # there is no such id

    kept = [child for child in stanza.children if not (isinstance(child, Element) and forged(child))]
    return Element(stanza.name, stanza.ns, stanza.attrs, kept)


def message_type(stanza: Element) -> MessageType:
    """An absent or unknown type is `normal` (RFC 6121 §5.2.2)."""
    return _TYPES.get(stanza.get("type"), MessageType.NORMAL)


# --- routing ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Submit:
    """To the bus: all non-negative resources and phones, or it waits. A full JID's resource comes first."""

    store: bool


@dataclass(frozen=True, slots=True)
class Forward:
    """To exactly that resource, now; nobody else may have it."""

    otherwise: StanzaError | None
    "When the resource is not there: this error, or silence."


@dataclass(frozen=True, slots=True)
class Drop:
    """Silently ignore it."""


Way = Submit | Forward | Drop
_KEPT, _NOW = Submit(store=True), Submit(store=False)


def route(type_: MessageType, to: JID) -> Way:
    """RFC 6121 §8.5.4 table 1, for an address of our own. Raises `StanzaError` where it says E.

    Where the table leaves a choice, chat messages are not lost. Nor are normal ones to a resource that is
    gone, though the table has S/E there: they go to the bare JID as well.
    """
    if type_ is MessageType.ERROR:
        return Forward(None) if to.resource else Drop()
    if not to.local:  # the server itself reads no messages
        raise StanzaError("service-unavailable")
    if type_ in (MessageType.NORMAL, MessageType.CHAT):
        return _KEPT
    if not to.resource:
        if type_ is MessageType.GROUPCHAT:
            raise StanzaError("service-unavailable")
        return _NOW
    return Forward(StanzaError("service-unavailable") if type_ is MessageType.GROUPCHAT else None)


class Rules(Protocol):
    """What the extensions know of payloads; `xmpp.extensions.Registry` is one."""

    @property
    def transient(self) -> AbstractSet[tuple[str, str]]: ...
    @property
    def hints(self) -> Mapping[tuple[str, str], Hint]: ...
    @property
    def reads(self) -> Mapping[tuple[str, str], Callable[[Element], dict[str, Any]]]: ...
    @property
    def conversational(self) -> AbstractSet[str]: ...


# --- in --------------------------------------------------------------------------------------------


def read_message(
    stanza: Element,
    *,
    sender: JID,
    to: JID,
    lang: str,
    store: bool,
    rules: Rules,
    now: float,
    trace: str,
) -> InstantMessage:
    """A client's message for the bus.

    Without a body it is for XMPP clients only, unless phones know the like of it. It is stored unless
    nothing in it is of worth later: receipts are (a lost one leaves the sender's message unconfirmed for
    ever), chat states are not. What is worth storing is archived (XEP-0313 §6), and what belongs to a
    conversation is copied to the other clients of both (XEP-0280 §6.1), unless the message says otherwise
    (XEP-0334).
    """
    default = stanza.get(LANG, lang)
    bodies: list[Text] = []
    subjects: list[Text] = []
    extras: list[Element] = []
    thread = ""
    worth = conversational = False
    hints: set[Hint] = set()
    told: dict[tuple[str, str], Element] = {}
    for child in stanza.elements:
        if child.ns != CLIENT_NS or child.name not in _CORE:
            extras.append(child)
            payload = (child.ns, child.name)
            worth = worth or payload not in rules.transient
            conversational = conversational or child.ns in rules.conversational
            if payload in rules.hints:
                hints.add(rules.hints[payload])
            elif payload in rules.reads:
                told[payload] = child
        elif child.name == "body":
            bodies.append(Text(child.text, child.get(LANG, default)))
        elif child.name == "subject":
            subjects.append(Text(child.text, child.get(LANG, default)))
        else:
            thread = thread or child.text
            if child.get("parent"):  # RFC 6121 §5.2.5; nobody else has a place for it
                extras.append(child)
    type_ = message_type(stanza)
    kind = _KINDS[type_]
    lasting = store and bool(bodies or subjects or worth)
    talk = kind is Kind.CHAT or (kind is Kind.NORMAL and bool(bodies or conversational))
    archived, copied = lasting, talk
    if hints:
        lasting = (lasting or (store and Hint.STORE in hints)) and Hint.NO_STORE not in hints
        archived = lasting and Hint.NO_ARCHIVE not in hints
        copied = talk and Hint.NO_COPY not in hints
    said: dict[str, Any] = {}
    if told:  # what a later specification says counts
        for payload, read in rules.reads.items():
            if payload in told:
                said |= read(told[payload])
    notices = read_notices(extras) if extras else NOTHING
    return InstantMessage(
        id=trace,
        trace=trace,
        sender=sender.bare,
        sender_endpoint=f"xmpp:{sender.resource}",
        sender_tuple=sender.resource,
        recipient=to.bare,
        recipient_endpoint=f"xmpp:{to.resource}" if to.resource else "",
        kind=kind,
        origin_id=stanza.get("id"),
        bodies=tuple(bodies),
        subjects=tuple(subjects),
        thread=thread,
        created=now,
        store=lasting,
        audience=Audience.ALL if bodies or said or notices.chat_state or notices.report else Audience.XMPP,
        chat_state=notices.chat_state,
        report=notices.report,
        about=notices.about,
        wants=notices.wants,
        archived=archived,
        copied=copied,
        opaque={OPAQUE: serialise_children(extras)} if extras else {},
        **said,
    )


def check_size(message: InstantMessage, most: int) -> None:
    """What was read may be larger written anew: namespaces that were declared once, characters that are
    escaped. Raises `StanzaError` for more than twice as many bytes as a stanza may have."""
    if len(message.opaque.get(OPAQUE, b"")) > 2 * most:
        raise StanzaError("policy-violation", text="too large when it is written out")


# --- out -------------------------------------------------------------------------------------------


def addressee(message: InstantMessage) -> str:
    """The `to` the sender wrote; it is never rewritten (RFC 6121 §8.5.2.1.1)."""
    return _endpoint_jid(message.recipient, message.recipient_endpoint)


def _endpoint_jid(address: Address, endpoint: str) -> str:
    """Of a phone, or of no endpoint: the bare JID."""
    kind, _, name = endpoint.partition(":")
    return f"{address}/{name}" if kind == "xmpp" and name else str(address)


def write_message(message: InstantMessage, *, delayed: bool, by: Address | None = None) -> bytes:
    """A message for a client. `delayed` adds when and where it was kept (XEP-0203). `by`: whose client it is,
    when not the recipient's; the archive's id is shown to whom the archive belongs (XEP-0359)."""
    sender = f"{message.sender}/{message.sender_tuple}" if message.sender_tuple else str(message.sender)
    to = escape_attribute(addressee(message))
    out = [f"<message from='{escape_attribute(sender)}' to='{to}'"]
    write_content(message, out)
    end = "</message>"
    if message.archived:
        owner = escape_attribute(str(by or message.recipient))
        end = f"<stanza-id xmlns='{SID_NS}' by='{owner}' id='{message.id}'/></message>"
    if delayed:
        domain = escape_attribute(message.recipient.domain)
        end = f"<delay xmlns='{DELAY_NS}' from='{domain}' stamp='{stamp(message.created)}'/>{end}"
    if not message.opaque:
        out.append(end)
        return "".join(out).encode()
    return "".join(out).encode() + message.opaque.get(OPAQUE, b"") + end.encode()


def write_content(message: InstantMessage, out: list[str]) -> None:
    """What follows the addresses, up to the payloads that only XMPP reads."""
    if message.kind is not Kind.NORMAL:
        out.append(f" type='{message.kind}'")
    if message.origin_id:
        out.append(f" id='{escape_attribute(message.origin_id)}'")
    texts = message.bodies or message.subjects
    lang = texts[0].lang if texts else ""
    if lang:
        out.append(f" xml:lang='{escape_attribute(lang)}'")
    out.append(">")
    _texts(out, "subject", message.subjects, lang)
    _texts(out, "body", message.bodies, lang)
    extras = message.opaque.get(OPAQUE, b"")
    if not extras:
        out.append(write_notices(message))
    if message.thread and b"<thread xmlns='jabber:client'" not in extras:
        out.append(f"<thread>{escape_text(message.thread)}</thread>")


def write_forwarded(message: InstantMessage, by: Address, received: float | None = None) -> bytes:
    """A message inside another one (XEP-0297), with the time it was `received` at in Unix seconds."""
    return forward(write_message(message, delayed=False, by=by), received)


def forward(inner: bytes, received: float | None = None) -> bytes:
    """A message as `write_message` and `xmpp.serialiser.serialise` write it for clients, inside another."""
    delay = f"<delay xmlns='{DELAY_NS}' stamp='{stamp(received)}'/>" if received is not None else ""
    start = f"<forwarded xmlns='{FORWARD_NS}'>{delay}<message xmlns='{CLIENT_NS}'"
    return start.encode() + inner.removeprefix(b"<message") + b"</forwarded>"


def _texts(out: list[str], name: str, texts: tuple[Text, ...], lang: str) -> None:
    for text in texts:
        tag = "" if text.lang == lang else f" xml:lang='{escape_attribute(text.lang)}'"
        out.append(f"<{name}{tag}>{escape_text(text.text)}</{name}>")


def write_failure(failure: Failure) -> bytes:
    """What the sender hears when nobody took a message (RFC 6121 §8.5, RFC 7247 §7)."""
    attrs = {
        "from": _endpoint_jid(failure.recipient, failure.recipient_endpoint),
        "to": _endpoint_jid(failure.sender, failure.sender_endpoint),
        "type": "error",
    }
    if failure.origin_id:
        attrs["id"] = failure.origin_id
    error = from_condition(failure.condition, failure.text)
    return serialise(Element("message", CLIENT_NS, attrs, [error.element(CLIENT_NS)]), CLIENT_NS).encode()
