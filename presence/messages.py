"""What travels between people: instant messages, and what became of them (RFC 2779 §2.2)."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from presence.address import Address
from presence.errors import Condition
from presence.files import SharedFile
from presence.model import Text


class Kind(StrEnum):
    """RFC 6121 §5.2.2 message types that cross the bus. Errors travel as `Failure`."""

    NORMAL = "normal"
    CHAT = "chat"
    HEADLINE = "headline"
    GROUPCHAT = "groupchat"
    "Said in a room; from its address, to its address."


class Audience(StrEnum):
    """Which endpoints of the recipient a message is for."""

    ALL = "all"
    XMPP = "xmpp"
    "Payload no phone can show: chat states, receipts, markers."


class ChatState(StrEnum):
    """What somebody is doing in a conversation (XEP-0085; RFC 3994 has two of them)."""

    ACTIVE = "active"
    COMPOSING = "composing"
    PAUSED = "paused"
    INACTIVE = "inactive"
    GONE = "gone"


class Report(StrEnum):
    """What the recipient's side says of a message (XEP-0184, XEP-0333; RFC 5438)."""

    DELIVERED = "delivered"
    DISPLAYED = "displayed"
    FAILED = "failed"


class InstantMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message from one person to another."""

    id: str
    "Given by the service at submission; unique; names the message on the bus."
    trace: str
    sender: Address
    sender_endpoint: str = ""
    "Endpoint id of the sender (`xmpp:RESOURCE`, `sip:...`), where failures are told."
    sender_tuple: str = ""
    "Resource or device name shown to the recipient (XMPP resource, SIP gr)."
    recipient: Address
    recipient_endpoint: str = ""
    "Set when addressed to one endpoint (a full JID); falls back to all of them when it is gone."
    kind: Kind = Kind.CHAT
    origin_id: str = ""
    "The sender's own id: stanza id, or SIP branch; returned in failures and receipts."
    bodies: tuple[Text, ...] = ()
    markup: str = ""
    "The first body as formatted text, tidied by `presence.markup`; empty where it says no more."
    file: SharedFile | None = None
    "It shares this file; its first body, if there is one, says where it is."
    encrypted: str = ""
    "Name of the end-to-end encryption its real content is in; who cannot read it is told so instead."
    subjects: tuple[Text, ...] = ()
    thread: str = ""
    created: float
    "When it was accepted, Unix seconds; the XEP-0203 stamp and SIP Date of late delivery."
    expires: float | None = None
    "Unix seconds after which it must not be delivered any more (RFC 3428 §8)."
    hops: int = 70
    "Servers it may still pass beyond this one: less where it has passed some, so that a loop ends."
    store: bool = True
    "False for what is worthless later (chat states): delivered to live endpoints or dropped."
    audience: Audience = Audience.ALL
    archived: bool = True
    "Belongs in the archives of both (XEP-0313), unless one of them does not want it."
    copied: bool = True
    "The other XMPP clients of both hear of it (XEP-0280)."
    chat_state: ChatState | None = None
    report: Report | None = None
    "It says what became of another message."
    about: str = ""
    "`origin_id` of that message."
    wants: tuple[Report, ...] = ()
    "Reports the sender asks for. A message that is a report asks for none."
    opaque: dict[str, bytes] = {}
    "Payload only the named package reads, e.g. `xmpp`: serialised extension elements."


class Delivery(StrEnum):
    """What became of a message at one endpoint."""

    DELIVERED = "delivered"
    UNREACHABLE = "unreachable"
    "No answer, or a dead connection: it waits for the endpoint to come back."
    REFUSED = "refused"
    "A final answer: it will never be taken there."


class Accepted(StrEnum):
    """The bus's answer to a submission."""

    LIVE = "live"
    "At least one endpoint has it on its way (SIP 200)."
    STORED = "stored"
    "It waits for the recipient (SIP 202)."
    DUPLICATE = "duplicate"
    "The same message was accepted before; answer as then."
    DROPPED = "dropped"
    "`store` was false and nobody is there."


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Told to the sender when no endpoint took a message."""

    message_id: str
    trace: str
    origin_id: str
    sender: Address
    sender_endpoint: str
    recipient: Address
    recipient_endpoint: str = ""
    condition: Condition
    text: str = ""
    copied: bool = False
    "As the message: the sender's other XMPP clients hear of it, too."
