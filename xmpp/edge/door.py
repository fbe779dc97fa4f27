"""The XMPP server of one process: listener and router glued into a `presence.ports.Door`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from starlette.routing import BaseRoute

from presence.address import canonical_domain
from presence.edge.names import Files
from presence.edge.uploads import DirectoryUploads
from presence.ports import AccountChanged, Accounts, Envelope, Metrics
from presence.service import PresenceService
from xmpp.component import Component
from xmpp.edge.fileserver import FileServer
from xmpp.edge.landing import Landing
from xmpp.edge.listener import Listener, Listening
from xmpp.edge.runtime import LoopRuntime
from xmpp.edge.tls import load_identities
from xmpp.edge.web import XmppWeb
from xmpp.extensions import rfc_7081_cusax, xep_0363_upload
from xmpp.extensions.rfc_7081_cusax import SipNames
from xmpp.realm import Realm
from xmpp.router import XmppRouter, farewell_of
from xmpp.settings import XmppSettings
from xmpp.web import files_at

log = structlog.get_logger()

CLEAN_EVERY = 600.0
"Seconds between looks for shared files that are over."


class XmppDoor:
    """Implements `presence.ports.Door` and `presence.ports.Web`."""

    def __init__(
        self,
        settings: XmppSettings,
        *,
        domains: Sequence[str],
        service: PresenceService,
        accounts: Accounts,
        metrics: Metrics,
        certificate: Path,
        key: Path,
        named: Files | None = None,
        uploads: Path | None = None,
        sockets: Path | None = None,
        share_ports: bool = False,
        sip: SipNames | None = None,
    ) -> None:
        """The first of `domains` is the default. `uploads`: directory for shared files. `share_ports`:
        several processes serve the same ports, and find each other in the directory `sockets`. `sip`: what
        vCards name, where people are reached by SIP, too."""
        self._runtime = LoopRuntime(metrics)
        self.router = XmppRouter(settings, service, accounts, metrics, self._runtime)
        if sip is not None:
            rfc_7081_cusax.provide(self.router, sip)
        self._settings = settings
        self._domains = tuple(canonical_domain(domain) for domain in domains)
        self._accounts = accounts
        self._metrics = metrics
        self._certificate = certificate
        self._key = key
        self._named = named or {}
        self._share_ports = share_ports
        self._listener: Listener | None = None
        wanted = uploads if settings.upload.enabled else None
        self._uploads = DirectoryUploads(wanted, settings.upload) if wanted is not None else None
        self._cleaning: asyncio.TimerHandle | None = None
        shared = sockets if share_ports else None
        self._web = XmppWeb(settings, self._domains, lambda: self._listener, shared, service.node)

    @property
    def listening(self) -> list[Listening]:
        """Open sockets with the ports they really have."""
        return self._listener.listening if self._listener is not None else []

    async def start(self) -> None:
        """Read the certificate and open the listeners. Raises `OSError`."""
        identity = await asyncio.to_thread(load_identities, self._certificate, self._key, self._named)
        if self._uploads is not None:
            await asyncio.to_thread(self._uploads.prepare)
            bases = {domain: files_at(domain, self._settings) for domain in self._domains}
            xep_0363_upload.provide(self.router, self._uploads, bases)
            self._clean_later(self._uploads)
        realm = Realm(
            settings=self._settings,
            domains=self._domains,
            accounts=self._accounts,
            host=self.router,
            fake_secret=identity.secret,
            guard=self.router.service.guard,
            threshold=self.router.threshold(),
        )
        hosted = self.router.hosted.items()
        self._listener = Listener(
            realm,
            identity,
            self._metrics,
            share_ports=self._share_ports,
            components={domain: each for domain, each in hosted if isinstance(each, Component)},
        )
        await self._listener.start()
        await self._web.start()

    def _clean_later(self, uploads: DirectoryUploads) -> None:
        clean = partial(self._clean, uploads)
        self._cleaning = asyncio.get_running_loop().call_later(
            CLEAN_EVERY, lambda: self._runtime.spawn(clean())
        )

    async def _clean(self, uploads: DirectoryUploads) -> None:
        self._clean_later(uploads)
        deleted = await asyncio.to_thread(uploads.clean)
        if deleted:
            log.info("files_deleted", files=deleted)

    async def stop(self) -> None:
        """Tell every client `system-shutdown` and let the sessions end, as long as the settings say."""
        if self._cleaning is not None:
            self._cleaning.cancel()
        if self._listener is not None:
            await self._listener.stop()
        await self._web.stop()
        await self.router.stop()
        await self._runtime.drain(self._settings.drain_timeout)

    @property
    def max_message(self) -> int:
        """See `presence.ports.Web`. What is only somewhat too large is refused in XMPP's own words."""
        return 2 * self._settings.max_stanza

    def routes(self) -> list[BaseRoute]:
        """See `presence.ports.Web`."""
        routes = [*self._web.routes(), *Landing(self._settings, self.router.service).routes()]
        if self._uploads is not None:
            routes += FileServer(self._uploads, self._metrics).routes()
        return routes

    async def reload(self) -> None:
        """Show a renewed certificate to clients that connect from now on, unless it is broken."""
        if self._listener is None:
            return
        try:
            self._listener.identity = await asyncio.to_thread(
                load_identities, self._certificate, self._key, self._named
            )
        except (OSError, ValueError) as error:
            log.error("xmpp_certificate_unusable", certificate=str(self._certificate), error=str(error))
        else:
            log.info("xmpp_certificate_loaded", certificate=str(self._certificate))

    def receive(self, envelope: Envelope) -> None:
        """An envelope of this node's inbox."""
        if isinstance(envelope, AccountChanged) and self._listener is not None:
            farewell = farewell_of(envelope)
            if farewell is not None:
                self._listener.show_out(envelope.address, farewell)
        self.router.receive(envelope)

    async def restate(self) -> None:
        """See `presence.ports.Restating`."""
        await self.router.restate()

    def sessions(self) -> list[dict[str, Any]]:
        """The bound sessions, then the connections that are still on their way to one."""
        strangers = self._listener.strangers() if self._listener is not None else []
        return [*self.router.sessions(), *strangers]
