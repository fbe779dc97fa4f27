"""application/cpim-pidf+xml: PIDF as its drafts had it, under another name (draft-ietf-impp-cpim-pidf-07)."""

from __future__ import annotations

from presence.model import PresenceDocument
from sip import pidf
from sip.documents import Body, document

CONTENT_TYPE = "application/cpim-pidf+xml"
_NAMESPACE, _DRAFTS = b'"urn:ietf:params:xml:ns:pidf"', b'"urn:ietf:params:xml:ns:cpim-pidf"'


@document("presence", CONTENT_TYPE)
def render(presence: PresenceDocument) -> Body:
    return Body(CONTENT_TYPE, pidf.render_pidf(presence).replace(_NAMESPACE, _DRAFTS, 1))
