"""Requests that follow a route: over which address, on which connection, and what if nobody is there.

The next hop's URI is resolved, its targets are tried in order (RFC 3263 §4.3), each in a transaction of its
own. What worked is used again as long as it lives.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

import structlog

from presence.ports import Metrics
from sip.edge.dns import Resolver
from sip.edge.listener import Listener
from sip.failover import Avoided, failed
from sip.fitting import datagram_size
from sip.flow import Flow
from sip.locating import Target
from sip.message import Request
from sip.runtime import Answer, Runtime, Silence
from sip.settings import SipSettings
from sip.topology import Topology
from sip.uri import parse_uri

log = structlog.get_logger()

_CONNECT = 5.0
"Seconds for a connection, TLS included."
_ALIVE = 300.0
"Seconds a target that answered is used without asking the DNS again."
_READY = 5_000
_NOBODY = Answer(None, Silence.UNREACHABLE)
_NOT_READY = (0.0, Target("udp", "", 0, ""), Flow("udp", "", "", 0))

Done = Callable[[Answer], None]


class Transactions(Protocol):
    """The part of `Wire` needed here."""

    def send(self, request: Request, flow: Flow, done: Done) -> None: ...
    def contact(self, flow: Flow) -> str: ...


class Reach:
    """To be made inside the running loop."""

    def __init__(
        self,
        settings: SipSettings,
        topology: Topology,
        wire: Transactions,
        listener: Listener,
        runtime: Runtime,
        metrics: Metrics,
        context: Callable[[], ssl.SSLContext],
    ) -> None:
        """`context` makes TLS for connections of our own. Raises `ValueError` for wrong `nameservers`."""
        self._max_datagram = settings.max_datagram
        self._topology = topology
        self._wire = wire
        self._listener = listener
        self._runtime = runtime
        self._metrics = metrics
        self._make_context = context
        self._context: ssl.SSLContext | None = None
        self._resolver = Resolver(settings.nameservers)
        self._loop = asyncio.get_running_loop()
        self._avoided = Avoided()
        self._ready: OrderedDict[str, tuple[float, Target, Flow]] = OrderedDict()
        "Next hop → until when it need not be looked up, what it was, and the way there."
        self._open: dict[Target, Flow] = {}
        self._opening: dict[Target, asyncio.Task[Flow]] = {}

    def send(self, request: Request, hop: str, done: Done) -> None:
        """Send a request without Via over the next hop. `done` hears UNREACHABLE when none of its targets
        could be sent anything."""
        if self._topology.outbound is not None and hop == str(self._topology.outbound):
            self._preload(request, hop)
        until, target, flow = self._ready.get(hop, _NOT_READY)
        usable = until > self._loop.time() and self._listener.alive(flow)
        if not usable or not self._suits(request, flow):
            self._runtime.spawn(self._try_all(request, hop, done))
            return

        def answered(answer: Answer) -> None:
            self._avoided.note(target, answer, self._loop.time())
            if failed(answer):
                self._ready.pop(hop, None)
                # A connection that broke is made anew; who was silent is not asked a second time.
                tried = None if answer.silence is Silence.BROKEN else target
                self._runtime.spawn(self._try_all(request, hop, done, answer, tried))
            else:
                done(answer)

        self._attempt(request, flow, answered)

    def _suits(self, request: Request, flow: Flow) -> bool:
        """RFC 3261 §26.2.2, §18.1.1."""
        if request.uri.secure and flow.transport != "tls":
            return False
        return flow.reliable or datagram_size(request) <= self._max_datagram

    async def _try_all(
        self,
        request: Request,
        hop: str,
        done: Done,
        answer: Answer = _NOBODY,
        tried: Target | None = None,
    ) -> None:
        """`answer` was heard from the target already tried."""
        uri = parse_uri(hop)
        try:
            found = await self._resolver.locate(uri)
            allowed = [target for target in found if self._topology.allows(uri, target)]
            if len(allowed) < len(found):
                log.warning("hop_not_allowed", hop=hop, targets=len(found) - len(allowed))
            if request.uri.secure:
                # RFC 3261 §26.2.2
                allowed = [target for target in allowed if target.transport == "tls"]
            for target in self._avoided.order(allowed, self._loop.time()):
                if target == tried:
                    continue
                answer = await self._try(request, hop, target)
                self._avoided.note(target, answer, self._loop.time())
                if not failed(answer):
                    break
                self._metrics.count("sip_hops_failed_total")
            else:
                reason = answer.silence.value if answer.silence else answer.status
                log.warning("hop_unreachable", hop=hop, targets=len(allowed), reason=reason)
        finally:
            done(answer)

    async def _try(self, request: Request, hop: str, target: Target) -> Answer:
        if target.transport == "udp" and datagram_size(request) > self._max_datagram:
            # RFC 3261 §18.1.1; proxies have TCP on the same port.
            target = Target("tcp", target.host, target.port, target.name)
        try:
            flow = await self._flow(target)
        except (OSError, TimeoutError) as error:
            log.info("hop_refused", hop=hop, peer=f"{target.host} {target.port}", error=str(error)[:200])
            return Answer(None, Silence.UNREACHABLE)
        given: asyncio.Future[Answer] = self._loop.create_future()
        self._attempt(request, flow, lambda answer: None if given.done() else given.set_result(answer))
        answer = await given
        if answer.silence is Silence.BROKEN:
            answer = Answer(None, Silence.UNREACHABLE)
        if not failed(answer):
            self._ready[hop] = (self._loop.time() + _ALIVE, target, flow)
            if len(self._ready) > _READY:
                self._ready.popitem(last=False)
        return answer

    def _attempt(self, request: Request, flow: Flow, done: Done) -> None:
        """Each has a Via of its own, and a Contact with the transport that was found."""
        attempt = Request(request.method, request.uri, request.headers.copy(), request.body)
        if "Contact" in attempt.headers:
            attempt.headers.set("Contact", f"<{self._wire.contact(flow)}>")
        self._wire.send(attempt, flow, done)

    def _preload(self, request: Request, hop: str) -> None:
        """An outbound proxy is the first of the route (RFC 3261 §8.1.2)."""
        if "Route" not in request.headers:
            loose = hop if ";lr" in hop else f"{hop};lr"
            request.headers.prepend("Route", f"<{loose}>")

    # --- connections ----------------------------------------------------------------------------

    async def _flow(self, target: Target) -> Flow:
        """The way to a target. Raises `OSError`, `TimeoutError`."""
        if target.transport == "udp":
            return self._listener.datagrams(target.host, target.port)
        flow = self._open.get(target)
        if flow is not None and self._listener.alive(flow):
            return flow
        opening = self._opening.get(target)
        if opening is None:
            opening = self._opening[target] = self._loop.create_task(self._connect(target))
            opening.add_done_callback(lambda _: self._opening.pop(target, None))
        return await asyncio.shield(opening)

    async def _connect(self, target: Target) -> Flow:
        context = None
        if target.transport == "tls":
            context = self._context = self._context or await asyncio.to_thread(self._make_context)
        async with asyncio.timeout(_CONNECT):
            flow = await self._listener.connect(
                target.transport, target.host, target.port, context, target.name
            )
        for dead in [known for known, one in self._open.items() if not self._listener.alive(one)]:
            del self._open[dead]
        self._open[target] = flow
        log.info("hop_connected", transport=target.transport, peer=flow.remote)
        return flow
