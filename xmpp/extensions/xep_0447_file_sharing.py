"""XEP-0447 Stateless file sharing: between clients; phones are told name and size of the file (XEP-0446)."""

from __future__ import annotations

from typing import Any

from xmpp.element import Element
from xmpp.extensions import Extension, Status
from xmpp.sharing import read_file

NS = "urn:xmpp:sfs:0"
METADATA_NS = "urn:xmpp:file:metadata:0"
URL_DATA_NS = "http://jabber.org/protocol/url-data"


def _read(sharing: Element) -> dict[str, Any]:
    """§3; of its sources the links count."""
    sources = sharing.find("sources", NS)
    if sources is None:
        return {}
    links = (each.get("target") for each in sources.elements if each.ns == URL_DATA_NS)
    return read_file(links, sharing.find("file", METADATA_NS))


EXTENSION = Extension(
    spec="XEP-0447",
    name="Stateless file sharing",
    version="0.3.1",
    status=Status.CARRIED,
    notes="With the metadata of XEP-0446.",
    reads={(NS, "file-sharing"): _read},
)
