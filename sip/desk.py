"""Questions phones ask by message, and the answers (`sip.commands`): to the phone that asked and nobody else,
kept nowhere, in messages that fit a packet.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil

import structlog

from presence.address import Address, make_address
from presence.messages import InstantMessage
from presence.model import Text
from presence.ports import Deliver
from presence.service import PresenceService
from sip.commands import INDENT, Asked, commands
from sip.delivery import Deliverer
from sip.errors import ProtocolError
from sip.fitting import pieces
from sip.limits import Rate
from sip.registrar import Located
from sip.runtime import Runtime
from sip.settings import SipSettings

log = structlog.get_logger()

QUESTIONS = 0.5
"Of one account a second; ten seconds' worth may come at once."
MOST_MESSAGES = 20
"Of one answer; what does not fit is left out, the first lines first."
_LATER = 30.0
"Seconds until a phone may ask again that is slow to take what it is sent already."
_LEAST = 200
"Bytes of text a message has at least."


class Desk:
    def __init__(
        self, settings: SipSettings, service: PresenceService, runtime: Runtime, deliverer: Deliverer
    ) -> None:
        self._name = settings.assistant
        self._service = service
        self._runtime = runtime
        self._deliverer = deliverer
        self._rate = Rate(QUESTIONS)

    async def asked(self, owner: Address, phone: Located | None, text: str, trace: str) -> bool:
        """Answer if it is a question; False if it is none. `phone`: which of the owner's asks. Raises
        `ProtocolError` 403 for one that is not registered, 480; `Unavailable`."""
        name, *words = text.split(maxsplit=8) or [""]
        command = commands().get(name.lower())
        if command is None:
            return False
        if phone is None:
            raise ProtocolError(403, "Register First")
        wait = self._rate.wait(str(owner), self._runtime.now())
        if not wait and self._deliverer.waiting(owner, phone.binding.endpoint) >= MOST_MESSAGES:
            wait = _LATER
        if wait:
            raise ProtocolError(480, "Too Many Requests", (("Retry-After", str(ceil(wait))),))
        lines = await command.handler(Asked(owner=owner, words=words, service=self._service))
        log.info("question_answered", address=str(owner), command=name.lower(), trace=trace)
        self._tell(owner, phone, lines, trace)
        return True

    def _tell(self, owner: Address, phone: Located, lines: Iterable[str], trace: str) -> None:
        empty = self._message(owner, "", trace)
        room = max(_LEAST, self._deliverer.room(empty, phone))
        for text in pages(lines, room)[-MOST_MESSAGES:]:
            message = self._message(owner, text, trace)
            self._deliverer.deliver(Deliver(message=message, endpoints=(phone.binding.endpoint,)))

    def _message(self, owner: Address, text: str, trace: str) -> InstantMessage:
        """It is never given to the bus: no archive, no client and no other phone has it."""
        return InstantMessage(
            id=self._service.new_trace(),
            trace=trace,
            created=self._runtime.now(),
            sender=make_address(self._name, owner.domain),
            recipient=owner,
            bodies=(Text(text),),
            store=False,
            archived=False,
            copied=False,
        )


def pages(lines: Iterable[str], room: int) -> list[str]:
    """The lines, joined to texts of at most `room` bytes; a line that is longer is cut in pieces, and all but
    the first are indented."""
    made: list[str] = []
    for line in lines:
        for number, part in enumerate(pieces(line, room - len(INDENT))):
            piece = f"{INDENT}{part}" if number else part
            joined = f"{made[-1]}\n{piece}" if made else ""
            if made and len(joined.encode()) <= room:
                made[-1] = joined
            else:
                made.append(piece)
    return made
