"""Who asks over HTTP: digest authentication with the accounts of the phones (RFC 4825 §8, RFC 7616).

The realm is the domain of the user whose documents are asked for. Only `qop=auth` is taken, which is what is
offered: a request without a count could be repeated, and with `auth-int` its body would have to be read
before it is known whose it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from urllib.parse import unquote, urlsplit

from presence.address import Address
from presence.service import PresenceService
from sip import grammar
from sip.digest import Verdict
from sip.headers import Credentials
from sip.judge import Banned, Judge
from sip.xcap.conflicts import XcapError


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """What a digest covers, and what else is looked at. Is a `sip.digest.Signed`."""

    method: str
    target: str
    "Path and query as they came."
    authorization: tuple[str, ...]
    peer: str
    "Address it came from."
    agent: str = ""

    @property
    def uri(self) -> str:
        return self.target

    @property
    def body(self) -> bytes:
        """`qop=auth` does not cover it."""
        return b""


class Login:
    def __init__(self, service: PresenceService, judge: Judge) -> None:
        self._service = service
        self._judge = judge

    async def authenticate(self, owner: Address, request: HttpRequest, now: float) -> Address:
        """The account that asks for documents of `owner`. Raises `XcapError`: 400, 401 with challenges, 403,
        404; `Unavailable`."""
        realm = owner.domain
        if not self._service.serves(realm):
            raise XcapError(404, "No Such User")
        credentials = _credentials(request, realm)
        if credentials is None:
            raise await self._challenge(request, realm, now)
        try:
            user, verdict = await self._judge.judge(credentials, request, request.peer, now)
        except Banned as banned:
            after = (("Retry-After", str(ceil(banned.wait))),)
            raise XcapError(403, "Too Many Failures", after) from None
        if user is None or verdict is not Verdict.OK:
            raise await self._challenge(request, realm, now, stale=verdict is Verdict.STALE)
        if not _same_target(credentials.get("uri") or "", request.target):
            raise XcapError(400, "The Digest Is For Another URI")
        return user

    async def _challenge(
        self, request: HttpRequest, realm: str, now: float, *, stale: bool = False
    ) -> XcapError:
        values = await self._judge.challenges(request.agent, realm, now, stale=stale)
        if not values:
            return XcapError(403, "No Digest For This Account")
        return XcapError(401, "Unauthorized", tuple(("WWW-Authenticate", value) for value in values))


def _credentials(request: HttpRequest, realm: str) -> Credentials | None:
    for value in request.authorization:
        try:
            credentials = Credentials.parse(value)
        except grammar.Malformed:
            continue
        fits = credentials.scheme == "digest" and credentials.get("realm") == realm
        if fits and (credentials.get("qop") or "").lower() == "auth":
            return credentials
    return None


def _same_target(signed: str, target: str) -> bool:
    """RFC 7616 §3.4.6; clients escape more or less in the one than in the other."""
    parts = urlsplit(signed)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return signed == target or unquote(path) == unquote(target)
