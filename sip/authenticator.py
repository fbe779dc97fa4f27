"""Who sent a request: digest authentication against the accounts (RFC 3261 §22, RFC 8760).

The server is the one addressed, so it asks with 401, and takes the answer from either header. A user that
does not exist is treated like a wrong password. Whoever claims to be somebody else is told 403.

A trusted proxy may have asked in its place (`sip.asserting`); those behind it fail on their own account.
"""

from __future__ import annotations

import secrets
from math import ceil

import structlog

from presence.address import Address, make_address
from presence.errors import InvalidAddress
from presence.ports import Account, Accounts, DigestJudge, Metrics
from presence.service import PresenceService
from sip.addressing import to_address
from sip.asserting import asserted, plain
from sip.digest import NonceKeeper, Verdict, find_credentials, question
from sip.errors import BadUri, ProtocolError
from sip.flow import Flow
from sip.headers import Credentials
from sip.message import Request
from sip.profiles import profile_of
from sip.settings import SipSettings
from sip.topology import Topology
from sip.uri import parse_uri, unescape

log = structlog.get_logger()


class Authenticator:
    """Of one incarnation of one process. Only who issued a nonce knows how often it was used, so one of
    another process or of an earlier life is stale, and its phone asked anew."""

    def __init__(
        self,
        settings: SipSettings,
        service: PresenceService,
        accounts: Accounts,
        metrics: Metrics,
        topology: Topology,
    ) -> None:
        self._profiles = settings.profiles
        self._algorithms = settings.digest_algorithms
        self._service = service
        self._accounts = accounts
        self._judge_elsewhere = accounts if isinstance(accounts, DigestJudge) else None
        self._metrics = metrics
        self._topology = topology
        self._nonces = NonceKeeper(secrets.token_bytes(32))

    async def authenticate(self, request: Request, flow: Flow, now: float) -> Address:
        """The account that sent the request. Raises `ProtocolError`: 401 with challenges, 403, 404."""
        registering = request.method == "REGISTER"
        if self._topology.trusts(flow) and (vouched := asserted(request)) is not None:
            return await self._believe(vouched, request)
        claimed = to_address(plain((request.to if registering else request.from_).uri))
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
        peer = self._topology.origin(request, flow)
        await self._check_ban(peer, user)
        account = await self._accounts.find(user) if user is not None else None
        match await self._judge(credentials, request, user, account, now):
            case Verdict.OK if user is not None:
                await self._service.guard.succeeded(peer, str(user))
                if not self._is_meant(credentials.get("uri") or "", request):
                    raise ProtocolError(400, "Digest URI Names Somebody Else")
                if user != claimed:
                    self._metrics.count("sip_forged_total")
                    log.info("sender_forged", address=str(user), claimed=str(claimed), peer=peer)
                    raise ProtocolError(403, "Not Your Address")
                return claimed
            case Verdict.STALE:
                raise self._challenge(request, flow, account, realm, now, stale=True)
            case Verdict.MISSING:
                raise self._challenge(request, flow, account, realm, now)
            case _:
                self._metrics.count("sip_login_failures_total")
                log.info("login_refused", address=str(claimed), peer=peer, method=request.method)
                if user is not None:
                    await self._service.guard.failed(peer, str(user))
                raise self._challenge(request, flow, account, realm, now)

    async def _believe(self, user: Address, request: Request) -> Address:
        """What a trusted proxy asserts, of somebody who has an account here. Raises `ProtocolError` 403."""
        account = await self._accounts.find(user) if self._service.serves(user.domain) else None
        if account is None or not account.enabled:
            raise ProtocolError(403, "Unknown Asserted Identity")
        if request.method == "REGISTER" and to_address(plain(request.to.uri)) != user:
            raise ProtocolError(403, "Not Your Address")
        return user

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

    def _is_meant(self, signed: str, request: Request) -> bool:
        """Whether the digest-uri is about whom the request goes to (RFC 7616 §3.4.6). A proxy may have put
        another host or other parameters into the Request-URI, but nobody may have put somebody else."""
        uri = request.uri
        if signed == str(uri) or (request.method == "SUBSCRIBE" and request.to.tag):
            # In a subscription's dialog it is the dialog that tells what it is about.
            return True
        try:
            meant = parse_uri(signed)
        except BadUri:
            return False
        if not meant.user and not self._service.serves(meant.host):
            # Some sign the address they send to (SIPp), which names nobody.
            return True
        if unescape(meant.user) != unescape(uri.user):
            return False
        return meant.host == uri.host or not (
            self._service.serves(meant.host) and self._service.serves(uri.host)
        )

    async def _check_ban(self, peer: str, user: Address | None) -> None:
        wait = await self._service.guard.wait(peer, str(user or ""))
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
        if self._algorithms:
            offered = [name for name in self._algorithms if name in offered]
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
