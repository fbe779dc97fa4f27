"""XEP-0359 Unique and Stable Stanza IDs: the id of a message in the archive is shown with every copy of it.

Nobody else may give ids in an account's name (§3 rule 2). The sender's origin-id is carried on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from presence.errors import InvalidAddress
from xmpp.element import Element
from xmpp.extensions import Extension, Status
from xmpp.jid import parse_jid
from xmpp.message import SID_NS

if TYPE_CHECKING:
    from xmpp.session import Session


def _incoming(session: Session, stanza: Element) -> Element:
    if stanza.name != "message" or stanza.find("stanza-id", SID_NS) is None:
        return stanza
    kept = [child for child in stanza.children if not (isinstance(child, Element) and _ours(session, child))]
    return Element(stanza.name, stanza.ns, stanza.attrs, kept)


def _ours(session: Session, child: Element) -> bool:
    """An id as only we give them: in the name of an account here."""
    if (child.name, child.ns) != ("stanza-id", SID_NS):
        return False
    try:
        by = parse_jid(child.get("by"))
    except InvalidAddress:
        return True  # §3 rule 5: there is no such id
    return session.router.service.serves(by.domain)


EXTENSION = Extension(
    spec="XEP-0359",
    name="Unique and Stable Stanza IDs",
    version="0.7.0",
    status=Status.COMPLETE,
    notes="The id is the archive's, and the one by which `tandem trace` knows the message.",
    features=(SID_NS,),
    account_features=(SID_NS,),
    transient=frozenset({(SID_NS, "origin-id"), (SID_NS, "stanza-id"), (SID_NS, "referenced-stanza")}),
    incoming=_incoming,
)
