"""XEP-0359 Unique and Stable Stanza IDs: the id of a message in the archive is shown with every copy of it.

Nobody else may give ids in the name of an account or a room (§3 rule 2). The sender's origin-id is carried
on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xmpp.element import Element
from xmpp.extensions import Extension, Status
from xmpp.message import SID_NS, without_ids

if TYPE_CHECKING:
    from xmpp.session import Session


def _incoming(session: Session, stanza: Element) -> Element:
    return without_ids(stanza, session.router.gives_ids)


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
    hears=frozenset({"message"}),
)
