"""application/pidf+xml (RFC 3863), what everybody takes today."""

from __future__ import annotations

from presence.model import PresenceDocument
from sip import grammar, pidf
from sip.documents import Body, document


@document("presence", pidf.CONTENT_TYPE)
def render(presence: PresenceDocument) -> Body:
    language = grammar.language(pidf.language_of(presence))
    headers = (("Content-Language", language),) if language else ()
    return Body(pidf.CONTENT_TYPE, pidf.render_pidf(presence), headers)
