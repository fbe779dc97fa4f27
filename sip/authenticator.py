"""Who sent a request: digest authentication against the accounts (RFC 3261 §22, RFC 8760).

The server is the one addressed, so it asks with 401, and takes the answer from either header. A user that
does not exist is treated like a wrong password. Whoever claims to be somebody else is told 403.
"""

from __future__ import annotations

from dataclasses import dataclass
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

log = structlog.get_logger()

_WINDOW = 60.0
"Seconds over which failures are counted."
_REMEMBERED = 20_000
"Sources of failures kept at most."


@dataclass(slots=True)
class _Failures:
    since: float
    count: int = 0


class Authenticator:
    """`secret` signs nonces; processes that serve the same port share it."""

    def __init__(
        self,
        service: PresenceService,
        accounts: Accounts,
        metrics: Metrics,
        *,
        secret: bytes,
        max_failures: int,
    ) -> None:
        self._service = service
        self._accounts = accounts
        self._judge_elsewhere = accounts if isinstance(accounts, DigestJudge) else None
        self._metrics = metrics
        self._nonces = NonceKeeper(secret)
        self._max_failures = max_failures
        self._failures: dict[tuple[str, str], _Failures] = {}

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
            raise self._challenge(request, await self._accounts.find(claimed), realm, now)
        username = credentials.get("username") or ""
        source = (flow.network, username)
        self._check_failures(source, now)
        user = _address(username, realm)
        await self._check_ban(flow, user)
        account = await self._accounts.find(user) if user is not None else None
        match await self._judge(credentials, request, user, account, now):
            case Verdict.OK if user is not None:
                self._failures.pop(source, None)
                await self._service.guard.succeeded(flow.host, str(user))
                if user != claimed:
                    self._metrics.count("sip_forged_total")
                    log.info("sender_forged", address=str(user), claimed=str(claimed), peer=flow.remote)
                    raise ProtocolError(403, "Not Your Address")
                return claimed
            case Verdict.STALE:
                raise self._challenge(request, account, realm, now, stale=True)
            case Verdict.MISSING:
                raise self._challenge(request, account, realm, now)
            case _:
                self._failed(source, now)
                log.info("login_refused", address=str(claimed), peer=flow.remote, method=request.method)
                if user is not None:
                    await self._service.guard.failed(flow.host, str(user))
                raise self._challenge(request, account, realm, now)

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
        self, request: Request, account: Account | None, realm: str, now: float, *, stale: bool = False
    ) -> ProtocolError:
        offered = [algorithm.value for algorithm in self._accounts.algorithms]
        provable = [name for name in offered if account is not None and name in account.ha1]
        wanted = provable or offered
        understood = profile_of(request.headers.get("User-Agent") or "").digests
        wanted = [name for name in wanted if name in understood] or wanted
        if not wanted:
            raise ProtocolError(403, "No Digest For This Account")
        values = self._nonces.challenges(wanted, realm, now, stale=stale)
        return ProtocolError(401, headers=tuple(("WWW-Authenticate", value) for value in values))

    def _check_failures(self, source: tuple[str, str], now: float) -> None:
        failures = self._failures.get(source)
        if failures is None:
            return
        if now - failures.since > _WINDOW:
            del self._failures[source]
        elif failures.count >= self._max_failures:
            raise ProtocolError(403, "Too Many Failures")

    def _failed(self, source: tuple[str, str], now: float) -> None:
        self._metrics.count("sip_login_failures_total")
        failures = self._failures.get(source)
        if failures is None:
            if len(self._failures) >= _REMEMBERED:
                del self._failures[next(iter(self._failures))]
            failures = self._failures[source] = _Failures(now)
        failures.count += 1


def _address(username: str, realm: str) -> Address | None:
    """The account a digest user name means: the local part, or the whole address as some phones send it."""
    local, at, domain = username.partition("@")
    if not local or (at and domain.lower() != realm):
        return None
    try:
        return make_address(local, realm)
    except InvalidAddress:
        return None
