"""application/vnd.gsma.rcs-ft-http+xml (GSMA RCC.07 §3.2.5.3): a file that was uploaded, by its link.

Of the document only the file itself counts; a thumbnail beside it is left aside, and nothing is fetched.
"""

from __future__ import annotations

from presence.files import SharedFile, shared_file
from sip.bodies import Content, Heard, body
from sip.errors import ProtocolError
from sip.xml import escape, parse_xml

CONTENT_TYPE = "application/vnd.gsma.rcs-ft-http+xml"
NAMESPACE = "urn:gsma:params:xml:ns:rcs:rcs:fthttp"
_NS = f"{{{NAMESPACE}}}"
_MAX = 65_536
"Bytes; a thumbnail is a link, too."


@body(CONTENT_TYPE)
def file(content: Content) -> Heard:
    """Its text is the link, for who knows no files."""
    if len(content.data) > _MAX:
        raise ProtocolError(413)
    root = parse_xml(content.data, "file description")
    if root.tag != f"{_NS}file":
        raise ProtocolError(400, "Bad file description: another element")
    for info in root.iter(f"{_NS}file-info"):
        data = info.find(f"{_NS}data")
        if info.get("type") == "file" and data is not None:
            found = shared_file(
                data.get("url", ""),
                info.findtext(f"{_NS}file-name") or "",
                info.findtext(f"{_NS}file-size") or "",
                info.findtext(f"{_NS}content-type") or "",
            )
            if found is None:
                raise ProtocolError(400, "Bad file description: its URL is no http or https")
            return Heard(text=found.url, file=found)
    raise ProtocolError(400, "Bad file description: no file in it")


def write_file(shared: SharedFile, until: str = "") -> bytes:
    """`until`: date and time at which it is deleted. A size nobody has said is left out."""
    size = f"<file-size>{shared.size}</file-size>" if shared.size else ""
    ends = f' until="{escape(until)}"' if until else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<file xmlns="{NAMESPACE}"><file-info type="file">'
        f"{size}<file-name>{escape(shared.called)}</file-name><content-type>{escape(shared.kind)}</content-type>"
        f'<data url="{escape(shared.url)}"{ends}/></file-info></file>\n'
    ).encode()
