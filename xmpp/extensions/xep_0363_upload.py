"""XEP-0363 HTTP File Upload: `upload.DOMAIN` gives slots; `xmpp.edge.fileserver` takes and serves the files.

Retention follows the purpose where it says less than the settings (§6): `ephemeral` files go when they must.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from presence.uploads import QuotaReached, Uploads, fit_name, fit_type
from xmpp import forms
from xmpp.element import E, Element
from xmpp.errors import StanzaError
from xmpp.extensions import Extension, Request, Status
from xmpp.hosted import Desk, Service, beside
from xmpp.rate import Paces
from xmpp.timestamps import parse_stamp, stamp

if TYPE_CHECKING:
    from xmpp.router import XmppRouter

NS = "urn:xmpp:http:upload:0"
PURPOSE_NS = "urn:xmpp:http:upload:purpose:0"
SLOTS_PER_SECOND = 2.0
"One person may ask for over longer times: each question goes through all their files."
SLOTS_AT_ONCE = 100
ASKING = 10_000
"People who ask for slots at a time."
PURPOSES = (f"{PURPOSE_NS}#message", f"{PURPOSE_NS}#ephemeral")


def provide(router: XmppRouter, uploads: Uploads, base: dict[str, str]) -> None:
    """Where slots come from: until then there are none. `base`: domain with accounts → address of its
    files."""
    router.extra[NS] = uploads, base, Paces(SLOTS_PER_SECOND, SLOTS_AT_ONCE, ASKING)


def _hosts(router: XmppRouter) -> Iterable[Service]:
    settings = router.settings
    if not settings.upload.enabled or not (settings.web.public_url or settings.listen_web_tls):
        return []
    limit = {"max-file-size": [str(settings.upload.max_size)]}
    return [
        Desk(
            domain=domain,
            beside=server,
            name="HTTP File Upload",
            identity=("store", "file"),
            features=(NS, *PURPOSES),
            forms=(forms.write_form("result", NS, limit),),
            answers={("get", NS, "request"): _slot},
        )
        for domain, server in beside(router.service.domains, "upload")
    ]


async def _slot(request: Request) -> Element:
    """§5."""
    if NS not in request.router.extra:
        raise StanzaError("service-unavailable")
    uploads, bases, paces = request.router.extra[NS]
    asked, user = request.payload, request.session.address
    size = asked.get("size").lstrip("0")
    if not asked.get("filename") or not size.isascii() or not size.isdigit():
        raise StanzaError("bad-request", text="a file has a name and a size")
    most = request.router.settings.upload.max_size
    if int(size[:20]) > most:
        limit = E("max-file-size", NS, {}, str(most))
        text = f"a file may have {most} bytes"
        raise StanzaError("not-acceptable", "modify", text, extra=E("file-too-large", NS, {}, limit))
    if not paces.allow(user, request.router.clock()):
        raise StanzaError("resource-constraint", "wait", "too many slots at once")
    try:
        slot = await uploads.reserve(
            user,
            bases[user.domain],
            fit_name(asked.get("filename")),
            fit_type(asked.get("content-type")),
            int(size),
            expires=_expires(asked, request.router.clock()),
        )
    except QuotaReached as reached:
        retry = E("retry", NS, {"stamp": stamp(reached.retry)}) if reached.retry else None
        raise StanzaError("resource-constraint", "wait", str(reached), extra=retry) from None
    except OSError:
        raise StanzaError("internal-server-error", "wait", "no file can be kept now") from None
    return E("slot", NS, {}, E("put", NS, {"url": slot.put}), E("get", NS, {"url": slot.get}))


def _expires(asked: Element, now: float) -> float | None:
    """Until when it may be kept, Unix seconds (§6.3)."""
    ephemeral = asked.find("ephemeral", PURPOSE_NS)
    if ephemeral is None:
        return None
    until = parse_stamp(ephemeral.get("expire-before"))
    if until is None or until <= now:
        raise StanzaError("bad-request", text="expire-before is a time to come")
    return until


EXTENSION = Extension(
    spec="XEP-0363",
    name="HTTP File Upload",
    version="1.2.0",
    status=Status.COMPLETE,
    notes="Purposes: message and ephemeral.",
    hosts=_hosts,
)
