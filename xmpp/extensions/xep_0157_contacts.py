"""XEP-0157 Contact Addresses for XMPP Services: the setting `xmpp.contacts`, told in service discovery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xmpp.element import Element
from xmpp.extensions import Extension, Status
from xmpp.forms import write_form

if TYPE_CHECKING:
    from xmpp.router import XmppRouter

FORM = "http://jabber.org/network/serverinfo"


def _form(router: XmppRouter) -> Element | None:
    """§3."""
    contacts = router.settings.contacts
    fields = {f"{role}-addresses": uris for role, uris in contacts.items()}
    return write_form("result", FORM, fields) if fields else None


EXTENSION = Extension(
    spec="XEP-0157",
    name="Contact Addresses for XMPP Services",
    version="1.1.1",
    status=Status.COMPLETE,
    server_form=_form,
)
