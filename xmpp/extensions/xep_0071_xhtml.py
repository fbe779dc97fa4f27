"""XEP-0071 XHTML-IM: between clients; and a phone's text/html, the safe part of it (RFC 7572 §6)."""

from __future__ import annotations

from typing import Any

from presence.markup import tidy
from xmpp.element import Element
from xmpp.extensions import Extension, Status
from xmpp.notices import XHTML_BODY_NS, XHTML_NS
from xmpp.serialiser import serialise


def _read(html: Element) -> dict[str, Any]:
    """For phones that show text/html. The first body counts."""
    body = html.find("body", XHTML_BODY_NS)
    return {"markup": tidy(serialise(body, XHTML_BODY_NS))} if body is not None else {}


EXTENSION = Extension(
    spec="XEP-0071",
    name="XHTML-IM",
    version="1.5.4",
    status=Status.CARRIED,
    notes="A phone's text/html becomes one, and the other way round where the phone accepts text/html; "
    "without images and styles.",
    reads={(XHTML_NS, "html"): _read},
)
