"""XEP-0380 Explicit Message Encryption: between clients. What only they can read is not sent to phones, which
are told instead that there is something to read."""

from __future__ import annotations

from functools import partial
from typing import Any

from xmpp.element import Element
from xmpp.extensions import Extension, Status

NS = "urn:xmpp:eme:0"
OMEMO_AXOLOTL = "eu.siacs.conversations.axolotl"
OMEMO_2 = "urn:xmpp:omemo:2"
OPENPGP = "urn:xmpp:openpgp:0"
PGP = "jabber:x:encrypted"
_NAMES = {
    OMEMO_AXOLOTL: "OMEMO",
    "urn:xmpp:omemo:1": "OMEMO",
    OMEMO_2: "OMEMO",
    OPENPGP: "OpenPGP",
    PGP: "OpenPGP",
    "urn:xmpp:otr:0": "OTR",
}
"XEP-0380 §3 table 1."


def _marked(hint: Element) -> dict[str, Any]:
    name = _NAMES.get(hint.get("namespace")) or hint.get("name") or "end-to-end"
    return {"encrypted": name[:32]}


def _encrypted(name: str, element: Element) -> dict[str, Any]:
    return {"encrypted": name}


def _omemo(element: Element) -> dict[str, Any]:
    """Without a payload it only carries keys (XEP-0384 §5.5.3), which is no news for anybody."""
    has_payload = any(child.name == "payload" for child in element.elements)
    return {"encrypted": "OMEMO"} if has_payload else {}


EXTENSION = Extension(
    spec="XEP-0380",
    name="Explicit Message Encryption",
    version="0.4.0",
    status=Status.CARRIED,
    notes="A phone is told that there is a message it cannot read, and nobody that it was read there.",
    reads={
        (NS, "encryption"): _marked,
        (OMEMO_AXOLOTL, "encrypted"): _omemo,
        (OMEMO_2, "encrypted"): _omemo,
        (OPENPGP, "openpgp"): partial(_encrypted, "OpenPGP"),
        (PGP, "x"): partial(_encrypted, "OpenPGP"),
    },
)
