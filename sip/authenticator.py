"""Who sent a request: digest authentication against the accounts (RFC 3261 §22, RFC 8760).

The server is the one addressed, so it asks with 401, and takes the answer from either header. A user that
does not exist is treated like a wrong password. Whoever claims to be somebody else is told 403.

A trusted proxy may have asked in its place (`sip.asserting`); those behind it fail on their own account.
"""

from __future__ import annotations

import secrets
from math import ceil

import structlog

from presence.address import Address
from presence.ports import Accounts, Metrics
from presence.service import PresenceService
from sip.addressing import to_address
from sip.asserting import asserted, plain
from sip.digest import Verdict, find_credentials
from sip.errors import BadUri, ProtocolError
from sip.flow import Flow
from sip.judge import Banned, Judge
from sip.limits import Rates
from sip.message import Request
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
        rates: Rates,
    ) -> None:
        self._service = service
        self._accounts = accounts
        self._metrics = metrics
        self._topology = topology
        self._rates = rates
        self._judge = Judge(
            settings, service, accounts, metrics, "sip_login_failures_total", secret=secrets.token_bytes(32)
        )

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
            raise await self._challenge(request, flow, realm, now)
        if not flow.reliable and not self._judge.nonces.issued_to(credentials, flow.host):
            # A datagram's sender may be forged: only who got our challenge there is judged, and can fail.
            raise await self._challenge(request, flow, realm, now, stale=True)
        if not flow.reliable:
            self._rates.known(flow.host, now)
        peer = self._topology.origin(request, flow)
        try:
            user, verdict = await self._judge.judge(credentials, request, peer, now)
        except Banned as banned:
            after = (("Retry-After", str(ceil(banned.wait))),)
            raise ProtocolError(403, "Too Many Failures", headers=after) from None
        if verdict is not Verdict.OK:
            raise await self._challenge(request, flow, realm, now, stale=verdict is Verdict.STALE)
        if not self._is_meant(credentials.get("uri") or "", request):
            raise ProtocolError(400, "Digest URI Names Somebody Else")
        if user != claimed:
            self._metrics.count("sip_forged_total")
            log.info("sender_forged", address=str(user), claimed=str(claimed), peer=peer)
            raise ProtocolError(403, "Not Your Address")
        return claimed

    async def _believe(self, user: Address, request: Request) -> Address:
        """What a trusted proxy asserts, of somebody who has an account here. Raises `ProtocolError` 403."""
        account = await self._accounts.find(user) if self._service.serves(user.domain) else None
        if account is None or not account.enabled:
            raise ProtocolError(403, "Unknown Asserted Identity")
        if request.method == "REGISTER" and to_address(plain(request.to.uri)) != user:
            raise ProtocolError(403, "Not Your Address")
        return user

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
            self._service.reaches(meant.host) and self._service.reaches(uri.host)
        )

    async def _challenge(
        self, request: Request, flow: Flow, realm: str, now: float, *, stale: bool = False
    ) -> ProtocolError:
        agent = request.headers.get("User-Agent") or ""
        values = await self._judge.challenges(agent, realm, now, stale=stale, place=flow.host)
        if not values:
            return ProtocolError(403, "No Digest For This Account")
        return ProtocolError(401, headers=tuple(("WWW-Authenticate", value) for value in values))
