"""XEP-0115 Entity Capabilities of our own clients: what each wants to be told of, and can do, learned once
for all with the same hash.

The server asks a client for what its presence names, and believes what has that hash for everybody, what has
not for that client alone.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from xmpp.element import CLIENT_NS, E, Element
from xmpp.extensions import Extension, Request, Status
from xmpp.extensions.xep_0030_disco import INFO_NS, server_info
from xmpp.forms import FORM_TYPE, read_form
from xmpp.forms import NS as FORM_NS
from xmpp.serialiser import serialise

if TYPE_CHECKING:
    from xmpp.router import XmppRouter
    from xmpp.session import Session

NS = "http://jabber.org/protocol/caps"
NODE = "https://github.com/tandem-gateway/tandem"
CACHED = 1000
NOTIFY = "+notify"
"End of features that are remembered: the node before it is one the client wants to hear of (XEP-0163)."
MAX_FEATURES = 100
MAX_FEATURE = 256
"Characters."
_HASHES = {"sha-1": "sha1", "sha-256": "sha256", "sha-512": "sha512"}
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"

Key = tuple[str, str, str]
"Node, hash, version."


class Capabilities:
    """Of one client."""

    __slots__ = ("announced", "asked", "features", "key")

    def __init__(self) -> None:
        self.key: Key | None = None
        self.features: frozenset[str] | None = None
        "Of those that matter here; None: not known yet."
        self.asked = ""
        "Id of our question."
        self.announced = False
        "`capable` was called for this presence session and these features."


def features_of(session: Session) -> frozenset[str]:
    """What the client wants to be told of, and can do, as far as it is known."""
    known: Capabilities | None = session.extra.get(NS)
    return known.features or frozenset() if known is not None else frozenset()


def _incoming(session: Session, stanza: Element) -> Element | None:
    if stanza.name == "presence" and not stanza.get("to"):
        if stanza.get("type") == "":
            _here(session, stanza.find("c", NS))
        elif stanza.get("type") == "unavailable" and NS in session.extra:
            session.extra[NS].announced = False
    elif stanza.name == "iq" and stanza.get("type") in ("result", "error"):
        known: Capabilities | None = session.extra.get(NS)
        if known is not None and known.asked and stanza.get("id") == known.asked:
            _answered(session, known, stanza)
            return None
    return stanza


def _here(session: Session, said: Element | None) -> None:
    known: Capabilities = session.extra.setdefault(NS, Capabilities())
    key = (said.get("node"), said.get("hash"), said.get("ver")) if said is not None else None
    if key != known.key:
        known.key, known.asked, known.announced = key, "", False
        known.features = _cache(session.router).get(key) if key is not None else frozenset()
        if key is not None and known.features is None:
            _ask(session, known, key)
    _announce(session, known)


def _ask(session: Session, known: Capabilities, key: Key) -> None:
    known.asked = f"caps-{session.router.service.new_trace()}"
    query = E("query", INFO_NS, {"node": f"{key[0]}#{key[2]}"})
    attrs = {"type": "get", "id": known.asked, "from": session.address.domain, "to": session.jid.full}
    session.send(serialise(E("iq", CLIENT_NS, attrs, query), CLIENT_NS).encode(), "iq")


def _answered(session: Session, known: Capabilities, stanza: Element) -> None:
    known.asked = ""
    query = stanza.find("query", INFO_NS)
    if query is None or stanza.get("type") == "error":
        known.features = frozenset()
        _announce(session, known)
        return
    found = [feature.get("var") for feature in query.findall("feature")]
    wanted = [var for var in found if var.endswith(NOTIFY) and len(var) <= MAX_FEATURE]
    found += [f"{each.get('category')}/{each.get('type')}" for each in query.findall("identity")]
    known.features = session.router.registry.understood.intersection(found) | set(wanted[:MAX_FEATURES])
    key = known.key
    if key is not None and verification(query, key[1]) == key[2]:
        cache = _cache(session.router)
        if len(cache) >= CACHED:
            cache.clear()
        cache[key] = known.features
    _announce(session, known)


def _announce(session: Session, known: Capabilities) -> None:
    if known.features is not None and not known.announced:
        known.announced = True
        for hook in session.router.registry.capable:
            hook(session, known.features)


def _cache(router: XmppRouter) -> dict[Key, frozenset[str]]:
    cache: dict[Key, frozenset[str]] = router.extra.setdefault(NS, {})
    return cache


def verification(query: Element, hash: str) -> str:
    """The hash of a disco#info result (§5.1); empty when it cannot be made."""
    algorithm = _HASHES.get(hash)
    if algorithm is None:
        return ""
    if any(_ambiguous(each) for each in query.findall("identity")):
        return ""
    parts = sorted(
        f"{i.get('category')}/{i.get('type')}/{i.get(_LANG)}/{i.get('name')}"
        for i in query.findall("identity")
    )
    parts += sorted(feature.get("var") for feature in query.findall("feature"))
    forms = [read_form(form) for form in query.findall("x", FORM_NS)]
    for form in sorted((f for f in forms if f.get(FORM_TYPE)), key=lambda f: f[FORM_TYPE]):
        parts += form[FORM_TYPE][:1]
        for name in sorted(form.keys() - {FORM_TYPE}):
            parts += [name, *sorted(form[name])]
    if any("<" in part for part in parts):
        return ""
    digest = hashlib.new(algorithm, "".join(f"{part}<" for part in parts).encode()).digest()
    return base64.b64encode(digest).decode()


def _ambiguous(identity: Element) -> bool:
    """It could be written so that the string it makes is another's, e.g. a feature's: somebody would say in
    another client's name what that one can do."""
    said = [identity.get(name) for name in ("category", "type")]
    return not all(said) or any("/" in text for text in (*said, identity.get(_LANG)))


# --- the server's own (§6.3) ----------------------------------------------------------------------------


def _own(router: XmppRouter) -> tuple[str, Element]:
    """What the server is, and its hash: the same for as long as it runs."""
    key = f"{NS} own"
    if key not in router.extra:
        info = server_info(router)
        router.extra[key] = verification(info, "sha-1"), info
    found: tuple[str, Element] = router.extra[key]
    return found


def _announced(router: XmppRouter) -> Element:
    return E("c", NS, {"hash": "sha-1", "node": NODE, "ver": _own(router)[0]})


async def _at_node(request: Request) -> Element | None:
    """Service discovery of the server by what it announces."""
    ver, info = _own(request.router)
    if request.payload.get("node") != f"{NODE}#{ver}" or request.payload.ns != INFO_NS:
        return None
    answer = info.copy()
    answer.attrs["node"] = request.payload.get("node")
    return answer


EXTENSION = Extension(
    spec="XEP-0115",
    name="Entity Capabilities",
    version="1.6.0",
    status=Status.COMPLETE,
    notes="Of clients, and the server's own in its stream features.",
    features=(NS,),
    announces=_announced,
    server_nodes=_at_node,
    incoming=_incoming,
)
