"""Who sent a request, by digest: what they are asked for, and whether their answer proves it (RFC 7616).

The same for SIP and for HTTP. Everybody is asked the same: neither the challenge nor how long a wrong answer
takes tells who has an account. Failures count and bans hold over both (`presence.ports.Guard`).
"""

from __future__ import annotations

import structlog

from presence.address import Address, make_address
from presence.errors import InvalidAddress
from presence.ports import Account, Accounts, DigestJudge, Metrics
from presence.service import PresenceService
from sip.digest import LIFETIME, NonceKeeper, Signed, Verdict, question
from sip.headers import Credentials
from sip.profiles import profile_of
from sip.settings import SipSettings

log = structlog.get_logger()


class Banned(Exception):
    """Too many failures: nothing was looked at."""

    def __init__(self, wait: float) -> None:
        super().__init__(f"for {wait:.0f} s")
        self.wait = wait
        "Seconds."


class Judge:
    """Of one door. `metric` counts its failures."""

    def __init__(
        self,
        settings: SipSettings,
        service: PresenceService,
        accounts: Accounts,
        metrics: Metrics,
        metric: str,
        *,
        secret: bytes,
        shared: bool = False,
    ) -> None:
        """`secret` signs nonces; one that dies with the process makes those of other processes, and of an
        earlier life, stale. `shared`: it is others' as well, and which process takes a nonce is settled on
        the bus: only that one knows how often it was used."""
        self._profiles = settings.profiles
        self._algorithms = settings.digest_algorithms
        self._service = service
        self._accounts = accounts
        self._judge_elsewhere = accounts if isinstance(accounts, DigestJudge) else None
        self._metrics = metrics
        self._metric = metric
        self._shared = shared
        self.nonces = NonceKeeper(secret)

    async def challenges(
        self, agent: str, realm: str, now: float, *, stale: bool = False, place: str = ""
    ) -> list[str]:
        """Values of WWW-Authenticate, the best first; none where no account can prove anything. `agent`: what
        asks, for some know less. `place`: see `NonceKeeper.issued_to`."""
        offered = [algorithm.value for algorithm in await self._accounts.digests()]
        if self._algorithms:
            offered = [name for name in self._algorithms if name in offered]
        understood = profile_of(agent, self._profiles).digests
        offered = [name for name in offered if name in understood] or offered
        return self.nonces.challenges(offered, realm, now, stale=stale, place=place) if offered else []

    async def judge(
        self, credentials: Credentials, request: Signed, peer: str, now: float
    ) -> tuple[Address | None, Verdict]:
        """Whom the credentials name, and whether they prove it; None is never OK. A wrong answer takes the
        longer the more there were. Raises `Banned`, `Unavailable`."""
        user = _named(credentials.get("username") or "", credentials.get("realm") or "")
        name = str(user or "")
        wait = await self._service.guard.wait(peer, name)
        if wait > 0:
            raise Banned(wait)
        account = await self._accounts.find(user) if user is not None else None
        if self._judge_elsewhere is None:
            ha1 = account.ha1 if account is not None and account.enabled else {}
            verdict = self.nonces.verify(credentials, request, ha1, now)
        else:
            verdict = await self._verdict_of(self._judge_elsewhere, credentials, request, user, account, now)
        if verdict is Verdict.OK and self._shared and not await self._is_ours(credentials):
            verdict = Verdict.STALE
        if verdict is Verdict.OK:
            await self._service.guard.succeeded(peer, name)
        elif verdict is Verdict.BAD:
            self._metrics.count(self._metric)
            log.info("login_refused", address=name, peer=peer, method=request.method)
            if user is not None:
                await self._service.guard.failed(peer, name)
        return user, verdict

    async def _verdict_of(
        self,
        elsewhere: DigestJudge,
        credentials: Credentials,
        request: Signed,
        user: Address | None,
        account: Account | None,
        now: float,
    ) -> Verdict:
        """By asking who has the HA1. Raises `Unavailable`."""
        verdict = self.nonces.precheck(credentials, request, now)
        if verdict is not Verdict.OK:
            return verdict
        if user is None or (account is not None and not account.enabled):
            return Verdict.BAD
        if not await elsewhere.check_digest(user, question(credentials, request)):
            return Verdict.BAD
        return self.nonces.use(credentials, request, now)

    async def _is_ours(self, credentials: Credentials) -> bool:
        """The process whom a nonce is shown first keeps it for as long as it is good."""
        return await self._service.claims(f"nonce {credentials.get('nonce')}", LIFETIME)


def _named(username: str, realm: str) -> Address | None:
    """The account a digest user name means: clients write the local part, the address, or its URI."""
    local, at, domain = username.removeprefix("sip:").partition("@")
    if not local or (at and domain.lower() != realm):
        return None
    try:
        return make_address(local, realm)
    except InvalidAddress:
        return None
