"""OPTIONS (RFC 3261 §11): what the server can do. Phones use it to keep their NAT bindings open."""

from __future__ import annotations

from sip.bodies import formats
from sip.message import respond
from sip.methods import Incoming, Services, allow, method
from sip.packages import allow_events, packages
from sip.runtime import Reply
from sip.uas import SUPPORTED


@method("OPTIONS", authenticated=False)
async def options(services: Services, incoming: Incoming) -> Reply:
    """The same for everybody: it must not tell who has an account."""
    accepted = sorted({*formats(), *(kind for package in packages().values() for kind in package.published)})
    headers = [
        ("Allow", allow()),
        ("Accept", ", ".join(accepted)),
        ("Accept-Encoding", "identity, deflate"),
        ("Supported", ", ".join(sorted(SUPPORTED))),
        ("Allow-Events", allow_events()),
    ]
    return Reply(respond(incoming.request, 200, headers=headers))
