"""XEP-0077 In-Band Registration: accounts are made, get a new password, and are deleted, as far as the
settings let clients do it.

Who is not logged in may make one account on one stream, and each network only a few in an hour: that, and not
silence, is what keeps somebody from finding out which names are taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from presence.address import Address, make_address, parse_address
from presence.errors import Condition, InvalidAddress, Refused
from xmpp.element import E, Element
from xmpp.entrance import Entrance
from xmpp.errors import StanzaError
from xmpp.extensions import Extension, Iq, Request, Status, Target
from xmpp.extensions.xep_0445_preauthenticated_registration import HOUR, PARS_NS
from xmpp.forms import NS as FORM_NS
from xmpp.forms import offer_field, offer_form, read_submission
from xmpp.rate import Paces

if TYPE_CHECKING:
    from xmpp.negotiation import Negotiation
    from xmpp.router import XmppRouter

NS = "jabber:iq:register"
FEATURE_NS = "http://jabber.org/features/iq-register"
TARGETS = frozenset({Target.SERVER, Target.ACCOUNT})
CHANGE_EVERY = 60.0
"Seconds for one change more: each costs as much as thousands of messages."
CHANGES_AT_ONCE = 5
CHANGING = 10_000
"Accounts at a time."
INSTRUCTIONS = "Choose a user name and a password."


# --- before login -----------------------------------------------------------------------------------------


async def _features(router: XmppRouter, negotiation: Negotiation) -> list[Element]:
    """§7."""
    possible = router.settings.registration != "closed" and negotiation.trusted
    return [E("register", FEATURE_NS)] if possible else []


def _check_open(router: XmppRouter, negotiation: Negotiation) -> None:
    """Raises `StanzaError` where there are no accounts for this client (§3.1)."""
    if router.settings.registration == "closed":
        raise StanzaError("service-unavailable")
    if router.settings.registration == "invited" and PARS_NS not in negotiation.extra:
        raise StanzaError("not-allowed", text="an invitation is wanted: show its token first (XEP-0445)")


async def _ask(router: XmppRouter, negotiation: Negotiation, asked: Element) -> Element | None:
    """§3.1: the fields, in both ways of asking."""
    _check_open(router, negotiation)
    username = E("username", NS)
    token = negotiation.extra.get(PARS_NS)
    invitation = await router.service.invitations.find(token) if token else None
    if invitation is not None and invitation.local:
        username.append(invitation.local)
    required = E("required", FORM_NS)
    form = offer_form(
        NS,
        (
            offer_field("text-single", "username", required),
            offer_field("text-private", "password", required),
        ),
    )
    return E("query", NS, {}, E("instructions", NS, {}, INSTRUCTIONS), username, E("password", NS), form)


async def _make(router: XmppRouter, negotiation: Negotiation, asked: Element) -> Element | None:
    """§3.1. Raises `StanzaError`, `Refused`."""
    _check_open(router, negotiation)
    if NS in negotiation.extra:
        raise StanzaError("not-acceptable", text="you have made an account on this stream")
    username, password = _filled_in(asked)
    if not username or not password:
        raise StanzaError("not-acceptable", text="user name and password are wanted")
    try:
        address = make_address(username, negotiation.domain)
    except InvalidAddress:
        raise StanzaError("not-acceptable", text="not a user name") from None
    settings, guard = router.settings, negotiation.realm.guard
    wait = await guard.admits("register", negotiation.login.peer, settings.registrations_per_hour, HOUR)
    if wait:
        minutes = max(1, round(wait / 60))
        text = f"too many accounts from your network, try again in {minutes} minutes"
        raise StanzaError("resource-constraint", "wait", text)
    try:
        await router.service.register(address, password, negotiation.extra.get(PARS_NS, ""))
    except Refused as refused:
        if refused.condition is Condition.BAD_REQUEST:
            raise StanzaError("not-acceptable", text=refused.text) from None
        raise
    negotiation.extra[NS] = True
    router.metrics.count("xmpp_registrations_total")
    return None


def _filled_in(query: Element) -> tuple[str, str]:
    """User name and password, of the form or of the plain fields (§6). Raises `StanzaError`."""
    values = read_submission(query, NS)
    if values:
        return "".join(values.get("username", ())), "".join(values.get("password", ()))
    username, password = query.find("username"), query.find("password")
    return username.text if username is not None else "", password.text if password is not None else ""


# --- logged in --------------------------------------------------------------------------------------------


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
    """§3.3; the account's other clients have to log in anew. Raises `StanzaError`, `Refused`."""
    query = request.payload
    if query.find("remove") is not None:
        await _remove(request)
        return None
    username, password = query.find("username"), query.find("password")
    if username is None or password is None or not username.text or not password.text:
        raise StanzaError("bad-request", text="user name and new password are wanted")
    _check_own(request, username.text)
    paces: Paces = request.router.extra.setdefault(NS, Paces(1 / CHANGE_EVERY, CHANGES_AT_ONCE, CHANGING))
    if not paces.allow(request.session.address, request.router.clock()):
        raise StanzaError("resource-constraint", "wait", "too many passwords at once")
    session = request.session
    await request.router.service.change_password(session.address, password.text, session.jid.full)
    return None


async def _remove(request: Request) -> None:
    """§3.2. The streams of the account end with `not-authorized`."""
    if len(request.payload.elements) != 1:
        raise StanzaError("bad-request", text="<remove/> stands alone")
    if not request.router.settings.account_removal:
        raise StanzaError("not-allowed", text="accounts are deleted by the operator")
    await request.router.service.delete_account(request.session.address)


def _check_own(request: Request, username: str) -> None:
    own = request.session.address
    meant: Address | None
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
    status=Status.COMPLETE,
    notes="New accounts and deletion where the settings say so; nothing is asked but name and password.",
    features=(NS,),
    entrance=Entrance(features=_features, iq={("get", NS, "query"): _ask, ("set", NS, "query"): _make}),
    iq=(
        Iq(type="get", ns=NS, name="query", targets=TARGETS, handle=_form),
        Iq(type="set", ns=NS, name="query", targets=TARGETS, handle=_change),
    ),
)
