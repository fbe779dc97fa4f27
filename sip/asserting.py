"""Who a trusted proxy says sent a request (RFC 3325 §9.1, RFC 5876 §3.1): it has asked for the password.

From anybody else the field means nothing, and it goes no further: what leaves on the other side is written
anew.
"""

from __future__ import annotations

from presence.address import Address
from sip.addressing import to_address
from sip.errors import ProtocolError
from sip.headers import NameAddr
from sip.message import Request
from sip.uri import Uri


def asserted(request: Request) -> Address | None:
    """None when the proxy asserts nothing; then the user proves it here. Raises `ProtocolError` 400, 403."""
    if "P-Asserted-Identity" not in request.headers:
        return None
    values = request.headers.parsed_list("P-Asserted-Identity", NameAddr.parse)
    named = next((value.uri for value in values if value.uri.scheme in ("sip", "sips")), None)
    if named is None:
        raise ProtocolError(403, "No Asserted SIP Identity")
    private = {part.strip().lower() for part in ";".join(request.headers.fields("Privacy")).split(";")}
    if private & {"id", "user"} and request.method in ("MESSAGE", "SUBSCRIBE"):
        # RFC 5079: there is no anonymous presence or chat here, and nobody's name is told against their will.
        raise ProtocolError(433, "Anonymity Disallowed")
    return to_address(plain(named))


def plain(uri: Uri) -> Uri:
    """The sip URI of a sips one: the same person (RFC 3261 §19.1)."""
    if not uri.secure:
        return uri
    return Uri("sip", uri.user, uri.host, uri.port, uri.parameters, uri.headers, uri.password)
