"""XEP-0385 Stateless Inline Media Sharing: between clients; phones are told name and size of the file."""

from __future__ import annotations

from typing import Any

from xmpp.element import Element
from xmpp.extensions import Extension, Status
from xmpp.sharing import read_file

NS = "urn:xmpp:sims:1"
REFERENCE_NS = "urn:xmpp:reference:0"
FILE_NS = "urn:xmpp:jingle:apps:file-transfer:5"


def _read(reference: Element) -> dict[str, Any]:
    """§3; other references (XEP-0372) are nobody's files."""
    sharing = reference.find("media-sharing", NS)
    sources = sharing.find("sources", NS) if sharing is not None else None
    if sharing is None or sources is None:
        return {}
    return read_file((each.get("uri") for each in sources.elements), sharing.find("file", FILE_NS))


EXTENSION = Extension(
    spec="XEP-0385",
    name="Stateless Inline Media Sharing (SIMS)",
    version="0.3",
    status=Status.CARRIED,
    reads={(REFERENCE_NS, "reference"): _read},
)
