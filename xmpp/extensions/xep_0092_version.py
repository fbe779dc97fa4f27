"""XEP-0092 Software Version of the server."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

from xmpp.element import E, Element
from xmpp.extensions import Extension, Iq, Request, Status, Target

NS = "jabber:iq:version"


@lru_cache(maxsize=1)
def _installed() -> str:
    try:
        return version("tandem-gateway")
    except PackageNotFoundError:
        return "unknown"


async def _version(request: Request) -> Element:
    return E("query", NS, {}, E("name", NS, {}, "Tandem"), E("version", NS, {}, _installed()))


EXTENSION = Extension(
    spec="XEP-0092",
    name="Software Version",
    version="1.1",
    status=Status.COMPLETE,
    notes="The operating system is not told.",
    features=(NS,),
    iq=(
        Iq(
            type="get",
            ns=NS,
            name="query",
            targets=frozenset({Target.SERVER}),
            handle=_version,
            strangers=True,
        ),
    ),
)
