"""What became of a message (RFC 5438) ↔ receipts (XEP-0184) and markers (XEP-0333)."""

from __future__ import annotations

from presence.messages import Report
from sip.bodies import Content, Heard, body
from sip.errors import ProtocolError
from sip.xml import escape, parse_xml

CONTENT_TYPE = "message/imdn+xml"
_NS = "{urn:ietf:params:xml:ns:imdn}"
_REPORTS = {
    ("delivery", "delivered"): Report.DELIVERED,
    ("delivery", "failed"): Report.FAILED,
    ("delivery", "forbidden"): Report.FAILED,
    ("delivery", "error"): Report.FAILED,
    ("display", "displayed"): Report.DISPLAYED,
}
_WRITTEN = {
    Report.DELIVERED: ("delivery", "delivered"),
    Report.FAILED: ("delivery", "failed"),
    Report.DISPLAYED: ("display", "displayed"),
}


@body(CONTENT_TYPE)
def imdn(content: Content) -> Heard:
    """Of what is no report on delivery or display nothing is heard."""
    root = parse_xml(content.data, "IMDN")
    if root.tag != f"{_NS}imdn":
        raise ProtocolError(400, "Bad IMDN: another element")
    about = (root.findtext(f"{_NS}message-id") or "").strip()[:256]
    if not about:
        raise ProtocolError(400, "Bad IMDN: no message-id")
    for (kind, outcome), report in _REPORTS.items():
        if root.find(f"{_NS}{kind}-notification/{_NS}status/{_NS}{outcome}") is not None:
            return Heard(report=report, about=about)
    return Heard()


def write_imdn(report: Report, about: str, sent: str, recipient: str) -> bytes:
    """`sent`: date and time of the message reported on; `recipient`: URI of who got it."""
    kind, outcome = _WRITTEN[report]
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<imdn xmlns="urn:ietf:params:xml:ns:imdn">'
        f"<message-id>{escape(about)}</message-id><datetime>{escape(sent)}</datetime>"
        f"<recipient-uri>{escape(recipient)}</recipient-uri>"
        f"<{kind}-notification><status><{outcome}/></status></{kind}-notification></imdn>\n"
    ).encode()
