"""The package `presence` (RFC 3856)."""

from __future__ import annotations

from typing import Literal

from sip import pidf
from sip.documents import cpim_pidf
from sip.packages import PackageDefaults, register
from sip.published import Published


class Presence(PackageDefaults):
    name = "presence"
    notified = pidf.CONTENT_TYPE
    published: tuple[str, ...] = (pidf.CONTENT_TYPE, cpim_pidf.CONTENT_TYPE)
    lists = True

    def parse(self, body: bytes, now: float, lang: str, on_the_phone: Literal["dnd", "away"]) -> Published:
        return pidf.parse_pidf(body, now, lang=lang, on_the_phone=on_the_phone)


register(Presence())
