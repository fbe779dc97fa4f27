"""XEP-0484 Fast Authentication Streamlining Tokens, with draft-schmaus-kitten-sasl-ht's mechanisms.

What a client shows is HMAC(token, "Initiator" + binding) each time, so the server keeps a digest of that and
the answer, and not the token. With `HT-SHA-256-ENDP` the binding is the certificate: a renewed one ends these
tokens, and the client logs in with its password once. There is no other channel binding (XEP-0440).

GAP XEP-0484 §3: none where accounts are kept behind RADIUS, LDAP or HTTP: nobody here would know that the
password has changed.
GAP XEP-0484 §3.1: nothing is taken from TLS 1.3's early data.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from presence.errors import Unavailable
from presence.tokens import Used, provable
from xmpp.element import E, Element
from xmpp.entrance import Entrance
from xmpp.extensions import Extension, Status
from xmpp.extensions.xep_0388_sasl2 import client_of
from xmpp.sasl import SaslContext, SaslFailure, Step, Success
from xmpp.timestamps import stamp
from xmpp.welcome import Welcome

if TYPE_CHECKING:
    from xmpp.negotiation import Negotiation
    from xmpp.router import XmppRouter

NS = "urn:xmpp:fast:0"
MECHANISMS = {"HT-SHA-256-ENDP": "tls-server-end-point", "HT-SHA-256-NONE": ""}
"Name → channel binding type."


def shown(token: bytes, binding: bytes) -> bytes:
    """draft-schmaus-kitten-sasl-ht §3.1: the client's proof."""
    return hmac.digest(token, b"Initiator" + binding, "sha256")


def answered(token: bytes, binding: bytes) -> bytes:
    """§3.2: the server's."""
    return hmac.digest(token, b"Responder" + binding, "sha256")


class HashedToken:
    """One round trip: whose token, and the proof."""

    def __init__(self, router: XmppRouter, negotiation: Negotiation, name: str, client: str) -> None:
        self.router = router
        self.negotiation = negotiation
        self.name = name
        self.client = client
        self.context: SaslContext = negotiation.login.context(negotiation.terms)

    async def receive(self, data: bytes) -> Step:
        who, nul, proof = data.partition(b"\0")
        if not (who and nul) or len(proof) != hashlib.sha256().digest_size:
            raise SaslFailure("malformed-request", "authcid NUL hash is wanted")
        try:
            address = await self.context.user(who.decode())
        except UnicodeDecodeError:
            raise SaslFailure("malformed-request", "not UTF-8") from None
        account = await self.context.accounts.find(address)
        tokens = self.router.service.tokens
        used = await tokens.check(account, address, self.client, self.name, proof)
        if used is None or account is None:
            raise SaslFailure("not-authorized", "wrong token or unknown user", address)
        if not account.enabled:
            raise SaslFailure("account-disabled", address=address)
        if used.expired:
            raise SaslFailure("credentials-expired", address=address)
        self.negotiation.extra[NS] = used
        return Success(address, used.token.answer)


def _mechanism(name: str, router: XmppRouter, negotiation: Negotiation, request: Element) -> HashedToken:
    """§3.4."""
    binding = MECHANISMS[name]
    client = client_of(request)
    if not offered(router) or (binding and binding not in negotiation.bindings):
        raise SaslFailure("invalid-mechanism")
    if not client or request.find("fast", NS) is None:
        raise SaslFailure("malformed-request", "<fast/> and the user agent's id are wanted")
    return HashedToken(router, negotiation, name, client)


def offered(router: XmppRouter) -> bool:
    """Accounts whose keys are known show when their passwords change."""
    return router.settings.token_days > 0 and "SCRAM-SHA-256" in router.accounts.mechanisms


async def _features(router: XmppRouter, negotiation: Negotiation) -> list[Element]:
    """§3.1."""
    names = [n for n, binding in MECHANISMS.items() if not binding or binding in negotiation.bindings]
    return [E("fast", NS, {}, *(E("mechanism", NS, {}, n) for n in names))] if offered(router) else []


async def _inline(router: XmppRouter, welcome: Welcome) -> None:
    """A token is asked for (§3.3), due for another (§3.5), or to be forgotten (§3.6)."""
    used: Used | None = welcome.negotiation.extra.pop(NS, None)
    wish, said = welcome.request.find("request-token", NS), welcome.request.find("fast", NS)
    with suppress(Unavailable):  # logged in all the same
        name = ""
        if used is not None and said is not None and said.get("invalidate") in ("true", "1"):
            await router.service.tokens.forget(welcome.address, welcome.client)
        elif used is not None and router.service.tokens.due(used.token):
            name = used.token.mechanism
        if wish is not None:
            name = wish.get("mechanism")
        if name and welcome.client and offered(router):
            await _give(router, welcome, name)


async def _give(router: XmppRouter, welcome: Welcome, name: str) -> None:
    """§3.3."""
    kind, bindings = MECHANISMS.get(name), welcome.negotiation.bindings
    account = await router.accounts.find(welcome.address)
    if kind is None or (kind and kind not in bindings) or account is None or not provable(account):
        return
    binding = bindings[kind] if kind else b""
    token = secrets.token_urlsafe(32)
    key = token.encode()
    expires = await router.service.tokens.issue(
        account,
        welcome.client,
        name,
        shown=shown(key, binding),
        answer=answered(key, binding),
        seconds=router.settings.token_days * 86_400,
    )
    welcome.success.append(E("token", NS, {"token": token, "expiry": stamp(expires)}))


EXTENSION = Extension(
    spec="XEP-0484",
    name="Fast Authentication Streamlining Tokens",
    version="0.2.0",
    status=Status.COMPLETE,
    notes="HT-SHA-256-NONE and -ENDP; what is stored of a token lets nobody in.",
    entrance=Entrance(
        inline_features=_features,
        inline=_inline,
        order=30,
        mechanisms={name: partial(_mechanism, name) for name in MECHANISMS},
    ),
)
