"""Requests answered by message, for phones that can do nothing else (RFC 8048 §5.2 wants an answer; RFC 3857
phones show requests by themselves).

Who has only a phone is sent a message when somebody wants to see them and no policy answers (`policy.phone`).
It comes from an address of the server's own, and `yes` or `no` sent back to it is the answer. One request is
asked at a time. A bare `yes` answers the question that a phone has taken and somebody can have read; where it
could have been meant for the one before, or for none, the answer has to name whom it is about.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeVar

import structlog

from presence.address import Address, make_address, parse_address
from presence.errors import InvalidAddress, Refused, Unavailable
from presence.messages import InstantMessage
from presence.model import Text
from presence.ports import Accounts, AuthorisationChanged
from presence.service import PresenceService
from presence.subscriptions import Act
from sip.runtime import Runtime
from sip.settings import SipSettings

log = structlog.get_logger()

_V = TypeVar("_V")

_YES = frozenset(("yes", "y", "1", "ok", "allow", "accept", "ja", "oui", "si", "sí"))
_NO = frozenset(("no", "n", "2", "deny", "reject", "nein", "non"))
_REMEMBERED = 10_000
_READING = 3.0
"Seconds from a question to an answer that was not meant for the question before it."
_PATIENCE = 2
"Texts in a row that are no answer and are replied to; a phone that replies by itself is left alone then."


@dataclass(frozen=True, slots=True)
class Answer:
    act: Act
    about: str = ""
    "Address it names; empty: the one asked about."


def parse_answer(text: str) -> Answer | None:
    """`yes`, `no`, `1`, `2`, in some languages, and perhaps whom it is about. None: something else."""
    words = text.lower().split()
    if not words or len(words) > 2:
        return None
    word = words[0].strip(".,;:!")
    act = Act.SUBSCRIBED if word in _YES else Act.UNSUBSCRIBED if word in _NO else None
    if act is None:
        return None
    about = words[1].removeprefix("sip:") if len(words) == 2 else ""
    return Answer(act, about)


@dataclass(slots=True)
class Question:
    """Whose request somebody was asked about last."""

    watcher: Address
    bare: bool = True
    "An answer need not name the watcher: no other question is open in front of the owner."
    follows: bool = False
    "Another one was just answered."
    shown: float | None = None
    "When a phone took it; Unix seconds."

    def means(self, now: float) -> Address | None:
        """Whom a bare answer is about that comes now; None where that is not certain."""
        if not self.bare or self.shown is None:
            return None
        return self.watcher if now >= self.shown + (_READING if self.follows else 0.0) else None


class Assistant:
    def __init__(
        self, settings: SipSettings, service: PresenceService, accounts: Accounts, runtime: Runtime
    ) -> None:
        self._name = settings.assistant
        self._service = service
        self._accounts = accounts
        self._runtime = runtime
        self._asked: OrderedDict[Address, Question] = OrderedDict()
        "By owner."
        self._misunderstood: OrderedDict[Address, int] = OrderedDict()

    def is_at(self, address: Address) -> bool:
        """The address is the assistant's."""
        return bool(self._name) and address.local == self._name

    # --- asking ---------------------------------------------------------------------------------

    def authorisation(self, envelope: AuthorisationChanged) -> None:
        """Something changed about a subscription; perhaps it is a request nobody else shows the owner."""
        if self._name and envelope.item.pending_in and not envelope.previous.pending_in:
            self._runtime.spawn(self.arrived(envelope.owner))

    async def arrived(self, owner: Address) -> None:
        """The owner can be reached, or there is something new to ask."""
        if not self._name:
            return
        account = await self._accounts.find(owner)
        if account is None or not account.phone_only:
            return
        waiting = await self._waiting(owner)
        question = self._asked.get(owner)
        if waiting and (question is None or question.watcher not in waiting):
            await self._ask(owner, waiting[0])

    async def _ask(self, owner: Address, watcher: Address, *, follows: bool = False) -> None:
        # Whoever read a question that nobody waits for any more may be answering it just now.
        before = self._asked.get(owner)
        bare = before is None or before.shown is None
        _put(self._asked, owner, Question(watcher, bare, follows))
        reply = "Reply yes or no." if bare else f"Reply yes {watcher} or no {watcher}."
        text = f"{watcher} wants to see when you are available. {reply}"
        await self._say(owner, text, f"asked {owner} {watcher} {bare}", about=watcher)

    def shown(self, message: InstantMessage) -> None:
        """A phone has taken a message."""
        if not self.is_at(message.sender):
            return
        question = self._asked.get(message.recipient)
        if question is not None and message.id.endswith(_mark(message.recipient, question.watcher)):
            question.shown = self._runtime.now()

    async def _waiting(self, owner: Address) -> list[Address]:
        _, items = await self._service.roster(owner)
        return sorted((item.contact for item in items if item.pending_in), key=str)

    # --- hearing --------------------------------------------------------------------------------

    async def heard(self, owner: Address, text: str, trace: str) -> None:
        """The owner said something to the assistant. Raises `Refused`, `Unavailable`."""
        answer = parse_answer(text)
        waiting = await self._waiting(owner)
        question = self._asked.get(owner)
        asked = question.means(self._runtime.now()) if question is not None else None
        about = meant(answer, asked, waiting)
        if answer is None or about is None:
            await self._not_understood(owner, waiting)
            return
        self._misunderstood.pop(owner, None)
        self._asked.pop(owner, None)
        await self._service.act(owner, about, answer.act, trace=trace)
        log.info(
            "request_answered", address=str(owner), watcher=str(about), act=answer.act.value, trace=trace
        )
        done = "can see you now" if answer.act is Act.SUBSCRIBED else "cannot see you"
        await self._say(owner, f"{about} {done}.")
        rest = [watcher for watcher in waiting if watcher != about]
        if rest:
            await self._ask(owner, rest[0], follows=True)

    async def _not_understood(self, owner: Address, waiting: list[Address]) -> None:
        times = self._misunderstood.get(owner, 0)
        if times >= _PATIENCE:
            return
        _put(self._misunderstood, owner, times + 1)
        if not waiting:
            await self._say(owner, "Nobody is waiting for your answer. Send help for what there is.")
            return
        _put(self._asked, owner, Question(waiting[0], bare=len(waiting) == 1))
        listed = ", ".join(map(str, waiting[:20]))
        await self._say(
            owner,
            f"Waiting for your answer: {listed}. Reply yes {waiting[0]} or no {waiting[0]}.",
            about=waiting[0],
        )

    async def _say(self, owner: Address, text: str, dedup: str = "", about: Address | None = None) -> None:
        """`about`: whose request is asked about; any process knows it by the message's id."""
        mark = _mark(owner, about) if about is not None else ""
        message = InstantMessage(
            id=self._service.new_trace() + mark,
            trace="",
            created=0.0,
            sender=make_address(self._name, owner.domain),
            recipient=owner,
            bodies=(Text(text, "en"),),
            archived=False,
            copied=False,
        )
        try:
            await self._service.submit(message, dedup)
        except (Refused, Unavailable) as error:
            log.warning("assistant_not_heard", address=str(owner), error=str(error))


def meant(answer: Answer | None, asked: Address | None, waiting: list[Address]) -> Address | None:
    """Whose request an answer is about; None where that is not certain."""
    if answer is None:
        return None
    if not answer.about:
        return asked if asked in waiting else None
    try:
        named = parse_address(answer.about)
    except InvalidAddress:
        return None
    return named if named in waiting else None


def _mark(owner: Address, watcher: Address) -> str:
    return hashlib.blake2b(f"{owner} {watcher}".encode(), digest_size=6).hexdigest()


def _put(table: OrderedDict[Address, _V], key: Address, value: _V) -> None:
    table.pop(key, None)
    table[key] = value
    if len(table) > _REMEMBERED:
        table.popitem(last=False)
