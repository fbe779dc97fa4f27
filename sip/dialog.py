"""Dialogs (RFC 3261 §12): a value that is replaced, never changed, and that crosses the bus.

A subscription's dialog outlives the process that made it, so what identifies and routes it is kept as text.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from sip.errors import BadHeader, ProtocolError
from sip.headers import CSeq, NameAddr
from sip.message import Headers, Request, Response
from sip.uri import Uri, request_uri

_UNSEQUENCED = frozenset(("ACK", "CANCEL"))


class Dialog(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One side's view of a peer-to-peer relation."""

    call_id: str
    local_tag: str
    remote_tag: str
    "Empty for a peer that knows no tags (RFC 2543)."
    local_uri: str
    remote_uri: str
    remote_target: str
    "Where requests go: the peer's last Contact."
    route_set: tuple[str, ...] = ()
    "Route values in the order of use."
    local_cseq: int = 0
    "Of the last request sent; 0 before the first."
    remote_cseq: int = 0
    "Of the last request received; 0 before the first."
    secure: bool = False
    "Began with a SIPS request over TLS."

    @classmethod
    def from_request_uas(cls, request: Request, local_tag: str, *, secure_transport: bool = False) -> Dialog:
        """As the one who answers a dialog-creating request (§12.1.1). Raises `BadHeader`."""
        return cls(
            call_id=request.call_id,
            local_tag=local_tag,
            remote_tag=request.from_.tag,
            local_uri=str(request.to.uri),
            remote_uri=str(request.from_.uri),
            remote_target=_target(request),
            route_set=tuple(map(str, request.record_routes)),
            remote_cseq=request.cseq.number,
            secure=secure_transport and request.uri.secure,
        )

    @classmethod
    def from_response_uac(
        cls, request: Request, response: Response, *, secure_transport: bool = False
    ) -> Dialog:
        """As the one who sent the request, from a 101 to 299 (§12.1.2). Raises `BadHeader`."""
        return cls(
            call_id=request.call_id,
            local_tag=request.from_.tag,
            remote_tag=response.to.tag,
            local_uri=str(request.from_.uri),
            remote_uri=str(request.to.uri),
            remote_target=_target(response),
            route_set=tuple(map(str, reversed(response.record_routes))),
            local_cseq=request.cseq.number,
            secure=secure_transport and request.uri.secure,
        )

    @property
    def weight(self) -> int:
        """Characters of what the peer has given it to remember, about."""
        given = (self.call_id, self.remote_tag, self.local_uri, self.remote_uri, self.remote_target)
        return sum(map(len, (*given, *self.route_set)))

    @property
    def id(self) -> tuple[str, str, str]:
        return (self.call_id, self.local_tag, self.remote_tag)

    def request(
        self, method: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> tuple[Dialog, Request]:
        """The dialog afterwards, and its next request, which still lacks Via and Contact (§12.2.1.1)."""
        number = self.local_cseq + (method not in _UNSEQUENCED)
        uri, routes = self._way()
        remote_tag = f";tag={self.remote_tag}" if self.remote_tag else ""
        lines = {"Route": list(routes)} if routes else {}
        lines["Max-Forwards"] = ["70"]
        lines["From"] = [f"<{self.local_uri}>;tag={self.local_tag}"]
        lines["To"] = [f"<{self.remote_uri}>{remote_tag}"]
        lines["Call-ID"] = [self.call_id]
        lines["CSeq"] = [f"{number} {method}"]
        fields = Headers.adopt(lines)
        fields.know("CSeq", CSeq(number, method))
        for name, value in headers:
            fields.add(name, value)
        return msgspec.structs.replace(self, local_cseq=number), Request(method, uri, fields, body)

    def _way(self) -> tuple[Uri, tuple[str, ...]]:
        """Request-URI and Route values; a strict router as next hop wants to see itself in the former."""
        if not self.route_set:
            return request_uri(self.remote_target), ()
        first = NameAddr.parse(self.route_set[0]).uri
        if first.parameter("lr") is not None:
            return request_uri(self.remote_target), self.route_set
        # §12.2.1.1 with the parameters a Request-URI may not have, §19.1.1 table 1.
        return request_uri(str(first)), (*self.route_set[1:], f"<{self.remote_target}>")

    def accepts(self, request: Request) -> bool:
        """Whether its CSeq is higher than the last one; otherwise the answer is 500 (§12.2.2)."""
        if request.method in _UNSEQUENCED or not self.remote_cseq:
            return True
        return request.cseq.number > self.remote_cseq

    def received(self, request: Request, *, refresh: bool = True) -> Dialog:
        """The dialog after a request of the peer; a target refresh moves the remote target (§12.2.2).

        Raises `ProtocolError` 500 when it is out of order.
        """
        if not self.accepts(request):
            raise ProtocolError(500, "CSeq out of order")
        target = self.remote_target
        if refresh and "Contact" in request.headers:
            target = _target(request)
        number = self.remote_cseq if request.method in _UNSEQUENCED else request.cseq.number
        return msgspec.structs.replace(self, remote_cseq=number, remote_target=target)

    def answered(self, response: Response) -> Dialog:
        """The dialog after a 2xx to a target refresh of ours (§12.2.1.2)."""
        if "Contact" not in response.headers:
            return self
        return msgspec.structs.replace(self, remote_target=_target(response))

    def matches(self, request: Request) -> bool:
        """Whether a request of the peer belongs here (§12.2.2)."""
        return (request.call_id, request.to.tag, request.from_.tag) == self.id


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Dialog)


def to_bytes(dialog: Dialog) -> bytes:
    return _ENCODER.encode(dialog)


def from_bytes(data: bytes) -> Dialog:
    return _DECODER.decode(data)


def _target(message: Request | Response) -> str:
    contacts: tuple[NameAddr, ...] | Literal["*"] = message.contacts
    if contacts == "*" or len(contacts) != 1:
        raise BadHeader("Contact", "exactly one is needed")
    return str(contacts[0].uri)
