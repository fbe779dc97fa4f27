"""The MESSAGE a phone is sent (RFC 3428, RFC 7572 §5), in plain text or in an envelope."""

from __future__ import annotations

import datetime
import unicodedata
from email.utils import formatdate
from functools import lru_cache

from presence.address import Address
from presence.files import SharedFile
from presence.messages import InstantMessage
from presence.model import Text
from sip.addressing import call_info, to_uri
from sip.bodies import cpim, file, imdn
from sip.grammar import is_call_id, language
from sip.headers import CSeq
from sip.message import Headers, Request, new_tag
from sip.profiles import Profile
from sip.registrar import Located
from sip.uri import request_uri

_FIRST = CSeq(1, "MESSAGE")
PLAIN = "text/plain"
HTML = "text/html"
PLAIN_UTF8 = "text/plain;charset=utf-8"
_HINTED = 400
"Bytes of a body beside which any datagram has room for a hint."
_NO_TEXT = Text("")
_SIMPLER = str.maketrans(
    {"‘": "'", "’": "'", "‚": "'", "“": '"', "”": '"', "„": '"', "–": "-", "—": "-", "…": "...", "€": "EUR"}
)
"For charsets that have not even these."
_LINE_BREAKS = str.maketrans(dict.fromkeys("\r\n\x00", " "))


def envelope(
    message: InstantMessage, recipient: Address, content: tuple[str, bytes] | None = None
) -> tuple[str, bytes]:
    """A text with the wish to hear what becomes of it (RFC 5438 §7.1.1). `content`: see `build_message`."""
    media, inner = content or (PLAIN_UTF8, message.bodies[0].text.encode("utf-8", "replace"))
    data = cpim.write_cpim(
        sender=to_uri(message.sender),
        recipient=to_uri(recipient),
        sent=stamp(message.created),
        media=media,
        data=inner,
        message_id=message.origin_id,
        wants=message.wants,
    )
    return cpim.CONTENT_TYPE, data


def formatted(message: InstantMessage) -> tuple[str, bytes]:
    """A text as its sender formatted it (RFC 7572 §6)."""
    page = f"<html><body>{message.markup}</body></html>"
    return f"{HTML};charset=utf-8", page.encode("utf-8", "replace")


def described(shared: SharedFile) -> tuple[str, bytes]:
    """A file for a phone that fetches files by itself."""
    return file.CONTENT_TYPE, file.write_file(shared)


def write_report(message: InstantMessage, sent: str) -> tuple[str, bytes]:
    """What became of a message, in the envelope it has to come in (RFC 5438 §7.2)."""
    assert message.report is not None
    sender = to_uri(message.sender)
    data = cpim.write_cpim(
        sender=sender,
        recipient=to_uri(message.recipient),
        sent=stamp(message.created),
        media=imdn.CONTENT_TYPE,
        data=imdn.write_imdn(message.report, message.about, sent, sender),
    )
    return cpim.CONTENT_TYPE, data


def in_charset(text: str, charset: str) -> tuple[str, bytes]:
    """Content-Type and body of a text, as well as the charset can say it."""
    if charset == "utf-8":
        return PLAIN_UTF8, text.encode("utf-8", "replace")
    media = f"{PLAIN};charset={charset}"
    composed = unicodedata.normalize("NFC", text)
    try:
        return media, composed.encode(charset)
    except UnicodeEncodeError:
        return media, composed.translate(_SIMPLER).encode(charset, "replace")


def media_of(request: Request) -> str:
    content_type = request.content_type
    return content_type.value.lower() if content_type is not None else PLAIN


def stamp(at: float) -> str:
    return datetime.datetime.fromtimestamp(int(at), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def build_message(
    message: InstantMessage,
    located: Located,
    now: float,
    profile: Profile,
    content: tuple[str, bytes] | None = None,
) -> Request:
    """The MESSAGE for one phone, without Via (RFC 7572 §5, table 1). `content`: Content-Type and body, where
    they are not just the message's text."""
    binding = located.binding
    body = message.bodies[0] if message.bodies else _NO_TEXT
    exact = binding.gruu if profile.gruu_in_from is None else profile.gruu_in_from
    sender = to_uri(message.sender, message.sender_tuple if exact else "")
    call_id = message.id if profile.unique_call_ids else _call_id(message)
    fields = {"Route": list(binding.path)} if binding.path else {}
    fields["Max-Forwards"] = [str(message.hops)]
    fields["From"] = [f"<{sender}>;tag={new_tag()}"]
    fields["To"] = [f"<{to_uri(message.recipient)}>"]
    fields["Call-ID"] = [call_id]
    fields["CSeq"] = ["1 MESSAGE"]
    fields["Date"] = [_date(int(message.created))]
    if message.expires is not None:
        fields["Expires"] = [str(max(1, int(message.expires - now)))]
    if message.subjects:
        fields["Subject"] = [message.subjects[0].text.translate(_LINE_BREAKS)[:1024]]
    if body.lang and (lang := language(body.lang)):
        fields["Content-Language"] = [lang]
    media, data = content or in_charset(body.text, profile.charset)
    if message.sender_endpoint.startswith("xmpp:") and len(data) <= _HINTED:
        fields["Call-Info"] = [call_info(message.sender)]
    fields["Content-Type"] = [media]
    headers = Headers.adopt(fields)
    headers.know("CSeq", _FIRST)
    return Request("MESSAGE", request_uri(binding.contact), headers, data)


def _call_id(message: InstantMessage) -> str:
    """The thread (RFC 7572 §5), unless it is nothing that can stand there."""
    return message.thread if is_call_id(message.thread) else message.id


@lru_cache(maxsize=256)
def _date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)
