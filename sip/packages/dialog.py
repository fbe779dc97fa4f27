"""The package `dialog` (RFC 4235): lamps.

Out: a person's presence as a lamp shows it (`sip.documents.dialog_info`). In: a phone's PUBLISHed calls put
its user on the phone, or let a lamp flash while one rings (`sip.calls`); of those nobody answers they are
told (`sip.missed`).

# GAP RFC 4235 §4.1.6: of a published document only dialogs, their directions, states and callers are read
"""

from __future__ import annotations

from typing import Literal

from sip.calls import parse_dialog_info
from sip.documents.dialog_info import CONTENT_TYPE
from sip.packages import PackageDefaults, register
from sip.published import Published


class Dialogs(PackageDefaults):
    name = "dialog"
    notified = CONTENT_TYPE
    published: tuple[str, ...] = (CONTENT_TYPE,)
    brief = True
    lists = True

    def parse(self, body: bytes, now: float, lang: str, on_the_phone: Literal["dnd", "away"]) -> Published:
        info = parse_dialog_info(body)
        return Published(info.entity, calls=info)


register(Dialogs())
