"""application/pidf+xml (RFC 3863), what everybody takes today."""

from __future__ import annotations

from presence.model import PresenceDocument
from sip import pidf
from sip.documents import Body, document


@document("presence", pidf.CONTENT_TYPE)
def render(presence: PresenceDocument) -> Body:
    language = pidf.language_of(presence)
    plain = language and language.isascii() and language.isprintable()
    headers = (("Content-Language", language),) if plain else ()
    return Body(pidf.CONTENT_TYPE, pidf.render_pidf(presence), headers)
