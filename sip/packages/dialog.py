"""The package `dialog` (RFC 4235): lamps.

Out: a person's presence as a lamp shows it. Busy (one confirmed dialog) while they are on the phone or do not
want to be disturbed, free (its end) in every other state, for a lamp has no word for "not there". Nothing of
any real call is ever told: no parties, no Call-ID.
In: a phone's PUBLISHed calls put its user on the phone (`sip.calls`).

# GAP RFC 4235 §3.7.1: ringing is not shown, as nothing in presence says it
# GAP RFC 4235 §4.1.6: of a published document only dialogs and their states are read
"""

from __future__ import annotations

from typing import Literal

from presence.model import PresenceDocument, Show
from sip.addressing import to_uri
from sip.errors import ProtocolError
from sip.packages import Body, PackageDefaults, register
from sip.pidf import Call, Published, entity_of, escape, parse_xml

CONTENT_TYPE = "application/dialog-info+xml"
_NS = "{urn:ietf:params:xml:ns:dialog-info}"
_MAX_DIALOGS = 64
_MAX_NAME = 256


class Dialogs(PackageDefaults):
    name = "dialog"
    notified = CONTENT_TYPE
    published: tuple[str, ...] = (CONTENT_TYPE,)
    brief = True
    lists = True

    def render(self, document: PresenceDocument, version: int) -> Body:
        uri = escape(to_uri(document.address))
        state = "confirmed" if busy(document) else "terminated"
        data = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info"'
            f' version="{version}" state="full" entity="{uri}"><dialog id="presence" direction="recipient">'
            f"<state>{state}</state></dialog></dialog-info>\n"
        )
        return Body(CONTENT_TYPE, data.encode())

    def parse(self, body: bytes, now: float, lang: str, on_the_phone: Literal["dnd", "away"]) -> Published:
        root = parse_xml(body, "dialog-info")
        dialogs = root.findall(f"{_NS}dialog")
        if root.tag != f"{_NS}dialog-info" or len(dialogs) > _MAX_DIALOGS:
            raise ProtocolError(400, "Bad dialog-info")
        calls = []
        for each in dialogs:
            state = (each.findtext(f"{_NS}state") or "").strip()
            call_id, local, remote = (each.get(n, "") for n in ("call-id", "local-tag", "remote-tag"))
            name = f"{call_id} {local} {remote}" if call_id else each.get("id", "")
            calls.append(Call(name[:_MAX_NAME], talking=state == "confirmed", over=state == "terminated"))
        return Published(entity_of(root.get("entity", "")), (), None, tuple(calls))


def busy(document: PresenceDocument) -> bool:
    """On the phone, or whatever of theirs people would call does not want to be disturbed."""
    if document.person is not None and "on-the-phone" in document.person.activities:
        return True
    shows = [each.show for each in document.tuples if each.open]
    return bool(shows) and shows[0] is Show.DND


register(Dialogs())
