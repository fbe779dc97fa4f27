"""Who the URIs in documents name."""

from __future__ import annotations

from functools import lru_cache

from presence.address import Address, make_address
from presence.errors import InvalidAddress
from sip.addressing import to_address
from sip.errors import ProtocolError
from sip.uri import parse_uri

_MAX_LENGTH = 4096
"Characters of what can name anybody; all of it is remembered with whom it names."


def address_of(text: str) -> Address | None:
    """The person a URI names; None for what names nobody a roster could hold. Parameters are no matter."""
    return _address_of(text.strip()) if len(text) <= _MAX_LENGTH else None


@lru_cache(maxsize=8192)
def _address_of(text: str) -> Address | None:
    scheme, colon, rest = text.partition(":")
    try:
        match scheme.lower() if colon else "":
            case "sip" | "sips":
                address = to_address(parse_uri(f"sip:{rest.partition('?')[0].partition(';')[0]}"))
            case "pres" | "im":
                address = to_address(parse_uri(text.partition("?")[0]))
            case "xmpp":
                local, at, domain = rest.partition("?")[0].partition("/")[0].partition("@")
                if not at:
                    return None
                address = make_address(local, domain)
            case _:
                return None
    except (ProtocolError, InvalidAddress):
        return None
    return address if address.local else None


def user_of(text: str) -> Address | None:
    """An XCAP user identifier: an address-of-record, which some clients write without its scheme."""
    return address_of(text if ":" in text.partition("@")[0] else f"sip:{text}")
