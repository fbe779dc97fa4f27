"""Invitations: who knows the token may make an account, become somebody's buddy, or both (XEP-0401, XEP-0445,
XEP-0379). Each is good once, until it expires; only a digest of its token is kept."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from presence.address import Address
from presence.errors import Condition, Refused
from presence.ports import Invitation, InvitationStore

MAX_OPEN = 100
"Open invitations of one person."
MAX_TOKEN = 128
_NODE_SAFE = "!$()*+,;="
"Characters of a name that stand in an `xmpp:` URI as they are."


@dataclass(frozen=True, slots=True)
class Ticket:
    """An invitation together with its token, which is shown once."""

    token: str
    invitation: Invitation


class Invitations:
    """Of everybody. Every method may raise `Unavailable`."""

    def __init__(self, store: InvitationStore, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    async def invite(
        self,
        domain: str,
        *,
        seconds: float,
        inviter: Address | None = None,
        registers: bool = True,
        befriends: bool = False,
        local: str = "",
    ) -> Ticket:
        """Raises `Refused` RESOURCE_CONSTRAINT when there are too many, or the account is promised to
        somebody already."""
        now = self._clock()
        invitation = Invitation(
            domain=domain,
            inviter=inviter,
            registers=registers,
            befriends=befriends and inviter is not None,
            local=local,
            expires=now + seconds,
        )
        token = secrets.token_hex(16)
        if not await self._store.put_invitation(name_of(token), invitation, MAX_OPEN, now):
            raise Refused(Condition.RESOURCE_CONSTRAINT, "too many open invitations, or one for this account")
        return Ticket(token, invitation)

    async def find(self, token: str) -> Invitation | None:
        """The open one of this token."""
        if not 0 < len(token) <= MAX_TOKEN:
            return None
        found = await self._store.invitation(name_of(token))
        return found if found is not None and found.expires > self._clock() else None

    async def take(self, token: str) -> bool:
        """It is used up; False when somebody else was first."""
        return await self._store.take_invitation(name_of(token))

    async def promised(self, address: Address) -> bool:
        """To somebody with an open invitation."""
        return await self._store.reserved(address, self._clock())


def uri(ticket: Ticket, *, may_register: bool) -> str:
    """XEP-0401 §4: what the invited person's client opens. `may_register`: accounts are made for the
    invited."""
    invitation, token = ticket.invitation, ticket.token
    if invitation.inviter is not None and invitation.befriends and not invitation.local:
        return f"xmpp:{_path(invitation.inviter)}?roster;preauth={token}{';ibr=y' if may_register else ''}"
    return f"xmpp:{_path(Address(invitation.local, invitation.domain))}?register;preauth={token}"


def _path(address: Address) -> str:
    """Of an `xmpp:` URI (RFC 5122 §2.2): nothing in a name begins the query, or is decoded."""
    local = f"{quote(address.local, safe=_NODE_SAFE)}@" if address.local else ""
    return local + address.domain


def name_of(token: str) -> str:
    """Under which it is kept."""
    return hashlib.sha256(token.encode()).hexdigest()
