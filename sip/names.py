"""Names of header fields: canonical spelling, compact forms, and which are lists (RFC 3261 §7.3)."""

from __future__ import annotations

LISTS = frozenset(
    [
        "Accept",
        "Accept-Encoding",
        "Accept-Language",
        "Alert-Info",
        "Allow",
        "Allow-Events",
        "Call-Info",
        "Contact",
        "Content-Encoding",
        "Content-Language",
        "Error-Info",
        "Feature-Caps",
        "History-Info",
        "In-Reply-To",
        "P-Asserted-Identity",
        "P-Associated-URI",
        "P-Preferred-Identity",
        "Path",
        "Proxy-Require",
        "Record-Route",
        "Require",
        "Route",
        "Security-Client",
        "Security-Server",
        "Security-Verify",
        "Service-Route",
        "Supported",
        "Unsupported",
        "Via",
        "Warning",
    ]
)
"Fields whose value may hold several members, separated by commas."

_SINGLES = [
    "Authentication-Info",
    "Authorization",
    "Call-ID",
    "Content-Disposition",
    "Content-ID",
    "Content-Length",
    "Content-Type",
    "CSeq",
    "Date",
    "Event",
    "Expires",
    "Flow-Timer",
    "From",
    "Max-Breadth",
    "Max-Forwards",
    "MIME-Version",
    "Min-Expires",
    "Organization",
    "Privacy",
    "Priority",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Reason",
    "Refer-To",
    "Referred-By",
    "Replaces",
    "Reply-To",
    "Retry-After",
    "Server",
    "SIP-ETag",
    "SIP-If-Match",
    "Session-Expires",
    "Subject",
    "Subscription-State",
    "Suppress-If-Match",
    "Timestamp",
    "To",
    "User-Agent",
    "WWW-Authenticate",
]

_COMPACT = {
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
}
"RFC 3261 §7.3.3 and the header field registry."

_KNOWN = {name.lower(): name for name in (*LISTS, *_SINGLES)} | _COMPACT
SPELLINGS = (
    {name: name for name in _KNOWN.values()} | _KNOWN | {key.upper(): name for key, name in _COMPACT.items()}
)

CANONICAL = frozenset(SPELLINGS.values())


def canonical(name: str) -> str:
    """The one spelling under which a field is kept: `Call-ID` for `call-id`, `CALL-ID` and `i`."""
    known = SPELLINGS.get(name)
    if known is not None:
        return known
    folded = name.lower()
    return _KNOWN.get(folded) or folded.title()
