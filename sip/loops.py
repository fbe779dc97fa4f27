"""Our own requests that come back (RFC 5393 §4.2, RFC 3261 §16.3 step 4).

Each branch of ours bears a mark that all processes with the same secret share. A request with such a branch
in any of its Vias has been here before: 482. Where somebody between took our Via off, the hops end it: a
message crosses the bus with what is left of its Max-Forwards (RFC 7332 §4).

# GAP RFC 5393 §5: Max-Breadth is not counted; how much one account can multiply is bounded by its rate
"""

from __future__ import annotations

import hmac

from sip.message import Request

HOPS = 70
"Max-Forwards of what begins here (RFC 3261 §8.1.1.6)."


def branch_mark(secret: bytes) -> str:
    """What stands behind the magic cookie in our branches."""
    return "t" + hmac.digest(secret, b"branches", "sha256")[:6].hex()


def has_been_here(request: Request, mark: str) -> bool:
    return mark in "\n".join(request.headers.fields("Via"))


def hops_left(request: Request) -> int:
    """What a request that goes on from here may still pass."""
    given = request.max_forwards
    return HOPS if given is None else max(0, min(given, HOPS) - 1)
