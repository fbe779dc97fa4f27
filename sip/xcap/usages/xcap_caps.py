"""xcap-caps: what this server can do (RFC 4825 §12)."""

from __future__ import annotations

from sip.xcap.document import Document
from sip.xcap.library import Library
from sip.xcap.usages import Place, Usage, register, usages
from sip.xml import escape

NAMESPACE = "urn:ietf:params:xml:ns:xcap-caps"


class Capabilities(Usage):
    auid = "xcap-caps"
    content_type = "application/xcap-caps+xml"
    namespace = NAMESPACE
    namespaces = (NAMESPACE, "urn:ietf:params:xml:ns:xcap-error")
    names = ("index",)

    async def show(self, library: Library, place: Place) -> Document | None:
        if place.owner is not None or place.name != "index":
            return None
        known = usages().values()
        auids = "".join(f"<auid>{escape(each.auid)}</auid>" for each in known)
        namespaces = sorted({name for each in known for name in each.namespaces})
        listed = "".join(f"<namespace>{escape(name)}</namespace>" for name in namespaces)
        return Document(
            f'<?xml version="1.0" encoding="UTF-8"?>\n<xcap-caps xmlns="{NAMESPACE}"><auids>{auids}</auids>'
            f"<extensions></extensions><namespaces>{listed}</namespaces></xcap-caps>\n".encode()
        )


register(Capabilities())
