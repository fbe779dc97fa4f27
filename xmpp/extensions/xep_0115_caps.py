"""XEP-0115 Entity Capabilities: how a presence names them, and their hash; see `xmpp.capabilities`."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from xmpp.capabilities import Claim, answer_at, incoming, own_info, pack, unpack
from xmpp.element import LANG, E, Element
from xmpp.extensions import Extension, Request, Status
from xmpp.forms import FORM_TYPE, read_form
from xmpp.forms import NS as FORM_NS

if TYPE_CHECKING:
    from xmpp.router import XmppRouter

NS = "http://jabber.org/protocol/caps"
NODE = "https://github.com/tandem-gateway/tandem"
_HASHES = {"sha-1": "sha1", "sha-256": "sha256", "sha-512": "sha512"}


def _claim(presence: Element) -> Claim | None:
    said = presence.find("c", NS)
    if said is None:
        return None
    return Claim(f"{said.get('node')}#{said.get('ver')}", said.get("hash"), said.get("ver"), _holds)


def _holds(claim: Claim, query: Element, lang: str) -> bool:
    return verification(query, claim.algorithm) == claim.value


def verification(query: Element, hash: str) -> str:
    """The hash of a disco#info result (§5.1); empty when it cannot be made, or could be another's.

    The text that is hashed does not tell what is a feature and what is not (§9.2): somebody would say in
    another client's name what that one can do.
    """
    algorithm = _HASHES.get(hash)
    if algorithm is None or any(_ambiguous(each) for each in query.findall("identity")):
        return ""
    parts = sorted(
        f"{i.get('category')}/{i.get('type')}/{i.get(LANG)}/{i.get('name')}"
        for i in query.findall("identity")
    )
    features = sorted(feature.get("var") for feature in query.findall("feature"))
    parts += features
    forms = [form for form in map(read_form, query.findall("x", FORM_NS)) if form.get(FORM_TYPE)]
    forms.sort(key=lambda form: form[FORM_TYPE])
    if forms and (not features or forms[0][FORM_TYPE][0] >= features[-1]):
        return ""  # features, the last ones, could have been made a form
    for form in forms:
        parts += form[FORM_TYPE][:1]
        for name in sorted(form.keys() - {FORM_TYPE}):
            parts += [name, *sorted(form[name])]
    if any("<" in part for part in parts):
        return ""
    digest = hashlib.new(algorithm, "".join(f"{part}<" for part in parts).encode()).digest()
    return base64.b64encode(digest).decode()


def _ambiguous(identity: Element) -> bool:
    """It could be written so that the string it makes is another's, e.g. a feature's."""
    said = [identity.get(name) for name in ("category", "type")]
    return not all(said) or any("/" in text for text in (*said, identity.get(LANG)))


# --- the server's own (§6.3) ----------------------------------------------------------------------------


def _own(router: XmppRouter) -> str:
    key = f"{NS} own"
    if key not in router.extra:
        router.extra[key] = verification(own_info(router), "sha-1")
    found: str = router.extra[key]
    return found


def _announced(router: XmppRouter) -> Element:
    return E("c", NS, {"hash": "sha-1", "node": NODE, "ver": _own(router)})


async def _at_node(request: Request) -> Element | None:
    return answer_at(request, (f"{NODE}#{_own(request.router)}",))


EXTENSION = Extension(
    spec="XEP-0115",
    name="Entity Capabilities",
    version="1.6.0",
    status=Status.COMPLETE,
    notes="Of clients, and the server's own in its stream features.",
    features=(NS,),
    announces=_announced,
    server_nodes=_at_node,
    claims=_claim,
    incoming=incoming,
    hears=frozenset({"presence", "iq"}),
    packs=pack,
    unpacks=unpack,
)
