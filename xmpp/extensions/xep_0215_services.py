"""XEP-0215 External Service Discovery: the STUN and TURN servers of the settings.

With a shared secret, each client gets credentials of its own that end by themselves. Without one, the relay
knows the accounts (the same `users.txt`): the client is told its user name, and takes its own password.
"""

from __future__ import annotations

from datetime import UTC, datetime

from xmpp.element import E, Element
from xmpp.errors import StanzaError
from xmpp.extensions import Extension, Iq, Request, Status, Target
from xmpp.relays import Relay, issue, parse_relay

NS = "urn:xmpp:extdisco:2"
TARGETS = frozenset({Target.SERVER, Target.ACCOUNT})


async def _services(request: Request) -> Element:
    """§3.1 all services, §3.2 those of one type."""
    wanted = request.payload.get("type")
    found = [relay for relay in _relays(request) if wanted in ("", relay.kind)]
    attrs = {"type": wanted} if wanted else {}
    return E("services", NS, attrs, *(_service(request, relay) for relay in found))


async def _credentials(request: Request) -> Element:
    """§3.3 credentials for one service."""
    asked = request.payload.find("service", NS)
    if asked is None:
        raise StanzaError("bad-request")
    found = [
        relay
        for relay in _relays(request)
        if (relay.host, relay.kind) == (asked.get("host"), asked.get("type"))
        and asked.get("port") in ("", str(relay.port))
    ]
    if not found:
        raise StanzaError("item-not-found")
    return E("credentials", NS, {}, *(_service(request, relay) for relay in found))


def _relays(request: Request) -> list[Relay]:
    return [parse_relay(text) for text in request.router.settings.relays]


def _service(request: Request, relay: Relay) -> Element:
    router, user = request.router, request.session.address
    attrs = {
        "type": relay.kind,
        "host": relay.host,
        "port": str(relay.port),
        "transport": relay.transport,
    }
    if relay.needs_credentials:
        settings = router.settings
        attrs["restricted"] = "1"
        if settings.relay_secret:
            ticket = issue(settings.relay_secret, str(user), settings.relay_lifetime, router.clock())
            ends = datetime.fromtimestamp(ticket.expires, UTC)
            attrs |= {
                "username": ticket.username,
                "password": ticket.password,
                "expires": f"{ends:%Y-%m-%dT%H:%M:%SZ}",
            }
        else:
            attrs["username"] = user.local
    return E("service", NS, attrs)


EXTENSION = Extension(
    spec="XEP-0215",
    name="External Service Discovery",
    version="1.0.0",
    status=Status.COMPLETE,
    notes="Without pushes (§3.2, MAY): the settings change with a restart, after which clients ask again.",
    features=(NS,),
    iq=(
        Iq(type="get", ns=NS, name="services", targets=TARGETS, handle=_services),
        Iq(type="get", ns=NS, name="credentials", targets=TARGETS, handle=_credentials),
    ),
)
