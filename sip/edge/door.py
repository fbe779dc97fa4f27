"""The SIP server of one process: sockets, transactions and application glued into a `presence.ports.Door`."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import ssl
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import structlog
from starlette.routing import BaseRoute, Route, WebSocketRoute

from presence.edge.names import Files, NamedContexts, show_by_name
from presence.edge.uploads import DirectoryUploads
from presence.errors import Unavailable
from presence.ports import Accounts, Envelope, Metrics
from presence.service import PresenceService
from sip import push
from sip.edge.filetransfer import FileTransfer
from sip.edge.listener import Listener, Listening
from sip.edge.reach import Reach
from sip.edge.runtime import LoopRuntime
from sip.edge.stream import client_context, server_context
from sip.edge.websocket import PATHS, endpoint
from sip.edge.wire import Wire
from sip.edge.xcap import Aside, XcapWeb
from sip.effects import Key
from sip.errors import ProtocolError
from sip.flow import Flow
from sip.judge import Judge
from sip.limits import Rates
from sip.loops import branch_mark
from sip.message import Request, respond
from sip.parser import MAX_MESSAGE
from sip.push import Pns
from sip.server import SipServer
from sip.settings import SipSettings
from sip.topology import Topology
from sip.uas import refusal
from sip.waking import no_push
from sip.weblogin import Login
from sip.xcap.library import Library
from sip.xcap.server import XcapServer
from sip.xcap.usages import pidf_manipulation, rls_services

if TYPE_CHECKING:
    from sip.edge.push import PushClient

log = structlog.get_logger()

_TIDY = 15.0
"Seconds between looks for what has expired or fallen silent."
_IN_FLIGHT = 4_000
"Requests worked on at once; beyond, 503 (RFC 3261 §21.5.4)."
_RESUME_RETRY = 2.0


class SipDoor:
    """Implements `presence.ports.Door`, `Restating` and `Web`."""

    max_message = MAX_MESSAGE

    def __init__(
        self,
        settings: SipSettings,
        *,
        domains: Sequence[str],
        service: PresenceService,
        accounts: Accounts,
        metrics: Metrics,
        certificate: Path,
        key: Path,
        named: Files | None = None,
        vapid_key: Path | None = None,
        share_ports: bool = False,
        uploads: DirectoryUploads | None = None,
        files: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`domains` are canonical, the first is the default. `vapid_key`: for web push, where that is on.
        `share_ports`: several processes serve the same ports. `uploads`: where phones' files are kept, if
        they may share any; `files`: domain → where its files are found."""
        self._settings = settings
        self._domains = tuple(domains)
        self._service = service
        self._accounts = accounts
        self._metrics = metrics
        self._certificate = certificate
        self._key = key
        self._named = NamedContexts(named or {}, self._context_of)
        self._vapid_key = vapid_key
        self._ring: PushClient | None = None
        self._share_ports = share_ports
        self._uploads = uploads if settings.file_transfer else None
        self._files = {domain: files[domain] for domain in self._domains if domain in files}
        self._runtime = LoopRuntime(metrics)
        self._rates = Rates(settings, metrics)
        self._library = Library(
            service,
            accounts,
            self._domains,
            root=settings.xcap_root.rstrip("/"),
            reserved=settings.own_names,
            now=self._runtime.now,
            aside=Aside(),
            asking=self._rates.asking,
        )
        self._wire: Wire | None = None
        self._listener: Listener | None = None
        self._server: SipServer | None = None
        self._context: ssl.SSLContext | None = None
        self._tidier: asyncio.TimerHandle | None = None
        self._in_flight = 0
        self._stopping = False

    @property
    def listening(self) -> list[Listening]:
        """Open sockets with the ports they really have."""
        return self._listener.listening if self._listener is not None else []

    def routes(self) -> list[BaseRoute]:
        """SIP over WebSocket, XCAP, and phones' files."""
        origins = {origin.lower() for origin in self._settings.web_origins}
        answer = endpoint(lambda: None if self._stopping else self._listener, origins)
        sockets = [WebSocketRoute(path, answer) for path in PATHS]
        login = self._login()
        return [*sockets, *self._xcap_routes(login), *self._file_routes(login)]

    def _login(self) -> Login:
        # Processes on the same ports know each other's nonces: HTTP has connections of one request each.
        shared = hashlib.sha256(b"xcap nonces" + self._key.read_bytes()).digest()
        judge = Judge(
            self._settings,
            self._service,
            self._accounts,
            self._metrics,
            "xcap_login_failures_total",
            secret=shared if self._share_ports else secrets.token_bytes(32),
            shared=self._share_ports,
        )
        return Login(self._service, judge)

    def _file_routes(self, login: Login) -> list[Route]:
        if self._uploads is None or not self._files:
            return []
        path = self._settings.file_transfer
        return FileTransfer(self._uploads, self._files, login, self._rates, self._metrics, path=path).routes()

    def _xcap_routes(self, login: Login) -> list[Route]:
        if not self._settings.xcap_root:
            return []
        web = XcapWeb(
            XcapServer(self._library),
            self._service,
            login,
            self._rates,
            self._metrics,
            root=self._settings.xcap_root,
            max_document=self._settings.max_document,
        )
        return web.routes()

    # --- life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Read the certificate and open the sockets. Raises `OSError`."""
        if self._uploads is not None:
            await asyncio.to_thread(self._uploads.prepare)
        self._context = await asyncio.to_thread(self._server_context)
        await asyncio.to_thread(self._named.load)
        show_by_name(self._context, self._named.contexts)
        # Processes on the same ports, and the next one after a restart, know each other's branches and
        # temporary GRUUs.
        secret = hashlib.sha256(await asyncio.to_thread(self._key.read_bytes)).digest()
        mark = branch_mark(secret)
        topology = Topology(
            self._settings.outbound_proxy,
            self._settings.trusted_peers,
            names_of=self._names,
            servers=[each.server for each in self._settings.follow],
        )

        def answers(flow: Flow) -> bool:
            return topology.trusts(flow) or self._rates.answers(flow.host, self._runtime.now())

        def pace(flow: Flow, messages: int) -> float:
            if topology.trusts(flow):
                return 0.0
            return self._rates.reading(flow.host, messages, self._runtime.now())

        self._wire = Wire(self._request, self._flow_lost, self._metrics, mark, answers)
        self._listener = Listener(self._settings, self._wire, self._metrics, share_ports=self._share_ports)
        self._wire.listener = self._listener
        self._listener.pace = pace
        self._wire.reach = Reach(
            self._settings,
            topology,
            self._wire,
            self._listener,
            self._runtime,
            self._metrics,
            self._client_context,
        )
        services = await asyncio.to_thread(self._push_services)
        self._server = SipServer(
            self._settings,
            self._service,
            self._accounts,
            self._metrics,
            self._runtime,
            self._wire,
            secret=secret,
            is_here=self._listener.is_here,
            topology=topology,
            mark=mark,
            lookup=partial(rls_services.members, self._library),
            passwords=await asyncio.to_thread(_passwords, self._settings),
            library=self._library,
            rates=self._rates,
            ring=self._ring or no_push,
            push=services,
        )
        await self._listener.start(self._context)
        await self._resume()
        self._runtime.spawn(self._server.following.look())
        self._tidier = asyncio.get_running_loop().call_later(_TIDY, self._tidy)

    def _names(self, flow: Flow) -> frozenset[str]:
        return self._listener.names(flow) if self._listener is not None else frozenset()

    def _server_context(self) -> ssl.SSLContext:
        return self._context_of(self._certificate, self._key)

    def _context_of(self, certificate: Path, key: Path) -> ssl.SSLContext:
        named = Topology(trusted_peers=self._settings.trusted_peers).names
        return server_context(
            str(certificate),
            str(key),
            ask_peers=bool(named),
            authorities=self._settings.peer_authorities,
        )

    def _client_context(self) -> ssl.SSLContext:
        return client_context(str(self._certificate), str(self._key), self._settings.peer_authorities)

    def _push_services(self) -> dict[str, Pns]:
        """Raises `OSError`, `ValueError`."""
        chosen = self._settings.push
        if not (chosen.webpush or chosen.gateways):
            return {}
        from sip.edge.push import PushClient, read_vapid_key  # an HTTP client weighs something

        self._ring = PushClient(chosen, self._settings.nameservers)
        token, vapid = chosen.gateway_token_file, self._vapid_key
        proofs = push.Secrets(
            read_vapid_key(vapid) if chosen.webpush and vapid is not None else None,
            token.read_text().strip() if token is not None else "",
        )
        return push.services(chosen, proofs)

    async def _resume(self) -> None:
        assert self._server is not None
        try:
            await self._server.waker.resume()
            resumed = await self._server.notifier.resume()
        except Unavailable as error:
            log.warning("subscriptions_not_resumed", error=str(error), retry_in=_RESUME_RETRY)
            self._runtime.spawn(self._resume_later())
        else:
            if resumed:
                log.info("subscriptions_resumed", count=resumed)

    async def _resume_later(self) -> None:
        await asyncio.sleep(_RESUME_RETRY)
        await self._resume()

    async def stop(self) -> None:
        """Stop accepting, finish what is under way as long as the settings say, close. Subscriptions and UDP
        registrations go on in the next process."""
        self._stopping = True
        if self._tidier is not None:
            self._tidier.cancel()
        if self._listener is not None:
            self._listener.stop_accepting()
        if self._wire is not None:
            await self._finish(self._wire)
        if self._server is not None:
            self._server.close()
        if self._listener is not None:
            self._listener.close()
        if self._wire is not None:
            self._wire.close()
        await self._runtime.cancel()
        if self._ring is not None:
            await self._ring.close()

    async def _finish(self, wire: Wire) -> None:
        """Answers we owe and answers we are owed, with what follows from them."""
        try:
            async with asyncio.timeout(self._settings.drain_timeout):
                await self._runtime.idle()
                await wire.quiet.wait()
                await self._runtime.idle()
        except TimeoutError:
            log.info("sip_drain_incomplete", requests=len(wire), tasks=len(self._runtime))

    async def reload(self) -> None:
        """Show a renewed certificate to phones that connect from now on; the old one stays if it is
        broken."""
        if self._context is None:
            return
        try:
            await asyncio.to_thread(self._server_context)
            self._context.load_cert_chain(self._certificate, self._key)
            await asyncio.to_thread(self._named.load)
        except OSError as error:
            log.error("sip_certificate_unusable", certificate=str(self._certificate), error=str(error))
        else:
            log.info("sip_certificate_loaded", certificate=str(self._certificate))

    async def restate(self) -> None:
        """The bus was gone: say again what is registered and watched here."""
        if self._server is not None:
            await self._server.registrar.restate()
            await self._server.notifier.restate()
        await pidf_manipulation.restate(self._library)

    def _tidy(self) -> None:
        if self._server is not None and self._listener is not None:
            self._server.tidy()
            self._listener.close_idle(self._server.patience)
        self._tidier = asyncio.get_running_loop().call_later(_TIDY, self._tidy)

    # --- what happens ---------------------------------------------------------------------------

    def receive(self, envelope: Envelope) -> None:
        """An envelope of this node's inbox."""
        if self._server is not None:
            self._server.receive(envelope)

    def _request(self, key: Key, request: Request, flow: Flow) -> None:
        assert self._wire is not None
        if self._in_flight >= _IN_FLIGHT or self._stopping:
            self._metrics.count("sip_overload_total")
            self._wire.respond(key, respond(request, 503, headers=[("Retry-After", "5")]))
            return
        assert self._server is not None
        try:
            self._server.limits.check_address(request, flow, self._runtime.now())
        except ProtocolError as error:
            self._wire.respond(key, refusal(request, error))
            return
        self._in_flight += 1
        self._runtime.spawn(self._answer(key, request, flow))

    async def _answer(self, key: Key, request: Request, flow: Flow) -> None:
        assert self._wire is not None
        assert self._server is not None
        assert self._listener is not None
        connection = self._listener.connection(flow)
        if connection is not None:
            connection.began()
        try:
            reply = await self._server.answer(request, flow)
            self._wire.respond(key, reply.response)
            if reply.then is not None:
                reply.then()
        finally:
            self._in_flight -= 1
            if connection is not None:
                connection.ended()

    def _flow_lost(self, flow: Flow) -> None:
        # When stopping, what hangs on the connections ends with this process, all at once.
        if self._server is not None and not self._stopping:
            self._server.flow_lost(flow)

    def sessions(self) -> list[dict[str, Any]]:
        """Bindings and dialogs, then the connections nobody has registered over."""
        if self._server is None or self._listener is None:
            return []
        strangers = [
            {"address": "", "kind": "sip connection", "transport": flow.transport, "peer": flow.remote}
            for flow, _ in self._listener.connections()
            if not self._server.registrar.holds(flow)
        ]
        return [*self._server.sessions(), *strangers]


def _passwords(settings: SipSettings) -> dict[str, str]:
    """What is read of the files that `sip.follow` names. Raises `OSError`."""
    files = {each.password_file for each in settings.follow} - {None}
    return {str(file): file.read_text().strip("\r\n") for file in files if file is not None}
