"""XEP-0401 Ad-hoc Account Invitation Generation: a link for somebody who has no account here yet, or is to
become a buddy. `tandem user invite` makes them, too. The page for browsers is `xmpp.landing`.
"""

from __future__ import annotations

from presence.address import make_address
from presence.errors import InvalidAddress
from presence.invitations import Ticket, uri
from xmpp.commands import Command, Field, Outcome, Values, is_admin, one
from xmpp.errors import StanzaError
from xmpp.extensions import Extension, Request, Status
from xmpp.landing import landing_url
from xmpp.timestamps import stamp

NS = "urn:xmpp:invite"
FORM = f"{NS}#invitation"


def _may_invite(request: Request) -> bool:
    who = request.router.settings.invitations
    return who == "everybody" or (who == "admins" and is_admin(request))


def _may_create(request: Request) -> bool:
    return _may_invite(request) and is_admin(request) and request.router.settings.registration != "closed"


async def _invite(request: Request, values: Values) -> Outcome:
    """§4.1: a buddy for whoever asks."""
    settings = request.router.settings
    open_ = settings.registration != "closed"
    ticket = await request.router.service.invitations.invite(
        request.to.domain,
        inviter=request.session.address,
        registers=open_,
        befriends=True,
        seconds=settings.invitation_days * 86_400,
    )
    return _told(request, ticket, may_register=open_)


async def _create(request: Request, values: Values) -> Outcome:
    """§4.4."""
    local, wanted = one(values, "username").strip(), one(values, "roster-subscription")
    domain, settings = request.to.domain, request.router.settings
    if local:
        try:
            address = make_address(local, domain)
        except InvalidAddress:
            raise StanzaError("not-acceptable", text="not a user name") from None
        if await request.router.accounts.find(address) is not None:
            raise StanzaError("conflict", text=f"there already is an account {address}")
        local = address.local
    ticket = await request.router.service.invitations.invite(
        domain,
        inviter=request.session.address,
        befriends=wanted in ("true", "1"),
        local=local,
        seconds=settings.invitation_days * 86_400,
    )
    return _told(request, ticket, may_register=True)


def _told(request: Request, ticket: Ticket, *, may_register: bool) -> Outcome:
    page = landing_url(ticket.invitation.domain, request.router.settings, ticket.token)
    fields = {
        "uri": [uri(ticket, may_register=may_register)],
        **({"landing-url": [page]} if page else {}),
        "expire": [stamp(ticket.invitation.expires)],
    }
    return Outcome(fields, form_type=FORM)


EXTENSION = Extension(
    spec="XEP-0401",
    name="Ad-hoc Account Invitation Generation",
    version="0.6.0",
    status=Status.COMPLETE,
    notes="With a page for browsers that names a client for each platform, whatever the browser is.",
    commands=(
        Command(node=f"{NS}#invite", name="Invite somebody", run=_invite, allowed=_may_invite),
        Command(
            node=f"{NS}#create-account",
            name="Invite somebody to make an account",
            run=_create,
            allowed=_may_create,
            questions=(
                Field("text-single", "username", "User name; empty: they choose"),
                Field("boolean", "roster-subscription", "Become each other's buddies", value="1"),
            ),
        ),
    ),
)
