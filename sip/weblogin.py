"""Who asks over HTTP: digest authentication with the accounts of the phones (RFC 4825 §8, RFC 7616).

Only `qop=auth` is taken, which is what is offered: a request without a count could be repeated, and with
`auth-int` its body would have to be read before it is known whose it is.
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


class HttpRefused(Exception):
    """A request over HTTP is refused with `status`."""

    def __init__(self, status: int, reason: str = "", headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(f"{status} {reason}".strip())
        self.status = status
        self.reason = reason
        self.headers = headers


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

    async def authenticate(self, realm: str, request: HttpRequest, now: float) -> Address:
        """The account of a domain, the realm, that asks. Raises `HttpRefused`: 400, 401 with challenges, 403,
        404; `Unavailable`."""
        if not self._service.serves(realm):
            raise HttpRefused(404, "No Such User")
        credentials = _credentials(request, realm)
        if credentials is None:
            raise await self._challenge(request, realm, now)
        try:
            user, verdict = await self._judge.judge(credentials, request, request.peer, now)
        except Banned as banned:
            after = (("Retry-After", str(ceil(banned.wait))),)
            raise HttpRefused(403, "Too Many Failures", after) from None
        if user is None or verdict is not Verdict.OK:
            raise await self._challenge(request, realm, now, stale=verdict is Verdict.STALE)
        if not _same_target(credentials.get("uri") or "", request.target):
            raise HttpRefused(400, "The Digest Is For Another URI")
        return user

    async def _challenge(
        self, request: HttpRequest, realm: str, now: float, *, stale: bool = False
    ) -> HttpRefused:
        values = await self._judge.challenges(request.agent, realm, now, stale=stale)
        if not values:
            return HttpRefused(403, "No Digest For This Account")
        return HttpRefused(401, "Unauthorized", tuple(("WWW-Authenticate", value) for value in values))


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
