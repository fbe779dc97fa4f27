"""The package `presence` (RFC 3856)."""

from __future__ import annotations

from typing import Literal

from presence.model import PresenceDocument
from sip import pidf
from sip.packages import Body, PackageDefaults, register


class Presence(PackageDefaults):
    name = "presence"
    notified = pidf.CONTENT_TYPE
    published: tuple[str, ...] = (pidf.CONTENT_TYPE,)
    versioned = False
    lists = True

    def parse(
        self, body: bytes, now: float, lang: str, on_the_phone: Literal["dnd", "away"]
    ) -> pidf.Published:
        return pidf.parse_pidf(body, now, lang=lang, on_the_phone=on_the_phone)

    def render(self, document: PresenceDocument, version: int) -> Body:
        language = pidf.language_of(document)
        headers = (
            (("Content-Language", language),)
            if language.isascii() and language.isprintable() and language
            else ()
        )
        return Body(pidf.CONTENT_TYPE, pidf.render_pidf(document), headers)


register(Presence())
