"""Who sent a request: digest authentication against the accounts (RFC 3261 §22, RFC 8760).

The server is the one addressed, so it asks with 401, and takes the answer from either header. A user that
does not exist is treated like a wrong password. Whoever claims to be somebody else is told 403.
"""

from __future__ import annotations

from math import ceil

import structlog

from presence.address import Address, make_address
from presence.errors import InvalidAddress
from presence.ports import Account, Accounts, DigestJudge, Metrics
from presence.service import PresenceService
from sip.addressing import to_address
from sip.digest import NonceKeeper, Verdict, find_credentials, question
from sip.errors import ProtocolError
from sip.flow import Flow
from sip.headers import Credentials
from sip.message import Request
from sip.profiles import profile_of
from sip.settings import PhoneProfile

log = structlog.get_logger()


class Authenticator:
    """`secret` signs nonces; processes that serve the same port share it."""

    def __init__(
        self,
        service: PresenceService,
        accounts: Accounts,
        metrics: Metrics,
        *,
        secret: bytes,
        profiles: tuple[PhoneProfile, ...] = (),
    ) -> None:
        self._profiles = profiles
        self._service = service
        self._accounts = accounts
        self._judge_elsewhere = accounts if isinstance(accounts, DigestJudge) else None
        self._metrics = metrics
        self._nonces = NonceKeeper(secret)

    async def authenticate(self, request: Request, flow: Flow, now: float) -> Address:
        """The account that sent the request. Raises `ProtocolError`: 401 with challenges, 403, 404."""
        registering = request.method == "REGISTER"
        claimed = to_address((request.to if registering else request.from_).uri)
        if not self._service.serves(claimed.domain):
            # RFC 3261 §10.3 step 5; a stranger's request would be relayed for nobody.
            raise ProtocolError(404) if registering else ProtocolError(403, "Unknown Sender Domain")
        realm = claimed.domain
        credentials = find_credentials(request, realm)
        if credentials is None:
            raise self._challenge(request, flow, await self._accounts.find(claimed), realm, now)
        if not flow.reliable and not self._nonces.issued_to(credentials, flow.host):
            # A datagram's sender may be forged: only who got our challenge there is judged, and can fail.
            account = await self._accounts.find(claimed)
            raise self._challenge(request, flow, account, realm, now, stale=True)
        user = _address(credentials.get("username") or "", realm)
        await self._check_ban(flow, user)
        account = await self._accounts.find(user) if user is not None else None
        match await self._judge(credentials, request, user, account, now):
            case Verdict.OK if user is not None:
                await self._service.guard.succeeded(flow.host, str(user))
                if user != claimed:
                    self._metrics.count("sip_forged_total")
                    log.info("sender_forged", address=str(user), claimed=str(claimed), peer=flow.remote)
                    raise ProtocolError(403, "Not Your Address")
                return claimed
            case Verdict.STALE:
                raise self._challenge(request, flow, account, realm, now, stale=True)
            case Verdict.MISSING:
                raise self._challenge(request, flow, account, realm, now)
            case _:
                self._metrics.count("sip_login_failures_total")
                log.info("login_refused", address=str(claimed), peer=flow.remote, method=request.method)
                if user is not None:
                    await self._service.guard.failed(flow.host, str(user))
                raise self._challenge(request, flow, account, realm, now)

    async def _judge(
        self,
        credentials: Credentials,
        request: Request,
        user: Address | None,
        account: Account | None,
        now: float,
    ) -> Verdict:
        """By the HA1 we have, or by asking who has it. Raises `Unavailable`."""
        elsewhere = self._judge_elsewhere
        enabled = account is None or account.enabled
        if elsewhere is None:
            ha1 = account.ha1 if account is not None and enabled else {}
            return self._nonces.verify(credentials, request, ha1, now)
        verdict = self._nonces.precheck(credentials, request, now)
        if verdict is not Verdict.OK:
            return verdict
        if user is None or not enabled:
            return Verdict.BAD
        if not await elsewhere.check_digest(user, question(credentials, request)):
            return Verdict.BAD
        return self._nonces.use(credentials, request, now)

    async def _check_ban(self, flow: Flow, user: Address | None) -> None:
        wait = await self._service.guard.wait(flow.host, str(user or ""))
        if wait > 0:
            after = (("Retry-After", str(ceil(wait))),)
            raise ProtocolError(403, "Too Many Failures", headers=after)

    def _challenge(
        self,
        request: Request,
        flow: Flow,
        account: Account | None,
        realm: str,
        now: float,
        *,
        stale: bool = False,
    ) -> ProtocolError:
        offered = [algorithm.value for algorithm in self._accounts.algorithms]
        provable = [name for name in offered if account is not None and name in account.ha1]
        wanted = provable or offered
        understood = profile_of(request.headers.get("User-Agent") or "", self._profiles).digests
        wanted = [name for name in wanted if name in understood] or wanted
        if not wanted:
            raise ProtocolError(403, "No Digest For This Account")
        values = self._nonces.challenges(wanted, realm, now, stale=stale, place=flow.host)
        return ProtocolError(401, headers=tuple(("WWW-Authenticate", value) for value in values))


def _address(username: str, realm: str) -> Address | None:
    """The account a digest user name means: the local part, or the whole address as some phones send it."""
    local, at, domain = username.partition("@")
    if not local or (at and domain.lower() != realm):
        return None
    try:
        return make_address(local, realm)
    except InvalidAddress:
        return None
