"""Who stands between this server and the phones: proxies that are trusted, and ways that need no flow.

A trusted peer's word counts for two things: who sent a request (`P-Asserted-Identity`, RFC 3325), and where
the sender is (the Via below its own, its Path, its Record-Route). Nobody else's does.

Requests of ours that follow a route leave this server for an address somebody else wrote down. They go to the
outbound proxy and to trusted peers; elsewhere only to a public address that a host name stands for, over
a connection the URI itself asks for: no phone may point us at this machine's neighbours, or turn what it was
told under TLS into datagrams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address

from presence.guarding import Exempt
from presence.network import is_own, is_public
from sip import grammar
from sip.errors import BadHeader, BadUri
from sip.flow import Flow, routed
from sip.headers import NameAddr, Via
from sip.locating import Target
from sip.message import Request
from sip.uri import Uri, parse_uri

_STREAMS = ("tcp", "tls")
_WEB = ("ws", "wss")
_HTTPS = 443
"Where some listen for SIP, too: firewalls let it out."
_HOPS = 4
"Vias of trusted peers that are looked behind."


class Topology:
    def __init__(
        self,
        outbound_proxy: str = "",
        trusted_peers: Iterable[str] = (),
        names_of: Callable[[Flow], frozenset[str]] = lambda flow: frozenset(),
        servers: Iterable[str] = (),
    ) -> None:
        """`names_of`: what the certificate of a flow's peer names, proven. `servers`: URIs of further servers
        we may send to. Raises `ValueError`, `BadUri`."""
        peers = tuple(trusted_peers)
        self.outbound = parse_uri(outbound_proxy) if outbound_proxy else None
        self._servers = frozenset(map(_place, map(parse_uri, servers)))
        self.names = frozenset(peer.lower() for peer in peers if not is_network(peer))
        "Of trusted peers that prove themselves by a certificate."
        self._networks = Exempt(peer for peer in peers if is_network(peer))
        self._any = bool(peers)
        self._names_of = names_of

    # --- whom to believe ------------------------------------------------------------------------

    def trusts(self, flow: Flow) -> bool:
        """What comes on this flow comes from a trusted peer."""
        if not self._any or flow.transport in _WEB:
            # Browsers come through web servers, often on the machine of a trusted proxy; proxies do not.
            return False
        return flow.host in self._networks or bool(self.names and self.names & self._names_of(flow))

    def origin(self, request: Request, flow: Flow) -> str:
        """Address of whoever sent a request: behind trusted peers, as they saw it."""
        if not self._any or not self.trusts(flow):
            return flow.host
        host = flow.host
        for via in _vias(request)[1 : _HOPS + 1]:
            host = via.received or via.host
            if _is_address(host) and is_own(host):
                # From beside the proxy, or one that the proxy let pass as a stranger wrote it.
                host = via.host
            if not _is_address(host) or is_own(host):
                return flow.host
            if host not in self._networks:
                break
        return host

    # --- ways -----------------------------------------------------------------------------------

    def way(self, request: Request, flow: Flow) -> Flow:
        """Where requests of ours to the sender of a REGISTER or SUBSCRIBE go: the flow it came on, or the
        route that a trusted peer put in (RFC 3327 §5.3, RFC 3261 §12.1.1)."""
        if not self.trusts(flow):
            return flow
        routes = request.paths if request.method == "REGISTER" else request.record_routes
        if routes and (self.leads(routes[0].uri) or not _is_address(routes[0].uri.host)):
            # What DNS makes of a name is looked at then.
            return routed(str(routes[0].uri))
        if self.outbound is not None and flow.reliable and not routes:
            return routed(str(self.outbound))
        return flow

    def detour(self, target: str, routes: tuple[str, ...]) -> Flow | None:
        """A way to a dialog's peer whose flow is gone; None where its words lead nowhere we may go."""
        try:
            hop = NameAddr.parse(routes[0]).uri if routes else self.outbound or parse_uri(target)
        except (BadUri, grammar.Malformed):
            return None
        return routed(str(hop)) if self.leads(hop) else None

    def leads(self, hop: Uri) -> bool:
        """A request may be sent to this URI, if DNS makes no forbidden address of it (`allows`)."""
        if hop.scheme not in ("sip", "sips") or not hop.host:
            return False
        if self._known(hop):
            return True
        stream = hop.secure or (hop.parameter("transport") or "").lower() in _STREAMS
        return stream and not _is_address(hop.host) and "." in hop.host and hop.parameter("maddr") is None

    def allows(self, hop: Uri, target: Target) -> bool:
        """What DNS made of a URI is an address we may send to."""
        if self._known(hop) or target.host in self._networks:
            return True
        # What listens below is something else, and may understand a line or two.
        return is_public(target.host) and (target.port >= 1024 or target.port == _HTTPS)

    def _known(self, hop: Uri) -> bool:
        if self.outbound is not None and _place(hop) == _place(self.outbound):
            return True
        if _place(hop) in self._servers:
            return True
        if hop.parameter("maddr") is not None:
            # It leads elsewhere than the name it bears (RFC 3263 §4).
            return False
        return hop.host in self.names or hop.host in self._networks


def origin_of(request: Request) -> str:
    """Where a request came from by the Via below the top one, `host:port`; empty when nobody stands between.
    To tell one's own phones apart, not to believe."""
    written = request.headers.fields("Via")
    if len(written) < 2 and "," not in "".join(written):
        return ""
    vias = _vias(request)
    if len(vias) < 2:
        return ""
    return f"{vias[1].received or vias[1].host}:{vias[1].rport or vias[1].port or ''}"


def _place(uri: Uri) -> tuple[str, int | None, str | None]:
    return uri.host, uri.port, uri.parameter("maddr")


def _vias(request: Request) -> tuple[Via, ...]:
    try:
        return request.vias
    except BadHeader:
        return ()


def is_network(text: str) -> bool:
    """Rather than a name."""
    try:
        Exempt((text,))
    except ValueError:
        return False
    return True


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
