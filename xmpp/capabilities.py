"""What our own clients want to be told of, and can do: learned once for all that announce the same hash.

The server asks a client for what its presence names, and believes what has that hash for everybody, what has
not for that client alone. How a presence names it, and what the hash is made of, each specification says in
its `Extension.claims` (XEP-0390, XEP-0115); of a presence that speaks for several, the latest counts.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from xmpp.element import CLIENT_NS, LANG, E, Element
from xmpp.extensions.xep_0030_disco import INFO_NS, server_info
from xmpp.serialiser import serialise

if TYPE_CHECKING:
    from xmpp.extensions import Request
    from xmpp.router import XmppRouter
    from xmpp.session import Session

NOTIFY = "+notify"
"End of features that are remembered: the node before it is one the client wants to hear of (XEP-0163)."
CACHED = 1000
MAX_NODE = 512
"Characters of a claim's node; who has a longer one is believed alone."
MAX_FEATURES = 100
MAX_FEATURE = 256
"Characters."
_KEY = "capabilities"
_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Claim:
    """What a presence says of its client: a hash of its service discovery information."""

    node: str
    "Where the client tells it; empty: with all it is."
    algorithm: str
    value: str
    "The hash, in Base64."
    holds: Callable[[Claim, Element, str], bool]
    "(claim, disco#info result, language it stands in): the result has that hash."


class Capabilities:
    """Of one client, from its becoming available to its becoming unavailable."""

    __slots__ = ("announced", "asked", "claim", "features")

    def __init__(self) -> None:
        self.claim: Claim | None = None
        self.features: frozenset[str] | None = _NOTHING
        "Of those that matter here; None: not known yet."
        self.asked = ""
        "Id of our question."
        self.announced = False
        "`capable` was called for these features."


def features_of(session: Session) -> frozenset[str]:
    """What the client wants to be told of, and can do, as far as it is known."""
    known: Capabilities | None = session.extra.get(_KEY)
    return known.features or _NOTHING if known is not None else _NOTHING


def incoming(session: Session, stanza: Element) -> Element | None:
    """For `Extension.incoming` of all that have `claims`; it is called once."""
    if stanza.name == "presence" and not stanza.get("to"):
        if stanza.get("type") == "":
            _here(session, stanza)
        elif stanza.get("type") == "unavailable":
            session.extra.pop(_KEY, None)
    elif stanza.name == "iq" and stanza.get("type") in ("result", "error"):
        known: Capabilities | None = session.extra.get(_KEY)
        if known is not None and known.asked and stanza.get("id") == known.asked:
            _answered(session, known, stanza)
            return None
    return stanza


def _here(session: Session, presence: Element) -> None:
    """A presence that says nothing of it changes nothing (XEP-0390 §6.2)."""
    known: Capabilities = session.extra.setdefault(_KEY, Capabilities())
    claim = next((c for read in session.router.registry.claims if (c := read(presence)) is not None), None)
    if claim is not None and claim != known.claim:
        known.claim, known.asked, known.announced = claim, "", False
        known.features = _cache(session.router).get(claim)
        if known.features is None:
            _ask(session, known, claim)
    _announce(session, known)


def _ask(session: Session, known: Capabilities, claim: Claim) -> None:
    known.asked = f"caps-{session.router.service.new_trace()}"
    query = E("query", INFO_NS, {"node": claim.node} if claim.node else {})
    attrs = {"type": "get", "id": known.asked, "from": session.address.domain, "to": session.jid.full}
    session.send(serialise(E("iq", CLIENT_NS, attrs, query), CLIENT_NS).encode(), "iq")


def _answered(session: Session, known: Capabilities, stanza: Element) -> None:
    known.asked = ""
    query = stanza.find("query", INFO_NS)
    if query is None or stanza.get("type") == "error":
        known.features = _NOTHING
        _announce(session, known)
        return
    found = [feature.get("var") for feature in query.findall("feature")]
    wanted = [var for var in found if var.endswith(NOTIFY) and len(var) <= MAX_FEATURE]
    found += [f"{each.get('category')}/{each.get('type')}" for each in query.findall("identity")]
    understood = session.router.registry.understood.intersection(found)
    known.features = understood.union(sorted(wanted)[:MAX_FEATURES])
    claim = known.claim
    lang = query.get(LANG, stanza.get(LANG, session.lang))
    if claim is not None and _proven(claim, query, lang):
        cache = _cache(session.router)
        while len(cache) >= CACHED:
            del cache[next(iter(cache))]
        cache[claim] = known.features
    _announce(session, known)


def _proven(claim: Claim, query: Element, lang: str) -> bool:
    return claim.value != "" and len(claim.node) <= MAX_NODE and claim.holds(claim, query, lang)


def _announce(session: Session, known: Capabilities) -> None:
    if known.features is not None and not known.announced:
        known.announced = True
        for hook in session.router.registry.capable:
            hook(session, known.features)


def pack(session: Session) -> bytes:
    """For `Extension.packs`: what is known; what it was learned by, the next presence says again."""
    features = features_of(session)
    return msgspec.msgpack.encode(sorted(features)) if features else b""


def unpack(session: Session, luggage: bytes) -> None:
    """For `Extension.unpacks`."""
    known = session.extra[_KEY] = Capabilities()
    known.features = msgspec.msgpack.decode(luggage, type=frozenset[str])
    known.announced = True


def _cache(router: XmppRouter) -> dict[Claim, frozenset[str]]:
    cache: dict[Claim, frozenset[str]] = router.extra.setdefault(_KEY, {})
    return cache


# --- the server's own ------------------------------------------------------------------------------------


def own_info(router: XmppRouter) -> Element:
    """What the server is: the same for as long as it runs."""
    key = f"{_KEY} own"
    if key not in router.extra:
        router.extra[key] = server_info(router)
    info: Element = router.extra[key]
    return info


def answer_at(request: Request, nodes: Container[str]) -> Element | None:
    """Service discovery of the server by what it announces, for `Extension.server_nodes`."""
    node = request.payload.get("node")
    if node not in nodes or request.payload.ns != INFO_NS:
        return None
    answer = own_info(request.router).copy()
    answer.attrs["node"] = node
    return answer
