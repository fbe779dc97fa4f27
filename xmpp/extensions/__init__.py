"""Extensions: one file `xep_NNNN_name.py` (or `rfc_NNNN_name.py`) with one registration, `EXTENSION`.

Service discovery, stream features, IQ routing, metrics and the compliance page all follow from it. Nothing
else has to be edited when a file is added to this folder.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from presence.discovery import load
from presence.messages import InstantMessage
from xmpp.commands import Command
from xmpp.element import Element
from xmpp.entrance import Entrance
from xmpp.jid import JID

if TYPE_CHECKING:
    from presence.address import Address
    from presence.watching import Change
    from xmpp.capabilities import Claim
    from xmpp.host import Outbound, Resumed
    from xmpp.hosted import Service
    from xmpp.relay import Carried
    from xmpp.rooms.requests import Answer
    from xmpp.router import XmppRouter
    from xmpp.session import Session

    Negotiates = Callable[[XmppRouter, Address, Element, Outbound, str], Awaitable[Resumed | Element]]


class Status(StrEnum):
    """How much of a specification is here, for the compliance page."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    CARRIED = "carried"
    "Between clients: the server only carries it, untouched."


class Target(StrEnum):
    """Whom an IQ that the server answers was addressed to (RFC 6121 §8.3 to §8.5)."""

    SERVER = "server"
    ACCOUNT = "account"
    "The sender's own account: no `to`, or the own bare JID."
    USER = "user"
    "Another user's bare JID; the server answers on behalf (RFC 6121 §8.5.2.1.3)."
    SERVICE = "service"
    "A service at a domain of its own (`xmpp.hosted`)."


EVERYWHERE = frozenset({Target.SERVER, Target.ACCOUNT, Target.USER})


class Hint(StrEnum):
    """What an element of a message says about the message (XEP-0334, XEP-0280)."""

    STORE = "store"
    NO_STORE = "no-store"
    "Not even until the recipient comes."
    NO_ARCHIVE = "no-archive"
    NO_COPY = "no-copy"


@dataclass(frozen=True, slots=True)
class Request:
    """An IQ of type get or set that the server answers itself."""

    session: Session
    stanza: Element
    payload: Element
    target: Target
    to: JID
    "The addressee; the own bare JID where the stanza had no `to`."

    @property
    def router(self) -> XmppRouter:
        return self.session.router


