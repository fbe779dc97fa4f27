"""Who asks over HTTP: digest authentication with the accounts of the phones (RFC 4825 §8, RFC 7616).

The realm is the domain of the user whose documents are asked for. Failed logins count, and bans hold, as at
the SIP door.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from urllib.parse import unquote, urlsplit

import structlog

from presence.address import Address, make_address
from presence.errors import InvalidAddress
from presence.ports import Account, Accounts, DigestJudge, Metrics
from presence.service import PresenceService
from sip import grammar
from sip.digest import NonceKeeper, Verdict, question
from sip.headers import Credentials
from sip.profiles import Override, profile_of
from sip.xcap.conflicts import XcapError

log = structlog.get_logger()


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
    body: bytes = b""

    @property
    def uri(self) -> str:
        return self.target


class Login:
    """`secret` signs nonces; processes that serve the same port share it."""

    def __init__(
        self,
        service: PresenceService,
        accounts: Accounts,
        metrics: Metrics,
        *,
        secret: bytes,
        algorithms: Sequence[str] = (),
        profiles: Sequence[Override] = (),
    ) -> None:
        """`algorithms`: to challenge with, in this order; none: all."""
        self._service = service
        self._accounts = accounts
        self._judge_elsewhere = accounts if isinstance(accounts, DigestJudge) else None
        self._metrics = metrics
        self._nonces = NonceKeeper(secret)
        self._algorithms = tuple(algorithms)
        self._profiles = tuple(profiles)

    async def authenticate(self, owner: Address, request: HttpRequest, now: float) -> Address:
        """The account that asks for documents of `owner`. Raises `XcapError`: 400, 401 with challenges, 403,
        404; `Unavailable`."""
        realm = owner.domain
        if not self._service.serves(realm):
            raise XcapError(404, "No Such User")
        credentials = _credentials(request, realm)
        if credentials is None:
            raise self._challenge(request, await self._accounts.find(owner), realm, now)
        user = _user(credentials.get("username") or "", realm)
        wait = await self._service.guard.wait(request.peer, str(user or ""))
        if wait > 0:
            raise XcapError(403, "Too Many Failures", (("Retry-After", str(ceil(wait))),))
        account = await self._accounts.find(user) if user is not None else None
        match await self._judge(credentials, request, user, account, now):
            case Verdict.OK if user is not None:
                await self._service.guard.succeeded(request.peer, str(user))
                if not _same_target(credentials.get("uri") or "", request.target):
                    raise XcapError(400, "The Digest Is For Another URI")
                return user
            case Verdict.STALE:
                raise self._challenge(request, account, realm, now, stale=True)
            case _:
                self._metrics.count("xcap_login_failures_total")
                log.info("login_refused", address=str(user or ""), peer=request.peer, method=request.method)
                if user is not None:
                    await self._service.guard.failed(request.peer, str(user))
                raise self._challenge(request, account, realm, now)

    async def _judge(
        self,
        credentials: Credentials,
        request: HttpRequest,
        user: Address | None,
        account: Account | None,
        now: float,
    ) -> Verdict:
        enabled = account is None or account.enabled
        if self._judge_elsewhere is None:
            ha1 = account.ha1 if account is not None and enabled else {}
            return self._nonces.verify(credentials, request, ha1, now)
        verdict = self._nonces.precheck(credentials, request, now)
        if verdict is not Verdict.OK:
            return verdict
        if user is None or not enabled:
            return Verdict.BAD
        if not await self._judge_elsewhere.check_digest(user, question(credentials, request)):
            return Verdict.BAD
        return self._nonces.use(credentials, request, now)

    def _challenge(
        self, request: HttpRequest, account: Account | None, realm: str, now: float, *, stale: bool = False
    ) -> XcapError:
        offered = [algorithm.value for algorithm in self._accounts.algorithms]
        if self._algorithms:
            offered = [name for name in self._algorithms if name in offered]
        provable = [name for name in offered if account is not None and name in account.ha1]
        wanted = provable or offered
        understood = profile_of(request.agent, self._profiles).digests
        wanted = [name for name in wanted if name in understood] or wanted
        if not wanted:
            return XcapError(403, "No Digest For This Account")
        values = self._nonces.challenges(wanted, realm, now, stale=stale)
        return XcapError(401, "Unauthorized", tuple(("WWW-Authenticate", value) for value in values))


def _credentials(request: HttpRequest, realm: str) -> Credentials | None:
    for value in request.authorization:
        try:
            credentials = Credentials.parse(value)
        except grammar.Malformed:
            continue
        if credentials.scheme == "digest" and credentials.get("realm") == realm:
            return credentials
    return None


def _user(username: str, realm: str) -> Address | None:
    """Clients write the local part, the address, or the address-of-record."""
    local, at, domain = username.removeprefix("sip:").partition("@")
    if not local or (at and domain.lower() != realm):
        return None
    try:
        return make_address(local, realm)
    except InvalidAddress:
        return None


def _same_target(signed: str, target: str) -> bool:
    """RFC 7616 §3.4.6; clients escape more or less in the one than in the other."""
    parts = urlsplit(signed)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return signed == target or unquote(path) == unquote(target)
