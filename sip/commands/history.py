"""`history`: what was said before this phone was there, out of its owner's archive."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from presence.address import Address, parse_address
from presence.archive import LAST, Archived, Span
from presence.errors import InvalidAddress
from presence.history import History
from sip.commands import INDENT, Asked, command
from sip.writing import readable

USUAL, MOST = 10, 50
"Messages of one answer: unless a number is given, and at most."
LONGEST = 500
"Characters of one message; the archive has the rest."
_LOOKS = 5
"Pages of the archive that are read: not everything in it has words."


@dataclass(frozen=True, slots=True)
class Wish:
    peer: Address | None
    "None: everybody."
    number: int


def parse_wish(words: Sequence[str], domain: str) -> Wish | None:
    """`alice 10`, `alice`, `10` or nothing; who is named without a domain is of `domain`. None: neither."""
    words = list(words)
    number = USUAL
    if words and words[-1].isascii() and words[-1].isdigit():
        number = min(max(1, int(words.pop()[:4])), MOST)
    if not words:
        return Wish(None, number)
    if len(words) > 1:
        return None
    name = words[0].removeprefix("sip:")
    try:
        peer = parse_address(name if "@" in name else f"{name}@{domain}")
    except InvalidAddress:
        return None
    return Wish(peer, number) if peer.local else None


@command("history", f"history ADDRESS NUMBER: what was last said, up to {MOST}; both may be left out")
async def history(asked: Asked) -> Sequence[str]:
    """Oldest first."""
    if asked.service.history is None:
        return ["Nothing is kept here."]
    wish = parse_wish(asked.words, asked.owner.domain)
    if wish is None:
        return ["Write history, or history ADDRESS, or history ADDRESS NUMBER."]
    found = await last_said(asked.service.history, asked.owner, wish)
    whom = f" with {wish.peer}" if wish.peer is not None else ""
    if not found:
        return [f"Nothing is kept of what was said{whom}."]
    return [f"Last said{whom}, times in UTC:", *(line(each, asked.owner, wish.peer) for each in found)]


async def last_said(history: History, owner: Address, wish: Wish) -> list[Archived]:
    """The last messages with words, oldest first. Raises `Unavailable`."""
    found: list[Archived] = []
    before = LAST
    for _ in range(_LOOKS):
        page = await history.page(owner, Span(peer=wish.peer, before=before), MOST, backwards=True)
        found = [each for each in page.items if _says(each)] + found
        if page.complete or not page.items or len(found) >= wish.number:
            break
        before = page.items[0].position
    return found[-wish.number :]


def _says(kept: Archived) -> bool:
    return bool(readable(kept.message).bodies)


def line(kept: Archived, owner: Address, peer: Address | None) -> str:
    """`2026-11-28 21:24 alice: Hello`; with the whole address where all of a person's chats are shown.
    Further lines of a message are indented: nobody writes lines in others' names."""
    message = readable(kept.message)
    text = f"\n{INDENT}".join(message.bodies[0].text.splitlines())
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - 1]}…"
    if message.sender == owner:
        who = "me" if peer is not None else f"me to {message.recipient}"
    else:
        who = message.sender.local if peer is not None and message.sender.local else str(message.sender)
    return f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime(kept.at))} {who}: {text}"
