"""What a phone is sent of a message: the text, in an envelope for a phone that knows them, or a notice.

Notices about messages (typing, reports) go only to phones known to take them (`sip.tastes`), and nobody is
ever told that one was not taken.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from msgspec.structs import replace

from presence.address import Address
from presence.files import SharedFile, in_words
from presence.messages import ChatState, InstantMessage, Report
from presence.model import Text
from sip.bodies import cpim, iscomposing
from sip.bodies.file import CONTENT_TYPE as FILE
from sip.fitting import datagram_size, pieces
from sip.message import Request
from sip.outgoing import HTML, build_message, described, envelope, formatted, stamp, write_report
from sip.profiles import profile_of
from sip.registrar import Located
from sip.settings import SipSettings
from sip.tastes import Phone, Tastes

TOLD = frozenset((Report.DELIVERED, Report.DISPLAYED))
"Reports that cross to the other side; a failure is told by the server that notices it."
MOST_PARTS = 10
"A text is sent in."
_LEAST = 100
"Bytes of text a part has at least."
_REMEMBERED = 10_000
"Promises, and conversations with somebody typing."


class Asked(NamedTuple):
    """A phone wants to hear what becomes of a message."""

    wants: tuple[Report, ...]
    sent: str
    "The date and time it wrote."


def readable(message: InstantMessage) -> InstantMessage:
    """What phones are sent: in place of what only XMPP clients can read, that there is such a message. Nobody
    is told that it has been received, as it has not."""
    if not message.encrypted:
        return message if message.file is None else _with_file(message, message.file)
    notice = (
        f"[A message encrypted with {message.encrypted}, which this phone cannot read."
        " An XMPP client of this account can.]"
    )
    told = (Text(notice, "en"),)
    return replace(message, bodies=told, subjects=(), markup="", file=None, wants=(), encrypted="")


def _with_file(message: InstantMessage, file: SharedFile) -> InstantMessage:
    """The text says where the file is, and as much of it as is known. Where that is all the text says, the
    message stays the file's, and may be written as `sip.bodies.file`."""
    text, lang = (message.bodies[0].text, message.bodies[0].lang) if message.bodies else ("", "")
    if text.strip() in ("", file.url):
        return replace(message, bodies=(Text(in_words(file), lang),))
    if file.url in text:
        return replace(message, file=None)
    return replace(message, bodies=(Text(f"{text}\n{in_words(file)}", lang),), markup="", file=None)


class Writer:
    def __init__(self, settings: SipSettings) -> None:
        self._profiles = settings.profiles
        self.tastes = Tastes()
        self._asked: OrderedDict[tuple[Address, str], Asked] = OrderedDict()
        "Sender and its name of a message → what it wants to hear."
        self._typing: OrderedDict[tuple[Address, Phone], None] = OrderedDict()
        "Who is typing, as a phone was told."
        self._plain: OrderedDict[tuple[Address, str], tuple[str, tuple[Report, ...]]] = OrderedDict()
        """Recipient and Call-ID of what went to phones without an envelope → the sender's name for it, and
        what the sender wants to hear."""

    def promise(self, sender: Address, name: str, asked: Asked) -> None:
        """The sender of a message is to hear what becomes of it."""
        self._asked[sender, name] = asked
        if len(self._asked) > _REMEMBERED:
            self._asked.popitem(last=False)

    def promised(self, sender: Address, name: str, report: Report) -> bool:
        """The sender asked for this report."""
        asked = self._asked.get((sender, name))
        return asked is not None and report in asked.wants

    def meant(self, phone_of: Address, report: Report, about: str) -> str:
        """The sender's name for what a phone reports about; empty when nobody is to hear of it. There are
        phones that report, unasked, on what came without an envelope, and name it by its Call-ID; of its
        arrival their 200 has told."""
        plain = self._plain.get((phone_of, about))
        if plain is None:
            return about
        name, wants = plain
        return name if report is not Report.DELIVERED and report in wants else ""

    def in_plain(self, message: InstantMessage, located: Located, now: float) -> Request:
        """Its text and nothing else."""
        profile = profile_of(located.binding.agent, self._profiles)
        return self._note_plain(message, build_message(message, located, now, profile))

    def in_parts(
        self, message: InstantMessage, located: Located, now: float, limit: int
    ) -> list[InstantMessage]:
        """A text too long for a packet of `limit` bytes, in numbered parts that fit, the last one under the
        message's own id; none where the phone's profile does not say so, or there were too many."""
        profile = profile_of(located.binding.agent, self._profiles)
        if not profile.split_texts or not message.bodies:
            return []
        body = message.bodies[0]
        bare = replace(message, id=f"{message.id}-{MOST_PARTS}", markup="", file=None)
        empty = replace(bare, bodies=(replace(body, text=f"({MOST_PARTS}/{MOST_PARTS}) "),))
        room = limit - datagram_size(build_message(empty, located, now, profile))
        texts = list(pieces(body.text, room)) if room >= _LEAST else []
        if not 1 < len(texts) <= MOST_PARTS:
            return []
        parts = [
            replace(
                bare,
                id=f"{message.id}-{number}",
                bodies=(replace(body, text=f"({number}/{len(texts)}) {text}"),),
                wants=(),
            )
            for number, text in enumerate(texts, 1)
        ]
        parts[-1] = replace(parts[-1], id=message.id, wants=message.wants)
        return parts

    def _note_plain(self, message: InstantMessage, request: Request) -> Request:
        self._plain[message.recipient, request.call_id] = message.origin_id, message.wants
        if len(self._plain) > _REMEMBERED:
            self._plain.popitem(last=False)
        return request

    def write(self, message: InstantMessage, phone: Phone, located: Located, now: float) -> Request | None:
        """The MESSAGE for this phone; None when there is nothing it could show."""
        profile = profile_of(located.binding.agent, self._profiles)
        if profile.plain_text_only:
            return build_message(message, located, now, profile) if message.bodies else None
        if message.bodies:
            file = message.file if self.tastes.takes(phone, FILE) else None
            content = described(file) if file is not None else None
            if message.wants and message.origin_id and self.tastes.takes(phone, cpim.CONTENT_TYPE):
                return build_message(message, located, now, profile, envelope(message, phone[0], content))
            if content is not None:
                request = build_message(message, located, now, profile, content)
            elif message.markup and self.tastes.takes(phone, HTML):
                request = build_message(message, located, now, profile, formatted(message))
            else:
                request = build_message(message, located, now, profile)
            return self._note_plain(message, request)
        if message.report is not None and self.tastes.takes(phone, cpim.CONTENT_TYPE):
            asked = self._asked.get((phone[0], message.about))
            if asked is None or message.report in asked.wants:
                sent = (asked.sent if asked is not None else "") or stamp(message.created)
                return build_message(message, located, now, profile, write_report(message, sent))
        elif message.chat_state is not None and self.tastes.takes(phone, iscomposing.CONTENT_TYPE):
            typing = message.chat_state is ChatState.COMPOSING
            # Of the states that are no typing only the end of typing is worth telling (RFC 3994 §3.2).
            if typing or (message.sender, phone) in self._typing:
                self._note_typing((message.sender, phone), typing)
                data = iscomposing.write_is_composing(message.chat_state)
                return build_message(message, located, now, profile, (iscomposing.CONTENT_TYPE, data))
        return None

    def _note_typing(self, pair: tuple[Address, Phone], typing: bool) -> None:
        self._typing.pop(pair, None)
        if typing:
            self._typing[pair] = None
            if len(self._typing) > _REMEMBERED:
                self._typing.popitem(last=False)
