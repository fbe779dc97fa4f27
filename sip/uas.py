"""What every request goes through before its method sees it (RFC 3261 §8.2), and what becomes of refusals.

Order: method, loops, Max-Forwards, Require, Request-URI, who sent it, the method itself.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from presence.errors import Refused, Unavailable
from presence.ports import Metrics
from presence.service import PresenceService
from sip.addressing import to_address
from sip.authenticator import Authenticator
from sip.errors import ProtocolError, condition_to_status
from sip.flow import Flow
from sip.limits import Limits
from sip.loops import has_been_here
from sip.message import Request, Response, respond
from sip.methods import Incoming, Method, Services, allow, methods
from sip.runtime import Reply
from sip.uri import Uri

log = structlog.get_logger()

SUPPORTED = frozenset(("eventlist", "gruu", "outbound", "path", "recipient-list-subscribe"))
"Option tags (RFC 3261 §19.2)."
_ONLY_IN_DIALOG = frozenset(("BYE", "NOTIFY", "PRACK", "UPDATE"))
"Without a dialog of ours they concern nothing."
_ENDS_HERE = frozenset(("REGISTER", "OPTIONS"))
_RETRY = (("Retry-After", "5"),)


class UserAgentServer:
    """Answers requests; never raises anything but cancellation."""

    def __init__(
        self,
        services: Services,
        service: PresenceService,
        authenticator: Authenticator,
        metrics: Metrics,
        is_here: Callable[[str], bool],
        limits: Limits,
        mark: str,
    ) -> None:
        """`is_here`: a host is one of this server's own names. `mark`: see `sip.loops`."""
        self._services = services
        self._service = service
        self._authenticator = authenticator
        self._metrics = metrics
        self._is_here = is_here
        self._limits = limits
        self._mark = mark
        self._methods = methods()

    async def answer(self, request: Request, flow: Flow) -> Reply:
        """The final answer to a request that is no ACK and no CANCEL."""
        try:
            method = self._inspect(request, flow)
            sender = None
            if method.authenticated:
                now = self._services.runtime.now()
                sender = await self._authenticator.authenticate(request, flow, now)
                self._limits.check_account(sender, request, flow, now)
            incoming = Incoming(request, flow, sender, self._service.new_trace())
            reply = await method.handler(self._services, incoming)
        except ProtocolError as error:
            reply = Reply(refusal(request, error))
        except Refused as refused:
            headers = (("Retry-After", str(refused.retry_after)),) if refused.retry_after else ()
            status = condition_to_status(refused.condition, bare=False)
            reply = Reply(refusal(request, ProtocolError(status, headers=headers)))
        except Unavailable as error:
            log.warning("request_not_served", method=request.method, error=str(error))
            reply = Reply(refusal(request, ProtocolError(500, headers=_RETRY)))
        except Exception:
            log.exception("request_failed", method=request.method, peer=flow.remote)
            self._metrics.count("sip_request_crashes_total")
            reply = Reply(refusal(request, ProtocolError(500)))
        self._metrics.count(
            "sip_requests_total",
            method=request.method if request.method in self._methods else "other",
            status=str(reply.response.status),
        )
        return reply

    def _inspect(self, request: Request, flow: Flow) -> Method:
        method = self._methods.get(request.method)
        if method is None:
            if request.method in _ONLY_IN_DIALOG or request.to.tag:
                raise ProtocolError(481)
            raise ProtocolError(405, headers=(("Allow", allow()),))
        if has_been_here(request, self._mark):
            raise ProtocolError(482)
        if method.passes_on and request.max_forwards == 0:
            raise ProtocolError(483)
        if request.headers.has("Require", "Proxy-Require"):
            required = request.headers.all("Require") + request.headers.all("Proxy-Require")
            unknown = [tag for tag in required if tag.lower() not in SUPPORTED]
            if unknown:
                raise ProtocolError(420, headers=(("Unsupported", ", ".join(unknown)[:1000]),))
        uri = request.uri
        if "sips" in (uri.scheme, request.to.uri.scheme):
            self._check_secure(method, flow)
        elif uri.scheme not in ("sip", "pres", "im"):
            raise ProtocolError(416)
        if not request.to.tag and not self._service.serves(uri.host) and not self._is_here(uri.host):
            self._check_domain(method, uri.host)
        return method

    def _check_secure(self, method: Method, flow: Flow) -> None:
        """A sips URI wants TLS on every hop (RFC 3261 §26.2.2). Registering ends here, and so may be done
        with one. What concerns somebody else may come out on the XMPP side, which cannot promise that: it
        must not be translated (RFC 7247 §8), and the client may try again with a sip URI (RFC 3261
        §8.1.3.5)."""
        if method.name not in _ENDS_HERE or flow.transport not in ("tls", "wss"):
            raise ProtocolError(416)

    def _check_domain(self, method: Method, host: str) -> None:
        """Not in its plain spelling, but perhaps in another. Nothing is relayed anywhere, but what goes on to
        somebody may go to a neighbour's people."""
        meant = self._service.reaches if method.passes_on else self._service.serves
        if not meant(to_address(Uri("sip", host=host)).domain):
            raise ProtocolError(404)


def refusal(request: Request, error: ProtocolError) -> Response:
    """What the peer hears of an error."""
    return respond(request, error.status, error.reason, headers=error.headers)