@dataclass(frozen=True, slots=True, kw_only=True)
class Iq:
    """One request that an extension answers."""

    type: str
    "`get` or `set`."
    ns: str
    name: str
    targets: frozenset[Target]
    handle: Callable[[Request], Awaitable[Element | None]]
    "Returns the payload of the result, or None for an empty one. Raises `StanzaError` or a domain error."
    strangers: bool = False
    """People of other domains may ask, too, through components (XEP-0114): of `Request.session` there is only
    the address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """One specification, as far as this server has to do with it."""

    spec: str
    "`XEP-0199`, `RFC 3921`."
    name: str
    version: str
    "Version of the specification that was read."
    status: Status
    notes: str = ""
    "For the compliance page: what is left out, and why."

    features: tuple[str, ...] = ()
    "Service discovery features of the server."
    server_form: Callable[[XmppRouter], Element | None] | None = None
    "A form that the server tells with its features (XEP-0128)."
    server_nodes: Callable[[Request], Awaitable[Element | None]] | None = None
    "Answers service discovery at a node of the server; None for what is none of its nodes."
    commands: tuple[Command, ...] = ()
    "What people can do at the server with their clients (XEP-0050)."
    account_features: tuple[str, ...] = ()
    "Service discovery features of an account."
    account_identities: tuple[tuple[str, str], ...] = ()
    "Further (category, type) of an account."
    account_items: Callable[[Request], Awaitable[list[Element]]] | None = None
    "Service discovery items of an account that whoever asks may see."
    account_nodes: Callable[[Request], Awaitable[Element]] | None = None
    "Answers service discovery at a node of an account; raises `StanzaError`. One extension has it."
    stream_features: tuple[Callable[[], Element], ...] = ()
    "Stream features after authentication."
    announces: Callable[[XmppRouter], Element] | None = None
    "A stream feature after authentication that says what this server is."
    iq: tuple[Iq, ...] = ()
    transient: frozenset[tuple[str, str]] = frozenset()
    "(namespace, name) of message payloads that are worthless later: alone in a message, it is never stored."
    hints: dict[tuple[str, str], Hint] = field(default_factory=dict)
    "(namespace, name) of message payloads that say how the message is to be treated."
    reads: dict[tuple[str, str], Callable[[Element], dict[str, Any]]] = field(default_factory=dict)
    "(namespace, name) of a message payload → what it says of the message, as fields of `InstantMessage`."
    conversational: frozenset[str] = frozenset()
    """Namespaces of message payloads by which a message of type normal belongs to a conversation, as one with
    a body does (XEP-0280 §6.1)."""
    elements: dict[str, Callable[[Session, Element], Awaitable[None]]] = field(default_factory=dict)
    "Namespace → handler of top-level elements that are no stanzas."
    negotiable: dict[str, Negotiates] = field(default_factory=dict)
    "Namespace → handler of top-level elements between authentication and binding (`xmpp.host.Negotiable`)."
    entrance: Entrance | None = None
    "What is done for clients that are not logged in, or are just logging in."
    at_binding: dict[str, Callable[[Session, Element], Element | None]] = field(default_factory=dict)
    """Namespace, which is also the feature's name → what a client may ask for while it binds (XEP-0386).
    Called right after its session was made, before anything can be sent to it. Returns what the client is
    told."""
    bound: Callable[[Session], Awaitable[Element | None]] | None = None
    "What a client that binds (XEP-0386) is told of its account."

    room_features: tuple[str, ...] = ()
    "Service discovery features of a room."
    room_iq: dict[tuple[str, str, str], Answer] = field(default_factory=dict)
    "(`get` or `set`, namespace, name of the payload) → what a room answers (`xmpp.rooms.requests`)."
    hosts: Callable[[XmppRouter], Iterable[Service]] | None = None
    "Services at domains of their own; asked once, when the server is made."
    words: dict[str, Callable[[XmppRouter, Carried, JID], None]] = field(default_factory=dict)
    """`xmpp.relay.Carried.name` → what is done in each process that has sessions of the addressee; see
    `XmppRouter.say_everywhere`."""

    claims: Callable[[Element], Claim | None] | None = None
    "What an available presence says of its client's capabilities; with `xmpp.capabilities.incoming`."

    # hooks, called for every session; all optional
    incoming: Callable[[Session, Element], Element | None] | None = None
    """A stanza came from the client, before anything is done with it; None swallows it. One that several
    extensions share is called once."""
    hears: frozenset[str] = frozenset({"message", "presence", "iq"})
    "Names of the stanzas that `incoming` is called for."
    outgoing: Callable[[Session, Outgoing], bool] | None = None
    "Something is about to be sent to the client; False holds it back (the extension sends it later)."
    opened: Callable[[Session], None] | None = None
    capable: Callable[[Session, frozenset[str]], None] | None = None
    """The client is available, and these are its features as far as they matter: `+notify`, and what is
    `understood` (`xmpp.capabilities`)."""
    understood: frozenset[str] = frozenset()
    "Further features, and identities as `category/type`, that `capable` is to hear of."
    marks: tuple[str, ...] = ()
    "Keys of `Session.extra` that are there or not; they go along with a session to another process."
    packs: Callable[[Session], bytes] | None = None
    "What else goes along, when the client takes its session up in another process; empty for nothing."
    unpacks: Callable[[Session, bytes], Awaitable[None] | None] | None = None
    "There, before anything is sent to it. What is returned is awaited once the bus knows where it is now."
    detached: Callable[[Session, str], bool] | None = None
    "The connection is gone; True keeps the session alive without one, until `Session.end` is called."
    resumed: Callable[[Session], None] | None = None
    "The client is back, over another connection; it has been sent what it missed."
    closed: Callable[[Session, str], None] | None = None
    asks: Callable[[Session, Element, JID], Awaitable[bool]] | None = None
    "The client asks to see somebody; True: everything is done."
    accepted: Callable[[Session, Element, InstantMessage], None] | None = None
    "The bus has a message of this client."
    waiting: Callable[[XmppRouter, InstantMessage], None] | None = None
    "A message waits for somebody who has no client here or elsewhere, and wants to be woken."
    answered: Callable[[XmppRouter, Element, JID, JID], None] | None = None
    "(router, stanza, sender, addressee): the result or error of a request that the server made for somebody."
    delivered: Callable[[Session, InstantMessage], None] | None = None
    "A message was sent to this client."
    kept: Callable[[Request, str, list[Element]], Awaitable[None]] | None = None
    "The client has put these into a collection of `presence.ports.KeptStore`; none: it took something out."
    shows: dict[str, Callable[[XmppRouter, Address, Element], Element]] = field(default_factory=dict)
    """Collection of `presence.ports.KeptStore` → what is given out of something its owner has put there; see
    `xmpp.belongings`."""
    takes: dict[str, Callable[[XmppRouter, Address, Element], Element]] = field(default_factory=dict)
    "The same → what is kept of something its owner puts there."
    person: Callable[[XmppRouter, Change, bool], None] | None = None
    """What is known of somebody as a person (RFC 4480) has changed, for those here who see them. True: by
    what their XMPP clients say."""
    copied: Callable[[Session, InstantMessage, bool], None] | None = None
    "Another client of the same user sent (True) or received a message."
    failed: Callable[[Session, bytes], None] | None = None
    "Another client of the same user was sent this error: nobody took a message that was copied."
    bounced: Callable[[Session, Element, JID], Awaitable[None]] | None = None
    "The client does not take a message, and says so to who sent it."


MAX_HEAD = 8192
"Bytes in which a stanza's attributes stand: three addresses, an id and a language at most."


@dataclass(slots=True)
class Outgoing:
    """Stanzas on their way to one client."""

    data: bytes
    name: str
    "`message`, `presence`, `iq`, or empty for what is no stanza."
    message: InstantMessage | None = None
    "What is settled when the client has it."

    def attributes(self) -> dict[str, str]:
        """Of the stanza, as `xmpp.serialiser` wrote them; still escaped."""
        found: dict[str, str] = {}
        parts = self.data[:MAX_HEAD].decode(errors="replace").split("'")
        for before, value in zip(parts[::2], parts[1::2], strict=False):
            if ">" in before:
                break
            found[before.rpartition(" ")[2].removesuffix("=")] = value
        return found


class Registry:
    """All extensions, indexed by what the router asks for."""

    def __init__(self, extensions: tuple[Extension, ...]) -> None:
        self.extensions = extensions
        self.iq = {
            (target, iq.type, iq.ns, iq.name): iq.handle
            for extension in extensions
            for iq in extension.iq
            for target in iq.targets
        }
        self.for_strangers = frozenset(
            (iq.type, iq.ns, iq.name) for e in extensions for iq in e.iq if iq.strangers
        )
        self.owner = {(iq.ns, iq.name): extension.spec for extension in extensions for iq in extension.iq}
        "(namespace, name) → specification, for metrics."
        self.features = _union(e.features for e in extensions)
        self.account_features = _union(e.account_features for e in extensions)
        self.stream_features = tuple(make for e in extensions for make in e.stream_features)
        self.transient = frozenset(payload for e in extensions for payload in e.transient)
        self.hints = {payload: hint for e in extensions for payload, hint in e.hints.items()}
        self.reads = {payload: read for e in extensions for payload, read in e.reads.items()}
        self.conversational = frozenset(ns for e in extensions for ns in e.conversational)
        self.elements = {ns: handle for e in extensions for ns, handle in e.elements.items()}
        self.negotiable = {ns: answer for e in extensions for ns, answer in e.negotiable.items()}
        self.announcements = tuple(e.announces for e in extensions if e.announces is not None)
        self.server_forms = tuple(e.server_form for e in extensions if e.server_form is not None)
        self.server_nodes = tuple(e.server_nodes for e in extensions if e.server_nodes is not None)
        self.commands = {command.node: command for e in extensions for command in e.commands}
        self.asks = tuple(e.asks for e in extensions if e.asks is not None)
        self.entrances = tuple(e.entrance for e in extensions if e.entrance is not None)
        self.at_binding = {ns: enable for e in extensions for ns, enable in e.at_binding.items()}
        self.bound = tuple(e.bound for e in extensions if e.bound is not None)
        self.words = {name: hear for e in extensions for name, hear in e.words.items()}
        self.room_features = _union(e.room_features for e in extensions)
        self.room_iq = {asked: handle for e in extensions for asked, handle in e.room_iq.items()}
        self.hosts = tuple(e.hosts for e in extensions if e.hosts is not None)
        self.resumed = tuple(e.resumed for e in extensions if e.resumed is not None)
        self.claims = tuple(e.claims for e in reversed(extensions) if e.claims is not None)
        "The latest specification's first."
        self.incoming = {
            name: tuple(dict.fromkeys(e.incoming for e in extensions if e.incoming and name in e.hears))
            for name in ("message", "presence", "iq")
        }
        "By the stanza's name."
        self.outgoing = tuple(e.outgoing for e in extensions if e.outgoing is not None)
        self.account_identities = tuple(pair for e in extensions for pair in e.account_identities)
        self.account_items = tuple(e.account_items for e in extensions if e.account_items is not None)
        self.account_nodes = next((e.account_nodes for e in extensions if e.account_nodes is not None), None)
        self.kept = tuple(e.kept for e in extensions if e.kept is not None)
        self.shows = {collection: show for e in extensions for collection, show in e.shows.items()}
        self.takes = {collection: take for e in extensions for collection, take in e.takes.items()}
        self.person = tuple(e.person for e in extensions if e.person is not None)
        self.understood = frozenset().union(*(e.understood for e in extensions))
        self.capable = tuple(e.capable for e in extensions if e.capable is not None)
        self.opened = tuple(e.opened for e in extensions if e.opened is not None)
        self.marks = frozenset(mark for e in extensions for mark in e.marks)
        self.packs = {e.spec: e.packs for e in extensions if e.packs is not None}
        self.unpacks = {e.spec: e.unpacks for e in extensions if e.unpacks is not None}
        self.detached = tuple(e.detached for e in extensions if e.detached is not None)
        self.closed = tuple(e.closed for e in extensions if e.closed is not None)
        self.accepted = tuple(e.accepted for e in extensions if e.accepted is not None)
        self.waiting = tuple(e.waiting for e in extensions if e.waiting is not None)
        self.answered = tuple(e.answered for e in extensions if e.answered is not None)
        self.delivered = tuple(e.delivered for e in extensions if e.delivered is not None)
        self.copied = tuple(e.copied for e in extensions if e.copied is not None)
        self.failed = tuple(e.failed for e in extensions if e.failed is not None)
        self.bounced = tuple(e.bounced for e in extensions if e.bounced is not None)


@lru_cache(maxsize=8)
def registry(without: frozenset[str] = frozenset()) -> Registry:
    """Every extension in this folder but those specifications."""
    found: list[Extension] = [module.EXTENSION for module in load(__name__)]
    return Registry(tuple(each for each in found if each.spec not in without))


def _union(groups: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(sorted({feature for group in groups for feature in group}))
