"""XEP-0390 Entity Capabilities 2.0: how a presence names them, and their hashes; see `xmpp.capabilities`."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from xmpp.capabilities import Claim, answer_at, incoming, own_info
from xmpp.element import LANG, E, Element
from xmpp.extensions import Extension, Request, Status
from xmpp.extensions.xep_0030_disco import INFO_NS
from xmpp.forms import FORM_TYPE
from xmpp.forms import NS as FORM_NS

if TYPE_CHECKING:
    from xmpp.router import XmppRouter

NS = "urn:xmpp:caps"
HASHES_NS = "urn:xmpp:hashes:2"
_HASHES = {"sha-256": "sha256", "sha3-256": "sha3_256", "sha-512": "sha512", "sha3-512": "sha3_512"}
"Names in XEP-0300 → in `hashlib`; of several, the first is looked at. SHA-1 is none: it can be forged."
OWN = ("sha-256", "sha3-256")
_MAX_ALGORITHM = 64
"Characters."
_MAX_VALUE = 128
"Characters; 512 bits in Base64 have 88."


def node_of(algorithm: str, value: str) -> str:
    """Where what has that hash is told (§4.3)."""
    return f"{NS}#{algorithm}.{value}"


def _claim(presence: Element) -> Claim | None:
    """By the first hash that can be verified; with none, one that is asked for all it is."""
    said = presence.find("c", NS)
    if said is None:
        return None
    hashes = [(each.get("algo"), each.text.strip()) for each in said.findall("hash", HASHES_NS)]
    if not hashes:
        return None
    values = dict(reversed(hashes))
    for algorithm in _HASHES:
        value = values.get(algorithm, "")
        if value and len(value) <= _MAX_VALUE:
            return Claim(node_of(algorithm, value), algorithm, value, _holds)
    algorithm, value = hashes[0]
    return Claim("", algorithm[:_MAX_ALGORITHM], value[:_MAX_VALUE], _holds)


def _holds(claim: Claim, query: Element, lang: str) -> bool:
    """Identities without a language have that of what they stand in (§4.1); most clients forget it."""
    return any(claim.value == verification(query, claim.algorithm, each) for each in {"", lang})


def verification(query: Element, algorithm: str, lang: str = "") -> str:
    """The hash of a disco#info result (§4.2); empty when it cannot be made.

    `lang` is the language that the result stands in.
    """
    if algorithm not in _HASHES:
        return ""
    try:
        digest = hashlib.new(_HASHES[algorithm], hash_input(query, lang)).digest()
    except ValueError:
        return ""
    return base64.b64encode(digest).decode()


def hash_input(query: Element, lang: str = "") -> bytes:
    """What is hashed of a disco#info result (§4.1). Raises `ValueError` for one that has no hash."""
    features, identities, forms = [], [], []
    for child in query.elements:
        if (child.name, child.ns) == ("feature", INFO_NS):
            features.append(_ended(child.get("var")))
        elif (child.name, child.ns) == ("identity", INFO_NS):
            said = (child.get("category"), child.get("type"), child.get(LANG, lang), child.get("name"))
            identities.append(b"".join(map(_ended, said)) + b"\x1e")
        elif (child.name, child.ns) == ("x", FORM_NS):
            forms.append(_form(child))
        else:
            raise ValueError(f"{child.name[:80]} has no place in service discovery")
    return b"".join(b"".join(sorted(parts)) + b"\x1c" for parts in (features, identities, forms))


def _form(form: Element) -> bytes:
    if form.find("reported") is not None or form.find("item") is not None:
        raise ValueError("a table has no hash")
    fields = form.findall("field")
    if [(f.get("type"), len(f.findall("value"))) for f in fields if f.get("var") == FORM_TYPE] != [
        ("hidden", 1)
    ]:  # XEP-0068 §3.1
        raise ValueError("a form without a type has no hash")
    return b"".join(sorted(map(_field, fields))) + b"\x1d"


def _field(field: Element) -> bytes:
    values: Iterable[bytes] = sorted(_ended(value.text) for value in field.findall("value"))
    return _ended(field.get("var")) + b"".join(values) + b"\x1e"


def _ended(text: str) -> bytes:
    return text.encode() + b"\x1f"


# --- the server's own (§5.2) ----------------------------------------------------------------------------


def _own(router: XmppRouter) -> dict[str, str]:
    """Algorithm → hash of what the server is."""
    key = f"{NS} own"
    if key not in router.extra:
        info = own_info(router)
        router.extra[key] = {algorithm: verification(info, algorithm) for algorithm in OWN}
    found: dict[str, str] = router.extra[key]
    return found


def _announced(router: XmppRouter) -> Element:
    hashes = _own(router).items()
    return E("c", NS, {}, *(E("hash", HASHES_NS, {"algo": algo}, value) for algo, value in hashes))


async def _at_node(request: Request) -> Element | None:
    return answer_at(request, [node_of(*each) for each in _own(request.router).items()])


EXTENSION = Extension(
    spec="XEP-0390",
    name="Entity Capabilities 2.0",
    version="0.3.2",
    status=Status.COMPLETE,
    notes="Of clients, and the server's own in its stream features. What is optional for servers is not "
    "here: §5.6, §6.3, §6.4.",
    features=(NS,),
    announces=_announced,
    server_nodes=_at_node,
    claims=_claim,
    incoming=incoming,
    hears=frozenset({"presence", "iq"}),
)
