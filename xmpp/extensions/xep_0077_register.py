"""XEP-0077 In-Band Registration: logged-in users change their password.

New accounts are the operator's to make (`tandem user add`): registration before login is never offered, and
what is asked for by somebody else than the account's own user does not exist.
"""

from __future__ import annotations

from presence.address import parse_address
from presence.errors import InvalidAddress
from xmpp.element import E, Element
from xmpp.errors import StanzaError
from xmpp.extensions import Extension, Iq, Request, Status, Target

NS = "jabber:iq:register"
TARGETS = frozenset({Target.SERVER, Target.ACCOUNT})


async def _form(request: Request) -> Element:
    """§3.1: registered already; these are the fields a change takes."""
    return E(
        "query",
        NS,
        {},
        E("registered", NS),
        E("username", NS, {}, request.session.address.local),
        E("password", NS),
    )


async def _change(request: Request) -> Element | None:
    """§3.3. Raises `StanzaError`, `Refused`."""
    query = request.payload
    if query.find("remove") is not None:
        raise StanzaError("not-allowed", text="accounts are deleted by the operator")
    username, password = query.find("username"), query.find("password")
    if username is None or password is None or not username.text or not password.text:
        raise StanzaError("bad-request", text="user name and new password are wanted")
    _check_own(request, username.text)
    await request.router.service.change_password(request.session.address, password.text)
    return None


def _check_own(request: Request, username: str) -> None:
    own = request.session.address
    try:
        meant = parse_address(username if "@" in username else f"{username}@{own.domain}")
    except InvalidAddress:
        meant = None
    if meant != own:
        raise StanzaError("not-allowed", text="only your own password can be changed")


EXTENSION = Extension(
    spec="XEP-0077",
    name="In-Band Registration",
    version="2.4",
    status=Status.PARTIAL,
    notes="Password change only: accounts are made and deleted by the operator.",
    features=(NS,),
    iq=(
        Iq(type="get", ns=NS, name="query", targets=TARGETS, handle=_form),
        Iq(type="set", ns=NS, name="query", targets=TARGETS, handle=_change),
    ),
)
